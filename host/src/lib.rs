//! weir: a WebAssembly plugin host for streaming pipelines into Delta Lake.
//!
//! The host owns ingestion, event time, checkpoints and exactly-once commits;
//! sandboxed components own parsing, aggregation and rules. `ARCHITECTURE.md`
//! has the map of the rooms and the rules between them.

pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod env;
mod error;
pub mod event_hubs;
pub mod event_time;
pub mod model;
pub mod pipeline;
pub mod plugin;
pub mod protocol;
pub mod schema;
pub mod serve;
pub mod sink;
pub mod source;
pub mod workbench;

pub use error::{Error, ErrorKind, Result};
