//! What the pipeline file says, word for word.
//!
//! These types are the format: their doc comments are the descriptions of the
//! JSON Schema that `weir schema` prints, and the schema is what a file is
//! checked against. Every field is optional here, also the required ones, and a
//! value that was found wrong is null, so that the checks behind the schema can
//! go on with the rest of a faulty file.

pub(super) mod event_hubs;
mod notify;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) use notify::Notify;

/// A weir pipeline: one source, one parser, transforms, tables.
///
/// `${NAME}` in a string stands for an environment variable, `${file:PATH}` for
/// the content of a file, `$$` for a dollar sign. Relative paths are relative to
/// this file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pipeline file")]
pub(super) struct File {
    /// The pipeline as a whole.
    #[schemars(required)]
    pub(super) pipeline: Option<Pipeline>,
    /// Where messages come from: exactly one source.
    #[schemars(required)]
    pub(super) source: Option<Source>,
    /// The plugin that turns messages into rows; required unless files have columns.
    pub(super) parser: Option<Plugin>,
    /// Plugins that map, filter, enrich or explode rows, in this order.
    pub(super) transform: Option<Vec<Option<Transform>>>,
    /// The Delta tables that rows are appended to, by name.
    #[schemars(required, extend("minProperties" = 1, "propertyNames" = { "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$" }))]
    pub(super) table: Option<BTreeMap<String, Option<Table>>>,
    /// The table of what could not become a row.
    pub(super) dead_letters: Option<DeadLetters>,
    /// How a running pipeline is asked and told things, over HTTP; not at all
    /// without this section.
    pub(super) serve: Option<Serve>,
    /// When things happened, by their own account; windows need it.
    pub(super) event_time: Option<EventTime>,
    /// Windows of rows that a plugin makes one row of, by name.
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$" }))]
    pub(super) window: Option<BTreeMap<String, Option<Window>>>,
    /// Rules that raise alerts, by name.
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$" }))]
    pub(super) rule: Option<BTreeMap<String, Option<Rule>>>,
}

/// The pipeline as a whole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pipeline {
    /// The name of the pipeline, for people and commit metadata.
    #[schemars(required, extend("examples" = ["factory"]))]
    pub(super) name: Option<String>,
    /// The folder (path or URL) of the durable state. Each pipeline has its own.
    #[schemars(required, extend("examples" = ["data/checkpoint", "az://container/checkpoint"]))]
    pub(super) checkpoint: Option<String>,
    /// When epochs start: `available-now` takes what is there and stops, `asap`
    /// goes on as soon as there is data, a duration starts at most one each.
    #[schemars(extend("default" = "asap", "examples" = ["available-now", "asap", "5s"]))]
    pub(super) trigger: Option<String>,
    /// About so many bytes in one epoch; at least one file or message.
    #[schemars(extend("default" = "512MiB"))]
    pub(super) max_bytes_per_epoch: Option<Size>,
    /// At most so many events in one epoch. No bound by default.
    #[schemars(range(min = 1))]
    pub(super) max_events_per_epoch: Option<u64>,
    /// The payload of one chunk, which is what a plugin receives in one call.
    #[schemars(extend("default" = "1MiB"))]
    pub(super) chunk: Option<Size>,
    /// A longer message goes to the dead letters.
    #[schemars(extend("default" = "16MiB"))]
    pub(super) max_message: Option<Size>,
    /// Threads that run plugins and encode Parquet. All cores by default.
    #[schemars(range(min = 1, max = 1024))]
    pub(super) threads: Option<u64>,
    /// What happens to a message that cannot be processed.
    #[schemars(extend("default" = "dead-letter"))]
    pub(super) on_error: Option<OnError>,
    /// The share of an epoch's messages that may become dead letters before the
    /// pipeline stops.
    #[schemars(range(min = 0, max = 1), extend("default" = 0.1))]
    pub(super) max_dead_letter_ratio: Option<f64>,
    /// How long the checkpoint keeps versions of plugins that others have replaced,
    /// so that one can go back to them.
    #[schemars(extend("default" = "30d"))]
    pub(super) keep_plugins: Option<String>,
}

/// How a running pipeline is asked and told things, over HTTP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Serve {
    /// The address and port to listen at.
    #[schemars(extend("default" = "127.0.0.1:7878", "examples" = ["127.0.0.1:7878", "0.0.0.0:7878"]))]
    pub(super) listen: Option<String>,
    /// What whoever changes plugins must know. Nothing can be changed without it.
    #[schemars(extend("examples" = ["${file:/run/secrets/weir-token}"]))]
    pub(super) token: Option<String>,
}

/// What happens to a message that cannot be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It goes to the dead-letter table, and the pipeline goes on.
    DeadLetter,
    /// The pipeline stops before anything of its epoch is visible.
    Fail,
}

/// Where messages come from: exactly one of these.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct Source {
    /// An Azure event hub, or anything that speaks its protocol.
    pub(super) event_hubs: Option<event_hubs::EventHubs>,
    /// Files that are dropped in a folder of any object store.
    pub(super) files: Option<Files>,
    /// A seeded stream of made-up readings.
    pub(super) generator: Option<Generator>,
}

/// Files that are dropped in a folder of any object store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Files {
    /// The folder (path or URL) that is looked through, with its subfolders.
    #[schemars(required, extend("examples" = ["input/", "az://container/input"]))]
    pub(super) path: Option<String>,
    /// Which files count: a pattern without `/` is matched with the file name,
    /// any other with the whole path below the folder.
    #[schemars(extend("default" = "**", "examples" = ["*.json", "2025/**/*.json.gz"]))]
    pub(super) glob: Option<String>,
    /// How messages lie in a file.
    #[schemars(extend("default" = "json"))]
    pub(super) format: Option<Format>,
    /// With the format `csv`: what encloses a field that has line ends in it; an
    /// empty text if nothing does.
    #[schemars(extend("default" = "\""))]
    pub(super) csv_quote: Option<String>,
    /// Folders `NAME=value` on the way to a file that are message fields, by name.
    #[schemars(extend("examples" = [["date", "hour"]]))]
    pub(super) partition_columns: Option<Vec<Option<String>>>,
    /// At most so many files in one epoch.
    #[schemars(range(min = 1), extend("default" = 1000))]
    pub(super) max_files_per_epoch: Option<u64>,
    /// About so many bytes of files in one epoch; at least one file. As
    /// `pipeline.max_bytes_per_epoch` by default.
    #[schemars(extend("examples" = ["1GiB"]))]
    pub(super) max_bytes_per_epoch: Option<Size>,
    /// How often the folder is listed: 250ms for a local folder and 5s for an
    /// object store by default. A local folder is watched, too.
    #[schemars(extend("examples" = ["500ms", "1m"]))]
    pub(super) poll_interval: Option<String>,
    /// Whether files are read that are there at the very first start. If not, they
    /// are passed over, for good.
    #[schemars(extend("default" = true))]
    pub(super) include_existing: Option<bool>,
    /// Whether a file that changes after it was read is read again, as a whole.
    /// If not, weir warns of it. Its version is its etag, or its size and
    /// modification time where there is none.
    #[schemars(extend("default" = false))]
    pub(super) allow_overwrites: Option<bool>,
    /// Files whose modification time is longer ago are neither read nor
    /// remembered, which bounds the ledger. No bound by default.
    #[schemars(extend("examples" = ["90d"]))]
    pub(super) max_file_age: Option<String>,
    /// Whether only names behind the greatest known one are listed, where new
    /// files have greater names than all before them. Object stores only, and not
    /// with the trigger `available-now`.
    #[schemars(extend("default" = false))]
    pub(super) use_incremental_listing: Option<bool>,
    /// How often everything is listed all the same.
    #[schemars(extend("default" = "1d"))]
    pub(super) backfill_interval: Option<String>,
    /// What becomes of files that were read, some time after their epoch is
    /// committed.
    #[schemars(extend("default" = "off"))]
    pub(super) clean_source: Option<CleanSource>,
    /// How long files stay after the epoch that read them; `0s` is allowed.
    #[schemars(extend("default" = "30d"))]
    pub(super) clean_source_retention: Option<String>,
    /// With `clean_source = "move"`: the folder (path or URL) that files are moved
    /// to, in the same store and neither inside of `path` nor around it.
    #[schemars(extend("examples" = ["archive/", "az://container/archive"]))]
    pub(super) clean_source_move_to: Option<String>,
    /// The columns, where they are not inferred. This and each of the settings
    /// below make weir keep the schema of the files, with a parser that does not
    /// name columns itself.
    #[schemars(extend("examples" = ["deviceId string, ts timestamp, location struct<lat: double, lon: double>"]))]
    pub(super) schema: Option<String>,
    /// Types that are known better than they can be inferred, and columns that no
    /// file may have yet. Dots go into structs.
    #[schemars(extend("examples" = ["temperature double, location.lat double, tags array<string>"]))]
    pub(super) schema_hints: Option<String>,
    /// Whether values tell the types of columns; else all columns are strings.
    #[schemars(extend("default" = false))]
    pub(super) infer_column_types: Option<bool>,
    /// What becomes of columns that the schema does not have: `add-new-columns` by
    /// default, `none` with `schema`.
    pub(super) schema_evolution: Option<SchemaEvolution>,
    /// The column for values that do not fit the schema: `_rescued_data`, which
    /// rows do not have with the evolution `none` unless it is named here.
    #[schemars(extend("examples" = ["_rescued_data"]))]
    pub(super) rescued_data_column: Option<String>,
    /// At most so many files are looked at to infer the schema.
    #[schemars(range(min = 1), extend("default" = 1000))]
    pub(super) infer_max_files: Option<u64>,
    /// About so many bytes are looked at to infer the schema, at least one file.
    #[schemars(extend("default" = "50GB"))]
    pub(super) infer_max_bytes: Option<Size>,
}

/// What becomes of files that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CleanSource {
    /// They stay.
    Off,
    /// They are moved to another folder, below which they keep their paths.
    Move,
    /// They are deleted.
    Delete,
}

/// What becomes of columns that the schema of the files does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SchemaEvolution {
    /// They are added to the schema and to tables between two epochs.
    AddNewColumns,
    /// The same: weir's whole numbers and fractions have the widest types already.
    AddNewColumnsWithTypeWidening,
    /// They are added to the schema, and the run ends with an error; the next one
    /// has them.
    AddNewColumnsRestart,
    /// Their values go to the rescued column.
    Rescue,
    /// The run ends with an error that names column and file.
    FailOnNewColumns,
    /// They are ignored.
    None,
}

/// How messages lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    /// Arrays or objects, one or several, pretty-printed or not.
    Json,
    /// One JSON value on each line.
    JsonLines,
    /// Records of CSV; a message is some of them.
    Csv,
    /// One message on each line.
    Text,
    /// The file is one message.
    Binary,
    /// Rows of Parquet, which have columns: there is no parser.
    Parquet,
}

impl Files {
    /// Whether files have columns already.
    pub(super) fn have_columns(&self) -> bool {
        self.format == Some(Format::Parquet)
    }
}

/// A seeded stream of made-up readings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Generator {
    /// The same seed gives the same stream.
    #[schemars(extend("default" = 1))]
    pub(super) seed: Option<u64>,
    /// How many devices send readings.
    #[schemars(range(min = 1, max = 10_000_000), extend("default" = 1000))]
    pub(super) devices: Option<u32>,
    /// How many partitions the stream has.
    #[schemars(range(min = 1, max = 1024), extend("default" = 1))]
    pub(super) partitions: Option<u32>,
    /// How many messages there are in all. Endless by default.
    pub(super) events: Option<u64>,
    /// How many readings one message has.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 10))]
    pub(super) readings_per_message: Option<u32>,
    /// How many messages there are each second. As fast as possible by default.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(super) events_per_second: Option<f64>,
    /// The time of the first reading.
    #[schemars(extend("format" = "date-time", "default" = "2025-10-05T18:40:10Z"))]
    pub(super) start: Option<String>,
    /// The event time from one reading to the next.
    #[schemars(extend("default" = "1ms"))]
    pub(super) interval: Option<String>,
    /// The share of readings that come late.
    #[schemars(range(min = 0, max = 1), extend("default" = 0.0))]
    pub(super) out_of_order: Option<f64>,
    /// The share of messages that are malformed.
    #[schemars(range(min = 0, max = 1), extend("default" = 0.0))]
    pub(super) malformed: Option<f64>,
}

/// A plugin and what it gets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Plugin {
    /// `builtin:NAME`, or the path of a component.
    #[schemars(required, extend("examples" = ["builtin:json", "plugins/parser.wasm"]))]
    pub(super) plugin: Option<String>,
    /// The SHA-256 digest that the component must have.
    #[schemars(extend("pattern" = "^[0-9a-fA-F]{64}$"))]
    pub(super) sha256: Option<String>,
    /// The plugin's own configuration.
    pub(super) config: Option<Map<String, Value>>,
    /// What the plugin may use.
    pub(super) limits: Option<Limits>,
    /// Take a new version over while the pipeline runs whenever the file of the
    /// component changes.
    #[schemars(extend("default" = false))]
    pub(super) watch: Option<bool>,
    /// For how many epochs a new version runs beside the old one, without effect,
    /// before it takes over.
    #[schemars(extend("default" = "0 epochs", "examples" = ["3 epochs"]))]
    pub(super) shadow: Option<String>,
    /// For how many epochs after it has taken over a new version goes back to the
    /// old one if it fails.
    #[schemars(extend("default" = "10 epochs"))]
    pub(super) probation: Option<String>,
    /// What the component may import beyond the contract; nothing by default.
    pub(super) grants: Option<Vec<Option<Grant>>>,
}

/// A plugin that maps, filters, enriches or explodes rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Transform {
    /// The name of the step, unique in the file.
    #[schemars(required, extend("examples" = ["clean"], "pattern" = "^[A-Za-z_][A-Za-z0-9_-]*$"))]
    pub(super) name: Option<String>,
    /// `builtin:NAME`, or the path of a component.
    #[schemars(required, extend("examples" = ["builtin:filter", "plugins/clean.wasm"]))]
    pub(super) plugin: Option<String>,
    /// The SHA-256 digest that the component must have.
    #[schemars(extend("pattern" = "^[0-9a-fA-F]{64}$"))]
    pub(super) sha256: Option<String>,
    /// The plugin's own configuration.
    pub(super) config: Option<Map<String, Value>>,
    /// What the plugin may use.
    pub(super) limits: Option<Limits>,
    /// Take a new version over while the pipeline runs whenever the file of the
    /// component changes.
    #[schemars(extend("default" = false))]
    pub(super) watch: Option<bool>,
    /// For how many epochs a new version runs beside the old one, without effect,
    /// before it takes over.
    #[schemars(extend("default" = "0 epochs", "examples" = ["3 epochs"]))]
    pub(super) shadow: Option<String>,
    /// For how many epochs after it has taken over a new version goes back to the
    /// old one if it fails.
    #[schemars(extend("default" = "10 epochs"))]
    pub(super) probation: Option<String>,
    /// What the component may import beyond the contract; nothing by default.
    pub(super) grants: Option<Vec<Option<Grant>>>,
}

/// What a component may import beyond the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Grant {
    /// WASI 0.2, for language runtimes: without files, environment and sockets, with
    /// the clock of the epoch, and randomness that is the same for every call.
    Wasi,
}

/// What one instance of a plugin may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// The linear memory.
    #[schemars(extend("default" = "64MiB"))]
    pub(super) memory: Option<Size>,
    /// The time of one call.
    #[schemars(extend("default" = "500ms"))]
    pub(super) deadline: Option<String>,
    /// The bytes that one call may return.
    #[schemars(extend("default" = "64MiB"))]
    pub(super) result: Option<Size>,
    /// The rows that one call may return.
    #[schemars(range(min = 1, max = 2_147_483_646), extend("default" = 4_194_304))]
    pub(super) rows: Option<u64>,
}

/// A Delta table that rows are appended to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// The folder (path or URL) of the table.
    #[schemars(required, extend("examples" = ["data/tables/events", "az://container/tables/events"]))]
    pub(super) path: Option<String>,
    /// The columns that the table is partitioned by.
    pub(super) partition_by: Option<Vec<Option<String>>>,
    /// The columns, in order: `column`, `column as name`,
    /// `message.FIELD as name`, `epoch.time as name`, and `*` for all columns of
    /// the rows that are not named. All columns by default.
    #[schemars(extend("examples" = [["deviceId", "ts as local_ts", "message.file_name as file", "epoch.time as server_ts"]]))]
    pub(super) columns: Option<Vec<Option<String>>>,
    /// Delta table properties that the table is created with.
    pub(super) properties: Option<BTreeMap<String, Option<String>>>,
    /// How data pages are compressed.
    #[schemars(extend("default" = "zstd"))]
    pub(super) compression: Option<Compression>,
    /// The size that Parquet files aim at.
    #[schemars(extend("default" = "128MiB"))]
    pub(super) target_file_size: Option<Size>,
    /// What becomes of columns that the pipeline has and an existing table does
    /// not: `add-columns` where weir keeps the schema of files, else `fixed`.
    pub(super) schema_evolution: Option<TableEvolution>,
}

/// What becomes of columns that the pipeline has and a table does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TableEvolution {
    /// They are added with the first rows that have them; columns that only the
    /// table has are null.
    AddColumns,
    /// The table is refused.
    Fixed,
}

/// How data pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Zstandard: small and fast to read.
    Zstd,
    /// Snappy: larger, a little faster to write.
    Snappy,
    /// Not at all.
    None,
}

/// The table of what could not become a row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLetters {
    /// The folder (path or URL) of the table. `<checkpoint>/dead_letters` by
    /// default.
    #[schemars(required, extend("examples" = ["data/tables/dead_letters"]))]
    pub(super) path: Option<String>,
}

/// When things happened, by their own account.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventTime {
    /// The column of the rows that holds it: a timestamp.
    #[schemars(required, extend("examples" = ["event_time"]))]
    pub(super) column: Option<String>,
    /// How long late rows are waited for: the watermark is so far behind the
    /// greatest event time.
    #[schemars(required, extend("examples" = ["5m"]))]
    pub(super) delay: Option<String>,
    /// Which partition decides: the slowest that is not idle (`min`), or the
    /// fastest (`max`), as in Spark.
    #[schemars(extend("default" = "min"))]
    pub(super) policy: Option<Policy>,
    /// A partition that has been silent for so long, and has nothing unread,
    /// does not hold the others up.
    #[schemars(extend("default" = "1m"))]
    pub(super) idle_timeout: Option<String>,
    /// How far ahead of the clock a row may move the watermark.
    #[schemars(extend("default" = "1h"))]
    pub(super) max_future_skew: Option<String>,
    /// Whether a run with the trigger `available-now` closes all windows at its
    /// end. Rows that come for them later are late.
    #[schemars(extend("default" = false))]
    pub(super) flush_at_end: Option<bool>,
    /// Drop rows that come twice, before everything else.
    pub(super) deduplicate: Option<Deduplicate>,
}

/// Which partition decides how far event time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Policy {
    /// The slowest that is not idle.
    Min,
    /// The fastest.
    Max,
}

/// Drop rows that come twice: the first one wins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deduplicate {
    /// The columns in which two rows are the same.
    #[schemars(required, extend("minItems" = 1, "examples" = [["id"]]))]
    pub(super) by: Option<Vec<Option<String>>>,
    /// How long a row is remembered, from its event time on.
    #[schemars(required, extend("examples" = ["10m"]))]
    pub(super) within: Option<String>,
}

/// Windows of rows that a plugin makes one row of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// What is put into windows: the rows of a table, or what another window
    /// gives, by its name. The rows of the last transform or parser by default.
    #[schemars(extend("examples" = ["readings"]))]
    pub(super) input: Option<String>,
    /// How long a window is. Windows are aligned to 1970-01-01T00:00:00Z.
    #[schemars(extend("examples" = ["5m"]))]
    pub(super) size: Option<String>,
    /// From the start of one window to the start of the next: `size` by default.
    #[schemars(extend("examples" = ["1m"]))]
    pub(super) slide: Option<String>,
    /// By how much windows are shifted; may be negative.
    #[schemars(extend("examples" = ["-15m"]))]
    pub(super) offset: Option<String>,
    /// For sessions, instead of `size`: the longest silence within a window.
    #[schemars(extend("examples" = ["30m"]))]
    pub(super) gap: Option<String>,
    /// The columns that tell groups apart. One group by default.
    #[schemars(extend("examples" = [["deviceId"]]))]
    pub(super) key: Option<Vec<Option<String>>>,
    /// `builtin:NAME`, or the path of a component.
    #[schemars(required, extend("examples" = ["builtin:statistics"]))]
    pub(super) plugin: Option<String>,
    /// The SHA-256 digest that the component must have.
    #[schemars(extend("pattern" = "^[0-9a-fA-F]{64}$"))]
    pub(super) sha256: Option<String>,
    /// The plugin's own configuration.
    pub(super) config: Option<Map<String, Value>>,
    /// What the plugin may use.
    pub(super) limits: Option<Limits>,
    /// Take a new version over while the pipeline runs whenever the file of the
    /// component changes.
    #[schemars(extend("default" = false))]
    pub(super) watch: Option<bool>,
    /// For how many epochs a new version runs beside the old one, without effect,
    /// before it takes over.
    #[schemars(extend("default" = "0 epochs", "examples" = ["3 epochs"]))]
    pub(super) shadow: Option<String>,
    /// For how many epochs after it has taken over a new version goes back to the
    /// old one if it fails.
    #[schemars(extend("default" = "10 epochs"))]
    pub(super) probation: Option<String>,
    /// What the component may import beyond the contract; nothing by default.
    pub(super) grants: Option<Vec<Option<Grant>>>,
    /// When a window gives a row: once when it closes, or with each epoch that
    /// changes it, with `is_final` saying which is the last.
    #[schemars(extend("default" = "on-close"))]
    pub(super) emit: Option<Emit>,
    /// Where the rows of the windows go. Columns are the key columns,
    /// `window_start`, `window_end` and those of the plugin.
    pub(super) table: Option<Table>,
    /// Where rows go that came after their window was closed, with
    /// `window_start` and `window_end`. They are only counted by default.
    pub(super) late: Option<Table>,
}

/// When a window gives a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Emit {
    /// Once, when it closes.
    OnClose,
    /// With each epoch that changes it, and when it closes.
    EachEpoch,
}

/// A rule that raises alerts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// What is judged: the rows of a table, or what a window gives, by its name.
    /// The rows of the last transform or parser by default.
    #[schemars(extend("examples" = ["readings"]))]
    pub(super) input: Option<String>,
    /// The columns that tell groups apart, for a rule that remembers.
    #[schemars(extend("examples" = [["deviceId"]]))]
    pub(super) key: Option<Vec<Option<String>>>,
    /// How long a rule remembers a group that has no rows any more, in event
    /// time. Needs `event_time`; for ever by default.
    #[schemars(extend("examples" = ["1d"]))]
    pub(super) forget_after: Option<String>,
    /// `builtin:NAME`, or the path of a component.
    #[schemars(required, extend("examples" = ["builtin:thresholds"]))]
    pub(super) plugin: Option<String>,
    /// The SHA-256 digest that the component must have.
    #[schemars(extend("pattern" = "^[0-9a-fA-F]{64}$"))]
    pub(super) sha256: Option<String>,
    /// The plugin's own configuration.
    pub(super) config: Option<Map<String, Value>>,
    /// What the plugin may use.
    pub(super) limits: Option<Limits>,
    /// Take a new version over while the pipeline runs whenever the file of the
    /// component changes.
    #[schemars(extend("default" = false))]
    pub(super) watch: Option<bool>,
    /// For how many epochs a new version runs beside the old one, without effect,
    /// before it takes over.
    #[schemars(extend("default" = "0 epochs", "examples" = ["3 epochs"]))]
    pub(super) shadow: Option<String>,
    /// For how many epochs after it has taken over a new version goes back to the
    /// old one if it fails.
    #[schemars(extend("default" = "10 epochs"))]
    pub(super) probation: Option<String>,
    /// What the component may import beyond the contract; nothing by default.
    pub(super) grants: Option<Vec<Option<Grant>>>,
    /// Where alerts go. Columns are those of the row and `alert.id`,
    /// `alert.kind`, `alert.severity`, `alert.message`; all of them by default.
    #[schemars(required)]
    pub(super) table: Option<Table>,
    /// Who is notified of alerts, besides. Nobody by default.
    #[schemars(extend("examples" = [[{ "webhook": "https://example.com/hooks/alerts", "secret": "${HOOK_SECRET}" }]]))]
    pub(super) notify: Option<Vec<Option<Notify>>>,
}

/// A number of bytes, or a text such as `64MiB` or `1GB`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Size {
    /// Bytes.
    Bytes(u64),
    /// A number with a unit.
    Text(String),
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+ *([kKMGT]i?)?B?$" })
    }
}
