//! The first and the last value by event time.
//!
//! Of equal times, the first value is the one that arrived first and the last
//! value the one that arrived last.

use weir_plugin::{Cell, DataType, Decoder, Error, Malformed, State};

use crate::accumulate::{Accumulate, Input, each_bits, from_bits};
use crate::function::Function;

/// A value with its event time.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    time: i64,
    bits: u64,
    seen: bool,
}

impl State for End {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.seen));
        if self.seen {
            to.extend_from_slice(&self.time.to_le_bytes());
            to.extend_from_slice(&self.bits.to_le_bytes());
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        if from.flag()? { Ok(Self { time: from.i64()?, bits: from.u64()?, seen: true }) } else { Ok(Self::default()) }
    }
}

macro_rules! end {
    ($(#[doc = $doc:literal])+ $name:ident, $later:tt) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct $name(End);

        impl $name {
            #[inline]
            fn add(&mut self, (bits, time): (u64, i64)) {
                if !self.0.seen || time $later self.0.time {
                    self.0 = End { time, bits, seen: true };
                }
            }
        }

        impl State for $name {
            fn encode(&self, to: &mut Vec<u8>) {
                self.0.encode(to);
            }

            fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
                End::decode(from).map(Self)
            }
        }

        impl Accumulate for $name {
            fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
                each_bits(states, groups, input, Self::add)
            }

            fn merge(&mut self, source: &Self) {
                if source.0.seen {
                    self.add((source.0.bits, source.0.time));
                }
            }

            fn value(&self, _function: Function, input: DataType) -> Cell<'_> {
                if self.0.seen { from_bits(self.0.bits, input) } else { Cell::Null }
            }
        }
    };
}

end! {
    /// The value with the smallest event time.
    First, <
}
end! {
    /// The value with the greatest event time.
    Last, >=
}
