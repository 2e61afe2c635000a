//! Reading a table for people: its history, its files, its first rows.
//!
//! Not a query engine: rows come in the order in which their files were
//! committed, and a table with deletion vectors is refused rather than shown
//! with rows that were deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use deltalake::kernel::EagerSnapshot;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::log::{Log, entry_name};
use super::schema;
use crate::env::Storage;
use crate::{Error, Result};

/// One commit of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The version that it made.
    pub version: u64,
    /// When, in milliseconds since 1970-01-01T00:00:00Z, by the writer's clock.
    pub timestamp_ms: Option<i64>,
    /// What kind of change.
    pub operation: String,
    /// The transaction versions it carries: writer and epoch.
    pub epochs: BTreeMap<String, i64>,
    /// How many rows the added files hold, where they say so.
    pub rows: u64,
    /// How many files it added.
    pub files_added: u64,
    /// How many files it removed.
    pub files_removed: u64,
    /// Everything that the commit says about its origin, plugins included.
    pub info: Map<String, Value>,
}

/// One file of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFile {
    /// The path below the table's folder.
    pub path: String,
    /// How many rows, where the log says so.
    pub rows: Option<u64>,
    /// Its size.
    pub size_bytes: u64,
    /// The values of the partition columns.
    pub partition: BTreeMap<String, Option<String>>,
    /// Whether some of its rows are deleted.
    pub has_deletions: bool,
}

/// What a table is at the moment.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The version.
    pub version: u64,
    /// The columns.
    pub schema: SchemaRef,
    /// The partition columns, outermost first.
    pub partition_by: Vec<String>,
    /// The table properties.
    pub properties: BTreeMap<String, String>,
    /// The files, in the order in which they were committed.
    pub files: Vec<LiveFile>,
}

impl Overview {
    /// How many rows the table has, if every file says so and none is deleted from.
    pub fn rows(&self) -> Option<u64> {
        self.files.iter().map(|file| file.rows.filter(|_| !file.has_deletions)).sum()
    }
}

/// The newest commits, newest first, as far back as the log goes.
///
/// # Errors
/// Data if there is no table; Unavailable or Corrupt if it cannot be read.
pub async fn history(storage: &Storage, limit: usize) -> Result<Vec<HistoryEntry>> {
    let log = open(storage).await?;
    let newest = log.load(None).await?.version();
    let mut entries = Vec::new();
    for version in (0..=newest).rev().take(limit) {
        // Older entries may be cleaned up.
        let Some(bytes) = storage.get(&entry_name(version)).await? else { break };
        let entry = history_entry(version, &bytes).map_err(|error| {
            let name = entry_name(version);
            Error::corrupt(format!("the log entry `{name}` in {} cannot be understood", storage.location()))
                .because(error)
        })?;
        entries.push(entry);
    }
    Ok(entries)
}

/// The table as it is now.
///
/// # Errors
/// Data if there is no table; Unavailable or Corrupt if it cannot be read.
pub async fn overview(storage: &Storage) -> Result<Overview> {
    let log = open(storage).await?;
    let failed = |error: deltalake::DeltaTableError| {
        Error::unavailable(format!("cannot read the table at {}", storage.location())).because(error)
    };
    let snapshot = EagerSnapshot::try_new(log.store().as_ref(), None).await.map_err(failed)?;
    let views: Vec<_> = snapshot.file_views(log.store().as_ref(), None).try_collect().await.map_err(failed)?;
    let mut files: Vec<LiveFile> = views
        .iter()
        .map(|view| LiveFile {
            path: view.path().into_owned(),
            rows: view.num_records().map(|rows| rows as u64),
            size_bytes: u64::try_from(view.size()).unwrap_or_default(),
            partition: view.partition_values_map().into_iter().collect(),
            has_deletions: view.deletion_vector_descriptor().is_some(),
        })
        .collect();
    // The log is replayed newest first.
    files.reverse();
    Ok(Overview {
        version: snapshot.version(),
        schema: schema::to_arrow(&snapshot.schema())?,
        partition_by: snapshot.metadata().partition_columns().to_vec(),
        properties: snapshot.metadata().configuration().clone().into_iter().collect(),
        files,
    })
}

/// The first rows of a table, at most `limit`, in the order in which their files
/// were committed; all columns, or the named ones in the order given.
///
/// # Errors
/// Data if there is no table, no such column, or a file has deleted rows;
/// Unavailable or Corrupt if the table cannot be read.
pub async fn first_rows(storage: &Storage, limit: usize, columns: Option<&[String]>) -> Result<Vec<RecordBatch>> {
    let overview = overview(storage).await?;
    let wanted = match columns {
        None => Arc::clone(&overview.schema),
        Some(names) => Arc::new(chosen(&overview.schema, names)?),
    };
    let mut batches = Vec::new();
    let mut missing = limit;
    for file in &overview.files {
        if missing == 0 {
            break;
        }
        if file.has_deletions {
            return Err(Error::data(format!(
                "`{}` has deleted rows (a deletion vector), which weir does not read: use another reader",
                file.path
            )));
        }
        for batch in read_file(storage, file, missing, &wanted).await? {
            missing = missing.saturating_sub(batch.num_rows());
            batches.push(batch);
        }
    }
    if batches.is_empty() {
        // The columns are there all the same.
        batches.push(RecordBatch::new_empty(wanted));
    }
    Ok(batches)
}

async fn open(storage: &Storage) -> Result<Log> {
    let log = Log::new(storage.clone())?;
    if log.exists().await? {
        return Ok(log);
    }
    Err(Error::data(format!("there is no table at {}", storage.location())))
}

fn chosen(schema: &Schema, names: &[String]) -> Result<Schema> {
    let mut fields: Vec<FieldRef> = Vec::new();
    for name in names {
        let known = || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let (_, field) = schema
            .fields()
            .find(name)
            .ok_or_else(|| Error::data(format!("the table has no column `{name}`: it has {}", known())))?;
        fields.push(Arc::clone(field));
    }
    Ok(Schema::new(fields))
}

fn history_entry(version: u64, bytes: &[u8]) -> serde_json::Result<HistoryEntry> {
    let mut entry = HistoryEntry {
        version,
        timestamp_ms: None,
        operation: String::new(),
        epochs: BTreeMap::new(),
        rows: 0,
        files_added: 0,
        files_removed: 0,
        info: Map::new(),
    };
    for line in serde_json::Deserializer::from_slice(bytes).into_iter::<Map<String, Value>>() {
        for (kind, action) in line? {
            match (kind.as_str(), action) {
                ("commitInfo", Value::Object(info)) => {
                    entry.timestamp_ms = info.get("timestamp").and_then(Value::as_i64);
                    entry.operation = info.get("operation").and_then(Value::as_str).unwrap_or_default().to_owned();
                    entry.info = info;
                }
                ("add", action) => {
                    entry.files_added += 1;
                    let stats = action.get("stats").and_then(Value::as_str).unwrap_or("null");
                    let stats: Value = serde_json::from_str(stats)?;
                    entry.rows += stats.get("numRecords").and_then(Value::as_u64).unwrap_or_default();
                }
                ("remove", _) => entry.files_removed += 1,
                ("txn", action) => {
                    if let (Some(app), Some(version)) = (action["appId"].as_str(), action["version"].as_i64()) {
                        entry.epochs.insert(app.to_owned(), version);
                    }
                }
                _ => {}
            }
        }
    }
    Ok(entry)
}

/// The first rows of one file, in the wanted columns.
async fn read_file(storage: &Storage, file: &LiveFile, limit: usize, wanted: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let failed =
        |error| Error::unavailable(format!("cannot read `{}` in {}", file.path, storage.location())).because(error);
    let path = super::stage::path_of(storage, &file.path)?;
    let bytes: Bytes = async { storage.store().get(&path).await?.bytes().await }.await.map_err(failed)?;
    let damaged = || Error::corrupt(format!("`{}` in {} is not the file of its table", file.path, storage.location()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.with_limit(limit).build())
        .map_err(|error| damaged().because(error))?;
    let mut batches = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| damaged().because(error))?;
        let mut columns = Vec::with_capacity(wanted.fields().len());
        for field in wanted.fields() {
            columns.push(column(file, &batch, field).map_err(|error| damaged().because(error))?);
        }
        let nullable = wanted.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
        batches.push(RecordBatch::try_new(schema, columns).map_err(|error| damaged().because(error))?);
    }
    Ok(batches)
}

/// One column of a batch of a file: from the file, from its partition, or null.
fn column(file: &LiveFile, batch: &RecordBatch, field: &FieldRef) -> std::result::Result<ArrayRef, ArrowError> {
    if let Some(value) = file.partition.get(field.name()) {
        let values: StringArray = std::iter::repeat_n(value.as_deref(), batch.num_rows()).collect();
        return cast(&values, field.data_type());
    }
    match batch.column_by_name(field.name()) {
        Some(array) if array.data_type() == field.data_type() => Ok(Arc::clone(array)),
        // A file may be older than what is inside a column now.
        Some(array) if field.data_type().is_nested() => {
            schema::fit_array(array, field).map_err(|error| ArrowError::CastError(error.to_string()))
        }
        Some(array) => cast(array, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    }
}
