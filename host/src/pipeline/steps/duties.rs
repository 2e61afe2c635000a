//! What the steps of an epoch have to do, and when.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use bytes::Bytes;

use super::super::rows::{json_of, rejected_rows, unfit};
use super::super::wire::{DEDUPLICATION, Output, Stateful, StepPlan};
use super::super::workers::Origin;
use super::feed::{Fed, Times};
use super::raised::{Raised, RaisedAlerts};
use super::shard::{Answer, Asked, Ended, ShardStep, Shards};
use super::window::Closed;
use crate::Result;
use crate::config::Pipeline;
use crate::event_time::{KeyRows, LateRow, Observed, Watermarks};
use crate::model::{Epoch, EventTime, Lane, PartitionId, PluginIdentity, SourceRange, StepIdentity};
use crate::plugin::{CallStats, FailedInput};
use crate::sink::dead_letter::DeadLetter;
use crate::sink::notify::Batch;

/// A step's state is written as a whole when its segments hold so many times the
/// entries of its open groups,
const WHOLE_AT_RATIO: u64 = 4;
/// and more than so many.
const WHOLE_AT_LEAST: u64 = 4096;

/// What steps see of a chunk, and what is needed to name its rows.
pub(in super::super) struct FedChunk {
    pub(in super::super) fed: Vec<(usize, Arc<Fed>)>,
    pub(in super::super) origin: Origin,
}

/// What came out of steps.
#[derive(Default)]
pub(in super::super) struct Outcome {
    /// Rows for tables, by the index of the table.
    pub(in super::super) rows: Vec<(usize, RecordBatch)>,
    pub(in super::super) dead_letters: Vec<DeadLetter>,
}

/// What an epoch changed in the state of a step.
#[derive(Debug)]
pub(in super::super) struct Delta {
    /// The name of the step.
    pub(in super::super) step: String,
    pub(in super::super) bytes: Bytes,
    pub(in super::super) entries: u64,
    /// Whether it replaces all that came before.
    pub(in super::super) is_whole: bool,
}

/// What an epoch did to one step.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct StepCounts {
    pub(in super::super) name: String,
    /// Groups that are open.
    pub(in super::super) open: u64,
    /// Groups that are new or changed.
    pub(in super::super) updated: u64,
    /// Groups that ended.
    pub(in super::super) ended: u64,
    /// Rows that came too late.
    pub(in super::super) late: u64,
    /// Windows that were closed.
    pub(in super::super) windows: u64,
    pub(in super::super) alerts: u64,
    /// The bytes of changed state.
    pub(in super::super) written: u64,
    pub(in super::super) stats: CallStats,
}

/// The steps of a pipeline at work.
pub(in super::super) struct Duties {
    pub(in super::super) plans: Vec<StepPlan>,
    shards: Option<Shards>,
    pub(in super::super) watermarks: Option<Watermarks>,
    /// The watermark at the start of the epoch, which says what is late in it.
    in_force: Option<EventTime>,
    /// What rows are remembered by, where rows may come twice.
    pub(in super::super) deduplication: Option<StepIdentity>,
    under_way: Option<(FedChunk, Vec<Asked<Answer>>)>,
    counts: Vec<StepCounts>,
    /// What the rules raised in the epoch under way.
    raised: Option<Raised>,
    clock_us: i64,
    /// By step, deduplication last.
    sizes: Vec<Size>,
}

/// How much state a step has.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// Groups that are open.
    open: u64,
    /// Entries in its segments.
    kept: u64,
}

impl Size {
    /// Whether the segments hold so much that is over that all is written anew.
    fn is_wasteful(self) -> bool {
        self.kept > WHOLE_AT_LEAST && self.kept > self.open.saturating_mul(WHOLE_AT_RATIO)
    }
}

impl Duties {
    pub(in super::super) fn new(
        plans: Vec<StepPlan>,
        shards: Option<Shards>,
        deduplication: Option<StepIdentity>,
    ) -> Self {
        let sizes = vec![Size::default(); plans.len() + 1];
        Self {
            plans,
            shards,
            watermarks: None,
            in_force: None,
            deduplication,
            under_way: None,
            counts: Vec::new(),
            raised: None,
            clock_us: 0,
            sizes,
        }
    }

    /// Let other versions of the steps take over, between two epochs, with the
    /// states of those that run. The steps are the same otherwise.
    ///
    /// # Errors
    /// Plugin if one does not take a state over; then nothing has changed.
    pub(in super::super) async fn replace(&mut self, next: Stateful, pipeline: &Pipeline) -> Result<()> {
        match &self.shards {
            Some(shards) => {
                let others = |(plan, step): (&StepPlan, ShardStep)| {
                    let running = self.plans.iter().find(|running| running.name == plan.name);
                    running.is_none_or(|running| running.makings != plan.makings).then_some(step)
                };
                let steps: Vec<_> = next.plans.iter().zip(next.shard_steps).map(others).collect();
                shards.make_ready(&steps).await?;
                shards.swap().await?;
            }
            None => self.shards = next.start_shards(pipeline)?,
        }
        for (size, (running, plan)) in self.sizes.iter_mut().zip(self.plans.iter().zip(&next.plans)) {
            let version = |plan: &StepPlan| plan.identity.as_ref().map(|identity| identity.state_version);
            if version(running) != version(plan) {
                // States of an older version are written anew, all of them.
                size.kept = u64::MAX;
            }
        }
        self.plans = next.plans;
        Ok(())
    }

    /// Know the partitions that an epoch names: those that it reads, also without
    /// event times, and those whose turn has not come yet.
    pub(in super::super) fn hear_of(&mut self, range: &SourceRange, now: Instant) {
        let (Some(watermarks), SourceRange::Offsets(partitions)) = (&mut self.watermarks, range) else { return };
        for (partition, offsets) in partitions {
            match offsets.is_empty() {
                true => watermarks.know(partition, now),
                false => watermarks.observe(&Observed { partition: partition.clone(), max: None }, now),
            }
        }
    }

    /// Let the watermark that is due take effect.
    pub(in super::super) fn advance(&mut self, now: Instant, unread: impl Fn(&PartitionId) -> bool) {
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.advance(now, unread);
        }
    }

    /// Move the watermark to this instant at least.
    pub(in super::super) fn advance_to(&mut self, time: EventTime) {
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.advance_to(time);
        }
    }

    /// The watermark that has taken effect last.
    pub(in super::super) fn watermark(&self) -> Option<EventTime> {
        self.watermarks.as_ref().and_then(Watermarks::current)
    }

    /// Begin an epoch of a lane of the pipeline with this identifier.
    pub(in super::super) async fn begin(
        &mut self,
        (pipeline, lane): (&str, &Lane),
        epoch: Epoch,
        clock_us: i64,
    ) -> Result<()> {
        self.raised = Some(Raised::new(pipeline, lane, epoch));
        self.clock_us = clock_us;
        self.in_force = self.watermark();
        let count = |plan: &StepPlan| StepCounts { name: plan.name.clone(), ..StepCounts::default() };
        self.counts = self.plans.iter().map(count).collect();
        if let Some(shards) = &self.shards {
            let set = shards.ask(move |shard| {
                shard.set_now(clock_us);
                Ok(())
            });
            set.await?.answers().await?;
        }
        Ok(())
    }

    /// Which rows repeat no other.
    pub(in super::super) async fn first(&self, keys: KeyRows, times: Times) -> Result<Option<BooleanArray>> {
        let Some(shards) = &self.shards else { return Ok(None) };
        let first = shards.ask_first(move |shard| shard.first(&keys, &times)).await?;
        Ok((first.true_count() < first.len()).then_some(first))
    }

    /// Feed a chunk, and say what came of the one before it.
    pub(in super::super) async fn feed(&mut self, chunk: FedChunk) -> Result<Outcome> {
        let outcome = self.drain().await?;
        let mut asked = Vec::with_capacity(chunk.fed.len());
        for (step, fed) in &chunk.fed {
            asked.push(self.ask_to_feed(*step, Arc::clone(fed)).await?);
        }
        self.under_way = Some((chunk, asked));
        Ok(outcome)
    }

    /// What came of the last chunk.
    pub(in super::super) async fn drain(&mut self) -> Result<Outcome> {
        let Some((chunk, asked)) = self.under_way.take() else { return Ok(Outcome::default()) };
        let mut outcome = Outcome::default();
        for ((step, fed), asked) in chunk.fed.iter().zip(asked) {
            for answer in asked.answers().await? {
                let failed = self.take(*step, fed, answer, &mut outcome)?;
                let plugin = &self.plans[*step].plugin;
                let rejected = failed.into_iter().map(FailedInput::into_rejection).collect();
                let Origin { chunk, rows, messages } = &chunk.origin;
                outcome.dead_letters.extend(rejected_rows(plugin, chunk, rows, messages, rejected)?);
            }
        }
        Ok(outcome)
    }

    async fn ask_to_feed(&self, step: usize, fed: Arc<Fed>) -> Result<Asked<Answer>> {
        let watermark = self.in_force;
        let shards = self.shards.as_ref().ok_or_else(|| crate::Error::bug("a step without shards was fed"))?;
        shards.ask(move |shard| shard.feed(step, &fed, watermark)).await
    }

    /// The rows of an answer; the failed inputs are left over.
    fn take(&mut self, step: usize, fed: &Fed, answer: Answer, outcome: &mut Outcome) -> Result<Vec<FailedInput>> {
        self.counts[step].late += answer.late.len() as u64;
        if let (Output::Window { late: Some((table, extended)), .. }, false, Some(shown)) =
            (&self.plans[step].output, answer.late.is_empty(), &fed.shown)
        {
            let origins: Vec<u32> = answer.late.iter().map(|late| late.row).collect();
            let time = |pick: fn(&LateRow) -> EventTime| -> ArrayRef {
                let times = answer.late.iter().map(|late| pick(late).0);
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
            };
            let windows = [time(|late| late.window.start), time(|late| late.window.end)];
            outcome.rows.push((*table, extended.apply(shown, &origins, &windows)?));
        }
        if let (Some(alerts), Some(shown)) = (answer.alerts, &fed.shown) {
            let (shown, times) = (shown.clone(), fed.times.clone());
            outcome.rows.extend(self.alerts(RaisedAlerts { step, shown, times, alerts })?);
        }
        Ok(answer.failed)
    }

    /// The rows of alerts for their table; who is notified of them is told later.
    pub(in super::super) fn alerts(&mut self, raised: RaisedAlerts) -> Result<Option<(usize, RecordBatch)>> {
        let RaisedAlerts { step, shown, times, alerts } = raised;
        let plan = &self.plans[step];
        let Output::Rule { table, alerts: extended, rule, notifies } = &plan.output else { return Ok(None) };
        if alerts.is_empty() {
            return Ok(None);
        }
        let raised = self.raised.as_mut().ok_or_else(|| crate::Error::bug("an alert outside of an epoch"))?;
        let before = self.counts[step].alerts;
        self.counts[step].alerts += alerts.len() as u64;
        let columns: [ArrayRef; 4] = [
            Arc::new(raised.ids(rule, before, alerts.len())),
            Arc::new(alerts.kind.clone()),
            Arc::new(alerts.severity.clone()),
            Arc::new(alerts.message.clone()),
        ];
        let rows = extended.apply(&shown, &alerts.rows, &columns)?;
        if *notifies {
            raised.keep(rule, before, &alerts, &times, &rows)?;
        }
        Ok(Some((*table, rows)))
    }

    /// What somebody is to be notified of, once the epoch is committed.
    pub(in super::super) fn take_notifications(&mut self) -> Option<Batch> {
        self.raised.as_mut().map(Raised::take).filter(|batch| !batch.is_empty())
    }

    /// Close what ends at this watermark, each window behind its input, and say
    /// what came of it.
    pub(in super::super) async fn close(&mut self, watermark: Option<EventTime>) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for step in 0..self.plans.len() {
            let Some(shards) = &self.shards else { break };
            let closed = shards.ask(move |shard| shard.close(step, watermark)).await?.answers().await?;
            let mut windows = Vec::with_capacity(closed.len());
            for (closed, ended) in closed {
                let counts = &mut self.counts[step];
                counts.ended += ended;
                counts.windows += if closed.is_some() { ended } else { 0 };
                windows.extend(closed);
            }
            if let Some(closed) = Closed::join(windows, !self.plans[step].behind.is_empty())? {
                self.emit(step, closed, &mut outcome).await?;
            }
        }
        Ok(outcome)
    }

    /// The rows of a window go to its table and to the steps behind it.
    async fn emit(&mut self, step: usize, closed: Closed, outcome: &mut Outcome) -> Result<()> {
        let plan = &self.plans[step];
        for (raw, reason) in closed.failed {
            outcome.dead_letters.push(of_window(&plan.plugin, &plan.name, reason, raw));
        }
        let rows = closed.rows;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        if let Output::Window { table: Some((table, projection)), .. } = &plan.output {
            outcome.rows.push((*table, projection.apply(&rows, &[], &nothing, self.clock_us)?));
        }
        for feeder in plan.behind.clone() {
            let is_window = matches!(self.plans[feeder.step].output, Output::Window { .. });
            // A window that counted what is not final would count it twice.
            let rows = if is_window { final_rows(&rows)? } else { rows.clone() };
            let fed = Arc::new(feeder.feed(&rows, &last_instants(&rows)?, (&[], &nothing), self.clock_us)?);
            for answer in self.ask_to_feed(feeder.step, Arc::clone(&fed)).await?.answers().await? {
                let failed = self.take(feeder.step, &fed, answer, outcome)?;
                let plan = &self.plans[feeder.step];
                for FailedInput { input, reason } in failed {
                    outcome.dead_letters.push(of_window(
                        &plan.plugin,
                        &plan.name,
                        reason,
                        json_of(&rows.slice(input, 1))?,
                    ));
                }
            }
        }
        Ok(())
    }

    /// What the epoch changed in the states, and what it did to each step.
    pub(in super::super) async fn end(&mut self) -> Result<(Vec<Delta>, Vec<StepCounts>)> {
        let mut deltas = Vec::new();
        let Some(shards) = &self.shards else { return Ok((deltas, std::mem::take(&mut self.counts))) };
        for step in 0..self.plans.len() {
            let all = self.sizes[step].is_wasteful();
            let ended = shards.ask(move |shard| shard.end_epoch(step, all)).await?.answers().await?;
            let counts = &mut self.counts[step];
            (counts.open, counts.updated) = (0, 0);
            for ended in &ended {
                counts.open += ended.open;
                counts.updated += ended.updated;
                counts.written += ended.bytes.as_ref().map_or(0, Bytes::len) as u64;
                counts.stats.merge(&ended.stats);
            }
            self.sizes[step].open = counts.open;
            deltas.extend(delta(&self.plans[step].name, ended, all));
        }
        if self.deduplication.is_some() {
            let watermark = self.watermark();
            let size = &mut self.sizes[self.plans.len()];
            let all = size.is_wasteful();
            let ended = shards.ask_first(move |shard| shard.end_deduplication(watermark, all)).await?;
            size.open = ended.open;
            self.counts.push(StepCounts {
                name: DEDUPLICATION.to_owned(),
                open: ended.open,
                updated: ended.updated,
                written: ended.bytes.as_ref().map_or(0, Bytes::len) as u64,
                ..StepCounts::default()
            });
            deltas.extend(delta(DEDUPLICATION, vec![ended], all));
        }
        Ok((deltas, std::mem::take(&mut self.counts)))
    }
}

impl Duties {
    /// How many entries the segments of a step hold.
    pub(in super::super) fn set_kept(&mut self, step: &str, entries: u64) {
        let number = self.plans.iter().position(|plan| plan.name == step).unwrap_or(self.plans.len());
        self.sizes[number].kept = entries;
    }

    /// Take over what was kept of a step.
    pub(in super::super) async fn restore(&self, step: usize, segments: Vec<Bytes>, version: u32) -> Result<()> {
        let Some(shards) = &self.shards else { return Ok(()) };
        let segments = Arc::new(segments);
        shards.ask(move |shard| shard.restore(step, &segments, version)).await?.answers().await?;
        Ok(())
    }

    /// Take over which rows are remembered.
    pub(in super::super) async fn restore_deduplication(&self, segments: Vec<Bytes>) -> Result<()> {
        let Some(shards) = &self.shards else { return Ok(()) };
        shards.ask_first(move |shard| shard.restore_deduplication(&segments)).await
    }

    /// The end of the last open window that has begun by this time of the clock,
    /// or not long after: what lies further ahead is a mistake, and to close it
    /// would make late whatever comes next.
    pub(in super::super) async fn latest_end(&self, clock_us: i64) -> Result<Option<EventTime>> {
        let begun_by = EventTime(self.watermarks.as_ref().map_or(clock_us, |watermarks| watermarks.limit(clock_us)));
        let Some(shards) = &self.shards else { return Ok(None) };
        let ends = shards.ask(move |shard| Ok(shard.latest_end(begun_by))).await?.answers().await?;
        Ok(ends.into_iter().flatten().max())
    }

    /// Whether a window ends at this watermark.
    pub(in super::super) async fn is_due(&self, watermark: EventTime) -> Result<bool> {
        let Some(shards) = &self.shards else { return Ok(false) };
        let due = shards.ask(move |shard| Ok(shard.is_due(watermark))).await?.answers().await?;
        Ok(due.contains(&true))
    }
}

/// The dead letter of something that came out of a window.
fn of_window(plugin: &PluginIdentity, step: &str, reason: String, raw: Bytes) -> DeadLetter {
    DeadLetter {
        step: step.to_owned(),
        place: step.to_owned(),
        position: 0,
        element: None,
        span: None,
        reason,
        plugin: Some(plugin.clone()),
        raw: Some(raw),
    }
}

fn final_rows(rows: &RecordBatch) -> Result<RecordBatch> {
    let is_final = rows.columns().last().map(|column| column.as_boolean().clone());
    is_final.map_or_else(|| Ok(rows.clone()), |is_final| filter_record_batch(rows, &is_final).map_err(unfit))
}

/// The event time of what a window gives: its last instant.
fn last_instants(rows: &RecordBatch) -> Result<Times> {
    let missing = || crate::Error::bug("a window without an end");
    let ends = rows.column_by_name("window_end").ok_or_else(missing)?.as_primitive::<TimestampMicrosecondType>();
    let last: TimestampMicrosecondArray = ends.unary(|end| end - 1);
    Ok(Times::of(&(Arc::new(last.with_timezone("UTC")) as ArrayRef)))
}

fn delta(step: &str, ended: Vec<Ended>, is_whole: bool) -> Option<Delta> {
    let entries = ended.iter().map(|ended| ended.entries).sum();
    let parts: Vec<Bytes> = ended.into_iter().filter_map(|ended| ended.bytes).collect();
    (!parts.is_empty()).then(|| Delta { step: step.to_owned(), bytes: parts.concat().into(), entries, is_whole })
}
