//! What is told after every epoch.
//!
//! Field names are those of Spark's `StreamingQueryProgress` where the meaning is
//! the same, so that dashboards and habits carry over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::epoch::StagedEpoch;
use super::notifications::NotificationProgress;
use super::steps::StepCounts;
use super::swap::SwapEvent;
use super::times::TimeStats;
use super::workers::Processed;
use crate::model::{Epoch, EventTimeState, PluginIdentity, SourceRange};
use crate::plugin::CallStats;
use crate::source::{Incident, IncidentKind};

/// Who wants to know how a run goes.
pub trait Report: Send {
    /// An epoch begins; about so many bytes are known to be left, its own
    /// included, where that is known.
    fn planned(&mut self, left_bytes: Option<u64>);

    /// A chunk went through the plugins.
    fn chunk(&mut self, payload_bytes: u64, rows: u64);

    /// An epoch is committed in all tables.
    fn epoch(&mut self, progress: &Progress);

    /// Another version of a plugin has taken over, or not.
    fn swap(&mut self, _event: &SwapEvent) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Report for Silent {
    fn planned(&mut self, _left_bytes: Option<u64>) {}

    fn chunk(&mut self, _payload_bytes: u64, _rows: u64) {}

    fn epoch(&mut self, _progress: &Progress) {}
}

/// What went through an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The messages that the source delivered.
    pub messages: u64,
    /// Their bytes.
    pub payload_bytes: u64,
    /// The rows that came out of the parser.
    pub parsed: u64,
    /// The rows that came out of the last step.
    pub rows: u64,
    /// What became a dead letter instead.
    pub dead_letters: u64,
    /// The messages that had expired before they were read.
    pub lost: u64,
    /// The rows that repeated others and were left out.
    pub repeated: u64,
    /// The rows without an event time, which are in no window.
    pub untimed: u64,
    /// The rows that came after their window was closed, once for each.
    pub late: u64,
    /// The windows that were closed.
    pub windows: u64,
    /// The alerts that were raised.
    pub alerts: u64,
}

impl Counts {
    pub(super) fn add(&mut self, processed: &Processed) {
        self.messages += processed.messages;
        self.payload_bytes += processed.payload_bytes;
        self.parsed += processed.parsed;
        self.rows += processed.rows;
        self.dead_letters += processed.dead_letters.len() as u64;
        self.repeated += processed.repeated;
        self.untimed += processed.times.missing;
    }

    /// Add what happened to the source.
    pub(super) fn add_incidents(&mut self, incidents: &[Incident]) {
        let lost = incidents.iter().filter(|incident| incident.kind == IncidentKind::Lost);
        self.lost += lost.map(|incident| incident.count).sum::<u64>();
    }

    /// Add what the steps behind the rows did.
    pub(super) fn add_steps(&mut self, steps: &[StepCounts]) {
        for step in steps {
            self.late += step.late;
            self.windows += step.windows;
            self.alerts += step.alerts;
        }
    }

    /// Add the counts of another epoch.
    pub fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.payload_bytes += other.payload_bytes;
        self.parsed += other.parsed;
        self.rows += other.rows;
        self.dead_letters += other.dead_letters;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.untimed += other.untimed;
        self.late += other.late;
        self.windows += other.windows;
        self.alerts += other.alerts;
    }
}

/// One epoch, told to people and dashboards.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The identifier of the pipeline, the same for all its runs.
    pub id: String,
    /// The identifier of this run.
    pub run_id: String,
    /// The name of the pipeline.
    pub name: String,
    /// The epoch's clock, in RFC 3339.
    pub timestamp: String,
    /// The epoch.
    pub batch_id: u64,
    /// From the start of reading to the last commit, in milliseconds.
    pub batch_duration: u64,
    /// The messages that it read.
    pub num_input_rows: u64,
    /// The bytes of these messages.
    pub num_input_bytes: u64,
    /// The rows that came out of the last step.
    pub num_output_rows: u64,
    /// The messages, or parts of messages, that became dead letters.
    pub num_dead_letters: u64,
    /// The messages that had expired before they were read.
    pub num_lost_messages: u64,
    /// The rows that were left out because they repeated others.
    pub num_duplicate_rows: u64,
    /// Messages a second of the epoch's duration.
    pub processed_rows_per_second: f64,
    /// Where the time went, in milliseconds.
    pub duration_ms: BTreeMap<&'static str, u64>,
    /// The time that threads worked, in microseconds: `read`, without the wait
    /// for the plugins, and `encode`, over all encoders.
    pub busy_us: BTreeMap<&'static str, u64>,
    /// The event times of its rows, if the pipeline has event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTimeProgress>,
    /// The steps that keep state, in the order of the stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state_operators: Vec<StateProgress>,
    /// The source.
    pub sources: Vec<SourceProgress>,
    /// The tables that got rows.
    pub sinks: Vec<SinkProgress>,
    /// The plugins, in the order of the stream.
    pub plugins: Vec<PluginProgress>,
    /// What became of alerts since the epoch before, for each who is notified.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notifications: Vec<NotificationProgress>,
    /// What became of other versions of plugins since the epoch before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub swaps: Vec<SwapEvent>,
}

/// The event times of an epoch's rows, in RFC 3339.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTimeProgress {
    /// The earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avg: Option<String>,
    /// The latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// The watermark behind the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
    /// Rows without an event time; they are in no window.
    pub num_rows_without: u64,
    /// Rows too far in the future to move the watermark.
    pub num_rows_ahead: u64,
}

/// What an epoch did to the groups of one step.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateProgress {
    /// The step.
    pub operator_name: String,
    /// The groups that are open.
    pub num_rows_total: u64,
    /// The groups that are new or changed.
    pub num_rows_updated: u64,
    /// The groups that ended.
    pub num_rows_removed: u64,
    /// The most memory that an instance had.
    pub memory_used_bytes: u64,
    /// The rows that came after their window was closed.
    pub num_rows_dropped_by_watermark: u64,
    /// The alerts that it raised.
    pub num_alerts: u64,
    /// The bytes of changed state that it wrote, merging aside.
    pub state_bytes_written: u64,
}

/// What an epoch read.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// What the source is.
    pub description: String,
    /// The messages that it delivered.
    pub num_input_rows: u64,
    /// The files that it read, where it reads files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_files: Option<u64>,
    /// The offset before the first message of each partition, where it has such.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub start_offset: BTreeMap<String, u64>,
    /// The offset behind the last message of each partition.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub end_offset: BTreeMap<String, u64>,
    /// What happened to it since the epoch before, and is dealt with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<Incident>,
}

/// What an epoch appended to one table.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// The table.
    pub description: String,
    /// The rows.
    pub num_output_rows: u64,
    /// The files.
    pub num_files: u64,
    /// Their bytes.
    pub num_output_bytes: u64,
}

/// What an epoch asked of one plugin.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginProgress {
    /// The step, the name and version, and the digest.
    #[serde(flatten)]
    pub identity: PluginIdentity,
    /// How many calls were made.
    pub calls: u64,
    /// How many of them trapped, missed their deadline or returned nonsense.
    pub failures: u64,
    /// The time within the plugin, over all workers, in microseconds.
    pub inside_us: u64,
    /// The time for moving data across the boundary, in microseconds.
    pub boundary_us: u64,
    /// The time for checking what came back, in microseconds.
    pub validation_us: u64,
    /// The median time of a call, in microseconds.
    pub p50_us: u32,
    /// The time that 99 of 100 calls stay within, in microseconds.
    pub p99_us: u32,
    /// The most memory that an instance had.
    pub peak_memory_bytes: u64,
    /// Log lines beyond what a call may write.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_log_lines: u64,
    /// The plugin's own counters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
}

/// Who runs.
#[derive(Debug, Clone)]
pub(super) struct RunIdentity {
    pub(super) id: String,
    pub(super) run_id: String,
    pub(super) name: String,
    pub(super) source: String,
}

/// How long the durable steps of an epoch took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Durations {
    pub(super) plan: Duration,
    pub(super) prepare: Duration,
    pub(super) commit: Duration,
}

impl Progress {
    pub(super) fn new(
        run: &RunIdentity,
        staged: &StagedEpoch,
        took: Durations,
        notifications: Vec<NotificationProgress>,
        swaps: Vec<SwapEvent>,
    ) -> Self {
        let total = took.plan + staged.took + took.prepare + took.commit;
        let counts = &staged.counts;
        #[expect(clippy::cast_precision_loss, reason = "a rate does not need the last digits")]
        let rate = counts.messages as f64 / total.as_secs_f64().max(1e-6);
        let duration_ms = [
            ("latestOffset", took.plan),
            ("addBatch", staged.took),
            ("walCommit", took.prepare),
            ("commitBatch", took.commit),
            ("triggerExecution", total),
        ];
        Self {
            id: run.id.clone(),
            run_id: run.run_id.clone(),
            name: run.name.clone(),
            timestamp: rfc3339(staged.clock_us),
            batch_id: staged.epoch.number(),
            batch_duration: millis(total),
            num_input_rows: counts.messages,
            num_input_bytes: counts.payload_bytes,
            num_output_rows: counts.rows,
            num_dead_letters: counts.dead_letters,
            num_lost_messages: counts.lost,
            num_duplicate_rows: counts.repeated,
            processed_rows_per_second: rate,
            duration_ms: duration_ms.into_iter().map(|(name, time)| (name, millis(time))).collect(),
            busy_us: [("read", staged.busy.read), ("encode", staged.busy.encode)]
                .into_iter()
                .map(|(name, time)| (name, micros(time)))
                .collect(),
            event_time: staged.event_time.as_ref().map(|state| EventTimeProgress::new(&staged.times, state)),
            state_operators: staged.steps.iter().map(StateProgress::new).collect(),
            sources: vec![SourceProgress::new(&run.source, staged)],
            sinks: staged.tables.iter().map(|(name, table)| SinkProgress::new(name, table)).collect(),
            plugins: staged
                .plugins
                .iter()
                .zip(&staged.stats)
                .map(|(identity, stats)| plugin(identity, stats))
                .collect(),
            notifications,
            swaps,
        }
    }

    /// The epoch.
    pub fn epoch(&self) -> Option<Epoch> {
        Epoch::new(self.batch_id)
    }
}

impl EventTimeProgress {
    fn new(times: &TimeStats, state: &EventTimeState) -> Self {
        Self {
            min: times.min.map(rfc3339),
            avg: times.mean().map(rfc3339),
            max: times.max.map(rfc3339),
            watermark: state.watermark.map(|watermark| rfc3339(watermark.0)),
            num_rows_without: times.missing,
            num_rows_ahead: times.ahead,
        }
    }
}

impl StateProgress {
    fn new(counts: &StepCounts) -> Self {
        Self {
            operator_name: counts.name.clone(),
            num_rows_total: counts.open,
            num_rows_updated: counts.updated,
            num_rows_removed: counts.ended,
            memory_used_bytes: counts.stats.peak_memory_bytes as u64,
            num_rows_dropped_by_watermark: counts.late,
            num_alerts: counts.alerts,
            state_bytes_written: counts.written,
        }
    }
}

impl SourceProgress {
    fn new(description: &str, staged: &StagedEpoch) -> Self {
        let mut progress = Self {
            description: description.to_owned(),
            num_input_rows: staged.counts.messages,
            num_files: None,
            start_offset: BTreeMap::new(),
            end_offset: BTreeMap::new(),
            incidents: staged.incidents.clone(),
        };
        match &staged.range {
            SourceRange::Files(files) => progress.num_files = Some(files.len() as u64),
            SourceRange::Offsets(partitions) => {
                for (partition, offsets) in partitions {
                    progress.start_offset.insert(partition.to_string(), offsets.start.0);
                    progress.end_offset.insert(partition.to_string(), offsets.end.0);
                }
            }
        }
        progress
    }
}

impl SinkProgress {
    fn new(name: &str, table: &crate::checkpoint::StagedTable) -> Self {
        Self {
            description: name.to_owned(),
            num_output_rows: table.files.iter().map(|file| file.rows).sum(),
            num_files: table.files.len() as u64,
            num_output_bytes: table.files.iter().map(|file| file.size_bytes).sum(),
        }
    }
}

fn plugin(identity: &PluginIdentity, stats: &CallStats) -> PluginProgress {
    let mut latencies = stats.latencies_us.clone();
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len().saturating_sub(1) * share / 100).copied().unwrap_or(0);
    PluginProgress {
        identity: identity.clone(),
        calls: stats.calls,
        failures: stats.failures,
        inside_us: micros(stats.inside),
        boundary_us: micros(stats.boundary),
        validation_us: micros(stats.validation),
        p50_us: at(50),
        p99_us: at(99),
        peak_memory_bytes: stats.peak_memory_bytes as u64,
        dropped_log_lines: stats.dropped_log_lines,
        counters: stats.counters.clone(),
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// An instant for people, in RFC 3339 with milliseconds.
pub(super) fn rfc3339(time_us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(time_us).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
