//! Who is measured: plugins, the bundled one of their role, and a native loop.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use serde::Deserialize;
use serde_json::{Value, json};

use super::figures::{Calls, Figures};
use super::input::{Input, Messages, Rows, pick_fields};
use super::trial::{CHUNK_BYTES, CHUNK_ROWS, Outcome, Trial, groups_of, rule_groups};
use crate::plugin::{
    self, Aggregator, CallStats, ComponentSource, FailurePolicy, Grants, Inference, Library, Limits, OnFailure, Parser,
    Plugin, Role, Rule, StepSettings, Transform, take_rows,
};
use crate::source::generator::GeneratorSettings;
use crate::{Error, Result};

/// Chunks of one pass.
const CHUNKS: usize = 1;
/// Columns that the bundled aggregator looks at.
const MAX_MEASURED_COLUMNS: usize = 4;
/// The columns of generated readings as the parser `json` takes them.
const READINGS: &str = "deviceId string, ts timestamp, temperature double, humidity double, pressure double, \
                        battery double, lat double, lon double, status string";

/// The native loop that most people would write over generated readings.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "what is measured is that they are filled")]
struct Reading {
    device_id: String,
    ts: String,
    temperature: f64,
    humidity: f64,
    pressure: f64,
    battery: f64,
    lat: f64,
    lon: f64,
    status: String,
}

/// Whether a native loop can be measured over an input too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opponent {
    /// The input are generated readings.
    Native,
    /// It is something else.
    None,
}

/// What plugins of one role are measured over.
pub struct Contest {
    role: Role,
    input: Input,
    /// What the input repeats, if it does.
    sample: Option<Input>,
    opponent: Opponent,
}

/// One of those that are measured.
pub struct Contender {
    name: String,
    work: Work,
    rows: u64,
    bytes: u64,
}

enum Work {
    Native(Messages),
    Parse { parser: Box<Parser>, chunk: Messages, fields: RecordBatch },
    Transform { transform: Box<Transform>, chunk: RecordBatch },
    Aggregate { aggregator: Box<Aggregator>, groups: Vec<u32>, chunk: RecordBatch },
    Judge { rule: Box<Rule>, groups: Vec<u32>, chunk: RecordBatch },
}

impl Contest {
    /// Over generated readings: as messages for a parser, as rows for others.
    ///
    /// # Errors
    /// Plugin if the bundled parser fails, which makes the rows.
    pub fn of_readings(role: Role, library: &Library) -> Result<Self> {
        let settings = GeneratorSettings::default();
        let (mut messages, mut message) = (Messages::default(), Vec::new());
        for offset in 0.. {
            message.clear();
            settings.write_message(0, offset, &mut message);
            messages.push(&message)?;
            if messages.payload.len() >= CHUNK_BYTES {
                break;
            }
        }
        if role == Role::Parser {
            let input = Input::Messages(messages);
            return Ok(Self { role, input, sample: None, opponent: Opponent::Native });
        }
        let json = bundled(library, "json")?;
        let trial = trial(&json, Role::Parser, json!({ "columns": READINGS }));
        let Outcome { rows, .. } = trial.run(&Input::Messages(messages))?;
        let rows = Rows { rows: rows.slice(0, rows.num_rows().min(CHUNK_ROWS)), key: vec!["deviceId".to_owned()] };
        Ok(Self { role, input: Input::Rows(rows), sample: None, opponent: Opponent::None })
    }

    /// Over an input, which is repeated, or cut, to the size of a chunk.
    ///
    /// # Errors
    /// Data if there is nothing in it.
    pub fn of(role: Role, input: &Input) -> Result<Self> {
        let nothing = || Error::data("there is nothing to measure with: the input is empty");
        let sample = Some(input.clone());
        let input = match input {
            Input::Messages(messages) => {
                if messages.payload.is_empty() {
                    return Err(nothing());
                }
                Input::Messages(filled(messages)?)
            }
            Input::Rows(rows) => {
                let count = u32::try_from(rows.rows.num_rows()).unwrap_or(u32::MAX);
                if count == 0 {
                    return Err(nothing());
                }
                let indices = (0..CHUNK_ROWS).map(|row| u32::try_from(row).unwrap_or(0) % count).collect();
                let chunk = take_rows(&rows.rows, &indices);
                let chunk = chunk.map_err(|error| Error::bug("rows cannot be repeated").because(error))?;
                Input::Rows(Rows { rows: chunk, key: rows.key.clone() })
            }
        };
        Ok(Self { role, input, sample, opponent: Opponent::None })
    }

    /// What one chunk is, for people.
    pub fn description(&self) -> String {
        match &self.input {
            Input::Messages(messages) => {
                format!("chunks of {} messages, {} KiB", messages.len(), messages.payload.len() >> 10)
            }
            Input::Rows(rows) => {
                format!("chunks of {} rows, {} columns", rows.rows.num_rows(), rows.rows.num_columns())
            }
        }
    }

    /// The native loop, where there is one for this input.
    pub fn native(&self) -> Option<Contender> {
        let Input::Messages(messages) = &self.input else { return None };
        if self.opponent == Opponent::None {
            return None;
        }
        let rows = count_readings(messages)?;
        Some(Contender {
            name: "serde_json into typed structs, native".to_owned(),
            rows: rows * CHUNKS as u64,
            bytes: (messages.payload.len() * CHUNKS) as u64,
            work: Work::Native(messages.clone()),
        })
    }

    /// The bundled plugin of the role over this input, or why there is none.
    ///
    /// # Errors
    /// Plugin if it fails.
    pub fn bundled(&self, library: &Library) -> Result<std::result::Result<Contender, String>> {
        let left_out = |why: &str| Ok(Err(why.to_owned()));
        let (name, config) = match (&self.input, self.role) {
            (Input::Messages(_), _) if self.opponent == Opponent::Native => ("json", json!({ "columns": READINGS })),
            (Input::Messages(messages), _) => {
                let plugin = bundled(library, "json")?;
                return match inferred(&plugin, messages)? {
                    Some(schema) => {
                        let input = Input::Messages(Messages { stored: Some(schema), ..messages.clone() });
                        self.contender("builtin:json".to_owned(), &plugin, json!({}), &input).map(Ok)
                    }
                    None => left_out("builtin:json is left out: the input is no JSON with columns"),
                };
            }
            (Input::Rows(_), Role::Transform) => ("identity", json!({})),
            (Input::Rows(rows), Role::Aggregator) => ("statistics", statistics(rows)),
            (Input::Rows(rows), _) => match doubles(rows).next() {
                Some(column) => ("thresholds", thresholds(&column)),
                None => return left_out("builtin:thresholds is left out: the rows have no column of the type double"),
            },
        };
        let plugin = bundled(library, name)?;
        self.contender(format!("builtin:{name}"), &plugin, config, &self.input).map(Ok)
    }

    /// A plugin in its role, with this configuration.
    ///
    /// # Errors
    /// Config if it does not take it; Plugin if it fails for the input.
    pub fn plugin(&self, name: String, plugin: &Plugin, config: Value) -> Result<Contender> {
        plugin.require(self.role)?;
        if let Some(sample) = &self.sample {
            // What it fails for is told soon, and once.
            let limits = Limits { deadline: SAMPLE_DEADLINE, ..LIMITS };
            tried(&name, &Trial { limits, ..trial(plugin, self.role, config.clone()) }, sample)?;
        }
        self.contender(name, plugin, config, &self.input)
    }

    fn contender(&self, name: String, plugin: &Plugin, config: Value, input: &Input) -> Result<Contender> {
        let trial = trial(plugin, self.role, config);
        let outcome = tried(&name, &trial, input)?;
        if outcome.rows.num_rows() == 0 && !outcome.rejected.is_empty() {
            let reason = &outcome.rejected[0].reason;
            return Err(Error::data(format!(
                "{name} rejects all of the input, first because {reason}: give it an input that it is for, with `--input`"
            )));
        }
        let (work, rows, bytes) = match input {
            Input::Messages(messages) => {
                let parser = Box::new(trial.parser(messages)?);
                let fields = pick_fields(messages, parser.message_fields())?;
                let rows = outcome.rows.num_rows();
                (Work::Parse { parser, chunk: messages.clone(), fields }, rows, messages.payload.len())
            }
            Input::Rows(rows) => {
                let (count, bytes) = (rows.rows.num_rows(), rows.rows.get_array_memory_size());
                (work_on_rows(&trial, rows)?, count, bytes)
            }
        };
        let passed = |size: usize| (size * CHUNKS) as u64;
        Ok(Contender { name, work, rows: passed(rows), bytes: passed(bytes) })
    }
}

fn work_on_rows(trial: &Trial<'_>, rows: &Rows) -> Result<Work> {
    let project = |rows: &RecordBatch, columns: &[usize]| {
        rows.project(columns).map_err(|error| Error::bug("the needed columns cannot be taken").because(error))
    };
    Ok(match trial.role {
        Role::Transform => Work::Transform { transform: Box::new(trial.transformer(rows)?), chunk: rows.rows.clone() },
        Role::Aggregator => {
            let rows = rows.with_event_time()?;
            let aggregator = Box::new(trial.aggregator(&rows)?);
            let (groups, _) = groups_of(&rows)?;
            let chunk = project(&rows.rows, aggregator.needed())?;
            Work::Aggregate { aggregator, groups, chunk }
        }
        _ => {
            let rule = Box::new(trial.rule(rows)?);
            let (groups, _) = rule_groups(&rule, rows)?;
            let chunk = project(&rows.rows, rule.needed())?;
            Work::Judge { rule, groups, chunk }
        }
    })
}

impl Contender {
    /// Take all chunks once.
    pub(super) fn pass(&mut self) -> Result<()> {
        for _ in 0..CHUNKS {
            match &mut self.work {
                Work::Native(messages) => {
                    for message in messages.iter() {
                        let readings = serde_json::from_slice::<Vec<Reading>>(message);
                        black_box(readings.map_err(|error| Error::bug("readings are no JSON").because(error))?);
                    }
                }
                Work::Parse { parser, chunk, fields } => {
                    let chunk = plugin::Messages { payload: &chunk.payload, offsets: &chunk.offsets, fields };
                    black_box(parser.parse(chunk)?);
                }
                Work::Transform { transform, chunk } => drop(black_box(transform.apply(chunk)?)),
                Work::Aggregate { aggregator, groups, chunk } => drop(black_box(aggregator.update(groups, chunk)?)),
                Work::Judge { rule, groups, chunk } => drop(black_box(rule.evaluate(groups, chunk)?)),
            }
        }
        // What the end of an epoch asks for.
        match &mut self.work {
            Work::Aggregate { aggregator, groups, .. } => {
                let slots = groups.iter().copied().max().map_or(0, |most| most + 1);
                black_box(aggregator.evaluate(&(0..slots).collect::<Vec<_>>())?);
                aggregator.move_base()
            }
            Work::Judge { rule, groups, .. } if !groups.is_empty() => rule.move_base(),
            Work::Native(_) | Work::Parse { .. } | Work::Transform { .. } | Work::Judge { .. } => Ok(()),
        }
    }

    /// What the calls have cost does not count.
    pub(super) fn forget_stats(&mut self) {
        drop(self.take_stats());
    }

    fn take_stats(&mut self) -> CallStats {
        match &mut self.work {
            Work::Native(_) => CallStats::default(),
            Work::Parse { parser, .. } => parser.take_stats(),
            Work::Transform { transform, .. } => transform.take_stats(),
            Work::Aggregate { aggregator, .. } => aggregator.take_stats(),
            Work::Judge { rule, .. } => rule.take_stats(),
        }
    }

    /// What it took, given the time of one pass.
    pub(super) fn into_figures(mut self, time: Duration) -> Figures {
        let calls = Calls::of(&self.take_stats());
        Figures { name: self.name, rows: self.rows, bytes: self.bytes, time, calls }
    }
}

/// What a plugin may use while it is measured: the figures say what it needs.
const LIMITS: Limits = Limits {
    memory_bytes: 1 << 30,
    deadline: Duration::from_secs(60),
    result_bytes: 256 << 20,
    rows: 4 << 20,
    grants: Grants { wasi: true },
};

/// What a call over an input that is not repeated yet may take.
const SAMPLE_DEADLINE: Duration = Duration::from_secs(5);

/// What a plugin makes of an input: one that fails would be measured failing.
fn tried(name: &str, trial: &Trial<'_>, input: &Input) -> Result<Outcome> {
    let outcome = trial.run(input).map_err(|error| error.during(name))?;
    match outcome.faults.first() {
        None => Ok(outcome),
        Some(fault) => {
            let advice = "`weir plugin run` and `weir plugin test` show more";
            Err(Error::plugin(format!("{name} fails for {}: {}: {advice}", fault.at, fault.reason)))
        }
    }
}

fn trial(plugin: &Plugin, role: Role, config: Value) -> Trial<'_> {
    Trial { plugin, role, config, limits: LIMITS, now_us: 0 }
}

fn bundled(library: &Library, name: &str) -> Result<Plugin> {
    library.load(&ComponentSource::Builtin(name.to_owned()), None, &LIMITS)
}

fn count_readings(messages: &Messages) -> Option<u64> {
    messages.iter().map(|message| Some(serde_json::from_slice::<Vec<Value>>(message).ok()?.len() as u64)).sum()
}

/// The messages again and again, until there are enough of them.
fn filled(messages: &Messages) -> Result<Messages> {
    let mut chunk = Messages { stored: messages.stored.clone(), ..Messages::default() };
    let mut indices: Vec<u32> = Vec::new();
    while chunk.payload.len() < CHUNK_BYTES {
        for (index, message) in (0..).zip(messages.iter()) {
            chunk.push(message)?;
            indices.push(index);
            if chunk.payload.len() >= CHUNK_BYTES {
                break;
            }
        }
    }
    if messages.fields.num_rows() == messages.len() && messages.fields.num_columns() > 0 {
        let fields = take_rows(&messages.fields, &indices.into());
        chunk.fields = fields.map_err(|error| Error::bug("message fields cannot be repeated").because(error))?;
    }
    Ok(chunk)
}

/// The columns that the bundled parser finds in messages, if it does.
fn inferred(json: &Plugin, messages: &Messages) -> Result<Option<SchemaRef>> {
    let settings = StepSettings {
        step: "builtin:json".to_owned(),
        config: json!({}),
        limits: LIMITS,
        on_failure: FailurePolicy::new(OnFailure::Isolate),
    };
    let fields = super::input::no_fields(messages.len());
    let sample = plugin::Messages { payload: &messages.payload, offsets: &messages.offsets, fields: &fields };
    let Ok(schema) = Inference::new(json, &settings)?.infer(sample) else { return Ok(None) };
    // What no value told the type of is no column here.
    let is_known = |field: &&FieldRef| !has_unknown(field.data_type());
    let columns: Vec<FieldRef> = schema.fields().iter().filter(is_known).cloned().collect();
    Ok((!columns.is_empty()).then(|| Arc::new(Schema::new(columns))))
}

fn has_unknown(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::List(item) => has_unknown(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field: &Arc<Field>| has_unknown(field.data_type())),
        _ => false,
    }
}

fn doubles(rows: &Rows) -> impl Iterator<Item = String> {
    let schema = rows.rows.schema();
    let doubles = schema.fields().iter().filter(|field| *field.data_type() == DataType::Float64);
    doubles.map(|field| field.name().clone()).collect::<Vec<_>>().into_iter()
}

fn statistics(rows: &Rows) -> Value {
    let mut config = json!({ "*": ["count"] });
    for column in doubles(rows).take(MAX_MEASURED_COLUMNS) {
        config[column] = json!(["avg", "min", "max"]);
    }
    config
}

/// A level that nothing reaches.
fn thresholds(column: &str) -> Value {
    json!({ "levels": [{ "column": column, "above": f64::MAX, "kind": "NEVER" }] })
}
