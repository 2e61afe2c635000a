//! The message fields of generated readings, built only when asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::GeneratorSettings;
use crate::{Error, Result};

/// All message fields of generated readings: the partition, the offset, and
/// when the message was enqueued.
pub(super) fn all_fields() -> SchemaRef {
    Arc::new(Schema::new(GeneratorField::ALL.map(GeneratorField::field).to_vec()))
}

/// A message field of generated readings.
#[derive(Debug, Clone, Copy)]
pub(super) enum GeneratorField {
    Partition,
    Offset,
    EnqueuedTime,
}

impl GeneratorField {
    const ALL: [Self; 3] = [Self::Partition, Self::Offset, Self::EnqueuedTime];

    fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::EnqueuedTime => "enqueued_time",
        }
    }

    /// # Errors
    /// Config if there is no field of this name.
    pub(super) fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::config(format!("the generator has no message field `{name}`: there are {known}"))
        })
    }

    fn field(self) -> Field {
        let data_type = match self {
            Self::Partition => DataType::Utf8,
            Self::Offset => DataType::Int64,
            Self::EnqueuedTime => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        };
        Field::new(self.name(), data_type, false)
    }
}

/// The fields of the messages of one partition at these offsets.
///
/// # Errors
/// Bug if the columns do not fit together.
pub(super) fn build(
    settings: &GeneratorSettings,
    fields: &[GeneratorField],
    partition: u32,
    offsets: std::ops::Range<u64>,
) -> Result<RecordBatch> {
    let messages = usize::try_from(offsets.end - offsets.start).unwrap_or(usize::MAX);
    let columns = fields
        .iter()
        .map(|field| -> ArrayRef {
            match field {
                GeneratorField::Partition => {
                    let name = partition.to_string();
                    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, messages)))
                }
                GeneratorField::Offset => Arc::new(Int64Array::from_iter_values(
                    offsets.clone().map(|offset| i64::try_from(offset).unwrap_or(i64::MAX)),
                )),
                GeneratorField::EnqueuedTime => {
                    let times = offsets.clone().map(|offset| settings.enqueued_us(partition, offset));
                    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
                }
            }
        })
        .collect();
    let schema = Schema::new(fields.iter().map(|field| field.field()).collect::<Vec<_>>());
    let options = RecordBatchOptions::new().with_row_count(Some(messages));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)
        .map_err(|error| Error::bug("the message fields of the generator do not fit together").because(error))
}
