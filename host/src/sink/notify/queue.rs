//! What waits for one destination: pure bookkeeping without I/O.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Bounds, Load};
use crate::model::{Epoch, Segment};

/// How many batches may wait, because the record of each epoch names them all.
pub(super) const MAX_BATCHES: usize = 1024;

/// An alert of the destination's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// The epoch that raised it.
    pub epoch: Epoch,
    /// Its number, from 0, among those of its rule in the batch of its epoch.
    pub alert: u64,
}

impl Position {
    /// Before all alerts.
    pub(super) const START: Self = Self::start_of(Epoch::FIRST);

    /// Before the alerts of an epoch.
    pub(super) const fn start_of(epoch: Epoch) -> Self {
        Self { epoch, alert: 0 }
    }

    /// Behind this alert.
    pub(super) fn behind(self) -> Self {
        Self { alert: self.alert + 1, ..self }
    }
}

/// A batch that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The epoch of the batch.
    pub epoch: Epoch,
    /// The object that holds it.
    pub segment: Segment,
    /// How many alerts of the rule it has, settled ones among them.
    pub alerts: u64,
    /// Their bytes; they count until the last one is settled.
    pub bytes: u64,
    /// The first alert that is not settled.
    pub first: u64,
}

impl Entry {
    fn left(&self) -> u64 {
        self.alerts - self.first
    }
}

/// How alerts are done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// They were sent.
    Delivered,
    /// They were refused, and skipped.
    Refused,
}

/// What happened since somebody asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub delivered: u64,
    pub refused: u64,
    pub dropped: u64,
    pub failed_attempts: u64,
}

/// What happened to the queue when a batch came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// Nothing of the destination is in it, or it is known already.
    Nothing,
    /// It waits.
    Waits,
    /// It waits, and alerts were dropped as they are since something was last sent.
    DropsOn,
    /// It waits, and the first alerts since something was last sent were dropped.
    DropsFirst,
}

/// The batches that wait for one destination, by ascending epoch.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    entries: VecDeque<Entry>,
    /// All alerts before it are settled or dropped.
    settled: Position,
    newest: Option<Epoch>,
    counts: Counts,
    is_dropping: bool,
    /// Whether the cursor is not written yet.
    is_unrecorded: bool,
}

impl Queue {
    /// An empty queue behind this position.
    pub(super) fn new(bounds: Bounds, settled: Position) -> Self {
        Self {
            bounds,
            entries: VecDeque::new(),
            settled,
            newest: None,
            counts: Counts::default(),
            is_dropping: false,
            is_unrecorded: false,
        }
    }

    /// Whether all alerts of this epoch are settled, or known to wait.
    pub(super) fn knows(&self, epoch: Epoch) -> bool {
        epoch < self.settled.epoch || self.newest >= Some(epoch)
    }

    /// Put a batch behind those that are there; beyond the bounds the oldest go.
    /// A batch that is known already changes nothing.
    pub(super) fn add(&mut self, epoch: Epoch, segment: &Segment, load: Load) -> Added {
        if self.knows(epoch) {
            return Added::Nothing;
        }
        self.newest = Some(epoch);
        let mut dropped = load.dropped;
        let first = if epoch == self.settled.epoch { self.settled.alert } else { 0 };
        if first < load.alerts {
            let Load { alerts, bytes, .. } = load;
            self.entries.push_back(Entry { epoch, segment: segment.clone(), alerts, bytes, first });
            dropped += self.drop_oldest();
        } else if dropped == 0 {
            return Added::Nothing;
        }
        self.counts.dropped += dropped;
        match (dropped, self.is_dropping) {
            (0, _) => Added::Waits,
            (_, true) => Added::DropsOn,
            (_, false) => {
                self.is_dropping = true;
                Added::DropsFirst
            }
        }
    }

    fn drop_oldest(&mut self) -> u64 {
        let mut dropped = 0;
        // One batch is never too much: it has the same bounds.
        while self.entries.len() > 1 && self.is_over() {
            let oldest = self.entries.pop_front().expect("invariant: there is more than one");
            dropped += oldest.left();
            self.settled = self.settled.max(Position::start_of(oldest.epoch.next()));
        }
        dropped
    }

    fn is_over(&self) -> bool {
        let bytes: u64 = self.entries.iter().map(|entry| entry.bytes).sum();
        self.waiting() > self.bounds.alerts || bytes > self.bounds.bytes || self.entries.len() > MAX_BATCHES
    }

    /// The first batch with unsettled alerts behind this epoch, or at all.
    pub(super) fn first_behind(&self, epoch: Option<Epoch>) -> Option<&Entry> {
        self.entries.iter().find(|entry| epoch.is_none_or(|epoch| entry.epoch > epoch))
    }

    /// Whether the alert at this position is neither settled nor dropped.
    pub(super) fn wants(&self, position: Position) -> bool {
        position >= self.settled
    }

    /// Everything before this position is done with. What was dropped meanwhile
    /// stays counted as dropped.
    pub(super) fn settle(&mut self, to: Position, how: Settled) {
        let mut settled = 0;
        while let Some(front) = self.entries.front_mut().filter(|front| front.epoch <= to.epoch) {
            let end = if front.epoch < to.epoch { front.alerts } else { to.alert.min(front.alerts) };
            settled += end.saturating_sub(front.first);
            front.first = front.first.max(end);
            if front.left() > 0 {
                break;
            }
            self.entries.pop_front();
        }
        self.settled = self.settled.max(to);
        self.is_unrecorded = true;
        match how {
            Settled::Delivered => {
                self.counts.delivered += settled;
                self.is_dropping = false;
            }
            Settled::Refused => self.counts.refused += settled,
        }
    }

    /// Count an attempt that failed.
    pub(super) fn failed(&mut self) {
        self.counts.failed_attempts += 1;
    }

    /// The cursor was written, or could not be and waits for the next one.
    pub(super) fn recorded(&mut self) {
        self.is_unrecorded = false;
    }

    /// Whether nothing waits and the cursor says so.
    pub(super) fn is_idle(&self) -> bool {
        self.entries.is_empty() && !self.is_unrecorded
    }

    /// How many alerts wait.
    pub(super) fn waiting(&self) -> u64 {
        self.entries.iter().map(Entry::left).sum()
    }

    /// The batches that wait.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// What happened since this was last asked.
    pub(super) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Digest;

    const BOUNDS: Bounds = Bounds { alerts: 10, bytes: 100 };

    fn epoch(number: u64) -> Epoch {
        Epoch::new(number).unwrap()
    }

    fn segment(number: u64) -> Segment {
        let name = format!("batch-{number}");
        Segment { name, through: epoch(number), entries: 0, size_bytes: 0, sha256: Digest::of(b"") }
    }

    fn load(alerts: u64, bytes: u64, dropped: u64) -> Load {
        Load { alerts, bytes, dropped }
    }

    fn epochs(queue: &Queue) -> Vec<u64> {
        queue.entries().map(|entry| entry.epoch.number()).collect()
    }

    #[test]
    fn drops_are_told_once_until_something_is_sent() {
        let mut queue = Queue::new(BOUNDS, Position::START);
        let add = |queue: &mut Queue, number| queue.add(epoch(number), &segment(number), load(6, 6, 0));
        let added: Vec<Added> = (0..3).map(|number| add(&mut queue, number)).collect();
        assert_eq!(added, [Added::Waits, Added::DropsFirst, Added::DropsOn]);
        queue.settle(Position { epoch: epoch(2), alert: 1 }, Settled::Refused);
        assert_eq!(add(&mut queue, 3), Added::DropsOn);
        queue.settle(Position { epoch: epoch(3), alert: 1 }, Settled::Delivered);
        assert_eq!(add(&mut queue, 4), Added::DropsFirst);
    }

    #[test]
    fn bytes_and_batches_are_bounded_too() {
        let mut queue = Queue::new(BOUNDS, Position::START);
        for number in 0..4 {
            queue.add(epoch(number), &segment(number), load(1, 40, 0));
        }
        assert_eq!(epochs(&queue), [2, 3]);
        let mut queue = Queue::new(Bounds { alerts: u64::MAX, bytes: u64::MAX }, Position::START);
        let batches = MAX_BATCHES as u64 + 3;
        for number in 0..batches {
            queue.add(epoch(number), &segment(number), load(1, 1, 0));
        }
        assert_eq!(epochs(&queue), (3..batches).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_dropped_while_it_is_sent_counts_as_dropped() {
        let mut queue = Queue::new(BOUNDS, Position::START);
        queue.add(epoch(0), &segment(0), load(6, 6, 0));
        queue.settle(Position { epoch: epoch(0), alert: 2 }, Settled::Delivered);
        queue.add(epoch(1), &segment(1), load(8, 8, 1));
        assert!(!queue.wants(Position { epoch: epoch(0), alert: 2 }));
        queue.settle(Position { epoch: epoch(0), alert: 4 }, Settled::Delivered);
        let counts = queue.take_counts();
        assert_eq!((counts.delivered, counts.dropped, queue.waiting()), (2, 4 + 1, 8));
    }

    proptest! {
        #[test]
        fn each_alert_is_delivered_refused_dropped_or_waits(
            steps in prop::collection::vec((0..3u64, 0..10u64, 0..3u64), 1..60)
        ) {
            let mut queue = Queue::new(BOUNDS, Position::START);
            let (mut next, mut raised) = (0, 0);
            for (what, alerts, extra) in steps {
                match (what, queue.first_behind(None).cloned()) {
                    (0, _) | (_, None) => {
                        next += extra;
                        queue.add(epoch(next), &segment(next), load(alerts, alerts * 9, extra));
                        raised += alerts + extra;
                        next += 1;
                    }
                    (what, Some(entry)) => {
                        let alert = (entry.first + extra + 1).min(entry.alerts);
                        let how = if what == 1 { Settled::Delivered } else { Settled::Refused };
                        queue.settle(Position { epoch: entry.epoch, alert }, how);
                    }
                }
                let counts = queue.counts;
                prop_assert_eq!(counts.delivered + counts.refused + counts.dropped + queue.waiting(), raised);
                prop_assert!(queue.waiting() <= BOUNDS.alerts);
                for entry in queue.entries() {
                    let first = Position { epoch: entry.epoch, alert: entry.first };
                    prop_assert!(entry.left() > 0 && queue.wants(first));
                }
                prop_assert!(epochs(&queue).is_sorted());
            }
        }
    }
}
