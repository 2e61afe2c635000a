//! The task that receives one partition: opens a connection where its feed
//! stands, takes in what comes, and begins anew after any trouble.
//!
//! It has a thread of its own with all tasks of its connection: these lose what comes
//! between looking and listening (see `event_hubs::Inquiry`), and a partition then
//! stands still until the silence is noticed; and so a message wakes no other thread.
//!
//! It opens a new connection after every error, behind the last message that it
//! has; whatever comes twice is left out, whatever is missing is a gap. So a
//! connection may break at any moment.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::time::{Instant, Sleep};

use super::feed::{Feed, Pushed};
use super::outage::Outage;
use super::settings::EventHubsSettings;
use crate::Error;
use crate::env::Clock;
use crate::event_hubs::{Connection, Message, Position, ReceiverSettings, Trouble};
use crate::source::{IncidentKind, Incidents};

/// How long a partition may be silent before the service is asked about it; half
/// the timeout, if that is shorter.
const PROBE_AFTER: Duration = Duration::from_secs(10);
/// The fewest messages that are under way.
const MIN_PREFETCH: u32 = 16;
/// After so many messages of a connection their sizes are looked at,
const SIZES_KNOWN_AFTER: u64 = 8;
/// and again after each so many.
const SIZES_CHANGE_AFTER: u64 = 64;
/// How far a prefetch may be from what the messages' sizes allow before the
/// connection is opened again with another one.
const PREFETCH_TOLERANCE: u32 = 4;
/// A partition that ends before what was read is asked about again: answers may be
/// behind deliveries.
const SHORT_ANSWERS: u32 = 2;

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
    /// Messages are of another size than thought: another number may be under way.
    PrefetchDoesNotFit,
    /// Nothing more can come.
    Failed(Error),
}

/// What the service says of a partition that was silent.
enum Probed {
    /// It has nothing that did not come.
    NothingUnread,
    /// It has messages that did not come.
    Unread,
    /// It ends at this sequence number, before what was read.
    TooShort(u64),
}

/// Tells the reader, should the task end without having done so.
struct Alive(Arc<Feed>);

impl Drop for Alive {
    fn drop(&mut self) {
        let partition = self.0.partition();
        self.0.fail(Error::bug(format!("the task that receives partition {partition} ended before its time")));
    }
}

impl Reception {
    /// Receive for ever, or until the feed has failed.
    pub(super) async fn run(self) {
        let _alive = Alive(Arc::clone(&self.feed));
        let partition = self.feed.partition().clone();
        let (settings, clock, incidents) =
            (Arc::clone(&self.settings), Arc::clone(&self.clock), Arc::clone(&self.incidents));
        let mut outage = Outage::new(settings, clock, incidents, Some(partition));
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
                Ok(Ended::PrefetchDoesNotFit) => continue,
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
        // A position that is refused may be one of an event hub that is gone.
        if outage.is_refused()
            && let Probed::TooShort(end) = self.probe(connection).await?
        {
            return Ok(Ended::Failed(self.made_anew(end)));
        }
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
        let mut silence = std::pin::pin!(tokio::time::sleep(probe_after));
        let (mut count, mut stalled, mut too_short) = (0_u64, Duration::ZERO, 0);
        loop {
            let message = match next_within(&mut messages, silence.as_mut(), probe_after).await {
                Some(message) => message,
                None => match self.probe_beside(connection, &mut messages).await? {
                    Answer::Message(message) => *message,
                    Answer::Probed(Probed::NothingUnread) => {
                        outage.contact();
                        self.feed.set_connected(true);
                        (stalled, too_short) = (Duration::ZERO, 0);
                        continue;
                    }
                    Answer::Probed(Probed::Unread) => {
                        stalled += probe_after;
                        if stalled >= self.settings.timeout {
                            return Err(Trouble::gone("there are messages, but none is delivered"));
                        }
                        continue;
                    }
                    Answer::Probed(Probed::TooShort(end)) => {
                        too_short += 1;
                        if too_short >= SHORT_ANSWERS {
                            return Ok(Ended::Failed(self.made_anew(end)));
                        }
                        continue;
                    }
                },
            };
            let message = message.ok_or_else(|| Trouble::gone("the stream of messages ended"))??;
            let has_room = self.take_in(&message)?;
            if count == 0 {
                outage.contact();
                self.feed.set_connected(true);
            }
            count += 1;
            (stalled, too_short) = (Duration::ZERO, 0);
            // Before it waits: meanwhile all that may be under way comes.
            let looks = !has_room || count == SIZES_KNOWN_AFTER || count.is_multiple_of(SIZES_CHANGE_AFTER);
            if looks && !self.fits(prefetch) {
                return Ok(Ended::PrefetchDoesNotFit);
            }
            if !has_room {
                self.feed.has_room().await;
            }
        }
    }

    /// Put a message into the feed; says whether there is room for more.
    fn take_in(&self, message: &Message) -> std::result::Result<bool, Trouble> {
        let number = message.sequence_number().ok_or_else(|| Trouble::gone("a message has no sequence number"))?;
        Ok(match self.feed.push(number, message) {
            Pushed::Taken { has_room, .. } => has_room,
            Pushed::Repeated => {
                let detail = format!("message {number} came again");
                self.incidents.note(IncidentKind::Repeated, Some(self.feed.partition()), 1, detail);
                true
            }
        })
    }

    /// Ask about a silent partition while messages may come all the same: to attach
    /// may take longer than silence is trusted, and holds up questions.
    async fn probe_beside(
        &self,
        connection: &Connection,
        messages: &mut (impl Stream<Item = std::result::Result<Message, Trouble>> + Unpin),
    ) -> std::result::Result<Answer, Trouble> {
        // Until there is an answer nobody may think that it is idle.
        self.feed.set_connected(false);
        tokio::select! {
            biased;
            message = messages.next() => {
                self.feed.set_connected(true);
                Ok(Answer::Message(Box::new(message)))
            }
            probed = self.probe(connection) => Ok(Answer::Probed(probed?)),
        }
    }

    /// Ask about the partition, over its own connection: one that is frozen gives no
    /// answer.
    async fn probe(&self, connection: &Connection) -> std::result::Result<Probed, Trouble> {
        let received = self.feed.received();
        let state = connection.state(self.feed.partition()).await?;
        if state.end < received {
            return Ok(Probed::TooShort(state.end));
        }
        self.feed.skip_to(state.begin);
        self.feed.learn_end(state.end);
        let is_unread = state.end > received && !state.is_empty();
        Ok(if is_unread { Probed::Unread } else { Probed::NothingUnread })
    }

    fn made_anew(&self, end: u64) -> Error {
        made_anew(&self.settings, self.feed.partition(), self.feed.received(), end)
    }

    /// How many messages may be under way, by the sizes of those that came last. As
    /// long as none has come it is as many as the pipeline allows: another connection
    /// takes a while to open, and the first few messages say whether it is needed.
    fn prefetch(&self) -> u32 {
        let most = self.settings.prefetch.max(1);
        let Some(mean) = self.feed.mean_bytes() else { return most };
        let fits = u32::try_from(self.prefetch_bytes / mean).unwrap_or(u32::MAX);
        most.min(fits.max(MIN_PREFETCH))
    }

    fn fits(&self, prefetch: u32) -> bool {
        let wanted = self.prefetch();
        prefetch <= wanted.saturating_mul(PREFETCH_TOLERANCE) && wanted <= prefetch.saturating_mul(PREFETCH_TOLERANCE)
    }
}

/// The next message, or none after so long a silence. `silence` is a timer that is
/// set only when there is something to wait for: one for each message would cost as
/// much as taking it in.
async fn next_within<T>(
    messages: &mut (impl Stream<Item = T> + Unpin),
    mut silence: Pin<&mut Sleep>,
    limit: Duration,
) -> Option<Option<T>> {
    let mut is_set = false;
    poll_fn(|context| {
        if let Poll::Ready(message) = messages.poll_next_unpin(context) {
            return Poll::Ready(Some(message));
        }
        if !is_set {
            silence.as_mut().reset(Instant::now() + limit);
            is_set = true;
        }
        silence.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// What comes first: a message, or the answer to a question.
enum Answer {
    Message(Box<Option<std::result::Result<Message, Trouble>>>),
    Probed(Probed),
}

/// The position of the first message that has not come. The service may refuse a
/// position that does not exist yet, but never the one behind its last message.
fn behind(received: u64) -> Position {
    match received.checked_sub(1) {
        Some(number) => Position::SequenceNumber { number, inclusive: false },
        None => Position::Earliest,
    }
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
