//! The folder of a case: what goes in, and what is expected.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::input::{Input, Messages, Rows, messages_of_lines};
use super::json_rows::{as_columns, column_texts, from_lines};
use crate::config::{duration_of, size_of};
use crate::plugin::{Grants, Limits, Role};
use crate::{Error, Result};

/// The files of a case.
pub(super) const SETTINGS: &str = "case.toml";
pub(super) const INPUT: &str = "input.jsonl";
pub(super) const FIELDS: &str = "fields.jsonl";
pub(super) const EXPECTED: &str = "expected.jsonl";
pub(super) const REJECTED: &str = "rejected.jsonl";
pub(super) const SCHEMA: &str = "schema.txt";

/// Where cases are, below the folder of a project.
const CASES: &str = "tests";

/// `case.toml`, word for word.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    config: Option<toml::Table>,
    schema: Option<Texts>,
    stored: Option<Texts>,
    fields: Option<Texts>,
    output: Option<Texts>,
    #[serde(default)]
    key: Vec<String>,
    #[serde(default)]
    limits: LimitTexts,
    #[serde(default)]
    grants: Vec<Grant>,
    now: Option<toml::value::Datetime>,
}

/// Columns as one text or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitTexts {
    memory: Option<String>,
    deadline: Option<String>,
    result: Option<String>,
    rows: Option<usize>,
}

/// As in a pipeline file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Grant {
    Wasi,
}

/// A case of a project.
#[derive(Debug)]
pub struct Case {
    /// The folder.
    pub(super) folder: PathBuf,
    /// The plugin's configuration.
    pub config: Value,
    /// What the plugin may use.
    pub limits: Limits,
    /// The clock that the plugin sees, in microseconds since 1970-01-01T00:00:00Z.
    pub now_us: i64,
    /// What goes in.
    pub input: Input,
    /// The columns that are expected, where `case.toml` says so.
    pub(super) output: Option<Vec<String>>,
}

/// The cases of a project, by name: each folder in `tests/`, but those whose names
/// begin with `.` or `_`.
///
/// # Errors
/// Config if there is none.
pub fn cases_of(project: &Path) -> Result<Vec<PathBuf>> {
    let folder = project.join(CASES);
    let entries = std::fs::read_dir(&folder).map_err(|error| {
        let shape = "a case is a folder in it, with an `input.jsonl`";
        Error::config(format!("there are no cases in {}: {shape}", folder.display())).because(error)
    })?;
    // Such as `.git` and `__pycache__`.
    let is_hidden = |path: &Path| case_name(path).starts_with(['.', '_']);
    let mut cases: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir() && !is_hidden(path)).collect();
    cases.sort_unstable();
    match cases.is_empty() {
        false => Ok(cases),
        true => Err(Error::config(format!(
            "there is no case in {}: make a folder in it and write the input, one JSON value a line, to {INPUT}",
            folder.display()
        ))),
    }
}

/// The first case of a project that has an input, if there is one: a case that is
/// half made keeps nobody from trying a plugin on something else.
///
/// # Errors
/// As [`Case::read`].
pub fn first_case(project: &Path, role: Role) -> Result<Option<Case>> {
    let cases = cases_of(project).unwrap_or_default();
    cases.iter().find(|case| case.join(INPUT).is_file()).map(|case| Case::read(case, role)).transpose()
}

/// The name of a case: that of its folder.
pub fn case_name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Case {
    /// Read a case of a plugin in this role.
    ///
    /// # Errors
    /// Config or Data, naming the file and what is wrong with it.
    pub fn read(folder: &Path, role: Role) -> Result<Self> {
        let path = folder.join(SETTINGS);
        let wrong = |why: String| Error::config(format!("{} is wrong: {}", path.display(), why.trim_end()));
        let text = read_if_there(&path)?.unwrap_or_default();
        let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let limits = limits(&file.limits).map_err(&wrong)?;
        let limits = Limits { grants: Grants { wasi: file.grants.contains(&Grant::Wasi) }, ..limits };
        let columns = |key: &str, texts: Option<Texts>| match texts {
            Some(texts) => as_columns(&texts.into_vec()).map(Some).map_err(|why| wrong(format!("{key}: {why}"))),
            None => Ok(None),
        };
        let (schema, stored, fields) =
            (columns("schema", file.schema)?, columns("stored", file.stored)?, columns("fields", file.fields)?);
        let output = columns("output", file.output)?.map(|output| column_texts(&output));
        let place = folder.join(INPUT);
        let text = read_if_there(&place)?.ok_or_else(|| {
            let remedy = "write the input to it, one JSON value a line; or let the name of the folder begin with `_` if \
                          it is no case";
            Error::config(format!("{} has no {INPUT}: {remedy}", folder.display()))
        })?;
        let input = match (role, schema) {
            (Role::Parser | Role::Inference, None) => {
                let mut messages = messages_of_lines(&text, &place.display().to_string())?;
                messages.stored = stored;
                if let Some(schema) = fields {
                    let place = folder.join(FIELDS);
                    let text = read_if_there(&place)?.unwrap_or_default();
                    messages.fields = from_lines(&text, &schema, &place.display().to_string())?;
                    refuse_uneven(&messages, &place)?;
                }
                Input::Messages(messages)
            }
            (Role::Parser | Role::Inference, Some(_)) => {
                return Err(wrong("`schema` is for rows: a parser's input are messages".to_owned()));
            }
            (_, Some(_)) if stored.is_some() || fields.is_some() => {
                return Err(wrong("`stored` and `fields` are for parsers: list the columns in `schema`".to_owned()));
            }
            (_, Some(schema)) => {
                let rows = from_lines(&text, &schema, &place.display().to_string())?;
                Input::Rows(Rows { rows, key: file.key })
            }
            (_, None) => {
                let example = "schema = [\"deviceId string\", \"temperature double\"]";
                return Err(wrong(format!("it must say which columns the rows of {INPUT} have, such as `{example}`")));
            }
        };
        Ok(Self {
            folder: folder.to_owned(),
            config: file.config.map_or_else(|| Value::Object(serde_json::Map::new()), |table| as_json(table.into())),
            limits,
            now_us: file.now.map_or(Ok(0), |now| micros(&now)).map_err(&wrong)?,
            input,
            output,
        })
    }
}

fn refuse_uneven(messages: &Messages, place: &Path) -> Result<()> {
    let (fields, count) = (messages.fields.num_rows(), messages.len());
    if fields == count || fields == 0 {
        return Ok(());
    }
    let place = place.display();
    Err(Error::data(format!("{place} has {fields} rows for {count} messages: write one row for each, or none at all")))
}

fn limits(texts: &LimitTexts) -> Result<Limits, String> {
    let bytes = |key: &str, text: &Option<String>, default: usize| match text {
        Some(text) => {
            let bytes = size_of(text).map_err(|why| format!("limits.{key}: {why}"))?;
            usize::try_from(bytes).map_err(|_| format!("limits.{key} is more than this machine can hold"))
        }
        None => Ok(default),
    };
    let default = Limits::default();
    Ok(Limits {
        memory_bytes: bytes("memory", &texts.memory, default.memory_bytes)?,
        result_bytes: bytes("result", &texts.result, default.result_bytes)?,
        deadline: match &texts.deadline {
            Some(text) => duration_of(text).map_err(|why| format!("limits.deadline: {why}"))?,
            None => default.deadline,
        },
        rows: texts.rows.unwrap_or(default.rows),
        grants: default.grants,
    })
}

/// The same value in JSON. Times are texts, as in a pipeline file.
fn as_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(as_json).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, as_json(value))).collect())
        }
    }
}

fn micros(time: &toml::value::Datetime) -> Result<i64, String> {
    let text = time.to_string();
    let parsed = chrono::DateTime::parse_from_rfc3339(&text);
    parsed
        .map(|time| time.timestamp_micros())
        .map_err(|_| "now: write a time with its zone, such as 2025-10-05T18:40:10Z".to_owned())
}

/// The text of a file; none if there is no such file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::config(format!("cannot read {}", path.display())).because(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a case of a rule.
    #[track_caller]
    fn check(role: Role, settings: &str, input: &str, why: &str) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(SETTINGS), settings).unwrap();
        std::fs::write(folder.path().join(INPUT), input).unwrap();
        let error = Case::read(folder.path(), role).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn mistakes_name_the_file_and_say_what_would_be_right() {
        let columns = "schema = [\"a double\"]\n";
        check(Role::Rule, "", "{}", "case.toml is wrong: it must say which columns");
        check(Role::Parser, columns, "1", "`schema` is for rows");
        check(Role::Rule, "schema = [\"a duoble\"]", "{}", "schema: there is no type `duoble`");
        check(Role::Rule, "shcema = []", "{}", "unknown field `shcema`, expected one of `config`, `schema`");
        check(
            Role::Rule,
            &format!("{columns}limits.memory = \"64\u{b5}\""),
            "{}",
            "limits.memory: write a whole number",
        );
        check(Role::Rule, &format!("{columns}limits.deadline = \"0s\""), "{}", "limits.deadline: it must be longer");
        check(Role::Rule, columns, "{\"a\":1}\n{\"b\":1}\n", "input.jsonl:2: this is no row of the columns a double");
        check(Role::Parser, "now = 2025-10-05", "1", "now: write a time with its zone");
        check(Role::Parser, "output = \"a duoble\"", "1", "output: there is no type `duoble`");
        let nothing = tempfile::tempdir().unwrap();
        let error = Case::read(nothing.path(), Role::Parser).unwrap_err().to_string();
        assert!(error.contains("has no input.jsonl: write the input to it"), "{error}");
    }

    #[test]
    fn every_folder_is_a_case_unless_its_name_says_otherwise() {
        let project = tempfile::tempdir().unwrap();
        for name in ["b", "a", "_shared", ".git", "__pycache__"] {
            std::fs::create_dir_all(project.path().join(CASES).join(name)).unwrap();
        }
        std::fs::write(project.path().join(CASES).join("README.md"), "").unwrap();
        let names: Vec<String> = cases_of(project.path()).unwrap().iter().map(|case| case_name(case)).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
