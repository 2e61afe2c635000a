//! The files of one epoch for one table, which nothing references yet.
//!
//! ```text
//! write ─► fit columns ─► queue (4 batches) ─► encoder 0 ─► files
//!                    └──► queue (4 batches) ─► encoder 1 ─► files   (when 0 is busy)
//! ```
//!
//! A small epoch therefore ends in one file and a large one uses every encoder.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::select_all;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::file::properties::WriterProperties;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::encoder::{Encoders, Job, Lane};
use super::partition::{PartitionValues, Partitioning};
use super::table::Table;
use super::{file, schema};
use crate::env::{Clock, Storage};
use crate::model::{AttemptId, Epoch, StagedFile};
use crate::{Error, Result};

/// What all files of a stage have in common.
pub(super) struct Plan {
    storage: Storage,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    columns: SchemaRef,
    partitioning: Partitioning,
    properties: WriterProperties,
    target_file_bytes: u64,
    indexed_columns: usize,
    /// Epoch and attempt, so that no two attempts ever share a file.
    prefix: String,
    extension: &'static str,
    names: Mutex<Vec<String>>,
    next_file: AtomicU32,
    failed: AtomicBool,
    abandoned: AtomicBool,
}

impl Plan {
    /// A name that no other file has, noted so that it can be deleted.
    pub(super) fn new_name(&self, partition: &PartitionValues) -> String {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        let folder = self.partitioning.folder(partition);
        let name = format!("{folder}{}-{number:04}.{}", self.prefix, self.extension);
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        name
    }

    /// The path in the store.
    pub(super) fn path(&self, name: &str) -> Result<Path> {
        path_of(&self.storage, name)
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn partitioning(&self) -> &Partitioning {
        &self.partitioning
    }

    pub(super) fn properties(&self) -> &WriterProperties {
        &self.properties
    }

    pub(super) fn target_file_bytes(&self) -> u64 {
        self.target_file_bytes
    }

    pub(super) fn indexed_columns(&self) -> usize {
        self.indexed_columns
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_us().div_euclid(1000)
    }

    /// Let the writer know that there is no use in going on.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn take_names(&self) -> Vec<String> {
        std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Delete everything that was staged, as far as the store lets us; what
    /// stays is garbage for a vacuum.
    async fn delete_all(&self) {
        for name in self.take_names() {
            if let Ok(path) = self.path(&name) {
                let _ = self.storage.store().delete(&path).await;
            }
        }
    }
}

/// One encoder's part in a stage.
struct Part {
    queue: mpsc::Sender<Job>,
    lane: Arc<Mutex<Lane>>,
    used: bool,
}

/// What a stage ends with.
#[derive(Debug, Default)]
pub struct Staged {
    /// The files, in the order of their names.
    pub files: Vec<StagedFile>,
    /// The time that encoders worked on them.
    pub encoding: Duration,
}

/// Files of one epoch for one table. Dropping it abandons them.
#[must_use = "a stage that is not finished abandons its files"]
pub struct Stage {
    plan: Arc<Plan>,
    parts: Vec<Part>,
    settled: bool,
}

impl Stage {
    /// Begin to stage an epoch. Touches nothing until rows come.
    ///
    /// # Errors
    /// Config for a compression level that does not exist.
    pub async fn start(table: &Table, encoders: &Encoders, attempt: &AttemptId, epoch: Epoch) -> Result<Self> {
        let settings = table.settings();
        let plan = Arc::new(Plan {
            storage: table.storage().clone(),
            clock: table.shared_clock(),
            runtime: encoders.runtime().clone(),
            columns: Arc::clone(table.columns()),
            partitioning: Partitioning::new(table.columns(), &settings.partition_by)?,
            properties: file::writer_properties(settings.compression)?,
            target_file_bytes: settings.target_file_bytes,
            indexed_columns: table.indexed_columns(),
            prefix: format!("part-{:010}-{attempt}", epoch.number()),
            extension: settings.compression.extension(),
            names: Mutex::default(),
            next_file: AtomicU32::new(0),
            failed: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        });
        let part = |queue| Part { queue, lane: Arc::new(Mutex::new(Lane::new(Arc::clone(&plan)))), used: false };
        let parts = encoders.queues().into_iter().map(part).collect();
        Ok(Self { plan, parts, settled: false })
    }

    /// Add rows, with the table's columns by name. Waits while all encoders are
    /// behind. An error of an encoder may surface at a later call.
    ///
    /// # Errors
    /// Unavailable if the store does not take the files; Bug if the batch does
    /// not have the table's columns.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.plan.failed.load(Ordering::Acquire) {
            return match self.collect().await {
                Err(error) => Err(error),
                Ok(_) => Err(Error::bug("an encoder failed without saying why")),
            };
        }
        let batch = schema::fit(&batch, &self.plan.columns)?;
        let (number, permit) = self.first_free().await?;
        let (plan, lane) = (Arc::clone(&self.plan), Arc::clone(&self.parts[number].lane));
        permit.send(Box::new(move || {
            if !plan.abandoned.load(Ordering::Acquire) {
                lane.lock().unwrap_or_else(PoisonError::into_inner).write(&batch);
            }
        }));
        self.parts[number].used = true;
        Ok(())
    }

    /// End all files; they are durable when this returns. No rows, no files.
    ///
    /// # Errors
    /// Unavailable if the store or the disk does not take the files, which are
    /// abandoned then.
    pub async fn finish(mut self) -> Result<Staged> {
        let staged = self.collect().await?;
        let names = self.plan.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.plan.storage.sync(&names).await?;
        self.settled = true;
        Ok(staged)
    }

    /// The first queue with room, in the order of preference.
    async fn first_free(&self) -> Result<(usize, mpsc::OwnedPermit<Job>)> {
        for (number, part) in self.parts.iter().enumerate() {
            match part.queue.clone().try_reserve_owned() {
                Ok(permit) => return Ok((number, permit)),
                Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(ended()),
            }
        }
        let waits = self.parts.iter().map(|part| Box::pin(part.queue.clone().reserve_owned()));
        let (permit, number, _) = select_all(waits).await;
        Ok((number, permit.map_err(|_| ended())?))
    }

    async fn collect(&mut self) -> Result<Staged> {
        let mut answers = Vec::new();
        for part in self.parts.iter_mut().filter(|part| part.used) {
            let (answer, answered) = oneshot::channel();
            let lane = Arc::clone(&part.lane);
            let job: Job = Box::new(move || {
                let finished = lane.lock().unwrap_or_else(PoisonError::into_inner).finish();
                let _ = answer.send(finished);
            });
            part.queue.send(job).await.map_err(|_| ended())?;
            answers.push(answered);
        }
        let mut all = Staged::default();
        let mut failure = None;
        for answered in answers {
            match answered.await.map_err(|_| ended())? {
                Ok(done) => {
                    all.files.extend(done.files);
                    all.encoding += done.encoding;
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        all.files.sort_by(|a, b| a.add["path"].as_str().cmp(&b.add["path"].as_str()));
        Ok(all)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.plan.abandoned.store(true, Ordering::Release);
        for part in self.parts.iter().filter(|part| part.used) {
            let (plan, lane) = (Arc::clone(&self.plan), Arc::clone(&part.lane));
            // Behind the rows that wait there, which are void now. A full queue
            // leaves garbage for a vacuum.
            let _ = part.queue.try_send(Box::new(move || {
                lane.lock().unwrap_or_else(PoisonError::into_inner).abandon();
                plan.runtime.block_on(plan.delete_all());
            }));
        }
    }
}

/// The path of a table's file in the store. Names are escaped already, unlike
/// those that [`Storage::path`] takes.
///
/// # Errors
/// Bug if the name is not a path.
pub(super) fn path_of(storage: &Storage, name: &str) -> Result<Path> {
    let name = Path::parse(name).map_err(|error| Error::bug("a file's name is not a path").because(error))?;
    Ok(storage.prefix().parts().chain(name.parts()).collect())
}

/// Whether a staged file is there.
///
/// # Errors
/// Unavailable if the store fails, Corrupt if its action cannot be understood.
pub(super) async fn exists(storage: &Storage, file: &StagedFile) -> Result<bool> {
    let add: deltalake::kernel::Add = serde_json::from_value(file.add.clone())
        .map_err(|error| Error::corrupt("the action of a staged file cannot be understood").because(error))?;
    match storage.store().head(&path_of(storage, &add.path)?).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(Error::unavailable(format!("cannot look at {}", storage.location())).because(error)),
    }
}

fn ended() -> Error {
    Error::bug("an encoder thread ended before its work")
}
