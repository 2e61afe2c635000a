//! Which files there are: one look at a folder of any object store.
//!
//! Hidden and temporary files are not seen: a path with a part that starts with
//! `.` or `_`, and a name that ends in `.tmp`, `.part`, `.crdownload` or `~`.
//!
//! An object appears whole in an object store. A local file may still be in the
//! making, so one that changed less than [`SETTLE`] ago is looked at twice, and
//! left for a later look if it changed in between.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::Ledger;
use super::settings::FileGlob;
use crate::env::{Clock, Location, Storage, blocking};
use crate::model::FileEntry;
use crate::{Error, Result};

/// A local file that changed longer ago is finished.
pub(super) const SETTLE: Duration = Duration::from_millis(200);

/// How long to wait between two looks at a local file that just changed.
const SECOND_LOOK: Duration = Duration::from_millis(50);

/// How many files one look brings home at most; more wait for the next look.
pub(super) const MAX_LISTED_FILES: usize = 100_000;

/// Names of files that someone is still writing.
const TEMPORARY_SUFFIXES: &[&str] = &[".tmp", ".part", ".crdownload", "~"];

/// A file's place in the order of reading: by modification time, then path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    modified_us: i64,
    path: String,
}

impl Rank {
    fn of(file: &FileEntry) -> Self {
        Self { modified_us: file.modified_us, path: file.path.clone() }
    }

    fn is_before(&self, file: &FileEntry) -> bool {
        (self.modified_us, self.path.as_str()) < (file.modified_us, file.path.as_str())
    }
}

/// What one look saw.
#[derive(Debug)]
pub(super) struct Look {
    /// New files in the order of reading.
    pub(super) files: Vec<FileEntry>,
    /// The newest of all new files; may not be among those brought home.
    pub(super) newest: Option<Rank>,
    /// Whether there are more new files than could be brought home.
    pub(super) more: bool,
}

/// Where to look, and for what.
pub(super) struct Discovery {
    pub(super) folder: Storage,
    pub(super) glob: FileGlob,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) max_files: usize,
}

impl Discovery {
    /// The oldest files that are not in the ledger and not behind `until`.
    ///
    /// # Errors
    /// Config if a local folder does not exist, Unavailable if the store fails.
    pub(super) async fn look(&self, ledger: &Ledger, until: Option<&Rank>) -> Result<Look> {
        self.check_folder().await?;
        let settled_us = match self.folder.location() {
            Location::Local(_) => self.clock.now_us() - i64::try_from(SETTLE.as_micros()).unwrap_or(i64::MAX),
            Location::Remote(_) => i64::MAX,
        };
        let (first, newest) = self.list(ledger, until).await?;
        if first.iter().all(|listed| listed.0.modified_us < settled_us) {
            return Ok(self.bring_home(first, newest));
        }
        let before: HashMap<String, (u64, i64)> = first
            .into_iter()
            .filter(|listed| listed.0.modified_us >= settled_us)
            .map(|Listed(file)| (file.path, (file.size, file.modified_us)))
            .collect();
        tokio::time::sleep(SECOND_LOOK).await;
        let (mut second, newest) = self.list(ledger, until).await?;
        second.retain(|Listed(file)| {
            file.modified_us < settled_us || before.get(&file.path) == Some(&(file.size, file.modified_us))
        });
        Ok(self.bring_home(second, newest))
    }

    /// A missing local folder is a mistake in the pipeline file; on an object
    /// store there are no folders to be missing.
    async fn check_folder(&self) -> Result<()> {
        let Location::Local(path) = self.folder.location() else { return Ok(()) };
        let path = path.clone();
        blocking(move || match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(Error::config(format!("{} is not a folder: give the folder of the files", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::config(format!("the folder {} does not exist: make it or correct the path", path.display())))
            }
            Err(error) => {
                Err(Error::unavailable(format!("cannot look into the folder {}", path.display())).because(error))
            }
        })
        .await
    }

    /// The oldest new files, one more than can be brought home, and the newest.
    async fn list(&self, ledger: &Ledger, until: Option<&Rank>) -> Result<(BinaryHeap<Listed>, Option<Rank>)> {
        let failed = |error| Error::unavailable(format!("cannot list {}", self.folder.location())).because(error);
        let mut objects = self.folder.store().list(Some(self.folder.prefix()));
        let mut oldest = BinaryHeap::new();
        let mut newest: Option<Rank> = None;
        while let Some(object) = objects.try_next().await.map_err(failed)? {
            let Some(file) = self.file(object) else { continue };
            if ledger.contains(&file.path) || until.is_some_and(|until| until.is_before(&file)) {
                continue;
            }
            if newest.as_ref().is_none_or(|newest| newest.is_before(&file)) {
                newest = Some(Rank::of(&file));
            }
            oldest.push(Listed(file));
            if oldest.len() > self.max_files + 1 {
                oldest.pop();
            }
        }
        Ok((oldest, newest))
    }

    fn bring_home(&self, listed: BinaryHeap<Listed>, newest: Option<Rank>) -> Look {
        let mut files: Vec<FileEntry> = listed.into_sorted_vec().into_iter().map(|Listed(file)| file).collect();
        let more = files.len() > self.max_files;
        files.truncate(self.max_files);
        Look { files, newest, more }
    }

    /// The object as a file of the source, if it is one.
    fn file(&self, object: ObjectMeta) -> Option<FileEntry> {
        let path = relative(&object.location, self.folder.prefix())?;
        if is_hidden(&path) || !self.glob.matches(&path) {
            return None;
        }
        let modified_us = object.last_modified.timestamp_micros();
        Some(FileEntry { path, size: object.size, modified_us, etag: object.e_tag })
    }
}

/// A file on the heap of the oldest ones.
struct Listed(FileEntry);

impl Ord for Listed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.modified_us.cmp(&other.0.modified_us).then_with(|| self.0.path.cmp(&other.0.path))
    }
}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Listed {}

/// The path below the folder, in the spelling of the store.
fn relative(path: &Path, folder: &Path) -> Option<String> {
    let below = path.as_ref().strip_prefix(folder.as_ref())?;
    let below = if folder.as_ref().is_empty() { below } else { below.strip_prefix('/')? };
    (!below.is_empty()).then(|| below.to_owned())
}

fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with(['.', '_']))
        || TEMPORARY_SUFFIXES.iter().any(|suffix| path.ends_with(suffix))
}
