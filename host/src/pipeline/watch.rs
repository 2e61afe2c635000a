//! Rows of a schema that weir keeps: what is new in them, and their final shape.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::kept::NewColumns;
use super::rows::{of_messages, unfit};
use crate::Result;
use crate::plugin::{Inference, Messages};
use crate::schema::{self, RESCUED, SchemaSettings};
use crate::source::Chunk;

/// What is done to the rows of a parser that has a kept schema, by one worker.
pub(super) struct Watch {
    /// The columns of the schema.
    columns: SchemaRef,
    /// The rows as other steps see them.
    output: SchemaRef,
    /// The index of the column for what does not fit, among those of the parser.
    rescued: Option<usize>,
    /// Whether other steps see it.
    shows_rescued: bool,
    /// The message fields that become columns, by index into the chunk's fields.
    partition_columns: Vec<usize>,
    /// What infers, if somebody looks for new columns.
    inference: Option<Inference>,
    /// Whether new columns are looked for.
    looks: bool,
    ignored: Arc<BTreeSet<String>>,
}

impl Watch {
    /// For a parser that gives `output`: the columns of the schema and behind them
    /// the one for what does not fit, if it was asked for. `partition_columns` are
    /// the message fields that become columns, with their indices.
    pub(super) fn new(
        settings: &SchemaSettings,
        (columns, ignored): (&SchemaRef, &BTreeSet<String>),
        output: &Schema,
        partition_columns: Vec<(usize, Field)>,
        inference: Option<Inference>,
    ) -> Self {
        let rescued = output.index_of(RESCUED).ok();
        let shown = settings.rescued_column.as_ref().filter(|_| rescued.is_some());
        let (indices, fields): (Vec<usize>, Vec<Field>) = partition_columns.into_iter().unzip();
        let rows = output.fields().iter().filter(|field| field.name() != RESCUED).cloned();
        let rows = rows.chain(fields.into_iter().map(Arc::new));
        let shown_field = shown.zip(rescued).map(|(name, at)| Arc::new(output.field(at).clone().with_name(name)));
        Self {
            columns: Arc::clone(columns),
            output: Arc::new(Schema::new(rows.chain(shown_field).collect::<Vec<_>>())),
            rescued,
            shows_rescued: shown.is_some(),
            partition_columns: indices,
            inference,
            looks: settings.evolution.looks_for_new_columns(),
            ignored: Arc::new(ignored.clone()),
        }
    }

    /// The same for another worker.
    pub(super) fn fork(&self) -> Self {
        Self {
            columns: Arc::clone(&self.columns),
            output: Arc::clone(&self.output),
            rescued: self.rescued,
            shows_rescued: self.shows_rescued,
            partition_columns: self.partition_columns.clone(),
            inference: self.inference.as_ref().map(Inference::fork),
            looks: self.looks,
            ignored: Arc::clone(&self.ignored),
        }
    }

    /// The rows as other steps see them.
    pub(super) fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// The columns in these rows of the parser that the schema lacks, if there are
    /// any. `origins[i]` is the message of row i; `fields` are what infers wants to see.
    pub(super) fn look(
        &mut self,
        rows: &RecordBatch,
        origins: &[u32],
        (chunk, fields): (&Chunk, &RecordBatch),
    ) -> Option<NewColumns> {
        let rescued = self.rescued.filter(|_| self.looks)?;
        let found = schema::new_columns(rows, rescued, &self.columns, &self.ignored);
        let first = origins.get(found.first_row?)?;
        let place = chunk.place_of(*first as usize).0.to_owned();
        let inferred = match (&chunk.rows, &mut self.inference) {
            // They say themselves what they are.
            (Some(rows), _) => rows.schema().as_ref().clone(),
            (None, Some(inference)) => {
                let messages = Messages { payload: &chunk.payload, offsets: &chunk.offsets, fields };
                match inference.infer(messages) {
                    Ok(inferred) => inferred.as_ref().clone(),
                    Err(error) => {
                        tracing::warn!("new columns in {place} are rescued: {error}");
                        Schema::empty()
                    }
                }
            }
            (None, None) => Schema::empty(),
        };
        Some(NewColumns { paths: found.paths, inferred, place })
    }

    /// The rows as other steps see them.
    ///
    /// # Errors
    /// Plugin if what files bring takes too much room.
    pub(super) fn shape(&self, rows: &RecordBatch, origins: &[u32], fields: &RecordBatch) -> Result<RecordBatch> {
        let own = (0..rows.num_columns()).filter(|index| Some(*index) != self.rescued);
        let mut columns: Vec<ArrayRef> = own.map(|index| Arc::clone(rows.column(index))).collect();
        if !self.partition_columns.is_empty() {
            let messages = UInt32Array::from(origins.to_vec());
            for index in &self.partition_columns {
                columns.push(of_messages(fields.column(*index), &messages)?);
            }
        }
        if let Some(rescued) = self.rescued.filter(|_| self.shows_rescued) {
            columns.push(Arc::clone(rows.column(rescued)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options).map_err(unfit)
    }
}
