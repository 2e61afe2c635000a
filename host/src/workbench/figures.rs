//! How fast plugins are: each measured in turn, the median over the rounds.
//!
//! What counts is the CPU time of this thread, because all work of a contender is
//! done on it: other work on the machine does not slow a figure down, or hardly.

use std::time::Duration;

use super::contenders::Contender;
use crate::Result;
use crate::env::CpuStopwatch;

/// Rounds that count, behind one that warms up.
const ROUNDS: usize = 5;
/// A round takes at least so long, so that short passes are measured too.
const ROUND_TIME: Duration = Duration::from_millis(50);
/// Passes of a round, at most.
const MAX_PASSES: u32 = 1000;

/// What one contender took.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Who it is.
    pub name: String,
    /// The rows of one pass: those that a parser gives, those that others take.
    pub rows: u64,
    /// The bytes of one pass.
    pub bytes: u64,
    /// The CPU time of one pass.
    pub time: Duration,
    /// Of the calls; none for a native loop.
    pub calls: Option<Calls>,
}

/// What the calls of a plugin took.
#[derive(Debug, Clone)]
pub struct Calls {
    /// The median time of a call.
    pub p50: Duration,
    /// The time that one call in a hundred exceeds.
    pub p99: Duration,
    /// The most memory that the instance had.
    pub memory_bytes: usize,
    /// The shares of the time within the plugin, at the boundary, and for checks.
    pub shares: [f64; 3],
}

impl Figures {
    /// Rows in a second of CPU time.
    pub fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.seconds()
    }

    /// Megabytes (10⁶) in a second of CPU time.
    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds()
    }

    /// The CPU time of one pass, never zero.
    pub fn seconds(&self) -> f64 {
        self.time.as_secs_f64().max(1e-9)
    }
}

/// Measure each contender over its input.
///
/// # Errors
/// Plugin if one of them fails.
pub fn measure(mut contenders: Vec<Contender>) -> Result<Vec<Figures>> {
    let mut passes = Vec::with_capacity(contenders.len());
    for contender in &mut contenders {
        let watch = CpuStopwatch::start();
        contender.pass()?;
        let wanted = ROUND_TIME.as_secs_f64() / watch.elapsed().as_secs_f64().max(1e-9);
        passes.push((wanted.ceil().min(f64::from(MAX_PASSES)) as u32).max(1));
        contender.forget_stats();
    }
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((times, contender), passes) in times.iter_mut().zip(contenders.iter_mut()).zip(&passes) {
            let watch = CpuStopwatch::start();
            for _ in 0..*passes {
                contender.pass()?;
            }
            times.push(watch.elapsed() / *passes);
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    Ok(contenders.into_iter().zip(times).map(|(contender, times)| contender.into_figures(median(times))).collect())
}

impl Calls {
    /// Out of what the sandbox counted; none if there was no call.
    pub(super) fn of(stats: &crate::plugin::CallStats) -> Option<Self> {
        let mut latencies = stats.latencies_us.clone();
        latencies.sort_unstable();
        let at = |quantile: f64| {
            let index = ((latencies.len().checked_sub(1)?) as f64 * quantile).round() as usize;
            latencies.get(index).map(|us| Duration::from_micros(u64::from(*us)))
        };
        let whole = (stats.inside + stats.boundary + stats.validation).as_secs_f64().max(1e-9);
        let share = |part: Duration| part.as_secs_f64() / whole;
        Some(Self {
            p50: at(0.5)?,
            p99: at(0.99)?,
            memory_bytes: stats.peak_memory_bytes,
            shares: [share(stats.inside), share(stats.boundary), share(stats.validation)],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::CallStats;

    #[test]
    fn quantiles_of_calls_are_among_them() {
        assert!(Calls::of(&CallStats::default()).is_none());
        let stats = CallStats { latencies_us: (1..=100).rev().collect(), ..CallStats::default() };
        let calls = Calls::of(&stats).unwrap();
        assert_eq!((calls.p50, calls.p99), (Duration::from_micros(51), Duration::from_micros(99)));
    }
}
