//! Windows and rules: validated configuration → steps that fit their inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::Value;

use super::build::{Seen, refused, table_settings};
use super::extended::{Extended, alert_fields, late_fields};
use super::rows::{MissingColumn, Projection};
use super::steps::{
    Duties, Feeder, Input, RuleShard, ShardStep, Shards, WindowOutput, WindowShard, output_schema, time_of,
};
use super::times::TimeRule;
use super::workers::RowRule;
use crate::Result;
use crate::config::{
    ColumnFrom, Emit, NotifyConfig, Pipeline, Problem, RuleConfig, StepInput, TableColumn, TableConfig, WindowConfig,
};
use crate::event_time::{DeduplicateSettings, KeyColumns, StateColumns};
use crate::model::{Digest, PluginIdentity, StepIdentity};
use crate::plugin::{Aggregator, Limits, Memory, Plugin, Rule, StepSettings};
use crate::sink::delta::{TableSettings, type_name};

/// The name of the step that looks for rows that come twice.
pub(super) const DEDUPLICATION: &str = "deduplicate";

/// So many worker threads feed one shard.
const WORKERS_PER_SHARD: usize = 4;

/// What is known of a step behind the rows.
pub(super) struct StepPlan {
    /// `window.NAME` or `rule.NAME`.
    pub(super) name: String,
    pub(super) plugin: PluginIdentity,
    pub(super) makings: Makings,
    /// What its state is of; none if it keeps none.
    pub(super) identity: Option<StepIdentity>,
    /// The versions of state that it reads.
    pub(super) restorable: Vec<u32>,
    pub(super) output: Output,
    /// The steps that see what it gives.
    pub(super) behind: Vec<Feeder>,
}

/// Where what a step gives goes; tables by index.
pub(super) enum Output {
    /// The rows of a window, and those that came too late for one.
    Window { table: Option<(usize, Projection)>, late: Option<(usize, Extended)> },
    /// What a rule of this name raised, and whether somebody is notified of it.
    Rule { table: usize, alerts: Extended, rule: String, notifies: bool },
}

/// The steps behind the rows, wired.
pub(super) struct Stateful {
    pub(super) plans: Vec<StepPlan>,
    pub(super) times: Option<TimeRule>,
    /// Rules that run in the workers.
    pub(super) rules: Vec<RowRule>,
    /// What goes from the workers to the shards.
    pub(super) feeders: Vec<Feeder>,
    pub(super) deduplicate: Option<(KeyColumns, DeduplicateSettings)>,
    /// The columns in which two rows are the same, with their types.
    deduplicate_by: String,
    deduplicate_state: Option<StateColumns>,
    /// One for each plan.
    pub(super) shard_steps: Vec<ShardStep>,
}

/// What a step is made of: where it is the same, the step does the same.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Makings {
    sha256: Digest,
    config: Value,
    limits: Limits,
    /// What it sees.
    seen: SchemaRef,
}

impl Makings {
    pub(super) fn new(plugin: &Plugin, settings: &StepSettings, seen: &SchemaRef) -> Self {
        let (config, limits) = (settings.config.clone(), settings.limits);
        Self { sha256: plugin.digest(), config, limits, seen: Arc::clone(seen) }
    }
}

/// The tables so far, with the schemas that they need.
type Tables = Vec<(TableSettings, Schema)>;

/// A wiring under way.
struct Wire<'a> {
    seen: &'a Seen<'a>,
    projections: &'a [Projection],
    /// The first of the steps' plugins among all of the pipeline.
    first_plugin: usize,
    tables: &'a mut Tables,
    problems: &'a mut Vec<Problem>,
    wired: Stateful,
    /// What each window gives, by window; none for one that does not fit.
    outputs: Vec<Option<SchemaRef>>,
}

/// Wire windows and rules; `plugins` are theirs, in the order of the steps.
///
/// None if something does not fit, which is among the problems then.
pub(super) fn wire_steps(
    seen: &Seen<'_>,
    projections: &[Projection],
    plugins: &[Plugin],
    first_plugin: usize,
    tables: &mut Tables,
    problems: &mut Vec<Problem>,
) -> Option<Stateful> {
    let wired = Stateful {
        plans: Vec::new(),
        times: None,
        rules: Vec::new(),
        feeders: Vec::new(),
        deduplicate: None,
        deduplicate_by: String::new(),
        deduplicate_state: None,
        shard_steps: Vec::new(),
    };
    let mut wire = Wire { seen, projections, first_plugin, tables, problems, wired, outputs: Vec::new() };
    wire.event_time();
    let pipeline = seen.pipeline;
    let (windows, rules) = plugins.split_at(pipeline.windows.len().min(plugins.len()));
    // A step that does not fit does not keep another from being looked at, but for
    // those that see what it gives.
    for (config, plugin) in pipeline.windows.iter().zip(windows) {
        let output = wire.window(config, plugin);
        wire.outputs.push(output);
    }
    for (config, plugin) in pipeline.rules.iter().zip(rules) {
        wire.rule(config, plugin);
    }
    wire.problems.is_empty().then_some(wire.wired)
}

impl Wire<'_> {
    fn event_time(&mut self) -> Option<()> {
        let Some(settings) = &self.seen.pipeline.event_time else { return Some(()) };
        let rows = self.seen.rows;
        let among = || {
            let is_time = |field: &&Arc<Field>| matches!(field.data_type(), DataType::Timestamp(..));
            rows.fields().iter().filter(is_time).map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
        };
        let found = rows.index_of(&settings.column).ok();
        let is_time = |index: &usize| {
            matches!(rows.field(*index).data_type(), DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
        };
        let Some(column) = found.filter(is_time) else {
            let what = if found.is_some() { "is no timestamp" } else { "is no column of the rows" };
            let message = format!("`{}` {what}", settings.column);
            let remedy = match among().as_str() {
                "" => "let the parser give a timestamp, for example `ts as event_time timestamp`".to_owned(),
                names => format!("the timestamps are: {names}"),
            };
            self.problem("event_time.column", message, Some(remedy));
            return None;
        };
        let max_future_skew = settings.max_future_skew.0;
        self.wired.times = Some(TimeRule { column, max_future_skew, has_partitions: false });
        if let Some(deduplicate) = &self.seen.pipeline.deduplicate {
            let keys = self.keys(&deduplicate.by, rows, "event_time.deduplicate.by")?;
            self.wired.deduplicate_by = typed(&deduplicate.by, rows);
            self.wired.deduplicate_state = Some(StateColumns::new(&keys, rows));
            self.wired.deduplicate = Some((keys, deduplicate.clone()));
        }
        Some(())
    }

    /// What the window gives.
    fn window(&mut self, config: &WindowConfig, plugin: &Plugin) -> Option<SchemaRef> {
        let (input, rows) = self.input(&config.input)?;
        let path = &config.plugin.path;
        let keys = self.keys(&config.key, &rows, &format!("{path}.key"))?;
        let seen = with_time(&rows, false);
        let settings = self.seen.policies.settings(&config.plugin);
        let makings = Makings::new(plugin, &settings, &seen);
        let aggregator = match Aggregator::configure(plugin, settings, &seen) {
            Ok(aggregator) => aggregator,
            Err(error) => {
                self.problems.extend(refused(self.seen.file, &config.plugin, error));
                return None;
            }
        };
        let schema = match output_schema(&keys, &rows, aggregator.output()) {
            Ok(schema) => schema,
            Err(message) => {
                self.problem(&format!("{path}.config"), message, Some("rename one of them".to_owned()));
                return None;
            }
        };
        let step = self.wired.plans.len();
        let table = match &config.table {
            Some(table) => {
                let columns = table.columns.clone().unwrap_or_else(|| default_columns(&schema, config.emit));
                let projection = Projection::new(Some(&columns), &schema, &Schema::empty());
                let projection = self.columns(&format!("{path}.table"), projection);
                projection.map(|projection| (self.table(table, projection.schema()), projection))
            }
            None => None,
        };
        let late = match &config.late {
            Some(table) => {
                let extended = Extended::new(table.columns.as_deref(), &rows, self.seen.messages, &late_fields());
                let extended = self.columns(&format!("{path}.late"), extended);
                extended.map(|extended| (self.table(table, extended.schema()), extended))
            }
            None => None,
        };
        let state = StateColumns::new(&keys, &rows);
        let shape = BTreeMap::from([
            ("key".to_owned(), typed(&config.key, &rows)),
            ("window".to_owned(), config.kind.to_string()),
            ("input".to_owned(), self.input_name(&config.input)),
        ]);
        let identity =
            StepIdentity { shape, plugin: Some(plugin.name().to_owned()), state_version: aggregator.state_version() };
        let shown = late.as_ref().map(|(_, extended)| extended.rows().clone());
        let feeder = Feeder { step, input, keys: keys.clone(), needed: aggregator.needed().to_vec(), shown };
        self.wired.plans.push(StepPlan {
            name: config.plugin.step.clone(),
            plugin: plugin.identity(&config.plugin.step),
            makings,
            identity: Some(identity),
            restorable: aggregator.restorable().to_vec(),
            output: Output::Window { table, late },
            behind: Vec::new(),
        });
        self.feed(feeder);
        let output = WindowOutput { keys, schema: Arc::clone(&schema) };
        let shard = WindowShard::new(aggregator, config.kind, output, state, config.emit);
        self.wired.shard_steps.push(ShardStep::Window(Box::new(shard)));
        Some(schema)
    }

    fn rule(&mut self, config: &RuleConfig, plugin: &Plugin) -> Option<()> {
        let (input, rows) = self.input(&config.input)?;
        let path = &config.plugin.path;
        let of_window = matches!(input, Input::Window(_));
        let seen = match self.seen.pipeline.event_time.is_some() || of_window {
            true => with_time(&rows, !of_window),
            false => Arc::clone(&rows),
        };
        let settings = self.seen.policies.settings(&config.plugin);
        let makings = Makings::new(plugin, &settings, &seen);
        let rule = match Rule::configure(plugin, settings, &seen) {
            Ok(rule) => rule,
            Err(error) => {
                self.problems.extend(refused(self.seen.file, &config.plugin, error));
                return None;
            }
        };
        let messages = if of_window { &Schema::empty() } else { self.seen.messages };
        let alerts = Extended::new(config.table.columns.as_deref(), &rows, messages, &alert_fields());
        let alerts = self.columns(&format!("{path}.table"), alerts)?;
        self.partition_keys(config, alerts.schema());
        let keys = match rule.memory() {
            Memory::Keyed => config.key.as_slice(),
            Memory::Stateless => &[],
        };
        let keys = self.keys(keys, &rows, &format!("{path}.key"))?;
        let step = self.wired.plans.len();
        let (shown, needed) = (Some(alerts.rows().clone()), rule.needed().to_vec());
        let feeder = Feeder { step, input, keys: keys.clone(), needed, shown };
        let shape = BTreeMap::from([
            ("key".to_owned(), typed(&config.key, &rows)),
            ("input".to_owned(), self.input_name(&config.input)),
        ]);
        let identity =
            StepIdentity { shape, plugin: Some(plugin.name().to_owned()), state_version: rule.state_version() };
        let table = self.table(&config.table, alerts.schema());
        self.wired.plans.push(StepPlan {
            name: config.plugin.step.clone(),
            plugin: plugin.identity(&config.plugin.step),
            makings,
            identity: (rule.memory() == Memory::Keyed).then_some(identity),
            restorable: rule.restorable().to_vec(),
            output: Output::Rule { table, alerts, rule: config.name.clone(), notifies: !config.notify.is_empty() },
            behind: Vec::new(),
        });
        if rule.memory() == Memory::Stateless && !of_window {
            let plugin = self.first_plugin + step;
            self.wired.rules.push(RowRule { rule, feeder, plugin });
            self.wired.shard_steps.push(ShardStep::Elsewhere);
        } else {
            self.feed(feeder);
            let shard = RuleShard::new(rule, config.forget_after, StateColumns::new(&keys, &rows));
            self.wired.shard_steps.push(ShardStep::Rule(Box::new(shard)));
        }
        Some(())
    }

    /// What chooses the partition of an alert is among the columns of its table,
    /// which are what is sent of its row.
    fn partition_keys(&mut self, config: &RuleConfig, shown: &Schema) {
        for (index, notify) in config.notify.iter().enumerate() {
            let NotifyConfig::EventHub(hub) = notify else { continue };
            for column in hub.partition_key.iter().filter(|column| shown.index_of(column).is_err()) {
                let message = format!("the table of the alerts has no column `{column}` to choose a partition by");
                let remedy = "add it to the `columns` of the table, or set `partition_key` to others of them";
                let path = format!("{}.notify.{index}.partition_key", config.plugin.path);
                self.problem(&path, message, Some(remedy.to_owned()));
            }
        }
    }

    /// Let a step be fed by whoever has its input.
    fn feed(&mut self, feeder: Feeder) {
        match feeder.input {
            // It has no plan under its number only if something does not fit.
            Input::Window(step) => {
                if let Some(plan) = self.wired.plans.get_mut(step) {
                    plan.behind.push(feeder);
                }
            }
            Input::Rows | Input::Table(_) => self.wired.feeders.push(feeder),
        }
    }

    /// The rows of an input; none if they are those of a window that does not fit.
    fn input(&self, input: &StepInput) -> Option<(Input, SchemaRef)> {
        Some(match input {
            StepInput::Rows => (Input::Rows, Arc::clone(self.seen.rows)),
            StepInput::Table(index) => (Input::Table(*index), Arc::clone(self.projections.get(*index)?.schema())),
            StepInput::Window(index) => (Input::Window(*index), self.outputs.get(*index)?.clone()?),
        })
    }

    fn input_name(&self, input: &StepInput) -> String {
        match input {
            StepInput::Rows => "all rows".to_owned(),
            StepInput::Table(index) => format!("table.{}", self.seen.pipeline.tables[*index].name),
            StepInput::Window(index) => format!("window.{}", self.seen.pipeline.windows[*index].name),
        }
    }

    fn table(&mut self, config: &TableConfig, schema: &SchemaRef) -> usize {
        self.tables.push((table_settings(config), schema.as_ref().clone()));
        self.tables.len() - 1
    }

    fn keys(&mut self, names: &[String], rows: &Schema, path: &str) -> Option<KeyColumns> {
        match KeyColumns::new(names, rows) {
            Ok(keys) => Some(keys),
            Err(error) => {
                self.problem(path, error.to_string(), None);
                None
            }
        }
    }

    fn columns<T>(&mut self, path: &str, found: std::result::Result<T, Vec<MissingColumn>>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(missing) => {
                for (index, message) in missing {
                    self.problem(&format!("{path}.columns.{index}"), message, None);
                }
                None
            }
        }
    }

    fn problem(&mut self, path: &str, message: String, remedy: Option<String>) {
        self.problems.push(self.seen.file.problem_at(path, message, remedy));
    }
}

impl Stateful {
    /// Start the shards, if there is something for them to do.
    pub(super) fn start_shards(&self, pipeline: &Pipeline) -> Result<Option<Shards>> {
        let deduplicate = self.deduplicate.as_ref().map(|(_, settings)| settings).zip(self.deduplicate_state.as_ref());
        let is_sharded = |step: &ShardStep| !matches!(step, ShardStep::Elsewhere);
        let is_needed = self.shard_steps.iter().any(is_sharded) || deduplicate.is_some();
        let count = pipeline.threads.div_ceil(WORKERS_PER_SHARD);
        is_needed.then(|| Shards::start(&self.shard_steps, deduplicate, count)).transpose()
    }

    /// Start the shards. Where they go on is told later.
    pub(super) fn start(self, pipeline: &Pipeline) -> Result<Duties> {
        let shards = self.start_shards(pipeline)?;
        let deduplication = self.deduplicate.map(|(_, settings)| StepIdentity {
            shape: BTreeMap::from([
                ("by".to_owned(), self.deduplicate_by),
                ("within".to_owned(), settings.within.to_string()),
            ]),
            plugin: None,
            state_version: 0,
        });
        Ok(Duties::new(self.plans, shards, deduplication))
    }
}

/// Columns with their types, without which the values that are kept mean nothing.
fn typed(names: &[String], rows: &Schema) -> String {
    let typed = |name: &String| match rows.field_with_name(name) {
        Ok(field) => format!("{name} {}", type_name(field.data_type())),
        Err(_) => name.clone(),
    };
    names.iter().map(typed).collect::<Vec<_>>().join(", ")
}

/// Rows with their event time behind them.
fn with_time(rows: &Schema, nullable: bool) -> SchemaRef {
    let mut fields = rows.fields().to_vec();
    fields.push(Arc::new(time_of(nullable)));
    Arc::new(Schema::new(fields))
}

/// All that a window gives; whether a row is final only where that may differ.
fn default_columns(schema: &Schema, emit: Emit) -> Vec<TableColumn> {
    let fields = match emit {
        Emit::OnClose => &schema.fields()[..schema.fields().len() - 1],
        Emit::EachEpoch => &schema.fields()[..],
    };
    let column =
        |field: &Arc<Field>| TableColumn { name: field.name().clone(), from: ColumnFrom::Row(field.name().clone()) };
    fields.iter().map(column).collect()
}
