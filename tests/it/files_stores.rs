//! The source of files on stores that break, or that list what is not there.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _, Result};
use serde_json::Value;
use weir_tests::faults::{Fault, FaultyStore};
use weir_tests::hosts::{integers, numbered, put_input, run};
use weir_tests::intercept::{Intercept, Intercepted, Operation, objects};
use weir_tests::readings;
use weir_tests::streams::Stream;

const PIPELINE: &str = r#"
[pipeline]
name = "files"
checkpoint = "memory:///checkpoint"
trigger = "available-now"
threads = 2

[source.files]
path = "memory:///input"
max_files_per_epoch = 2
# more

[parser]
plugin = "builtin:json"
config = { columns = "number bigint" }

[table.numbers]
path = "memory:///numbers"
"#;

const FILES: usize = 4;
const READINGS_EACH: usize = 3;

/// How many objects there are in a folder.
async fn count(store: &InMemory, folder: &str) -> usize {
    objects(store).await.iter().filter(|path| path.as_ref().starts_with(folder)).count()
}

/// Breaks a run at each operation in turn; the next run leaves every reading in
/// the table exactly once, and cleans up what the first one missed.
async fn check_clean_up(fault: Fault, how: &str, archived: usize) {
    let text = PIPELINE.replace("# more", &format!("clean_source_retention = \"0s\"\n{how}"));
    let mut at = 0;
    loop {
        let store = Arc::new(InMemory::new());
        put_input(&store, readings::files(FILES, READINGS_EACH)).await;
        let faulty = FaultyStore::breaking(Arc::clone(&store), fault, at);
        let first = run(Arc::clone(&faulty) as _, &text).await;
        let when = format!("{fault:?} at operation {at}, after which the run said {first:?}");
        let second = run(Arc::clone(&store) as _, &text).await;
        assert!(second.is_ok(), "{when}; the next run said {second:?}");
        let numbers = integers(&store, "memory:///numbers", "number").await;
        assert_eq!(numbers, numbered(FILES * READINGS_EACH), "{when}");
        assert_eq!((count(&store, "input/").await, count(&store, "archive/").await), (0, archived), "{when}");
        if !faulty.was_reached() {
            assert!(at > 20, "a run makes more than {at} operations");
            return;
        }
        at += 1;
    }
}

const MOVE: &str = "clean_source = \"move\"\nclean_source_move_to = \"memory:///archive\"";
const DELETE: &str = "clean_source = \"delete\"";

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_any_operation_leaves_nothing_that_is_not_moved_later() {
    check_clean_up(Fault::CrashBefore, MOVE, FILES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_any_operation_leaves_nothing_that_is_not_moved_later() {
    check_clean_up(Fault::CrashAfter, MOVE, FILES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answer_of_any_operation_leaves_nothing_that_is_not_moved_later() {
    check_clean_up(Fault::AnswerLost, MOVE, FILES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_any_operation_leaves_nothing_that_is_not_deleted_later() {
    check_clean_up(Fault::CrashAfter, DELETE, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_at_any_operation_of_a_first_start_never_reads_what_was_there() {
    let text = PIPELINE.replace("# more", "include_existing = false");
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::AnswerLost] {
        for at in 0.. {
            let store = Arc::new(InMemory::new());
            put_input(&store, readings::files(FILES, READINGS_EACH)).await;
            let faulty = FaultyStore::breaking(Arc::clone(&store), fault, at);
            let _ = run(Arc::clone(&faulty) as _, &text).await;
            run(Arc::clone(&store) as _, &text).await.unwrap();
            put_input(&store, [("z.json".to_owned(), "{\"number\": 7}".to_owned())]).await;
            run(Arc::clone(&store) as _, &text).await.unwrap();
            let numbers = integers(&store, "memory:///numbers", "number").await;
            assert_eq!(numbers, [7], "{fault:?} at operation {at}");
            if !faulty.was_reached() {
                break;
            }
        }
    }
}

/// Lists a file as it is not.
#[derive(Debug)]
struct Ghost {
    store: Arc<InMemory>,
    path: &'static str,
}

#[async_trait]
impl Intercept for Ghost {
    async fn before(&self, _operation: Operation) -> Result<u64> {
        Ok(0)
    }

    async fn after(&self, _number: u64, _operation: Operation) -> Result<()> {
        Ok(())
    }

    fn listed(&self) -> Option<Arc<dyn ObjectStore>> {
        let listed = self.store.fork();
        let path = ObjectPath::from(self.path);
        let put = listed.put(&path, "{\"number\": 99}   ".into()).now_or_never();
        put.expect("a store in memory does not wait").unwrap();
        Some(Arc::new(listed))
    }
}

/// A run on a store that lists a ghost, as it was told.
async fn haunted(stream: &Stream, path: &'static str) -> Vec<Value> {
    let ghost = Intercepted::new(Arc::clone(&stream.store), Ghost { store: Arc::clone(&stream.store), path });
    stream.try_run_on(ghost, PIPELINE).await.unwrap()
}

fn incidents(told: &[Value]) -> Vec<(String, u64)> {
    let incidents = told.iter().filter_map(|epoch| epoch["sources"][0]["incidents"].as_array()).flatten();
    incidents.map(|of| (of["kind"].as_str().unwrap().to_owned(), of["count"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn vanished_file_is_skipped_counted_and_read_if_it_comes_back() {
    let stream = Stream::default();
    put_input(&stream.store, readings::files(FILES, READINGS_EACH)).await;
    let told = haunted(&stream, "input/ghost.json").await;
    assert_eq!(incidents(&told), [("file-vanished".to_owned(), 1)]);
    let expected: Vec<String> = (0..FILES * READINGS_EACH).map(|number| number.to_string()).collect();
    let rows = async || {
        let mut rows = stream.rows("numbers", "number").await;
        rows.sort_by_key(|row| row.parse::<u64>().unwrap());
        rows
    };
    assert_eq!(rows().await, expected);
    assert_eq!(stream.letters().await, [""; 0]);
    put_input(&stream.store, [("ghost.json".to_owned(), "{\"number\": 99}".to_owned())]).await;
    stream.run(PIPELINE).await;
    assert_eq!(rows().await.last().unwrap(), "99");
}

#[tokio::test(flavor = "multi_thread")]
async fn file_overwritten_after_it_was_listed_is_read_whole_by_the_next_look() {
    let stream = Stream::default();
    put_input(&stream.store, readings::files(FILES, READINGS_EACH)).await;
    let told = haunted(&stream, "input/part-0002.json").await;
    assert_eq!(incidents(&told), [("file-changed".to_owned(), 1)]);
    assert_eq!(stream.rows("numbers", "number").await.len(), (FILES - 1) * READINGS_EACH);
    stream.run(PIPELINE).await;
    assert_eq!(stream.rows("numbers", "number").await.len(), FILES * READINGS_EACH);
    assert_eq!(stream.letters().await, [""; 0]);
}
