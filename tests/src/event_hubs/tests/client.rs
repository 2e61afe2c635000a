//! A client of bare frames, which sees exactly what the endpoint writes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::super::frame::{
    ACCEPTED, AMQP, ATTACH, BEGIN, DETACH, DISPOSITION, FLOW, Layer, OPEN, TRANSFER, put_performative, take_frame,
};
use super::super::message::{Place, Stored};
use super::super::server::LocalHubs;
use super::super::value::Value;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A performative that came.
#[derive(Debug)]
pub(super) struct Performative {
    pub(super) code: u8,
    pub(super) fields: Value,
    pub(super) payload: Bytes,
}

impl Performative {
    pub(super) fn integer(&self, field: usize) -> i64 {
        self.fields.field(field).as_integer().unwrap()
    }

    /// The condition of an error in a field.
    pub(super) fn condition(&self, field: usize) -> (&str, &str) {
        let error = self.fields.field(field);
        (error.field(0).as_str().unwrap(), error.field(1).as_str().unwrap())
    }
}

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The connection was closed.
    Closed,
    /// The connection was reset.
    Reset,
}

pub(super) struct Client {
    stream: TcpStream,
    pub(super) inbox: BytesMut,
    sent: u32,
}

impl Client {
    /// Connect, open with a frame size, and begin with a window.
    pub(super) fn with(hubs: &LocalHubs, max_frame: u32, window: u32) -> Self {
        let mut client = Self::header(hubs);
        let open = vec![Value::string("bare"), Value::Null, Value::Uint(max_frame), Value::Null, Value::Uint(200)];
        client.send(OPEN, open);
        client.send(BEGIN, vec![Value::Null, Value::Uint(0), Value::Uint(window), Value::Uint(1000)]);
        assert_eq!(client.next().unwrap().code, OPEN);
        assert_eq!(client.next().unwrap().code, BEGIN);
        client
    }

    /// Connect with room for everything.
    pub(super) fn new(hubs: &LocalHubs) -> Self {
        Self::with(hubs, 65_536, u32::MAX)
    }

    fn header(hubs: &LocalHubs) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", hubs.port())).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut client = Self { stream, inbox: BytesMut::new(), sent: 0 };
        client.write(&AMQP);
        let mut header = [0; 8];
        client.stream.read_exact(&mut header).unwrap();
        assert_eq!(header, AMQP);
        client
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(super) fn send(&mut self, code: u8, fields: Vec<Value>) {
        let mut out = BytesMut::new();
        put_performative(&mut out, Layer::Amqp, 0, code, fields);
        self.write(&out);
    }

    /// The next performative.
    pub(super) fn next(&mut self) -> Result<Performative, End> {
        loop {
            if let Some(frame) = take_frame(&mut self.inbox).unwrap() {
                if frame.body.is_empty() {
                    continue;
                }
                let mut rest = &frame.body[..];
                let Value::Described(code, fields) = Value::read(&mut rest).unwrap() else { panic!("no performative") };
                let code = code.as_integer().unwrap() as u8;
                return Ok(Performative { code, fields: *fields, payload: Bytes::copy_from_slice(rest) });
            }
            self.fill()?;
        }
    }

    /// Read more bytes.
    pub(super) fn fill(&mut self) -> Result<(), End> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(End::Closed),
            Ok(count) => {
                self.inbox.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next performative, which must be this one.
    #[track_caller]
    pub(super) fn expect(&mut self, code: u8) -> Performative {
        let next = self.next().unwrap();
        assert_eq!(next.code, code, "{next:?}");
        next
    }

    fn attach(
        &mut self,
        handle: u32,
        receives: bool,
        address: &str,
        selector: Option<&str>,
        properties: Value,
    ) -> Refusal {
        let address = Value::string(address);
        let filter = selector.map_or(Value::Null, |selector| {
            let name = Value::symbol("apache.org:selector-filter:string");
            let filter = Value::Described(Box::new(name.clone()), Box::new(Value::string(selector)));
            Value::Map(vec![(name, filter)])
        });
        let mut source = vec![Value::Null; 8];
        let mut target = vec![Value::Null];
        if receives {
            source[0] = address;
            source[7] = filter;
        } else {
            target[0] = address;
        }
        let mut fields = vec![
            Value::string(format!("link {handle}")),
            Value::Uint(handle),
            Value::Bool(receives),
            Value::Ubyte(u8::from(receives)),
            Value::Ubyte(0),
            Value::described(0x28, source),
            Value::described(0x29, target),
            Value::Null,
            Value::Null,
            if receives { Value::Null } else { Value::Uint(0) },
        ];
        fields.resize(13, Value::Null);
        fields.push(properties);
        self.send(ATTACH, fields);
        let answer = self.expect(ATTACH);
        let refused = *answer.fields.field(if receives { 5 } else { 6 }) == Value::Null;
        if refused {
            let detach = self.expect(DETACH);
            let (name, description) = detach.condition(2);
            return Err((name.to_owned(), description.to_owned()));
        }
        if !receives {
            self.expect(FLOW);
        }
        Ok(())
    }

    /// Attach a receiver that settles everything at once.
    pub(super) fn receive(&mut self, handle: u32, place: &str, selector: Option<&str>, level: Option<i64>) -> Refusal {
        let (hub, partition) = place.split_once('/').unwrap();
        let level = level.map(|level| (Value::symbol("com.microsoft:epoch"), Value::Long(level)));
        let name = (Value::symbol("com.microsoft:receiver-name"), Value::string(format!("receiver {handle}")));
        let properties = Value::Map(level.into_iter().chain([name]).collect());
        let address = format!("{hub}/ConsumerGroups/$Default/Partitions/{partition}");
        self.attach(handle, true, &address, selector, properties)
    }

    /// Attach a sender, or the request side of a node.
    pub(super) fn sender(&mut self, handle: u32, address: &str) -> Refusal {
        self.attach(handle, false, address, None, Value::Null)
    }

    /// Attach the answering side of a node.
    pub(super) fn answers(&mut self, handle: u32, address: &str) -> Refusal {
        self.attach(handle, true, address, None, Value::Null)
    }

    /// Give credit, and a window.
    pub(super) fn flow(&mut self, handle: u32, seen: (u32, u32), window: u32, credit: u32, drain: bool) {
        let (transfers, deliveries) = seen;
        let mut fields: Vec<_> = [transfers, window, 0, 1000, handle, deliveries, credit].map(Value::Uint).into();
        fields.extend([Value::Null, Value::Bool(drain)]);
        self.send(FLOW, fields);
    }

    /// Give much credit to a receiver that has not got anything.
    pub(super) fn credit(&mut self, handle: u32) {
        self.flow(handle, (0, 0), u32::MAX, 1000, false);
    }

    /// There is nothing to read before the answer to a question.
    #[track_caller]
    pub(super) fn nothing_more(&mut self, seen: u32, window: u32) {
        let mut fields: Vec<_> = [seen, window, 0, 1000].map(Value::Uint).into();
        fields.extend([Value::Null, Value::Null, Value::Null, Value::Null, Value::Null, Value::Bool(true)]);
        self.send(FLOW, fields);
        self.expect(FLOW);
    }

    /// Messages by their sequence numbers.
    #[track_caller]
    pub(super) fn sequence_numbers(&mut self, count: usize) -> Vec<i64> {
        (0..count).map(|_| sequence_number(&self.expect(TRANSFER).payload)).collect()
    }

    /// Send a message.
    pub(super) fn transfer(&mut self, handle: u32, more: bool, payload: &[u8]) {
        let fields = vec![
            Value::Uint(handle),
            Value::Uint(self.sent),
            Value::Binary(Bytes::copy_from_slice(&self.sent.to_be_bytes())),
            Value::Uint(0),
            Value::Bool(false),
            Value::Bool(more),
        ];
        self.sent += u32::from(!more);
        let mut out = BytesMut::new();
        put_performative(&mut out, Layer::Amqp, 0, TRANSFER, fields);
        out.extend_from_slice(payload);
        let size = out.len() as u32;
        out[..4].copy_from_slice(&size.to_be_bytes());
        self.write(&out);
    }

    /// The outcome of a message that was sent: its condition, if it was rejected.
    #[track_caller]
    pub(super) fn outcome(&mut self) -> Option<String> {
        let disposition = self.expect(DISPOSITION);
        let Value::Described(code, _) = disposition.fields.field(4) else { panic!("no state: {disposition:?}") };
        if **code == Value::Ulong(ACCEPTED) {
            return None;
        }
        Some(disposition.fields.field(4).field(0).field(0).as_str().unwrap().to_owned())
    }
}

/// The condition and the description with which a link was refused.
pub(super) type Refusal = Result<(), (String, String)>;

pub(super) fn sequence_number(payload: &Bytes) -> i64 {
    let mut rest = &payload[3..];
    Value::read(&mut rest).unwrap().get("x-opt-sequence-number").and_then(Value::as_integer).unwrap()
}

/// What a receiver got.
pub(super) fn stored(payload: &Bytes) -> Stored {
    Stored::read(Place { sequence_number: 0, offset: 0, enqueued_ms: 0 }, payload).unwrap()
}
