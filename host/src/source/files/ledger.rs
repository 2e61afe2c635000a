//! Which files were taken, in bounded memory.
//!
//! A file is the first 96 bits of the SHA-256 of its path: two of ten million
//! paths share them with a chance of about 10⁻¹⁵. With them stand the version
//! that was taken, its modification time and when the epoch that read it was
//! committed: 28 bytes a file, and up to twice that for room.
//!
//! What was dropped for its age is never taken again, whatever the clock or the
//! settings say later: nothing older than the latest cut counts as new.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use sha2::{Digest as _, Sha256};

use super::segment::{Line, read_lines};
use crate::Result;
use crate::model::FileEntry;

/// What the ledger says of a file that was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// No version of it was taken.
    New,
    /// This very version was taken.
    Taken,
    /// Another version was taken.
    Changed,
}

/// What may be dropped from the ledger. Nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expiry {
    /// Files of an earlier modification time,
    pub(super) modified_before_us: i64,
    /// if they were taken before this, or passed over: what was taken later may
    /// still have to be cleaned up.
    pub(super) taken_before_us: i64,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { modified_before_us: i64::MIN, taken_before_us: i64::MAX }
    }
}

impl Expiry {
    /// Whether a file may be dropped.
    pub(super) fn drops(&self, modified_us: i64, taken_us: Option<i64>, skipped: bool) -> bool {
        modified_us < self.modified_before_us && (skipped || taken_us.is_none_or(|taken| taken < self.taken_before_us))
    }
}

/// The files that were taken.
#[derive(Debug, Default)]
pub struct Ledger {
    files: HashMap<Key, Taken, BuildHasherDefault<FirstBits>>,
    /// The latest cut: files of an earlier modification time may have been taken
    /// and forgotten.
    dropped_before_us: Option<i64>,
}

/// A path. Words of 32 bits, so that no room is lost to alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key([u32; 3]);

/// What is known of the version that was taken.
#[derive(Debug, Clone, Copy)]
struct Taken {
    version: [u32; 2],
    /// In seconds since 1970, rounded down.
    modified_s: u32,
    /// When the epoch that read it began, once it is committed; 0 until then, and
    /// for what was passed over.
    committed_s: u32,
}

impl Ledger {
    /// How many files were taken.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no file was taken.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether a version of the file at this path below the folder was taken.
    pub fn contains(&self, path: &str) -> bool {
        self.files.contains_key(&Key::of(path))
    }

    /// Files of an earlier modification time may have been taken and forgotten.
    pub(super) fn dropped_before_us(&self) -> Option<i64> {
        self.dropped_before_us
    }

    /// What is known of a file that was listed.
    pub(super) fn standing(&self, file: &FileEntry) -> Standing {
        match self.files.get(&Key::of(&file.path)) {
            None => Standing::New,
            Some(taken) if taken.version == version(file) => Standing::Taken,
            Some(_) => Standing::Changed,
        }
    }

    /// Whether this version was taken by an epoch that is committed and began
    /// before a time.
    pub(super) fn was_committed_before(&self, file: &FileEntry, time_us: i64) -> bool {
        self.files.get(&Key::of(&file.path)).is_some_and(|taken| {
            taken.version == version(file) && taken.committed_s > 0 && taken.committed_s <= seconds(time_us)
        })
    }

    /// Take this version of a file.
    pub fn take(&mut self, file: &FileEntry) {
        self.insert(file, 0);
    }

    /// The file is not taken after all.
    pub(super) fn forget(&mut self, path: &str) {
        self.files.remove(&Key::of(path));
    }

    /// The epoch that took this version is committed.
    pub(super) fn commit(&mut self, file: &FileEntry, clock_us: i64) {
        if let Some(taken) = self.files.get_mut(&Key::of(&file.path))
            && taken.version == version(file)
        {
            taken.committed_s = seconds(clock_us).max(1);
        }
    }

    /// Take all files of a segment of committed epochs, but those that may be
    /// dropped.
    ///
    /// # Errors
    /// Corrupt if the segment is damaged.
    pub(super) fn restore(&mut self, segment: &[u8], expiry: &Expiry) -> Result<()> {
        for line in read_lines(segment) {
            match line? {
                Line::File(line) if expiry.drops(line.modified_us, line.taken_us, line.skipped) => {
                    self.note_cut(expiry.modified_before_us);
                }
                Line::File(line) => {
                    let taken_us = line.taken_us.filter(|_| !line.skipped);
                    self.insert(&line.entry(), taken_us.map_or(0, |taken_us| seconds(taken_us).max(1)));
                }
                Line::DroppedBefore(time_us) => self.note_cut(time_us),
            }
        }
        Ok(())
    }

    /// Drop what may be dropped.
    pub(super) fn drop_expired(&mut self, expiry: &Expiry) {
        // Rounded down, so that a file of the same second stays.
        let (modified_s, taken_s) = (seconds(expiry.modified_before_us), seconds(expiry.taken_before_us));
        let before = self.files.len();
        self.files.retain(|_, taken| taken.modified_s >= modified_s || taken.committed_s >= taken_s);
        if self.files.len() < before {
            self.note_cut(expiry.modified_before_us);
            self.files.shrink_to(self.files.len() * 2);
        }
    }

    fn note_cut(&mut self, time_us: i64) {
        self.dropped_before_us = Some(self.dropped_before_us.map_or(time_us, |cut| cut.max(time_us)));
    }

    fn insert(&mut self, file: &FileEntry, committed_s: u32) {
        let taken = Taken { version: version(file), modified_s: seconds(file.modified_us), committed_s };
        self.files.insert(Key::of(&file.path), taken);
    }
}

impl Key {
    fn of(path: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(path.as_bytes()).into();
        let word = |at: usize| u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
        Self([word(0), word(4), word(8)])
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self([low, high, _]) = self;
        state.write_u64(u64::from(*high) << 32 | u64::from(*low));
    }
}

/// Which version of its path a file is: the tag of the store where it has one,
/// else size and modification time.
pub(super) fn version_of(file: &FileEntry) -> u64 {
    // Its keys are fixed, and nothing durable depends on it.
    let mut hasher = DefaultHasher::new();
    match &file.etag {
        Some(etag) => etag.hash(&mut hasher),
        None => (file.size, file.modified_us).hash(&mut hasher),
    }
    hasher.finish()
}

fn version(file: &FileEntry) -> [u32; 2] {
    let version = version_of(file);
    [version as u32, (version >> 32) as u32]
}

/// Seconds since 1970, rounded down; times before count as 1970, times that do
/// not fit as the last one that does.
fn seconds(time_us: i64) -> u32 {
    u32::try_from(time_us.max(0) / 1_000_000).unwrap_or(u32::MAX)
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

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn file(path: &str, modified_us: i64) -> FileEntry {
        FileEntry { path: path.to_owned(), size: 3, modified_us, etag: None }
    }

    #[test]
    fn another_version_of_a_path_has_changed() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.standing(&file("a", 1)), Standing::New);
        ledger.take(&file("a", 1));
        assert_eq!(ledger.standing(&file("a", 1)), Standing::Taken);
        assert_eq!(ledger.standing(&file("a", 2)), Standing::Changed);
        let tagged = |tag: &str, modified_us| FileEntry { etag: Some(tag.to_owned()), ..file("b", modified_us) };
        ledger.take(&tagged("x", 1));
        assert_eq!(ledger.standing(&tagged("x", 2)), Standing::Taken, "the tag decides where there is one");
        assert_eq!(ledger.standing(&tagged("y", 1)), Standing::Changed);
        ledger.forget("a");
        assert_eq!(ledger.standing(&file("a", 1)), Standing::New);
    }

    #[test]
    fn only_what_is_committed_is_ever_cleaned() {
        let mut ledger = Ledger::default();
        let later = 100 * SECOND;
        ledger.take(&file("a", 1));
        assert!(!ledger.was_committed_before(&file("a", 1), later));
        ledger.commit(&file("a", 2), 50 * SECOND);
        assert!(!ledger.was_committed_before(&file("a", 1), later), "that was another version");
        ledger.commit(&file("a", 1), 50 * SECOND);
        assert!(ledger.was_committed_before(&file("a", 1), later));
        assert!(!ledger.was_committed_before(&file("a", 1), 49 * SECOND));
        assert!(!ledger.was_committed_before(&file("a", 2), later), "what is there now was not read");
    }

    #[test]
    fn old_files_are_dropped_unless_they_wait_to_be_cleaned() {
        let mut ledger = Ledger::default();
        for (path, modified_us, committed_us) in [("a", 10, 20), ("b", 10, 90), ("c", 60, 61)] {
            ledger.take(&file(path, modified_us * SECOND));
            ledger.commit(&file(path, modified_us * SECOND), committed_us * SECOND);
        }
        let expiry = Expiry { modified_before_us: 50 * SECOND, taken_before_us: 80 * SECOND };
        ledger.drop_expired(&expiry);
        assert!(!ledger.contains("a") && ledger.contains("b") && ledger.contains("c"));
        assert_eq!(ledger.dropped_before_us(), Some(50 * SECOND));
        // The clock goes backwards.
        ledger.drop_expired(&Expiry { modified_before_us: 20 * SECOND, ..Expiry::default() });
        assert_eq!(ledger.dropped_before_us(), Some(50 * SECOND));
        assert!(expiry.drops(0, Some(79 * SECOND), false) && !expiry.drops(0, Some(80 * SECOND), false));
        assert!(expiry.drops(0, Some(99 * SECOND), true) && !Expiry::default().drops(0, None, false));
    }

    #[test]
    fn a_million_files_fit() {
        let mut ledger = Ledger::default();
        for number in 0..1_000_000 {
            ledger.take(&file(&format!("readings/2025/part-{number}.json"), number));
        }
        // A slot is an entry and a byte, and at most half of the slots are free.
        let slot = size_of::<(Key, Taken)>() + 1;
        let bytes = ledger.files.capacity() * slot * 8 / 7;
        assert!(ledger.len() == 1_000_000 && slot == 29 && bytes < 64 << 20, "{bytes}");
    }
}
