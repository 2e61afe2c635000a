//! The configuration: from a JSON object to columns, with every fault at once.

use serde_json::Value;
use weir_plugin::{DataType, Problem, Schema};

use crate::grammar;
use crate::timestamp::Format;

/// The JSON Schema of the configuration.
pub(crate) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "columns": {
      "description": "The columns to make: `path [as name] type`, separated by commas or one in each element. A path has dots for nested values and backticks around odd names. Types: string, double, bigint, boolean, binary (base64), timestamp, timestamp('epoch-s' | 'epoch-ms' | 'epoch-us' | '%d.%m.%Y %H:%M').",
      "examples": ["deviceId string, ts as event_time timestamp, location.lat as lat double"],
      "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 }
      ]
    },
    "on_mismatch": {
      "description": "What becomes of a value that is not of its column's type: reject sends the element to the dead letters, null leaves the value out.",
      "enum": ["reject", "null"],
      "default": "reject"
    }
  }
}"#;

const HOW_TO_WRITE: &str =
    "list the columns to read, for example columns = \"deviceId string, ts timestamp, location.lat as lat double\"";

/// No pipeline is served by more, and a plan of them stays small.
const COLUMNS_MAX: usize = 4096;

/// What a column makes of a value.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Text; numbers and booleans keep their text, objects and arrays their JSON.
    String,
    Double,
    Bigint,
    Boolean,
    /// Bytes, written as base 64.
    Binary,
    Timestamp(Format),
}

impl Kind {
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Double => DataType::Float64,
            Self::Bigint => DataType::Int64,
            Self::Boolean => DataType::Boolean,
            Self::Binary => DataType::Binary,
            Self::Timestamp(_) => DataType::Timestamp,
        }
    }

    /// The type as people write it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Double => "double",
            Self::Bigint => "bigint",
            Self::Boolean => "boolean",
            Self::Binary => "binary in base64",
            Self::Timestamp(_) => "timestamp",
        }
    }
}

/// One column to make.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// The keys from the element down to the value; at least one.
    pub(crate) path: Vec<String>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What becomes of a value that is not of its column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnMismatch {
    Reject,
    Null,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) columns: Vec<Column>,
    pub(crate) on_mismatch: OnMismatch,
}

impl Config {
    /// Understand a configuration; `stored` stands in where it names no columns.
    pub(crate) fn new(config: &str, stored: Option<&Schema>) -> Result<Self, Vec<Problem>> {
        let object = match serde_json::from_str(config) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(vec![Problem::new("", "the configuration must be an object")]),
            Err(error) => return Err(vec![Problem::new("", format!("the configuration is not JSON: {error}"))]),
        };
        let mut problems = Vec::new();
        let mut on_mismatch = OnMismatch::Reject;
        let mut columns = None;
        for (key, value) in &object {
            match (key.as_str(), value) {
                ("columns", value) => columns = Some(listed(value, &mut problems)),
                ("on_mismatch", Value::String(word)) if word == "reject" => {}
                ("on_mismatch", Value::String(word)) if word == "null" => on_mismatch = OnMismatch::Null,
                ("on_mismatch", other) => {
                    problems.push(Problem::new("on_mismatch", format!("{other} is neither \"reject\" nor \"null\"")));
                }
                (unknown, _) => problems
                    .push(Problem::new(unknown, "unknown setting; there are `columns` and `on_mismatch`".to_owned())),
            }
        }
        let columns = match (columns, stored) {
            (Some(columns), _) => columns,
            (None, Some(stored)) => from_schema(stored, &mut problems),
            (None, None) => {
                problems.push(Problem::new("columns", format!("missing; {HOW_TO_WRITE}")));
                Vec::new()
            }
        };
        if problems.is_empty() { Ok(Self { columns, on_mismatch }) } else { Err(problems) }
    }
}

fn listed(value: &Value, problems: &mut Vec<Problem>) -> Vec<Column> {
    // Each column with the place where a fault of it is reported.
    let mut found: Vec<(String, Column)> = Vec::new();
    let faults_before = problems.len();
    match value {
        Value::String(text) => {
            for column in grammar::columns(text) {
                match column {
                    Ok(column) => found.push(("columns".into(), column)),
                    Err(fault) => problems.push(Problem::new("columns", fault)),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("columns.{index}");
                let Value::String(text) = item else {
                    problems.push(Problem::new(path, format!("{item} is not a text like \"deviceId string\"")));
                    continue;
                };
                match grammar::columns(text).as_mut_slice() {
                    [] => problems.push(Problem::new(path, "is empty")),
                    [Ok(column)] => found.push((path, column.clone())),
                    [Err(fault)] => problems.push(Problem::new(path, std::mem::take(fault))),
                    _ => problems.push(Problem::new(path, "one element of the array is one column; remove the comma")),
                }
            }
        }
        other => problems.push(Problem::new("columns", format!("{other} is neither a text nor an array of texts"))),
    }
    if found.is_empty() && problems.len() == faults_before {
        problems.push(Problem::new("columns", format!("empty; {HOW_TO_WRITE}")));
    }
    if found.len() > COLUMNS_MAX {
        problems.push(Problem::new("columns", format!("{} columns; at most {COLUMNS_MAX} are possible", found.len())));
    }
    report_duplicates(&found, problems);
    found.into_iter().map(|(_, column)| column).collect()
}

/// Tables treat names that differ only in case as the same.
fn report_duplicates(found: &[(String, Column)], problems: &mut Vec<Problem>) {
    let mut seen = std::collections::BTreeMap::new();
    for (path, column) in found {
        if let Some(other) = seen.insert(column.name.to_lowercase(), &column.name) {
            let name = &column.name;
            problems.push(Problem::new(
                path.clone(),
                format!("two columns are named '{name}' (the other is '{other}'); rename one with `as`, for example `{name} as {name}_2 {}`", column.kind.name()),
            ));
        }
    }
}

fn from_schema(stored: &Schema, problems: &mut Vec<Problem>) -> Vec<Column> {
    let mut columns = Vec::new();
    for field in stored.top_level() {
        let kind = match field.data_type {
            DataType::Utf8 => Kind::String,
            DataType::Float64 => Kind::Double,
            DataType::Int64 => Kind::Bigint,
            DataType::Boolean => Kind::Boolean,
            DataType::Binary => Kind::Binary,
            DataType::Timestamp => Kind::Timestamp(Format::Iso),
            DataType::List | DataType::Struct => {
                problems.push(Problem::new(
                    "columns",
                    format!(
                        "field '{}' of the stored schema is a list or struct, which this parser does not make; {HOW_TO_WRITE}",
                        field.name
                    ),
                ));
                continue;
            }
        };
        columns.push(Column { path: vec![field.name.clone()], name: field.name.clone(), kind });
    }
    if columns.is_empty() && problems.is_empty() {
        problems.push(Problem::new("columns", format!("missing, and the stored schema has no field; {HOW_TO_WRITE}")));
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems as `path: start of the message`, sorted as reported.
    #[track_caller]
    fn check(config: &str, expected: &[(&str, &str)]) {
        let problems = Config::new(config, None).err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{config}: {problems:?}");
        for (problem, (path, part)) in problems.iter().zip(expected) {
            assert_eq!(problem.path, *path);
            assert!(problem.message.contains(part), "{}", problem.message);
        }
    }

    #[test]
    fn faults_are_reported_all_at_once_with_their_place() {
        check(r#"{"columns": "a string, b.c as d double", "on_mismatch": "null"}"#, &[]);
        check("{}", &[("columns", "missing; list the columns")]);
        check("[]", &[("", "must be an object")]);
        check("{", &[("", "not JSON")]);
        check(r#"{"columns": " "}"#, &[("columns", "empty")]);
        check(r#"{"columns": []}"#, &[("columns", "empty")]);
        check(r#"{"columns": 5, "colour": 1}"#, &[("colour", "unknown setting"), ("columns", "5 is neither")]);
        check(
            r#"{"columns": ["a string", "b text", 7, "c int, d int", ""], "on_mismatch": "skip"}"#,
            &[
                ("columns.1", "unknown type 'text'"),
                ("columns.2", "7 is not a text"),
                ("columns.3", "remove the comma"),
                ("columns.4", "is empty"),
                ("on_mismatch", "neither \"reject\" nor \"null\""),
            ],
        );
        check(r#"{"columns": "a.lat double, b.Lat double"}"#, &[("columns", "rename one with `as`")]);
        check(r#"{"columns": "a as x int, b as x int"}"#, &[("columns", "two columns are named 'x'")]);
    }

    #[test]
    fn a_stored_schema_stands_in_for_columns() {
        let stored = Schema::builder().utf8("id").timestamp("ts").build();
        let config = Config::new("{}", Some(&stored)).expect("valid");
        assert_eq!(config.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "ts"]);
        let config = Config::new(r#"{"columns": "x int"}"#, Some(&stored)).expect("valid");
        assert_eq!(config.columns.len(), 1);
        let nested = Schema::builder().list("tags").utf8("element").build();
        let problems = Config::new("{}", Some(&nested)).expect_err("a list");
        assert!(problems[0].message.contains("'tags'"));
    }

    #[test]
    fn the_schema_is_json() {
        assert!(serde_json::from_str::<Value>(SCHEMA).is_ok());
    }
}
