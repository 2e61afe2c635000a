//! Where to go on after a stop, wherever it happened.

use super::Prepared;
use crate::model::Epoch;

/// What one table says, and what the newest record says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// The name of the table.
    pub table: String,
    /// Whether the newest record stages rows for it.
    pub staged: bool,
    /// The epoch of the pipeline's latest transaction in the table.
    pub committed: Option<Epoch>,
}

/// Where to go on.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a prepared epoch may wait to be committed"]
pub enum Recovery {
    /// Nothing was ever prepared: start with the first epoch.
    Fresh,
    /// The newest epoch is prepared: commit it to these tables, then go on.
    Resume {
        /// The permit for the newest epoch.
        prepared: Prepared,
        /// The tables that wait for it.
        unfinished: Vec<String>,
    },
    /// A table is ahead of the checkpoint, which therefore is not the one that
    /// wrote it: do nothing.
    CheckpointBehind {
        /// The table.
        table: String,
        /// The epoch of its latest transaction.
        committed: Epoch,
    },
}

/// Decide where to go on, from the newest record's epoch and the tables.
pub fn recover(newest: Option<Epoch>, tables: &[TableFacts]) -> Recovery {
    let ahead = tables.iter().find_map(|table| {
        let committed = table.committed?;
        newest.is_none_or(|newest| committed > newest).then(|| (table.table.clone(), committed))
    });
    match (ahead, newest) {
        (Some((table, committed)), _) => Recovery::CheckpointBehind { table, committed },
        (None, None) => Recovery::Fresh,
        (None, Some(epoch)) => {
            let waits = |table: &&TableFacts| table.staged && table.committed.is_none_or(|committed| committed < epoch);
            let unfinished = tables.iter().filter(waits).map(|table| table.table.clone()).collect();
            Recovery::Resume { prepared: Prepared { epoch }, unfinished }
        }
    }
}

/// Whether a table already carries a transaction of this epoch or a later one,
/// which another host must have written: checked before an epoch is prepared.
pub fn is_overtaken(epoch: Epoch, committed: Option<Epoch>) -> bool {
    committed.is_some_and(|committed| committed >= epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch::new(number).unwrap()
    }

    /// Two tables, each as (staged, committed).
    fn check(newest: Option<u64>, tables: [(bool, Option<u64>); 2]) -> Recovery {
        let facts = ["a", "b"].into_iter().zip(tables).map(|(table, (staged, committed))| TableFacts {
            table: table.into(),
            staged,
            committed: committed.map(epoch),
        });
        recover(newest.map(epoch), &facts.collect::<Vec<_>>())
    }

    fn resume(number: u64, unfinished: &[&str]) -> Recovery {
        let unfinished = unfinished.iter().map(ToString::to_string).collect();
        Recovery::Resume { prepared: Prepared { epoch: epoch(number) }, unfinished }
    }

    #[test]
    fn empty_checkpoint_and_tables_start_fresh() {
        assert_eq!(check(None, [(false, None), (false, None)]), Recovery::Fresh);
    }

    #[test]
    fn tables_without_the_newest_epoch_are_unfinished() {
        assert_eq!(check(Some(3), [(true, Some(3)), (true, Some(2))]), resume(3, &["b"]));
        assert_eq!(check(Some(3), [(true, None), (true, Some(2))]), resume(3, &["a", "b"]));
        assert_eq!(check(Some(3), [(true, Some(3)), (true, Some(3))]), resume(3, &[]));
        assert_eq!(check(Some(3), [(false, Some(1)), (false, None)]), resume(3, &[]));
    }

    #[test]
    fn table_ahead_of_the_checkpoint_stops_everything() {
        let behind =
            |table: &str, committed| Recovery::CheckpointBehind { table: table.into(), committed: epoch(committed) };
        assert_eq!(check(None, [(false, None), (false, Some(0))]), behind("b", 0));
        assert_eq!(check(Some(3), [(true, Some(4)), (true, Some(3))]), behind("a", 4));
    }

    #[test]
    fn only_an_epoch_behind_all_transactions_may_be_prepared() {
        assert!(!is_overtaken(epoch(3), None));
        assert!(!is_overtaken(epoch(3), Some(epoch(2))));
        assert!(is_overtaken(epoch(3), Some(epoch(3))));
        assert!(is_overtaken(epoch(3), Some(epoch(4))));
    }
}
