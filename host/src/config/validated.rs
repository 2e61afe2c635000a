//! What the rest of weir may rely on: a pipeline without anything left to check
//! that the file alone can tell.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use url::Url;

pub use super::raw::{Compression, Emit, OnError, TableEvolution};
use crate::env::Location;
use crate::event_hubs::HubSettings;
use crate::event_time::{DeduplicateSettings, EventTimeSettings, WindowKind};
use crate::model::{Digest, Span};
use crate::plugin::Limits;
use crate::schema::SchemaSettings;
use crate::source::event_hubs::EventHubsSettings;
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
    /// How the schema of the rows is managed, if the parser does not name columns.
    pub schema: Option<SchemaSettings>,
    /// What turns messages into rows; none where files have columns.
    pub parser: Option<PluginConfig>,
    /// What rows go through, in this order; their steps are unique.
    pub transforms: Vec<PluginConfig>,
    /// Where rows go, by name; at least one, none inside another.
    pub tables: Vec<TableConfig>,
    /// Where dead letters go.
    pub dead_letters: Location,
    /// When things happened; there if there are windows.
    pub event_time: Option<EventTimeSettings>,
    /// Which rows come twice; needs event time.
    pub deduplicate: Option<DeduplicateSettings>,
    /// Whether a run that takes what is there closes all windows at its end.
    pub flush_at_end: bool,
    /// The windows; each comes behind the one that is its input.
    pub windows: Vec<WindowConfig>,
    /// The rules.
    pub rules: Vec<RuleConfig>,
    /// How long replaced versions of plugins are kept.
    pub keep_plugins: Duration,
    /// How it is asked and told things, if it is.
    pub serve: Option<ServeConfig>,
}

/// How a running pipeline is asked and told things. The token may not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What whoever changes plugins must know; not empty.
    pub token: Option<String>,
}

impl fmt::Debug for ServeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// All plugins, in the order of the stream.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginConfig> {
        let windows = self.windows.iter().map(|window| &window.plugin);
        let rules = self.rules.iter().map(|rule| &rule.plugin);
        self.parser.iter().chain(&self.transforms).chain(windows).chain(rules)
    }

    /// The plugin of a step, to be changed.
    pub fn plugin_mut(&mut self, step: &str) -> Option<&mut PluginConfig> {
        let windows = self.windows.iter_mut().map(|window| &mut window.plugin);
        let rules = self.rules.iter_mut().map(|rule| &mut rule.plugin);
        let mut all = self.parser.iter_mut().chain(&mut self.transforms).chain(windows).chain(rules);
        all.find(|plugin| plugin.step == step)
    }

    /// All tables but that of the dead letters: of rows, of windows, of late
    /// rows, of alerts.
    pub fn all_tables(&self) -> impl Iterator<Item = &TableConfig> {
        let windows = self.windows.iter().flat_map(|window| window.table.iter().chain(&window.late));
        self.tables.iter().chain(windows).chain(self.rules.iter().map(|rule| &rule.table))
    }
}

/// Windows of rows that a plugin makes one row of.
#[derive(Debug, Clone)]
pub struct WindowConfig {
    /// Its name in the file.
    pub name: String,
    /// What is put into windows.
    pub input: StepInput,
    /// How event time is cut.
    pub kind: WindowKind,
    /// The columns that tell groups apart.
    pub key: Vec<String>,
    /// What makes a row of a group.
    pub plugin: PluginConfig,
    /// When it does.
    pub emit: Emit,
    /// Where the rows go, if they do.
    pub table: Option<TableConfig>,
    /// Where late rows go, if they do.
    pub late: Option<TableConfig>,
}

/// A rule that raises alerts.
#[derive(Debug, Clone)]
pub struct RuleConfig {
    /// Its name in the file.
    pub name: String,
    /// What it judges.
    pub input: StepInput,
    /// The columns that tell groups apart.
    pub key: Vec<String>,
    /// How long a group without rows is remembered.
    pub forget_after: Option<Span>,
    /// What judges.
    pub plugin: PluginConfig,
    /// Where alerts go.
    pub table: TableConfig,
    /// Who is notified of them, each once.
    pub notify: Vec<NotifyConfig>,
}

/// Somebody who is notified of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyConfig {
    /// A POST of JSON.
    Webhook(WebhookConfig),
    /// Messages of JSON to an event hub.
    EventHub(Box<EventHubConfig>),
    /// Lines of JSON at the end of this file; an absolute path.
    File(PathBuf),
    /// Lines of JSON on the standard output.
    Stdout,
}

impl NotifyConfig {
    /// Whether both notify the same place.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Webhook(one), Self::Webhook(other)) => one.url == other.url,
            (Self::EventHub(one), Self::EventHub(other)) => one.place() == other.place(),
            (one, other) => one == other,
        }
    }
}

/// An event hub that alerts are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHubConfig {
    /// The event hub and the way to it.
    pub hub: HubSettings,
    /// The columns of a row that choose the partition.
    pub partition_key: Vec<String>,
    /// How many alerts a request holds at most; not zero.
    pub batch: usize,
    /// How long an answer may take; not zero.
    pub timeout: Duration,
}

impl EventHubConfig {
    /// Which place it is, however it is reached.
    pub fn place(&self) -> String {
        self.hub.to_string()
    }
}

/// A webhook. Neither its URL nor its secret may be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where to; `http` or `https`, with a host.
    pub url: Url,
    /// The key that requests are signed with; not empty.
    pub secret: Option<String>,
    /// How many alerts a request holds at most; not zero.
    pub batch: usize,
    /// How long an answer may take; not zero.
    pub timeout: Duration,
}

impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, secret: _, batch, timeout } = self;
        f.debug_struct("WebhookConfig").field("batch", batch).field("timeout", timeout).finish_non_exhaustive()
    }
}

/// What a window or a rule sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepInput {
    /// The rows of the last transform or parser.
    Rows,
    /// The rows of the table with this index.
    Table(usize),
    /// What the window with this index gives.
    Window(usize),
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
    /// Messages of an event hub.
    EventHubs(Box<EventHubsSettings>),
    /// Files in a folder.
    Files(Box<FilesSettings>),
    /// Made-up readings.
    Generator(GeneratorSettings),
}

/// A plugin and what it gets.
#[derive(Clone)]
pub struct PluginConfig {
    /// Its step: `parser`, `transform.NAME`, `window.NAME` or `rule.NAME`.
    pub step: String,
    /// Its path in the file.
    pub path: String,
    /// Which component it is.
    pub reference: PluginReference,
    /// The digest that the component must have.
    pub sha256: Option<Digest>,
    /// Its own configuration, an object. May hold secrets: pass it on, never
    /// print it.
    pub config: Value,
    /// What one instance may use.
    pub limits: Limits,
    /// How another version takes its place.
    pub swap: SwapSettings,
}

/// How another version of a plugin takes its place while the pipeline runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwapSettings {
    /// Whether it does when the file of the component changes.
    pub watch: bool,
    /// For how many epochs it runs beside the old one before.
    pub shadow: u32,
    /// For how many epochs after that it goes back if it fails.
    pub probation: u32,
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, path: _, reference, sha256, config, limits, swap } = self;
        let keys: Vec<_> = config.as_object().map(Map::keys).into_iter().flatten().collect();
        f.debug_struct("PluginConfig")
            .field("step", step)
            .field("reference", reference)
            .field("sha256", sha256)
            .field("config_keys", &keys)
            .field("limits", limits)
            .field("swap", swap)
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
    /// What took the place of what the file names, with a name for messages.
    Bytes(String, Bytes),
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
    /// What becomes of columns that the table does not have.
    pub evolution: TableEvolution,
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
    /// All columns of the last transform or parser that are not named.
    Rest,
    /// A field of the message that the row came from.
    Message(String),
    /// The clock of the epoch: one value for all its rows.
    EpochTime,
}
