//! The nodes that answer requests: `$cbs` and `$management`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::address::Node;
use super::broker::{Hub, now_ms};
use super::condition::Condition;
use super::connection::{Connection, Token};
use super::faults::{Event, Fault, Where};
use super::link::{Feed, Link};
use super::message::{Request, answer};
use super::tokens;
use super::value::{Malformed, Value};

const HUB_TYPE: &str = "com.microsoft:eventhub";
const PARTITION_TYPE: &str = "com.microsoft:partition";

impl Connection {
    /// Answer a request to a node.
    pub(super) fn serve(&mut self, channel: u16, node: Node, payload: &[u8]) -> Result<(), Malformed> {
        let request = Request::read(payload)?;
        let answer = match node {
            Node::Cbs => self.put_token(&request),
            Node::Management => self.manage(&request),
        };
        self.respond(channel, node, request.reply_to.as_deref(), answer);
        self.broker.changes.happened();
        Ok(())
    }

    /// Faults of a request; those that freeze are done.
    fn request_faults(&mut self, event: Event, hub: Option<&str>, partition: Option<usize>) -> Vec<Fault> {
        let fired = self.broker.rules.at(event, &Where { hub, partition, role: None });
        let mut faults = Vec::new();
        for fired in fired {
            match fired.fault {
                Fault::Freeze(_, time) => self.freeze(time),
                fault => faults.push(fault),
            }
        }
        faults
    }

    fn put_token(&mut self, request: &Request) -> Bytes {
        // The name is the address that the token is for.
        let audience = request.property("name").unwrap_or_default();
        let path =
            audience.split_once("://").map_or(audience, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
        let hub = path.split('/').next().filter(|hub| !hub.is_empty()).map(str::to_owned);
        let refusal =
            self.request_faults(Event::PutToken, hub.as_deref(), None).into_iter().find_map(|fault| match fault {
                Fault::RefuseToken(condition) => Some(condition),
                _ => None,
            });
        let token = request.body.as_ref().and_then(Value::as_str).unwrap_or_default();
        let checked = match refusal {
            Some(condition) => Err(condition),
            None if request.property("operation") != Some("put-token") => {
                Err(Condition::new("amqp:not-implemented", "The operation is not known."))
            }
            None => tokens::check(token, self.broker.settings.key.as_ref()),
        };
        let (code, description) = match checked {
            Ok(good_until) => {
                self.token = Token::Good;
                let left =
                    good_until.filter(|_| self.broker.settings.key.is_some()).map(|until_ms| until_ms - now_ms());
                let left = left.map(|left_ms| Duration::from_millis(left_ms.max(0) as u64));
                self.token_until = left.map(|left| Instant::now() + left);
                self.broker.count.tokens.fetch_add(1, Ordering::AcqRel);
                (202, "Accepted".to_owned())
            }
            Err(condition) => (condition.status_code(), condition.description),
        };
        self.broker.say(|| format!("connection {}: token for {audience}: {code}", self.id));
        let properties = vec![("status-code", Value::Int(code)), ("status-description", Value::string(description))];
        answer(request.message_id.clone(), properties, None)
    }

    fn manage(&mut self, request: &Request) -> Bytes {
        let partition = request.property("partition");
        let number = partition.and_then(|partition| partition.parse().ok());
        let name = request.property("name").unwrap_or_default();
        let faults = self.request_faults(Event::Management, Some(name), number);
        let refusal = faults.into_iter().find_map(|fault| match fault {
            Fault::RefuseManagement(condition) => Some(condition),
            _ => None,
        });
        self.broker.count.requests.fetch_add(1, Ordering::AcqRel);
        let read = || {
            if request.property("operation") != Some("READ") {
                return Err(Condition::new("amqp:not-implemented", "The operation is not known."));
            }
            let hub = self.broker.hub(name).ok_or_else(|| Condition::not_found(name))?;
            match request.property("type") {
                Some(HUB_TYPE) => Ok(hub_properties(&hub)),
                Some(PARTITION_TYPE) => partition_properties(&hub, partition.unwrap_or_default()),
                _ => Err(Condition::new("amqp:not-implemented", "The type of the entity is not known.")),
            }
        };
        let (properties, body) = match refusal.map_or_else(read, Err) {
            Ok(body) => {
                (vec![("status-code", Value::Int(200)), ("status-description", Value::string("OK"))], Some(body))
            }
            Err(condition) => {
                let properties = vec![
                    ("status-code", Value::Int(condition.status_code())),
                    ("status-description", Value::string(condition.description)),
                    ("error-condition", Value::symbol(condition.name)),
                ];
                (properties, Some(Value::Map(Vec::new())))
            }
        };
        answer(request.message_id.clone(), properties, body)
    }

    /// Queue an answer at the link that the request names, or else at one beside it.
    fn respond(&mut self, channel: u16, node: Node, reply_to: Option<&str>, answer: Bytes) {
        let mut best: Option<(u8, u16, u32)> = None;
        for (number, session) in &self.sessions {
            for (handle, link) in &session.links {
                let Link::Outgoing(link) = link else { continue };
                let Feed::Node { node: found, reply_to: address, .. } = &link.feed else { continue };
                if *found == node {
                    let named = reply_to.is_some() && address.as_deref() == reply_to;
                    let fit = u8::from(named) + 2 * u8::from(*number == channel);
                    best = best.max(Some((fit, *number, *handle)));
                }
            }
        }
        let Some((_, channel, handle)) = best else { return };
        let link = self.sessions.get_mut(&channel).and_then(|session| session.links.get_mut(&handle));
        if let Some(Link::Outgoing(link)) = link
            && let Feed::Node { answers, .. } = &mut link.feed
        {
            answers.push_back(answer);
        }
    }
}

fn hub_properties(hub: &Hub) -> Value {
    let ids: Vec<_> = (0..hub.count()).map(|id| Value::string(id.to_string())).collect();
    map([
        ("type", Value::string(HUB_TYPE)),
        ("name", Value::string(&*hub.name)),
        ("created_at", Value::Timestamp(hub.created_ms)),
        ("partition_count", Value::Int(ids.len() as i32)),
        ("partition_ids", Value::Array(ids)),
    ])
}

fn partition_properties(hub: &Hub, id: &str) -> Result<Value, Condition> {
    let found = id.parse().ok().and_then(|id| hub.partition(id));
    let partition = found.ok_or_else(|| Condition::not_found(&format!("{}/Partitions/{id}", hub.name)))?;
    let properties = partition.log().properties();
    Ok(map([
        ("type", Value::string(PARTITION_TYPE)),
        ("name", Value::string(&*hub.name)),
        ("partition", Value::string(id)),
        ("begin_sequence_number", Value::Long(properties.begin_sequence_number)),
        ("last_enqueued_sequence_number", Value::Long(properties.last_enqueued_sequence_number)),
        ("last_enqueued_sequence_number_epoch", Value::Long(-1)),
        ("last_enqueued_offset", Value::string(properties.last_enqueued_offset.to_string())),
        ("last_enqueued_time_utc", Value::Timestamp(properties.last_enqueued_ms)),
        ("is_partition_empty", Value::Bool(properties.is_empty)),
    ]))
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Map(pairs.into_iter().map(|(name, value)| (Value::string(name), value)).collect())
}
