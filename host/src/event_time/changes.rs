//! What an epoch changed in the groups of a step, as bytes for the checkpoint.
//!
//! The bytes are Arrow IPC streams, one behind the other, so that segments are
//! merged by putting them together: a later entry for a group replaces an
//! earlier one, and an entry without a state removes it. The columns are the key
//! columns, `window_start`, `window_end` and `state`.
//!
//! That no byte is damaged is for the checkpoint to find, which knows the digest of
//! each segment; here it counts that they are of this step.

use std::collections::HashSet;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryBuilder, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use super::groups::{Changed, Group, Groups};
use super::keys::{KeyColumns, KeyRows};
use super::window::Window;
use crate::model::EventTime;
use crate::{Error, Result};

/// Entries in one batch: their states are in memory twice while it is written.
const ENTRIES_PER_BATCH: usize = 65_536;

/// The columns of the durable state of a step.
#[derive(Debug, Clone)]
pub struct StateColumns {
    keys: KeyColumns,
    schema: SchemaRef,
}

/// Groups that were kept, as the columns of one batch.
#[derive(Debug)]
pub struct Kept {
    /// The keys.
    pub keys: KeyRows,
    /// The windows.
    pub windows: Vec<Window>,
    /// The states; none for a group that was removed.
    pub states: Vec<Option<Arc<[u8]>>>,
}

/// One entry: the key, the window, and the state unless it is removed.
type Entry<'a> = (&'a [u8], Window, Option<&'a [u8]>);

impl StateColumns {
    /// The columns for a step with these keys, out of rows of this schema.
    pub fn new(keys: &KeyColumns, rows: &Schema) -> Self {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let key = |(number, index): (usize, &usize)| {
            Field::new(format!("key{number}"), rows.field(*index).data_type().clone(), true)
        };
        let mut fields: Vec<Field> = keys.indices().iter().enumerate().map(key).collect();
        fields.push(Field::new("window_start", time.clone(), false));
        fields.push(Field::new("window_end", time, false));
        fields.push(Field::new("state", DataType::Binary, true));
        Self { keys: keys.clone(), schema: Arc::new(Schema::new(fields)) }
    }

    /// What an epoch changed; `state` knows the state of a slot.
    ///
    /// # Errors
    /// Bug if the groups are not of this step.
    pub fn changed<'a>(
        &self,
        groups: &'a Groups,
        changed: &'a Changed,
        state: impl Fn(u32) -> Option<&'a [u8]>,
    ) -> Result<Bytes> {
        let removed = changed.removed.iter().map(|(key, start)| {
            let window = Window { start: *start, end: *start };
            (&**key, window, None)
        });
        let updated = changed.updated.iter().map(|slot| entry(groups.group(*slot), state(*slot)));
        self.encode(removed.chain(updated))
    }

    /// All groups that are open.
    ///
    /// # Errors
    /// Bug if the groups are not of this step.
    pub fn all<'a>(&self, groups: &'a Groups, state: impl Fn(u32) -> Option<&'a [u8]>) -> Result<Bytes> {
        self.encode(groups.open_groups().map(|slot| entry(groups.group(slot), state(slot))))
    }

    fn encode<'a>(&self, entries: impl Iterator<Item = Entry<'a>>) -> Result<Bytes> {
        let unwritable = |error| Error::bug("the state of groups cannot be written").because(error);
        let mut writer = StreamWriter::try_new(Vec::new(), &self.schema).map_err(unwritable)?;
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            let batch: Vec<Entry<'a>> = entries.by_ref().take(ENTRIES_PER_BATCH).collect();
            writer.write(&self.batch(&batch)?).map_err(unwritable)?;
        }
        Ok(writer.into_inner().map_err(unwritable)?.into())
    }

    fn batch(&self, entries: &[Entry<'_>]) -> Result<RecordBatch> {
        let time = |pick: fn(&Window) -> EventTime| -> ArrayRef {
            let times = entries.iter().map(|(_, window, _)| pick(window).0);
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        };
        let mut states = BinaryBuilder::new();
        entries.iter().for_each(|(_, _, state)| states.append_option(*state));
        let mut columns = self.keys.columns(entries.iter().map(|(key, _, _)| *key))?;
        columns.extend([time(|window| window.start), time(|window| window.end), Arc::new(states.finish())]);
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| Error::bug("the state of groups does not fit together").because(error))
    }

    /// The groups that segments hold, oldest segment first, without those that
    /// were replaced or removed later.
    ///
    /// # Errors
    /// Corrupt if a segment is not of this step.
    pub fn restore(&self, segments: &[Bytes]) -> Result<Vec<Kept>> {
        let mut all: Vec<Kept> = Vec::new();
        for segment in segments {
            let mut rest = Cursor::new(segment.as_ref());
            while usize::try_from(rest.position()).is_ok_and(|position| position < segment.len()) {
                let reader = StreamReader::try_new(&mut rest, None).map_err(foreign)?;
                if reader.schema().fields() != self.schema.fields() {
                    return Err(foreign("its columns are those of another step"));
                }
                for batch in reader {
                    all.push(self.kept(&batch.map_err(foreign)?)?);
                }
            }
        }
        // The latest entry of each group comes first now.
        let mut seen: HashSet<(Box<[u8]>, EventTime), ahash::RandomState> = HashSet::default();
        for kept in all.iter_mut().rev() {
            for row in (0..kept.windows.len()).rev() {
                if !seen.insert((kept.keys.get(row).0.into(), kept.windows[row].start)) {
                    kept.states[row] = None;
                }
            }
        }
        Ok(all)
    }

    fn kept(&self, batch: &RecordBatch) -> Result<Kept> {
        let count = self.keys.indices().len();
        let keys = self.keys.of_columns(&batch.columns()[..count], batch.num_rows())?;
        let time = |index: usize| batch.column(count + index).as_primitive::<TimestampMicrosecondType>().values();
        let windows = time(0).iter().zip(time(1).iter());
        let windows = windows.map(|(start, end)| Window { start: EventTime(*start), end: EventTime(*end) }).collect();
        let states = batch.column(count + 2).as_binary::<i32>();
        let states = states.iter().map(|state| state.map(Arc::from)).collect();
        Ok(Kept { keys, windows, states })
    }
}

fn entry<'a>(group: Group<'a>, state: Option<&'a [u8]>) -> Entry<'a> {
    (group.key, group.window, state)
}

fn foreign(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::corrupt("a segment of the state of groups cannot be read: restore the checkpoint from a copy")
        .because(reason)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::super::groups::Lifetime;
    use super::super::window::WindowKind;
    use super::*;
    use crate::ErrorKind;
    use crate::model::Span;

    fn schema(kind: DataType) -> Schema {
        Schema::new(vec![Field::new("id", kind, true)])
    }

    /// Tumbling windows of five, by `id`.
    struct Step {
        keys: KeyColumns,
        columns: StateColumns,
        groups: Groups,
    }

    impl Step {
        fn new() -> Self {
            let schema = schema(DataType::Int64);
            let keys = KeyColumns::new(&["id".to_owned()], &schema).unwrap();
            let kind = WindowKind::Aligned { size: Span(5), slide: Span(5), offset: Span(0) };
            let columns = StateColumns::new(&keys, &schema);
            Self { keys, columns, groups: Groups::new(Lifetime::Window(kind)) }
        }

        /// The segment of an epoch with rows of these ids and times, which then
        /// closes what ends at the watermark; all states are `state`.
        fn epoch(&mut self, rows: &[(i64, i64)], watermark: i64, state: &[u8]) -> Bytes {
            let (ids, times): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
            let batch = RecordBatch::try_new(Arc::new(schema(DataType::Int64)), vec![Arc::new(Int64Array::from(ids))]);
            let keys = self.keys.rows(&batch.unwrap()).unwrap();
            self.groups.assign(&keys, (&times, None, None), (0, 1), None);
            for slot in self.groups.due(EventTime(watermark)) {
                self.groups.release(slot);
            }
            let changed = self.groups.end_epoch();
            self.columns.changed(&self.groups, &changed, |_| Some(state)).unwrap()
        }

        /// Id, start and state of what segments hold.
        fn restored(&self, segments: &[Bytes]) -> Vec<(i64, i64, Vec<u8>)> {
            let mut all = Vec::new();
            for kept in self.columns.restore(segments).unwrap() {
                let keys = self.keys.columns((0..kept.windows.len()).map(|row| kept.keys.get(row).0)).unwrap();
                let ids = keys[0].as_primitive::<arrow::datatypes::Int64Type>();
                for (row, state) in kept.states.iter().enumerate() {
                    if let Some(state) = state {
                        all.push((ids.value(row), kept.windows[row].start.0, state.to_vec()));
                    }
                }
            }
            all.sort_unstable();
            all
        }
    }

    #[test]
    fn later_segments_replace_and_remove() {
        let mut step = Step::new();
        let segments = [
            step.epoch(&[(1, 0), (2, 0), (2, 7)], 0, b"first"),
            step.epoch(&[(2, 8), (3, -1)], 5, b"second"),
            step.epoch(&[(1, 1)], 0, b"third"),
        ];
        let left = [(1, 0, b"third".to_vec()), (2, 5, b"second".to_vec())];
        assert_eq!(step.restored(&segments), left, "3 came and went in one epoch; 1 came again");
        let merged: Bytes = segments.concat().into();
        assert_eq!(step.restored(std::slice::from_ref(&merged)), left, "merging is putting together");
        let whole = step.columns.all(&step.groups, |_| Some(b"whole")).unwrap();
        assert_eq!(step.restored(&[merged, whole]), [(1, 0, b"whole".to_vec()), (2, 5, b"whole".to_vec())]);
        assert_eq!(step.restored(&[]), []);
    }

    #[test]
    fn empty_segment_holds_nothing() {
        let mut step = Step::new();
        let none = step.epoch(&[], 0, b"");
        assert_eq!(step.restored(&[none]), []);
    }

    #[test]
    fn segment_of_another_step_is_corrupt() {
        let mut step = Step::new();
        let segment = step.epoch(&[(1, 0)], 0, b"state");
        for other in [schema(DataType::Utf8), schema(DataType::Boolean)] {
            let keys = KeyColumns::new(&["id".to_owned()], &other).unwrap();
            let error = StateColumns::new(&keys, &other).restore(std::slice::from_ref(&segment)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        let text = RecordBatch::try_new(
            Arc::new(schema(DataType::Utf8)),
            vec![Arc::new(StringArray::from(vec!["state"])) as ArrayRef],
        );
        let mut writer = StreamWriter::try_new(Vec::new(), &schema(DataType::Utf8)).unwrap();
        writer.write(&text.unwrap()).unwrap();
        let error = step.columns.restore(&[writer.into_inner().unwrap().into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn cut_segment_is_corrupt_and_never_a_panic() {
        let mut step = Step::new();
        let segment = step.epoch(&[(1, 0), (2, 0), (3, 7)], 0, b"state");
        for length in 1..segment.len() {
            // A stream may be cut where a batch ends, which only its digest tells.
            if let Err(error) = step.columns.restore(&[segment.slice(..length)]) {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {length}");
            }
        }
        for garbage in [&b"x"[..], &[0; 100], &[0xff; 100]] {
            let mut bytes = segment.to_vec();
            bytes.extend_from_slice(garbage);
            let error = step.columns.restore(&[bytes.into()]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{garbage:?} behind it");
        }
    }
}
