//! The outbox of a pipeline: from committed batches to the destinations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;

use super::batch::loads_of;
use super::delivery::{Delivery, read_segment};
use super::{Batch, Bounds, Notifier};
use crate::Result;
use crate::env::{self, Env, Storage};
use crate::model::{Epoch, Lane, Segment};

/// Who gets the alerts of one rule.
pub struct Destination {
    /// What it is called in logs, counts and in the name of its cursor, for
    /// example `rule.hot.webhook-5f1d22ab`; unique in the pipeline and fit for a path.
    pub name: String,
    /// The rule.
    pub rule: String,
    /// The way to it.
    pub notifier: Box<dyn Notifier>,
}

/// What became of the alerts for one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationStats {
    /// What it is called.
    pub destination: String,
    /// Alerts that were sent since this was last asked.
    pub delivered: u64,
    /// Alerts that were refused, and skipped, since then.
    pub refused: u64,
    /// Alerts that were dropped, because too many waited, since then.
    pub dropped: u64,
    /// Attempts at a request that failed since then.
    pub failed_attempts: u64,
    /// Alerts that wait now.
    pub waiting: u64,
}

/// The queues and tasks of all destinations. Its tasks end when it is dropped.
pub struct Outbox {
    deliveries: Vec<Arc<Delivery>>,
    storage: Storage,
    /// Tells the tasks, by its end, to end.
    _open: watch::Sender<()>,
}

impl Outbox {
    /// Open the outbox of a lane, whose batches and cursors lie in the checkpoint
    /// folder `storage`, and start the tasks. Must be called within tokio.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub async fn open(
        destinations: Vec<Destination>,
        bounds: Bounds,
        lane: &Lane,
        storage: Storage,
        env: &Env,
    ) -> Result<Self> {
        let mut deliveries = Vec::new();
        for destination in destinations {
            let clock = Arc::clone(&env.clock);
            let delivery = Delivery::open(destination, bounds, lane, storage.clone(), clock).await?;
            deliveries.push(Arc::new(delivery));
        }
        let open = watch::Sender::new(());
        for delivery in &deliveries {
            let delivery = Arc::clone(delivery);
            let mut end = open.subscribe();
            env::detached(async move {
                tokio::select! {
                    // The end first: nothing more is sent once the outbox is gone.
                    biased;
                    _closed = end.changed() => {}
                    () = delivery.run() => {}
                }
            });
        }
        Ok(Self { deliveries, storage, _open: open })
    }

    /// Queue what was pending when the pipeline stopped, and the newest batch, by
    /// ascending epoch; once, before anything is published. What a cursor covers
    /// is not sent again, and what only covered or removed destinations wait for
    /// is not even read.
    ///
    /// # Errors
    /// Corrupt if a batch is missing or damaged; Unavailable if the store fails.
    pub async fn restore(&self, pending: &[(Epoch, Segment)]) -> Result<()> {
        for (epoch, segment) in pending {
            if self.deliveries.iter().all(|delivery| delivery.queue().knows(*epoch)) {
                continue;
            }
            let loads = loads_of(&segment.name, &read_segment(&self.storage, segment).await?)?;
            for delivery in &self.deliveries {
                let load = loads.get(&delivery.destination.rule).copied().unwrap_or_default();
                delivery.add(*epoch, segment, load);
            }
        }
        Ok(())
    }

    /// Queue the batch of an epoch that is committed; `segment` is the object
    /// that holds it. Neither waits nor fails; an epoch that was published or
    /// restored before changes nothing.
    pub fn publish(&self, epoch: Epoch, segment: &Segment, batch: &Batch) {
        for delivery in &self.deliveries {
            if let Some(load) = batch.loads().get(&delivery.destination.rule) {
                delivery.add(epoch, segment, *load);
            }
        }
    }

    /// The batches that some destination still waits for, by ascending epoch: what
    /// the record of the next epoch names, so that they are kept and restored.
    ///
    /// Ask when everything that is committed is published.
    pub fn pending(&self) -> Vec<(Epoch, Segment)> {
        let mut pending = BTreeMap::new();
        for delivery in &self.deliveries {
            for entry in delivery.queue().entries() {
                pending.entry(entry.epoch).or_insert_with(|| entry.segment.clone());
            }
        }
        pending.into_iter().collect()
    }

    /// What became of the alerts since this was last asked, for each destination.
    pub fn stats(&self) -> Vec<DestinationStats> {
        let stats = self.deliveries.iter().map(|delivery| {
            let (counts, waiting) = delivery.change(|queue| (queue.take_counts(), queue.waiting()));
            DestinationStats {
                destination: delivery.destination.name.clone(),
                delivered: counts.delivered,
                refused: counts.refused,
                dropped: counts.dropped,
                failed_attempts: counts.failed_attempts,
                waiting,
            }
        });
        stats.collect()
    }

    /// Wait until nothing waits, but not longer than `deadline`. What waits then
    /// is pending and sent by the next run.
    pub async fn finish(&self, deadline: Duration) {
        let idle = join_all(self.deliveries.iter().map(|delivery| delivery.idle()));
        if tokio::time::timeout(deadline, idle).await.is_err() {
            for delivery in &self.deliveries {
                let waiting = delivery.queue().waiting();
                if waiting > 0 {
                    let name = &delivery.destination.name;
                    tracing::warn!("{waiting} notifications still wait for {name}: the next run sends them");
                }
            }
        }
    }
}
