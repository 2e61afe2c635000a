//! Validated configuration → wired parts.
//!
//! Wiring loads and configures the plugins and fits columns to tables; it reads
//! no message and changes nothing, so that a pipeline can be checked by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;

use super::kept::KeptSchema;
use super::maker::{Columns, Maker};
use super::rows::Projection;
use super::steps::Duties;
use super::swap::Shadow;
use super::times::TimeRule;
use super::watch::Watch;
use super::wire::{Stateful, wire_steps};
use super::workers::{Steps, Workers};
use crate::config::{
    self, ColumnFrom, OnError, Pipeline, PipelineFile, PluginConfig, PluginReference, Problem, SourceConfig,
    TableConfig,
};
use crate::env::{self, Env};
use crate::model::PluginIdentity;
use crate::plugin::{
    Compiler, ComponentSource, ConfigureError, Engine, FailurePolicy, Inference, Library, OnFailure, Parser, Plugin,
    StepSettings, Transform,
};
use crate::schema::SchemaSettings;
use crate::sink::dead_letter;
use crate::sink::delta::{self, Compression, Encoders, Table, TableSettings};
use crate::source::Source;
use crate::source::event_hubs::EventHubsSource;
use crate::source::files::FileSource;
use crate::source::generator::GeneratorSource;
use crate::{Error, ErrorKind, Result};

/// What a run wires its pipeline on, as often as it does.
#[derive(Clone)]
pub(super) struct Footing {
    pub(super) library: Library,
    /// The message fields that the source has.
    pub(super) fields: SchemaRef,
    /// Whether the source has partitions.
    pub(super) has_partitions: bool,
}

impl Footing {
    pub(super) fn new(library: Library, source: &dyn Source) -> Self {
        Self { library, fields: source.message_fields(), has_partitions: source.has_partitions() }
    }
}

/// Components, and the engine that they run in.
pub(super) fn library(env: &Env) -> Result<Library> {
    Library::new(Engine::new()?, env::cache_dir().join("plugins"), Compiler::new(env.program.clone()))
}

/// What happens when plugins fail: what the pipeline says, but for some steps.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    pub(super) on_error: OnError,
    /// By step.
    pub(super) others: BTreeMap<String, FailurePolicy>,
}

impl Policies {
    /// What the pipeline says.
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        Self { on_error: pipeline.on_error, others: BTreeMap::new() }
    }

    /// How a plugin stands in its step.
    pub(super) fn settings(&self, config: &PluginConfig) -> StepSettings {
        let usual = || FailurePolicy::new(on_failure(self.on_error));
        StepSettings {
            step: config.step.clone(),
            config: config.config.clone(),
            limits: config.limits,
            on_failure: self.others.get(&config.step).cloned().unwrap_or_else(usual),
        }
    }
}

/// What happens at a failure, as the pipeline file says.
pub(super) fn on_failure(on_error: OnError) -> OnFailure {
    match on_error {
        OnError::DeadLetter => OnFailure::Isolate,
        OnError::Fail => OnFailure::Fail,
    }
}

/// What steps behind the rows are wired from.
pub(super) struct Seen<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) file: &'a PipelineFile,
    pub(super) policies: &'a Policies,
    /// The rows of the last transform or parser.
    pub(super) rows: &'a SchemaRef,
    /// The message fields that chunks carry.
    pub(super) messages: &'a Schema,
}

/// A pipeline whose parts fit together; nothing is opened yet.
pub(super) struct Wiring {
    pub(super) steps: Steps,
    /// The message fields that chunks must bring.
    pub(super) message_fields: Vec<String>,
    /// The tables: those of rows in the order of the projections, those of the
    /// steps, and that of the dead letters.
    pub(super) tables: Vec<(TableSettings, Schema)>,
    pub(super) stateful: Stateful,
    /// All plugins, in the order of the stream.
    pub(super) plugins: Vec<Plugged>,
}

/// A plugin in its step.
#[derive(Debug, Clone)]
pub(super) struct Plugged {
    pub(super) identity: PluginIdentity,
    /// The component.
    pub(super) component: Bytes,
}

impl Plugged {
    pub(super) fn new(plugin: &Plugin, step: &str) -> Self {
        Self { identity: plugin.identity(step), component: plugin.bytes().clone() }
    }
}

/// The parts of a running pipeline.
pub(super) struct Parts {
    pub(super) footing: Footing,
    pub(super) source: Box<dyn Source>,
    /// The message fields that chunks bring.
    pub(super) message_fields: Vec<String>,
    pub(super) workers: Workers,
    pub(super) encoders: Encoders,
    /// Those of rows in the order of the projections, and those of the steps.
    pub(super) tables: Vec<Arc<Table>>,
    pub(super) duties: Duties,
    pub(super) dead_letters: Arc<Table>,
    /// The schemas that are needed of the tables, that of the dead letters last.
    pub(super) schemas: Vec<Schema>,
    pub(super) plugins: Vec<Plugged>,
    /// What runs beside it on trial.
    pub(super) shadow: Option<Shadow>,
}

impl Wiring {
    /// Wire a pipeline, with the schema that weir keeps for its source, if it does.
    /// Message fields that are `selected` already go on being brought.
    ///
    /// Fails with everything that does not fit, each with its place in the file.
    pub(super) fn new(
        pipeline: &Pipeline,
        file: &PipelineFile,
        footing: &Footing,
        selected: &[String],
        policies: &Policies,
        kept: Option<&KeptSchema>,
    ) -> std::result::Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let at = |path: &str, error: &Error| file.problem_at(path, error.to_string(), None);
        let (library, fields) = (&footing.library, &footing.fields);

        // All plugins are loaded, so that all that are wrong are told at once.
        let load = |config: &PluginConfig| {
            load(library, config).map_err(|error| at(&format!("{}.plugin", config.path), &error))
        };
        let parser = pipeline.parser.as_ref();
        let parser = parser.map(|config| (config, load(config).map_err(|problem| problems.push(problem))));
        let mut transforms = Vec::new();
        for transform in &pipeline.transforms {
            transforms.push((transform, load(transform).map_err(|problem| problems.push(problem))));
        }
        let mut behind = Vec::new();
        for config in step_plugins(pipeline) {
            behind.push(load(config).map_err(|problem| problems.push(problem)));
        }
        let settings = |config: &PluginConfig| policies.settings(config);
        let refuse = |config: &PluginConfig, error: ConfigureError, problems: &mut Vec<Problem>| {
            problems.extend(refused(file, config, error));
        };
        let managed = pipeline.schema.as_ref().zip(kept);
        let stored = managed.map(|(settings, kept)| kept.stored(settings));
        let (maker, inference) = match parser {
            Some((_, Err(()))) => return Err(problems),
            Some((config, Ok(plugin))) => {
                let parser = Parser::configure(&plugin, settings(config), stored.as_ref());
                let Ok(parser) = parser.map_err(|error| refuse(config, error, &mut problems)) else {
                    return Err(problems);
                };
                let inference = managed.filter(|(settings, _)| settings.evolution.adds_columns());
                let inference = inference.map(|_| Inference::new(&plugin, &settings(config))).transpose();
                let inference = inference.map_err(|error| vec![at("parser.plugin", &error)])?;
                (Maker::Parser(Box::new(parser)), inference)
            }
            None => {
                let stored =
                    stored.as_ref().ok_or_else(|| vec![at("source", &Error::bug("neither parser nor schema"))])?;
                (Maker::Columns(Columns::new(stored)), None)
            }
        };
        for name in maker.message_fields() {
            if fields.index_of(name).is_err() {
                let message = format!("the parser asks for the message field `{name}`, which the source does not have");
                problems.push(file.problem_at("parser.plugin", message, None));
            }
        }
        let partitions = partition_columns(pipeline);
        let message_fields = wanted_fields(selected, pipeline, maker.message_fields(), partitions);
        let carried: Vec<_> =
            message_fields.iter().filter_map(|name| fields.field_with_name(name).ok().cloned()).collect();
        let carried = Schema::new(carried);
        let watch = match managed {
            Some((managed, kept)) => {
                let watch = watch(managed, kept, (&maker, inference), partitions, &carried);
                Some(watch.map_err(|error| vec![at("parser.plugin", &error)])?)
            }
            None => None,
        };
        let mut rows = Arc::clone(watch.as_ref().map_or(maker.output(), Watch::output));
        let mut configured = Vec::new();
        for (config, plugin) in transforms {
            let Ok(plugin) = plugin else { return Err(problems) };
            match Transform::configure(&plugin, settings(config), &rows) {
                Ok(transform) => {
                    rows = Arc::clone(transform.output());
                    configured.push(transform);
                }
                Err(error) => {
                    refuse(config, error, &mut problems);
                    return Err(problems);
                }
            }
        }

        let (mut projections, mut tables) = (Vec::new(), Vec::new());
        for table in &pipeline.tables {
            match Projection::new(table.columns.as_deref(), &rows, &carried) {
                Ok(projection) => {
                    tables.push((table_settings(table), projection.schema().as_ref().clone()));
                    projections.push(projection);
                }
                Err(missing) => {
                    problems.extend(missing.into_iter().map(|(index, message)| {
                        file.problem_at(&format!("table.{}.columns.{index}", table.name), message, None)
                    }));
                    // Steps that see this table are looked at all the same.
                    projections.extend(Projection::new(None, &rows, &carried));
                }
            }
        }
        let behind: std::result::Result<Vec<Plugin>, ()> = behind.into_iter().collect();
        let Ok(behind) = behind else { return Err(problems) };
        let seen = Seen { pipeline, file, policies, rows: &rows, messages: &carried };
        let first_plugin = usize::from(pipeline.parser.is_some()) + configured.len();
        let stateful = wire_steps(&seen, &projections, &behind, first_plugin, &mut tables, &mut problems);
        let Some(mut stateful) = stateful.filter(|_| problems.is_empty()) else { return Err(problems) };
        let dead_letters = TableSettings::new(dead_letter::TABLE_NAME, pipeline.dead_letters.clone());
        tables.push((dead_letters, dead_letter::schema().as_ref().clone()));
        let index = |name: &String| message_fields.iter().position(|field| field == name);
        let maker_fields = maker.message_fields().iter().filter_map(index).collect();
        let steps = Steps {
            maker,
            watch,
            transforms: configured,
            projections,
            maker_fields,
            times: stateful.times.map(|times| TimeRule { has_partitions: footing.has_partitions, ..times }),
            rules: std::mem::take(&mut stateful.rules),
            feeders: std::mem::take(&mut stateful.feeders),
            repeats: stateful.deduplicate.as_ref().map(|(keys, _)| keys.clone()),
        };
        let mut plugins = steps.plugins();
        plugins.extend(behind.iter().zip(&stateful.plans).map(|(plugin, plan)| Plugged::new(plugin, &plan.name)));
        Ok(Self { steps, message_fields, tables, stateful, plugins })
    }

    /// Whether the tables that exist fit; creates none.
    ///
    /// # Errors
    /// Unavailable or Corrupt if a table cannot be read.
    pub(super) async fn check_tables(&self, file: &PipelineFile, env: &Env) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        for (settings, schema) in &self.tables {
            let path = table_path(&settings.name);
            let found = match Table::check(settings, schema, env).await {
                Ok(found) => found,
                Err(error) if matches!(error.kind(), ErrorKind::Config | ErrorKind::Data) => vec![error.to_string()],
                Err(error) => return Err(error),
            };
            problems.extend(found.into_iter().map(|message| file.problem_at(&path, message, None)));
        }
        Ok(problems)
    }

    /// Open the tables, creating those that do not exist, and start the threads.
    ///
    /// # Errors
    /// Data if a table does not fit; Unavailable if one cannot be read or the
    /// system has no thread to give.
    pub(super) async fn open(
        self,
        pipeline: &Pipeline,
        env: &Env,
        footing: Footing,
        mut source: Box<dyn Source>,
    ) -> Result<Parts> {
        source.select_fields(&self.message_fields)?;
        let mut tables = Vec::new();
        let (settings, schemas): (Vec<_>, Vec<_>) = self.tables.into_iter().unzip();
        for (settings, schema) in settings.into_iter().zip(&schemas) {
            tables.push(Arc::new(Table::open_or_create(settings, schema, env).await?));
        }
        let dead_letters = tables.pop().ok_or_else(|| Error::bug("a pipeline without a dead-letter table"))?;
        Ok(Parts {
            footing,
            source,
            message_fields: self.message_fields,
            plugins: self.plugins,
            duties: self.stateful.start(pipeline)?,
            workers: Workers::start(&self.steps, pipeline.threads)?,
            encoders: Encoders::start(pipeline.threads)?,
            tables,
            dead_letters,
            schemas,
            shadow: None,
        })
    }
}

/// What is done to the rows of a parser whose schema weir keeps.
///
/// # Errors
/// Config if the parser has columns of its own, or cannot infer new ones.
fn watch(
    settings: &SchemaSettings,
    kept: &KeptSchema,
    (maker, inference): (&Maker, Option<Inference>),
    partitions: &[String],
    carried: &Schema,
) -> Result<Watch> {
    let stored = kept.stored(settings);
    let shape = |schema: &Schema| -> Vec<String> {
        let field = |field: &Arc<Field>| format!("{} {}", field.name(), delta::type_name(field.data_type()));
        schema.fields().iter().map(field).collect()
    };
    let (wanted, found) = (shape(&stored), shape(maker.output()));
    if wanted != found {
        return Err(Error::config(format!(
            "the parser gives the columns {}, but weir keeps a schema of {}: leave the columns out of its `config`,              or the settings of a schema out of `[source.files]`",
            found.join(", "),
            wanted.join(", ")
        )));
    }
    let is_taken = |name: &String| kept.columns.fields().iter().any(|field| field.name().eq_ignore_ascii_case(name));
    let partition = |name: &String| {
        let index =
            carried.index_of(name).map_err(|error| Error::bug("a folder's column is missing").because(error))?;
        Ok((index, carried.field(index).clone()))
    };
    // What a file says itself counts more than the folder in which it lies.
    let partitions = partitions.iter().filter(|name| !is_taken(name)).map(partition).collect::<Result<_>>()?;
    Ok(Watch::new(settings, (&kept.columns, &kept.ignored), maker.output(), partitions, inference))
}

/// The columns that the folders of files name, where weir keeps the schema.
fn partition_columns(pipeline: &Pipeline) -> &[String] {
    match &pipeline.source {
        SourceConfig::Files(settings) if pipeline.schema.is_some() => &settings.partition_columns,
        SourceConfig::Files(_) | SourceConfig::EventHubs(_) | SourceConfig::Generator(_) => &[],
    }
}

/// Where a table stands in the pipeline file.
fn table_path(name: &str) -> String {
    match name {
        dead_letter::TABLE_NAME => "dead_letters".to_owned(),
        name if name.ends_with(".late") => name.to_owned(),
        name if name.contains('.') => format!("{name}.table"),
        name => format!("table.{name}"),
    }
}

/// The plugins of windows and rules, in the order of the steps.
pub(super) fn step_plugins(pipeline: &Pipeline) -> impl Iterator<Item = &PluginConfig> {
    pipeline.windows.iter().map(|window| &window.plugin).chain(pipeline.rules.iter().map(|rule| &rule.plugin))
}

/// What a plugin's refusal is in the terms of the file.
pub(super) fn refused(file: &PipelineFile, config: &PluginConfig, error: ConfigureError) -> Vec<Problem> {
    match error {
        ConfigureError::Failed(error) => {
            vec![file.problem_at(&format!("{}.plugin", config.path), error.to_string(), None)]
        }
        ConfigureError::Refused(refused) => {
            let problem = |problem: crate::plugin::ConfigProblem| {
                let path = format!("{}.config.{}", config.path, problem.path);
                file.problem_at(path.trim_end_matches('.'), problem.message, None)
            };
            refused.into_iter().map(problem).collect()
        }
    }
}

pub(super) fn source(pipeline: &Pipeline, env: &Env) -> Result<Box<dyn Source>> {
    let chunks = pipeline.chunk_bounds;
    match &pipeline.source {
        SourceConfig::Files(settings) => Ok(Box::new(FileSource::new((**settings).clone(), env, chunks)?)),
        SourceConfig::EventHubs(settings) => Ok(Box::new(EventHubsSource::new((**settings).clone(), env, chunks)?)),
        SourceConfig::Generator(settings) => Ok(Box::new(GeneratorSource::new(settings.clone(), env, chunks)?)),
    }
}

pub(super) fn load(library: &Library, config: &PluginConfig) -> Result<Plugin> {
    library.load(&component_source(config), config.sha256, &config.limits)
}

/// Where the component of a plugin comes from.
pub(super) fn component_source(config: &PluginConfig) -> ComponentSource {
    match &config.reference {
        PluginReference::Builtin(name) => ComponentSource::Builtin(name.clone()),
        PluginReference::File(path) => ComponentSource::File(path.clone()),
        PluginReference::Bytes(name, bytes) => ComponentSource::Bytes(name.clone(), bytes.clone()),
    }
}

pub(super) fn table_settings(table: &TableConfig) -> TableSettings {
    TableSettings {
        name: table.name.clone(),
        location: table.location.clone(),
        partition_by: table.partition_by.clone(),
        properties: table.properties.clone(),
        compression: match table.compression {
            config::Compression::Zstd => Compression::default(),
            config::Compression::Snappy => Compression::Snappy,
            config::Compression::None => Compression::None,
        },
        target_file_bytes: table.target_file_bytes,
        evolution: match table.evolution {
            config::TableEvolution::AddColumns => delta::Evolution::AddColumns,
            config::TableEvolution::Fixed => delta::Evolution::Fixed,
        },
    }
}

/// What is selected already, what the parser asks for, and behind it what becomes
/// columns, and what only tables ask for.
fn wanted_fields(selected: &[String], pipeline: &Pipeline, parser: &[String], partitions: &[String]) -> Vec<String> {
    let mut wanted = selected.to_vec();
    let columns = pipeline.all_tables().filter_map(|table| table.columns.as_ref()).flatten();
    let fields = columns.filter_map(|column| match &column.from {
        ColumnFrom::Message(name) => Some(name),
        ColumnFrom::Row(_) | ColumnFrom::Rest | ColumnFrom::EpochTime => None,
    });
    for name in parser.iter().chain(partitions).chain(fields) {
        if !wanted.contains(name) {
            wanted.push(name.clone());
        }
    }
    wanted
}
