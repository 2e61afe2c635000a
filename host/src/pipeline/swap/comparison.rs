//! What two versions make of the same messages.
//!
//! Rows that come with a chunk are compared as soon as both versions have them, so
//! that little is held; what steps give is compared at the end of the epoch.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};

use crate::pipeline::flow::Moment;
use crate::pipeline::rows::json_of;
use crate::sink::dead_letter::DeadLetter;

/// Rows, and reasons of rejections, that are shown of each kind.
const SAMPLES: usize = 3;
/// A longer row is cut where it is shown.
const SAMPLE_CHARS: usize = 500;
/// Rows of steps that are held of each side and table.
const MAX_HELD_ROWS: usize = 1 << 20;
/// Names of columns that mean nothing but the place of a row among others.
const PLACES: &[&str] = &["alert_id"];

/// What a trial showed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Differences {
    /// The epochs that both ran.
    pub epochs: u32,
    /// The rows that both gave alike.
    pub same_rows: u64,
    /// The tables in which they differ.
    pub tables: BTreeMap<String, Difference>,
    /// Messages and rows that the old version rejected.
    pub rejected_old: u64,
    /// Messages and rows that the new version rejected.
    pub rejected_new: u64,
    /// Why the new version rejects what the old one does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The time within the old versions, in microseconds.
    pub inside_us_old: u64,
    /// The time within the new versions, in microseconds.
    pub inside_us_new: u64,
}

/// How the rows of a table differ.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Rows that only the old version gives.
    pub only_old: u64,
    /// Rows that only the new version gives.
    pub only_new: u64,
    /// Columns that only the old version gives; they are not compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns_only_old: Vec<String>,
    /// Columns that only the new version gives; they are not compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns_only_new: Vec<String>,
    /// Some of the rows that only the old version gives, as JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_old: Vec<String>,
    /// Some of the rows that only the new version gives, as JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_new: Vec<String>,
}

impl Differences {
    /// The differences in a line for people.
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        for (table, difference) in &self.tables {
            parts.push(format!(
                "table `{table}`: {} rows only from the old version, {} only from the new one",
                difference.only_old, difference.only_new
            ));
        }
        if parts.is_empty() {
            parts.push("the same rows".to_owned());
        }
        format!(
            "in {} epochs {} rows alike; {}; {} rejected by the old version, {} by the new one; {} ms within the old version, {} ms within the new one",
            self.epochs,
            self.same_rows,
            parts.join("; "),
            self.rejected_old,
            self.rejected_new,
            self.inside_us_old / 1000,
            self.inside_us_new / 1000
        )
    }
}

/// Takes in what both versions make of an epoch.
pub(in crate::pipeline) struct Comparison(Mutex<Compared>);

#[derive(Default)]
struct Compared {
    tables: Vec<Rows>,
    found: Differences,
    /// What the epoch under way adds, once it is prepared.
    reasons: [Vec<String>; 2],
}

/// The rows of one table that are not compared yet.
struct Rows {
    table: String,
    chunks: [VecDeque<RecordBatch>; 2],
    steps: [Vec<RecordBatch>; 2],
    held: [usize; 2],
}

const OLD: usize = 0;
const NEW: usize = 1;

impl Comparison {
    /// Of tables with these names.
    pub(super) fn new(tables: impl Iterator<Item = String>) -> Self {
        let rows = |table| Rows { table, chunks: Default::default(), steps: Default::default(), held: [0, 0] };
        Self(Mutex::new(Compared { tables: tables.map(rows).collect(), ..Compared::default() }))
    }

    /// Rows of the old version.
    pub(in crate::pipeline) fn old(&self, table: usize, rows: &RecordBatch, moment: Moment) {
        self.take(OLD, table, rows, moment);
    }

    /// Rows of the new version.
    pub(super) fn new_rows(&self, table: usize, rows: &RecordBatch, moment: Moment) {
        self.take(NEW, table, rows, moment);
    }

    /// What the old version rejects.
    pub(in crate::pipeline) fn old_letters(&self, letters: &[DeadLetter]) {
        self.reject(OLD, letters);
    }

    /// What the new version rejects.
    pub(super) fn new_letters(&self, letters: &[DeadLetter]) {
        self.reject(NEW, letters);
    }

    /// The epoch is over: compare what is left of it.
    pub(super) fn end_epoch(&self) {
        let mut compared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Compared { tables, found, reasons } = &mut *compared;
        for rows in tables {
            for side in [OLD, NEW] {
                let left = rows.chunks[side].drain(..);
                rows.steps[side].extend(left);
            }
            let [old, new] = std::mem::take(&mut rows.steps);
            compare(&rows.table, &old, &new, found);
            rows.held = [0, 0];
        }
        let [old, new] = std::mem::take(reasons);
        found.reasons.extend(new.into_iter().filter(|reason| !old.contains(reason)));
        found.reasons.sort_unstable();
        found.reasons.dedup();
        found.reasons.truncate(SAMPLES);
        found.epochs += 1;
    }

    /// What was found so far, of versions that took so long inside.
    pub(super) fn found(&self, inside_us: [u64; 2]) -> Differences {
        let compared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Differences { inside_us_old: inside_us[OLD], inside_us_new: inside_us[NEW], ..compared.found.clone() }
    }

    fn take(&self, side: usize, table: usize, batch: &RecordBatch, moment: Moment) {
        let mut compared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Compared { tables, found, .. } = &mut *compared;
        let Some(rows) = tables.get_mut(table) else { return };
        match moment {
            Moment::Chunk => {
                rows.chunks[side].push_back(batch.clone());
                let [old, new] = &mut rows.chunks;
                while let (Some(one), Some(other)) = (old.front(), new.front()) {
                    compare(&rows.table, std::slice::from_ref(one), std::slice::from_ref(other), found);
                    old.pop_front();
                    new.pop_front();
                }
            }
            Moment::Step => {
                rows.held[side] += batch.num_rows();
                // What is too much to hold is missing on both sides alike, if they are alike.
                if rows.held[side] <= MAX_HELD_ROWS {
                    rows.steps[side].push(batch.clone());
                }
            }
        }
    }

    fn reject(&self, side: usize, letters: &[DeadLetter]) {
        let mut compared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rejected = match side {
            OLD => &mut compared.found.rejected_old,
            _ => &mut compared.found.rejected_new,
        };
        *rejected += letters.len() as u64;
        let reasons = &mut compared.reasons[side];
        for letter in letters {
            if reasons.len() < SAMPLES && !reasons.contains(&letter.reason) {
                reasons.push(letter.reason.clone());
            }
        }
    }
}

/// Compare rows without regard to their order.
fn compare(table: &str, old: &[RecordBatch], new: &[RecordBatch], found: &mut Differences) {
    if old == new {
        found.same_rows += old.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        return;
    }
    let (old, only_old) = common(old, new);
    let (new, only_new) = common(new, &old);
    let counts = counted(&old, &new);
    let mut difference = Difference { columns_only_old: only_old, columns_only_new: only_new, ..Difference::default() };
    let Some(counts) = counts else {
        difference.only_old = old.iter().map(|batch| batch.num_rows() as u64).sum();
        difference.only_new = new.iter().map(|batch| batch.num_rows() as u64).sum();
        merge(found.tables.entry(table.to_owned()).or_default(), difference);
        return;
    };
    let mut same = old.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
    for (count, (side, batch, row)) in counts.into_values() {
        let Some(batches) = [&old, &new].get(side).copied() else { continue };
        let (rows, samples) = match count.cmp(&0) {
            std::cmp::Ordering::Greater => (&mut difference.only_old, &mut difference.samples_old),
            std::cmp::Ordering::Less => (&mut difference.only_new, &mut difference.samples_new),
            std::cmp::Ordering::Equal => continue,
        };
        *rows += count.unsigned_abs();
        if samples.len() < SAMPLES
            && let Ok(json) = json_of(&batches[batch].slice(row, 1))
        {
            samples.push(String::from_utf8_lossy(&json).trim().chars().take(SAMPLE_CHARS).collect());
        }
    }
    same = same.saturating_sub(difference.only_old);
    found.same_rows += same;
    let has_columns = difference.columns_only_old.len() + difference.columns_only_new.len() > 0;
    if difference.only_old + difference.only_new > 0 || has_columns {
        merge(found.tables.entry(table.to_owned()).or_default(), difference);
    }
}

fn merge(into: &mut Difference, other: Difference) {
    into.only_old += other.only_old;
    into.only_new += other.only_new;
    into.columns_only_old = other.columns_only_old;
    into.columns_only_new = other.columns_only_new;
    for (samples, more) in [(&mut into.samples_old, other.samples_old), (&mut into.samples_new, other.samples_new)] {
        samples.extend(more);
        samples.truncate(SAMPLES);
    }
}

/// The columns that the others have as well, and the names of those that only these
/// have.
fn common(batches: &[RecordBatch], others: &[RecordBatch]) -> (Vec<RecordBatch>, Vec<String>) {
    let (Some(schema), Some(other)) =
        (batches.first().map(RecordBatch::schema), others.first().map(RecordBatch::schema))
    else {
        return (batches.to_vec(), Vec::new());
    };
    let is_common = |field: &arrow::datatypes::Field| {
        other.field_with_name(field.name()).is_ok_and(|other| other.data_type() == field.data_type())
    };
    let (mut kept, mut only) = (Vec::new(), Vec::new());
    for (index, field) in schema.fields().iter().enumerate() {
        match is_common(field) {
            true if PLACES.contains(&field.name().as_str()) => {}
            true => kept.push((field.name().clone(), index)),
            false => only.push(field.name().clone()),
        }
    }
    // In an order that both sides have.
    kept.sort_unstable();
    let indices: Vec<usize> = kept.into_iter().map(|(_, index)| index).collect();
    (batches.iter().filter_map(|batch| batch.project(&indices).ok()).collect(), only)
}

/// Where a row is: the side, the batch and the row in it.
type Place = (usize, usize, usize);

/// By the bytes of a row, how much more often the first have it than the second, and
/// where one is.
type Counts = HashMap<Box<[u8]>, (i64, Place)>;

/// Count rows; none if rows of these columns cannot be compared.
fn counted(old: &[RecordBatch], new: &[RecordBatch]) -> Option<Counts> {
    let schema = old.first().or_else(|| new.first())?.schema();
    let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).ok()?;
    let mut counts = Counts::new();
    for (side, batches, step) in [(OLD, old, 1), (NEW, new, -1)] {
        for (index, batch) in batches.iter().enumerate() {
            let rows = converter.convert_columns(batch.columns()).ok()?;
            for (row, bytes) in rows.iter().enumerate() {
                let place = (side, index, row);
                let entry = counts.entry(Box::from(bytes.as_ref())).or_insert((0, place));
                entry.0 += step;
                if (entry.0 > 0) == (side == OLD) {
                    entry.1 = place;
                }
            }
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(numbers: &[i64], ids: &[&str]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        let ids: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
        RecordBatch::try_from_iter([("number", numbers), ("alert_id", ids)]).unwrap()
    }

    /// The rows that only the old and only the new version have, and those alike.
    fn check(old: &[RecordBatch], new: &[RecordBatch], expected: (u64, u64, u64)) {
        let mut found = Differences::default();
        compare("t", old, new, &mut found);
        let difference = found.tables.get("t").cloned().unwrap_or_default();
        assert_eq!((difference.only_old, difference.only_new, found.same_rows), expected, "{found:?}");
        assert_eq!(difference.samples_old.len() as u64, expected.0.min(SAMPLES as u64));
    }

    #[test]
    fn rows_are_compared_without_regard_to_order_batches_and_places() {
        let one = [batch(&[1, 2, 2], &["a", "b", "c"])];
        check(&one, &one, (0, 0, 3));
        check(&one, &[batch(&[2], &["x"]), batch(&[1, 2], &["y", "z"])], (0, 0, 3));
        check(&one, &[batch(&[2, 1], &["x", "y"])], (1, 0, 2));
        check(&one, &[batch(&[1, 2, 3], &["x", "y", "z"])], (1, 1, 2));
        check(&one, &[], (3, 0, 0));
        check(&[], &one, (0, 3, 0));
        check(&[], &[], (0, 0, 0));
    }

    #[test]
    fn columns_of_one_side_are_named_and_the_others_compared() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let old = RecordBatch::try_from_iter([("a", Arc::clone(&numbers)), ("b", Arc::clone(&numbers))]).unwrap();
        let new = RecordBatch::try_from_iter([("c", Arc::clone(&numbers)), ("a", numbers)]).unwrap();
        let mut found = Differences::default();
        compare("t", &[old], &[new], &mut found);
        let difference = &found.tables["t"];
        assert_eq!((difference.only_old, difference.only_new, found.same_rows), (0, 0, 1));
        assert_eq!(
            (&difference.columns_only_old[..], &difference.columns_only_new[..]),
            (&["b".to_owned()][..], &["c".to_owned()][..])
        );
    }
}
