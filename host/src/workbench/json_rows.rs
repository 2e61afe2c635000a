//! Rows as lines of JSON, both ways.
//!
//! Timestamps are RFC 3339 in UTC, bytes are hexadecimal digits, and numbers that
//! JSON does not have are the texts `NaN`, `Infinity` and `-Infinity`. Nulls are
//! written, and may be left out where rows are read.

use std::sync::Arc;

use arrow::array::{Array, AsArray as _, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use arrow::json::ReaderBuilder;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Number, Value};

use crate::schema::{Hint, declared_in, texts_of};
use crate::{Error, Result};

/// What a column that is never null has behind its type.
const NOT_NULL: &str = " not null";
/// Doubles that are alike differ by at most this share of the greater one: far more
/// than sums in another order differ by, far less than a wrong sum does.
const RELATIVE_TOLERANCE: f64 = 1e-6;
/// And by so much besides, because what cancels out leaves its last digits behind.
const ABSOLUTE_TOLERANCE: f64 = 1e-9;
/// Of a value that does not fit so many letters are shown.
const MAX_SHOWN_CHARS: usize = 40;

/// The columns that texts such as `deviceId string not null` list, each one or
/// several. A dot is part of a name.
///
/// # Errors
/// What is wrong with a text.
pub fn as_columns(texts: &[String]) -> Result<SchemaRef, String> {
    let mut fields: Vec<FieldRef> = Vec::new();
    for text in texts {
        for Hint { path, data_type, is_nullable } in declared_in(text)? {
            let name = path.join(".");
            // As in a table, which does not tell upper case from lower case.
            if fields.iter().any(|field| field.name().to_lowercase() == name.to_lowercase()) {
                return Err(format!("the column `{name}` is there twice"));
            }
            fields.push(Arc::new(Field::new(name, data_type, is_nullable)));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Each column as a text that [`as_columns`] understands.
pub(super) fn column_texts(schema: &Schema) -> Vec<String> {
    let not_null = |field: &FieldRef| if field.is_nullable() { "" } else { NOT_NULL };
    let texts = texts_of(schema).into_iter().zip(schema.fields());
    texts.map(|(text, field)| format!("{text}{}", not_null(field))).collect()
}

/// The rows of lines of JSON objects; `place` names them in messages. Blank lines
/// are nothing.
///
/// # Errors
/// Data, naming the line that is no row of these columns.
pub fn from_lines(text: &str, schema: &SchemaRef, place: &str) -> Result<RecordBatch> {
    if let Ok(rows) = decode(text, schema) {
        return Ok(rows);
    }
    // Once more, line by line, to name the one that is wrong.
    for (index, line) in text.lines().enumerate() {
        if let Err(why) = decode(line, schema) {
            return Err(Error::data(format!(
                "{place}:{}: this is no row of the columns {}",
                index + 1,
                column_texts(schema).join(", ")
            ))
            .because(why));
        }
    }
    Err(Error::bug(format!("the lines of {place} are rows, but not together")))
}

/// One row, as this schema reads it and as it is written again.
///
/// # Errors
/// Why it is no row of these columns.
pub(super) fn canonical(line: &str, schema: &SchemaRef) -> Result<String, String> {
    as_lines(&decode(line, schema)?).pop().ok_or_else(|| "there is no row".to_owned())
}

/// Whether two rows are the same, but for the last digits of doubles.
pub(super) fn is_alike(one: &str, other: &str) -> bool {
    let read = |line: &str| serde_json::from_str::<Value>(line);
    one == other || matches!((read(one), read(other)), (Ok(one), Ok(other)) if are_alike(&one, &other))
}

fn are_alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let (Some(one), Some(other)) = (one.as_f64(), other.as_f64()) else { return false };
            (one - other).abs() <= RELATIVE_TOLERANCE * one.abs().max(other.abs()) + ABSOLUTE_TOLERANCE
        }
        (Value::Array(ones), Value::Array(others)) => {
            ones.len() == others.len() && ones.iter().zip(others).all(|(one, other)| are_alike(one, other))
        }
        (Value::Object(ones), Value::Object(others)) => {
            let is_there = |(key, one): (&String, &Value)| others.get(key).is_some_and(|other| are_alike(one, other));
            ones.len() == others.len() && ones.iter().all(is_there)
        }
        (one, other) => one == other,
    }
}

fn decode(text: &str, schema: &SchemaRef) -> std::result::Result<RecordBatch, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    if schema.fields().is_empty() || lines == 0 {
        let options = RecordBatchOptions::new().with_row_count(Some(0));
        let empty = RecordBatch::new_empty(Arc::clone(schema));
        return match schema.fields().is_empty() && lines > 0 {
            true => Err("there are no columns".to_owned()),
            false => RecordBatch::try_new_with_options(Arc::clone(schema), empty.columns().to_vec(), &options)
                .map_err(|error| error.to_string()),
        };
    }
    refuse_fractions(text, schema)?;
    let failed = |error: arrow::error::ArrowError| match error {
        arrow::error::ArrowError::JsonError(text) => text,
        other => other.to_string(),
    };
    let builder = ReaderBuilder::new(Arc::clone(schema)).with_strict_mode(true).with_batch_size(lines + 1);
    let mut decoder = builder.build_decoder().map_err(failed)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let read = decoder.decode(rest).map_err(failed)?;
        if read == 0 {
            break;
        }
        rest = &rest[read..];
    }
    let rows = decoder.flush().map_err(failed)?.ok_or_else(|| "there is no row".to_owned())?;
    match rows.num_rows() == lines {
        true => Ok(rows),
        false => Err(format!("{} rows stand in {lines} lines: write one object a line", rows.num_rows())),
    }
}

/// Refuse what is no integer where the columns have integers: the decoder takes
/// 4.9 and "4" for 4, and a case that expects them would hold.
fn refuse_fractions(text: &str, schema: &Schema) -> std::result::Result<(), String> {
    if !schema.fields().iter().any(|field| has_integers(field.data_type())) {
        return Ok(());
    }
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).map_err(|error| {
            let text = error.to_string();
            // The line is counted by whoever has all of them.
            let what = text.split(" at line ").next().unwrap_or_default();
            format!("it is no JSON: {what} at byte {}", error.column())
        })?;
        for field in schema.fields() {
            row.get(field.name()).map_or(Ok(()), |value| refuse_fraction(field.name(), field.data_type(), value))?;
        }
    }
    Ok(())
}

fn has_integers(data_type: &DataType) -> bool {
    match data_type {
        DataType::Int64 => true,
        DataType::List(item) => has_integers(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_integers(field.data_type())),
        _ => false,
    }
}

fn refuse_fraction(column: &str, data_type: &DataType, value: &Value) -> std::result::Result<(), String> {
    match (data_type, value) {
        (DataType::Int64, value) if !value.is_null() && value.as_i64().is_none() => {
            let shown: String = value.to_string().chars().take(MAX_SHOWN_CHARS).collect();
            Err(format!("the column `{column}` takes integers where its type says bigint, found {shown}"))
        }
        (DataType::List(item), Value::Array(items)) => {
            items.iter().try_for_each(|value| refuse_fraction(column, item.data_type(), value))
        }
        (DataType::Struct(fields), Value::Object(values)) => fields.iter().try_for_each(|field| {
            values.get(field.name()).map_or(Ok(()), |value| refuse_fraction(column, field.data_type(), value))
        }),
        // Whatever else does not fit the decoder refuses itself.
        _ => Ok(()),
    }
}

/// Each row as one line.
pub fn as_lines(rows: &RecordBatch) -> Vec<String> {
    (0..rows.num_rows()).map(|row| Value::Object(object(rows, row)).to_string()).collect()
}

fn object(rows: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    columns.map(|(field, column)| (field.name().clone(), value(column.as_ref(), row))).collect()
}

/// The value of a column in a row.
pub(super) fn value(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::Int64 => Value::from(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::from(column.as_string::<i32>().value(row)),
        DataType::Binary => {
            let bytes = column.as_binary::<i32>().value(row);
            Value::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        DataType::Timestamp(..) => {
            let us = column.as_primitive::<TimestampMicrosecondType>().value(row);
            match DateTime::from_timestamp_micros(us) {
                Some(time) => Value::from(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                None => Value::from(us),
            }
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|item| value(items.as_ref(), item)).collect())
        }
        DataType::Struct(fields) => {
            let children = fields.iter().zip(column.as_struct().columns());
            Value::Object(children.map(|(field, child)| (field.name().clone(), value(child.as_ref(), row))).collect())
        }
        // Nothing else is in the contract.
        other => Value::from(format!("a value of type {other}")),
    }
}

fn float(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::from("NaN"),
        None => Value::from(if number > 0.0 { "Infinity" } else { "-Infinity" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [&str; 8] = [
        "name string",
        "count bigint not null",
        "share double",
        "is_hot boolean",
        "event.time timestamp",
        "raw binary",
        "tags array<string>",
        "place struct<lat: double, lon: double>",
    ];

    fn schema() -> SchemaRef {
        as_columns(&COLUMNS.map(str::to_owned)).unwrap()
    }

    #[test]
    fn rows_are_read_and_written_alike() {
        let line = r#"{"name":"a","count":-3,"share":36.0,"is_hot":true,"event.time":"2025-10-05T18:40:10Z","raw":"00ff","tags":["x",null],"place":{"lat":1.5,"lon":null}}"#;
        let nothing = r#"{"name":null,"count":0,"share":null,"is_hot":null,"event.time":null,"raw":null,"tags":null,"place":null}"#;
        let text = format!("{line}\n\n{{\"count\": 0}}\n");
        assert_eq!(as_lines(&from_lines(&text, &schema(), "input.jsonl").unwrap()), [line, nothing]);
        assert_eq!(from_lines("", &schema(), "input.jsonl").unwrap().num_rows(), 0);
    }

    #[test]
    fn numbers_that_json_lacks_are_texts() {
        let schema = as_columns(&["x double".to_owned()]).unwrap();
        for text in ["NaN", "Infinity", "-Infinity"] {
            let line = format!("{{\"x\":\"{text}\"}}");
            assert_eq!(canonical(&line, &schema).as_ref(), Ok(&line));
        }
        assert_eq!(canonical("{\"x\": 5}", &schema).as_deref(), Ok("{\"x\":5.0}"), "as the column is");
        assert!(canonical("{\"x\": 5, \"y\": 1}", &schema).is_err());
    }

    #[test]
    fn regression_what_is_no_integer_is_not_cut_to_one() {
        let texts = ["n bigint", "x double", "many array<bigint>", "at struct<s: array<struct<n: bigint>>>"];
        let schema = as_columns(&texts.map(str::to_owned)).unwrap();
        for line in [
            r#"{"n":4,"x":1.5,"many":[1,null],"at":{"s":[{"n":-2},null]}}"#,
            r#"{"n":9223372036854775807,"x":2.0,"many":[],"at":{"s":null}}"#,
            r#"{"n":null,"x":null,"many":null,"at":null}"#,
        ] {
            assert_eq!(canonical(line, &schema).as_deref(), Ok(line));
        }
        for (line, column, found) in [
            (r#"{"n":4.9}"#, "`n`", "found 4.9"),
            (r#"{"n":4.0}"#, "`n`", "found 4.0"),
            (r#"{"n":"3"}"#, "`n`", "found \"3\""),
            (r#"{"n":1e3}"#, "`n`", "found 1000.0"),
            (r#"{"n":9223372036854775808}"#, "`n`", "found 9223372036854775808"),
            (r#"{"many":[1,2.5]}"#, "`many`", "found 2.5"),
            (r#"{"at":{"s":[null,{"n":0.5}]}}"#, "`at`", "found 0.5"),
        ] {
            let error = from_lines(&format!("{{\"n\":1}}\n{line}\n"), &schema, "input.jsonl").unwrap_err().to_string();
            assert!(error.starts_with("input.jsonl:2: "), "{error}");
            assert!(error.contains(column) && error.contains(found), "{error}");
        }
        let error = from_lines("{\"n\":1}{\"n\":\n2.5}\n", &schema, "input.jsonl").unwrap_err().to_string();
        assert!(error.starts_with("input.jsonl:1: ") && error.contains("it is no JSON"), "{error}");
    }

    #[test]
    fn doubles_may_differ_in_their_last_digits() {
        let alike = |one: &str, other: &str| is_alike(one, other) && is_alike(other, one);
        assert!(alike(r#"{"a":0.30000000000000004,"b":[1.0,"x"]}"#, r#"{"a":0.3,"b":[1.0,"x"]}"#));
        assert!(alike(r#"{"a":5.551115123125783e-17}"#, r#"{"a":0.0}"#));
        assert!(alike(r#"{"a":1e300}"#, r#"{"a":1.0000000000000002e300}"#));
        assert!(alike(r#"{"a":"NaN"}"#, r#"{"a":"NaN"}"#));
        for (one, other) in [
            (r#"{"a":0.3}"#, r#"{"a":0.301}"#),
            (r#"{"a":3}"#, r#"{"a":4}"#),
            (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
            (r#"{"a":null}"#, r#"{"a":0.0}"#),
            (r#"{"a":[1.0]}"#, r#"{"a":[1.0,1.0]}"#),
            (r#"{"a":{"b":1.0}}"#, r#"{"a":{"b":2.0}}"#),
            (r#"{"a":"0.3"}"#, r#"{"a":"0.30"}"#),
        ] {
            assert!(!alike(one, other), "{one} {other}");
        }
    }

    #[test]
    fn regression_not_null_is_said_of_each_column() {
        let check = |text: &str, expected: &[&str]| {
            let columns = as_columns(&[text.to_owned()]).unwrap();
            assert_eq!(column_texts(&columns), expected, "{text}");
            assert_eq!(as_columns(&column_texts(&columns)).as_ref(), Ok(&columns), "{text}");
        };
        check("a double, b string, n bigint not null", &["a double", "b string", "n bigint not null"]);
        check("a double not null, b string", &["a double not null", "b string"]);
        check("a  int NOT\tNULL ,b array<int>  not null,", &["a bigint not null", "b array<bigint> not null"]);
        check(
            "s struct<x: int, y: int> not null, `a, b` int",
            &["s struct<x: bigint, y: bigint> not null", "`a, b` bigint"],
        );
        for (text, why) in [
            ("a int,, b int", "expected the name of a column at `, b int`"),
            ("", "the text ends"),
            ("a int, A int", "twice"),
            ("a decimal(3,2)", "use double or string"),
            ("a array<int, b int", "expected `>`"),
            ("a int null", "expected a comma before `null`"),
        ] {
            let problem = as_columns(&[text.to_owned()]).unwrap_err();
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }

    #[test]
    fn columns_are_written_as_they_are_read() {
        let columns = as_columns(&["event.time timestamp".to_owned(), "n bigint, m double not null".to_owned()]);
        assert!(columns.is_ok_and(|columns| columns.fields().len() == 3));
        assert!(as_columns(&["a text".to_owned()]).unwrap_err().contains("there is no type `text`"));
        assert!(as_columns(&["a int".to_owned(), "a int".to_owned()]).unwrap_err().contains("twice"));
        let texts = column_texts(&schema());
        assert_eq!(texts[1], "count bigint not null");
        assert_eq!(as_columns(&texts).unwrap().field(4).name(), "event.time", "{texts:?}");
    }

    #[test]
    fn the_line_that_is_no_row_is_named() {
        for (line, why) in [
            ("{\"count\": \"many\"}", "many"),
            ("{\"name\": \"a\"}", "count"),
            ("{\"count\": 1, \"nmae\": \"a\"}", "nmae"),
            ("[1]", "expected"),
        ] {
            let text = format!("{{\"count\":1}}\n{line}\n");
            let error = from_lines(&text, &schema(), "input.jsonl").unwrap_err().to_string();
            assert!(error.starts_with("input.jsonl:2: ") && error.contains(why), "{error}");
        }
    }
}
