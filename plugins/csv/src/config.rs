//! The configuration of the parser.

use serde_json::{Map, Value};
use weir_plugin::{NameCase, Problem, Schema};
use weir_values::columns::Kind;
use weir_values::settings::{self, Settings};

/// The JSON Schema of the configuration.
pub(crate) const SCHEMA: &str = concat!(
    r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "header": {
      "description": "Whether the first record of a file has the names of the columns. If not, they are called _c0, _c1 and so on.",
      "type": "boolean",
      "default": true
    },
    "delimiter": {
      "description": "What stands between two fields: one character of ASCII, or \\t for a tab.",
      "type": "string",
      "default": ","
    },
    "quote": {
      "description": "What stands around a field that has delimiters, line breaks or quotes in it: one character of ASCII.",
      "type": "string",
      "default": "\""
    },
    "escape": {
      "description": "What stands in front of a quote inside a quoted field: the quote itself, or a backslash, which then also stands in front of itself.",
      "type": "string",
      "default": "\""
    },
    "null": {
      "description": "The text of a field that has no value. A quoted field always has one.",
      "type": "string",
      "default": ""
    },"#,
    weir_values::settings_schema!(),
    "\n  }\n}"
);

const HOW_TO_WRITE: &str = "list the columns to read by the names in the header, for example columns = \"deviceId \
                            string, ts timestamp, lat double\", or let weir infer them: infer_column_types = true in \
                            [source.files]";

const KNOWN: &str = "`columns`, `header`, `delimiter`, `quote`, `escape`, `null`, `on_mismatch` and `case_sensitive`";

/// How records are written.
#[derive(Clone, Debug)]
pub(crate) struct Dialect {
    pub(crate) header: bool,
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    /// In front of a quote inside a quoted field, besides the quote itself.
    pub(crate) escape: Option<u8>,
    pub(crate) null: Box<[u8]>,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) dialect: Dialect,
}

/// What matters before there are columns.
#[derive(Clone, Debug)]
pub(crate) struct InferenceConfig {
    pub(crate) case: NameCase,
    pub(crate) dialect: Dialect,
}

/// The message fields that the parser reads, in the order in which it asks for them.
const HEADER: &str = "header";
const POSITION: &str = "position";

impl Dialect {
    fn message_fields(&self) -> Vec<String> {
        if self.header { vec![HEADER.to_owned(), POSITION.to_owned()] } else { Vec::new() }
    }
}

impl Config {
    /// The message fields to ask for: the header and the position of the message
    /// where there are headers, and behind them the path where something is rescued.
    pub(crate) fn message_fields(&self) -> Vec<String> {
        let mut fields = self.dialect.message_fields();
        fields.extend(self.settings.message_fields());
        fields
    }

    /// The place of the path among the message fields.
    pub(crate) fn file_path_at(&self) -> Option<usize> {
        self.settings.rescued.map(|_| self.dialect.message_fields().len())
    }
}

/// Understand a configuration; `stored` stands in where it lists no columns.
pub(crate) fn for_rows(config: &str, stored: Option<&Schema>) -> Result<Config, Vec<Problem>> {
    let mut config = settings::object(config)?;
    let mut problems = Vec::new();
    let settings = Settings::take(&mut config, stored, HOW_TO_WRITE, &mut problems);
    let dialect = take_dialect(&mut config, &mut problems);
    settings::refuse_rest(&config, KNOWN, &mut problems);
    refuse_nested(&settings, &mut problems);
    if problems.is_empty() { Ok(Config { settings, dialect }) } else { Err(problems) }
}

/// Understand as much of a configuration as matters before there are columns.
pub(crate) fn for_inference(config: &str) -> Result<InferenceConfig, Vec<Problem>> {
    let mut config = settings::object(config)?;
    let mut problems = Vec::new();
    let case = settings::take_case(&mut config, &mut problems);
    let dialect = take_dialect(&mut config, &mut problems);
    if problems.is_empty() { Ok(InferenceConfig { case, dialect }) } else { Err(problems) }
}

/// Nothing in CSV has anything inside.
fn refuse_nested(settings: &Settings, problems: &mut Vec<Problem>) {
    for column in &settings.columns {
        let name = &column.name;
        if let [_, _, ..] = column.path.as_slice() {
            let path = column.path.join(".");
            let fault = format!(
                "a field of CSV has no fields inside; if the header has the name '{path}', write it in backticks: `{path}`"
            );
            problems.push(Problem::new("columns", fault));
        }
        if let Kind::List(_) | Kind::Struct(_) = column.kind {
            let fault = format!("column '{name}' of the stored schema is a list or struct, which CSV does not have");
            problems.push(Problem::new("columns", fault));
        }
    }
}

fn take_dialect(config: &mut Map<String, Value>, problems: &mut Vec<Problem>) -> Dialect {
    let header = match config.remove("header") {
        None => true,
        Some(Value::Bool(header)) => header,
        Some(other) => {
            problems.push(Problem::new("header", format!("{other} is neither true nor false")));
            true
        }
    };
    let delimiter = take_byte(config, "delimiter", b',', problems);
    let quote = take_byte(config, "quote", b'"', problems);
    let escape = take_byte(config, "escape", quote, problems);
    if delimiter == quote {
        problems.push(Problem::new("quote", "is the same as the delimiter"));
    }
    if escape != quote && escape != b'\\' {
        problems.push(Problem::new("escape", "is neither the quote nor a backslash"));
    } else if escape == delimiter && escape != quote {
        problems.push(Problem::new("escape", "is the same as the delimiter"));
    }
    let null = match config.remove("null") {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => {
            problems.push(Problem::new("null", format!("{other} is no text")));
            String::new()
        }
    };
    let escape = Some(escape).filter(|escape| *escape != quote);
    Dialect { header, delimiter, quote, escape, null: null.into_bytes().into() }
}

/// A character of ASCII that does not end a line.
fn take_byte(config: &mut Map<String, Value>, name: &str, by_default: u8, problems: &mut Vec<Problem>) -> u8 {
    let Some(value) = config.remove(name) else {
        return by_default;
    };
    match value.as_str().map(str::as_bytes) {
        Some(b"\\t") => b'\t',
        Some([byte]) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => *byte,
        _ => {
            let fault = format!("{value} is not one character of ASCII that stands within a line, or \"\\t\"");
            problems.push(Problem::new(name, fault));
            by_default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems as `path: part of the message`, in the order of reporting.
    #[track_caller]
    fn check(config: &str, stored: Option<Schema>, expected: &[(&str, &str)]) {
        let problems = for_rows(config, stored.as_ref()).err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{config}: {problems:?}");
        for (problem, (path, part)) in problems.iter().zip(expected) {
            assert_eq!(problem.path, *path);
            assert!(problem.message.contains(part), "{}", problem.message);
        }
    }

    #[test]
    fn faults_are_reported_all_at_once_with_their_place() {
        check(r#"{"columns": "a int", "delimiter": "\\t", "quote": "'", "escape": "\\", "null": "NA"}"#, None, &[]);
        check("{}", None, &[("columns", "infer_column_types = true in [source.files]")]);
        check(
            r#"{"columns": "a int", "header": 1, "delimiter": ";;", "quote": "ä", "escape": "\n", "null": 0, "x": 1}"#,
            None,
            &[
                ("header", "neither true nor false"),
                ("delimiter", "\";;\" is not one character"),
                ("quote", "is not one character"),
                ("escape", "is not one character"),
                ("null", "0 is no text"),
                ("x", "unknown setting"),
            ],
        );
        check(r#"{"columns": "a int", "quote": ","}"#, None, &[("quote", "same as the delimiter")]);
        check(r#"{"columns": "a int", "escape": "x"}"#, None, &[("escape", "neither the quote nor a backslash")]);
        check(
            r#"{"columns": "a int", "escape": "\\", "delimiter": "\\"}"#,
            None,
            &[("escape", "same as the delimiter")],
        );
        check(r#"{"columns": "a.b int, `c.d` int"}"#, None, &[("columns", "write it in backticks: `a.b`")]);
        let nested = Schema::builder().list("tags").utf8("item").build();
        check("{}", Some(nested), &[("columns", "'tags' of the stored schema is a list or struct")]);
    }

    #[test]
    fn message_fields_are_asked_for_only_where_they_are_needed() {
        let stored = Schema::builder().utf8("a").utf8("_rescued_data").build();
        let fields = |config, stored| for_rows(config, stored).expect("valid").message_fields();
        assert_eq!(fields(r#"{"columns": "a int"}"#, None), ["header", "position"]);
        assert_eq!(fields("{}", Some(&stored)), ["header", "position", "file_path"]);
        assert_eq!(fields(r#"{"header": false}"#, Some(&stored)), ["file_path"]);
        assert!(fields(r#"{"columns": "_c0 as a int", "header": false}"#, None).is_empty());
    }

    #[test]
    fn the_schema_is_json() {
        let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
        let settings = schema["properties"].as_object().expect("an object");
        let expected = ["case_sensitive", "columns", "delimiter", "escape", "header", "null", "on_mismatch", "quote"];
        assert_eq!(settings.keys().collect::<Vec<_>>(), expected);
    }
}
