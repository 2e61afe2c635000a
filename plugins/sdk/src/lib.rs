//! Write plugins for weir in Rust.
//!
//! A plugin is a type that implements [`Plugin`] and the trait of each of its
//! roles ([`Parser`], [`Transform`], [`Aggregator`], [`Rule`]), and one call of
//! [`export!`], which names the roles. A parser that looks at one message at a time implements
//! [`MessageParser`] instead, which is shorter:
//!
//! ```
//! use weir_plugin::{Manifest, MessageParser, PerMessage, Plugin, Problem, Rejected, Rows, Schema};
//!
//! struct Lines;
//!
//! impl Plugin for Lines {
//!     fn manifest() -> Manifest {
//!         Manifest::new("lines", env!("CARGO_PKG_VERSION"), "One row for each line of text.", "{}")
//!     }
//! }
//!
//! impl MessageParser for Lines {
//!     fn configure(_config: &str) -> Result<(Self, Schema), Vec<Problem>> {
//!         Ok((Lines, Schema::builder().utf8("text").int64("length").build()))
//!     }
//!
//!     fn parse(&mut self, message: &[u8], rows: &mut Rows) -> Result<(), Rejected> {
//!         for line in std::str::from_utf8(message)?.lines() {
//!             rows.push(&[line.into(), (line.len() as i64).into()]);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! weir_plugin::export_parser!(PerMessage<Lines>);
//! # fn main() {}
//! ```
//!
//! Build it with `cargo build --release --target wasm32-unknown-unknown` as a
//! `cdylib`; the host takes the module as it is. Rows leave a plugin as columns
//! ([`Batch`]); the builders in [`build`] write them, and [`Column`] reads what
//! comes in. Never use clocks, files or randomness: none exists.
//!
//! Invariants: everything here compiles natively too, so a plugin's logic can
//! be tested without a sandbox; the imports in [`host`] then do nothing. A
//! panic is logged with its place and then ends the instance as a trap.
//!
//! A further role needs a module in `bindings`, a trait and its shell in
//! `roles`, and an arm in [`export!`].

mod alerts;
#[doc(hidden)]
pub mod bindings;
pub mod build;
mod columns;
mod export;
mod groups;
pub mod host;
mod messages;
mod roles;
mod rows;
mod schema;
mod state;

pub use alerts::{AlertsBuilder, Message};
pub use bindings::aggregator::exports::weir::plugin::aggregator::AggregatorInfo;
pub use bindings::parser::exports::weir::plugin::parser::{Parsed, ParserInfo};
pub use bindings::plugin::exports::weir::plugin::plugin::Manifest;
pub use bindings::rule::exports::weir::plugin::rule::{Alerts, Memory, RuleInfo};
pub use bindings::transform::exports::weir::plugin::transform::{TransformInfo, Transformed};
pub use bindings::types::weir::plugin::columns::{
    Batch, Column, DataType, Error, Field, Problem, Rejection, Schema, Span, Values, VarBytes,
};
pub use bindings::types::weir::plugin::messages::Messages;
pub use columns::{Booleans, Numbers, Texts};
pub use groups::{Groups, SLOTS_MAX};
pub use roles::{Aggregator, Parser, Plugin, Rule, Transform};
pub use rows::{Cell, CellsBuilder, MessageParser, PerMessage, Rejected, Rows};
pub use schema::SchemaBuilder;
pub use state::{Decoder, Malformed, State, StatesBuilder};

#[doc(hidden)]
pub use roles::shell as __shell;
