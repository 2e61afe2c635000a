use serde_json::json;
use weir_plugin::build::Float64Builder;

use super::*;

fn exercise() -> String {
    json!({ "levels": [
        { "column": "temperature", "above": 35.0, "kind": "CRITICAL_TEMPERATURE", "severity": "CRITICAL",
          "message": "Critical temperature detected: {value}°C" },
        { "column": "temperature", "above": 30.0, "kind": "HIGH_TEMPERATURE",
          "message": "High temperature warning: {value}°C" },
        { "column": "battery", "below": 10.0, "kind": "CRITICAL_BATTERY", "severity": "CRITICAL",
          "message": "Critical battery level: {value}%" },
        { "column": "battery", "below": 20.0, "kind": "LOW_BATTERY", "message": "Low battery warning: {value}%" },
    ] })
    .to_string()
}

fn readings() -> Schema {
    Schema::builder().utf8("deviceId").float64("temperature").float64("battery").timestamp("event.time").build()
}

fn rows(readings: &[(Option<f64>, Option<f64>)]) -> Batch {
    let mut columns = [Float64Builder::default(), Float64Builder::default()];
    for (temperature, battery) in readings {
        for (column, value) in columns.iter_mut().zip([temperature, battery]) {
            match value {
                Some(value) => column.push(*value),
                None => column.push_null(),
            }
        }
    }
    let columns = columns.into_iter().map(Float64Builder::into_float64).collect();
    Batch { rows: readings.len() as u32, columns }
}

/// The alerts of a chunk as `row kind severity message`.
fn alerts(rule: &mut Thresholds, rows: &Batch) -> Vec<String> {
    let alerts = rule.evaluate(&[], rows).expect("rows of the schema");
    let text = |bytes| std::str::from_utf8(bytes).expect("text");
    let lists = alerts.kind.iter().zip(alerts.severity.iter()).zip(alerts.message.iter());
    alerts
        .rows
        .iter()
        .zip(lists)
        .map(|(row, ((kind, severity), message))| format!("{row} {} {} {}", text(kind), text(severity), text(message)))
        .collect()
}

#[test]
fn the_levels_of_the_exercise_judge_readings() {
    let (mut rule, info) = Thresholds::configure(&exercise(), readings()).expect("valid");
    assert_eq!(info.columns, ["temperature", "battery"]);
    assert_eq!(info.memory, Memory::Stateless);
    let readings = [
        (Some(36.0), Some(50.0)),
        (Some(35.0), Some(5.0)),
        (Some(31.0), None),
        (Some(30.0), Some(8.0)),
        (Some(22.5), Some(10.0)),
        (Some(22.5), Some(20.0)),
        (None, Some(12.0)),
        (None, None),
        (Some(f64::NAN), Some(5.0)),
        (Some(20.0), Some(f64::NAN)),
        (Some(f64::INFINITY), Some(-0.0)),
        (Some(f64::NEG_INFINITY), Some(8.25)),
    ];
    let expected = [
        "0 CRITICAL_TEMPERATURE CRITICAL Critical temperature detected: 36.0°C",
        "1 HIGH_TEMPERATURE WARNING High temperature warning: 35.0°C",
        "2 HIGH_TEMPERATURE WARNING High temperature warning: 31.0°C",
        "3 CRITICAL_BATTERY CRITICAL Critical battery level: 8.0%",
        "4 LOW_BATTERY WARNING Low battery warning: 10.0%",
        "6 LOW_BATTERY WARNING Low battery warning: 12.0%",
        "8 CRITICAL_TEMPERATURE CRITICAL Critical temperature detected: NaN°C",
        "10 CRITICAL_TEMPERATURE CRITICAL Critical temperature detected: inf°C",
        "11 CRITICAL_BATTERY CRITICAL Critical battery level: 8.25%",
    ];
    assert_eq!(alerts(&mut rule, &rows(&readings)), expected);
    // The marks of one chunk are gone in the next.
    assert_eq!(alerts(&mut rule, &rows(&[(Some(1.0), Some(90.0)); 3])), Vec::<String>::new());
}

/// The problems as `path: message`, where each message starts as expected.
#[track_caller]
fn check(config: &serde_json::Value, expected: &[(&str, &str)]) {
    let problems = Thresholds::configure(&config.to_string(), readings()).err().unwrap_or_default();
    assert_eq!(problems.len(), expected.len(), "{config}: {problems:?}");
    for (problem, (path, part)) in problems.iter().zip(expected) {
        assert_eq!(problem.path, *path, "{problem:?}");
        assert!(problem.message.contains(part), "{}", problem.message);
    }
}

#[test]
fn faults_are_reported_all_at_once_with_their_place() {
    check(&json!({}), &[("levels", "missing")]);
    check(&json!([]), &[("", "must be an object")]);
    check(&json!({ "levels": [] }), &[("levels", "0 levels")]);
    check(&json!({ "levels": 5, "colour": 1 }), &[("levels", "not a list"), ("colour", "unknown setting")]);
    check(
        &json!({ "levels": [
            7,
            { "column": "temperature", "kind": "A" },
            { "column": "temperature", "above": 35, "below": 30, "kind": "A" },
            { "column": "temp", "above": 35, "kind": "A" },
            { "above": 35 },
            { "column": "battery", "above": "high", "kind": "", "message": "{nothing}", "sevirity": "X" },
            { "column": "deviceId", "above": 5, "kind": "A" },
        ] }),
        &[
            ("levels.0", "not an object"),
            ("levels.1", "there is no condition"),
            ("levels.2.above", "meets above and below"),
            ("levels.3.column", "there is no column 'temp'; there are deviceId, temperature, battery, event.time"),
            ("levels.4.column", "missing"),
            ("levels.4.kind", "missing"),
            ("levels.5.sevirity", "unknown setting"),
            ("levels.5.kind", "not a text"),
            ("levels.5.above", "not a number"),
            ("levels.5.message", "no column 'nothing'"),
            ("levels.6.above", "equals, not_equals and is_null"),
        ],
    );
}

#[test]
fn the_manifest_has_a_schema_in_json() {
    let schema: Value = serde_json::from_str(&Thresholds::manifest().config_schema).expect("JSON");
    assert!(schema["properties"]["levels"]["items"]["properties"]["above"].is_object());
}
