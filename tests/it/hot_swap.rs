//! The walk-through of `examples/hot-swap`, step by step.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use weir_tests::binary::{succeed, text, weir};
use weir_tests::{root, wasm};

use crate::swap_commands::{Host, free_port, until};

const MESSAGE: &str = "\"too warm for the {times}. time: {temperature:.1} °C\"";
const OTHER_MESSAGE: &str = "\"{temperature:.1} °C, {times} times so far\"";

fn change_rule(folder: &Path, from: &str, to: &str) {
    let path = folder.join("rule/src/lib.rs");
    let source = fs::read_to_string(&path).unwrap();
    assert!(source.contains(from), "{from}");
    fs::write(path, source.replacen(from, to, 1)).unwrap();
    let mut build = weir(folder, &["plugin", "build", "rule"]);
    let output = build.envs(wasm::rust_environment().iter().cloned()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// What the alerts say, once there are any.
fn messages(folder: &Path) -> Vec<(String, String)> {
    let show = ["table", "show", "data/tables/warm", "--json", "--limit", "1000000"];
    let output = weir(folder, &show).output().unwrap();
    let rows = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        [&row["deviceId"], &row["message"]].map(|value| value.as_str().unwrap().to_owned()).into()
    };
    rows.lines().map(row).collect()
}

/// How often a device was too warm, by its alert.
fn times(message: &str) -> u64 {
    let is_other = message.ends_with("so far");
    let mut words = message.split(' ');
    let word = if is_other { words.nth(2) } else { words.nth(4) };
    word.unwrap().trim_end_matches('.').parse().unwrap()
}

#[test]
fn rule_is_edited_taken_over_broken_and_rolled_back_as_the_example_says() {
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("plugins"), place.path().join("plugins")).unwrap();
    let folder = &place.path().join("examples/hot-swap");
    crate::binary();
    crate::examples::copy_to(&root().join("examples/hot-swap"), folder);
    wasm::pin_versions(&folder.join("rule"));
    let pipeline = fs::read_to_string(folder.join("pipeline.toml")).unwrap();
    assert!(pipeline.contains("127.0.0.1:7878") && pipeline.contains("\"1s\""), "{pipeline}");
    let pipeline = pipeline.replace(":7878", &format!(":{}", free_port())).replace("\"1s\"", "\"100ms\"");
    fs::write(folder.join("pipeline.toml"), pipeline).unwrap();
    fs::write(folder.join("token"), "a-token-that-nobody-guesses").unwrap();

    // Build the rule, test it, and start.
    change_rule(folder, MESSAGE, MESSAGE);
    assert!(succeed(folder, &["plugin", "test", "rule"]).contains("passed"));
    let host = Host::start(folder);
    let versions = || succeed(folder, &["plugin", "versions", "pipeline.toml"]);
    let says = |what: &str| messages(folder).iter().any(|(_, message)| message.contains(what));
    until("a second alert of a device", || says("for the 2. time").then_some(()));

    // Change the rule.
    change_rule(folder, MESSAGE, OTHER_MESSAGE);
    until("an alert of the new version", || says("times so far").then_some(()));
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    assert!(log().contains("rule.warm: warm 0.1.0") && log().contains("took over from warm 0.1.0"), "{}", log());
    let history = succeed(folder, &["table", "history", "data/tables/warm", "--json", "--limit", "100000"]);
    let digest = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let plugins = entry["info"]["weir"]["plugins"].as_array().cloned().unwrap_or_default();
        plugins.iter().find(|plugin| plugin["step"] == "rule.warm").map(|plugin| plugin["sha256"].to_string())
    };
    let digests: std::collections::BTreeSet<String> = history.lines().filter_map(digest).collect();
    assert_eq!(digests.len(), 2, "{history}");

    // Break it: the trial says why not, and where.
    change_rule(folder, "let times = self.groups.reach", "panic!(\"no\");\n        let times = self.groups.reach");
    until("the refusal", || log().contains("it failed on trial").then_some(()));
    assert!(log().contains("panicked at src/lib.rs:"), "{}", log());
    until("alerts of the version before", || {
        let before = messages(folder).len();
        (versions().contains("rule.warm") && messages(folder).len() > before).then_some(())
    });

    // Go back.
    let old = |message: &str| message.starts_with("too warm for the");
    let count_of_old = || messages(folder).iter().filter(|(_, message)| old(message)).count();
    let before = count_of_old();
    succeed(folder, &["plugin", "rollback", "pipeline.toml", "rule.warm"]);
    until("an alert of the first version", || (count_of_old() > before).then_some(()));
    host.kill();

    // Whichever version counted, each device was counted on.
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (device, message) in messages(folder) {
        counts.entry(device).or_default().push(times(&message));
    }
    assert!(counts.len() > 10, "{counts:?}");
    for (device, mut times) in counts {
        times.sort_unstable();
        assert!(times.iter().copied().eq(1..=times.len() as u64), "{device}: {times:?}");
    }
}
