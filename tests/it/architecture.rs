//! The rules between the rooms, held by reading the sources.

use std::fs;
use std::path::{Path, PathBuf};

use weir_tests::root;

/// A room, and what it may not name.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("model", &["arrow::", "tokio", "object_store", "deltalake", "wasmtime", "crate::env"]),
    ("protocol", &["arrow::", "tokio", "object_store", "deltalake", "wasmtime", "crate::env", "async fn"]),
    ("schema", &["tokio", "object_store", "deltalake", "wasmtime", "crate::env", "crate::plugin", "async fn"]),
    (
        "event_hubs",
        &["arrow::", "deltalake", "wasmtime", "object_store", "crate::source", "crate::sink", "crate::config"],
    ),
    ("checkpoint", &["arrow::", "deltalake", "wasmtime", "crate::source", "crate::sink", "crate::plugin"]),
    ("source", &["deltalake", "wasmtime", "crate::checkpoint", "crate::sink", "crate::plugin", "crate::pipeline"]),
    ("plugin", &["object_store", "deltalake", "crate::source", "crate::sink", "crate::checkpoint", "crate::pipeline"]),
    ("event_time", &["tokio", "object_store", "deltalake", "wasmtime", "crate::env", "crate::plugin", "async fn"]),
    ("sink", &["wasmtime", "crate::source", "crate::plugin", "crate::checkpoint", "crate::pipeline"]),
    (
        "workbench",
        &[
            "tokio",
            "object_store",
            "deltalake",
            "wasmtime",
            "parquet::",
            "crate::pipeline",
            "crate::checkpoint",
            "crate::sink",
            "async fn",
        ],
    ),
    ("pipeline", &["deltalake", "wasmtime", "object_store", "parquet::"]),
    (
        "serve",
        &["deltalake", "wasmtime", "object_store", "arrow::", "parquet::", "crate::protocol", "crate::checkpoint"],
    ),
    ("cli", &["axum", "deltalake", "wasmtime", "object_store", "parquet::", "crate::protocol", "crate::checkpoint"]),
    ("config", &["arrow::", "deltalake", "wasmtime", "crate::checkpoint", "crate::pipeline", "crate::sink"]),
    ("env", &["crate::source", "crate::sink", "crate::plugin", "crate::checkpoint", "crate::pipeline", "deltalake"]),
];

/// Only these rooms may start a task or a thread.
const MAY_SPAWN: &[&str] = &["env", "pipeline"];

/// Lines of production code that a file may have.
const MAX_LINES: usize = 500;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The code of a file before its tests, without comments.
fn production(path: &Path) -> Vec<String> {
    let is_test = path.file_name().is_some_and(|name| name == "tests.rs") || path.iter().any(|part| part == "tests");
    if is_test {
        return Vec::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

#[test]
fn rooms_know_only_what_they_may() {
    let mut violations = Vec::new();
    for (room, forbidden) in FORBIDDEN {
        for path in sources(&root().join("host/src").join(room)) {
            for line in production(&path) {
                violations.extend(
                    forbidden
                        .iter()
                        .filter(|word| line.contains(**word))
                        .map(|word| format!("{}: {word}", path.display())),
                );
            }
        }
    }
    assert!(violations.is_empty(), "rooms name what they may not know: {violations:#?}");
}

#[test]
fn only_event_hubs_knows_its_client() {
    let client = ["azure_core::", "azure_core_amqp::", "azure_identity::", "azure_messaging_eventhubs::"];
    for path in sources(&root().join("host/src")) {
        if path.starts_with(root().join("host/src/event_hubs")) {
            continue;
        }
        for line in production(&path) {
            assert!(!client.iter().any(|word| line.contains(word)), "{} names the client: {line}", path.display());
        }
    }
}

#[test]
fn only_env_and_pipeline_start_tasks_and_threads() {
    for path in sources(&root().join("host/src")) {
        if MAY_SPAWN.iter().any(|room| path.starts_with(root().join("host/src").join(room))) {
            continue;
        }
        for line in production(&path) {
            let spawns = ["tokio::spawn", "thread::spawn", "spawn_blocking", "thread::Builder"];
            assert!(!spawns.iter().any(|word| line.contains(word)), "{} starts a task: {line}", path.display());
        }
    }
}

#[test]
fn modules_say_what_they_are_for_and_files_stay_small() {
    for folder in [
        "host/src",
        "tests",
        "plugins/sdk/src",
        "plugins/values/src",
        "plugins/json/src",
        "plugins/csv/src",
        "plugins/build/src",
    ] {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//!"), "{} does not open with `//!`", path.display());
            let lines = production(&path).len();
            assert!(lines <= MAX_LINES, "{} has {lines} lines of code, more than {MAX_LINES}", path.display());
        }
    }
}

#[test]
fn every_item_of_the_contract_is_documented() {
    let contract = root().join("wit/0.1.0");
    for entry in fs::read_dir(contract).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            let keywords = ["interface ", "world ", "record ", "variant ", "enum ", "flags "];
            let is_item = keywords.iter().any(|keyword| line.starts_with(keyword)) || line.contains(": func(");
            let documented = index > 0 && lines[index - 1].starts_with("///");
            assert!(!is_item || documented, "{}:{}: `{line}` has no `///`", path.display(), index + 1);
        }
    }
}
