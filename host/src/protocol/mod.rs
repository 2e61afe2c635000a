//! Pure decisions of the epoch protocol.
//!
//! Facts in, decision out: nothing here reads a store, a clock or a table. The
//! rooms that do gather the facts, act on the decision, and gather again.
//!
//! Invariants:
//! - only the attempt that won the put of an epoch's record may commit it, or
//!   whoever recovers that record; [`Prepared`] is the permit;
//! - an unknown outcome is never guessed: it is resolved by reading.

pub mod commit;
pub mod prepare;
pub mod recover;

use crate::model::Epoch;

/// The permit to commit an epoch: its record is durable.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a prepared epoch has to be committed"]
pub struct Prepared {
    epoch: Epoch,
}

impl Prepared {
    /// The epoch that may be committed.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}
