//! A state for each group.

use crate::state::{Decoder, State, StatesBuilder};
use crate::{Error, VarBytes};

/// Slots at or above this number are refused: the host hands out dense numbers,
/// so a larger one is a fault, and no instance has the memory for so many.
pub const SLOTS_MAX: u32 = 1 << 24;

/// The states of groups by slot: a dense vector, where an empty group is the
/// default.
#[derive(Clone, Debug, Default)]
pub struct Groups<S> {
    states: Vec<S>,
}

impl<S: Default> Groups<S> {
    /// The states of all slots, with room for each of `groups`: index them with
    /// the slot.
    ///
    /// # Errors
    /// A slot is [`SLOTS_MAX`] or more.
    pub fn reach(&mut self, groups: &[u32]) -> Result<&mut [S], Error> {
        let Some(highest) = groups.iter().copied().max() else {
            return Ok(&mut self.states);
        };
        if highest >= SLOTS_MAX {
            return Err(Error::new(format!("slot {highest} is beyond the {SLOTS_MAX} that an instance holds")));
        }
        if self.states.len() <= highest as usize {
            self.states.resize_with(highest as usize + 1, S::default);
        }
        Ok(&mut self.states)
    }

    /// The state of a group; it becomes the default if there was none.
    ///
    /// # Errors
    /// The slot is [`SLOTS_MAX`] or more.
    pub fn get_mut(&mut self, group: u32) -> Result<&mut S, Error> {
        let states = self.reach(&[group])?;
        Ok(&mut states[group as usize])
    }

    /// The state of a group, none where it is empty and was never touched.
    #[must_use]
    pub fn get(&self, group: u32) -> Option<&S> {
        self.states.get(group as usize)
    }

    /// Fold `sources[i]` into `into[i]`, in order, by `merge`.
    ///
    /// # Errors
    /// A slot is [`SLOTS_MAX`] or more, or a group is its own source.
    pub fn merge(&mut self, into: &[u32], sources: &[u32], merge: impl Fn(&mut S, &S)) -> Result<(), Error> {
        self.reach(into)?;
        self.reach(sources)?;
        for (into, source) in into.iter().zip(sources) {
            let pair = self.states.get_disjoint_mut([*into as usize, *source as usize]);
            let [into, source] = pair.map_err(|_| Error::new(format!("group {into} cannot be merged into itself")))?;
            merge(into, source);
        }
        Ok(())
    }

    /// Make the groups empty.
    pub fn release(&mut self, groups: &[u32]) {
        for group in groups {
            if let Some(state) = self.states.get_mut(*group as usize) {
                *state = S::default();
            }
        }
    }
}

impl<S: State> Groups<S> {
    /// The state of each group, in order.
    ///
    /// # Errors
    /// All of them together have more than 2 GiB.
    pub fn snapshot(&self, groups: &[u32]) -> Result<VarBytes, Error> {
        let empty = S::default();
        let mut states = StatesBuilder::with_capacity(groups.len());
        for group in groups {
            states.push_with(|to| self.get(*group).unwrap_or(&empty).encode(to))?;
        }
        Ok(states.finish())
    }

    /// Put states in place that [`snapshot`](Self::snapshot) returned.
    ///
    /// # Errors
    /// Names the first group, by its index in the call, whose state is malformed.
    pub fn restore(&mut self, groups: &[u32], states: &VarBytes) -> Result<(), Error> {
        if groups.len() != states.len() {
            return Err(Error::new(format!("{} states for {} groups", states.len(), groups.len())));
        }
        let slots = self.reach(groups)?;
        for (index, (group, bytes)) in groups.iter().zip(states.iter()).enumerate() {
            let mut from = Decoder::new(bytes);
            let state = S::decode(&mut from).map_err(|malformed| malformed.at(index))?;
            from.end().map_err(|malformed| malformed.at(index))?;
            slots[*group as usize] = state;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Malformed;

    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    struct Sum(i64);

    impl State for Sum {
        fn encode(&self, to: &mut Vec<u8>) {
            to.extend_from_slice(&self.0.to_le_bytes());
        }

        fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
            from.i64().map(Self)
        }
    }

    #[test]
    fn slots_come_in_any_order_and_are_empty_after_release() {
        let mut groups = Groups::<Sum>::default();
        groups.get_mut(7).expect("in range").0 = 7;
        groups.get_mut(2).expect("in range").0 = 2;
        assert_eq!((groups.get(7), groups.get(3), groups.get(8)), (Some(&Sum(7)), Some(&Sum(0)), None));
        groups.merge(&[2, 2], &[7, 7], |into, source| into.0 += source.0).expect("two groups");
        assert_eq!(groups.get(2), Some(&Sum(16)));
        groups.release(&[2, 1_000_000]);
        assert_eq!((groups.get(2), groups.get(7)), (Some(&Sum(0)), Some(&Sum(7))));
    }

    #[test]
    fn slots_that_no_host_hands_out_are_refused() {
        let mut groups = Groups::<Sum>::default();
        assert!(groups.get_mut(SLOTS_MAX).is_err());
        assert!(groups.reach(&[0, u32::MAX]).is_err());
        assert!(groups.merge(&[1], &[1], |_, _| ()).expect_err("itself").message.contains("group 1"));
    }

    #[test]
    fn a_snapshot_restores_elsewhere_and_malformed_states_name_their_group() {
        let mut groups = Groups::<Sum>::default();
        groups.get_mut(5).expect("in range").0 = 5;
        let mut states = groups.snapshot(&[5, 9]).expect("small");
        let mut others = Groups::<Sum>::default();
        others.restore(&[0, 1], &states).expect("well formed");
        assert_eq!((others.get(0), others.get(1)), (Some(&Sum(5)), Some(&Sum(0))));
        states.data.pop();
        states.offsets[2] -= 1;
        assert!(others.restore(&[0, 1], &states).expect_err("short").message.contains("group 1"));
        assert!(others.restore(&[0], &states).is_err());
    }
}
