//! Delta tables: staging files, committing them, and reading them for people.
//!
//! | file | job |
//! |---|---|
//! | `settings` | what the pipeline says about a table |
//! | `schema` | the columns: Arrow ⇄ Delta, comparison, fitting batches |
//! | `features` | which tables weir can write correctly |
//! | `log` | the transaction log: load, follow, put one entry |
//! | `table` | one table: open, create, check, commit |
//! | `maintain` | checkpoints and clean-up of the log |
//! | `encoder`, `file` | threads that write Parquet, one file in the making |
//! | `partition`, `stats` | what an `add` action says about a file |
//! | `stage` | the files of one epoch |
//! | `show` | reading for people |
//!
//! Invariants: a table changes only by an entry that was put if absent at the
//! version after one that was read; an entry with data always carries the
//! transaction version of its epoch; nothing here deletes a file that an entry
//! could name. Columns may be added; deliberately absent: deletion, update, any
//! other schema change.

mod encoder;
mod features;
mod file;
mod log;
mod maintain;
mod partition;
mod schema;
mod settings;
pub mod show;
mod stage;
mod stats;
mod table;

pub use encoder::Encoders;
pub use log::transaction_version;
pub use maintain::Maintenance;
pub(crate) use schema::type_name;
pub use settings::{Compression, Evolution, TableSettings};
pub use stage::{Stage, Staged};
pub use table::{CommitOutcome, CommitRequest, Table};

#[cfg(test)]
mod tests;
