//! The real binary, killed at random instants: exactly once all the same.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use weir::env::{Env, Location};
use weir_tests::binary::{succeed, weir};
use weir_tests::readings;
use weir_tests::tables::sorted_integers;

/// How often the process is killed, unless `WEIR_TEST_KILLS` says otherwise.
const KILLS: u64 = 25;
const FILES: usize = 60;
const READINGS_EACH: usize = 500;

const PIPELINE: &str = r#"
[pipeline]
name = "kills"
checkpoint = "data/checkpoint"
trigger = "available-now"
threads = 2

[source.files]
path = "input"
max_files_per_epoch = 1

[parser]
plugin = "builtin:json"
config = { columns = "number bigint, device string" }

[table.numbers]
path = "data/numbers"
partition_by = ["device"]
"#;

const COLUMNS: &str = "number bigint, device string, ts as event_time timestamp, temperature double";

/// What comes behind the rows, where it does.
const STEPS: &str = r#"
[event_time]
column = "event_time"
delay = "1m"
deduplicate = { by = ["number"], within = "10m" }

[window.minutes]
size = "1m"
key = ["device"]
plugin = "builtin:statistics"
config = { "*" = ["count"], number = ["sum"], temperature = ["avg", "last"] }

[window.minutes.table]
path = "data/minutes"

[window.minutes.late]
path = "data/late"

[rule.hot]
plugin = "builtin:thresholds"
config = { levels = [{ column = "temperature", above = 33.0, kind = "HOT" }] }

[rule.hot.table]
path = "data/hot"

[rule.often]
key = ["device"]
plugin = "builtin:consecutive"
config = { column = "temperature", above = 25.0, times = 3, repeat = true, kind = "OFTEN" }

[rule.often.table]
path = "data/often"
"#;

/// The tables of the steps, and the columns that are compared: not the
/// identifiers of alerts, which depend on that of the pipeline.
const TABLES: [(&str, &str); 4] = [
    ("minutes", "device,window_start,window_end,count,sum_number,avg_temperature,last_temperature"),
    ("late", "number,window_start,window_end"),
    ("hot", "number,temperature,alert_kind,alert_message"),
    ("often", "number,alert_message"),
];

/// SplitMix64; the seed is printed when the test fails.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The number that a variable of the environment holds.
pub(crate) fn number(name: &str) -> Option<u64> {
    weir::env::variable(name).and_then(|number| number.parse().ok())
}

/// Runs the pipeline in a folder of its own while these files come, kills it at
/// random instants and lets it run to its end. Returns the folder, and the seed.
pub(crate) fn kill_often(pipeline: &str, files: &[(String, String)]) -> (tempfile::TempDir, u64) {
    crate::binary();
    let kills = number("WEIR_TEST_KILLS").unwrap_or(KILLS);
    let seed = number("WEIR_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let mut random = Random(seed);
    let folder = project(pipeline);
    // Files come while the process is killed and started again.
    let mut waiting = files.chunks(files.len().div_ceil(usize::try_from(kills).unwrap().max(1)));
    for _ in 0..kills {
        for (name, text) in waiting.next().unwrap_or_default() {
            drop_file(folder.path(), name, text);
        }
        let mut process = weir(folder.path(), &["run", "pipeline.toml", "--progress", "none"]);
        let mut process = process.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(400_000)));
        process.kill().unwrap();
        process.wait().unwrap();
    }
    for (name, text) in waiting.flatten() {
        drop_file(folder.path(), name, text);
    }
    succeed(folder.path(), &["run", "pipeline.toml"]);
    (folder, seed)
}

#[tokio::test]
async fn kill_at_random_instants_loses_and_doubles_nothing() {
    let (folder, seed) = kill_often(PIPELINE, &readings::files(FILES, READINGS_EACH));
    let table = Location::Local(folder.path().join("data/numbers"));
    let numbers = sorted_integers(&Env::system(), &table, "number").await;
    let expected: Vec<i64> = (0..i64::try_from(FILES * READINGS_EACH).unwrap()).collect();
    assert!(numbers == expected, "seed {seed}: {} rows, {} expected", numbers.len(), expected.len());
    let letters = Location::Local(folder.path().join("data/checkpoint/dead_letters"));
    let letters = sorted_integers(&Env::system(), &letters, "epoch").await;
    assert_eq!(letters, Vec::<i64>::new(), "seed {seed}: nothing was malformed");
}

#[test]
fn kill_at_random_instants_changes_no_window_no_alert_and_no_late_row() {
    let files = readings::timed_files(FILES, READINGS_EACH / 2);
    let text = format!("{PIPELINE}{STEPS}").replace("number bigint, device string", COLUMNS);
    let (killed, seed) = kill_often(&text, &files);
    let undisturbed = project(&text);
    for (name, text) in &files {
        drop_file(undisturbed.path(), name, text);
    }
    succeed(undisturbed.path(), &["run", "pipeline.toml"]);
    for (table, columns) in TABLES {
        let rows = |folder: &Path| {
            let table = format!("data/{table}");
            let shown =
                succeed(folder, &["table", "show", &table, "--json", "--limit", "100000", "--columns", columns]);
            let mut rows: Vec<String> = shown.lines().map(str::to_owned).collect();
            rows.sort_unstable();
            rows
        };
        let (after_kills, expected) = (rows(killed.path()), rows(undisturbed.path()));
        assert!(expected.len() > 50, "{table} has {} rows", expected.len());
        assert!(
            after_kills == expected,
            "seed {seed}: {table} has {} rows, {} expected",
            after_kills.len(),
            expected.len()
        );
    }
}

/// A folder with this pipeline and no input yet.
fn project(pipeline: &str) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
    folder
}

/// Put a file in place as a careful writer does: complete under its name.
fn drop_file(folder: &Path, name: &str, text: &str) {
    let unfinished = folder.join("input").join(format!("{name}.tmp"));
    fs::write(&unfinished, text).unwrap();
    fs::rename(unfinished, folder.join("input").join(name)).unwrap();
}
