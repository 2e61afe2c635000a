//! The words of weir: epochs, offsets, positions, identities.
//!
//! Plain values without I/O, shared by all rooms. Whatever is part of a durable
//! record derives its JSON form here, so that there is one spelling of it.

mod digest;
mod epoch;
mod event_time;
mod plugin;
mod range;
mod staged;

pub use digest::Digest;
pub use epoch::{AttemptId, Epoch, Lane};
pub use event_time::{EventTime, EventTimeState, Span, StepIdentity, StepState};
pub use plugin::{PluginIdentity, ReplacedVersion, StepVersion};
pub use range::{EpochRange, FileEntry, Offset, OffsetRange, PartitionId, SourceRange};
pub use staged::{Segment, StagedFile};
