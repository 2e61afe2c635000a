//! Which files were taken, in bounded memory and in durable segments.
//!
//! In memory a file is the first 128 bits of the SHA-256 of its path: two of a
//! million paths share them with a chance of about 10⁻²⁷. A segment is
//! gzip'ed (RFC 1952) JSON lines, one file a line; segments put one behind the
//! other are a segment again.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{BufRead, BufReader, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::{Epoch, FileEntry};
use crate::{Error, Result};

/// A longer line of a segment is damage; no path is that long.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// The files that were taken.
#[derive(Debug, Default)]
pub struct Ledger {
    paths: HashSet<u128, BuildHasherDefault<FirstBits>>,
}

impl Ledger {
    /// How many files were taken.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether no file was taken.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether the file at this path below the folder was taken.
    pub fn contains(&self, path: &str) -> bool {
        self.paths.contains(&hash(path))
    }

    /// Take the file at this path; says whether it was new.
    pub fn insert(&mut self, path: &str) -> bool {
        self.paths.insert(hash(path))
    }

    /// Take all files of a segment.
    ///
    /// # Errors
    /// Corrupt if the segment is damaged.
    pub fn restore(&mut self, segment: &[u8]) -> Result<()> {
        for line in read_segment(segment) {
            self.insert(&line?.path);
        }
        Ok(())
    }
}

/// One file in a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerLine {
    /// The epoch that read it.
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
}

impl LedgerLine {
    fn new(epoch: Epoch, file: &FileEntry) -> Self {
        Self { epoch, path: file.path.clone(), size: file.size, modified_us: file.modified_us, etag: file.etag.clone() }
    }
}

/// A segment of these files.
///
/// # Errors
/// Bug if it cannot be encoded.
pub(super) fn write_segment<'a>(files: impl Iterator<Item = (Epoch, &'a FileEntry)>) -> Result<Bytes> {
    let failed = |error: std::io::Error| Error::bug("cannot encode a ledger segment").because(error);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for (epoch, file) in files {
        serde_json::to_writer(&mut encoder, &LedgerLine::new(epoch, file)).map_err(|error| failed(error.into()))?;
        encoder.write_all(b"\n").map_err(failed)?;
    }
    Ok(encoder.finish().map_err(failed)?.into())
}

/// The files of a segment, in the order of their epochs, without holding more
/// than one of them. Ends after an error.
///
/// # Errors
/// Corrupt if the segment is damaged.
pub fn read_segment(segment: &[u8]) -> impl Iterator<Item = Result<LedgerLine>> {
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

fn read_line(lines: &mut impl BufRead, number: u64) -> Result<Option<LedgerLine>> {
    let damaged = || Error::corrupt(format!("a ledger segment of the file source is damaged at line {number}"));
    let mut line = Vec::new();
    let read = lines.take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
    if read.map_err(|error| damaged().because(error))? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(damaged());
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| damaged().because(error))
}

/// The entry of a path in a segment, or none if it does not hold it.
///
/// # Errors
/// Corrupt if the segment is damaged before the path.
pub fn find_in_segment(segment: &[u8], path: &str) -> Result<Option<LedgerLine>> {
    for line in read_segment(segment) {
        let line = line?;
        if line.path == path {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

fn hash(path: &str) -> u128 {
    let digest: [u8; 32] = Sha256::digest(path.as_bytes()).into();
    digest.first_chunk().map_or(0, |first| u128::from_le_bytes(*first))
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct FirstBits(u64);

impl Hasher for FirstBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = (key >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(path: &str) -> FileEntry {
        FileEntry {
            path: path.to_owned(),
            size: 3,
            modified_us: -5,
            etag: path.starts_with('e').then(|| "t".to_owned()),
        }
    }

    fn segment(epoch: u64, paths: &[&str]) -> Bytes {
        let files: Vec<FileEntry> = paths.iter().map(|path| entry(path)).collect();
        write_segment(files.iter().map(|file| (Epoch::new(epoch).unwrap(), file))).unwrap()
    }

    #[test]
    fn segments_put_together_are_a_segment() {
        let both = [segment(1, &["a", "e/b"]), segment(2, &["c \"ü\n"]), segment(3, &[])].concat();
        let mut ledger = Ledger::default();
        ledger.restore(&both).unwrap();
        assert_eq!(ledger.len(), 3);
        assert!(["a", "e/b", "c \"ü\n"].iter().all(|path| ledger.contains(path)));
        assert!(!ledger.contains("b"));
        assert!(!ledger.insert("a") && ledger.insert("d"));
        let found = find_in_segment(&both, "c \"ü\n").unwrap().unwrap();
        assert_eq!(found, LedgerLine::new(Epoch::new(2).unwrap(), &entry("c \"ü\n")));
        assert_eq!(find_in_segment(&both, "nowhere").unwrap(), None);
        assert_eq!(read_segment(b"").count(), 0);
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
            let error = Ledger::default().restore(&damaged).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains("ledger segment"), "{error}");
        }
    }

    /// Some files or Corrupt.
    #[track_caller]
    fn check_total(bytes: &[u8]) {
        if let Err(error) = Ledger::default().restore(bytes) {
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
        fn any_lines_are_files_or_corrupt(lines in "(\\{\"(epoch|path|size|modified_us)\":[0-9\"a{}-]{0,22},?\\}?\n?){0,9}") {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(lines.as_bytes()).unwrap();
            check_total(&encoder.finish().unwrap());
        }
    }

    #[test]
    fn a_million_files_fit() {
        let mut ledger = Ledger::default();
        for number in 0..1_000_000 {
            assert!(ledger.insert(&format!("readings/2025/part-{number}.json")));
        }
        // A slot is a key and a byte, and at most half of the slots are free.
        let bytes = ledger.paths.capacity() * 17 * 8 / 7;
        assert!(ledger.len() == 1_000_000 && bytes < 64 << 20, "{bytes}");
    }
}
