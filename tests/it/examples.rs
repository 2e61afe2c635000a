//! The examples, run as their pages say, and compared with their `expected/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use weir_tests::azurite::Azurite;
use weir_tests::binary::{succeed, text, weir};
use weir_tests::event_hubs::{LocalHubs, Settings};
use weir_tests::hosts::put_input;
use weir_tests::{python, root};

/// A copy of an example, so that running it leaves no traces in the checkout.
pub(crate) fn copy(example: &str) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    copy_to(&root().join("examples").join(example), folder.path());
    folder
}

/// What building and running leaves behind.
const LEFT_BEHIND: [&str; 5] = ["data", "target", "build", "node_modules", ".venv"];

/// Copy an example. Its files were written in the order of their names, a second
/// apart.
pub(crate) fn copy_to(from: &Path, folder: &Path) {
    let mut written = SystemTime::UNIX_EPOCH;
    for entry in walkdir::WalkDir::new(from).sort_by_file_name().into_iter().map(Result::unwrap) {
        let below = entry.path().strip_prefix(from).unwrap();
        if LEFT_BEHIND.iter().any(|left| below.iter().any(|part| part == *left)) {
            continue;
        }
        let to = folder.join(below);
        if entry.file_type().is_dir() {
            fs::create_dir_all(to).unwrap();
        } else {
            fs::copy(entry.path(), &to).unwrap();
            written += Duration::from_secs(1);
            fs::File::options().append(true).open(to).unwrap().set_modified(written).unwrap();
        }
    }
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

/// The rows of a table are those of the file in `expected/`, in any order.
#[track_caller]
fn check_rows(example: &str, folder: &Path, arguments: &[&str], expected: &str) {
    let path: PathBuf = root().join("examples").join(example).join("expected").join(expected);
    let rows = succeed(folder, arguments);
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(sorted(&rows), sorted(&expected), "{}", path.display());
}

#[test]
fn quickstart_gives_the_expected_rows_and_dead_letters() {
    let folder = copy("quickstart");
    let shown = succeed(folder.path(), &["run", "pipeline.toml", "--show"]);
    assert!(shown.contains("greenhouse-1") && shown.contains("7 of 7 rows"), "{shown}");
    let show = ["table", "show", "data/tables/readings", "--json"];
    check_rows("quickstart", folder.path(), &show, "readings.jsonl");
    let letters = succeed(folder.path(), &["dead-letters", "pipeline.toml"]);
    assert!(letters.contains("2025-10-05-noon.json") && letters.contains("temperature"), "{letters}");
    assert!(letters.contains("1 of 1 rows"), "{letters}");
}

#[test]
fn second_run_ingests_only_what_is_new() {
    let folder = copy("quickstart");
    succeed(folder.path(), &["run", "pipeline.toml"]);
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let show = ["table", "show", "data/tables/readings", "--json"];
    check_rows("quickstart", folder.path(), &show, "readings.jsonl");
    fs::write(folder.path().join("input/night.json"), r#"[{"deviceId": "owl"}]"#).unwrap();
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let rows = succeed(folder.path(), &show);
    assert_eq!(rows.lines().filter(|row| row.contains("owl")).count(), 1);
    assert_eq!(rows.lines().count(), 8);
}

#[test]
fn history_names_the_plugin_that_made_a_version() {
    let folder = copy("quickstart");
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let history = succeed(folder.path(), &["table", "history", "data/tables/readings"]);
    let manifest = fs::read_to_string(root().join("plugins/bundled/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let components = manifest["components"].as_array().unwrap();
    let json = components.iter().find(|one| one["component"] == "plugins/bundled/json.wasm").unwrap();
    let digest = &json["sha256"].as_str().unwrap()[..12];
    assert!(history.contains(digest), "{digest} in\n{history}");
}

#[test]
fn event_hubs_table_from_files_has_its_columns_in_order() {
    let folder = copy("01-event-hubs");
    succeed(folder.path(), &["run", "from-files.toml"]);
    check_eventhub_parsed(folder.path(), "data/from-files/tables/eventhub_parsed");
}

#[test]
fn event_hubs_example_gives_the_expected_rows_from_messages_that_python_sent() {
    let folder = copy("01-event-hubs");
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 2).with_key("all", "c2VjcmV0"));
    let connection = hubs.connection_string("telemetry");
    let files = ["0.json", "1.json"].map(|name| folder.path().join("input").join(name).display().to_string());
    python::script(SEND_FILES, &[&connection, &files[0], &files[1]]);
    let run = || {
        let mut command = weir(folder.path(), &["run", "pipeline.toml", "--show"]);
        let output = command.env("EVENT_HUBS_CONNECTION_STRING", &connection).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    assert!(run().contains("3 of 3 rows"));
    check_eventhub_parsed(folder.path(), "data/tables/eventhub_parsed");
    assert!(run().contains("3 of 3 rows"), "a second run reads nothing twice");
    let table = folder.path().join("data/tables/eventhub_parsed").display().to_string();
    python::script(READ_TABLE, &[&table]);
}

const SEND_FILES: &str = r#"
import sys
from azure.eventhub import EventData, EventHubProducerClient
with EventHubProducerClient.from_connection_string(sys.argv[1]) as client:
    for partition, path in enumerate(sys.argv[2:]):
        client.send_event(EventData(open(path, "rb").read()), partition_id=str(partition))
"#;

const READ_TABLE: &str = r#"
import sys, time
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1])
columns = [(field.name, field.type.type) for field in table.schema().fields]
doubles = ["temperature", "humidity", "pressure", "battery", "lat", "lon"]
assert columns == [("eh_enqueued_ts", "timestamp"), ("partition", "string"), ("deviceId", "string"), ("local_ts", "string"),
    *[(name, "double") for name in doubles], ("status", "string"), ("server_ts_utc", "timestamp")], columns
rows = table.to_pyarrow_table().to_pylist()
assert {row["partition"] for row in rows} == {"0", "1"}, rows
assert len({row["server_ts_utc"] for row in rows}) == 1, "one clock value for each epoch"
for row in rows:
    # When it came is when the service says it came: a moment before it was read.
    age = (row["server_ts_utc"] - row["eh_enqueued_ts"]).total_seconds()
    assert -5 < age < 120, row
"#;

/// The table of the job, with its columns in order.
#[track_caller]
fn check_eventhub_parsed(folder: &Path, table: &str) {
    let all = succeed(folder, &["table", "show", table, "--json"]);
    let first: serde_json::Map<String, serde_json::Value> = serde_json::from_str(all.lines().next().unwrap()).unwrap();
    assert!(first.contains_key("eh_enqueued_ts") && first.contains_key("server_ts_utc"), "{all}");
    let positions: Vec<usize> = ["eh_enqueued_ts", "partition", "deviceId", "local_ts", "temperature", "server_ts_utc"]
        .map(|name| all.lines().next().unwrap().find(&format!("\"{name}\"")).unwrap())
        .to_vec();
    assert!(positions.is_sorted(), "{all}");
    let columns = "deviceId,local_ts,temperature,humidity,pressure,battery,lat,lon,status";
    let show = ["table", "show", table, "--json", "--columns", columns];
    check_rows("01-event-hubs", folder, &show, "eventhub_parsed.jsonl");
}

#[test]
fn stateful_example_gives_the_expected_summaries_alerts_and_late_readings() {
    let folder = copy("03-stateful");
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let check = |folder: &Path| {
        for table in ["device_summary", "device_alerts", "late_readings"] {
            let show = ["table", "show", &format!("data/tables/{table}"), "--json"];
            check_rows("03-stateful", folder, &show, &format!("{table}.jsonl"));
        }
        let notified = fs::read_to_string(folder.join("data/alerts.jsonl")).unwrap();
        let rows: Vec<String> = notified
            .lines()
            .map(|alert| serde_json::from_str::<serde_json::Value>(alert).unwrap()["row"].to_string())
            .collect();
        let expected = fs::read_to_string(root().join("examples/03-stateful/expected/device_alerts.jsonl")).unwrap();
        assert_eq!(sorted(&rows.join("\n")), sorted(&expected), "each alert is notified once");
    };
    check(folder.path());
    succeed(folder.path(), &["run", "pipeline.toml"]);
    check(folder.path());
    let late =
        r#"[{ "deviceId": "sensor-001", "ts": "2025-10-06T10:01:00.000Z", "temperature": 20.0, "battery": 77.0 }]"#;
    fs::write(folder.path().join("input/late.json"), late).unwrap();
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let late = succeed(folder.path(), &["table", "show", "data/tables/late_readings", "--json"]);
    assert_eq!(late.lines().count(), 2, "{late}");
}

#[test]
fn stateful_example_at_speed_puts_every_reading_into_a_window() {
    let folder = copy("03-stateful");
    let path = folder.path().join("generator.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("events = 100000"));
    // The speed is for people; a test has less time.
    fs::write(&path, text.replace("events = 100000", "events = 2000")).unwrap();
    succeed(folder.path(), &["run", "generator.toml"]);
    let show = |table: &str| {
        let path = format!("data/generator/tables/{table}");
        succeed(folder.path(), &["table", "show", &path, "--json", "--limit", "100000"])
    };
    let count = |row: &str| serde_json::from_str::<serde_json::Value>(row).unwrap()["message_count"].as_u64().unwrap();
    assert_eq!(show("device_summary").lines().map(count).sum::<u64>(), 20_000);
    let alerts = show("device_alerts");
    for kind in ["CRITICAL_TEMPERATURE", "HIGH_TEMPERATURE", "CRITICAL_BATTERY", "LOW_BATTERY"] {
        assert!(alerts.contains(kind), "{kind}");
    }
}

/// The rows of the second job, what it rescued, and what it rejected.
#[track_caller]
fn check_autoloader_parsed(folder: &Path, letters: &str) {
    let table = "data/tables/autoloader_parsed";
    let columns = "deviceId,local_ts,temperature,humidity,pressure,battery,lat,lon,status";
    let show = ["table", "show", table, "--json", "--columns", columns];
    check_rows("02-auto-loader", folder, &show, "autoloader_parsed.jsonl");
    let all = succeed(folder, &["table", "show", table, "--json"]);
    let rows = all.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    let (rescued, clean): (Vec<_>, Vec<_>) = rows.partition(|row| row["deviceId"] == "sensor-003");
    assert!(clean.iter().all(|row| row["_rescued_data"].is_null()), "{all}");
    let rescued: serde_json::Value = serde_json::from_str(rescued[0]["_rescued_data"].as_str().unwrap()).unwrap();
    assert_eq!(rescued["temperature"], "22,5");
    assert!(rescued["_file_path"].as_str().unwrap().ends_with("input/2025-10-05-1845.json"), "{rescued}");
    assert!(letters.contains("2025-10-05-1845.json") && letters.contains("1 of 1 rows"), "{letters}");
}

#[test]
fn auto_loader_example_gives_the_expected_rows_and_rescues_what_does_not_fit() {
    let folder = copy("02-auto-loader");
    let shown = succeed(folder.path(), &["run", "pipeline.toml", "--show"]);
    assert!(shown.contains("5 of 5 rows"), "{shown}");
    check_autoloader_parsed(folder.path(), &succeed(folder.path(), &["dead-letters", "pipeline.toml"]));
    succeed(folder.path(), &["run", "pipeline.toml"]);
    check_autoloader_parsed(folder.path(), &succeed(folder.path(), &["dead-letters", "pipeline.toml"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_loader_example_gives_the_same_rows_from_azurite_with_one_changed_line() {
    let folder = copy("02-auto-loader");
    let azurite = Azurite::shared().await;
    let cloud = azurite.folder();
    for entry in fs::read_dir(folder.path().join("input")).unwrap().map(Result::unwrap) {
        let text = fs::read_to_string(entry.path()).unwrap();
        put_input(&cloud.store, [(entry.file_name().into_string().unwrap(), text)]).await;
    }
    let path = folder.path().join("pipeline.toml");
    let text = fs::read_to_string(&path).unwrap();
    let line = "path = \"input/\"";
    assert_eq!(text.matches(line).count(), 1);
    fs::write(&path, text.replace(line, &format!("path = \"{}/input\"", cloud.url))).unwrap();
    let output = weir(folder.path(), &["run", "pipeline.toml"]).envs(azurite.environment()).output().unwrap();
    assert!(output.status.success(), "{}", weir_tests::binary::text(&output));
    check_autoloader_parsed(folder.path(), &succeed(folder.path(), &["dead-letters", "pipeline.toml"]));
}
