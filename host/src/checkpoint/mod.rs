//! Durable records of the epoch protocol: what was prepared, in which order.
//!
//! Layout, below the checkpoint folder; numbers have twenty digits, so that
//! names sort like numbers:
//!
//! ```text
//! pipeline.json                      whose checkpoint this is
//! main/epochs/00000000000000000042.json   one record a prepared epoch of a lane
//! main/state/source/…                state segments that records name
//! main/schema/00000000000000000003.json   a version of the source's schema
//! plugins/<sha256>.wasm              components that have, or had, a step
//! main/state/notify/…                alerts that wait to be notified
//! ```
//!
//! Invariants:
//! - a record is put if absent, once, and never changed;
//! - the newest version of a schema counts, whether an epoch has used it or not;
//! - the newest record names everything that a recovery needs, or older records
//!   that clean-up keeps for that reason;
//! - what is damaged, or of another pipeline, is Corrupt and names the object.
//!
//! The room knows stores and records; it does not know what a source, a table or
//! a plugin does with them.

mod codec;
mod record;
mod store;
#[cfg(test)]
mod tests;

pub use record::{EpochRecord, PipelineRecord, SchemaRecord, SourceState, StagedTable};
pub use store::{Checkpoint, PutSchema};
