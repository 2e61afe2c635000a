//! The bundled aggregator of weir: statistics of columns.
//!
//! `config` turns a configuration into output columns and the accumulators that
//! they need; `accumulate` feeds an accumulator in one pass over its column;
//! `numbers`, `variance`, `ends`, `text`, `distinct` and `quantiles` are the
//! accumulators. A state is the identity of
//! the set of accumulators, followed by each of them in a fixed order: it can be
//! restored under every configuration that needs the same set.
//!
//! Invariants: no result depends on how the rows were cut into chunks, except
//! for the rounding of sums; no row allocates, except where a text is kept.

mod accumulate;
mod config;
mod distinct;
mod ends;
mod function;
mod numbers;
mod quantiles;
mod text;
mod variance;

#[cfg(test)]
mod tests;

use weir_plugin::{
    Aggregator, AggregatorInfo, Batch, CellsBuilder, Decoder, Error, Malformed, Manifest, Plugin, Problem, Schema,
    StatesBuilder, VarBytes,
};

use crate::accumulate::States;
use crate::config::{Config, Output};

/// The version of the state that is written.
const STATE_VERSION: u32 = 1;

/// Statistics of columns by group.
pub struct Statistics {
    outputs: Vec<Output>,
    accumulators: Vec<Box<dyn States>>,
    /// Which accumulators a state holds.
    identity: u64,
}

impl Plugin for Statistics {
    fn manifest() -> Manifest {
        Manifest::new(
            "statistics",
            env!("CARGO_PKG_VERSION"),
            "Counts, sums, averages, deviations, extremes, first and last values, quantiles of columns.",
            config::SCHEMA,
        )
    }
}

impl Aggregator for Statistics {
    fn configure(config: &str, input: Schema) -> Result<(Self, AggregatorInfo), Vec<Problem>> {
        let config = Config::new(config, &input)?;
        let rows = input.select(&config.columns);
        // Whole rows have no position, and nobody looks at it.
        let position = |column: &str| rows.position(column).unwrap_or(usize::MAX);
        let time = position(config::EVENT_TIME);
        let states = config.accumulators.iter().map(|wanted| wanted.states(position(&wanted.column), time));
        let identities: Vec<String> = config.accumulators.iter().map(|wanted| wanted.identity()).collect();
        let statistics = Self {
            accumulators: states.collect(),
            identity: fnv1a(identities.join("\n").as_bytes()),
            outputs: config.outputs.clone(),
        };
        let info = AggregatorInfo {
            output: config.output(),
            columns: config.columns,
            state_version: STATE_VERSION,
            restorable: vec![STATE_VERSION],
        };
        Ok((statistics, info))
    }

    fn update(&mut self, groups: &[u32], rows: &Batch) -> Result<(), Error> {
        if groups.len() != rows.rows as usize {
            return Err(Error::new(format!("{} groups for {} rows", groups.len(), rows.rows)));
        }
        self.accumulators.iter_mut().try_for_each(|states| states.update(groups, rows))
    }

    fn merge(&mut self, into: &[u32], sources: &[u32]) -> Result<(), Error> {
        if into.len() != sources.len() {
            return Err(Error::new(format!("{} sources for {} groups", sources.len(), into.len())));
        }
        self.accumulators.iter_mut().try_for_each(|states| states.merge(into, sources))
    }

    fn evaluate(&self, groups: &[u32]) -> Result<Batch, Error> {
        let rows = u32::try_from(groups.len()).map_err(|_| Error::new("more groups than a batch has rows"))?;
        let columns = self.outputs.iter().map(|output| {
            let mut column = CellsBuilder::new(output.data_type)?;
            self.accumulators[output.accumulator].evaluate(groups, output.function, output.input, &mut column);
            Ok(column.into_column())
        });
        Ok(Batch { rows, columns: columns.collect::<Result<_, Error>>()? })
    }

    fn release(&mut self, groups: &[u32]) {
        self.accumulators.iter_mut().for_each(|states| states.release(groups));
    }

    fn snapshot(&self, groups: &[u32]) -> Result<VarBytes, Error> {
        let mut snapshot = StatesBuilder::with_capacity(groups.len());
        for group in groups {
            snapshot.push_with(|to| {
                to.extend_from_slice(&self.identity.to_le_bytes());
                self.accumulators.iter().for_each(|states| states.encode(*group, to));
            })?;
        }
        Ok(snapshot.finish())
    }

    fn restore(&mut self, groups: &[u32], states: &VarBytes, state_version: u32) -> Result<(), Error> {
        if state_version != STATE_VERSION {
            return Err(Error::new(format!("cannot restore state version {state_version}, only {STATE_VERSION}")));
        }
        if groups.len() != states.len() {
            return Err(Error::new(format!("{} states for {} groups", states.len(), groups.len())));
        }
        for (index, (group, state)) in groups.iter().zip(states.iter()).enumerate() {
            self.restore_one(*group, state).map_err(|malformed| malformed.at(index))?;
        }
        Ok(())
    }
}

impl Statistics {
    fn restore_one(&mut self, group: u32, state: &[u8]) -> Result<(), Malformed> {
        let mut from = Decoder::new(state);
        if from.u64()? != self.identity {
            return Err(Malformed::new(
                "it was written under a configuration with other columns, types or functions; \
                 give the step a new name to start over",
            ));
        }
        self.accumulators.iter_mut().try_for_each(|states| states.decode(group, &mut from))?;
        from.end()
    }
}

/// The FNV-1a hash of 64 bits (Fowler, Noll, Vo).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

weir_plugin::export_aggregator!(Statistics);
