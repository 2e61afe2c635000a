//! Sinks: where rows go.

pub mod delta;
