//! An event hub, read through the official client.
//!
//! ```text
//! connection × partitions ──► [feed: blocks, gaps] × partitions ──► read ──► chunks
//!      (a task each)               bounded in bytes          merges what is small
//! control connection: partitions, their ends ──► plan
//! ```
//!
//! All partitions are received at the same time, each over a connection of its
//! own, ahead of the epochs. An epoch reads up to what is known to be there, in
//! sequence numbers, start inclusive and end exclusive. A range is read once, in
//! a row; after a restart reception begins where the checkpoint stands.
//!
//! Positions are sequence numbers of the event hub, from the first start on: see
//! `starts`. A partition that appears later begins at its first message.

mod block;
mod chunks;
mod control;
mod feed;
mod fields;
mod outage;
mod reception;
mod settings;
mod shares;
mod starts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

pub use settings::{EventHubsSettings, OnDataLoss, StartAt};

use self::chunks::Chunks;
use self::control::Control;
use self::feed::{Available, Feed, Item, Until};
use self::fields::HubField;
use self::shares::{Backlog, shares};
use super::{ChunkBounds, ChunkSender, EpochBounds, Incident, IncidentKind, Incidents, Source};
use crate::env::{Clock, Env};
use crate::event_hubs::Position;
use crate::model::{EpochRange, Offset, OffsetRange, PartitionId, SourceRange};
use crate::{Error, Result};

/// The bytes of a message as long as none has come: rather a small first epoch than
/// one that is too large.
const ASSUMED_MESSAGE_BYTES: u64 = 64 << 10;

/// A source of the messages of one event hub.
pub struct EventHubsSource {
    settings: Arc<EventHubsSettings>,
    chunks: ChunkBounds,
    clock: Arc<dyn Clock>,
    incidents: Arc<Incidents>,
    fields: Arc<[HubField]>,
    /// What prepared epochs have read, by partition.
    restored: BTreeMap<PartitionId, u64>,
    /// Set by the first plan.
    control: Option<Control>,
    /// The next sequence number that is planned, by partition.
    next: BTreeMap<PartitionId, u64>,
    /// Where a bounded run ends, by partition.
    sealed: Option<BTreeMap<PartitionId, u64>>,
    /// Whether positions were fixed that no record holds, and that another start
    /// would fix elsewhere.
    has_new_positions: bool,
}

impl EventHubsSource {
    /// A source of the event hub that the settings describe; connects when the
    /// first range is planned.
    ///
    /// # Errors
    /// Config if the settings cannot be used.
    pub fn new(settings: EventHubsSettings, env: &Env, chunks: ChunkBounds) -> Result<Self> {
        if settings.timeout.is_zero() || settings.max_outage.is_zero() {
            return Err(Error::config("`timeout` and `max_outage` of an event hub must be longer than zero"));
        }
        Ok(Self {
            settings: Arc::new(settings),
            chunks,
            clock: Arc::clone(&env.clock),
            incidents: Arc::default(),
            fields: Arc::new([]),
            restored: BTreeMap::new(),
            control: None,
            next: BTreeMap::new(),
            sealed: None,
            has_new_positions: false,
        })
    }

    /// Connect, fix where every partition begins, and begin to receive; once. Gives
    /// where the partitions end, if it has just asked.
    async fn start(&mut self) -> Result<Option<BTreeMap<PartitionId, u64>>> {
        if self.control.is_some() {
            return Ok(None);
        }
        let mut control =
            Control::new(Arc::clone(&self.settings), Arc::clone(&self.clock), Arc::clone(&self.incidents));
        let standings = control.standings(&self.restored).await?;
        let is_first = self.restored.is_empty();
        let moves = |partition| match self.settings.start_of(partition) {
            StartAt::At(Position::Earliest | Position::SequenceNumber { .. }) => false,
            StartAt::Latest | StartAt::At(Position::Offset { .. } | Position::EnqueuedTime { .. }) => true,
        };
        self.has_new_positions = is_first && standings.keys().any(moves);
        let ends = standings.iter().map(|(partition, standing)| (partition.clone(), standing.end)).collect();
        control.receive(standings, &self.fields, self.chunks)?;
        self.control = Some(control);
        Ok(Some(ends))
    }

    /// Tell of messages that are not there any more, without which the run goes on.
    fn tell_gap(&self, partition: &PartitionId, gap: OffsetRange) {
        let detail = format!("the messages {} to {} are lost", gap.start.0, gap.end.0 - 1);
        tracing::warn!("partition {partition} of the {}: {detail}; going on without them", self.settings.hub);
        self.incidents.note(IncidentKind::Lost, Some(partition), gap.len(), detail);
    }

    /// What an epoch may read of a partition.
    fn available(&self, feed: &Feed, next: u64) -> Result<Available> {
        let until = match &self.sealed {
            None => Until::Known,
            // A partition that appeared after the end was fixed has nothing before it.
            Some(sealed) => Until::Sealed(sealed.get(feed.partition()).copied().unwrap_or(next)),
        };
        feed.available(next, until, self.settings.on_data_loss)
    }
}

#[async_trait]
impl Source for EventHubsSource {
    fn description(&self) -> String {
        format!("{}, consumer group {}", self.settings.hub, self.settings.consumer_group)
    }

    fn identity(&self) -> String {
        self.settings.hub.to_string()
    }

    fn message_fields(&self) -> SchemaRef {
        fields::all_fields()
    }

    fn select_fields(&mut self, names: &[String]) -> Result<()> {
        self.fields = HubField::named(names)?;
        Ok(())
    }

    fn restore(&mut self, segments: &[Bytes], ranges: &[EpochRange]) -> Result<()> {
        if !segments.is_empty() {
            return Err(Error::corrupt("an event hub has no state segments, but the checkpoint holds one"));
        }
        let mut restored = BTreeMap::new();
        for EpochRange { epoch, range, .. } in ranges {
            let offsets = range
                .offsets()
                .ok_or_else(|| Error::corrupt(format!("epoch {epoch} read files, but the source is an event hub")))?;
            for (partition, offsets) in offsets {
                let next = restored.entry(partition.clone()).or_insert(offsets.end.0);
                *next = offsets.end.0.max(*next);
            }
        }
        self.restored = restored;
        self.control = None;
        self.next.clear();
        Ok(())
    }

    fn segment(&self, _ranges: &[EpochRange]) -> Result<Option<(Bytes, u64)>> {
        // Every range names all partitions.
        Ok(None)
    }

    async fn seal(&mut self) -> Result<()> {
        let started = self.start().await?;
        let Some(control) = &mut self.control else { return Ok(()) };
        let ends = match started {
            Some(ends) => ends,
            None => control.ends().await?,
        };
        self.sealed = Some(ends);
        Ok(())
    }

    async fn plan(&mut self, bounds: EpochBounds) -> Result<Option<SourceRange>> {
        self.start().await?;
        let control =
            self.control.as_ref().ok_or_else(|| Error::bug("an event hub is planned before it is started"))?;
        let feeds = control.partitions().feeds();
        let mut ranges = Vec::with_capacity(feeds.len());
        for feed in &feeds {
            // Partitions that have appeared come in here.
            let next = *self.next.entry(feed.partition().clone()).or_insert(feed.start());
            ranges.push((feed, next, self.available(feed, next)?));
        }
        let mean = |feed: &Feed| u128::from(feed.mean_bytes().unwrap_or(ASSUMED_MESSAGE_BYTES));
        // What is missing at the beginning costs nothing.
        let backlogs: Vec<Backlog> = ranges.iter().map(|(_, _, has)| Backlog(has.end - has.first)).collect();
        let backlog_bytes =
            ranges.iter().zip(&backlogs).map(|((feed, ..), backlog)| u128::from(backlog.0) * mean(feed));
        let (messages, bytes) =
            (backlogs.iter().map(|one| u128::from(one.0)).sum::<u128>(), backlog_bytes.sum::<u128>());
        let by_bytes = if bytes > u128::from(bounds.max_bytes) {
            u64::try_from(messages * u128::from(bounds.max_bytes) / bytes).unwrap_or(u64::MAX)
        } else {
            u64::MAX
        };
        let most = bounds.max_events.min(by_bytes).max(1);
        let mut offsets = BTreeMap::new();
        let mut is_empty = true;
        for ((feed, next, has), share) in ranges.iter().zip(shares(&backlogs, most)) {
            let range = OffsetRange { start: Offset(*next), end: Offset(has.first + share) };
            is_empty &= range.is_empty();
            offsets.insert(feed.partition().clone(), range);
        }
        let has_new_positions = std::mem::take(&mut self.has_new_positions);
        if is_empty && !has_new_positions {
            return Ok(None);
        }
        for (partition, range) in &offsets {
            self.next.insert(partition.clone(), range.end.0);
        }
        Ok(Some(SourceRange::Offsets(offsets)))
    }

    fn nothing(&self) -> SourceRange {
        let nothing = |(partition, next): (&PartitionId, &u64)| {
            (partition.clone(), OffsetRange { start: Offset(*next), end: Offset(*next) })
        };
        SourceRange::Offsets(self.next.iter().map(nothing).collect())
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn has_unread(&self, partition: &PartitionId) -> bool {
        let Some(control) = &self.control else { return true };
        let next = self.next.get(partition).copied().unwrap_or(0);
        if let Some(sealed) = &self.sealed {
            return sealed.get(partition).is_some_and(|end| *end > next);
        }
        control.partitions().feed(partition).is_some_and(|feed| feed.may_have(next))
    }

    async fn changed(&mut self) {
        let Some(control) = &self.control else { return };
        let partitions = control.partitions();
        for feed in partitions.feeds() {
            let next = self.next.get(feed.partition()).copied().unwrap_or(0);
            feed.want(next + 1);
        }
        partitions.arrived().await;
    }

    async fn read(&self, range: &SourceRange, out: ChunkSender) -> Result<()> {
        let offsets = range.offsets().ok_or_else(|| Error::bug("an event hub cannot read files"))?;
        let control = self.control.as_ref().ok_or_else(|| Error::bug("an event hub is read before it is started"))?;
        let partitions = control.partitions();
        let mut left = Vec::new();
        for (partition, range) in offsets.iter().filter(|(_, range)| !range.is_empty()) {
            let unknown = || Error::bug(format!("partition {partition} was planned, but is not received"));
            let feed = partitions.feed(partition).ok_or_else(unknown)?;
            feed.want(range.end.0);
            left.push((feed, Arc::<str>::from(partition.0.as_str()), *range));
        }
        let mut chunks = Chunks::new(Arc::clone(&self.fields), self.chunks.chunk_bytes, out);
        loop {
            let mut has_taken = false;
            for (feed, name, range) in &mut left {
                while !range.is_empty()
                    && let Some(taken) = feed.take(range, self.settings.on_data_loss)?
                {
                    has_taken = true;
                    match taken {
                        Item::Block(block) => {
                            if !chunks.add(name, block).await? {
                                return Ok(());
                            }
                        }
                        Item::Gap(gap) => self.tell_gap(feed.partition(), gap),
                    }
                }
            }
            left.retain(|(_, _, range)| !range.is_empty());
            if left.is_empty() {
                chunks.flush().await?;
                return Ok(());
            }
            if !has_taken {
                partitions.arrived().await;
            }
        }
    }

    fn take_incidents(&self) -> Vec<Incident> {
        self.incidents.take()
    }
}
