//! The schema that weir keeps for a source: where it comes from, and its versions.
//!
//! A version is stored before an epoch uses it, and the newest stored one counts.
//! So a host that dies between the two begins with a schema that has columns which
//! no row needs yet, and nothing else.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::build::{Policies, library, load, source};
use crate::checkpoint::{Checkpoint, PutSchema, SchemaRecord};
use crate::config::{Pipeline, PipelineFile, PluginConfig, SourceConfig};
use crate::env::{self, Env};
use crate::plugin::{Inference, Library, Messages, Parser};
use crate::schema::{self, Evolution, RESCUED, SchemaSettings};
use crate::source::files::partition_names;
use crate::source::{Chunk, ChunkSender};
use crate::{Error, Result};

/// How often a version is put anew because another host has put one meanwhile.
const PUT_TRIES: u32 = 16;
/// Chunks of a sample that wait to be looked at.
const SAMPLE_QUEUE: usize = 1;

/// A version of the schema.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeptSchema {
    pub(super) version: u64,
    /// The columns of the rows.
    pub(super) columns: SchemaRef,
    /// The columns that the folders of files name.
    pub(super) partition_columns: Vec<String>,
    /// New columns that could not be added: looked at once, and then rescued.
    pub(super) ignored: BTreeSet<String>,
}

impl KeptSchema {
    /// What the parser is told: the columns, and one for what does not fit, if that
    /// is wanted.
    pub(super) fn stored(&self, settings: &SchemaSettings) -> SchemaRef {
        let rescued = settings.asks_for_rescue().then(|| Arc::new(Field::new(RESCUED, DataType::Utf8, true)));
        Arc::new(Schema::new(self.columns.fields().iter().cloned().chain(rescued).collect::<Vec<_>>()))
    }

    fn of(record: &SchemaRecord) -> Result<Self> {
        let version = record.version;
        let damaged = |problem| Error::corrupt(format!("version {version} of the schema: {problem}"));
        let columns = match record.columns.as_slice() {
            [] => Arc::new(Schema::empty()),
            columns => schema::columns_of(&columns.join(", ")).map_err(damaged)?,
        };
        let partition_columns = record.partition_columns.clone();
        Ok(Self { version, columns, partition_columns, ignored: BTreeSet::new() })
    }

    fn record(&self, env: &Env) -> SchemaRecord {
        SchemaRecord {
            version: self.version,
            created_us: env.clock.now_us(),
            columns: schema::texts_of(&self.columns),
            partition_columns: self.partition_columns.clone(),
        }
    }

    fn first(columns: Schema) -> Self {
        Self { version: 0, columns: Arc::new(columns), partition_columns: Vec::new(), ignored: BTreeSet::new() }
    }

    /// The pipeline as it is with this schema: its source knows the columns that
    /// folders name, unless the file says which they are.
    pub(super) fn applied_to(&self, pipeline: &Pipeline) -> Pipeline {
        let mut pipeline = pipeline.clone();
        if let SourceConfig::Files(settings) = &mut pipeline.source
            && settings.partition_columns.is_empty()
        {
            settings.partition_columns.clone_from(&self.partition_columns);
        }
        pipeline
    }
}

/// New columns that an epoch has met.
#[derive(Debug, Clone)]
pub(super) struct NewColumns {
    /// Their dotted paths.
    pub(super) paths: BTreeSet<String>,
    /// What fits the messages that have them.
    pub(super) inferred: Schema,
    /// Where the first of them is.
    pub(super) place: String,
}

impl NewColumns {
    pub(super) fn merge(&mut self, other: Self) {
        self.paths.extend(other.paths);
        self.inferred = schema::merge(&self.inferred, &other.inferred);
    }

    fn list(&self) -> String {
        self.paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
    }
}

/// The schema that a pipeline's parser would be told now; none if it has its own.
///
/// # Errors
/// As a run that begins.
pub async fn kept_schema(pipeline: &Pipeline, file: &PipelineFile, env: &Env) -> Result<Option<SchemaRef>> {
    let Some(settings) = &pipeline.schema else { return Ok(None) };
    let checkpoint = Checkpoint::find(env.storage(&pipeline.checkpoint)?).await?;
    let kept = peek(pipeline, file, env, checkpoint.as_ref()).await?;
    Ok(kept.map(|kept| kept.stored(settings)))
}

/// The schema that a run begins with, once it is kept; none if the parser has its
/// own.
///
/// # Errors
/// Config if settings contradict what is stored, or if there is nothing to infer
/// from; what source and plugin fail with.
pub(super) async fn peek(
    pipeline: &Pipeline,
    file: &PipelineFile,
    env: &Env,
    checkpoint: Option<&Checkpoint>,
) -> Result<Option<KeptSchema>> {
    let Some(settings) = &pipeline.schema else { return Ok(None) };
    let stored = match checkpoint {
        Some(checkpoint) => checkpoint.newest_schema().await?,
        None => None,
    };
    let stored = stored.as_ref().map(KeptSchema::of).transpose()?;
    let refused = |key: &str, problem: String| {
        let at = format!("source.files.{key}");
        Error::from(file.problems(vec![file.problem_at(&at, problem, None)]))
    };
    let nothing = Schema::empty();
    let wanted = settings.explicit.as_deref().unwrap_or(&nothing);
    let kept = match stored {
        Some(kept) => {
            refuse_other_types(&kept.columns, wanted).map_err(|problem| refused("schema", problem))?;
            kept
        }
        None if settings.explicit.is_some() => KeptSchema::first(wanted.clone()),
        None => {
            let (inferred, partition_columns) = infer(pipeline, file, env).await?;
            let columns = schema::settle(&inferred, settings).map_err(|problem| refused("schema_hints", problem))?;
            KeptSchema { partition_columns, ..KeptSchema::first(columns) }
        }
    };
    let hinted = schema::settle(&nothing, settings).map_err(|problem| refused("schema_hints", problem))?;
    refuse_other_types(&kept.columns, &hinted).map_err(|problem| refused("schema_hints", problem))?;
    let columns = schema::extend(&schema::extend(&kept.columns, wanted), &hinted);
    Ok(Some(KeptSchema { columns: Arc::new(columns), ..kept }))
}

/// Store the schema that a run begins with, unless it is stored already.
///
/// # Errors
/// What the store fails with.
pub(super) async fn keep(checkpoint: &Checkpoint, env: &Env, peeked: KeptSchema) -> Result<KeptSchema> {
    let columns = Arc::clone(&peeked.columns);
    store(checkpoint, env, peeked, |current| Ok(schema::extend(current, &columns))).await
}

/// The next version, with the columns that an epoch has met.
///
/// # Errors
/// Data where the settings want the run to end; what the store fails with.
pub(super) async fn evolve(
    checkpoint: &Checkpoint,
    env: &Env,
    settings: &SchemaSettings,
    kept: KeptSchema,
    new: &NewColumns,
) -> Result<KeptSchema> {
    let problem = |problem| Error::config(format!("cannot add {}: {problem}", new.list()));
    let before = Arc::clone(&kept.columns);
    let mut evolved =
        store(checkpoint, env, kept, |current| schema::evolve(current, &new.inferred, settings).map_err(problem))
            .await?;
    if evolved.columns == before {
        // What cannot be added must not be looked for again and again.
        tracing::warn!("{} in {} could not be added to the schema and are rescued", new.list(), new.place);
        evolved.ignored.extend(new.paths.iter().cloned());
        return Ok(evolved);
    }
    tracing::info!("version {} of the schema has the new columns {}", evolved.version, new.list());
    match settings.evolution {
        Evolution::AddNewColumnsAndStop => Err(Error::data(format!(
            "there are new columns in {}: {}. Version {} of the schema has them; start again to go on",
            new.place,
            new.list(),
            evolved.version
        ))),
        _ => Ok(evolved),
    }
}

/// What ends a run that bears no new columns.
pub(super) fn refused(new: &NewColumns) -> Error {
    Error::data(format!(
        "there are new columns in {}: {}, and `schema_evolution` is \"fail-on-new-columns\"; the schema is as it was, \
         and nothing of the epoch was written. Add them with `schema_hints`, or choose another evolution",
        new.place,
        new.list()
    ))
}

/// Store what `next` makes of the newest version, unless that is the same.
async fn store(
    checkpoint: &Checkpoint,
    env: &Env,
    mut kept: KeptSchema,
    next: impl Fn(&Schema) -> Result<Schema>,
) -> Result<KeptSchema> {
    for _ in 0..PUT_TRIES {
        let newest = checkpoint.newest_schema().await?.as_ref().map(KeptSchema::of).transpose()?;
        let is_first = newest.is_none();
        if let Some(newest) = newest {
            kept = KeptSchema { ignored: kept.ignored, ..newest };
        }
        let columns = Arc::new(next(&kept.columns)?);
        if columns == kept.columns && !is_first {
            return Ok(kept);
        }
        let version = if is_first { 0 } else { kept.version + 1 };
        let evolved = KeptSchema { version, columns, ..kept.clone() };
        match checkpoint.put_schema(&evolved.record(env)).await? {
            PutSchema::Stored => return Ok(evolved),
            PutSchema::Taken(_) => {}
        }
    }
    Err(Error::unavailable("other hosts store one schema after the other for this pipeline: stop them"))
}

/// What is known of a column must not contradict the version that rows have.
fn refuse_other_types(kept: &Schema, wanted: &Schema) -> std::result::Result<(), String> {
    match schema::contradiction(kept, wanted) {
        None => Ok(()),
        Some((path, before, now)) => Err(format!(
            "the column `{path}` is {before} in the stored schema and {now} here: put it back, \
             or give the pipeline a new checkpoint and new tables"
        )),
    }
}

/// What fits a sample of the source, and which columns its folders name.
async fn infer(pipeline: &Pipeline, file: &PipelineFile, env: &Env) -> Result<(Schema, Vec<String>)> {
    let Some(settings) = &pipeline.schema else { return Ok((Schema::empty(), Vec::new())) };
    let mut source = source(pipeline, env)?;
    let Some(range) = source.sample(settings.sample).await? else {
        let message = format!("there is nothing yet to infer a schema from in the {}", source.description());
        let remedy = "put a file there, or list the columns with `schema`".to_owned();
        return Err(file.problems(vec![file.problem_at("source.files.path", message, Some(remedy))]).into());
    };
    let sampled = range.files().unwrap_or_default();
    let files = sampled.len();
    let partition_columns = partition_names(sampled.iter().map(|file| file.path.as_str()));
    let partition_columns = partition_columns.into_iter().map(str::to_owned).collect();
    tracing::info!("inferring the schema from {files} files, {} bytes", range.file_bytes().unwrap_or(0));
    let prepared = match &pipeline.parser {
        Some(parser) => {
            let (parser, policies, library) = (parser.clone(), Policies::of(pipeline), library(env)?);
            Some(env::blocking(move || prepare(&parser, &policies, &library)).await?)
        }
        None => None,
    };
    let (inference, fields) = prepared.unzip();
    source.select_fields(&fields.unwrap_or_default())?;
    let (out, inbox) = ChunkSender::bounded(SAMPLE_QUEUE);
    let reading = source.read(&range, out);
    let forks =
        Mutex::new((0..pipeline.threads.max(1)).map(|_| inference.as_ref().map(Inference::fork)).collect::<Vec<_>>());
    let chunks = stream::unfold(inbox, async |mut inbox| inbox.recv().await.map(|chunk| (chunk, inbox)));
    let inferring = chunks
        .map(|chunk| {
            // As many are taken as work at once.
            let fork = forks.lock().unwrap_or_else(PoisonError::into_inner).pop();
            async {
                let mut inference = fork.ok_or_else(|| Error::bug("more chunks are looked at than may be"))?;
                let (inferred, inference) = env::blocking(move || {
                    let inferred = infer_chunk(inference.as_mut(), &chunk);
                    Ok((inferred, inference))
                })
                .await?;
                forks.lock().unwrap_or_else(PoisonError::into_inner).push(inference);
                inferred
            }
        })
        .buffered(pipeline.threads.max(1))
        .try_fold(Schema::empty(), async |all, inferred| Ok(schema::merge(&all, &inferred)));
    let ((), inferred) = tokio::try_join!(reading, inferring)?;
    if inferred.fields().is_empty() && settings.hints.is_empty() {
        let message = format!("the {files} files that were looked at have no columns");
        let remedy = "list the columns with `schema`, or correct `format` and `glob`".to_owned();
        return Err(file.problems(vec![file.problem_at("source.files.path", message, Some(remedy))]).into());
    }
    Ok((inferred, partition_columns))
}

/// What infers, and the message fields that it wants to see.
fn prepare(parser: &PluginConfig, policies: &Policies, library: &Library) -> Result<(Inference, Vec<String>)> {
    let plugin = load(library, parser)?;
    let settings = policies.settings(parser);
    let inference = Inference::new(&plugin, &settings)?;
    let stored = Arc::new(Schema::new(vec![Field::new(RESCUED, DataType::Utf8, true)]));
    // What is wrong with the configuration is told by the wiring.
    let fields = Parser::configure(&plugin, settings, Some(&stored)).map(|parser| parser.message_fields().to_vec());
    Ok((inference, fields.unwrap_or_default()))
}

fn infer_chunk(inference: Option<&mut Inference>, chunk: &Chunk) -> Result<SchemaRef> {
    let inference = match (&chunk.rows, inference) {
        (Some(rows), _) => return Ok(rows.schema()),
        (None, Some(inference)) => inference,
        (None, None) => return Ok(Arc::new(Schema::empty())),
    };
    let messages = Messages { payload: &chunk.payload, offsets: &chunk.offsets, fields: &chunk.fields };
    if messages.is_empty() { Ok(Arc::new(Schema::empty())) } else { inference.infer(messages) }
}
