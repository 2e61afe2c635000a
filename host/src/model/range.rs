//! What an epoch reads: offsets of partitions, or files.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Epoch;

/// A partition of a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub String);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The position of a message in its partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// Messages of one partition: `start` inclusive, `end` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffsetRange {
    /// The first message.
    pub start: Offset,
    /// The message behind the last one.
    pub end: Offset,
}

impl OffsetRange {
    /// How many offsets the range spans.
    pub fn len(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether the range spans nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One version of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The path below the source's folder, with `/` between its parts.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The modification time in microseconds since 1970-01-01T00:00:00Z.
    pub modified_us: i64,
    /// The version tag of the store, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// What one epoch reads from its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceRange {
    /// Whole files, in reading order.
    Files(Vec<FileEntry>),
    /// A range of each partition.
    Offsets(BTreeMap<PartitionId, OffsetRange>),
}

impl SourceRange {
    /// The files, if it is files.
    pub fn files(&self) -> Option<&[FileEntry]> {
        match self {
            Self::Files(files) => Some(files),
            Self::Offsets(_) => None,
        }
    }

    /// The range of each partition, if it is partitions.
    pub fn offsets(&self) -> Option<&BTreeMap<PartitionId, OffsetRange>> {
        match self {
            Self::Offsets(offsets) => Some(offsets),
            Self::Files(_) => None,
        }
    }

    /// The bytes of the files; none where there are no files.
    pub fn file_bytes(&self) -> Option<u64> {
        self.files().map(|files| files.iter().map(|file| file.size).sum())
    }
}

/// What a prepared epoch read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRange {
    /// The epoch.
    pub epoch: Epoch,
    /// The epoch's clock: microseconds since 1970-01-01T00:00:00Z.
    pub clock_us: i64,
    /// What it read.
    pub range: SourceRange,
}
