use proptest::prelude::*;
use serde_json::{Map, Value, json};
use weir_plugin::build::{BooleanBuilder, BytesBuilder, Float64Builder, Int64Builder};
use weir_plugin::{AlertsBuilder, Batch, Column, Problem};

use super::*;

fn schema() -> Schema {
    let schema = Schema::builder().float64("float").int64("int").timestamp("at").boolean("flag").utf8("text");
    schema.binary("raw").list("list").int64("element").build()
}

/// One row of every type that can be judged, in the order of the schema.
fn row(float: f64, int: i64, at: i64, flag: bool, text: &str) -> Vec<Column> {
    let (mut floats, mut ints, mut ats) = (Float64Builder::default(), Int64Builder::default(), Int64Builder::default());
    let (mut flags, mut texts) = (BooleanBuilder::default(), BytesBuilder::default());
    floats.push(float);
    ints.push(int);
    ats.push(at);
    flags.push(flag);
    texts.push(text.as_bytes());
    vec![floats.into_float64(), ints.into_int64(), ats.into_timestamp(), flags.into_boolean(), texts.into_utf8()]
}

fn null(name: &str) -> Column {
    match name {
        "float" => {
            let mut column = Float64Builder::default();
            column.push_null();
            column.into_float64()
        }
        _ => {
            let mut column = BytesBuilder::default();
            column.push_null();
            column.into_utf8()
        }
    }
}

fn condition(column: &str, tests: &Value) -> Result<Condition, Vec<(String, String)>> {
    let schema = schema();
    let tests: &Map<String, Value> = tests.as_object().expect("an object");
    Condition::new(tests, column, &mut Columns::new(&schema))
}

fn meets(column: &str, tests: &Value, values: Column) -> bool {
    let condition = condition(column, tests).expect("a condition");
    let mut marks = [0];
    condition.mark(&Batch { rows: 1, columns: vec![values] }, &mut marks, 1).expect("the type configured");
    marks == [1]
}

/// Which of these values meet the tests.
#[track_caller]
fn check_float(tests: Value, values: &[f64], expected: &[bool]) {
    let found: Vec<bool> =
        values.iter().map(|value| meets("float", &tests, row(*value, 0, 0, true, "").remove(0))).collect();
    assert_eq!(found, expected, "{tests} of {values:?}");
}

#[track_caller]
fn check_int(tests: Value, values: &[i64], expected: &[bool]) {
    let found: Vec<bool> =
        values.iter().map(|value| meets("int", &tests, row(0.0, *value, 0, true, "").remove(1))).collect();
    assert_eq!(found, expected, "{tests} of {values:?}");
}

#[test]
fn bounds_are_strict_or_not_as_named() {
    let values = [34.999, 35.0, 35.001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    check_float(json!({ "above": 35 }), &values, &[false, false, true, true, true, false]);
    check_float(json!({ "at_least": 35.0 }), &values, &[false, true, true, true, true, false]);
    check_float(json!({ "below": 35.0 }), &values, &[true, false, false, false, false, true]);
    check_float(json!({ "at_most": 35.0 }), &values, &[true, true, false, false, false, true]);
    check_float(json!({ "equals": 35.0 }), &values, &[false, true, false, false, false, false]);
    check_float(json!({ "not_equals": 35.0 }), &values, &[true, false, true, true, true, true]);
    check_float(json!({ "between": [35, 35.001] }), &values, &[false, true, true, false, false, false]);
    check_float(json!({ "outside": [35, 35.001] }), &values, &[true, false, false, true, true, true]);
    check_float(json!({ "above": 34, "below": 35, "not_equals": 34.5 }), &[34.5, 34.6, 35.0], &[false, true, false]);
    check_float(json!({ "is_null": false }), &values, &[true; 6]);
    check_float(json!({ "below": 0, "is_null": false }), &[-0.0, 0.0, -1e-300], &[false, false, true]);
    check_float(json!({ "equals": 0 }), &[-0.0, 0.0], &[true, true]);
}

#[test]
fn bounds_between_two_integers_are_exact() {
    let values = [34, 35, 36];
    check_int(json!({ "above": 35.5 }), &values, &[false, false, true]);
    check_int(json!({ "at_least": 34.5 }), &values, &[false, true, true]);
    check_int(json!({ "below": 34.5 }), &values, &[true, false, false]);
    check_int(json!({ "at_most": 35.5 }), &values, &[true, true, false]);
    check_int(json!({ "between": [34.5, 35.5] }), &values, &[false, true, false]);
    check_int(json!({ "above": -0.5, "below": 0.5 }), &[-1, 0, 1], &[false, true, false]);
    let great = 9_007_199_254_740_993_i64;
    check_int(json!({ "above": great }), &[great - 1, great, great + 1], &[false, false, true]);
    check_int(json!({ "at_least": i64::MIN, "at_most": i64::MAX }), &[i64::MIN, i64::MAX], &[true, true]);
}

#[test]
fn other_types_are_compared_as_what_they_are() {
    let values = || row(0.0, 0, 1_000_000, true, "FAIL");
    assert!(meets("at", &json!({ "above": "1970-01-01T00:00:00.999999Z" }), values().remove(2)));
    assert!(meets("at", &json!({ "equals": "1970-01-01T02:00:01+02:00" }), values().remove(2)));
    assert!(!meets("at", &json!({ "below": "1970-01-01T00:00:01Z" }), values().remove(2)));
    assert!(meets("flag", &json!({ "equals": true }), values().remove(3)));
    assert!(!meets("flag", &json!({ "not_equals": true }), values().remove(3)));
    assert!(meets("text", &json!({ "equals": "FAIL" }), values().remove(4)));
    assert!(meets("text", &json!({ "not_equals": "OK" }), values().remove(4)));
    assert!(!meets("text", &json!({ "equals": "FAI" }), values().remove(4)));
}

#[test]
fn a_null_meets_is_null_alone() {
    assert!(meets("float", &json!({ "is_null": true }), null("float")));
    assert!(!meets("float", &json!({ "is_null": true }), row(1.0, 0, 0, true, "").remove(0)));
    for tests in
        [json!({ "is_null": false }), json!({ "not_equals": 5 }), json!({ "below": 5 }), json!({ "above": -1 })]
    {
        assert!(!meets("float", &tests, null("float")), "{tests}");
    }
    assert!(!meets("text", &json!({ "not_equals": "x" }), null("text")));
}

/// The faults of a condition, as names and parts of messages.
#[track_caller]
fn refused(column: &str, tests: Value, expected: &[(&str, &str)]) {
    let faults = condition(column, &tests).expect_err("faults");
    assert_eq!(faults.len(), expected.len(), "{faults:?}");
    for ((name, message), (expected, part)) in faults.iter().zip(expected) {
        assert_eq!(name, expected);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn conditions_that_cannot_hold_are_refused() {
    refused("float", json!({}), &[("", "there is no condition; write one of above")]);
    refused("float", json!({ "above": 35, "below": 30 }), &[("above", "meets above and below")]);
    refused("float", json!({ "above": 35, "equals": 35 }), &[("above", "meets above and equals")]);
    refused("float", json!({ "equals": 35, "not_equals": 35 }), &[("equals", "meets equals and not_equals")]);
    refused("float", json!({ "between": [1, 2], "outside": [0, 3] }), &[("between", "meets between and outside")]);
    refused("float", json!({ "above": 35, "is_null": true }), &[("above", "meets above and is_null")]);
    refused("int", json!({ "above": 5, "below": 6 }), &[("above", "no value of int64")]);
    refused("text", json!({ "equals": "a", "not_equals": "a" }), &[("equals", "meets equals and not_equals")]);
}

#[test]
fn bounds_of_another_type_are_refused() {
    refused("float", json!({ "above": "35", "below": true }), &[("above", "not a number"), ("below", "not a number")]);
    refused("int", json!({ "equals": 0.5 }), &[("equals", "never the value")]);
    refused("int", json!({ "above": 1e19 }), &[("above", "not a number of 64 bits")]);
    refused("int", json!({ "above": i64::MAX }), &[("above", "nothing is above")]);
    refused("at", json!({ "above": "yesterday" }), &[("above", "not an instant like")]);
    refused("flag", json!({ "above": 1 }), &[("above", "a boolean column takes equals")]);
    refused("text", json!({ "equals": 5 }), &[("equals", "not a text")]);
    refused("float", json!({ "between": [2, 1] }), &[("between", "first bound is above the second")]);
    refused("float", json!({ "between": [2] }), &[("between", "pair of bounds")]);
    refused("float", json!({ "is_null": 1 }), &[("is_null", "neither true nor false")]);
    refused("nothing", json!({ "above": 1 }), &[("column", "no column 'nothing'; there are float, int")]);
    refused("raw", json!({ "is_null": true }), &[("column", "is binary, which rules cannot read")]);
}

fn message(template: &str, columns: Vec<Column>) -> Result<String, String> {
    let schema = schema();
    let mut wanted = Columns::new(&schema);
    // Positions as in `row`.
    for name in ["float", "int", "at", "flag", "text"] {
        wanted.want(name).expect("a column");
    }
    let template = Template::new(template, "float", true, &mut wanted)?;
    let mut alerts = AlertsBuilder::default();
    alerts.push_with(0, "", "", |to| template.write(&Batch { rows: 1, columns }, 0, 7, to));
    Ok(String::from_utf8(alerts.finish().message.data).expect("text"))
}

#[test]
fn templates_are_filled_with_values() {
    let check = |template: &str, expected: &str| {
        let found = message(template, row(8.25, -3, 1_500_000, true, "ü"));
        assert_eq!(found.as_deref(), Ok(expected), "{template}");
    };
    check("{value}°C", "8.25°C");
    check("{float:.1} {value:.0} {value:.3}", "8.2 8 8.250");
    check("{int}|{flag}|{text}|{at}", "-3|true|ü|1970-01-01T00:00:01.500Z");
    check("{{{value}}} }} {{value}} {count}x", "{8.25} } {value} 7x");
    check("plain", "plain");
    let mut columns = row(0.0, 0, i64::MAX, false, "");
    columns[0] = null("float");
    assert_eq!(message("{value} {at}", columns).as_deref(), Ok("null 9223372036854775807 microseconds since 1970"));
}

#[test]
fn floats_have_a_decimal_and_read_back() {
    for (value, expected) in [
        (36.0, "36.0"),
        (8.25, "8.25"),
        (0.1 + 0.2, "0.30000000000000004"),
        (f64::NAN, "NaN"),
        (-0.0, "-0.0"),
        (1e300, "1e300"),
    ] {
        assert_eq!(message("{value}", row(value, 0, 0, false, "")).as_deref(), Ok(expected));
    }
}

#[test]
fn templates_that_cannot_be_filled_are_refused() {
    let check = |template: &str, part: &str| {
        let fault = message(template, Vec::new()).expect_err("a fault");
        assert!(fault.contains(part), "{fault}");
    };
    check("{temp}", "no column 'temp'");
    check("{", "without its partner");
    check("a } b", "without its partner");
    check("{value", "without its partner");
    check("{int:.2}", "asks for decimals, but the column is int64");
    check("{value:.x}", "asks for 'x' decimals");
    check("{value:.99}", "asks for '99' decimals");
    check("{raw}", "is binary");
    check("{}", "no column ''");
}

#[test]
fn an_alarm_has_defaults() {
    let schema = schema();
    let mut columns = Columns::new(&schema);
    let object = json!({ "column": "int", "above": 5, "kind": "A" });
    let place = Place { path: "levels.0", others: &[], counted: false };
    let mut problems: Vec<Problem> = Vec::new();
    let alarm = Alarm::new(object.as_object().expect("an object"), place, &mut columns, &mut problems).expect("valid");
    assert_eq!((alarm.severity.as_str(), columns.into_names()), ("WARNING", vec!["int".to_owned()]));
    let mut alerts = AlertsBuilder::default();
    let rows = Batch { rows: 1, columns: vec![row(0.0, 6, 0, true, "").remove(1)] };
    alerts.push_with(0, "", "", |to| alarm.message.write(&rows, 0, 1, to));
    assert_eq!(alerts.finish().message.data, b"int is 6");
}

proptest! {
    #[test]
    fn floats_are_judged_like_spark(value in any::<f64>(), bound in -1e9..1e9) {
        let nan = value.is_nan();
        let expected = [value > bound || nan, value >= bound || nan, value < bound, value <= bound, value == bound, value != bound];
        for (name, expected) in ["above", "at_least", "below", "at_most", "equals", "not_equals"].into_iter().zip(expected) {
            let found = meets("float", &json!({ (name): bound }), row(value, 0, 0, true, "").remove(0));
            prop_assert_eq!(found, expected, "{} {} {}", value, name, bound);
        }
    }

    #[test]
    fn integers_are_judged_as_numbers(value in -50_i64..50, bound in -50.0..50.0) {
        let float = value as f64;
        let expected = [float > bound, float >= bound, float < bound, float <= bound];
        for (name, expected) in ["above", "at_least", "below", "at_most"].into_iter().zip(expected) {
            let found = meets("int", &json!({ (name): bound }), row(0.0, value, 0, true, "").remove(1));
            prop_assert_eq!(found, expected, "{} {} {}", value, name, bound);
        }
    }
}
