//! Steps that are changed between two runs: what the checkpoint keeps decides
//! whether that is refused, and the refusal names what was changed.

use weir::ErrorKind;
use weir_tests::fixture;
use weir_tests::streams::{HEAD, Stream, watermark};

const STEPS: &str = r#"
[event_time]
column = "event_time"
delay = "1m"
deduplicate = { by = ["device", "number"], within = "10m" }

[window.sums]
size = "5m"
key = ["device"]
plugin = "builtin:statistics"
config = { number = ["sum"] }
emit = "on-close"

[window.sums.table]
path = "memory:///sums"
columns = ["device", "window_start", "sum_number"]

[rule.often]
key = ["device"]
plugin = "builtin:consecutive"
config = { column = "temperature", above = 30.0, times = 2, kind = "OFTEN" }

[rule.often.table]
path = "memory:///often"
columns = ["device", "number"]
"#;

fn pipeline() -> String {
    format!("{HEAD}{STEPS}")
}

/// With a piece of the file replaced.
#[track_caller]
fn changed(old: &str, new: &str) -> String {
    let text = pipeline();
    assert!(text.contains(old), "{old} is in the file");
    text.replacen(old, new, 1)
}

/// A stream with an open window, whose next file is there.
async fn stream() -> Stream {
    let mut stream = Stream::of(&[&["a 10:00:00 1 31"]]).await;
    stream.run(&pipeline()).await;
    stream.put(&["a 10:01:00 2 31", "a 10:06:00 4 31"]).await;
    stream
}

/// The change is refused with these words, and the old file goes on as if it had
/// never been tried.
async fn refused(old: &str, new: &str, kind: ErrorKind, words: &[&str]) {
    let stream = stream().await;
    let error = stream.fail(&changed(old, new)).await;
    let said = error.to_string();
    assert_eq!(error.kind(), kind, "{new}: {said}");
    for word in words.iter().chain(&["new name"]) {
        assert!(said.contains(word), "{new}: {word} is missing in: {said}");
    }
    stream.run(&pipeline()).await;
    assert_eq!(stream.rows("sums", "").await, ["a 10:00:00 3"], "{new}");
    assert_eq!(stream.rows("often", "").await, ["a 2"], "{new}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_shape_of_a_window_is_refused_by_name() {
    let config = ErrorKind::Config;
    refused("size = \"5m\"", "size = \"10m\"", config, &["window.sums", "`window`", "size 5m", "size 10m"]).await;
    refused("size = \"5m\"", "size = \"5m\"\nslide = \"1m\"", config, &["window.sums", "tumbling", "sliding", "1m"])
        .await;
    refused("size = \"5m\"", "size = \"5m\"\noffset = \"30s\"", config, &["window.sums", "offset 30s"]).await;
    refused("size = \"5m\"", "gap = \"5m\"", config, &["window.sums", "tumbling", "session, gap 5m"]).await;
    refused("size = \"5m\"", "size = \"5m\"\ninput = \"rows\"", config, &["`input`", "all rows", "table.rows"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_keys_are_refused_by_name() {
    let config = ErrorKind::Config;
    let window = "key = [\"device\"]\nplugin = \"builtin:statistics\"";
    let more = "key = [\"device\", \"number\"]\nplugin = \"builtin:statistics\"";
    refused(
        window,
        more,
        config,
        &["window.sums", "`key` was \"device string\" and is \"device string, number bigint\""],
    )
    .await;
    let rule = "key = [\"device\"]\nplugin = \"builtin:consecutive\"";
    let none = "plugin = \"builtin:consecutive\"";
    refused(rule, none, config, &["rule.often", "`key` was \"device string\" and is \"\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_plugin_or_function_is_refused() {
    let hostile = format!("plugin = \"{}\"", fixture("hostile.wasm").display());
    let statistics = "plugin = \"builtin:statistics\"\nconfig = { number = [\"sum\"] }";
    let table = "[\"device\", \"window_start\", \"sum_number\"]";
    let stream = stream().await;
    let text = changed(statistics, &hostile).replace(table, "[\"device\", \"window_start\", \"sum as sum_number\"]");
    let error = stream.fail(&text).await;
    let said = error.to_string();
    assert!(said.contains("`plugin` was \"statistics\" and is \"hostile\""), "{said}");
    // Only the plugin knows that its state is of other functions.
    refused("number = [\"sum\"]", "number = [\"sum\", \"max\"]", ErrorKind::Plugin, &["window.sums"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_deduplication_is_refused_by_name() {
    let stream = stream().await;
    for (old, new, words) in [
        (
            "by = [\"device\", \"number\"]",
            "by = [\"number\"]",
            "`by` was \"device string, number bigint\" and is \"number bigint\"",
        ),
        ("within = \"10m\"", "within = \"5m\"", "`within` was \"10m\" and is \"5m\""),
    ] {
        let error = stream.fail(&changed(old, new)).await;
        let said = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Config, "{said}");
        assert!(said.contains("deduplicate") && said.contains(words), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_key_of_another_type_is_refused_by_name() {
    // No table shows the column, so only the state knows what it was.
    let text = pipeline()
        .replace("path = \"memory:///rows\"", "path = \"memory:///rows\"\ncolumns = [\"number\"]")
        .replace("[\"device\", \"window_start\", \"sum_number\"]", "[\"sum_number\"]")
        .replace("columns = [\"device\", \"number\"]", "columns = [\"number\"]");
    let mut stream = Stream::of(&[&["1 10:00:00 1 31"]]).await;
    stream.run(&text).await;
    stream.put(&["1 10:06:00 2 31"]).await;
    let error = stream.fail(&text.replace("device string", "device bigint")).await;
    let said = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Config, "{said}");
    assert!(
        said.contains("window.sums") && said.contains("`key` was \"device string\" and is \"device bigint\""),
        "{said}"
    );
    let without_window = text.replace("window.sums", "window.other").replace("rule.often", "rule.other");
    let error = stream.fail(&without_window.replace("device string", "device bigint")).await;
    let said = error.to_string();
    assert!(said.contains("deduplicate") && said.contains("device bigint"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delay_emit_mode_and_trigger_may_change() {
    let stream = stream().await;
    let text = changed("delay = \"1m\"", "delay = \"2m\"").replace("emit = \"on-close\"", "emit = \"each-epoch\"");
    let told = stream.run(&text).await;
    assert_eq!(watermark(&told[0]), Some("10:04:00.000"));
    assert_eq!(stream.rows("sums", "").await, ["a 10:00:00 3", "a 10:05:00 4"]);
    // A longer delay does not take the watermark back.
    let mut stream = stream;
    stream.put(&["a 10:06:00 8"]).await;
    let told = stream.run(&changed("delay = \"1m\"", "delay = \"1h\"")).await;
    assert_eq!(watermark(&told[0]), Some("10:04:00.000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_name_starts_without_state_and_a_step_that_is_gone_is_dropped() {
    let stream = stream().await;
    let text = pipeline().replace("window.sums", "window.totals").replace("memory:///sums", "memory:///totals");
    let without_rule = text.split("[rule.often]").next().unwrap();
    stream.run(without_rule).await;
    assert_eq!(stream.rows("totals", "").await, ["a 10:00:00 2"], "what came before is not in it");
    assert_eq!(stream.rows("sums", "").await, Vec::<String>::new());
    // The rule starts anew when it comes back: one row is not two in a row.
    let mut stream = stream;
    stream.put(&["a 10:07:00 8 31"]).await;
    stream.run(&text).await;
    assert_eq!(stream.rows("often", "").await, Vec::<String>::new());
    stream.put(&["a 10:08:00 9 31"]).await;
    stream.run(&text).await;
    assert_eq!(stream.rows("often", "").await, ["a 9"]);
}
