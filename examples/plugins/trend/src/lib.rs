//! An aggregator that fits a line through the values of a window: how fast they rise or
//! fall in an hour, by least squares over the event time.
//!
//! The sums are those of Chan, Golub and LeVeque (1983): means and centred products,
//! which keep their digits though event times are large numbers, and which merge.

use serde::Deserialize;
use weir_plugin::build::{Float64Builder, Int64Builder};
use weir_plugin::{
    Aggregator, AggregatorInfo, Batch, DataType, Decoder, Error, Groups, Malformed, Manifest, Plugin, Problem, Schema,
    State, VarBytes,
};

/// What may stand under `config` in the pipeline file.
const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "required": ["column"],
  "properties": {
    "column": { "type": "string", "description": "The column to follow, a double." }
  }
}"#;

/// Change it when the bytes of a state change their meaning.
const STATE_VERSION: u32 = 1;

const US_PER_HOUR: f64 = 3.6e9;

#[derive(Deserialize)]
struct Config {
    column: String,
}

struct Trend {
    groups: Groups<Line>,
}

/// The points of a group: their number, means, and centred products.
#[derive(Clone, Copy, Default)]
struct Line {
    count: i64,
    hours: f64,
    value: f64,
    hours_squared: f64,
    hours_by_value: f64,
}

impl Line {
    fn point(hours: f64, value: f64) -> Self {
        Self { count: 1, hours, value, ..Self::default() }
    }

    /// These points and others.
    fn join(&mut self, other: &Self) {
        let count = self.count + other.count;
        if count == 0 {
            return;
        }
        let share = other.count as f64 / count as f64;
        let (hours, value) = (other.hours - self.hours, other.value - self.value);
        let weight = self.count as f64 * share;
        self.hours_squared += other.hours_squared + hours * hours * weight;
        self.hours_by_value += other.hours_by_value + hours * value * weight;
        self.hours += hours * share;
        self.value += value * share;
        self.count = count;
    }

    /// None for points at a single time.
    fn slope_per_hour(&self) -> Option<f64> {
        (self.hours_squared > 0.0).then(|| self.hours_by_value / self.hours_squared)
    }
}

impl State for Line {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.count.to_le_bytes());
        for number in [self.hours, self.value, self.hours_squared, self.hours_by_value] {
            to.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            count: from.i64()?,
            hours: from.f64()?,
            value: from.f64()?,
            hours_squared: from.f64()?,
            hours_by_value: from.f64()?,
        })
    }
}

impl Plugin for Trend {
    fn manifest() -> Manifest {
        Manifest::new("trend", env!("CARGO_PKG_VERSION"), "Says how fast values rise or fall.", CONFIG_SCHEMA)
    }
}

impl Aggregator for Trend {
    fn configure(config: &str, input: Schema) -> Result<(Self, AggregatorInfo), Vec<Problem>> {
        let config: Config = serde_json::from_str(config).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let is_number =
            |name: &str| input.top_level().any(|field| field.name == name && field.data_type == DataType::Float64);
        if !is_number(&config.column) {
            let message = format!("the rows need a column `{}` of the type double", config.column);
            return Err(vec![Problem::new("column", message)]);
        }
        let output = Schema::builder().int64("points").required().float64("slope_per_hour").build();
        let info = AggregatorInfo {
            // The host puts the event time behind the columns of the rows.
            columns: vec![config.column, "event.time".to_owned()],
            output,
            state_version: STATE_VERSION,
            restorable: vec![STATE_VERSION],
        };
        Ok((Self { groups: Groups::default() }, info))
    }

    fn update(&mut self, groups: &[u32], rows: &Batch) -> Result<(), Error> {
        // Event times are microseconds, and never null.
        let (values, times) = (rows.columns[0].float64()?, rows.columns[1].int64()?);
        let lines = self.groups.reach(groups)?;
        for ((group, value), time) in groups.iter().zip(values.iter()).zip(times.values()) {
            if let Some(value) = value {
                lines[*group as usize].join(&Line::point(*time as f64 / US_PER_HOUR, value));
            }
        }
        Ok(())
    }

    fn merge(&mut self, into: &[u32], sources: &[u32]) -> Result<(), Error> {
        self.groups.merge(into, sources, Line::join)
    }

    fn evaluate(&self, groups: &[u32]) -> Result<Batch, Error> {
        let mut points = Int64Builder::with_capacity(groups.len());
        let mut slope = Float64Builder::with_capacity(groups.len());
        for group in groups {
            let line = self.groups.get(*group).copied().unwrap_or_default();
            points.push(line.count);
            match line.slope_per_hour() {
                Some(value) => slope.push(value),
                None => slope.push_null(),
            }
        }
        Ok(Batch { rows: groups.len() as u32, columns: vec![points.into_int64(), slope.into_float64()] })
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

weir_plugin::export!(Trend: aggregator);
