//! The examples, run as their pages say, and compared with their `expected/`.

use std::fs;
use std::path::{Path, PathBuf};

use weir_tests::binary::succeed;
use weir_tests::root;

/// A copy of an example, so that running it leaves no traces in the checkout.
fn copy(example: &str) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    let from = root().join("examples").join(example);
    for entry in walkdir::WalkDir::new(&from).into_iter().map(Result::unwrap) {
        let below = entry.path().strip_prefix(&from).unwrap();
        if below.starts_with("data") {
            continue;
        }
        let to = folder.path().join(below);
        if entry.file_type().is_dir() {
            fs::create_dir_all(to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
    folder
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

/// The rows of a table are those of the file in `expected/`, in any order.
#[track_caller]
fn check_rows(example: &str, folder: &Path, arguments: &[&str], expected: &str) {
    let path: PathBuf = root().join("examples").join(example).join("expected").join(expected);
    let rows = succeed(folder, arguments);
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(sorted(&rows), sorted(&expected), "{}", path.display());
}

#[test]
fn quickstart_gives_the_expected_rows_and_dead_letters() {
    let folder = copy("quickstart");
    let shown = succeed(folder.path(), &["run", "pipeline.toml", "--show"]);
    assert!(shown.contains("greenhouse-1") && shown.contains("7 of 7 rows"), "{shown}");
    let show = ["table", "show", "data/tables/readings", "--json"];
    check_rows("quickstart", folder.path(), &show, "readings.jsonl");
    let letters = succeed(folder.path(), &["dead-letters", "pipeline.toml"]);
    assert!(letters.contains("2025-10-05-noon.json") && letters.contains("temperature"), "{letters}");
    assert!(letters.contains("1 of 1 rows"), "{letters}");
}

#[test]
fn second_run_ingests_only_what_is_new() {
    let folder = copy("quickstart");
    succeed(folder.path(), &["run", "pipeline.toml"]);
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let show = ["table", "show", "data/tables/readings", "--json"];
    check_rows("quickstart", folder.path(), &show, "readings.jsonl");
    fs::write(folder.path().join("input/night.json"), r#"[{"deviceId": "owl"}]"#).unwrap();
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let rows = succeed(folder.path(), &show);
    assert_eq!(rows.lines().filter(|row| row.contains("owl")).count(), 1);
    assert_eq!(rows.lines().count(), 8);
}

#[test]
fn history_names_the_plugin_that_made_a_version() {
    let folder = copy("quickstart");
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let history = succeed(folder.path(), &["table", "history", "data/tables/readings"]);
    let manifest = fs::read_to_string(root().join("plugins/bundled/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let components = manifest["components"].as_array().unwrap();
    let json = components.iter().find(|one| one["component"] == "plugins/bundled/json.wasm").unwrap();
    let digest = &json["sha256"].as_str().unwrap()[..12];
    assert!(history.contains(digest), "{digest} in\n{history}");
}

#[test]
fn event_hubs_table_from_files_has_its_columns_in_order() {
    let folder = copy("01-event-hubs");
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let table = "data/tables/eventhub_parsed";
    let all = succeed(folder.path(), &["table", "show", table, "--json"]);
    let first: serde_json::Map<String, serde_json::Value> = serde_json::from_str(all.lines().next().unwrap()).unwrap();
    assert!(first.contains_key("eh_enqueued_ts") && first.contains_key("server_ts_utc"), "{all}");
    let positions: Vec<usize> = ["eh_enqueued_ts", "partition", "deviceId", "local_ts", "temperature", "server_ts_utc"]
        .map(|name| all.lines().next().unwrap().find(&format!("\"{name}\"")).unwrap())
        .to_vec();
    assert!(positions.is_sorted(), "{all}");
    let columns = "partition,deviceId,local_ts,temperature,humidity,pressure,battery,lat,lon,status";
    let show = ["table", "show", table, "--json", "--columns", columns];
    check_rows("01-event-hubs", folder.path(), &show, "eventhub_parsed.jsonl");
}
