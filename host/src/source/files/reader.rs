//! Reading the files of a range.
//!
//! Two tasks, joined by a bounded queue: an async one opens objects ahead of time
//! and receives what stores send, a blocking one decompresses, frames and
//! delivers. Local files are opened and read by the blocking one itself: handing
//! each of a hundred thousand small files from thread to thread would cost more
//! than reading it.
//!
//! ```text
//! open × OPENED_FILES ──► [opened: OPENED_FILES] ──► assemble ──► out
//!                              └► [blocks: STREAM_BLOCKS a file]
//! ```
//!
//! A file is read as it was listed, or not at all. One that is gone or has changed
//! since is left for a later look, which takes what is there then; the epoch does
//! not count it. One that changes while it is read is unreadable from there on.

use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use flate2::bufread::MultiGzDecoder;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{GetResult, ObjectMeta, ObjectStoreExt};
use parquet::file::reader::ChunkReader;
use tokio::sync::mpsc;

use super::assembler::{Assembler, Flow, go_on};
use super::columns;
use super::fields::{FieldPlan, FileFacts};
use super::framing::{Framer, Framing};
use super::left::{Left, Why};
use super::settings::FileFormat;
use crate::env::{Location, Storage, blocking};
use crate::model::FileEntry;
use crate::source::{ChunkBounds, ChunkSender};
use crate::{Error, Result};

/// How many files are opened ahead of the one that is read, and how many wait.
const OPENED_FILES: usize = 16;

/// How many blocks of one object wait to be read.
const STREAM_BLOCKS: usize = 8;

/// An object up to this size is fetched whole when it is opened.
const WHOLE_OBJECT_BYTES: u64 = 256 << 10;

/// How much of a compressed file is read in one go.
const COMPRESSED_BLOCK_BYTES: usize = 64 << 10;

/// What to read and how.
pub(super) struct Reading {
    pub(super) folder: Storage,
    pub(super) format: FileFormat,
    pub(super) csv_quote: Option<u8>,
    pub(super) bounds: ChunkBounds,
    pub(super) fields: FieldPlan,
    /// Where the files go that are left for a later look.
    pub(super) left: Arc<Left>,
}

/// A file that was opened, or why it was not.
enum Opened {
    /// To be opened by whoever reads it.
    Local(std::path::PathBuf),
    Whole(Bytes),
    Stream(mpsc::Receiver<std::io::Result<Bytes>>),
    Not(Why),
}

/// What goes from the opening task to the assembling one.
enum Step {
    File(Arc<FileFacts>, Opened),
    /// All files were opened; anything gathered is complete.
    End,
}

impl Reading {
    /// Read these files in order.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub(super) async fn run(self, files: Vec<FileEntry>, out: ChunkSender) -> Result<()> {
        let (opened, steps) = mpsc::channel(OPENED_FILES);
        let assembler = Assembler::new(self.bounds, self.fields, out);
        let framing = Framing {
            format: self.format,
            csv_quote: self.csv_quote,
            split_bytes: assembler.split_bytes(),
            block_bytes: assembler.block_bytes(),
        };
        let feeding = feed(&self.folder, files, opened);
        let mut assembly = Assembly { assembler, framing, left: self.left };
        let assembling = blocking(move || assembly.run(steps).map(|_| ()));
        let (fed, assembled) = tokio::join!(feeding, assembling);
        // A stream that broke is told more precisely by the side that received it.
        fed.and(assembled)
    }
}

async fn feed(folder: &Storage, files: Vec<FileEntry>, out: mpsc::Sender<Step>) -> Result<()> {
    let mut opening = stream::iter(files).map(|entry| open(folder, entry)).buffered(OPENED_FILES);
    while let Some((facts, got)) = opening.try_next().await? {
        let (opened, pump) = match got {
            Got::Ready(opened) => (opened, None),
            Got::Stream(result) => {
                let (blocks, inbox) = mpsc::channel(STREAM_BLOCKS);
                (Opened::Stream(inbox), Some((blocks, result)))
            }
        };
        if out.send(Step::File(Arc::clone(&facts), opened)).await.is_err() {
            return Ok(());
        }
        if let Some((blocks, result)) = pump {
            receive(folder, &facts, result, blocks).await?;
        }
    }
    // No receiver: it said why itself.
    let _gone = out.send(Step::End).await;
    Ok(())
}

/// An opened file, before its queue exists.
enum Got {
    Ready(Opened),
    Stream(Box<GetResult>),
}

async fn open(folder: &Storage, entry: FileEntry) -> Result<(Arc<FileFacts>, Got)> {
    let facts = Arc::new(FileFacts::new(folder.location(), entry));
    if let Location::Local(root) = folder.location() {
        let path = root.join(facts.path.as_ref());
        return Ok((facts, Got::Ready(Opened::Local(path))));
    }
    let not = |why: Why| Got::Ready(Opened::Not(why));
    let got = match folder.store().get(&folder.listed_path(&facts.path)?).await {
        Ok(result) => result,
        Err(object_store::Error::NotFound { .. }) => return Ok((facts, not(Why::Vanished))),
        Err(error) => return Err(failed(folder, &facts).because(error)),
    };
    if !is_as_listed(&facts.entry, &got.meta) {
        return Ok((facts, not(Why::Changed)));
    }
    let got = match got.meta.size <= WHOLE_OBJECT_BYTES {
        true => {
            let bytes = got.bytes().await.map_err(|error| failed(folder, &facts).because(error))?;
            Got::Ready(Opened::Whole(bytes))
        }
        false => Got::Stream(Box::new(got)),
    };
    Ok((facts, got))
}

/// Pass on what the store sends, until nobody wants it.
async fn receive(
    folder: &Storage,
    facts: &FileFacts,
    result: Box<GetResult>,
    blocks: mpsc::Sender<std::io::Result<Bytes>>,
) -> Result<()> {
    let mut stream = result.into_stream();
    while let Some(block) = stream.next().await {
        let error = match block {
            Ok(block) => {
                if blocks.send(Ok(block)).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            Err(error) => failed(folder, facts).because(error),
        };
        // The reader must not take the broken stream for the end of the file.
        let _gone = blocks.send(Err(std::io::Error::other("the stream broke"))).await;
        return Err(error);
    }
    Ok(())
}

/// Whether the object is the version that was listed.
pub(super) fn is_as_listed(entry: &FileEntry, meta: &ObjectMeta) -> bool {
    match (&entry.etag, &meta.e_tag) {
        // The time is not compared: listings tell it to the millisecond, answers
        // of HTTP only to the second.
        (Some(listed), Some(found)) => unquoted(listed) == unquoted(found) && entry.size == meta.size,
        _ => entry.size == meta.size && entry.modified_us == meta.last_modified.timestamp_micros(),
    }
}

/// Azure's listings have etags without the quotes that its answers have.
fn unquoted(etag: &str) -> &str {
    etag.trim_matches('"')
}

fn failed(folder: &Storage, facts: &FileFacts) -> Error {
    Error::unavailable(format!("cannot read {}", folder.location().join(&facts.path)))
}

/// The blocking side.
struct Assembly {
    assembler: Assembler,
    framing: Framing,
    left: Arc<Left>,
}

impl Assembly {
    fn run(&mut self, mut steps: mpsc::Receiver<Step>) -> Flow {
        while let Some(step) = steps.blocking_recv() {
            match step {
                Step::File(facts, opened) => go_on!(self.file(&facts, opened)),
                Step::End => return self.assembler.flush(),
            }
        }
        // The opening side failed: nothing more may look complete.
        Ok(ControlFlow::Break(()))
    }

    fn file(&mut self, facts: &Arc<FileFacts>, opened: Opened) -> Flow {
        self.assembler.begin();
        let local;
        let source: Box<dyn Read> = match opened {
            Opened::Not(why) => return self.leave(facts, why),
            Opened::Local(path) => {
                local = match std::fs::File::open(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        return self.leave(facts, Why::Vanished);
                    }
                    Err(error) => return Err(broken(facts, error)),
                };
                if !is_unchanged(&facts.entry, &local) {
                    return self.leave(facts, Why::Changed);
                }
                if self.framing.format == FileFormat::Parquet {
                    let rows = local.try_clone().map_err(|error| broken(facts, error))?;
                    return self.rows(facts, rows, Some(&local));
                }
                return self.read(facts, &local, Some(&local));
            }
            Opened::Whole(bytes) if self.framing.format == FileFormat::Parquet => return self.rows(facts, bytes, None),
            Opened::Stream(mut blocks) if self.framing.format == FileFormat::Parquet => {
                let blocks = std::iter::from_fn(|| blocks.blocking_recv());
                return match columns::whole(facts.entry.size, blocks).map_err(|error| broken(facts, error))? {
                    Ok(bytes) => self.rows(facts, bytes, None),
                    Err(reason) => self.assembler.fail(facts, reason),
                };
            }
            Opened::Whole(bytes) => Box::new(bytes.reader()),
            Opened::Stream(blocks) => Box::new(Blocks { blocks, block: Bytes::new() }),
        };
        self.read(facts, source, None)
    }

    /// Read the rows of a file; `local` is it if it may change meanwhile.
    fn rows<R: ChunkReader + 'static>(
        &mut self,
        facts: &Arc<FileFacts>,
        input: R,
        local: Option<&std::fs::File>,
    ) -> Flow {
        let read = match columns::read(&mut self.assembler, facts, input)? {
            ControlFlow::Continue(read) => read,
            ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
        };
        if local.is_some_and(|file| !is_unchanged(&facts.entry, file)) {
            return self.assembler.fail(facts, "the file changed while it was read".to_owned());
        }
        match read {
            Ok(()) => {
                self.left.was_read(&facts.path);
                Ok(ControlFlow::Continue(()))
            }
            Err(reason) => self.assembler.fail(facts, reason),
        }
    }

    /// Read a file to its end; `local` is it if it may change meanwhile.
    fn read(&mut self, facts: &Arc<FileFacts>, source: impl Read, local: Option<&std::fs::File>) -> Flow {
        let assembler = &mut self.assembler;
        let mut source = Watched { input: source.take(facts.entry.size), failure: None };
        let mut framer = Framer::new(self.framing);
        let read = match Compression::of(&facts.path).filter(|_| facts.entry.size > 0) {
            None => assembler.read(facts, &mut framer, &mut source)?,
            Some(Compression::Gzip) => {
                let compressed = BufReader::with_capacity(COMPRESSED_BLOCK_BYTES, &mut source);
                assembler.read(facts, &mut framer, &mut MultiGzDecoder::new(compressed))?
            }
            Some(Compression::Zstd) => {
                let compressed = BufReader::with_capacity(COMPRESSED_BLOCK_BYTES, &mut source);
                // Reads one frame behind the other, as `zstd -d` does.
                let mut decoder = zstd::Decoder::with_buffer(compressed).map_err(|error| broken(facts, error))?;
                assembler.read(facts, &mut framer, &mut decoder)?
            }
        };
        let ControlFlow::Continue(read) = read else { return Ok(ControlFlow::Break(())) };
        if let Some(failure) = source.failure {
            return Err(broken(facts, failure));
        }
        if local.is_some_and(|file| !is_unchanged(&facts.entry, file)) {
            return assembler.fail(facts, "the file changed while it was read".to_owned());
        }
        match read {
            Ok(()) => {
                self.left.was_read(&facts.path);
                assembler.finish(facts, &mut framer)
            }
            Err(error) => {
                let reason = format!("the rest of the file cannot be decompressed: {error}");
                assembler.fail(facts, reason)
            }
        }
    }

    fn leave(&mut self, facts: &Arc<FileFacts>, why: Why) -> Flow {
        match self.left.note(&facts.path, why) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(reason) => self.assembler.fail(facts, reason),
        }
    }
}

/// How a file is compressed, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    /// RFC 1952
    Gzip,
    /// RFC 8878
    Zstd,
}

impl Compression {
    fn of(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }
}

fn broken(facts: &FileFacts, error: std::io::Error) -> Error {
    Error::unavailable(format!("cannot read the file `{}`", facts.path)).because(error)
}

/// Whether the local file is still what was listed.
fn is_unchanged(entry: &FileEntry, file: &std::fs::File) -> bool {
    let Ok(found) = file.metadata() else { return false };
    let modified = found.modified().map(DateTime::<Utc>::from).map(|time| time.timestamp_micros());
    found.len() == entry.size && modified.is_ok_and(|modified_us| modified_us == entry.modified_us)
}

/// The bytes of an object as they arrive.
struct Blocks {
    blocks: mpsc::Receiver<std::io::Result<Bytes>>,
    block: Bytes,
}

impl Read for Blocks {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.block.is_empty() {
            match self.blocks.blocking_recv() {
                Some(block) => self.block = block?,
                None => return Ok(0),
            }
        }
        let bytes = into.len().min(self.block.len());
        self.block.copy_to_slice(&mut into[..bytes]);
        Ok(bytes)
    }
}

/// Tells a store that fails from a file that is damaged.
struct Watched<R> {
    input: R,
    failure: Option<std::io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.input.read(into).map_err(|error| {
            let told = std::io::Error::new(error.kind(), error.to_string());
            if error.kind() != std::io::ErrorKind::Interrupted {
                self.failure = Some(error);
            }
            told
        })
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;

    #[test]
    fn regression_etag_that_a_listing_of_azure_has_without_quotes_is_the_same() {
        let entry = |etag: &str| FileEntry {
            path: "a.json".to_owned(),
            size: 3,
            modified_us: 1_000,
            etag: Some(etag.to_owned()),
        };
        let meta = |etag: &str, size| ObjectMeta {
            location: Path::from("in/a.json"),
            last_modified: DateTime::<Utc>::UNIX_EPOCH,
            size,
            e_tag: Some(etag.to_owned()),
            version: None,
        };
        assert!(is_as_listed(&entry("0x8D93C7D4629C227"), &meta("\"0x8D93C7D4629C227\"", 3)));
        assert!(is_as_listed(&entry("\"1\""), &meta("\"1\"", 3)));
        assert!(!is_as_listed(&entry("0x8D93C7D4629C227"), &meta("\"0x8D93C7D463004D6\"", 3)));
        assert!(!is_as_listed(&entry("1"), &meta("\"1\"", 4)));
    }
}
