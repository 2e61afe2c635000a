//! Event time: when something happened, by its own account.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{PartitionId, Segment};

/// An instant in microseconds since 1970-01-01T00:00:00Z, before 1970 too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

/// A length of event time in microseconds; may be negative where that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub i64);

impl Span {
    /// The span of a duration, as far as 64 bits go.
    pub fn of(duration: std::time::Duration) -> Self {
        Self(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let duration = std::time::Duration::from_micros(self.0.unsigned_abs());
        write!(f, "{sign}{}", humantime::format_duration(duration))
    }
}

/// Where event time stands behind an epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventTimeState {
    /// The watermark; none until a row moves it.
    pub watermark: Option<EventTime>,
    /// The greatest event time of each partition that had one.
    pub partitions: BTreeMap<PartitionId, EventTime>,
}

/// What a step that keeps state is, so that its state is not read as another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepIdentity {
    /// What must stay as it is, by name: the key columns, the window.
    pub shape: BTreeMap<String, String>,
    /// The name of the plugin, where a plugin keeps the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The version of its state.
    #[serde(default)]
    pub state_version: u32,
}

/// Where a step that keeps state stands behind an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepState {
    /// Which step it is.
    pub identity: StepIdentity,
    /// The segments of its state, oldest first: a later entry for a group
    /// replaces an earlier one.
    pub segments: Vec<Segment>,
}
