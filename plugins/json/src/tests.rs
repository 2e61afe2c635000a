//! The parser as a whole: messages in, rows and rejections out.

mod differential;
mod managed;

use weir_plugin::{Batch, Messages, Parsed, Values, VarBytes};

use crate::Parser;

/// A chunk of messages.
pub(crate) fn chunk<T: AsRef<[u8]>>(messages: &[T]) -> Messages {
    let mut payload = VarBytes { offsets: vec![0], data: Vec::new() };
    for message in messages {
        payload.data.extend_from_slice(message.as_ref());
        payload.offsets.push(i32::try_from(payload.data.len()).expect("a small chunk"));
    }
    let rows = u32::try_from(messages.len()).expect("a small chunk");
    Messages { payload, fields: Batch { rows, columns: Vec::new() } }
}

pub(crate) fn parser(columns: &str) -> Parser {
    configured(&serde_json::json!({ "columns": columns }))
}

fn configured(config: &serde_json::Value) -> Parser {
    match <Parser as weir_plugin::Parser>::configure(&config.to_string(), None) {
        Ok((parser, _)) => parser,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// The rows as text: cells separated by `|`, nulls as `-`.
pub(crate) fn rows(parsed: &Parsed) -> Vec<String> {
    assert_eq!(parsed.origins.len(), parsed.rows.rows as usize, "one origin for each row");
    (0..parsed.rows.rows as usize)
        .map(|row| parsed.rows.columns.iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|"))
        .collect()
}

fn cell(column: &weir_plugin::Column, row: usize) -> String {
    if column.is_null(row) {
        return "-".into();
    }
    match &column.values {
        Values::Boolean(bits) => (bits[row / 8] >> (row % 8) & 1 == 1).to_string(),
        Values::Int64(values) | Values::Timestamp(values) => values[row].to_string(),
        Values::Float64(values) => format!("{:?}", values[row]),
        Values::Utf8(values) => std::str::from_utf8(values.get(row)).expect("UTF-8").to_owned(),
        Values::Binary(values) => format!("{:02x?}", values.get(row)),
        Values::List(_) | Values::Struct => unreachable!("no column of this parser"),
    }
}

/// One message and its rows; rejections as `element start..end reason`, of
/// which the expectation is a part.
#[track_caller]
fn check(columns: &str, message: impl AsRef<[u8]>, expected_rows: &[&str], expected_rejections: &[&str]) {
    check_with(&mut parser(columns), message.as_ref(), expected_rows, expected_rejections);
}

#[track_caller]
fn check_with(parser: &mut Parser, message: &[u8], expected_rows: &[&str], expected_rejections: &[&str]) {
    let shown = String::from_utf8_lossy(message);
    // The second time the order of the keys is known.
    for round in ["first", "second"] {
        let parsed = parser.parse(&chunk(&[message])).expect("parsed");
        assert_eq!(rows(&parsed), expected_rows, "{round} time: {shown}");
        let rejections: Vec<String> = parsed
            .rejected
            .iter()
            .map(|rejection| {
                let span = rejection.span.expect("a span");
                assert!(span.start < span.end || message.is_empty(), "an empty span: {rejection:?}");
                assert!(span.end as usize <= message.len(), "beyond the message: {rejection:?}");
                format!("{} {}..{} {}", rejection.element.expect("an element"), span.start, span.end, rejection.reason)
            })
            .collect();
        assert_eq!(rejections.len(), expected_rejections.len(), "{round} time: {shown}: {rejections:#?}");
        for (found, expected) in rejections.iter().zip(expected_rejections) {
            assert!(found.contains(expected), "{round} time: {shown}: {found}");
        }
    }
}

#[test]
fn all_shapes_of_a_message_are_understood() {
    let check = |message: &str, expected: &[&str]| check("a int", message, expected, &[]);
    check(r#"[{"a":1},{"a":2}]"#, &["1", "2"]);
    check("[\n  {\n    \"a\" : 1\n  },\n\t{ \"a\": 2 }\r\n]\n", &["1", "2"]);
    check(r#"{"a":1}"#, &["1"]);
    check("{\"a\":1}\n{\"a\":2}\r\n\n{\"a\":3}\n", &["1", "2", "3"]);
    check(r#"{"a":1}{"a":2} [{"a":3}] [] {}"#, &["1", "2", "3", "-"]);
    check("\u{feff}[{\"a\":1}]", &["1"]);
    for empty in ["", " \n\t\r", "[]", " [ ] ", "\u{feff}"] {
        check(empty, &[]);
    }
}

#[test]
fn values_become_what_their_column_says() {
    check("s string", r#"{"s":"x\u00e9\n\ud83d\ude00"}"#, &["xé\n😀"], &[]);
    check("s string", r#"{"s":1.50}"#, &["1.50"], &[]);
    check("s string", r#"{"s": {"k" : [1, "}"]} }"#, &[r#"{"k" : [1, "}"]}"#], &[]);
    check("s string", r#"[{"s":true},{"s":null},{},{"s":""}]"#, &["true", "-", "-", ""], &[]);
    check(
        "d double",
        r#"[{"d":1},{"d":-2.5e3},{"d":12345678901234567890}]"#,
        &["1.0", "-2500.0", "1.2345678901234567e19"],
        &[],
    );
    check("b boolean, i bigint", r#"[{"b":true,"i":-9},{"i":0,"b":false},{}]"#, &["true|-9", "false|0", "-|-"], &[]);
    check("x binary", r#"[{"x":"AP8="},{"x":""}]"#, &["[00, ff]", "[]"], &[]);
    check("t timestamp", r#"[{"t":"1970-01-01T00:00:01.5Z"},{"t":"1969-12-31"}]"#, &["1500000", "-86400000000"], &[]);
    check("t timestamp('epoch-s')", r#"[{"t":1.5},{"t":"2"},{"t":-1}]"#, &["1500000", "2000000", "-1000000"], &[]);
    check("t timestamp('%d.%m.%Y')", r#"{"t":"02.01.1970"}"#, &["86400000000"], &[]);
    check("t timestamp", r#"{"t":"1970\u002d01-01"}"#, &["0"], &[]);
}

#[test]
fn keys_are_found_wherever_they_are() {
    check(
        "a int, b int",
        r#"[{"x":{"a":9},"b":2,"a":1},{"a":3,"y":[{}],"b":4},{"b" : 5 , "a" :6}]"#,
        &["1|2", "3|4", "6|5"],
        &[],
    );
    check("a int", r#"[{"\u0061":1},{"a":2,"A":3}]"#, &["1", "2"], &[]);
    check("`odd \"key\"` as k int, `a.b` int", r#"{"odd \"key\"":1,"a.b":2}"#, &["1|2"], &[]);
    check(
        "a_very_long_key_of_more_than_sixteen_bytes int",
        r#"[{"a_very_long_key_of_more_than_sixteen_bytes":1},{"a_very_long_key_of_more_than_sixteen_bytez":2}]"#,
        &["1", "-"],
        &[],
    );
    check(
        "p.lat as lat double, p.q.r as r int, p string",
        r#"[{"p":{"q":{"r":1},"lat":2}},{"p":null},{}]"#,
        &[r#"2.0|1|{"q":{"r":1},"lat":2}"#, "-|-|-", "-|-|-"],
        &[],
    );
    check("t string, t as at timestamp", r#"{"t":"1970-01-01"}"#, &["1970-01-01|0"], &[]);
}

#[test]
fn the_last_of_two_equal_keys_wins() {
    check("a int, b int", r#"{"a":1,"b":2,"a":3}"#, &["3|2"], &[]);
    check("a int", r#"{"a":"bad","a":3}"#, &["3"], &[]);
    check("a int", r#"{"a":3,"a":null}"#, &["-"], &[]);
    check("s string", r#"{"s":"first","s":"2"}"#, &["2"], &[]);
    check("p.x as x int, p.y as y int", r#"{"p":{"x":1,"y":1},"p":{"y":2}}"#, &["-|2"], &[]);
    check("p.x as x int", r#"{"p":5,"p":{"x":1}}"#, &["1"], &[]);
    check("a int", r#"{"a":3,"a":"bad"}"#, &[], &["column a: found \"bad\""]);
}

#[test]
fn values_of_another_type_reject_their_element_alone() {
    let check = |columns: &str, value: &str, reason: &str| {
        let message = format!(r#"[{{"v":{value}}},{{}}]"#);
        super::tests::check(
            columns,
            message,
            &["-"],
            &[&format!("0 1..{} element 0, column v: found {value} at byte 6, expected {reason}", value.len() + 7)],
        );
    };
    check("v double", r#""1.5""#, "double");
    check("v double", "1e400", "double");
    check("v double", "true", "double");
    check("v bigint", "3.0", "bigint");
    check("v bigint", "9223372036854775808", "bigint");
    check("v boolean", "0", "boolean");
    check("v boolean", r#"{"a":[]}"#, "boolean");
    check("v timestamp", "5", "timestamp");
    check("v timestamp", r#""yesterday""#, "timestamp");
    check("v timestamp('epoch-s')", "1e300", "timestamp");
    check("v binary", r#""%""#, "binary");
    check("v string", r#""\ud800""#, "string");
    check("v.x as v int", "[1]", "an object around it");
    super::tests::check("v int", format!(r#"{{"v":"{}"}}"#, "x".repeat(100)), &[], &["…"]);
}

#[test]
fn mismatches_become_nulls_where_the_configuration_says_so() {
    let mut parser = configured(&serde_json::json!({"columns": "a int, b.c as c int", "on_mismatch": "null"}));
    check_with(&mut parser, br#"[{"a":"x","b":1},{"a":2,"b":{"c":true}},{"a":1,"#, &["-|-", "2|-"], &["malformed"]);
}

#[test]
fn elements_that_are_no_objects_are_rejected_alone() {
    check("a int", r#"[null, {"a":1}]"#, &["1"], &["0 1..5 element 0: found null at byte 1, expected an object"]);
    check("a int", r#"[[{"a":1}],{"a":2}]"#, &["2"], &["0 1..10 element 0: found [{\"a\":1}]"]);
    check("a int", "1 \"x\" {\"a\":2}", &["2"], &["0 0..1", "1 2..5"]);
}

#[test]
fn the_smallest_piece_that_can_be_isolated_is_rejected() {
    let check = |message: &str, rows: &[&str], rejections: &[&str]| check("a int", message, rows, rejections);
    // Brackets and strings balance: the element alone.
    check(r#"[{"a":1},{"a":02},{"a":3}]"#, &["1", "3"], &["1 9..17 element 1: malformed JSON at byte 15"]);
    check(r#"[{"a":1 "b":2},{"a":3}]"#, &["3"], &["0 1..14"]);
    check(r#"[{"a":1,},{"b":"]},{"},nope,{"a":3}]"#, &["-", "3"], &["0 1..9", "2 23..27"]);
    check("[{\"b\":\"tab\there\"},{\"a\":3}]", &["3"], &["0 1..17"]);
    check(r#"[{"b":"\x"},{"a":3}]"#, &["3"], &["invalid escape"]);
    check("{\"a\" 1}\n{\"a\":2}", &["2"], &["0 0..7"]);
    check("{\n \"a\" 1\n}\n{\"a\":2}", &["2"], &["0 0..10"]);
    // They do not: all to the end, what came before stays.
    check(r#"[{"a":1},{"a":2"#, &["1"], &["1 9..15 element 1: malformed JSON at byte 15: the text ends too early"]);
    check(r#"[{"a":1},{"a":"x},{"a":3}]"#, &["1"], &["1 9..26"]);
    check(r#"[{"a":1},"#, &["1"], &["1 8..9"]);
    check(r#"[{"a":1}"#, &["1"], &["1 7..8"]);
    check("[", &[], &["0 0..1"]);
    check(r#"[{"a":1},]"#, &["1"], &["1 9..10"]);
    check(r#"[{"a":1} {"a":2}]"#, &["1"], &["1 9..17 element 1: malformed JSON at byte 9: expected a comma"]);
    check(r#"{"a":1}, {"a":2}"#, &["1"], &["1 7..16"]);
    check(r#"[{"a":1]},{"a":2}]"#, &[], &["0 1..18"]);
}

#[test]
fn a_damaged_line_costs_only_that_line() {
    let check = |message: &str, rows: &[&str], rejections: &[&str]| check("a int", message, rows, rejections);
    check("{\"a\":1}\n{\"a\":2,\"b\":\"cut\n{\"a\":3}\n", &["1", "3"], &["1 8..23"]);
    check("{\"a\":1\n{\"a\":2}\n", &["2"], &["0 0..6"]);
    check("oops\n\n{\"a\":2}", &["2"], &["0 0..4"]);
    check("[{\"a\":1},{\"a\":2\n[{\"a\":3}]\n", &["1", "3"], &["1 9..15"]);
    check("[{\"a\":1},{\"a\":\"x\n[{\"a\":3}]\n", &["1", "3"], &["1 9..16"]);
    // Inside a pretty-printed value the next line proves nothing.
    check("{\"b\":[\n{\"a\":1}\n", &[], &["0 0..15"]);
    check("[\n{\"a\":1},\n{\"a\":\n{\"a\":3}\n", &["1"], &["1 11..25"]);
}

#[test]
fn text_that_is_not_utf8_is_rejected_with_its_element() {
    check(
        "a int, s string",
        b"[{\"s\":\"\xff\"},{\"a\":1}]",
        &["1|-"],
        &["0 1..10 element 0: malformed JSON at byte 7: invalid UTF-8"],
    );
    check("a int", b"[{\"a\":1,\"x\xc3\":\"y\"},{\"a\":2}]", &["2"], &["invalid UTF-8"]);
    check("a int", b"\xc0\x80", &[], &["0 0..2"]);
    check(
        "s string",
        "{\"s\":\"grün 😀, and long enough for blocks – ja\"}",
        &["grün 😀, and long enough for blocks – ja"],
        &[],
    );
}

#[test]
fn nesting_is_bounded_and_does_not_end_the_message() {
    let deep = |depth: usize| format!("[{{\"x\":{}{}}},{{\"a\":1}}]", "[".repeat(depth), "]".repeat(depth));
    check("a int", deep(126), &["-", "1"], &[]);
    check("a int", deep(127), &["1"], &["nested too deep"]);
    check("a int", "[".repeat(1_000_000), &[], &["nested too deep"]);
    check("a int", "{\"x\":".repeat(1_000_000), &[], &["nested too deep"]);
}

#[test]
fn messages_are_told_apart() {
    let mut parser = parser("a int");
    let parsed =
        parser.parse(&chunk(&["[{\"a\":1},{\"a\":2}]", "", "{", "{\"a\":3}", "[{\"a\":4},5]"])).expect("parsed");
    assert_eq!(rows(&parsed), ["1", "2", "3", "4"]);
    assert_eq!(parsed.origins, [0, 0, 3, 4]);
    let rejected: Vec<_> = parsed.rejected.iter().map(|rejection| (rejection.input, rejection.element)).collect();
    assert_eq!(rejected, [(2, Some(0)), (4, Some(1))]);
}

#[test]
fn endless_rejections_become_one() {
    let message = format!("[{}{{\"a\":1}}]", "0,".repeat(20_000));
    let parsed = parser("a int").parse(&chunk(&[&message])).expect("parsed");
    assert_eq!((parsed.rows.rows, parsed.rejected.len()), (0, 10_001));
    let last = parsed.rejected.last().and_then(|rejection| rejection.span).expect("a span");
    assert_eq!((last.start, last.end as usize), (20_001, message.len()));
}

#[test]
fn what_stands_between_values_is_checked_though_it_is_guessed() {
    let columns = "a double, b string, c.a as ca double";
    let learnt = r#"{"a": 1.5, "b": "x", "c": {"a": 2.5}}"#;
    let padding = " ".repeat(40);
    for (text, expected) in [
        (r#"{"a":1.5,"b":"x","c":{"a":2.5}}"#, Some("1.5|x|2.5")),
        (r#"{"a":  1.5 ,  "b":  "x" ,"c" : { "a":	2.5 } }"#, Some("1.5|x|2.5")),
        (r#"{ "b": "x", "a": 1.5, "c": {"a": 2.5}}"#, Some("1.5|x|2.5")),
        (r#"{"b": "x", "c": {}}"#, Some("-|x|-")),
        (r#"{"a": 1.5{"a": 1.5, "b": "x"}"#, None),
        (r#"{"a": 1.5"b": "x"}"#, None),
        (r#"{, "b": "x"}"#, None),
        (r#"{"a": 1.5, , "b": "x"}"#, None),
        (r#"{"a": 1.5, "c": {, "b": "x"}}"#, None),
        (r#"{"a": 1.5, {"a": 1.5}}"#, None),
        (r#"{"a": 1.5,}"#, None),
        (r#"{"a": , "b": "x"}"#, None),
    ] {
        // With and without bytes behind it that whole blocks can be read from.
        for text in [text.to_owned(), format!("{text}{padding}")] {
            let mut parser = parser(columns);
            rows(&parser.parse(&chunk(&[learnt, r#"{"b":"x","a":1.5}"#, learnt])).expect("parsed"));
            let parsed = parser.parse(&chunk(&[&text])).expect("parsed");
            assert_eq!(rows(&parsed).first().map(String::as_str), expected, "{text}");
            assert_eq!(parsed.rejected.is_empty(), expected.is_some(), "{text}");
        }
    }
}

#[test]
fn keys_that_come_and_go_do_not_confuse_the_guesses() {
    let mut parser = parser("a int, b int, c int");
    let mut messages = Vec::new();
    let mut expected = Vec::new();
    for round in 0..500_u32 {
        let keys = ["a", "b", "c", "x", "y"];
        let mut present: Vec<&str> = (0..5).filter(|bit| round >> bit & 1 == 1).map(|bit| keys[bit as usize]).collect();
        let turn = round as usize % present.len().max(1);
        present.rotate_left(turn);
        let fields: Vec<String> = present.iter().map(|key| format!("\"{key}\":{round}")).collect();
        messages.push(format!("{{{}}}", fields.join(",")));
        let cell = |key| if present.contains(&key) { round.to_string() } else { "-".into() };
        expected.push(format!("{}|{}|{}", cell("a"), cell("b"), cell("c")));
    }
    let parsed = parser.parse(&chunk(&messages)).expect("parsed");
    assert_eq!(rows(&parsed), expected);
}

#[test]
fn regression_message_of_nothing_but_faults_is_not_scanned_for_each_of_them() {
    let message = "{x}".repeat(200_000);
    let mut parser = parser("a string");
    let parsed = parser.parse(&chunk(&[&message])).expect("a chunk is parsed");
    let last = parsed.rejected.last().and_then(|rejection| rejection.span.as_ref()).map(|span| span.end as usize);
    assert_eq!((parsed.rows.rows, last), (0, Some(message.len())), "all of it is rejected");
    assert!(parsed.rejected.len() < 100, "{} rejections", parsed.rejected.len());
}
