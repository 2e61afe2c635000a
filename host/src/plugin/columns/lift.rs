//! Contract → Arrow: every buffer checked, then adopted without a copy.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};

use super::super::bindings::weir::plugin::columns as wit;
use super::super::state::States;

/// Columns that no field has taken yet.
type Columns = std::vec::IntoIter<wit::ColumnResult>;

/// Check a batch against the schema that the plugin announced and adopt it.
///
/// Fails with the name of the column, and where it can be told the row.
pub(in super::super) fn lift(
    batch: wit::BatchResult,
    schema: &SchemaRef,
    max_rows: usize,
) -> Result<RecordBatch, String> {
    let rows = batch.rows as usize;
    if rows > max_rows {
        return Err(format!("{rows} rows, more than the {max_rows} that one call may return"));
    }
    let mut columns = batch.columns.into_iter();
    let arrays: Result<Vec<ArrayRef>, String> =
        schema.fields().iter().map(|field| column(field, rows, &mut columns)).collect();
    let arrays = arrays?;
    let more = columns.count();
    if more > 0 {
        return Err(format!("{more} more columns than the schema has"));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options).map_err(|error| error.to_string())
}

fn column(field: &Field, rows: usize, columns: &mut Columns) -> Result<ArrayRef, String> {
    let name = field.name();
    let column = columns.next().ok_or_else(|| format!("column `{name}` is missing"))?;
    let nulls = validity(field, rows, column.validity)?;
    let array: ArrayRef = match (field.data_type(), column.values) {
        (DataType::Boolean, wit::ValuesResult::Boolean(bits)) => {
            if bits.len() != rows.div_ceil(8) {
                return Err(format!("column `{name}` has {} bytes of bits for {rows} rows", bits.len()));
            }
            Arc::new(BooleanArray::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows), nulls))
        }
        (DataType::Int64, wit::ValuesResult::Int64(values)) => {
            expect_len(name, values.len(), rows)?;
            Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls))
        }
        (DataType::Float64, wit::ValuesResult::Float64(values)) => {
            expect_len(name, values.len(), rows)?;
            Arc::new(Float64Array::new(ScalarBuffer::from(values), nulls))
        }
        (DataType::Timestamp(_, zone), wit::ValuesResult::Timestamp(values)) => {
            expect_len(name, values.len(), rows)?;
            let array = TimestampMicrosecondArray::new(ScalarBuffer::from(values), nulls);
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        (DataType::Utf8, wit::ValuesResult::Utf8(bytes)) => Arc::new(texts(name, bytes, rows, nulls)?),
        (DataType::Binary, wit::ValuesResult::Binary(bytes)) => {
            let offsets = offsets(name, bytes.offsets, rows, bytes.data.len())?;
            Arc::new(BinaryArray::new(offsets, Buffer::from_vec(bytes.data), nulls))
        }
        (DataType::List(item), wit::ValuesResult::List(ends)) => list(name, item, rows, ends, nulls, columns)?,
        (DataType::Struct(fields), wit::ValuesResult::Struct) => {
            let children: Result<Vec<ArrayRef>, String> =
                fields.iter().map(|child| self::column(child, rows, columns)).collect();
            let array = StructArray::try_new(fields.clone(), children?, nulls);
            Arc::new(array.map_err(|error| format!("column `{name}`: {error}"))?)
        }
        (expected, found) => return Err(format!("column `{name}` holds {}, not {expected}", kind(&found))),
    };
    Ok(array)
}

/// Check a list of texts without nulls, one for each of `rows`, and adopt it.
pub(in super::super) fn lift_texts(name: &str, bytes: wit::VarBytesResult, rows: usize) -> Result<StringArray, String> {
    texts(name, bytes, rows, None)
}

/// Check a list of states, one for each of `groups`.
pub(in super::super) fn lift_states(bytes: wit::VarBytesResult, groups: usize) -> Result<States, String> {
    offsets("state", bytes.offsets.clone(), groups, bytes.data.len())?;
    Ok(States { offsets: bytes.offsets, data: bytes.data })
}

fn texts(
    name: &str,
    bytes: wit::VarBytesResult,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<StringArray, String> {
    let offsets = offsets(name, bytes.offsets, rows, bytes.data.len())?;
    expect_utf8(name, &offsets, &bytes.data)?;
    // SAFETY: `expect_utf8` has checked that every value is valid UTF-8.
    Ok(unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(bytes.data), nulls) })
}

fn list(
    name: &str,
    item: &FieldRef,
    rows: usize,
    ends: Vec<i32>,
    nulls: Option<NullBuffer>,
    columns: &mut Columns,
) -> Result<ArrayRef, String> {
    let last = ends.last().copied().unwrap_or(0);
    let items = usize::try_from(last).map_err(|_| format!("column `{name}` has a negative offset"))?;
    let offsets = offsets(name, ends, rows, items)?;
    let values = column(item, items, columns)?;
    let array = ListArray::try_new(Arc::clone(item), offsets, values, nulls);
    Ok(Arc::new(array.map_err(|error| format!("column `{name}`: {error}"))?))
}

fn validity(field: &Field, rows: usize, bits: Option<Vec<u8>>) -> Result<Option<NullBuffer>, String> {
    let Some(bits) = bits else { return Ok(None) };
    let name = field.name();
    if bits.len() != rows.div_ceil(8) {
        return Err(format!("column `{name}` has {} bytes of validity for {rows} rows", bits.len()));
    }
    let nulls = NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows));
    if nulls.null_count() == 0 {
        return Ok(None);
    }
    if !field.is_nullable() {
        return Err(format!("column `{name}` has {} nulls, but is not nullable", nulls.null_count()));
    }
    Ok(Some(nulls))
}

fn expect_len(name: &str, values: usize, rows: usize) -> Result<(), String> {
    if values == rows { Ok(()) } else { Err(format!("column `{name}` has {values} values for {rows} rows")) }
}

fn offsets(name: &str, offsets: Vec<i32>, rows: usize, data_len: usize) -> Result<OffsetBuffer<i32>, String> {
    if offsets.len() != rows + 1 {
        return Err(format!("column `{name}` has {} offsets for {rows} rows, expected {}", offsets.len(), rows + 1));
    }
    if offsets[0] != 0 {
        return Err(format!("column `{name}` has the first offset {}, expected 0", offsets[0]));
    }
    if let Some(row) = offsets.windows(2).position(|pair| pair[1] < pair[0]) {
        return Err(format!("column `{name}` has offsets that decrease at row {row}"));
    }
    if usize::try_from(offsets[rows]) != Ok(data_len) {
        return Err(format!("column `{name}` ends at offset {}, but has {data_len} values", offsets[rows]));
    }
    // SAFETY: checked above: not empty, not negative, never decreasing.
    Ok(unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(offsets)) })
}

/// Checks all values at once; the boundaries between them matter only where the
/// data is not plain ASCII.
fn expect_utf8(name: &str, offsets: &OffsetBuffer<i32>, data: &[u8]) -> Result<(), String> {
    if data.is_ascii() {
        return Ok(());
    }
    let value = |row: usize| &data[offsets[row] as usize..offsets[row + 1] as usize];
    let whole = std::str::from_utf8(data)
        .is_ok_and(|text| offsets.iter().all(|offset| text.is_char_boundary(*offset as usize)));
    if whole {
        return Ok(());
    }
    let broken = (0..offsets.len() - 1).find(|row| std::str::from_utf8(value(*row)).is_err());
    Err(format!("column `{name}` is not valid UTF-8 at row {}", broken.unwrap_or(0)))
}

fn kind(values: &wit::ValuesResult) -> &'static str {
    match values {
        wit::ValuesResult::Boolean(_) => "boolean",
        wit::ValuesResult::Int64(_) => "int64",
        wit::ValuesResult::Float64(_) => "float64",
        wit::ValuesResult::Utf8(_) => "utf8",
        wit::ValuesResult::Binary(_) => "binary",
        wit::ValuesResult::Timestamp(_) => "timestamp",
        wit::ValuesResult::List(_) => "list",
        wit::ValuesResult::Struct => "struct",
    }
}
