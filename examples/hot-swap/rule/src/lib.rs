//! Counts for each device how often it was too warm, and says so each time.

use serde::Deserialize;
use weir_plugin::{
    Alerts, AlertsBuilder, Batch, DataType, Decoder, Error, Groups, Malformed, Manifest, Memory, Plugin, Problem, Rule,
    RuleInfo, Schema, State, VarBytes,
};

/// Change it, build again, and watch the pipeline say something else.
fn message(times: i64, temperature: f64) -> String {
    format!("too warm for the {times}. time: {temperature:.1} °C")
}

const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "required": ["above"],
  "properties": { "above": { "type": "number", "description": "What is too warm, in °C." } }
}"#;

/// Change it when the bytes of a state change their meaning.
const STATE_VERSION: u32 = 1;

#[derive(Deserialize)]
struct Config {
    above: f64,
}

struct Warm {
    above: f64,
    groups: Groups<Times>,
}

/// How often a device was too warm.
#[derive(Default)]
struct Times(i64);

impl State for Times {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        from.i64().map(Self)
    }
}

impl Plugin for Warm {
    fn manifest() -> Manifest {
        Manifest::new("warm", env!("CARGO_PKG_VERSION"), "Counts how often a device was too warm.", CONFIG_SCHEMA)
    }
}

impl Rule for Warm {
    fn configure(config: &str, input: Schema) -> Result<(Self, RuleInfo), Vec<Problem>> {
        let config: Config = serde_json::from_str(config).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let mut columns = input.top_level();
        if !columns.any(|field| field.name == "temperature" && field.data_type == DataType::Float64) {
            return Err(vec![Problem::new("", "the rows need a column `temperature` of the type double")]);
        }
        let info = RuleInfo {
            columns: vec!["temperature".to_owned()],
            memory: Memory::Keyed,
            state_version: STATE_VERSION,
            restorable: vec![STATE_VERSION],
        };
        Ok((Self { above: config.above, groups: Groups::default() }, info))
    }

    fn evaluate(&mut self, groups: &[u32], rows: &Batch) -> Result<Alerts, Error> {
        let mut alerts = AlertsBuilder::default();
        let times = self.groups.reach(groups)?;
        for ((row, group), temperature) in (0..).zip(groups).zip(rows.columns[0].float64()?.iter()) {
            if let Some(temperature) = temperature.filter(|temperature| *temperature > self.above) {
                let times = &mut times[*group as usize].0;
                *times += 1;
                alerts.push(row, "TOO_WARM", "WARNING", &message(*times, temperature));
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

weir_plugin::export!(Warm: rule);
