//! Files dropped in a folder of any object store.
//!
//! ```text
//! watch ─► discovery ──► backlog ──► plan ──► reader: open ──► framing ──► chunks
//!              └── ledger: what was taken ──┘        └── left for a later look
//!              └── cleaner: what was read and may go, once its epoch is committed
//! ```
//!
//! A file is taken once; its path is its identity, with its version where files
//! that are overwritten are read again. The ledger holds what prepared epochs took
//! and what was planned since; it is rebuilt from segments and ranges at every
//! `restore`. Files are taken oldest first, by modification time, then path.
//!
//! A sealed source stays sealed through `restore`.

mod assembler;
mod clean;
mod columns;
mod discovery;
mod fields;
mod framing;
mod ledger;
mod left;
mod looks;
mod partitions;
mod reader;
mod segment;
mod settings;
mod watch;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

pub use framing::frames;
pub use ledger::Ledger;
pub use partitions::partition_names;
pub use segment::{LedgerLine, read_segment};
pub use settings::{
    Clean, CleanSource, Existing, FileFormat, FilesSettings, Overwrites, check_glob, check_move_target,
    check_partition_column,
};

use self::clean::Cleaner;
use self::discovery::{Discovery, MAX_LISTED_FILES, Rank, Search};
use self::fields::{FieldPlan, KnownFields};
use self::left::Left;
use self::reader::Reading;
use self::settings::FileGlob;
use self::watch::Watch;
use super::{ChunkBounds, ChunkSender, EpochBounds, Incident, Source};
use crate::env::{Clock, Env};
use crate::model::{Epoch, EpochRange, FileEntry, PartitionId, SourceRange};
use crate::schema::SampleBounds;
use crate::{Error, Result};

/// A source of files.
pub struct FileSource {
    settings: FilesSettings,
    chunks: ChunkBounds,
    known_fields: KnownFields,
    fields: FieldPlan,
    discovery: Discovery,
    clock: Arc<dyn Clock>,
    ledger: Ledger,
    first_start: FirstStart,
    /// Listed and not planned, oldest first.
    backlog: VecDeque<FileEntry>,
    /// How long the last look took.
    listing: Duration,
    sealed: Option<Sealed>,
    watch: Watching,
    /// The path behind which everything is new, as of the last look at all there
    /// is, and when that was.
    behind: Option<(String, Instant)>,
    /// When the ledger was last searched for what may be dropped.
    dropped: Option<Instant>,
    left: Arc<Left>,
    cleaner: Option<Cleaner>,
    /// Whoever was warned of: files that changed after they were read.
    overwritten: HashSet<String>,
}

/// The end of a bounded run.
struct Sealed {
    /// Nothing behind this file is taken; none if there was no file.
    until: Option<Rank>,
    /// Whether there are files up to there which are not in the backlog.
    more: bool,
}

/// Whether files that are there at the first start are still to be passed over.
enum FirstStart {
    /// This is not the first start, or they are read.
    Over,
    /// They are to be.
    Ahead,
    /// They are in the ledger, and in a segment of so many that no record names
    /// yet.
    Unrecorded { segment: Bytes, entries: u64, is_planned: bool },
}

/// The watch over a local folder.
enum Watching {
    /// There was no need yet.
    NotYet,
    /// It tells of news.
    On(Watch),
    /// There is none to be had.
    Off,
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
            glob: Arc::new(FileGlob::parse(&settings.glob)?),
            clock: Arc::clone(&env.clock),
            max_files: MAX_LISTED_FILES,
        };
        let known_fields = KnownFields::new(&settings);
        let cleaner = settings.clean.as_ref().map(|clean| Cleaner::new(clean, &discovery.folder, env)).transpose()?;
        Ok(Self {
            first_start: FirstStart::of(settings.existing),
            settings,
            chunks,
            fields: known_fields.plan(&[])?,
            known_fields,
            discovery,
            clock: Arc::clone(&env.clock),
            ledger: Ledger::default(),
            backlog: VecDeque::new(),
            listing: Duration::ZERO,
            sealed: None,
            watch: Watching::NotYet,
            behind: None,
            dropped: None,
            left: Arc::default(),
            cleaner,
            overwritten: HashSet::new(),
        })
    }
}

impl FirstStart {
    fn of(existing: Existing) -> Self {
        match existing {
            Existing::Read => Self::Over,
            Existing::PassedOver => Self::Ahead,
        }
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
        self.known_fields.schema()
    }

    fn select_fields(&mut self, names: &[String]) -> Result<()> {
        self.fields = self.known_fields.plan(names)?;
        Ok(())
    }

    fn restore(&mut self, segments: &[Bytes], ranges: &[EpochRange]) -> Result<()> {
        let expiry = self.expiry();
        let mut ledger = Ledger::default();
        for segment in segments {
            ledger.restore(segment, &expiry)?;
        }
        for EpochRange { epoch, clock_us, range } in ranges {
            let files = range
                .files()
                .ok_or_else(|| Error::corrupt(format!("epoch {epoch} read partitions, but the source is files")))?;
            for file in files {
                ledger.take(file);
                ledger.commit(file, *clock_us);
            }
        }
        self.ledger = ledger;
        self.backlog.clear();
        self.behind = None;
        let is_first = segments.is_empty() && ranges.is_empty();
        self.first_start = if is_first { FirstStart::of(self.settings.existing) } else { FirstStart::Over };
        if let Some(Sealed { until: Some(_), more }) = &mut self.sealed {
            *more = true;
        }
        Ok(())
    }

    fn segment(&self, ranges: &[EpochRange]) -> Result<Option<(Bytes, u64)>> {
        let (taken, mut entries) = segment::write_segment(ranges)?;
        let mut parts = Vec::new();
        if let FirstStart::Unrecorded { segment, entries: passed_over, .. } = &self.first_start {
            parts.push(segment.clone());
            entries += passed_over;
        } else if entries == 0 {
            return Ok(None);
        }
        parts.push(taken);
        Ok(Some((parts.concat().into(), entries)))
    }

    fn has_unrecorded(&self) -> bool {
        matches!(self.first_start, FirstStart::Unrecorded { is_planned: true, .. })
    }

    fn merge(&self, segments: &[Bytes], entries: u64) -> Result<(Bytes, u64)> {
        match self.settings.max_age {
            Some(_) => segment::merge_segments(segments, &self.expiry()),
            None => Ok((segments.concat().into(), entries)),
        }
    }

    async fn sample(&mut self, bounds: SampleBounds) -> Result<Option<SourceRange>> {
        let search = Search {
            ledger: &Ledger::default(),
            until: None,
            not_before_us: self.not_before_us(),
            behind: None,
            overwrites: self.settings.overwrites,
            clean_before_us: None,
        };
        let look = self.discovery.look(search).await?;
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
        if matches!(self.first_start, FirstStart::Ahead) {
            self.pass_over_existing().await?;
            self.sealed = Some(Sealed { until: None, more: false });
            return Ok(());
        }
        let look = self.look(None).await?;
        self.backlog = look.files.into();
        self.sealed = Some(Sealed { until: look.newest, more: look.more });
        Ok(())
    }

    async fn plan(&mut self, bounds: EpochBounds) -> Result<Option<SourceRange>> {
        if matches!(self.first_start, FirstStart::Ahead) {
            self.pass_over_existing().await?;
        }
        if let FirstStart::Unrecorded { is_planned, .. } = &mut self.first_start
            && !*is_planned
        {
            // An epoch without rows makes it durable.
            *is_planned = true;
            return Ok(Some(self.nothing()));
        }
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
            self.ledger.take(&file);
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
            self.wait().await;
        }
    }

    async fn read(&self, range: &SourceRange, out: ChunkSender) -> Result<()> {
        let files = range.files().ok_or_else(|| Error::bug("the file source cannot read partitions"))?;
        let reading = Reading {
            folder: self.discovery.folder.clone(),
            format: self.settings.format,
            csv_quote: self.settings.csv_quote,
            bounds: self.chunks,
            fields: self.fields.clone(),
            left: Arc::clone(&self.left),
        };
        reading.run(files.to_vec(), out).await
    }

    fn settle(&mut self, range: SourceRange) -> SourceRange {
        let left = self.left.take();
        match range {
            SourceRange::Files(mut files) if !left.is_empty() => {
                files.retain(|file| !left.contains(&file.path));
                left.iter().for_each(|path| self.ledger.forget(path));
                // Their names may lie before those that the next look asks for.
                self.behind = None;
                SourceRange::Files(files)
            }
            range => range,
        }
    }

    fn committed(&mut self, _epoch: Epoch, clock_us: i64, range: &SourceRange) {
        if self.has_unrecorded() {
            self.first_start = FirstStart::Over;
        }
        if let (Some(cleaner), Some(files)) = (&mut self.cleaner, range.files()) {
            files.iter().for_each(|file| self.ledger.commit(file, clock_us));
            cleaner.committed(files, clock_us);
            cleaner.clean(Vec::new(), self.clock.now_us(), self.clock.monotonic());
        }
    }

    async fn finish(&mut self) {
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.finish(self.clock.now_us(), self.clock.monotonic()).await;
        }
    }

    fn take_incidents(&self) -> Vec<Incident> {
        let cleaned = self.cleaner.iter().flat_map(|cleaner| cleaner.incidents().take());
        self.left.incidents.take().into_iter().chain(cleaned).collect()
    }
}

#[cfg(test)]
mod tests;
