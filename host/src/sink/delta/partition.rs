//! Partitions: splitting batches, and the values and folders of files.
//!
//! Readers take the values from the log; the folders are for people, so two
//! values may share one. An empty string becomes null, as the format has it
//! (Delta protocol, "Partition Value Serialization").

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::row::{OwnedRow, RowConverter, SortField};
use chrono::DateTime;

use crate::{Error, Result};

/// What readers of Hive-style folders take for null.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// The longest value in a folder's name; file systems stop at 255 bytes.
const MAX_FOLDER_BYTES: usize = 120;

/// One value for each partition column, outermost first.
pub(super) type PartitionValues = Vec<Option<String>>;

/// Which columns of a table go into files and which into the log.
#[derive(Debug)]
pub(super) struct Partitioning {
    names: Vec<String>,
    partition_columns: Vec<usize>,
    file_columns: Vec<usize>,
    file_schema: SchemaRef,
}

impl Partitioning {
    /// The partitioning of a table with these columns.
    ///
    /// # Errors
    /// Bug if a partition column is not a column.
    pub(super) fn new(columns: &SchemaRef, partition_by: &[String]) -> Result<Self> {
        let wrong = |error| Error::bug("a partition column is not in its table").because(error);
        let partition_columns =
            partition_by.iter().map(|name| columns.index_of(name)).collect::<std::result::Result<Vec<_>, _>>();
        let partition_columns = partition_columns.map_err(wrong)?;
        let file_columns: Vec<usize> =
            (0..columns.fields().len()).filter(|column| !partition_columns.contains(column)).collect();
        let file_schema = Arc::new(columns.project(&file_columns).map_err(wrong)?);
        Ok(Self { names: partition_by.to_vec(), partition_columns, file_columns, file_schema })
    }

    /// The columns of the files.
    pub(super) fn file_schema(&self) -> &SchemaRef {
        &self.file_schema
    }

    /// The partition columns, outermost first.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The rows of each partition, in their order, without the partition columns.
    ///
    /// # Errors
    /// Bug if the batch does not have the table's columns.
    pub(super) fn split(&self, batch: &RecordBatch) -> Result<Vec<(PartitionValues, RecordBatch)>> {
        let wrong = |error| Error::bug("a batch cannot be split into partitions").because(error);
        let files = batch.project(&self.file_columns).map_err(wrong)?;
        if self.names.is_empty() || batch.num_rows() == 0 {
            return Ok(vec![(Vec::new(), files)]);
        }
        let groups = self.group(batch).map_err(wrong)?;
        let values = |row: u32| -> PartitionValues {
            self.partition_columns.iter().map(|column| value_text(batch.column(*column), row as usize)).collect()
        };
        if let [rows] = groups.as_slice() {
            return Ok(vec![(values(rows[0]), files)]);
        }
        let mut parts = Vec::with_capacity(groups.len());
        for rows in groups {
            let partition = values(rows[0]);
            let part = take_record_batch(&files, &UInt32Array::from(rows)).map_err(wrong)?;
            parts.push((partition, part));
        }
        Ok(parts)
    }

    /// The row numbers of each distinct combination of values, never empty.
    fn group(&self, batch: &RecordBatch) -> std::result::Result<Vec<Vec<u32>>, arrow::error::ArrowError> {
        let columns: Vec<_> = self.partition_columns.iter().map(|column| Arc::clone(batch.column(*column))).collect();
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut known: HashMap<OwnedRow, usize> = HashMap::new();
        let mut current = 0;
        for (number, row) in (0_u32..).zip(rows.iter()) {
            // Neighbours are mostly alike.
            if number == 0 || row != rows.row(number as usize - 1) {
                current = *known.entry(row.owned()).or_insert(groups.len());
                if current == groups.len() {
                    groups.push(Vec::new());
                }
            }
            groups[current].push(number);
        }
        Ok(groups)
    }

    /// The folder of a partition below the table's, ending in `/`, or nothing.
    pub(super) fn folder(&self, values: &PartitionValues) -> String {
        let mut folder = String::new();
        for (name, value) in self.names.iter().zip(values) {
            let value = value.as_deref().map_or_else(|| NULL_FOLDER.to_owned(), escaped);
            folder.push_str(&format!("{}={value}/", escaped(name)));
        }
        folder
    }
}

/// One value as the log has it; none for null.
fn value_text(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Boolean => Some(array.as_boolean().value(row).to_string()),
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Timestamp(_, _) => {
            let us = array.as_primitive::<TimestampMicrosecondType>().value(row);
            // With its zone, so that no reader takes it for its own.
            DateTime::from_timestamp_micros(us).map(|time| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        }
        _ => Some(array.as_string::<i32>().value(row).to_owned()).filter(|value| !value.is_empty()),
    }
}

/// The value with everything that could mean something in a path as `%XX`.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        let next = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        if text.len() + next.len() > MAX_FOLDER_BYTES {
            break;
        }
        text.push_str(&next);
    }
    text
}
