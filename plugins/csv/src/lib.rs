//! The bundled CSV parser of weir.
//!
//! A message is a block of whole records of a file, as the host frames them:
//! `record` reads one after the other, `header` says which columns want its
//! fields, `messages` puts their values into the row. `infer` has the same
//! records say what they are made of. Columns, numbers and instants are those of
//! `weir_values`, as in the JSON parser.
//!
//! Records are read by code of its own and not by `csv-core`: that reader says
//! neither where in the text a record and its fields begin and end, which a
//! rejection has to name, nor whether a field was quoted, which tells an empty
//! text from a null, and it takes an unclosed quote for the end of the file.
//!
//! Invariants: records are read as RFC 4180 has them; no input panics; every
//! record of a message becomes a row or is within a rejection.

mod config;
mod header;
mod infer;
mod messages;
mod record;
mod resync;
mod value;

#[cfg(test)]
mod tests;

pub use messages::Parser;

use weir_plugin::{Error, Inference, Manifest, Messages, Parsed, ParserInfo, Plugin, Problem, Schema};

impl Plugin for Parser {
    fn manifest() -> Manifest {
        Manifest::new(
            "csv",
            env!("CARGO_PKG_VERSION"),
            "Makes a row of each record of CSV files, with or without a header.",
            config::SCHEMA,
        )
    }
}

impl weir_plugin::Parser for Parser {
    fn configure(config: &str, stored: Option<Schema>) -> Result<(Self, ParserInfo), Vec<Problem>> {
        let config = config::for_rows(config, stored.as_ref())?;
        let output = weir_values::columns::schema(&config.settings.columns);
        let info = ParserInfo { output, message_fields: config.message_fields() };
        Ok((Self::new(config), info))
    }

    fn parse(&mut self, chunk: Messages) -> Result<Parsed, Error> {
        Self::parse(self, &chunk)
    }
}

impl Inference for Parser {
    fn infer(config: &str, sample: &Messages) -> Result<Schema, Vec<Problem>> {
        infer::infer(&config::for_inference(config)?, sample)
    }
}

weir_plugin::export_inferring_parser!(Parser);
