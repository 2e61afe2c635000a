//! Windows as the specification describes them: every row that was accepted is
//! kept, and everything is found out anew each time.

use std::collections::BTreeMap;

use super::{EpochInput, PARTITIONS, Row};
use crate::config::Emit;
use crate::event_time::{Policy, WindowKind};

/// The values of the key columns, as cells.
pub(super) type Key = Vec<String>;

/// What a window step gives and drops in an epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Given<G> {
    /// Key, start, end, what is in it, and whether it is final; sorted.
    pub(super) emitted: Vec<(Key, i64, i64, G, bool)>,
    /// The number of the row, and the window that it came too late for; sorted.
    pub(super) late: Vec<(usize, i64, i64)>,
}

/// An accepted row in a window, or in no window yet.
struct Accepted<R> {
    key: Key,
    time: i64,
    /// None in sessions, which are found out from the times.
    window: Option<(i64, i64)>,
    epoch: usize,
    row: R,
}

/// A window step.
pub(super) struct NaiveWindows<R> {
    kind: WindowKind,
    emit: Emit,
    open: Vec<Accepted<R>>,
    epoch: usize,
}

impl<R: Clone> NaiveWindows<R> {
    pub(super) fn new(kind: WindowKind, emit: Emit) -> Self {
        Self { kind, emit, open: Vec::new(), epoch: 0 }
    }

    /// All windows that hold an instant, by trying.
    fn windows(&self, time: i64) -> Vec<(i64, i64)> {
        match self.kind {
            WindowKind::Aligned { size, slide, offset } => {
                let near = time / slide.0;
                let reach = size.0 / slide.0 + 3;
                let windows = (near - reach..=near + reach).map(|number| number * slide.0 + offset.0);
                windows
                    .map(|start| (start, start + size.0))
                    .filter(|(start, end)| (*start..*end).contains(&time))
                    .collect()
            }
            WindowKind::Session { gap } => vec![(time, time + gap.0)],
        }
    }

    /// Take rows in, in the order of their arrival, under the watermark at the
    /// start of the epoch.
    pub(super) fn accept(
        &mut self,
        rows: impl IntoIterator<Item = (Key, Option<i64>, R)>,
        watermark: Option<i64>,
    ) -> Vec<(usize, i64, i64)> {
        let mut late = Vec::new();
        for (number, (key, time, row)) in rows.into_iter().enumerate() {
            let Some(time) = time else { continue };
            for (start, end) in self.windows(time) {
                let joins = match self.kind {
                    WindowKind::Aligned { .. } => false,
                    WindowKind::Session { gap } => {
                        self.open.iter().any(|other| other.key == key && (other.time - time).abs() <= gap.0)
                    }
                };
                if watermark.is_some_and(|watermark| end <= watermark) && !joins {
                    late.push((number, start, end));
                    continue;
                }
                let window = matches!(self.kind, WindowKind::Aligned { .. }).then_some((start, end));
                self.open.push(Accepted { key: key.clone(), time, window, epoch: self.epoch, row: row.clone() });
            }
        }
        late.sort_unstable();
        late
    }

    /// Open windows: key, start, end, and the places of their rows in order of
    /// arrival.
    fn groups(&self) -> Vec<(Key, i64, i64, Vec<usize>)> {
        let mut aligned: BTreeMap<(Key, i64, i64), Vec<usize>> = BTreeMap::new();
        let mut sessions: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (place, accepted) in self.open.iter().enumerate() {
            match accepted.window {
                Some((start, end)) => aligned.entry((accepted.key.clone(), start, end)).or_default().push(place),
                None => sessions.entry(accepted.key.clone()).or_default().push(place),
            }
        }
        let mut groups: Vec<_> =
            aligned.into_iter().map(|((key, start, end), places)| (key, start, end, places)).collect();
        let WindowKind::Session { gap } = self.kind else { return groups };
        for (key, mut places) in sessions {
            places.sort_by_key(|place| self.open[*place].time);
            let time = |place: &usize| self.open[*place].time;
            for session in places.chunk_by(|one, next| time(next) - time(one) <= gap.0) {
                let (start, end) = (time(&session[0]), time(session.last().unwrap()) + gap.0);
                let mut arrived = session.to_vec();
                arrived.sort_unstable();
                groups.push((key.clone(), start, end, arrived));
            }
        }
        groups
    }

    /// Close what ends at the watermark at the end of the epoch.
    pub(super) fn close<G>(
        &mut self,
        watermark: Option<i64>,
        summed: impl Fn(&[R]) -> G,
    ) -> Vec<(Key, i64, i64, G, bool)> {
        let mut emitted = Vec::new();
        let mut closed = Vec::new();
        for (key, start, end, places) in self.groups() {
            let rows: Vec<R> = places.iter().map(|place| self.open[*place].row.clone()).collect();
            if watermark.is_some_and(|watermark| end <= watermark) {
                emitted.push((key, start, end, summed(&rows), true));
                closed.extend(places);
            } else if self.emit == Emit::EachEpoch && places.iter().any(|place| self.open[*place].epoch == self.epoch) {
                emitted.push((key, start, end, summed(&rows), false));
            }
        }
        let mut place = 0;
        self.open.retain(|_| {
            place += 1;
            !closed.contains(&(place - 1))
        });
        self.epoch += 1;
        emitted
    }

    /// The end of the last open window.
    pub(super) fn latest_end(&self) -> Option<i64> {
        self.groups().into_iter().map(|(_, _, end, _)| end).max()
    }
}

/// The watermark over three partitions.
#[derive(Debug, Clone)]
pub(super) struct NaiveWatermark {
    pub(super) policy: Policy,
    pub(super) delay: i64,
    pub(super) idle_seconds: u32,
    /// Later rows do not move it.
    pub(super) limit: i64,
    pub(super) now: Option<i64>,
    /// The greatest event time of each partition, and when it was heard of.
    pub(super) partitions: [(Option<i64>, u32); PARTITIONS.len()],
    pub(super) seconds: u32,
}

impl NaiveWatermark {
    /// A partition counts as heard of when a run starts.
    pub(super) fn restart(&mut self) {
        self.partitions.iter_mut().for_each(|(_, heard)| *heard = self.seconds);
    }

    /// The end of an epoch.
    pub(super) fn advance(&mut self, epoch: &EpochInput) {
        self.seconds += epoch.seconds;
        for Row { partition, time, .. } in &epoch.rows {
            let (max, heard) = &mut self.partitions[*partition];
            *heard = self.seconds;
            *max = (*max).max(time.filter(|time| *time <= self.limit));
        }
        let counted =
            self.partitions.iter().zip(epoch.unread).filter(|((max, heard), unread)| {
                *unread || (max.is_some() && self.seconds - heard < self.idle_seconds)
            });
        let counted: Vec<Option<i64>> = counted.map(|((max, _), _)| *max).collect();
        let reached = match self.policy {
            Policy::Max => self.partitions.iter().filter_map(|(max, _)| *max).max(),
            // None is less than all: who counts without an event time holds all up.
            Policy::Min => counted.into_iter().min().flatten(),
        };
        self.now = self.now.max(reached.map(|max| max - self.delay));
    }
}
