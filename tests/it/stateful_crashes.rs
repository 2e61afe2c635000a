//! Windows, alerts, late rows and deduplication under crashes, lost answers and
//! failing operations: at every operation that a run makes on its stores.

use std::sync::Arc;

use object_store::memory::InMemory;
use weir_tests::faults::{Fault, FaultyStore};
use weir_tests::hosts::put_input;
use weir_tests::readings;
use weir_tests::streams::{HEAD, Stream, rows};

pub(crate) const STEPS: &str = r#"
[event_time]
column = "event_time"
delay = "1m"
deduplicate = { by = ["device", "number"], within = "10m" }

[window.sums]
size = "5m"
key = ["device"]
plugin = "builtin:statistics"
config = { "*" = ["count"], number = ["sum"] }

[window.sums.table]
path = "memory:///sums"

[window.sums.late]
path = "memory:///late"

[rule.hot]
plugin = "builtin:thresholds"
config = { levels = [{ column = "temperature", above = 30.0, kind = "HOT" }] }

[rule.hot.table]
path = "memory:///hot"
columns = ["device", "number", "alert.id as id"]

[rule.often]
key = ["device"]
plugin = "builtin:consecutive"
config = { column = "temperature", above = 30.0, times = 2, kind = "OFTEN", repeat = true }

[rule.often.table]
path = "memory:///often"
columns = ["device", "number", "alert.message as message"]
"#;

/// Three epochs: windows close in the second and the third, one row is late, one
/// comes twice, and the alarm of `a` needs what earlier epochs know.
pub(crate) const FILES: [&[&str]; 3] = [
    &["a 10:00:00 1 31", "b 10:01:00 2 20", "a 10:04:00 3 20", "a 10:04:30 4 35"],
    &["a 10:06:30 5 36", "b 10:06:00 6 20", "a 10:04:30 4 35", "b 10:03:00 7 20"],
    &["b 10:03:30 8 31", "a 10:12:00 9 37", "b 10:07:00 6 20", "b 10:12:00 10 31"],
];

const TABLES: [&str; 6] = ["rows", "sums", "late", "hot", "often", "checkpoint/dead_letters"];

fn pipeline() -> String {
    format!("{HEAD}{STEPS}")
}

/// The rows of all tables.
pub(crate) async fn tables(store: &Arc<InMemory>) -> Vec<Vec<String>> {
    let mut tables = Vec::new();
    for table in TABLES {
        // Identifiers of alerts depend on that of the pipeline, which is random.
        let columns = if table == "hot" { "device number" } else { "" };
        tables.push(rows(store, table, columns).await);
    }
    tables
}

/// A stream with its input and nothing else, and what its tables become.
async fn undisturbed() -> (Stream, Vec<Vec<String>>) {
    let stream = Stream::of(&FILES).await;
    let run = stream.fork();
    run.run(&pipeline()).await;
    (stream, tables(&run.store).await)
}

/// Breaks a run at each operation in turn; whatever it did, the next run leaves
/// the tables as if nothing had happened.
async fn check(fault: Fault) {
    let (stream, expected) = undisturbed().await;
    let mut at = 0;
    loop {
        let store = Arc::new(stream.store.fork());
        let faulty = FaultyStore::breaking(Arc::clone(&store), fault, at);
        let first = stream.try_run_on(Arc::clone(&faulty) as _, &pipeline()).await;
        let when = format!("{fault:?} at operation {at}, after which the run said {:?}", first.as_ref().err());
        if first.is_ok() {
            assert_eq!(tables(&store).await, expected, "{when}");
        }
        let second = stream.try_run_on(Arc::clone(&store) as _, &pipeline()).await;
        assert!(second.is_ok(), "{when}; the next run said {:?}", second.err());
        assert_eq!(tables(&store).await, expected, "{when}");
        if !faulty.was_reached() {
            assert!(at > 60, "a run makes more than {at} operations");
            return;
        }
        at += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn undisturbed_run_gives_windows_alerts_and_late_rows_once() {
    let (_, tables) = undisturbed().await;
    let [rows, sums, late, hot, often, letters] = tables.try_into().unwrap();
    assert_eq!(rows.len(), 10, "two of twelve come twice");
    assert_eq!(
        sums,
        ["a 10:00:00 10:05:00 3 8", "a 10:05:00 10:10:00 1 5", "b 10:00:00 10:05:00 2 9", "b 10:05:00 10:10:00 1 6"]
    );
    assert_eq!(late, ["b 10:03:30 8 31.0 - 10:00:00 10:05:00"]);
    assert_eq!(hot, ["a 1", "a 4", "a 5", "a 9", "b 10", "b 8"]);
    assert_eq!(often.len(), 2, "{often:?}");
    assert!(often[0].starts_with("a 5 ") && often[1].starts_with("b 10 "), "{often:?}");
    assert_eq!(letters, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_any_operation_changes_no_table() {
    check(Fault::CrashBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_any_operation_changes_no_table() {
    check(Fault::CrashAfter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answer_of_any_operation_changes_no_table() {
    check(Fault::AnswerLost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_of_any_operation_changes_no_table() {
    check(Fault::FailsOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_have_the_identifiers_that_their_place_in_the_stream_gives() {
    let stream = Stream::of(&FILES).await;
    stream.run(&pipeline()).await;
    let ids = stream.rows("hot", "id").await;
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each has one of its own: {ids:?}");
}

/// Many small epochs: segments of the state merge, and the whole is written anew
/// where most of it is over.
#[tokio::test(flavor = "multi_thread")]
async fn restart_after_each_of_many_epochs_changes_no_window() {
    let files: Vec<(String, String)> = (0..40)
        .map(|file| {
            let reading = |number: i64| {
                let minute = file / 2;
                weir_tests::streams::reading(&format!(
                    "d{} 10:{minute:02}:{:02} {number} 31",
                    number % 200,
                    file % 2 * 30
                ))
            };
            let readings: Vec<serde_json::Value> = (file * 400..(file + 1) * 400).map(reading).collect();
            (format!("{file:04}.json"), serde_json::Value::from(readings).to_string())
        })
        .collect();
    let text = pipeline();
    let once = Stream::default();
    put_input(&once.store, files.clone()).await;
    assert_eq!(once.run(&text).await.len(), 40);
    let often = Stream::default();
    for file in files {
        put_input(&often.store, [file]).await;
        assert_eq!(often.run(&text).await.len(), 1);
    }
    let expected = tables(&once.store).await;
    assert_eq!(tables(&often.store).await, expected);
    assert_eq!(expected[0].len(), 16_000);
    assert_eq!(expected[1].len(), 600, "two hundred devices in three windows");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_do_not_depend_on_threads_and_chunks() {
    let files = readings::timed_files(10, 300);
    let mut expected: Option<Vec<Vec<String>>> = None;
    for (threads, chunk) in [(1, "1MiB"), (8, "1KiB"), (5, "3KiB")] {
        let text = pipeline().replace("threads = 2", &format!("threads = {threads}\nchunk = \"{chunk}\""));
        let stream = Stream::default();
        put_input(&stream.store, files.clone()).await;
        stream.run(&text).await;
        let tables = tables(&stream.store).await;
        assert!(tables[..5].iter().all(|table| table.len() > 10), "all tables have rows");
        match &expected {
            None => expected = Some(tables),
            Some(expected) => assert!(tables == *expected, "with {threads} threads and chunks of {chunk}"),
        }
    }
}
