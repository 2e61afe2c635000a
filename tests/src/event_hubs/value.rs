//! The type system of AMQP 1.0 (OASIS, part 1): values, and their encoding.
//!
//! Reading never panics and never reads past its input; what is malformed is
//! [`Malformed`]. Lists are written with all the fields that they are given, so
//! trailing nulls survive.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

/// What a peer sent is not AMQP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "malformed: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// One value of AMQP's types.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// 8 bits without a sign.
    Ubyte(u8),
    /// 16 bits without a sign.
    Ushort(u16),
    /// 32 bits without a sign.
    Uint(u32),
    /// 64 bits without a sign.
    Ulong(u64),
    /// 8 bits with a sign.
    Byte(i8),
    /// 16 bits with a sign.
    Short(i16),
    /// 32 bits with a sign.
    Int(i32),
    /// 64 bits with a sign.
    Long(i64),
    /// A 32-bit floating point number.
    Float(f32),
    /// A 64-bit floating point number.
    Double(f64),
    /// A decimal number or a character, as its constructor and its bytes.
    Opaque(u8, Bytes),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// A UUID.
    Uuid([u8; 16]),
    /// Bytes.
    Binary(Bytes),
    /// Text.
    String(String),
    /// A name from a domain of constants.
    Symbol(String),
    /// Values in order.
    List(Vec<Value>),
    /// Keys and values in order.
    Map(Vec<(Value, Value)>),
    /// Values of one type.
    Array(Vec<Value>),
    /// A value with a descriptor of its meaning.
    Described(Box<Value>, Box<Value>),
}

impl Value {
    /// Text as a [`Value::String`].
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// Text as a [`Value::Symbol`].
    pub fn symbol(text: impl Into<String>) -> Self {
        Self::Symbol(text.into())
    }

    /// A list that is described by a code of the standard.
    pub fn described(code: u64, fields: Vec<Value>) -> Self {
        Self::Described(Box::new(Self::Ulong(code)), Box::new(Self::List(fields)))
    }

    /// The text of a string or symbol.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is an integer of any type.
    pub fn as_integer(&self) -> Option<i64> {
        Some(match self {
            Self::Ubyte(number) => i64::from(*number),
            Self::Ushort(number) => i64::from(*number),
            Self::Uint(number) => i64::from(*number),
            Self::Ulong(number) => i64::try_from(*number).ok()?,
            Self::Byte(number) => i64::from(*number),
            Self::Short(number) => i64::from(*number),
            Self::Int(number) => i64::from(*number),
            Self::Long(number) | Self::Timestamp(number) => *number,
            _ => return None,
        })
    }

    /// The value of a described value, else the value itself.
    pub fn undescribed(&self) -> &Self {
        match self {
            Self::Described(_, value) => value.undescribed(),
            value => value,
        }
    }

    /// The value under a key of a map whose keys are strings or symbols.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self.undescribed() else { return None };
        pairs.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// The field of a list; null where the list is shorter.
    pub fn field(&self, index: usize) -> &Self {
        match self.undescribed() {
            Self::List(fields) => fields.get(index).unwrap_or(&Self::Null),
            _ => &Self::Null,
        }
    }

    /// Append the encoding.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Null => out.put_u8(0x40),
            Self::Bool(true) => out.put_u8(0x41),
            Self::Bool(false) => out.put_u8(0x42),
            Self::Ubyte(number) => put(out, 0x50, &[*number]),
            Self::Ushort(number) => put(out, 0x60, &number.to_be_bytes()),
            Self::Uint(0) => out.put_u8(0x43),
            Self::Uint(number) => match u8::try_from(*number) {
                Ok(number) => put(out, 0x52, &[number]),
                Err(_) => put(out, 0x70, &number.to_be_bytes()),
            },
            Self::Ulong(0) => out.put_u8(0x44),
            Self::Ulong(number) => match u8::try_from(*number) {
                Ok(number) => put(out, 0x53, &[number]),
                Err(_) => put(out, 0x80, &number.to_be_bytes()),
            },
            Self::Byte(number) => put(out, 0x51, &number.to_be_bytes()),
            Self::Short(number) => put(out, 0x61, &number.to_be_bytes()),
            Self::Int(number) => put(out, 0x71, &number.to_be_bytes()),
            Self::Long(number) => put(out, 0x81, &number.to_be_bytes()),
            Self::Float(number) => put(out, 0x72, &number.to_be_bytes()),
            Self::Double(number) => put(out, 0x82, &number.to_be_bytes()),
            Self::Opaque(constructor, bytes) => put(out, *constructor, bytes),
            Self::Timestamp(number) => put(out, 0x83, &number.to_be_bytes()),
            Self::Uuid(bytes) => put(out, 0x98, bytes),
            Self::Binary(bytes) => variable(out, 0xa0, bytes),
            Self::String(text) => variable(out, 0xa1, text.as_bytes()),
            Self::Symbol(text) => variable(out, 0xa3, text.as_bytes()),
            Self::List(fields) => {
                let mut body = BytesMut::new();
                fields.iter().for_each(|field| field.write(&mut body));
                compound(out, 0xc0, fields.len(), &body);
            }
            Self::Map(pairs) => {
                let mut body = BytesMut::new();
                for (key, value) in pairs {
                    key.write(&mut body);
                    value.write(&mut body);
                }
                compound(out, 0xc1, pairs.len() * 2, &body);
            }
            Self::Array(elements) => {
                let mut body = BytesMut::new();
                array(&mut body, elements);
                out.put_u8(0xf0);
                out.put_u32(body.len() as u32 + 4);
                out.put_u32(elements.len() as u32);
                out.put_slice(&body);
            }
            Self::Described(descriptor, value) => {
                out.put_u8(0);
                descriptor.write(out);
                value.write(out);
            }
        }
    }

    /// Take one value from the front.
    ///
    /// # Errors
    /// If there is no whole value at the front.
    pub fn read(input: &mut &[u8]) -> Result<Self, Malformed> {
        let constructor = take::<1>(input)?[0];
        if constructor == 0 {
            let descriptor = Self::read(input)?;
            return Ok(Self::Described(Box::new(descriptor), Box::new(Self::read(input)?)));
        }
        Self::read_as(constructor, input)
    }

    /// Take one value whose constructor is known.
    fn read_as(constructor: u8, input: &mut &[u8]) -> Result<Self, Malformed> {
        let text = |input: &mut &[u8], width| -> Result<String, Malformed> {
            Ok(std::str::from_utf8(sized(input, width)?).map_err(|_| Malformed("text that is not UTF-8"))?.to_owned())
        };
        Ok(match constructor {
            0x40 => Self::Null,
            0x41 => Self::Bool(true),
            0x42 => Self::Bool(false),
            0x43 => Self::Uint(0),
            0x44 => Self::Ulong(0),
            0x45 => Self::List(Vec::new()),
            0x50 => Self::Ubyte(take::<1>(input)?[0]),
            0x51 => Self::Byte(i8::from_be_bytes(take(input)?)),
            0x52 => Self::Uint(take::<1>(input)?[0].into()),
            0x53 => Self::Ulong(take::<1>(input)?[0].into()),
            0x54 => Self::Int(i8::from_be_bytes(take(input)?).into()),
            0x55 => Self::Long(i8::from_be_bytes(take(input)?).into()),
            0x56 => Self::Bool(take::<1>(input)?[0] != 0),
            0x60 => Self::Ushort(u16::from_be_bytes(take(input)?)),
            0x61 => Self::Short(i16::from_be_bytes(take(input)?)),
            0x70 => Self::Uint(u32::from_be_bytes(take(input)?)),
            0x71 => Self::Int(i32::from_be_bytes(take(input)?)),
            0x72 => Self::Float(f32::from_be_bytes(take(input)?)),
            0x80 => Self::Ulong(u64::from_be_bytes(take(input)?)),
            0x81 => Self::Long(i64::from_be_bytes(take(input)?)),
            0x82 => Self::Double(f64::from_be_bytes(take(input)?)),
            0x83 => Self::Timestamp(i64::from_be_bytes(take(input)?)),
            0x98 => Self::Uuid(take(input)?),
            0x73 | 0x74 => Self::Opaque(constructor, Bytes::copy_from_slice(cut(input, 4)?)),
            0x84 => Self::Opaque(constructor, Bytes::copy_from_slice(cut(input, 8)?)),
            0x94 => Self::Opaque(constructor, Bytes::copy_from_slice(cut(input, 16)?)),
            0xa0 | 0xb0 => Self::Binary(Bytes::copy_from_slice(sized(input, wide(constructor))?)),
            0xa1 | 0xb1 => Self::String(text(input, wide(constructor))?),
            0xa3 | 0xb3 => Self::Symbol(text(input, wide(constructor))?),
            0xc0 | 0xd0 => {
                let (count, mut body) = counted(input, wide(constructor))?;
                Self::List((0..count).map(|_| Self::read(&mut body)).collect::<Result<_, _>>()?)
            }
            0xc1 | 0xd1 => {
                let (count, mut body) = counted(input, wide(constructor))?;
                let pair = |_| Ok((Self::read(&mut body)?, Self::read(&mut body)?));
                Self::Map((0..count / 2).map(pair).collect::<Result<_, _>>()?)
            }
            0xe0 | 0xf0 => {
                let (count, mut body) = counted(input, wide(constructor))?;
                read_array(count, &mut body)?
            }
            _ => return Err(Malformed("an unknown constructor")),
        })
    }
}

/// Whether a length of this constructor has four bytes.
fn wide(constructor: u8) -> Width {
    if constructor & 0x10 == 0 { Width::One } else { Width::Four }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    One,
    Four,
}

fn read_array(count: usize, body: &mut &[u8]) -> Result<Value, Malformed> {
    if count == 0 {
        return Ok(Value::Array(Vec::new()));
    }
    let mut constructor = take::<1>(body)?[0];
    let mut descriptor = None;
    if constructor == 0 {
        descriptor = Some(Value::read(body)?);
        constructor = take::<1>(body)?[0];
    }
    let element = |_| {
        let value = Value::read_as(constructor, body)?;
        Ok(match &descriptor {
            Some(descriptor) => Value::Described(Box::new(descriptor.clone()), Box::new(value)),
            None => value,
        })
    };
    Ok(Value::Array((0..count).map(element).collect::<Result<_, _>>()?))
}

/// The elements under one constructor, which is wide enough for all of them.
fn array(out: &mut BytesMut, elements: &[Value]) {
    let constructor = match elements.first() {
        None => return out.put_u8(0x40),
        Some(Value::String(_)) => 0xb1,
        Some(Value::Symbol(_)) => 0xb3,
        Some(Value::Binary(_)) => 0xb0,
        Some(first) => {
            let mut bytes = BytesMut::new();
            first.write(&mut bytes);
            bytes[0]
        }
    };
    out.put_u8(constructor);
    for element in elements {
        match element {
            Value::String(text) | Value::Symbol(text) => {
                out.put_u32(text.len() as u32);
                out.put_slice(text.as_bytes());
            }
            Value::Binary(bytes) => {
                out.put_u32(bytes.len() as u32);
                out.put_slice(bytes);
            }
            element => {
                let mut bytes = BytesMut::new();
                element.write(&mut bytes);
                out.put_slice(&bytes[1..]);
            }
        }
    }
}

fn put(out: &mut BytesMut, constructor: u8, bytes: &[u8]) {
    out.put_u8(constructor);
    out.put_slice(bytes);
}

/// Bytes under the short form of a constructor, or under the long form if they need it.
pub(super) fn variable(out: &mut BytesMut, short: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(length) => out.put_slice(&[short, length]),
        Err(_) => {
            out.put_u8(short | 0x10);
            out.put_u32(bytes.len() as u32);
        }
    }
    out.put_slice(bytes);
}

/// Encoded elements under the short form of a constructor, or under the long form if they need it.
pub(super) fn compound(out: &mut BytesMut, short: u8, count: usize, body: &[u8]) {
    match (u8::try_from(body.len() + 1), u8::try_from(count)) {
        (Ok(size), Ok(count)) => out.put_slice(&[short, size, count]),
        _ => {
            out.put_u8(short | 0x10);
            out.put_u32(body.len() as u32 + 4);
            out.put_u32(count as u32);
        }
    }
    out.put_slice(body);
}

pub(super) fn cut<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (front, rest) = input.split_at_checked(length).ok_or(Malformed("it ends within a value"))?;
    *input = rest;
    Ok(front)
}

pub(super) fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (front, rest) = input.split_first_chunk().ok_or(Malformed("it ends within a value"))?;
    *input = rest;
    Ok(*front)
}

fn length(input: &mut &[u8], width: Width) -> Result<usize, Malformed> {
    Ok(match width {
        Width::One => take::<1>(input)?[0].into(),
        Width::Four => u32::from_be_bytes(take(input)?) as usize,
    })
}

pub(super) fn sized<'a>(input: &mut &'a [u8], width: Width) -> Result<&'a [u8], Malformed> {
    let length = length(input, width)?;
    cut(input, length)
}

/// The number of elements of a compound, and their bytes.
fn counted<'a>(input: &mut &'a [u8], width: Width) -> Result<(usize, &'a [u8]), Malformed> {
    let mut body = sized(input, width)?;
    let count = length(&mut body, width)?;
    // An element of an array may have no bytes, and no peer of ours sends many of those.
    if count > body.len() + 16 {
        return Err(Malformed("a count that its size cannot hold"));
    }
    Ok((count, body))
}

/// Take one value from the front without reading it, and return its encoding.
pub(super) fn skip<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let whole = *input;
    let mut constructor = take::<1>(input)?[0];
    if constructor == 0 {
        skip(input)?;
        skip(input)?;
        return Ok(&whole[..whole.len() - input.len()]);
    }
    if constructor == 0x56 {
        constructor = 0x50;
    }
    match constructor >> 4 {
        0x4 => {}
        0x5 => drop(cut(input, 1)?),
        0x6 => drop(cut(input, 2)?),
        0x7 => drop(cut(input, 4)?),
        0x8 => drop(cut(input, 8)?),
        0x9 => drop(cut(input, 16)?),
        0xa..=0xf => drop(sized(input, wide(constructor))?),
        _ => return Err(Malformed("an unknown constructor")),
    }
    Ok(&whole[..whole.len() - input.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value) {
        let mut bytes = BytesMut::new();
        value.write(&mut bytes);
        assert_eq!(Value::read(&mut &bytes[..]), Ok(value.clone()));
        let mut rest = &bytes[..];
        assert_eq!(skip(&mut rest), Ok(&bytes[..]));
        assert!(rest.is_empty());
        for end in 0..bytes.len() {
            assert!(Value::read(&mut &bytes[..end]).is_err(), "{value:?} cut at {end}");
        }
    }

    #[test]
    fn every_type_is_read_as_it_was_written_and_a_cut_is_found() {
        let long = "x".repeat(300);
        for value in [
            Value::Null,
            Value::Bool(true),
            Value::Ubyte(7),
            Value::Ushort(700),
            Value::Uint(0),
            Value::Uint(255),
            Value::Uint(256),
            Value::Ulong(0),
            Value::Ulong(1),
            Value::Ulong(u64::MAX),
            Value::Byte(-1),
            Value::Short(-300),
            Value::Int(-70_000),
            Value::Long(i64::MIN),
            Value::Float(1.5),
            Value::Double(-2.5),
            Value::Timestamp(-62_135_596_800_000),
            Value::Uuid([3; 16]),
            Value::Opaque(0x73, Bytes::from_static(&[0, 0, 0, 65])),
            Value::Binary(Bytes::from(long.clone())),
            Value::string("ü"),
            Value::string(long.clone()),
            Value::symbol("amqp:accepted:list"),
            Value::List(vec![Value::Null, Value::Uint(1), Value::Null]),
            Value::List(vec![Value::string(long)]),
            Value::Map(vec![(Value::symbol("a"), Value::Long(1)), (Value::symbol("b"), Value::Null)]),
            Value::Array(vec![Value::string("0"), Value::string("1")]),
            Value::Array(vec![Value::Long(5), Value::Long(6)]),
            Value::described(0x28, vec![Value::string("x")]),
        ] {
            check(value);
        }
    }

    #[test]
    fn trailing_nulls_are_written() {
        let mut bytes = BytesMut::new();
        Value::List(vec![Value::Uint(0), Value::Null, Value::Null]).write(&mut bytes);
        assert_eq!(&bytes[..], [0xc0, 4, 3, 0x43, 0x40, 0x40]);
    }
}
