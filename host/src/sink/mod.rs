//! Sinks: where rows go.

pub mod dead_letter;
pub mod delta;
pub mod notify;
