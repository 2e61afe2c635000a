//! The schema that weir keeps for a source whose parser does not name its columns.
//!
//! ```text
//! sample ──► inference (plugin) ──► merge ──► settle: hints, strings ──► version 0
//! rescued values ──► new columns? ──► inference of those messages ──► evolve ──► version n + 1
//! ```
//!
//! Everything here is pure: schemas in, schemas out. Who infers, who stores
//! versions and when a version takes effect is the pipeline's matter.
//!
//! Invariants:
//! - a column of a version is in every later one, in its place, with its type;
//! - no two names of a version differ only in case;
//! - columns have types of the plugin contract, and every value may be missing.

mod evolve;
mod fit;
mod merge;
mod rescued;
mod text;

use arrow::datatypes::SchemaRef;

pub use evolve::{contradiction, evolve, extend, settle};
pub use fit::{contract_rows, contract_schema, fit};
pub use merge::merge;
pub use rescued::{NewColumns, new_columns};
pub use text::{Hint, columns_of, declared_in, hints_of, texts_of};

/// The column in which a parser puts what did not fit, and asks for it to be so.
pub const RESCUED: &str = "_rescued_data";

/// What becomes of columns that the schema does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evolution {
    /// They are added, and the stream goes on.
    AddNewColumns,
    /// They are added, and the run ends so that somebody notices.
    AddNewColumnsAndStop,
    /// Their values go to the rescued column.
    Rescue,
    /// The run ends, and the schema stays as it is.
    FailOnNewColumns,
    /// They are ignored.
    None,
}

impl Evolution {
    /// Whether somebody has to look for new columns.
    pub fn looks_for_new_columns(self) -> bool {
        match self {
            Self::AddNewColumns | Self::AddNewColumnsAndStop | Self::FailOnNewColumns => true,
            Self::Rescue | Self::None => false,
        }
    }

    /// Whether new columns are added.
    pub fn adds_columns(self) -> bool {
        matches!(self, Self::AddNewColumns | Self::AddNewColumnsAndStop)
    }
}

/// How the schema of a source is managed.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaSettings {
    /// The columns, where they are not inferred.
    pub explicit: Option<SchemaRef>,
    /// What is known better than it can be inferred.
    pub hints: Vec<Hint>,
    /// Whether values tell the types; else all columns are strings.
    pub types: Types,
    /// What becomes of new columns.
    pub evolution: Evolution,
    /// The name of the column for what does not fit, if rows have it.
    pub rescued_column: Option<String>,
    /// How much is looked at to infer the schema.
    pub sample: SampleBounds,
}

impl SchemaSettings {
    /// Whether the parser is asked for what does not fit.
    pub fn asks_for_rescue(&self) -> bool {
        self.rescued_column.is_some() || self.evolution.looks_for_new_columns()
    }
}

/// Where types of columns come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types {
    /// From the values.
    Inferred,
    /// All columns are strings.
    Strings,
}

/// Bounds on a sample; whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleBounds {
    /// At most so many files.
    pub max_files: usize,
    /// About so many bytes; at least one file.
    pub max_bytes: u64,
}
