//! The first check of a file: its shape, against the JSON Schema of the format.
//!
//! Understands the part of JSON Schema that the format uses. It reports in the
//! words of the file instead of the schema's, and mends the document: unknown
//! keys go, a misspelt key gets its right name where that one is free, a wrong
//! value becomes null. What is left fits the types of `raw`.

use serde_json::{Map, Value};

use super::file::{PipelineFile, join};
use super::problem::Problem;

/// Check a document against the schema of the format and mend it.
pub(super) fn check(schema: &Value, document: &mut Value, file: &mut PipelineFile, problems: &mut Vec<Problem>) {
    Shape { root: schema, file, problems }.value("", schema, document);
}

struct Shape<'a> {
    root: &'a Value,
    file: &'a mut PipelineFile,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Shape<'a> {
    fn value(&mut self, path: &str, schema: &'a Value, value: &mut Value) {
        let schema = self.resolve(schema);
        if value.is_null() {
            return;
        }
        let fits = match constants(schema) {
            Some(allowed) => self.constant(path, &allowed, value),
            None => self.kind(path, schema, value) && self.range(path, schema, value),
        };
        if !fits {
            *value = Value::Null;
        }
        match value {
            Value::Object(object) => self.object(path, schema, object),
            Value::Array(items) => {
                let Some(schema) = schema.get("items") else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(&join(path, &index.to_string()), schema, item);
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, path: &str, schema: &'a Value, object: &mut Map<String, Value>) {
        let known = schema.get("properties").and_then(Value::as_object);
        let any = schema.get("additionalProperties").filter(|more| **more != Value::Bool(false));
        if let Some(known) = known {
            self.unknown_keys(path, known, object);
        }
        for (key, value) in object.iter_mut() {
            if let Some(schema) = known.and_then(|known| known.get(key)).or(any) {
                self.value(&join(path, key), schema, value);
            }
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(key) {
                let schema = known.and_then(|known| known.get(key)).unwrap_or(&Value::Null);
                self.missing(path, key, schema);
            }
        }
    }

    fn unknown_keys(&mut self, path: &str, known: &Map<String, Value>, object: &mut Map<String, Value>) {
        let unknown: Vec<String> = object.keys().filter(|key| !known.contains_key(*key)).cloned().collect();
        for key in unknown {
            let Some(value) = object.remove(&key) else { continue };
            let nearest = nearest(&key, known.keys().map(String::as_str));
            let allowed = known.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let remedy = match nearest {
                Some(nearest) => format!("did you mean `{nearest}`? allowed here: {allowed}"),
                None => format!("allowed here: {allowed}"),
            };
            let at = join(path, &key);
            let what = if value.is_object() && path.is_empty() { "section" } else { "key" };
            let message = format!("unknown {what} {} in {}", self.file.shown("", &key), section(path));
            self.problems.push(self.file.problem_at_key(&at, message, Some(remedy)));
            if let Some(nearest) = nearest
                && !object.contains_key(nearest)
            {
                self.file.add_alias(join(path, nearest), at);
                object.insert(nearest.to_owned(), value);
            }
        }
    }

    fn missing(&mut self, path: &str, key: &str, schema: &'a Value) {
        let schema_of_key = self.resolve(schema);
        let about = schema.get("description").or_else(|| schema_of_key.get("description"));
        let about = about.and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let example = schema.get("examples").and_then(|examples| examples.get(0));
        let at = join(path, key);
        let is_section = schema_of_key.get("type").is_some_and(|kind| kind == "object");
        let (what, remedy) = match example {
            _ if is_section && path.is_empty() && key == "table" => ("section", "add `[table.NAME]`".to_owned()),
            _ if is_section => ("section", format!("add `[{at}]`")),
            Some(example) => ("key", format!("add `{key} = {example}`")),
            None => ("key", format!("add `{key}`")),
        };
        let remedy = if about.is_empty() { remedy } else { format!("{remedy}: {}", about.trim_end_matches('.')) };
        let message = format!("the {what} `{key}` is missing in {}", section(path));
        self.problems.push(self.file.problem_at_key(&at, message, Some(remedy)));
    }

    fn constant(&mut self, path: &str, allowed: &[&str], value: &Value) -> bool {
        let Some(text) = value.as_str() else {
            self.wrong(path, format!("expected a string, found {}", kind_of(value)), Some(one_of(allowed)));
            return false;
        };
        if allowed.contains(&text) {
            return true;
        }
        let near = if self.file.is_interpolated(path) { None } else { nearest(text, allowed.iter().copied()) };
        let remedy = match near {
            Some(nearest) => format!("did you mean `{nearest}`? {}", one_of(allowed)),
            None => one_of(allowed),
        };
        self.wrong(path, format!("{} is not allowed", self.file.shown(path, text)), Some(remedy));
        false
    }

    fn kind(&mut self, path: &str, schema: &Value, value: &Value) -> bool {
        let allowed: Vec<&str> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return true,
        };
        let fits = allowed.iter().any(|kind| match *kind {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        });
        if !fits {
            let expected = allowed.iter().map(|kind| name_of(kind)).collect::<Vec<_>>().join(" or ");
            let example = schema.get("examples").and_then(|examples| examples.get(0)).or_else(|| schema.get("default"));
            let remedy = example.map(|example| format!("for example {example}"));
            self.wrong(path, format!("expected {expected}, found {}", kind_of(value)), remedy);
        }
        fits
    }

    fn range(&mut self, path: &str, schema: &Value, value: &Value) -> bool {
        let Some(number) = value.as_f64() else { return true };
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        let fits = least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
        if !fits {
            let allowed = match (least, most) {
                (Some(least), Some(most)) => format!("from {least} to {most}"),
                (Some(least), None) => format!("{least} or more"),
                (None, Some(most)) => format!("{most} or less"),
                (None, None) => return true,
            };
            self.wrong(path, format!("{value} is out of range"), Some(format!("allowed: {allowed}")));
        }
        fits
    }

    fn wrong(&mut self, path: &str, message: String, remedy: Option<String>) {
        self.problems.push(self.file.problem_at(path, message, remedy));
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#'));
        name.and_then(|name| self.root.pointer(name)).unwrap_or(schema)
    }
}

/// The spelling among these that is meant, if one is near enough.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed_edits = (word.chars().count() / 3).clamp(1, 3);
    let distances = known.map(|known| (strsim::damerau_levenshtein(word, known), known));
    distances.filter(|(distance, _)| *distance <= allowed_edits).min().map(|(_, known)| known)
}

/// The strings that an enumeration allows, if the schema is one.
fn constants(schema: &Value) -> Option<Vec<&str>> {
    let mut allowed = Vec::new();
    for choice in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().chain([schema]) {
        allowed.extend(choice.get("const").and_then(Value::as_str));
        allowed.extend(choice.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str));
    }
    (!allowed.is_empty()).then_some(allowed)
}

fn one_of(allowed: &[&str]) -> String {
    format!("allowed: {}", allowed.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", "))
}

fn section(path: &str) -> String {
    if path.is_empty() { "the file".to_owned() } else { format!("[{path}]") }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

fn name_of(kind: &str) -> &'static str {
    match kind {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "a boolean",
        "array" => "an array",
        _ => "a table",
    }
}
