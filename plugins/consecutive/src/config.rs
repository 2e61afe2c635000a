//! The configuration: an alarm, how often its condition must hold, and what
//! clears it.

use serde_json::{Map, Value, json};
use weir_conditions::{Alarm, Columns, Condition, Place, schema_properties};
use weir_plugin::Problem;

/// The settings beside those of an alarm.
const SETTINGS: &[&str] = &["clear_above", "clear_below", "repeat", "times"];

/// The settings that clear an alarm, and the condition that each stands for.
const CLEARS: &[(&str, &str)] = &[("clear_above", "above"), ("clear_below", "below")];

/// A valid configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) alarm: Alarm,
    /// At least 1.
    pub(crate) times: u64,
    pub(crate) repeat: bool,
    /// Any of them clears the alarm; without one every row does for which the
    /// condition does not hold.
    pub(crate) clears: Vec<Condition>,
}

impl Config {
    pub(crate) fn new(config: &str, columns: &mut Columns<'_>) -> Result<Self, Vec<Problem>> {
        let object: Map<String, Value> = match serde_json::from_str(config) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(vec![Problem::new("", "the configuration must be an object")]),
            Err(error) => return Err(vec![Problem::new("", format!("the configuration is not JSON: {error}"))]),
        };
        let place = Place { path: "", others: SETTINGS, counted: true };
        let mut problems = Vec::new();
        let alarm = Alarm::new(&object, place, columns, &mut problems);
        let times = match object.get("times") {
            None => {
                problems.push(Problem::new("times", "missing; write how many rows in a row raise the alert"));
                1
            }
            Some(value) => value.as_u64().filter(|times| *times > 0).unwrap_or_else(|| {
                problems.push(Problem::new("times", format!("{value} is not a whole number of at least 1")));
                1
            }),
        };
        let repeat = match object.get("repeat") {
            None => false,
            Some(Value::Bool(repeat)) => *repeat,
            Some(other) => {
                problems.push(Problem::new("repeat", format!("{other} is neither true nor false")));
                false
            }
        };
        let Some(alarm) = alarm else { return Err(problems) };
        let clears = Alarm::clear_conditions(&object, CLEARS, &alarm.condition, place, columns, &mut problems);
        if problems.is_empty() { Ok(Self { alarm, times, repeat, clears }) } else { Err(problems) }
    }
}

/// The JSON Schema of the configuration.
pub(crate) fn schema() -> String {
    let mut properties = schema_properties();
    let bound = |what: &str| json!({ "description": what, "type": ["number", "string"] });
    let own = [
        ("times", json!({ "description": "So many rows in a row raise the alert.", "type": "integer", "minimum": 1 })),
        ("repeat", json!({ "description": "Raise it again after so many more.", "type": "boolean", "default": false })),
        ("clear_above", bound("Once raised, only a value above clears the alarm.")),
        ("clear_below", bound("Once raised, only a value below clears the alarm.")),
    ];
    properties.extend(own.map(|(name, property)| (name.to_owned(), property)));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": ["column", "kind", "times"],
        "properties": properties,
    })
    .to_string()
}
