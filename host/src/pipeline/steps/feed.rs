//! Rows → what one step sees of them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};

use super::super::rows::{Projection, unfit};
use crate::Result;
use crate::event_time::{KeyColumns, KeyRows};

/// Where the rows of a step come from, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Input {
    /// The last transform or parser.
    Rows,
    /// A table.
    Table(usize),
    /// A window, which is a step itself.
    Window(usize),
}

/// The event times of rows.
#[derive(Debug, Clone)]
pub(in super::super) struct Times(TimestampMicrosecondArray);

impl Times {
    /// The event times that this column holds.
    pub(in super::super) fn of(column: &ArrayRef) -> Self {
        Self(column.as_primitive::<TimestampMicrosecondType>().clone())
    }

    /// The event times of rows that have none.
    pub(in super::super) fn none(rows: usize) -> Self {
        Self(TimestampMicrosecondArray::new_null(rows).with_timezone("UTC"))
    }

    pub(in super::super) fn values(&self) -> &ScalarBuffer<i64> {
        self.0.values()
    }

    pub(in super::super) fn valid(&self) -> Option<&NullBuffer> {
        self.0.nulls()
    }
}

/// What one step sees of a chunk.
#[derive(Debug)]
pub(in super::super) struct Fed {
    pub(super) keys: KeyRows,
    /// The columns that the plugin asked for.
    pub(super) rows: RecordBatch,
    pub(super) times: Times,
    /// The rows that are not repeated ones; all if there is none of those.
    pub(super) first: Option<BooleanArray>,
    /// What the step's own tables show of the rows.
    pub(super) shown: Option<RecordBatch>,
}

impl Fed {
    /// Leave out rows that repeat others.
    pub(in super::super) fn keep(&mut self, first: &BooleanArray) {
        self.first = Some(first.clone());
    }
}

/// How the rows of a chunk become what one step sees.
#[derive(Debug, Clone)]
pub(in super::super) struct Feeder {
    /// The step, by index.
    pub(in super::super) step: usize,
    pub(in super::super) input: Input,
    pub(in super::super) keys: KeyColumns,
    /// The columns that the plugin asked for; the one behind the last is the
    /// event time.
    pub(in super::super) needed: Vec<usize>,
    /// What the step's own tables show of the rows.
    pub(in super::super) shown: Option<Projection>,
}

impl Feeder {
    /// What the step sees of these rows. `messages[i]` is the message that row i
    /// came from, `fields` has one row for each message.
    pub(in super::super) fn feed(
        &self,
        rows: &RecordBatch,
        times: &Times,
        (messages, fields): (&[u32], &RecordBatch),
        clock_us: i64,
    ) -> Result<Fed> {
        let shown = self.shown.as_ref().map(|shown| shown.apply(rows, messages, fields, clock_us)).transpose()?;
        Ok(Fed {
            keys: self.keys.rows(rows)?,
            rows: self.needed(rows, times)?,
            times: times.clone(),
            first: None,
            shown,
        })
    }

    /// The columns that the plugin asked for.
    pub(in super::super) fn needed(&self, rows: &RecordBatch, times: &Times) -> Result<RecordBatch> {
        let column = |index: &usize| match rows.columns().get(*index) {
            Some(column) => Arc::clone(column),
            None => Arc::new(times.0.clone()),
        };
        let columns: Vec<ArrayRef> = self.needed.iter().map(column).collect();
        let input = rows.schema();
        let field = |index: &usize| match input.fields().get(*index) {
            Some(field) => Arc::clone(field),
            None => Arc::new(time_of(true)),
        };
        let schema: SchemaRef = Arc::new(Schema::new(self.needed.iter().map(field).collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(unfit)
    }
}

/// The field under which plugins see the event time.
pub(in super::super) fn time_of(nullable: bool) -> arrow::datatypes::Field {
    let kind = arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    arrow::datatypes::Field::new(crate::event_time::EVENT_TIME_COLUMN, kind, nullable)
}
