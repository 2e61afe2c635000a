//! A window step in one shard: rows into groups, groups into rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;

use super::super::rows::{json_of, unfit};
use super::feed::Fed;
use super::shard::{Answer, Ended};
use crate::config::Emit;
use crate::event_time::{Groups, KeyColumns, Lifetime, StateColumns, WindowKind};
use crate::model::EventTime;
use crate::plugin::{Aggregator, CallStats, FailedInput, take_rows};
use crate::{Error, Result};

/// A window step with the groups of one shard.
pub(in super::super) struct WindowShard {
    aggregator: Aggregator,
    groups: Groups,
    output: WindowOutput,
    state: StateColumns,
    emit: Emit,
}

/// How groups become the rows of a window step.
#[derive(Debug, Clone)]
pub(in super::super) struct WindowOutput {
    pub(in super::super) keys: KeyColumns,
    pub(in super::super) schema: SchemaRef,
}

/// What a window gave.
#[derive(Debug)]
pub(in super::super) struct Closed {
    /// One row for each group.
    pub(super) rows: RecordBatch,
    /// Groups that the plugin fails for: what is known of them, as JSON, and why.
    pub(super) failed: Vec<(Bytes, String)>,
    /// How many groups ended.
    pub(super) ended: u64,
}

impl Closed {
    /// What all shards gave; in order where a step behind the window sees it, which
    /// must not depend on who has which keys: by end, start and key.
    pub(super) fn join(parts: Vec<Self>, in_order: bool) -> Result<Option<Self>> {
        let Some(schema) = parts.first().map(|part| part.rows.schema()) else { return Ok(None) };
        let mut rows = concat_batches(&schema, parts.iter().map(|part| &part.rows)).map_err(unfit)?;
        if in_order && rows.num_rows() > 1 {
            let start = schema.index_of("window_start").map_err(unfit)?;
            let sort = |index: usize| SortColumn { values: Arc::clone(rows.column(index)), options: None };
            let by: Vec<SortColumn> = [start + 1, start].into_iter().chain(0..start).map(sort).collect();
            let order = lexsort_to_indices(&by, None).map_err(unfit)?;
            rows = take_rows(&rows, &order).map_err(unfit)?;
        }
        let ended = parts.iter().map(|part| part.ended).sum();
        let failed = parts.into_iter().flat_map(|part| part.failed).collect();
        Ok(Some(Self { rows, failed, ended }))
    }
}

/// The schema of what a window gives: its keys, its bounds, what the plugin
/// makes of it, and whether it is final.
///
/// Fails with the name of a column that is there twice.
pub(in super::super) fn output_schema(
    keys: &KeyColumns,
    input: &Schema,
    plugin: &Schema,
) -> std::result::Result<SchemaRef, String> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields: Vec<FieldRef> = keys.indices().iter().map(|index| Arc::new(input.field(*index).clone())).collect();
    fields.push(Arc::new(Field::new("window_start", time.clone(), false)));
    fields.push(Arc::new(Field::new("window_end", time, false)));
    fields.extend(plugin.fields().iter().cloned());
    fields.push(Arc::new(Field::new("is_final", DataType::Boolean, false)));
    let mut names = std::collections::HashSet::new();
    match fields.iter().find(|field| !names.insert(field.name())) {
        Some(twice) => Err(format!("two columns of the window have the name `{}`", twice.name())),
        None => Ok(Arc::new(Schema::new(fields))),
    }
}

impl WindowShard {
    pub(in super::super) fn new(
        aggregator: Aggregator,
        kind: WindowKind,
        output: WindowOutput,
        state: StateColumns,
        emit: Emit,
    ) -> Self {
        Self { aggregator, groups: Groups::new(Lifetime::Window(kind)), output, state, emit }
    }

    /// The same step for another shard, without groups.
    pub(super) fn fork(&self) -> Self {
        Self {
            aggregator: self.aggregator.fork(),
            groups: self.groups.empty(),
            output: self.output.clone(),
            state: self.state.clone(),
            emit: self.emit,
        }
    }

    /// Take over the states of another version of the step.
    pub(super) fn adopt(&mut self, running: &Self) -> Result<()> {
        self.aggregator.adopt(&running.aggregator)
    }

    /// Take over the groups of another version of the step, whose states it has.
    pub(super) fn take_groups(&mut self, running: &mut Self) {
        std::mem::swap(&mut self.groups, &mut running.groups);
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    #[cfg(test)]
    pub(super) fn plugin(&mut self) -> &mut Aggregator {
        &mut self.aggregator
    }

    pub(super) fn set_now(&mut self, now_us: i64) {
        self.aggregator.set_now(now_us);
    }

    pub(super) fn take_stats(&mut self) -> CallStats {
        self.aggregator.take_stats()
    }

    pub(super) fn feed(&mut self, fed: &Fed, shard: (usize, usize), watermark: Option<EventTime>) -> Result<Answer> {
        let first = fed.first.as_ref();
        let assigned = self.groups.assign(&fed.keys, (fed.times.values(), fed.times.valid(), first), shard, watermark);
        if !assigned.merges.is_empty() {
            let into = assigned.merges.iter().map(|merge| merge.into).collect();
            let sources: Vec<u32> = assigned.merges.iter().map(|merge| merge.source).collect();
            self.aggregator.merge(into, sources.clone())?;
            self.aggregator.release(sources)?;
        }
        let rows = pick(&fed.rows, &assigned.rows)?;
        let mut failed = self.aggregator.update(&assigned.groups, &rows)?;
        name_rows(&mut failed, &assigned.rows);
        // A row that is in several windows fails once.
        failed.dedup_by_key(|failed| failed.input);
        Ok(Answer { late: assigned.late, alerts: None, failed })
    }

    /// Make rows of the groups that end at this watermark, and of those that were
    /// changed where the step says so, and end the former.
    pub(super) fn close(&mut self, watermark: Option<EventTime>) -> Result<Closed> {
        let due = watermark.map_or_else(Vec::new, |watermark| self.groups.due(watermark));
        let mut parts = Vec::new();
        let mut failed = Vec::new();
        if self.emit == Emit::EachEpoch {
            let end = watermark.map_or(i64::MIN, |watermark| watermark.0);
            let open = |slot: &u32| self.groups.group(*slot).window.end.0 > end;
            let mut open: Vec<u32> = self.groups.changed_groups().filter(open).collect();
            open.sort_unstable();
            parts.push(self.rows(&open, false, &mut failed)?);
        }
        parts.push(self.rows(&due, true, &mut failed)?);
        let ended = due.len() as u64;
        for slot in &due {
            self.groups.release(*slot);
        }
        self.aggregator.release(due)?;
        let rows = concat_batches(&self.output.schema, &parts).map_err(unfit)?;
        Ok(Closed { rows, failed, ended })
    }

    fn rows(&mut self, slots: &[u32], is_final: bool, failed: &mut Vec<(Bytes, String)>) -> Result<RecordBatch> {
        if slots.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.output.schema)));
        }
        let evaluated = self.aggregator.evaluate(slots)?;
        for FailedInput { input, reason } in evaluated.failed {
            let known = self.bounds(&[slots[input]])?;
            failed.push((json_of(&known)?, reason));
        }
        let slots: Vec<u32> = evaluated.origins.iter().map(|origin| slots[*origin as usize]).collect();
        let mut columns = self.bounds(&slots)?.columns().to_vec();
        columns.extend(evaluated.rows.columns().iter().cloned());
        columns.push(Arc::new(BooleanArray::from(vec![is_final; slots.len()])));
        RecordBatch::try_new(Arc::clone(&self.output.schema), columns).map_err(unfit)
    }

    /// The keys and the bounds of groups.
    fn bounds(&self, slots: &[u32]) -> Result<RecordBatch> {
        let groups = || slots.iter().map(|slot| self.groups.group(*slot));
        let mut columns = self.output.keys.columns(groups().map(|group| group.key))?;
        let time = |times: &mut dyn Iterator<Item = EventTime>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_iter_values(times.map(|time| time.0)).with_timezone("UTC"))
        };
        columns.push(time(&mut groups().map(|group| group.window.start)));
        columns.push(time(&mut groups().map(|group| group.window.end)));
        let fields: Vec<FieldRef> = self.output.schema.fields().iter().take(columns.len()).cloned().collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(unfit)
    }

    /// What the epoch has changed in the groups, or all of it.
    pub(super) fn end_epoch(&mut self, all: bool) -> Result<Ended> {
        self.aggregator.move_base()?;
        let changed = self.groups.end_epoch();
        Ended::of(&self.state, &self.groups, &changed, all, |slot| self.aggregator.state(slot))
    }

    /// Take over what was kept of the groups of this shard.
    pub(super) fn restore(&mut self, segments: &[Bytes], version: u32, shard: (usize, usize)) -> Result<()> {
        let states = super::shard::restore(&mut self.groups, &self.state, segments, shard)?;
        self.aggregator.load(states, version)
    }

    pub(super) fn latest_end(&self, begun_by: EventTime) -> Option<EventTime> {
        self.groups.latest_end(begun_by)
    }
}

/// These rows of a batch, in this order.
pub(super) fn pick(rows: &RecordBatch, indices: &[u32]) -> Result<RecordBatch> {
    let is_whole = indices.len() == rows.num_rows() && indices.iter().enumerate().all(|(at, row)| at == *row as usize);
    if is_whole {
        return Ok(rows.clone());
    }
    take_rows(rows, &UInt32Array::from(indices.to_vec()))
        .map_err(|error| Error::bug("rows cannot be picked").because(error))
}

/// Failed inputs by the rows of the chunk instead of those of a call.
pub(super) fn name_rows(failed: &mut [FailedInput], rows: &[u32]) {
    for failed in failed {
        failed.input = rows.get(failed.input).map_or(failed.input, |row| *row as usize);
    }
}
