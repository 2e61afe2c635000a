//! A parser: messages in, rows out.
//!
//! This one reads lines such as `device=greenhouse-1 temperature=21.5`. Start by
//! changing the schema in `configure`, what `parse` makes of a line, and the case
//! in `tests/`.

use serde::Deserialize;
use weir_plugin::{Manifest, MessageParser, PerMessage, Plugin, Problem, Rejected, Rows, Schema};

/// What may stand under `config` in the pipeline file, checked before `configure`.
const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "separator": { "type": "string", "minLength": 1, "maxLength": 1, "default": " ", "description": "What stands between two fields." }
  }
}"#;

#[derive(Deserialize)]
struct Config {
    #[serde(default = "space")]
    separator: char,
}

fn space() -> char {
    ' '
}

struct Parser {
    config: Config,
}

impl Plugin for Parser {
    fn manifest() -> Manifest {
        Manifest::new("{{name}}", env!("CARGO_PKG_VERSION"), "Reads lines of key=value.", CONFIG_SCHEMA)
    }
}

impl MessageParser for Parser {
    /// Called once: understand the configuration and say which columns the rows have.
    fn configure(config: &str) -> Result<(Self, Schema), Vec<Problem>> {
        let config = serde_json::from_str(config).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let schema = Schema::builder().utf8("device").float64("temperature").build();
        Ok((Self { config }, schema))
    }

    /// Called for each message. An error sends the message, with its reason, to the
    /// dead letters; no other message is harmed.
    fn parse(&mut self, message: &[u8], rows: &mut Rows) -> Result<(), Rejected> {
        for line in std::str::from_utf8(message)?.lines() {
            let (mut device, mut temperature) = (None, None);
            for field in line.split(self.config.separator).filter(|field| !field.is_empty()) {
                let (key, value) = field.split_once('=').ok_or_else(|| format!("`{field}` is not key=value"))?;
                match key {
                    "device" => device = Some(value),
                    "temperature" => {
                        let number = value.parse::<f64>();
                        temperature = Some(number.map_err(|_| format!("the temperature `{value}` is no number"))?);
                    }
                    _ => {}
                }
            }
            let device = device.ok_or("there is no `device`")?;
            rows.push(&[device.into(), temperature.into()]);
        }
        Ok(())
    }
}

weir_plugin::export_parser!(PerMessage<Parser>);
