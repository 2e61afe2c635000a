//! One partition: its messages, who receives them, and who of them may.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::condition::Condition;
use super::mailbox::{Command, Mailbox};
use super::message::{Message, Place, Stored};
use super::selector::{Bound, Start};

/// Receivers without an owner level that a group may have at a partition.
const MAX_RECEIVERS: usize = 5;

/// What `$management` says of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionProperties {
    /// The sequence number of the first message that there is, or of the next if there is none.
    pub begin_sequence_number: i64,
    /// The sequence number of the last message that there ever was; -1 if there was none.
    pub last_enqueued_sequence_number: i64,
    /// The offset of the last message that there ever was; -1 if there was none.
    pub last_enqueued_offset: i64,
    /// When that was enqueued, in milliseconds since 1970; the year 1 if there was none.
    pub last_enqueued_ms: i64,
    /// Whether there is no message.
    pub is_empty: bool,
}

/// Milliseconds of the first moment of the year 1, which stands for never.
const NEVER_MS: i64 = -62_135_596_800_000;

/// A receiver that is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The consumer group.
    pub group: String,
    /// The partition.
    pub partition: usize,
    /// The name that the receiver gave itself, else that of its link.
    pub name: String,
    /// The owner level.
    pub level: Option<i64>,
    /// The selector with which it began.
    pub start: Option<String>,
}

/// What a client asks for when it attaches a receiver.
#[derive(Clone)]
pub(super) struct Attached {
    pub(super) link: u64,
    pub(super) receiver: Receiver,
    /// None for an artificial receiver.
    pub(super) mailbox: Option<Arc<Mailbox>>,
}

/// A message as it is kept: encoded for its receivers.
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) payload: Bytes,
}

/// What changes of a partition; its lock orders everything that happens to it.
pub(super) struct Log {
    entries: VecDeque<Entry>,
    next_sequence: i64,
    next_offset: i64,
    last: Option<Place>,
    receivers: Vec<Attached>,
    /// Delay between two deliveries.
    pub(super) slow: Option<Duration>,
}

/// A partition of a hub.
pub(super) struct Partition {
    pub(super) hub: Arc<str>,
    pub(super) id: usize,
    log: Mutex<Log>,
}

/// Whether a position just after the last message may be named inclusively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// It is refused like any position that is not there yet.
    Refused,
    /// It waits for the message.
    Accepted,
}

impl Partition {
    pub(super) fn new(hub: Arc<str>, id: usize, first_sequence: i64) -> Self {
        let log = Log {
            entries: VecDeque::new(),
            next_sequence: first_sequence,
            next_offset: 0,
            last: None,
            receivers: Vec::new(),
            slow: None,
        };
        Self { hub, id, log: Mutex::new(log) }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("invariant: nothing panics with this lock")
    }

    /// Store messages and wake who waits for them.
    pub(super) fn append(&self, messages: impl Iterator<Item = Message>, now_ms: i64) -> usize {
        let mut log = self.log();
        let mut count = 0;
        let mut out = BytesMut::new();
        for message in messages {
            count += 1;
            let enqueued_ms = message.enqueued_ms.unwrap_or(now_ms);
            let place = Place { sequence_number: log.next_sequence, offset: log.next_offset, enqueued_ms };
            out.reserve(message.sections.len() + 256);
            message.write(place, &mut out);
            log.next_sequence += 1;
            log.next_offset += message.size();
            log.last = Some(place);
            log.entries.push_back(Entry { place, payload: out.split().freeze() });
        }
        log.wake();
        count
    }
}

impl Log {
    fn wake(&self) {
        self.receivers.iter().filter_map(|attached| attached.mailbox.as_ref()).for_each(|mailbox| mailbox.wake());
    }

    /// The messages from a sequence number on.
    pub(super) fn from(&self, sequence: i64) -> impl Iterator<Item = &Entry> {
        let begin = self.entries.partition_point(|entry| entry.place.sequence_number < sequence);
        self.entries.range(begin..)
    }

    /// The sequence number of the message that lies this many before another.
    pub(super) fn back(&self, sequence: i64, count: usize) -> i64 {
        let index = self.entries.partition_point(|entry| entry.place.sequence_number < sequence);
        self.entries.get(index.saturating_sub(count)).map_or(sequence, |entry| entry.place.sequence_number)
    }

    /// The sequence number that the next message gets.
    pub(super) fn next_sequence(&self) -> i64 {
        self.next_sequence
    }

    /// All messages.
    pub(super) fn stored(&self) -> Vec<Stored> {
        let read = |entry: &Entry| Stored::read(entry.place, &entry.payload);
        self.entries.iter().map(|entry| read(entry).expect("invariant: it was encoded here")).collect()
    }

    /// Forget the messages before a sequence number.
    pub(super) fn trim(&mut self, before: i64) {
        let keep = self.entries.partition_point(|entry| entry.place.sequence_number < before);
        self.entries.drain(..keep);
    }

    /// Leave sequence numbers out.
    pub(super) fn skip_sequence_numbers(&mut self, count: i64) {
        self.next_sequence += count;
    }

    pub(super) fn properties(&self) -> PartitionProperties {
        PartitionProperties {
            begin_sequence_number: self.entries.front().map_or(self.next_sequence, |entry| entry.place.sequence_number),
            last_enqueued_sequence_number: self.last.map_or(-1, |place| place.sequence_number),
            last_enqueued_offset: self.last.map_or(-1, |place| place.offset),
            last_enqueued_ms: self.last.map_or(NEVER_MS, |place| place.enqueued_ms),
            is_empty: self.entries.is_empty(),
        }
    }

    /// The first sequence number of a receiver that begins there.
    pub(super) fn resolve(&self, start: Start, at_end: AtEnd) -> Result<i64, Condition> {
        let first = |after: &dyn Fn(&Place) -> bool| {
            let begin = self.entries.partition_point(|entry| !after(&entry.place));
            self.entries.get(begin).map_or(self.next_sequence, |entry| entry.place.sequence_number)
        };
        let last = self.properties();
        let within = |what: &str, value: i64, last: i64, bound: Bound, next: i64| {
            let waits = at_end == AtEnd::Accepted && bound == Bound::Inclusive && value == next;
            if value <= last || waits {
                return Ok(());
            }
            let text = format!("The supplied {what} '{value}' is invalid. The last {what} in the system is '{last}'");
            Err(Condition::new("com.microsoft:argument-error", text))
        };
        let reaches = |value: i64, limit: i64, bound| match bound {
            Bound::Inclusive => value >= limit,
            Bound::Exclusive => value > limit,
        };
        Ok(match start {
            Start::Earliest => first(&|_| true),
            Start::Latest => self.next_sequence,
            Start::Offset(offset, bound) => {
                within("offset", offset, last.last_enqueued_offset, bound, self.next_offset)?;
                first(&|place| reaches(place.offset, offset, bound))
            }
            Start::SequenceNumber(number, bound) => {
                within("sequence number", number, last.last_enqueued_sequence_number, bound, self.next_sequence)?;
                first(&|place| reaches(place.sequence_number, number, bound))
            }
            Start::EnqueuedTime(time_ms, bound) => first(&|place| reaches(place.enqueued_ms, time_ms, bound)),
        })
    }

    /// Let a receiver in, and displace whom it displaces.
    pub(super) fn attach(&mut self, new: Attached) -> Result<(), Condition> {
        let same = |old: &Attached| old.receiver.group == new.receiver.group;
        let highest = self.receivers.iter().filter(|old| same(old)).filter_map(|old| old.receiver.level).max();
        let name = &new.receiver.name;
        match (new.receiver.level, highest) {
            (Some(level), Some(highest)) if level < highest => {
                let owner = self.receivers.iter().find(|old| same(old) && old.receiver.level == Some(highest));
                let owner = owner.map_or("nil", |owner| owner.receiver.name.as_str());
                return Err(Condition::stolen(format!(
                    "Receiver '{owner}' with a higher epoch '{highest}' already exists. Receiver '{name}' with epoch \
                     {level} cannot be created. Make sure you are creating receiver with increasing epoch value to \
                     ensure connectivity, or ensure all old epoch receivers are closed or disconnected."
                )));
            }
            (None, Some(highest)) => {
                return Err(Condition::stolen(format!(
                    "At least one receiver for the endpoint is created with epoch of '{highest}', and so non-epoch \
                     receiver is not allowed. Either reconnect with a higher epoch, or make sure all epoch receivers \
                     are closed or disconnected."
                )));
            }
            (None, None) => {
                let names: Vec<_> =
                    self.receivers.iter().filter(|old| same(old)).map(|old| old.receiver.name.as_str()).collect();
                if names.len() >= MAX_RECEIVERS {
                    return Err(Condition::new(
                        "amqp:resource-limit-exceeded",
                        format!(
                            "Exceeded the maximum number of allowed receivers per partition in a consumer group which \
                             is {MAX_RECEIVERS}. List of connected receivers - {}.",
                            names.join(", ")
                        ),
                    ));
                }
            }
            (Some(level), _) => self.displace(&new.receiver, level),
        }
        self.receivers.push(new);
        Ok(())
    }

    /// Detach all receivers of the group on behalf of a new one.
    fn displace(&mut self, new: &Receiver, level: i64) {
        for old in self.receivers.extract_if(.., |old| old.receiver.group == new.group) {
            let text = format!(
                "New receiver '{}' with higher epoch of '{level}' is created hence current receiver '{}' with epoch \
                 '{}' is getting disconnected. If you are recreating the receiver, make sure a higher epoch is used.",
                new.name,
                old.receiver.name,
                old.receiver.level.unwrap_or(-1)
            );
            if let Some(mailbox) = old.mailbox {
                mailbox.send(Command::Detach(old.link, Condition::stolen(text)));
            }
        }
    }

    /// An artificial receiver displaces the group's receivers; it stays if it has a link number.
    pub(super) fn steal(&mut self, group: &str, stays: Option<u64>) {
        let level =
            self.receivers.iter().filter(|old| old.receiver.group == group).filter_map(|old| old.receiver.level);
        let level = level.max().map_or(0, |level| level + 1);
        let partition = self.receivers.first().map_or(0, |old| old.receiver.partition);
        let name = "thief".to_owned();
        let thief = Receiver { group: group.to_owned(), partition, name, level: Some(level), start: None };
        self.displace(&thief, level);
        if let Some(link) = stays {
            self.receivers.push(Attached { link, receiver: thief, mailbox: None });
        }
    }

    pub(super) fn detach(&mut self, link: u64) {
        self.receivers.retain(|attached| attached.link != link);
    }

    /// Who receives.
    pub(super) fn receivers(&self) -> impl Iterator<Item = &Attached> {
        self.receivers.iter()
    }
}
