//! What a connection answers: headers, the security layer, and all performatives
//! but attach and transfer.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::time::Instant;

use super::condition::Condition;
use super::connection::{Connection, FAREWELL, Stage};
use super::frame::{
    ACCEPTED, AMQP, ATTACH, BEGIN, CLOSE, DETACH, DISPOSITION, END, FLOW, Fields, Frame, Layer, MAX_FRAME_BYTES, OPEN,
    SASL, SASL_INIT, SASL_MECHANISMS, SASL_OUTCOME, TRANSFER, put_performative, take_frame,
};
use super::link::{INCOMING_WINDOW, Link, OUTGOING_WINDOW, Session, Windows};
use super::value::{Malformed, Value};

/// The highest number of a channel.
const CHANNEL_MAX: u16 = 4_999;
/// The highest handle of a link.
const HANDLE_MAX: u32 = 255;
/// Offered to whoever asks; all are accepted.
const MECHANISMS: [&str; 4] = ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"];

impl Connection {
    /// Answer everything that is there whole.
    pub(super) fn answer(&mut self, inbox: &mut BytesMut) -> Result<(), Malformed> {
        loop {
            if self.stage == Stage::Header {
                let Some(header) = inbox.first_chunk::<8>().copied() else { return Ok(()) };
                inbox.advance(8);
                self.header(header)?;
                continue;
            }
            let Some(frame) = take_frame(inbox)? else { return Ok(()) };
            if frame.body.is_empty() {
                continue;
            }
            match (self.stage, frame.layer) {
                (Stage::Sasl, Layer::Sasl) => self.sasl(&frame)?,
                (Stage::Frames | Stage::Closing, Layer::Amqp) => self.frame(frame)?,
                _ => return Err(Malformed("a frame of another layer")),
            }
        }
    }

    fn header(&mut self, header: [u8; 8]) -> Result<(), Malformed> {
        match header {
            SASL => {
                self.out.extend_from_slice(&SASL);
                let mechanisms = MECHANISMS.iter().map(|name| Value::symbol(*name)).collect();
                put_performative(&mut self.out, Layer::Sasl, 0, SASL_MECHANISMS, vec![Value::Array(mechanisms)]);
                self.stage = Stage::Sasl;
                Ok(())
            }
            AMQP => {
                self.out.extend_from_slice(&AMQP);
                self.stage = Stage::Frames;
                Ok(())
            }
            _ => Err(Malformed("a header of another protocol")),
        }
    }

    fn sasl(&mut self, frame: &Frame) -> Result<(), Malformed> {
        let (code, mut fields, _) = Fields::read(&frame.body)?;
        if code != SASL_INIT {
            return Err(Malformed("a frame that the security layer does not expect"));
        }
        let mechanism = fields.text()?.unwrap_or_default();
        let known = MECHANISMS.contains(&mechanism.as_str());
        put_performative(
            &mut self.out,
            Layer::Sasl,
            0,
            SASL_OUTCOME,
            vec![Value::Ubyte(if known { 0 } else { 1 }), Value::Null],
        );
        self.stage = Stage::Header;
        Ok(())
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Malformed> {
        let Frame { channel, body, .. } = frame;
        let (code, mut fields, rest) = Fields::read(&body)?;
        self.is_asked |= code != DISPOSITION;
        if self.stage == Stage::Closing {
            if code == CLOSE {
                self.end();
            }
            return Ok(());
        }
        match code {
            OPEN => self.open(&mut fields),
            BEGIN => self.begin(channel, &mut fields),
            ATTACH => self.attach(channel, &mut fields),
            FLOW => self.flow(channel, &mut fields),
            TRANSFER => {
                let payload = body.len() - rest.len();
                let transfer = super::intake::Transfer::read(&mut fields)?;
                let payload: Bytes = body.freeze().slice(payload..);
                self.transfer(channel, transfer, payload)
            }
            DISPOSITION => self.disposition(channel, &mut fields),
            DETACH => self.detached(channel, &mut fields),
            END => {
                self.drop_session(channel);
                put_performative(&mut self.out, Layer::Amqp, channel, END, vec![Value::Null]);
                Ok(())
            }
            CLOSE => {
                put_performative(&mut self.out, Layer::Amqp, 0, CLOSE, vec![Value::Null]);
                self.end();
                Ok(())
            }
            _ => Err(Malformed("an unknown performative")),
        }
    }

    fn open(&mut self, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let container = fields.text()?;
        fields.skip()?;
        self.peer_max_frame = fields.uint()?.unwrap_or(u32::MAX).min(MAX_FRAME_BYTES);
        let channel_max = fields.uint()?;
        let idle = fields.uint()?.filter(|milliseconds| *milliseconds > 0);
        // Twice as often as it must be.
        self.heartbeat = idle.map(|milliseconds| Duration::from_millis(u64::from(milliseconds).div_ceil(2)));
        self.broker.say(|| format!("connection {} opened by {}", self.id, container.as_deref().unwrap_or("nobody")));
        let idle_ms = u32::try_from(self.broker.settings.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        let mut answer = vec![
            Value::string("event-hubs-local"),
            Value::Null,
            Value::Uint(MAX_FRAME_BYTES),
            Value::Ushort(channel_max.and_then(|max| u16::try_from(max).ok()).unwrap_or(CHANNEL_MAX).min(CHANNEL_MAX)),
            Value::Uint(idle_ms),
        ];
        answer.resize(10, Value::Null);
        put_performative(&mut self.out, Layer::Amqp, 0, OPEN, answer);
        Ok(())
    }

    fn begin(&mut self, channel: u16, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        fields.skip()?;
        let next_incoming = fields.uint()?.ok_or(Malformed("a begin without next-outgoing-id"))?;
        let remote = fields.uint()?.ok_or(Malformed("a begin without incoming-window"))?;
        let windows =
            Windows { channel, next_outgoing: 0, next_delivery: 0, remote, next_incoming, incoming: INCOMING_WINDOW };
        self.sessions.insert(channel, Session { windows, links: BTreeMap::new() });
        let answer = vec![
            Value::Ushort(channel),
            Value::Uint(0),
            Value::Uint(INCOMING_WINDOW),
            Value::Uint(OUTGOING_WINDOW),
            Value::Uint(HANDLE_MAX),
            Value::Null,
            Value::Null,
            Value::Null,
        ];
        put_performative(&mut self.out, Layer::Amqp, channel, BEGIN, answer);
        Ok(())
    }

    fn flow(&mut self, channel: u16, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let (next_incoming, window) = (fields.uint()?, fields.uint()?);
        fields.skip()?;
        fields.skip()?;
        let handle = fields.uint()?;
        let (delivery_count, credit) = (fields.uint()?, fields.uint()?);
        fields.skip()?;
        let drain = fields.bool()?.unwrap_or(false);
        let echo = fields.bool()?.unwrap_or(false);
        // What crossed our end is over.
        let Some(Session { windows, links }) = self.sessions.get_mut(&channel) else { return Ok(()) };
        windows.update(next_incoming, window.ok_or(Malformed("a flow without incoming-window"))?);
        let link = handle.and_then(|handle| links.get_mut(&handle));
        let state = match link {
            Some(Link::Outgoing(link)) => {
                link.update(delivery_count, credit.unwrap_or(0), drain);
                Some(link.flow())
            }
            Some(Link::Incoming(link)) => Some(link.flow()),
            Some(Link::Detached) | None => None,
        };
        if echo {
            windows.put_flow(&mut self.out, state);
        }
        Ok(())
    }

    /// Receivers settle what they got, which changes nothing; who settles second wants to hear of it.
    fn disposition(&mut self, channel: u16, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let receiver = fields.bool()?.ok_or(Malformed("a disposition without role"))?;
        let first = fields.uint()?.ok_or(Malformed("a disposition without first"))?;
        let last = fields.uint()?.unwrap_or(first);
        let settled = fields.bool()?.unwrap_or(false);
        if receiver && !settled {
            self.put_disposition(channel, Side::Sender, (first, last), accepted());
        }
        Ok(())
    }

    /// Append a disposition that settles.
    pub(super) fn put_disposition(&mut self, channel: u16, side: Side, (first, last): (u32, u32), state: Value) {
        let fields = vec![
            Value::Bool(side == Side::Receiver),
            Value::Uint(first),
            Value::Uint(last),
            Value::Bool(true),
            state,
            Value::Bool(false),
        ];
        put_performative(&mut self.out, Layer::Amqp, channel, DISPOSITION, fields);
    }

    /// The client detached a link.
    fn detached(&mut self, channel: u16, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let handle = fields.uint()?.ok_or(Malformed("a detach without handle"))?;
        let closed = fields.bool()?.unwrap_or(false);
        let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
        let Some(link) = session.links.remove(&handle) else { return Ok(()) };
        if let Some(id) = link.id() {
            self.broker.detached(id);
            self.put_detach(channel, handle, closed, None);
            self.broker.say(|| format!("connection {} detached link {id}", self.id));
        }
        Ok(())
    }

    /// Detach a link of ours.
    pub(super) fn detach(&mut self, id: u64, condition: &Condition) {
        let mut found = None;
        for (channel, session) in &mut self.sessions {
            if let Some((handle, link)) = session.links.iter_mut().find(|(_, link)| link.id() == Some(id)) {
                *link = Link::Detached;
                found = Some((*channel, *handle));
            }
        }
        if let Some((channel, handle)) = found {
            self.broker.detached(id);
            self.put_detach(channel, handle, true, Some(condition));
            self.broker.say(|| format!("connection {}: link {id} is detached: {}", self.id, condition.name));
        }
    }

    pub(super) fn put_detach(&mut self, channel: u16, handle: u32, closed: bool, error: Option<&Condition>) {
        let error = error.map_or(Value::Null, Condition::to_value);
        let fields = vec![Value::Uint(handle), Value::Bool(closed), error];
        put_performative(&mut self.out, Layer::Amqp, channel, DETACH, fields);
    }

    fn drop_session(&mut self, channel: u16) {
        let session = self.sessions.remove(&channel);
        for id in session.iter().flat_map(|session| session.links.values()).filter_map(Link::id) {
            self.broker.detached(id);
        }
    }

    /// End a session that did what it must not.
    pub(super) fn end_session(&mut self, channel: u16, condition: &Condition) {
        self.drop_session(channel);
        put_performative(&mut self.out, Layer::Amqp, channel, END, vec![condition.to_value()]);
    }

    /// Close the connection from our side.
    pub(super) fn close(&mut self, error: Option<&Condition>) {
        if self.stage == Stage::Closing {
            return;
        }
        let channels: Vec<_> = self.sessions.keys().copied().collect();
        channels.into_iter().for_each(|channel| self.drop_session(channel));
        put_performative(&mut self.out, Layer::Amqp, 0, CLOSE, vec![error.map_or(Value::Null, Condition::to_value)]);
        self.stage = Stage::Closing;
        self.close_until = Some(Instant::now() + FAREWELL);
    }
}

/// The side of a link that a disposition speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Sender,
    Receiver,
}

pub(super) fn accepted() -> Value {
    Value::described(ACCEPTED, Vec::new())
}
