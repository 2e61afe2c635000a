//! Hostile plugins: the host survives them, and only what they spoil is lost to
//! the table, and nothing to the dead letters.

use std::fs;

use weir_tests::binary::{fail, succeed};
use weir_tests::fixture;

use crate::hostile_steps::deadline;

/// Modes that fail the call, as the dead letters name them.
const FAILING: &[(&str, &str)] = &[
    ("loop", "missed its deadline"),
    ("memory-bomb", "trapped"),
    ("stack-overflow", "trapped"),
    ("trap", "trapped, as configured"),
    ("error", "failed, as configured"),
    ("invalid-utf8", "not valid UTF-8"),
    ("decreasing-offsets", "offset"),
    ("offsets-beyond-data", "offset"),
    ("negative-offsets", "offset"),
    ("missing-offset", "offset"),
    ("short-validity", "validity"),
    ("wrong-row-count", "rows"),
    ("extra-column", "more columns"),
    ("missing-columns", "missing"),
    ("wrong-type", "float64"),
    ("origin-out-of-range", "origin"),
    ("missing-origin", "origins"),
    ("rejection-out-of-range", "rejection"),
    ("rejection-span", "rejection"),
];

fn pipeline(mode: &str, extra: &str) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    let text = format!(
        r#"
[pipeline]
name = "hostile"
checkpoint = "data/checkpoint"
trigger = "available-now"
threads = 2
{extra}

[source.files]
path = "input"
format = "text"

[parser]
plugin = "{}"
config = {{ mode = "{mode}", when = "poison", count = 5000000 }}
limits = {{ deadline = "{}" }}

[table.lines]
path = "data/lines"
"#,
        fixture("hostile.wasm").display(),
        deadline(mode)
    );
    fs::write(folder.path().join("pipeline.toml"), text).unwrap();
    let lines: String =
        (0..200).map(|line| if line == 123 { "poison\n".into() } else { format!("line {line}\n") }).collect();
    fs::write(folder.path().join("input/lines.txt"), lines).unwrap();
    folder
}

#[test]
fn failing_calls_cost_only_the_message_that_makes_them_fail() {
    for (mode, reason) in FAILING {
        let folder = pipeline(mode, "");
        succeed(folder.path(), &["run", "pipeline.toml"]);
        let rows = succeed(folder.path(), &["table", "show", "data/lines", "--json", "--limit", "1000"]);
        assert_eq!(rows.lines().count(), 199, "{mode}");
        assert!(!rows.contains("poison"), "{mode}");
        let letters = succeed(folder.path(), &["dead-letters", "pipeline.toml", "--json"]);
        assert_eq!(letters.lines().count(), 1, "{mode}: {letters}");
        let letter: serde_json::Value = serde_json::from_str(&letters).unwrap();
        assert!(letter["reason"].as_str().unwrap().contains(reason), "{mode}: {letter}");
        assert_eq!(letter["source_place"], "lines.txt", "{mode}");
        assert_eq!(letter["plugin"], "hostile", "{mode}");
    }
}

#[test]
fn on_error_fail_stops_before_anything_is_visible() {
    let folder = pipeline("trap", "on_error = \"fail\"");
    let printed = fail(folder.path(), &["run", "pipeline.toml"], 5);
    assert!(printed.contains("parser") && printed.contains("trapped, as configured"), "{printed}");
    let rows = succeed(folder.path(), &["table", "show", "data/lines", "--json"]);
    assert_eq!(rows, "", "nothing is visible");
}

#[test]
fn floods_are_bounded_and_harm_nobody() {
    for mode in ["log-flood", "count-flood"] {
        let folder = pipeline(mode, "");
        succeed(folder.path(), &["run", "pipeline.toml"]);
        let rows = succeed(folder.path(), &["table", "show", "data/lines", "--json", "--limit", "1000"]);
        assert!(rows.lines().count() >= 199, "{mode}");
    }
}

#[test]
fn plugin_that_cannot_be_configured_is_refused_with_its_reason() {
    for (mode, reason) in [
        ("loop-in-configure", "deadline"),
        ("trap-in-configure", "trapped in configure"),
        ("problem-in-configure", "refused, as configured"),
    ] {
        let folder = pipeline(mode, "");
        let printed = fail(folder.path(), &["check", "pipeline.toml"], 2);
        assert!(printed.contains(reason), "{mode}: {printed}");
    }
}

#[test]
fn too_many_dead_letters_stop_before_anything_is_visible() {
    let folder = pipeline("trap", "");
    let lines: String =
        (0..200).map(|line| if line % 4 == 0 { "poison\n".into() } else { format!("line {line}\n") }).collect();
    fs::write(folder.path().join("input/lines.txt"), lines).unwrap();
    let printed = fail(folder.path(), &["run", "pipeline.toml"], 4);
    assert!(printed.contains("50 of 200") && printed.contains("max_dead_letter_ratio"), "{printed}");
    let rows = succeed(folder.path(), &["table", "show", "data/lines", "--json"]);
    assert_eq!(rows, "", "nothing is visible");
}
