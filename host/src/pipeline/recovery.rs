//! Where a run goes on, from the newest record and the tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::build::Parts;
use super::commit::{all_tables, commit, committed_epoch, staged_for};
use super::steps::Duties;
use super::wire::{DEDUPLICATION, StepPlan};
use crate::checkpoint::{Checkpoint, EpochRecord};
use crate::config::Pipeline;
use crate::env::{Env, Location};
use crate::event_time::Watermarks;
use crate::model::{Epoch, EpochRange, Segment, SourceRange, StepIdentity, StepState};
use crate::protocol::recover::{Recovery, TableFacts, is_overtaken, recover};
use crate::sink::delta::{Table, transaction_version};
use crate::{Error, ErrorKind, Result};

/// How often a recovery is begun again because another host went on meanwhile.
const RECOVERY_TRIES: u32 = 5;

/// Where a run goes on: the newest record, the segments of the source's state,
/// and the ranges that no segment has yet.
pub(super) type Standing = (Option<EpochRecord>, Vec<Segment>, Vec<EpochRange>);

/// Finish what an earlier run prepared, and say where to go on.
///
/// # Errors
/// Corrupt if checkpoint and tables do not belong together; Config if the
/// pipeline file has lost or changed what an epoch needs; Fenced if another host
/// has gone on.
pub(super) async fn stand(checkpoint: &Checkpoint, parts: &mut Parts, env: &Env) -> Result<Standing> {
    let mut tries = 0;
    loop {
        let newest = checkpoint.epochs().await?.last().copied();
        let standing = stand_behind(newest, checkpoint, parts, env).await;
        tries += 1;
        match standing {
            // Another host that is at work moves what is being read.
            Err(error)
                if error.kind() == ErrorKind::Corrupt
                    && tries < RECOVERY_TRIES
                    && checkpoint.epochs().await?.last().copied() != newest => {}
            standing => return standing,
        }
    }
}

async fn stand_behind(
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
) -> Result<(Vec<Segment>, Vec<EpochRange>)> {
    let Some(record) = record else {
        parts.source.restore(&[], &[])?;
        return Ok((Vec::new(), Vec::new()));
    };
    let segments = record.source.segments.clone();
    let contents = read_segments(checkpoint, &segments).await?;
    let ranges = match record.source.range {
        // The latest offsets say it all.
        SourceRange::Offsets(_) => vec![epoch_range(record.clone())],
        SourceRange::Files(_) => {
            let first = record.source.first_unsegmented().number();
            let epochs = (first..=record.epoch.number()).filter_map(Epoch::new);
            let records = checkpoint.read_all(epochs).await?;
            records.into_iter().map(epoch_range).collect()
        }
    };
    parts.source.restore(&contents, &ranges)?;
    Ok((segments, ranges))
}

/// What an epoch read, from its record.
pub(super) fn epoch_range(record: EpochRecord) -> EpochRange {
    EpochRange { epoch: record.epoch, clock_us: record.clock_us, range: record.source.range }
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

/// Take over where the steps that keep state stand, and start event time.
///
/// # Errors
/// Config if a step is no longer what its state is of; Plugin if one does not
/// take its state; Corrupt if a segment is damaged.
pub(super) async fn restore_steps(
    pipeline: &Pipeline,
    checkpoint: &Checkpoint,
    record: Option<&EpochRecord>,
    duties: &mut Duties,
    env: &Env,
) -> Result<BTreeMap<String, StepState>> {
    if let Some(settings) = &pipeline.event_time {
        let state = record.and_then(|record| record.event_time.clone()).unwrap_or_default();
        duties.watermarks = Some(Watermarks::new(settings.clone(), &state, env.clock.monotonic()));
    }
    let kept = record.map(|record| record.steps.clone()).unwrap_or_default();
    let steps = restore_states(checkpoint, &kept, duties).await?;
    for gone in kept.keys().filter(|name| !steps.contains_key(*name)) {
        tracing::warn!("the step `{gone}` is not in the pipeline file any more: its state is dropped");
    }
    Ok(steps)
}

/// Give steps the states that are kept of them; where they stand then.
///
/// # Errors
/// As [`restore_steps`].
pub(super) async fn restore_states(
    checkpoint: &Checkpoint,
    kept: &BTreeMap<String, StepState>,
    duties: &mut Duties,
) -> Result<BTreeMap<String, StepState>> {
    let mut steps = BTreeMap::new();
    for step in 0..duties.plans.len() {
        let plan = &duties.plans[step];
        let (name, Some(identity)) = (plan.name.clone(), plan.identity.clone()) else { continue };
        let mut state = StepState { identity: identity.clone(), segments: Vec::new() };
        refuse_other_state(plan, kept)?;
        if let Some(kept) = kept.get(&name) {
            let segments = read_segments(checkpoint, &kept.segments).await?;
            duties.restore(step, segments, kept.identity.state_version).await?;
            state.segments.clone_from(&kept.segments);
            // States of an older version are written anew, all of them.
            let is_current = kept.identity.state_version == identity.state_version;
            let entries = kept.segments.iter().map(|segment| segment.entries).sum();
            duties.set_kept(&name, if is_current { entries } else { u64::MAX });
        }
        steps.insert(name, state);
    }
    if let Some(identity) = duties.deduplication.clone() {
        let mut state = StepState { identity: identity.clone(), segments: Vec::new() };
        if let Some(kept) = kept.get(DEDUPLICATION) {
            refuse_other_step(DEDUPLICATION, &kept.identity, &identity)?;
            duties.restore_deduplication(read_segments(checkpoint, &kept.segments).await?).await?;
            state.segments.clone_from(&kept.segments);
        }
        steps.insert(DEDUPLICATION.to_owned(), state);
    }
    Ok(steps)
}

/// Fails if what was kept of a step is not of this one.
pub(super) fn refuse_other_state(plan: &StepPlan, kept: &BTreeMap<String, StepState>) -> Result<()> {
    let (Some(kept), Some(identity)) = (kept.get(&plan.name), &plan.identity) else { return Ok(()) };
    refuse_other_step(&plan.name, &kept.identity, identity)?;
    refuse_other_version(&plan.name, &kept.identity, &plan.restorable)
}

async fn read_segments(checkpoint: &Checkpoint, segments: &[Segment]) -> Result<Vec<Bytes>> {
    let mut contents = Vec::with_capacity(segments.len());
    for segment in segments {
        contents.push(checkpoint.read_segment(segment).await?);
    }
    Ok(contents)
}

fn refuse_other_step(name: &str, kept: &StepIdentity, now: &StepIdentity) -> Result<()> {
    let mut changed = Vec::new();
    for (what, before) in &kept.shape {
        let after = now.shape.get(what).map_or("", String::as_str);
        if before != after {
            changed.push(format!("`{what}` was \"{before}\" and is \"{after}\""));
        }
    }
    if kept.plugin != now.plugin {
        let show = |plugin: &Option<String>| plugin.clone().unwrap_or_default();
        changed.push(format!("`plugin` was \"{}\" and is \"{}\"", show(&kept.plugin), show(&now.plugin)));
    }
    if changed.is_empty() {
        return Ok(());
    }
    Err(Error::config(format!(
        "the step `{name}` keeps state from when {}: put it back, or give the step a new name, \
         which starts without state",
        changed.join(", and ")
    )))
}

fn refuse_other_version(name: &str, kept: &StepIdentity, restorable: &[u32]) -> Result<()> {
    if restorable.contains(&kept.state_version) {
        return Ok(());
    }
    Err(Error::config(format!(
        "the step `{name}` keeps state of version {}, but its plugin reads only the versions {restorable:?}: \
         use a plugin that reads it, or give the step a new name, which starts without state",
        kept.state_version
    )))
}
