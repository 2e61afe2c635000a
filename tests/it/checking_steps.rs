//! `weir check` on mistakes in event time, windows and rules: all at once, each
//! with its line and what to do.

use weir_tests::binary::{fail, succeed};

use crate::checking::{check_file, project};

/// Line 1 is empty; the lines of what is changed are in the tests.
const SOUND: &str = r#"
[pipeline]
name = "checked"
checkpoint = "data/checkpoint"
trigger = "available-now"
[source.files]
path = "input"
[parser]
plugin = "builtin:json"
config = { columns = "device string, ts as event_time timestamp, temperature double" }
[table.events]
path = "data/events"
[event_time]
column = "event_time"
delay = "5m"
deduplicate = { by = ["device"], within = "10m" }
[window.five]
size = "5m"
slide = "5m"
offset = "0s"
key = ["device"]
plugin = "builtin:statistics"
config = { temperature = ["avg"] }
[window.five.table]
path = "data/five"
columns = ["device", "window_end", "avg_temperature"]
[window.five.late]
path = "data/late"
columns = ["device", "window_start"]
[window.hour]
input = "five"
size = "1h"
plugin = "builtin:statistics"
config = { avg_temperature = ["max"] }
[window.hour.table]
path = "data/hour"
[rule.hot]
input = "events"
key = ["device"]
forget_after = "1d"
plugin = "builtin:consecutive"
config = { column = "temperature", above = 30.0, times = 3, kind = "HOT" }
[rule.hot.table]
path = "data/hot"
columns = ["device", "alert.kind as kind"]
"#;

#[track_caller]
fn check(changes: &[(&str, &str)], expected: &[(usize, &str)]) {
    check_file(SOUND, changes, expected);
}

#[test]
fn sound_steps_pass_and_nothing_is_created() {
    let folder = project(SOUND);
    assert!(succeed(folder.path(), &["check", "pipeline.toml"]).contains("sound"));
    assert!(!folder.path().join("data").exists());
}

#[test]
fn mistakes_of_form_are_reported_at_once_with_line_and_remedy() {
    check(
        &[
            ("delay = \"5m\"", "delay = \"five\""),
            ("by = [\"device\"], ", ""),
            ("size = \"5m\"", "size = \"1 month\""),
            ("size = \"1h\"", "size = \"1h\"\nslide = \"2h\""),
            ("forget_after = \"1d\"", "forget_after = \"1y\""),
        ],
        &[
            (15, "such as \"30s\", \"5m\""),
            (16, "`by`"),
            (18, "months and years are not always as long"),
            (33, "rows between two windows would be lost"),
            (41, "months and years"),
        ],
    );
}

#[test]
fn spans_that_do_not_go_together_are_refused() {
    check(&[("slide = \"5m\"", "slide = \"6m\"")], &[(19, "as long as `size` or shorter")]);
    check(&[("offset = \"0s\"", "offset = \"5m\"")], &[(20, "more than -5m and less than 5m")]);
    check(&[("offset = \"0s\"", "offset = \"-5m\"")], &[(20, "more than -5m and less than 5m")]);
    check(&[("slide = \"5m\"", "slide = \"1ms\"")], &[(19, "300000 windows")]);
    check(&[("offset = \"0s\"\n", "gap = \"5m\"\n")], &[(18, "no `size`"), (19, "no `slide`")]);
    check(&[("size = \"1h\"\n", "")], &[(30, "no size")]);
}

#[test]
fn windows_without_event_time_are_refused() {
    let event_time = "[event_time]\ncolumn = \"event_time\"\ndelay = \"5m\"\ndeduplicate = { by = [\"device\"], within = \"10m\" }\n";
    check(&[(event_time, "")], &[(13, "[event_time]"), (36, "only event time")]);
}

#[test]
fn inputs_that_there_are_not_are_named_with_what_there_is() {
    check(&[("input = \"five\"", "input = \"fiev\"")], &[(31, "did you mean \"five\"?")]);
    check(&[("input = \"events\"", "input = \"nothing\"")], &[(38, "\"events\", \"five\", \"hour\"")]);
}

#[test]
fn windows_that_see_each_other_are_refused() {
    check(
        &[("size = \"5m\"", "input = \"hour\"\nsize = \"5m\"")],
        &[(18, "windows that see each other"), (32, "windows that see each other")],
    );
    check(&[("input = \"five\"", "input = \"hour\"")], &[(31, "windows that see each other")]);
}

#[test]
fn keys_that_are_no_column_or_no_key_are_refused() {
    check(
        &[(
            "key = [\"device\"]\nplugin = \"builtin:statistics\"",
            "key = [\"devise\"]\nplugin = \"builtin:statistics\"",
        )],
        &[(21, "no column `devise`")],
    );
    check(
        &[("key = [\"device\"]\nforget_after", "key = [\"temperature\"]\nforget_after")],
        &[(39, "`temperature` cannot be a key")],
    );
    check(&[("by = [\"device\"]", "by = [\"temperature\"]")], &[(16, "`temperature` cannot be a key")]);
}

#[test]
fn event_time_that_is_no_column_or_no_timestamp_is_refused() {
    check(&[("column = \"event_time\"", "column = \"ts\"")], &[(14, "the timestamps are: event_time")]);
    check(
        &[("column = \"event_time\"", "column = \"ts\""), ("times = 3", "times = 0")],
        &[(14, "`ts` is no column"), (42, "times")],
    );
    check(&[("column = \"event_time\"", "column = \"device\"")], &[(14, "`device` is no timestamp")]);
}

#[test]
fn plugin_of_the_wrong_role_is_refused() {
    check(&[("plugin = \"builtin:consecutive\"", "plugin = \"builtin:statistics\"")], &[(41, "cannot be a rule")]);
    check(
        &[(
            "plugin = \"builtin:statistics\"\nconfig = { temperature",
            "plugin = \"builtin:thresholds\"\nconfig = { temperature",
        )],
        &[(22, "cannot be an aggregator")],
    );
}

#[test]
fn mistakes_in_the_plugins_own_configurations_have_their_line() {
    check(
        &[("temperature = [\"avg\"]", "temperature = [\"average\"]"), ("times = 3", "times = 0")],
        &[(23, "average"), (42, "times")],
    );
}

#[test]
fn columns_that_a_step_does_not_give_are_named() {
    check(
        &[
            ("\"avg_temperature\"]", "\"mean_temperature\"]"),
            ("[\"device\", \"window_start\"]", "[\"device\", \"alert.kind\"]"),
            ("[\"device\", \"alert.kind as kind\"]", "[\"device\", \"alert.knd as kind\"]"),
        ],
        &[(26, "mean_temperature"), (29, "alert.kind"), (45, "alert.knd")],
    );
}

#[test]
fn what_does_not_fit_in_one_step_does_not_hide_another() {
    check(
        &[
            (
                "key = [\"device\"]\nplugin = \"builtin:statistics\"",
                "key = [\"devise\"]\nplugin = \"builtin:statistics\"",
            ),
            ("column = \"temperature\"", "column = \"heat\""),
        ],
        &[(21, "no column `devise`"), (42, "heat")],
    );
}

#[test]
fn messages_do_not_repeat_themselves() {
    let folder = project(&SOUND.replace("key = [\"device\"]", "key = [\"devise\"]"));
    let printed = fail(folder.path(), &["check", "pipeline.toml"], 2);
    let lines: Vec<&str> = printed.lines().collect();
    let distinct: std::collections::HashSet<&&str> = lines.iter().collect();
    assert_eq!(distinct.len(), lines.len(), "{printed}");
}
