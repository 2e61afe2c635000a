//! What the pipeline says about an event hub that it reads.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event_hubs::{HubSettings, Position};
use crate::model::PartitionId;

/// An event hub and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHubsSettings {
    /// The event hub and the way to it.
    pub hub: HubSettings,
    /// The consumer group; each pipeline should have its own.
    pub consumer_group: String,
    /// Where a partition begins that no checkpoint knows.
    pub start: StartAt,
    /// Where these partitions begin instead.
    pub partition_starts: BTreeMap<PartitionId, StartAt>,
    /// The level with which this pipeline holds its partitions; none shares them.
    pub owner_level: Option<i64>,
    /// How many messages of a partition may be under way, at most; fewer where
    /// messages are large.
    pub prefetch: u32,
    /// What happens when messages have expired before they were read.
    pub on_data_loss: OnDataLoss,
    /// How long an answer may take, and for how long a partition that has unread
    /// messages may be silent; not zero.
    pub timeout: Duration,
    /// For how long the service may be out of reach before the run gives up.
    pub max_outage: Duration,
    /// How many bytes may wait to be read, over all partitions.
    pub buffer_bytes: usize,
}

/// Where a partition begins that no checkpoint knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAt {
    /// Behind the last message of this moment.
    Latest,
    /// There.
    At(Position),
}

/// What happens when messages have expired before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDataLoss {
    /// The run stops and names them.
    Fail,
    /// It goes on without them, and counts them.
    Continue,
}

impl EventHubsSettings {
    /// Where a partition begins that no checkpoint knows.
    pub(super) fn start_of(&self, partition: &PartitionId) -> &StartAt {
        self.partition_starts.get(partition).unwrap_or(&self.start)
    }
}
