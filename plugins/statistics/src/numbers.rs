//! Counts, sums and extremes.

use weir_plugin::{Cell, DataType, Decoder, Error, Malformed, State, Values};

use crate::accumulate::{Accumulate, Input, bit, each, each_float, mismatch};
use crate::function::Function;

/// Counts rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rows(u64);

impl State for Rows {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        from.u64().map(Self)
    }
}

impl Accumulate for Rows {
    fn update(states: &mut [Self], groups: &[u32], _input: &Input<'_>) -> Result<(), Error> {
        each(states, groups, None, groups.iter(), |state, _| state.0 += 1);
        Ok(())
    }

    fn merge(&mut self, source: &Self) {
        self.0 = self.0.saturating_add(source.0);
    }

    fn value(&self, _function: Function, _input: DataType) -> Cell<'_> {
        count(self.0)
    }
}

/// Counts values that are not null.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NonNulls(Rows);

impl State for NonNulls {
    fn encode(&self, to: &mut Vec<u8>) {
        self.0.encode(to);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Rows::decode(from).map(Self)
    }
}

impl Accumulate for NonNulls {
    fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
        each(states, groups, input.column()?.validity.as_deref(), groups.iter(), |state, _| state.0.0 += 1);
        Ok(())
    }

    fn merge(&mut self, source: &Self) {
        self.0.merge(&source.0);
    }

    fn value(&self, function: Function, input: DataType) -> Cell<'_> {
        self.0.value(function, input)
    }
}

/// Adds integers without overflow: 2^63 rows fit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IntSum {
    sum: i128,
    count: u64,
}

impl State for IntSum {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.sum.to_le_bytes());
        to.extend_from_slice(&self.count.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { sum: from.i128()?, count: from.u64()? })
    }
}

impl Accumulate for IntSum {
    fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
        let column = input.column()?;
        let Values::Int64(values) = &column.values else { return Err(mismatch(column)) };
        each(states, groups, column.validity.as_deref(), values.iter(), |state: &mut Self, value| {
            state.sum = state.sum.wrapping_add(i128::from(*value));
            state.count += 1;
        });
        Ok(())
    }

    fn merge(&mut self, source: &Self) {
        self.sum = self.sum.wrapping_add(source.sum);
        self.count = self.count.saturating_add(source.count);
    }

    fn value(&self, function: Function, _input: DataType) -> Cell<'_> {
        match function {
            Function::Count => count(self.count),
            _ if self.count == 0 => Cell::Null,
            Function::Avg => Cell::Float64(self.sum as f64 / self.count as f64),
            _ => i64::try_from(self.sum).map_or(Cell::Null, Cell::Int64),
        }
    }
}

/// Adds floating-point numbers and what each addition loses (Neumaier, 1974),
/// with the error found as Knuth does, without a branch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FloatSum {
    sum: f64,
    lost: f64,
    count: u64,
}

impl FloatSum {
    #[inline]
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        let added = sum - self.sum;
        self.lost += (self.sum - (sum - added)) + (value - added);
        self.sum = sum;
    }

    fn total(&self) -> f64 {
        // What infinities lose is no number.
        let total = self.sum + self.lost;
        if total.is_nan() { self.sum } else { total }
    }
}

impl State for FloatSum {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.sum.to_le_bytes());
        to.extend_from_slice(&self.lost.to_le_bytes());
        to.extend_from_slice(&self.count.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { sum: from.f64()?, lost: from.f64()?, count: from.u64()? })
    }
}

impl Accumulate for FloatSum {
    fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
        each_float(states, groups, input.column()?, |state: &mut Self, value| {
            state.add(value);
            state.count += 1;
        })
    }

    fn merge(&mut self, source: &Self) {
        self.add(source.sum);
        self.lost += source.lost;
        self.count = self.count.saturating_add(source.count);
    }

    fn value(&self, function: Function, _input: DataType) -> Cell<'_> {
        match function {
            Function::Count => count(self.count),
            _ if self.count == 0 => Cell::Null,
            Function::Avg => Cell::Float64(self.total() / self.count as f64),
            _ => Cell::Float64(self.total()),
        }
    }
}

/// The smallest and the greatest value, as keys; empty where `min > max`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extremes {
    min: i64,
    max: i64,
}

impl Default for Extremes {
    fn default() -> Self {
        Self { min: i64::MAX, max: i64::MIN }
    }
}

impl Extremes {
    #[inline]
    fn add(&mut self, key: i64) {
        self.min = self.min.min(key);
        self.max = self.max.max(key);
    }
}

impl State for Extremes {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.min.to_le_bytes());
        to.extend_from_slice(&self.max.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let state = Self { min: from.i64()?, max: from.i64()? };
        if state.min > state.max && (state.min, state.max) != (i64::MAX, i64::MIN) {
            return Err(Malformed::new("its smallest value is above its greatest"));
        }
        Ok(state)
    }
}

impl Accumulate for Extremes {
    fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
        let column = input.column()?;
        let validity = column.validity.as_deref();
        match &column.values {
            Values::Float64(values) => {
                each(states, groups, validity, values.iter().map(|value| key_of(*value)), Self::add);
            }
            Values::Int64(values) | Values::Timestamp(values) => {
                each(states, groups, validity, values.iter().copied(), Self::add);
            }
            Values::Boolean(bits) => {
                let keys = (0..groups.len()).map(|row| i64::from(bit(bits, row)));
                each(states, groups, validity, keys, Self::add);
            }
            _ => return Err(mismatch(column)),
        }
        Ok(())
    }

    fn merge(&mut self, source: &Self) {
        self.min = self.min.min(source.min);
        self.max = self.max.max(source.max);
    }

    fn value(&self, function: Function, input: DataType) -> Cell<'_> {
        if self.min > self.max {
            return Cell::Null;
        }
        match (function, input) {
            (Function::Range, DataType::Float64) => Cell::Float64(float_of(self.max) - float_of(self.min)),
            (Function::Range, _) => self.max.checked_sub(self.min).map_or(Cell::Null, Cell::Int64),
            (Function::Min, _) => value_of(self.min, input),
            (_, _) => value_of(self.max, input),
        }
    }
}

/// An integer in the order of the numbers: NaN is the greatest, whatever its
/// bits, and -0.0 comes before 0.0.
#[inline]
pub(crate) fn key_of(value: f64) -> i64 {
    let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }.cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The number of a key.
pub(crate) fn float_of(key: i64) -> f64 {
    // The same flip undoes itself: it leaves the sign as it is.
    f64::from_bits((key ^ ((key >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}

fn value_of(key: i64, data_type: DataType) -> Cell<'static> {
    match data_type {
        DataType::Float64 => Cell::Float64(float_of(key)),
        DataType::Boolean => Cell::Boolean(key != 0),
        _ => Cell::Int64(key),
    }
}

pub(crate) fn count(count: u64) -> Cell<'static> {
    Cell::Int64(i64::try_from(count).unwrap_or(i64::MAX))
}
