//! What an epoch staged before it was prepared.

use serde::{Deserialize, Serialize};

use super::{Digest, Epoch};

/// A Parquet file in a table's folder that no Delta commit names yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedFile {
    /// The Delta `add` action for it.
    pub add: serde_json::Value,
    /// How many rows it holds.
    pub rows: u64,
    /// Its size.
    pub size_bytes: u64,
}

/// A durable part of a step's state, beside the epoch records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The name of the object, below the lane's folder.
    pub name: String,
    /// The last epoch whose changes it holds.
    pub through: Epoch,
    /// How many entries it holds.
    pub entries: u64,
    /// Its size.
    pub size_bytes: u64,
    /// The digest of its bytes.
    pub sha256: Digest,
}
