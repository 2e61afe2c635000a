//! Stores that break on command, at any operation.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::{Error, ObjectStore, Result};

use crate::intercept::{Intercept, Intercepted, Operation};

/// How many operations in a row a throttled store refuses.
const THROTTLED: u64 = 4;

/// The number of operations that do not count.
const UNCOUNTED: u64 = u64::MAX;

/// How the store breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the operation: it and all later ones fail.
    CrashBefore,
    /// The process dies after the operation: it happens, and all later ones fail.
    CrashAfter,
    /// The operation happens, but its answer is lost, once.
    AnswerLost,
    /// The operation fails without effect, once.
    FailsOnce,
    /// This operation and a few more fail without effect (429, 503).
    Throttled,
    /// If the operation creates, it does nothing and says that the object is
    /// there (409 of two requests at once).
    ConflictBefore,
    /// If the operation creates, it does so and says that the object was there
    /// (a client's second try of a request that was heard the first time).
    ConflictAfter,
}

/// Breaks one operation.
#[derive(Debug)]
pub struct Breaks {
    fault: Fault,
    at: u64,
    counts: fn(Operation) -> bool,
    next: AtomicU64,
}

/// A store that breaks at one operation.
pub type FaultyStore = Intercepted<Breaks>;

/// What becomes of one operation.
enum Fate {
    Works,
    FailsBefore(Error),
    FailsAfter(Error),
}

impl FaultyStore {
    /// A view of `inner` that breaks at operation number `at`, from 0.
    pub fn breaking(inner: Arc<impl ObjectStore>, fault: Fault, at: u64) -> Arc<Self> {
        Self::breaking_among(inner, fault, at, |_| true)
    }

    /// A view of `inner` that breaks at number `at`, from 0, of some operations;
    /// all others work, unless the process is dead.
    pub fn breaking_among(
        inner: Arc<impl ObjectStore>,
        fault: Fault,
        at: u64,
        counts: fn(Operation) -> bool,
    ) -> Arc<Self> {
        Self::new(inner, Breaks { fault, at, counts, next: AtomicU64::new(0) })
    }

    /// Whether the operation that breaks was reached.
    pub fn was_reached(&self) -> bool {
        self.by.next.load(Ordering::SeqCst) > self.by.at
    }
}

impl Breaks {
    fn fate(&self, number: u64, operation: Operation) -> Fate {
        let creates = operation == Operation::Create;
        let behind = number.checked_sub(self.at);
        match (self.fault, behind) {
            (_, None) => Fate::Works,
            (Fault::CrashBefore, _) | (Fault::CrashAfter, Some(1..)) | (Fault::FailsOnce, Some(0)) => {
                Fate::FailsBefore(broken())
            }
            (Fault::Throttled, Some(..THROTTLED)) => Fate::FailsBefore(throttled()),
            (Fault::CrashAfter | Fault::AnswerLost, Some(0)) => Fate::FailsAfter(broken()),
            (Fault::ConflictBefore, Some(0)) if creates => Fate::FailsBefore(conflict()),
            (Fault::ConflictAfter, Some(0)) if creates => Fate::FailsAfter(conflict()),
            (_, Some(_)) => Fate::Works,
        }
    }
}

#[async_trait]
impl Intercept for Breaks {
    async fn before(&self, operation: Operation) -> Result<u64> {
        if !(self.counts)(operation) {
            let is_crash = matches!(self.fault, Fault::CrashBefore | Fault::CrashAfter);
            let is_dead = is_crash && self.next.load(Ordering::SeqCst) > self.at;
            return if is_dead { Err(broken()) } else { Ok(UNCOUNTED) };
        }
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        match self.fate(number, operation) {
            Fate::FailsBefore(error) => Err(error),
            Fate::Works | Fate::FailsAfter(_) => Ok(number),
        }
    }

    async fn after(&self, number: u64, operation: Operation) -> Result<()> {
        if number == UNCOUNTED {
            return Ok(());
        }
        match self.fate(number, operation) {
            Fate::FailsAfter(error) => Err(error),
            Fate::Works | Fate::FailsBefore(_) => Ok(()),
        }
    }
}

fn generic(text: &str) -> Error {
    Error::Generic { store: "faulty", source: text.into() }
}

fn broken() -> Error {
    generic("the connection was lost")
}

fn throttled() -> Error {
    generic("503 Service Unavailable: the server is busy")
}

fn conflict() -> Error {
    Error::AlreadyExists { path: "the object".to_owned(), source: "409 Conflict".into() }
}

/// Answers every listing as of before the latest writes and deletions.
#[derive(Debug)]
pub struct ListsLate {
    store: Arc<InMemory>,
    /// As the store was after each of the latest changes, oldest first.
    states: Mutex<VecDeque<Arc<InMemory>>>,
    /// How many changes a listing does not show.
    behind: usize,
}

impl ListsLate {
    /// A view of `store` whose listings do not show the latest `behind` changes
    /// that were made through it.
    pub fn over(store: &Arc<InMemory>, behind: usize) -> Arc<Intercepted<Self>> {
        let states = Mutex::new(VecDeque::from([Arc::new(store.fork())]));
        Intercepted::new(Arc::clone(store), Self { store: Arc::clone(store), states, behind })
    }

    /// The same for listings that lag behind what another view of `store` does.
    pub fn since(before: &InMemory, store: &Arc<InMemory>, behind: usize) -> Arc<Intercepted<Self>> {
        let states = Mutex::new(VecDeque::from([Arc::new(before.fork())]));
        Intercepted::new(Arc::clone(store), Self { store: Arc::clone(store), states, behind })
    }
}

#[async_trait]
impl Intercept for ListsLate {
    async fn before(&self, _operation: Operation) -> Result<u64> {
        Ok(0)
    }

    async fn after(&self, _number: u64, operation: Operation) -> Result<()> {
        if operation.is_write() || operation == Operation::Delete {
            let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
            states.push_back(Arc::new(self.store.fork()));
            while states.len() > self.behind + 1 {
                states.pop_front();
            }
        }
        Ok(())
    }

    fn listed(&self) -> Option<Arc<dyn ObjectStore>> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.front().map(|state| Arc::clone(state) as _)
    }
}

/// A store that does not know conditional writes.
#[derive(Debug)]
pub struct Overwrites;

impl Overwrites {
    /// A view of `store` that creates what is there already.
    pub fn over(store: &Arc<InMemory>) -> Arc<Intercepted<Self>> {
        Intercepted::new(Arc::clone(store), Self)
    }
}

#[async_trait]
impl Intercept for Overwrites {
    async fn before(&self, _operation: Operation) -> Result<u64> {
        Ok(0)
    }

    async fn after(&self, _number: u64, _operation: Operation) -> Result<()> {
        Ok(())
    }

    fn overwrites(&self) -> bool {
        true
    }
}

/// A disk with room for a number of writes.
#[derive(Debug)]
pub struct Room {
    writes: AtomicU64,
}

impl Room {
    /// A view of `store` that takes so many more writes.
    pub fn on(store: &Arc<InMemory>, writes: u64) -> Arc<Intercepted<Self>> {
        Intercepted::new(Arc::clone(store), Self { writes: AtomicU64::new(writes) })
    }

    /// How many more writes there is room for.
    pub fn left(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Intercept for Room {
    async fn before(&self, operation: Operation) -> Result<u64> {
        let room = |left: u64| left.checked_sub(1);
        if operation.is_write() && self.writes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).is_err() {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(Error::Generic { store: "full", source: full.into() });
        }
        Ok(0)
    }

    async fn after(&self, _number: u64, _operation: Operation) -> Result<()> {
        Ok(())
    }
}
