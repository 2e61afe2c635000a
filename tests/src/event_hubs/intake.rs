//! What senders send: transfers become messages, requests and tokens.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};

use super::address::Node;
use super::broker::{Hub, now_ms};
use super::condition::Condition;
use super::connection::Connection;
use super::faults::{Cut, Event, Fault, Loss, Role, Target, Where};
use super::frame::Fields;
use super::link::{CREDIT, Destination, INCOMING_WINDOW, Incoming, Link, Partial, Session};
use super::message::{BATCH_FORMAT, Message, split_batch};
use super::partition::Partition;
use super::protocol::{Side, accepted};
use super::value::{Malformed, Value};

/// A transfer of a client; fields that a continued message need not repeat may be missing.
pub(super) struct Transfer {
    handle: u32,
    delivery_id: Option<u32>,
    format: u32,
    settled: bool,
    more: bool,
    aborted: bool,
}

impl Transfer {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let handle = fields.uint()?.ok_or(Malformed("a transfer without handle"))?;
        let delivery_id = fields.uint()?;
        fields.skip()?;
        let format = fields.uint()?.unwrap_or(0);
        let settled = fields.bool()?.unwrap_or(false);
        let more = fields.bool()?.unwrap_or(false);
        for _ in 0..3 {
            fields.skip()?;
        }
        let aborted = fields.bool()?.unwrap_or(false);
        Ok(Self { handle, delivery_id, format, settled, more, aborted })
    }
}

/// A whole message that came.
struct Arrival {
    channel: u16,
    link: u64,
    delivery_id: u32,
    format: u32,
    settled: bool,
    payload: Bytes,
}

impl Connection {
    pub(super) fn transfer(&mut self, channel: u16, transfer: Transfer, payload: Bytes) -> Result<(), Malformed> {
        let Some(Session { windows, links }) = self.sessions.get_mut(&channel) else { return Ok(()) };
        if windows.incoming == 0 {
            let text = "There was a transfer that the window of the session has no room for.";
            self.end_session(channel, &Condition::new("amqp:session:window-violation", text));
            return Ok(());
        }
        windows.next_incoming = windows.next_incoming.wrapping_add(1);
        windows.incoming -= 1;
        if windows.incoming < INCOMING_WINDOW / 2 {
            windows.incoming = INCOMING_WINDOW;
            windows.put_flow(&mut self.out, None);
        }
        let link = match links.get_mut(&transfer.handle) {
            Some(Link::Incoming(link)) => link,
            // What crossed our detach is lost, as the client learns from it.
            Some(Link::Detached) => return Ok(()),
            Some(Link::Outgoing(_)) | None => {
                let text = "There was a transfer on a handle to which no sender is attached.";
                self.end_session(channel, &Condition::new("amqp:session:unattached-handle", text));
                return Ok(());
            }
        };
        if link.partial.is_none() {
            if link.credit == 0 {
                let text = "There was a transfer that the link has no credit for.";
                let condition = Condition::new("amqp:link:transfer-limit-exceeded", text);
                let id = link.id;
                self.detach(id, &condition);
                return Ok(());
            }
            link.credit -= 1;
            link.delivery_count = link.delivery_count.wrapping_add(1);
        }
        let limit = self.broker.settings.max_message_bytes;
        let come = link.partial.as_ref().map_or(0, |partial| partial.payload.len()) + payload.len();
        if come as u64 > limit {
            let id = link.id;
            self.detach(id, &Condition::too_large(limit));
            return Ok(());
        }
        let arrival = assemble(channel, link, &transfer, payload)?;
        if link.credit < CREDIT / 2 {
            link.credit = CREDIT;
            windows.put_flow(&mut self.out, Some(link.flow()));
        }
        let Some(arrival) = arrival else { return Ok(()) };
        match link.destination.clone() {
            Destination::Hub { hub, partition, publisher } => self.send(arrival, &hub, partition, publisher),
            Destination::Node(node) => self.request(arrival, node),
        }
    }

    /// Store what was sent to a hub.
    fn send(
        &mut self,
        arrival: Arrival,
        hub: &Hub,
        partition: Option<Arc<Partition>>,
        publisher: Option<String>,
    ) -> Result<(), Malformed> {
        let batch = arrival.format == BATCH_FORMAT;
        let read =
            if batch { split_batch(&arrival.payload) } else { Message::read(&arrival.payload).map(|one| vec![one]) };
        let mut messages = match read {
            Ok(messages) => messages,
            Err(malformed) => {
                let condition = Condition::new("amqp:decode-error", malformed.to_string());
                self.settle(&arrival, condition.to_rejected());
                return Ok(());
            }
        };
        if publisher.is_some() {
            messages.iter_mut().for_each(|message| message.publisher.clone_from(&publisher));
        }
        // A batch is stored as a whole, where its first message goes.
        let key = messages.first().and_then(|message| message.key.as_deref().or(publisher.as_deref()));
        let partition = partition.unwrap_or_else(|| hub.route(key));
        let place = Where { hub: Some(&hub.name), partition: Some(partition.id), role: Some(Role::Sender) };
        let fired = self.broker.rules.at(Event::Send, &place);
        let refusal = fired.iter().find_map(|fired| match &fired.fault {
            Fault::RejectSend(condition) => Some(condition.to_rejected()),
            _ => None,
        });
        if let Some(refusal) = refusal {
            self.settle(&arrival, refusal);
            return Ok(());
        }
        let count = partition.append(messages.into_iter(), now_ms()) as u64;
        self.broker.count.sends.fetch_add(count, Ordering::AcqRel);
        self.broker.changes.happened();
        let mut acknowledged = true;
        for fired in &fired {
            match fired.fault {
                Fault::LoseAcknowledgement(Loss::Silent) => acknowledged = false,
                Fault::LoseAcknowledgement(Loss::Dropped) => {
                    acknowledged = false;
                    self.cut(Cut::BetweenFrames);
                }
                Fault::Freeze(_, time) => self.freeze(time),
                _ => {}
            }
        }
        if acknowledged {
            self.settle(&arrival, accepted());
        }
        for fired in self.broker.rules.delivered(&place, count) {
            self.broker.perform(fired, &Target::all(), Some(arrival.link));
        }
        Ok(())
    }

    fn request(&mut self, arrival: Arrival, node: Node) -> Result<(), Malformed> {
        self.settle(&arrival, accepted());
        self.serve(arrival.channel, node, &arrival.payload)
    }

    /// Tell the outcome of a message, if the sender asks for it.
    fn settle(&mut self, arrival: &Arrival, state: Value) {
        if !arrival.settled {
            let id = arrival.delivery_id;
            self.put_disposition(arrival.channel, Side::Receiver, (id, id), state);
        }
    }
}

/// Add a transfer to what came of its message; the message, if it is whole.
fn assemble(
    channel: u16,
    link: &mut Incoming,
    transfer: &Transfer,
    payload: Bytes,
) -> Result<Option<Arrival>, Malformed> {
    let partial = link.partial.take();
    if transfer.aborted {
        return Ok(None);
    }
    let partial = match partial {
        None => {
            let delivery_id = transfer.delivery_id.ok_or(Malformed("a transfer without delivery-id"))?;
            let (format, settled) = (transfer.format, transfer.settled);
            Partial { delivery_id, format, settled, payload: BytesMut::from(payload) }
        }
        Some(mut partial) => {
            partial.payload.extend_from_slice(&payload);
            partial.settled |= transfer.settled;
            partial
        }
    };
    if transfer.more {
        link.partial = Some(partial);
        return Ok(None);
    }
    let Partial { delivery_id, format, settled, payload } = partial;
    Ok(Some(Arrival { channel, link: link.id, delivery_id, format, settled, payload: payload.freeze() }))
}
