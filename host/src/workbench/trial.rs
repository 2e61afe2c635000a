//! One run of a plugin over an input, in the sandbox of the pipelines.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{Field, Schema};

use super::input::{Input, Messages, Rows, pick_fields};
use super::json_rows::value;
use crate::plugin::{
    self, Aggregator, CallStats, FailedInput, FailurePolicy, Judged, Limits, Memory, OnFailure, Parser, Plugin,
    Produced, Rejection, Role, Rule, StepSettings, Transform, take_rows,
};
use crate::{Error, Result};

/// How a plugin is run.
pub struct Trial<'a> {
    /// The plugin.
    pub plugin: &'a Plugin,
    /// What it stands for.
    pub role: Role,
    /// Its configuration, a JSON object.
    pub config: serde_json::Value,
    /// What it may use.
    pub limits: Limits,
    /// The clock that it sees, in microseconds since 1970-01-01T00:00:00Z.
    pub now_us: i64,
}

/// What came of an input.
#[derive(Debug)]
pub struct Outcome {
    /// The rows; of a rule its alerts, as rows.
    pub rows: RecordBatch,
    /// What could not become a row.
    pub rejected: Vec<Rejection>,
    /// What the plugin failed for, and what to do about it.
    pub faults: Vec<Fault>,
    /// What the calls cost.
    pub stats: CallStats,
}

/// An input for which the plugin fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its index.
    pub input: usize,
    /// What happened.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}

/// How the reasons of failures begin, and what to do about each.
const REMEDIES: [(&str, &str); 4] = [
    (
        "the plugin trapped: ",
        "reject what cannot be processed with a reason, so that the plugin survives it; if it ran out of memory, raise \
         `limits.memory` here and in the pipeline file",
    ),
    (
        "the plugin missed its deadline",
        "make it faster or find the endless loop; if it needs the time, raise `limits.deadline` here and in the pipeline file",
    ),
    ("the plugin returned an invalid result: ", "return columns as `configure` announces them; wit/ has the rules"),
    ("the plugin failed: ", "an error fails the whole call and costs a retry: reject the input with a reason instead"),
];

impl Trial<'_> {
    /// Run the plugin over an input, as one chunk.
    ///
    /// # Errors
    /// Config if it does not play the role or refuses its configuration; Plugin if
    /// it cannot go on.
    pub fn run(&self, input: &Input) -> Result<Outcome> {
        match (self.role, input) {
            (Role::Parser | Role::Inference, Input::Messages(messages)) => self.parse(messages),
            (Role::Transform, Input::Rows(rows)) => self.transform(rows),
            (Role::Aggregator, Input::Rows(rows)) => {
                let rows = rows.with_event_time()?;
                let mut aggregator = self.aggregator(&rows)?;
                let (groups, keys) = groups_of(&rows)?;
                let mut failed = update(&mut aggregator, &groups, &rows.rows, 0)?;
                let rows = evaluated(&mut aggregator, &keys, &mut failed)?;
                Ok(outcome(rows, Vec::new(), failed, aggregator.take_stats()))
            }
            (Role::Rule, Input::Rows(rows)) => {
                let mut rule = self.rule(rows)?;
                let (groups, _) = rule_groups(&rule, rows)?;
                let judged = judge(&mut rule, &groups, &rows.rows, 0)?;
                Ok(outcome(judged.0, Vec::new(), judged.1, rule.take_stats()))
            }
            (role, _) => Err(Error::bug(format!("the input of a {} is of the other kind", role.name()))),
        }
    }

    fn settings(&self) -> StepSettings {
        StepSettings {
            step: self.plugin.name().to_owned(),
            config: self.config.clone(),
            limits: self.limits,
            on_failure: FailurePolicy::new(OnFailure::Isolate),
        }
    }

    /// The plugin as a parser, ready to be called.
    ///
    /// # Errors
    /// As [`Trial::run`].
    pub(super) fn parser(&self, messages: &Messages) -> Result<Parser> {
        let mut parser = Parser::configure(self.plugin, self.settings(), messages.stored.as_ref()).map_err(refused)?;
        parser.set_now(self.now_us);
        Ok(parser)
    }

    pub(super) fn transformer(&self, rows: &Rows) -> Result<Transform> {
        let configured = Transform::configure(self.plugin, self.settings(), &rows.rows.schema());
        let mut transform = configured.map_err(refused)?;
        transform.set_now(self.now_us);
        Ok(transform)
    }

    /// `rows` have an event time.
    pub(super) fn aggregator(&self, rows: &Rows) -> Result<Aggregator> {
        let configured = Aggregator::configure(self.plugin, self.settings(), &rows.rows.schema());
        let mut aggregator = configured.map_err(refused)?;
        aggregator.set_now(self.now_us);
        Ok(aggregator)
    }

    pub(super) fn rule(&self, rows: &Rows) -> Result<Rule> {
        let mut rule = Rule::configure(self.plugin, self.settings(), &rows.rows.schema()).map_err(refused)?;
        rule.set_now(self.now_us);
        Ok(rule)
    }

    fn parse(&self, messages: &Messages) -> Result<Outcome> {
        let mut parser = self.parser(messages)?;
        let fields = pick_fields(&messages.fields, parser.message_fields(), messages.len())?;
        let chunk = plugin::Messages { payload: &messages.payload, offsets: &messages.offsets, fields: &fields };
        let Produced { rows, rejected, .. } = parser.parse(chunk)?;
        Ok(outcome(rows, rejected, Vec::new(), parser.take_stats()))
    }

    fn transform(&self, rows: &Rows) -> Result<Outcome> {
        let mut transform = self.transformer(rows)?;
        let Produced { rows, rejected, .. } = transform.apply(&rows.rows)?;
        Ok(outcome(rows, rejected, Vec::new(), transform.take_stats()))
    }
}

fn refused(error: plugin::ConfigureError) -> Error {
    Error::from(error).during("the plugin does not take its `config` for this input")
}

/// Failures are told apart from what the plugin rejected itself.
fn outcome(rows: RecordBatch, rejected: Vec<Rejection>, failed: Vec<FailedInput>, stats: CallStats) -> Outcome {
    let fault = |input: usize, reason: &str| {
        let (_, remedy) = REMEDIES.iter().find(|(start, _)| stats.failures > 0 && reason.starts_with(start))?;
        Some(Fault { input, reason: reason.to_owned(), remedy })
    };
    let mut faults: Vec<Fault> = rejected.iter().filter_map(|one| fault(one.input, &one.reason)).collect();
    let other = |failed: &FailedInput| {
        let unknown = || Fault { input: failed.input, reason: failed.reason.clone(), remedy: REMEDIES[0].1 };
        fault(failed.input, &failed.reason).unwrap_or_else(unknown)
    };
    faults.extend(failed.iter().map(other));
    let rejected = rejected.into_iter().filter(|one| fault(one.input, &one.reason).is_none()).collect();
    Outcome { rows, rejected, faults, stats }
}

/// The group of each row in the order of first appearance, and one row of key
/// columns for each group.
pub(super) fn groups_of(rows: &Rows) -> Result<(Vec<u32>, RecordBatch)> {
    let schema = rows.rows.schema();
    let mut columns: Vec<usize> = Vec::new();
    for name in &rows.key {
        columns.push(schema.index_of(name).map_err(|_| {
            let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            Error::config(format!("the key names the column `{name}`: there are {}", known.join(", ")))
        })?);
    }
    let (mut slots, mut groups, mut firsts) = (HashMap::new(), Vec::new(), Vec::new());
    for row in 0..rows.rows.num_rows() {
        let key: Vec<String> =
            columns.iter().map(|column| value(rows.rows.column(*column).as_ref(), row).to_string()).collect();
        let next = u32::try_from(slots.len()).map_err(|_| Error::data("the input has more than 2^32 groups"))?;
        let slot = *slots.entry(key).or_insert(next);
        if slot == next {
            firsts.push(u32::try_from(row).map_err(|_| Error::data("the input has more than 2^32 rows"))?);
        }
        groups.push(slot);
    }
    let unfit = |error| Error::bug("the keys of groups cannot be taken").because(error);
    let keys = rows.rows.project(&columns).map_err(unfit)?;
    Ok((groups, take_rows(&keys, &UInt32Array::from(firsts)).map_err(unfit)?))
}

/// The groups of a rule's rows; none for a rule without memory.
pub(super) fn rule_groups(rule: &Rule, rows: &Rows) -> Result<(Vec<u32>, RecordBatch)> {
    match rule.memory() {
        Memory::Keyed => groups_of(rows),
        Memory::Stateless => Ok((Vec::new(), rows.rows.slice(0, 0))),
    }
}

/// Fold rows, of which the first has this index.
pub(super) fn update(
    aggregator: &mut Aggregator,
    groups: &[u32],
    rows: &RecordBatch,
    first: usize,
) -> Result<Vec<FailedInput>> {
    let needed = needed(rows, aggregator.needed())?;
    let failed = aggregator.update(groups, &needed)?;
    Ok(shifted(failed, first))
}

/// The rows of all groups, with their keys in front.
pub(super) fn evaluated(
    aggregator: &mut Aggregator,
    keys: &RecordBatch,
    failed: &mut Vec<FailedInput>,
) -> Result<RecordBatch> {
    let count = u32::try_from(keys.num_rows()).map_err(|_| Error::data("the input has more than 2^32 groups"))?;
    let groups: Vec<u32> = (0..count).collect();
    let evaluated = aggregator.evaluate(&groups)?;
    let what = |one: FailedInput| FailedInput { reason: format!("{} (group {})", one.reason, one.input), ..one };
    failed.extend(evaluated.failed.into_iter().map(what));
    let unfit = |error| Error::plugin("the plugin's columns do not stand beside the key columns").because(error);
    let keys = take_rows(keys, &UInt32Array::from(evaluated.origins)).map_err(unfit)?;
    let (own, key_schema) = (evaluated.rows.schema(), keys.schema());
    let fields: Vec<_> = key_schema.fields().iter().chain(own.fields()).cloned().collect();
    let columns: Vec<ArrayRef> = keys.columns().iter().chain(evaluated.rows.columns()).cloned().collect();
    if columns.is_empty() {
        return Ok(evaluated.rows);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(unfit)
}

/// The alerts that rows raise as rows, of which the first input has this index.
pub(super) fn judge(
    rule: &mut Rule,
    groups: &[u32],
    rows: &RecordBatch,
    first: usize,
) -> Result<(RecordBatch, Vec<FailedInput>)> {
    let needed = needed(rows, rule.needed())?;
    let Judged { alerts, failed } = rule.evaluate(groups, &needed)?;
    let shift = i64::try_from(first).unwrap_or(i64::MAX);
    let row: Int64Array = alerts.rows.iter().map(|row| i64::from(*row) + shift).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("row", Arc::new(row)),
        ("kind", Arc::new(alerts.kind)),
        ("severity", Arc::new(alerts.severity)),
        ("message", Arc::new(alerts.message)),
    ];
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let alerts = RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect());
    let alerts = alerts.map_err(|error| Error::bug("alerts make no rows").because(error))?;
    Ok((alerts, shifted(failed, first)))
}

fn needed(rows: &RecordBatch, columns: &[usize]) -> Result<RecordBatch> {
    rows.project(columns).map_err(|error| Error::bug("the needed columns cannot be taken").because(error))
}

fn shifted(failed: Vec<FailedInput>, first: usize) -> Vec<FailedInput> {
    failed.into_iter().map(|one| FailedInput { input: one.input + first, ..one }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plugin::Failure;

    #[test]
    fn every_failure_of_a_call_has_a_remedy() {
        let text = || "why".to_owned();
        for failure in [
            Failure::Trapped(text()),
            Failure::DeadlineMissed(Duration::from_millis(500)),
            Failure::Refused(text()),
            Failure::Invalid(text()),
        ] {
            let reason = failure.to_string();
            assert!(REMEDIES.iter().any(|(start, _)| reason.starts_with(start)), "{reason}");
        }
    }
}
