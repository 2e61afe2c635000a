//! The message fields of an event hub, gathered only when asked for.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int64Array, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;

use crate::event_hubs::Message;
use crate::{Error, Result};

/// All message fields of an event hub.
pub(super) fn all_fields() -> SchemaRef {
    Arc::new(Schema::new(HubField::ALL.map(HubField::field).to_vec()))
}

/// A message field of an event hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HubField {
    Body,
    Partition,
    Offset,
    SequenceNumber,
    EnqueuedTime,
    Publisher,
    PartitionKey,
    Properties,
    SystemProperties,
}

impl HubField {
    const ALL: [Self; 9] = [
        Self::Body,
        Self::Partition,
        Self::Offset,
        Self::SequenceNumber,
        Self::EnqueuedTime,
        Self::Publisher,
        Self::PartitionKey,
        Self::Properties,
        Self::SystemProperties,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::SequenceNumber => "sequence_number",
            Self::EnqueuedTime => "enqueued_time",
            Self::Publisher => "publisher",
            Self::PartitionKey => "partition_key",
            Self::Properties => "properties",
            Self::SystemProperties => "system_properties",
        }
    }

    /// The fields of these names.
    ///
    /// # Errors
    /// Config if there is no field of a name.
    pub(super) fn named(names: &[String]) -> Result<Arc<[Self]>> {
        let named = |name: &String| {
            Self::ALL.into_iter().find(|field| field.name() == name).ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                Error::config(format!("an event hub has no message field `{name}`: there are {known}"))
            })
        };
        names.iter().map(named).collect()
    }

    fn field(self) -> Field {
        let (data_type, nullable) = match self {
            Self::Body => (DataType::Binary, false),
            Self::Partition => (DataType::Utf8, false),
            Self::SequenceNumber => (DataType::Int64, false),
            Self::EnqueuedTime => (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Self::Offset | Self::Publisher | Self::PartitionKey | Self::Properties | Self::SystemProperties => {
                (DataType::Utf8, true)
            }
        };
        Field::new(self.name(), data_type, nullable)
    }
}

/// The columns that a message brings with it, as they grow.
pub(super) struct Gathering {
    columns: Vec<(HubField, Growing)>,
}

enum Growing {
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Gathering {
    /// Nothing yet, of these fields.
    pub(super) fn new(fields: &[HubField]) -> Self {
        let growing = |field: &HubField| match field {
            // The place of a message and the payload say these.
            HubField::Body | HubField::Partition | HubField::SequenceNumber => None,
            HubField::EnqueuedTime => Some(Growing::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC"))),
            HubField::Offset
            | HubField::Publisher
            | HubField::PartitionKey
            | HubField::Properties
            | HubField::SystemProperties => Some(Growing::Text(StringBuilder::new())),
        };
        Self { columns: fields.iter().filter_map(|field| Some((*field, growing(field)?))).collect() }
    }

    /// Add what a message brings; returns its bytes.
    pub(super) fn push(&mut self, message: &Message) -> usize {
        let mut bytes = 0;
        for (field, column) in &mut self.columns {
            bytes += match (field, column) {
                (_, Growing::Time(times)) => {
                    times.append_option(message.enqueued_us());
                    size_of::<i64>()
                }
                (HubField::Offset, Growing::Text(texts)) => append(texts, message.offset()),
                (HubField::Publisher, Growing::Text(texts)) => append(texts, message.publisher()),
                (HubField::PartitionKey, Growing::Text(texts)) => append(texts, message.partition_key()),
                (HubField::Properties, Growing::Text(texts)) => append(texts, message.properties().as_deref()),
                (_, Growing::Text(texts)) => append(texts, message.system_properties().as_deref()),
            };
        }
        bytes
    }

    /// The columns so far; begins anew.
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns
            .iter_mut()
            .map(|(_, column)| -> ArrayRef {
                match column {
                    Growing::Text(texts) => Arc::new(texts.finish()),
                    Growing::Time(times) => Arc::new(times.finish()),
                }
            })
            .collect()
    }
}

fn append(texts: &mut StringBuilder, text: Option<&str>) -> usize {
    texts.append_option(text);
    text.map_or(0, str::len) + size_of::<i32>()
}

/// The messages of a chunk, for the columns that their place and payload say.
pub(super) struct Messages<'a> {
    pub(super) payload: &'a Bytes,
    pub(super) offsets: &'a [i32],
    /// The name of the partition and the sequence numbers of each run of messages.
    pub(super) runs: &'a [(&'a str, std::ops::Range<u64>)],
    /// The columns that the messages brought, in the order of the fields.
    pub(super) gathered: Vec<ArrayRef>,
}

/// The message fields of a chunk.
///
/// # Errors
/// Bug if the columns do not fit together.
pub(super) fn build(fields: &[HubField], messages: Messages<'_>) -> Result<RecordBatch> {
    let count = messages.offsets.len().saturating_sub(1);
    let mut gathered = messages.gathered.into_iter();
    let missing = || Error::bug("a message field of an event hub was not gathered");
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let column: ArrayRef = match field {
            HubField::Body => {
                let offsets = OffsetBuffer::new(messages.offsets.to_vec().into());
                Arc::new(BinaryArray::new(offsets, Buffer::from(messages.payload.clone()), None))
            }
            HubField::Partition => {
                let bytes =
                    messages.runs.iter().map(|(name, numbers)| name.len() as u64 * (numbers.end - numbers.start));
                let mut names = StringBuilder::with_capacity(count, usize::try_from(bytes.sum::<u64>()).unwrap_or(0));
                for (name, numbers) in messages.runs {
                    numbers.clone().for_each(|_| names.append_value(name));
                }
                Arc::new(names.finish())
            }
            HubField::SequenceNumber => {
                let numbers = messages.runs.iter().flat_map(|(_, numbers)| numbers.clone());
                let numbers: Vec<i64> = numbers.map(|number| i64::try_from(number).unwrap_or(i64::MAX)).collect();
                Arc::new(Int64Array::from(numbers))
            }
            HubField::EnqueuedTime
            | HubField::Offset
            | HubField::Publisher
            | HubField::PartitionKey
            | HubField::Properties
            | HubField::SystemProperties => gathered.next().ok_or_else(missing)?,
        };
        columns.push(column);
    }
    let schema = Schema::new(fields.iter().map(|field| field.field()).collect::<Vec<_>>());
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)
        .map_err(|error| Error::bug("the message fields of an event hub do not fit together").because(error))
}
