//! The threads that encode Parquet, and what one of them holds for one stage.
//!
//! The threads are made once for a pipeline and shared by its tables. Each has a
//! bounded queue; a stage that finds them all full waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::file::OpenFile;
use super::partition::PartitionValues;
use super::stage::{Plan, Staged};
use crate::env::{Stopwatch, worker};
use crate::model::StagedFile;
use crate::{Error, Result};

/// How many batches wait for one encoder at most.
const QUEUED_BATCHES: usize = 4;

/// The most files that one encoder has open for one stage.
const MAX_OPEN_FILES: usize = 64;

/// The most memory that the open files of one stage take in one encoder.
const MAX_OPEN_BYTES: usize = 64 << 20;

/// Work for an encoder thread.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Threads that encode Parquet for all tables of a pipeline.
pub struct Encoders {
    queues: Vec<mpsc::Sender<Job>>,
    next: AtomicUsize,
    runtime: Handle,
}

impl Encoders {
    /// Start this many threads, at least one. They end when this is dropped and
    /// their queues are empty.
    ///
    /// # Errors
    /// Unavailable if the system has no thread to give, Bug outside of a runtime.
    pub fn start(threads: usize) -> Result<Self> {
        let runtime =
            Handle::try_current().map_err(|error| Error::bug("encoders need an async runtime").because(error))?;
        let mut queues = Vec::new();
        for number in 0..threads.max(1) {
            let (sender, mut jobs) = mpsc::channel::<Job>(QUEUED_BATCHES);
            // Not joined: a job may wait for the runtime, which whoever drops this may hold.
            let _detached = worker(&format!("encoder-{number}"), move || {
                while let Some(job) = jobs.blocking_recv() {
                    job();
                }
            })?;
            queues.push(sender);
        }
        Ok(Self { queues, next: AtomicUsize::new(0), runtime })
    }

    /// The queues for a new stage, the preferred one first; stages take turns.
    pub(super) fn queues(&self) -> Vec<mpsc::Sender<Job>> {
        let mut queues = self.queues.clone();
        let first = self.next.fetch_add(1, Ordering::Relaxed) % queues.len();
        queues.rotate_left(first);
        queues
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// What one encoder holds for one stage.
pub(super) struct Lane {
    plan: Arc<Plan>,
    open: HashMap<PartitionValues, OpenFile>,
    done: Vec<StagedFile>,
    failed: Option<Error>,
    encoding: Duration,
}

impl Lane {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, open: HashMap::new(), done: Vec::new(), failed: None, encoding: Duration::ZERO }
    }

    /// Write a batch of the table's columns. A failure is kept for
    /// [`Lane::finish`] and makes every further batch void.
    pub(super) fn write(&mut self, batch: &RecordBatch) {
        let watch = Stopwatch::start();
        if self.failed.is_none()
            && let Err(error) = self.try_write(batch)
        {
            self.plan.fail();
            self.failed = Some(error);
        }
        self.encoding += watch.elapsed();
    }

    /// End all files.
    ///
    /// # Errors
    /// What made a write fail, or Unavailable if the store does not take a file.
    pub(super) fn finish(&mut self) -> Result<Staged> {
        let watch = Stopwatch::start();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        for (_, file) in self.open.drain() {
            self.done.push(file.finish()?);
        }
        let encoding = std::mem::take(&mut self.encoding) + watch.elapsed();
        Ok(Staged { files: std::mem::take(&mut self.done), encoding })
    }

    /// Give up all open files.
    pub(super) fn abandon(&mut self) {
        for (_, file) in self.open.drain() {
            file.abandon();
        }
    }

    fn try_write(&mut self, batch: &RecordBatch) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        for (partition, rows) in plan.partitioning().split(batch)? {
            let file = match self.open.get_mut(&partition) {
                Some(file) => file,
                None => {
                    let file = OpenFile::start(&plan, &partition)?;
                    self.open.entry(partition.clone()).or_insert(file)
                }
            };
            file.write(rows)?;
            if file.is_full()
                && let Some(file) = self.open.remove(&partition)
            {
                self.done.push(file.finish()?);
            }
            self.make_room()?;
        }
        Ok(())
    }

    /// End the largest open files until the rest is within bounds.
    fn make_room(&mut self) -> Result<()> {
        while self.open.len() > 1 {
            let held: usize = self.open.values().map(OpenFile::memory_bytes).sum();
            if self.open.len() <= MAX_OPEN_FILES && held <= MAX_OPEN_BYTES {
                return Ok(());
            }
            let largest = self.open.iter().max_by_key(|(_, file)| file.memory_bytes());
            let Some(partition) = largest.map(|(partition, _)| partition.clone()) else { return Ok(()) };
            if let Some(file) = self.open.remove(&partition) {
                self.done.push(file.finish()?);
            }
        }
        Ok(())
    }
}
