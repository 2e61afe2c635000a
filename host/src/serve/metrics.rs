//! Counters and gauges, in the text format of Prometheus (exposition format 0.0.4,
//! OpenMetrics 1.0).

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::pipeline::{Progress, Standing, SwapEvent};

type Labels = Vec<(&'static str, String)>;
type Seconds = Counter<f64, AtomicU64>;
type Real = Gauge<f64, AtomicU64>;

/// What is counted of a run.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    epochs: Counter,
    messages: Counter,
    bytes: Counter,
    rows: Counter,
    dead_letters: Counter,
    lost: Counter,
    duplicates: Counter,
    epoch: Gauge,
    epoch_seconds: Real,
    watermark: Real,
    backlog: Gauge,
    table_rows: Family<Labels, Counter>,
    state_groups: Family<Labels, Gauge>,
    alerts: Family<Labels, Counter>,
    late: Family<Labels, Counter>,
    calls: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    inside: Family<Labels, Seconds>,
    memory: Family<Labels, Gauge>,
    counters: Family<Labels, Counter>,
    swaps: Family<Labels, Counter>,
    pause: Real,
    plugins: Family<Labels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("weir");
        macro_rules! registered {
            ($name:literal, $help:literal) => {{
                let metric = Default::default();
                registry.register($name, $help, Clone::clone(&metric));
                metric
            }};
            ($name:literal, $unit:ident, $help:literal) => {{
                let metric = Default::default();
                registry.register_with_unit($name, $help, Unit::$unit, Clone::clone(&metric));
                metric
            }};
        }
        Self {
            epochs: counter(&mut registry, "epochs", "Epochs that were committed"),
            messages: counter(&mut registry, "messages", "Messages that were read"),
            bytes: counter(&mut registry, "read_bytes", "Bytes of the messages that were read"),
            rows: counter(&mut registry, "rows", "Rows that came out of the last step"),
            dead_letters: counter(
                &mut registry,
                "dead_letters",
                "Messages, or parts of them, that became dead letters",
            ),
            lost: counter(&mut registry, "lost_messages", "Messages that had expired before they were read"),
            duplicates: counter(
                &mut registry,
                "duplicate_rows",
                "Rows that were left out because they repeated others",
            ),
            epoch: registered!("last_epoch", "The number of the last epoch that was committed"),
            epoch_seconds: registered!(
                "last_epoch_duration",
                Seconds,
                "From the start of reading the last epoch to its last commit"
            ),
            watermark: registered!("watermark", Seconds, "The watermark, as seconds since 1970-01-01T00:00:00Z"),
            backlog: registered!("backlog", Bytes, "What waited in the source, where it says so"),
            table_rows: registered!("table_rows", "Rows that were appended to a table"),
            state_groups: registered!("state_groups", "Groups of a step that are open"),
            alerts: registered!("alerts", "Alerts that a rule raised"),
            late: registered!("late_rows", "Rows that came after their window was closed"),
            calls: registered!("plugin_calls", "Calls of a plugin"),
            failures: registered!("plugin_failures", "Calls that trapped, missed their deadline or returned nonsense"),
            inside: registered!("plugin_inside", Seconds, "Time within a plugin, over all workers"),
            memory: registered!("plugin_memory", Bytes, "The most memory that an instance had in the last epoch"),
            counters: registered!("plugin_counter", "A plugin's own counters"),
            swaps: registered!("swaps", "Other versions of plugins, by what became of them"),
            pause: registered!("last_swap_pause", Seconds, "For how long the last swap held up the stream"),
            plugins: registered!("plugin_info", "1 for the version that has a step"),
            registry: Mutex::new(registry),
        }
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn step(step: &str) -> Labels {
    vec![("step", step.to_owned())]
}

#[expect(clippy::cast_precision_loss, reason = "a gauge does not need the last digits")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Metrics {
    pub(super) fn planned(&self, left_bytes: Option<u64>) {
        if let Some(left) = left_bytes {
            self.backlog.set(gauge(left));
        }
    }

    pub(super) fn epoch(&self, progress: &Progress) {
        self.epochs.inc();
        self.messages.inc_by(progress.num_input_rows);
        self.bytes.inc_by(progress.num_input_bytes);
        self.rows.inc_by(progress.num_output_rows);
        self.dead_letters.inc_by(progress.num_dead_letters);
        self.lost.inc_by(progress.num_lost_messages);
        self.duplicates.inc_by(progress.num_duplicate_rows);
        self.epoch.set(gauge(progress.batch_id));
        self.epoch_seconds.set(seconds(progress.batch_duration.saturating_mul(1000)));
        let watermark = progress.event_time.as_ref().and_then(|event_time| event_time.watermark.as_ref());
        if let Some(watermark) = watermark.and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok()) {
            self.watermark.set(seconds(u64::try_from(watermark.timestamp_micros()).unwrap_or(0)));
        }
        for sink in &progress.sinks {
            self.table_rows.get_or_create(&vec![("table", sink.description.clone())]).inc_by(sink.num_output_rows);
        }
        for state in &progress.state_operators {
            let labels = step(&state.operator_name);
            self.state_groups.get_or_create(&labels).set(gauge(state.num_rows_total));
            self.alerts.get_or_create(&labels).inc_by(state.num_alerts);
            self.late.get_or_create(&labels).inc_by(state.num_rows_dropped_by_watermark);
        }
        for plugin in &progress.plugins {
            let labels = step(&plugin.identity.step);
            self.calls.get_or_create(&labels).inc_by(plugin.calls);
            self.failures.get_or_create(&labels).inc_by(plugin.failures);
            self.inside.get_or_create(&labels).inc_by(seconds(plugin.inside_us));
            self.memory.get_or_create(&labels).set(gauge(plugin.peak_memory_bytes));
            for (name, by) in &plugin.counters {
                let labels = vec![("step", plugin.identity.step.clone()), ("counter", name.clone())];
                self.counters.get_or_create(&labels).inc_by(*by);
            }
        }
    }

    pub(super) fn swap(&self, event: &SwapEvent) {
        let outcome = serde_json::to_value(event.outcome).ok();
        let outcome = outcome.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        self.swaps.get_or_create(&vec![("step", event.step.clone()), ("outcome", outcome)]).inc();
        if let Some(pause) = event.pause_us {
            self.pause.set(seconds(pause));
        }
    }

    /// All of it as text, with the versions that are in force now.
    pub(super) fn text(&self, standing: &Standing) -> Result<String, fmt::Error> {
        self.plugins.clear();
        for plugin in &standing.plugins {
            let identity = &plugin.identity;
            let labels = vec![
                ("step", identity.step.clone()),
                ("name", identity.name.clone()),
                ("version", identity.version.clone()),
                ("sha256", identity.sha256.to_string()),
            ];
            self.plugins.get_or_create(&labels).set(1);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}
