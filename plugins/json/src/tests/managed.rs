//! Schemas that the host manages: inferred, stored, and what does not fit them.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_plugin::build::BytesBuilder;
use weir_plugin::infer::RESCUED;
use weir_plugin::{Batch, Column, DataType, Field, Inference, Messages, Parsed, ParserInfo, Schema, Values};

use super::chunk;
use super::differential::{element, key, value};
use crate::Parser;
use crate::cursor::Cursor;

const FILE: &str = "in/a \"b\".json";

/// A chunk of messages with the path of their file.
fn in_file<T: AsRef<[u8]>>(messages: &[T]) -> Messages {
    let mut paths = BytesBuilder::default();
    messages.iter().for_each(|_| paths.push(FILE.as_bytes()));
    let Messages { payload, fields } = chunk(messages);
    Messages { payload, fields: Batch { columns: vec![paths.into_utf8()], ..fields } }
}

fn configured(config: &Value, stored: &Schema) -> (Parser, ParserInfo) {
    match <Parser as weir_plugin::Parser>::configure(&config.to_string(), Some(stored.clone())) {
        Ok(configured) => configured,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// A column with all below it.
struct Tree<'a> {
    field: &'a Field,
    column: &'a Column,
    children: Vec<Tree<'a>>,
}

impl<'a> Tree<'a> {
    fn new(fields: &mut std::slice::Iter<'a, Field>, columns: &mut std::slice::Iter<'a, Column>) -> Option<Self> {
        let (field, column) = (fields.next()?, columns.next().expect("a column for each field"));
        assert_eq!(field.data_type, column.data_type(), "{}", field.name);
        let children = (0..field.children).filter_map(|_| Self::new(fields, columns)).collect();
        Some(Self { field, column, children })
    }

    fn value(&self, row: usize) -> Value {
        if self.column.is_null(row) {
            return Value::Null;
        }
        match &self.column.values {
            Values::Boolean(bits) => (bits[row / 8] >> (row % 8) & 1 == 1).into(),
            Values::Int64(values) | Values::Timestamp(values) => values[row].into(),
            Values::Float64(values) => values[row].into(),
            Values::Utf8(values) => std::str::from_utf8(values.get(row)).expect("UTF-8").into(),
            Values::Binary(values) => format!("{:02x?}", values.get(row)).into(),
            Values::List(offsets) => {
                (offsets[row]..offsets[row + 1]).map(|row| self.children[0].value(row as usize)).collect()
            }
            Values::Struct => self.children.iter().map(|child| (child.field.name.clone(), child.value(row))).collect(),
        }
    }
}

/// The rows as objects.
fn objects(schema: &Schema, parsed: &Parsed) -> Vec<Value> {
    let (mut fields, mut columns) = (schema.fields.iter(), parsed.rows.columns.iter());
    let trees: Vec<_> = std::iter::from_fn(|| Tree::new(&mut fields, &mut columns)).collect();
    assert!(columns.next().is_none(), "a column too many");
    let row = |row| trees.iter().map(|tree| (tree.field.name.clone(), tree.value(row))).collect();
    (0..parsed.rows.rows as usize).map(row).collect()
}

/// `price double, id bigint, s string, at timestamp, ok boolean,
/// location struct<lat double, at struct<x bigint>>, tags list<bigint>,
/// items list<struct<a bigint, l list<string>>>`, and the rescued if wanted.
fn stored(rescued: bool) -> Schema {
    let schema = Schema::builder().float64("price").int64("id").utf8("s").timestamp("at").boolean("ok");
    let schema = schema.structure("location", 2).float64("lat").structure("at", 1).int64("x");
    let schema = schema.list("tags").int64("item");
    let schema = schema.list("items").structure("item", 2).int64("a").list("l").utf8("item");
    if rescued { schema.utf8(RESCUED).build() } else { schema.build() }
}

/// One object becomes a row with these members, all others null, and this is
/// rescued of it: the members in front of the path; or else nothing.
#[track_caller]
fn check_with(config: &Value, stored: &Schema, message: &str, expected: &Value, rescued: Option<&str>) {
    let (mut parser, info) = configured(config, stored);
    // The second time the order of the keys is known.
    for round in ["first", "second"] {
        let parsed = parser.parse(&in_file(&[message])).expect("parsed");
        assert!(parsed.rejected.is_empty(), "{message}: {:?}", parsed.rejected);
        let mut rows = objects(&info.output, &parsed);
        assert_eq!(rows.len(), 1, "{message}");
        let row = rows[0].as_object_mut().expect("an object");
        let found = row.remove(RESCUED).unwrap_or_default();
        let path = Value::from(FILE).to_string();
        let rescued = rescued.map(|members| format!("{{{members},\"_file_path\":{path}}}"));
        assert_eq!(found.as_str().map(str::to_owned), rescued, "{round} time: {message}");
        if let Some(rescued) = rescued {
            let mut cursor = Cursor::new(rescued.as_bytes());
            assert!(cursor.value(0).is_ok() && cursor.at == rescued.len(), "{rescued}");
        }
        row.retain(|_, value| !value.is_null());
        assert_eq!(Value::from(row.clone()), *expected, "{round} time: {message}");
    }
}

#[track_caller]
fn check(message: &str, expected: Value, rescued: &str) {
    check_with(&json!({}), &stored(true), message, &expected, Some(rescued).filter(|members| !members.is_empty()));
}

#[test]
fn what_fits_is_not_rescued() {
    check(
        r#"{"price":5,"id":-9,"s":"x","at":"1970-01-01T00:00:01Z","ok":true,"location":{"lat":1.5,"at":{"x":7}},"tags":[1,2],"items":[{"a":1,"l":["p",null]},null,{}]}"#,
        json!({"price":5.0,"id":-9,"s":"x","at":1_000_000,"ok":true,"location":{"lat":1.5,"at":{"x":7}},"tags":[1,2],
               "items":[{"a":1,"l":["p",null]},null,{"a":null,"l":null}]}),
        "",
    );
    check(
        r#"{"location":{},"tags":[],"items":[]}"#,
        json!({"location":{"lat":null,"at":null},"tags":[],"items":[]}),
        "",
    );
    check(r#"{"location":null,"tags":null,"price":null}"#, json!({}), "");
    check(r#"{"s":5}"#, json!({"s":"5"}), "");
    check(r#"{"s":[1, {"a": true}]}"#, json!({"s":"[1, {\"a\": true}]"}), "");
    check(r#"{"items":[{"l":[1,true,{"x":[]}]}]}"#, json!({"items":[{"a":null,"l":["1","true","{\"x\":[]}"]}]}), "");
}

#[test]
fn values_of_another_type_are_rescued_as_they_stand() {
    check(r#"{"price":"$100.00","id":1}"#, json!({"id":1}), r#""price":"$100.00""#);
    check(r#"{"price":1e400}"#, json!({}), r#""price":1e400"#);
    check(r#"{"price":"NaN"}"#, json!({}), r#""price":"NaN""#);
    check(r#"{"id":5.5}"#, json!({}), r#""id":5.5"#);
    check(r#"{"id":9223372036854775808}"#, json!({}), r#""id":9223372036854775808"#);
    check(r#"{"at":"yesterday"}"#, json!({}), r#""at":"yesterday""#);
    check(r#"{"ok":"true"}"#, json!({}), r#""ok":"true""#);
    check(r#"{"s":"\ud800"}"#, json!({}), r#""s":"\ud800""#);
    check(r#"{"price":[ 1 ],"tags":{"a": "b"}}"#, json!({}), r#""price":[ 1 ],"tags":{"a": "b"}"#);
    check(r#"{"location":5}"#, json!({}), r#""location":5"#);
}

#[test]
fn keys_that_the_schema_lacks_are_rescued() {
    check(r#"{"z":{"y": [1]},"id":1,"\u0079":null}"#, json!({"id":1}), r#""z":{"y": [1]},"\u0079":null"#);
    check(r#"{"Price":1,"price":2}"#, json!({"price":2.0}), r#""Price":1"#);
    check(r#"{"_rescued_data":"x"}"#, json!({}), r#""_rescued_data":"x""#);
    check(r#"{"a.b":1,"":2}"#, json!({}), r#""a.b":1,"":2"#);
    // The name of the path is taken.
    check(r#"{"_file_path":"x","z":1}"#, json!({}), r#""z":1"#);
    check(r#"{"_file_path":"x","id":1}"#, json!({"id":1}), "");
}

#[test]
fn a_schema_of_nothing_but_the_rescued_rescues_everything() {
    let stored = Schema::builder().utf8(RESCUED).build();
    check_with(&json!({}), &stored, r#"{"a": 1, "b":{"c":[]}}"#, &json!({}), Some(r#""a":1,"b":{"c":[]}"#));
    check_with(&json!({}), &stored, "{}", &json!({}), None);
}

#[test]
fn nested_values_keep_their_nesting() {
    check(
        r#"{"location":{"lat":"x","alt":5}}"#,
        json!({"location":{"lat":null,"at":null}}),
        r#""location":{"lat":"x","alt":5}"#,
    );
    check(
        r#"{"z":0,"location":{"at":{"x":"?","y":{"w": 1}},"lat":2,"LAT":3},"id":"?"}"#,
        json!({"location":{"lat":2.0,"at":{"x":null}}}),
        r#""z":0,"location":{"at":{"x":"?","y":{"w": 1}},"LAT":3},"id":"?""#,
    );
    check(
        r#"{"location":{"_file_path":1}}"#,
        json!({"location":{"lat":null,"at":null}}),
        r#""location":{"_file_path":1}"#,
    );
}

#[test]
fn a_list_with_an_element_that_does_not_fit_is_rescued_as_a_whole() {
    check(r#"{"tags":[1, "x", 3],"id":1}"#, json!({"id":1}), r#""tags":[1, "x", 3]"#);
    check(r#"{"items":[{"a":1},{"a":"x"}]}"#, json!({}), r#""items":[{"a":1},{"a":"x"}]"#);
    check(r#"{"items":[{"l":["p"]},{"l":"q"}]}"#, json!({}), r#""items":[{"l":["p"]},{"l":"q"}]"#);
    check(r#"{"items":[5]}"#, json!({}), r#""items":[5]"#);
    // What has only more than the schema keeps its column as well.
    check(
        r#"{"items":[{"a":1,"b":2},{"a":3}]}"#,
        json!({"items":[{"a":1,"l":null},{"a":3,"l":null}]}),
        r#""items":[{"a":1,"b":2},{"a":3}]"#,
    );
}

#[test]
fn of_equal_keys_only_the_last_one_counts() {
    check(r#"{"id":"x","id":3}"#, json!({"id":3}), "");
    check(r#"{"id":3,"id":"x"}"#, json!({}), r#""id":"x""#);
    check(r#"{"z":1,"id":1,"z":{"y":2}}"#, json!({"id":1}), r#""z":{"y":2}"#);
    check(r#"{"z":1,"\u007a":2}"#, json!({}), r#""z":2"#);
    check(r#"{"location":{"lat":"x","q":1},"location":{"lat":1}}"#, json!({"location":{"lat":1.0,"at":null}}), "");
    check(r#"{"location":5,"location":{"q":1}}"#, json!({"location":{"lat":null,"at":null}}), r#""location":{"q":1}"#);
    check(r#"{"location":{"q":1},"location":null}"#, json!({}), "");
    check(r#"{"location":{"lat":"x","lat":1}}"#, json!({"location":{"lat":1.0,"at":null}}), "");
    check(r#"{"items":[{"a":"x","a":1}],"tags":["x"],"tags":[1]}"#, json!({"items":[{"a":1,"l":null}],"tags":[1]}), "");
}

#[test]
fn regression_a_key_that_came_twice_does_not_matter_to_the_next_row() {
    let (mut parser, info) = configured(&json!({}), &stored(true));
    let messages = [r#"[{"id":1,"id":2},{"id":"x"},{"location":{"lat":1,"lat":2}},{"location":{"lat":"x"}}]"#];
    let rows = objects(&info.output, &parser.parse(&in_file(&messages)).expect("parsed"));
    let rescued: Vec<_> = rows.iter().map(|row| row[RESCUED].as_str().is_some()).collect();
    assert_eq!(rescued, [false, true, false, true]);
}

#[test]
fn without_a_rescue_unknown_keys_are_ignored_and_mismatches_follow_the_configuration() {
    let message = r#"{"id":"x","z":1,"location":{"lat":"y","q":1},"tags":[1,"x"],"s":"kept"}"#;
    check_with(&json!({}), &stored(false), message, &json!({"s":"kept","location":{"lat":null,"at":null}}), None);
    let (mut parser, _) = configured(&json!({"on_mismatch": "reject"}), &stored(false));
    for (message, reason) in [
        (r#"{"location":{"lat":"y"}}"#, "column location: found \"y\" at byte 19, expected double"),
        (r#"{"tags":[1,"x"]}"#, "column tags: found [1,\"x\"] at byte 8, expected an array of fitting values"),
        (r#"{"location":[]}"#, "column location: found [] at byte 12, expected an object"),
    ] {
        let parsed = parser.parse(&chunk(&[message])).expect("parsed");
        assert_eq!((parsed.rows.rows, parsed.rejected.len()), (0, 1), "{message}");
        assert!(parsed.rejected[0].reason.contains(reason), "{}", parsed.rejected[0].reason);
    }
}

#[test]
fn malformed_text_is_rejected_though_mismatches_are_rescued() {
    let (mut parser, info) = configured(&json!({}), &stored(true));
    let message =
        r#"[{"items":[{"a":1,"b":[}]},{"location":{"at":{"x":"?"}},"price":NaN},{"tags":[1,2 3]},{"id":"x"},{"id":4}]"#;
    let parsed = parser.parse(&in_file(&[message])).expect("parsed");
    let rows = objects(&info.output, &parsed);
    let reasons: Vec<_> = parsed.rejected.iter().map(|rejection| rejection.reason.as_str()).collect();
    assert_eq!(reasons.len(), 1, "the brackets of the first do not balance: {reasons:?}");
    assert!(rows.is_empty());
    let message = message.replace("[}", "[]}");
    let parsed = parser.parse(&in_file(&[message])).expect("parsed");
    let rows = objects(&info.output, &parsed);
    assert_eq!(parsed.rejected.len(), 2, "{:?}", parsed.rejected);
    assert!(parsed.rejected.iter().all(|rejection| rejection.reason.contains("malformed")));
    assert_eq!(rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(), [json!(null), json!(null), json!(4)]);
    assert_eq!(rows[1][RESCUED].as_str().map(|text| text.starts_with(r#"{"id":"x","#)), Some(true));
}

#[test]
fn folded_keys_fill_their_column_whatever_their_case() {
    let check = |message: &str, expected: Value, rescued: &str| {
        let rescued = Some(rescued).filter(|members| !members.is_empty());
        check_with(&json!({"case_sensitive": false}), &stored(true), message, &expected, rescued);
    };
    check(r#"{"PRICE":1,"Location":{"LAT":2}}"#, json!({"price":1.0,"location":{"lat":2.0,"at":null}}), "");
    check(r#"{"ID":1,"id":2}"#, json!({"id":2}), "");
    check(r#"{"id":"x","Id":2}"#, json!({"id":2}), "");
    check(r#"{"id":2,"ID":"x","Z":1,"z":2}"#, json!({}), r#""ID":"x","Z":1,"z":2"#);
}

#[test]
fn listed_columns_are_rescued_around() {
    let config = json!({"columns": "p.lat as lat double, p.q.r as r int, t string, t as n int, p.q as q string"});
    let check = |message: &str, expected: Value, rescued: &str| {
        let rescued = Some(rescued).filter(|members| !members.is_empty());
        check_with(&config, &stored(true), message, &expected, rescued);
    };
    check(
        r#"{"p":{"lat":1,"q":{"r":2,"w":3}},"t":"5"}"#,
        json!({"lat":1.0,"r":2,"q":r#"{"r":2,"w":3}"#,"t":"5"}),
        r#""t":"5""#,
    );
    check(r#"{"p":{"lat":"x","alt":5},"u":1}"#, json!({}), r#""p":{"lat":"x","alt":5},"u":1"#);
    check(r#"{"p":7}"#, json!({}), r#""p":7"#);
    check(r#"{"p":{"alt":1},"p":{"lat":1}}"#, json!({"lat":1.0}), "");
}

/// A schema as text, like `a: struct(b: int64)`; unknown is `?`.
fn shown(schema: &Schema) -> String {
    fn field(fields: &mut std::slice::Iter<'_, Field>) -> Option<String> {
        let next = fields.next()?;
        let children: Vec<String> = (0..next.children).filter_map(|_| field(fields)).collect();
        Some(match (next.data_type, children.as_slice()) {
            (DataType::Struct, []) => format!("{}: ?", next.name),
            (_, []) => format!("{}: {}", next.name, next.data_type.name()),
            _ => format!("{}: {}({})", next.name, next.data_type.name(), children.join(", ")),
        })
    }
    let mut fields = schema.fields.iter();
    std::iter::from_fn(|| field(&mut fields)).collect::<Vec<_>>().join(", ")
}

fn infer(config: &Value, messages: &[impl AsRef<[u8]>]) -> Schema {
    match Parser::infer(&config.to_string(), &chunk(messages)) {
        Ok(schema) => schema,
        Err(problems) => panic!("{problems:?}"),
    }
}

#[test]
fn types_are_inferred_from_all_values() {
    let check =
        |message: &str, expected: &str| assert_eq!(shown(&infer(&json!({}), &[message])), expected, "{message}");
    check(
        r#"[{"d":1.0,"i":1,"b":false,"t":"2025-10-05T18:40:10Z","s":"x"},{"i":-2,"a":null}]"#,
        "a: ?, b: boolean, d: float64, i: int64, s: utf8, t: timestamp",
    );
    check(r#"{"n":1}{"n":2.5}{"m":1}{"m":"1"}"#, "m: utf8, n: float64");
    check(r#"{"big":9223372036854775808,"huge":1e400,"odd":"\ud800"}"#, "big: float64, huge: utf8, odd: utf8");
    check(
        r#"{"date":"2025-10-05","at":"2025-10-05 18:40","word":"2025-10-05T"}"#,
        "at: timestamp, date: utf8, word: utf8",
    );
    check(r#"{"t":"2025-10-05T18:40:10\u005a"}"#, "t: timestamp");
    check(
        r#"[{"p":{"x":1,"y":{"z":"a"}}},{"p":{"x":2.5,"w":[1,[2]]}},{"q":{}},{"q":{"r":[]}}]"#,
        "p: struct(w: list(item: utf8), x: float64, y: struct(z: utf8)), q: struct(r: list(item: ?))",
    );
    check(r#"{"l":[{"a":1},{"b":true},null]}"#, "l: list(item: struct(a: int64, b: boolean))");
    check(r#"{"a":{}}{"a":1}"#, "a: utf8");
    check(r#"{"a":[]}{"a":{"b":1}}"#, "a: utf8");
    check(r#"{"a":1,"_rescued_data":"x","":2}"#, "a: int64");
    check(r#"{"a":1,"A":"x"}"#, "A: utf8, a: int64");
    check("", "");
    check("[1, null, []]", "");
}

#[test]
fn malformed_elements_leave_no_trace_in_a_schema() {
    let check =
        |message: &str, expected: &str| assert_eq!(shown(&infer(&json!({}), &[message])), expected, "{message}");
    check(r#"[{"a":1},{"a":"x","b":02},{"c":3}]"#, "a: int64, c: int64");
    check("{\"a\":1}\n{\"a\":\"x\n{\"c\":true}\n", "a: int64, c: boolean");
    check("{\"a\":1,", "");
}

#[test]
fn folded_keys_are_one_column_named_by_the_first_in_byte_order() {
    let schema =
        infer(&json!({"case_sensitive": false}), &[r#"{"deviceId":1,"p":{"x":1}}{"DeviceID":2.5,"P":{"X":2}}"#]);
    assert_eq!(shown(&schema), "DeviceID: float64, P: struct(X: int64)");
}

#[test]
fn a_sample_that_is_too_deep_is_a_problem() {
    for levels in [33, 40, 126] {
        for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
            let message = format!("{{\"deep\":{}1{}}}", open.repeat(levels), close.repeat(levels));
            let problems = Parser::infer("{}", &chunk(&[message])).expect_err("too deep");
            assert!(problems[0].message.contains("nested deeper"), "{problems:?}");
        }
    }
    let message = format!("{{\"deep\":{}1{}}}", "[".repeat(32), "]".repeat(32));
    assert_eq!(infer(&json!({}), &[message]).fields.len(), 33);
}

/// What the host makes of an inferred schema: what is unknown becomes text.
fn settled(schema: Schema, rescued: bool) -> Schema {
    let mut fields = schema.fields;
    for field in &mut fields {
        if field.data_type == DataType::Struct && field.children == 0 {
            field.data_type = DataType::Utf8;
        }
    }
    let last = Schema::builder().utf8(RESCUED).build().fields;
    fields.extend(last.into_iter().filter(|_| rescued));
    Schema { fields }
}

/// The value that a field makes of another one that fits it; none if it does not.
fn fitted(tree: &Tree<'_>, value: &Value) -> Option<Value> {
    if value.is_null() {
        return Some(Value::Null);
    }
    Some(match (tree.field.data_type, value) {
        (DataType::Utf8, Value::String(text)) => text.as_str().into(),
        (DataType::Utf8, other) => other.to_string().into(),
        (DataType::Float64, Value::Number(number)) => number.as_f64()?.into(),
        (DataType::Int64, Value::Number(number)) => number.as_i64()?.into(),
        (DataType::Boolean, Value::Bool(flag)) => (*flag).into(),
        (DataType::Timestamp, Value::String(text)) => {
            chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros().into()
        }
        (DataType::List, Value::Array(items)) => {
            items.iter().map(|item| fitted(&tree.children[0], item)).collect::<Option<_>>()?
        }
        (DataType::Struct, Value::Object(object)) => {
            if object.keys().any(|key| tree.children.iter().all(|child| child.field.name != *key)) {
                return None;
            }
            let child = |child: &Tree<'_>| {
                let value = object.get(&child.field.name).unwrap_or(&Value::Null);
                Some((child.field.name.clone(), fitted(child, value)?))
            };
            tree.children.iter().map(child).collect::<Option<_>>()?
        }
        _ => return None,
    })
}

/// Objects with keys that can be columns.
fn objects_to_infer() -> impl Strategy<Value = Vec<Value>> {
    let instant = (0..4_000_000_000_i64).prop_map(|second| {
        let instant = chrono::DateTime::from_timestamp(second, 0).expect("in range");
        Value::from(instant.to_rfc3339())
    });
    let member = (
        key().prop_filter("can be a column", |key| !key.is_empty() && key != RESCUED),
        prop_oneof![
            5 => value(),
            1 => instant,
        ],
    );
    vec(vec(member, 0..6).prop_map(|members| members.into_iter().collect::<Value>()), 0..8)
}

/// Whether an object inside has the empty key, which no field can have.
fn has_empty_key(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(key, value)| key.is_empty() || has_empty_key(value)),
        Value::Array(items) => items.iter().any(has_empty_key),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The inferred schema fits: every value comes back, and nothing is rescued.
    #[test]
    fn a_sample_fits_the_schema_inferred_from_it(sample in objects_to_infer()) {
        prop_assume!(!sample.iter().any(has_empty_key));
        let messages: Vec<String> = sample.iter().map(Value::to_string).collect();
        let schema = settled(infer(&json!({}), &messages), true);
        let (mut parser, info) = configured(&json!({}), &schema);
        prop_assert_eq!(shown(&info.output), shown(&schema));
        let parsed = parser.parse(&in_file(&messages)).expect("parsed");
        prop_assert!(parsed.rejected.is_empty(), "{:?}", parsed.rejected);
        prop_assert_eq!(parsed.rows.rows as usize, sample.len());
        let (mut fields, mut columns) = (schema.fields.iter(), parsed.rows.columns.iter());
        while let Some(tree) = Tree::new(&mut fields, &mut columns) {
            for (row, object) in sample.iter().enumerate() {
                let value = object.get(&tree.field.name).unwrap_or(&Value::Null);
                prop_assert_eq!(Some(tree.value(row)), fitted(&tree, value), "{} of {}", &tree.field.name, object);
            }
        }
    }

    #[test]
    fn the_order_of_a_sample_does_not_matter(sample in objects_to_infer(), turn in any::<prop::sample::Index>()) {
        let mut messages: Vec<String> = sample.iter().map(Value::to_string).collect();
        let schema = shown(&infer(&json!({}), &messages));
        if !messages.is_empty() {
            let turn = turn.index(messages.len());
            messages.rotate_left(turn);
        }
        prop_assert_eq!(&shown(&infer(&json!({}), &messages)), &schema);
        messages.reverse();
        // As one message it is the same.
        prop_assert_eq!(&shown(&infer(&json!({}), &[messages.join("\n")])), &schema);
    }

    /// Whatever the schema is, every value is in its column or among the rescued.
    #[test]
    fn nothing_is_lost_with_the_schema_of_other_values(
        sample in objects_to_infer(),
        elements in vec(element(), 0..8),
    ) {
        let messages: Vec<String> = sample.iter().map(Value::to_string).collect();
        let schema = settled(infer(&json!({}), &messages), true);
        let (mut parser, _) = configured(&json!({}), &schema);
        let parsed = parser.parse(&in_file(&[Value::from(elements.clone()).to_string()])).expect("parsed");
        let elements: Vec<&Value> = elements.iter().filter(|element| element.is_object()).collect();
        prop_assert_eq!(parsed.rows.rows as usize, elements.len());
        let (mut fields, mut columns) = (schema.fields.iter(), parsed.rows.columns.iter());
        let trees: Vec<_> = std::iter::from_fn(|| Tree::new(&mut fields, &mut columns)).collect();
        for (row, element) in elements.into_iter().enumerate() {
            let rescued = trees.last().expect("the rescued").value(row);
            let rescued: Value = rescued.as_str().map_or(json!({}), |text| serde_json::from_str(text).expect("JSON"));
            let element = element.as_object().expect("an object");
            for (key, value) in element {
                let tree = trees.iter().find(|tree| tree.field.name == *key && *key != RESCUED);
                let fits = tree.and_then(|tree| fitted(tree, value));
                match (tree, fits, rescued.get(key)) {
                    // It fits, and is in its column only.
                    (Some(tree), Some(fits), None) => prop_assert_eq!(tree.value(row), fits),
                    // It does not fit, and is rescued, of structs what did not fit.
                    (_, None, Some(rescued)) => prop_assert!(rescued == value || value.is_object(), "{} of {}", rescued, value),
                    (_, fits, rescued) => prop_assert!(false, "{}: {} fits as {:?}, rescued {:?}", key, value, fits, rescued),
                }
            }
            for key in rescued.as_object().expect("an object").keys() {
                prop_assert!(element.contains_key(key) || key == "_file_path");
            }
        }
    }

    #[test]
    fn damaged_samples_do_not_panic(text in r#"[\[\]{}:, \n"a0-9.eE+\\untrfalse-]{0,40}"#) {
        let schema = settled(infer(&json!({}), &[&text]), true);
        if schema.fields.len() > 1 {
            let (mut parser, info) = configured(&json!({}), &schema);
            objects(&info.output, &parser.parse(&in_file(&[&text])).expect("parsed"));
        }
    }
}
