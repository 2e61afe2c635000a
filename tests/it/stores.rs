//! Object stores as they may be: listings that lag behind, uploads that tear.

use std::fmt::Write as _;
use std::sync::Arc;

use object_store::memory::InMemory;
use weir::ErrorKind;
use weir_tests::faults::{Fault, FaultyStore, ListsLate, Overwrites};
use weir_tests::hosts::{integers, numbered, put_input, run};
use weir_tests::intercept::{Operation, objects};
use weir_tests::readings;

const PIPELINE: &str = r#"
[pipeline]
name = "stores"
checkpoint = "memory:///checkpoint"
trigger = "available-now"
threads = 1

[source.files]
path = "memory:///input"
max_files_per_epoch = 1

[parser]
plugin = "builtin:json"
config = { columns = "number bigint, text string" }

[table.numbers]
path = "memory:///numbers"
"#;

/// What a run may say when listings do not show what names show: a log that is
/// there and lists as empty looks damaged.
const REFUSALS: [ErrorKind; 3] = [ErrorKind::Unavailable, ErrorKind::Fenced, ErrorKind::Corrupt];

const TABLE: &str = "memory:///numbers";

async fn input(readings: usize) -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    put_input(&store, readings::files(readings, 1)).await;
    store
}

/// What is in the table is there once.
async fn assert_nothing_doubled(store: &Arc<InMemory>, when: &str) -> usize {
    let numbers = integers(store, TABLE, "number").await;
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{when}: {numbers:?}");
    numbers.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_lag_behind_stop_a_run_at_worst() {
    const READINGS: usize = 5;
    for behind in 1..=12 {
        let store = input(READINGS).await;
        let late = ListsLate::over(&store, behind);
        let when = format!("listings {behind} changes late");
        if let Err(error) = run(late as _, PIPELINE).await {
            assert!(REFUSALS.contains(&error.kind()), "{when}: {error}");
        }
        assert_nothing_doubled(&store, &when).await;
        run(Arc::clone(&store) as _, PIPELINE).await.unwrap();
        assert_eq!(integers(&store, TABLE, "number").await, numbered(READINGS), "{when}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_from_listings_that_lag_behind_doubles_nothing() {
    const READINGS: usize = 4;
    let mut refused = 0;
    for at in 0.. {
        let store = input(READINGS).await;
        let empty = store.fork();
        let faulty = FaultyStore::breaking(Arc::clone(&store), Fault::CrashAfter, at);
        let _crashed = run(Arc::clone(&faulty) as _, PIPELINE).await;
        if !faulty.was_reached() {
            assert!(at > 40, "a run makes more than {at} operations");
            break;
        }
        let after = store.fork();
        for (behind, before) in [("the whole run", &empty), ("five changes", &after)] {
            let store = Arc::new(after.fork());
            let when = format!("crash after operation {at}, listings are late by {behind}");
            if let Err(error) = run(ListsLate::since(before, &store, 5) as _, PIPELINE).await {
                assert!(REFUSALS.contains(&error.kind()), "{when}: {error}");
                refused += 1;
            }
            assert_nothing_doubled(&store, &when).await;
            run(Arc::clone(&store) as _, PIPELINE).await.unwrap();
            assert_eq!(integers(&store, TABLE, "number").await, numbered(READINGS), "{when}");
        }
    }
    assert!(refused > 10, "late listings were noticed {refused} times");
}

/// A file whose table file is larger than one part of an upload.
fn large_file(readings: usize) -> String {
    let mut text = String::from("[\n");
    let mut state = 1_u64;
    for number in 0..readings {
        let _ = write!(text, "{{\"number\": {number}, \"text\": \"");
        for _ in 0..256 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let _ = write!(text, "{:08x}", state >> 32);
        }
        text += if number + 1 == readings { "\"}\n" } else { "\"},\n" };
    }
    text + "]\n"
}

fn uploads(operation: Operation) -> bool {
    operation == Operation::Upload
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_torn_at_any_part_loses_and_doubles_nothing() {
    const READINGS: usize = 9000;
    let prepared = InMemory::new();
    put_input(&prepared, [("large.json".to_owned(), large_file(READINGS))]).await;
    let uncompressed = format!("{PIPELINE}compression = \"none\"\n");
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::AnswerLost, Fault::FailsOnce] {
        for at in 0.. {
            let store = Arc::new(prepared.fork());
            let faulty = FaultyStore::breaking_among(Arc::clone(&store), fault, at, uploads);
            let torn = run(Arc::clone(&faulty) as _, &uncompressed).await;
            let when = format!("{fault:?} at operation {at} of the upload, after which the run said {torn:?}");
            if !faulty.was_reached() {
                assert!(torn.is_ok() && at >= 4, "an upload begins, has parts, and is completed: {when}");
                break;
            }
            assert_eq!(torn.map_err(|error| error.kind()), Err(ErrorKind::Unavailable), "{when}");
            assert!(integers(&store, TABLE, "number").await.is_empty(), "{when}");
            let records = objects(&store).await.iter().filter(|path| path.as_ref().contains("epochs")).count();
            assert_eq!(records, 0, "what was not uploaded is not prepared: {when}");
            run(Arc::clone(&store) as _, &uncompressed).await.unwrap();
            assert_eq!(integers(&store, TABLE, "number").await, numbered(READINGS), "{when}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_overwrites_what_is_created_twice_is_refused_and_left_as_it_was() {
    let store = input(3).await;
    let before = objects(&store).await;
    for _ in 0..2 {
        let error = run(Overwrites::over(&store) as _, PIPELINE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("If-None-Match"), "{error}");
        assert_eq!(objects(&store).await, before);
    }
    run(Arc::clone(&store) as _, PIPELINE).await.unwrap();
    assert_eq!(assert_nothing_doubled(&store, "on a store that creates once").await, 3);
}
