//! Columns across the boundary: Arrow arrays in, Arrow arrays out.
//!
//! Lowering borrows the buffers of Arrow and copies only what a slice has
//! shifted; lifting adopts the vectors that come back, after checking all of
//! them against the Arrow columnar format, version 1.5.

mod lift;
mod lower;
mod schema;
mod spread;
#[cfg(test)]
mod tests;

pub(super) use lift::{lift, lift_states, lift_texts};
pub(super) use lower::Lowered;
pub(super) use schema::{FlatSchema, from_contract, from_inference};
pub use spread::spread;
