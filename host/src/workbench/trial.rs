//! One run of a plugin over an input, in the sandbox of the pipelines.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::input::{Input, Messages, Rows, pick_fields};
use super::json_rows::{as_lines, value};
use crate::plugin::{
    self, Aggregator, CallStats, FailedInput, FailurePolicy, Judged, Limits, Memory, OnFailure, Parser, Plugin,
    Rejection, Role, Rule, StepSettings, Transform, take_rows,
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

/// Something that the plugin fails for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub at: FaultAt,
    /// What happened.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}

/// What a plugin fails for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultAt {
    /// A message or row, by its index.
    Input(usize),
    /// A group that is to become a row, by its key as a JSON object, which is empty
    /// where all rows are one group.
    Group(String),
}

impl fmt::Display for FaultAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(index) => write!(f, "input {index}"),
            Self::Group(key) if key == "{}" => f.write_str("the group of all rows"),
            Self::Group(key) => write!(f, "group {key}"),
        }
    }
}

/// About the bytes of a chunk of messages, as in a pipeline by default.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Rows of a chunk: about what comes out of one of messages.
pub(super) const CHUNK_ROWS: usize = 8192;

/// What to do about a failure.
struct Remedy {
    /// How its reason begins.
    start: &'static str,
    /// For roles that can reject an input.
    rejecting: &'static str,
    /// For those that cannot.
    folding: &'static str,
}

const REMEDIES: [Remedy; 4] = [
    Remedy {
        start: "the plugin trapped: ",
        rejecting: "reject what cannot be processed with a reason, so that the plugin survives it; if it ran out of \
                    memory, raise `limits.memory` here and in the pipeline file",
        folding: "pass over what cannot be processed, so that the plugin survives it, or let a transform before it \
                  reject that; if it ran out of memory, raise `limits.memory` here and in the pipeline file",
    },
    Remedy { start: "the plugin missed its deadline", rejecting: MISSED_DEADLINE, folding: MISSED_DEADLINE },
    Remedy { start: "the plugin returned an invalid result: ", rejecting: INVALID_RESULT, folding: INVALID_RESULT },
    Remedy {
        start: "the plugin failed: ",
        rejecting: "an error fails the whole call and costs a retry: reject the input with a reason instead",
        folding: "an error fails the whole call and costs a retry: pass over what cannot be processed, or let a \
                  transform before it reject that",
    },
];

const MISSED_DEADLINE: &str = "make it faster or find the endless loop; if it needs the time, raise \
                               `limits.deadline` here and in the pipeline file";
const INVALID_RESULT: &str = "return columns as `configure` announces them; wit/ has the rules";

impl Remedy {
    /// That for a failure with this reason, if it is one.
    fn of(reason: &str) -> Option<&'static Self> {
        REMEDIES.iter().find(|remedy| reason.starts_with(remedy.start))
    }

    fn text(&self, role: Role) -> &'static str {
        match role {
            Role::Parser | Role::Inference | Role::Transform => self.rejecting,
            Role::Aggregator | Role::Rule => self.folding,
        }
    }
}

impl Trial<'_> {
    /// Run the plugin over an input, in chunks of the size that a pipeline has by default.
    ///
    /// # Errors
    /// Config if it does not play the role or refuses its configuration; Plugin if
    /// it cannot go on.
    pub fn run(&self, input: &Input) -> Result<Outcome> {
        match (self.role, input) {
            (Role::Parser | Role::Inference, Input::Messages(messages)) => self.parse(messages),
            (Role::Transform, Input::Rows(rows)) => self.transform(rows),
            (Role::Aggregator, Input::Rows(rows)) => self.aggregate(&rows.with_event_time()?),
            (Role::Rule, Input::Rows(rows)) => self.judge(rows),
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
        let fields = pick_fields(messages, parser.message_fields())?;
        let (mut batches, mut rejected) = (Vec::new(), Vec::new());
        for range in messages.chunks(CHUNK_BYTES) {
            let (payload, offsets) = messages.part(&range);
            let fields = fields.slice(range.start, range.len());
            let produced = parser.parse(plugin::Messages { payload, offsets: &offsets, fields: &fields })?;
            batches.push(produced.rows);
            rejected.extend(moved(produced.rejected, range.start));
        }
        let rows = together(parser.output(), &batches)?;
        Ok(self.outcome(rows, rejected, Vec::new(), parser.take_stats()))
    }

    fn transform(&self, rows: &Rows) -> Result<Outcome> {
        let mut transform = self.transformer(rows)?;
        let (mut batches, mut rejected) = (Vec::new(), Vec::new());
        for range in chunks(rows.rows.num_rows()) {
            let produced = transform.apply(&part(&rows.rows, &range)?)?;
            batches.push(produced.rows);
            rejected.extend(moved(produced.rejected, range.start));
        }
        let rows = together(transform.output(), &batches)?;
        Ok(self.outcome(rows, rejected, Vec::new(), transform.take_stats()))
    }

    /// `rows` have an event time.
    fn aggregate(&self, rows: &Rows) -> Result<Outcome> {
        let mut aggregator = self.aggregator(rows)?;
        let (groups, keys) = groups_of(rows)?;
        let failed = fold(&mut aggregator, &groups, &rows.rows)?;
        let (rows, failed_groups) = evaluated(&mut aggregator, &keys)?;
        let mut failed = at_inputs(failed);
        failed.extend(failed_groups);
        Ok(self.outcome(rows, Vec::new(), failed, aggregator.take_stats()))
    }

    fn judge(&self, rows: &Rows) -> Result<Outcome> {
        let mut rule = self.rule(rows)?;
        let (groups, _) = rule_groups(&rule, rows)?;
        let (mut batches, mut failed) = (Vec::new(), Vec::new());
        for range in chunks(rows.rows.num_rows()) {
            // A rule without memory has no groups.
            let groups = groups.get(range.clone()).unwrap_or_default();
            let judged = judge(&mut rule, groups, &part(&rows.rows, &range)?, range.start)?;
            batches.push(judged.0);
            failed.extend(judged.1);
        }
        let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        let alerts = together(&schema, &batches)?;
        Ok(self.outcome(alerts, Vec::new(), at_inputs(failed), rule.take_stats()))
    }

    /// Failures are told apart from what the plugin rejected itself.
    fn outcome(
        &self,
        rows: RecordBatch,
        rejected: Vec<Rejection>,
        failed: Vec<(FaultAt, String)>,
        stats: CallStats,
    ) -> Outcome {
        let is_fault = |one: &Rejection| stats.failures > 0 && Remedy::of(&one.reason).is_some();
        let (faulty, rejected): (Vec<Rejection>, Vec<Rejection>) = rejected.into_iter().partition(is_fault);
        let faulty = faulty.into_iter().map(|one| (FaultAt::Input(one.input), one.reason));
        let fault = |(at, reason): (FaultAt, String)| {
            let remedy = Remedy::of(&reason).unwrap_or(&REMEDIES[0]).text(self.role);
            Fault { at, reason, remedy }
        };
        let faults = faulty.chain(failed).map(fault).collect();
        Outcome { rows, rejected, faults, stats }
    }
}

fn refused(error: plugin::ConfigureError) -> Error {
    Error::from(error).during("the plugin does not take its `config` for this input")
}

/// The rows of each chunk; at least one chunk, which may be empty.
fn chunks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows.max(1)).step_by(CHUNK_ROWS).map(move |start| start..rows.min(start + CHUNK_ROWS))
}

/// These rows. Taken rather than sliced, because nested columns must be compact.
pub(super) fn part(rows: &RecordBatch, range: &Range<usize>) -> Result<RecordBatch> {
    if range.len() == rows.num_rows() {
        return Ok(rows.clone());
    }
    let indices: UInt32Array = range.clone().map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
    take_rows(rows, &indices).map_err(|error| Error::bug("rows cannot be taken").because(error))
}

/// The rows of all chunks.
fn together(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    concat_batches(schema, batches)
        .map_err(|error| Error::data("the rows of the chunks do not fit together").because(error))
}

/// Rejections of a chunk, of which the first input has this index.
fn moved(rejected: Vec<Rejection>, first: usize) -> impl Iterator<Item = Rejection> {
    rejected.into_iter().map(move |one| Rejection { input: one.input + first, ..one })
}

fn at_inputs(failed: Vec<FailedInput>) -> Vec<(FaultAt, String)> {
    failed.into_iter().map(|one| (FaultAt::Input(one.input), one.reason)).collect()
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

/// Fold rows chunk by chunk.
pub(super) fn fold(aggregator: &mut Aggregator, groups: &[u32], rows: &RecordBatch) -> Result<Vec<FailedInput>> {
    let mut failed = Vec::new();
    for range in chunks(rows.num_rows()) {
        failed.extend(update(aggregator, &groups[range.clone()], &part(rows, &range)?, range.start)?);
    }
    Ok(failed)
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

/// The rows of all groups, with their keys in front, and the groups that fail.
pub(super) fn evaluated(
    aggregator: &mut Aggregator,
    keys: &RecordBatch,
) -> Result<(RecordBatch, Vec<(FaultAt, String)>)> {
    let count = u32::try_from(keys.num_rows()).map_err(|_| Error::data("the input has more than 2^32 groups"))?;
    let groups: Vec<u32> = (0..count).collect();
    let evaluated = aggregator.evaluate(&groups)?;
    let at_group = |one: FailedInput| (FaultAt::Group(as_lines(&keys.slice(one.input, 1)).concat()), one.reason);
    let failed: Vec<_> = evaluated.failed.into_iter().map(at_group).collect();
    let unfit = |error| Error::plugin("the plugin's columns do not stand beside the key columns").because(error);
    let keys = take_rows(keys, &UInt32Array::from(evaluated.origins)).map_err(unfit)?;
    let (own, key_schema) = (evaluated.rows.schema(), keys.schema());
    let fields: Vec<_> = key_schema.fields().iter().chain(own.fields()).cloned().collect();
    let columns: Vec<ArrayRef> = keys.columns().iter().chain(evaluated.rows.columns()).cloned().collect();
    if columns.is_empty() {
        return Ok((evaluated.rows, failed));
    }
    Ok((RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(unfit)?, failed))
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
            let remedy = Remedy::of(&reason).unwrap_or_else(|| panic!("{reason}"));
            for role in [Role::Parser, Role::Inference, Role::Transform] {
                assert_eq!(remedy.text(role), remedy.rejecting);
            }
            for role in [Role::Aggregator, Role::Rule] {
                let text = remedy.text(role);
                assert!(!text.contains("with a reason"), "a {} rejects nothing: {text}", role.name());
            }
        }
    }

    #[test]
    fn chunks_cover_all_rows() {
        let found = |rows: usize| chunks(rows).map(|range| (range.start, range.end)).collect::<Vec<_>>();
        assert_eq!(found(0), [(0, 0)]);
        assert_eq!(found(1), [(0, 1)]);
        assert_eq!(found(CHUNK_ROWS), [(0, CHUNK_ROWS)]);
        assert_eq!(found(CHUNK_ROWS + 1), [(0, CHUNK_ROWS), (CHUNK_ROWS, CHUNK_ROWS + 1)]);
    }

    #[test]
    fn a_fault_names_an_input_or_a_group() {
        assert_eq!(FaultAt::Input(3).to_string(), "input 3");
        assert_eq!(FaultAt::Group("{\"key\":\"a\"}".to_owned()).to_string(), "group {\"key\":\"a\"}");
        assert_eq!(FaultAt::Group("{}".to_owned()).to_string(), "the group of all rows");
    }
}
