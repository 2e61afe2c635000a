//! The bundled JSON parser of weir.
//!
//! It knows its columns: one pass over the text, values written straight into
//! columns, no tree of values in between. The way of a chunk: `messages` finds
//! the elements, `object` their keys by way of the `plan`, `rows` takes the
//! values, and `resync` goes on behind malformed text. `cursor`, `number`,
//! `text` and `timestamp` know the grammar; `wide` is the only place with SIMD.
//!
//! Invariants: JSON is read strictly (RFC 8259); no input panics; every element
//! of a message becomes a row or a part of a rejection.

mod config;
mod cursor;
mod grammar;
mod messages;
mod number;
mod object;
mod plan;
mod resync;
mod rows;
mod text;
mod timestamp;
mod wide;

#[cfg(test)]
mod tests;

pub use messages::Parser;

use weir_plugin::{Error, Manifest, Messages, Parsed, ParserInfo, Plugin, Problem, Schema};

use crate::config::Config;

impl Plugin for Parser {
    fn manifest() -> Manifest {
        Manifest::new(
            "json",
            env!("CARGO_PKG_VERSION"),
            "Makes a row of each element of JSON arrays, objects and lines.",
            config::SCHEMA,
        )
    }
}

impl weir_plugin::Parser for Parser {
    fn configure(config: &str, stored: Option<Schema>) -> Result<(Self, ParserInfo), Vec<Problem>> {
        let config = Config::new(config, stored.as_ref())?;
        let mut output = Schema::builder();
        for column in &config.columns {
            output = output.field(column.name.as_str(), column.kind.data_type());
        }
        Ok((Self::new(config), ParserInfo { output: output.build(), message_fields: Vec::new() }))
    }

    fn parse(&mut self, chunk: Messages) -> Result<Parsed, Error> {
        Self::parse(self, &chunk)
    }
}

weir_plugin::export_parser!(Parser);
