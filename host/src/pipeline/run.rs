//! Recovery, trigger, prepare, commit: the loop over the epochs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::build::{Parts, Wiring};
use super::epoch::{StagedEpoch, refuse_too_many_dead_letters, stage};
use super::progress::{Counts, Durations, Progress, Report, RunIdentity, rfc3339};
use crate::checkpoint::{Checkpoint, EpochRecord, SourceState, StagedTable};
use crate::config::{Pipeline, PipelineFile, Trigger};
use crate::env::{self, Env, Location, Stopwatch};
use crate::model::{AttemptId, Epoch, Segment, SourceRange};
use crate::protocol::Prepared;
use crate::protocol::recover::{Recovery, TableFacts, is_overtaken, recover};
use crate::sink::delta::{CommitOutcome, CommitRequest, Table, transaction_version};
use crate::{Error, ErrorKind, Result};

/// Epochs whose ranges are kept in their records before they go into a segment
/// of the source's state.
const EPOCHS_PER_SEGMENT: usize = 64;
/// Ranges with more files than this go into a segment sooner.
const FILES_PER_SEGMENT: usize = 20_000;
/// A segment is merged with the one before it when it is at least half as big:
/// so there are few, and each entry is written again only a few times.
const MERGE_AT_RATIO: u64 = 2;

/// How often a recovery is begun again because another host went on meanwhile.
const RECOVERY_TRIES: u32 = 5;

/// Whether a run is asked to stop.
pub type Shutdown = watch::Receiver<bool>;

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The epochs that it committed, recovered ones aside.
    pub epochs: u64,
    /// What went through them.
    pub counts: Counts,
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
    let wiring = wire(pipeline, file, env).await?;
    let storage = env.storage(&pipeline.checkpoint)?;
    let checkpoint = Checkpoint::open(storage, &pipeline.name, env).await?;
    let parts = wiring.open(pipeline, env).await?;
    let mut run = Run::recover(pipeline, env, checkpoint, parts).await?;
    let result = run.epochs(&mut shutdown, report).await;
    // What is prepared is committed even if the next epoch failed; and what it
    // failed with matters more than what this may fail with.
    let finished = run.finish_commit(report).await;
    result.and(finished)?;
    Ok(run.summary)
}

pub(super) async fn wire(pipeline: &Pipeline, file: &PipelineFile, env: &Env) -> Result<Wiring> {
    let (pipeline, file_of, env) = (pipeline.clone(), file.clone(), env.clone());
    let wired =
        env::blocking(move || Ok(Wiring::new(&pipeline, &file_of, &env, env::cache_dir().join("plugins")))).await?;
    wired.map_err(|problems| file.problems(problems).into())
}

/// A commit under way and what is told when it is done.
struct Committing {
    task: JoinHandle<Result<Duration>>,
    staged: StagedEpoch,
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
    /// What was prepared since the last segment.
    ranges: Vec<(Epoch, SourceRange)>,
    /// What went through epochs with too few dead letters to judge them by.
    unjudged: Counts,
    committing: Option<Committing>,
    summary: Summary,
}

impl<'a> Run<'a> {
    /// Finish what an earlier run prepared, and stand behind it.
    async fn recover(pipeline: &'a Pipeline, env: &'a Env, checkpoint: Checkpoint, mut parts: Parts) -> Result<Self> {
        let mut tries = 0;
        let (record, segments, ranges) = loop {
            let newest = checkpoint.epochs().await?.last().copied();
            let recovered = recover_from(newest, &checkpoint, &mut parts, env).await;
            tries += 1;
            match recovered {
                // Another host that is at work moves what is being read.
                Err(error)
                    if error.kind() == ErrorKind::Corrupt
                        && tries < RECOVERY_TRIES
                        && checkpoint.epochs().await?.last().copied() != newest => {}
                recovered => break recovered?,
            }
        };
        let identity = RunIdentity {
            id: checkpoint.pipeline().id.clone(),
            run_id: env.new_id(),
            name: pipeline.name.clone(),
            source: parts.source.description(),
        };
        Ok(Self {
            pipeline,
            env,
            checkpoint: Arc::new(checkpoint),
            parts,
            identity,
            attempt: env.new_attempt(),
            next: record.map_or(Epoch::FIRST, |record| record.epoch.next()),
            segments,
            ranges,
            unjudged: Counts::default(),
            committing: None,
            summary: Summary::default(),
        })
    }

    async fn epochs(&mut self, shutdown: &mut Shutdown, report: &mut dyn Report) -> Result<()> {
        if self.pipeline.trigger == Trigger::AvailableNow {
            self.parts.source.seal().await?;
        }
        while !*shutdown.borrow() {
            let watch = Stopwatch::start();
            let planned = self.parts.source.plan(self.pipeline.epoch_bounds).await?;
            let Some(range) = planned else {
                // Nothing to overlap the commit with.
                self.finish_commit(report).await?;
                if self.pipeline.trigger == Trigger::AvailableNow {
                    return Ok(());
                }
                tokio::select! {
                    () = self.parts.source.changed() => {}
                    () = stopped(shutdown) => {}
                }
                continue;
            };
            let plan = watch.elapsed();
            let clock_us = self.env.clock.now_us();
            let staging = stage(&mut self.parts, &self.attempt, self.next, range, clock_us, report);
            let staged = tokio::select! {
                staged = staging => staged?,
                // Abandoned: nothing of it is visible, and its files are removed.
                () = stopped(shutdown) => break,
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
        self.summary.is_interrupted = true;
        Ok(())
    }

    /// Make the record of a staged epoch durable and begin its commit.
    async fn prepare(&mut self, staged: StagedEpoch, plan: Duration) -> Result<()> {
        let watch = Stopwatch::start();
        self.refuse_if_overtaken().await?;
        self.ranges.push((staged.epoch, staged.range.clone()));
        self.roll_segments().await?;
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
        self.committing = Some(Committing { task, staged, took });
        Ok(())
    }

    /// Wait for the commit that is under way, and tell of it.
    async fn finish_commit(&mut self, report: &mut dyn Report) -> Result<()> {
        let Some(Committing { task, staged, mut took }) = self.committing.take() else { return Ok(()) };
        took.commit = task.await.map_err(|panic| Error::bug("a commit panicked").because(panic))??;
        self.summary.epochs += 1;
        self.summary.counts.merge(&staged.counts);
        report.epoch(&Progress::new(&self.identity, &staged, &self.parts.plugins, took));
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
        let files = |(_, range): &(Epoch, SourceRange)| match range {
            SourceRange::Files(files) => files.len(),
            SourceRange::Offsets(_) => 0,
        };
        let full = self.ranges.iter().map(files).sum::<usize>() >= FILES_PER_SEGMENT;
        if self.ranges.len() < EPOCHS_PER_SEGMENT && !full {
            return Ok(());
        }
        let Some(&(through, _)) = self.ranges.last() else { return Ok(()) };
        let Some((bytes, mut entries)) = self.parts.source.segment(&self.ranges)? else {
            // The latest range says it all.
            self.ranges.drain(..self.ranges.len() - 1);
            return Ok(());
        };
        let mut bytes = bytes.to_vec();
        while let Some(last) = self.segments.pop_if(|last| last.entries <= entries * MERGE_AT_RATIO) {
            let mut merged = self.checkpoint.read_segment(&last).await?.to_vec();
            merged.append(&mut bytes);
            bytes = merged;
            entries += last.entries;
        }
        let segment = self.checkpoint.write_segment(self.next, &self.attempt, through, (bytes.into(), entries)).await?;
        self.segments.push(segment);
        self.ranges.clear();
        Ok(())
    }
}

/// Resolves when a stop is asked for.
async fn stopped(shutdown: &mut Shutdown) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        // Nobody can ask any more.
        std::future::pending::<()>().await;
    }
}

fn all_tables(parts: &Parts) -> impl Iterator<Item = &Arc<Table>> {
    parts.tables.iter().chain([&parts.dead_letters])
}

async fn committed_epoch(table: &Table, app_id: &str) -> Result<Option<Epoch>> {
    let Some(version) = table.transaction_version(app_id).await? else { return Ok(None) };
    let epoch = u64::try_from(version).ok().and_then(Epoch::new);
    let negative = || Error::corrupt(format!("the table `{}` names the epoch {version}", table.settings().name));
    epoch.map(Some).ok_or_else(negative)
}

fn fenced(table: &str, epoch: Epoch) -> Error {
    Error::fenced(format!("another host has gone past epoch {epoch} in the table `{table}`: this one stops"))
}

/// Where a run goes on: the newest record, the segments of the source's state,
/// and the ranges that no segment has yet.
type Standing = (Option<EpochRecord>, Vec<Segment>, Vec<(Epoch, SourceRange)>);

async fn recover_from(
    newest: Option<Epoch>,
    checkpoint: &Checkpoint,
    parts: &mut Parts,
    env: &Env,
) -> Result<Standing> {
    let record = match newest {
        Some(newest) => checkpoint.read_all(std::iter::once(newest)).await?.pop(),
        None => None,
    };
    let tables: Vec<&Arc<Table>> = all_tables(parts).collect();
    let mut facts = Vec::new();
    for table in &tables {
        let name = &table.settings().name;
        let committed = committed_epoch(table, &checkpoint.application_id(name)).await?;
        let staged = record.as_ref().is_some_and(|record| staged_for(record, table).is_some());
        facts.push(TableFacts { table: name.clone(), staged, committed });
    }
    match recover(newest, &facts) {
        Recovery::Fresh => {}
        Recovery::CheckpointBehind { table, committed } => {
            return Err(Error::corrupt(format!(
                "the table `{table}` holds epoch {committed} of this pipeline, but its checkpoint ends at {}: \
                 it was restored from an old copy; restore the newer one, or start over with a new checkpoint and new tables",
                newest.map_or("nothing".to_owned(), |newest| format!("epoch {newest}")),
            )));
        }
        Recovery::Resume { prepared, unfinished } => {
            let record = record.as_ref().ok_or_else(|| Error::bug("a prepared epoch without a record"))?;
            refuse_other_source(record, parts)?;
            refuse_lost_tables(record, &facts, &tables, checkpoint, env).await?;
            // Whoever prepared it may have died before it was durable.
            checkpoint.sync(record.epoch).await?;
            for table in tables.iter().filter(|table| unfinished.contains(&table.settings().name)) {
                refuse_lost_files(record, table).await?;
            }
            if !unfinished.is_empty() {
                tracing::info!("finishing epoch {} in {}", prepared.epoch(), unfinished.join(", "));
            }
            commit(prepared, record, checkpoint, &tables).await?;
        }
    }
    let (segments, ranges) = restore(checkpoint, record.as_ref(), parts).await?;
    Ok((record, segments, ranges))
}

/// What an epoch staged for this very table, at the place where it is.
fn staged_for<'a>(record: &'a EpochRecord, table: &Table) -> Option<&'a StagedTable> {
    let settings = table.settings();
    record.tables.get(&settings.name).filter(|staged| staged.location == settings.location.to_string())
}

fn refuse_other_source(record: &EpochRecord, parts: &Parts) -> Result<()> {
    let (before, now) = (&record.source.identity, parts.source.identity());
    if *before == now {
        return Ok(());
    }
    Err(Error::config(format!(
        "the checkpoint is of another source ({before}) than the pipeline file has ({now}): \
         its positions mean nothing there; put the source back, or give the pipeline a new checkpoint"
    )))
}

/// An epoch that is not committed yet needs the files that it staged.
async fn refuse_lost_files(record: &EpochRecord, table: &Table) -> Result<()> {
    for file in staged_for(record, table).map_or(&[][..], |staged| &staged.files) {
        if !table.has_file(file).await? {
            let path = file.add.get("path").and_then(Value::as_str).unwrap_or_default();
            let settings = table.settings();
            return Err(Error::corrupt(format!(
                "epoch {} is prepared, but its file `{path}` is missing in the table `{}` at {}: \
                 restore the table, or start over with a new checkpoint",
                record.epoch, settings.name, settings.location
            )));
        }
    }
    Ok(())
}

/// Take the source's past over from the records.
async fn restore(
    checkpoint: &Checkpoint,
    record: Option<&EpochRecord>,
    parts: &mut Parts,
) -> Result<(Vec<Segment>, Vec<(Epoch, SourceRange)>)> {
    let Some(record) = record else {
        parts.source.restore(&[], &[])?;
        return Ok((Vec::new(), Vec::new()));
    };
    let segments = record.source.segments.clone();
    let mut contents = Vec::new();
    for segment in &segments {
        contents.push(checkpoint.read_segment(segment).await?);
    }
    let ranges = match record.source.range {
        // The latest offsets say it all.
        SourceRange::Offsets(_) => vec![(record.epoch, record.source.range.clone())],
        SourceRange::Files(_) => {
            let first = record.source.first_unsegmented().number();
            let epochs = (first..=record.epoch.number()).filter_map(Epoch::new);
            let records = checkpoint.read_all(epochs).await?;
            records.into_iter().map(|record| (record.epoch, record.source.range)).collect()
        }
    };
    parts.source.restore(&contents, &ranges)?;
    Ok((segments, ranges))
}

/// A prepared epoch may have rows for a table that the pipeline file has moved or
/// no longer has; that is fine only if they are committed there.
async fn refuse_lost_tables(
    record: &EpochRecord,
    facts: &[TableFacts],
    tables: &[&Arc<Table>],
    checkpoint: &Checkpoint,
    env: &Env,
) -> Result<()> {
    for (name, staged) in &record.tables {
        let here = tables.iter().any(|table| {
            let settings = table.settings();
            settings.name == *name && settings.location.to_string() == staged.location
        });
        let is_committed = |facts: &TableFacts| facts.table == *name && is_overtaken(record.epoch, facts.committed);
        if here || facts.iter().any(is_committed) {
            continue;
        }
        let location = Location::parse(&staged.location, Path::new(""))?;
        let committed = transaction_version(env.storage(&location)?, &checkpoint.application_id(name)).await?;
        if committed.is_none_or(|committed| committed < record.epoch.transaction_version()) {
            return Err(Error::config(format!(
                "epoch {} has rows for the table `{name}` at {}, which the pipeline file does not have there any more: \
                 put it back, run once, and change it then",
                record.epoch, staged.location
            )));
        }
    }
    Ok(())
}

/// Append what an epoch staged to each of its tables, exactly once.
async fn commit(
    prepared: Prepared,
    record: &EpochRecord,
    checkpoint: &Checkpoint,
    tables: &[&Arc<Table>],
) -> Result<()> {
    let epoch = prepared.epoch();
    let metadata = metadata(record, checkpoint);
    let commits = tables.iter().filter_map(|table| {
        let name = &table.settings().name;
        record
            .tables
            .get(name)
            .map(|staged| commit_table(table, staged, epoch, checkpoint.application_id(name), &metadata))
    });
    futures::future::try_join_all(commits).await.map(|_| ())
}

async fn commit_table(
    table: &Table,
    staged: &StagedTable,
    epoch: Epoch,
    app_id: String,
    metadata: &Map<String, Value>,
) -> Result<()> {
    let request = CommitRequest { app_id: &app_id, epoch, files: &staged.files, metadata: metadata.clone() };
    match table.commit(request).await? {
        CommitOutcome::Committed { .. } | CommitOutcome::AlreadyCommitted => Ok(()),
        CommitOutcome::Fenced { .. } => Err(fenced(&table.settings().name, epoch)),
    }
}

/// What each commit says about its origin.
fn metadata(record: &EpochRecord, checkpoint: &Checkpoint) -> Map<String, Value> {
    let source = match &record.source.range {
        SourceRange::Files(files) => json!({ "files": files.len() }),
        SourceRange::Offsets(partitions) => json!({ "partitions": partitions }),
    };
    let entries: BTreeMap<&str, Value> = BTreeMap::from([
        ("pipeline", json!(checkpoint.pipeline().name)),
        ("pipelineId", json!(record.pipeline)),
        ("epoch", json!(record.epoch)),
        ("epochTime", json!(rfc3339(record.clock_us))),
        ("source", source),
        ("plugins", json!(record.plugins)),
    ]);
    let origin: Map<String, Value> = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Map::from_iter([("weir".to_owned(), Value::Object(origin))])
}

/// What may be done after a commit and need not be.
async fn tidy_up(record: &EpochRecord, checkpoint: &Checkpoint, tables: &[Arc<Table>]) {
    checkpoint.clean_up(record).await;
    for table in tables {
        if let Err(error) = table.maintain().await {
            tracing::warn!("maintenance of the table `{}` is put off: {error}", table.settings().name);
        }
    }
}
