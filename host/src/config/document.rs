//! From TOML text to JSON values, with the place of each key.
//!
//! A value that cannot be used becomes null; TOML has no null, so null always
//! means that a problem was reported.

use std::path::Path;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::{PipelineFile, Place, join};
use super::interpolate::{Surroundings, interpolate};
use super::problem::Problem;

/// A document and everything that is known about it.
pub(super) struct Document {
    /// The document as JSON.
    pub(super) value: Value,
    /// Where its keys stand.
    pub(super) file: PipelineFile,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
    /// Whether the text is TOML; if not, the value is what could be recovered.
    pub(super) is_toml: bool,
}

/// Read TOML text. `path` is the name of the file in messages, `base` the folder
/// that files of secrets are relative to.
pub(super) fn read(text: &str, path: &Path, base: &Path, surroundings: &dyn Surroundings) -> Document {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { file: PipelineFile::new(path, text), problems: Vec::new(), base, surroundings };
    // A key that is there twice leaves the rest of the file understandable.
    let is_toml = errors.iter().all(|error| error.message().contains("duplicate key"));
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        let remedy = is_toml.then(|| "keep one of them".to_owned());
        let problem = reader.file.problem("", at, error.message().replace('\n', ", "), remedy);
        // What follows the first mistake of a line mostly follows from it.
        if !reader.problems.iter().any(|earlier| earlier.line == problem.line) {
            reader.problems.push(problem);
        }
    }
    let value = reader.table("", table.get_ref());
    Document { value, file: reader.file, problems: reader.problems, is_toml }
}

struct Reader<'a> {
    file: PipelineFile,
    problems: Vec<Problem>,
    base: &'a Path,
    surroundings: &'a dyn Surroundings,
}

impl Reader<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>) -> Value {
        let mut object = Map::new();
        for (key, value) in table {
            let path = join(path, key.get_ref());
            let value = self.value(path, key.span().start, value);
            object.insert(key.get_ref().to_string(), value);
        }
        Value::Object(object)
    }

    fn value(&mut self, path: String, key: usize, value: &Spanned<DeValue<'_>>) -> Value {
        let table = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
        // A section is pointed at by its name.
        let at = if table && key != 0 { key } else { value.span().start };
        self.file.add(path.clone(), Place { key, value: at });
        match value.get_ref() {
            DeValue::String(text) => self.text(&path, text),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::from(integer),
                Err(_) => self.wrong(&path, "the integer does not fit into 64 bits"),
            },
            DeValue::Float(float) => match float.as_str().parse().ok().and_then(Number::from_f64) {
                Some(number) => Value::Number(number),
                None => self.wrong(&path, "the number is not finite"),
            },
            DeValue::Boolean(truth) => Value::Bool(*truth),
            // Written as text, which is what everything that takes a time expects.
            DeValue::Datetime(time) => Value::String(time.to_string()),
            DeValue::Array(items) => {
                let item = |(index, item): (usize, &Spanned<DeValue<'_>>)| {
                    self.value(join(&path, &index.to_string()), item.span().start, item)
                };
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            DeValue::Table(table) => self.table(&path, table),
        }
    }

    fn text(&mut self, path: &str, text: &str) -> Value {
        match interpolate(text, self.base, self.surroundings) {
            Ok(done) => {
                self.file.add_secrets(path, done.secrets);
                Value::String(done.text)
            }
            Err(refused) => {
                for why in refused {
                    let problem = self.file.problem_at(path, why.message, Some(why.remedy));
                    self.problems.push(problem);
                }
                Value::Null
            }
        }
    }

    fn wrong(&mut self, path: &str, message: &str) -> Value {
        self.problems.push(self.file.problem_at(path, message, None));
        Value::Null
    }
}
