//! From a prepared epoch to its tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::build::Parts;
use super::progress::rfc3339;
use crate::checkpoint::{Checkpoint, EpochRecord, StagedTable};
use crate::model::{Epoch, SourceRange};
use crate::protocol::Prepared;
use crate::sink::delta::{CommitOutcome, CommitRequest, Table};
use crate::{Error, Result};

/// Append what an epoch staged to each of its tables, exactly once.
pub(super) async fn commit(
    prepared: Prepared,
    record: &EpochRecord,
    checkpoint: &Checkpoint,
    tables: &[&Arc<Table>],
) -> Result<()> {
    let epoch = prepared.epoch();
    let metadata = metadata(record, checkpoint);
    let commits = tables.iter().filter_map(|table| {
        let app_id = checkpoint.application_id(&table.settings().name);
        staged_for(record, table).map(|staged| commit_table(table, staged, epoch, app_id, &metadata))
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
    let request = CommitRequest {
        app_id: &app_id,
        epoch,
        files: &staged.files,
        schema: staged.schema.as_ref(),
        metadata: metadata.clone(),
    };
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
pub(super) async fn tidy_up(record: &EpochRecord, checkpoint: &Checkpoint, tables: &[Arc<Table>]) {
    checkpoint.clean_up(record).await;
    for table in tables {
        if let Err(error) = table.maintain().await {
            tracing::warn!("maintenance of the table `{}` is put off: {error}", table.settings().name);
        }
    }
}

/// What an epoch staged for this very table, at the place where it is.
pub(super) fn staged_for<'a>(record: &'a EpochRecord, table: &Table) -> Option<&'a StagedTable> {
    let settings = table.settings();
    record.tables.get(&settings.name).filter(|staged| staged.location == settings.location.to_string())
}

pub(super) fn all_tables(parts: &Parts) -> impl Iterator<Item = &Arc<Table>> {
    parts.tables.iter().chain([&parts.dead_letters])
}

pub(super) async fn committed_epoch(table: &Table, app_id: &str) -> Result<Option<Epoch>> {
    let Some(version) = table.transaction_version(app_id).await? else { return Ok(None) };
    let epoch = u64::try_from(version).ok().and_then(Epoch::new);
    let negative = || Error::corrupt(format!("the table `{}` names the epoch {version}", table.settings().name));
    epoch.map(Some).ok_or_else(negative)
}

pub(super) fn fenced(table: &str, epoch: Epoch) -> Error {
    Error::fenced(format!("another host has gone past epoch {epoch} in the table `{table}`: this one stops"))
}
