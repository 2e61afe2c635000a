//! Moves or deletes files that were read, beside everything else.
//!
//! Nothing of it is durable: what is to go is told by the ledger and a listing,
//! so a clean-up that a crash has cut short is done by whoever looks next. Only
//! the very version that was read goes; another one stays where it is.
//!
//! Moving is copying if the target is absent, making the copy durable, and then
//! deleting. A file at the target that holds the same bytes is such a copy from
//! before a crash; one that holds others is never touched, and the file gets its
//! version behind its name.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::sync::oneshot;

use super::ledger::version_of;
use super::reader::is_as_listed;
use super::settings::{Clean, CleanSource};
use crate::env::{Env, Location, Storage, Task, blocking, task, unique_name};
use crate::model::FileEntry;
use crate::source::{IncidentKind, Incidents};
use crate::{Error, Result};

/// How many files are cleaned at the same time.
const CLEANED_AT_ONCE: usize = 8;
/// How many files wait for their time; later looks find the rest.
const MAX_WAITING: usize = 100_000;
/// How long to rest after a pass in which something failed.
const REST: Duration = Duration::from_secs(60);
/// How much of two files is compared in one go.
const COMPARED_BYTES: u64 = 1 << 20;

/// Cleans up behind the epochs.
pub(super) struct Cleaner {
    work: Arc<Work>,
    retention_us: i64,
    /// Files of committed epochs, and when they may go.
    waiting: VecDeque<(i64, FileEntry)>,
    pass: Option<Pass>,
    resting_until: Option<Instant>,
}

/// A pass under way.
struct Pass {
    failed: oneshot::Receiver<u64>,
    _task: Task,
}

/// How files go.
struct Work {
    folder: Storage,
    target: Option<Storage>,
    incidents: Incidents,
}

/// What is at the target.
enum Copied {
    /// The file; it may go from the source.
    There,
    /// Another file.
    Different,
}

impl Cleaner {
    /// # Errors
    /// Config if the target cannot be opened.
    pub(super) fn new(settings: &CleanSource, folder: &Storage, env: &Env) -> Result<Self> {
        let target = match &settings.how {
            Clean::Delete => None,
            Clean::Move(target) => Some(env.storage(target)?),
        };
        Ok(Self {
            work: Arc::new(Work { folder: folder.clone(), target, incidents: Incidents::default() }),
            retention_us: i64::try_from(settings.retention.as_micros()).unwrap_or(i64::MAX),
            waiting: VecDeque::new(),
            pass: None,
            resting_until: None,
        })
    }

    pub(super) fn incidents(&self) -> &Incidents {
        &self.work.incidents
    }

    /// How long files stay.
    pub(super) fn retention_us(&self) -> i64 {
        self.retention_us
    }

    /// An epoch with these files is committed.
    pub(super) fn committed(&mut self, files: &[FileEntry], clock_us: i64) {
        let due_us = clock_us.saturating_add(self.retention_us);
        let room = MAX_WAITING.saturating_sub(self.waiting.len());
        self.waiting.extend(files.iter().take(room).map(|file| (due_us, file.clone())));
    }

    /// Whether a look should bring files that are due.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        if let Some(pass) = &mut self.pass {
            let failed = match pass.failed.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return false,
                Ok(failed) => failed,
                Err(oneshot::error::TryRecvError::Closed) => 1,
            };
            self.pass = None;
            self.resting_until = (failed > 0).then(|| now + REST);
        }
        self.resting_until.is_none_or(|until| until <= now)
    }

    /// Clean these files, and those that wait and are due, unless a pass is under
    /// way: then they are found again.
    pub(super) fn clean(&mut self, mut files: Vec<FileEntry>, now_us: i64, now: Instant) {
        if !self.is_idle(now) {
            return;
        }
        while let Some((_, file)) = self.waiting.pop_front_if(|(due_us, _)| *due_us <= now_us) {
            files.push(file);
        }
        if files.is_empty() {
            return;
        }
        files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        files.dedup_by(|one, other| one.path == other.path);
        let (done, failed) = oneshot::channel();
        let work = Arc::clone(&self.work);
        let task = task(async move {
            // Nobody waits for it any more if the source is gone.
            let _gone = done.send(work.clean(files).await);
        });
        self.pass = Some(Pass { failed, _task: task });
    }

    /// Clean all that is due, and wait until it is done. Cancel-safe.
    pub(super) async fn finish(&mut self, now_us: i64, now: Instant) {
        self.wait(now).await;
        self.clean(Vec::new(), now_us, now);
        self.wait(now).await;
    }

    async fn wait(&mut self, now: Instant) {
        if let Some(pass) = &mut self.pass {
            let failed = (&mut pass.failed).await.unwrap_or(1);
            self.pass = None;
            self.resting_until = (failed > 0).then(|| now + REST);
        }
    }
}

impl Work {
    /// Returns how many could not be cleaned.
    async fn clean(&self, files: Vec<FileEntry>) -> u64 {
        let clean = async |file: FileEntry| (self.clean_one(&file).await, file);
        let mut outcomes = futures::stream::iter(files).map(clean).buffer_unordered(CLEANED_AT_ONCE);
        let mut failed = 0;
        while let Some((outcome, file)) = outcomes.next().await {
            match outcome {
                Ok(true) => self.incidents.note(IncidentKind::FileCleaned, None, 1, &file.path),
                Ok(false) => {}
                Err(error) => {
                    failed += 1;
                    if failed == 1 {
                        tracing::warn!("a file that was read is not cleaned up yet, it is tried again: {error}");
                    }
                    self.incidents.note(IncidentKind::CleanUpFailed, None, 1, error.to_string());
                }
            }
        }
        failed
    }

    /// Whether there was something to clean.
    async fn clean_one(&self, file: &FileEntry) -> Result<bool> {
        let store = self.folder.store();
        let path = self.folder.listed_path(&file.path)?;
        match store.head(&path).await {
            Ok(meta) if is_as_listed(file, &meta) => {}
            // Another version was not read.
            Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(self.failed("look at", &file.path).because(error)),
        }
        if let Some(target) = &self.target {
            self.copy(file, &path, target).await?;
        }
        match store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(self.failed("delete", &file.path).because(error)),
        }
    }

    /// Have the file at the target, under its name or, where that is taken, with
    /// its version behind the name.
    async fn copy(&self, file: &FileEntry, from: &Path, target: &Storage) -> Result<()> {
        let failed = |error| self.failed("move", &file.path).because(error);
        for name in [file.path.clone(), format!("{}.{:016x}", file.path, version_of(file))] {
            let to = target.listed_path(&name)?;
            match self.copy_to(from, &to, target).await.map_err(failed)? {
                Copied::There => return target.sync(&[name]).await,
                Copied::Different => {}
            }
        }
        Err(self.failed("move", &file.path).during(format!("{} has other files of its name", target.location())))
    }

    async fn copy_to(&self, from: &Path, to: &Path, target: &Storage) -> object_store::Result<Copied> {
        let store = self.folder.store();
        match store.copy_if_not_exists(from, to).await {
            Ok(()) => return Ok(Copied::There),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
            Err(error @ object_store::Error::NotFound { .. }) => return Err(error),
            // S3 has no such copy, and a disk has no links to another disk.
            Err(error) => match store.head(to).await {
                Ok(_) => {}
                Err(object_store::Error::NotFound { .. }) => {
                    match target.location() {
                        Location::Local(_) => copy_local(from, to, error).await?,
                        Location::Remote(_) => store.copy(from, to).await?,
                    }
                    return Ok(Copied::There);
                }
                Err(unknown) => return Err(unknown),
            },
        }
        Ok(if is_same(store.as_ref(), from, to).await? { Copied::There } else { Copied::Different })
    }

    fn failed(&self, doing: &str, path: &str) -> Error {
        Error::unavailable(format!("cannot {doing} {}", self.folder.location().join(path)))
    }
}

/// Copy to another disk: whole under an unfinished name first.
async fn copy_local(from: &Path, to: &Path, linking: object_store::Error) -> object_store::Result<()> {
    let local = |path: &Path| std::path::Path::new("/").join(path.as_ref());
    let (from, to) = (local(from), local(to));
    let copied = blocking(move || {
        let failed = |error| Error::unavailable(format!("cannot copy to {}", to.display())).because(error);
        let folder = to.parent().unwrap_or(&to);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let unfinished = folder.join(format!("_{}", unique_name()));
        let whole = std::fs::copy(&from, &unfinished)
            .and_then(|_| std::fs::File::open(&unfinished)?.sync_all())
            .and_then(|()| std::fs::rename(&unfinished, &to));
        whole.map_err(|error| {
            let _best_effort = std::fs::remove_file(&unfinished);
            failed(error)
        })
    });
    copied.await.map_err(|error| object_store::Error::Generic {
        store: "local",
        source: format!("{error}; a link was not possible either: {linking}").into(),
    })
}

/// Whether two objects have the same bytes.
async fn is_same(store: &dyn ObjectStore, one: &Path, other: &Path) -> object_store::Result<bool> {
    let size = store.head(one).await?.size;
    if store.head(other).await?.size != size {
        return Ok(false);
    }
    let mut at = 0;
    while at < size {
        let part = at..size.min(at + COMPARED_BYTES);
        if store.get_range(one, part.clone()).await? != store.get_range(other, part.clone()).await? {
            return Ok(false);
        }
        at = part.end;
    }
    Ok(true)
}
