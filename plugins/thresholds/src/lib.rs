//! The bundled rule that raises an alert where a value crosses a threshold.
//!
//! The levels are judged column by column, the last one first, so that the mark
//! which stays on a row is that of the first level which it meets; messages are
//! written for marked rows only.
//!
//! Invariants: stateless; at most one alert a row; a row without an alert
//! allocates nothing.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use weir_conditions::{Alarm, Columns, Place, schema_properties};
use weir_plugin::{Alerts, AlertsBuilder, Batch, Error, Manifest, Memory, Plugin, Problem, Rule, RuleInfo, Schema};

/// Marks are 16 bits wide, and no row is judged by more.
const LEVELS_MAX: usize = 1000;

/// The mark of a row that meets no level; the others are counted from 1.
const NONE: u16 = 0;

/// Levels, of which the first that a row meets raises its alert.
#[derive(Clone, Debug)]
pub struct Thresholds {
    levels: Vec<Alarm>,
    /// One a row, kept for the next chunk.
    marks: Vec<u16>,
}

impl Plugin for Thresholds {
    fn manifest() -> Manifest {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": false,
            "required": ["levels"],
            "properties": {
                "levels": {
                    "description": "The first level that a row meets raises its alert.",
                    "type": "array",
                    "minItems": 1,
                    "maxItems": LEVELS_MAX,
                    "items": {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["column", "kind"],
                        "properties": schema_properties(),
                    },
                },
            },
        });
        Manifest::new(
            "thresholds",
            env!("CARGO_PKG_VERSION"),
            "Raises an alert where a value crosses a threshold.",
            &schema.to_string(),
        )
    }
}

impl Rule for Thresholds {
    fn configure(config: &str, input: Schema) -> Result<(Self, RuleInfo), Vec<Problem>> {
        let mut columns = Columns::new(&input);
        let levels = levels(config, &mut columns)?;
        let info = RuleInfo {
            columns: columns.into_names(),
            memory: Memory::Stateless,
            state_version: 1,
            restorable: vec![1],
        };
        Ok((Self { levels, marks: Vec::new() }, info))
    }

    fn evaluate(&mut self, _groups: &[u32], rows: &Batch) -> Result<Alerts, Error> {
        self.marks.clear();
        self.marks.resize(rows.rows as usize, NONE);
        for (index, level) in self.levels.iter().enumerate().rev() {
            // LEVELS_MAX keeps marks within 16 bits.
            let mark = index as u16 + 1;
            level.condition.mark(rows, &mut self.marks, mark)?;
        }
        let mut alerts = AlertsBuilder::default();
        for (row, mark) in (0_u32..).zip(&self.marks) {
            if *mark != NONE {
                let level = &self.levels[usize::from(*mark) - 1];
                alerts.push_with(row, &level.kind, &level.severity, |message| {
                    level.message.write(rows, row as usize, 1, message);
                });
            }
        }
        Ok(alerts.finish())
    }
}

fn levels(config: &str, columns: &mut Columns<'_>) -> Result<Vec<Alarm>, Vec<Problem>> {
    let mut config = match serde_json::from_str(config) {
        Ok(Value::Object(config)) => config,
        Ok(_) => return Err(vec![Problem::new("", "the configuration must be an object")]),
        Err(error) => return Err(vec![Problem::new("", format!("the configuration is not JSON: {error}"))]),
    };
    let mut problems = Vec::new();
    let mut levels = Vec::new();
    match config.remove("levels") {
        None => problems.push(Problem::new("levels", "missing; list at least one level")),
        Some(Value::Array(found)) if (1..=LEVELS_MAX).contains(&found.len()) => {
            for (index, level) in found.iter().enumerate() {
                let path = format!("levels.{index}");
                let place = Place { path: &path, others: &[], counted: false };
                match level {
                    Value::Object(level) => levels.extend(Alarm::new(level, place, columns, &mut problems)),
                    other => problems.push(Problem::new(path, format!("{other} is not an object"))),
                }
            }
        }
        Some(Value::Array(found)) => {
            problems.push(Problem::new("levels", format!("{} levels; 1 to {LEVELS_MAX} are possible", found.len())));
        }
        Some(other) => problems.push(Problem::new("levels", format!("{other} is not a list of levels"))),
    }
    for unknown in config.keys() {
        problems.push(Problem::new(unknown.as_str(), "unknown setting; there is `levels`"));
    }
    if problems.is_empty() { Ok(levels) } else { Err(problems) }
}

weir_plugin::export_rule!(Thresholds);
