//! The same run with a restored state in the middle: what a restart of the host,
//! a trap, or an exchange of the component does to a plugin that remembers. And the
//! same run in two parts that are merged: what sessions do to an aggregator.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::input::{Input, Rows};
use super::json_rows::as_lines;
use super::trial::{Trial, evaluated, fold, groups_of, judge, part, update};
use crate::plugin::{Aggregator, Memory, Role, Rule};
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
            Ok(as_lines(&evaluated(aggregator, &keys)?.0))
        };
        Ok(Moved { in_two: go_on(&mut first)?, restored: go_on(&mut second)? })
    }

    /// Fold the later half of each group's rows into a group of its own and merge
    /// that into the group of the earlier ones; returns the rows, in lines, or none
    /// for roles that do not merge and for inputs without rows. Of a single row the
    /// earlier half is an empty group, as a session is that starts with a merge.
    ///
    /// # Errors
    /// Plugin if it fails, which it did not for the whole.
    pub(super) fn run_merged(&self, input: &Input) -> Result<Option<Vec<String>>> {
        let (Role::Aggregator, Input::Rows(rows)) = (self.role, input) else { return Ok(None) };
        if rows.rows.num_rows() == 0 {
            return Ok(None);
        }
        let rows = rows.with_event_time()?;
        let (groups, keys) = groups_of(&rows)?;
        let groups = parted(&groups, keys.num_rows())?;
        let mut aggregator = self.aggregator(&rows)?;
        if let Some(failed) = fold(&mut aggregator, &groups.slots, &rows.rows)?.first() {
            return Err(Error::plugin(format!("the plugin fails for input {}", failed.input)).because(&*failed.reason));
        }
        aggregator.merge(groups.earlier, groups.later.clone())?;
        aggregator.release(groups.later)?;
        let (merged, failed) = evaluated(&mut aggregator, &keys)?;
        match failed.first() {
            None => Ok(Some(as_lines(&merged))),
            Some((at, reason)) => Err(Error::plugin(format!("the plugin fails for {at}")).because(&**reason)),
        }
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
    Ok((middle, part(rows, &(0..middle))?, part(rows, &(middle..count))?))
}

/// Groups in two parts.
struct Parted {
    /// The slot of each row.
    slots: Vec<u32>,
    /// The slots of the groups, for their earlier rows.
    earlier: Vec<u32>,
    /// The slots for the later rows of each.
    later: Vec<u32>,
}

/// Each of so many groups in two parts: the later one has half of the rows, or one
/// more than the earlier one.
fn parted(groups: &[u32], count: usize) -> Result<Parted> {
    let too_many = |_| Error::data("the input has more than 2^31 groups");
    let (slots, all) = (u32::try_from(count).map_err(too_many)?, u32::try_from(2 * count).map_err(too_many)?);
    let (mut rows, mut seen) = (vec![0_usize; count], vec![0_usize; count]);
    groups.iter().for_each(|group| rows[*group as usize] += 1);
    let mut slot = |group: u32| {
        let index = group as usize;
        seen[index] += 1;
        if seen[index] <= rows[index] / 2 { group } else { group + slots }
    };
    Ok(Parted {
        slots: groups.iter().map(|group| slot(*group)).collect(),
        earlier: (0..slots).collect(),
        later: (slots..all).collect(),
    })
}

/// The states of the groups that there are so far.
fn states<'a>(groups: &[u32], state: impl Fn(u32) -> Option<&'a [u8]>) -> Vec<(u32, Arc<[u8]>)> {
    let slots = groups.iter().copied().max().map_or(0, |most| most + 1);
    (0..slots).filter_map(|slot| Some((slot, state(slot)?.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_half_of_each_group_has_a_slot_of_its_own() {
        let parted = parted(&[0, 1, 0, 2, 0, 1], 3).unwrap();
        assert_eq!(parted.slots, [0, 1, 3, 5, 3, 4]);
        assert_eq!((parted.earlier, parted.later), (vec![0, 1, 2], vec![3, 4, 5]));
    }
}
