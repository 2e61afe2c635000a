//! The task of one destination: read what waits, send it, move the cursor.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::batch::lines_of;
use super::queue::{Added, Entry, Position, Queue, Settled};
use super::{Alert, Bounds, Destination, Load, NotSent};
use crate::env::{Clock, Storage, back_off};
use crate::model::{Digest, Epoch, Lane, Segment};
use crate::{Error, ErrorKind, Result};

/// How often a request that is refused is sent before it is skipped.
const REFUSED_TRIES: u32 = 5;

/// An alert that was read and not settled yet.
struct Line {
    position: Position,
    bytes: Bytes,
}

/// One destination with its queue.
pub(super) struct Delivery {
    pub(super) destination: Destination,
    storage: Storage,
    cursor: String,
    clock: Arc<dyn Clock>,
    queue: watch::Sender<Queue>,
}

impl Delivery {
    /// Stand where the destination's cursor says.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub(super) async fn open(
        destination: Destination,
        bounds: Bounds,
        lane: &Lane,
        storage: Storage,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let cursor = format!("{lane}/notify/{}.json", destination.name);
        let settled = match storage.get(&cursor).await? {
            None => Position::START,
            Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                // It is overwritten in place and may be torn. Nothing is lost without it.
                let location = storage.location();
                tracing::warn!(
                    "the cursor `{cursor}` in {location} is damaged, so what is pending is sent again: {error}"
                );
                Position::START
            }),
        };
        let queue = watch::Sender::new(Queue::new(bounds, settled));
        Ok(Self { destination, storage, cursor, clock, queue })
    }

    /// The queue as it is.
    pub(super) fn queue(&self) -> watch::Ref<'_, Queue> {
        self.queue.borrow()
    }

    /// Change the queue.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut changed = None;
        self.queue.send_modify(|queue| changed = Some(change(queue)));
        changed.expect("invariant: a change is made before this returns")
    }

    /// Queue what a batch has for this destination.
    pub(super) fn add(&self, epoch: Epoch, segment: &Segment, load: Load) {
        let name = &self.destination.name;
        match self.change(|queue| queue.add(epoch, segment, load)) {
            Added::Nothing | Added::Waits | Added::DropsOn => {}
            Added::DropsFirst => tracing::error!(
                "more notifications wait for {name} than may: the oldest are dropped until it takes some; they are in the table"
            ),
        }
    }

    /// Wait until nothing waits.
    pub(super) async fn idle(&self) {
        let mut changes = self.queue.subscribe();
        changes.wait_for(Queue::is_idle).await.map(drop).expect("invariant: the queue lives as long as this");
    }

    /// Send what waits and what comes. Never ends.
    pub(super) async fn run(&self) {
        let mut lines = VecDeque::new();
        loop {
            self.fill(&mut lines).await;
            let request = self.request(&lines);
            let Some((first, last)) = lines.front().zip(lines.get(request.len().saturating_sub(1))) else { continue };
            if let Some(how) = self.send(&request, first.position).await {
                self.settle(last.position.behind(), how).await;
            }
            self.forget(&mut lines);
        }
    }

    /// Read batches until there is enough for a request, or no more of them; wait
    /// for the first.
    async fn fill(&self, lines: &mut VecDeque<Line>) {
        let enough = self.destination.notifier.limits().alerts;
        let mut attempts = 0;
        while lines.len() < enough {
            let behind = lines.back().map(|line| line.position.epoch);
            let next = self.queue().first_behind(behind).cloned();
            let Some(entry) = next else {
                if !lines.is_empty() {
                    return;
                }
                let mut changes = self.queue.subscribe();
                let filled = changes.wait_for(|queue| queue.first_behind(None).is_some()).await;
                filled.map(drop).expect("invariant: the queue lives as long as this");
                continue;
            };
            match self.read(&entry).await {
                Ok(read) => lines.extend(read),
                // What is read already goes first.
                Err(_) if !lines.is_empty() => return,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::error!("{} is not notified: {error}", self.destination.name);
                    self.settle(Position::start_of(entry.epoch.next()), Settled::Refused).await;
                }
                Err(error) => {
                    attempts += 1;
                    self.report(attempts, &error);
                    self.clock.back_off(back_off(&self.destination.name, &entry.segment.name, attempts, None)).await;
                }
            }
        }
    }

    async fn read(&self, entry: &Entry) -> Result<Vec<Line>> {
        let bytes = read_segment(&self.storage, &entry.segment).await?;
        let lines = lines_of(&self.destination.rule, &entry.segment.name, &bytes)?;
        if lines.len() as u64 != entry.alerts {
            let (name, found) = (&entry.segment.name, lines.len());
            return Err(Error::corrupt(format!(
                "the notifications `{name}` have {found} alerts of the rule `{}`, expected {}",
                self.destination.rule, entry.alerts
            )));
        }
        let numbered =
            (0..).zip(lines).map(|(alert, bytes)| Line { position: Position { epoch: entry.epoch, alert }, bytes });
        Ok(numbered.filter(|line| line.position.alert >= entry.first).collect())
    }

    /// The alerts of the next request.
    fn request(&self, lines: &VecDeque<Line>) -> Vec<Alert> {
        let limits = self.destination.notifier.limits();
        let mut request = Vec::new();
        let mut bytes = 0;
        for line in lines.iter().take(limits.alerts) {
            bytes += line.bytes.len();
            if bytes > limits.bytes && !request.is_empty() {
                break;
            }
            request.push(serde_json::from_slice(&line.bytes).expect("invariant: a line was an alert when it was read"));
        }
        request
    }

    /// Send a request until it is settled, or dropped.
    async fn send(&self, request: &[Alert], first: Position) -> Option<Settled> {
        let name = &self.destination.name;
        let mut attempts = 0;
        let mut refusals = 0;
        while self.queue().wants(first) {
            let Err(failed) = self.destination.notifier.send(request).await else { return Some(Settled::Delivered) };
            attempts += 1;
            self.change(Queue::failed);
            let asked = match &failed {
                NotSent::Unavailable { retry_after, .. } => *retry_after,
                NotSent::Refused(error) => {
                    refusals += 1;
                    if refusals == REFUSED_TRIES {
                        let count = request.len();
                        tracing::error!(
                            "{count} notifications are skipped, {name} refuses them; they are in the table: {error}"
                        );
                        return Some(Settled::Refused);
                    }
                    None
                }
            };
            self.report(attempts, failed.error());
            let id = request.first().map_or("", |alert| alert.id.as_str());
            self.clock.back_off(back_off(name, id, attempts, asked)).await;
        }
        None
    }

    /// Say that something failed: each time first, then ever more rarely.
    fn report(&self, attempts: u32, error: &Error) {
        if attempts.is_power_of_two() {
            let name = &self.destination.name;
            tracing::warn!("{name} is notified later, {attempts} attempts have failed: {error}");
        }
    }

    async fn settle(&self, to: Position, how: Settled) {
        self.change(|queue| queue.settle(to, how));
        if let Err(error) = self.record(to).await {
            tracing::warn!(
                "the cursor of {} is not moved, which may send alerts again: {error}",
                self.destination.name
            );
        }
        self.change(Queue::recorded);
    }

    async fn record(&self, to: Position) -> Result<()> {
        let cursor = serde_json::to_vec(&to).expect("invariant: numbers are JSON");
        self.storage.put(&self.cursor, cursor.into()).await?;
        self.storage.sync(std::slice::from_ref(&self.cursor)).await
    }

    /// Forget what is settled or dropped.
    fn forget(&self, lines: &mut VecDeque<Line>) {
        let queue = self.queue();
        while lines.front().is_some_and(|line| !queue.wants(line.position)) {
            lines.pop_front();
        }
    }
}

/// Read a batch that a record names.
///
/// # Errors
/// Corrupt if it is missing or damaged; Unavailable if the store fails.
pub(super) async fn read_segment(storage: &Storage, segment: &Segment) -> Result<Bytes> {
    let damaged = |what: &str| {
        let (name, location) = (&segment.name, storage.location());
        Error::corrupt(format!("the notifications `{name}` in {location} {what}: restore the object from a copy"))
    };
    let bytes = storage.get(&segment.name).await?.ok_or_else(|| damaged("are missing"))?;
    if Digest::of(&bytes) != segment.sha256 {
        return Err(damaged("do not have the digest that their record names"));
    }
    Ok(bytes)
}
