//! Reading the files of a range.
//!
//! Two tasks, joined by a bounded queue: an async one opens files ahead of time
//! and receives what object stores send, a blocking one decompresses, frames
//! and delivers. Local files are read by the blocking one itself.
//!
//! ```text
//! open × OPENED_FILES ──► [opened: OPENED_FILES] ──► assemble ──► out
//!                              └► [blocks: STREAM_BLOCKS a file]
//! ```
//!
//! A file is read as it was listed, or not at all: one that is gone or has
//! changed since is unreadable, with the reason.

use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use flate2::bufread::MultiGzDecoder;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{GetResult, GetResultPayload, ObjectMeta, ObjectStoreExt};
use tokio::sync::mpsc;

use super::assembler::{Assembler, Flow, go_on};
use super::fields::{FieldPlan, FileFacts};
use super::framing::Framer;
use super::settings::FileFormat;
use crate::env::{Storage, blocking};
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
    pub(super) bounds: ChunkBounds,
    pub(super) fields: FieldPlan,
}

/// A file that was opened, or why it was not.
enum Opened {
    Local(std::fs::File),
    Whole(Bytes),
    Stream(mpsc::Receiver<std::io::Result<Bytes>>),
    Unreadable(String),
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
        let format = self.format;
        let feeding = feed(&self.folder, files, opened);
        let assembling = blocking(move || assemble(assembler, format, steps).map(|_| ()));
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
    let unreadable = |reason: &str| Got::Ready(Opened::Unreadable(reason.to_owned()));
    let got = match folder.store().get(&store_path(folder, &facts.path)?).await {
        Ok(result) => result,
        Err(object_store::Error::NotFound { .. }) => {
            tracing::warn!(file = %facts.path, "the file is gone: it was deleted after it was listed");
            return Ok((facts, unreadable("the file was deleted after it was listed")));
        }
        Err(error) => return Err(failed(folder, &facts).because(error)),
    };
    if !is_as_listed(&facts.entry, &got.meta) {
        tracing::warn!(file = %facts.path, "the file changed after it was listed");
        return Ok((facts, unreadable("the file changed after it was listed")));
    }
    let small = got.meta.size <= WHOLE_OBJECT_BYTES;
    let got = match got.payload {
        GetResultPayload::File(file, _) => Got::Ready(Opened::Local(file)),
        GetResultPayload::Stream(_) if small => {
            let bytes = got.bytes().await.map_err(|error| failed(folder, &facts).because(error))?;
            Got::Ready(Opened::Whole(bytes))
        }
        GetResultPayload::Stream(_) => Got::Stream(Box::new(got)),
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

/// The path of a file in the store, in the very spelling that was listed.
fn store_path(folder: &Storage, path: &str) -> Result<Path> {
    let prefix = folder.prefix().as_ref();
    let whole = if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") };
    Path::parse(whole).map_err(|error| Error::corrupt(format!("`{path}` is not the path of a file")).because(error))
}

/// Whether the object is the version that was listed.
fn is_as_listed(entry: &FileEntry, meta: &ObjectMeta) -> bool {
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

fn assemble(mut assembler: Assembler, format: FileFormat, mut steps: mpsc::Receiver<Step>) -> Flow {
    while let Some(step) = steps.blocking_recv() {
        match step {
            Step::File(facts, opened) => go_on!(assemble_file(&mut assembler, format, &facts, opened)),
            Step::End => return assembler.flush(),
        }
    }
    // The opening side failed: nothing more may look complete.
    Ok(ControlFlow::Break(()))
}

fn assemble_file(assembler: &mut Assembler, format: FileFormat, facts: &Arc<FileFacts>, opened: Opened) -> Flow {
    assembler.begin();
    let mut local = None;
    let source: Box<dyn Read> = match opened {
        Opened::Unreadable(reason) => return assembler.fail(facts, reason),
        Opened::Local(file) => {
            let reader = file.try_clone().map_err(|error| broken(facts, error))?;
            local = Some(file);
            Box::new(reader)
        }
        Opened::Whole(bytes) => Box::new(bytes.reader()),
        Opened::Stream(blocks) => Box::new(Blocks { blocks, block: Bytes::new() }),
    };
    let mut source = Watched { input: source.take(facts.entry.size), failure: None };
    let mut framer = Framer::new(format, assembler.split_bytes());
    let read = if is_gzip(&facts.path) && facts.entry.size > 0 {
        let compressed = BufReader::with_capacity(COMPRESSED_BLOCK_BYTES, &mut source);
        assembler.read(facts, &mut framer, &mut MultiGzDecoder::new(compressed))?
    } else {
        assembler.read(facts, &mut framer, &mut source)?
    };
    let ControlFlow::Continue(read) = read else { return Ok(ControlFlow::Break(())) };
    if let Some(failure) = source.failure {
        return Err(broken(facts, failure));
    }
    if let Some(file) = local
        && !is_unchanged(&facts.entry, &file)
    {
        return assembler.fail(facts, "the file changed while it was read".to_owned());
    }
    match read {
        Ok(()) => assembler.finish(facts, &mut framer),
        Err(error) => {
            let reason = format!("the rest of the file cannot be decompressed: {error}");
            assembler.fail(facts, reason)
        }
    }
}

fn broken(facts: &FileFacts, error: std::io::Error) -> Error {
    Error::unavailable(format!("cannot read the file `{}`", facts.path)).because(error)
}

fn is_gzip(path: &str) -> bool {
    path.ends_with(".gz")
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
