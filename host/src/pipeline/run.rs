//! Trigger, stage, prepare, commit: the loop over the epochs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::build::{Parts, Wiring};
use super::commit::{all_tables, commit, committed_epoch, fenced, tidy_up};
use super::epoch::{Plan, StagedEpoch, Stages, refuse_too_many_dead_letters, stage};
use super::kept::{self, KeptSchema, NewColumns};
use super::notifications::{NOTIFY, Notifications, Notified, Patience};
use super::progress::{Counts, Durations, Progress, Report, RunIdentity};
use super::recovery::{restore_steps, stand};
use crate::checkpoint::{Checkpoint, EpochRecord, SourceState};
use crate::config::{Pipeline, PipelineFile, Trigger};
use crate::env::{self, Env, Stopwatch};
use crate::model::{AttemptId, Epoch, EpochRange, Segment, SourceRange, StepState};
use crate::protocol::recover::is_overtaken;
use crate::schema::Evolution;
use crate::sink::delta::Table;
use crate::source::Source;
use crate::{Error, ErrorKind, Result};

/// Epochs whose ranges are kept in their records before they go into a segment
/// of the source's state.
const EPOCHS_PER_SEGMENT: usize = 64;
/// Ranges with more files than this go into a segment sooner.
const FILES_PER_SEGMENT: usize = 20_000;
/// A segment is merged with the one before it when it is at least half as big:
/// so there are few, and each entry is written again only a few times.
const MERGE_AT_RATIO: u64 = 2;

/// The shortest wait for a partition to become idle.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// Whether a run is asked to stop.
pub type Shutdown = watch::Receiver<bool>;

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The epochs that it committed, recovered ones aside.
    pub epochs: u64,
    /// What went through them.
    pub counts: Counts,
    /// What became of the alerts that somebody is notified of.
    pub notified: Notified,
    /// Whether it was asked to stop before its trigger ended it.
    pub is_interrupted: bool,
}

/// Run a pipeline until its trigger or `shutdown` ends it.
///
/// When it returns, everything that it prepared is committed.
///
/// # Errors
/// Config if the parts do not fit; Fenced if another host took over; otherwise
/// what the source, a plugin, a table or the checkpoint fails with. After any
/// error another run goes on where this one was.
pub async fn run(
    pipeline: &Pipeline,
    file: &PipelineFile,
    env: &Env,
    mut shutdown: Shutdown,
    report: &mut dyn Report,
) -> Result<Summary> {
    let mut seen = Seen::new(env);
    // What is wrong with a pipeline must not leave a checkpoint behind.
    let storage = env.storage(&pipeline.checkpoint)?;
    let mut kept = kept::peek(pipeline, file, env, Checkpoint::find(storage.clone()).await?.as_ref()).await?;
    let mut wiring = wire(pipeline, file, env, kept.as_ref(), None).await?;
    let checkpoint = Arc::new(Checkpoint::open(storage, &pipeline.name, env).await?);
    if let Some(peeked) = kept {
        let stored = kept::keep(&checkpoint, env, peeked.clone()).await?;
        if stored.columns != peeked.columns {
            // Another host has begun at the same time.
            wiring = wire(pipeline, file, env, Some(&stored), None).await?;
        }
        kept = Some(stored);
    }
    loop {
        let parts = wiring.open(pipeline, env).await?;
        let schema = kept.as_ref().map(|kept| kept.version);
        let mut run = Run::recover(pipeline, env, Arc::clone(&checkpoint), parts, (schema, seen)).await?;
        let result = run.epochs(&mut shutdown, report).await;
        // What is prepared is committed even if the next epoch failed; and what it
        // failed with matters more than what this may fail with.
        let finished = run.finish_commit(report).await;
        let result = result.and_then(|ended| finished.map(|()| ended));
        if matches!(result, Ok(Ended::Done)) && !run.seen.summary.is_interrupted {
            tokio::select! {
                () = run.parts.source.finish() => {}
                () = stopped(&mut shutdown) => {}
            }
        }
        let patience = Patience::after(&result, run.seen.summary.is_interrupted);
        let notified = run.notifications.finish(patience, &mut shutdown).await;
        run.seen.summary.notified.merge(notified);
        let (source, so_far) = (run.parts.source, run.seen);
        match (result?, &pipeline.schema, kept.take()) {
            (Ended::NewColumns(new), Some(settings), Some(current)) => {
                kept = Some(kept::evolve(&checkpoint, env, settings, current, &new).await?);
                wiring = wire(pipeline, file, env, kept.as_ref(), Some(source)).await?;
                seen = so_far;
            }
            (Ended::NewColumns(_), _, _) => return Err(Error::bug("new columns without a schema that is kept")),
            (Ended::Done, _, _) => return Ok(so_far.summary),
        }
    }
}

pub(super) async fn wire(
    pipeline: &Pipeline,
    file: &PipelineFile,
    env: &Env,
    kept: Option<&KeptSchema>,
    source: Option<Box<dyn Source>>,
) -> Result<Wiring> {
    let pipeline = kept.map_or_else(|| pipeline.clone(), |kept| kept.applied_to(pipeline));
    let (file_of, env, kept) = (file.clone(), env.clone(), kept.cloned());
    let plugins = env::cache_dir().join("plugins");
    let wired =
        env::blocking(move || Ok(Wiring::new(&pipeline, &file_of, &env, plugins, kept.as_ref(), source))).await?;
    wired.map_err(|problems| file.problems(problems).into())
}

/// Why the epochs ended.
enum Ended {
    /// The trigger or somebody wants no more.
    Done,
    /// The schema has to get columns; nothing of the epoch that has them was kept.
    NewColumns(NewColumns),
}

/// What goes on being true when a run goes on with another schema.
struct Seen {
    run_id: String,
    /// Whether the end of what is available is fixed.
    is_sealed: bool,
    summary: Summary,
}

impl Seen {
    fn new(env: &Env) -> Self {
        Self { run_id: env.new_id(), is_sealed: false, summary: Summary::default() }
    }
}

/// A commit under way and what is told when it is done.
struct Committing {
    task: JoinHandle<Result<Duration>>,
    staged: StagedEpoch,
    /// The segment of what somebody is to be notified of.
    alerts: Option<Segment>,
    took: Durations,
}

struct Run<'a> {
    pipeline: &'a Pipeline,
    env: &'a Env,
    checkpoint: Arc<Checkpoint>,
    parts: Parts,
    identity: RunIdentity,
    attempt: AttemptId,
    next: Epoch,
    segments: Vec<Segment>,
    /// Where the steps that keep state stand, by name.
    steps: BTreeMap<String, StepState>,
    /// What was prepared since the last segment.
    ranges: Vec<EpochRange>,
    /// What went through epochs with too few dead letters to judge them by.
    unjudged: Counts,
    committing: Option<Committing>,
    notifications: Notifications,
    /// The version of the kept schema.
    schema: Option<u64>,
    seen: Seen,
}

impl<'a> Run<'a> {
    /// Finish what an earlier run prepared, and stand behind it.
    async fn recover(
        pipeline: &'a Pipeline,
        env: &'a Env,
        checkpoint: Arc<Checkpoint>,
        mut parts: Parts,
        (schema, seen): (Option<u64>, Seen),
    ) -> Result<Self> {
        let (record, segments, ranges) = stand(&checkpoint, &mut parts, env).await?;
        let newest = record.as_ref().map(|record| record.epoch);
        let restored = async {
            let steps = restore_steps(pipeline, &checkpoint, record.as_ref(), &mut parts, env).await?;
            let notifications = Notifications::open(pipeline, &checkpoint, record.as_ref(), env).await?;
            Ok((steps, notifications))
        };
        let (steps, notifications) = match restored.await {
            Err(error) => return Err(fenced_if_overtaken(&checkpoint, newest, error).await),
            Ok(restored) => restored,
        };
        let identity = RunIdentity {
            id: checkpoint.pipeline().id.clone(),
            run_id: seen.run_id.clone(),
            name: pipeline.name.clone(),
            source: parts.source.description(),
        };
        Ok(Self {
            pipeline,
            env,
            checkpoint,
            parts,
            identity,
            attempt: env.new_attempt(),
            next: record.map_or(Epoch::FIRST, |record| record.epoch.next()),
            segments,
            steps,
            ranges,
            unjudged: Counts::default(),
            committing: None,
            notifications,
            schema,
            seen,
        })
    }

    async fn epochs(&mut self, shutdown: &mut Shutdown, report: &mut dyn Report) -> Result<Ended> {
        if self.pipeline.trigger == Trigger::AvailableNow && !self.seen.is_sealed {
            tokio::select! {
                sealed = self.parts.source.seal() => sealed?,
                () = stopped(shutdown) => {}
            }
            self.seen.is_sealed = true;
        }
        while !*shutdown.borrow() {
            let watch = Stopwatch::start();
            // A source that is out of reach must not hold up whoever wants to stop.
            let planned = tokio::select! {
                planned = self.parts.source.plan(self.pipeline.epoch_bounds) => planned?,
                () = stopped(shutdown) => break,
            };
            let (range, flush) = match planned {
                Some(range) => (range, false),
                None => {
                    // Nothing to overlap the commit with.
                    self.finish_commit(report).await?;
                    match self.due_without_rows().await? {
                        Some(flush) => (self.parts.source.nothing(), flush),
                        None if self.pipeline.trigger == Trigger::AvailableNow => return Ok(Ended::Done),
                        None => {
                            self.wait(shutdown).await;
                            continue;
                        }
                    }
                }
            };
            let plan = watch.elapsed();
            let behind = self.parts.source.backlog_bytes();
            report.planned(behind.zip(range.file_bytes()).map(|(behind, range)| behind + range));
            let clock_us = self.env.clock.now_us();
            let now = self.env.clock.monotonic();
            let plan_of = Plan {
                pipeline: &self.identity.id,
                lane: self.checkpoint.lane(),
                attempt: &self.attempt,
                epoch: self.next,
                range,
                clock_us,
                now,
                flush,
            };
            let staging = stage(&mut self.parts, plan_of, report);
            let staged = tokio::select! {
                staged = staging => staged?,
                // Abandoned: nothing of it is visible, and its files are removed.
                () = stopped(shutdown) => break,
            };
            let staged = match staged {
                Stages::Epoch(staged) => *staged,
                Stages::NewColumns(new) => {
                    let evolution = self.pipeline.schema.as_ref().map(|settings| settings.evolution);
                    return match evolution {
                        Some(Evolution::FailOnNewColumns) => Err(kept::refused(&new)),
                        _ => Ok(Ended::NewColumns(new)),
                    };
                }
            };
            refuse_too_many_dead_letters(&staged, &mut self.unjudged, self.pipeline.max_dead_letter_ratio)?;
            self.finish_commit(report).await?;
            self.prepare(staged, plan).await?;
            if let Trigger::Interval(interval) = self.pipeline.trigger {
                self.finish_commit(report).await?;
                tokio::select! {
                    () = tokio::time::sleep(interval.saturating_sub(watch.elapsed())) => {}
                    () = stopped(shutdown) => {}
                }
            }
        }
        self.seen.summary.is_interrupted = true;
        Ok(Ended::Done)
    }

    /// Whether windows are due although there is nothing to read, and whether that
    /// is because the run ends.
    async fn due_without_rows(&mut self) -> Result<Option<bool>> {
        let source = &self.parts.source;
        let duties = &self.parts.duties;
        let Some(watermarks) = &duties.watermarks else { return Ok(None) };
        let due = watermarks.due(self.env.clock.monotonic(), |partition| source.has_unread(partition));
        if due > watermarks.current()
            && let Some(due) = due
            && duties.is_due(due).await?
        {
            return Ok(Some(false));
        }
        let ends = self.pipeline.trigger == Trigger::AvailableNow && self.pipeline.flush_at_end;
        Ok((ends && duties.latest_end(self.env.clock.now_us()).await?.is_some()).then_some(true))
    }

    /// Wait until there may be something to do.
    async fn wait(&mut self, shutdown: &mut Shutdown) {
        let now = self.env.clock.monotonic();
        let idle = self.parts.duties.watermarks.as_ref().and_then(|watermarks| watermarks.next_idle(now));
        let idle = async {
            match idle {
                Some(idle) => tokio::time::sleep(idle.max(SHORTEST_WAIT)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.parts.source.changed() => {}
            () = idle => {}
            () = stopped(shutdown) => {}
        }
    }

    /// Make the record of a staged epoch durable and begin its commit.
    async fn prepare(&mut self, staged: StagedEpoch, plan: Duration) -> Result<()> {
        let watch = Stopwatch::start();
        self.refuse_if_overtaken().await?;
        let (epoch, clock_us, range) = (staged.epoch, staged.clock_us, staged.range.clone());
        self.ranges.push(EpochRange { epoch, clock_us, range });
        self.roll_segments().await?;
        self.keep_states(&staged).await?;
        let alerts = self.keep_notifications(&staged).await?;
        let notifications = self.notifications.waiting().into_iter().chain(alerts.clone()).collect();
        let record = EpochRecord {
            pipeline: self.identity.id.clone(),
            lane: self.checkpoint.lane().clone(),
            epoch: staged.epoch,
            attempt: self.attempt.clone(),
            clock_us: staged.clock_us,
            source: SourceState {
                identity: self.parts.source.identity(),
                range: staged.range.clone(),
                segments: self.segments.clone(),
            },
            tables: staged.tables.clone(),
            plugins: self.parts.plugins.clone(),
            schema: self.schema,
            event_time: staged.event_time.clone(),
            steps: self.steps.clone(),
            notifications,
        };
        let prepared = self.checkpoint.prepare(&record).await?;
        self.next = self.next.next();
        let took = Durations { plan, prepare: watch.elapsed(), commit: Duration::ZERO };
        let checkpoint = Arc::clone(&self.checkpoint);
        let tables: Vec<Arc<Table>> = all_tables(&self.parts).cloned().collect();
        let task = tokio::spawn(async move {
            let watch = Stopwatch::start();
            commit(prepared, &record, &checkpoint, &tables.iter().collect::<Vec<_>>()).await?;
            let took = watch.elapsed();
            tidy_up(&record, &checkpoint, &tables).await;
            Ok(took)
        });
        self.committing = Some(Committing { task, staged, alerts, took });
        Ok(())
    }

    /// Wait for the commit that is under way, and tell of it.
    async fn finish_commit(&mut self, report: &mut dyn Report) -> Result<()> {
        let Some(Committing { task, staged, alerts, mut took }) = self.committing.take() else { return Ok(()) };
        took.commit = task.await.map_err(|panic| Error::bug("a commit panicked").because(panic))??;
        self.seen.summary.epochs += 1;
        self.seen.summary.counts.merge(&staged.counts);
        self.parts.source.committed(staged.epoch, staged.clock_us, &staged.range);
        if let (Some(segment), Some(batch)) = (&alerts, &staged.notifications) {
            self.notifications.publish(staged.epoch, segment, batch);
        }
        let notifications = self.notifications.progress();
        report.epoch(&Progress::new(&self.identity, &staged, &self.parts.plugins, took, notifications));
        Ok(())
    }

    /// A host that slept through its own succession finds it in the tables.
    async fn refuse_if_overtaken(&self) -> Result<()> {
        for table in all_tables(&self.parts) {
            let name = &table.settings().name;
            let committed = committed_epoch(table, &self.checkpoint.application_id(name)).await?;
            if is_overtaken(self.next, committed) {
                return Err(fenced(name, self.next));
            }
        }
        Ok(())
    }

    /// Move the ranges that only records hold into a state segment, from time to
    /// time, and merge segments that have become alike in size.
    async fn roll_segments(&mut self) -> Result<()> {
        let files = |range: &EpochRange| match &range.range {
            SourceRange::Files(files) => files.len(),
            SourceRange::Offsets(_) => 0,
        };
        let full = self.ranges.iter().map(files).sum::<usize>() >= FILES_PER_SEGMENT;
        let is_due = full || self.ranges.len() >= EPOCHS_PER_SEGMENT || self.parts.source.has_unrecorded();
        if !is_due {
            return Ok(());
        }
        let Some(&EpochRange { epoch: through, .. }) = self.ranges.last() else { return Ok(()) };
        let Some((bytes, entries)) = self.parts.source.segment(&self.ranges)? else {
            // The latest range says it all.
            self.ranges.drain(..self.ranges.len() - 1);
            return Ok(());
        };
        let place = (self.next, &self.attempt);
        let change = (through, bytes, entries);
        let source = &self.parts.source;
        let merge = |parts: &[Bytes], entries| source.merge(parts, entries);
        append_segment(&self.checkpoint, &mut self.segments, "source", place, change, merge).await?;
        self.ranges.clear();
        Ok(())
    }

    /// Write what an epoch changed in the states of steps.
    async fn keep_states(&mut self, staged: &StagedEpoch) -> Result<()> {
        let place = (staged.epoch, &self.attempt);
        for delta in &staged.deltas {
            let Some(state) = self.steps.get_mut(&delta.step) else { continue };
            if delta.is_whole {
                state.segments.clear();
            }
            let change = (staged.epoch, delta.bytes.clone(), delta.entries);
            let merge = |parts: &[Bytes], entries| Ok((parts.concat().into(), entries));
            append_segment(&self.checkpoint, &mut state.segments, &delta.step, place, change, merge).await?;
            let kept = state.segments.iter().map(|segment| segment.entries).sum();
            self.parts.duties.set_kept(&delta.step, kept);
        }
        Ok(())
    }

    /// Write what somebody is to be notified of.
    async fn keep_notifications(&self, staged: &StagedEpoch) -> Result<Option<Segment>> {
        let Some(batch) = &staged.notifications else { return Ok(None) };
        let place = (staged.epoch, &self.attempt);
        let written = self.checkpoint.write_segment(NOTIFY, place, staged.epoch, (batch.encode(), batch.entries()));
        written.await.map(Some)
    }
}

/// The epoch before this one.
fn before(epoch: Epoch) -> Option<Epoch> {
    epoch.number().checked_sub(1).and_then(Epoch::new)
}

/// What is missing because another host is at work, and tidies up behind itself,
/// is not damaged.
async fn fenced_if_overtaken(checkpoint: &Checkpoint, newest: Option<Epoch>, error: Error) -> Error {
    if error.kind() != ErrorKind::Corrupt {
        return error;
    }
    match checkpoint.epochs().await {
        Ok(epochs) if epochs.last().copied() > newest => {
            let name = &checkpoint.pipeline().name;
            Error::fenced(format!("another host is at work on the pipeline `{name}`: this one stops")).because(error)
        }
        Ok(_) | Err(_) => error,
    }
}

/// Put a change behind the segments of a step, merged with those before it that
/// are alike in size.
async fn append_segment(
    checkpoint: &Checkpoint,
    segments: &mut Vec<Segment>,
    step: &str,
    place: (Epoch, &AttemptId),
    (through, bytes, mut entries): (Epoch, Bytes, u64),
    merge: impl Fn(&[Bytes], u64) -> Result<(Bytes, u64)>,
) -> Result<()> {
    let mut parts = vec![bytes];
    while let Some(last) = segments.pop_if(|last| last.entries <= entries * MERGE_AT_RATIO) {
        match checkpoint.read_segment(&last).await {
            Ok(older) => parts.push(older),
            Err(error) => return Err(fenced_if_overtaken(checkpoint, before(place.0), error).await),
        }
        entries += last.entries;
    }
    parts.reverse();
    let merged = match parts.as_slice() {
        [bytes] => (bytes.clone(), entries),
        parts => merge(parts, entries)?,
    };
    segments.push(checkpoint.write_segment(step, place, through, merged).await?);
    Ok(())
}

/// Resolves when a stop is asked for.
pub(super) async fn stopped(shutdown: &mut Shutdown) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        // Nobody can ask any more.
        std::future::pending::<()>().await;
    }
}
