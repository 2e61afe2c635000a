//! From a failed call to the inputs that make the plugin fail.
//!
//! The whole chunk is tried twice, because a failure may have been a passing one
//! (a deadline on a busy machine). Then halves are tried, and halves of those
//! that fail, until single inputs stand alone.

use std::ops::Range;
use std::time::Duration;

use super::sandbox::Failure;
use super::step::OnFailure;
use crate::env::Stopwatch;
use crate::{Error, Result};

/// The time that one chunk may take to isolate. A plugin that needs longer is
/// broken rather than its input.
const BUDGET: Duration = Duration::from_secs(60);

/// A range of the inputs and what came of it; a failed range has one input.
pub(super) type Part<T> = (Range<usize>, std::result::Result<T, Failure>);

/// Run `attempt` over `0..len`, isolating the inputs that it fails for.
///
/// The parts come back in order and cover all inputs.
///
/// # Errors
/// Plugin if it fails twice and `on_failure` says so, or if isolating takes
/// longer than its budget.
pub(super) fn isolate<T>(
    step: &str,
    len: usize,
    on_failure: OnFailure,
    mut attempt: impl FnMut(Range<usize>) -> std::result::Result<T, Failure>,
) -> Result<Vec<Part<T>>> {
    let first = match attempt(0..len) {
        Ok(output) => return Ok(vec![(0..len, Ok(output))]),
        Err(failure) => failure,
    };
    tracing::warn!(step, "trying a chunk of {len} inputs again: {first}");
    let failure = match attempt(0..len) {
        Ok(output) => return Ok(vec![(0..len, Ok(output))]),
        Err(failure) => failure,
    };
    if matches!(failure, Failure::NotStarted(_)) {
        return Err(Error::plugin(format!("{step} cannot go on")).because(failure));
    }
    if on_failure == OnFailure::Fail {
        return Err(Error::plugin(format!("{step} fails on a chunk of {len} inputs, and `on_error` is \"fail\""))
            .because(failure));
    }
    if len <= 1 {
        return Ok(vec![(0..len, Err(failure))]);
    }
    let watch = Stopwatch::start();
    let mut parts = Vec::new();
    let mut isolated = 0;
    // The next range to try is on top, so that parts come out in order.
    let mut open = vec![len / 2..len, 0..len / 2];
    while let Some(range) = open.pop() {
        if watch.elapsed() > BUDGET {
            return Err(Error::plugin(format!(
                "{step} fails for too many inputs: {isolated} of a chunk of {len} isolated in {BUDGET:?}"
            ))
            .because(failure));
        }
        match attempt(range.clone()) {
            Ok(output) => parts.push((range, Ok(output))),
            Err(failure @ Failure::NotStarted(_)) => {
                return Err(Error::plugin(format!("{step} cannot go on")).because(failure));
            }
            Err(failure) if range.len() == 1 => {
                isolated += 1;
                parts.push((range, Err(failure)));
            }
            Err(_) => {
                let middle = range.start + range.len() / 2;
                open.push(middle..range.end);
                open.push(range.start..middle);
            }
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs over `len` inputs of which `bad` always fail, and the whole call
    /// fails `passing` times besides; returns the failed inputs.
    fn check(len: usize, bad: &[usize], mut passing: usize, on_failure: OnFailure) -> Result<Vec<usize>> {
        let parts = isolate("parser", len, on_failure, |range| {
            if passing > 0 {
                passing -= 1;
                return Err(Failure::DeadlineMissed(BUDGET));
            }
            match bad.iter().any(|bad| range.contains(bad)) {
                true => Err(Failure::Trapped("unreachable".into())),
                false => Ok(()),
            }
        })?;
        let covered: Vec<usize> = parts.iter().flat_map(|(range, _)| range.clone()).collect();
        assert_eq!(covered, (0..len).collect::<Vec<_>>(), "the parts cover all inputs in order");
        Ok(parts.into_iter().filter(|(_, result)| result.is_err()).flat_map(|(range, _)| range).collect())
    }

    #[test]
    fn offending_inputs_are_isolated_and_no_others() {
        for (len, bad) in
            [(1, vec![]), (1, vec![0]), (2, vec![1]), (7, vec![0, 6]), (1000, vec![13, 14, 999]), (3, vec![0, 1, 2])]
        {
            assert_eq!(check(len, &bad, 0, OnFailure::Isolate).unwrap(), bad, "{bad:?} of {len}");
        }
    }

    #[test]
    fn passing_failure_is_retried_once() {
        assert_eq!(check(10, &[], 1, OnFailure::Fail).unwrap(), Vec::<usize>::new());
        assert!(check(10, &[], 2, OnFailure::Fail).is_err());
        assert_eq!(check(10, &[], 2, OnFailure::Isolate).unwrap(), Vec::<usize>::new());
    }
}
