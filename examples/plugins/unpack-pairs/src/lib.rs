//! A transform that unpacks texts such as `temperature=21.5;humidity=40` into one row
//! for each pair, with the name and the value, beside all other columns.

use serde::Deserialize;
use weir_plugin::build::{BytesBuilder, Float64Builder};
use weir_plugin::{
    Batch, DataType, Error, Manifest, Plugin, Problem, Rejection, Schema, Transform, TransformInfo, Transformed,
};

/// What may stand under `config` in the pipeline file.
const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "required": ["column"],
  "properties": {
    "column": { "type": "string", "description": "The column with the pairs; the rows that come out lack it." },
    "separator": { "type": "string", "minLength": 1, "maxLength": 1, "default": ";", "description": "What stands between two pairs." }
  }
}"#;

#[derive(Deserialize)]
struct Config {
    column: String,
    #[serde(default = "semicolon")]
    separator: char,
}

fn semicolon() -> char {
    ';'
}

struct Unpack {
    separator: char,
}

impl Plugin for Unpack {
    fn manifest() -> Manifest {
        Manifest::new("unpack-pairs", env!("CARGO_PKG_VERSION"), "Makes a row of each name=value pair.", CONFIG_SCHEMA)
    }
}

impl Transform for Unpack {
    fn configure(config: &str, input: Schema) -> Result<(Self, TransformInfo), Vec<Problem>> {
        let config: Config = serde_json::from_str(config).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let is_text =
            |name: &str| input.top_level().any(|field| field.name == name && field.data_type == DataType::Utf8);
        if !is_text(&config.column) {
            let message = format!("the rows need a column `{}` of the type string", config.column);
            return Err(vec![Problem::new("column", message)]);
        }
        let others = input.top_level().map(|field| field.name.clone()).filter(|name| *name != config.column);
        let output = Schema::builder().utf8("name").required().float64("value").required().build();
        let info = TransformInfo { carried: others.collect(), columns: vec![config.column], output };
        Ok((Self { separator: config.separator }, info))
    }

    fn apply(&mut self, rows: Batch) -> Result<Transformed, Error> {
        let (mut names, mut values) = (BytesBuilder::default(), Float64Builder::default());
        let (mut origins, mut rejected) = (Vec::new(), Vec::new());
        let texts = rows.columns[0].text()?;
        for row in 0..rows.rows {
            // A row without pairs is filtered out.
            let Some(text) = texts.get(row as usize) else { continue };
            match self.pairs(text) {
                Ok(pairs) => {
                    for (name, value) in pairs {
                        names.push(name.as_bytes());
                        values.push(value);
                        origins.push(row);
                    }
                }
                Err(reason) => rejected.push(Rejection { input: row, element: None, span: None, reason }),
            }
        }
        let rows = Batch { rows: origins.len() as u32, columns: vec![names.into_utf8(), values.into_float64()] };
        Ok(Transformed { rows, origins, rejected })
    }
}

impl Unpack {
    /// All pairs of a text, or what is wrong with one of them.
    fn pairs<'a>(&self, text: &'a str) -> Result<Vec<(&'a str, f64)>, String> {
        let pair = |pair: &'a str| {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not name=value"))?;
            let number =
                value.trim().parse().map_err(|_| format!("the value of `{}` is no number: {value}", name.trim()))?;
            Ok((name.trim(), number))
        };
        text.split(self.separator).filter(|pair| !pair.trim().is_empty()).map(pair).collect()
    }
}

weir_plugin::export!(Unpack: transform);
