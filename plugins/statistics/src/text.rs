//! Extremes, first and last values of text.
//!
//! A text that a group keeps is bounded: a longer one fails the call, so that
//! its row goes to the dead letters rather than a cut text into a table.

use std::cell::Cell as Slot;

use weir_plugin::{Cell, DataType, Decoder, Error, Malformed, State};

use crate::accumulate::{Accumulate, Input, each};
use crate::function::Function;

/// The most bytes of a text that a group keeps.
pub(crate) const TEXT_MAX_BYTES: usize = 64 * 1024;

/// A text that is kept; its buffer is used again.
#[derive(Clone, Debug, Default)]
struct Kept(Option<Vec<u8>>);

impl Kept {
    fn set(&mut self, text: &[u8]) {
        let kept = self.0.get_or_insert_default();
        kept.clear();
        kept.extend_from_slice(text);
    }

    fn cell(&self) -> Cell<'_> {
        self.0.as_deref().map_or(Cell::Null, |text| std::str::from_utf8(text).map_or(Cell::Null, Cell::Text))
    }
}

impl State for Kept {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.0.is_some()));
        if let Some(text) = &self.0 {
            to.extend_from_slice(&(text.len() as u32).to_le_bytes());
            to.extend_from_slice(text);
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        if !from.flag()? {
            return Ok(Self::default());
        }
        let length = from.u32()? as usize;
        if length > TEXT_MAX_BYTES {
            return Err(Malformed::new(format!("a text of {length} bytes is longer than {TEXT_MAX_BYTES}")));
        }
        let text = from.bytes(length)?;
        if std::str::from_utf8(text).is_err() {
            return Err(Malformed::new("a text is not UTF-8"));
        }
        Ok(Self(Some(text.to_vec())))
    }
}

/// Fold every text that is not null, with `times` beside it.
fn each_text<S, T>(
    states: &mut [S],
    groups: &[u32],
    input: &Input<'_>,
    times: impl Iterator<Item = T>,
    add: impl Fn(&mut S, &[u8], T),
) -> Result<(), Error> {
    let column = input.column()?;
    let texts = column.text()?;
    let too_long = Slot::new(None);
    let rows = (0..groups.len()).zip(times);
    each(states, groups, column.validity.as_deref(), rows, |state, (row, time)| {
        let text = texts.bytes(row).unwrap_or_default();
        if text.len() > TEXT_MAX_BYTES {
            too_long.set(Some(text.len()));
        } else {
            add(state, text, time);
        }
    });
    match too_long.get() {
        None => Ok(()),
        Some(length) => {
            Err(Error::new(format!("a text of {length} bytes is longer than the {TEXT_MAX_BYTES} that a group keeps")))
        }
    }
}

/// The smallest and the greatest text, by bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextExtremes {
    min: Kept,
    max: Kept,
}

impl TextExtremes {
    fn add(&mut self, text: &[u8]) {
        if self.min.0.as_deref().is_none_or(|min| text < min) {
            self.min.set(text);
        }
        if self.max.0.as_deref().is_none_or(|max| text > max) {
            self.max.set(text);
        }
    }
}

impl State for TextExtremes {
    fn encode(&self, to: &mut Vec<u8>) {
        self.min.encode(to);
        self.max.encode(to);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let state = Self { min: Kept::decode(from)?, max: Kept::decode(from)? };
        if state.min.0.is_some() != state.max.0.is_some() || state.min.0 > state.max.0 {
            return Err(Malformed::new("its smallest text is above its greatest"));
        }
        Ok(state)
    }
}

impl Accumulate for TextExtremes {
    fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
        each_text(states, groups, input, groups.iter(), |state: &mut Self, text, _| state.add(text))
    }

    fn merge(&mut self, source: &Self) {
        source.min.0.iter().chain(&source.max.0).for_each(|text| self.add(text));
    }

    fn value(&self, function: Function, _input: DataType) -> Cell<'_> {
        if function == Function::Min { self.min.cell() } else { self.max.cell() }
    }
}

macro_rules! end {
    ($(#[doc = $doc:literal])+ $name:ident, $later:tt) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name {
            text: Kept,
            time: i64,
        }

        impl $name {
            #[inline]
            fn add(&mut self, text: &[u8], time: i64) {
                if self.text.0.is_none() || time $later self.time {
                    self.text.set(text);
                    self.time = time;
                }
            }
        }

        impl State for $name {
            fn encode(&self, to: &mut Vec<u8>) {
                self.text.encode(to);
                to.extend_from_slice(&self.time.to_le_bytes());
            }

            fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
                Ok(Self { text: Kept::decode(from)?, time: from.i64()? })
            }
        }

        impl Accumulate for $name {
            fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
                each_text(states, groups, input, input.time()?.iter().copied(), Self::add)
            }

            fn merge(&mut self, source: &Self) {
                if let Some(text) = &source.text.0 {
                    self.add(text, source.time);
                }
            }

            fn value(&self, _function: Function, _input: DataType) -> Cell<'_> {
                self.text.cell()
            }
        }
    };
}

end! {
    /// The text with the smallest event time; of equal ones the first to arrive.
    FirstText, <
}
end! {
    /// The text with the greatest event time; of equal ones the last to arrive.
    LastText, >=
}
