//! Sources: where messages come from.
//!
//! A source plans ranges and reads them as chunks. It knows positions, not
//! epochs' fate: the pipeline tells it at the start which ranges are prepared
//! (`restore`), and from then on every planned range counts as taken. A source
//! never judges what a message means, and never waits for a sink except through
//! the bounded queue that it fills.
//!
//! Invariants:
//! - reading the same range again gives the same messages in the same order, or
//!   fails, or says message by message what can no longer be read;
//! - a chunk is never larger than its bound, except for a single message;
//! - nothing is dropped: what cannot become a message is an [`Unreadable`].

pub mod event_hubs;
pub mod files;
pub mod generator;
mod incidents;
mod queue;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

pub use incidents::{Incident, IncidentKind, Incidents};
pub use queue::{ChunkSender, Unwanted, Waited};

use crate::Result;
use crate::model::{Epoch, EpochRange, PartitionId, SourceRange};
use crate::schema::SampleBounds;

/// Messages that travel together.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The bodies, one behind the other.
    pub payload: Bytes,
    /// Message i is `payload[offsets[i]..offsets[i + 1]]`; one more than there
    /// are messages, starts at 0.
    pub offsets: Vec<i32>,
    /// The message fields that the reader asked for, in that order; one row for
    /// each message.
    pub fields: RecordBatch,
    /// Where the messages came from.
    pub places: Vec<Place>,
    /// What could not become a message.
    pub unreadable: Vec<Unreadable>,
    /// The messages as rows, in the types of the plugin contract, where the source
    /// has columns; bodies are empty then.
    pub rows: Option<RecordBatch>,
}

impl Chunk {
    /// The number of messages.
    pub fn messages(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Which of the places a message came from.
    pub fn place_index(&self, message: usize) -> usize {
        self.places.partition_point(|place| place.first_message <= message).saturating_sub(1)
    }

    /// Where a message came from: the name of its place, and the position of its
    /// first byte (files) or its offset (partitions) there.
    pub fn place_of(&self, message: usize) -> (&str, u64) {
        let Some(place) = self.places.get(self.place_index(message)) else { return ("", 0) };
        let within = message.saturating_sub(place.first_message);
        let position = match &place.positions {
            Positions::Bytes { first } => {
                let at = |index: usize| u64::try_from(self.offsets.get(index).copied().unwrap_or(0)).unwrap_or(0);
                first + at(message) - at(place.first_message)
            }
            Positions::Each(positions) => positions.get(within).copied().unwrap_or(0),
            Positions::Consecutive { first } => first + within as u64,
        };
        (&place.name, position)
    }
}

/// A run of messages of a chunk that came from one file or partition.
#[derive(Debug, Clone)]
pub struct Place {
    /// The first message of the run.
    pub first_message: usize,
    /// The path of the file, or the name of the partition.
    pub name: std::sync::Arc<str>,
    /// Where the messages lie in it.
    pub positions: Positions,
}

/// Where the messages of a run lie in their file or partition.
#[derive(Debug, Clone)]
pub enum Positions {
    /// Back to back in a file, from the byte `first` on.
    Bytes {
        /// The position of the first byte of the run.
        first: u64,
    },
    /// One position a message: the byte that it starts at.
    Each(Vec<u64>),
    /// Consecutive offsets of a partition, from `first` on.
    Consecutive {
        /// The offset of the first message of the run.
        first: u64,
    },
}

/// Input that cannot become a message; it goes to the dead letters.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// The path of the file, or the name of the partition.
    pub place: String,
    /// The position of its first byte (files) or its offset (partitions).
    pub position: u64,
    /// Why, for people.
    pub reason: String,
    /// The bytes, as far as they could be had.
    pub raw: Bytes,
}

/// Bounds on what one epoch takes from its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochBounds {
    /// At most so many files; hard.
    pub max_files: usize,
    /// About so many bytes; soft, at least one file or message goes through.
    pub max_bytes: u64,
    /// At most so many events.
    pub max_events: u64,
}

/// Bounds on chunks and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkBounds {
    /// A chunk is closed when it holds so many bytes.
    pub chunk_bytes: usize,
    /// A longer message is unreadable.
    pub max_message_bytes: usize,
}

/// Where messages come from.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it is, for people and progress records.
    fn description(&self) -> String;

    /// What its positions refer to: another identity, another past.
    fn identity(&self) -> String;

    /// All message fields that it can deliver, in the types of the plugin
    /// contract.
    fn message_fields(&self) -> SchemaRef;

    /// Choose the message fields that chunks bring, in this order; none if this
    /// is never called. Comes before the first range is planned.
    ///
    /// # Errors
    /// Config if there is no field of a name.
    fn select_fields(&mut self, names: &[String]) -> Result<()>;

    /// Take over the prepared past: state segments, oldest first, and behind
    /// them the ranges of prepared epochs that no segment holds yet. Forgets
    /// what was planned.
    ///
    /// # Errors
    /// Corrupt if a segment or range is not of this source.
    fn restore(&mut self, segments: &[Bytes], ranges: &[EpochRange]) -> Result<()>;

    /// A state segment for these ranges, and how many entries it has; none if
    /// the latest range says everything about the position.
    ///
    /// # Errors
    /// Bug if a range is not of this source.
    fn segment(&self, ranges: &[EpochRange]) -> Result<Option<(Bytes, u64)>>;

    /// Whether the next epoch that is prepared must bring a state segment, because
    /// the source knows what no range says.
    fn has_unrecorded(&self) -> bool {
        false
    }

    /// One segment of several, oldest first, and how many entries it has; all of
    /// them together have `entries`.
    ///
    /// # Errors
    /// Corrupt if a segment is damaged.
    fn merge(&self, segments: &[Bytes], entries: u64) -> Result<(Bytes, u64)> {
        Ok((segments.concat().into(), entries))
    }

    /// A range to infer a schema from, whatever was read before: the oldest that is
    /// there, within these bounds; none if there is nothing, or nothing to infer.
    ///
    /// # Errors
    /// Unavailable if the source cannot be asked.
    async fn sample(&mut self, _bounds: SampleBounds) -> Result<Option<SourceRange>> {
        Ok(None)
    }

    /// Fix the end of a bounded run at what is there now; `plan` gives nothing
    /// beyond it.
    ///
    /// # Errors
    /// Unavailable if the source cannot be asked.
    async fn seal(&mut self) -> Result<()>;

    /// The next range behind everything planned so far, or none if there is
    /// nothing now.
    ///
    /// # Errors
    /// Unavailable if the source cannot be asked, Data if messages have expired.
    async fn plan(&mut self, bounds: EpochBounds) -> Result<Option<SourceRange>>;

    /// About how many bytes are known to be there and are not planned yet; none if
    /// that is not known, as with a stream that goes on.
    fn backlog_bytes(&self) -> Option<u64> {
        None
    }

    /// A range that reads nothing and stands where everything planned ends: for an
    /// epoch that only time has made due.
    fn nothing(&self) -> SourceRange;

    /// Whether the places of its messages are partitions with a time of their
    /// own; else all of it is one.
    fn has_partitions(&self) -> bool {
        false
    }

    /// Whether messages are known to be there that are not planned yet.
    fn has_unread(&self, partition: &PartitionId) -> bool;

    /// Wait until `plan` may have something; may return early. Cancel-safe.
    async fn changed(&mut self);

    /// Read a planned range and deliver it, each file or partition in order, with
    /// the message fields chosen. Stops early, without an error, when the receiver
    /// is gone.
    ///
    /// # Errors
    /// Unavailable if the source fails; Data if messages have expired; Fenced if
    /// somebody else reads what only one may read.
    async fn read(&self, range: &SourceRange, out: ChunkSender) -> Result<()>;

    /// What the epoch of a range that was just read counts as having taken: the
    /// range without what turned out not to be there, which a later look may find.
    fn settle(&mut self, range: SourceRange) -> SourceRange {
        range
    }

    /// An epoch is committed in all tables: what it read is not needed any more.
    fn committed(&mut self, _epoch: Epoch, _clock_us: i64, _range: &SourceRange) {}

    /// The run ends well: do what may be done behind commits and is not done yet.
    /// Cancel-safe.
    async fn finish(&mut self) {}

    /// What happened to it since it was last asked, and is dealt with.
    fn take_incidents(&self) -> Vec<Incident> {
        Vec::new()
    }
}
