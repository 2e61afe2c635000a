//! The settings that all parsers have: `columns`, `on_mismatch` and
//! `case_sensitive`, read with every fault at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use weir_plugin::infer::{FILE_PATH, RESCUED};
use weir_plugin::{NameCase, Problem, Schema};

use crate::columns::{self, Column, Kind};
use crate::grammar;

/// The properties of these settings in the JSON Schema of a configuration, to
/// stand among those that a parser adds.
#[macro_export]
macro_rules! settings_schema {
    () => {
        r#"
    "columns": {
      "description": "The columns to make: `path [as name] type`, separated by commas or one in each element. A path has dots for nested values and backticks around odd names. Types: string, double, bigint, boolean, binary (base64), timestamp, timestamp('epoch-s' | 'epoch-ms' | 'epoch-us' | '%d.%m.%Y %H:%M'). May be left out where weir infers the schema.",
      "examples": ["deviceId string, ts as event_time timestamp, location.lat as lat double"],
      "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 }
      ]
    },
    "on_mismatch": {
      "description": "What becomes of a value that is not of its column's type: reject sends the row to the dead letters, null leaves the value out. By default reject, and null for a schema that weir keeps. Without effect where such values are rescued.",
      "enum": ["reject", "null"]
    },
    "case_sensitive": {
      "description": "Whether names that differ only in case are different; if not, they fill the same column.",
      "type": "boolean",
      "default": true
    }"#
    };
}

/// No pipeline is served by more, and a plan of them stays small.
const COLUMNS_MAX: usize = 4096;

/// What becomes of a value that is not of its column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMismatch {
    /// Its row goes to the dead letters.
    Reject,
    /// It is left out.
    Null,
    /// It is left out of its column and kept among the rescued.
    Rescue,
}

/// What becomes of values and keys.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The columns of the rows, in order.
    pub columns: Vec<Column>,
    /// Which of the columns takes what did not fit.
    pub rescued: Option<usize>,
    /// What becomes of a value that is not of its column's type.
    pub on_mismatch: OnMismatch,
    /// Whether case makes a difference between keys.
    pub case: NameCase,
}

impl Settings {
    /// Take these settings out of a configuration; `stored` stands in where it
    /// lists no columns, for which `how_to_write` says how.
    pub fn take(
        config: &mut Map<String, Value>,
        stored: Option<&Schema>,
        how_to_write: &str,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let case = take_case(config, problems);
        let listed = config.remove("columns").map(|value| listed(&value, how_to_write, problems));
        let is_listed = listed.is_some();
        let (columns, rescued) = match (listed, stored) {
            (Some(mut columns), Some(stored)) if columns::takes_rescued(stored) => {
                if columns.iter().any(|column| column.name.to_lowercase() == RESCUED) {
                    let fault = format!("'{RESCUED}' is the column of what does not fit; rename yours with `as`");
                    problems.push(Problem::new("columns", fault));
                }
                columns.push(Column { path: Vec::new(), name: RESCUED.into(), kind: Kind::String });
                let last = columns.len() - 1;
                (columns, Some(last))
            }
            (Some(columns), _) => (columns, None),
            (None, Some(stored)) => {
                if stored.fields.is_empty() {
                    let fault = format!("missing, and the stored schema has no field; {how_to_write}");
                    problems.push(Problem::new("columns", fault));
                }
                columns::stored(stored, case, problems)
            }
            (None, None) => {
                problems.push(Problem::new("columns", format!("missing; {how_to_write}")));
                (Vec::new(), None)
            }
        };
        let by_default = if is_listed { OnMismatch::Reject } else { OnMismatch::Null };
        let on_mismatch = match config.remove("on_mismatch") {
            None => by_default,
            Some(Value::String(word)) if word == "reject" => OnMismatch::Reject,
            Some(Value::String(word)) if word == "null" => OnMismatch::Null,
            Some(other) => {
                problems.push(Problem::new("on_mismatch", format!("{other} is neither \"reject\" nor \"null\"")));
                by_default
            }
        };
        let on_mismatch = if rescued.is_some() { OnMismatch::Rescue } else { on_mismatch };
        Self { columns, rescued, on_mismatch, case }
    }

    /// The message fields that the parser asks for.
    #[must_use]
    pub fn message_fields(&self) -> Vec<String> {
        if self.rescued.is_some() { vec![FILE_PATH.to_owned()] } else { Vec::new() }
    }
}

/// The configuration as an object.
///
/// # Errors
/// It is none.
pub fn object(config: &str) -> Result<Map<String, Value>, Vec<Problem>> {
    match serde_json::from_str(config) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(vec![Problem::new("", "the configuration must be an object")]),
        Err(error) => Err(vec![Problem::new("", format!("the configuration is not JSON: {error}"))]),
    }
}

/// Take `case_sensitive` out of a configuration: all that inference needs of
/// these settings.
pub fn take_case(config: &mut Map<String, Value>, problems: &mut Vec<Problem>) -> NameCase {
    match config.remove("case_sensitive") {
        None | Some(Value::Bool(true)) => NameCase::Sensitive,
        Some(Value::Bool(false)) => NameCase::Folded,
        Some(other) => {
            problems.push(Problem::new("case_sensitive", format!("{other} is neither true nor false")));
            NameCase::Sensitive
        }
    }
}

/// Report what is left of a configuration when all `known` settings are taken.
pub fn refuse_rest(config: &Map<String, Value>, known: &str, problems: &mut Vec<Problem>) {
    for unknown in config.keys() {
        problems.push(Problem::new(unknown, format!("unknown setting; there are {known}")));
    }
}

fn listed(value: &Value, how_to_write: &str, problems: &mut Vec<Problem>) -> Vec<Column> {
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
        problems.push(Problem::new("columns", format!("empty; {how_to_write}")));
    }
    if found.len() > COLUMNS_MAX {
        problems.push(Problem::new("columns", format!("{} columns; at most {COLUMNS_MAX} are possible", found.len())));
    }
    report_duplicates(&found, problems);
    found.into_iter().map(|(_, column)| column).collect()
}

/// Tables treat names that differ only in case as the same.
fn report_duplicates(found: &[(String, Column)], problems: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(config: &str, stored: Option<&Schema>) -> Result<Settings, Vec<Problem>> {
        let mut object = object(config)?;
        let mut problems = Vec::new();
        let settings = Settings::take(&mut object, stored, "list the columns", &mut problems);
        refuse_rest(&object, "`columns`", &mut problems);
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// The problems as `path: part of the message`, in the order of reporting.
    #[track_caller]
    fn check(config: &str, expected: &[(&str, &str)]) {
        let problems = settings(config, None).err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{config}: {problems:?}");
        for (problem, (path, part)) in problems.iter().zip(expected) {
            assert_eq!(problem.path, *path);
            assert!(problem.message.contains(part), "{}", problem.message);
        }
    }

    #[test]
    fn faults_are_reported_all_at_once_with_their_place() {
        check(r#"{"columns": "a string, b.c as d double", "on_mismatch": "null", "case_sensitive": false}"#, &[]);
        check("{}", &[("columns", "missing; list the columns")]);
        check("[]", &[("", "must be an object")]);
        check("{", &[("", "not JSON")]);
        check(r#"{"columns": " "}"#, &[("columns", "empty")]);
        check(r#"{"columns": []}"#, &[("columns", "empty")]);
        check(r#"{"columns": 5, "colour": 1}"#, &[("columns", "5 is neither"), ("colour", "unknown setting")]);
        check(
            r#"{"columns": ["a string", "b text", 7, "c int, d int", ""], "on_mismatch": "skip", "case_sensitive": 1}"#,
            &[
                ("case_sensitive", "neither true nor false"),
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
    fn a_stored_schema_is_announced_as_it_is_but_nullable() {
        let stored = || {
            Schema::builder().utf8("id").required().list("tags").structure("tag", 2).int64("n").boolean("b").required()
        };
        let stored = stored().timestamp("ts").float64("d").binary("x").utf8(RESCUED).build();
        let settings = settings("{}", Some(&stored)).expect("valid");
        let announced = columns::schema(&settings.columns);
        assert!(announced.fields.iter().all(|field| field.nullable));
        let plain = |schema: &Schema| {
            let fields = schema.fields.iter();
            fields.map(|field| (field.name.clone(), field.data_type, field.children)).collect::<Vec<_>>()
        };
        assert_eq!(plain(&announced), plain(&stored));
        assert_eq!((settings.rescued, settings.on_mismatch), (Some(5), OnMismatch::Rescue));
        assert_eq!(settings.message_fields(), ["file_path"]);
    }

    #[test]
    fn what_does_not_fit_is_null_for_stored_and_rejected_for_listed_columns() {
        let stored = Schema::builder().utf8("id").build();
        let on_mismatch = |config, stored| settings(config, stored).expect("valid").on_mismatch;
        assert_eq!(on_mismatch("{}", Some(&stored)), OnMismatch::Null);
        assert_eq!(on_mismatch(r#"{"on_mismatch": "reject"}"#, Some(&stored)), OnMismatch::Reject);
        assert_eq!(on_mismatch(r#"{"columns": "x int"}"#, Some(&stored)), OnMismatch::Reject);
    }

    #[test]
    fn listed_columns_win_over_a_stored_schema_and_keep_its_rescued() {
        let stored = Schema::builder().utf8("id").utf8(RESCUED).build();
        let listed = settings(r#"{"columns": "x int"}"#, Some(&stored)).expect("valid");
        assert_eq!(listed.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["x", RESCUED]);
        assert_eq!(listed.rescued, Some(1));
        let problems = settings(r#"{"columns": "x as _rescued_data int"}"#, Some(&stored)).expect_err("taken");
        assert!(problems[0].message.contains("rename yours"), "{problems:?}");
        // Only text can take the rescued.
        let number = Schema::builder().int64(RESCUED).build();
        assert_eq!(settings("{}", Some(&number)).expect("valid").rescued, None);
    }

    #[test]
    fn stored_schemas_that_cannot_be_filled_are_refused() {
        let check = |config: &str, stored: Schema, expected: &str| {
            let problems = settings(config, Some(&stored)).expect_err("refused");
            assert!(problems[0].message.contains(expected), "{problems:?}");
        };
        check("{}", Schema { fields: Vec::new() }, "no field");
        check("{}", Schema::builder().structure("unknown", 0).build(), "without children");
        let deep = (0..40).fold(Schema::builder(), |to, level| to.list(level.to_string())).utf8("last");
        check("{}", deep.build(), "nested deeper than 32 levels");
        let alike = || Schema::builder().structure("s", 2).int64("a").int64("A");
        check(r#"{"case_sensitive": false}"#, alike().build(), "are the same with case_sensitive = false");
        assert!(settings("{}", Some(&alike().build())).is_ok());
    }
}
