//! The roles that remember: sums by group, and what goes wrong with them.

use weir_plugin::{
    Aggregator, AggregatorInfo, Alerts, AlertsBuilder, Batch, Column, DataType, Decoder, Error, Malformed, Memory,
    Problem, Rule, RuleInfo, Schema, State, Values, VarBytes,
};

use crate::mischief::{before, endless_loop, spoil};
use crate::mode::Mode;
use crate::{Hostile, Settings};

/// The column that is summed up; it is the first one asked for.
const NUMBER: &str = "number";

const STATE_VERSION: u32 = 1;

/// The sum of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    sum: i64,
    hoard: Vec<u8>,
}

impl State for Sum {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.sum.to_le_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { sum: from.i64()?, hoard: Vec::new() })
    }
}

/// `number`, and all texts where `when` is looked for in them.
fn columns(settings: &Settings, input: &Schema) -> Result<Vec<String>, Vec<Problem>> {
    let is_number = |field: &&weir_plugin::Field| field.name == NUMBER && field.data_type == DataType::Int64;
    if input.top_level().find(is_number).is_none() {
        return Err(vec![Problem::new("", format!("the input has no int64 column '{NUMBER}'"))]);
    }
    let texts = input.top_level().filter(|field| field.data_type == DataType::Utf8 && !settings.when.is_empty());
    Ok(std::iter::once(NUMBER.to_owned()).chain(texts.map(|field| field.name.clone())).collect())
}

fn numbers(rows: &Batch) -> Result<impl Iterator<Item = Option<i64>> + '_, Error> {
    let column = rows.columns.first().ok_or_else(|| Error::new("the rows have no column"))?;
    let numbers = column.int64()?;
    Ok((0..rows.rows as usize).map(move |row| numbers.get(row)))
}

impl Hostile {
    /// The mode for these rows, and what it does instead of work.
    fn mode_of_rows(&mut self, rows: &Batch) -> Result<Mode, Error> {
        let texts = rows.columns.iter().filter_map(|column| match &column.values {
            Values::Utf8(texts) => Some(texts.data.as_slice()),
            _ => None,
        });
        let mode = self.mode(texts);
        let poison = self.settings.poison;
        let poisoned = poison.is_none() || numbers(rows)?.any(|number| number == poison);
        let mode = if poisoned { mode } else { Mode::Behave };
        before(mode, self.calls, self.settings.count)?;
        if mode == Mode::MemoryPerRow {
            self.hoard.extend((0..rows.rows).map(|_| vec![1; self.settings.count as usize]));
        }
        Ok(mode)
    }

    fn at(&self, trap: Mode, error: Mode) -> Result<(), Error> {
        match self.settings.mode {
            mode if mode == trap => panic!("trapped, as configured"),
            mode if mode == error => Err(Error::new("failed, as configured")),
            _ => Ok(()),
        }
    }

    fn forget(&mut self, groups: &[u32]) {
        if self.settings.mode == Mode::TrapInRelease {
            panic!("trapped in release, as configured");
        }
        self.sums.release(groups);
    }

    fn states(&self, groups: &[u32]) -> Result<VarBytes, Error> {
        self.at(Mode::TrapInSnapshot, Mode::ErrorInSnapshot)?;
        if self.settings.mode == Mode::LoopInSnapshot {
            endless_loop();
        }
        let mut states = self.sums.snapshot(groups)?;
        match self.settings.mode {
            Mode::TooFewStates => {
                states.offsets.pop();
                states.data.truncate(*states.offsets.last().unwrap_or(&0) as usize);
            }
            Mode::TooManyStates => states.offsets.push(states.data.len() as i32),
            Mode::StatesDecreasingOffsets => states.offsets.reverse(),
            Mode::StatesBeyondData => states.offsets.iter_mut().skip(1).for_each(|offset| *offset += 1000),
            Mode::LongState => {
                let more = self.settings.count as usize;
                states.data.resize(states.data.len() + more, b'x');
                states.offsets.iter_mut().skip(1).for_each(|offset| *offset += more as i32);
            }
            _ => {}
        }
        Ok(states)
    }

    fn put(&mut self, groups: &[u32], states: &VarBytes) -> Result<(), Error> {
        self.at(Mode::TrapInRestore, Mode::ErrorInRestore)?;
        self.sums.restore(groups, states)
    }
}

impl Aggregator for Hostile {
    fn configure(config: &str, input: Schema) -> Result<(Self, AggregatorInfo), Vec<Problem>> {
        let hostile = Self::configure(config)?;
        let info = AggregatorInfo {
            columns: columns(&hostile.settings, &input)?,
            output: Schema::builder().int64("sum").build(),
            state_version: STATE_VERSION,
            restorable: vec![STATE_VERSION],
        };
        Ok((hostile, info))
    }

    fn update(&mut self, groups: &[u32], rows: &Batch) -> Result<(), Error> {
        let mode = self.mode_of_rows(rows)?;
        let sums = self.sums.reach(groups)?;
        for (group, number) in groups.iter().zip(numbers(rows)?) {
            let group = &mut sums[*group as usize];
            group.sum = group.sum.wrapping_add(number.unwrap_or_default());
            if mode == Mode::MemoryPerGroup && group.hoard.is_empty() {
                group.hoard = vec![1; self.settings.count as usize];
            }
        }
        Ok(())
    }

    fn merge(&mut self, into: &[u32], sources: &[u32]) -> Result<(), Error> {
        self.at(Mode::TrapInMerge, Mode::ErrorInMerge)?;
        self.sums.merge(into, sources, |into, source| into.sum = into.sum.wrapping_add(source.sum))
    }

    fn evaluate(&self, groups: &[u32]) -> Result<Batch, Error> {
        self.at(Mode::TrapInEvaluate, Mode::ErrorInEvaluate)?;
        if self.settings.mode == Mode::LoopInEvaluate {
            endless_loop();
        }
        let mut sums: Vec<i64> =
            groups.iter().map(|group| self.sums.get(*group).map(|group| group.sum).unwrap_or_default()).collect();
        match self.settings.mode {
            Mode::TooFewRows => sums.truncate(groups.len().saturating_sub(1)),
            Mode::TooManyRows => sums.push(0),
            _ => {}
        }
        let column = Column { validity: None, values: Values::Int64(sums) };
        let rows = groups.len() as u32;
        let rows = match self.settings.mode {
            Mode::TooFewRows => rows.saturating_sub(1),
            Mode::TooManyRows => rows + 1,
            _ => rows,
        };
        let mut batch = Batch { rows, columns: vec![column] };
        // Of the faults of a batch those that need neither text nor origins.
        if matches!(
            self.settings.mode,
            Mode::ShortValidity | Mode::WrongRowCount | Mode::ExtraColumn | Mode::MissingColumns | Mode::WrongType
        ) {
            spoil(self.settings.mode, &mut batch, &mut Vec::new(), &mut Vec::new(), self.settings.count);
        }
        Ok(batch)
    }

    fn release(&mut self, groups: &[u32]) {
        self.forget(groups);
    }

    fn snapshot(&self, groups: &[u32]) -> Result<VarBytes, Error> {
        self.states(groups)
    }

    fn restore(&mut self, groups: &[u32], states: &VarBytes, _state_version: u32) -> Result<(), Error> {
        self.put(groups, states)
    }
}

impl Rule for Hostile {
    fn configure(config: &str, input: Schema) -> Result<(Self, RuleInfo), Vec<Problem>> {
        let hostile = Self::configure(config)?;
        let info = RuleInfo {
            columns: columns(&hostile.settings, &input)?,
            memory: if hostile.settings.keyed { Memory::Keyed } else { Memory::Stateless },
            state_version: STATE_VERSION,
            restorable: vec![STATE_VERSION],
        };
        Ok((hostile, info))
    }

    fn evaluate(&mut self, groups: &[u32], rows: &Batch) -> Result<Alerts, Error> {
        let mode = self.mode_of_rows(rows)?;
        let sums = self.sums.reach(groups)?;
        let mut alerts = AlertsBuilder::default();
        for (row, number) in (0_u32..).zip(numbers(rows)?) {
            let number = number.unwrap_or_default();
            let sum = match groups.get(row as usize) {
                None => number,
                Some(group) => {
                    let group = &mut sums[*group as usize];
                    group.sum = group.sum.wrapping_add(number);
                    group.sum
                }
            };
            alerts.push(row, "NUMBER", "WARNING", &sum.to_string());
        }
        if mode == Mode::LongMessage && rows.rows > 0 {
            alerts.push(rows.rows - 1, "NUMBER", "WARNING", &"x".repeat(self.settings.count as usize));
        }
        if mode == Mode::ManyAlerts && rows.rows > 0 {
            alerts = AlertsBuilder::default();
            (0..self.settings.count).for_each(|_| alerts.push(0, "NUMBER", "WARNING", "again"));
        }
        let mut alerts = alerts.finish();
        spoil_alerts(mode, &mut alerts);
        Ok(alerts)
    }

    fn release(&mut self, groups: &[u32]) {
        self.forget(groups);
    }

    fn snapshot(&self, groups: &[u32]) -> Result<VarBytes, Error> {
        self.states(groups)
    }

    fn restore(&mut self, groups: &[u32], states: &VarBytes, _state_version: u32) -> Result<(), Error> {
        self.put(groups, states)
    }
}

fn spoil_alerts(mode: Mode, alerts: &mut Alerts) {
    match mode {
        Mode::AlertOutOfRange => alerts.rows.iter_mut().rev().take(1).for_each(|row| *row = u32::MAX),
        Mode::DecreasingAlerts => alerts.rows.reverse(),
        Mode::UnevenAlerts => {
            alerts.severity.offsets.pop();
            alerts.severity.data.truncate(*alerts.severity.offsets.last().unwrap_or(&0) as usize);
        }
        Mode::AlertInvalidUtf8 => alerts.message.data.iter_mut().for_each(|byte| *byte = 0xff),
        Mode::AlertBeyondData => alerts.message.offsets.iter_mut().skip(1).for_each(|offset| *offset += 1000),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(numbers: &[i64]) -> Batch {
        let column = Column { validity: None, values: Values::Int64(numbers.to_vec()) };
        Batch { rows: numbers.len() as u32, columns: vec![column] }
    }

    fn schema() -> Schema {
        Schema::builder().int64("number").build()
    }

    #[test]
    fn without_poison_it_sums_honestly() {
        let config = r#"{"mode": "error", "poison": 13}"#;
        let (mut hostile, _) = <Hostile as Aggregator>::configure(config, schema()).expect("valid");
        hostile.update(&[0, 1, 0], &rows(&[1, 2, 3])).expect("no poison");
        let sums = Aggregator::evaluate(&hostile, &[0, 1, 7]).expect("sums");
        assert!(matches!(&sums.columns[0].values, Values::Int64(sums) if sums == &[4, 2, 0]));
        assert!(hostile.update(&[0, 0], &rows(&[1, 13])).is_err());
    }

    #[test]
    fn a_keyed_rule_says_the_sum_of_the_group() {
        let (mut hostile, info) = <Hostile as Rule>::configure(r#"{"keyed": true}"#, schema()).expect("valid");
        assert_eq!(info.memory, Memory::Keyed);
        let alerts = Rule::evaluate(&mut hostile, &[0, 1, 0], &rows(&[1, 2, 3])).expect("alerts");
        assert_eq!(alerts.message.iter().collect::<Vec<_>>(), [b"1", b"2", b"4"]);
    }

    #[test]
    fn alerts_and_states_are_spoilt_as_configured() {
        let config = r#"{"mode": "uneven-alerts"}"#;
        let (mut hostile, _) = <Hostile as Rule>::configure(config, schema()).expect("valid");
        let alerts = Rule::evaluate(&mut hostile, &[], &rows(&[1, 2])).expect("alerts");
        assert_eq!((alerts.rows.len(), alerts.kind.len(), alerts.severity.len()), (2, 2, 1));
        let config = r#"{"mode": "too-few-states"}"#;
        let (hostile, _) = <Hostile as Aggregator>::configure(config, schema()).expect("valid");
        assert_eq!(Aggregator::snapshot(&hostile, &[0, 1]).expect("states").len(), 1);
    }
}
