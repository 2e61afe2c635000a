//! From blocks to chunks.
//!
//! A large block is a chunk as it is; small ones, of several partitions too, are
//! put together, because a call of a plugin has its price.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use bytes::Bytes;

use super::block::Block;
use super::fields::{self, HubField};
use crate::source::{Chunk, ChunkSender, Place, Positions, Unreadable, Unwanted};
use crate::{Error, Result};

/// A block of this share of a chunk is a chunk of its own.
const OWN_CHUNK: usize = 4;

/// Puts chunks together and delivers them.
pub(super) struct Chunks {
    fields: Arc<[HubField]>,
    chunk_bytes: usize,
    out: ChunkSender,
    blocks: Vec<(Arc<str>, Block)>,
    bytes: usize,
}

/// Whether somebody wants more.
pub(super) type Wanted = Result<bool>;

impl Chunks {
    pub(super) fn new(fields: Arc<[HubField]>, chunk_bytes: usize, out: ChunkSender) -> Self {
        Self { fields, chunk_bytes, out, blocks: Vec::new(), bytes: 0 }
    }

    /// Add a block of the partition with this name.
    pub(super) async fn add(&mut self, partition: &Arc<str>, block: Block) -> Wanted {
        let bytes = block.bytes;
        if self.bytes + bytes > self.chunk_bytes && !self.flush().await? {
            return Ok(false);
        }
        self.bytes += bytes;
        self.blocks.push((Arc::clone(partition), block));
        if self.bytes >= self.chunk_bytes / OWN_CHUNK * (OWN_CHUNK - 1) { self.flush().await } else { Ok(true) }
    }

    /// Deliver what is there.
    pub(super) async fn flush(&mut self) -> Wanted {
        if self.blocks.is_empty() {
            return Ok(true);
        }
        self.bytes = 0;
        let chunk = chunk(&self.fields, std::mem::take(&mut self.blocks))?;
        Ok(!matches!(self.out.send(chunk).await, Err(Unwanted)))
    }
}

fn chunk(fields: &[HubField], blocks: Vec<(Arc<str>, Block)>) -> Result<Chunk> {
    let (mut places, mut runs) = (Vec::new(), Vec::new());
    let mut before = 0;
    for (name, block) in &blocks {
        for (index, run) in block.runs.iter().enumerate() {
            let positions = Positions::Consecutive { first: run.number };
            places.push(Place { first_message: before + run.first_message, name: Arc::clone(name), positions });
            runs.push((&**name, block.numbers(index)));
        }
        before += block.messages();
    }
    let (payload, offsets) = joined(&blocks);
    let gathered = gathered(&blocks)?;
    let messages = fields::Messages { payload: &payload, offsets: &offsets, runs: &runs, gathered };
    let fields = fields::build(fields, messages)?;
    let unreadable: Vec<Unreadable> = blocks.into_iter().flat_map(|(_, block)| block.unreadable).collect();
    Ok(Chunk { payload, offsets, fields, places, unreadable, rows: None })
}

/// The payloads one behind the other, and the offsets of all messages in them.
fn joined(blocks: &[(Arc<str>, Block)]) -> (Bytes, Vec<i32>) {
    if let [(_, only)] = blocks {
        return (only.payload.clone(), only.offsets.clone());
    }
    let mut payload = Vec::with_capacity(blocks.iter().map(|(_, block)| block.payload.len()).sum());
    let mut offsets = vec![0];
    for (_, block) in blocks {
        let base = i32::try_from(payload.len()).expect("invariant: a chunk has 32-bit offsets");
        payload.extend_from_slice(&block.payload);
        offsets.extend(block.offsets.iter().skip(1).map(|offset| base + offset));
    }
    (payload.into(), offsets)
}

/// The gathered columns one behind the other.
fn gathered(blocks: &[(Arc<str>, Block)]) -> Result<Vec<ArrayRef>> {
    if let [(_, only)] = blocks {
        return Ok(only.columns.clone());
    }
    let columns = blocks.first().map_or(0, |(_, block)| block.columns.len());
    let column = |index: usize| {
        let parts: Vec<&dyn Array> = blocks.iter().map(|(_, block)| block.columns[index].as_ref()).collect();
        concat(&parts).map_err(|error| Error::bug("message fields of one event hub do not fit together").because(error))
    };
    (0..columns).map(column).collect()
}
