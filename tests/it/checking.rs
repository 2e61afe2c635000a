//! `weir check` and the refusal of what is wrong before any data is touched.

use std::fs;

use weir_tests::binary::{fail, succeed};

pub(crate) const SOUND: &str = r#"
[pipeline]
name = "checked"
checkpoint = "data/checkpoint"
trigger = "available-now"

[source.files]
path = "input"
glob = "*.json"

[parser]
plugin = "builtin:json"
config = { columns = "deviceId string, temperature double" }

[table.events]
path = "data/events"
columns = ["deviceId", "temperature"]
"#;

pub(crate) fn project(text: &str) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    fs::write(folder.path().join("pipeline.toml"), text).unwrap();
    folder
}

/// Replaces pieces of the sound file; each `(line, piece of the message)` must be
/// among what `weir check` prints.
#[track_caller]
fn check(changes: &[(&str, &str)], expected: &[(usize, &str)]) {
    check_file(SOUND, changes, expected);
}

/// The same with another file that is sound.
#[track_caller]
pub(crate) fn check_file(sound: &str, changes: &[(&str, &str)], expected: &[(usize, &str)]) {
    let mut text = sound.to_owned();
    for (old, new) in changes {
        assert!(text.contains(old), "{old} is in the file");
        text = text.replacen(old, new, 1);
    }
    let folder = project(&text);
    let printed = fail(folder.path(), &["check", "pipeline.toml"], 2);
    let lines: Vec<&str> = printed.lines().collect();
    for (line, message) in expected {
        let place = format!("pipeline.toml:{line}:");
        // The remedy stands behind the problem.
        let remedy = |index: usize| lines.get(index + 1).filter(|line| line.starts_with("  = ")).unwrap_or(&"");
        let says = |index: usize| lines[index].contains(message) || remedy(index).contains(message);
        let found = (0..lines.len()).any(|index| lines[index].starts_with(&place) && says(index));
        assert!(found, "line {line}: {message} is missing in\n{printed}");
    }
    let problems = format!("{} problem", expected.len());
    assert!(printed.contains(&problems), "{problems}s expected in\n{printed}");
    assert!(!folder.path().join("data").exists(), "check created nothing");
}

#[test]
fn sound_pipeline_passes_and_nothing_is_created() {
    let folder = project(SOUND);
    assert!(succeed(folder.path(), &["check", "pipeline.toml"]).contains("sound"));
    assert!(!folder.path().join("data").exists());
}

#[test]
fn five_mistakes_are_reported_at_once_with_line_and_remedy() {
    check(
        &[
            ("trigger = \"available-now\"", "trigger = \"whenever\""),
            ("glob = \"*.json\"", "glob = \"{*.json\""),
            ("plugin = \"builtin:json\"", "plugin = \"builtin:jsno\""),
            ("path = \"data/events\"", "pth = \"data/events\""),
            ("columns = [\"deviceId\", \"temperature\"]", "columns = [\"deviceId\", \"temperature as\"]"),
        ],
        &[(5, "whenever"), (9, "{*.json"), (12, "jsno"), (16, "pth"), (17, "temperature as")],
    );
}

#[test]
fn mistakes_in_a_plugins_own_configuration_have_their_line() {
    check(&[("temperature double\"", "temperature duble\"")], &[(13, "duble")]);
}

#[test]
fn columns_that_nobody_makes_are_named() {
    check(
        &[("columns = [\"deviceId\", \"temperature\"]", "columns = [\"device\", \"message.colour as colour\"]")],
        &[(17, "deviceId, temperature"), (17, "message field `colour`")],
    );
}

#[test]
fn plugin_in_the_wrong_role_is_refused() {
    check(
        &[(
            "plugin = \"builtin:json\"\nconfig = { columns = \"deviceId string, temperature double\" }",
            "plugin = \"builtin:identity\"",
        )],
        &[(12, "cannot be a parser")],
    );
}

#[test]
fn other_digest_than_the_pinned_one_is_refused() {
    let pin = format!("plugin = \"builtin:json\"\nsha256 = \"{}\"", "0".repeat(64));
    check(&[("plugin = \"builtin:json\"", &pin)], &[(12, "is pinned")]);
}

#[test]
fn table_with_another_schema_is_refused_by_column_with_both_types() {
    let folder = project(SOUND);
    fs::write(folder.path().join("input/a.json"), r#"[{"deviceId": "d", "temperature": 1.5}]"#).unwrap();
    succeed(folder.path(), &["run", "pipeline.toml"]);
    fs::write(folder.path().join("pipeline.toml"), SOUND.replace("temperature double", "temperature string")).unwrap();
    let printed = fail(folder.path(), &["check", "pipeline.toml"], 2);
    assert!(printed.contains("temperature") && printed.contains("string") && printed.contains("double"), "{printed}");
    let printed = fail(folder.path(), &["run", "pipeline.toml"], 4);
    assert!(printed.contains("temperature"), "{printed}");
}
