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
use super::ledger::Standing;
use super::settings::{FileGlob, Overwrites};
use crate::env::{Clock, Location, Storage, blocking};
use crate::model::FileEntry;
use crate::{Error, Result};

/// A local file that changed longer ago is finished.
pub(super) const SETTLE: Duration = Duration::from_millis(200);

/// How long to wait between two looks at a local file that just changed.
const SECOND_LOOK: Duration = Duration::from_millis(50);

/// How many files one look brings home at most; more wait for the next look.
pub(super) const MAX_LISTED_FILES: usize = 100_000;

/// How many files that may go one look brings home at most.
const MAX_DUE_FILES: usize = 10_000;

/// Of how many files that changed after they were read one look tells.
const MAX_OVERWRITTEN: usize = 1000;

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
    /// The greatest path of all, new or not.
    pub(super) greatest: Option<String>,
    /// Files that were read and may go.
    pub(super) due: Vec<FileEntry>,
    /// Paths whose files changed after they were read; only some of many.
    pub(super) overwritten: Vec<String>,
}

/// What a look is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) ledger: &'a Ledger,
    /// Nothing behind this file.
    pub(super) until: Option<&'a Rank>,
    /// Nothing with an earlier modification time.
    pub(super) not_before_us: i64,
    /// Only paths behind this one.
    pub(super) behind: Option<&'a str>,
    pub(super) overwrites: Overwrites,
    /// Files that were read by epochs before this time may go, if any may.
    pub(super) clean_before_us: Option<i64>,
}

/// Where to look, and for what.
pub(super) struct Discovery {
    pub(super) folder: Storage,
    pub(super) glob: Arc<FileGlob>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) max_files: usize,
}

/// A listing on its way home.
#[derive(Default)]
struct Listing {
    oldest: BinaryHeap<Listed>,
    newest: Option<Rank>,
    greatest: Option<String>,
    due: Vec<FileEntry>,
    overwritten: Vec<String>,
}

impl Discovery {
    /// The oldest files that are new, and what else a search asks for.
    ///
    /// # Errors
    /// Config if a local folder does not exist, Unavailable if the store fails.
    pub(super) async fn look(&self, search: Search<'_>) -> Result<Look> {
        self.check_folder().await?;
        let settled_us = match self.folder.location() {
            Location::Local(_) => self.clock.now_us() - i64::try_from(SETTLE.as_micros()).unwrap_or(i64::MAX),
            Location::Remote(_) => i64::MAX,
        };
        let first = self.list(&search).await?;
        if first.oldest.iter().all(|listed| listed.0.modified_us < settled_us) {
            return Ok(self.bring_home(first));
        }
        let before: HashMap<String, (u64, i64)> = first
            .oldest
            .into_iter()
            .filter(|listed| listed.0.modified_us >= settled_us)
            .map(|Listed(file)| (file.path, (file.size, file.modified_us)))
            .collect();
        tokio::time::sleep(SECOND_LOOK).await;
        let mut second = self.list(&search).await?;
        second.oldest.retain(|Listed(file)| {
            file.modified_us < settled_us || before.get(&file.path) == Some(&(file.size, file.modified_us))
        });
        Ok(self.bring_home(second))
    }

    /// Every file there is, whatever the ledger says, in no order.
    ///
    /// # Errors
    /// As [`Discovery::look`]; what `each` fails with.
    pub(super) async fn all(&self, mut each: impl FnMut(FileEntry) -> Result<()>) -> Result<()> {
        self.check_folder().await?;
        let mut objects = self.folder.store().list(Some(self.folder.prefix()));
        while let Some(object) = objects.try_next().await.map_err(|error| self.unlisted(error))? {
            if let Some(file) = self.file(object) {
                each(file)?;
            }
        }
        Ok(())
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

    /// The oldest new files, one more than can be brought home, and the rest.
    async fn list(&self, search: &Search<'_>) -> Result<Listing> {
        let (store, prefix) = (self.folder.store(), Some(self.folder.prefix()));
        let mut objects = match search.behind {
            Some(path) => store.list_with_offset(prefix, &self.folder.listed_path(path)?),
            None => store.list(prefix),
        };
        let mut listing = Listing::default();
        while let Some(object) = objects.try_next().await.map_err(|error| self.unlisted(error))? {
            let Some(file) = self.file(object) else { continue };
            if listing.greatest.as_ref().is_none_or(|greatest| *greatest < file.path) {
                listing.greatest = Some(file.path.clone());
            }
            if self.is_new(&file, search, &mut listing) {
                listing.add(file, self.max_files);
            }
        }
        Ok(listing)
    }

    /// Whether a file is to be read; notes what else is to be done about it.
    fn is_new(&self, file: &FileEntry, search: &Search<'_>, listing: &mut Listing) -> bool {
        match (search.ledger.standing(file), search.overwrites) {
            (Standing::New, _) | (Standing::Changed, Overwrites::Read) => {
                let is_behind = search.until.is_some_and(|until| until.is_before(file));
                return !is_behind && file.modified_us >= search.not_before_us;
            }
            (Standing::Taken, _) => {
                if let Some(before_us) = search.clean_before_us
                    && listing.due.len() < MAX_DUE_FILES
                    && search.ledger.was_committed_before(file, before_us)
                {
                    listing.due.push(file.clone());
                }
            }
            (Standing::Changed, Overwrites::PassedOver) => {
                if listing.overwritten.len() < MAX_OVERWRITTEN {
                    listing.overwritten.push(file.path.clone());
                }
            }
        }
        false
    }

    fn unlisted(&self, error: object_store::Error) -> Error {
        Error::unavailable(format!("cannot list {}", self.folder.location())).because(error)
    }

    fn bring_home(&self, listing: Listing) -> Look {
        let Listing { oldest, newest, greatest, due, overwritten } = listing;
        let mut files: Vec<FileEntry> = oldest.into_sorted_vec().into_iter().map(|Listed(file)| file).collect();
        let more = files.len() > self.max_files;
        files.truncate(self.max_files);
        Look { files, newest, more, greatest, due, overwritten }
    }

    /// The object as a file of the source, if it is one.
    fn file(&self, object: ObjectMeta) -> Option<FileEntry> {
        let path = relative(&object.location, self.folder.prefix())?;
        if is_hidden(&path) || !self.glob.matches(&path) {
            return None;
        }
        let modified_us = object.last_modified.timestamp_micros();
        // Of a local file it would name the inode, which says nothing about the content.
        let etag = object.e_tag.filter(|_| matches!(self.folder.location(), Location::Remote(_)));
        Some(FileEntry { path, size: object.size, modified_us, etag })
    }
}

impl Listing {
    fn add(&mut self, file: FileEntry, max_files: usize) {
        if self.newest.as_ref().is_none_or(|newest| newest.is_before(&file)) {
            self.newest = Some(Rank::of(&file));
        }
        self.oldest.push(Listed(file));
        if self.oldest.len() > max_files + 1 {
            self.oldest.pop();
        }
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

pub(super) fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with(['.', '_']))
        || TEMPORARY_SUFFIXES.iter().any(|suffix| path.ends_with(suffix))
}
