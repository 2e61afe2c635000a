//! An event hub as the source, through the real binary: what comes out is what
//! went in, once.

use std::fs;
use std::path::Path;

use serde_json::Value;
use weir_tests::binary::{succeed, weir};
use weir_tests::event_hubs::{LocalHubs, Settings};

/// A pipeline that reads the hub `telemetry`, with these keys more in its source.
pub(crate) fn pipeline(trigger: &str, keys: &str) -> String {
    format!(
        r#"
[pipeline]
name = "hub"
checkpoint = "data/checkpoint"
trigger = "{trigger}"

[source.event_hubs]
connection_string = "${{HUBS}}"
{keys}

[parser]
plugin = "builtin:json"
config = {{ columns = "id long" }}

[table.rows]
path = "data/rows"
columns = ["id", "message.partition as partition", "message.sequence_number as number"]
"#
    )
}

/// A folder with such a pipeline.
pub(crate) fn project(trigger: &str, keys: &str) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.toml"), pipeline(trigger, keys)).unwrap();
    folder
}

/// Run it to its end; returns the progress of its epochs.
#[track_caller]
pub(crate) fn run(folder: &Path, hubs: &LocalHubs) -> Vec<Value> {
    let mut command = weir(folder, &["run", "pipeline.toml", "--progress", "json"]);
    let output = command.env("HUBS", hubs.connection_string("telemetry")).output().unwrap();
    assert!(output.status.success(), "{}", weir_tests::binary::text(&output));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of the table, as (partition, number, id), sorted.
#[track_caller]
pub(crate) fn rows(folder: &Path) -> Vec<(String, u64, u64)> {
    let rows = succeed(folder, &["table", "show", "data/rows", "--json", "--limit", "10000000"]);
    let row = |row: &str| {
        let row: Value = serde_json::from_str(row).unwrap();
        (row["partition"].as_str().unwrap().to_owned(), row["number"].as_u64().unwrap(), row["id"].as_u64().unwrap())
    };
    let mut rows: Vec<_> = rows.lines().map(row).collect();
    rows.sort_unstable();
    rows
}

/// Send so many messages to each partition; the id says which one it is.
pub(crate) fn fill(hubs: &LocalHubs, partitions: usize, from: u64, to: u64) {
    for partition in 0..partitions {
        let bodies = (from..to).map(|id| format!("{{\"id\": {id}}}").into());
        hubs.append_many("telemetry", partition, bodies);
    }
}

/// All rows that `fill` makes.
pub(crate) fn filled(partitions: usize, from: u64, to: u64) -> Vec<(String, u64, u64)> {
    (0..partitions).flat_map(|partition| (from..to).map(move |id| (partition.to_string(), id, id))).collect()
}

#[test]
fn every_message_is_in_the_table_once_across_runs() {
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 4));
    let folder = project("available-now", "start = \"earliest\"");
    fill(&hubs, 4, 0, 1000);
    run(folder.path(), &hubs);
    assert_eq!(rows(folder.path()), filled(4, 0, 1000));
    assert_eq!(run(folder.path(), &hubs), Vec::<Value>::new());
    fill(&hubs, 2, 1000, 1500);
    run(folder.path(), &hubs);
    let mut expected = filled(4, 0, 1000);
    expected.extend(filled(2, 1000, 1500));
    expected.sort_unstable();
    assert_eq!(rows(folder.path()), expected);
}

#[test]
fn partition_that_appeared_while_nothing_ran_is_read_from_its_beginning() {
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 1));
    let folder = project("available-now", "start = \"latest\"");
    fill(&hubs, 1, 0, 10);
    run(folder.path(), &hubs);
    assert_eq!(rows(folder.path()), []);
    hubs.add_partition("telemetry");
    fill(&hubs, 2, 10, 20);
    run(folder.path(), &hubs);
    let first = (10..20).map(|id| ("0".to_owned(), id, id));
    let second = (0..10).map(|number| ("1".to_owned(), number, number + 10));
    assert_eq!(rows(folder.path()), first.chain(second).collect::<Vec<_>>());
}

#[test]
fn large_and_small_messages_pass_a_small_buffer() {
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 2));
    let body = |id: u64, bytes: usize| format!("{{\"id\": {id}}}{}", " ".repeat(bytes)).into();
    for partition in 0..2 {
        // Sizes change within the stream, and with them how many may be under way.
        let sizes = (0..900).map(|id| body(id, if id / 300 == 1 { 60_000 } else { 10 }));
        hubs.append_many("telemetry", partition, sizes);
    }
    let folder = project("available-now", "start = \"earliest\"\nbuffer = \"1MiB\"");
    run(folder.path(), &hubs);
    assert!(rows(folder.path()) == filled(2, 0, 900));
}
