//! How links are attached, and refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::address::Address;
use super::broker;
use super::condition::Condition;
use super::connection::{Connection, Token};
use super::faults::{Event, Fault, Fired, Role, Target, Where};
use super::frame::{ATTACH, Fields, Layer, put_performative};
use super::link::{CREDIT, Destination, Feed, Incoming, Link, Outgoing, Session};
use super::partition::{Attached, Receiver};
use super::selector::{self, Start};
use super::value::{Malformed, Value};

/// The link property in which a receiver asks for an owner level.
const LEVEL: &str = "com.microsoft:epoch";
/// The link properties in which clients name their receivers.
const NAMES: [&str; 2] = ["com.microsoft:receiver-name", "com.microsoft.com:receiver-name"];
/// The settle mode of a sender that settles everything at once.
const SETTLED: u32 = 1;

/// An attach as the client sent it.
struct Attach {
    name: String,
    handle: u32,
    role: Role,
    sender_settles: u32,
    receiver_settles: u32,
    source: Value,
    target: Value,
    delivery_count: u32,
    properties: Value,
}

impl Attach {
    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let name = fields.text()?.ok_or(Malformed("an attach without name"))?;
        let handle = fields.uint()?.ok_or(Malformed("an attach without handle"))?;
        let receives = fields.bool()?.ok_or(Malformed("an attach without role"))?;
        let (sender_settles, receiver_settles) = (fields.uint()?.unwrap_or(2), fields.uint()?.unwrap_or(0));
        let (source, target) = (fields.value()?, fields.value()?);
        fields.skip()?;
        fields.skip()?;
        let delivery_count = fields.uint()?.unwrap_or(0);
        for _ in 0..3 {
            fields.skip()?;
        }
        let role = if receives { Role::Receiver } else { Role::Sender };
        let properties = fields.value()?;
        Ok(Self { name, handle, role, sender_settles, receiver_settles, source, target, delivery_count, properties })
    }

    /// The answer; a refused link lacks the terminus that would be ours.
    fn answer(&self, refused: bool, max_message_bytes: u64) -> Vec<Value> {
        let unless = |absent: bool, terminus: &Value| if absent { Value::Null } else { terminus.clone() };
        let initial = if self.role == Role::Receiver { Value::Uint(0) } else { Value::Null };
        vec![
            Value::string(self.name.as_str()),
            Value::Uint(self.handle),
            Value::Bool(self.role == Role::Sender),
            Value::Ubyte(self.sender_settles as u8),
            Value::Ubyte(self.receiver_settles as u8),
            unless(refused && self.role == Role::Receiver, &self.source),
            unless(refused && self.role == Role::Sender, &self.target),
            Value::Null,
            Value::Bool(false),
            initial,
            Value::Ulong(max_message_bytes),
            Value::Null,
            Value::Null,
            self.properties.clone(),
        ]
    }
}

impl Connection {
    pub(super) fn attach(&mut self, channel: u16, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let attach = Attach::read(fields)?;
        if !self.sessions.contains_key(&channel) {
            return Err(Malformed("an attach outside of a session"));
        }
        let id = self.broker.next_id();
        let terminus = if attach.role == Role::Receiver { &attach.source } else { &attach.target };
        let address = Address::of(terminus);
        let fired = self.attach_faults(address.as_ref(), attach.role);
        let refusal = fired.iter().find_map(|fired| match &fired.fault {
            Fault::RefuseAttach(condition) => Some(condition.clone()),
            _ => None,
        });
        for Fired { fault, .. } in &fired {
            if let Fault::Freeze(_, time) = fault
                && fault.event() == Some(Event::Attach)
            {
                self.freeze(*time);
            }
        }
        let link = match refusal {
            Some(condition) => Err(condition),
            None => self.link(id, &attach, address),
        };
        let max_message_bytes = self.broker.settings.max_message_bytes;
        match link {
            Ok(link) => self.accept(channel, &attach, link, max_message_bytes),
            Err(condition) => {
                self.broker.count.refusals.fetch_add(1, Ordering::AcqRel);
                let fields = attach.answer(true, max_message_bytes);
                put_performative(&mut self.out, Layer::Amqp, channel, ATTACH, fields);
                self.put_detach(channel, attach.handle, true, Some(&condition));
                if let Some(session) = self.sessions.get_mut(&channel) {
                    session.links.insert(attach.handle, Link::Detached);
                }
                self.broker.say(|| format!("connection {} may not attach: {}", self.id, condition.description));
            }
        }
        for fired in fired {
            if fired.fault.event().is_none() {
                self.broker.perform(fired, &Target::all(), Some(id));
            }
        }
        self.broker.changes.happened();
        Ok(())
    }

    fn attach_faults(&self, address: Option<&Address>, role: Role) -> Vec<Fired> {
        let (hub, partition) = match address {
            Some(Address::Group { hub, partition, .. }) => (hub, Some(partition)),
            Some(Address::Hub { hub, partition, .. }) => (hub, partition.as_ref()),
            Some(Address::Node(_)) | None => return Vec::new(),
        };
        let partition = partition.and_then(|partition| partition.parse().ok());
        self.broker.rules.at(Event::Attach, &Where { hub: Some(hub), partition, role: Some(role) })
    }

    fn accept(&mut self, channel: u16, attach: &Attach, link: Link, max_message_bytes: u64) {
        put_performative(&mut self.out, Layer::Amqp, channel, ATTACH, attach.answer(false, max_message_bytes));
        if link.is_of_hub() {
            self.broker.count.attaches.fetch_add(1, Ordering::AcqRel);
        }
        let Some(Session { windows, links }) = self.sessions.get_mut(&channel) else { return };
        if let Link::Incoming(link) = &link {
            windows.put_flow(&mut self.out, Some(link.flow()));
        }
        if let Some(id) = links.insert(attach.handle, link).and_then(|old| old.id()) {
            self.broker.detached(id);
        }
    }

    fn link(&self, id: u64, attach: &Attach, address: Option<Address>) -> Result<Link, Condition> {
        let Some(address) = address else {
            return Err(Condition::new("amqp:not-found", "The address of the link names no messaging entity."));
        };
        match (address, attach.role) {
            (Address::Node(node), Role::Receiver) => {
                let reply_to = attach.target.field(0).as_str().map(str::to_owned);
                let feed = Feed::Node { node, reply_to, answers: VecDeque::new() };
                Ok(outgoing(id, attach, feed))
            }
            (Address::Node(node), Role::Sender) => Ok(incoming(id, attach, Destination::Node(node))),
            (Address::Group { hub, group, partition }, Role::Receiver) => {
                self.authorize()?;
                self.receiver(id, attach, &hub, group, &partition)
            }
            (Address::Hub { hub, partition, publisher }, Role::Sender) => {
                self.authorize()?;
                self.sender(id, attach, &hub, partition.as_deref(), publisher)
            }
            (Address::Group { .. }, Role::Sender) => {
                Err(Condition::new("amqp:not-allowed", "A consumer group cannot be sent to."))
            }
            (Address::Hub { .. }, Role::Receiver) => {
                Err(Condition::new("amqp:not-allowed", "A receiver reads a partition of a consumer group."))
            }
        }
    }

    fn authorize(&self) -> Result<(), Condition> {
        match self.token {
            Token::Good => Ok(()),
            Token::Expired => Err(Condition::expired_token()),
            Token::Missing if self.broker.settings.key.is_none() => Ok(()),
            Token::Missing => Err(Condition::unauthorized()),
        }
    }

    fn receiver(&self, id: u64, attach: &Attach, hub: &str, group: String, partition: &str) -> Result<Link, Condition> {
        let missing = || Condition::not_found(&format!("{hub}/ConsumerGroups/{group}/Partitions/{partition}"));
        let found = self.broker.hub(hub).ok_or_else(missing)?;
        let partition = partition.parse().ok().and_then(|partition| found.partition(partition)).ok_or_else(missing)?;
        let selector = selector::of_source(&attach.source);
        let start = match &selector {
            Some(selector) => {
                selector::parse(selector).map_err(|wrong| Condition::new("com.microsoft:argument-error", wrong))?
            }
            None => Start::Earliest,
        };
        let given = NAMES.iter().find_map(|name| attach.properties.get(name)?.as_str());
        let receiver = Receiver {
            group,
            partition: partition.id,
            name: given.unwrap_or(&attach.name).to_owned(),
            level: attach.properties.get(LEVEL).and_then(Value::as_integer),
            start: selector,
        };
        self.broker.say(|| format!("connection {}: receiver {id} for {hub}: {receiver:?}", self.id));
        self.register(id, hub, Some(partition.id), Role::Receiver);
        let mut log = partition.log();
        let attached = Attached { link: id, receiver, mailbox: Some(Arc::clone(&self.mailbox)) };
        let next = log.resolve(start, self.broker.at_end()).and_then(|next| log.attach(attached).map(|()| next));
        drop(log);
        match next {
            Ok(next) => Ok(outgoing(id, attach, Feed::Partition { partition, next })),
            Err(condition) => {
                self.broker.detached(id);
                Err(condition)
            }
        }
    }

    fn sender(
        &self,
        id: u64,
        attach: &Attach,
        hub: &str,
        partition: Option<&str>,
        publisher: Option<String>,
    ) -> Result<Link, Condition> {
        let missing = || match partition {
            Some(partition) => Condition::not_found(&format!("{hub}/Partitions/{partition}")),
            None => Condition::not_found(hub),
        };
        let found = self.broker.hub(hub).ok_or_else(missing)?;
        let partition = match partition {
            Some(id) => Some(id.parse().ok().and_then(|id| found.partition(id)).ok_or_else(missing)?),
            None => None,
        };
        let number = partition.as_ref().map(|partition| partition.id);
        self.broker.say(|| format!("connection {}: sender {id} for {hub}, partition {number:?}", self.id));
        self.register(id, hub, number, Role::Sender);
        Ok(incoming(id, attach, Destination::Hub { hub: found, partition, publisher }))
    }

    /// Make a link known to faults.
    fn register(&self, id: u64, hub: &str, partition: Option<usize>, role: Role) {
        let mailbox = Arc::clone(&self.mailbox);
        let link = broker::Link { connection: self.id, hub: hub.into(), partition, role, mailbox };
        self.broker.links().insert(id, link);
    }
}

fn outgoing(id: u64, attach: &Attach, feed: Feed) -> Link {
    Link::Outgoing(Outgoing {
        id,
        handle: attach.handle,
        feed,
        credit: 0,
        delivery_count: 0,
        drain: false,
        settled: attach.sender_settles == SETTLED,
        unfinished: None,
        not_before: None,
    })
}

fn incoming(id: u64, attach: &Attach, destination: Destination) -> Link {
    let delivery_count = attach.delivery_count;
    Link::Incoming(Incoming { id, handle: attach.handle, destination, credit: CREDIT, delivery_count, partial: None })
}
