//! How the commit of one epoch to one table goes on.
//!
//! Pure: facts in, decision out. It never assumes that an append which reported
//! an error did not happen: what the table itself says decides, and an epoch is
//! appended only after the table was read and did not hold it.

use crate::model::Epoch;

/// How the last attempt to append ended, as far as the writer can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastAppend {
    /// Nothing was tried yet.
    NotTried,
    /// Another commit took the version; ours is not in the table under it.
    Lost,
    /// The store failed or did not answer: the append may have happened.
    Unknown,
}

/// Whether the staged files still fit the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableShape {
    /// Schema, partitioning and features are those the files were written for.
    Fits,
    /// Somebody changed the table so that the files do not fit it.
    Changed,
}

/// What is known about the table right after reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitFacts {
    /// The epoch to commit.
    pub epoch: Epoch,
    /// The transaction version that the table carries for this writer.
    pub found: Option<i64>,
    /// Whether the staged files fit.
    pub shape: TableShape,
    /// How the last append ended.
    pub last: LastAppend,
    /// How many appends other commits have won so far.
    pub lost: u32,
    /// How many appends had an unknown outcome so far.
    pub unknown: u32,
}

/// How long to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitBounds {
    /// The most races to lose; each lost one means that somebody else went forward.
    pub max_lost: u32,
    /// The most unknown outcomes to bear.
    pub max_unknown: u32,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a decision that is not carried out loses or repeats an epoch"]
pub enum CommitDecision {
    /// Append now, at the version after the one that was read.
    Append,
    /// Wait a little, then append at the version after the one that was read.
    WaitAndAppend,
    /// The epoch is in the table.
    AlreadyCommitted,
    /// A later epoch is in the table: another host has taken over.
    Fenced {
        /// The transaction version that the table carries.
        found: i64,
    },
    /// The files do not fit the table any more.
    RefuseChanged,
    /// The bounds are reached; the epoch is not in the table as far as was read.
    GiveUp,
}

/// Decide from what was just read.
///
/// What the table carries comes first: an epoch that is in the table stays
/// committed even if the table changed afterwards or the bounds are reached.
pub fn decide(facts: CommitFacts, bounds: CommitBounds) -> CommitDecision {
    let epoch = facts.epoch.transaction_version();
    match facts.found {
        Some(found) if found == epoch => return CommitDecision::AlreadyCommitted,
        Some(found) if found > epoch => return CommitDecision::Fenced { found },
        Some(_) | None => {}
    }
    if facts.shape == TableShape::Changed {
        return CommitDecision::RefuseChanged;
    }
    if facts.lost > bounds.max_lost || facts.unknown > bounds.max_unknown {
        return CommitDecision::GiveUp;
    }
    match facts.last {
        LastAppend::NotTried | LastAppend::Lost => CommitDecision::Append,
        LastAppend::Unknown => CommitDecision::WaitAndAppend,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: CommitBounds = CommitBounds { max_lost: 2, max_unknown: 1 };
    const EPOCH: i64 = 7;

    fn facts() -> impl Iterator<Item = CommitFacts> {
        let found = [None, Some(0), Some(EPOCH - 1), Some(EPOCH), Some(EPOCH + 1), Some(i64::MAX)];
        let last = [LastAppend::NotTried, LastAppend::Lost, LastAppend::Unknown];
        let shape = [TableShape::Fits, TableShape::Changed];
        let mut all = Vec::new();
        for found in found {
            for last in last {
                for shape in shape {
                    for lost in 0..=3 {
                        for unknown in 0..=2 {
                            let epoch = Epoch::new(7).expect("small");
                            all.push(CommitFacts { epoch, found, shape, last, lost, unknown });
                        }
                    }
                }
            }
        }
        all.into_iter()
    }

    #[test]
    fn epoch_in_the_table_is_never_appended_again() {
        for facts in facts() {
            let decision = decide(facts, BOUNDS);
            let expected = match facts.found {
                Some(EPOCH) => CommitDecision::AlreadyCommitted,
                Some(found) if found > EPOCH => CommitDecision::Fenced { found },
                _ if facts.shape == TableShape::Changed => CommitDecision::RefuseChanged,
                _ if facts.lost == 3 || facts.unknown == 2 => CommitDecision::GiveUp,
                _ if facts.last == LastAppend::Unknown => CommitDecision::WaitAndAppend,
                _ => CommitDecision::Append,
            };
            assert_eq!(decision, expected, "{facts:?}");
        }
    }
}
