//! A message as it came from an event hub, read in place.

use azure_core_amqp::message::{AmqpAnnotationKey, AmqpMessageBody, AmqpMessageId, AmqpMessageProperties};
use azure_core_amqp::{AmqpSimpleValue, AmqpTimestamp, AmqpValue};
use azure_messaging_eventhubs::models::ReceivedEventData;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use crate::env::micros_of;

const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
const OFFSET: &str = "x-opt-offset";
const ENQUEUED_TIME: &str = "x-opt-enqueued-time";
const PARTITION_KEY: &str = "x-opt-partition-key";
const PUBLISHER: &str = "x-opt-publisher";

/// The annotations that are fields of their own.
const KNOWN: [&str; 5] = [SEQUENCE_NUMBER, OFFSET, ENQUEUED_TIME, PARTITION_KEY, PUBLISHER];

/// A message as it came.
pub struct Message(ReceivedEventData);

/// The body of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// Bytes in sections, one behind the other; one section in nearly all messages.
    Sections(&'a [Vec<u8>]),
    /// One value with these bytes.
    Value(&'a [u8]),
    /// Something that has no bytes.
    Other(&'static str),
}

impl Message {
    pub(super) fn new(event: ReceivedEventData) -> Self {
        Self(event)
    }

    /// Its sequence number, which every message of an event hub has.
    pub fn sequence_number(&self) -> Option<u64> {
        match self.annotation(SEQUENCE_NUMBER)? {
            AmqpValue::Long(number) => u64::try_from(*number).ok(),
            AmqpValue::ULong(number) => Some(*number),
            _ => None,
        }
    }

    /// When it came, in microseconds since 1970-01-01T00:00:00Z.
    pub fn enqueued_us(&self) -> Option<i64> {
        match self.annotation(ENQUEUED_TIME)? {
            AmqpValue::TimeStamp(AmqpTimestamp(Some(time))) => Some(micros_of(*time)),
            _ => None,
        }
    }

    /// Its offset, which means something to the service only.
    pub fn offset(&self) -> Option<&str> {
        self.annotation(OFFSET).and_then(text)
    }

    /// The key that chose its partition.
    pub fn partition_key(&self) -> Option<&str> {
        self.annotation(PARTITION_KEY).and_then(text)
    }

    /// Who published it, where the sender says so.
    pub fn publisher(&self) -> Option<&str> {
        self.annotation(PUBLISHER).and_then(text)
    }

    /// Its body.
    pub fn body(&self) -> Body<'_> {
        match &self.0.raw_amqp_message().body {
            AmqpMessageBody::Binary(sections) => Body::Sections(sections),
            AmqpMessageBody::Empty => Body::Sections(&[]),
            AmqpMessageBody::Value(AmqpValue::String(text)) => Body::Value(text.as_bytes()),
            AmqpMessageBody::Value(AmqpValue::Binary(bytes)) => Body::Value(bytes),
            AmqpMessageBody::Value(_) => Body::Other("the body is an AMQP value that is neither text nor binary"),
            AmqpMessageBody::Sequence(_) => Body::Other("the body is an AMQP sequence"),
        }
    }

    /// A body that has no bytes, as JSON.
    pub fn value_as_json(&self) -> Option<String> {
        let list = |list: &azure_core_amqp::AmqpList| list.iter().map(json).collect::<Value>();
        match &self.0.raw_amqp_message().body {
            AmqpMessageBody::Value(value) => Some(json(value).to_string()),
            AmqpMessageBody::Sequence(lists) => Some(lists.iter().map(list).collect::<Value>().to_string()),
            AmqpMessageBody::Binary(_) | AmqpMessageBody::Empty => None,
        }
    }

    /// The bytes of its body.
    pub fn body_bytes(&self) -> usize {
        match self.body() {
            Body::Sections(sections) => sections.iter().map(Vec::len).sum(),
            Body::Value(bytes) => bytes.len(),
            Body::Other(_) => 0,
        }
    }

    /// What the sender said about it (its application properties), as a JSON
    /// object; none if it said nothing. Binary values are in base64, times in
    /// RFC 3339.
    pub fn properties(&self) -> Option<String> {
        let properties = self.0.raw_amqp_message().application_properties.as_ref()?;
        let object: Map<String, Value> = properties.0.iter().map(|(key, value)| (key.clone(), simple(value))).collect();
        (!object.is_empty()).then(|| Value::Object(object).to_string())
    }

    /// What AMQP and the service say about it, where it is no field of its own, as
    /// a JSON object: its properties (`content-type`, `message-id` and so on) and
    /// its annotations; none if there is nothing.
    pub fn system_properties(&self) -> Option<String> {
        let message = self.0.raw_amqp_message();
        let mut object = Map::new();
        if let Some(properties) = &message.properties {
            add_properties(properties, &mut object);
        }
        for (key, value) in message.message_annotations.iter().flat_map(|annotations| annotations.0.iter()) {
            match key {
                AmqpAnnotationKey::Symbol(key) if KNOWN.contains(&key.0.as_str()) => {}
                AmqpAnnotationKey::Symbol(key) => drop(object.insert(key.0.clone(), json(value))),
                AmqpAnnotationKey::Ulong(key) => drop(object.insert(key.to_string(), json(value))),
            }
        }
        (!object.is_empty()).then(|| Value::Object(object).to_string())
    }

    fn annotation(&self, name: &str) -> Option<&AmqpValue> {
        let annotations = self.0.raw_amqp_message().message_annotations.as_ref()?;
        let is_it = |key: &AmqpAnnotationKey| matches!(key, AmqpAnnotationKey::Symbol(key) if key.0 == name);
        annotations.0.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
    }
}

fn text(value: &AmqpValue) -> Option<&str> {
    match value {
        AmqpValue::String(text) => Some(text),
        AmqpValue::Symbol(symbol) => Some(&symbol.0),
        _ => None,
    }
}

fn add_properties(properties: &AmqpMessageProperties, object: &mut Map<String, Value>) {
    let AmqpMessageProperties {
        message_id,
        user_id,
        to,
        subject,
        reply_to,
        correlation_id,
        content_type,
        content_encoding,
        absolute_expiry_time,
        creation_time,
        group_id,
        group_sequence,
        reply_to_group_id,
    } = properties;
    let text = |text: &Option<String>| text.clone().map(Value::String);
    let symbol = |symbol: &Option<azure_core_amqp::AmqpSymbol>| symbol.as_ref().map(|one| Value::String(one.0.clone()));
    for (name, value) in [
        ("message-id", message_id.as_ref().map(id)),
        ("user-id", user_id.as_deref().map(base64)),
        ("to", text(to)),
        ("subject", text(subject)),
        ("reply-to", text(reply_to)),
        ("correlation-id", correlation_id.as_ref().map(id)),
        ("content-type", symbol(content_type)),
        ("content-encoding", symbol(content_encoding)),
        ("absolute-expiry-time", absolute_expiry_time.as_ref().map(time)),
        ("creation-time", creation_time.as_ref().map(time)),
        ("group-id", text(group_id)),
        ("group-sequence", group_sequence.map(Value::from)),
        ("reply-to-group-id", text(reply_to_group_id)),
    ] {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    }
}

fn id(id: &AmqpMessageId) -> Value {
    match id {
        AmqpMessageId::String(text) => Value::from(text.as_str()),
        AmqpMessageId::Uuid(uuid) => Value::from(uuid.to_string()),
        AmqpMessageId::Binary(bytes) => base64(bytes),
        AmqpMessageId::Ulong(number) => Value::from(*number),
    }
}

fn base64(bytes: &[u8]) -> Value {
    Value::from(BASE64_STANDARD.encode(bytes))
}

fn time(time: &AmqpTimestamp) -> Value {
    let utc = time.0.and_then(|time| chrono::DateTime::from_timestamp_micros(micros_of(time)));
    utc.map_or(Value::Null, |utc| Value::from(utc.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)))
}

/// A value as JSON. Numbers that JSON has not (NaN, infinities) are null.
fn json(value: &AmqpValue) -> Value {
    match value {
        AmqpValue::Null => Value::Null,
        AmqpValue::Boolean(value) => Value::from(*value),
        AmqpValue::UByte(value) => Value::from(*value),
        AmqpValue::UShort(value) => Value::from(*value),
        AmqpValue::UInt(value) => Value::from(*value),
        AmqpValue::ULong(value) => Value::from(*value),
        AmqpValue::Byte(value) => Value::from(*value),
        AmqpValue::Short(value) => Value::from(*value),
        AmqpValue::Int(value) => Value::from(*value),
        AmqpValue::Long(value) => Value::from(*value),
        AmqpValue::Float(value) => Value::from(*value),
        AmqpValue::Double(value) => Value::from(*value),
        AmqpValue::Char(value) => Value::from(value.to_string()),
        AmqpValue::TimeStamp(value) => time(value),
        AmqpValue::Uuid(value) => Value::from(value.to_string()),
        AmqpValue::Binary(value) => base64(value),
        AmqpValue::String(value) => Value::from(value.as_str()),
        AmqpValue::Symbol(value) => Value::from(value.0.as_str()),
        AmqpValue::Decimal128(value) => base64(value),
        AmqpValue::Decimal64(value) => base64(value),
        AmqpValue::Decimal32(value) => base64(value),
        AmqpValue::List(values) => values.iter().map(json).collect(),
        AmqpValue::Array(values) => values.iter().map(json).collect(),
        AmqpValue::Map(values) => {
            let entry = |(key, value): (&AmqpValue, &AmqpValue)| (key_of(key), json(value));
            Value::Object(values.iter().map(entry).collect())
        }
        AmqpValue::Described(described) => json(&described.value),
    }
}

fn key_of(key: &AmqpValue) -> String {
    match json(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn simple(value: &AmqpSimpleValue) -> Value {
    match value {
        AmqpSimpleValue::Null => Value::Null,
        AmqpSimpleValue::Boolean(value) => Value::from(*value),
        AmqpSimpleValue::UByte(value) => Value::from(*value),
        AmqpSimpleValue::UShort(value) => Value::from(*value),
        AmqpSimpleValue::UInt(value) => Value::from(*value),
        AmqpSimpleValue::ULong(value) => Value::from(*value),
        AmqpSimpleValue::Byte(value) => Value::from(*value),
        AmqpSimpleValue::Short(value) => Value::from(*value),
        AmqpSimpleValue::Int(value) => Value::from(*value),
        AmqpSimpleValue::Long(value) => Value::from(*value),
        AmqpSimpleValue::Float(value) => Value::from(*value),
        AmqpSimpleValue::Double(value) => Value::from(*value),
        AmqpSimpleValue::Char(value) => Value::from(value.to_string()),
        AmqpSimpleValue::TimeStamp(value) => time(value),
        AmqpSimpleValue::Uuid(value) => Value::from(value.to_string()),
        AmqpSimpleValue::Binary(value) => base64(value),
        AmqpSimpleValue::String(value) => Value::from(value.as_str()),
        AmqpSimpleValue::Symbol(value) => Value::from(value.0.as_str()),
        AmqpSimpleValue::Decimal128(value) => base64(value),
        AmqpSimpleValue::Decimal64(value) => base64(value),
        AmqpSimpleValue::Decimal32(value) => base64(value),
        AmqpSimpleValue::Described(value) => json(&value.value),
    }
}

#[cfg(test)]
impl Message {
    /// A message with this sequence number, body and partition key.
    pub(crate) fn made(number: u64, body: &[u8], key: Option<&str>) -> Self {
        use azure_core_amqp::message::AmqpAnnotations;
        use azure_core_amqp::{AmqpMessage, AmqpSymbol};
        let mut annotations = AmqpAnnotations::new();
        annotations.insert(AmqpSymbol::from(SEQUENCE_NUMBER), i64::try_from(number).unwrap());
        annotations.insert(AmqpSymbol::from(OFFSET), (number * 100).to_string());
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_micros(number * 1000);
        annotations.insert(AmqpSymbol::from(ENQUEUED_TIME), AmqpTimestamp(Some(time)));
        if let Some(key) = key {
            annotations.insert(AmqpSymbol::from(PARTITION_KEY), key.to_owned());
        }
        let body = AmqpMessageBody::Binary(vec![body.to_vec()]);
        let message = AmqpMessage::builder().with_body(body).with_message_annotations(annotations).build();
        Self(ReceivedEventData::from(message))
    }
}
