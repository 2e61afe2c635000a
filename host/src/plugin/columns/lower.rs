//! Arrow → contract: borrowed where the buffers lie as the contract wants them.

use std::borrow::Cow;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};

use super::super::bindings::weir::plugin::columns as wit;
use crate::{Error, Result};

/// Columns in the contract's order, of which a call borrows.
pub(in super::super) struct Lowered<'a> {
    rows: u32,
    columns: Vec<Column<'a>>,
}

struct Column<'a> {
    validity: Option<Cow<'a, [u8]>>,
    values: Values<'a>,
}

enum Values<'a> {
    Boolean(Cow<'a, [u8]>),
    Int64(&'a [i64]),
    Float64(&'a [f64]),
    Utf8(Cow<'a, [i32]>, &'a [u8]),
    Binary(Cow<'a, [i32]>, &'a [u8]),
    Timestamp(&'a [i64]),
    List(Cow<'a, [i32]>),
    Struct,
}

impl<'a> Lowered<'a> {
    /// Prepare a batch whose columns have the contract's types.
    ///
    /// # Errors
    /// Bug if a type is not of the contract.
    pub(in super::super) fn new(batch: &'a RecordBatch) -> Result<Self> {
        let rows = u32::try_from(batch.num_rows()).map_err(|_| Error::bug("a chunk has more than 2^32 rows"))?;
        let mut columns = Vec::with_capacity(batch.num_columns());
        batch.columns().iter().try_for_each(|array| lower(array, &mut columns))?;
        Ok(Self { rows, columns })
    }

    /// The columns as the argument of a call; hand them to `batch`.
    pub(in super::super) fn params(&self) -> Vec<wit::ColumnParam<'_>> {
        self.columns
            .iter()
            .map(|column| wit::ColumnParam {
                validity: column.validity.as_deref(),
                values: match &column.values {
                    Values::Boolean(bits) => wit::ValuesParam::Boolean(bits),
                    Values::Int64(values) => wit::ValuesParam::Int64(values),
                    Values::Float64(values) => wit::ValuesParam::Float64(values),
                    Values::Utf8(offsets, data) => wit::ValuesParam::Utf8(wit::VarBytesParam { offsets, data }),
                    Values::Binary(offsets, data) => wit::ValuesParam::Binary(wit::VarBytesParam { offsets, data }),
                    Values::Timestamp(values) => wit::ValuesParam::Timestamp(values),
                    Values::List(offsets) => wit::ValuesParam::List(offsets),
                    Values::Struct => wit::ValuesParam::Struct,
                },
            })
            .collect()
    }

    /// The argument of a call, from the columns of `params`.
    pub(in super::super) fn batch<'b>(&self, columns: &'b [wit::ColumnParam<'b>]) -> wit::BatchParam<'b> {
        wit::BatchParam { rows: self.rows, columns }
    }
}

fn lower<'a>(array: &'a dyn Array, columns: &mut Vec<Column<'a>>) -> Result<()> {
    let validity = array.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| bits(nulls.inner()));
    let mut push = |values| columns.push(Column { validity: validity.clone(), values });
    match array.data_type() {
        DataType::Boolean => {
            let array: &BooleanArray = array.as_boolean();
            push(Values::Boolean(bits(array.values())));
        }
        DataType::Int64 => push(Values::Int64(array.as_primitive::<Int64Type>().values())),
        DataType::Float64 => push(Values::Float64(array.as_primitive::<Float64Type>().values())),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            push(Values::Timestamp(array.as_primitive::<TimestampMicrosecondType>().values()));
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            let (offsets, range) = rebase(array.offsets());
            push(Values::Utf8(offsets, &array.value_data()[range]));
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            let (offsets, range) = rebase(array.offsets());
            push(Values::Binary(offsets, &array.value_data()[range]));
        }
        DataType::List(_) => {
            let array = array.as_list::<i32>();
            let (offsets, range) = rebase(array.offsets());
            push(Values::List(offsets));
            if range.len() != array.values().len() {
                return Err(Error::bug("a list column was sliced; compact it before lowering"));
            }
            lower(array.values(), columns)?;
        }
        DataType::Struct(_) => {
            push(Values::Struct);
            array.as_struct().columns().iter().try_for_each(|child| lower(child, columns))?;
        }
        other => return Err(Error::bug(format!("the type {other} is not of the plugin contract"))),
    }
    Ok(())
}

/// The bits from the first byte on; copied if a slice starts within a byte.
fn bits(buffer: &BooleanBuffer) -> Cow<'_, [u8]> {
    let bytes = buffer.len().div_ceil(8);
    if buffer.offset().is_multiple_of(8) {
        Cow::Borrowed(&buffer.values()[buffer.offset() / 8..][..bytes])
    } else {
        Cow::Owned(buffer.sliced().as_slice()[..bytes].to_vec())
    }
}

/// The offsets from 0 on, copied if a slice has shifted them, and the range of
/// the values that they span.
fn rebase(offsets: &OffsetBuffer<i32>) -> (Cow<'_, [i32]>, std::ops::Range<usize>) {
    let index = |offset: i32| usize::try_from(offset).expect("invariant: Arrow offsets are not negative");
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let rebased = match first {
        0 => Cow::Borrowed(&offsets[..]),
        first => Cow::Owned(offsets.iter().map(|offset| offset - first).collect()),
    };
    (rebased, index(first)..index(last))
}
