use proptest::prelude::*;
use serde_json::{Value, json};
use weir_plugin::build::Float64Builder;

use super::*;

fn schema() -> Schema {
    Schema::builder().utf8("device").float64("temperature").build()
}

fn configured(settings: Value) -> Consecutive {
    let mut config = json!({
        "column": "temperature", "above": 30.0, "times": 3, "kind": "HOT", "message": "{count} times, now {value}",
    });
    for (name, value) in settings.as_object().expect("an object") {
        config[name] = value.clone();
    }
    let (rule, info) = Consecutive::configure(&config.to_string(), schema()).expect("valid");
    assert_eq!((info.columns, info.memory), (vec!["temperature".to_owned()], Memory::Keyed));
    rule
}

fn rows(values: &[Option<f64>]) -> Batch {
    let mut column = Float64Builder::default();
    for value in values {
        match value {
            Some(value) => column.push(*value),
            None => column.push_null(),
        }
    }
    Batch { rows: values.len() as u32, columns: vec![column.into_float64()] }
}

/// The rows that raise an alert, all of one group.
fn raised(rule: &mut Consecutive, values: &[Option<f64>]) -> Vec<u32> {
    rule.evaluate(&vec![4; values.len()], &rows(values)).expect("rows of the schema").rows
}

#[track_caller]
fn check(settings: Value, values: &[f64], expected: &[u32]) {
    let values: Vec<_> = values.iter().copied().map(Some).collect();
    assert_eq!(raised(&mut configured(settings), &values), expected);
}

#[test]
fn the_row_that_completes_the_count_raises_once() {
    check(json!({}), &[31.0, 32.0, 30.0, 31.0, 32.0, 33.0, 34.0, 35.0, 36.0], &[5]);
    check(json!({}), &[31.0, 31.0, 31.0, 30.0, 31.0, 31.0, 31.0], &[2, 6]);
    check(json!({ "times": 1 }), &[31.0, 31.0, 20.0, f64::NAN], &[0, 3]);
}

#[test]
fn repeat_raises_again_after_as_many_rows() {
    check(json!({ "repeat": true }), &[31.0; 10], &[2, 5, 8]);
}

#[test]
fn a_raised_alarm_is_cleared_only_beyond_its_bound() {
    let hysteresis = json!({ "clear_below": 28.0 });
    check(hysteresis.clone(), &[31.0, 31.0, 31.0, 29.0, 31.0, 31.0, 31.0, 31.0], &[2]);
    check(hysteresis.clone(), &[31.0, 31.0, 31.0, 28.0, 31.0, 31.0, 31.0, 31.0], &[2]);
    check(hysteresis, &[31.0, 31.0, 31.0, 27.9, 31.0, 31.0, 31.0, 31.0], &[2, 6]);
    check(json!({ "clear_below": 28.0, "times": 2 }), &[31.0, 29.0, 31.0, 31.0], &[3]);
}

#[test]
fn nulls_neither_count_nor_interrupt() {
    let hot = Some(31.0);
    assert_eq!(raised(&mut configured(json!({})), &[hot, None, hot, None, None, hot, None, hot]), [5]);
    let config = json!({ "column": "temperature", "is_null": true, "times": 2, "kind": "SILENT" });
    let (mut rule, _) = Consecutive::configure(&config.to_string(), schema()).expect("valid");
    assert_eq!(raised(&mut rule, &[None, hot, None, None, None]), [3]);
}

#[test]
fn groups_are_counted_apart_and_the_message_knows_the_count() {
    let mut rule = configured(json!({ "times": 2, "severity": "CRITICAL" }));
    let alerts = rule.evaluate(&[0, 7, 0, 7], &rows(&[Some(31.0), Some(1.0), Some(32.5), Some(31.0)])).expect("rows");
    assert_eq!(alerts.rows, [2]);
    assert_eq!((alerts.kind.get(0), alerts.severity.get(0)), (&b"HOT"[..], &b"CRITICAL"[..]));
    assert_eq!(alerts.message.get(0), b"2 times, now 32.5");
    let alerts = rule.evaluate(&[7, 0], &rows(&[Some(40.0), Some(40.0)])).expect("rows");
    assert_eq!(alerts.rows, [0], "group 7 goes on from its row in the chunk before");
}

proptest! {
    #[test]
    fn chunks_and_snapshots_change_nothing(
        values in proptest::collection::vec((0_u32..3, proptest::option::of(26.0..33.0)), 0..60),
        cut in 0_usize..60,
        repeat in any::<bool>(),
    ) {
        let settings = json!({ "clear_below": 28.0, "times": 2, "repeat": repeat });
        let (groups, values): (Vec<u32>, Vec<_>) = values.into_iter().unzip();
        let whole = configured(settings.clone()).evaluate(&groups, &rows(&values)).expect("rows").rows;
        let cut = cut.min(values.len());
        let mut one = configured(settings.clone());
        let mut parts = one.evaluate(&groups[..cut], &rows(&values[..cut])).expect("rows").rows;
        let states = one.snapshot(&[0, 1, 2]).expect("small");
        let mut other = configured(settings);
        other.restore(&[0, 1, 2], &states, 1).expect("well formed");
        let later = other.evaluate(&groups[cut..], &rows(&values[cut..])).expect("rows").rows;
        parts.extend(later.iter().map(|row| row + cut as u32));
        prop_assert_eq!(parts, whole);
    }
}

#[test]
fn a_count_beyond_a_lowered_times_raises_with_the_next_row() {
    let mut patient = configured(json!({ "times": 10 }));
    assert!(raised(&mut patient, &[Some(31.0); 5]).is_empty());
    let states = patient.snapshot(&[4]).expect("small");
    let mut rule = configured(json!({ "times": 4 }));
    rule.restore(&[4], &states, 1).expect("well formed");
    assert_eq!(raised(&mut rule, &[Some(31.0); 5]), [0]);
}

#[test]
fn released_groups_start_over_and_malformed_states_are_refused() {
    let mut rule = configured(json!({ "times": 2 }));
    assert!(raised(&mut rule, &[Some(31.0)]).is_empty());
    rule.release(&[4]);
    assert_eq!(raised(&mut rule, &[Some(31.0), Some(31.0)]), [1]);
    let states = |bytes: &[u8]| VarBytes { offsets: vec![0, bytes.len() as i32], data: bytes.to_vec() };
    for bad in [&[][..], &[1, 0], &[2, 0, 0, 0, 0, 0, 0, 0, 0], &[0; 10]] {
        assert!(rule.restore(&[4], &states(bad), 1).expect_err("malformed").message.contains("group 0"));
    }
    assert!(rule.restore(&[4], &states(&[0; 9]), 2).is_err());
    assert!(rule.restore(&[4], &states(&[0; 9]), 1).is_ok());
}

#[test]
fn faults_are_reported_all_at_once_with_their_place() {
    let check = |config: Value, expected: &[(&str, &str)]| {
        let problems = Consecutive::configure(&config.to_string(), schema()).err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{config}: {problems:?}");
        for (problem, (path, part)) in problems.iter().zip(expected) {
            assert_eq!(problem.path, *path, "{problem:?}");
            assert!(problem.message.contains(part), "{}", problem.message);
        }
    };
    check(json!(7), &[("", "must be an object")]);
    check(json!({}), &[("column", "missing"), ("kind", "missing"), ("times", "missing")]);
    check(
        json!({ "column": "temperature", "above": 30, "kind": "A", "times": 0, "repeat": 1, "clear_below": 31 }),
        &[
            ("times", "at least 1"),
            ("repeat", "neither true nor false"),
            ("clear_below", "would clear values that raise the alarm"),
        ],
    );
    check(
        json!({ "column": "temperature", "kind": "A", "times": 2, "message": "{count" }),
        &[("", "there is no condition"), ("message", "without its partner")],
    );
    let schema: Value = serde_json::from_str(&config::schema()).expect("JSON");
    assert!(schema["properties"]["above"].is_object() && schema["properties"]["times"].is_object());
}
