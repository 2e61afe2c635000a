//! Files dropped in a folder of any object store.
//!
//! ```text
//! discovery ──► backlog ──► plan ──► reader: open ──► framing ──► chunks
//!     └── ledger: what was taken ──┘
//! ```
//!
//! A file is taken once; its path is its identity. The ledger holds what
//! prepared epochs took and what was planned since; it is rebuilt from segments
//! and ranges at every `restore`. Files are taken oldest first, by modification
//! time, then path.
//!
//! A sealed source stays sealed through `restore`.

mod assembler;
mod discovery;
mod fields;
mod framing;
mod ledger;
mod reader;
mod settings;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

pub use ledger::{Ledger, LedgerLine, find_in_segment, read_segment};
pub use settings::{FileFormat, FilesSettings, check_glob};

use self::discovery::{Discovery, MAX_LISTED_FILES, Rank};
use self::fields::FieldPlan;
use self::reader::Reading;
use self::settings::FileGlob;
use super::{ChunkBounds, ChunkSender, EpochBounds, Source};
use crate::env::{Clock, Env};
use crate::model::{Epoch, FileEntry, PartitionId, SourceRange};
use crate::schema::SampleBounds;
use crate::{Error, Result};

/// Listing may take one part in so many of the time between epochs.
const LISTING_SHARE: u32 = 4;

/// A source of files.
pub struct FileSource {
    settings: FilesSettings,
    chunks: ChunkBounds,
    fields: FieldPlan,
    discovery: Discovery,
    clock: Arc<dyn Clock>,
    ledger: Ledger,
    /// Listed and not planned, oldest first.
    backlog: VecDeque<FileEntry>,
    /// How long the last look took.
    listing: Duration,
    sealed: Option<Sealed>,
}

/// The end of a bounded run.
struct Sealed {
    /// Nothing behind this file is taken; none if there was no file.
    until: Option<Rank>,
    /// Whether there are files up to there which are not in the backlog.
    more: bool,
}

impl FileSource {
    /// A source of the files that the settings describe.
    ///
    /// # Errors
    /// Config if the settings or the folder's location cannot be used.
    pub fn new(settings: FilesSettings, env: &Env, chunks: ChunkBounds) -> Result<Self> {
        settings.validate()?;
        let discovery = Discovery {
            folder: env.storage(&settings.folder)?,
            glob: FileGlob::parse(&settings.glob)?,
            clock: Arc::clone(&env.clock),
            max_files: MAX_LISTED_FILES,
        };
        Ok(Self {
            settings,
            chunks,
            fields: FieldPlan::new(&[])?,
            discovery,
            clock: Arc::clone(&env.clock),
            ledger: Ledger::default(),
            backlog: VecDeque::new(),
            listing: Duration::ZERO,
            sealed: None,
        })
    }

    /// Look for new files, unless the end of the run is fixed and they are all
    /// known.
    async fn refill(&mut self) -> Result<()> {
        if matches!(self.sealed, Some(Sealed { more: false, .. })) {
            return Ok(());
        }
        let until = self.sealed.as_ref().and_then(|sealed| sealed.until.as_ref());
        let started = self.clock.monotonic();
        let look = self.discovery.look(&self.ledger, until).await?;
        self.listing = self.clock.monotonic().saturating_duration_since(started);
        self.backlog = look.files.into();
        if let Some(sealed) = &mut self.sealed {
            sealed.more = look.more;
        }
        Ok(())
    }
}

#[async_trait]
impl Source for FileSource {
    fn description(&self) -> String {
        format!("files `{}` in {}", self.settings.glob, self.settings.folder)
    }

    fn identity(&self) -> String {
        format!("files in {}", self.settings.folder)
    }

    fn message_fields(&self) -> SchemaRef {
        fields::all_fields()
    }

    fn select_fields(&mut self, names: &[String]) -> Result<()> {
        self.fields = FieldPlan::new(names)?;
        Ok(())
    }

    fn restore(&mut self, segments: &[Bytes], ranges: &[(Epoch, SourceRange)]) -> Result<()> {
        let mut ledger = Ledger::default();
        for segment in segments {
            ledger.restore(segment)?;
        }
        for (epoch, range) in ranges {
            let files = range
                .files()
                .ok_or_else(|| Error::corrupt(format!("epoch {epoch} read partitions, but the source is files")))?;
            for file in files {
                ledger.insert(&file.path);
            }
        }
        self.ledger = ledger;
        self.backlog.clear();
        if let Some(Sealed { until: Some(_), more }) = &mut self.sealed {
            *more = true;
        }
        Ok(())
    }

    fn segment(&self, ranges: &[(Epoch, SourceRange)]) -> Result<Option<(Bytes, u64)>> {
        let mut taken = Vec::new();
        for (epoch, range) in ranges {
            let files = range
                .files()
                .ok_or_else(|| Error::bug(format!("epoch {epoch} read partitions, but the source is files")))?;
            taken.extend(files.iter().map(|file| (*epoch, file)));
        }
        if taken.is_empty() {
            return Ok(None);
        }
        let entries = taken.len() as u64;
        Ok(Some((ledger::write_segment(taken.into_iter())?, entries)))
    }

    async fn sample(&mut self, bounds: SampleBounds) -> Result<Option<SourceRange>> {
        let look = self.discovery.look(&Ledger::default(), None).await?;
        let mut bytes = 0_u64;
        let mut files: Vec<FileEntry> = look.files;
        files.truncate(bounds.max_files.max(1));
        let fits = files.iter().position(|file| {
            bytes = bytes.saturating_add(file.size);
            bytes > bounds.max_bytes
        });
        files.truncate(fits.map_or(usize::MAX, |fits| fits.max(1)));
        Ok((!files.is_empty()).then_some(SourceRange::Files(files)))
    }

    async fn seal(&mut self) -> Result<()> {
        self.sealed = None;
        let look = self.discovery.look(&self.ledger, None).await?;
        self.backlog = look.files.into();
        self.sealed = Some(Sealed { until: look.newest, more: look.more });
        Ok(())
    }

    async fn plan(&mut self, bounds: EpochBounds) -> Result<Option<SourceRange>> {
        if self.backlog.is_empty() {
            self.refill().await?;
        }
        let mut files = Vec::new();
        let mut bytes = 0_u64;
        while files.len() < bounds.max_files.max(1)
            && let Some(next) = self.backlog.front()
        {
            bytes = bytes.saturating_add(next.size);
            if bytes > bounds.max_bytes && !files.is_empty() {
                break;
            }
            let Some(file) = self.backlog.pop_front() else { break };
            self.ledger.insert(&file.path);
            files.push(file);
        }
        Ok((!files.is_empty()).then_some(SourceRange::Files(files)))
    }

    fn backlog_bytes(&self) -> Option<u64> {
        let sealed = self.sealed.as_ref().filter(|sealed| !sealed.more);
        sealed.map(|_| self.backlog.iter().map(|file| file.size).sum())
    }

    fn nothing(&self) -> SourceRange {
        SourceRange::Files(Vec::new())
    }

    fn has_unread(&self, _all: &PartitionId) -> bool {
        !self.backlog.is_empty() || self.sealed.as_ref().is_some_and(|sealed| sealed.more)
    }

    async fn changed(&mut self) {
        if self.backlog.is_empty() {
            // A folder that takes long to list is listed less often.
            tokio::time::sleep(self.settings.poll_interval.max(self.listing * LISTING_SHARE)).await;
        }
    }

    async fn read(&self, range: &SourceRange, out: ChunkSender) -> Result<()> {
        let files = range.files().ok_or_else(|| Error::bug("the file source cannot read partitions"))?;
        let reading = Reading {
            folder: self.discovery.folder.clone(),
            format: self.settings.format,
            bounds: self.chunks,
            fields: self.fields.clone(),
        };
        reading.run(files.to_vec(), out).await
    }
}

#[cfg(test)]
mod tests;
