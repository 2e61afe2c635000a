//! Files that have columns: the rows of Parquet, in the types of the plugin
//! contract, a batch of them a chunk.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;

use super::assembler::Assembler;
use super::fields::FileFacts;
use crate::Result;
use crate::schema::{contract_rows, contract_schema};

/// Rows that are read and go through the pipeline together.
const ROWS_PER_BATCH: usize = 8192;
/// A larger object is not held in memory; local files are read where they lie.
const MAX_OBJECT_BYTES: u64 = 1 << 30;

/// How reading a file ended: `Err` is why the rest of it is unreadable.
type Read = Result<ControlFlow<(), std::result::Result<(), String>>>;

/// Read all rows of a file.
///
/// # Errors
/// Bug if chunks cannot be put together.
pub(super) fn read<R: ChunkReader + 'static>(assembler: &mut Assembler, file: &Arc<FileFacts>, input: R) -> Read {
    let unreadable = |error: &dyn std::fmt::Display| format!("the file cannot be read as Parquet: {error}");
    let builder = match ParquetRecordBatchReaderBuilder::try_new(input) {
        Ok(builder) => builder.with_batch_size(ROWS_PER_BATCH),
        Err(error) => return Ok(ControlFlow::Continue(Err(unreadable(&error)))),
    };
    let schema = match contract_schema(builder.schema()) {
        Ok(schema) => Arc::new(schema),
        Err(problem) => return Ok(ControlFlow::Continue(Err(unreadable(&problem)))),
    };
    let batches = match builder.build() {
        Ok(batches) => batches,
        Err(error) => return Ok(ControlFlow::Continue(Err(unreadable(&error)))),
    };
    let mut first_row = 0;
    for batch in batches {
        let rows: RecordBatch = match batch.and_then(|batch| contract_rows(&batch, &schema)) {
            Ok(rows) => rows,
            Err(error) => {
                let reason = format!("the rows from {first_row} on: {}", unreadable(&error));
                return Ok(ControlFlow::Continue(Err(reason)));
            }
        };
        let count = rows.num_rows() as u64;
        if assembler.rows(file, first_row, rows)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        first_row += count;
    }
    Ok(ControlFlow::Continue(Ok(())))
}

/// All of an object, from the blocks in which it arrives.
///
/// # Errors
/// What the store says; too large an object is none.
pub(super) fn whole(
    size_bytes: u64,
    blocks: impl Iterator<Item = std::io::Result<Bytes>>,
) -> std::io::Result<std::result::Result<Bytes, String>> {
    if size_bytes > MAX_OBJECT_BYTES {
        let reason =
            format!("the object of {size_bytes} bytes is larger than the {MAX_OBJECT_BYTES} that are held in memory");
        return Ok(Err(reason));
    }
    let mut all = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
    for block in blocks {
        all.extend_from_slice(&block?);
    }
    Ok(Ok(all.into()))
}
