//! Sessions and links of one connection: what is agreed, and how much may be sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::address::Node;
use super::broker::Hub;
use super::frame::{FLOW, Layer, put_performative};
use super::partition::Partition;
use super::value::Value;

/// Transfers that a client may send before we say more.
pub(super) const INCOMING_WINDOW: u32 = 5_000;
/// Transfers that we announce to send.
pub(super) const OUTGOING_WINDOW: u32 = 5_000;
/// Messages that a client may send on a link before we say more.
pub(super) const CREDIT: u32 = 300;

/// The windows of a session.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) channel: u16,
    /// The id of our next transfer frame.
    pub(super) next_outgoing: u32,
    /// The id of our next delivery.
    pub(super) next_delivery: u32,
    /// Transfer frames that the client will take.
    pub(super) remote: u32,
    /// The id of the client's next transfer frame.
    pub(super) next_incoming: u32,
    /// Transfer frames that the client may still send.
    pub(super) incoming: u32,
}

impl Windows {
    /// The client told what it received and what it will take.
    pub(super) fn update(&mut self, next_incoming: Option<u32>, window: u32) {
        // A client that has not seen our begin counts from our first id.
        let on_the_way = self.next_outgoing.wrapping_sub(next_incoming.unwrap_or(0));
        self.remote = window.saturating_sub(on_the_way);
    }

    /// Append a flow of the session, and of a link if there is one.
    pub(super) fn put_flow(&self, out: &mut BytesMut, link: Option<LinkFlow>) {
        let mut fields = vec![
            Value::Uint(self.next_incoming),
            Value::Uint(self.incoming),
            Value::Uint(self.next_outgoing),
            Value::Uint(OUTGOING_WINDOW),
        ];
        match link {
            Some(link) => fields.extend([
                Value::Uint(link.handle),
                Value::Uint(link.delivery_count),
                Value::Uint(link.credit),
                link.available.map_or(Value::Null, Value::Uint),
                Value::Bool(link.drain),
            ]),
            None => fields.extend([Value::Null, Value::Null, Value::Null, Value::Null, Value::Bool(false)]),
        }
        fields.extend([Value::Bool(false), Value::Null]);
        put_performative(out, Layer::Amqp, self.channel, FLOW, fields);
    }
}

/// What a flow says of a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkFlow {
    pub(super) handle: u32,
    pub(super) delivery_count: u32,
    pub(super) credit: u32,
    pub(super) available: Option<u32>,
    pub(super) drain: bool,
}

/// A session; its channel has the number that the client gave it.
pub(super) struct Session {
    pub(super) windows: Windows,
    /// By the handle that the client gave, and that we use too.
    pub(super) links: BTreeMap<u32, Link>,
}

/// A link.
pub(super) enum Link {
    /// The client receives.
    Outgoing(Outgoing),
    /// The client sends.
    Incoming(Incoming),
    /// We detached it, and the client has not yet said that it has seen that.
    Detached,
}

impl Link {
    /// Its number among all links, if it is attached.
    pub(super) fn id(&self) -> Option<u64> {
        match self {
            Self::Outgoing(link) => Some(link.id),
            Self::Incoming(link) => Some(link.id),
            Self::Detached => None,
        }
    }

    /// Whether it is one of a hub.
    pub(super) fn is_of_hub(&self) -> bool {
        match self {
            Self::Outgoing(link) => matches!(link.feed, Feed::Partition { .. }),
            Self::Incoming(link) => matches!(link.destination, Destination::Hub { .. }),
            Self::Detached => false,
        }
    }
}

/// Where a receiver's messages come from.
pub(super) enum Feed {
    /// A partition, from a sequence number on.
    Partition { partition: Arc<Partition>, next: i64 },
    /// Answers of a node.
    Node { node: Node, reply_to: Option<String>, answers: VecDeque<Bytes> },
}

/// A link on which the client receives.
pub(super) struct Outgoing {
    pub(super) id: u64,
    pub(super) handle: u32,
    pub(super) feed: Feed,
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    pub(super) drain: bool,
    pub(super) settled: bool,
    /// A message of which the client's window did not take all frames.
    pub(super) unfinished: Option<Unfinished>,
    /// When the next delivery may be, where they are slow.
    pub(super) not_before: Option<Instant>,
}

/// What is still to be sent of a message.
pub(super) struct Unfinished {
    pub(super) payload: Bytes,
    pub(super) delivery_id: u32,
}

impl Outgoing {
    /// The client told how much it received and what it will take.
    pub(super) fn update(&mut self, delivery_count: Option<u32>, credit: u32, drain: bool) {
        let on_the_way = self.delivery_count.wrapping_sub(delivery_count.unwrap_or(0));
        self.credit = credit.saturating_sub(on_the_way);
        self.drain = drain;
    }

    pub(super) fn flow(&self) -> LinkFlow {
        LinkFlow {
            handle: self.handle,
            delivery_count: self.delivery_count,
            credit: self.credit,
            available: None,
            drain: self.drain,
        }
    }
}

/// Where a sender's messages go.
#[derive(Clone)]
pub(super) enum Destination {
    Hub { hub: Arc<Hub>, partition: Option<Arc<Partition>>, publisher: Option<String> },
    Node(Node),
}

/// A link on which the client sends.
pub(super) struct Incoming {
    pub(super) id: u64,
    pub(super) handle: u32,
    pub(super) destination: Destination,
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    /// A message of which not all frames came.
    pub(super) partial: Option<Partial>,
}

/// What came of a message.
pub(super) struct Partial {
    pub(super) delivery_id: u32,
    pub(super) format: u32,
    pub(super) settled: bool,
    pub(super) payload: BytesMut,
}

impl Incoming {
    pub(super) fn flow(&self) -> LinkFlow {
        LinkFlow {
            handle: self.handle,
            delivery_count: self.delivery_count,
            credit: self.credit,
            available: None,
            drain: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(next_outgoing: u32) -> Windows {
        Windows { channel: 0, next_outgoing, next_delivery: 0, remote: 0, next_incoming: 0, incoming: 0 }
    }

    #[test]
    fn the_session_window_counts_from_what_the_client_has_seen() {
        for (sent, seen, window, left) in [
            (0, None, 10, 10),
            (4, Some(0), 10, 6),
            (4, Some(4), 10, 10),
            (10, Some(0), 10, 0),
            // A window that the client made smaller.
            (10, Some(0), 5, 0),
            // Ids begin anew after the last.
            (2, Some(u32::MAX - 1), 10, 6),
            (u32::MAX, Some(u32::MAX), 10, 10),
            // A client may take everything.
            (5, Some(0), u32::MAX, u32::MAX - 5),
        ] {
            let mut windows = windows(sent);
            windows.update(seen, window);
            assert_eq!(windows.remote, left, "{sent} {seen:?} {window}");
        }
    }

    #[test]
    fn the_credit_of_a_link_counts_from_what_the_client_has_seen() {
        for (sent, seen, credit, left) in [(0, None, 300, 300), (100, Some(50), 300, 250), (100, Some(0), 50, 0)] {
            let feed = Feed::Node { node: Node::Cbs, reply_to: None, answers: VecDeque::new() };
            let mut link = Outgoing {
                id: 1,
                handle: 0,
                feed,
                credit: 0,
                delivery_count: sent,
                drain: false,
                settled: false,
                unfinished: None,
                not_before: None,
            };
            link.update(seen, credit, false);
            assert_eq!(link.credit, left, "{sent} {seen:?} {credit}");
        }
    }
}
