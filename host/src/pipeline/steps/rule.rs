//! A rule step in one shard.

use bytes::Bytes;

use super::feed::Fed;
use super::shard::{Answer, Ended};
use super::window::{name_rows, pick};
use crate::Result;
use crate::event_time::{Groups, Lifetime, StateColumns};
use crate::model::{EventTime, Span};
use crate::plugin::{CallStats, Memory, Rule};

/// A rule step with the groups of one shard.
pub(in super::super) struct RuleShard {
    rule: Rule,
    groups: Groups,
    state: StateColumns,
}

impl RuleShard {
    pub(in super::super) fn new(rule: Rule, forget_after: Option<Span>, state: StateColumns) -> Self {
        Self { rule, groups: Groups::new(Lifetime::Key { forget_after }), state }
    }

    /// The same step for another shard, without groups.
    pub(super) fn fork(&self) -> Self {
        Self { rule: self.rule.fork(), groups: self.groups.empty(), state: self.state.clone() }
    }

    /// Take over the states of another version of the step, if both have some.
    pub(super) fn adopt(&mut self, running: &Self) -> Result<()> {
        match (self.rule.memory(), running.rule.memory()) {
            (Memory::Keyed, Memory::Keyed) => self.rule.adopt(&running.rule),
            (Memory::Keyed | Memory::Stateless, _) => Ok(()),
        }
    }

    /// Take over the groups of another version of the step, whose states it has.
    pub(super) fn take_groups(&mut self, running: &mut Self) {
        if self.rule.memory() == running.rule.memory() {
            std::mem::swap(&mut self.groups, &mut running.groups);
        }
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    #[cfg(test)]
    pub(super) fn plugin(&mut self) -> &mut Rule {
        &mut self.rule
    }

    pub(super) fn set_now(&mut self, now_us: i64) {
        self.rule.set_now(now_us);
    }

    pub(super) fn take_stats(&mut self) -> CallStats {
        self.rule.take_stats()
    }

    pub(super) fn feed(&mut self, fed: &Fed, shard: (usize, usize), watermark: Option<EventTime>) -> Result<Answer> {
        let first = fed.first.as_ref();
        let assigned = self.groups.assign(&fed.keys, (fed.times.values(), fed.times.valid(), first), shard, watermark);
        let rows = pick(&fed.rows, &assigned.rows)?;
        let groups = match self.rule.memory() {
            Memory::Keyed => assigned.groups.as_slice(),
            Memory::Stateless => &[],
        };
        let mut judged = self.rule.evaluate(groups, &rows)?;
        name_rows(&mut judged.failed, &assigned.rows);
        for row in &mut judged.alerts.rows {
            *row = assigned.rows[*row as usize];
        }
        Ok(Answer { late: Vec::new(), alerts: Some(judged.alerts), failed: judged.failed })
    }

    /// Forget the groups that are over at this watermark; how many they are.
    pub(super) fn forget(&mut self, watermark: EventTime) -> Result<u64> {
        let due = self.groups.due(watermark);
        let count = due.len() as u64;
        for slot in &due {
            self.groups.release(*slot);
        }
        if self.rule.memory() == Memory::Keyed {
            self.rule.release(due)?;
        }
        Ok(count)
    }

    /// What the epoch has changed in the groups, or all of it.
    pub(super) fn end_epoch(&mut self, all: bool) -> Result<Ended> {
        if self.rule.memory() == Memory::Stateless {
            self.groups.end_epoch();
            return Ok(Ended::default());
        }
        self.rule.move_base()?;
        let changed = self.groups.end_epoch();
        Ended::of(&self.state, &self.groups, &changed, all, |slot| self.rule.state(slot))
    }

    /// Take over what was kept of the groups of this shard.
    pub(super) fn restore(&mut self, segments: &[Bytes], version: u32, shard: (usize, usize)) -> Result<()> {
        let states = super::shard::restore(&mut self.groups, &self.state, segments, shard)?;
        self.rule.load(states, version)
    }
}
