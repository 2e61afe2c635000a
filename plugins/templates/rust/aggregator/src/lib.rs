//! An aggregator: rows fold into groups, and each group becomes a row.
//!
//! This one counts the values above a limit and keeps the greatest. Start by changing
//! the state, what `update` and `merge` do with it, what `evaluate` returns, and the
//! case in `tests/`.

use serde::Deserialize;
use weir_plugin::build::{Float64Builder, Int64Builder};
use weir_plugin::{
    Aggregator, AggregatorInfo, Batch, DataType, Decoder, Error, Groups, Malformed, Manifest, Plugin, Problem, Schema,
    State, VarBytes,
};

/// What may stand under `config` in the pipeline file, checked before `configure`.
const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "required": ["column", "limit"],
  "properties": {
    "column": { "type": "string", "description": "The column to look at, a double." },
    "limit": { "type": "number", "description": "Values above it are counted." }
  }
}"#;

/// Change it when the bytes of a state change their meaning.
const STATE_VERSION: u32 = 1;

#[derive(Deserialize)]
struct Config {
    column: String,
    limit: f64,
}

struct Above {
    limit: f64,
    groups: Groups<Seen>,
}

/// What is kept of a group; the default is the empty group.
#[derive(Default)]
struct Seen {
    above: i64,
    greatest: Option<f64>,
}

impl Seen {
    fn see(&mut self, above: i64, value: Option<f64>) {
        self.above += above;
        if let Some(value) = value {
            self.greatest = Some(self.greatest.map_or(value, |greatest| greatest.max(value)));
        }
    }
}

/// States outlive the process: a restart, a trap or a new version of this plugin
/// reads them again.
impl State for Seen {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.above.to_le_bytes());
        to.push(u8::from(self.greatest.is_some()));
        to.extend_from_slice(&self.greatest.unwrap_or_default().to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (above, has_values, greatest) = (from.i64()?, from.flag()?, from.f64()?);
        Ok(Self { above, greatest: has_values.then_some(greatest) })
    }
}

impl Plugin for Above {
    fn manifest() -> Manifest {
        Manifest::new("{{name}}", env!("CARGO_PKG_VERSION"), "Counts the values above a limit.", CONFIG_SCHEMA)
    }
}

impl Aggregator for Above {
    /// Called once: say which columns `update` sees and `evaluate` returns. The host
    /// adds the key columns and the bounds of the window.
    fn configure(config: &str, input: Schema) -> Result<(Self, AggregatorInfo), Vec<Problem>> {
        let config: Config = serde_json::from_str(config).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let is_number =
            |name: &str| input.top_level().any(|field| field.name == name && field.data_type == DataType::Float64);
        if !is_number(&config.column) {
            let message = format!("the rows need a column `{}` of the type double", config.column);
            return Err(vec![Problem::new("column", message)]);
        }
        let output = Schema::builder().int64("above_count").required().float64("greatest").build();
        let info = AggregatorInfo {
            columns: vec![config.column],
            output,
            state_version: STATE_VERSION,
            restorable: vec![STATE_VERSION],
        };
        Ok((Self { limit: config.limit, groups: Groups::default() }, info))
    }

    /// Called for each chunk, the hot path: fold row i into `groups[i]`.
    fn update(&mut self, groups: &[u32], rows: &Batch) -> Result<(), Error> {
        let seen = self.groups.reach(groups)?;
        for (group, value) in groups.iter().zip(rows.columns[0].float64()?.iter()) {
            seen[*group as usize].see(i64::from(value.is_some_and(|value| value > self.limit)), value);
        }
        Ok(())
    }

    fn merge(&mut self, into: &[u32], sources: &[u32]) -> Result<(), Error> {
        self.groups.merge(into, sources, |into, source| into.see(source.above, source.greatest))
    }

    /// One row for each group, in order.
    fn evaluate(&self, groups: &[u32]) -> Result<Batch, Error> {
        let mut above = Int64Builder::with_capacity(groups.len());
        let mut greatest = Float64Builder::with_capacity(groups.len());
        for group in groups {
            let seen = self.groups.get(*group);
            above.push(seen.map_or(0, |seen| seen.above));
            match seen.and_then(|seen| seen.greatest) {
                Some(value) => greatest.push(value),
                None => greatest.push_null(),
            }
        }
        Ok(Batch { rows: groups.len() as u32, columns: vec![above.into_int64(), greatest.into_float64()] })
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

weir_plugin::export!(Above: aggregator);
