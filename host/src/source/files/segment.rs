//! The durable form of the ledger: which files were taken, when and by which
//! epoch.
//!
//! A segment is gzip'ed (RFC 1952) JSON lines, one file a line; segments put one
//! behind the other are a segment again. Of several lines of one path the last
//! one counts. A line may also say up to which modification time files were
//! dropped for their age: none of them may ever be taken again.

use std::io::{BufRead, BufReader, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::ledger::Expiry;
use crate::model::{Epoch, EpochRange, FileEntry};
use crate::{Error, Result};

/// A longer line of a segment is damage; no path is that long.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// One file in a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerLine {
    /// The epoch that read it, or passed it over.
    pub epoch: Epoch,
    /// The path below the source's folder.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The modification time in microseconds since 1970-01-01T00:00:00Z.
    pub modified_us: i64,
    /// The version tag of the store, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The clock of the epoch: microseconds since 1970-01-01T00:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_us: Option<i64>,
    /// Whether it was passed over, because it was there at the first start.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skipped: bool,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl LedgerLine {
    /// The line of a file that an epoch read.
    pub fn read(epoch: Epoch, clock_us: i64, file: &FileEntry) -> Self {
        Self {
            epoch,
            path: file.path.clone(),
            size: file.size,
            modified_us: file.modified_us,
            etag: file.etag.clone(),
            taken_us: Some(clock_us),
            skipped: false,
        }
    }

    /// The line of a file that was there at the first start.
    pub(super) fn skipped(file: &FileEntry, clock_us: i64) -> Self {
        Self { skipped: true, ..Self::read(Epoch::FIRST, clock_us, file) }
    }

    /// The version of the file.
    pub(super) fn entry(&self) -> FileEntry {
        FileEntry { path: self.path.clone(), size: self.size, modified_us: self.modified_us, etag: self.etag.clone() }
    }
}

/// Files of a modification time before this one were dropped.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DroppedLine {
    dropped_before_us: i64,
}

/// A line of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A file.
    File(LedgerLine),
    /// All files of a modification time before this one, in microseconds, are
    /// forgotten.
    DroppedBefore(i64),
}

/// Writes a segment.
pub(super) struct SegmentWriter {
    encoder: GzEncoder<Vec<u8>>,
    entries: u64,
}

impl SegmentWriter {
    pub(super) fn new() -> Self {
        Self { encoder: GzEncoder::new(Vec::new(), Compression::fast()), entries: 0 }
    }

    /// # Errors
    /// Bug if it cannot be encoded.
    pub(super) fn push(&mut self, line: &LedgerLine) -> Result<()> {
        self.entries += 1;
        self.write(line)
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let failed = |error: std::io::Error| Error::bug("cannot encode a ledger segment").because(error);
        serde_json::to_writer(&mut self.encoder, line).map_err(|error| failed(error.into()))?;
        self.encoder.write_all(b"\n").map_err(failed)
    }

    /// The segment and how many files it has.
    ///
    /// # Errors
    /// Bug if it cannot be encoded.
    pub(super) fn finish(self) -> Result<(Bytes, u64)> {
        let bytes = self.encoder.finish();
        let bytes = bytes.map_err(|error| Error::bug("cannot encode a ledger segment").because(error))?;
        Ok((bytes.into(), self.entries))
    }
}

/// A segment of the files that these epochs read, and how many it has.
///
/// # Errors
/// Bug if an epoch read partitions, or a line cannot be encoded.
pub(super) fn write_segment(ranges: &[EpochRange]) -> Result<(Bytes, u64)> {
    let mut writer = SegmentWriter::new();
    for EpochRange { epoch, clock_us, range } in ranges {
        let files = range
            .files()
            .ok_or_else(|| Error::bug(format!("epoch {epoch} read partitions, but the source is files")))?;
        for file in files {
            writer.push(&LedgerLine::read(*epoch, *clock_us, file))?;
        }
    }
    writer.finish()
}

/// One segment of several, oldest first, without what may be dropped.
///
/// # Errors
/// Corrupt if a segment is damaged.
pub(super) fn merge_segments(segments: &[Bytes], expiry: &Expiry) -> Result<(Bytes, u64)> {
    let mut writer = SegmentWriter::new();
    writer.write(&DroppedLine { dropped_before_us: expiry.modified_before_us })?;
    for segment in segments {
        for line in read_lines(segment) {
            match line? {
                Line::File(line) if expiry.drops(line.modified_us, line.taken_us, line.skipped) => {}
                Line::File(line) => writer.push(&line)?,
                Line::DroppedBefore(dropped_before_us) => writer.write(&DroppedLine { dropped_before_us })?,
            }
        }
    }
    writer.finish()
}

/// The files of a segment, in the order of their epochs, without holding more
/// than one of them. Ends after an error.
///
/// # Errors
/// Corrupt if the segment is damaged.
pub fn read_segment(segment: &[u8]) -> impl Iterator<Item = Result<LedgerLine>> {
    read_lines(segment).filter_map(|line| match line {
        Ok(Line::File(line)) => Some(Ok(line)),
        Ok(Line::DroppedBefore(_)) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The lines of a segment. Ends after an error.
pub(super) fn read_lines(segment: &[u8]) -> impl Iterator<Item = Result<Line>> {
    // A decoder takes empty input for an empty member.
    let mut lines = (!segment.is_empty()).then(|| BufReader::new(MultiGzDecoder::new(segment)));
    let mut number = 0_u64;
    std::iter::from_fn(move || {
        number += 1;
        let line = read_line(lines.as_mut()?, number).transpose();
        if !matches!(line, Some(Ok(_))) {
            lines = None;
        }
        line
    })
}

fn read_line(lines: &mut impl BufRead, number: u64) -> Result<Option<Line>> {
    let damaged = || Error::corrupt(format!("a ledger segment of the file source is damaged at line {number}"));
    let mut line = Vec::new();
    let read = lines.take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
    if read.map_err(|error| damaged().because(error))? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(damaged());
    }
    match serde_json::from_slice(&line) {
        Ok(file) => Ok(Some(Line::File(file))),
        Err(error) => match serde_json::from_slice::<DroppedLine>(&line) {
            Ok(dropped) => Ok(Some(Line::DroppedBefore(dropped.dropped_before_us))),
            Err(_) => Err(damaged().because(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Ledger;
    use super::*;
    use crate::model::SourceRange;

    fn entry(path: &str) -> FileEntry {
        FileEntry {
            path: path.to_owned(),
            size: 3,
            modified_us: -5,
            etag: path.starts_with('e').then(|| "t".to_owned()),
        }
    }

    fn segment(epoch: u64, paths: &[&str]) -> Bytes {
        let files = paths.iter().map(|path| entry(path)).collect();
        let range = SourceRange::Files(files);
        write_segment(&[EpochRange { epoch: Epoch::new(epoch).unwrap(), clock_us: 7, range }]).unwrap().0
    }

    #[test]
    fn segments_put_together_are_a_segment() {
        let both = [segment(1, &["a", "e/b"]), segment(2, &["c \"ü\n"]), segment(3, &[])].concat();
        let mut ledger = Ledger::default();
        ledger.restore(&both, &Expiry::default()).unwrap();
        assert_eq!(ledger.len(), 3);
        assert!(["a", "e/b", "c \"ü\n"].iter().all(|path| ledger.contains(path)));
        assert!(!ledger.contains("b"));
        let lines: Vec<LedgerLine> = read_segment(&both).collect::<Result<_>>().unwrap();
        assert_eq!(lines[2], LedgerLine::read(Epoch::new(2).unwrap(), 7, &entry("c \"ü\n")));
        assert_eq!(lines.len(), 3);
        assert_eq!(read_segment(b"").count(), 0);
    }

    #[test]
    fn lines_of_an_older_form_are_read() {
        let mut writer = SegmentWriter::new();
        writer.write(&serde_json::json!({ "epoch": 3, "path": "a", "size": 1, "modified_us": 2 })).unwrap();
        let (bytes, _) = writer.finish().unwrap();
        let line = read_segment(&bytes).next().unwrap().unwrap();
        assert_eq!((line.taken_us, line.skipped, line.epoch.number()), (None, false, 3));
    }

    #[test]
    fn merging_drops_what_is_old_and_remembers_how_old() {
        let file = |path: &str, modified_us| FileEntry { modified_us, ..entry(path) };
        let files = vec![file("old", 1_000_000), file("young", 9_000_000)];
        let range = SourceRange::Files(files);
        let first = write_segment(&[EpochRange { epoch: Epoch::FIRST, clock_us: 0, range }]).unwrap().0;
        let expiry = Expiry { modified_before_us: 5_000_000, ..Expiry::default() };
        let (merged, entries) = merge_segments(&[first, segment(1, &[])], &expiry).unwrap();
        assert_eq!(entries, 1);
        let mut ledger = Ledger::default();
        ledger.restore(&merged, &Expiry::default()).unwrap();
        assert!(ledger.contains("young") && !ledger.contains("old"));
        assert_eq!(ledger.dropped_before_us(), Some(5_000_000));
    }

    #[test]
    fn damage_is_an_error_that_names_the_ledger() {
        let whole = segment(1, &["a", "b"]);
        let gzip = |text: &str| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let mut flipped = whole.to_vec();
        flipped[20] ^= 0x10;
        let cases = [
            whole[..whole.len() - 1].to_vec(),
            whole[..12].to_vec(),
            flipped,
            b"nonsense".to_vec(),
            gzip("{}\n"),
            gzip("{\"epoch\":0"),
        ];
        for damaged in cases {
            let error = Ledger::default().restore(&damaged, &Expiry::default()).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains("ledger segment"), "{error}");
        }
    }

    /// Some files or Corrupt.
    #[track_caller]
    fn check_total(bytes: &[u8]) {
        if let Err(error) = Ledger::default().restore(bytes, &Expiry::default()) {
            assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_segment_or_corrupt(bytes in prop::collection::vec(any::<u8>(), 0..300), more in 0_usize..40) {
            check_total(&bytes);
            let mut damaged = segment(1, &["a", "e/b"]).to_vec();
            damaged.splice(more.min(damaged.len()).., bytes);
            check_total(&damaged);
        }

        #[test]
        fn any_lines_are_files_or_corrupt(lines in "(\\{\"(epoch|path|size|modified_us|dropped_before_us)\":[0-9\"a{}-]{0,22},?\\}?\n?){0,9}") {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(lines.as_bytes()).unwrap();
            check_total(&encoder.finish().unwrap());
        }
    }
}
