//! The bundled JSON parser of weir.
//!
//! It knows its columns: one pass over the text, values written straight into
//! columns, no tree of values in between. The way of a chunk: `elements` finds
//! the elements of a message, with `resync` behind malformed ones, and `messages`
//! says what becomes of each; `object` finds keys by way of the `plan`, `rows`
//! takes the values, and `unfit` what did not fit them. `infer` has the same
//! elements say what they are made of. `cursor` and `text` know the grammar;
//! numbers and instants are read by `weir_values`.
//!
//! Invariants: JSON is read strictly (RFC 8259); no input panics; every element
//! of a message becomes a row or a part of a rejection; nothing is noted for a
//! row that fits.

mod config;
mod cursor;
mod elements;
mod infer;
mod messages;
mod object;
mod plan;
mod resync;
mod rows;
mod text;
mod unfit;

#[cfg(test)]
mod tests;

pub use messages::Parser;

use weir_plugin::{Error, Inference, Manifest, Messages, Parsed, ParserInfo, Plugin, Problem, Schema};

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
        let settings = config::for_rows(config, stored.as_ref())?;
        let output = weir_values::columns::schema(&settings.columns);
        let info = ParserInfo { output, message_fields: settings.message_fields() };
        Ok((Self::new(settings), info))
    }

    fn parse(&mut self, chunk: Messages) -> Result<Parsed, Error> {
        Self::parse(self, &chunk)
    }
}

impl Inference for Parser {
    fn infer(config: &str, sample: &Messages) -> Result<Schema, Vec<Problem>> {
        infer::infer(config::for_inference(config)?, sample)
    }
}

weir_plugin::export_inferring_parser!(Parser);
