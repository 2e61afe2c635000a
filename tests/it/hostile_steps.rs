//! Hostile aggregators and rules: what makes them fail is all that it costs, and
//! where that cannot be told the pipeline stops before anything is visible.

use weir::ErrorKind;
use weir_tests::fixture;
use weir_tests::streams::{HEAD, Stream};

/// A window and a rule of the hostile plugin, with these settings.
fn pipeline(window: &str, rule: &str) -> String {
    let plugin = fixture("hostile.wasm");
    let plugin = plugin.display();
    let (window_deadline, rule_deadline) = (deadline(window), deadline(rule));
    format!(
        r#"{HEAD}
[event_time]
column = "event_time"
delay = "1m"

[window.sums]
size = "5m"
key = ["device"]
plugin = "{plugin}"
config = {{ count = 70000000, {window} }}
limits = {{ deadline = "{window_deadline}" }}

[window.sums.table]
path = "memory:///sums"
columns = ["device", "window_start", "sum"]

[rule.numbers]
key = ["device"]
plugin = "{plugin}"
config = {{ count = 70000000, {rule} }}
limits = {{ deadline = "{rule_deadline}" }}

[rule.numbers.table]
path = "memory:///alerts"
columns = ["device", "number", "alert.message as message"]
"#
    )
}

/// Short for what never ends; whatever else fails may take its time on a busy machine.
pub(crate) fn deadline(config: &str) -> &'static str {
    if config.contains("loop") { "100ms" } else { "10s" }
}

const HONEST: &str = "mode = \"behave\"";

/// Two epochs; the last reading closes the first windows.
const FILES: [&[&str]; 2] = [
    &["a 10:00:00 1", "b 10:00:01 2", "a 10:01:00 13", "b 10:02:00 4", "a 10:03:00 8"],
    &["b 10:04:00 16", "a 10:06:00 32"],
];

const SUMS: [&str; 2] = ["a 10:00:00 22", "b 10:00:00 22"];
/// Without the reading of 13.
const SUMS_OF_OTHERS: [&str; 2] = ["a 10:00:00 9", "b 10:00:00 22"];

/// Alerts of a stateless rule, and of one with memory, for all readings.
const NUMBERS: [&str; 7] = ["a 1 1", "a 13 13", "a 32 32", "a 8 8", "b 16 16", "b 2 2", "b 4 4"];
const KEYED: [&str; 7] = ["a 1 1", "a 13 14", "a 32 54", "a 8 22", "b 16 22", "b 2 2", "b 4 6"];

fn without_13(alerts: &[&str]) -> Vec<String> {
    alerts.iter().filter(|alert| !alert.contains(" 13 ")).map(|alert| (*alert).to_owned()).collect()
}

/// The only dead letter is of this step and says this, and it is of that row.
async fn assert_letter(stream: &Stream, step: &str, reason: &str, mode: &str) {
    let letters = stream.letters().await;
    assert_eq!(letters.len(), 1, "{mode}: {letters:?}");
    assert!(letters[0].starts_with(step) && letters[0].contains(reason), "{mode}: {letters:?}");
    let raw = stream.rows("checkpoint/dead_letters", "plugin position raw").await;
    assert!(raw[0].starts_with("hostile "), "{mode}: {raw:?}");
    assert_eq!(stream.rows("rows", "number").await.len(), 7, "{mode}: the table of rows has all of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_hostile_plugin_sums_and_raises() {
    let stream = Stream::of(&FILES).await;
    stream.run(&pipeline(HONEST, "keyed = true")).await;
    assert_eq!(stream.rows("sums", "").await, SUMS);
    assert_eq!(stream.rows("alerts", "").await, KEYED);
    let stream = Stream::of(&FILES).await;
    stream.run(&pipeline(HONEST, HONEST)).await;
    assert_eq!(stream.rows("alerts", "").await, NUMBERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_an_aggregator_fails_for_costs_only_itself() {
    for (mode, reason) in [
        ("trap", "trapped"),
        ("error", "failed, as configured"),
        ("loop", "missed its deadline"),
        ("memory-bomb", "trapped"),
        ("stack-overflow", "trapped"),
        ("memory-per-row", "trapped"),
    ] {
        let stream = Stream::of(&FILES).await;
        stream.run(&pipeline(&format!("mode = \"{mode}\", poison = 13"), HONEST)).await;
        assert_eq!(stream.rows("sums", "").await, SUMS_OF_OTHERS, "{mode}");
        assert_eq!(stream.rows("alerts", "").await, NUMBERS, "{mode}");
        assert_letter(&stream, "window.sums", reason, mode).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_a_rule_fails_for_costs_only_itself() {
    for (mode, reason) in [
        ("trap", "trapped"),
        ("error", "failed, as configured"),
        ("loop", "missed its deadline"),
        ("alert-out-of-range", "row"),
        ("uneven-alerts", "severity"),
        ("alert-invalid-utf8", "UTF-8"),
        ("alert-beyond-data", "offset"),
        ("long-message", "trapped"),
    ] {
        for keyed in [false, true] {
            let when = format!("{mode}, keyed: {keyed}");
            let stream = Stream::of(&FILES).await;
            stream.run(&pipeline(HONEST, &format!("mode = \"{mode}\", poison = 13, keyed = {keyed}"))).await;
            assert_eq!(stream.rows("sums", "").await, SUMS, "{when}");
            let mut expected = without_13(if keyed { &KEYED } else { &NUMBERS });
            if keyed {
                // What the others sum up to without it.
                expected =
                    ["a 1 1", "a 32 41", "a 8 9"].map(str::to_owned).into_iter().chain(expected.split_off(3)).collect();
            }
            assert_eq!(stream.rows("alerts", "").await, expected, "{when}");
            assert_letter(&stream, "rule.numbers", reason, &when).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_go_back_are_refused_with_the_rows_that_raise_them() {
    // A row alone cannot go back, so isolation finds nobody to blame.
    let stream = Stream::of(&FILES).await;
    stream.run(&pipeline(HONEST, "mode = \"decreasing-alerts\", poison = 13")).await;
    assert_eq!(stream.rows("alerts", "").await, NUMBERS);
    assert_eq!(stream.letters().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_cannot_be_evaluated_are_dead_letters_with_their_keys() {
    for (mode, reason) in [
        ("trap-in-evaluate", "trapped"),
        ("error-in-evaluate", "failed, as configured"),
        ("loop-in-evaluate", "missed its deadline"),
        ("too-few-rows", "rows"),
        ("too-many-rows", "rows"),
        ("short-validity", "validity"),
        ("wrong-row-count", "rows"),
        ("extra-column", "more columns"),
        ("missing-columns", "missing"),
        ("wrong-type", "float64"),
    ] {
        let stream = Stream::of(&FILES).await;
        stream.run(&pipeline(&format!("mode = \"{mode}\""), HONEST)).await;
        assert_eq!(stream.rows("sums", "").await, Vec::<String>::new(), "{mode}");
        assert_eq!(stream.rows("alerts", "").await, NUMBERS, "{mode}");
        let letters = stream.letters().await;
        assert_eq!(letters.len(), 2, "{mode}: {letters:?}");
        assert!(
            letters.iter().all(|letter| letter.starts_with("window.sums") && letter.contains(reason)),
            "{letters:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_row_of_several_windows_is_one_dead_letter() {
    let stream = Stream::of(&FILES).await;
    let text = pipeline("mode = \"trap\", poison = 13", HONEST);
    stream.run(&text.replace("size = \"5m\"", "size = \"5m\"\nslide = \"1m\"")).await;
    assert_letter(&stream, "window.sums", "trapped", "sliding").await;
}

/// A run with this file stops with the kind Plugin, names the step, and shows
/// nothing of its epoch; the honest plugin goes on from where it stood.
async fn check_stop(window: &str, rule: &str, words: &[&str]) {
    let honest = pipeline(HONEST, "keyed = true");
    let mut stream = Stream::of(&FILES[..1]).await;
    stream.run(&honest).await;
    stream.put(FILES[1]).await;
    let error = stream.fail(&pipeline(window, rule)).await;
    let said = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Plugin, "{window} {rule}: {said}");
    for word in words {
        assert!(said.contains(word), "{window} {rule}: {word} is missing in: {said}");
    }
    assert_eq!(stream.rows("rows", "number").await.len(), 5, "{window} {rule}: nothing of the epoch is visible");
    assert_eq!(stream.rows("alerts", "").await.len(), 5, "{window} {rule}");
    assert_eq!(stream.rows("sums", "").await, Vec::<String>::new(), "{window} {rule}");
    stream.run(&honest).await;
    assert_eq!(stream.rows("sums", "").await, SUMS, "{window} {rule}");
    assert_eq!(stream.rows("alerts", "").await, KEYED, "{window} {rule}");
    assert_eq!(stream.letters().await, Vec::<String>::new(), "{window} {rule}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_with_the_state_stops_before_anything_is_visible() {
    for (mode, words) in [
        ("trap-in-snapshot", &["cannot give the state", "trapped"][..]),
        ("error-in-snapshot", &["cannot give the state", "failed, as configured"]),
        ("loop-in-snapshot", &["cannot give the state", "deadline"]),
        ("too-few-states", &["cannot give the state", "invalid result"]),
        ("too-many-states", &["cannot give the state", "invalid result"]),
        ("states-beyond-data", &["cannot give the state", "offset"]),
        ("long-state", &["cannot give the state"]),
        ("trap-in-restore", &["cannot take its kept state over", "trapped"]),
        ("error-in-restore", &["cannot take its kept state over", "failed, as configured"]),
    ] {
        let setting = format!("mode = \"{mode}\"");
        let of_window: Vec<&str> = words.iter().copied().chain(["window.sums"]).collect();
        check_stop(&setting, "keyed = true", &of_window).await;
        let of_rule: Vec<&str> = words.iter().copied().chain(["rule.numbers"]).collect();
        check_stop(HONEST, &format!("{setting}, keyed = true"), &of_rule).await;
    }
    check_stop("mode = \"trap-in-release\"", "keyed = true", &["window.sums", "cannot go on", "trapped"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_merge_stops_before_anything_is_visible() {
    for (mode, words) in [("trap-in-merge", "trapped"), ("error-in-merge", "failed, as configured")] {
        let session = |window: &str| pipeline(window, HONEST).replace("size = \"5m\"", "gap = \"2m\"");
        let mut stream = Stream::of(&[&["a 10:00:00 1", "a 10:03:00 2"]]).await;
        let late = |text: String| text.replace("delay = \"1m\"", "delay = \"10m\"");
        stream.run(&late(session(HONEST))).await;
        stream.put(&["a 10:01:30 4", "b 10:20:00 8"]).await;
        let error = stream.fail(&late(session(&format!("mode = \"{mode}\"")))).await;
        let said = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Plugin, "{said}");
        assert!(said.contains("window.sums") && said.contains(words), "{said}");
        assert_eq!(stream.rows("rows", "number").await, ["1", "2"]);
        stream.run(&late(session(HONEST))).await;
        assert_eq!(stream.rows("sums", "").await, ["a 10:00:00 7"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_error_fail_stops_where_a_dead_letter_would_be() {
    let fail = |text: String| text.replace("threads = 2", "threads = 2\non_error = \"fail\"");
    for (window, rule, step) in [
        ("mode = \"trap\", poison = 32", HONEST, "window.sums"),
        ("mode = \"trap-in-evaluate\"", HONEST, "window.sums"),
        (HONEST, "mode = \"trap\", poison = 32", "rule.numbers"),
        (HONEST, "mode = \"trap\", poison = 32, keyed = true", "rule.numbers"),
    ] {
        let stream = Stream::of(&FILES).await;
        let error = stream.fail(&fail(pipeline(window, rule))).await;
        let said = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Plugin, "{said}");
        assert!(said.contains(step) && said.contains("on_error") && said.contains("trapped"), "{said}");
        assert_eq!(stream.rows("rows", "number").await.len(), 5, "{step}: the epoch before it is visible");
        assert_eq!(stream.letters().await, Vec::<String>::new(), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_repeated_row_that_a_rule_fails_for_is_one_dead_letter() {
    for keyed in [false, true] {
        let stream = Stream::of(&[FILES[0], FILES[0]]).await;
        let text = pipeline(HONEST, &format!("mode = \"trap\", poison = 13, keyed = {keyed}"));
        let text = text.replace(
            "delay = \"1m\"",
            "delay = \"1m\"\ndeduplicate = { by = [\"device\", \"number\"], within = \"1h\" }",
        );
        stream.run(&text).await;
        assert_eq!(stream.letters().await.len(), 1, "keyed: {keyed}");
    }
}
