//! What happens to a source that it deals with by itself, for whoever watches.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::model::PartitionId;

/// No more is told of what was lost beyond so many bytes of text.
const MAX_DETAIL_BYTES: usize = 1000;

/// What kind of incident it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentKind {
    /// A connection broke, was silent or was closed, and another one is opened.
    Disconnected,
    /// The service asked to be left alone for a while.
    Throttled,
    /// The service did not accept a credential or a request; it is tried again.
    Refused,
    /// Messages came again and were left out.
    Repeated,
    /// Messages had expired before they were read.
    Lost,
    /// A partition is new.
    PartitionAdded,
    /// A file was gone when it was to be read, and was skipped.
    FileVanished,
    /// A file had changed when it was to be read, and was left for a later look.
    FileChanged,
    /// A file changed after it was read, and is not read again.
    FileOverwritten,
    /// A file that was read was moved or deleted.
    FileCleaned,
    /// A file that was read could not be moved or deleted; it is tried again.
    CleanUpFailed,
}

/// Something that happened and that the source has dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// What it was.
    pub kind: IncidentKind,
    /// The partition; none if it was about the source as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionId>,
    /// How often, or how many messages.
    pub count: u64,
    /// For people: the last one, or all that were lost.
    pub detail: String,
}

/// The incidents that nobody has been told of; one for each kind and partition.
#[derive(Debug, Default)]
pub struct Incidents(Mutex<BTreeMap<(IncidentKind, Option<PartitionId>), Incident>>);

impl Incidents {
    /// Note an incident, or so many of them.
    pub fn note(&self, kind: IncidentKind, partition: Option<&PartitionId>, count: u64, detail: impl Into<String>) {
        let mut incidents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || Incident { kind, partition: partition.cloned(), count: 0, detail: String::new() };
        let incident = incidents.entry((kind, partition.cloned())).or_insert_with(first);
        incident.count += count;
        let detail = detail.into();
        if kind == IncidentKind::Lost && !incident.detail.is_empty() {
            if incident.detail.len() < MAX_DETAIL_BYTES {
                incident.detail = format!("{}; {detail}", incident.detail);
            }
        } else {
            incident.detail = detail;
        }
    }

    /// All that was noted since the last time.
    pub fn take(&self) -> Vec<Incident> {
        let mut incidents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *incidents).into_values().collect()
    }
}
