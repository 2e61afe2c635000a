//! What comes out of workers and steps, counted, on its way to wherever it goes.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;

use super::kept::NewColumns;
use super::progress::Counts;
use super::steps::{Delta, Duties, FedChunk, Outcome, StepCounts};
use super::times::TimeStats;
use super::workers::Processed;
use crate::Result;
use crate::model::PartitionId;
use crate::plugin::CallStats;
use crate::sink::dead_letter::DeadLetter;

/// When rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// With their chunk: one batch for each chunk and table of rows.
    Chunk,
    /// Whenever a step has some.
    Step,
}

/// Where rows and dead letters go.
pub(super) trait Outlet {
    /// Rows for a table, by its index.
    async fn rows(&mut self, table: usize, rows: RecordBatch, moment: Moment) -> Result<()>;

    /// What did not become rows.
    async fn letters(&mut self, letters: Vec<DeadLetter>) -> Result<()>;
}

/// How an epoch ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// A point in time for judging who is idle.
    pub(super) now: Instant,
    pub(super) clock_us: i64,
    /// Whether all windows are to be closed.
    pub(super) flush: bool,
}

/// An epoch in the making.
pub(super) struct Flow<O> {
    pub(super) outlet: O,
    now: Instant,
    pub(super) counts: Counts,
    /// What each plugin cost, in the order of the stream.
    pub(super) stats: Vec<CallStats>,
    pub(super) times: TimeStats,
    pub(super) new_columns: Option<NewColumns>,
}

impl<O: Outlet> Flow<O> {
    pub(super) fn new(outlet: O, plugins: usize, now: Instant) -> Self {
        Self {
            outlet,
            now,
            counts: Counts::default(),
            stats: vec![CallStats::default(); plugins],
            times: TimeStats::default(),
            new_columns: None,
        }
    }

    /// Take in what the plugins made of a chunk, and hand it to the other steps.
    pub(super) async fn chunk(&mut self, mut processed: Processed, duties: &mut Duties) -> Result<()> {
        if let Some(new) = processed.new_columns.take() {
            match &mut self.new_columns {
                Some(all) => all.merge(new),
                None => self.new_columns = Some(new),
            }
        }
        if self.new_columns.is_some() {
            // Nothing of the epoch will be kept: only more new columns count.
            return Ok(());
        }
        let first = match processed.repeats.take() {
            Some((keys, times)) => duties.first(keys, times).await?,
            None => None,
        };
        if let Some(first) = &first {
            processed.leave_out_repeats(first)?;
        }
        processed.dead_letters.extend(processed.failed.drain(..).map(|(_, letter)| letter));
        self.counts.add(&processed);
        for (plugin, stats) in &processed.stats {
            self.stats[*plugin].merge(stats);
        }
        self.times.merge(&processed.times);
        if let Some(watermarks) = &mut duties.watermarks {
            processed.observed.iter().for_each(|observed| watermarks.observe(observed, self.now));
        }
        for (table, rows) in processed.tables.into_iter().enumerate() {
            self.outlet.rows(table, rows, Moment::Chunk).await?;
        }
        self.outlet.letters(processed.dead_letters).await?;
        for alerts in processed.alerts {
            if let Some((table, rows)) = duties.alerts(alerts)? {
                self.outlet.rows(table, rows, Moment::Step).await?;
            }
        }
        if let Some(origin) = processed.origin {
            let fed = processed.fed.into_iter().map(|(step, fed)| (step, Arc::new(fed))).collect();
            let outcome = duties.feed(FedChunk { fed, origin }).await?;
            self.take(outcome).await?;
        }
        Ok(())
    }

    /// Close what is due behind the last chunk; what the epoch changed in the states,
    /// and what it did to each step. `unread` says whether more of a partition waits.
    pub(super) async fn end(
        &mut self,
        duties: &mut Duties,
        end: End,
        unread: impl Fn(&PartitionId) -> bool,
    ) -> Result<(Vec<Delta>, Vec<StepCounts>)> {
        let outcome = duties.drain().await?;
        self.take(outcome).await?;
        duties.advance(end.now, unread);
        if end.flush
            && let Some(latest) = duties.latest_end(end.clock_us).await?
        {
            duties.advance_to(latest);
        }
        let outcome = duties.close(duties.watermark()).await?;
        self.take(outcome).await?;
        let (deltas, steps) = duties.end().await?;
        let with_plugins = &steps[..duties.plans.len().min(steps.len())];
        for (total, step) in self.stats.iter_mut().rev().zip(with_plugins.iter().rev()) {
            total.merge(&step.stats);
        }
        self.counts.add_steps(&steps);
        Ok((deltas, steps))
    }

    /// Take in what came out of steps.
    async fn take(&mut self, outcome: Outcome) -> Result<()> {
        self.counts.dead_letters += outcome.dead_letters.len() as u64;
        self.outlet.letters(outcome.dead_letters).await?;
        for (table, rows) in outcome.rows {
            self.outlet.rows(table, rows, Moment::Step).await?;
        }
        Ok(())
    }
}
