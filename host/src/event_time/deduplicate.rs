//! The first row of its kind, and none that repeats it.
//!
//! A row repeats an earlier one if it has the same key and an event time less
//! than `within` after the first one's. A row without event time repeats nothing.

use arrow::array::BooleanArray;
use arrow::buffer::NullBuffer;

use super::groups::{Changed, Groups, Lifetime};
use super::is_event_time;
use super::keys::KeyRows;
use super::window::Window;
use crate::model::{EventTime, Span};

/// What the pipeline says about rows that come twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeduplicateSettings {
    /// The columns in which two rows are the same.
    pub by: Vec<String>,
    /// How long a row is remembered, from its event time on.
    pub within: Span,
}

/// The rows that are remembered.
#[derive(Debug)]
pub struct Deduplicator {
    within: i64,
    /// A group for each row that is remembered: from its event time until it is
    /// forgotten.
    groups: Groups,
}

impl Deduplicator {
    /// Remembers nothing yet.
    pub fn new(settings: &DeduplicateSettings) -> Self {
        Self { within: settings.within.0, groups: Groups::new(Lifetime::Key { forget_after: Some(settings.within) }) }
    }

    /// Which rows are the first of their kind. `times[i]` is the event time of
    /// row i, valid where `valid` says so.
    pub fn first(&mut self, keys: &KeyRows, times: &[i64], valid: Option<&NullBuffer>) -> BooleanArray {
        let is_first = |row: usize| {
            let time = valid.is_none_or(|valid| valid.is_valid(row)).then(|| times[row]);
            match time.filter(|time| is_event_time(*time)) {
                Some(time) => self.groups.remember(keys.get(row), time, self.within),
                None => true,
            }
        };
        (0..keys.len()).map(is_first).map(Some).collect()
    }

    /// Forget what is over at this watermark.
    pub fn forget(&mut self, watermark: EventTime) {
        for slot in self.groups.due(watermark) {
            self.groups.release(slot);
        }
    }

    /// A row that was remembered by an earlier run.
    pub fn restore(&mut self, keys: &KeyRows, row: usize, window: Window) {
        self.groups.restore(keys, row, window);
    }

    /// What is remembered.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// What the epoch has changed.
    pub fn end_epoch(&mut self) -> Changed {
        self.groups.end_epoch()
    }
}

impl Groups {
    /// Remember a row unless one like it is; whether it was new.
    fn remember(&mut self, (bytes, hash): (&[u8], u64), time: i64, within: i64) -> bool {
        let end = time + within;
        let slot = self.open_key(bytes, hash, end);
        let group = &mut self.slots[slot as usize];
        // A new group has just got this end.
        if group.has_state && time < group.end {
            return false;
        }
        (group.end, group.has_state) = (end, true);
        self.touch(slot);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

    use super::super::keys::KeyColumns;
    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
    }

    fn keys(columns: &KeyColumns, numbers: &[i64]) -> KeyRows {
        let batch = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(numbers.to_vec()))]);
        columns.rows(&batch.unwrap()).unwrap()
    }

    #[test]
    fn first_row_wins_until_it_is_forgotten() {
        let settings = DeduplicateSettings { by: vec!["id".to_owned()], within: Span(10) };
        let columns = KeyColumns::new(&settings.by, &schema()).unwrap();
        let mut rows = Deduplicator::new(&settings);
        let mut check = |ids: &[i64], times: &[i64], expected: &[bool]| {
            let first = rows.first(&keys(&columns, ids), times, None);
            assert_eq!(first.values().iter().collect::<Vec<_>>(), expected, "{ids:?} at {times:?}");
        };
        check(&[1, 2, 1, 1], &[100, 100, 105, 99], &[true, true, false, false]);
        // Ten after the first one it is a row of its own, and the first of new ones.
        check(&[1, 1, 2], &[110, 119, 109], &[true, false, false]);
        rows.forget(EventTime(120));
        assert!(rows.groups().is_empty());
        let first = rows.first(&keys(&columns, &[1]), &[119], None);
        assert!(first.value(0) && first.null_count() == 0);
    }
}
