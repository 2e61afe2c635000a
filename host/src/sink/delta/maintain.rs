//! Checkpoints of a table's log, and the removal of entries they replace.
//!
//! Never part of a commit: the pipeline calls it when nothing waits for it, and
//! a failure leaves the table as it was. Only entries older than both a complete
//! checkpoint and the table's log retention are removed.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::log::{LOG_FOLDER, version_of};
use super::table::Table;
use crate::{Error, Result};

/// Commits between checkpoints where `delta.checkpointInterval` does not say.
const CHECKPOINT_INTERVAL: u64 = 100;

/// How long entries are kept where `delta.logRetentionDuration` does not say.
const LOG_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A writer feature under which only certain writers may clean up.
const PROTECTS_CHECKPOINTS: &str = "checkpointProtection";

/// What maintenance did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// Nothing was due.
    NotDue,
    /// A checkpoint was written.
    Checkpoint {
        /// The version of the table in it.
        version: u64,
        /// How many old files of the log were removed.
        removed: usize,
    },
}

impl Table {
    /// Write a checkpoint of the log if one is due and remove expired entries.
    /// Safe beside commits of this and of other processes.
    ///
    /// # Errors
    /// Unavailable or Corrupt if the log cannot be read or written; the table is
    /// as good as before, and the next call tries again.
    pub async fn maintain(&self) -> Result<Maintenance> {
        let Some(version) = self.due_for_checkpoint(CHECKPOINT_INTERVAL).await else {
            return Ok(Maintenance::NotDue);
        };
        let snapshot = self.log().load(Some(version)).await?;
        let properties = snapshot.table_properties();
        let retention = properties.log_retention_duration.unwrap_or(LOG_RETENTION);
        let cleans_up = properties.enable_expired_log_cleanup.unwrap_or(true);
        let features = snapshot.table_configuration().protocol().writer_features().unwrap_or_default();
        let protected = features.iter().any(|feature| feature.as_ref() == PROTECTS_CHECKPOINTS);
        self.log().checkpoint(snapshot).await?;
        self.checkpointed(version).await;
        let removed = if cleans_up && !protected { self.remove_expired(version, retention).await? } else { 0 };
        Ok(Maintenance::Checkpoint { version, removed })
    }

    /// Remove what a complete checkpoint replaces and retention does not hold.
    async fn remove_expired(&self, checkpoint: u64, retention: Duration) -> Result<usize> {
        let location = self.storage().location();
        let failed = |error| Error::unavailable(format!("cannot clean up the log in {location}")).because(error);
        let store = self.storage().store();
        let listed: Vec<ObjectMeta> =
            store.list(Some(&self.storage().path(LOG_FOLDER))).try_collect().await.map_err(failed)?;
        let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let cutoff_ms = (self.clock().now_us() / 1000).saturating_sub(retention_ms);
        let files: Vec<(u64, i64, bool)> = listed
            .iter()
            .filter_map(|meta| Some((version_of(meta.location.as_ref())?, meta)))
            .map(|(version, meta)| {
                (version, meta.last_modified.timestamp_millis(), is_whole_checkpoint(meta.location.as_ref()))
            })
            .collect();
        let Some(keep_from) = first_to_keep(&files, checkpoint, cutoff_ms) else { return Ok(0) };
        // What replaces the entries must be durable before they go.
        let kept = format!("{LOG_FOLDER}/{keep_from:020}.checkpoint.parquet");
        self.storage().sync(&[kept]).await?;
        let mut removed = 0;
        for meta in &listed {
            let expired = meta.last_modified.timestamp_millis() < cutoff_ms;
            if expired && version_of(meta.location.as_ref()).is_some_and(|version| version < keep_from) {
                store.delete(&meta.location).await.map_err(failed)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Whether this one file is a checkpoint by itself; the parts of others may be
/// incomplete (Delta protocol, "Checkpoints").
fn is_whole_checkpoint(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.get(20..) == Some(".checkpoint.parquet")
}

/// The newest whole checkpoint from which every version within retention can
/// still be read; what lies before it may go. `files`: version, modification
/// time in milliseconds, whole checkpoint or not.
fn first_to_keep(files: &[(u64, i64, bool)], newest: u64, cutoff_ms: i64) -> Option<u64> {
    let oldest_retained =
        files.iter().filter(|(_, time, _)| *time >= cutoff_ms).map(|(version, _, _)| *version).min().unwrap_or(newest);
    let bound = oldest_retained.min(newest);
    files.iter().filter(|(version, _, whole)| *whole && *version <= bound).map(|(version, _, _)| *version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(u64, i64, bool)], newest: u64, cutoff_ms: i64, expected: Option<u64>) {
        assert_eq!(first_to_keep(files, newest, cutoff_ms), expected);
    }

    #[test]
    fn only_what_a_whole_checkpoint_replaces_may_go() {
        let log = [(0, 0, false), (1, 10, false), (2, 20, false), (2, 21, true), (3, 30, false), (4, 40, true)];
        check(&log, 4, 0, None);
        check(&log, 4, 15, Some(2));
        check(&log, 4, 25, Some(2));
        check(&log, 4, 35, Some(4));
        check(&log, 4, 1000, Some(4));
        check(&log, 3, 1000, Some(2));
        check(&log[..2], 1, 1000, None);
    }
}
