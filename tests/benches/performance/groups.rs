//! Many open groups of which few change: what an epoch costs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use weir::pipeline::{Progress, Report};

use super::{memory_mib, run};

/// The groups that change in an epoch.
const CHANGED: usize = 10_000;
/// The epochs that are measured.
const EPOCHS: usize = 20;

const PIPELINE: &str = r#"
[pipeline]
name = "groups"
checkpoint = "run/checkpoint"
trigger = "available-now"

[source.files]
path = "input"
max_files_per_epoch = 1

[parser]
plugin = "builtin:json"
config = { columns = "deviceId string, ts as event_time timestamp, temperature double, battery double" }

[table.readings]
path = "run/readings"

[event_time]
column = "event_time"
delay = "5m"

[window.summary]
size = "5m"
key = ["deviceId"]
plugin = "builtin:statistics"
config = { "*" = ["count"], temperature = ["avg", "min", "max", "last", "range"], battery = ["avg", "min", "max", "last", "range"] }
limits = { memory = "1GiB", deadline = "10s" }
table = { path = "run/summary" }
"#;

/// The cost of each epoch.
#[derive(Default)]
struct Epochs(Vec<(u64, u64, u64)>);

impl Report for Epochs {
    fn planned(&mut self, _left_bytes: Option<u64>) {}

    fn chunk(&mut self, _payload_bytes: u64, _rows: u64) {}

    fn epoch(&mut self, progress: &Progress) {
        let state = &progress.state_operators[0];
        self.0.push((progress.batch_duration, state.state_bytes_written, state.memory_used_bytes));
    }
}

/// Print what an epoch costs with few and with many open groups.
pub(super) fn print() {
    println!("epochs that change {CHANGED} groups of a window, by the number of open groups");
    println!(
        "{:>12} {:>14} {:>14} {:>16} {:>16} {:>14}",
        "open groups", "median ms", "to the first", "median KiB kept", "plugin MiB", "resident MiB"
    );
    let mut first = None;
    for open in [CHANGED, 100_000, 1_000_000] {
        let folder = tempfile::tempdir().unwrap();
        write_input(folder.path(), open);
        let mut epochs = Epochs::default();
        let (summary, _, _) = run(folder.path(), PIPELINE, &mut epochs);
        assert_eq!(summary.counts.rows as usize, open + EPOCHS * CHANGED);
        // The first files open the groups.
        let measured = &epochs.0[epochs.0.len() - EPOCHS..];
        let median = |pick: fn(&(u64, u64, u64)) -> u64| {
            let mut values: Vec<u64> = measured.iter().map(pick).collect();
            values.sort_unstable();
            values[EPOCHS / 2]
        };
        let (ms, kept) = (median(|epoch| epoch.0), median(|epoch| epoch.1));
        let memory = measured.iter().map(|epoch| epoch.2).max().unwrap_or(0);
        let ratio = ms as f64 / *first.get_or_insert(ms).max(&mut 1) as f64;
        println!(
            "{open:>12} {ms:>14} {ratio:>13.2}x {:>16} {:>16} {:>14}",
            kept >> 10,
            memory >> 20,
            memory_mib("VmRSS")
        );
    }
}

/// One reading of each device, and then epochs with readings of some of them.
fn write_input(folder: &Path, open: usize) {
    let input = folder.join("input");
    fs::create_dir(&input).unwrap();
    let write = |number: usize, devices: &mut dyn Iterator<Item = usize>| {
        let mut text = String::new();
        for device in devices {
            writeln!(
                text,
                r#"{{"deviceId":"device-{device:07}","ts":"2025-10-05T18:4{}:00Z","temperature":{}.5,"battery":0.5}}"#,
                number % 4,
                device % 40
            )
            .unwrap();
        }
        fs::write(input.join(format!("{number:03}.json")), text).unwrap();
    };
    for (number, start) in (0..open).step_by(100_000).enumerate() {
        write(number, &mut (start..open.min(start + 100_000)));
    }
    let files = open.div_ceil(100_000);
    for epoch in 0..EPOCHS {
        // Spread over all devices.
        write(files + epoch, &mut (0..CHANGED).map(|index| (index * (open / CHANGED) + epoch) % open));
    }
}
