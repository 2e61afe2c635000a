//! What the durable records say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::codec::Record;
use crate::model::{
    AttemptId, Epoch, EventTimeState, Lane, PluginIdentity, Segment, SourceRange, StagedFile, StepState, StepVersion,
};

/// Whose checkpoint a folder is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineRecord {
    /// The identifier of the pipeline; part of every Delta transaction's name.
    pub id: String,
    /// The name in the pipeline file.
    pub name: String,
}

impl Record for PipelineRecord {
    const KIND: &'static str = "pipeline";
    const VERSION: u32 = 1;
}

/// What one prepared epoch is made of. From it alone, the epoch can be committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// The pipeline.
    pub pipeline: String,
    /// The lane.
    pub lane: Lane,
    /// The epoch.
    pub epoch: Epoch,
    /// The attempt that prepared it.
    pub attempt: AttemptId,
    /// The epoch's clock: microseconds since 1970-01-01T00:00:00Z.
    pub clock_us: i64,
    /// What it read, and where the source stands behind it.
    pub source: SourceState,
    /// The staged files of each table that gets rows, by the table's name.
    pub tables: BTreeMap<String, StagedTable>,
    /// The plugins that took part.
    pub plugins: Vec<PluginIdentity>,
    /// Since when each of them has its step, and what it replaced, by step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, StepVersion>,
    /// The version of the source's schema, if weir keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u64>,
    /// Where event time stands, if the pipeline has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTimeState>,
    /// Where the steps that keep state stand, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<String, StepState>,
    /// The alerts that somebody is still to be notified of, one segment an epoch:
    /// those of this epoch last, those of earlier ones that wait before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notifications: Vec<Segment>,
}

impl Record for EpochRecord {
    const KIND: &'static str = "epoch";
    const VERSION: u32 = 1;
}

/// What an epoch read, and where its source stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceState {
    /// Which source it is; positions of another one mean nothing.
    pub identity: String,
    /// What the epoch read.
    pub range: SourceRange,
    /// The segments of the source's state, oldest first. What came after the
    /// last of them is in the ranges of the epochs that followed.
    pub segments: Vec<Segment>,
}

impl SourceState {
    /// The first epoch whose range is in no segment.
    pub fn first_unsegmented(&self) -> Epoch {
        self.segments.last().map_or(Epoch::FIRST, |segment| segment.through.next())
    }
}

impl EpochRecord {
    /// All segments that a recovery from this record reads.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        let steps = self.steps.values().flat_map(|step| &step.segments);
        self.source.segments.iter().chain(steps).chain(&self.notifications)
    }

    /// The first epoch whose record a recovery from this one needs.
    pub fn first_needed(&self) -> Epoch {
        match self.source.range {
            SourceRange::Offsets(_) => self.epoch,
            SourceRange::Files(_) => self.source.first_unsegmented().min(self.epoch),
        }
    }
}

/// What an epoch appends to one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedTable {
    /// The location of the table, so that it is not committed elsewhere.
    pub location: String,
    /// The staged files.
    pub files: Vec<StagedFile>,
    /// The Delta schema of the files, if the table may lack columns of it: they are
    /// added in the commit of the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
}

/// A version of the schema that weir keeps for a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRecord {
    /// Which version it is; the first one is 0.
    pub version: u64,
    /// When it came to be: microseconds since 1970-01-01T00:00:00Z.
    pub created_us: i64,
    /// Each column as `name type`.
    pub columns: Vec<String>,
    /// The columns that the folders of files name, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_columns: Vec<String>,
}

impl Record for SchemaRecord {
    const KIND: &'static str = "schema";
    const VERSION: u32 = 1;
}
