//! Quantiles with a bounded relative error: DDSketch (Masson, Rim, Lee, "A fast
//! and fully-mergeable quantile sketch with relative-error guarantees", 2019).
//!
//! Bins are kept sparsely and sorted. Where there are too many, the lowest are
//! folded into one: which bins are kept depends only on the values, not on their
//! order, so merging equals folding.

use weir_plugin::{Cell, DataType, Decoder, Error, Malformed, State};

use crate::accumulate::{Accumulate, Input, each_float};
use crate::function::Function;
use crate::numbers::count;

/// A quantile is at most this far from the true value, relative to it.
pub(crate) const RELATIVE_ERROR: f64 = 0.01;

/// The most bins of each sign: with bins of 2 %, values over 17 orders of magnitude.
const BINS_MAX: usize = 2048;

/// The logarithm of the ratio of neighbouring bins, (1 + error) / (1 - error).
const LN_GAMMA: f64 = 0.020_000_666_706_669_435;

/// Counts of values by bin, ascending by key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Bins {
    keys: Vec<i32>,
    counts: Vec<u64>,
}

impl Bins {
    #[inline]
    fn add(&mut self, key: i32, count: u64) {
        match self.keys.binary_search(&key) {
            Ok(at) => self.counts[at] += count,
            // A full sketch has folded everything below its lowest bin into that.
            Err(0) if self.keys.len() == BINS_MAX => self.counts[0] += count,
            Err(at) => self.insert(at, key, count),
        }
    }

    #[cold]
    fn insert(&mut self, at: usize, key: i32, count: u64) {
        self.keys.insert(at, key);
        self.counts.insert(at, count);
        if self.keys.len() > BINS_MAX {
            let lowest = self.counts.remove(0);
            self.keys.remove(0);
            self.counts[0] += lowest;
        }
    }

    fn merge(&mut self, source: &Self) {
        // From the top, so that a bin is folded at most once.
        for (key, count) in source.keys.iter().zip(&source.counts).rev() {
            self.add(*key, *count);
        }
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl State for Bins {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&(self.keys.len() as u32).to_le_bytes());
        for (key, count) in self.keys.iter().zip(&self.counts) {
            to.extend_from_slice(&key.to_le_bytes());
            to.extend_from_slice(&count.to_le_bytes());
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let length = from.u32()? as usize;
        if length > BINS_MAX {
            return Err(Malformed::new(format!("a sketch has {length} bins, more than {BINS_MAX}")));
        }
        let mut bins = Self { keys: Vec::with_capacity(length), counts: Vec::with_capacity(length) };
        let mut total = 0_u64;
        for _ in 0..length {
            let (key, count) = (from.i32()?, from.u64()?);
            if bins.keys.last().is_some_and(|last| *last >= key) || count == 0 {
                return Err(Malformed::new("the bins of a sketch are not ascending, or one is empty"));
            }
            total = total.checked_add(count).ok_or_else(|| Malformed::new("a sketch has too many values"))?;
            bins.keys.push(key);
            bins.counts.push(count);
        }
        Ok(bins)
    }
}

/// A sketch of the distribution of numbers. NaN is greater than any number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Quantiles {
    negative: Bins,
    zeros: u64,
    positive: Bins,
    nans: u64,
    /// The smallest and the greatest number: no quantile lies beyond them.
    ends: Option<(f64, f64)>,
}

impl Quantiles {
    #[inline]
    fn add(&mut self, value: f64) {
        if value > 0.0 {
            self.positive.add(key_of(value), 1);
        } else if value < 0.0 {
            self.negative.add(key_of(-value), 1);
        } else if value == 0.0 {
            self.zeros += 1;
        } else {
            self.nans += 1;
            return;
        }
        self.widen((value, value));
    }

    #[inline]
    fn widen(&mut self, (least, greatest): (f64, f64)) {
        let (min, max) = self.ends.unwrap_or((least, greatest));
        self.ends = Some((min.min(least), max.max(greatest)));
    }

    fn total(&self) -> u64 {
        self.negative.total() + self.zeros + self.positive.total() + self.nans
    }

    /// The value at this fraction of the way from the smallest to the greatest.
    fn at(&self, quantile: f64) -> Option<f64> {
        let last = self.total().checked_sub(1)?;
        let mut rank = (quantile * last as f64) as u64;
        // The negative number farthest from zero is the smallest.
        let negative = self.negative.keys.iter().zip(&self.negative.counts).rev();
        let negative = negative.map(|(key, count)| (-value_of(*key), *count));
        let positive = self.positive.keys.iter().zip(&self.positive.counts);
        let positive = positive.map(|(key, count)| (value_of(*key), *count));
        for (value, count) in negative.chain([(0.0, self.zeros)]).chain(positive) {
            if rank < count {
                return Some(self.ends.map_or(value, |(min, max)| value.clamp(min, max)));
            }
            rank -= count;
        }
        Some(f64::NAN)
    }
}

impl State for Quantiles {
    fn encode(&self, to: &mut Vec<u8>) {
        self.negative.encode(to);
        self.positive.encode(to);
        to.extend_from_slice(&self.zeros.to_le_bytes());
        to.extend_from_slice(&self.nans.to_le_bytes());
        // An empty sketch has ends the wrong way round.
        let (min, max) = self.ends.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        to.extend_from_slice(&min.to_le_bytes());
        to.extend_from_slice(&max.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut state = Self {
            negative: Bins::decode(from)?,
            positive: Bins::decode(from)?,
            zeros: from.u64()?,
            nans: from.u64()?,
            ends: None,
        };
        let (min, max) = (from.f64()?, from.f64()?);
        if min.is_nan() || max.is_nan() {
            return Err(Malformed::new("a sketch ends at no number"));
        }
        state.ends = (min <= max).then_some((min, max));
        let counts = [state.negative.total(), state.positive.total(), state.zeros, state.nans];
        if counts.into_iter().try_fold(0_u64, u64::checked_add).is_none() {
            return Err(Malformed::new("a sketch has too many values"));
        }
        Ok(state)
    }
}

impl Accumulate for Quantiles {
    fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
        each_float(states, groups, input.column()?, Self::add)
    }

    fn merge(&mut self, source: &Self) {
        self.negative.merge(&source.negative);
        self.positive.merge(&source.positive);
        self.zeros += source.zeros;
        self.nans += source.nans;
        if let Some(ends) = source.ends {
            self.widen(ends);
        }
    }

    fn value(&self, function: Function, _input: DataType) -> Cell<'_> {
        match function {
            Function::Quantile(quantile) => self.at(quantile).map_or(Cell::Null, Cell::Float64),
            _ => count(self.total()),
        }
    }
}

/// The bin of a positive number: gamma^(key - 1) < value <= gamma^key.
#[inline]
fn key_of(value: f64) -> i32 {
    // Infinity has the highest key.
    (value.ln() / LN_GAMMA).ceil() as i32
}

/// The number in the middle of a bin, as the relative error goes.
fn value_of(key: i32) -> f64 {
    let value = (f64::from(key) * LN_GAMMA).exp() * (1.0 - RELATIVE_ERROR);
    // The highest bin of finite numbers reaches beyond them.
    if value.is_infinite() && key < i32::MAX { f64::MAX } else { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(values: &[f64]) -> Quantiles {
        let mut sketch = Quantiles::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    #[test]
    fn the_constant_is_the_logarithm_of_the_ratio() {
        let gamma = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);
        assert!((gamma.ln() - LN_GAMMA).abs() < 1e-15);
    }

    #[test]
    fn odd_values_have_their_place() {
        let all = sketch(&[f64::NAN, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE]);
        assert_eq!(all.at(0.0), Some(f64::NEG_INFINITY));
        assert_eq!(all.at(0.2), Some(0.0));
        assert_eq!(all.at(0.84), Some(f64::INFINITY));
        assert!(all.at(1.0).is_some_and(f64::is_nan));
        let great = sketch(&[f64::MAX]).at(0.5).expect("one value");
        assert!((great / f64::MAX - 1.0).abs() < 0.0101, "{great}");
        assert_eq!(Quantiles::default().at(0.5), None);
    }

    #[test]
    fn quantiles_lie_within_the_values() {
        assert_eq!(sketch(&[250.0]).at(0.5), Some(250.0));
        assert_eq!(sketch(&[10.5, 20.0]).at(0.0), Some(10.5));
        assert_eq!(sketch(&[-3.0, -1.0]).at(1.0), Some(-1.0));
    }

    #[test]
    fn a_full_sketch_keeps_the_greatest_values_in_every_order() {
        let values: Vec<f64> = (-3000..3000).map(|power| 1.03_f64.powi(power)).collect();
        let up = sketch(&values);
        let down = sketch(&values.iter().rev().copied().collect::<Vec<_>>());
        assert_eq!(up.positive.keys.len(), BINS_MAX);
        assert_eq!((&up, up.total()), (&down, 6000));
        let median = up.at(0.9).expect("values");
        assert!((median / values[5399] - 1.0).abs() <= RELATIVE_ERROR * 1.001);
    }

    proptest! {
        #[test]
        fn quantiles_are_as_near_as_promised(values in proptest::collection::vec(-1e6..1e6, 1..300), quantile in 0.0..=1.0) {
            let found = sketch(&values).at(quantile).expect("values");
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            let exact = sorted[(quantile * (sorted.len() - 1) as f64) as usize];
            prop_assert!((found - exact).abs() <= exact.abs() * (RELATIVE_ERROR + 1e-9), "{found} for {exact}");
        }

        #[test]
        fn merging_equals_folding(values in proptest::collection::vec(any::<f64>(), 0..300), cut in 0_usize..300) {
            let (one, other) = values.split_at(cut.min(values.len()));
            let mut merged = sketch(one);
            merged.merge(&sketch(other));
            prop_assert_eq!(merged, sketch(&values));
        }
    }
}
