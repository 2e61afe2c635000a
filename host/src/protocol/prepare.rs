//! Who wins an epoch.

use super::Prepared;
use crate::model::{AttemptId, Epoch};

/// What the store said to the put of an epoch's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutFact {
    /// The record was created.
    Created,
    /// A record was there.
    Exists,
    /// The store failed; the record may or may not be there.
    Unknown,
}

/// What is known when the outcome of a prepare is judged.
#[derive(Debug, Clone, Copy)]
pub struct PrepareFacts<'a> {
    /// The epoch.
    pub epoch: Epoch,
    /// Who tried.
    pub attempt: &'a AttemptId,
    /// What the store said.
    pub put: PutFact,
    /// Whose record is there, read after the put; none if there is none.
    pub holder: Option<&'a AttemptId>,
    /// The newest epoch that has a record, read after the put.
    pub newest: Option<Epoch>,
}

/// What to do about a prepare.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "only a won prepare may be committed"]
pub enum PrepareOutcome {
    /// The epoch is ours: commit it.
    Won(Prepared),
    /// Another attempt has the epoch: stop, and make nothing visible.
    Lost,
    /// Nothing is there: put again.
    Again,
}

/// Judge a prepare.
///
/// A record that is newer than ours means that our epoch was prepared, committed
/// and cleaned up by others while we slept: the store let us create a record
/// that must have existed before.
pub fn judge(facts: &PrepareFacts<'_>) -> PrepareOutcome {
    if facts.newest.is_some_and(|newest| newest > facts.epoch) {
        return PrepareOutcome::Lost;
    }
    match (facts.put, facts.holder) {
        (_, Some(holder)) if holder == facts.attempt => PrepareOutcome::Won(Prepared { epoch: facts.epoch }),
        (_, Some(_)) => PrepareOutcome::Lost,
        // A record that was created and is gone was removed by a successor.
        (PutFact::Created | PutFact::Exists, None) => PrepareOutcome::Lost,
        (PutFact::Unknown, None) => PrepareOutcome::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(put: PutFact, holder: Option<&str>, newest: Option<u64>) -> &'static str {
        let (ours, holder) = (AttemptId::new("ours"), holder.map(AttemptId::new));
        let epoch = Epoch::new(5).unwrap();
        let newest = newest.and_then(Epoch::new);
        match judge(&PrepareFacts { epoch, attempt: &ours, put, holder: holder.as_ref(), newest }) {
            PrepareOutcome::Won(prepared) => {
                assert_eq!(prepared.epoch(), epoch);
                "won"
            }
            PrepareOutcome::Lost => "lost",
            PrepareOutcome::Again => "again",
        }
    }

    #[test]
    fn every_combination_has_one_outcome() {
        for put in [PutFact::Created, PutFact::Exists, PutFact::Unknown] {
            for newest in [None, Some(4), Some(5)] {
                assert_eq!(check(put, Some("ours"), newest), "won", "{put:?} {newest:?}");
                assert_eq!(check(put, Some("theirs"), newest), "lost", "{put:?} {newest:?}");
            }
            for holder in [None, Some("ours"), Some("theirs")] {
                assert_eq!(check(put, holder, Some(6)), "lost", "{put:?} {holder:?}");
            }
        }
        assert_eq!(check(PutFact::Unknown, None, Some(4)), "again");
        assert_eq!(check(PutFact::Created, None, Some(4)), "lost");
        assert_eq!(check(PutFact::Exists, None, Some(4)), "lost");
    }
}
