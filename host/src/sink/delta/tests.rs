//! The sink as a whole, in memory and on the local disk, with faulty stores.

use std::fmt;
use std::path::Path as FsPath;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use serde_json::{Map, Value, json};

use super::show::{first_rows, history, overview};
use super::*;
use crate::env::{Env, Location, ManualClock, OpenStore, SystemStores};
use crate::model::{AttemptId, Epoch, StagedFile};
use crate::{Error, ErrorKind, Result};

const APP: &str = "pipeline/main/events";

/// A table name that no other test uses.
fn memory() -> Location {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let url = format!("memory:///table{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Location::parse(&url, FsPath::new("/")).expect("a location")
}

fn local(folder: &tempfile::TempDir) -> Location {
    Location::Local(folder.path().join("a table"))
}

fn env() -> Env {
    Env { clock: Arc::new(ManualClock::at(1_700_000_000_000_000)), ..Env::system() }
}

fn epoch(number: u64) -> Epoch {
    Epoch::new(number).expect("small")
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn simple() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]))
}

fn ids(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let names: StringArray = ids.iter().map(|id| Some(format!("name {id}"))).collect();
    RecordBatch::try_new(simple(), vec![Arc::new(Int64Array::from(ids)), Arc::new(names)]).expect("a batch")
}

async fn stage(table: &Table, number: u64, batches: impl IntoIterator<Item = RecordBatch>) -> Vec<StagedFile> {
    let encoders = Encoders::start(2).expect("threads");
    let attempt = AttemptId::new(uuid_like());
    let mut stage = Stage::start(table, &encoders, &attempt, epoch(number)).await.expect("a stage");
    for batch in batches {
        stage.write(batch).await.expect("written");
    }
    stage.finish().await.expect("staged").files
}

fn uuid_like() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("attempt{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn commit(table: &Table, number: u64, files: &[StagedFile]) -> Result<CommitOutcome> {
    let metadata = Map::from_iter([("pipeline".to_owned(), json!("p"))]);
    table
        .commit(CommitRequest {
            app_id: APP,
            epoch: epoch(number),
            files,
            schema: table.schema_to_add()?.as_ref(),
            metadata,
        })
        .await
}

async fn rows(table: &Table) -> Vec<i64> {
    let batches = first_rows(table.storage(), usize::MAX, Some(&["id".to_owned()])).await.expect("rows");
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_any().downcast_ref::<Int64Array>().expect("ids").values().to_vec())
        .collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn epoch_committed_twice_is_in_the_table_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for location in [memory(), local(&folder)] {
        let env = env();
        let table = Table::open_or_create(TableSettings::new("events", location), &simple(), &env).await.expect("open");
        let files = stage(&table, 0, [ids(0..3)]).await;
        assert_eq!(files.len(), 1);
        assert_eq!(table.transaction_version(APP).await.expect("read"), None);
        assert_eq!(commit(&table, 0, &files).await.expect("commit"), CommitOutcome::Committed { version: 1 });
        assert_eq!(commit(&table, 0, &files).await.expect("commit"), CommitOutcome::AlreadyCommitted);
        // A host that starts later knows it from the table.
        let again = Table::open_or_create(table.settings().clone(), &simple(), &env).await.expect("open");
        assert_eq!(again.transaction_version(APP).await.expect("read"), Some(0));
        assert_eq!(commit(&again, 0, &files).await.expect("commit"), CommitOutcome::AlreadyCommitted);
        assert_eq!(rows(&table).await, [0, 1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_behind_a_later_epoch_is_fenced() {
    let env = env();
    let settings = TableSettings::new("events", memory());
    let a = Table::open_or_create(settings.clone(), &simple(), &env).await.expect("open");
    let b = Table::open_or_create(settings, &simple(), &env).await.expect("open");
    let old = stage(&a, 3, [ids([3])]).await;
    let new = stage(&b, 4, [ids([4])]).await;
    assert_eq!(commit(&b, 4, &new).await.expect("commit"), CommitOutcome::Committed { version: 1 });
    assert_eq!(commit(&a, 3, &old).await.expect("commit"), CommitOutcome::Fenced { found: 4 });
    assert_eq!(a.transaction_version(APP).await.expect("read"), Some(4));
    assert_eq!(rows(&a).await, [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_on_one_table_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = TableSettings::new("events", local(&folder));
    let writer = |app: &'static str, first: i64| {
        let settings = settings.clone();
        async move {
            let table = Table::open_or_create(settings, &simple(), &env()).await.expect("open");
            for number in 0..10 {
                let files = stage(&table, number, [ids([first + i64::try_from(number).expect("small")])]).await;
                let request = CommitRequest {
                    app_id: app,
                    epoch: epoch(number),
                    files: &files,
                    schema: None,
                    metadata: Map::new(),
                };
                let outcome = table.commit(request).await.expect("commit");
                assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
            }
            table
        }
    };
    let (a, b) = tokio::join!(tokio::spawn(writer("a", 0)), tokio::spawn(writer("b", 100)));
    let expected: Vec<i64> = (0..10).chain(100..110).collect();
    assert_eq!(rows(&a.expect("a")).await, expected);
    assert_eq!(overview(b.expect("b").storage()).await.expect("read").version, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_creators_end_with_one_table() {
    let folder = tempfile::tempdir().expect("a folder");
    for location in [memory(), local(&folder)] {
        let env = env();
        let settings = TableSettings::new("events", location);
        let open = || Table::open_or_create(settings.clone(), &SIMPLE, &env);
        let (a, b) = tokio::join!(open(), open());
        let (a, b) = (a.expect("a"), b.expect("b"));
        assert_eq!(overview(a.storage()).await.expect("read").version, 0);
        assert_eq!(overview(b.storage()).await.expect("read").version, 0);
    }
}

static SIMPLE: std::sync::LazyLock<SchemaRef> = std::sync::LazyLock::new(simple);

#[tokio::test(flavor = "multi_thread")]
async fn epoch_without_rows_stages_and_commits_nothing() {
    let table = Table::open_or_create(TableSettings::new("events", memory()), &simple(), &env()).await.expect("open");
    let files = stage(&table, 0, [ids([])]).await;
    assert!(files.is_empty());
    assert_eq!(commit(&table, 0, &files).await.expect("commit"), CommitOutcome::AlreadyCommitted);
    assert_eq!(overview(table.storage()).await.expect("read").version, 0);
}

/// What goes wrong with the n-th operation on a store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// It fails and does nothing.
    Fails,
    /// It happens and its answer is lost.
    HappensUnheard,
}

/// A store whose n-th operation goes wrong.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    countdown: Arc<AtomicI64>,
    fault: Fault,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    async fn run<T>(&self, work: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        let error = || object_store::Error::Generic { store: "faulty", source: "injected".into() };
        if self.countdown.fetch_sub(1, Ordering::SeqCst) != 0 {
            return work.await;
        }
        if self.fault == Fault::HappensUnheard {
            work.await?;
        }
        Err(error())
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.run(self.inner.put_opts(path, payload, options)).await
    }
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.run(self.inner.put_multipart_opts(path, options)).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.run(self.inner.get_opts(path, options)).await
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.run(self.inner.list_with_delimiter(prefix)).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

struct OpenFaulty {
    inner: SystemStores,
    countdown: Arc<AtomicI64>,
    fault: Fault,
    opened: Mutex<Option<Arc<dyn ObjectStore>>>,
}

impl OpenStore for OpenFaulty {
    fn open(&self, location: &Location) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let (inner, path) = self.inner.open(location)?;
        let mut opened = self.opened.lock().expect("a lock");
        let store = opened.get_or_insert_with(|| {
            Arc::new(Faulty { inner, countdown: Arc::clone(&self.countdown), fault: self.fault })
        });
        Ok((Arc::clone(store), path))
    }
}

/// Every operation of create, stage and commit goes wrong once, and the epoch is
/// in the table exactly once after the host tried again.
#[tokio::test(flavor = "multi_thread")]
async fn one_fault_at_any_operation_never_loses_or_repeats_rows() {
    for fault in [Fault::Fails, Fault::HappensUnheard] {
        let mut faults = 0;
        for operation in 0.. {
            let countdown = Arc::new(AtomicI64::new(operation));
            let stores = OpenFaulty {
                inner: SystemStores::default(),
                countdown: Arc::clone(&countdown),
                fault,
                opened: Mutex::default(),
            };
            let env = Env { stores: Arc::new(stores), ..env() };
            let settings = TableSettings::new("events", memory());
            let mut done = false;
            for _ in 0..2 {
                if try_epoch(&settings, &env).await.is_ok() {
                    done = true;
                    break;
                }
            }
            assert!(done, "{fault:?} at operation {operation} is not overcome by a second try");
            if countdown.load(Ordering::SeqCst) >= 0 {
                break;
            }
            faults += 1;
            let storage = env.storage(&settings.location).expect("storage");
            let table = overview(&storage).await.expect("read");
            assert_eq!(table.rows(), Some(3), "{fault:?} at operation {operation}");
        }
        assert!(faults >= 5, "only {faults} operations were tried");
    }
}

async fn try_epoch(settings: &TableSettings, env: &Env) -> Result<()> {
    let table = Table::open_or_create(settings.clone(), &simple(), env).await?;
    let encoders = Encoders::start(1)?;
    let mut stage = Stage::start(&table, &encoders, &AttemptId::new(uuid_like()), epoch(0)).await?;
    stage.write(ids(0..3)).await?;
    let files = stage.finish().await?.files;
    commit(&table, 0, &files).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn append_that_landed_unheard_is_found_and_not_repeated() {
    let countdown = Arc::new(AtomicI64::new(-1));
    let stores = OpenFaulty {
        inner: SystemStores::default(),
        countdown: Arc::clone(&countdown),
        fault: Fault::HappensUnheard,
        opened: Mutex::default(),
    };
    let env = Env { stores: Arc::new(stores), ..env() };
    let table = Table::open_or_create(TableSettings::new("events", memory()), &simple(), &env).await.expect("open");
    let files = stage(&table, 0, [ids(0..3)]).await;
    assert_eq!(table.transaction_version(APP).await.expect("read"), None);
    // One read of the next entry, then the put.
    countdown.store(1, Ordering::SeqCst);
    assert_eq!(commit(&table, 0, &files).await.expect("commit"), CommitOutcome::AlreadyCommitted);
    assert_eq!(rows(&table).await, [0, 1, 2]);
}

fn wide() -> SchemaRef {
    let inner = Fields::from(vec![Field::new("x", DataType::Float64, true), Field::new("y", DataType::Utf8, true)]);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("day", DataType::Utf8, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("at", utc(), true),
        Field::new("value", DataType::Float64, true),
        Field::new("nan", DataType::Float64, true),
        Field::new("raw", DataType::Binary, true),
        Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true),
        Field::new("point", DataType::Struct(inner), true),
    ]))
}

fn wide_batch(days: &[Option<&str>]) -> RecordBatch {
    let count = days.len();
    let schema = wide();
    let numbers = || (0_u32..).take(count).map(f64::from);
    let mut tags = ListBuilder::new(StringBuilder::new());
    for _ in 0..count {
        tags.values().append_value("tag");
        tags.append(true);
    }
    let DataType::Struct(inner) = schema.field(8).data_type().clone() else { unreachable!("a struct") };
    let long = "ä".repeat(40);
    let point: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from_iter(numbers().map(|number| Some(number).filter(|_| number != 0.0)))),
        Arc::new(StringArray::from(vec![long.as_str(); count])),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0..).take(count))),
        Arc::new(StringArray::from(days.to_vec())),
        Arc::new(BooleanArray::from(vec![true; count])),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values((0..).take(count).map(|n| n * 1500 - 1)).with_timezone("UTC"),
        ),
        Arc::new(Float64Array::from_iter_values(numbers().map(|number| number / 4.0))),
        Arc::new(Float64Array::from_iter_values(numbers().map(|number| if number == 1.0 { f64::NAN } else { number }))),
        Arc::new(BinaryArray::from_vec(vec![b"\0\xff"; count])),
        Arc::new(tags.finish()),
        Arc::new(StructArray::new(inner, point, None)),
    ];
    RecordBatch::try_new(schema, columns).expect("a batch")
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_bound_every_row() {
    let table = Table::open_or_create(TableSettings::new("wide", memory()), &wide(), &env()).await.expect("open");
    let files = stage(&table, 7, [wide_batch(&[Some("a"), None, Some("b")])]).await;
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let stats: Value = serde_json::from_str(file.add["stats"].as_str().expect("text")).expect("JSON");
    let expected = json!({
        "numRecords": 3,
        "minValues": {
            "id": 0, "day": "a", "ok": true, "at": "1969-12-31T23:59:59.999Z", "value": 0.0_f64.copysign(-1.0),
            "point": { "x": 1.0, "y": "ä".repeat(32) },
        },
        "maxValues": {
            "id": 2, "day": "b", "ok": true, "at": "1970-01-01T00:00:00.003Z", "value": 0.5,
            "point": { "x": 2.0, "y": format!("{}å", "ä".repeat(31)) },
        },
        "nullCount": {
            "id": 0, "day": 1, "ok": 0, "at": 0, "value": 0, "nan": 0, "raw": 0,
            "point": { "x": 1, "y": 0 },
        },
    });
    assert_eq!(stats, expected);
    let mut add = file.add.clone();
    add["size"] = json!(0);
    add["stats"] = json!("");
    let path = add["path"].as_str().expect("text").to_owned();
    assert!(path.starts_with("part-0000000007-attempt") && path.ends_with("-0000.zstd.parquet"), "{path}");
    add["path"] = json!("");
    let expected = json!({
        "path": "", "partitionValues": {}, "size": 0, "modificationTime": 1_700_000_000_000_i64,
        "dataChange": true, "stats": "",
    });
    assert_eq!(add, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_and_nested_columns_read_back_as_written() {
    let folder = tempfile::tempdir().expect("a folder");
    for location in [memory(), local(&folder)] {
        let mut settings = TableSettings::new("wide", location);
        settings.partition_by = vec!["day".to_owned(), "at".to_owned()];
        let table = Table::open_or_create(settings, &wide(), &env()).await.expect("open");
        let odd = "a b/c=ü%";
        let batch = wide_batch(&[Some(odd), None, Some(odd), Some("plain")]);
        let files = stage(&table, 0, [batch.clone()]).await;
        assert_eq!(files.len(), 4);
        let committed = commit(&table, 0, &files).await.expect("commit");
        assert_eq!(committed, CommitOutcome::Committed { version: 1 });
        let shown = overview(table.storage()).await.expect("read");
        assert_eq!(shown.rows(), Some(4));
        let folders: Vec<String> = shown.files.iter().map(|file| file.path.replace("%25", "%")).collect();
        let null = "day=__HIVE_DEFAULT_PARTITION__/at=1970-01-01T00%3A00%3A00.001499Z/";
        assert!(folders.iter().any(|path| path.starts_with(null)), "{folders:?}");
        let read = first_rows(table.storage(), 10, None).await.expect("rows");
        let read = concat_batches(&read[0].schema(), &read).expect("one batch");
        let order = read.column(0).as_any().downcast_ref::<Int64Array>().expect("ids").clone();
        let order = arrow::compute::sort_to_indices(&order, None, None).expect("order");
        let read = arrow::compute::take_record_batch(&read, &order).expect("sorted");
        for name in ["id", "day", "at", "value", "point", "raw", "ok"] {
            assert_eq!(read.column_by_name(name), batch.column_by_name(name), "column {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn different_table_is_refused_with_every_difference() {
    let env = env();
    let settings = TableSettings::new("events", memory());
    let have = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("at", DataType::Utf8, true),
        Field::new("old", DataType::Boolean, true),
    ]);
    let _ = Table::open_or_create(settings.clone(), &have, &env).await.expect("created");
    let mut wanted = settings.clone();
    wanted.partition_by = vec!["id".to_owned()];
    let want = Schema::new(vec![
        Field::new("at", utc(), true),
        Field::new("id", DataType::Int64, true),
        Field::new("new", DataType::Float64, true),
    ]);
    let problems = Table::check(&wanted, &want, &env).await.expect("checked");
    let expected = [
        "the table is partitioned by [] but the pipeline says [id]",
        "column `at` is timestamp in the pipeline but string in the table",
        "column `new` is missing in the table: add it there as double",
        "column `old` (boolean) is in the table but not in the pipeline",
    ];
    assert_eq!(problems, expected);
    let Err(error) = Table::open_or_create(wanted, &want, &env).await else { panic!("opened") };
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(expected.iter().all(|problem| error.to_string().contains(problem)), "{error}");
    // The order of columns does not matter.
    let reordered = Schema::new(have.fields().iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(Table::check(&settings, &reordered, &env).await.expect("checked"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn table_that_forgets_transactions_is_refused() {
    let mut settings = TableSettings::new("events", memory());
    let key = "delta.setTransactionRetentionDuration";
    settings.properties.insert(key.to_owned(), "interval 7 days".to_owned());
    let Err(error) = Table::open_or_create(settings, &simple(), &env()).await else { panic!("created") };
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(key), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn table_changed_between_epochs_is_refused_not_corrupted() {
    let env = env();
    let settings = TableSettings::new("events", memory());
    let table = Table::open_or_create(settings, &simple(), &env).await.expect("open");
    let files = stage(&table, 0, [ids([1])]).await;
    let first = table.storage().get("_delta_log/00000000000000000000.json").await.expect("read").expect("there");
    let changed = String::from_utf8(first.to_vec())
        .expect("text")
        .replace("\\\"name\\\":\\\"name\\\"", "\\\"name\\\":\\\"other\\\"");
    assert_ne!(changed.as_bytes(), &first[..]);
    let _ = table.storage().put("_delta_log/00000000000000000001.json", changed.into()).await;
    let error = commit(&table, 0, &files).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("column `name` is missing in the table"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_log_entry_is_named() {
    let table = Table::open_or_create(TableSettings::new("events", memory()), &simple(), &env()).await.expect("open");
    let name = "_delta_log/00000000000000000001.json";
    table.storage().put(name, "{\"txn\":".into()).await.expect("put");
    let error: Error = table.transaction_version(APP).await.expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(name), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_stage_leaves_no_files() {
    let table = Table::open_or_create(TableSettings::new("events", memory()), &simple(), &env()).await.expect("open");
    let encoders = Encoders::start(1).expect("threads");
    let mut settings = table.settings().clone();
    settings.target_file_bytes = 1;
    let table = Table::open_or_create(settings, &simple(), &env_of(&table)).await.unwrap_or(table);
    let mut stage = Stage::start(&table, &encoders, &AttemptId::new("a"), epoch(0)).await.expect("a stage");
    for _ in 0..3 {
        stage.write(ids(0..5000)).await.expect("written");
    }
    drop(stage);
    // A later stage on the same encoder ends behind the clean-up.
    let mut stage = Stage::start(&table, &encoders, &AttemptId::new("b"), epoch(0)).await.expect("a stage");
    stage.write(ids(0..3)).await.expect("written");
    let files = stage.finish().await.expect("staged").files;
    assert_eq!(files.len(), 1);
    let names = table.storage().list("").await.expect("listed");
    let parquet: Vec<&String> = names.iter().filter(|name| name.ends_with(".parquet")).collect();
    assert_eq!(parquet, [files[0].add["path"].as_str().expect("text")]);
}

fn env_of(_: &Table) -> Env {
    env()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_epoch_is_cut_into_files_and_small_batches_are_joined() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = TableSettings::new("events", local(&folder));
    let table = Table::open_or_create(settings.clone(), &simple(), &env()).await.expect("open");
    let files = stage(&table, 0, (0..3000).map(|id| ids([id]))).await;
    assert!(files.len() <= 2, "{}", files.len());
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 3000);
    settings.target_file_bytes = 1;
    let table = Table::open_or_create(settings, &simple(), &env()).await.expect("open");
    let files = stage(&table, 1, (0..3).map(|_| ids(0..5000))).await;
    assert_eq!(files.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoint_is_written_when_due_and_keeps_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    for location in [memory(), local(&folder)] {
        let mut settings = TableSettings::new("events", location);
        settings.properties.insert("delta.checkpointInterval".to_owned(), "3".to_owned());
        let table = Table::open_or_create(settings.clone(), &simple(), &env()).await.expect("open");
        for number in 0..3_u32 {
            assert_eq!(table.maintain().await.expect("maintain"), Maintenance::NotDue);
            let files = stage(&table, u64::from(number), [ids([i64::from(number)])]).await;
            let _ = commit(&table, u64::from(number), &files).await.expect("commit");
        }
        let expected = Maintenance::Checkpoint { version: 3, removed: 0 };
        assert_eq!(table.maintain().await.expect("maintain"), expected);
        assert_eq!(table.maintain().await.expect("maintain"), Maintenance::NotDue);
        let again = Table::open_or_create(settings, &simple(), &env()).await;
        // In memory another environment is another world.
        if let (Ok(again), Location::Local(_)) = (again, table.storage().location()) {
            assert_eq!(again.transaction_version(APP).await.expect("read"), Some(2));
            assert_eq!(again.maintain().await.expect("maintain"), Maintenance::NotDue);
        }
        assert_eq!(rows(&table).await, [0, 1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_what_made_each_version() {
    let table = Table::open_or_create(TableSettings::new("events", memory()), &simple(), &env()).await.expect("open");
    let files = stage(&table, 5, [ids(0..4)]).await;
    let _ = commit(&table, 5, &files).await.expect("commit");
    let entries = history(table.storage(), 10).await.expect("history");
    let [newest, oldest] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((newest.version, newest.rows, newest.files_added, newest.files_removed), (1, 4, 1, 0));
    assert_eq!(newest.timestamp_ms, Some(1_700_000_000_000));
    assert_eq!(newest.operation, "STREAMING UPDATE");
    assert_eq!(newest.epochs[APP], 5);
    assert_eq!(newest.info["pipeline"], "p");
    assert_eq!((oldest.version, oldest.operation.as_str()), (0, "CREATE TABLE"));
    assert_eq!(history(table.storage(), 1).await.expect("history").len(), 1);
    let shown: usize =
        first_rows(table.storage(), 3, None).await.expect("rows").iter().map(RecordBatch::num_rows).sum();
    assert_eq!(shown, 3);
}

mod columns;
