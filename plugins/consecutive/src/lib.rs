//! The bundled rule that raises an alert when a condition held for several rows
//! of a group in a row.
//!
//! The condition is judged for a whole column first; then the rows are counted
//! in order, group by group. Of each row there are four possible marks: the
//! condition holds, it does not, it does not and the alarm is cleared, or there
//! is no value, which neither counts nor interrupts.
//!
//! Invariants: an alert is raised at the row that completes the count; a raised
//! alarm is not raised again before it was cleared, unless `repeat` asks for it.

mod config;

#[cfg(test)]
mod tests;

use weir_conditions::Columns;
use weir_plugin::{
    Alerts, AlertsBuilder, Batch, Decoder, Error, Groups, Malformed, Manifest, Memory, Plugin, Problem, Rule, RuleInfo,
    Schema, State, VarBytes,
};

use crate::config::Config;

/// The version of the state that is written.
const STATE_VERSION: u32 = 1;

/// The condition does not hold, and the alarm stays as it is.
const FALSE: u16 = 0;
/// The condition does not hold, and the alarm is cleared.
const CLEARED: u16 = 1;
/// The condition holds.
const TRUE: u16 = 2;
/// There is no value.
const NULL: u16 = 3;

/// Counts the rows in a row for which a condition holds, by group.
#[derive(Clone, Debug)]
pub struct Consecutive {
    config: Config,
    runs: Groups<Run>,
    /// One a row, kept for the next chunk.
    marks: Vec<u16>,
}

/// What is known of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    /// The rows in a row, up to the last one.
    count: u64,
    raised: bool,
}

impl State for Run {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.raised));
        to.extend_from_slice(&self.count.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { raised: from.flag()?, count: from.u64()? })
    }
}

impl Plugin for Consecutive {
    fn manifest() -> Manifest {
        Manifest::new(
            "consecutive",
            env!("CARGO_PKG_VERSION"),
            "Raises an alert when a condition held for several rows of a group in a row.",
            &config::schema(),
        )
    }
}

impl Rule for Consecutive {
    fn configure(config: &str, input: Schema) -> Result<(Self, RuleInfo), Vec<Problem>> {
        let mut columns = Columns::new(&input);
        let config = Config::new(config, &mut columns)?;
        let info = RuleInfo {
            columns: columns.into_names(),
            memory: Memory::Keyed,
            state_version: STATE_VERSION,
            restorable: vec![STATE_VERSION],
        };
        Ok((Self { config, runs: Groups::default(), marks: Vec::new() }, info))
    }

    fn evaluate(&mut self, groups: &[u32], rows: &Batch) -> Result<Alerts, Error> {
        if groups.len() != rows.rows as usize {
            return Err(Error::new(format!("{} groups for {} rows", groups.len(), rows.rows)));
        }
        self.judge(rows)?;
        let Config { alarm, times, repeat, .. } = &self.config;
        let runs = self.runs.reach(groups)?;
        let mut alerts = AlertsBuilder::default();
        for ((row, group), mark) in (0_u32..).zip(groups).zip(&self.marks) {
            let run = &mut runs[*group as usize];
            match *mark {
                TRUE => {
                    run.count = run.count.saturating_add(1);
                    // A restored count may be beyond `times`, which may have changed.
                    let due =
                        if run.raised { *repeat && run.count.is_multiple_of(*times) } else { run.count >= *times };
                    if due {
                        run.raised = true;
                        alerts.push_with(row, &alarm.kind, &alarm.severity, |message| {
                            alarm.message.write(rows, row as usize, run.count, message);
                        });
                    }
                }
                NULL => {}
                CLEARED => *run = Run::default(),
                _ => run.count = 0,
            }
        }
        Ok(alerts.finish())
    }

    fn release(&mut self, groups: &[u32]) {
        self.runs.release(groups);
    }

    fn snapshot(&self, groups: &[u32]) -> Result<VarBytes, Error> {
        self.runs.snapshot(groups)
    }

    fn restore(&mut self, groups: &[u32], states: &VarBytes, state_version: u32) -> Result<(), Error> {
        if state_version != STATE_VERSION {
            return Err(Error::new(format!("cannot restore state version {state_version}, only {STATE_VERSION}")));
        }
        self.runs.restore(groups, states)
    }
}

impl Consecutive {
    /// Mark every row of a chunk.
    fn judge(&mut self, rows: &Batch) -> Result<(), Error> {
        let condition = &self.config.alarm.condition;
        self.marks.clear();
        self.marks.resize(rows.rows as usize, if self.config.clears.is_empty() { CLEARED } else { FALSE });
        for clear in &self.config.clears {
            clear.mark(rows, &mut self.marks, CLEARED)?;
        }
        condition.mark(rows, &mut self.marks, TRUE)?;
        let column = rows.columns.get(condition.column).filter(|_| !condition.is_met_by_null());
        if let Some(column) = column.filter(|column| column.validity.is_some()) {
            for (row, mark) in self.marks.iter_mut().enumerate() {
                if column.is_null(row) {
                    *mark = NULL;
                }
            }
        }
        Ok(())
    }
}

weir_plugin::export_rule!(Consecutive);
