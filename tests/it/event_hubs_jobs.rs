//! Windows and alerts from one read of an event hub, killed at random while it is
//! written to: what comes out is what a naive model says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use weir_tests::binary::{succeed, text, weir};
use weir_tests::event_hubs::{LocalHubs, Settings};
use weir_tests::root;

/// How often the process is killed, unless `WEIR_TEST_KILLS` says otherwise.
const KILLS: u64 = 12;
const PARTITIONS: u64 = 3;
const DEVICES: u64 = 9;
/// Readings of a device, ten seconds apart in event time.
const READINGS: u64 = 2000;
const STEP_SECONDS: u64 = 10;
const WINDOW_SECONDS: u64 = 300;

/// A reading: its second of the day, its temperature and its battery, in tenths.
fn reading(device: u64, index: u64) -> (u64, u64, u64) {
    // Neighbours change places; nothing is later than the delay.
    let index = index ^ 1;
    (index * STEP_SECONDS, 200 + (index * 7 + device * 13) % 170, 50 + (index * 11 + device * 5) % 900)
}

fn json((second, temperature, battery): (u64, u64, u64), device: u64) -> String {
    format!(
        "{{\"deviceId\": \"d-{device}\", \"ts\": \"2025-10-06T{:02}:{:02}:{:02}.000Z\", \"temperature\": {}.{}, \"battery\": {}.{}}}",
        second / 3600,
        second / 60 % 60,
        second % 60,
        temperature / 10,
        temperature % 10,
        battery / 10,
        battery % 10
    )
}

/// The example's pipeline, from an event hub.
fn pipeline(trigger: &str) -> String {
    let example = fs::read_to_string(root().join("examples/03-stateful/pipeline.toml")).unwrap();
    let (head, rest) = example.split_once("[source.files]").unwrap();
    let (_, rest) = rest.split_once("[parser]").unwrap();
    let head =
        head.replace("trigger = \"available-now\"", &format!("trigger = \"{trigger}\"\nmax_events_per_epoch = 700"));
    let rest = rest.replace("delay = \"5m\"", "delay = \"5m\"\nflush_at_end = true");
    format!("{head}[source.event_hubs]\nconnection_string = \"${{HUBS}}\"\nstart = \"earliest\"\n\n[parser]{rest}")
}

/// Writes all readings, a few of each device at a time, until it is done.
fn write(hubs: &LocalHubs, is_done: &AtomicBool) {
    for index in (0..READINGS).step_by(4) {
        for device in 0..DEVICES {
            let readings: Vec<String> = (index..index + 4).map(|index| json(reading(device, index), device)).collect();
            let partition = usize::try_from(device % PARTITIONS).unwrap();
            hubs.append("telemetry", partition, format!("[{}]", readings.join(", ")));
        }
        std::thread::sleep(Duration::from_millis(8));
    }
    is_done.store(true, Ordering::SeqCst);
}

fn run(folder: &Path, hubs: &LocalHubs) -> std::process::Command {
    let mut command = weir(folder, &["run", "pipeline.toml", "--progress", "none"]);
    command.env("HUBS", hubs.connection_string("telemetry"));
    command
}

/// The rows of a table, with these columns.
fn rows(folder: &Path, table: &str, columns: &str) -> Vec<Value> {
    let table = format!("data/tables/{table}");
    let shown = succeed(folder, &["table", "show", &table, "--json", "--limit", "1000000", "--columns", columns]);
    shown.lines().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// A summary: count, and in tenths sum, least, most and last of temperature and battery.
type Summary = (u64, [u64; 4], [u64; 4]);

fn expected_summaries() -> BTreeMap<(String, u64), Summary> {
    let mut summaries: BTreeMap<(String, u64), Summary> = BTreeMap::new();
    for device in 0..DEVICES {
        let mut readings: Vec<_> = (0..READINGS).map(|index| reading(device, index)).collect();
        readings.sort_unstable();
        for (second, temperature, battery) in readings {
            let key = (format!("d-{device}"), second / WINDOW_SECONDS);
            let summary = summaries.entry(key).or_insert((0, [0, u64::MAX, 0, 0], [0, u64::MAX, 0, 0]));
            summary.0 += 1;
            for (values, value) in [(&mut summary.1, temperature), (&mut summary.2, battery)] {
                *values = [values[0] + value, values[1].min(value), values[2].max(value), value];
            }
        }
    }
    summaries
}

fn expected_alerts() -> Vec<(String, String)> {
    let mut alerts = Vec::new();
    for device in 0..DEVICES {
        for index in 0..READINGS {
            let (_, temperature, battery) = reading(device, index);
            let kind = match (temperature, battery) {
                (351.., _) => "CRITICAL_TEMPERATURE",
                (301.., _) => "HIGH_TEMPERATURE",
                (_, ..100) => "CRITICAL_BATTERY",
                (_, ..200) => "LOW_BATTERY",
                _ => continue,
            };
            alerts.push((json(reading(device, index), device), kind.to_owned()));
        }
    }
    alerts.sort_unstable();
    alerts
}

#[track_caller]
fn check_tables(folder: &Path) {
    let columns = "deviceId,window_start,message_count,avg_temperature,min_temperature,max_temperature,last_temperature,\
                   temperature_range,avg_battery,min_battery,max_battery,last_battery,battery_range";
    let mut expected = expected_summaries();
    for row in rows(folder, "device_summary", columns) {
        let start = row["window_start"].as_str().unwrap();
        let part = |range: std::ops::Range<usize>| start[range].parse::<u64>().unwrap();
        let second = part(11..13) * 3600 + part(14..16) * 60 + part(17..19);
        let device = row["deviceId"].as_str().unwrap().to_owned();
        let summary = expected.remove(&(device, second / WINDOW_SECONDS));
        assert!(summary.is_some(), "nobody expects, or twice: {row}");
        let (count, temperature, battery) = summary.unwrap();
        assert_eq!(row["message_count"], count, "{row}");
        for (name, [sum, least, most, last]) in [("temperature", temperature), ("battery", battery)] {
            let near = |column: String, tenths: f64| {
                let value = row[&column].as_f64().unwrap();
                assert!((value - tenths / 10.0).abs() < 1e-9, "{column} of {row}");
            };
            near(format!("avg_{name}"), sum as f64 / count as f64);
            near(format!("min_{name}"), least as f64);
            near(format!("max_{name}"), most as f64);
            near(format!("last_{name}"), last as f64);
            near(format!("{name}_range"), (most - least) as f64);
        }
    }
    assert!(expected.is_empty(), "windows that are missing: {expected:?}");

    let alerts = rows(folder, "device_alerts", "deviceId,event_timestamp,temperature,battery,alert_type");
    let mut alerts: Vec<(String, String)> = alerts
        .iter()
        .map(|row| {
            let time = row["event_timestamp"].as_str().unwrap();
            let reading = format!(
                "{{\"deviceId\": {}, \"ts\": \"{}.000Z\", \"temperature\": {}, \"battery\": {}}}",
                row["deviceId"],
                time[..19].replace(' ', "T"),
                row["temperature"],
                row["battery"]
            );
            (reading, row["alert_type"].as_str().unwrap().to_owned())
        })
        .collect();
    alerts.sort_unstable();
    let expected = expected_alerts();
    let first_wrong = alerts.iter().zip(&expected).find(|(one, other)| one != other);
    assert_eq!(alerts.len(), expected.len(), "{first_wrong:?}");
    assert!(alerts == expected, "{first_wrong:?}");

    let readings = rows(folder, "readings", "deviceId,event_time");
    assert_eq!(readings.len() as u64, DEVICES * READINGS);
    assert!(rows(folder, "late_readings", "deviceId").is_empty(), "nothing is late");
}

#[test]
fn kill_while_the_hub_is_written_to_loses_and_doubles_no_reading_window_or_alert() {
    crate::binary();
    let number = |name: &str| weir::env::variable(name).and_then(|number| number.parse().ok());
    let kills = number("WEIR_TEST_KILLS").unwrap_or(KILLS);
    let mut seed = number("WEIR_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("WEIR_TEST_SEED={seed}");
    let hubs = Arc::new(LocalHubs::start_blocking(Settings::hub("telemetry", 3).with_key("all", "c2VjcmV0")));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.toml");
    fs::write(&file, pipeline("asap")).unwrap();
    let is_done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (hubs, is_done) = (Arc::clone(&hubs), Arc::clone(&is_done));
        weir::env::worker("writer", move || write(&hubs, &is_done)).unwrap()
    };
    for _ in 0..kills {
        let mut process = run(folder.path(), &hubs).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(100 + (seed >> 33) % 700));
        process.kill().unwrap();
        process.wait().unwrap();
    }
    writer.join().unwrap();
    assert!(is_done.load(Ordering::SeqCst));
    fs::write(&file, pipeline("available-now")).unwrap();
    let output = run(folder.path(), &hubs).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    check_tables(folder.path());
}
