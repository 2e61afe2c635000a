//! Hosts that fall asleep at any operation on their store, and wake up later.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::{ObjectStore, Result};
use tokio::sync::watch;

use crate::intercept::{Intercept, Intercepted, Operation};

/// When a host falls asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asleep {
    /// Before the operation takes effect.
    Before,
    /// After the operation took effect, before the host hears of it.
    After,
}

/// Holds one operation and all that come later until it is told to let go.
#[derive(Debug)]
pub struct Parks {
    asleep: Asleep,
    at: u64,
    counts: fn(Operation) -> bool,
    next: AtomicU64,
    is_parked: watch::Sender<bool>,
    is_awake: watch::Sender<bool>,
    listed: OnceLock<Arc<InMemory>>,
}

/// A store in memory behind which a host falls asleep.
pub type ParkingStore = Intercepted<Parks>;

impl ParkingStore {
    /// A view of `inner` that parks at number `at`, from 0, of the operations
    /// that count, and from then on at every operation.
    pub fn parking(inner: Arc<InMemory>, asleep: Asleep, at: u64, counts: fn(Operation) -> bool) -> Arc<Self> {
        let (is_parked, is_awake) = (watch::Sender::new(false), watch::Sender::new(false));
        Self::new(
            inner,
            Parks { asleep, at, counts, next: AtomicU64::new(0), is_parked, is_awake, listed: OnceLock::new() },
        )
    }

    /// Let `host`, which works on this store, go on until it sleeps; what it
    /// ended with if it never does. It is not polled while it sleeps.
    pub async fn until_asleep<T>(&self, host: &mut Pin<Box<impl Future<Output = T>>>) -> Option<T> {
        let mut parked = self.by.is_parked.subscribe();
        tokio::select! {
            ended = host => Some(ended),
            parked = parked.wait_for(|parked| *parked) => {
                parked.expect("invariant: the store holds the sender");
                None
            }
        }
    }

    /// From now on the host's listings answer from `then`.
    pub fn list_as_of(&self, then: InMemory) {
        let _first = self.by.listed.set(Arc::new(then));
    }

    /// Wake the host up.
    pub fn wake(&self) {
        self.by.is_awake.send_replace(true);
    }
}

impl Parks {
    async fn sleep(&self) {
        let mut awake = self.is_awake.subscribe();
        awake.wait_for(|awake| *awake).await.expect("invariant: self holds the sender");
    }

    async fn fall_asleep(&self) {
        self.is_parked.send_replace(true);
        self.sleep().await;
    }
}

#[async_trait]
impl Intercept for Parks {
    async fn before(&self, operation: Operation) -> Result<u64> {
        if !(self.counts)(operation) {
            if *self.is_parked.borrow() {
                self.sleep().await;
            }
            return Ok(u64::MAX);
        }
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        if number == self.at && self.asleep == Asleep::Before {
            self.fall_asleep().await;
        }
        if number > self.at {
            self.sleep().await;
        }
        Ok(number)
    }

    async fn after(&self, number: u64, _operation: Operation) -> Result<()> {
        if number == self.at && self.asleep == Asleep::After {
            self.fall_asleep().await;
        }
        Ok(())
    }

    fn listed(&self) -> Option<Arc<dyn ObjectStore>> {
        self.listed.get().map(|then| Arc::clone(then) as _)
    }
}
