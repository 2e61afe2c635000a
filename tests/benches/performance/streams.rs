//! From files of readings to committed rows, windows and alerts.

use std::collections::BTreeMap;
use std::fs;

use weir::pipeline::{Progress, Report};
use weir::source::generator::{ReadingsForm, write_readings};

use super::{memory_mib, run, settings};

const READINGS: u64 = 2_000_000;
const READINGS_PER_MESSAGE: u64 = 10;
const ROUNDS: usize = 5;

const PIPELINE: &str = r#"
[pipeline]
name = "bench"
checkpoint = "run/checkpoint"
trigger = "available-now"

[source.files]
path = "input"

[parser]
plugin = "builtin:json"
config = { columns = """deviceId string, ts as event_time timestamp, temperature double, humidity double,
    pressure double, battery double, lat double, lon double, status string""" }

[table.readings]
path = "run/readings"
"#;

const WINDOWS: &str = r#"
[event_time]
column = "event_time"
delay = "5m"

[window.summary]
size = "5m"
key = ["deviceId"]
plugin = "builtin:statistics"
config = { "*" = ["count"], temperature = ["avg", "min", "max", "last", "range"], battery = ["avg", "min", "max", "last", "range"] }
table = { path = "run/summary" }
"#;

/// About one reading in a hundred raises an alert.
const ALERTS: &str = r#"
[rule.alerts]
plugin = "builtin:thresholds"
table = { path = "run/alerts" }

[[rule.alerts.config.levels]]
column = "temperature"
above = 37.9
kind = "CRITICAL_TEMPERATURE"

[[rule.alerts.config.levels]]
column = "temperature"
above = 37.8
kind = "HIGH_TEMPERATURE"

[[rule.alerts.config.levels]]
column = "battery"
below = 0.053
kind = "LOW_BATTERY"
"#;

/// Sums what is told of a run.
#[derive(Default)]
pub(super) struct Sum {
    busy_us: BTreeMap<&'static str, u64>,
    /// Inside, boundary and validation of each step.
    plugins_us: BTreeMap<String, [u64; 3]>,
    durable_ms: u64,
}

impl Report for Sum {
    fn planned(&mut self, _left_bytes: Option<u64>) {}

    fn chunk(&mut self, _payload_bytes: u64, _rows: u64) {}

    fn epoch(&mut self, progress: &Progress) {
        for (what, us) in &progress.busy_us {
            *self.busy_us.entry(what).or_default() += us;
        }
        for plugin in &progress.plugins {
            let total = self.plugins_us.entry(plugin.identity.step.clone()).or_default();
            for (total, us) in total.iter_mut().zip([plugin.inside_us, plugin.boundary_us, plugin.validation_us]) {
                *total += us;
            }
        }
        let passed = |what: &str| progress.duration_ms.get(what).copied().unwrap_or(0);
        self.durable_ms += passed("walCommit") + passed("commitBatch");
    }
}

/// Print what parsing alone, windows and alerts cost, measured in turn.
pub(super) fn print() {
    let readings = std::env::var("WEIR_BENCH_READINGS").ok().and_then(|count| count.parse().ok()).unwrap_or(READINGS);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    fs::create_dir(&input).unwrap();
    let (messages, files) = (readings / READINGS_PER_MESSAGE, 10);
    let mut bytes = 0;
    for file in 0..files {
        let mut text = Vec::new();
        let offsets = messages * file / files..messages * (file + 1) / files;
        write_readings(&settings(), 0, offsets, ReadingsForm::JsonLines, &mut text).unwrap();
        bytes += text.len();
        fs::write(input.join(format!("{file:02}.json")), text).unwrap();
    }
    let contenders =
        [("JSON to Delta", ""), ("and windows of 5 minutes", WINDOWS), ("and alerts", &[WINDOWS, ALERTS].concat())];
    let mut costs = vec![Vec::new(); contenders.len()];
    let mut sum = Sum::default();
    for round in 0..=ROUNDS {
        for (costs, (_, extra)) in costs.iter_mut().zip(&contenders) {
            sum = Sum::default();
            let (summary, wall, cpu) = run(folder.path(), &[PIPELINE, *extra].concat(), &mut sum);
            assert_eq!(summary.counts.rows, messages * READINGS_PER_MESSAGE);
            fs::remove_dir_all(folder.path().join("run")).unwrap();
            // The first round warms up.
            if round > 0 {
                costs.push((cpu, wall));
            }
        }
    }
    println!("{readings} readings, {:.2} GB of JSON lines, exactly-once commits on local disk", bytes as f64 / 1e9);
    println!("{:<32} {:>8} {:>8} {:>18} {:>16}", "", "wall s", "CPU s", "readings / CPU-s", "CPU to the first");
    let median = |mut costs: Vec<(f64, f64)>| {
        costs.sort_by(|one, other| one.0.total_cmp(&other.0));
        costs[costs.len() / 2]
    };
    let costs: Vec<(f64, f64)> = costs.into_iter().map(median).collect();
    for ((name, _), (cpu, wall)) in contenders.iter().zip(&costs) {
        let rate = readings as f64 / cpu / 1e6;
        println!("{name:<32} {wall:>8.2} {cpu:>8.2} {rate:>16.2} M {:>15.2}x", cpu / costs[0].0);
    }
    println!("peak memory {} MiB; the last run, in ms of threads: {:?}", memory_mib("VmHWM"), in_ms(&sum));
    println!("prepare and commit: {} ms\n", sum.durable_ms);
}

pub(super) fn in_ms(sum: &Sum) -> BTreeMap<String, u64> {
    let busy = sum.busy_us.iter().map(|(what, us)| ((*what).to_owned(), us / 1000));
    let plugins = sum.plugins_us.iter().flat_map(|(step, [inside, boundary, validation])| {
        let part = |what: &str, us: &u64| (format!("{step} {what}"), us / 1000);
        [part("inside", inside), part("boundary", boundary), part("validation", validation)]
    });
    busy.chain(plugins).collect()
}
