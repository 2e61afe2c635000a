//! The watermark through the whole pipeline: rows without a time, rows of the
//! future, partitions that fall silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir::env::{Clock, ManualClock, SystemClock};
use weir::pipeline::{Progress, Report};
use weir_tests::streams::{HEAD, Stream, Tells, watermark};

const WINDOW: &str = r#"
[window.all]
size = "5m"
plugin = "builtin:statistics"
config = { "*" = ["count"] }

[window.all.table]
path = "memory:///windows"
"#;

fn pipeline(event_time: &str) -> String {
    format!("{HEAD}\n[event_time]\ncolumn = \"event_time\"\ndelay = \"1m\"\n{event_time}\n{WINDOW}")
}

/// 2025-10-06T12:00:00Z.
const NOON_US: i64 = 1_759_752_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_event_time_are_kept_and_counted_and_in_no_window() {
    let stream = Stream::of(&[&["a 10:00:00", "b -", "c -"], &["d -"]]).await;
    let told = stream.run(&pipeline("flush_at_end = true")).await;
    assert_eq!(told[0]["eventTime"]["numRowsWithout"], 2);
    // An epoch that has only such moves nothing.
    assert_eq!((watermark(&told[0]), watermark(&told[1])), (Some("09:59:00.000"), Some("09:59:00.000")));
    assert_eq!(told[1]["eventTime"]["max"], serde_json::Value::Null);
    assert_eq!(stream.rows("windows", "").await, ["10:00:00 10:05:00 1"]);
    assert_eq!(stream.rows("rows", "device event_time").await, ["a 10:00:00", "b -", "c -", "d -"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_too_far_in_the_future_are_kept_and_do_not_move_the_watermark() {
    let clock = Arc::new(ManualClock::at(NOON_US));
    let mut stream = Stream::with_clock(Arc::clone(&clock) as _);
    let text = pipeline("max_future_skew = \"10m\"");
    stream.put(&["a 11:58:00", "a 12:10:00.001", "a 2525-01-01T00:00:00Z"]).await;
    let told = stream.run(&text).await;
    assert_eq!((watermark(&told[0]), &told[0]["eventTime"]["numRowsAhead"]), (Some("11:57:00.000"), &2.into()));
    stream.put(&["a 12:10:00.000"]).await;
    let told = stream.run(&text).await;
    assert_eq!((watermark(&told[0]), &told[0]["eventTime"]["numRowsAhead"]), (Some("12:09:00.000"), &0.into()));
    assert_eq!(stream.rows("windows", "").await, ["11:55:00 12:00:00 1"]);
    // What came early is in its window when that closes.
    clock.set(NOON_US + 3_600_000_000);
    stream.put(&["a 12:16:00"]).await;
    stream.run(&text).await;
    assert_eq!(stream.rows("windows", "").await, ["11:55:00 12:00:00 1", "12:10:00 12:15:00 2"]);
    assert_eq!(stream.rows("rows", "").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_flush_leaves_windows_far_in_the_future_open() {
    let mut stream = Stream::with_clock(Arc::new(ManualClock::at(NOON_US)));
    let text = pipeline("max_future_skew = \"10m\"\nflush_at_end = true");
    stream.put(&["a 11:58:00", "a 2525-01-01T00:00:00Z"]).await;
    stream.run(&text).await;
    assert_eq!(stream.rows("windows", "").await, ["11:55:00 12:00:00 1"]);
    stream.put(&["a 12:01:00"]).await;
    stream.run(&text).await;
    assert_eq!(stream.rows("windows", "").await, ["11:55:00 12:00:00 1", "12:00:00 12:05:00 1"]);
}

/// The clock of the system, whose monotonic time is that of the epochs: a step
/// for each that begins, and one when it has ended.
struct Steps {
    start: Instant,
    step: Duration,
    taken: AtomicU32,
}

impl Clock for Steps {
    fn now_us(&self) -> i64 {
        SystemClock.now_us()
    }

    fn monotonic(&self) -> Instant {
        self.start + self.step * self.taken.load(Ordering::SeqCst)
    }
}

/// Lets the clock take its steps.
struct Walks {
    clock: Arc<Steps>,
    planned: u32,
    tells: Tells,
}

impl Report for Walks {
    fn planned(&mut self, _left_bytes: Option<u64>) {
        self.planned += 1;
        self.clock.taken.fetch_max(self.planned, Ordering::SeqCst);
    }

    fn chunk(&mut self, _payload_bytes: u64, _rows: u64) {}

    fn epoch(&mut self, progress: &Progress) {
        self.tells.epoch(progress);
        // One that overlaps with the next has taken its step already.
        self.clock.taken.fetch_max(u32::try_from(self.tells.0.len()).unwrap() + 1, Ordering::SeqCst);
    }
}

/// Four readings over three partitions, each an epoch, ten minutes from one to
/// the next: partition 0 has those of 18:40 and 19:10. Returns how many rows each
/// epoch had and the watermark behind it, and the windows.
async fn silent(step: Duration, policy: &str) -> (Vec<(u64, Option<String>)>, Vec<String>) {
    let clock = Arc::new(Steps { start: SystemClock.monotonic(), step, taken: AtomicU32::new(0) });
    let stream = Stream::with_clock(Arc::clone(&clock) as _);
    let source = r#"
[source.generator]
partitions = 3
events = 4
readings_per_message = 1
interval = "10m"
start = "2025-10-06T18:40:00Z"
"#;
    let files = "[source.files]\npath = \"memory:///input\"\nmax_files_per_epoch = 1\n";
    let text = pipeline(&format!("idle_timeout = \"60s\"\npolicy = \"{policy}\""));
    let text = text.replace(files, source).replace("threads = 2", "threads = 2\nmax_events_per_epoch = 1");
    let mut walks = Walks { clock, planned: 0, tells: Tells::default() };
    stream.run_telling(Arc::clone(&stream.store) as _, &text, &mut walks).await.unwrap();
    let told = |told: &Value| (told["numInputRows"].as_u64().unwrap(), watermark(told).map(str::to_owned));
    (walks.tells.0.iter().map(told).collect(), stream.rows("windows", "").await)
}

fn expected(epochs: &[(u64, Option<&str>)]) -> Vec<(u64, Option<String>)> {
    epochs.iter().map(|(rows, watermark)| (*rows, watermark.map(str::to_owned))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_partition_that_is_not_read_yet_holds_the_others_up() {
    let (epochs, windows) = silent(Duration::ZERO, "min").await;
    let watermarks = [(1, None), (1, None), (1, Some("18:39:00.000")), (1, Some("18:49:00.000"))];
    assert_eq!(epochs, expected(&watermarks));
    assert_eq!(windows, ["18:40:00 18:45:00 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_that_is_idle_lets_time_alone_close_windows() {
    // They are heard of for the last time 100, 50 and 75 seconds after the start.
    let (epochs, windows) = silent(Duration::from_secs(25), "min").await;
    let watermarks = [
        (1, None),
        (1, None),
        (1, Some("18:39:00.000")),
        (1, Some("18:49:00.000")),
        (0, Some("18:59:00.000")),
        (0, Some("19:09:00.000")),
    ];
    assert_eq!(epochs, expected(&watermarks));
    assert_eq!(windows, ["18:40:00 18:45:00 1", "18:50:00 18:55:00 1", "19:00:00 19:05:00 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fastest_partition_decides_where_the_policy_says_so() {
    let (epochs, windows) = silent(Duration::ZERO, "max").await;
    assert_eq!(epochs.last(), Some(&(1, Some("19:09:00.000".to_owned()))));
    assert_eq!(windows.len(), 3);
}
