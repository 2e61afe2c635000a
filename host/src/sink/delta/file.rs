//! One Parquet file in the making, on an encoder thread.
//!
//! Finished bytes leave for the object store while the file grows, so a file
//! costs the memory of its open row group and of a few parts. A file that never
//! reaches one part is written by a single put.

use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload, WriteMultipart};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde_json::Value;

use super::partition::PartitionValues;
use super::settings::Compression;
use super::stage::Plan;
use super::stats;
use crate::model::StagedFile;
use crate::{Error, Result};

/// The size of the parts of an upload; S3 takes no smaller ones than 5 MiB.
const PART_BYTES: usize = 8 << 20;

/// How many parts of one file are on their way at most.
const MAX_PARTS_IN_FLIGHT: usize = 2;

/// The most rows in a row group.
const MAX_ROW_GROUP_ROWS: usize = 1 << 20;

/// The most encoded bytes in a row group, which stay in memory until it ends.
const MAX_ROW_GROUP_BYTES: usize = 24 << 20;

/// Rows handed to a column encoder at once: fewer, larger steps are cheaper.
const WRITE_BATCH_ROWS: usize = 8192;

/// How many bytes of small batches are written as one.
const COALESCED_BYTES: usize = 4 << 20;

/// A batch with fewer rows waits for others.
const SMALL_BATCH_ROWS: usize = 2048;

/// How many rows of small batches are written as one.
const COALESCED_ROWS: usize = 8192;

/// How Parquet is written: statistics only where the log needs them, no page
/// index, no bloom filters. Dictionaries stay on for doubles: measurements have
/// few distinct values, and columns that do not fall back by themselves.
///
/// # Errors
/// Config for a compression level that does not exist.
pub(super) fn writer_properties(compression: Compression) -> Result<WriterProperties> {
    Ok(WriterProperties::builder()
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression.codec()?)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_write_batch_size(WRITE_BATCH_ROWS)
        .set_max_row_group_row_count(Some(MAX_ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(MAX_ROW_GROUP_BYTES))
        .build())
}

/// A file that takes rows.
pub(super) struct OpenFile {
    plan: Arc<Plan>,
    name: String,
    partition: PartitionValues,
    writer: ArrowWriter<Upload>,
    has_nan: Vec<bool>,
    small: Vec<RecordBatch>,
    small_rows: usize,
    small_bytes: usize,
}

impl OpenFile {
    /// A new file for a partition; nothing is in the store yet.
    ///
    /// # Errors
    /// Bug if the name or the columns are unusable.
    pub(super) fn start(plan: &Arc<Plan>, partition: &PartitionValues) -> Result<Self> {
        let name = plan.new_name(partition);
        let upload =
            Upload { plan: Arc::clone(plan), path: plan.path(&name)?, buffer: Vec::new(), parts: None, sent: 0 };
        let schema = Arc::clone(plan.partitioning().file_schema());
        let has_nan = vec![false; stats::leaves(schema.fields())];
        let options =
            ArrowWriterOptions::new().with_properties(plan.properties().clone()).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(upload, schema, options)
            .map_err(|error| Error::bug(format!("cannot start the file `{name}`")).because(error))?;
        let (plan, partition) = (Arc::clone(plan), partition.clone());
        Ok(Self { plan, name, partition, writer, has_nan, small: Vec::new(), small_rows: 0, small_bytes: 0 })
    }

    /// Add rows.
    ///
    /// # Errors
    /// Unavailable if the store does not take the bytes.
    pub(super) fn write(&mut self, batch: RecordBatch) -> Result<()> {
        stats::note_nan(batch.columns(), &mut self.has_nan);
        if batch.num_rows() >= SMALL_BATCH_ROWS {
            self.write_small()?;
            return self.encode(&batch);
        }
        self.small_rows += batch.num_rows();
        self.small_bytes += batch.get_array_memory_size();
        self.small.push(batch);
        let is_enough = self.small_rows >= COALESCED_ROWS || self.small_bytes >= COALESCED_BYTES;
        if is_enough { self.write_small() } else { Ok(()) }
    }

    /// Whether the file has reached its size.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.writer.bytes_written() + self.writer.in_progress_size();
        bytes as u64 >= self.plan.target_file_bytes()
    }

    /// How much memory the file holds, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.writer.memory_size() + self.writer.inner().buffer.len() + self.small_bytes
    }

    /// End the file and wait until the store has it.
    ///
    /// # Errors
    /// Unavailable if the store does not take it.
    pub(super) fn finish(mut self) -> Result<StagedFile> {
        self.write_small()?;
        let footer = self.writer.finish().map_err(|error| self.failed(error))?;
        let size_bytes = self.writer.inner_mut().complete()?;
        let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default();
        let stats = stats::stats(&footer, &self.has_nan, self.plan.indexed_columns());
        let names = self.plan.partitioning().names().iter().cloned();
        let add = deltalake::kernel::Add {
            path: self.name.clone(),
            partition_values: names.zip(self.partition.clone()).collect(),
            size: i64::try_from(size_bytes).unwrap_or(i64::MAX),
            modification_time: self.plan.now_ms(),
            data_change: true,
            stats: Some(stats.to_string()),
            ..deltalake::kernel::Add::default()
        };
        let mut add = serde_json::to_value(add)
            .map_err(|error| Error::bug("an add action cannot be written as JSON").because(error))?;
        if let Value::Object(add) = &mut add {
            add.retain(|_, value| !value.is_null());
        }
        Ok(StagedFile { add, rows, size_bytes })
    }

    /// Give up the file; what the store has of it goes as far as it lets us.
    pub(super) fn abandon(mut self) {
        self.writer.inner_mut().abort();
    }

    fn write_small(&mut self) -> Result<()> {
        if self.small.is_empty() {
            return Ok(());
        }
        let batches = std::mem::take(&mut self.small);
        (self.small_rows, self.small_bytes) = (0, 0);
        let batch = concat_batches(self.plan.partitioning().file_schema(), &batches)
            .map_err(|error| Error::bug(format!("cannot join batches for `{}`", self.name)).because(error))?;
        self.encode(&batch)
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: parquet::errors::ParquetError) -> Error {
        let place = self.plan.storage().location();
        Error::unavailable(format!("cannot write `{}` in {place}", self.name)).because(error)
    }
}

/// The bytes of a file on their way to the store. Runs on an encoder thread and
/// waits there for the store.
struct Upload {
    plan: Arc<Plan>,
    path: Path,
    buffer: Vec<u8>,
    parts: Option<WriteMultipart>,
    sent: u64,
}

impl Upload {
    fn send_part(&mut self) -> object_store::Result<()> {
        let runtime = self.plan.runtime();
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => {
                let upload = runtime.block_on(self.plan.storage().store().put_multipart(&self.path))?;
                self.parts.insert(WriteMultipart::new_with_chunk_size(upload, PART_BYTES))
            }
        };
        runtime.block_on(parts.wait_for_capacity(MAX_PARTS_IN_FLIGHT))?;
        let bytes = std::mem::take(&mut self.buffer);
        self.sent += bytes.len() as u64;
        // Parts are sent by tasks of the runtime.
        let _inside = runtime.enter();
        parts.put(Bytes::from(bytes));
        Ok(())
    }

    /// Wait until the store has everything; the size in bytes.
    fn complete(&mut self) -> Result<u64> {
        let done = if self.parts.is_some() {
            self.send_part().and_then(|()| match self.parts.take() {
                Some(parts) => self.plan.runtime().block_on(parts.finish()).map(|_| ()),
                None => Ok(()),
            })
        } else {
            let bytes = std::mem::take(&mut self.buffer);
            self.sent = bytes.len() as u64;
            let put = async { self.plan.storage().store().put(&self.path, PutPayload::from(bytes)).await };
            self.plan.runtime().block_on(put).map(|_| ())
        };
        done.map_err(|error| Error::unavailable(format!("cannot write `{}`", self.path)).because(error))?;
        Ok(self.sent)
    }

    fn abort(&mut self) {
        if let Some(parts) = self.parts.take() {
            // The remains of an upload are garbage that the store expires.
            let _ = self.plan.runtime().block_on(parts.abort());
        }
    }
}

impl io::Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > PART_BYTES && !self.buffer.is_empty() {
            self.send_part().map_err(io::Error::other)?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
