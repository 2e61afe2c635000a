//! The part of a configuration that names an alert, and when it is raised.

use serde_json::{Map, Value, json};
use weir_plugin::Problem;

use crate::condition::NAMES;
use crate::{Columns, Condition, Template};

/// The settings beside the conditions.
const SETTINGS: &[&str] = &["column", "kind", "message", "severity"];

const SEVERITY: &str = "WARNING";

/// An alert and the condition under which it is raised.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// When.
    pub condition: Condition,
    /// What kind of alert.
    pub kind: String,
    /// How bad.
    pub severity: String,
    /// What it says.
    pub message: Template,
}

/// Where in a configuration an alarm stands, and what may stand beside it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The dotted path of the object, empty for the configuration as a whole.
    pub path: &'a str,
    /// Further settings of the object, which the caller reads.
    pub others: &'a [&'a str],
    /// Whether `{count}` exists in the message.
    pub counted: bool,
}

impl Place<'_> {
    /// A fault of a setting of the object; the empty name is all of it.
    #[must_use]
    pub fn problem(&self, name: &str, message: impl Into<String>) -> Problem {
        let path = match (self.path, name) {
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}.{name}"),
        };
        Problem::new(path, message)
    }
}

impl Alarm {
    /// Read an object; none if there are faults, which are added to `problems`.
    pub fn new(
        object: &Map<String, Value>,
        place: Place<'_>,
        columns: &mut Columns<'_>,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let before = problems.len();
        for name in object.keys().map(String::as_str) {
            if ![SETTINGS, NAMES, place.others].iter().any(|known| known.contains(&name)) {
                let known = [SETTINGS, place.others, NAMES].concat().join(", ");
                problems.push(place.problem(name, format!("unknown setting; there are {known}")));
            }
        }
        let mut text = |name: &str| match object.get(name) {
            None => None,
            Some(Value::String(text)) if !text.is_empty() => Some(text.as_str()),
            Some(other) => {
                problems.push(place.problem(name, format!("{other} is not a text of at least one letter")));
                None
            }
        };
        let (column, kind) = (text("column"), text("kind"));
        let (severity, message) = (text("severity").unwrap_or(SEVERITY), text("message"));
        for (name, example) in [("column", "temperature"), ("kind", "HIGH_TEMPERATURE")] {
            if !object.contains_key(name) {
                problems.push(place.problem(name, format!("missing; write for example {name} = \"{example}\"")));
            }
        }
        let column = column?;
        let condition = Condition::new(object, column, columns)
            .map_err(|faults| problems.extend(faults.into_iter().map(|(name, fault)| place.problem(&name, fault))));
        let message = match message {
            Some(text) => Template::new(text, column, place.counted, columns),
            None => Template::default_for(column, columns),
        };
        // A column that does not exist was reported above.
        let message = message.map_err(|fault| {
            if object.contains_key("message") {
                problems.push(place.problem("message", fault));
            }
        });
        if problems.len() > before {
            return None;
        }
        let (condition, message) = (condition.ok()?, message.ok()?);
        Some(Self { condition, kind: kind?.to_owned(), severity: severity.to_owned(), message })
    }

    /// Read a further condition on the same column, under which the alarm is
    /// cleared; `names` pairs settings of the object with the conditions that
    /// they stand for. None without any of them, or with faults.
    pub fn clear_conditions(
        object: &Map<String, Value>,
        names: &[(&str, &str)],
        alarm: &Condition,
        place: Place<'_>,
        columns: &mut Columns<'_>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Condition> {
        let column = object.get("column").and_then(Value::as_str).unwrap_or_default();
        let mut clears = Vec::new();
        for (setting, condition) in names {
            let Some(value) = object.get(*setting) else { continue };
            let alone = Map::from_iter([((*condition).to_owned(), value.clone())]);
            match Condition::new(&alone, column, columns) {
                Ok(clear) if alarm.excludes(&clear) => clears.push(clear),
                Ok(_) => problems.push(place.problem(setting, "would clear values that raise the alarm")),
                Err(faults) => problems.extend(faults.into_iter().map(|(_, fault)| place.problem(setting, fault))),
            }
        }
        clears
    }
}

/// The properties of an alarm, for the JSON Schema of a configuration.
#[must_use]
pub fn schema_properties() -> Map<String, Value> {
    let value = || json!({ "type": ["number", "string"] });
    let pair = |what: &str| json!({ "description": what, "type": "array", "minItems": 2, "maxItems": 2 });
    let properties = json!({
        "column": { "description": "The column to judge.", "type": "string", "minLength": 1 },
        "above": value(),
        "at_least": value(),
        "at_most": value(),
        "below": value(),
        "between": pair("Both bounds are part of it."),
        "outside": pair("Both bounds are not part of it."),
        "equals": { "type": ["number", "string", "boolean"] },
        "not_equals": { "type": ["number", "string", "boolean"] },
        "is_null": { "type": "boolean" },
        "kind": { "description": "What kind of alert, for example HIGH_TEMPERATURE.", "type": "string", "minLength": 1 },
        "severity": { "type": "string", "minLength": 1, "default": SEVERITY },
        "message": {
            "description": "What it says, with {value}, {any_column} and {value:.2}; {{ is a brace.",
            "type": "string",
            "minLength": 1,
        },
    });
    match properties {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}
