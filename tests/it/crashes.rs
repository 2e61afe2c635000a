//! The epoch protocol under crashes, lost answers and failing operations: at
//! every operation that a run makes on its stores.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use weir_tests::faults::{Fault, FaultyStore};
use weir_tests::hosts::{env, integers, numbered, parse, put_input, run};
use weir_tests::readings;

const FILES: usize = 4;
const READINGS_EACH: usize = 5;

const PIPELINE: &str = r#"
[pipeline]
name = "crashes"
checkpoint = "memory:///checkpoint"
trigger = "available-now"
threads = 2

[source.files]
path = "memory:///input"
max_files_per_epoch = 2

[parser]
plugin = "builtin:json"
config = { columns = "number bigint, device string" }

[table.all]
path = "memory:///tables/all"

[table.numbers]
path = "memory:///tables/numbers"
columns = ["number"]
"#;

/// Files of readings in a new store.
async fn input() -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    put_input(&store, readings::files(FILES, READINGS_EACH)).await;
    store
}

fn in_memory() -> Arc<InMemory> {
    Arc::new(InMemory::new())
}

/// Every reading is in both tables exactly once.
#[track_caller]
fn assert_whole(numbers: [Vec<i64>; 2], when: &str) {
    for numbers in numbers {
        assert_eq!(numbers, numbered(FILES * READINGS_EACH), "{when}");
    }
}

async fn numbers(store: &Arc<impl ObjectStore>) -> [Vec<i64>; 2] {
    [
        integers(store, "memory:///tables/all", "number").await,
        integers(store, "memory:///tables/numbers", "number").await,
    ]
}

/// The operations at which a run is broken: from one on, each so many behind the
/// one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) first: u64,
    pub(crate) every: u64,
}

const EVERY: Steps = Steps { first: 0, every: 1 };

/// Breaks a run at one operation after the other, each time on an empty store;
/// whatever it did, the next run leaves every reading in each table exactly once.
pub(crate) async fn check<S: ObjectStore>(fault: Fault, steps: Steps, empty: impl Fn() -> Arc<S>) {
    let mut at = steps.first;
    loop {
        let store = empty();
        put_input(&store, readings::files(FILES, READINGS_EACH)).await;
        let faulty = FaultyStore::breaking(Arc::clone(&store), fault, at);
        let first = run(Arc::clone(&faulty) as _, PIPELINE).await;
        let when = format!("{fault:?} at operation {at}, after which the run said {first:?}");
        if first.is_ok() {
            assert_whole(numbers(&store).await, &when);
        }
        let second = run(Arc::clone(&store) as _, PIPELINE).await;
        assert!(second.is_ok(), "{when}; the next run said {second:?}");
        assert_whole(numbers(&store).await, &when);
        if !faulty.was_reached() {
            assert!(at > 20, "a run makes more than {at} operations");
            return;
        }
        at += steps.every;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_any_operation_loses_and_doubles_nothing() {
    check(Fault::CrashBefore, EVERY, in_memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_any_operation_loses_and_doubles_nothing() {
    check(Fault::CrashAfter, EVERY, in_memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answer_of_any_operation_loses_and_doubles_nothing() {
    check(Fault::AnswerLost, EVERY, in_memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_of_any_operation_loses_and_doubles_nothing() {
    check(Fault::FailsOnce, EVERY, in_memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_from_any_operation_on_loses_and_doubles_nothing() {
    check(Fault::Throttled, EVERY, in_memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn false_conflict_of_any_creation_loses_and_doubles_nothing() {
    check(Fault::ConflictBefore, EVERY, in_memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_that_conflicts_with_its_own_first_try_loses_and_doubles_nothing() {
    check(Fault::ConflictAfter, EVERY, in_memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_during_recovery_loses_and_doubles_nothing() {
    // The first crash leaves a prepared epoch in about the middle of the run.
    for first in (10..90).step_by(8) {
        for second in (0..60).step_by(5) {
            let store = input().await;
            let faulty = FaultyStore::breaking(Arc::clone(&store), Fault::CrashAfter, first);
            let _ = run(faulty, PIPELINE).await;
            let faulty = FaultyStore::breaking(Arc::clone(&store), Fault::CrashBefore, second);
            let _ = run(faulty, PIPELINE).await;
            let last = run(Arc::clone(&store) as _, PIPELINE).await;
            assert!(last.is_ok(), "crashes at {first} and {second}: {last:?}");
            assert_whole(numbers(&store).await, &format!("crashes at {first} and {second}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoint_older_than_its_tables_is_refused() {
    let store = input().await;
    run(Arc::clone(&store) as _, PIPELINE).await.unwrap();
    store.delete(&ObjectPath::from("checkpoint/main/epochs/00000000000000000001.json")).await.unwrap();
    let error = run(Arc::clone(&store) as _, PIPELINE).await.unwrap_err();
    assert_eq!(error.kind(), weir::ErrorKind::Corrupt);
    assert!(error.to_string().contains("old copy"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_epochs_keep_the_ledger_and_clean_up_records() {
    let text = PIPELINE.replace("max_files_per_epoch = 2", "max_files_per_epoch = 1");
    let store = Arc::new(InMemory::new());
    let count = 230;
    put_input(&store, readings::files(count, 1)).await;
    run(Arc::clone(&store) as _, &text).await.unwrap();
    let again = run(Arc::clone(&store) as _, &text).await.unwrap();
    assert_eq!(again.epochs, 0, "all files are known after clean-up");
    assert_eq!(numbers(&store).await, [numbered(count), numbered(count)]);
    let (pipeline, _) = parse(&text);
    let storage = env(Arc::clone(&store) as _).storage(&pipeline.checkpoint).unwrap();
    let records = storage.list("main/epochs").await.unwrap();
    assert!((100..count).contains(&records.len()), "{} records are kept", records.len());
}
