//! The statistics of a file for its `add` action, from its Parquet footer
//! (Delta protocol, "Per-file Statistics").
//!
//! Readers skip files by them, so a bound is either true for every row or left
//! out: a lower bound may be lower and an upper bound higher than the values.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Fields, Float64Type};
use chrono::{DateTime, Datelike};
use parquet::basic::LogicalType;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Map, Value, json};

/// How many leaf columns have statistics where `delta.dataSkippingNumIndexedCols`
/// does not say.
pub(super) const INDEXED_COLUMNS: usize = 32;

/// The longest text in a bound, in characters.
const MAX_TEXT_CHARS: usize = 32;

/// The statistics as the log has them. `has_nan`: for each leaf column, whether
/// any of its values is NaN, which Parquet leaves out of its bounds.
pub(super) fn stats(metadata: &ParquetMetaData, has_nan: &[bool], indexed: usize) -> Value {
    let (mut min_values, mut max_values, mut null_count) = (Map::new(), Map::new(), Map::new());
    let leaves = metadata.file_metadata().schema_descr().columns();
    for (leaf, column) in leaves.iter().enumerate().take(indexed) {
        // The footer counts the elements of lists, the log wants the lists.
        if column.max_rep_level() > 0 {
            continue;
        }
        let path = column.path().parts();
        if let Some(nulls) = nulls(metadata, leaf) {
            insert(&mut null_count, path, json!(nulls));
        }
        if has_nan.get(leaf).copied().unwrap_or(false) {
            continue;
        }
        if let Some((min, max)) = bounds(metadata, leaf) {
            if let Some(min) = min.lower(column) {
                insert(&mut min_values, path, min);
            }
            if let Some(max) = max.upper(column) {
                insert(&mut max_values, path, max);
            }
        }
    }
    json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": min_values,
        "maxValues": max_values,
        "nullCount": null_count,
    })
}

fn insert(into: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => {
            into.insert(name.clone(), value);
        }
        [name, rest @ ..] => {
            if let Value::Object(inner) = into.entry(name).or_insert_with(|| json!({})) {
                insert(inner, rest, value);
            }
        }
    }
}

fn nulls(metadata: &ParquetMetaData, leaf: usize) -> Option<u64> {
    metadata.row_groups().iter().map(|group| group.column(leaf).statistics()?.null_count_opt()).sum()
}

/// A bound in the order of its column.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Bound {
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(Vec<u8>),
}

/// The least and greatest value over all row groups, if every group knows its own.
fn bounds(metadata: &ParquetMetaData, leaf: usize) -> Option<(Bound, Bound)> {
    let mut found: Option<(Bound, Bound)> = None;
    for group in metadata.row_groups() {
        let column = group.column(leaf);
        let statistics = column.statistics()?;
        let values = u64::try_from(column.num_values()).ok()?;
        if statistics.null_count_opt() == Some(values) {
            continue;
        }
        let (min, max) = group_bounds(statistics)?;
        found = Some(match found {
            None => (min, max),
            Some((least, greatest)) => {
                (if min < least { min } else { least }, if max > greatest { max } else { greatest })
            }
        });
    }
    found
}

fn group_bounds(statistics: &Statistics) -> Option<(Bound, Bound)> {
    match statistics {
        Statistics::Boolean(of) => Some((Bound::Boolean(*of.min_opt()?), Bound::Boolean(*of.max_opt()?))),
        Statistics::Int64(of) => Some((Bound::Integer(*of.min_opt()?), Bound::Integer(*of.max_opt()?))),
        Statistics::Double(of) => Some((Bound::Double(*of.min_opt()?), Bound::Double(*of.max_opt()?))),
        Statistics::ByteArray(of) => {
            Some((Bound::Text(of.min_bytes_opt()?.to_vec()), Bound::Text(of.max_bytes_opt()?.to_vec())))
        }
        _ => None,
    }
}

impl Bound {
    /// As a lower bound in JSON, rounded down.
    fn lower(self, column: &ColumnDescriptor) -> Option<Value> {
        match self {
            Self::Integer(us) if is_timestamp(column) => timestamp(us.div_euclid(1000)),
            Self::Text(bytes) => {
                let text = text(bytes, column)?;
                Some(text.chars().take(MAX_TEXT_CHARS).collect::<String>().into())
            }
            other => other.plain(),
        }
    }

    /// As an upper bound in JSON, rounded up.
    fn upper(self, column: &ColumnDescriptor) -> Option<Value> {
        match self {
            Self::Integer(us) if is_timestamp(column) => {
                timestamp(us.div_euclid(1000) + i64::from(us.rem_euclid(1000) != 0))
            }
            Self::Text(bytes) => round_up(&text(bytes, column)?).map(Value::from),
            other => other.plain(),
        }
    }

    fn plain(self) -> Option<Value> {
        match self {
            Self::Boolean(value) => Some(value.into()),
            Self::Integer(value) => Some(value.into()),
            Self::Double(value) if value.is_finite() => Some(value.into()),
            Self::Double(_) | Self::Text(_) => None,
        }
    }
}

fn is_timestamp(column: &ColumnDescriptor) -> bool {
    matches!(column.logical_type_ref(), Some(LogicalType::Timestamp(_)))
}

/// Text is bounded by its characters; binary has no bounds in the log.
fn text(bytes: Vec<u8>, column: &ColumnDescriptor) -> Option<String> {
    let is_text = matches!(column.logical_type_ref(), Some(LogicalType::String));
    if is_text { String::from_utf8(bytes).ok() } else { None }
}

fn timestamp(ms: i64) -> Option<Value> {
    let time = DateTime::from_timestamp_millis(ms)?;
    (0..=9999).contains(&time.year()).then(|| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into())
}

/// The text itself if it is short, else the least short text above it.
fn round_up(text: &str) -> Option<String> {
    let mut chars: Vec<char> = text.chars().take(MAX_TEXT_CHARS + 1).collect();
    if chars.len() <= MAX_TEXT_CHARS {
        return Some(text.to_owned());
    }
    chars.truncate(MAX_TEXT_CHARS);
    while let Some(last) = chars.pop() {
        // The range skips what is not a character.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// How many leaf columns these fields have.
pub(super) fn leaves(fields: &Fields) -> usize {
    fields.iter().map(|field| leaves_of(field.data_type())).sum()
}

fn leaves_of(kind: &DataType) -> usize {
    match kind {
        DataType::Struct(fields) => leaves(fields),
        DataType::List(element) => leaves_of(element.data_type()),
        _ => 1,
    }
}

/// Note which leaf columns have NaN in them; `has_nan` has one entry a leaf.
pub(super) fn note_nan(columns: &[ArrayRef], has_nan: &mut [bool]) {
    let mut leaf = 0;
    for column in columns {
        let count = leaves_of(column.data_type());
        match column.data_type() {
            DataType::Float64 => {
                // Without an early end this is a vector instruction a few values.
                let values = column.as_primitive::<Float64Type>().values();
                has_nan[leaf] |= values.iter().fold(false, |any, value| any | value.is_nan());
            }
            DataType::Struct(_) => note_nan(column.as_struct().columns(), &mut has_nan[leaf..leaf + count]),
            _ => {}
        }
        leaf += count;
    }
}
