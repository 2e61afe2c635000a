//! What the bundled parsers share: which columns a configuration asks for, the
//! columns while they are filled, and the texts of numbers, instants and bytes.
//!
//! `settings` understands the part of a configuration that all parsers have,
//! `columns` is what comes out of it, `grammar` the language in which columns
//! are written. `cells` are the columns of the rows being made, and `sizing` guesses
//! how large they become. `number`,
//! `timestamp` and `text` read values; `wide` is the only place with SIMD.
//! `rescue` writes what did not fit.
//!
//! Invariant: nothing here knows JSON's structure or CSV's.

pub mod cells;
pub mod columns;
mod grammar;
pub mod number;
pub mod rescue;
pub mod settings;
pub mod sizing;
pub mod text;
pub mod timestamp;
pub mod wide;
