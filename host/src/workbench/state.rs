//! The same run with a restored state in the middle: what a restart of the host,
//! a trap, or an exchange of the component does to a plugin that remembers.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};

use super::input::{Input, Rows};
use super::json_rows::as_lines;
use super::trial::{Trial, evaluated, groups_of, judge, update};
use crate::plugin::{Aggregator, Memory, Role, Rule, take_rows};
use crate::{Error, Result};

/// What a run in two parts gives, in lines.
pub(super) struct Moved {
    /// If the same instance goes on with the second part.
    pub(super) in_two: Vec<String>,
    /// If a fresh instance takes its state over in between.
    pub(super) restored: Vec<String>,
}

impl Trial<'_> {
    /// Run over the first half, hand the state to a fresh instance, and run that
    /// over the second half; none for roles that keep no state, and for inputs that
    /// cannot be cut.
    ///
    /// # Errors
    /// Plugin if it does not give its state or take it over.
    pub(super) fn run_restored(&self, input: &Input) -> Result<Option<Moved>> {
        match (self.role, input) {
            (Role::Aggregator, Input::Rows(rows)) if rows.rows.num_rows() > 1 => {
                self.aggregate_restored(rows).map(Some)
            }
            (Role::Rule, Input::Rows(rows)) if rows.rows.num_rows() > 1 => self.judge_restored(rows),
            _ => Ok(None),
        }
    }

    fn aggregate_restored(&self, rows: &Rows) -> Result<Moved> {
        let rows = rows.with_event_time()?;
        let (groups, keys) = groups_of(&rows)?;
        let (middle, before, behind) = halves(&rows.rows)?;
        let mut first = self.aggregator(&rows)?;
        update(&mut first, &groups[..middle], &before, 0)?;
        first.move_base()?;
        let states = states(&groups[..middle], |slot| first.state(slot));
        let mut second = first.fork();
        second.set_now(self.now_us);
        second.load(states, first.state_version())?;
        let go_on = |aggregator: &mut Aggregator| -> Result<Vec<String>> {
            update(aggregator, &groups[middle..], &behind, middle)?;
            Ok(as_lines(&evaluated(aggregator, &keys, &mut Vec::new())?))
        };
        Ok(Moved { in_two: go_on(&mut first)?, restored: go_on(&mut second)? })
    }

    fn judge_restored(&self, rows: &Rows) -> Result<Option<Moved>> {
        let mut first = self.rule(rows)?;
        if first.memory() == Memory::Stateless {
            return Ok(None);
        }
        let (groups, _) = groups_of(rows)?;
        let (middle, before, behind) = halves(&rows.rows)?;
        let early = as_lines(&judge(&mut first, &groups[..middle], &before, 0)?.0);
        first.move_base()?;
        let states = states(&groups[..middle], |slot| first.state(slot));
        let mut second = first.fork();
        second.set_now(self.now_us);
        second.load(states, first.state_version())?;
        let go_on = |rule: &mut Rule| -> Result<Vec<String>> {
            let late = as_lines(&judge(rule, &groups[middle..], &behind, middle)?.0);
            Ok(early.iter().cloned().chain(late).collect())
        };
        Ok(Some(Moved { in_two: go_on(&mut first)?, restored: go_on(&mut second)? }))
    }
}

/// How many rows the first half has, and both.
fn halves(rows: &RecordBatch) -> Result<(usize, RecordBatch, RecordBatch)> {
    let (middle, count) = (rows.num_rows() / 2, rows.num_rows());
    // Taken rather than sliced, because nested columns must be compact.
    let part = |from: usize, to: usize| {
        let indices: UInt32Array = (from..to).map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
        take_rows(rows, &indices).map_err(|error| Error::bug("rows cannot be taken").because(error))
    };
    Ok((middle, part(0, middle)?, part(middle, count)?))
}

/// The states of the groups that there are so far.
fn states<'a>(groups: &[u32], state: impl Fn(u32) -> Option<&'a [u8]>) -> Vec<(u32, Arc<[u8]>)> {
    let slots = groups.iter().copied().max().map_or(0, |most| most + 1);
    (0..slots).filter_map(|slot| Some((slot, state(slot)?.into()))).collect()
}
