//! What makes rows of a chunk: a parser, or the columns that its files have.

use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};

use super::build::Plugged;
use super::rows::unfit;
use crate::model::PluginIdentity;
use crate::plugin::{CallStats, Messages, Parser, Produced};
use crate::schema::{self, RESCUED};
use crate::source::Chunk;
use crate::{Error, Result};

/// The message field that says which file values were rescued from.
const FILE_PATH: &str = "file_path";

/// What makes rows of a chunk, for one worker.
pub(super) enum Maker {
    /// A plugin that reads bytes.
    Parser(Box<Parser>),
    /// The rows of the chunk, in the columns of a schema.
    Columns(Columns),
}

/// Rows that have columns already, put into those of a schema.
#[derive(Clone)]
pub(super) struct Columns {
    /// The columns, and behind them the one for what does not fit, if it is wanted.
    output: SchemaRef,
    /// The columns.
    columns: SchemaRef,
    message_fields: Vec<String>,
}

impl Columns {
    /// Into the columns of `output`; asks for what does not fit as a parser is asked.
    pub(super) fn new(output: &SchemaRef) -> Self {
        let columns = output.fields().iter().filter(|field| field.name() != RESCUED).cloned();
        let columns = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        let asks = columns.fields().len() < output.fields().len();
        let message_fields = if asks { vec![FILE_PATH.to_owned()] } else { Vec::new() };
        Self { output: Arc::clone(output), columns, message_fields }
    }

    /// `fields` has the message fields that are asked for, one row for each row.
    fn make(&self, chunk: &Chunk, fields: &RecordBatch) -> Result<Produced> {
        let Some(rows) = &chunk.rows else {
            if chunk.messages() > 0 {
                return Err(Error::bug("a chunk of columns has none"));
            }
            // Nothing but what could not be read.
            let rows = RecordBatch::new_empty(Arc::clone(&self.output));
            return Ok(Produced { rows, origins: Vec::new(), rejected: Vec::new() });
        };
        let files = fields.columns().first().map(|files| files.as_string::<i32>());
        let (fitted, left) =
            schema::fit(rows, &self.columns, |row| files.map_or("", |files| files.value(row))).map_err(unfit)?;
        let mut columns = fitted.columns().to_vec();
        if !self.message_fields.is_empty() {
            columns.push(Arc::new(left));
        }
        let origins = (0..rows.num_rows()).map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns).map_err(unfit)?;
        Ok(Produced { rows, origins, rejected: Vec::new() })
    }
}

impl Maker {
    pub(super) fn fork(&self) -> Self {
        match self {
            Self::Parser(parser) => Self::Parser(Box::new(parser.fork())),
            Self::Columns(columns) => Self::Columns(columns.clone()),
        }
    }

    /// The columns of the rows.
    pub(super) fn output(&self) -> &SchemaRef {
        match self {
            Self::Parser(parser) => parser.output(),
            Self::Columns(columns) => &columns.output,
        }
    }

    /// The message fields that it wants to see.
    pub(super) fn message_fields(&self) -> &[String] {
        match self {
            Self::Parser(parser) => parser.message_fields(),
            Self::Columns(columns) => &columns.message_fields,
        }
    }

    /// The plugin, if there is one.
    pub(super) fn plugin(&self) -> Option<Plugged> {
        match self {
            Self::Parser(parser) => Some(Plugged::new(parser.plugin(), parser.step())),
            Self::Columns(_) => None,
        }
    }

    /// Who the plugin is, if there is one.
    pub(super) fn identity(&self) -> Option<PluginIdentity> {
        match self {
            Self::Parser(parser) => Some(parser.plugin().identity(parser.step())),
            Self::Columns(_) => None,
        }
    }

    /// Make the instance of the plugin, if there is one.
    ///
    /// # Errors
    /// As [`Parser::warm`].
    pub(super) fn warm(&mut self) -> Result<()> {
        match self {
            Self::Parser(parser) => parser.warm(),
            Self::Columns(_) => Ok(()),
        }
    }

    /// The rows of a chunk, of which `fields` has the message fields that are asked
    /// for.
    ///
    /// # Errors
    /// As [`Parser::parse`].
    pub(super) fn make(&mut self, chunk: &Chunk, fields: &RecordBatch, clock_us: i64) -> Result<Produced> {
        match self {
            Self::Parser(parser) => {
                parser.set_now(clock_us);
                parser.parse(Messages { payload: &chunk.payload, offsets: &chunk.offsets, fields })
            }
            Self::Columns(columns) => columns.make(chunk, fields),
        }
    }

    /// What the calls of the plugin have cost since the last time.
    pub(super) fn take_stats(&mut self) -> Option<CallStats> {
        match self {
            Self::Parser(parser) => Some(parser.take_stats()),
            Self::Columns(_) => None,
        }
    }
}
