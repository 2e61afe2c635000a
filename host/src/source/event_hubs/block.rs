//! Messages of one partition, gathered into a block that can be cut.
//!
//! A message is copied once, from the client's buffer into the payload of the
//! block, which becomes the payload of a chunk as it is.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef};
use bytes::Bytes;

use super::fields::{Gathering, HubField};
use crate::event_hubs::{Body, Message};
use crate::source::Unreadable;

/// What a message takes besides its bytes: its offset, its place.
const MESSAGE_OVERHEAD_BYTES: usize = 16;

/// Consecutive messages of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The index of the first one.
    pub(super) first_message: usize,
    /// Its sequence number.
    pub(super) number: u64,
}

/// A block that grows.
pub(super) struct Growing {
    partition: Arc<str>,
    max_message_bytes: usize,
    payload: Vec<u8>,
    offsets: Vec<i32>,
    runs: Vec<Run>,
    gathering: Gathering,
    unreadable: Vec<Unreadable>,
    /// The bytes of all that it holds.
    bytes: usize,
}

impl Growing {
    /// An empty block of a partition.
    pub(super) fn new(partition: Arc<str>, fields: &[HubField], max_message_bytes: usize) -> Self {
        Self {
            partition,
            max_message_bytes,
            payload: Vec::new(),
            offsets: vec![0],
            runs: Vec::new(),
            gathering: Gathering::new(fields),
            unreadable: Vec::new(),
            bytes: 0,
        }
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.len() == 1 && self.unreadable.is_empty()
    }

    /// The bytes of all that it holds: bodies, fields, unreadable messages.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Add the message with this sequence number; returns its bytes.
    pub(super) fn push(&mut self, number: u64, message: &Message) -> usize {
        let before = self.bytes;
        self.bytes += MESSAGE_OVERHEAD_BYTES;
        match message.body() {
            Body::Sections(sections) => self.push_sections(number, message, sections),
            Body::Value(bytes) => self.push_sections(number, message, &[bytes]),
            Body::Other(reason) => {
                let raw = message.value_as_json().unwrap_or_default().into_bytes();
                let raw = raw.into_iter().take(self.max_message_bytes).collect();
                self.reject(number, reason.to_owned(), raw);
            }
        }
        self.bytes - before
    }

    fn push_sections<S: AsRef<[u8]>>(&mut self, number: u64, message: &Message, sections: &[S]) {
        let bytes: usize = sections.iter().map(|section| section.as_ref().len()).sum();
        if bytes > self.max_message_bytes {
            let raw: Vec<u8> = sections.iter().flat_map(AsRef::as_ref).copied().take(self.max_message_bytes).collect();
            let reason = format!("the message of {bytes} bytes is longer than `max_message` allows");
            return self.reject(number, reason, raw.into());
        }
        let index = self.offsets.len() - 1;
        let follows = |run: &Run| run.number + (index - run.first_message) as u64 == number;
        if !self.runs.last().is_some_and(follows) {
            self.runs.push(Run { first_message: index, number });
        }
        for section in sections {
            self.payload.extend_from_slice(section.as_ref());
        }
        let end =
            i32::try_from(self.payload.len()).expect("invariant: a block and the largest message have 32-bit offsets");
        self.offsets.push(end);
        self.bytes += bytes + self.gathering.push(message);
    }

    fn reject(&mut self, number: u64, reason: String, raw: Bytes) {
        self.bytes += raw.len() + reason.len();
        self.unreadable.push(Unreadable { place: self.partition.to_string(), position: number, reason, raw });
    }

    /// The block as it is, up to the sequence number `end`; begins anew.
    pub(super) fn finish(&mut self, end: u64) -> Block {
        // The next block will be about as large; one that outgrows its room is copied.
        let capacity = self.payload.len() + self.payload.len() / 16;
        let payload = std::mem::replace(&mut self.payload, Vec::with_capacity(capacity));
        let messages = self.offsets.len();
        let mut offsets = Vec::with_capacity(messages);
        offsets.push(0);
        Block {
            end,
            bytes: std::mem::take(&mut self.bytes),
            payload: payload.into(),
            offsets: std::mem::replace(&mut self.offsets, offsets),
            runs: std::mem::take(&mut self.runs),
            columns: self.gathering.finish(),
            unreadable: std::mem::take(&mut self.unreadable),
        }
    }
}

/// Messages of one partition, in their order.
#[derive(Debug)]
pub(super) struct Block {
    /// The sequence number behind the last message.
    pub(super) end: u64,
    /// The bytes of all that it holds: bodies, fields, unreadable messages.
    pub(super) bytes: usize,
    pub(super) payload: Bytes,
    /// Message i is `payload[offsets[i]..offsets[i + 1]]`; starts at 0.
    pub(super) offsets: Vec<i32>,
    pub(super) runs: Vec<Run>,
    /// The gathered message fields.
    pub(super) columns: Vec<ArrayRef>,
    pub(super) unreadable: Vec<Unreadable>,
}

impl Block {
    /// The number of messages, unreadable ones aside.
    pub(super) fn messages(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The sequence numbers of a run.
    pub(super) fn numbers(&self, run: usize) -> std::ops::Range<u64> {
        let Run { first_message, number } = self.runs[run];
        let end = self.runs.get(run + 1).map_or(self.messages(), |next| next.first_message);
        number..number + (end - first_message) as u64
    }

    /// Cut off the messages before the sequence number `end`, which lies within
    /// the block; what is left begins there.
    pub(super) fn split_to(&mut self, end: u64) -> Self {
        let before = self.count_before(end);
        // About its share: what fields take is not known message by message.
        let bytes = self.bytes * before / self.messages().max(1);
        self.bytes -= bytes;
        let at = self.offsets[before];
        let left: Vec<i32> = self.offsets[before..].iter().map(|offset| offset - at).collect();
        self.offsets.truncate(before + 1);
        let offsets = std::mem::replace(&mut self.offsets, left);
        let payload = self.payload.split_to(usize::try_from(at).expect("invariant: offsets are not negative"));
        let columns = self.columns.iter().map(|column| column.slice(0, before)).collect();
        self.columns = self.columns.iter().map(|column| column.slice(before, column.len() - before)).collect();
        let (early, late) = std::mem::take(&mut self.unreadable).into_iter().partition(|one| one.position < end);
        self.unreadable = late;
        let runs = self.split_runs(before);
        Self { end, bytes, payload, offsets, runs, columns, unreadable: early }
    }

    fn count_before(&self, end: u64) -> usize {
        let before = |run: usize| {
            let numbers = self.numbers(run);
            end.clamp(numbers.start, numbers.end) - numbers.start
        };
        let count: u64 = (0..self.runs.len()).map(before).sum();
        usize::try_from(count).expect("invariant: not more than the block has")
    }

    fn split_runs(&mut self, before: usize) -> Vec<Run> {
        let mut early = std::mem::take(&mut self.runs);
        let cut = early.partition_point(|run| run.first_message < before);
        let mut late = early.split_off(cut);
        for run in &mut late {
            run.first_message -= before;
        }
        // The run that was cut goes on at the beginning of what is left.
        let total = self.messages();
        let goes_on = late.first().map_or(total > 0, |first| first.first_message > 0);
        if goes_on && let Some(run) = early.last() {
            let number = run.number + (before - run.first_message) as u64;
            late.insert(0, Run { first_message: 0, number });
        }
        self.runs = late;
        early
    }
}
