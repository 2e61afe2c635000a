//! State that lives in a component, and how it is had again when the component
//! dies: the states of a *base*, which the host keeps, and behind it a journal of
//! the calls that have changed them since.
//!
//! A component is lost with every trap, missed deadline and invalid result. The
//! next call finds no instance, makes one, restores the base and repeats the
//! journal. The journal is bounded by moving the base: only the groups that were
//! changed are asked for their state.

use std::sync::Arc;

use super::isolate::isolate;
use super::sandbox::{Failure, Sandbox, Seat};
use super::step::{OnFailure, StepSettings};
use crate::{Error, Result};

/// A longer journal moves the base.
const MAX_JOURNAL_BYTES: usize = 16 << 20;
/// Groups whose states cross the boundary in one call, at most,
const GROUPS_PER_CALL: usize = 16_384;
/// and about the bytes of their states.
const STATE_BYTES_PER_CALL: usize = 4 << 20;

/// A larger state of one group stops the pipeline before it becomes durable.
const MAX_STATE_BYTES: usize = 4 << 20;

/// States in the contract's form: state i is `data[offsets[i]..offsets[i + 1]]`.
pub(super) struct States {
    pub(super) offsets: Vec<i32>,
    pub(super) data: Vec<u8>,
}

/// A role whose instances remember.
pub(super) trait StatefulRole {
    /// The exports of an instance.
    type Guest;
    /// A call that changed states.
    type Call;

    fn settings(&self) -> &StepSettings;
    fn configure(&self, sandbox: &mut Sandbox) -> Result<Self::Guest, Failure>;
    fn repeat(&self, sandbox: &mut Sandbox, guest: &Self::Guest, call: &Self::Call) -> Result<(), Failure>;
    fn snapshot(&self, sandbox: &mut Sandbox, guest: &Self::Guest, groups: &[u32]) -> Result<States, Failure>;
    fn restore(
        &self,
        sandbox: &mut Sandbox,
        guest: &Self::Guest,
        groups: &[u32],
        states: &States,
        version: u32,
    ) -> Result<(), Failure>;
    /// The version of the states that it writes.
    fn state_version(&self) -> u32;
    fn release(&self, sandbox: &mut Sandbox, guest: &Self::Guest, groups: &[u32]) -> Result<(), Failure>;
    fn released(groups: Vec<u32>) -> Self::Call;
}

/// What every role with state hands on to what keeps it.
macro_rules! keeps_state {
    ($role:ty, $keeper:ident) => {
        impl $role {
            /// Forget groups. Their slots must not be used again before `move_base`.
            ///
            /// # Errors
            /// Plugin if it fails twice.
            pub fn release(&mut self, groups: Vec<u32>) -> $crate::Result<()> {
                self.$keeper.release(groups)
            }

            /// Ask the groups that were changed for their states.
            ///
            /// # Errors
            /// Plugin if it cannot give one.
            pub fn move_base(&mut self) -> $crate::Result<()> {
                self.$keeper.move_base()
            }

            /// The state of a group as of the last `move_base`.
            pub fn state(&self, group: u32) -> Option<&[u8]> {
                self.$keeper.state(group)
            }

            /// Take over the states of new groups, in a version that it reads.
            ///
            /// # Errors
            /// Plugin if it does not take them.
            pub fn load(&mut self, states: Vec<(u32, std::sync::Arc<[u8]>)>, version: u32) -> $crate::Result<()> {
                self.$keeper.load(states, version)
            }

            /// Take over the groups of another version of the step, which are known by
            /// the same slots. The other one must be at the end of an epoch, and goes on
            /// being usable.
            ///
            /// # Errors
            /// Plugin if it does not take their states.
            pub fn adopt(&mut self, other: &Self) -> $crate::Result<()> {
                self.$keeper.adopt(&other.$keeper)
            }

            /// Lose the instance, as a trap does.
            #[cfg(test)]
            pub(crate) fn lose_instance(&mut self) {
                self.$keeper.lose_instance();
            }

            /// Bound the journal otherwise.
            #[cfg(test)]
            pub(crate) fn set_max_journal_bytes(&mut self, bytes: usize) {
                self.$keeper.set_max_journal_bytes(bytes);
            }
        }
    };
}
pub(super) use keeps_state;

/// One instance with its state, for one shard.
pub(super) struct Keeper<R: StatefulRole> {
    pub(super) seat: Seat<R::Guest>,
    role: Arc<R>,
    /// The state of each group as of the base, by slot.
    base: Vec<Option<Arc<[u8]>>>,
    /// The version of these states.
    base_version: u32,
    journal: Vec<R::Call>,
    journal_bytes: usize,
    max_journal_bytes: usize,
    /// Changed since the base; `is_changed` says so by slot.
    changed: Vec<u32>,
    is_changed: Vec<bool>,
    /// Released since the base.
    released: Vec<u32>,
}

impl<R: StatefulRole> Keeper<R> {
    pub(super) fn new(seat: Seat<R::Guest>, role: Arc<R>) -> Self {
        let base_version = role.state_version();
        Self {
            seat,
            role,
            base: Vec::new(),
            base_version,
            journal: Vec::new(),
            journal_bytes: 0,
            max_journal_bytes: MAX_JOURNAL_BYTES,
            changed: Vec::new(),
            is_changed: Vec::new(),
            released: Vec::new(),
        }
    }

    /// The same step for another shard, without state.
    pub(super) fn fork(&self) -> Self {
        let fork = Self::new(self.seat.fork(), Arc::clone(&self.role));
        Self { max_journal_bytes: self.max_journal_bytes, ..fork }
    }

    pub(super) fn role(&self) -> &Arc<R> {
        &self.role
    }

    /// Make a call on an instance that has all states.
    pub(super) fn call<T>(
        &mut self,
        work: impl FnOnce(&mut Sandbox, &R::Guest) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self { seat, role, base, base_version, journal, .. } = self;
        let rebuild = |sandbox: &mut Sandbox| {
            let guest = role.configure(sandbox)?;
            restore_all(role.as_ref(), sandbox, &guest, base, *base_version)?;
            journal.iter().try_for_each(|call| role.repeat(sandbox, &guest, call))?;
            Ok(guest)
        };
        seat.with(rebuild, work)
    }

    /// Note that a call has changed these groups.
    pub(super) fn note(&mut self, call: R::Call, bytes: usize, groups: &[u32]) {
        self.mark_all(groups);
        self.journal.push(call);
        self.journal_bytes += bytes;
    }

    /// Let the base have a state of these groups when it moves, whether a call
    /// has changed them or not.
    pub(super) fn mark_all(&mut self, groups: &[u32]) {
        groups.iter().for_each(|group| self.mark(*group));
    }

    /// Whether the base should move now.
    pub(super) fn is_journal_long(&self) -> bool {
        self.journal_bytes > self.max_journal_bytes
    }

    /// Forget groups. Their slots must not be used again before the base moves.
    ///
    /// # Errors
    /// Plugin if it fails twice.
    pub(super) fn release(&mut self, groups: Vec<u32>) -> Result<()> {
        for groups in groups.chunks(GROUPS_PER_CALL) {
            let role = Arc::clone(&self.role);
            self.insist(groups.len(), |keeper| keeper.call(|sandbox, guest| role.release(sandbox, guest, groups)))?;
            for group in groups {
                // Stays in `changed`, which is only a list of candidates.
                if let Some(is_changed) = self.is_changed.get_mut(*group as usize) {
                    *is_changed = false;
                }
            }
            self.released.extend(groups);
            self.journal_bytes += size_of_val(groups);
            self.journal.push(R::released(groups.to_vec()));
        }
        Ok(())
    }

    /// Move the base to now: ask the changed groups for their states, and drop
    /// the journal.
    ///
    /// # Errors
    /// Plugin if it cannot give a state.
    pub(super) fn move_base(&mut self) -> Result<()> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.retain(|group| std::mem::take(&mut self.is_changed[*group as usize]));
        let mut moved: Vec<(u32, Arc<[u8]>)> = Vec::with_capacity(changed.len());
        let (role, settings) = (Arc::clone(&self.role), self.role.settings().clone());
        for groups in changed.chunks(GROUPS_PER_CALL) {
            // Large states may need smaller calls; a group alone must do.
            let parts = isolate(&settings.step, groups.len(), OnFailure::Isolate, |range| {
                let groups = &groups[range];
                self.call(|sandbox, guest| role.snapshot(sandbox, guest, groups))
            })?;
            for (range, states) in parts {
                let states = states.map_err(|failure| {
                    Error::plugin(format!("{} cannot give the state of a group", settings.step)).because(failure)
                })?;
                let largest = states.offsets.windows(2).map(|pair| pair[1].abs_diff(pair[0]) as usize).max();
                if let Some(bytes) = largest.filter(|bytes| *bytes > MAX_STATE_BYTES) {
                    return Err(Error::plugin(format!(
                        "{} has a state of {bytes} bytes for a group, more than the {MAX_STATE_BYTES} allowed",
                        settings.step
                    )));
                }
                let state = |index: usize| {
                    let bounds = states.offsets[index] as usize..states.offsets[index + 1] as usize;
                    Arc::from(&states.data[bounds])
                };
                moved.extend(groups[range].iter().enumerate().map(|(index, group)| (*group, state(index))));
            }
        }
        for group in std::mem::take(&mut self.released) {
            if let Some(state) = self.base.get_mut(group as usize) {
                *state = None;
            }
        }
        self.put(moved);
        self.journal.clear();
        self.journal_bytes = 0;
        Ok(())
    }

    /// The state of a group as of the base.
    pub(super) fn state(&self, group: u32) -> Option<&[u8]> {
        self.base.get(group as usize)?.as_deref()
    }

    /// Take over states that were kept, in the version that they have. There
    /// must be no groups yet.
    ///
    /// # Errors
    /// Plugin if it does not take them.
    pub(super) fn load(&mut self, states: Vec<(u32, Arc<[u8]>)>, version: u32) -> Result<()> {
        let groups: Vec<u32> = states.iter().map(|(group, _)| *group).collect();
        self.put(states);
        self.take_in(&groups, version)
    }

    /// Take over the groups of another version of the step, as of its base; both
    /// know them by the same slots, and the other one may go on being used.
    ///
    /// # Errors
    /// Plugin if it does not take their states.
    pub(super) fn adopt(&mut self, other: &Self) -> Result<()> {
        let open = other.base.iter().enumerate().filter(|(_, state)| state.is_some());
        let groups: Vec<u32> = open.map(|(group, _)| u32::try_from(group).unwrap_or(u32::MAX)).collect();
        self.base.clone_from(&other.base);
        self.take_in(&groups, other.base_version)
    }

    /// Let an instance have the states of the base, which are of this version.
    fn take_in(&mut self, groups: &[u32], version: u32) -> Result<()> {
        let role = Arc::clone(&self.role);
        let refused = |failure: Failure| {
            let step = &role.settings().step;
            Error::plugin(format!(
                "{step} cannot take its kept state over: put the plugin and its configuration back, \
                 or give the step a new name, which starts without state"
            ))
            .because(failure)
        };
        self.base_version = version;
        self.seat.leave();
        self.call(|_, _| Ok(())).map_err(refused)?;
        if version != role.state_version() {
            // States of an older version are asked for again, all of them; until
            // they are there, an instance that is lost is made of the old ones.
            self.mark_all(groups);
            self.move_base()?;
            self.base_version = role.state_version();
        }
        Ok(())
    }

    /// Lose the instance, as a trap does.
    #[cfg(test)]
    pub(super) fn lose_instance(&mut self) {
        self.seat.leave();
    }

    /// Bound the journal otherwise.
    #[cfg(test)]
    pub(super) fn set_max_journal_bytes(&mut self, bytes: usize) {
        self.max_journal_bytes = bytes;
    }

    /// Make a call that must succeed, twice if need be.
    pub(super) fn insist<T>(
        &mut self,
        groups: usize,
        mut attempt: impl FnMut(&mut Self) -> Result<T, Failure>,
    ) -> Result<T> {
        let step = self.role.settings().step.clone();
        let first = match attempt(self) {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        tracing::warn!(step, "trying a call for {groups} groups again: {first}");
        attempt(self).map_err(|failure| Error::plugin(format!("{step} cannot go on")).because(failure))
    }

    fn mark(&mut self, group: u32) {
        let index = group as usize;
        if index >= self.is_changed.len() {
            self.is_changed.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.is_changed[index], true) {
            self.changed.push(group);
        }
    }

    fn put(&mut self, states: Vec<(u32, Arc<[u8]>)>) {
        for (group, state) in states {
            let index = group as usize;
            if index >= self.base.len() {
                self.base.resize(index + 1, None);
            }
            self.base[index] = Some(state);
        }
    }
}

fn restore_all<R: StatefulRole>(
    role: &R,
    sandbox: &mut Sandbox,
    guest: &R::Guest,
    base: &[Option<Arc<[u8]>>],
    version: u32,
) -> Result<(), Failure> {
    let (mut groups, mut states) = (Vec::new(), States { offsets: vec![0], data: Vec::new() });
    for (group, state) in base.iter().enumerate() {
        let Some(state) = state else { continue };
        groups.push(u32::try_from(group).unwrap_or(u32::MAX));
        states.data.extend_from_slice(state);
        let end = i32::try_from(states.data.len());
        states.offsets.push(end.map_err(|_| Failure::Invalid("a state is larger than 2 GiB".into()))?);
        if groups.len() >= GROUPS_PER_CALL || states.data.len() >= STATE_BYTES_PER_CALL {
            role.restore(sandbox, guest, &groups, &states, version)?;
            groups.clear();
            states = States { offsets: vec![0], data: Vec::new() };
        }
    }
    if groups.is_empty() { Ok(()) } else { role.restore(sandbox, guest, &groups, &states, version) }
}

#[cfg(test)]
mod tests;
