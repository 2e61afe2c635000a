//! Shards: threads with the groups of their keys, for all steps.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::feed::{Fed, Times};
use super::rule::RuleShard;
use super::window::{Closed, WindowShard};
use crate::env::{self, Thread};
use crate::event_time::{Changed, DeduplicateSettings, Deduplicator, Groups, KeyRows, LateRow, StateColumns};
use crate::model::EventTime;
use crate::plugin::{Alerts, CallStats, FailedInput};
use crate::{Error, Result};

/// Requests that wait for a shard: one is worked on meanwhile.
const QUEUE: usize = 1;

/// What became of a fed chunk; rows are those of the chunk.
#[derive(Debug, Default)]
pub(in super::super) struct Answer {
    pub(super) late: Vec<LateRow>,
    pub(super) alerts: Option<Alerts>,
    pub(super) failed: Vec<FailedInput>,
}

/// What an epoch did to the groups of a step.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// For the durable state; none if nothing changed.
    pub(super) bytes: Option<Bytes>,
    pub(super) entries: u64,
    pub(super) updated: u64,
    pub(super) open: u64,
    pub(super) stats: CallStats,
}

impl Ended {
    pub(super) fn of<'a>(
        columns: &StateColumns,
        groups: &'a Groups,
        changed: &'a Changed,
        all: bool,
        state: impl Fn(u32) -> Option<&'a [u8]>,
    ) -> Result<Self> {
        let entries = (changed.removed.len() + changed.updated.len()) as u64;
        let (bytes, entries) = match (all, entries) {
            (true, _) => (Some(columns.all(groups, state)?), groups.len() as u64),
            (false, 0) => (None, 0),
            (false, _) => (Some(columns.changed(groups, changed, state)?), entries),
        };
        let (updated, open) = (changed.updated.len() as u64, groups.len() as u64);
        Ok(Self { bytes, entries, updated, open, stats: CallStats::default() })
    }
}

/// One step in one shard.
pub(in super::super) enum ShardStep {
    /// A window.
    Window(Box<WindowShard>),
    /// A rule that remembers, or judges what a window gives.
    Rule(Box<RuleShard>),
    /// A step that runs in the workers.
    Elsewhere,
}

impl ShardStep {
    fn fork(&self) -> Self {
        match self {
            Self::Window(window) => Self::Window(Box::new(window.fork())),
            Self::Rule(rule) => Self::Rule(Box::new(rule.fork())),
            Self::Elsewhere => Self::Elsewhere,
        }
    }

    /// Take over the states of another version of the step.
    fn adopt(&mut self, running: &Self) -> Result<()> {
        match (self, running) {
            (Self::Window(next), Self::Window(running)) => next.adopt(running),
            (Self::Rule(next), Self::Rule(running)) => next.adopt(running),
            (_, Self::Window(_) | Self::Rule(_) | Self::Elsewhere) => Ok(()),
        }
    }

    /// Take over the groups of another version of the step, whose states it has.
    fn take_groups(&mut self, running: &mut Self) {
        match (self, running) {
            (Self::Window(next), Self::Window(running)) => next.take_groups(running),
            (Self::Rule(next), Self::Rule(running)) => next.take_groups(running),
            (_, Self::Window(_) | Self::Rule(_) | Self::Elsewhere) => {}
        }
    }
}

/// The steps of one shard.
pub(super) struct Shard {
    number: usize,
    of: usize,
    steps: Vec<ShardStep>,
    deduplicator: Option<(Deduplicator, StateColumns)>,
    /// Other versions of steps, with the states of those that run; none for a step
    /// that stays.
    next: Vec<Option<ShardStep>>,
}

impl Shard {
    /// Give other versions of steps the states of those that run, which go on being
    /// used until `swap`. There is one entry for each step, none for one that stays.
    pub(super) fn make_ready(&mut self, next: Vec<Option<ShardStep>>) -> Result<()> {
        self.next.clear();
        for (running, next) in self.steps.iter().zip(next) {
            let next = next.map(|mut next| next.adopt(running).map(|()| next)).transpose()?;
            self.next.push(next);
        }
        Ok(())
    }

    /// Let the versions that are ready take over.
    pub(super) fn swap(&mut self) {
        for (running, next) in self.steps.iter_mut().zip(self.next.drain(..)) {
            if let Some(mut next) = next {
                next.take_groups(running);
                *running = next;
            }
        }
    }

    /// Forget the versions that are ready.
    pub(super) fn forget_next(&mut self) {
        self.next.clear();
    }

    pub(super) fn feed(&mut self, step: usize, fed: &Fed, watermark: Option<EventTime>) -> Result<Answer> {
        let place = (self.number, self.of);
        match &mut self.steps[step] {
            ShardStep::Window(window) => window.feed(fed, place, watermark),
            ShardStep::Rule(rule) => rule.feed(fed, place, watermark),
            ShardStep::Elsewhere => Err(Error::bug("a step of the workers was fed in a shard")),
        }
    }

    pub(super) fn set_now(&mut self, now_us: i64) {
        for step in &mut self.steps {
            match step {
                ShardStep::Window(window) => window.set_now(now_us),
                ShardStep::Rule(rule) => rule.set_now(now_us),
                ShardStep::Elsewhere => {}
            }
        }
    }

    /// Close what ends at the watermark. A rule gives nothing then.
    pub(super) fn close(&mut self, step: usize, watermark: Option<EventTime>) -> Result<(Option<Closed>, u64)> {
        match &mut self.steps[step] {
            ShardStep::Window(window) => {
                let closed = window.close(watermark)?;
                let ended = closed.ended;
                Ok((Some(closed), ended))
            }
            ShardStep::Rule(rule) => Ok((None, watermark.map_or(Ok(0), |watermark| rule.forget(watermark))?)),
            ShardStep::Elsewhere => Ok((None, 0)),
        }
    }

    pub(super) fn end_epoch(&mut self, step: usize, all: bool) -> Result<Ended> {
        match &mut self.steps[step] {
            ShardStep::Window(window) => {
                let ended = window.end_epoch(all)?;
                Ok(Ended { stats: window.take_stats(), ..ended })
            }
            ShardStep::Rule(rule) => {
                let ended = rule.end_epoch(all)?;
                Ok(Ended { stats: rule.take_stats(), ..ended })
            }
            ShardStep::Elsewhere => Ok(Ended::default()),
        }
    }

    pub(super) fn restore(&mut self, step: usize, segments: &[Bytes], version: u32) -> Result<()> {
        let place = (self.number, self.of);
        match &mut self.steps[step] {
            ShardStep::Window(window) => window.restore(segments, version, place),
            ShardStep::Rule(rule) => rule.restore(segments, version, place),
            ShardStep::Elsewhere => Ok(()),
        }
    }

    /// The end of the last open window that has begun by this instant.
    pub(super) fn latest_end(&self, begun_by: EventTime) -> Option<EventTime> {
        let end = |step: &ShardStep| match step {
            ShardStep::Window(window) => window.latest_end(begun_by),
            ShardStep::Rule(_) | ShardStep::Elsewhere => None,
        };
        self.steps.iter().filter_map(end).max()
    }

    /// Whether a window ends at this watermark.
    pub(super) fn is_due(&self, watermark: EventTime) -> bool {
        self.steps.iter().any(|step| match step {
            ShardStep::Window(window) => window.groups().is_due(watermark),
            ShardStep::Rule(rule) => rule.groups().is_due(watermark),
            ShardStep::Elsewhere => false,
        })
    }

    /// Which rows repeat no other. Only the first shard is asked.
    pub(super) fn first(&mut self, keys: &KeyRows, times: &Times) -> Result<arrow::array::BooleanArray> {
        let (deduplicator, _) = self.deduplicator.as_mut().ok_or_else(no_deduplicator)?;
        Ok(deduplicator.first(keys, times.values(), times.valid()))
    }

    pub(super) fn end_deduplication(&mut self, watermark: Option<EventTime>, all: bool) -> Result<Ended> {
        let Some((deduplicator, columns)) = &mut self.deduplicator else { return Ok(Ended::default()) };
        if let Some(watermark) = watermark {
            deduplicator.forget(watermark);
        }
        let changed = deduplicator.end_epoch();
        let groups = deduplicator.groups();
        // What is remembered is the row itself.
        Ended::of(columns, groups, &changed, all, |_| Some(&[]))
    }

    pub(super) fn restore_deduplication(&mut self, segments: &[Bytes]) -> Result<()> {
        let (deduplicator, columns) = self.deduplicator.as_mut().ok_or_else(no_deduplicator)?;
        for kept in columns.restore(segments)? {
            for row in 0..kept.windows.len() {
                if kept.states[row].is_some() {
                    deduplicator.restore(&kept.keys, row, kept.windows[row]);
                }
            }
        }
        Ok(())
    }
}

fn no_deduplicator() -> Error {
    Error::bug("this shard does not look for rows that come twice")
}

/// Open the groups of a shard that segments hold, and the states to load.
pub(super) fn restore(
    groups: &mut Groups,
    columns: &StateColumns,
    segments: &[Bytes],
    (shard, shards): (usize, usize),
) -> Result<Vec<(u32, Arc<[u8]>)>> {
    let mut states = Vec::new();
    for mut kept in columns.restore(segments)? {
        for row in 0..kept.windows.len() {
            if kept.keys.shard(row, shards) == shard
                && let Some(state) = kept.states[row].take()
            {
                states.push((groups.restore(&kept.keys, row, kept.windows[row]), state));
            }
        }
    }
    Ok(states)
}

type Job = Box<dyn FnOnce(&mut Shard) + Send>;

struct Lane {
    jobs: mpsc::Sender<Job>,
    // Ends when `jobs` is dropped.
    _thread: Thread<()>,
}

/// The shards of a pipeline.
pub(in super::super) struct Shards {
    lanes: Vec<Lane>,
}

/// Answers that are under way, one of each shard.
pub(super) struct Asked<T>(Vec<oneshot::Receiver<Result<T>>>);

impl<T> Asked<T> {
    /// Wait for them.
    ///
    /// # Errors
    /// The first error of a shard.
    pub(super) async fn answers(self) -> Result<Vec<T>> {
        let mut answers = Vec::with_capacity(self.0.len());
        for answer in self.0 {
            answers.push(answer.await.map_err(|_| Error::bug("a shard ended before its work"))??);
        }
        Ok(answers)
    }
}

impl Shards {
    /// Start so many shards of these steps.
    ///
    /// # Errors
    /// Unavailable if the system has no thread to give.
    pub(in super::super) fn start(
        steps: &[ShardStep],
        deduplicate: Option<(&DeduplicateSettings, &StateColumns)>,
        count: usize,
    ) -> Result<Self> {
        let lane = |number: usize| {
            let deduplicate = deduplicate.filter(|_| number == 0);
            let mut shard = Shard {
                number,
                of: count,
                steps: steps.iter().map(ShardStep::fork).collect(),
                deduplicator: deduplicate.map(|(settings, state)| (Deduplicator::new(settings), state.clone())),
                next: Vec::new(),
            };
            let (jobs, mut todo) = mpsc::channel::<Job>(QUEUE);
            let thread = env::worker(&format!("weir-shard-{number}"), move || {
                while let Some(job) = todo.blocking_recv() {
                    job(&mut shard);
                }
            })?;
            Ok(Lane { jobs, _thread: thread })
        };
        Ok(Self { lanes: (0..count).map(lane).collect::<Result<_>>()? })
    }

    /// Ask all shards the same.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Shard) -> Result<T> + Clone + Send + 'static,
    ) -> Result<Asked<T>> {
        let mut asked = Vec::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            asked.push(lane.ask(work.clone()).await?);
        }
        Ok(Asked(asked))
    }

    /// Give all shards other versions of steps, which are ready then; there is one
    /// entry for each step, none for one that stays. Nothing changes before `swap`.
    ///
    /// # Errors
    /// Plugin if one does not take the states of the version that runs; then none is
    /// ready.
    pub(super) async fn make_ready(&self, next: &[Option<ShardStep>]) -> Result<()> {
        let mut asked = Vec::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            let next = next.iter().map(|step| step.as_ref().map(ShardStep::fork)).collect();
            asked.push(lane.ask(move |shard| shard.make_ready(next)).await?);
        }
        let ready = Asked(asked).answers().await;
        if ready.is_err() {
            // Behind whatever a shard is still doing.
            let forgotten = self.ask(|shard| {
                shard.forget_next();
                Ok(())
            });
            forgotten.await?.answers().await?;
        }
        ready.map(drop)
    }

    /// Let the versions that are ready take over.
    pub(super) async fn swap(&self) -> Result<()> {
        let swapped = self.ask(|shard| {
            shard.swap();
            Ok(())
        });
        swapped.await?.answers().await.map(drop)
    }

    /// Ask the first shard.
    pub(super) async fn ask_first<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Shard) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let lane = self.lanes.first().ok_or_else(|| Error::bug("there are no shards"))?;
        let answer = lane.ask(work).await?;
        answer.await.map_err(|_| Error::bug("a shard ended before its work"))?
    }
}

impl Lane {
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Shard) -> Result<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |shard| {
            let _ = answer.send(work(shard));
        });
        self.jobs.send(job).await.map_err(|_| Error::bug("a shard ended before its work"))?;
        Ok(answered)
    }
}
