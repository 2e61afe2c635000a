//! What the rest of weir may rely on: a pipeline without anything left to check
//! that the file alone can tell.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

pub use super::raw::{Compression, OnError};
use crate::env::Location;
use crate::model::Digest;
use crate::plugin::Limits;
use crate::source::files::FilesSettings;
use crate::source::generator::GeneratorSettings;
use crate::source::{ChunkBounds, EpochBounds};

/// A pipeline, as its file describes it.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name, for people and commit metadata; not empty.
    pub name: String,
    /// The folder of the durable state; not inside the folder of the source.
    pub checkpoint: Location,
    /// When epochs start.
    pub trigger: Trigger,
    /// What one epoch takes at most.
    pub epoch_bounds: EpochBounds,
    /// How large chunks and messages are; a chunk is no larger than the largest
    /// message, and both together have 32-bit offsets.
    pub chunk_bounds: ChunkBounds,
    /// Threads for plugins and Parquet; at least one.
    pub threads: usize,
    /// What happens to a message that cannot be processed.
    pub on_error: OnError,
    /// The share of messages that may become dead letters, 0 to 1.
    pub max_dead_letter_ratio: f64,
    /// Where messages come from.
    pub source: SourceConfig,
    /// What turns messages into rows.
    pub parser: PluginConfig,
    /// What rows go through, in this order; their steps are unique.
    pub transforms: Vec<PluginConfig>,
    /// Where rows go, by name; at least one, none inside another.
    pub tables: Vec<TableConfig>,
    /// Where dead letters go.
    pub dead_letters: Location,
}

/// When epochs start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Take what is there at the start, in bounded epochs, and stop.
    AvailableNow,
    /// At most one epoch in each interval, which is not zero.
    Interval(Duration),
    /// The next epoch as soon as there is data.
    Asap,
}

/// Where messages come from.
#[derive(Debug, Clone)]
pub enum SourceConfig {
    /// Files in a folder.
    Files(FilesSettings),
    /// Made-up readings.
    Generator(GeneratorSettings),
}

/// A plugin and what it gets.
#[derive(Clone)]
pub struct PluginConfig {
    /// Its step: `parser` or `transform.NAME`; also its path in the file.
    pub step: String,
    /// Which component it is.
    pub reference: PluginReference,
    /// The digest that the component must have.
    pub sha256: Option<Digest>,
    /// Its own configuration, an object. May hold secrets: pass it on, never
    /// print it.
    pub config: Value,
    /// What one instance may use.
    pub limits: Limits,
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, reference, sha256, config, limits } = self;
        let keys: Vec<_> = config.as_object().map(Map::keys).into_iter().flatten().collect();
        f.debug_struct("PluginConfig")
            .field("step", step)
            .field("reference", reference)
            .field("sha256", sha256)
            .field("config_keys", &keys)
            .field("limits", limits)
            .finish()
    }
}

/// Which component a plugin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginReference {
    /// One that comes with weir, by its name.
    Builtin(String),
    /// A file that was there when the pipeline file was read; absolute.
    File(PathBuf),
}

/// A Delta table that rows are appended to.
#[derive(Debug, Clone)]
pub struct TableConfig {
    /// Its name in the file.
    pub name: String,
    /// Its folder.
    pub location: Location,
    /// The columns that it is partitioned by; among `columns` if those are given.
    pub partition_by: Vec<String>,
    /// The columns in order, with names that differ in more than case; none: all
    /// columns of the last transform or parser.
    pub columns: Option<Vec<TableColumn>>,
    /// The properties that it is created with.
    pub properties: BTreeMap<String, String>,
    /// How data pages are compressed.
    pub compression: Compression,
    /// The size that Parquet files aim at; not zero.
    pub target_file_bytes: u64,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name in the table.
    pub name: String,
    /// Where its values come from.
    pub from: ColumnFrom,
}

/// Where the values of a column come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnFrom {
    /// A column of the last transform or parser.
    Row(String),
    /// A field of the message that the row came from.
    Message(String),
    /// The clock of the epoch: one value for all its rows.
    EpochTime,
}
