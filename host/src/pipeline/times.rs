//! What the event times of a chunk say.

use super::steps::Times;
use crate::event_time::{Observed, is_event_time};
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
    /// Rows without an event time, or with one that is none.
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
            if times.valid().is_some_and(|valid| valid.is_null(row)) || !is_event_time(time) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
    use arrow::datatypes::Schema;
    use bytes::Bytes;

    use super::*;
    use crate::source::{Place, Positions};

    /// Measures rows, each a message of the place before which its number is
    /// among `places`, at a clock of 1000 with a skew of 100.
    fn measure(times: &[Option<i64>], places: &[(usize, &str)], has_partitions: bool) -> (TimeStats, Vec<Observed>) {
        let array = TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
        let place = |(first_message, name): &(usize, &str)| Place {
            first_message: *first_message,
            name: (*name).into(),
            positions: Positions::Each(Vec::new()),
        };
        let chunk = Chunk {
            payload: Bytes::new(),
            offsets: vec![0; times.len() + 1],
            fields: RecordBatch::new_empty(Arc::new(Schema::empty())),
            places: places.iter().map(place).collect(),
            unreadable: Vec::new(),
            rows: None,
        };
        let messages: Vec<u32> = (0..).take(times.len()).collect();
        let rule = TimeRule { column: 0, max_future_skew: 100, has_partitions };
        rule.measure(&Times::of(&(Arc::new(array) as ArrayRef)), &messages, &chunk, 1000)
    }

    fn observed(partition: &str, max: Option<i64>) -> Observed {
        Observed { partition: PartitionId(partition.to_owned()), max: max.map(EventTime) }
    }

    #[test]
    fn rows_too_far_ahead_of_the_clock_count_and_move_nothing() {
        let (stats, seen) = measure(&[Some(1101), Some(5), Some(1100), None, Some(3000)], &[(0, "file")], false);
        assert_eq!((stats.min, stats.max, stats.mean()), (Some(5), Some(3000), Some(1301)));
        assert_eq!((stats.ahead, stats.missing), (2, 1));
        assert_eq!(seen, [observed(ALL, Some(1100))]);
        let (_, seen) = measure(&[Some(3000)], &[(0, "file")], false);
        assert_eq!(seen, [observed(ALL, None)]);
    }

    #[test]
    fn each_partition_has_a_time_of_its_own() {
        let times = [Some(5), Some(7), None, Some(-3)];
        let (_, seen) = measure(&times, &[(0, "0"), (2, "1"), (3, "2")], true);
        assert_eq!(seen, [observed("0", Some(7)), observed("1", None), observed("2", Some(-3))]);
        let (_, seen) = measure(&times, &[(0, "a"), (2, "b")], false);
        assert_eq!(seen, [observed(ALL, Some(7))]);
    }

    #[test]
    fn regression_instant_that_no_window_takes_is_missing() {
        let (stats, seen) = measure(&[Some(i64::MIN), Some(i64::MAX), Some(1 << 61), Some(8)], &[(0, "file")], false);
        assert_eq!((stats.missing, stats.ahead), (3, 0));
        assert_eq!((stats.min, stats.max), (Some(8), Some(8)));
        assert_eq!(seen, [observed(ALL, Some(8))]);
        let mut all = stats.clone();
        all.merge(&TimeStats::default());
        assert_eq!(all, stats);
    }
}
