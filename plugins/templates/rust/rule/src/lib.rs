//! A rule: rows in, alerts out.
//!
//! This one remembers the last value of each group and raises an alert when the next
//! one is further away than allowed. Start by changing what `evaluate` looks for, the
//! state that it keeps, and the case in `tests/`. A rule that judges each row alone
//! announces `Memory::Stateless` and needs no state.

use serde::Deserialize;
use weir_plugin::{
    Alerts, AlertsBuilder, Batch, DataType, Decoder, Error, Groups, Malformed, Manifest, Memory, Plugin, Problem, Rule,
    RuleInfo, Schema, State, VarBytes,
};

/// What may stand under `config` in the pipeline file, checked before `configure`.
const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "required": ["column", "most"],
  "properties": {
    "column": { "type": "string", "description": "The column to look at, a double." },
    "most": { "type": "number", "minimum": 0, "description": "The largest change that raises no alert." }
  }
}"#;

/// Change it when the bytes of a state change their meaning.
const STATE_VERSION: u32 = 1;

#[derive(Deserialize)]
struct Config {
    column: String,
    most: f64,
}

struct Jumps {
    most: f64,
    groups: Groups<Last>,
}

/// What is kept of a group; the default is the empty group.
#[derive(Default)]
struct Last(Option<f64>);

/// States outlive the process: a restart, a trap or a new version of this plugin
/// reads them again.
impl State for Last {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.0.is_some()));
        to.extend_from_slice(&self.0.unwrap_or_default().to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (is_there, value) = (from.flag()?, from.f64()?);
        Ok(Self(is_there.then_some(value)))
    }
}

impl Plugin for Jumps {
    fn manifest() -> Manifest {
        Manifest::new("{{name}}", env!("CARGO_PKG_VERSION"), "Finds values that jump.", CONFIG_SCHEMA)
    }
}

impl Rule for Jumps {
    /// Called once: say which columns `evaluate` sees, and whether it remembers.
    fn configure(config: &str, input: Schema) -> Result<(Self, RuleInfo), Vec<Problem>> {
        let config: Config = serde_json::from_str(config).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let is_number =
            |name: &str| input.top_level().any(|field| field.name == name && field.data_type == DataType::Float64);
        if !is_number(&config.column) {
            let message = format!("the rows need a column `{}` of the type double", config.column);
            return Err(vec![Problem::new("column", message)]);
        }
        let info = RuleInfo {
            columns: vec![config.column],
            memory: Memory::Keyed,
            state_version: STATE_VERSION,
            restorable: vec![STATE_VERSION],
        };
        Ok((Self { most: config.most, groups: Groups::default() }, info))
    }

    /// Called for each chunk: judge the rows in order; `groups[i]` is the group of row i.
    fn evaluate(&mut self, groups: &[u32], rows: &Batch) -> Result<Alerts, Error> {
        let mut alerts = AlertsBuilder::default();
        let last = self.groups.reach(groups)?;
        for ((row, group), value) in (0..).zip(groups).zip(rows.columns[0].float64()?.iter()) {
            let Some(value) = value else { continue };
            let before = last[*group as usize].0.replace(value);
            if let Some(before) = before.filter(|before| (value - before).abs() > self.most) {
                alerts.push(row, "JUMP", "WARNING", &format!("from {before} to {value}"));
            }
        }
        Ok(alerts.finish())
    }

    fn release(&mut self, groups: &[u32]) {
        self.groups.release(groups);
    }

    fn snapshot(&self, groups: &[u32]) -> Result<VarBytes, Error> {
        self.groups.snapshot(groups)
    }

    fn restore(&mut self, groups: &[u32], states: &VarBytes, _state_version: u32) -> Result<(), Error> {
        self.groups.restore(groups, states)
    }
}

weir_plugin::export!(Jumps: rule);
