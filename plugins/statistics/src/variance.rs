//! The spread of numbers: Welford's method, merged as Chan, Golub and LeVeque
//! do ("Updating formulae and a pairwise algorithm for computing sample
//! variances", 1979).

use weir_plugin::{Cell, DataType, Decoder, Error, Malformed, State};

use crate::accumulate::{Accumulate, Input, each_float};
use crate::function::Function;
use crate::numbers::count;

/// Count, mean, and the sum of the squares of what differs from the mean.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variance {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Variance {
    #[inline]
    fn add(&mut self, value: f64) {
        self.count += 1;
        let from_old = value - self.mean;
        self.mean += from_old / self.count as f64;
        self.squares += from_old * (value - self.mean);
    }
}

impl State for Variance {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.count.to_le_bytes());
        to.extend_from_slice(&self.mean.to_le_bytes());
        to.extend_from_slice(&self.squares.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let state = Self { count: from.u64()?, mean: from.f64()?, squares: from.f64()? };
        if state.squares < 0.0 {
            return Err(Malformed::new("a sum of squares is negative"));
        }
        Ok(state)
    }
}

impl Accumulate for Variance {
    fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error> {
        each_float(states, groups, input.column()?, Self::add)
    }

    fn merge(&mut self, source: &Self) {
        if source.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *source;
            return;
        }
        let (mine, theirs) = (self.count as f64, source.count as f64);
        let apart = source.mean - self.mean;
        self.count = self.count.saturating_add(source.count);
        let all = self.count as f64;
        self.mean += apart * (theirs / all);
        self.squares += source.squares + apart * apart * (mine * theirs / all);
    }

    fn value(&self, function: Function, _input: DataType) -> Cell<'_> {
        match function {
            Function::Count => count(self.count),
            Function::StddevPop if self.count > 0 => Cell::Float64((self.squares / self.count as f64).sqrt()),
            // One value has no sample deviation, as in Spark.
            Function::Stddev if self.count > 1 => Cell::Float64((self.squares / (self.count - 1) as f64).sqrt()),
            _ => Cell::Null,
        }
    }
}
