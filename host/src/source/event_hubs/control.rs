//! The connection that asks about the event hub as a whole: which partitions
//! there are, where they begin and end; and the tasks that receive them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Notify;

use super::feed::{Feed, FeedBounds};
use super::fields::HubField;
use super::outage::Outage;
use super::reception::{Reception, made_anew};
use super::settings::EventHubsSettings;
use super::starts;
use crate::env::{Clock, Task, solitary_task};
use crate::event_hubs::{Answer, Connection, Inquiry, PartitionState, Trouble};
use crate::model::PartitionId;
use crate::source::{ChunkBounds, IncidentKind, Incidents};
use crate::{Error, Result};

/// How often partitions that have appeared, and the ends of those that lag, are
/// asked for.
const REFRESH: Duration = Duration::from_secs(10);
/// The pause before a partition that seems too short is looked at again.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// Blocks of a partition that wait, at least.
const MIN_BLOCKS: usize = 2;
/// The smallest block; many partitions share one buffer.
const MIN_BLOCK_BYTES: usize = 16 << 10;
/// The bytes that may be under way to a partition, at least.
const MIN_PREFETCH_BYTES: u64 = 1 << 20;

/// Where a partition stands when it begins to be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The next sequence number to read.
    pub(super) next: u64,
    /// The first sequence number that still exists.
    pub(super) begin: u64,
    /// The sequence number behind the last message.
    pub(super) end: u64,
}

/// What asks about the event hub as a whole.
pub(super) struct Control {
    settings: Arc<EventHubsSettings>,
    clock: Arc<dyn Clock>,
    incidents: Arc<Incidents>,
    inquiry: Option<Inquiry>,
    outage: Outage,
    partitions: Arc<Partitions>,
    /// Looks for partitions that appear; held so that it lives.
    _watch: Option<Task>,
}

impl Control {
    pub(super) fn new(settings: Arc<EventHubsSettings>, clock: Arc<dyn Clock>, incidents: Arc<Incidents>) -> Self {
        let outage = Outage::new(Arc::clone(&settings), Arc::clone(&clock), Arc::clone(&incidents), None);
        let partitions = Arc::new(Partitions::default());
        Self { settings, clock, incidents, inquiry: None, outage, partitions, _watch: None }
    }

    /// The partitions that are received.
    pub(super) fn partitions(&self) -> Arc<Partitions> {
        Arc::clone(&self.partitions)
    }

    /// The connection, opened if it is not.
    async fn inquiry(&mut self) -> std::result::Result<&Inquiry, Trouble> {
        if self.inquiry.is_none() {
            let EventHubsSettings { hub, consumer_group, timeout, .. } = self.settings.as_ref();
            self.inquiry = Some(Inquiry::open(hub, consumer_group, *timeout).await?);
        }
        self.inquiry.as_ref().ok_or_else(|| Trouble::gone("the connection is closed"))
    }

    /// Ask until there is an answer.
    ///
    /// # Errors
    /// When to ask again is of no use.
    async fn ask<T: Send + 'static>(
        &mut self,
        question: impl for<'a> FnOnce(&'a Connection) -> Answer<'a, T> + Clone + Send + 'static,
    ) -> Result<T> {
        loop {
            let answer = match self.inquiry().await {
                Ok(inquiry) => inquiry.ask(question.clone()).await,
                Err(trouble) => Err(trouble),
            };
            match answer {
                Ok(answer) => {
                    self.outage.contact();
                    return Ok(answer);
                }
                Err(trouble) => {
                    self.inquiry = None;
                    self.outage.wait(&trouble).await?;
                }
            }
        }
    }

    /// Where all partitions stand, of which a checkpoint knows these.
    ///
    /// # Errors
    /// Data if a partition that the checkpoint knows is gone or was made anew;
    /// Config if a position is not there; otherwise what `ask` fails with.
    pub(super) async fn standings(
        &mut self,
        restored: &BTreeMap<PartitionId, u64>,
    ) -> Result<BTreeMap<PartitionId, Standing>> {
        let states = self.states().await?;
        if let Some(gone) = restored.keys().find(|partition| !states.contains_key(*partition)) {
            return Err(Error::data(format!(
                "the {} has no partition {gone}, but the checkpoint knows it: the event hub was deleted and made anew. \
                 Give the pipeline a new checkpoint and new tables, or the old event hub",
                self.settings.hub
            )));
        }
        if let Some(unknown) = self.settings.partition_starts.keys().find(|partition| !states.contains_key(*partition))
        {
            let known = states.keys().map(|partition| partition.0.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::config(format!(
                "`partition_start` names partition {unknown}, but the {} has only {known}",
                self.settings.hub
            )));
        }
        let mut standings = BTreeMap::new();
        for (partition, state) in states {
            let next = match restored.get(&partition) {
                // All that ever came to a partition that appeared since.
                None if !restored.is_empty() => 0,
                None => self.start_of(&partition).await?,
                Some(next) => *next,
            };
            // Answers may be behind deliveries, and a position is found with newer ones.
            let state = if next > state.end { self.later_state(&partition).await? } else { state };
            if next > state.end {
                return Err(made_anew(&self.settings, &partition, next, state.end));
            }
            standings.insert(partition, Standing { next, begin: state.begin, end: state.end });
        }
        Ok(standings)
    }

    /// What a partition holds after a pause.
    async fn later_state(&mut self, partition: &PartitionId) -> Result<PartitionState> {
        self.clock.back_off(SECOND_LOOK).await;
        let partition = partition.clone();
        self.ask(move |connection| async move { connection.state(&partition).await }.boxed()).await
    }

    async fn start_of(&mut self, partition: &PartitionId) -> Result<u64> {
        let (settings, partition) = (Arc::clone(&self.settings), partition.clone());
        self.ask(move |connection| async move { starts::resolve(&settings, connection, &partition).await }.boxed())
            .await?
    }

    /// The sequence number behind the last message of every partition now.
    ///
    /// # Errors
    /// What `ask` fails with.
    pub(super) async fn ends(&mut self) -> Result<BTreeMap<PartitionId, u64>> {
        let states = self.states().await?;
        Ok(states.into_iter().map(|(partition, state)| (partition, state.end)).collect())
    }

    async fn states(&mut self) -> Result<BTreeMap<PartitionId, PartitionState>> {
        self.ask(|connection| states(connection).boxed()).await
    }

    /// Begin to receive these partitions, and all that appear.
    ///
    /// # Errors
    /// Unavailable if the system has no thread to give.
    pub(super) fn receive(
        &mut self,
        standings: BTreeMap<PartitionId, Standing>,
        fields: &Arc<[HubField]>,
        chunks: ChunkBounds,
    ) -> Result<()> {
        let receiving = Receiving::new(self, fields, chunks, standings.len());
        for (partition, standing) in standings {
            receiving.start(partition, standing);
        }
        self._watch = Some(solitary_task("weir-partitions", move || receiving.watch())?);
        Ok(())
    }
}

async fn states(connection: &Connection) -> std::result::Result<BTreeMap<PartitionId, PartitionState>, Trouble> {
    let mut states = BTreeMap::new();
    for partition in connection.partitions().await? {
        let state = connection.state(&partition).await?;
        states.insert(partition, state);
    }
    Ok(states)
}

/// What it takes to begin to receive a partition.
struct Receiving {
    settings: Arc<EventHubsSettings>,
    clock: Arc<dyn Clock>,
    incidents: Arc<Incidents>,
    partitions: Arc<Partitions>,
    fields: Arc<[HubField]>,
    bounds: FeedBounds,
    prefetch_bytes: u64,
}

impl Receiving {
    fn new(control: &Control, fields: &Arc<[HubField]>, chunks: ChunkBounds, partitions: usize) -> Self {
        let share = control.settings.buffer_bytes / partitions.max(1);
        let block_bytes = chunks.chunk_bytes.min((share / MIN_BLOCKS).max(MIN_BLOCK_BYTES)).max(1);
        let bounds = FeedBounds {
            block_bytes,
            buffer_bytes: share.max(block_bytes * MIN_BLOCKS),
            max_message_bytes: chunks.max_message_bytes,
        };
        Self {
            settings: Arc::clone(&control.settings),
            clock: Arc::clone(&control.clock),
            incidents: Arc::clone(&control.incidents),
            partitions: control.partitions(),
            fields: Arc::clone(fields),
            bounds,
            prefetch_bytes: (share as u64).max(MIN_PREFETCH_BYTES),
        }
    }

    fn start(&self, partition: PartitionId, standing: Standing) {
        let arrived = Arc::clone(&self.partitions.arrived);
        let feed = Arc::new(Feed::new(partition, &self.fields, self.bounds, arrived, standing));
        let reception = Reception {
            settings: Arc::clone(&self.settings),
            feed: Arc::clone(&feed),
            incidents: Arc::clone(&self.incidents),
            clock: Arc::clone(&self.clock),
            prefetch_bytes: self.prefetch_bytes,
        };
        let name = format!("weir-receive-{}", feed.partition());
        let reception = solitary_task(&name, move || reception.run());
        let reception = reception.map_err(|error| feed.fail(error)).ok();
        self.partitions.add(Received { feed, _reception: reception });
    }

    /// Look for partitions that appear, and for the ends of those that lag.
    async fn watch(self) {
        let mut connection = None;
        loop {
            self.clock.back_off(REFRESH.min(self.settings.timeout)).await;
            match self.refresh(&mut connection).await {
                Ok(()) => {}
                Err(trouble) => {
                    tracing::debug!("cannot look for partitions of the {}: {trouble}", self.settings.hub);
                    if let Some(connection) = connection.take() {
                        Connection::close(connection).await;
                    }
                }
            }
        }
    }

    async fn refresh(&self, connection: &mut Option<Connection>) -> std::result::Result<(), Trouble> {
        let connection = match connection {
            Some(connection) => connection,
            None => {
                let settings = &self.settings;
                connection.insert(settings.hub.connect(&settings.consumer_group, settings.timeout).await?)
            }
        };
        for partition in connection.partitions().await? {
            match self.partitions.feed(&partition) {
                // The receiver of a partition that does not lag knows its end.
                Some(feed) if !feed.is_lagging() => {}
                Some(feed) => feed.learn_end(connection.state(&partition).await?.end),
                None => {
                    let state = connection.state(&partition).await?;
                    tracing::warn!("partition {partition} of the {} is new", self.settings.hub);
                    let detail = "it is read from its beginning";
                    self.incidents.note(IncidentKind::PartitionAdded, Some(&partition), 1, detail);
                    self.start(partition, Standing { next: state.begin, begin: state.begin, end: state.end });
                }
            }
        }
        Ok(())
    }
}

/// The partitions that are received.
#[derive(Default)]
pub(super) struct Partitions {
    received: Mutex<BTreeMap<PartitionId, Received>>,
    arrived: Arc<Notify>,
}

/// A partition that is received for as long as this lives.
struct Received {
    feed: Arc<Feed>,
    _reception: Option<Task>,
}

impl Partitions {
    fn add(&self, received: Received) {
        let partition = received.feed.partition().clone();
        self.received.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, received);
        self.arrived.notify_one();
    }

    /// The feed of a partition.
    pub(super) fn feed(&self, partition: &PartitionId) -> Option<Arc<Feed>> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.get(partition).map(|one| Arc::clone(&one.feed))
    }

    /// All feeds, in the order of the partitions' names.
    pub(super) fn feeds(&self) -> Vec<Arc<Feed>> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.values().map(|one| Arc::clone(&one.feed)).collect()
    }

    /// Wait until a feed has something to tell; may return early. Cancel-safe.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
