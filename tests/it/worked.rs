//! The worked example of windows and alerts, to the millisecond.

use serde_json::Value;
use weir_tests::root;
use weir_tests::streams::{Stream, step, watermark};

/// The example's pipeline, on a store in memory.
fn pipeline() -> String {
    let text = std::fs::read_to_string(root().join("examples/03-stateful/pipeline.toml")).unwrap();
    text.replace("notify = [{ file = \"data/alerts.jsonl\" }]", "")
        .replace("\"data/tables/", "\"memory:///")
        .replace("\"data/", "\"memory:///")
        .replace("\"input/\"", "\"memory:///input\"")
}

/// Adds a file of `(device, time, temperature, battery)`, runs it as an epoch and
/// returns what was told.
async fn epoch(stream: &mut Stream, readings: &[(&str, &str, &str, &str)]) -> Value {
    let reading = |(device, time, temperature, battery): &(&str, &str, &str, &str)| {
        format!(
            r#"{{"deviceId": "{device}", "ts": "2025-10-06T{time}Z", "temperature": {temperature}, "battery": {battery}}}"#
        )
    };
    let readings: Vec<String> = readings.iter().map(reading).collect();
    stream.put_json(&format!("[{}]", readings.join(","))).await;
    let mut told = stream.run(&pipeline()).await;
    assert_eq!(told.len(), 1, "each file is an epoch");
    told.remove(0)
}

async fn summaries(stream: &Stream) -> Vec<String> {
    let columns = "deviceId window_start window_end message_count avg_temperature min_temperature max_temperature \
                   last_temperature temperature_range last_battery battery_range";
    stream.rows("device_summary", columns).await
}

#[tokio::test(flavor = "multi_thread")]
async fn window_closes_at_the_millisecond_at_which_the_watermark_reaches_its_end() {
    let mut stream = Stream::default();
    let told = epoch(
        &mut stream,
        &[
            ("s1", "10:00:00.000", "20.0", "90.0"),
            ("s1", "10:01:00.000", "22.0", "88.0"),
            // Its event time, not its arrival, makes it the one before the last.
            ("s1", "10:00:30.000", "36.0", "89.0"),
            ("s2", "10:01:01.000", "31.0", "9.5"),
        ],
    )
    .await;
    assert_eq!(watermark(&told), Some("09:56:01.000"));
    assert_eq!(step(&told, "window.device_summary")["numRowsTotal"], 2);
    assert!(summaries(&stream).await.is_empty());

    let told = epoch(&mut stream, &[("s3", "10:09:59.999", "20.0", "10.0")]).await;
    assert_eq!(watermark(&told), Some("10:04:59.999"));
    assert!(summaries(&stream).await.is_empty());

    let told = epoch(&mut stream, &[("s3", "10:10:00.000", "20.0", "80.0")]).await;
    assert_eq!(watermark(&told), Some("10:05:00.000"));
    assert_eq!(step(&told, "window.device_summary")["numRowsRemoved"], 2);
    let closed = [
        "s1 10:00:00 10:05:00 3 26.0 20.0 36.0 22.0 16.0 88.0 2.0",
        "s2 10:00:00 10:05:00 1 31.0 31.0 31.0 31.0 0.0 9.5 0.0",
    ];
    assert_eq!(summaries(&stream).await, closed);

    // Too late for its window, which is not given again, but not for an alert.
    let told = epoch(&mut stream, &[("s1", "10:04:59.999", "35.0", "80.0")]).await;
    assert_eq!(step(&told, "window.device_summary")["numRowsDroppedByWatermark"], 1);
    assert_eq!(watermark(&told), Some("10:05:00.000"), "the watermark does not go back");
    assert_eq!(summaries(&stream).await, closed);
    let late = stream.rows("late_readings", "deviceId event_time temperature window_start window_end").await;
    assert_eq!(late, ["s1 10:04:59.999 35.0 10:00:00 10:05:00"]);

    // Older than the watermark, but its window is open.
    epoch(&mut stream, &[("s3", "10:05:00.000", "10.0", "80.0")]).await;
    let told = epoch(&mut stream, &[("s3", "10:15:00.000", "20.0", "80.0")]).await;
    assert_eq!(watermark(&told), Some("10:10:00.000"));
    let all = summaries(&stream).await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[2], "s3 10:05:00 10:10:00 2 15.0 10.0 20.0 20.0 10.0 10.0 70.0");

    let alerts = stream.rows("device_alerts", "deviceId event_timestamp alert_type severity").await;
    let expected = [
        "s1 10:00:30 CRITICAL_TEMPERATURE CRITICAL",
        "s1 10:04:59.999 HIGH_TEMPERATURE WARNING",
        "s2 10:01:01 HIGH_TEMPERATURE WARNING",
        "s3 10:09:59.999 LOW_BATTERY WARNING",
    ];
    assert_eq!(alerts, expected);
    assert_eq!(stream.rows("readings", "deviceId").await.len(), 9, "all readings, late ones included");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_compare_strictly_and_the_first_level_decides() {
    let mut stream = Stream::default();
    let cases = [
        ("a", "35.1", "5.0", "CRITICAL_TEMPERATURE Critical temperature detected: 35.1°C CRITICAL"),
        ("b", "36.0", "80.0", "CRITICAL_TEMPERATURE Critical temperature detected: 36.0°C CRITICAL"),
        ("c", "35.0", "5.0", "HIGH_TEMPERATURE High temperature warning: 35.0°C WARNING"),
        ("d", "31.0", "80.0", "HIGH_TEMPERATURE High temperature warning: 31.0°C WARNING"),
        ("e", "30.0", "8.0", "CRITICAL_BATTERY Critical battery level: 8.0% CRITICAL"),
        ("f", "20.0", "10.0", "LOW_BATTERY Low battery warning: 10.0% WARNING"),
        ("g", "20.0", "12.0", "LOW_BATTERY Low battery warning: 12.0% WARNING"),
        ("h", "20.0", "20.0", ""),
        ("i", "null", "19.9", "LOW_BATTERY Low battery warning: 19.9% WARNING"),
        ("j", "null", "null", ""),
    ];
    let readings: Vec<_> = cases
        .iter()
        .map(|(device, temperature, battery, _)| (*device, "10:00:00.000", *temperature, *battery))
        .collect();
    let told = epoch(&mut stream, &readings).await;
    let alerts = stream.rows("device_alerts", "deviceId alert_type alert_message severity").await;
    let raised = cases.iter().filter(|case| !case.3.is_empty());
    let expected: Vec<String> = raised.map(|(device, _, _, alert)| format!("{device} {alert}")).collect();
    assert_eq!(alerts, expected);
    assert_eq!(step(&told, "rule.device_alerts")["numAlerts"], expected.len());
}
