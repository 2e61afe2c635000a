//! Messages: what is stored of one that was sent, and how it is delivered.
//!
//! The body and the properties pass as the bytes that they came as. Only the
//! message annotations are read and written anew, because the service adds to them.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::frame::read_code;
use super::value::{Malformed, Value, compound, skip, variable};

const DELIVERY_ANNOTATIONS: u8 = 0x71;
const HEADER: u8 = 0x70;
const MESSAGE_ANNOTATIONS: u8 = 0x72;
const PROPERTIES: u8 = 0x73;
const APPLICATION_PROPERTIES: u8 = 0x74;
const DATA: u8 = 0x75;
const VALUE: u8 = 0x77;

/// The message format of a batch: each data section is a whole message.
pub(super) const BATCH_FORMAT: u32 = 0x8001_3700;

const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
const OFFSET: &str = "x-opt-offset";
const ENQUEUED_TIME: &str = "x-opt-enqueued-time";
const PARTITION_KEY: &str = "x-opt-partition-key";
const PUBLISHER: &str = "x-opt-publisher";

/// A message without the annotations of the service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// The partition key.
    pub key: Option<String>,
    /// The publisher.
    pub publisher: Option<String>,
    /// The annotations of the producer, without partition key and publisher.
    pub annotations: Vec<(Value, Value)>,
    /// When it was enqueued, in milliseconds since 1970; now if there is none.
    pub enqueued_ms: Option<i64>,
    /// The encoded sections properties, application properties, body and footer.
    pub(super) sections: Bytes,
}

impl Message {
    /// A message with a body of bytes.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut out = BytesMut::with_capacity(body.len() + 8);
        out.put_slice(&[0, 0x53, DATA]);
        variable(&mut out, 0xa0, &body);
        Self { sections: out.freeze(), ..Self::default() }
    }

    /// With a partition key.
    pub fn with_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// With a publisher.
    pub fn with_publisher(self, publisher: impl Into<String>) -> Self {
        Self { publisher: Some(publisher.into()), ..self }
    }

    /// With an annotation of the producer.
    pub fn with_annotation(mut self, name: &str, value: Value) -> Self {
        self.annotations.push((Value::symbol(name), value));
        self
    }

    /// Enqueued at this time, in milliseconds since 1970.
    pub fn enqueued_at(self, enqueued_ms: i64) -> Self {
        Self { enqueued_ms: Some(enqueued_ms), ..self }
    }

    /// With application properties, in place of those that it had.
    pub fn with_properties<'a>(mut self, properties: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let pairs = properties.into_iter().map(|(name, value)| (Value::string(name), value)).collect();
        let mut out = BytesMut::new();
        let mut pending = Some(Value::Map(pairs));
        for (code, bytes) in sections(&self.sections).expect("invariant: the sections were split or built here") {
            match code {
                APPLICATION_PROPERTIES => continue,
                PROPERTIES => {}
                _ => put_section(&mut out, APPLICATION_PROPERTIES, pending.take()),
            }
            out.put_slice(bytes);
        }
        self.sections = out.freeze();
        self
    }

    /// Read an encoded message as a producer sends it.
    pub(super) fn read(encoded: &Bytes) -> Result<Self, Malformed> {
        let mut message = Self::default();
        let mut begin = None;
        for (code, bytes) in sections(encoded)? {
            let at = bytes.as_ptr() as usize - encoded.as_ptr() as usize;
            match code {
                HEADER | DELIVERY_ANNOTATIONS => {}
                MESSAGE_ANNOTATIONS => message.annotate(section_value(bytes)?),
                _ => {
                    begin.get_or_insert(at);
                }
            }
        }
        // The standard orders the sections, so that what passes as it is lies together.
        message.sections = encoded.slice(begin.unwrap_or(encoded.len())..);
        Ok(message)
    }

    fn annotate(&mut self, annotations: Value) {
        let Value::Map(pairs) = annotations else { return };
        for (name, value) in pairs {
            match name.as_str() {
                Some(PARTITION_KEY) => self.key = value.as_str().map(str::to_owned),
                Some(PUBLISHER) => self.publisher = value.as_str().map(str::to_owned),
                // A producer cannot set what the service does.
                Some(SEQUENCE_NUMBER | OFFSET | ENQUEUED_TIME) => {}
                _ => self.annotations.push((name, value)),
            }
        }
    }

    /// Append what a receiver gets.
    pub(super) fn write(&self, place: Place, out: &mut BytesMut) {
        let mut map = Vec::with_capacity(96);
        let mut count = 6;
        symbol(&mut map, SEQUENCE_NUMBER);
        map.push(0x81);
        map.extend(place.sequence_number.to_be_bytes());
        symbol(&mut map, OFFSET);
        let at = map.len();
        map.extend([0xa1, 0]);
        std::io::Write::write_fmt(&mut map, format_args!("{}", place.offset)).expect("invariant: memory takes it");
        map[at + 1] = (map.len() - at - 2) as u8;
        symbol(&mut map, ENQUEUED_TIME);
        map.push(0x83);
        map.extend(place.enqueued_ms.to_be_bytes());
        if self.key.is_some() || self.publisher.is_some() || !self.annotations.is_empty() {
            let mut more = BytesMut::new();
            for (name, value) in [(PARTITION_KEY, &self.key), (PUBLISHER, &self.publisher)] {
                if let Some(value) = value {
                    count += 2;
                    Value::symbol(name).write(&mut more);
                    Value::string(value.as_str()).write(&mut more);
                }
            }
            for (name, value) in &self.annotations {
                count += 2;
                name.write(&mut more);
                value.write(&mut more);
            }
            map.extend_from_slice(&more);
        }
        out.put_slice(&[0, 0x53, MESSAGE_ANNOTATIONS]);
        compound(out, 0xc1, count, &map);
        out.put_slice(&self.sections);
    }

    /// The bytes that it counts in the offsets.
    pub(super) fn size(&self) -> i64 {
        self.sections.len() as i64 + 40
    }
}

/// The place of a message in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The sequence number.
    pub sequence_number: i64,
    /// The offset, which is not the sequence number.
    pub offset: i64,
    /// When it was enqueued, in milliseconds since 1970.
    pub enqueued_ms: i64,
}

/// A message of a partition, as a test compares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its place in its partition.
    pub place: Place,
    /// The partition key.
    pub key: Option<String>,
    /// The publisher.
    pub publisher: Option<String>,
    /// The annotations of the producer, without partition key and publisher.
    pub annotations: Vec<(Value, Value)>,
    /// The application properties in the order in which they were sent.
    pub properties: Vec<(String, Value)>,
    /// The fields of the section properties: message id, user id, to, subject and so on.
    pub fields: Vec<Value>,
    /// The data sections, one after the other; the encoded body if it is none of data.
    pub body: Bytes,
}

impl Stored {
    /// An application property.
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.properties.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// The message id.
    pub fn message_id(&self) -> Option<&Value> {
        self.fields.first().filter(|value| **value != Value::Null)
    }

    /// The correlation id.
    pub fn correlation_id(&self) -> Option<&Value> {
        self.fields.get(5).filter(|value| **value != Value::Null)
    }

    /// The content type.
    pub fn content_type(&self) -> Option<&str> {
        self.fields.get(6)?.as_str()
    }

    /// Read a message as [`Message::write`] wrote it.
    pub(super) fn read(place: Place, payload: &Bytes) -> Result<Self, Malformed> {
        let Message { key, publisher, annotations, .. } = Message::read(payload)?;
        let mut stored =
            Self { place, key, publisher, annotations, properties: Vec::new(), fields: Vec::new(), body: Bytes::new() };
        let mut body = BytesMut::new();
        for (code, bytes) in sections(payload)? {
            match code {
                HEADER | DELIVERY_ANNOTATIONS | MESSAGE_ANNOTATIONS => {}
                PROPERTIES => match section_value(bytes)? {
                    Value::List(fields) => stored.fields = fields,
                    _ => return Err(Malformed("properties that are not a list")),
                },
                APPLICATION_PROPERTIES => stored.properties = named(section_value(bytes)?),
                DATA => match section_value(bytes)? {
                    Value::Binary(bytes) => body.put_slice(&bytes),
                    _ => return Err(Malformed("a data section that is not of bytes")),
                },
                _ => body.put_slice(bytes),
            }
        }
        stored.body = body.freeze();
        Ok(stored)
    }
}

/// A request to a node that is no event hub, with what such nodes look at.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) message_id: Option<Value>,
    pub(super) reply_to: Option<String>,
    pub(super) properties: Vec<(String, Value)>,
    pub(super) body: Option<Value>,
}

impl Request {
    pub(super) fn read(encoded: &[u8]) -> Result<Self, Malformed> {
        let mut request = Self::default();
        for (code, bytes) in sections(encoded)? {
            match code {
                PROPERTIES => {
                    let fields = section_value(bytes)?;
                    request.message_id = Some(fields.field(0).clone()).filter(|id| *id != Value::Null);
                    request.reply_to = fields.field(4).as_str().map(str::to_owned);
                }
                APPLICATION_PROPERTIES => request.properties = named(section_value(bytes)?),
                VALUE => request.body = Some(section_value(bytes)?),
                _ => {}
            }
        }
        Ok(request)
    }

    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(found, _)| found == name)?.1.as_str()
    }
}

/// An answer of such a node.
pub(super) fn answer(correlation_id: Option<Value>, properties: Vec<(&str, Value)>, body: Option<Value>) -> Bytes {
    let mut out = BytesMut::new();
    // All fields, since there are readers that need the trailing nulls.
    let mut fields = vec![Value::Null; 13];
    fields[5] = correlation_id.unwrap_or(Value::Null);
    put_section(&mut out, PROPERTIES, Some(Value::List(fields)));
    let properties = properties.into_iter().map(|(name, value)| (Value::string(name), value)).collect();
    put_section(&mut out, APPLICATION_PROPERTIES, Some(Value::Map(properties)));
    put_section(&mut out, VALUE, Some(body.unwrap_or(Value::Null)));
    out.freeze()
}

/// The messages of a batch; each is whole. Annotations of the envelope hold for all.
pub(super) fn split_batch(encoded: &Bytes) -> Result<Vec<Message>, Malformed> {
    let envelope = Message::read(encoded)?;
    let mut messages = Vec::new();
    for (code, bytes) in sections(encoded)? {
        if code != DATA {
            continue;
        }
        let Value::Binary(bytes) = section_value(bytes)? else {
            return Err(Malformed("a data section that is not of bytes"));
        };
        let mut message = Message::read(&bytes)?;
        message.key = message.key.or_else(|| envelope.key.clone());
        message.publisher = message.publisher.or_else(|| envelope.publisher.clone());
        messages.push(message);
    }
    Ok(messages)
}

/// The sections of a message: the code and the whole encoding of each.
fn sections(mut encoded: &[u8]) -> Result<Vec<(u8, &[u8])>, Malformed> {
    let mut found = Vec::with_capacity(6);
    while !encoded.is_empty() {
        let code = read_code(&mut &encoded[..])?;
        found.push((code, skip(&mut encoded)?));
    }
    Ok(found)
}

fn section_value(mut section: &[u8]) -> Result<Value, Malformed> {
    read_code(&mut section)?;
    Value::read(&mut section)
}

fn named(map: Value) -> Vec<(String, Value)> {
    let Value::Map(pairs) = map else { return Vec::new() };
    pairs.into_iter().filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value))).collect()
}

fn put_section(out: &mut BytesMut, code: u8, value: Option<Value>) {
    if let Some(value) = value {
        out.put_slice(&[0, 0x53, code]);
        value.write(out);
    }
}

fn symbol(out: &mut Vec<u8>, name: &str) {
    out.extend([0xa3, name.len() as u8]);
    out.extend_from_slice(name.as_bytes());
}
