//! Tables read by a reader that we did not write: the Python `deltalake` package.

use std::fs;

use weir_tests::binary::succeed;
use weir_tests::python;

use crate::examples::copy;

const PIPELINE: &str = r#"
[pipeline]
name = "readers"
checkpoint = "data/checkpoint"
trigger = "available-now"
max_events_per_epoch = 1000

[source.generator]
events = 3000
seed = 11
malformed = 0.01

[parser]
plugin = "builtin:json"
config = { columns = """
    deviceId string, ts as local_ts string, ts as event_time timestamp, temperature double, humidity double,
    pressure double, battery double, lat double, lon double, status string""" }

[table.eventhub_parsed]
path = "data/eventhub_parsed"
partition_by = ["status"]
columns = [
    "message.enqueued_time as eh_enqueued_ts", "message.partition as partition", "deviceId", "local_ts",
    "temperature", "humidity", "pressure", "battery", "lat", "lon", "status", "event_time",
    "epoch.time as server_ts_utc",
]
"#;

const SCRIPT: &str = r#"
import sys
from datetime import datetime, timezone
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

table = DeltaTable(sys.argv[1])
letters = DeltaTable(sys.argv[2]).to_pyarrow_table()
rows = table.to_pyarrow_table()
assert table.schema().to_json(), "the schema can be read"
names = [field.name for field in table.schema().fields]
assert names[:4] == ["eh_enqueued_ts", "partition", "deviceId", "local_ts"], names
kinds = {field.name: str(field.type) for field in table.schema().fields}
assert "timestamp" in kinds["server_ts_utc"] and "string" in kinds["local_ts"] and "double" in kinds["lat"], kinds
assert table.metadata().partition_columns == ["status"]

# What the log says of the files is what is in them, and filters that skip files find the same rows.
actions = pa.table(table.get_add_actions(flatten=True))
assert sum(actions["num_records"].to_pylist()) == rows.num_rows
for status in ("OK", "WARN", "FAIL"):
    part = table.to_pyarrow_table(partitions=[("status", "=", status)])
    assert part.num_rows == pc.sum(pc.equal(rows["status"], status)).as_py(), status
for low in (-100.0, 20.0, 25.5, 100.0):
    kept = table.to_pyarrow_dataset().to_table(filter=pc.field("temperature") > low)
    assert kept.num_rows == (pc.sum(pc.greater(rows["temperature"], low)).as_py() or 0), low
some = rows["event_time"][rows.num_rows // 2].as_py()
kept = table.to_pyarrow_dataset().to_table(filter=pc.field("event_time") == some)
assert kept.num_rows >= 1, some

for text, time in zip(rows["local_ts"].to_pylist(), rows["event_time"].to_pylist()):
    assert datetime.fromisoformat(text.replace("Z", "+00:00")) == time.astimezone(timezone.utc), (text, time)
assert len(set(rows["server_ts_utc"].to_pylist())) == 3, "one clock value for each epoch"
history = table.history()
assert sum(1 for entry in history if "weir" in entry) == 3, history
print(rows.num_rows, letters.num_rows)
"#;

#[test]
fn python_deltalake_reads_the_rows_statistics_and_partitions() {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.toml"), PIPELINE).unwrap();
    let progress = succeed(folder.path(), &["run", "pipeline.toml", "--progress", "json"]);
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let printed = python::script(SCRIPT, &[&path("data/eventhub_parsed"), &path("data/checkpoint/dead_letters")]);
    let counts: Vec<u64> = printed.split_whitespace().map(|count| count.parse().unwrap()).collect();
    let told = |field: &str| -> u64 {
        let epochs = progress.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        epochs.map(|epoch| epoch[field].as_u64().unwrap()).sum()
    };
    assert_eq!(counts, [told("numOutputRows"), told("numDeadLetters")]);
    assert_eq!(told("numInputRows"), 3000);
    assert!(counts[0] > 29_000 && counts[1] > 10, "{counts:?}");
}

const SUMMARY_SCRIPT: &str = r#"
import sys
from datetime import datetime, timezone
from deltalake import DeltaTable

def columns(path):
    return [(field.name, field.type.type) for field in DeltaTable(path).schema().fields]

def at(minute, second=0):
    return datetime(2025, 10, 6, 10, minute, second, tzinfo=timezone.utc)

doubles = ["avg_temperature", "avg_battery", "min_temperature", "max_temperature", "min_battery", "max_battery",
           "last_temperature", "last_battery", "temperature_range", "battery_range"]
expected = [("deviceId", "string"), ("window_start", "timestamp"), ("window_end", "timestamp"), ("message_count", "long")]
assert columns(sys.argv[1]) == expected + [(name, "double") for name in doubles], columns(sys.argv[1])
expected = [("deviceId", "string"), ("event_timestamp", "timestamp"), ("temperature", "double"), ("battery", "double"),
            ("alert_type", "string"), ("alert_message", "string"), ("severity", "string")]
assert columns(sys.argv[2]) == expected, columns(sys.argv[2])

windows = DeltaTable(sys.argv[1]).to_pyarrow_table().to_pylist()
assert windows, "the example closes windows"
for row in windows:
    assert row["window_end"].timestamp() - row["window_start"].timestamp() == 300, row
    assert row["window_start"].minute % 5 == 0 and row["window_start"].second == 0, row
    assert row["message_count"] > 0, row
    if row["min_temperature"] is None:
        assert row["deviceId"] == "sensor-003", "only this one has readings without temperature"
        assert row["avg_temperature"] is row["max_temperature"] is row["temperature_range"] is None, row
    else:
        assert row["min_temperature"] <= row["avg_temperature"] <= row["max_temperature"], row
        assert row["temperature_range"] == row["max_temperature"] - row["min_temperature"], row
    assert row["battery_range"] == row["max_battery"] - row["min_battery"], row
keys = [(row["deviceId"], row["window_start"]) for row in windows]
assert len(set(keys)) == len(keys), "each window is given once"

# Every reading is in a closed window, in the late table, or newer than both.
readings = DeltaTable(sys.argv[3]).to_pyarrow_table().to_pylist()
late = DeltaTable(sys.argv[4]).to_pyarrow_table().to_pylist()
for row in windows:
    within = [one for one in readings if one["deviceId"] == row["deviceId"]
              and row["window_start"] <= one["event_time"] < row["window_end"]]
    too_late = [one for one in late if one["deviceId"] == row["deviceId"] and one["window_start"] == row["window_start"]]
    assert row["message_count"] == len(within) - len(too_late), (row, within, too_late)

levels = {"CRITICAL_TEMPERATURE": "CRITICAL", "HIGH_TEMPERATURE": "WARNING", "CRITICAL_BATTERY": "CRITICAL", "LOW_BATTERY": "WARNING"}
def level(row):
    temperature, battery = row["temperature"], row["battery"]
    if temperature is not None and temperature > 35: return "CRITICAL_TEMPERATURE"
    if temperature is not None and temperature > 30: return "HIGH_TEMPERATURE"
    if battery is not None and battery < 10: return "CRITICAL_BATTERY"
    if battery is not None and battery < 20: return "LOW_BATTERY"
alerts = DeltaTable(sys.argv[2]).to_pyarrow_table().to_pylist()
key = lambda row, time, kind: (row["deviceId"], row[time], kind)
raised = sorted(key(row, "event_timestamp", row["alert_type"]) for row in alerts)
assert raised == sorted(key(row, "event_time", level(row)) for row in readings if level(row)), raised
assert all(levels[row["alert_type"]] == row["severity"] for row in alerts), alerts
print(len(windows), len(alerts), len(late))
"#;

#[test]
fn python_deltalake_reads_windows_and_alerts_as_the_third_job_has_them() {
    let folder = copy("03-stateful");
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let path = |name: &str| folder.path().join("data/tables").join(name).to_string_lossy().into_owned();
    let tables = ["device_summary", "device_alerts", "readings", "late_readings"].map(path);
    let printed = python::script(SUMMARY_SCRIPT, &tables.each_ref().map(String::as_str));
    let counts: Vec<usize> = printed.split_whitespace().map(|count| count.parse().unwrap()).collect();
    assert!(counts.iter().all(|count| *count > 0), "windows, alerts and late rows: {counts:?}");
}
