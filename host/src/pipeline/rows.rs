//! Rows → the columns of each table; rejections → dead letters.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;

use crate::config::{ColumnFrom, TableColumn};
use crate::model::PluginIdentity;
use crate::plugin::{Rejection, spread};
use crate::sink::dead_letter::DeadLetter;
use crate::source::Chunk;
use crate::{Error, Result};

/// What the fields of messages may take for the rows of one chunk.
const MAX_FIELD_BYTES: usize = 1 << 30;

/// Where a column of a table comes from, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A column of the rows.
    Row(usize),
    /// A field of the message that the row came from.
    Message(usize),
    /// The clock of the epoch.
    EpochTime,
}

/// How the rows of one table are put together.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    schema: SchemaRef,
    origins: Vec<Origin>,
}

/// A column that a table asks for and that there is not: its index and why.
pub(super) type MissingColumn = (usize, String);

impl Projection {
    /// The projection of these columns, from rows and message fields of these
    /// schemas; all columns of the rows where none are named.
    ///
    /// Fails with everything that is missing.
    pub(super) fn new(
        columns: Option<&[TableColumn]>,
        rows: &Schema,
        fields: &Schema,
    ) -> std::result::Result<Self, Vec<MissingColumn>> {
        let Some(columns) = columns else {
            return Ok(Self {
                schema: Arc::new(rows.clone()),
                origins: (0..rows.fields().len()).map(Origin::Row).collect(),
            });
        };
        let (mut chosen, mut missing) = (Vec::new(), Vec::new());
        for (index, column) in &expanded(columns, rows) {
            match resolve(column, rows, fields) {
                Ok(found) => chosen.push(found),
                Err(why) => missing.push((*index, why)),
            }
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        let (fields, origins): (Vec<FieldRef>, Vec<Origin>) = chosen.into_iter().unzip();
        Ok(Self { schema: Arc::new(Schema::new(fields)), origins })
    }

    /// The schema of the table's rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of the table. `messages[i]` is the message that row i came from;
    /// `fields` has one row for each message.
    pub(super) fn apply(
        &self,
        rows: &RecordBatch,
        messages: &[u32],
        fields: &RecordBatch,
        clock_us: i64,
    ) -> Result<RecordBatch> {
        let indices = self.origins.iter().any(|origin| matches!(origin, Origin::Message(_)));
        let indices = indices.then(|| UInt32Array::from(messages.to_vec()));
        let column = |origin: &Origin| -> Result<ArrayRef> {
            match (origin, &indices) {
                (Origin::Row(index), _) => Ok(Arc::clone(rows.column(*index))),
                (Origin::Message(index), Some(indices)) => of_messages(fields.column(*index), indices),
                (Origin::Message(_), None) => Err(Error::bug("the messages of the rows are not known")),
                (Origin::EpochTime, _) => {
                    let times = TimestampMicrosecondArray::from_value(clock_us, rows.num_rows());
                    Ok(Arc::new(times.with_timezone("UTC")))
                }
            }
        };
        let columns = self.origins.iter().map(column).collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(unfit)
    }
}

/// The message field of each row; `messages[i]` is the message of row i.
///
/// # Errors
/// Plugin if so many rows come from a message that its field takes too much room.
pub(super) fn of_messages(field: &ArrayRef, messages: &UInt32Array) -> Result<ArrayRef> {
    let repeated = |reason| Error::plugin(format!("a plugin makes too many rows of a message: {reason}"));
    spread(field, messages, MAX_FIELD_BYTES).map_err(repeated)
}

pub(super) fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::bug("the columns of a table do not fit together").because(error)
}

/// The columns with their indices, where `*` stands for all columns of the rows
/// that no other column takes, by its source or its name.
pub(super) fn expanded(columns: &[TableColumn], rows: &Schema) -> Vec<(usize, TableColumn)> {
    let is_taken = |field: &FieldRef| {
        columns.iter().any(|column| {
            let is_source = matches!(&column.from, ColumnFrom::Row(name) if name == field.name());
            is_source || column.name.to_lowercase() == field.name().to_lowercase()
        })
    };
    let mut expanded = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        if column.from != ColumnFrom::Rest {
            expanded.push((index, column.clone()));
            continue;
        }
        let rest = rows.fields().iter().filter(|field| !is_taken(field));
        let column = |name: &String| TableColumn { name: name.clone(), from: ColumnFrom::Row(name.clone()) };
        expanded.extend(rest.map(|field| (index, column(field.name()))));
    }
    expanded
}

fn resolve(column: &TableColumn, rows: &Schema, fields: &Schema) -> std::result::Result<(FieldRef, Origin), String> {
    let named = |field: &Field| Arc::new(field.clone().with_name(&column.name));
    let among =
        |schema: &Schema| schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
    match &column.from {
        ColumnFrom::Row(name) => match rows.index_of(name) {
            Ok(index) => Ok((named(rows.field(index)), Origin::Row(index))),
            Err(_) => Err(format!("the rows have no column `{name}`, they have {}", among(rows))),
        },
        ColumnFrom::Message(name) => match fields.index_of(name) {
            Ok(index) => Ok((named(fields.field(index)), Origin::Message(index))),
            Err(_) if fields.fields().is_empty() => Err(format!(
                "there is no message field `{name}`: such a row comes from many messages, or the source has no fields"
            )),
            Err(_) => Err(format!("the source has no message field `{name}`, it has {}", among(fields))),
        },
        ColumnFrom::Rest => Err("`*` stands for several columns".to_owned()),
        ColumnFrom::EpochTime => {
            let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Ok((Arc::new(Field::new(&column.name, time, false)), Origin::EpochTime))
        }
    }
}

/// The dead letters of what a parser rejected. Of a message no more bytes are
/// kept than it has, however many of its elements are rejected.
pub(super) fn rejected_messages(plugin: &PluginIdentity, chunk: &Chunk, rejected: Vec<Rejection>) -> Vec<DeadLetter> {
    // The message of the latest rejections, and how many bytes of it are kept.
    let mut kept = (usize::MAX, 0);
    let letter = |rejection: Rejection| {
        let (place, position) = chunk.place_of(rejection.input);
        let at = |index: usize| usize::try_from(chunk.offsets[index]).unwrap_or(0);
        let (start, end) = (at(rejection.input), at(rejection.input + 1));
        if kept.0 != rejection.input {
            kept = (rejection.input, 0);
        }
        let range = rejection.span.map_or(start..end, |(from, to)| start + from as usize..start + to as usize);
        kept.1 += range.len();
        // Overlapping spans must not make more of a message than it has.
        let raw = (kept.1 <= end - start).then_some(range);
        // A copy, because a slice would keep the whole chunk in memory.
        let raw = raw.map(|range| Bytes::copy_from_slice(&chunk.payload[range]));
        DeadLetter {
            step: plugin.step.clone(),
            place: place.to_owned(),
            position,
            element: rejection.element,
            span: rejection.span.map(|(start, end)| (u64::from(start), u64::from(end))),
            reason: rejection.reason,
            plugin: Some(plugin.clone()),
            raw,
        }
    };
    rejected.into_iter().map(letter).collect()
}

/// The dead letters of what a transform rejected; their raw form is the row as
/// JSON. `messages[i]` is the message that row i came from.
pub(super) fn rejected_rows(
    plugin: &PluginIdentity,
    chunk: &Chunk,
    rows: &RecordBatch,
    messages: &[u32],
    rejected: Vec<Rejection>,
) -> Result<Vec<DeadLetter>> {
    let letter = |rejection: Rejection| {
        let (place, position) = chunk.place_of(messages.get(rejection.input).map_or(0, |message| *message as usize));
        Ok(DeadLetter {
            step: plugin.step.clone(),
            place: place.to_owned(),
            position,
            element: rejection.element,
            span: None,
            reason: rejection.reason,
            plugin: Some(plugin.clone()),
            raw: Some(json_of(&rows.slice(rejection.input, 1))?),
        })
    };
    rejected.into_iter().map(letter).collect()
}

/// Rows as JSON, one a line.
pub(super) fn json_of(rows: &RecordBatch) -> Result<Bytes> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(rows).map_err(unfit)?;
    writer.finish().map_err(unfit)?;
    Ok(Bytes::from(writer.into_inner()))
}

/// The dead letters of what the source could not deliver.
pub(super) fn unreadable(chunk: &mut Chunk) -> Vec<DeadLetter> {
    let letter = |unreadable: crate::source::Unreadable| DeadLetter {
        step: "source".to_owned(),
        place: unreadable.place,
        position: unreadable.position,
        element: None,
        span: None,
        reason: unreadable.reason,
        plugin: None,
        raw: Some(unreadable.raw),
    };
    std::mem::take(&mut chunk.unreadable).into_iter().map(letter).collect()
}
