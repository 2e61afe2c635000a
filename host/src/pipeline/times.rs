//! What the event times of a chunk say.

use super::steps::Times;
use crate::event_time::Observed;
use crate::model::{EventTime, PartitionId};
use crate::source::Chunk;

/// The one partition of a source that has none.
const ALL: &str = "all";

/// The event times of some rows, summed up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TimeStats {
    pub(super) min: Option<i64>,
    pub(super) max: Option<i64>,
    /// Of all that count.
    sum: i128,
    count: u64,
    /// Rows without an event time.
    pub(super) missing: u64,
    /// Rows too far ahead of the clock to move the watermark.
    pub(super) ahead: u64,
}

impl TimeStats {
    pub(super) fn merge(&mut self, other: &Self) {
        self.min = self.min.into_iter().chain(other.min).min();
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
        self.missing += other.missing;
        self.ahead += other.ahead;
    }

    /// The mean of the event times, if there are any.
    pub(super) fn mean(&self) -> Option<i64> {
        (self.count > 0).then(|| i64::try_from(self.sum / i128::from(self.count)).unwrap_or(i64::MAX))
    }
}

/// How event times are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeRule {
    /// The column of the rows that holds them.
    pub(super) column: usize,
    /// How far ahead of the clock they may move the watermark.
    pub(super) max_future_skew: i64,
    /// Whether each place of the source has a time of its own.
    pub(super) has_partitions: bool,
}

impl TimeRule {
    /// Sum up the event times of rows; `messages[i]` is the message of row i.
    pub(super) fn measure(
        &self,
        times: &Times,
        messages: &[u32],
        chunk: &Chunk,
        clock_us: i64,
    ) -> (TimeStats, Vec<Observed>) {
        let limit = clock_us.saturating_add(self.max_future_skew);
        let mut stats = TimeStats::default();
        let places = if self.has_partitions { chunk.places.len().max(1) } else { 1 };
        let mut latest: Vec<Option<i64>> = vec![None; places];
        for (row, time) in times.values().iter().copied().enumerate() {
            if times.valid().is_some_and(|valid| valid.is_null(row)) {
                stats.missing += 1;
                continue;
            }
            stats.min = Some(stats.min.map_or(time, |min| min.min(time)));
            stats.max = Some(stats.max.map_or(time, |max| max.max(time)));
            stats.sum += i128::from(time);
            stats.count += 1;
            if time > limit {
                stats.ahead += 1;
                continue;
            }
            let place = if places == 1 { 0 } else { chunk.place_index(messages[row] as usize) };
            latest[place] = latest[place].max(Some(time));
        }
        let name = |place: usize| match chunk.places.get(place).filter(|_| self.has_partitions) {
            Some(place) => place.name.to_string(),
            None => ALL.to_owned(),
        };
        let observed = latest
            .into_iter()
            .enumerate()
            .map(|(place, max)| Observed { partition: PartitionId(name(place)), max: max.map(EventTime) });
        (stats, observed.collect())
    }
}
