//! A transform: rows in, rows out.
//!
//! This one adds a column in degrees Fahrenheit beside one in degrees Celsius. Start
//! by changing what `configure` announces, what `apply` computes, and the case in
//! `tests/`.

use serde::Deserialize;
use weir_plugin::build::Float64Builder;
use weir_plugin::{
    Batch, DataType, Error, Manifest, Plugin, Problem, Rejection, Schema, Transform, TransformInfo, Transformed,
};

/// What may stand under `config` in the pipeline file, checked before `configure`.
const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "column": { "type": "string", "default": "temperature", "description": "The column in degrees Celsius." }
  }
}"#;

const ABSOLUTE_ZERO: f64 = -273.15;

#[derive(Deserialize)]
struct Config {
    #[serde(default = "temperature")]
    column: String,
}

fn temperature() -> String {
    "temperature".to_owned()
}

struct Fahrenheit;

impl Plugin for Fahrenheit {
    fn manifest() -> Manifest {
        Manifest::new("{{name}}", env!("CARGO_PKG_VERSION"), "Adds degrees Fahrenheit.", CONFIG_SCHEMA)
    }
}

impl Transform for Fahrenheit {
    /// Called once: say which columns `apply` sees and returns, and which ones the
    /// host carries over as they are.
    fn configure(config: &str, input: Schema) -> Result<(Self, TransformInfo), Vec<Problem>> {
        let config: Config = serde_json::from_str(config).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let is_number =
            |name: &str| input.top_level().any(|field| field.name == name && field.data_type == DataType::Float64);
        if !is_number(&config.column) {
            let message = format!("the rows need a column `{}` of the type double", config.column);
            return Err(vec![Problem::new("column", message)]);
        }
        let output = Schema::builder().float64(format!("{}_fahrenheit", config.column)).build();
        let carried = input.top_level().map(|field| field.name.clone()).collect();
        Ok((Self, TransformInfo { columns: vec![config.column], output, carried }))
    }

    /// Called for each chunk. `origins` says for each row of the result which row it
    /// came from: leave rows out to filter, repeat them to explode. A rejected row goes
    /// to the dead letters with its reason.
    fn apply(&mut self, rows: Batch) -> Result<Transformed, Error> {
        let mut fahrenheit = Float64Builder::with_capacity(rows.rows as usize);
        let (mut origins, mut rejected) = (Vec::new(), Vec::new());
        for (row, celsius) in (0..).zip(rows.columns[0].float64()?.iter()) {
            match celsius {
                Some(celsius) if celsius < ABSOLUTE_ZERO => {
                    let reason = format!("{celsius} °C is below the absolute zero");
                    rejected.push(Rejection { input: row, element: None, span: None, reason });
                    continue;
                }
                Some(celsius) => fahrenheit.push(celsius * 1.8 + 32.0),
                None => fahrenheit.push_null(),
            }
            origins.push(row);
        }
        let rows = Batch { rows: origins.len() as u32, columns: vec![fahrenheit.into_float64()] };
        Ok(Transformed { rows, origins, rejected })
    }
}

weir_plugin::export!(Fahrenheit: transform);
