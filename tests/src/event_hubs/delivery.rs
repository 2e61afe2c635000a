//! What is sent to receivers, within windows and credit.

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::broker::Broker;
use super::faults::{Fired, Role, Where};
use super::frame::{Transfer, put_transfer};
use super::link::{Feed, Outgoing, Unfinished, Windows};
use super::mailbox::Mailbox;

/// Messages of one link before it is another's turn.
const TURN_MESSAGES: u64 = 256;
/// Bytes that wait for the socket before nothing more is added.
pub(super) const HIGH_WATER_BYTES: usize = 262_144;

/// What a turn of a link came to.
#[derive(Default)]
pub(super) struct Turn {
    /// Whether something was sent.
    pub(super) progress: bool,
    /// Faults that happen now to this link.
    pub(super) fired: Vec<Fired>,
    /// When it has to be looked at again, where deliveries are slow.
    pub(super) again_at: Option<Instant>,
}

/// What all links of a connection write to.
pub(super) struct Sink<'a> {
    pub(super) out: &'a mut BytesMut,
    /// Payload that fits into one frame.
    pub(super) piece_bytes: usize,
    /// What the connection is told to do before it sends more.
    pub(super) mailbox: &'a Mailbox,
}

/// Send what a link may send now.
pub(super) fn take_turn(broker: &Broker, link: &mut Outgoing, windows: &mut Windows, sink: &mut Sink<'_>) -> Turn {
    let mut turn = Turn::default();
    if let Some(unfinished) = link.unfinished.take() {
        turn.progress = windows.remote > 0;
        send(link, windows, sink, unfinished);
    }
    if link.unfinished.is_some() {
        return turn;
    }
    let exhausted = match link.feed {
        Feed::Node { .. } => answer(link, windows, sink, &mut turn),
        Feed::Partition { .. } => deliver(broker, link, windows, sink, &mut turn),
    };
    if exhausted && link.drain && link.unfinished.is_none() {
        link.delivery_count = link.delivery_count.wrapping_add(link.credit);
        link.credit = 0;
        windows.put_flow(sink.out, Some(link.flow()));
        link.drain = false;
    }
    turn
}

/// Send answers of a node; true if there are no more.
fn answer(link: &mut Outgoing, windows: &mut Windows, sink: &mut Sink<'_>, turn: &mut Turn) -> bool {
    while link.credit > 0 && windows.remote > 0 && link.unfinished.is_none() {
        let Feed::Node { answers, .. } = &mut link.feed else { return true };
        let Some(payload) = answers.pop_front() else { return true };
        turn.progress = true;
        begin(link, windows, sink, payload);
    }
    matches!(&link.feed, Feed::Node { answers, .. } if answers.is_empty())
}

/// Send messages of a partition; true if there are no more.
fn deliver(broker: &Broker, link: &mut Outgoing, windows: &mut Windows, sink: &mut Sink<'_>, turn: &mut Turn) -> bool {
    let Feed::Partition { partition, next } = &link.feed else { return true };
    let (partition, mut next) = (partition.clone(), *next);
    let log = partition.log();
    if next >= log.next_sequence() || log.from(next).next().is_none() {
        return true;
    }
    if link.credit == 0 || windows.remote == 0 {
        return false;
    }
    // With the lock held: a fault that was injected before a message was stored comes before it.
    if sink.mailbox.is_waiting() {
        turn.progress = true;
        return false;
    }
    let place = Where { hub: Some(&partition.hub), partition: Some(partition.id), role: Some(Role::Receiver) };
    let mut limit = broker.rules.allowance(&place).min(TURN_MESSAGES);
    if let Some(delay) = log.slow {
        let now = Instant::now();
        let due = link.not_before.unwrap_or(now);
        if due > now {
            turn.again_at = Some(due);
            return false;
        }
        link.not_before = Some(now + delay);
        turn.again_at = link.not_before;
        limit = limit.min(1);
    }
    let mut count = 0;
    let mut exhausted = true;
    for entry in log.from(next) {
        let room = link.credit > 0 && windows.remote > 0 && link.unfinished.is_none();
        if count == limit || !room || sink.out.len() >= HIGH_WATER_BYTES {
            exhausted = false;
            break;
        }
        next = entry.place.sequence_number + 1;
        count += 1;
        begin(link, windows, sink, entry.payload.clone());
    }
    turn.progress |= count > 0;
    turn.fired = broker.rules.delivered(&place, count);
    drop(log);
    broker.delivered(count);
    if let Feed::Partition { next: position, .. } = &mut link.feed {
        *position = next;
    }
    exhausted
}

/// Send a message, whose first frame the windows take.
fn begin(link: &mut Outgoing, windows: &mut Windows, sink: &mut Sink<'_>, payload: Bytes) {
    let delivery_id = windows.next_delivery;
    windows.next_delivery = delivery_id.wrapping_add(1);
    link.credit -= 1;
    link.delivery_count = link.delivery_count.wrapping_add(1);
    send(link, windows, sink, Unfinished { payload, delivery_id });
}

/// Send frames of a message until it or the window ends.
fn send(link: &mut Outgoing, windows: &mut Windows, sink: &mut Sink<'_>, mut message: Unfinished) {
    let mut transfer = Transfer {
        channel: windows.channel,
        handle: link.handle,
        delivery_id: message.delivery_id,
        settled: link.settled,
        more: false,
    };
    loop {
        if windows.remote == 0 {
            link.unfinished = Some(message);
            return;
        }
        windows.remote -= 1;
        windows.next_outgoing = windows.next_outgoing.wrapping_add(1);
        transfer.more = message.payload.len() > sink.piece_bytes;
        if !transfer.more {
            put_transfer(sink.out, transfer, &message.payload);
            return;
        }
        put_transfer(sink.out, transfer, &message.payload.split_to(sink.piece_bytes));
    }
}
