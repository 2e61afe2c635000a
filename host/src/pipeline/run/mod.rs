//! Trigger, stage, prepare, commit: the loop over the epochs.

mod prepare;
mod swap;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::build::{Footing, Parts, Policies, Wiring, library, source};
use super::epoch::{Plan, StagedEpoch, Stages, refuse_too_many_dead_letters, stage};
use super::kept::{self, KeptSchema, NewColumns};
use super::notifications::{Notifications, Notified, Patience};
use super::progress::{Counts, Durations, Report, RunIdentity};
use super::recovery::{restore_steps, stand};
use super::swap::{Answer, Control, Next, Swaps, Versions, in_force};
use crate::checkpoint::Checkpoint;
use crate::config::{Pipeline, PipelineFile, Problem, Trigger};
use crate::env::{self, Env, Stopwatch};
use crate::model::{AttemptId, Epoch, EpochRange, Segment, StepState};
use crate::schema::Evolution;
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
    shutdown: Shutdown,
    report: &mut dyn Report,
) -> Result<Summary> {
    run_with_swaps(pipeline, file, env, (shutdown, Swaps::none()), report).await
}

/// As [`run`], and let other versions of plugins take over when somebody asks.
///
/// # Errors
/// As [`run`].
pub async fn run_with_swaps(
    pipeline: &Pipeline,
    file: &PipelineFile,
    env: &Env,
    (mut shutdown, swaps): (Shutdown, Swaps),
    report: &mut dyn Report,
) -> Result<Summary> {
    let mut seen = Seen::new(env);
    // What is wrong with a pipeline must not leave a checkpoint behind.
    let storage = env.storage(&pipeline.checkpoint)?;
    let found = Checkpoint::find(storage.clone()).await?;
    let newest = match &found {
        Some(found) => found.newest().await?,
        None => None,
    };
    let in_force = in_force(pipeline, found.as_ref(), newest.as_ref()).await?;
    let mut control = Control::new(swaps, pipeline, file, in_force);
    let mut kept = kept::peek(&control.running, file, env, found.as_ref()).await?;
    let (footing, mut source) = ground(&control.running, file, env, kept.as_ref())?;
    let wired = wire(&control.running, file, &footing, &control.policies, kept.as_ref()).await;
    let mut wiring = wired.map_err(|error| control.with_stand_ins(error))?;
    let checkpoint = Arc::new(Checkpoint::open(storage, &pipeline.name, env).await?);
    if let Some(peeked) = kept {
        let stored = kept::keep(&checkpoint, env, peeked.clone()).await?;
        if stored.columns != peeked.columns {
            // Another host has begun at the same time.
            wiring = wire(&control.running, file, &footing, &control.policies, Some(&stored)).await?;
        }
        kept = Some(stored);
    }
    loop {
        control.pin(&wiring.plugins);
        let parts = wiring.open(&control.running, env, footing.clone(), source).await?;
        let mut run = Run::recover(env, Arc::clone(&checkpoint), parts, (kept.clone(), seen), control).await?;
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
        let trial = run.trial.take();
        (source, seen, control) = (run.parts.source, run.seen, run.control);
        match (result?, &pipeline.schema, kept.take()) {
            (Ended::Done, _, _) => return Ok(seen.summary),
            (Ended::RolledBack, _, current) => kept = current,
            (Ended::NewColumns(new), Some(settings), Some(current)) => {
                kept = Some(kept::evolve(&checkpoint, env, settings, current, &new).await?);
            }
            (Ended::NewColumns(_), _, _) => return Err(Error::bug("new columns without a schema that is kept")),
        }
        control.forget_what_is_ready(trial);
        wiring = wire(&control.running, &control.file, &footing, &control.policies, kept.as_ref()).await?;
    }
}

/// What a pipeline is wired on, and its source, which is not asked anything yet.
///
/// # Errors
/// Config if the source cannot be made.
pub(super) fn ground(
    pipeline: &Pipeline,
    file: &PipelineFile,
    env: &Env,
    kept: Option<&KeptSchema>,
) -> Result<(Footing, Box<dyn Source>)> {
    let applied = kept.map(|kept| kept.applied_to(pipeline));
    let at = |error: Error| file.problems(vec![file.problem_at("source", error.to_string(), None)]);
    let source = source(applied.as_ref().unwrap_or(pipeline), env).map_err(at)?;
    Ok((Footing::new(library(env)?, source.as_ref()), source))
}

/// Wire a pipeline, off the async threads.
///
/// # Errors
/// Config with everything that does not fit.
pub(super) async fn wire(
    pipeline: &Pipeline,
    file: &PipelineFile,
    footing: &Footing,
    policies: &Policies,
    kept: Option<&KeptSchema>,
) -> Result<Wiring> {
    let wired = try_to_wire(pipeline, file, footing, &[], policies, kept).await?;
    wired.map_err(|problems| file.problems(problems).into())
}

/// The same for a source that brings the message fields `selected` already, with all
/// problems that there are.
pub(super) async fn try_to_wire(
    pipeline: &Pipeline,
    file: &PipelineFile,
    footing: &Footing,
    selected: &[String],
    policies: &Policies,
    kept: Option<&KeptSchema>,
) -> Result<std::result::Result<Wiring, Vec<Problem>>> {
    let pipeline = kept.map_or_else(|| pipeline.clone(), |kept| kept.applied_to(pipeline));
    let (file_of, footing, kept) = (file.clone(), footing.clone(), kept.cloned());
    let (selected, policies) = (selected.to_vec(), policies.clone());
    let wired = move || Wiring::new(&pipeline, &file_of, &footing, &selected, &policies, kept.as_ref());
    env::blocking(move || Ok(wired())).await
}

/// Why the epochs ended.
enum Ended {
    /// The trigger or somebody wants no more.
    Done,
    /// The schema has to get columns; nothing of the epoch that has them was kept.
    NewColumns(NewColumns),
    /// Versions on probation have failed; nothing of the epoch was kept.
    RolledBack,
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
    pipeline: Arc<Pipeline>,
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
    /// The schema that weir keeps for the source.
    kept: Option<KeptSchema>,
    seen: Seen,
    control: Control,
    versions: Versions,
    /// Whoever waits for the end of a trial.
    trial: Option<Answer>,
}

impl<'a> Run<'a> {
    /// Finish what an earlier run prepared, and stand behind it.
    async fn recover(
        env: &'a Env,
        checkpoint: Arc<Checkpoint>,
        mut parts: Parts,
        (kept, seen): (Option<KeptSchema>, Seen),
        control: Control,
    ) -> Result<Self> {
        let pipeline = Arc::clone(&control.running);
        let (record, segments, ranges) = stand(&checkpoint, &mut parts, env).await?;
        let newest = record.as_ref().map(|record| record.epoch);
        let restored = async {
            let steps = restore_steps(&pipeline, &checkpoint, record.as_ref(), &mut parts.duties, env).await?;
            let notifications = Notifications::open(&pipeline, &checkpoint, record.as_ref(), env).await?;
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
        let versions = Versions::behind(record.as_ref(), &parts.plugins, control.kept_out(), pipeline.keep_plugins);
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
            kept,
            seen,
            control,
            versions,
            trial: None,
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
        self.tell_standing();
        while !*shutdown.borrow() {
            self.attend(report).await?;
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
                        // An epoch of nothing, whose record says what was decided.
                        None if !self.versions.is_recorded() => (self.parts.source.nothing(), false),
                        None if self.pipeline.trigger == Trigger::AvailableNow => return Ok(Ended::Done),
                        None => {
                            if let Some(next) = self.wait(shutdown).await {
                                self.answer(next, report).await?;
                            }
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
                staged = staging => staged,
                // Abandoned: nothing of it is visible, and its files are removed.
                () = stopped(shutdown) => break,
            };
            if let Some(reason) = self.blame(&staged)
                && self.roll_back(&reason, report)
            {
                return Ok(Ended::RolledBack);
            }
            let staged = match staged? {
                Stages::Epoch(staged) => *staged,
                Stages::NewColumns(new) => {
                    let evolution = self.pipeline.schema.as_ref().map(|settings| settings.evolution);
                    return match evolution {
                        Some(Evolution::FailOnNewColumns) => Err(kept::refused(&new)),
                        _ => Ok(Ended::NewColumns(new)),
                    };
                }
            };
            let max_ratio = self.pipeline.max_dead_letter_ratio;
            if let Err(error) = refuse_too_many_dead_letters(&staged, &mut self.unjudged, max_ratio) {
                return match self.control.blames(&error) && self.roll_back(&error.to_string(), report) {
                    true => Ok(Ended::RolledBack),
                    false => Err(error),
                };
            }
            self.finish_commit(report).await?;
            let stats = if self.trial.is_some() { staged.stats.clone() } else { Vec::new() };
            let has_worked = staged.counts.messages > 0 || staged.counts.windows > 0;
            self.prepare(staged, plan).await?;
            if has_worked {
                let trusted = self.control.prepared(self.next);
                self.tell(trusted, report);
            }
            self.after_trial(&stats, report).await?;
            if let Trigger::Interval(interval) = self.pipeline.trigger {
                self.finish_commit(report).await?;
                while let Some(left) = interval.checked_sub(watch.elapsed()) {
                    tokio::select! {
                        () = tokio::time::sleep(left) => break,
                        () = stopped(shutdown) => break,
                        next = self.control.next(self.trial.is_some()) => self.answer(next, report).await?,
                    }
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

    /// Wait until there may be something to do; what, if it is about plugins.
    async fn wait(&mut self, shutdown: &mut Shutdown) -> Option<Next> {
        let now = self.env.clock.monotonic();
        let idle = self.parts.duties.watermarks.as_ref().and_then(|watermarks| watermarks.next_idle(now));
        let idle = async {
            match idle {
                Some(idle) => tokio::time::sleep(idle.max(SHORTEST_WAIT)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.parts.source.changed() => None,
            () = idle => None,
            () = stopped(shutdown) => None,
            next = self.control.next(self.trial.is_some()) => Some(next),
        }
    }
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

/// Resolves when a stop is asked for.
pub(super) async fn stopped(shutdown: &mut Shutdown) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        // Nobody can ask any more.
        std::future::pending::<()>().await;
    }
}
