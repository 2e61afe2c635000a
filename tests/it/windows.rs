//! Windows of every kind through the whole pipeline: what is in them, when they
//! are given, and what sees them then.

use weir_tests::streams::{HEAD, Stream, step, watermark};

/// A window over all rows; `settings` say which.
fn window(settings: &str) -> String {
    let delay = if settings.starts_with("gap") { "10m" } else { "1m" };
    format!(
        r#"{HEAD}
[event_time]
column = "event_time"
delay = "{delay}"
flush_at_end = true

[window.all]
{settings}
key = ["device"]
plugin = "builtin:statistics"
config = {{ "*" = ["count"], number = ["sum", "last"] }}

[window.all.table]
path = "memory:///windows"

[window.all.late]
path = "memory:///late"
"#
    )
}

/// Runs the files with this window and compares all of its rows.
async fn check(settings: &str, files: &[&[&str]], expected: &[&str]) {
    let stream = Stream::of(files).await;
    stream.run(&window(settings)).await;
    assert_eq!(stream.rows("windows", "").await, expected, "{settings}");
    assert_eq!(stream.letters().await, Vec::<String>::new(), "{settings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_hold_their_start_and_not_their_end() {
    let files: &[&[&str]] = &[&["a 10:00:00.000 1", "a 10:04:59.999 2", "a 10:05:00.000 4", "b 09:59:59.999 8"]];
    let tumbling = ["a 10:00:00 10:05:00 2 3 2", "a 10:05:00 10:10:00 1 4 4", "b 09:55:00 10:00:00 1 8 8"];
    check("size = \"5m\"", files, &tumbling).await;
    let shifted = ["a 09:58:30 10:03:30 1 1 1", "a 10:03:30 10:08:30 2 6 4", "b 09:58:30 10:03:30 1 8 8"];
    check("size = \"5m\"\noffset = \"-90s\"", files, &shifted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sliding_windows_hold_a_row_as_often_as_they_overlap() {
    check(
        "size = \"10m\"\nslide = \"4m\"",
        &[&["a 10:07:00 1", "a 10:08:00 2"]],
        &["a 10:00:00 10:10:00 2 3 2", "a 10:04:00 10:14:00 2 3 2", "a 10:08:00 10:18:00 1 2 2"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_grow_together_over_chunks_and_epochs() {
    check(
        "gap = \"2m\"",
        &[
            &["a 10:00:00 1", "a 10:03:00 2", "b 10:00:00 4"],
            // Exactly the gap from both: all three are one session.
            &["a 10:01:30 8", "b 10:02:00 16"],
            &["a 10:05:00.001 32", "a 10:04:59 64"],
        ],
        &["a 10:00:00 10:07:00.001 5 107 32", "b 10:00:00 10:04:00 2 20 16"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_before_1970_are_aligned_like_all_others() {
    let files: &[&[&str]] = &[&["a 1969-12-31T23:59:59.999Z 1", "a 1970-01-01T00:00:00Z 2"]];
    check("size = \"5m\"", files, &["a 00:00:00 00:05:00 1 2 2", "a 23:55:00 00:00:00 1 1 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_is_late_only_for_the_windows_that_are_closed() {
    let mut stream = Stream::of(&[&["a 10:11:00 1"]]).await;
    let text = window("size = \"10m\"\nslide = \"5m\"").replace("flush_at_end = true", "");
    stream.run(&text).await;
    // The watermark stands at 10:10: [10:00, 10:10) is closed, [10:05, 10:15) is not.
    stream.put(&["a 10:06:00 2", "b 10:09:59.999 4"]).await;
    let told = stream.run(&text).await;
    assert_eq!(step(&told[0], "window.all")["numRowsDroppedByWatermark"], 2);
    stream.put(&["c 11:00:00 0"]).await;
    stream.run(&text).await;
    let windows = ["a 10:05:00 10:15:00 2 3 1", "a 10:10:00 10:20:00 1 1 1", "b 10:05:00 10:15:00 1 4 4"];
    assert_eq!(stream.rows("windows", "").await, windows);
    let late = stream.rows("late", "device number window_start window_end").await;
    assert_eq!(late, ["a 2 10:00:00 10:10:00", "b 4 10:00:00 10:10:00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_changed_in_an_epoch_are_given_with_it_and_once_as_final() {
    let text = window("size = \"5m\"\nemit = \"each-epoch\"").replace("flush_at_end = true", "");
    let mut stream = Stream::of(&[&["a 10:00:00 1", "b 10:00:00 2"]]).await;
    stream.run(&text).await;
    assert_eq!(stream.rows("windows", "device sum_number is_final").await, ["a 1 false", "b 2 false"]);
    stream.put(&["a 10:01:00 4"]).await;
    stream.run(&text).await;
    let columns = "device window_start sum_number is_final";
    let given = ["a 10:00:00 1 false", "a 10:00:00 5 false", "b 10:00:00 2 false"];
    assert_eq!(stream.rows("windows", columns).await, given);
    // What closes in an epoch is given once, as final, also if it was changed.
    stream.put(&["a 10:02:00 8", "a 10:06:00 16"]).await;
    stream.run(&text).await;
    let given = [
        "a 10:00:00 1 false",
        "a 10:00:00 13 true",
        "a 10:00:00 5 false",
        "a 10:05:00 16 false",
        "b 10:00:00 2 false",
        "b 10:00:00 2 true",
    ];
    assert_eq!(stream.rows("windows", columns).await, given);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_be_several_and_null_or_none_at_all() {
    let stream = Stream::of(&[&["a 10:00:00 1", "- 10:00:00 2", "a 10:00:01 -", "- 10:00:01 -", "- 10:00:02 2"]]).await;
    let text = window("size = \"5m\"").replace("[\"device\"]", "[\"number\", \"device\"]");
    stream.run(&text.replace("number = [\"sum\", \"last\"]", "temperature = [\"count\"]")).await;
    assert_eq!(
        stream.rows("windows", "number device count count_temperature").await,
        ["- - 1 0", "- a 1 0", "1 a 1 0", "2 - 2 0"]
    );
    let stream = Stream::of(&[&["a 10:00:00 1", "- 10:00:00 2", "b 10:00:01 4"]]).await;
    stream.run(&window("size = \"5m\"").replace("key = [\"device\"]", "")).await;
    assert_eq!(stream.rows("windows", "").await, ["10:00:00 10:05:00 3 7 4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_chained_windows_give_both_levels_in_one_epoch() {
    let chain = r#"
[window.hourly]
input = "all"
size = "1h"
key = ["device"]
plugin = "builtin:statistics"
config = { "*" = ["count"], sum_number = ["sum", "max"] }

[window.hourly.table]
path = "memory:///hours"

[window.hourly.late]
path = "memory:///late_hours"

[rule.busy]
input = "all"
plugin = "builtin:thresholds"
config = { levels = [{ column = "sum_number", above = 4, kind = "BUSY", message = "{count} rows" }] }

[rule.busy.table]
path = "memory:///busy"
columns = ["device", "window_start", "is_final", "alert.kind", "alert.message as message"]
"#;
    for emit in ["", "\nemit = \"each-epoch\""] {
        let text = window(&format!("size = \"5m\"{emit}")).replace("flush_at_end = true", "") + chain;
        let mut stream =
            Stream::of(&[&["b 10:30:00 8", "a 10:01:00 1", "a 10:58:00 2"], &["a 10:59:59.999 4", "b 11:00:59.999 0"]])
                .await;
        stream.run(&text).await;
        assert_eq!(stream.rows("hours", "").await, Vec::<String>::new(), "{emit}");
        stream.put(&["b 11:01:00.000 0"]).await;
        let told = stream.run(&text).await;
        assert_eq!(watermark(&told[0]), Some("11:00:00.000"));
        // The last five minutes of the hour close with it, and are part of it.
        assert_eq!(
            stream.rows("hours", "").await,
            ["a 10:00:00 11:00:00 2 7 6", "b 10:00:00 11:00:00 1 8 8"],
            "{emit}"
        );
        let busy = stream.rows("busy", "device window_start is_final alert_kind message").await;
        let finals: Vec<&String> = busy.iter().filter(|row| row.contains("true")).collect();
        assert_eq!(finals, ["a 10:55:00 true BUSY 2 rows", "b 10:30:00 true BUSY 1 rows"], "{emit}");
        assert_eq!(busy.len() > 2, !emit.is_empty(), "{busy:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_closes_what_is_open_at_the_end_also_behind_other_windows() {
    let chain = r#"
[window.hourly]
input = "all"
size = "1h"
plugin = "builtin:statistics"
config = { sum_number = ["sum"] }

[window.hourly.table]
path = "memory:///hours"
"#;
    let text = window("size = \"5m\"") + chain;
    let mut stream = Stream::of(&[&["a 10:01:00 1", "a 10:11:00 2"]]).await;
    stream.run(&text).await;
    assert_eq!(stream.rows("windows", "device sum_number").await, ["a 1", "a 2"]);
    assert_eq!(stream.rows("hours", "").await, ["10:00:00 11:00:00 3"]);
    assert!(stream.run(&text).await.is_empty(), "nothing is left to flush");
    // What comes for them later is late.
    stream.put(&["a 10:12:00 4"]).await;
    let told = stream.run(&text).await;
    assert_eq!(step(&told[0], "window.all")["numRowsDroppedByWatermark"], 1);
    assert_eq!(stream.rows("late", "number").await, ["4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_window_that_only_counts_needs_no_column() {
    let stream = Stream::of(&[&["a 10:11:00", "b 10:12:00", "- -"], &["a 10:00:00", "a 10:13:00"]]).await;
    stream.run(&window("size = \"5m\"").replace("number = [\"sum\", \"last\"]", "")).await;
    assert_eq!(stream.rows("windows", "").await, ["a 10:10:00 10:15:00 2", "b 10:10:00 10:15:00 1"]);
    assert_eq!(stream.rows("late", "device event_time").await, ["a 10:00:00"]);
}
