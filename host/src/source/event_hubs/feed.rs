//! What has come of one partition and waits to be read: the place where its
//! receiver and the reader meet.
//!
//! ```text
//! receiver ──► growing block ──► [blocks and gaps, bounded in bytes] ──► reader
//! ```
//!
//! Sequence numbers leave in order and without holes: what cannot be delivered is
//! a gap that says so. The reader is woken when a block is full or when
//! everything that it wants is there, not for each message.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::block::{Block, Growing};
use super::control::Standing;
use super::fields::HubField;
use super::settings::OnDataLoss;
use crate::event_hubs::Message;
use crate::model::{Offset, OffsetRange, PartitionId};
use crate::{Error, Result};

/// About so many messages say how large messages are.
const MEAN_OF_LAST: u64 = 64;

/// Where the receiver of a partition and the reader meet.
pub(super) struct Feed {
    partition: PartitionId,
    start: u64,
    bounds: FeedBounds,
    state: Mutex<State>,
    /// Told when there is room again.
    room: Notify,
    /// Told when the reader has something to do; one for all partitions.
    arrived: Arc<Notify>,
}

/// Bounds on what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FeedBounds {
    /// A block is closed when it holds so many bytes.
    pub(super) block_bytes: usize,
    /// The receiver waits while so many bytes wait; at least two blocks.
    pub(super) buffer_bytes: usize,
    /// A longer message is unreadable.
    pub(super) max_message_bytes: usize,
}

struct State {
    items: VecDeque<Item>,
    growing: Growing,
    /// Bytes in the items.
    item_bytes: usize,
    /// The sequence number behind everything here.
    received: u64,
    /// The sequence number behind everything that is known to exist.
    exists: u64,
    /// The reader waits until everything before this one is here.
    wanted: u64,
    is_connected: bool,
    /// The mean of the bytes of the last messages, and how many there were.
    mean_bytes: u64,
    seen: u64,
    failure: Option<Error>,
}

/// What waits, and what the reader gets.
pub(super) enum Item {
    /// Messages.
    Block(Block),
    /// Messages that are not there any more.
    Gap(OffsetRange),
}

/// What of a partition an epoch can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Available {
    /// The sequence number behind the gap at its beginning, if there is one.
    pub(super) first: u64,
    /// The sequence number behind the last message.
    pub(super) end: u64,
}

/// Up to where a partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Up to what is known to exist; no further than what has come, where the
    /// service does not answer: one partition must not hold up the others.
    Known,
    /// Up to this sequence number, whatever it takes.
    Sealed(u64),
}

impl Feed {
    /// A feed of a partition that stands so.
    pub(super) fn new(
        partition: PartitionId,
        fields: &[HubField],
        bounds: FeedBounds,
        arrived: Arc<Notify>,
        standing: Standing,
    ) -> Self {
        let Standing { next, begin, end } = standing;
        let growing = Growing::new(partition.0.as_str().into(), fields, bounds.max_message_bytes);
        let state = State {
            items: VecDeque::new(),
            growing,
            item_bytes: 0,
            received: next,
            exists: end,
            wanted: 0,
            is_connected: false,
            mean_bytes: 0,
            seen: 0,
            failure: None,
        };
        let feed = Self { partition, start: next, bounds, state: Mutex::new(state), room: Notify::new(), arrived };
        feed.skip_to(begin);
        feed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition.
    pub(super) fn partition(&self) -> &PartitionId {
        &self.partition
    }

    /// The first sequence number that is read here.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    // The receiver's side.

    /// The sequence number behind everything that has come.
    pub(super) fn received(&self) -> u64 {
        self.state().received
    }

    /// Take in a message. Says how many messages are missing before it; one that
    /// was here before is left out.
    pub(super) fn push(&self, number: u64, message: &Message) -> Pushed {
        let mut state = self.state();
        if number < state.received {
            return Pushed::Repeated;
        }
        let gap = OffsetRange { start: Offset(state.received), end: Offset(number) };
        if !gap.is_empty() {
            state.add_gap(gap);
        }
        let blocks = state.items.len();
        if state.growing.bytes() + message.body_bytes() > self.bounds.block_bytes {
            state.close_block();
        }
        let bytes = state.growing.push(number, message) as u64;
        state.received = number + 1;
        state.exists = state.exists.max(state.received);
        state.add_size(bytes);
        if state.growing.bytes() >= self.bounds.block_bytes {
            state.close_block();
        }
        let has_block = state.items.len() > blocks;
        // Once for each wait of the reader.
        let is_wanted = state.wanted > 0 && state.received >= state.wanted;
        if is_wanted {
            state.wanted = 0;
        }
        let has_room = state.item_bytes < self.bounds.buffer_bytes;
        drop(state);
        if has_block || is_wanted || !gap.is_empty() {
            self.arrived.notify_one();
        }
        Pushed::Taken { gap, has_room }
    }

    /// Wait until there is room for more.
    pub(super) async fn has_room(&self) {
        while self.state().item_bytes >= self.bounds.buffer_bytes {
            self.room.notified().await;
        }
    }

    /// Learn that nothing before `begin` exists any more.
    pub(super) fn skip_to(&self, begin: u64) {
        let mut state = self.state();
        let gap = OffsetRange { start: Offset(state.received), end: Offset(begin) };
        if !gap.is_empty() {
            state.add_gap(gap);
            state.received = begin;
            state.exists = state.exists.max(begin);
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Learn that everything before `end` exists.
    pub(super) fn learn_end(&self, end: u64) {
        let mut state = self.state();
        let is_news = end > state.exists;
        state.exists = state.exists.max(end);
        drop(state);
        if is_news {
            self.arrived.notify_one();
        }
    }

    /// Learn whether messages can come.
    pub(super) fn set_connected(&self, is_connected: bool) {
        let mut state = self.state();
        let is_news = is_connected && !state.is_connected;
        state.is_connected = is_connected;
        drop(state);
        // What is idle now need not be waited for.
        if is_news {
            self.arrived.notify_one();
        }
    }

    /// Nothing more will come, for this reason.
    pub(super) fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
        self.arrived.notify_one();
    }

    /// The mean of the bytes of the last messages, if there was one.
    pub(super) fn mean_bytes(&self) -> Option<u64> {
        let state = self.state();
        (state.seen > 0).then_some(state.mean_bytes.max(1))
    }

    // The reader's side.

    /// What an epoch that begins at `next` can read; no further than the next gap
    /// if that ends the run.
    ///
    /// # Errors
    /// Data if there is a gap at `next` which ends the run; what the receiver
    /// failed with if there is nothing before that.
    pub(super) fn available(&self, next: u64, until: Until, on_data_loss: OnDataLoss) -> Result<Available> {
        let mut state = self.state();
        let gap = state.items.iter().find_map(|item| match item {
            Item::Gap(gap) if gap.end.0 > next => Some(*gap),
            Item::Gap(_) | Item::Block(_) => None,
        });
        let mut end = match until {
            Until::Sealed(end) => end,
            Until::Known if state.is_connected => state.exists,
            Until::Known => state.received,
        };
        if let (Some(gap), OnDataLoss::Fail) = (gap, on_data_loss) {
            if gap.start.0 <= next {
                return Err(lost(&self.partition, gap));
            }
            end = end.min(gap.start.0);
        }
        // What a sealed run has already read needs no receiver any more.
        let is_done = matches!(until, Until::Sealed(end) if end <= next);
        if state.received <= next
            && !is_done
            && let Some(failure) = state.failure.take()
        {
            return Err(failure);
        }
        if state.failure.is_some() {
            end = end.min(state.received);
        }
        let end = end.max(next);
        let first = gap.filter(|gap| gap.start.0 <= next).map_or(next, |gap| gap.end.0.min(end));
        Ok(Available { first, end })
    }

    /// Be told, once, when everything before this sequence number is here.
    pub(super) fn want(&self, end: u64) {
        let mut state = self.state();
        state.wanted = end;
        let is_here = state.received >= end;
        drop(state);
        if is_here {
            self.arrived.notify_one();
        }
    }

    /// What is next of this range, which begins where the last one ended; moves
    /// its start. None: nothing yet.
    ///
    /// # Errors
    /// Data if messages are missing and that ends the run; what the receiver
    /// failed with if there is nothing before that.
    pub(super) fn take(&self, range: &mut OffsetRange, on_data_loss: OnDataLoss) -> Result<Option<Item>> {
        let mut state = self.state();
        if state.items.is_empty() {
            // Small blocks only at the end of a range: a plugin call has its price.
            let is_due = state.received >= range.end.0 || state.failure.is_some();
            if is_due && !state.growing.is_empty() {
                state.close_block();
            } else {
                return state.failure.take().map_or(Ok(None), Err);
            }
        }
        let taken = match state.items.pop_front() {
            Some(Item::Block(mut block)) if block.end > range.end.0 => {
                let early = block.split_to(range.end.0);
                state.items.push_front(Item::Block(block));
                Item::Block(early)
            }
            Some(Item::Block(block)) => Item::Block(block),
            Some(Item::Gap(gap)) if on_data_loss == OnDataLoss::Fail => return Err(lost(&self.partition, gap)),
            Some(Item::Gap(gap)) if gap.end > range.end => {
                state.items.push_front(Item::Gap(OffsetRange { start: range.end, end: gap.end }));
                Item::Gap(OffsetRange { start: gap.start, end: range.end })
            }
            Some(Item::Gap(gap)) => Item::Gap(gap),
            None => return Ok(None),
        };
        match &taken {
            Item::Block(block) => {
                range.start = Offset(block.end);
                state.item_bytes = state.item_bytes.saturating_sub(block.bytes);
            }
            Item::Gap(gap) => range.start = gap.end,
        }
        drop(state);
        self.room.notify_one();
        Ok(Some(taken))
    }

    /// Whether so much waits that its receiver does not know how much there is.
    pub(super) fn is_lagging(&self) -> bool {
        self.state().item_bytes >= self.bounds.buffer_bytes / 2
    }

    /// Whether there may be messages from `next` on.
    pub(super) fn may_have(&self, next: u64) -> bool {
        let state = self.state();
        state.exists > next || !state.is_connected
    }
}

impl State {
    fn close_block(&mut self) {
        if self.growing.is_empty() {
            return;
        }
        let block = self.growing.finish(self.received);
        self.item_bytes += block.bytes;
        self.items.push_back(Item::Block(block));
    }

    /// Sizes change: the last messages count most.
    fn add_size(&mut self, bytes: u64) {
        self.seen += 1;
        let weight = self.seen.min(MEAN_OF_LAST);
        self.mean_bytes = (self.mean_bytes * (weight - 1) + bytes) / weight;
    }

    fn add_gap(&mut self, gap: OffsetRange) {
        self.close_block();
        match self.items.back_mut() {
            Some(Item::Gap(last)) if last.end == gap.start => last.end = gap.end,
            _ => self.items.push_back(Item::Gap(gap)),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in.
    Taken {
        /// What is missing before it.
        gap: OffsetRange,
        /// Whether more may come at once.
        has_room: bool,
    },
    /// It was here before.
    Repeated,
}

fn lost(partition: &PartitionId, gap: OffsetRange) -> Error {
    Error::data(format!(
        "the messages {} to {} of partition {partition} are lost: they expired before they were read, or the event hub \
         left them out. To go on without them, set `on_data_loss = \"continue\"`",
        gap.start.0,
        gap.end.0 - 1
    ))
}
