//! One table: open or create it, check it, and commit epochs to it.
//!
//! What is known about the table is kept between commits and brought up to date
//! by following the log. An entry is put at the version after the last one read,
//! so a commit that landed in between makes the put fail instead of being missed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use delta_kernel::SnapshotRef;
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::log::{Log, PutEntry};
use super::settings::{Evolution, TableSettings};
use super::stats::INDEXED_COLUMNS;
use super::{features, schema};
use crate::env::{Clock, Env, Storage};
use crate::model::{Epoch, StagedFile};
use crate::protocol::commit::{CommitBounds, CommitDecision, CommitFacts, LastAppend, TableShape, decide};
use crate::{Error, ErrorKind, Result};

/// How often a commit may lose against other writers. Each loss means that
/// another commit went forward, so this ends only under endless foreign commits.
const MAX_LOST_APPENDS: u32 = 1000;

/// How many unknown outcomes in a row a commit bears before the pipeline stops.
const MAX_UNKNOWN_APPENDS: u32 = 8;

/// The wait after the first unknown outcome; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How old what is known may be to be followed. A log that is cleaned up behind
/// a paused host has no next entry although the table went on, so after this
/// time the log is loaded anew. Far below any sensible log retention.
const TRUSTED_FOR: Duration = Duration::from_secs(300);

/// How many of the last entries are made durable when a commit is found that an
/// earlier process may have put without living to sync it.
const SYNCED_BEHIND: u64 = 64;

/// A Delta table that weir appends to.
pub struct Table {
    settings: TableSettings,
    log: Log,
    clock: Arc<dyn Clock>,
    /// All columns, as the table orders and names them, and behind them those that
    /// it is still to get.
    columns: SchemaRef,
    /// Whether it is still to get some.
    lacks_columns: AtomicBool,
    /// As it was when the table was opened: staging must not wait for a commit.
    indexed_columns: usize,
    known: Mutex<Known>,
}

/// What was last read of the table.
struct Known {
    snapshot: SnapshotRef,
    version: u64,
    /// Transaction versions: of the snapshot where asked for, and of what followed.
    transactions: HashMap<String, Option<i64>>,
    /// Why staged files do not fit any more.
    misfits: Vec<String>,
    checkpointed: u64,
    read_at: Instant,
    read_at_us: i64,
    /// Whether columns were added since.
    is_outdated: bool,
}

/// One epoch for one table.
#[derive(Debug, Clone)]
pub struct CommitRequest<'a> {
    /// Whose epochs these are: pipeline, lane and table.
    pub app_id: &'a str,
    /// The epoch.
    pub epoch: Epoch,
    /// What was staged, from the epoch's durable record.
    pub files: &'a [StagedFile],
    /// The Delta schema of the files, where the table may lack columns of it.
    pub schema: Option<&'a Value>,
    /// What else the commit says about its origin.
    pub metadata: Map<String, Value>,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a fenced host must stop"]
pub enum CommitOutcome {
    /// The epoch is in the table by this call.
    Committed {
        /// The version of the table.
        version: u64,
    },
    /// The epoch was in the table already, or an append of unknown outcome landed.
    AlreadyCommitted,
    /// A later epoch is in the table: another host has taken over.
    Fenced {
        /// The transaction version that the table carries.
        found: i64,
    },
}

impl Table {
    /// Open a table, or create it with this schema if there is none. Two hosts
    /// that create it at once end with the same table.
    ///
    /// # Errors
    /// Config if the wanted schema or properties cannot be a table; Data if the
    /// table differs, with every difference; Unavailable or Corrupt if it cannot
    /// be read.
    pub async fn open_or_create(settings: TableSettings, wanted: &Schema, env: &Env) -> Result<Self> {
        let problems = own_problems(&settings, wanted);
        if !problems.is_empty() {
            return Err(Error::config(listed(&settings, "cannot be created", &problems)));
        }
        let log = Log::new(env.storage(&settings.location)?)?;
        if !log.exists().await? {
            create(&log, &settings, wanted, env).await?;
        }
        let snapshot = log.load(None).await?;
        let problems = problems_in(&snapshot, &settings, wanted)?;
        if !problems.is_empty() {
            return Err(Error::data(listed(&settings, "does not fit the pipeline", &problems)));
        }
        let found = schema::to_arrow(&snapshot.schema())?;
        let columns = match settings.evolution {
            Evolution::AddColumns => Arc::new(schema::extended(&found, wanted)),
            Evolution::Fixed => Arc::clone(&found),
        };
        let lacks_columns = AtomicBool::new(columns != found);
        let indexed_columns = match snapshot.table_properties().data_skipping_num_indexed_cols {
            Some(DataSkippingNumIndexedCols::NumColumns(count)) => usize::try_from(count).unwrap_or(usize::MAX),
            Some(DataSkippingNumIndexedCols::AllColumns) => usize::MAX,
            None => INDEXED_COLUMNS,
        };
        let known = Mutex::new(Known::new(snapshot, env.clock.as_ref()));
        Ok(Self { settings, log, clock: Arc::clone(&env.clock), columns, lacks_columns, indexed_columns, known })
    }

    /// What [`Table::open_or_create`] would refuse, without creating anything.
    ///
    /// # Errors
    /// Config if the location cannot be understood; Unavailable or Corrupt if
    /// the table cannot be read.
    pub async fn check(settings: &TableSettings, wanted: &Schema, env: &Env) -> Result<Vec<String>> {
        let mut problems = own_problems(settings, wanted);
        let log = Log::new(env.storage(&settings.location)?)?;
        if log.exists().await? {
            problems.extend(problems_in(&log.load(None).await?, settings, wanted)?);
        }
        Ok(problems)
    }

    /// What the pipeline says about the table.
    pub fn settings(&self) -> &TableSettings {
        &self.settings
    }

    /// All columns, in the table's order; those that it is still to get stand behind
    /// the others.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// The Delta schema of staged files, if the table lacks columns of it: the
    /// commit of the files has to add them.
    ///
    /// # Errors
    /// Bug if it cannot be written.
    pub fn schema_to_add(&self) -> Result<Option<Value>> {
        if !self.lacks_columns.load(Ordering::Acquire) {
            return Ok(None);
        }
        let schema = serde_json::to_value(schema::to_delta(&self.columns)?);
        schema.map(Some).map_err(|error| Error::bug("a schema cannot be written as JSON").because(error))
    }

    /// The folder of the table.
    pub fn storage(&self) -> &Storage {
        self.log.storage()
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    pub(super) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// How many leaf columns have statistics.
    pub(super) fn indexed_columns(&self) -> usize {
        self.indexed_columns
    }

    /// Whether a staged file is there.
    ///
    /// # Errors
    /// Unavailable if the store fails, Corrupt if its action cannot be understood.
    pub async fn has_file(&self, file: &StagedFile) -> Result<bool> {
        super::stage::exists(self.storage(), file).await
    }

    /// The newest epoch of this writer in the table, read now.
    ///
    /// # Errors
    /// Unavailable or Corrupt if the table cannot be read.
    pub async fn transaction_version(&self, app_id: &str) -> Result<Option<i64>> {
        let mut known = self.known.lock().await;
        self.refresh(&mut known).await?;
        self.found(&mut known, app_id).await
    }

    /// Append one epoch exactly once, whatever was tried before and whoever else
    /// writes. Nothing is appended for an epoch without files. When this returns
    /// an outcome, the epoch survives a loss of power.
    ///
    /// # Errors
    /// Corrupt if a staged file's action cannot be understood; Data if the table
    /// was changed so that the files do not fit; Unavailable if the store fails
    /// for long. After an error the epoch may be in the table: commit it again.
    pub async fn commit(&self, request: CommitRequest<'_>) -> Result<CommitOutcome> {
        let mut known = self.known.lock().await;
        let lines = self.lines(&request)?;
        let bounds = CommitBounds { max_lost: MAX_LOST_APPENDS, max_unknown: MAX_UNKNOWN_APPENDS };
        let (mut lost, mut unknown, mut last) = (0, 0, LastAppend::NotTried);
        let mut trouble = None;
        loop {
            let found = match self.read_for_commit(&mut known, request.app_id).await {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::Unavailable && unknown < MAX_UNKNOWN_APPENDS => {
                    unknown += 1;
                    wait(self.clock.as_ref(), unknown).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let shape = if known.misfits.is_empty() { TableShape::Fits } else { TableShape::Changed };
            match decide(CommitFacts { epoch: request.epoch, found, shape, last, lost, unknown }, bounds) {
                CommitDecision::Append => {}
                CommitDecision::WaitAndAppend => wait(self.clock.as_ref(), unknown).await,
                CommitDecision::AlreadyCommitted => {
                    self.log.sync(self.oldest_unsynced(&known).await?, known.version).await?;
                    return Ok(CommitOutcome::AlreadyCommitted);
                }
                CommitDecision::Fenced { found } => return Ok(CommitOutcome::Fenced { found }),
                CommitDecision::RefuseChanged => {
                    let problems = listed(&self.settings, "was changed and does not fit any more", &known.misfits);
                    return Err(Error::data(problems));
                }
                CommitDecision::GiveUp => return Err(self.gave_up(&request, trouble)),
            }
            if request.files.is_empty() {
                return Ok(CommitOutcome::AlreadyCommitted);
            }
            let version = known.version + 1;
            let metadata = self.with_new_columns(&known, &request)?;
            let entry: Vec<&str> = lines.iter().chain(&metadata).map(String::as_str).collect();
            match self.log.put(version, Bytes::from(entry.join("\n"))).await {
                PutEntry::Landed => {
                    known.version = version;
                    known.is_outdated |= metadata.is_some();
                    let epoch = request.epoch.transaction_version();
                    known.transactions.insert(request.app_id.to_owned(), Some(epoch));
                    self.log.sync(version, version).await?;
                    return Ok(CommitOutcome::Committed { version });
                }
                PutEntry::Taken => (last, lost) = (LastAppend::Lost, lost + 1),
                PutEntry::Unknown(error) => {
                    (last, unknown) = (LastAppend::Unknown, unknown + 1);
                    trouble = Some(error);
                }
            }
        }
    }

    /// The version up to which a checkpoint is due, and the snapshot's properties.
    pub(super) async fn due_for_checkpoint(&self, default_interval: u64) -> Option<u64> {
        let known = self.known.lock().await;
        let interval = known.snapshot.table_properties().checkpoint_interval;
        let interval = interval.map_or(default_interval, std::num::NonZero::get);
        (known.version >= known.checkpointed + interval).then_some(known.version)
    }

    pub(super) async fn checkpointed(&self, version: u64) {
        let mut known = self.known.lock().await;
        known.checkpointed = known.checkpointed.max(version);
    }

    async fn read_for_commit(&self, known: &mut Known, app_id: &str) -> Result<Option<i64>> {
        self.refresh(known).await?;
        self.found(known, app_id).await
    }

    /// Bring what is known up to date.
    async fn refresh(&self, known: &mut Known) -> Result<()> {
        let (now, now_us) = (self.clock.monotonic(), self.clock.now_us());
        let trusted = !known.is_outdated
            && now.saturating_duration_since(known.read_at) < TRUSTED_FOR
            && u128::from(now_us.abs_diff(known.read_at_us)) < TRUSTED_FOR.as_micros();
        if trusted {
            let tail = self.log.follow(known.version).await?;
            if !tail.redefined && !tail.too_long {
                known.version += tail.entries;
                known.transactions.extend(tail.transactions.into_iter().map(|(app, version)| (app, Some(version))));
                (known.read_at, known.read_at_us) = (now, now_us);
                return Ok(());
            }
        }
        let snapshot = self.log.load(None).await?;
        if snapshot.version() < known.version {
            let (now, before) = (snapshot.version(), known.version);
            let name = &self.settings.name;
            return Err(Error::unavailable(format!("table `{name}` is listed at version {now}, before {before}")));
        }
        let misfits = problems_in(&snapshot, &self.settings, &self.columns)?;
        let found = schema::to_arrow(&snapshot.schema())?;
        self.lacks_columns.store(schema::extended(&found, &self.columns) != *found, Ordering::Release);
        *known = Known { misfits, ..Known::new(snapshot, self.clock.as_ref()) };
        Ok(())
    }

    async fn found(&self, known: &mut Known, app_id: &str) -> Result<Option<i64>> {
        if let Some(found) = known.transactions.get(app_id) {
            return Ok(*found);
        }
        let found = self.log.transaction_version(&known.snapshot, app_id).await?;
        known.transactions.insert(app_id.to_owned(), found);
        Ok(found)
    }

    /// The first of the last entries that is there to be synced.
    async fn oldest_unsynced(&self, known: &Known) -> Result<u64> {
        let mut first = known.version;
        while first > known.version.saturating_sub(SYNCED_BEHIND) {
            if self.storage().get(&super::log::entry_name(first - 1)).await?.is_none() {
                break;
            }
            first -= 1;
        }
        Ok(first)
    }

    /// The table's metadata with the columns of the staged files that it lacks, as a
    /// line of an entry; none if it has them all.
    fn with_new_columns(&self, known: &Known, request: &CommitRequest<'_>) -> Result<Option<String>> {
        let Some(staged) = request.schema else { return Ok(None) };
        let metadata = known.snapshot.table_configuration().metadata();
        let unreadable = |error| {
            let name = &self.settings.name;
            Error::corrupt(format!("the schema of the table `{name}` cannot be understood")).because(error)
        };
        let mut schema: Value = serde_json::from_str(metadata.schema_string()).map_err(unreadable)?;
        if !schema::add_columns(&mut schema, staged) {
            return Ok(None);
        }
        let mut metadata = serde_json::to_value(metadata).map_err(unreadable)?;
        metadata["schemaString"] = Value::String(schema.to_string());
        Ok(Some(json!({ "metaData": metadata }).to_string()))
    }

    /// The lines of the entry, but for new columns.
    fn lines(&self, request: &CommitRequest<'_>) -> Result<Vec<String>> {
        let epoch = request.epoch;
        let mut lines = vec![json!({ "commitInfo": self.commit_info(request) })];
        for file in request.files {
            let add: deltalake::kernel::Add = serde_json::from_value(file.add.clone()).map_err(|error| {
                let name = &self.settings.name;
                Error::corrupt(format!("a staged file of epoch {epoch} for table `{name}` is not an add action"))
                    .because(error)
            })?;
            lines.push(json!({ "add": add }));
        }
        lines.push(json!({ "txn": {
            "appId": request.app_id,
            "version": epoch.transaction_version(),
            "lastUpdated": self.clock.now_us() / 1000,
        }}));
        Ok(lines.iter().map(Value::to_string).collect())
    }

    fn commit_info(&self, request: &CommitRequest<'_>) -> Map<String, Value> {
        let mut info = request.metadata.clone();
        let count = |sum: u64| Value::String(sum.to_string());
        let fixed = json!({
            "timestamp": self.clock.now_us() / 1000,
            "operation": "STREAMING UPDATE",
            "operationParameters": {
                "outputMode": "Append",
                "queryId": request.app_id,
                "epochId": request.epoch.to_string(),
            },
            "operationMetrics": {
                "numAddedFiles": count(request.files.len() as u64),
                "numOutputRows": count(request.files.iter().map(|file| file.rows).sum()),
                "numOutputBytes": count(request.files.iter().map(|file| file.size_bytes).sum()),
            },
            "isolationLevel": "Serializable",
            "isBlindAppend": true,
            "engineInfo": engine_info(),
        });
        if let Value::Object(fixed) = fixed {
            info.extend(fixed);
        }
        info
    }

    fn gave_up(&self, request: &CommitRequest<'_>, trouble: Option<Error>) -> Error {
        let (epoch, name) = (request.epoch, &self.settings.name);
        let error = Error::unavailable(format!(
            "epoch {epoch} could not be committed to table `{name}`: start again, reading the table will settle it"
        ));
        match trouble {
            Some(trouble) => error.because(trouble),
            None => error,
        }
    }
}

impl Known {
    fn new(snapshot: SnapshotRef, clock: &dyn Clock) -> Self {
        Self {
            version: snapshot.version(),
            checkpointed: snapshot.log_segment().checkpoint_version.unwrap_or(0),
            snapshot,
            transactions: HashMap::new(),
            misfits: Vec::new(),
            read_at: clock.monotonic(),
            read_at_us: clock.now_us(),
            is_outdated: false,
        }
    }
}

/// Put the first entry, unless somebody else does.
async fn create(log: &Log, settings: &TableSettings, wanted: &Schema, env: &Env) -> Result<()> {
    let properties: HashMap<String, String> = settings.properties.clone().into_iter().collect();
    let schema = serde_json::to_string(&schema::to_delta(wanted)?)
        .map_err(|error| Error::bug("a schema cannot be written as JSON").because(error))?;
    let now_ms = env.clock.now_us() / 1000;
    let lines = [
        json!({ "commitInfo": {
            "timestamp": now_ms,
            "operation": "CREATE TABLE",
            "operationParameters": {},
            "engineInfo": engine_info(),
        }}),
        json!({ "protocol": features::protocol_for(&properties) }),
        json!({ "metaData": {
            "id": env.new_id(),
            "name": settings.name,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": schema,
            "partitionColumns": settings.partition_by,
            "configuration": properties,
            "createdTime": now_ms,
        }}),
    ];
    let entry = Bytes::from(lines.map(|line| line.to_string()).join("\n"));
    let mut unknown = 0;
    loop {
        match log.put(0, entry.clone()).await {
            // The loser of a race takes the winner's table and checks it like any other.
            PutEntry::Landed | PutEntry::Taken => return log.sync(0, 0).await,
            PutEntry::Unknown(error) if unknown == MAX_UNKNOWN_APPENDS => return Err(error),
            PutEntry::Unknown(_) => {
                unknown += 1;
                wait(env.clock.as_ref(), unknown).await;
            }
        }
    }
}

fn engine_info() -> String {
    concat!("weir/", env!("CARGO_PKG_VERSION")).to_owned()
}

async fn wait(clock: &dyn Clock, tries: u32) {
    let wait = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(16));
    clock.back_off(wait.min(LONGEST_WAIT)).await;
}

fn own_problems(settings: &TableSettings, wanted: &Schema) -> Vec<String> {
    let mut problems = schema::problems_of(wanted, &settings.partition_by);
    problems.extend(features::property_problems(&settings.properties));
    if let Err(error) = settings.compression.codec() {
        problems.push(error.to_string());
    }
    problems
}

fn problems_in(snapshot: &SnapshotRef, settings: &TableSettings, wanted: &Schema) -> Result<Vec<String>> {
    let configuration = snapshot.table_configuration();
    let mut problems = features::problems_of(configuration.protocol(), configuration.metadata());
    let partitions = configuration.metadata().partition_columns();
    if partitions != settings.partition_by {
        problems.push(format!(
            "the table is partitioned by [{}] but the pipeline says [{}]",
            partitions.join(", "),
            settings.partition_by.join(", ")
        ));
    }
    let columns = schema::to_arrow(&snapshot.schema())?;
    problems.extend(schema::differences(wanted, &columns, settings.evolution));
    Ok(problems)
}

fn listed(settings: &TableSettings, what: &str, problems: &[String]) -> String {
    format!("table `{}` at {} {what}: {}", settings.name, settings.location, problems.join("; "))
}
