//! The task that receives one partition: opens a connection where its feed
//! stands, takes in what comes, and begins anew after any trouble.
//!
//! It opens a new connection after every error, at the message behind the last
//! one that it has; whatever comes twice is left out, whatever is missing is a
//! gap. So a connection may break at any moment.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::feed::{Feed, Pushed};
use super::outage::Outage;
use super::settings::{EventHubsSettings, OnDataLoss};
use crate::env::Clock;
use crate::event_hubs::{Connection, Position, ReceiverSettings, Trouble};
use crate::model::OffsetRange;
use crate::source::{IncidentKind, Incidents};
use crate::{Error, Result};

/// How long a partition may be silent before the service is asked about it; the
/// timeout, if that is shorter.
const PROBE_AFTER: Duration = Duration::from_secs(10);
/// The fewest messages that are under way.
const MIN_PREFETCH: u32 = 16;
/// After so many messages of a connection the mean of their sizes is looked at.
const SIZES_KNOWN_AFTER: u64 = 8;
/// How far a prefetch may be over what the messages' sizes allow before the
/// connection is opened again with a smaller one.
const PREFETCH_TOLERANCE: u64 = 4;

/// What receives one partition.
pub(super) struct Reception {
    pub(super) settings: Arc<EventHubsSettings>,
    pub(super) feed: Arc<Feed>,
    pub(super) incidents: Arc<Incidents>,
    pub(super) clock: Arc<dyn Clock>,
    /// How many bytes may be under way.
    pub(super) prefetch_bytes: u64,
}

/// Why a session ended that had no trouble.
enum Ended {
    /// Messages are larger than thought: fewer may be under way.
    PrefetchTooLarge,
    /// Nothing more can come.
    Failed(Error),
}

impl Reception {
    /// Receive for ever, or until the feed has failed.
    pub(super) async fn run(self) {
        let partition = self.feed.partition().clone();
        let (settings, clock, incidents) =
            (Arc::clone(&self.settings), Arc::clone(&self.clock), Arc::clone(&self.incidents));
        let mut outage = Outage::new(settings, clock, incidents, Some(partition), true);
        loop {
            let connection = self.settings.hub.connect(&self.settings.consumer_group, self.settings.timeout).await;
            let ended = match connection {
                Ok(connection) => {
                    let ended = self.session(&connection, &mut outage).await;
                    self.feed.set_connected(false);
                    connection.close().await;
                    ended
                }
                Err(trouble) => Err(trouble),
            };
            let error = match ended {
                Ok(Ended::PrefetchTooLarge) => continue,
                Ok(Ended::Failed(error)) => error,
                Err(trouble) => match outage.wait(&trouble).await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            return self.feed.fail(error);
        }
    }

    /// Receive over one connection until something ends it.
    async fn session(&self, connection: &Connection, outage: &mut Outage) -> std::result::Result<Ended, Trouble> {
        let prefetch = self.prefetch();
        let settings = ReceiverSettings {
            partition: self.feed.partition().clone(),
            position: behind(self.feed.received()),
            prefetch,
            owner_level: self.settings.owner_level,
        };
        let receiver = connection.receiver(&settings).await?;
        let mut messages = receiver.messages();
        let probe_after = PROBE_AFTER.min(self.settings.timeout / 2);
        let (mut count, mut stalled) = (0_u64, Duration::ZERO);
        loop {
            let message = match tokio::time::timeout(probe_after, messages.next()).await {
                Ok(Some(message)) => message?,
                Ok(None) => return Err(Trouble::gone("the stream of messages ended")),
                Err(_silent) => {
                    let has_unread = match self.probe(connection).await? {
                        Ok(has_unread) => has_unread,
                        Err(error) => return Ok(Ended::Failed(error)),
                    };
                    outage.contact();
                    self.feed.set_connected(true);
                    stalled = if has_unread { stalled + probe_after } else { Duration::ZERO };
                    if stalled >= self.settings.timeout {
                        return Err(Trouble::gone("there are messages, but none is delivered"));
                    }
                    continue;
                }
            };
            if count == 0 {
                outage.contact();
                self.feed.set_connected(true);
            }
            count += 1;
            stalled = Duration::ZERO;
            let number = message.sequence_number().ok_or_else(|| Trouble::gone("a message has no sequence number"))?;
            match self.feed.push(number, &message) {
                Pushed::Taken { gap, has_room } => {
                    self.tell_gap(gap);
                    if !has_room {
                        self.feed.has_room().await;
                    }
                }
                Pushed::Repeated => {
                    let detail = format!("message {number} came again");
                    self.incidents.note(IncidentKind::Repeated, Some(self.feed.partition()), 1, detail);
                }
            }
            if count.is_power_of_two() && count >= SIZES_KNOWN_AFTER && self.is_too_large(prefetch) {
                return Ok(Ended::PrefetchTooLarge);
            }
        }
    }

    /// Ask about a silent partition, over its own connection: one that is frozen
    /// gives no answer. Says whether it has messages that did not come; the inner
    /// error is final.
    async fn probe(&self, connection: &Connection) -> std::result::Result<Result<bool>, Trouble> {
        let received = self.feed.received();
        let state = connection.state(self.feed.partition()).await?;
        if state.end < received {
            return Ok(Err(made_anew(&self.settings, self.feed.partition(), received, state.end)));
        }
        self.tell_gap(self.feed.skip_to(state.begin));
        self.feed.learn_end(state.end);
        Ok(Ok(state.end > received && !state.is_empty()))
    }

    fn tell_gap(&self, gap: OffsetRange) {
        tell_gap(&self.settings, &self.incidents, self.feed.partition(), gap);
    }

    /// How many messages may be under way, by the sizes of those that came.
    fn prefetch(&self) -> u32 {
        let most = self.settings.prefetch.max(1);
        let Some(mean) = self.feed.mean_bytes().filter(|mean| *mean > 0) else { return most };
        let fits = u32::try_from(self.prefetch_bytes / mean).unwrap_or(u32::MAX);
        most.min(fits.max(MIN_PREFETCH))
    }

    fn is_too_large(&self, prefetch: u32) -> bool {
        u64::from(prefetch) > u64::from(self.prefetch()) * PREFETCH_TOLERANCE
    }
}

/// The position of the first message that has not come. The service may refuse a
/// position that does not exist yet, but never the one behind its last message.
fn behind(received: u64) -> Position {
    match received.checked_sub(1) {
        Some(number) => Position::SequenceNumber { number, inclusive: false },
        None => Position::Earliest,
    }
}

/// Tell of messages that have expired, where the run goes on without them.
pub(super) fn tell_gap(
    settings: &EventHubsSettings,
    incidents: &Incidents,
    partition: &crate::model::PartitionId,
    gap: OffsetRange,
) {
    if gap.is_empty() || settings.on_data_loss == OnDataLoss::Fail {
        return;
    }
    let detail = format!("the messages {} to {} had expired", gap.start.0, gap.end.0 - 1);
    tracing::warn!("partition {partition} of the {}: {detail}; going on without them", settings.hub);
    incidents.note(IncidentKind::Lost, Some(partition), gap.len(), detail);
}

/// The partition ends before the place where it was read to.
pub(super) fn made_anew(
    settings: &EventHubsSettings,
    partition: &crate::model::PartitionId,
    received: u64,
    end: u64,
) -> Error {
    Error::data(format!(
        "partition {partition} of the {} ends at sequence number {end}, but it was read up to {received}: the event hub \
         was deleted and made anew. Give the pipeline a new checkpoint and new tables, or the old event hub",
        settings.hub
    ))
}
