//! Rows with columns of a step's own: what was raised, or what it came too late for.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use super::rows::{MissingColumn, Projection, expanded, unfit};
use crate::config::{ColumnFrom, TableColumn};
use crate::plugin::spread;
use crate::{Error, Result};

/// What one column of alerts or late rows may take for one chunk.
const MAX_SHOWN_BYTES: usize = 256 << 20;

/// Where a column comes from, by index.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// The row.
    Row(usize),
    /// The step.
    Step(usize),
}

/// How the rows of such a table are put together.
#[derive(Debug, Clone)]
pub(super) struct Extended {
    rows: Projection,
    parts: Vec<Part>,
    schema: SchemaRef,
}

/// What a step knows of an alert, under these names.
pub(super) fn alert_fields() -> Vec<Field> {
    ["alert.id", "alert.kind", "alert.severity", "alert.message"]
        .map(|name| Field::new(name, DataType::Utf8, false))
        .to_vec()
}

/// What a step knows of a late row, under these names.
pub(super) fn late_fields() -> Vec<Field> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    ["window_start", "window_end"].map(|name| Field::new(name, time.clone(), false)).to_vec()
}

impl Extended {
    /// The projection of these columns, from rows and message fields of these
    /// schemas and the fields of the step; all columns of the rows and of the
    /// step where none are named.
    ///
    /// Fails with everything that is missing.
    pub(super) fn new(
        columns: Option<&[TableColumn]>,
        rows: &Schema,
        messages: &Schema,
        step: &[Field],
    ) -> std::result::Result<Self, Vec<MissingColumn>> {
        let all = || {
            let own = |field: &Field| (field.name().replace('.', "_"), field.name().clone());
            // What the step says stands for a column of the rows that has its name.
            let is_own = |name: &String| step.iter().any(|field| own(field).0 == *name);
            let rows = rows.fields().iter().map(|field| (field.name().clone(), field.name().clone()));
            let rows = rows.filter(|(name, _)| !is_own(name));
            let column = |(name, from)| TableColumn { name, from: ColumnFrom::Row(from) };
            rows.chain(step.iter().map(own)).map(column).collect::<Vec<_>>()
        };
        let columns = columns.map_or_else(all, <[TableColumn]>::to_vec);
        let (places, columns): (Vec<usize>, Vec<TableColumn>) = expanded(&columns, rows).into_iter().unzip();
        let of_step = |column: &TableColumn| match &column.from {
            ColumnFrom::Row(name) => step.iter().position(|field| field.name() == name),
            ColumnFrom::Message(_) | ColumnFrom::EpochTime | ColumnFrom::Rest => None,
        };
        let mut indices: Vec<usize> = Vec::new();
        let mut from_rows = Vec::new();
        for (index, column) in columns.iter().enumerate() {
            if of_step(column).is_none() {
                indices.push(places[index]);
                from_rows.push(column.clone());
            }
        }
        let rows = Projection::new(Some(&from_rows), rows, messages).map_err(|missing| {
            missing.into_iter().map(|(index, why)| (indices[index], why)).collect::<Vec<MissingColumn>>()
        })?;
        let (mut parts, mut fields, mut next) = (Vec::new(), Vec::<FieldRef>::new(), 0);
        for column in &columns {
            match of_step(column) {
                Some(own) => {
                    fields.push(Arc::new(step[own].clone().with_name(&column.name)));
                    parts.push(Part::Step(own));
                }
                None => {
                    fields.push(Arc::clone(&rows.schema().fields()[next]));
                    parts.push(Part::Row(next));
                    next += 1;
                }
            }
        }
        Ok(Self { rows, parts, schema: Arc::new(Schema::new(fields)) })
    }

    /// The schema of the table's rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How the columns that come from rows are put together.
    pub(super) fn rows(&self) -> &Projection {
        &self.rows
    }

    /// The rows of the table: row i of the columns from rows comes from
    /// `rows[origins[i]]`, and from `step[..][i]` those of the step.
    pub(super) fn apply(&self, rows: &RecordBatch, origins: &[u32], step: &[ArrayRef]) -> Result<RecordBatch> {
        let origins = UInt32Array::from(origins.to_vec());
        let column = |part: &Part| match part {
            Part::Row(index) => {
                let repeated = |reason| Error::plugin(format!("a step makes too much of a chunk: {reason}"));
                spread(rows.column(*index), &origins, MAX_SHOWN_BYTES).map_err(repeated)
            }
            Part::Step(index) => Ok(Arc::clone(&step[*index])),
        };
        let columns = self.parts.iter().map(column).collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(origins.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(unfit)
    }
}
