//! Frames and performatives of AMQP 1.0 (OASIS, parts 2 and 5), as bytes.
//!
//! Transfers and dispositions are many and have encodings of their own here; the
//! other performatives are lists of values.

use bytes::{Buf as _, BufMut as _, BytesMut};

use super::value::{Malformed, Value, Width, cut, sized, skip, take};

/// The header that opens AMQP without a security layer.
pub(super) const AMQP: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
/// The header that opens the SASL layer.
pub(super) const SASL: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

/// Frames that we accept are at most this long, as those of Azure are.
pub(super) const MAX_FRAME_BYTES: u32 = 65_536;
/// The shortest maximum that a peer may ask for.
const MIN_MAX_FRAME_BYTES: u32 = 512;

pub(super) const OPEN: u8 = 0x10;
pub(super) const BEGIN: u8 = 0x11;
pub(super) const ATTACH: u8 = 0x12;
pub(super) const FLOW: u8 = 0x13;
pub(super) const TRANSFER: u8 = 0x14;
pub(super) const DISPOSITION: u8 = 0x15;
pub(super) const DETACH: u8 = 0x16;
pub(super) const END: u8 = 0x17;
pub(super) const CLOSE: u8 = 0x18;
pub(super) const SASL_MECHANISMS: u8 = 0x40;
pub(super) const SASL_INIT: u8 = 0x41;
pub(super) const SASL_OUTCOME: u8 = 0x44;
/// Descriptor of an error.
pub(super) const ERROR: u64 = 0x1d;
/// Descriptor of the outcome accepted.
pub(super) const ACCEPTED: u64 = 0x24;
/// Descriptor of the outcome rejected.
pub(super) const REJECTED: u64 = 0x25;

/// What carries a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Amqp,
    Sasl,
}

/// A frame without its header.
pub(super) struct Frame {
    pub(super) layer: Layer,
    pub(super) channel: u16,
    pub(super) body: BytesMut,
}

/// Take a frame from the front, if it is there whole.
pub(super) fn take_frame(input: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    let Some((size, _)) = input.split_first_chunk::<4>() else { return Ok(None) };
    let size = u32::from_be_bytes(*size);
    if !(8..=MAX_FRAME_BYTES).contains(&size) {
        return Err(Malformed("a frame that is longer than was agreed, or shorter than its header"));
    }
    if input.len() < size as usize {
        return Ok(None);
    }
    let mut body = input.split_to(size as usize);
    let layer = match body[5] {
        0 => Layer::Amqp,
        1 => Layer::Sasl,
        _ => return Err(Malformed("a frame of an unknown type")),
    };
    let channel = u16::from_be_bytes([body[6], body[7]]);
    let data = usize::from(body[4]) * 4;
    if data < 8 || data > body.len() {
        return Err(Malformed("a frame whose data begins outside of it"));
    }
    body.advance(data);
    Ok(Some(Frame { layer, channel, body }))
}

/// The fields of a performative, in order; null where the list is shorter.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Fields<'a> {
    /// The descriptor's code and the fields of the performative at the front, and what follows it.
    pub(super) fn read(mut input: &'a [u8]) -> Result<(u8, Self, &'a [u8]), Malformed> {
        let code = read_code(&mut input)?;
        let constructor = take::<1>(&mut input)?[0];
        let (rest, left) = match constructor {
            0x45 => (&input[..0], 0),
            0xc0 => {
                let mut rest = sized(&mut input, Width::One)?;
                let left = take::<1>(&mut rest)?[0].into();
                (rest, left)
            }
            0xd0 => {
                let mut rest = sized(&mut input, Width::Four)?;
                let left = u32::from_be_bytes(take(&mut rest)?) as usize;
                (rest, left)
            }
            _ => return Err(Malformed("a performative that is not a list")),
        };
        Ok((code, Self { rest, left }, input))
    }

    /// The constructor of the next field, which is taken if it is null.
    fn peek(&mut self) -> Option<u8> {
        if self.left == 0 {
            return None;
        }
        let constructor = *self.rest.first()?;
        if constructor == 0x40 {
            self.rest = &self.rest[1..];
            self.left -= 1;
            return None;
        }
        Some(constructor)
    }

    pub(super) fn uint(&mut self) -> Result<Option<u32>, Malformed> {
        let Some(constructor) = self.peek() else { return Ok(None) };
        self.left -= 1;
        cut(&mut self.rest, 1)?;
        Ok(Some(match constructor {
            0x43 => 0,
            0x50 | 0x52 => take::<1>(&mut self.rest)?[0].into(),
            0x60 => u16::from_be_bytes(take(&mut self.rest)?).into(),
            0x70 => u32::from_be_bytes(take(&mut self.rest)?),
            _ => return Err(Malformed("a field that should be a number")),
        }))
    }

    pub(super) fn bool(&mut self) -> Result<Option<bool>, Malformed> {
        match self.value()? {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(value)),
            _ => Err(Malformed("a field that should be a truth value")),
        }
    }

    pub(super) fn text(&mut self) -> Result<Option<String>, Malformed> {
        Ok(self.value()?.as_str().map(str::to_owned))
    }

    pub(super) fn value(&mut self) -> Result<Value, Malformed> {
        if self.peek().is_none() {
            return Ok(Value::Null);
        }
        self.left -= 1;
        Value::read(&mut self.rest)
    }

    pub(super) fn skip(&mut self) -> Result<(), Malformed> {
        if self.peek().is_some() {
            self.left -= 1;
            skip(&mut self.rest)?;
        }
        Ok(())
    }
}

/// The code of a described value at the front; its value follows.
pub(super) fn read_code(input: &mut &[u8]) -> Result<u8, Malformed> {
    if take::<1>(input)? != [0] {
        return Err(Malformed("a value that should be described"));
    }
    match Value::read(input)? {
        Value::Ulong(code) => u8::try_from(code).map_err(|_| Malformed("an unknown descriptor")),
        Value::Symbol(name) => section_code(&name).ok_or(Malformed("an unknown descriptor")),
        _ => Err(Malformed("a descriptor that is neither a number nor a symbol")),
    }
}

/// Sections of messages may be named instead of numbered.
fn section_code(name: &str) -> Option<u8> {
    Some(match name {
        "amqp:header:list" => 0x70,
        "amqp:delivery-annotations:map" => 0x71,
        "amqp:message-annotations:map" => 0x72,
        "amqp:properties:list" => 0x73,
        "amqp:application-properties:map" => 0x74,
        "amqp:data:binary" => 0x75,
        "amqp:amqp-sequence:list" => 0x76,
        "amqp:amqp-value:*" => 0x77,
        "amqp:footer:map" => 0x78,
        _ => return None,
    })
}

/// Append a performative.
pub(super) fn put_performative(out: &mut BytesMut, layer: Layer, channel: u16, code: u8, fields: Vec<Value>) {
    let start = out.len();
    out.put_u32(0);
    out.put_slice(&[2, if layer == Layer::Sasl { 1 } else { 0 }]);
    out.put_u16(channel);
    Value::described(code.into(), fields).write(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Append the frame that says only that we live.
pub(super) fn put_heartbeat(out: &mut BytesMut) {
    out.put_slice(&[0, 0, 0, 8, 2, 0, 0, 0]);
}

/// Length of a transfer's frame without its payload.
pub(super) const TRANSFER_BYTES: usize = 42;

/// How much payload fits into one frame of a peer.
pub(super) fn piece_bytes(max_frame_bytes: u32) -> usize {
    max_frame_bytes.max(MIN_MAX_FRAME_BYTES) as usize - TRANSFER_BYTES
}

/// A transfer of ours; its tag is its id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    pub(super) channel: u16,
    pub(super) handle: u32,
    pub(super) delivery_id: u32,
    pub(super) settled: bool,
    pub(super) more: bool,
}

/// Append a transfer of message format 0.
pub(super) fn put_transfer(out: &mut BytesMut, transfer: Transfer, payload: &[u8]) {
    let bool = |value| if value { 0x41 } else { 0x42 };
    let mut head = [0u8; TRANSFER_BYTES];
    head[..4].copy_from_slice(&((TRANSFER_BYTES + payload.len()) as u32).to_be_bytes());
    head[4] = 2;
    head[6..8].copy_from_slice(&transfer.channel.to_be_bytes());
    // A list of eleven fields.
    head[8..14].copy_from_slice(&[0, 0x53, TRANSFER, 0xc0, 29, 11]);
    head[14] = 0x70;
    head[15..19].copy_from_slice(&transfer.handle.to_be_bytes());
    head[19] = 0x70;
    head[20..24].copy_from_slice(&transfer.delivery_id.to_be_bytes());
    head[24..26].copy_from_slice(&[0xa0, 8]);
    head[30..34].copy_from_slice(&transfer.delivery_id.to_be_bytes());
    head[34..36].copy_from_slice(&[0x43, bool(transfer.settled)]);
    head[36] = bool(transfer.more);
    // Receiver's settle mode, state, resume, aborted, batchable, and nothing besides.
    head[37..42].copy_from_slice(&[0x40; 5]);
    out.put_slice(&head);
    out.put_slice(payload);
}
