//! Write plugins for weir in Rust.
//!
//! A plugin is a type that implements [`Plugin`] and the trait of each of its
//! roles ([`Parser`], [`Inference`], [`Transform`], [`Aggregator`], [`Rule`]), and one call of
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
//! An aggregator keeps a state for each group; [`Groups`] does it by slot, and
//! [`State`] is how a state becomes bytes:
//!
//! ```
//! use weir_plugin::*;
//!
//! struct Total {
//!     groups: Groups<Sum>,
//! }
//!
//! #[derive(Default)]
//! struct Sum(i64);
//!
//! impl State for Sum {
//!     fn encode(&self, to: &mut Vec<u8>) {
//!         to.extend_from_slice(&self.0.to_le_bytes());
//!     }
//!
//!     fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
//!         from.i64().map(Self)
//!     }
//! }
//!
//! impl Plugin for Total {
//!     fn manifest() -> Manifest {
//!         Manifest::new("total", env!("CARGO_PKG_VERSION"), "The sum of the column amount.", "{}")
//!     }
//! }
//!
//! impl Aggregator for Total {
//!     fn configure(_config: &str, _input: Schema) -> Result<(Self, AggregatorInfo), Vec<Problem>> {
//!         let output = Schema::builder().int64("total").required().build();
//!         let info = AggregatorInfo { columns: vec!["amount".into()], output, state_version: 1, restorable: vec![1] };
//!         Ok((Total { groups: Groups::default() }, info))
//!     }
//!
//!     fn update(&mut self, groups: &[u32], rows: &Batch) -> Result<(), Error> {
//!         let sums = self.groups.reach(groups)?;
//!         for (group, amount) in groups.iter().zip(rows.columns[0].int64()?.iter()) {
//!             sums[*group as usize].0 += amount.unwrap_or(0);
//!         }
//!         Ok(())
//!     }
//!
//!     fn merge(&mut self, into: &[u32], sources: &[u32]) -> Result<(), Error> {
//!         self.groups.merge(into, sources, |into, source| into.0 += source.0)
//!     }
//!
//!     fn evaluate(&self, groups: &[u32]) -> Result<Batch, Error> {
//!         let mut total = build::Int64Builder::with_capacity(groups.len());
//!         groups.iter().for_each(|group| total.push(self.groups.get(*group).map_or(0, |sum| sum.0)));
//!         Ok(Batch { rows: groups.len() as u32, columns: vec![total.into_int64()] })
//!     }
//!
//!     fn release(&mut self, groups: &[u32]) {
//!         self.groups.release(groups);
//!     }
//!
//!     fn snapshot(&self, groups: &[u32]) -> Result<VarBytes, Error> {
//!         self.groups.snapshot(groups)
//!     }
//!
//!     fn restore(&mut self, groups: &[u32], states: &VarBytes, _state_version: u32) -> Result<(), Error> {
//!         self.groups.restore(groups, states)
//!     }
//! }
//!
//! weir_plugin::export!(Total: aggregator);
//! # fn main() {}
//! ```
//!
//! A rule that judges each row alone needs no state:
//!
//! ```
//! use weir_plugin::*;
//!
//! struct Overdrawn;
//!
//! impl Plugin for Overdrawn {
//!     fn manifest() -> Manifest {
//!         Manifest::new("overdrawn", env!("CARGO_PKG_VERSION"), "Finds balances below zero.", "{}")
//!     }
//! }
//!
//! impl Rule for Overdrawn {
//!     fn configure(_config: &str, input: Schema) -> Result<(Self, RuleInfo), Vec<Problem>> {
//!         if input.position("balance").is_none() {
//!             return Err(vec![Problem::new("", "the rows need a column balance")]);
//!         }
//!         let columns = vec!["balance".into()];
//!         Ok((Overdrawn, RuleInfo { columns, memory: Memory::Stateless, state_version: 1, restorable: vec![1] }))
//!     }
//!
//!     fn evaluate(&mut self, _groups: &[u32], rows: &Batch) -> Result<Alerts, Error> {
//!         let mut alerts = AlertsBuilder::default();
//!         for (row, balance) in (0..).zip(rows.columns[0].float64()?.iter()) {
//!             if let Some(balance) = balance.filter(|balance| *balance < 0.0) {
//!                 alerts.push(row, "OVERDRAWN", "WARNING", &format!("the balance is {balance:.2}"));
//!             }
//!         }
//!         Ok(alerts.finish())
//!     }
//! }
//!
//! weir_plugin::export!(Overdrawn: rule);
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
pub mod infer;
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
pub use roles::{Aggregator, Inference, Parser, Plugin, Rule, Transform};
pub use rows::{Cell, CellsBuilder, MessageParser, PerMessage, Rejected, Rows};
pub use schema::{NameCase, SchemaBuilder};
pub use state::{Decoder, Malformed, State, StatesBuilder};

#[doc(hidden)]
pub use roles::shell as __shell;
