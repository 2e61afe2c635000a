//! How many different values there are: HyperLogLog (Flajolet and others, 2007),
//! sparse at first as in HyperLogLog++ (Heule, Nunkesser, Hall, 2013), with the
//! estimator of Ertl ("New cardinality estimation algorithms for HyperLogLog
//! sketches", 2017), which needs no table of corrections.
//!
//! The registers depend only on the set of values, so merging equals folding.

use std::cmp::Ordering;

use twox_hash::XxHash64;
use weir_plugin::{Cell, DataType, Decoder, Error, Malformed, State, Values};

use crate::accumulate::{Accumulate, Input, bit, each, mismatch};
use crate::function::Function;
use crate::numbers::{count, key_of};

/// 2^12 registers: a standard error of 1.6 %.
const PRECISION: u32 = 12;
const REGISTERS: usize = 1 << PRECISION;

/// The precision of the sparse form.
const SPARSE_PRECISION: u32 = 25;

/// A sparse sketch with more entries becomes dense: 4 bytes each against one a register.
const SPARSE_MAX: usize = REGISTERS / 8;

/// The highest rank of a register.
const RANK_MAX: u8 = (64 - PRECISION + 1) as u8;

/// A sketch of a set of values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Distinct {
    /// Ascending entries, one for each register of the sparse precision: its
    /// index, shifted by 6 bits, and its rank.
    Sparse(Vec<u32>),
    /// The rank of each register.
    Dense(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Sparse(Vec::new())
    }
}

impl Distinct {
    #[inline]
    fn add(&mut self, hash: u64) {
        match self {
            Self::Dense(registers) => {
                let index = (hash >> (64 - PRECISION)) as usize;
                let rank = rank(hash << PRECISION, 64 - PRECISION);
                registers[index] = registers[index].max(rank);
            }
            Self::Sparse(_) => {
                let index = (hash >> (64 - SPARSE_PRECISION)) as u32;
                let rank = rank(hash << SPARSE_PRECISION, 64 - SPARSE_PRECISION);
                self.add_entry(index << 6 | u32::from(rank));
            }
        }
    }

    fn add_entry(&mut self, entry: u32) {
        match self {
            Self::Sparse(entries) => match entries.binary_search_by(|known| (known >> 6).cmp(&(entry >> 6))) {
                Ok(at) => entries[at] = entries[at].max(entry),
                Err(at) => {
                    entries.insert(at, entry);
                    if entries.len() > SPARSE_MAX {
                        self.densify();
                    }
                }
            },
            Self::Dense(registers) => {
                let (index, rank) = dense(entry);
                registers[index] = registers[index].max(rank);
            }
        }
    }

    #[cold]
    fn densify(&mut self) {
        if let Self::Sparse(entries) = std::mem::replace(self, Self::Dense(Box::new([0; REGISTERS]))) {
            entries.into_iter().for_each(|entry| self.add_entry(entry));
        }
    }

    fn estimate(&self) -> u64 {
        match self {
            // So many registers are empty that counting them is nearly exact.
            Self::Sparse(entries) => {
                let registers = f64::from(1_u32 << SPARSE_PRECISION);
                (registers * (registers / (registers - entries.len() as f64)).ln()).round() as u64
            }
            Self::Dense(registers) => ertl(registers).round() as u64,
        }
    }
}

/// The position of the first 1 bit, counted from 1, within `bits` bits.
#[inline]
fn rank(rest: u64, bits: u32) -> u8 {
    (rest.leading_zeros().min(bits) + 1) as u8
}

/// Register and rank of a sparse entry in the dense form.
fn dense(entry: u32) -> (usize, u8) {
    const BETWEEN: u32 = SPARSE_PRECISION - PRECISION;
    let (index, rank_behind) = (entry >> 6, (entry & 63) as u8);
    let between = index & ((1 << BETWEEN) - 1);
    let rank = if between == 0 {
        BETWEEN as u8 + rank_behind
    } else {
        (between.leading_zeros() - (u32::BITS - BETWEEN) + 1) as u8
    };
    ((index >> BETWEEN) as usize, rank)
}

/// The estimator of Ertl's algorithm 6.
fn ertl(registers: &[u8; REGISTERS]) -> f64 {
    let mut counts = [0_u32; RANK_MAX as usize + 1];
    registers.iter().for_each(|rank| counts[usize::from(*rank)] += 1);
    let all = REGISTERS as f64;
    let mut sum = all * tau(1.0 - f64::from(counts[usize::from(RANK_MAX)]) / all);
    for count in counts[1..usize::from(RANK_MAX)].iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += all * sigma(f64::from(counts[0]) / all);
    all * all / (2.0 * std::f64::consts::LN_2 * sum)
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * y;
        y += y;
        if sum == before {
            return sum;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        y *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * y;
        if sum == before {
            return sum / 3.0;
        }
    }
}

impl State for Distinct {
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Sparse(entries) => {
                to.push(0);
                to.extend_from_slice(&(entries.len() as u32).to_le_bytes());
                entries.iter().for_each(|entry| to.extend_from_slice(&entry.to_le_bytes()));
            }
            Self::Dense(registers) => {
                to.push(1);
                to.extend_from_slice(&registers[..]);
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        if from.flag()? {
            let mut registers = Box::new([0; REGISTERS]);
            registers.copy_from_slice(from.bytes(REGISTERS)?);
            if registers.iter().any(|rank| *rank > RANK_MAX) {
                return Err(Malformed::new("a register has a rank that no value has"));
            }
            return Ok(Self::Dense(registers));
        }
        let length = from.u32()? as usize;
        if length > SPARSE_MAX {
            return Err(Malformed::new(format!("a sparse sketch has {length} entries, more than {SPARSE_MAX}")));
        }
        let mut entries = Vec::with_capacity(length);
        for _ in 0..length {
            let entry = from.u32()?;
            let ascends = entries.last().is_none_or(|last: &u32| (last >> 6).cmp(&(entry >> 6)) == Ordering::Less);
            let ranked = (1..=64 - SPARSE_PRECISION + 1).contains(&(entry & 63)) && entry >> 6 < 1 << SPARSE_PRECISION;
            if !(ascends && ranked) {
                return Err(Malformed::new("the entries of a sparse sketch are not ascending registers"));
            }
            entries.push(entry);
        }
        Ok(Self::Sparse(entries))
    }
}

impl Accumulate for Distinct {
    fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
        let column = input.column()?;
        let validity = column.validity.as_deref();
        match &column.values {
            // Every NaN is the same value, and so are the two zeros.
            Values::Float64(values) => {
                let hashes = values.iter().map(|value| hash(&key_of(value + 0.0).to_le_bytes()));
                each(states, groups, validity, hashes, Self::add);
            }
            Values::Int64(values) | Values::Timestamp(values) => {
                each(states, groups, validity, values.iter().map(|value| hash(&value.to_le_bytes())), Self::add);
            }
            Values::Boolean(bits) => {
                let hashes = (0..groups.len()).map(|row| hash(&[u8::from(bit(bits, row))]));
                each(states, groups, validity, hashes, Self::add);
            }
            Values::Utf8(texts) | Values::Binary(texts) => {
                each(states, groups, validity, texts.iter(), |state: &mut Self, text| state.add(hash(text)));
            }
            Values::List(_) | Values::Struct => return Err(mismatch(column)),
        }
        Ok(())
    }

    fn merge(&mut self, source: &Self) {
        match source {
            Self::Sparse(entries) => entries.iter().for_each(|entry| self.add_entry(*entry)),
            Self::Dense(theirs) => {
                if matches!(self, Self::Sparse(_)) {
                    self.densify();
                }
                if let Self::Dense(registers) = self {
                    registers.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
                }
            }
        }
    }

    fn value(&self, _function: Function, _input: DataType) -> Cell<'_> {
        count(self.estimate())
    }
}

/// xxHash64 without a seed: states outlive a build, so the function never changes.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(values: impl IntoIterator<Item = u64>) -> Distinct {
        let mut sketch = Distinct::default();
        values.into_iter().for_each(|value| sketch.add(hash(&value.to_le_bytes())));
        sketch
    }

    #[test]
    fn estimates_are_exact_at_first_and_then_within_the_error() {
        for count in [0, 1, 2, 10, 100, 500] {
            assert_eq!(sketch(0..count).estimate(), count);
        }
        for count in [1_000_u64, 10_000, 100_000, 1_000_000] {
            let found = sketch(0..count).estimate() as f64;
            assert!((found / count as f64 - 1.0).abs() < 4.0 * 0.0163, "{found} for {count}");
        }
    }

    #[test]
    fn a_value_counts_once() {
        assert_eq!(sketch((0..10_000).map(|value| value % 7)).estimate(), 7);
    }

    #[test]
    fn the_hash_is_what_it_was() {
        assert_eq!(hash(b""), 0xef46_db37_51d8_e999);
    }

    proptest! {
        #[test]
        fn merging_equals_folding(one in 0_u64..1500, other in 0_u64..1500, shared in 0_u64..1500) {
            let mut merged = sketch(0..one + shared);
            merged.merge(&sketch(one..one + shared + other));
            let all = sketch(0..one + shared + other);
            // A sparse sketch knows more than a dense one, but never turns back.
            prop_assert_eq!(merged, all);
        }

        #[test]
        fn the_dense_form_of_an_entry_is_that_of_its_value(hash in any::<u64>()) {
            let mut sparse = Distinct::default();
            sparse.add(hash);
            sparse.densify();
            let mut dense = Distinct::Dense(Box::new([0; REGISTERS]));
            dense.add(hash);
            prop_assert_eq!(sparse, dense);
        }
    }
}
