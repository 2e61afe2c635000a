//! States as bytes: little-endian, field by field, never an image of memory.

use crate::build::BytesBuilder;
use crate::{Error, VarBytes};

/// What a plugin keeps for a group. The default is the empty group.
pub trait State: Default {
    /// Append the bytes of the state.
    fn encode(&self, to: &mut Vec<u8>);

    /// Read what `encode` wrote, and no byte more.
    ///
    /// # Errors
    /// The bytes are no state.
    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed>;
}

/// Bytes that are no state, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl Malformed {
    /// Bytes that are no state for this reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The failure to restore the group at `index` of a call.
    #[must_use]
    pub fn at(self, index: usize) -> Error {
        Error::new(format!("the state of group {index} is malformed: {self}"))
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Appends the states of groups.
#[derive(Clone, Debug, Default)]
pub struct StatesBuilder {
    states: BytesBuilder,
    state: Vec<u8>,
}

impl StatesBuilder {
    /// No states yet, with room for those of `groups` groups.
    #[must_use]
    pub fn with_capacity(groups: usize) -> Self {
        Self { states: BytesBuilder::with_capacity(groups, 0), state: Vec::new() }
    }

    /// Append the state that `encode` writes.
    ///
    /// # Errors
    /// All states together have more than the 2 GiB that the contract can carry.
    pub fn push_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        self.state.clear();
        encode(&mut self.state);
        if self.states.byte_len() + self.state.len() > i32::MAX as usize {
            return Err(Error::new("the states of one snapshot have more than 2 GiB; take it in parts"));
        }
        self.states.push(&self.state);
        Ok(())
    }

    /// The states.
    #[must_use]
    pub fn finish(self) -> VarBytes {
        self.states.into_var_bytes()
    }
}

/// Reads a state from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

macro_rules! numbers {
    ($($(#[doc = $doc:literal])+ $number:ident,)+) => {
        $(
            $(#[doc = $doc])+
            ///
            /// # Errors
            /// The state ends before.
            pub fn $number(&mut self) -> Result<$number, Malformed> {
                let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.too_short(size_of::<$number>()))?;
                self.rest = rest;
                Ok($number::from_le_bytes(*bytes))
            }
        )+
    };
}

impl<'a> Decoder<'a> {
    /// Start at the first byte.
    #[must_use]
    pub fn new(state: &'a [u8]) -> Self {
        Self { rest: state }
    }

    numbers! {
        /// The next byte.
        u8,
        /// The next 4 bytes as an unsigned integer.
        u32,
        /// The next 4 bytes as a signed integer.
        i32,
        /// The next 8 bytes as an unsigned integer.
        u64,
        /// The next 8 bytes as a signed integer.
        i64,
        /// The next 16 bytes as a signed integer.
        i128,
        /// The next 8 bytes as a floating-point number.
        f64,
    }

    /// The next byte as a flag, 0 or 1.
    ///
    /// # Errors
    /// The state ends before, or the byte is another one.
    pub fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Malformed::new(format!("{other} stands where 0 or 1 was expected"))),
        }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// The state ends before.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.too_short(count))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// Bytes are left.
    pub fn end(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Malformed::new(format!("{left} bytes follow its end"))),
        }
    }

    fn too_short(&self, wanted: usize) -> Malformed {
        Malformed::new(format!("it ends after {} of {wanted} bytes", self.rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_reads_in_order_and_knows_its_end() {
        let bytes = [7, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x'];
        let mut from = Decoder::new(&bytes);
        assert_eq!((from.u8(), from.u32(), from.i32()), (Ok(7), Ok(1), Ok(-1)));
        assert!(from.end().is_err(), "a byte is left");
        assert!(from.u64().is_err(), "one byte is not eight");
        assert_eq!(from.bytes(1), Ok(b"x".as_slice()));
        assert_eq!(from.end(), Ok(()));
        assert!(Decoder::new(&[2]).flag().is_err());
    }
}
