//! The transaction log of one table: load it, follow it, put one entry.
//!
//! A load lists the log's folder, which may hold a million entries; following
//! asks for the next entry by its name and costs one request when nothing
//! happened. Entries of other writers are input: checked, never trusted.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::{Snapshot, SnapshotRef};
use deltalake::logstore::object_store::prefix::PrefixStore;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::env::{PutIfAbsent, Storage, blocking};
use crate::{Error, Result};

/// The folder of the log within the table's folder.
pub(super) const LOG_FOLDER: &str = "_delta_log";

/// How many entries are followed one by one before the log is loaded instead.
const MAX_FOLLOWED: u64 = 256;

/// The log of one table.
pub(super) struct Log {
    storage: Storage,
    store: LogStoreRef,
}

/// What happened in the log behind a version.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tail {
    /// How many entries were read.
    pub(super) entries: u64,
    /// The last transaction version of each writer in them.
    pub(super) transactions: HashMap<String, i64>,
    /// Whether schema, properties or protocol were written anew.
    pub(super) redefined: bool,
    /// Whether there are more entries than can be followed.
    pub(super) too_long: bool,
}

/// How putting an entry ended.
#[derive(Debug)]
#[must_use = "an entry that was not put must be put at another version"]
pub(super) enum PutEntry {
    /// The entry is in the log.
    Landed,
    /// The version is taken.
    Taken,
    /// The entry may or may not be in the log.
    Unknown(Error),
}

#[derive(Deserialize)]
struct Line {
    txn: Option<Transaction>,
    #[serde(rename = "metaData")]
    metadata: Option<IgnoredAny>,
    protocol: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    app_id: String,
    version: i64,
}

impl Log {
    /// The log of the table in this folder; touches nothing.
    ///
    /// # Errors
    /// Config if the location cannot be written as a URL.
    pub(super) fn new(storage: Storage) -> Result<Self> {
        let url = storage.location().url()?;
        let root = Arc::clone(storage.store());
        let table = Arc::new(PrefixStore::new(Arc::clone(&root), storage.prefix().clone()));
        let store = default_logstore(table, root, &url, &StorageConfig::default());
        Ok(Self { storage, store })
    }

    /// The folder of the table.
    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The library's view of the log.
    pub(super) fn store(&self) -> &LogStoreRef {
        &self.store
    }

    /// Whether there is a table.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub(super) async fn exists(&self) -> Result<bool> {
        if self.storage.get(&entry_name(0)).await?.is_some() {
            return Ok(true);
        }
        let names = self.storage.list(LOG_FOLDER).await?;
        Ok(names.iter().any(|name| version_of(name).is_some()))
    }

    /// The table at a version, or as it is now.
    ///
    /// # Errors
    /// Unavailable if the store fails, Corrupt if the log cannot be understood.
    pub(super) async fn load(&self, version: Option<u64>) -> Result<SnapshotRef> {
        let engine = self.store.engine(None);
        let root = self.store.root_url().clone();
        let loaded = blocking(move || {
            let mut builder = Snapshot::builder_for(root);
            if let Some(version) = version {
                builder = builder.at_version(version);
            }
            Ok(builder.build(engine.as_ref()))
        });
        loaded.await?.map_err(|error| self.failed("load", error))
    }

    /// The transaction version of a writer in a loaded table.
    ///
    /// # Errors
    /// Like [`Log::load`].
    pub(super) async fn transaction_version(&self, snapshot: &SnapshotRef, app_id: &str) -> Result<Option<i64>> {
        let engine = self.store.engine(None);
        let (snapshot, app_id) = (Arc::clone(snapshot), app_id.to_owned());
        let found = blocking(move || Ok(snapshot.get_app_id_version(&app_id, engine.as_ref())));
        found.await?.map_err(|error| self.failed("read", error))
    }

    /// Write a checkpoint for a loaded table.
    ///
    /// # Errors
    /// Like [`Log::load`].
    pub(super) async fn checkpoint(&self, snapshot: SnapshotRef) -> Result<()> {
        let engine = self.store.engine(None);
        let written = blocking(move || Ok(snapshot.checkpoint(engine.as_ref(), None).map(|_| ())));
        written.await?.map_err(|error| self.failed("write a checkpoint of", error))
    }

    /// The entries behind `version`, in order.
    ///
    /// # Errors
    /// Unavailable if the store fails, Corrupt if an entry cannot be understood.
    pub(super) async fn follow(&self, version: u64) -> Result<Tail> {
        let mut tail = Tail::default();
        while let Some(bytes) = self.storage.get(&entry_name(version + tail.entries + 1)).await? {
            tail.entries += 1;
            if tail.entries > MAX_FOLLOWED {
                tail.too_long = true;
                return Ok(tail);
            }
            let name = entry_name(version + tail.entries);
            read_entry(&bytes, &mut tail).map_err(|error| self.corrupt(&name).because(error))?;
        }
        Ok(tail)
    }

    /// Put an entry unless its version is taken.
    pub(super) async fn put(&self, version: u64, bytes: Bytes) -> PutEntry {
        match self.storage.put_if_absent(&entry_name(version), bytes).await {
            Ok(PutIfAbsent::Created) => PutEntry::Landed,
            Ok(PutIfAbsent::Exists) => PutEntry::Taken,
            Err(error) => PutEntry::Unknown(error),
        }
    }

    /// Make the entries from `first` to `last` survive a loss of power.
    ///
    /// # Errors
    /// Unavailable if the disk refuses.
    pub(super) async fn sync(&self, first: u64, last: u64) -> Result<()> {
        let names: Vec<String> = (first..=last).map(entry_name).collect();
        self.storage.sync(&names).await
    }

    fn corrupt(&self, name: &str) -> Error {
        Error::corrupt(format!("the log entry `{name}` in {} cannot be understood", self.storage.location()))
    }

    fn failed(&self, doing: &str, error: delta_kernel::Error) -> Error {
        let context = format!("cannot {doing} the table at {}", self.storage.location());
        if is_store_failure(&error) {
            return Error::unavailable(context).because(error);
        }
        Error::corrupt(context).because(error)
    }
}

/// Whether trying again later may help.
fn is_store_failure(error: &delta_kernel::Error) -> bool {
    use delta_kernel::Error as Kernel;
    match error {
        Kernel::Backtraced { source, .. } => is_store_failure(source),
        Kernel::ObjectStore(_) | Kernel::IOError(_) | Kernel::Reqwest(_) | Kernel::FileNotFound(_) => true,
        _ => false,
    }
}

fn read_entry(bytes: &[u8], tail: &mut Tail) -> serde_json::Result<()> {
    for line in serde_json::Deserializer::from_slice(bytes).into_iter::<Line>() {
        let line = line?;
        if let Some(Transaction { app_id, version }) = line.txn {
            tail.transactions.insert(app_id, version);
        }
        tail.redefined |= line.metadata.is_some() || line.protocol.is_some();
    }
    Ok(())
}

/// The newest epoch of a writer in whatever table lies here; none if there is no
/// table or it has none of that writer.
///
/// # Errors
/// Unavailable or Corrupt if the table cannot be read.
pub async fn transaction_version(storage: Storage, app_id: &str) -> Result<Option<i64>> {
    let log = Log::new(storage)?;
    if !log.exists().await? {
        return Ok(None);
    }
    let snapshot = log.load(None).await?;
    log.transaction_version(&snapshot, app_id).await
}

/// The name of an entry, below the table's folder.
pub(super) fn entry_name(version: u64) -> String {
    format!("{LOG_FOLDER}/{version:020}.json")
}

/// The version of an entry or checkpoint from its name.
pub(super) fn version_of(name: &str) -> Option<u64> {
    let (version, rest) = name.rsplit('/').next()?.split_once('.')?;
    let known = rest == "json" || (rest.starts_with("checkpoint.") && rest.ends_with("parquet"));
    (known && version.len() == 20).then(|| version.parse().ok())?
}
