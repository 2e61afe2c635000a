//! A seeded stream of readings, for demonstrations, tests and benchmarks.
//!
//! A message is a pure function of the settings, its partition and its offset,
//! on every machine, so reading a range again gives the same bytes. Only *when*
//! a message is there depends on the clock, and only if a rate is set.

mod fields;
mod readings;
mod write;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

pub use readings::{GeneratorSettings, MAX_DELAY_US, Malformation, Message, Reading, Status};
pub use write::{ReadingsForm, write_readings};

use self::fields::{GeneratorField, build};
use super::{Chunk, ChunkBounds, ChunkSender, EpochBounds, Place, Positions, Source};
use crate::env::{Clock, Env, blocking};
use crate::model::{EpochRange, Offset, OffsetRange, PartitionId, SourceRange};
use crate::{Error, Result};

/// The longest wait between two looks at the clock.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The shortest one; a higher rate gives several messages at once.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// A source of generated readings.
pub struct GeneratorSource {
    settings: Arc<GeneratorSettings>,
    chunks: ChunkBounds,
    clock: Arc<dyn Clock>,
    fields: Vec<GeneratorField>,
    /// The next offset of each partition.
    next: Vec<u64>,
    /// When pacing began, and how many messages were there before.
    origin: Option<Origin>,
    /// How many messages there are, if the end is fixed.
    sealed: Option<u64>,
    /// How many messages there were at the last look.
    existed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Origin {
    started_us: i64,
    before: u64,
}

impl GeneratorSource {
    /// A source of the readings that the settings describe.
    ///
    /// # Errors
    /// Config if a setting is out of its bounds.
    pub fn new(settings: GeneratorSettings, env: &Env, chunks: ChunkBounds) -> Result<Self> {
        settings.validate()?;
        let next = vec![0; settings.partitions as usize];
        let clock = Arc::clone(&env.clock);
        Ok(Self {
            settings: Arc::new(settings),
            chunks,
            clock,
            fields: Vec::new(),
            next,
            origin: None,
            sealed: None,
            existed: 0,
        })
    }

    fn partition(&self, index: usize) -> PartitionId {
        PartitionId(index.to_string())
    }

    /// How many messages exist over all partitions now.
    fn existing(&mut self) -> u64 {
        if let Some(sealed) = self.sealed {
            return sealed;
        }
        let total = self.settings.events.unwrap_or(u64::MAX);
        let Some(rate) = self.settings.events_per_second else { return total };
        let now_us = self.clock.now_us();
        let before = self.next.iter().sum();
        let origin = *self.origin.get_or_insert(Origin { started_us: now_us, before });
        let elapsed_us = now_us.saturating_sub(origin.started_us).max(0);
        // A rate is not exact to the message.
        let since = (elapsed_us as f64 * rate / 1e6) as u64;
        total.min(origin.before.saturating_add(since))
    }

    /// The share of a partition in so many messages: they are dealt in turn.
    fn share(&self, existing: u64, index: usize) -> u64 {
        let partitions = u64::from(self.settings.partitions);
        existing / partitions + u64::from((index as u64) < existing % partitions)
    }

    fn index(&self, partition: &PartitionId) -> Option<usize> {
        partition.0.parse().ok().filter(|index| *index < self.next.len() && self.partition(*index) == *partition)
    }
}

#[async_trait]
impl Source for GeneratorSource {
    fn description(&self) -> String {
        format!("generated readings of seed {}", self.settings.seed)
    }

    fn identity(&self) -> String {
        format!("generator with seed {} and {} partitions", self.settings.seed, self.settings.partitions)
    }

    fn message_fields(&self) -> SchemaRef {
        fields::all_fields()
    }

    fn select_fields(&mut self, names: &[String]) -> Result<()> {
        self.fields = names.iter().map(|name| GeneratorField::named(name)).collect::<Result<_>>()?;
        Ok(())
    }

    fn restore(&mut self, segments: &[Bytes], ranges: &[EpochRange]) -> Result<()> {
        if !segments.is_empty() {
            return Err(Error::corrupt("the generator has no state segments, but the checkpoint holds one"));
        }
        let mut next = vec![0; self.next.len()];
        for EpochRange { epoch, range, .. } in ranges {
            let foreign = || Error::corrupt(format!("what epoch {epoch} read is not of this generator"));
            for (partition, offsets) in range.offsets().ok_or_else(foreign)? {
                let index = self.index(partition).ok_or_else(foreign)?;
                next[index] = offsets.end.0.max(next[index]);
            }
        }
        self.next = next;
        self.origin = None;
        Ok(())
    }

    fn segment(&self, _ranges: &[EpochRange]) -> Result<Option<(Bytes, u64)>> {
        Ok(None)
    }

    async fn seal(&mut self) -> Result<()> {
        let existing = self.existing();
        if existing == u64::MAX {
            return Err(Error::config("the generator never ends: set `events` for a run that should"));
        }
        self.sealed = Some(existing);
        Ok(())
    }

    async fn plan(&mut self, bounds: EpochBounds) -> Result<Option<SourceRange>> {
        let existing = self.existing();
        self.existed = existing;
        let by_bytes = bounds.max_bytes / self.settings.message_bytes();
        let mut left = bounds.max_events.min(by_bytes).max(1);
        let mut offsets = BTreeMap::new();
        // Those that lag go first, so that a small bound starves no partition.
        let mut order: Vec<usize> = (0..self.next.len()).collect();
        order.sort_by_key(|index| self.next[*index]);
        for (done, index) in order.iter().copied().enumerate() {
            let fair = left.div_ceil((order.len() - done) as u64);
            let (start, end) = (self.next[index], self.share(existing, index));
            let take = fair.min(end.saturating_sub(start));
            left -= take;
            let range = OffsetRange { start: Offset(start), end: Offset(start + take) };
            self.next[index] = range.end.0;
            offsets.insert(self.partition(index), range);
        }
        // Partitions without news are named too: the latest range says every position.
        let some = offsets.values().any(|range| !range.is_empty());
        Ok(some.then_some(SourceRange::Offsets(offsets)))
    }

    fn nothing(&self) -> SourceRange {
        let here = |index: usize| OffsetRange { start: Offset(self.next[index]), end: Offset(self.next[index]) };
        SourceRange::Offsets((0..self.next.len()).map(|index| (self.partition(index), here(index))).collect())
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn has_unread(&self, partition: &PartitionId) -> bool {
        self.index(partition).is_some_and(|index| self.next[index] < self.share(self.existed, index))
    }

    async fn changed(&mut self) {
        let planned: u64 = self.next.iter().sum();
        if self.sealed.or(self.settings.events).is_some_and(|total| planned >= total) {
            return std::future::pending().await;
        }
        if let Some(rate) = self.settings.events_per_second {
            let wait = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(MAX_WAIT);
            tokio::time::sleep(wait.clamp(MIN_WAIT, MAX_WAIT)).await;
        }
    }

    async fn read(&self, range: &SourceRange, out: ChunkSender) -> Result<()> {
        let offsets = range.offsets().ok_or_else(|| Error::bug("the generator cannot read files"))?;
        let mut work = Vec::new();
        for (partition, offsets) in offsets {
            let index = self.index(partition).ok_or_else(|| Error::bug(format!("no partition {partition}")))?;
            work.push((index as u32, *offsets));
        }
        let (settings, chunk_bytes) = (Arc::clone(&self.settings), self.chunks.chunk_bytes);
        let fields = self.fields.clone();
        blocking(move || {
            for (partition, offsets) in work {
                if deliver(&settings, chunk_bytes, &fields, partition, offsets, &out)?.is_break() {
                    break;
                }
            }
            Ok(())
        })
        .await
    }
}

/// Deliver a range of one partition; breaks if the receiver is gone.
fn deliver(
    settings: &GeneratorSettings,
    chunk_bytes: usize,
    fields: &[GeneratorField],
    partition: u32,
    range: OffsetRange,
    out: &ChunkSender,
) -> Result<ControlFlow<()>> {
    let name: Arc<str> = partition.to_string().into();
    let mut next = range.start.0;
    let mut message = Vec::new();
    while next < range.end.0 {
        let first = next;
        // The bounds on settings keep one message below this by far.
        let mut payload = Vec::with_capacity(chunk_bytes);
        let mut offsets = vec![0];
        while next < range.end.0 {
            message.clear();
            settings.write_message(partition, next, &mut message);
            if !payload.is_empty() && payload.len() + message.len() > chunk_bytes {
                break;
            }
            payload.extend_from_slice(&message);
            offsets
                .push(i32::try_from(payload.len()).map_err(|error| Error::bug("a chunk is too long").because(error))?);
            next += 1;
        }
        let chunk = Chunk {
            payload: payload.into(),
            offsets,
            fields: build(settings, fields, partition, first..next)?,
            places: vec![Place {
                first_message: 0,
                name: Arc::clone(&name),
                positions: Positions::Consecutive { first },
            }],
            unreadable: Vec::new(),
            rows: None,
        };
        if out.blocking_send(chunk).is_err() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests;
