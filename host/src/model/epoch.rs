//! The numbering of micro-batches, and who attempts them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a micro-batch, from 0, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Epoch(u64);

impl TryFrom<u64> for Epoch {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        Self::new(number).ok_or_else(|| format!("{number} is not an epoch"))
    }
}

impl From<Epoch> for u64 {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

impl Epoch {
    /// The first epoch of a lane.
    pub const FIRST: Self = Self(0);

    /// The epoch with this number, if a Delta transaction can carry it.
    pub fn new(number: u64) -> Option<Self> {
        (number < i64::MAX.unsigned_abs()).then_some(Self(number))
    }

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The number as the version of a Delta application transaction.
    pub fn transaction_version(self) -> i64 {
        i64::try_from(self.0).expect("invariant: an epoch fits into a transaction version")
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of source partitions that share one sequence of epochs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lane(String);

impl Lane {
    /// The lane of a pipeline with one sequence over all its partitions.
    pub fn single() -> Self {
        Self("main".to_owned())
    }

    /// The name, fit for a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One attempt of one host at one epoch; tells an own record from that of a rival.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(String);

impl AttemptId {
    /// An attempt with this unique name, which must be fit for a path.
    pub fn new(unique: impl Into<String>) -> Self {
        Self(unique.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
