use proptest::prelude::*;
use serde_json::{Value, json};
use weir_plugin::build::{BooleanBuilder, BytesBuilder, Float64Builder, Int64Builder};
use weir_plugin::{Column, Values};

use super::*;

/// Columns of every type, with the event time behind them.
fn schema() -> Schema {
    let schema = Schema::builder().utf8("device").structure("place", 2).float64("lat").float64("lon");
    let schema = schema.float64("temperature").int64("steps").boolean("on").timestamp("seen").binary("raw");
    schema.timestamp("event.time").required().build()
}

fn configured(config: &Value) -> (Statistics, AggregatorInfo) {
    Statistics::configure(&config.to_string(), schema()).expect("valid")
}

fn floats(values: &[Option<f64>]) -> Column {
    let mut column = Float64Builder::default();
    for value in values {
        match value {
            Some(value) => column.push(*value),
            None => column.push_null(),
        }
    }
    column.into_float64()
}

fn ints(values: &[Option<i64>]) -> Int64Builder {
    let mut column = Int64Builder::default();
    for value in values {
        match value {
            Some(value) => column.push(*value),
            None => column.push_null(),
        }
    }
    column
}

fn texts(values: &[Option<&str>]) -> Column {
    let mut column = BytesBuilder::default();
    for value in values {
        match value {
            Some(value) => column.push(value.as_bytes()),
            None => column.push_null(),
        }
    }
    column.into_utf8()
}

fn times(values: &[i64]) -> Column {
    Column { validity: None, values: Values::Timestamp(values.to_vec()) }
}

fn batch(columns: Vec<Column>, rows: usize) -> Batch {
    Batch { rows: rows as u32, columns }
}

/// The results of a group, as text: `name value` for each output column.
fn results(statistics: &Statistics, info: &AggregatorInfo, group: u32) -> Vec<String> {
    let rows = statistics.evaluate(&[group]).expect("a row");
    let value = |column: &Column| {
        if column.is_null(0) {
            return "null".to_owned();
        }
        match &column.values {
            Values::Int64(values) | Values::Timestamp(values) => values[0].to_string(),
            Values::Float64(values) => format!("{:?}", values[0]),
            Values::Boolean(bits) => (bits[0] == 1).to_string(),
            Values::Utf8(texts) => String::from_utf8_lossy(texts.get(0)).into_owned(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(rows.columns.len(), info.output.fields.len());
    info.output
        .fields
        .iter()
        .zip(&rows.columns)
        .map(|(field, column)| format!("{} {}", field.name, value(column)))
        .collect()
}

/// Fold rows, all of one group, and compare the results.
#[track_caller]
fn check(config: &Value, columns: Vec<Column>, rows: usize, expected: &[&str]) {
    let (mut statistics, info) = configured(config);
    statistics.update(&vec![3; rows], &batch(columns, rows)).expect("rows of the schema");
    assert_eq!(results(&statistics, &info, 3), expected);
}

#[test]
fn numbers_are_folded_and_nulls_are_skipped() {
    let config = json!({
        "*": ["count as message_count"],
        "temperature": ["avg", "min", "max", "last", "first", "sum", "count", "range as temperature_range"],
    });
    let values = floats(&[Some(2.5), None, Some(-1.0), Some(4.5)]);
    let expected = [
        "message_count 4",
        "avg_temperature 2.0",
        "min_temperature -1.0",
        "max_temperature 4.5",
        "last_temperature 2.5",
        "first_temperature -1.0",
        "sum_temperature 6.0",
        "count_temperature 3",
        "temperature_range 5.5",
    ];
    check(&config, vec![values, times(&[40, 50, 20, 30])], 4, &expected);
    let nothing = ["message_count 0", "avg_temperature null", "min_temperature null", "max_temperature null"];
    let (statistics, info) = configured(&config);
    assert_eq!(results(&statistics, &info, 8)[..4], nothing);
    assert_eq!(results(&statistics, &info, 8)[7], "count_temperature 0");
    assert_eq!(info.columns, ["temperature", "event.time"]);
    assert!(!info.output.fields[0].nullable && info.output.fields[1].nullable && !info.output.fields[7].nullable);
}

#[test]
fn nan_is_greater_than_any_number_and_spoils_sums() {
    let config = json!({ "temperature": ["min", "max", "sum", "avg", "range"] });
    let results = |values: &[f64]| {
        let values: Vec<_> = values.iter().copied().map(Some).collect();
        let (mut statistics, info) = configured(&config);
        statistics.update(&vec![0; values.len()], &batch(vec![floats(&values)], values.len())).expect("rows");
        results(&statistics, &info, 0).into_iter().map(|text| text[text.find(' ').unwrap() + 1..].to_owned()).collect()
    };
    let check = |values: &[f64], expected: [&str; 5]| {
        let found: Vec<String> = results(values);
        assert_eq!(found, expected, "{values:?}");
    };
    check(&[1.0, f64::NAN, 2.0], ["1.0", "NaN", "NaN", "NaN", "NaN"]);
    check(&[-f64::NAN, f64::INFINITY], ["inf", "NaN", "NaN", "NaN", "NaN"]);
    check(&[f64::NAN], ["NaN", "NaN", "NaN", "NaN", "NaN"]);
    check(&[f64::INFINITY, 1.0], ["1.0", "inf", "inf", "inf", "inf"]);
    check(&[0.0, -0.0], ["-0.0", "0.0", "0.0", "0.0", "0.0"]);
    check(&[1e100, 1.0, -1e100], ["-1e100", "1e100", "1.0", "0.3333333333333333", "2e100"]);
}

#[test]
fn integers_are_exact_and_overflow_to_null() {
    let config = json!({ "steps": ["sum", "avg", "min", "max", "range", "count"] });
    let values = ints(&[Some(i64::MAX), Some(1), None]).into_int64();
    let max = i64::MAX;
    let expected = [
        "sum_steps null".to_owned(),
        "avg_steps 4.611686018427388e18".to_owned(),
        "min_steps 1".to_owned(),
        format!("max_steps {max}"),
        format!("range_steps {}", max - 1),
        "count_steps 2".to_owned(),
    ];
    check(&config, vec![values], 3, &expected.each_ref().map(String::as_str));
    let values = ints(&[Some(i64::MAX), Some(i64::MIN)]).into_int64();
    let expected = ["sum_steps -1", "avg_steps -0.5"];
    let (mut statistics, info) = configured(&config);
    statistics.update(&[0, 0], &batch(vec![values], 2)).expect("rows");
    let found = results(&statistics, &info, 0);
    assert_eq!((&found[..2], found[4].as_str()), (&expected.map(str::to_owned)[..], "range_steps null"));
}

#[test]
fn first_and_last_go_by_event_time_and_ties_by_arrival() {
    let config = json!({ "device": ["first", "last", "min", "max", "count"], "on": ["first", "last", "min", "max"] });
    let devices = texts(&[Some("b"), Some("a"), None, Some("c"), Some("aa")]);
    let mut on = BooleanBuilder::default();
    [true, false, true, false, true].into_iter().for_each(|value| on.push(value));
    let expected = [
        "first_device a",
        "last_device aa",
        "min_device a",
        "max_device c",
        "count_device 5",
        "first_on true",
        "last_on true",
        "min_on false",
        "max_on true",
    ];
    let mut expected = expected.to_vec();
    expected[4] = "count_device 4";
    expected[5] = "first_on true";
    let columns = vec![devices, on.into_boolean(), times(&[7, 5, 5, 7, 7])];
    let (mut statistics, info) = configured(&config);
    assert_eq!(info.columns, ["device", "on", "event.time"]);
    statistics.update(&[1; 5], &batch(columns, 5)).expect("rows");
    expected[5] = "first_on false";
    assert_eq!(results(&statistics, &info, 1), expected);
}

#[test]
fn timestamps_keep_their_type_and_their_range_is_in_microseconds() {
    let config = json!({ "seen": ["min", "max", "range", "first"] });
    let seen = ints(&[Some(-5), Some(1_000_000)]).into_timestamp();
    let (_, info) = configured(&config);
    let types: Vec<_> = info.output.fields.iter().map(|field| field.data_type).collect();
    use weir_plugin::DataType::{Int64, Timestamp};
    assert_eq!(types, [Timestamp, Timestamp, Int64, Timestamp]);
    check(
        &config,
        vec![seen, times(&[2, 1])],
        2,
        &["min_seen -5", "max_seen 1000000", "range_seen 1000005", "first_seen 1000000"],
    );
}

#[test]
fn the_event_time_is_a_column_like_others() {
    let config = json!({ "event.time": ["min", "max"], "place": ["count"] });
    let (mut statistics, info) = configured(&config);
    assert_eq!(info.columns, ["event.time", "place"]);
    let place = Column { validity: Some(vec![0b10]), values: Values::Struct };
    let columns = vec![times(&[5, 3]), place, floats(&[None, None]), floats(&[None, None])];
    statistics.update(&[0, 0], &batch(columns, 2)).expect("rows");
    assert_eq!(results(&statistics, &info, 0), ["min_event.time 3", "max_event.time 5", "count_place 1"]);
}

#[test]
fn a_text_too_long_to_keep_fails_the_call() {
    let (mut statistics, _) = configured(&json!({ "device": ["last"] }));
    let long = "x".repeat(text::TEXT_MAX_BYTES + 1);
    let rows = |text: &str| batch(vec![texts(&[Some(text)]), times(&[0])], 1);
    assert!(statistics.update(&[0], &rows(&long[1..])).is_ok());
    assert!(statistics.update(&[0], &rows(&long)).expect_err("too long").message.contains("65537"));
}

#[test]
fn deviations_are_those_of_a_sample_and_of_a_population() {
    let config = json!({ "temperature": ["stddev", "stddev_pop", "count"], "steps": ["stddev"] });
    let values = floats(&[Some(2.0), Some(4.0), None, Some(4.0), Some(6.0)]);
    let steps = ints(&[Some(1), None, None, None, None]).into_int64();
    let expected = [
        "stddev_steps null",
        "stddev_temperature 1.632993161855452",
        "stddev_pop_temperature 1.4142135623730951",
        "count_temperature 4",
    ];
    check(&config, vec![steps, values], 5, &expected);
    let one = json!({ "temperature": ["stddev", "stddev_pop"] });
    check(&one, vec![floats(&[Some(5.0)])], 1, &["stddev_temperature null", "stddev_pop_temperature 0.0"]);
    check(&one, vec![floats(&[None])], 1, &["stddev_temperature null", "stddev_pop_temperature null"]);
}

#[test]
fn sketches_answer_approximately() {
    let config = json!({
        "steps": ["p50", "p99.9", "quantile(0.25)", "approx_distinct"],
        "device": ["approx_distinct"],
        "temperature": ["approx_distinct", "p0 as least"],
    });
    let steps: Vec<_> = (1..=1000).map(Some).collect();
    let devices: Vec<_> = (0..1000).map(|row| Some(["a", "b", "c"][row % 3])).collect();
    let temperatures: Vec<_> =
        (0..1000).map(|row| [None, Some(f64::NAN), Some(-f64::NAN), Some(7.0)][row % 4]).collect();
    let (mut statistics, info) = configured(&config);
    let columns = vec![texts(&devices), ints(&steps).into_int64(), floats(&temperatures)];
    statistics.update(&vec![0; 1000], &batch(columns, 1000)).expect("rows");
    let names: Vec<_> = info.output.fields.iter().map(|field| (field.name.as_str(), field.nullable)).collect();
    let expected = [("p50_steps", true), ("p99_9_steps", true), ("p25_steps", true), ("approx_distinct_steps", false)];
    assert_eq!(names[1..5], expected);
    let found = statistics.evaluate(&[0]).expect("a row");
    let float = |column: usize| found.columns[column].float64().expect("numbers").get(0).expect("a value");
    for (column, exact) in [(1, 500.0), (2, 999.0), (3, 250.0), (6, 7.0)] {
        assert!((float(column) / exact - 1.0).abs() < 0.0101, "{} for {exact}", float(column));
    }
    let distinct = |column: usize| found.columns[column].int64().expect("counts").get(0).expect("a value");
    assert!((distinct(4) - 1000).abs() < 60, "{}", distinct(4));
    assert_eq!((distinct(0), distinct(5)), (3, 2));
}

/// The problems of a configuration, with the start of each message.
#[track_caller]
fn refused(config: &str, expected: &[(&str, &str)]) {
    let problems = Statistics::configure(config, schema()).err().unwrap_or_default();
    assert_eq!(problems.len(), expected.len(), "{config}: {problems:?}");
    for (problem, (path, part)) in problems.iter().zip(expected) {
        assert_eq!(problem.path, *path, "{problem:?}");
        assert!(problem.message.contains(part), "{}", problem.message);
    }
}

#[test]
fn faults_are_reported_all_at_once_with_their_place() {
    refused("{", &[("", "must be a JSON object")]);
    refused("[]", &[("", "must be a JSON object")]);
    refused("{}", &[("", "empty")]);
    refused(
        r#"{
            "temperature": ["avg", "average", 5, "min as ", "max as Avg_Temperature"],
            "*": ["sum", "count"],
            "humidity": ["avg"],
            "device": ["avg", "range"],
            "place": ["first"],
            "steps": [],
            "on": "count",
            "seen": ["sum", "count as count"]
        }"#,
        &[
            ("*.0", "takes count alone"),
            ("temperature.1", "no function 'average'; there are count, sum, avg"),
            ("temperature.2", "5 is not a text"),
            ("temperature.3", "a name is missing"),
            ("humidity", "no such column; there are device, place, temperature"),
            ("device.0", "the column is utf8, but avg takes int64 and float64"),
            ("device.1", "range takes int64, float64 and timestamp"),
            ("place.0", "the column is struct"),
            ("steps", "the list is empty"),
            ("on", "is not a list"),
            ("seen.0", "sum takes"),
            ("temperature.4", "also the name of temperature.0"),
            ("seen.1", "also the name of *.1"),
        ],
    );
    refused(
        r#"{"temperature": ["p", "p101", "p5e1", "quantile(1.5)", "quantile(-0)", "p99.9", "quantile(0.999)"], "seen": ["p50"]}"#,
        &[
            ("temperature.0", "no function 'p'"),
            ("temperature.1", "no quantile"),
            ("temperature.2", "no quantile"),
            ("temperature.3", "no quantile"),
            ("temperature.4", "no quantile"),
            ("seen.0", "p50 takes int64 and float64"),
            ("temperature.6", "also the name of temperature.5"),
        ],
    );
    refused(r#"{"on": ["count"], "on": ["min"]}"#, &[("on", "stands there twice")]);
}

#[test]
fn first_and_last_need_an_event_time() {
    let input = Schema::builder().float64("temperature").build();
    let problems = Statistics::configure(r#"{"temperature": ["max", "last"]}"#, input).err().expect("no event time");
    assert_eq!((problems.len(), problems[0].path.as_str()), (1, "temperature.1"));
}

#[test]
fn outputs_stand_in_the_order_of_the_text_behind_those_of_rows() {
    let config = r#"{"temperature": ["max", "avg as mean"], "device": ["count"], "*": ["count as rows", "count"]}"#;
    let (_, info) = Statistics::configure(config, schema()).expect("valid");
    let names: Vec<_> = info.output.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["rows", "count", "max_temperature", "mean", "count_device"]);
}

#[test]
fn the_schema_is_json() {
    assert!(serde_json::from_str::<Value>(config::SCHEMA).is_ok());
}

/// Every accumulator, and columns for it.
fn everything() -> Value {
    json!({
        "*": ["count"],
        "device": ["first", "last", "min", "max", "approx_distinct"],
        "temperature": ["sum", "count", "min", "max", "first", "last", "p50", "approx_distinct"],
        "steps": ["sum", "count", "range", "first", "last"],
        "on": ["count", "min"],
    })
}

type Row = (u32, Option<String>, Option<f64>, Option<i64>, Option<bool>, i64);

fn rows_of(rows: &[Row]) -> (Vec<u32>, Batch) {
    let mut on = BooleanBuilder::default();
    for row in rows {
        match row.4 {
            Some(value) => on.push(value),
            None => on.push_null(),
        }
    }
    // In the order of the accumulators, which is that of the names.
    let devices: Vec<_> = rows.iter().map(|row| row.1.as_deref()).collect();
    let columns = vec![
        texts(&devices),
        on.into_boolean(),
        ints(&rows.iter().map(|row| row.3).collect::<Vec<_>>()).into_int64(),
        floats(&rows.iter().map(|row| row.2).collect::<Vec<_>>()),
        times(&rows.iter().map(|row| row.5).collect::<Vec<_>>()),
    ];
    (rows.iter().map(|row| row.0).collect(), batch(columns, rows.len()))
}

fn update(statistics: &mut Statistics, rows: &[Row]) {
    let (groups, rows) = rows_of(rows);
    statistics.update(&groups, &rows).expect("rows of the schema");
}

fn all_results(statistics: &Statistics, info: &AggregatorInfo) -> Vec<Vec<String>> {
    (0..4).map(|group| results(statistics, info, group)).collect()
}

/// Whole numbers as floats, so that sums are exact in every order.
fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let float = prop_oneof![8 => (-1000_i32..1000).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(-0.0)];
    let row = (
        0_u32..4,
        proptest::option::of("[a-c]{0,3}"),
        proptest::option::of(float),
        proptest::option::of(any::<i64>()),
        proptest::option::of(any::<bool>()),
        0_i64..6,
    );
    proptest::collection::vec(row, 0..40)
}

proptest! {
    #[test]
    fn merging_parts_equals_folding_all(rows in any_rows(), cut in 0_usize..40) {
        let cut = cut.min(rows.len());
        let (mut whole, info) = configured(&everything());
        assert_eq!(info.columns, ["device", "on", "steps", "temperature", "event.time"]);
        update(&mut whole, &rows);
        let (mut parts, _) = configured(&everything());
        update(&mut parts, &rows[..cut]);
        let later: Vec<Row> = rows[cut..].iter().cloned().map(|row| (row.0 + 10, row.1, row.2, row.3, row.4, row.5)).collect();
        update(&mut parts, &later);
        parts.merge(&[3, 2, 1, 0], &[13, 12, 11, 10]).expect("two groups");
        prop_assert_eq!(all_results(&parts, &info), all_results(&whole, &info));
    }

    #[test]
    fn going_on_from_a_snapshot_equals_going_on(rows in any_rows(), cut in 0_usize..40) {
        let cut = cut.min(rows.len());
        let (mut one, info) = configured(&everything());
        update(&mut one, &rows[..cut]);
        let states = one.snapshot(&[2, 0, 1, 3]).expect("small");
        let (mut other, _) = configured(&everything());
        other.restore(&[2, 0, 1, 3], &states, 1).expect("well formed");
        prop_assert_eq!(other.snapshot(&[2, 0, 1, 3]).expect("small").data, states.data);
        update(&mut one, &rows[cut..]);
        update(&mut other, &rows[cut..]);
        prop_assert_eq!(all_results(&other, &info), all_results(&one, &info));
        one.release(&[0, 1, 2, 3]);
        let (empty, _) = configured(&everything());
        prop_assert_eq!(all_results(&one, &info), all_results(&empty, &info));
    }

    #[test]
    fn merged_deviations_are_those_of_all(values in proptest::collection::vec(-1e6..1e6, 2..50), cut in 0_usize..50) {
        let cut = cut.min(values.len());
        let config = json!({ "temperature": ["stddev"] });
        let (mut parts, _) = configured(&config);
        for (group, part) in [(0, &values[..cut]), (1, &values[cut..])] {
            let part: Vec<_> = part.iter().copied().map(Some).collect();
            parts.update(&vec![group; part.len()], &batch(vec![floats(&part)], part.len())).expect("rows");
        }
        parts.merge(&[0], &[1]).expect("two groups");
        let found = parts.evaluate(&[0]).expect("a row").columns[0].float64().expect("numbers").get(0).expect("a value");
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let exact = (squares / (values.len() - 1) as f64).sqrt();
        prop_assert!((found - exact).abs() <= exact.max(1.0) * 1e-9, "{found} for {exact}");
    }

    #[test]
    fn malformed_states_are_refused_without_a_panic(rows in any_rows(), at in 0_usize..500, bytes in proptest::collection::vec(any::<u8>(), 0..4)) {
        let (mut statistics, _) = configured(&everything());
        update(&mut statistics, &rows);
        let state = statistics.snapshot(&[1]).expect("small").data;
        let at = at.min(state.len());
        let mut short = state[..at].to_vec();
        let restore = |state: &[u8], statistics: &mut Statistics| {
            let good = statistics.snapshot(&[0]).expect("small").data;
            let offsets = vec![0, good.len() as i32, (good.len() + state.len()) as i32];
            statistics.restore(&[0, 1], &VarBytes { offsets, data: [&good, state].concat() }, 1)
        };
        if at < state.len() {
            let error = restore(&short, &mut statistics).expect_err("cut off");
            prop_assert!(error.message.contains("group 1"), "{}", error.message);
        }
        // Other bytes may be a state or not, but never a trap.
        short.extend(&bytes);
        short.extend(state.get(at + bytes.len()..).unwrap_or_default());
        let _ = restore(&short, &mut statistics);
    }
}

#[test]
fn a_state_belongs_to_a_set_of_accumulators_not_to_their_order() {
    let (mut statistics, _) = configured(&json!({ "temperature": ["avg", "min"], "steps": ["sum"] }));
    let columns = vec![ints(&[Some(7)]).into_int64(), floats(&[Some(1.5)])];
    statistics.update(&[0], &batch(columns, 1)).expect("rows");
    let states = statistics.snapshot(&[0]).expect("small");
    let (mut reordered, info) =
        configured(&json!({ "steps": ["avg", "sum as total"], "temperature": ["max", "range", "avg"] }));
    reordered.restore(&[5], &states, 1).expect("the same accumulators");
    let expected = ["avg_steps 7.0", "total 7", "max_temperature 1.5", "range_temperature 0.0", "avg_temperature 1.5"];
    assert_eq!(results(&reordered, &info, 5), expected);
    for other in [json!({ "temperature": ["avg", "min"] }), json!({ "temperature": ["avg", "last"], "steps": ["sum"] })]
    {
        let (mut other, _) = configured(&other);
        assert!(other.restore(&[0], &states, 1).expect_err("another set").message.contains("group 0"));
    }
    assert!(reordered.restore(&[5], &states, 2).is_err());
    assert!(reordered.restore(&[5, 6], &states, 1).is_err());
}
