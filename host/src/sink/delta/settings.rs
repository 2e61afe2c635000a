//! What the pipeline says about a table.

use std::collections::BTreeMap;

use parquet::basic::ZstdLevel;

use crate::env::Location;
use crate::{Error, Result};

/// The size at which a file is full, unless the pipeline says otherwise.
pub(super) const TARGET_FILE_BYTES: u64 = 128 << 20;

/// The zstd level, unless the pipeline says otherwise: the fastest.
const ZSTD_LEVEL: i32 = 1;

/// How Parquet pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard at this level, 1 to 22.
    Zstd(i32),
    /// Snappy.
    Snappy,
    /// Not at all.
    None,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd(ZSTD_LEVEL)
    }
}

impl Compression {
    /// The codec.
    ///
    /// # Errors
    /// Config for a zstd level that does not exist.
    pub(super) fn codec(self) -> Result<parquet::basic::Compression> {
        match self {
            Self::Zstd(level) => {
                let level = ZstdLevel::try_new(level)
                    .map_err(|error| Error::config(format!("zstd has no level {level}")).because(error))?;
                Ok(parquet::basic::Compression::ZSTD(level))
            }
            Self::Snappy => Ok(parquet::basic::Compression::SNAPPY),
            Self::None => Ok(parquet::basic::Compression::UNCOMPRESSED),
        }
    }

    /// What the end of a file's name says about it.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Zstd(_) => "zstd.parquet",
            Self::Snappy => "snappy.parquet",
            Self::None => "parquet",
        }
    }
}

/// What becomes of columns that the pipeline has and the table does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Evolution {
    /// They are added with the first rows that have them; columns that only the
    /// table has are null.
    AddColumns,
    /// The table is refused, and so is one that has other columns.
    #[default]
    Fixed,
}

/// One table as the pipeline wants it.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// The name in the pipeline.
    pub name: String,
    /// The folder of the table.
    pub location: Location,
    /// The partition columns, outermost first.
    pub partition_by: Vec<String>,
    /// Table properties to create the table with.
    pub properties: BTreeMap<String, String>,
    /// How its files are compressed.
    pub compression: Compression,
    /// The size at which a file is full.
    pub target_file_bytes: u64,
    /// What becomes of columns that the table does not have.
    pub evolution: Evolution,
}

impl TableSettings {
    /// A table without partitions, with everything else as it is by default.
    pub fn new(name: impl Into<String>, location: Location) -> Self {
        Self {
            name: name.into(),
            location,
            partition_by: Vec::new(),
            properties: BTreeMap::new(),
            compression: Compression::default(),
            target_file_bytes: TARGET_FILE_BYTES,
            evolution: Evolution::default(),
        }
    }
}
