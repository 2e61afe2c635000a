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

use crate::schema::{hints_of, texts_of};
use crate::{Error, Result};

/// What a column that is never null has behind its type.
const NOT_NULL: &str = " not null";

/// The columns that texts such as `deviceId string` list. A dot is part of a name.
///
/// # Errors
/// What is wrong with a text.
pub fn as_columns(texts: &[String]) -> Result<SchemaRef, String> {
    let mut fields: Vec<FieldRef> = Vec::new();
    for text in texts {
        let (text, is_nullable) = match text.trim().strip_suffix(NOT_NULL) {
            Some(text) => (text, false),
            None => (text.as_str(), true),
        };
        for hint in hints_of(text)? {
            let name = hint.path.join(".");
            if fields.iter().any(|field| *field.name() == name) {
                return Err(format!("the column `{name}` is there twice"));
            }
            fields.push(Arc::new(Field::new(name, hint.data_type, is_nullable)));
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

/// One row, as this schema reads it and as it is written again; none if it is no
/// row of these columns.
pub(super) fn canonical(line: &str, schema: &SchemaRef) -> Option<String> {
    let row = decode(line, schema).ok().filter(|rows| rows.num_rows() == 1)?;
    as_lines(&row).pop()
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
            assert_eq!(canonical(&line, &schema).as_deref(), Some(line.as_str()));
        }
        assert_eq!(canonical("{\"x\": 5}", &schema).as_deref(), Some("{\"x\":5.0}"), "as the column is");
        assert_eq!(canonical("{\"x\": 5, \"y\": 1}", &schema), None);
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
