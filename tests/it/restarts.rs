//! What a restart finds when the pipeline file or the tables were changed.

use std::fs;
use std::path::Path;

use weir_tests::binary::{fail, succeed};

const PIPELINE: &str = r#"
[pipeline]
name = "restarts"
checkpoint = "data/checkpoint"
trigger = "available-now"

[source.files]
path = "input"

[parser]
plugin = "builtin:json"
config = { columns = "number bigint" }

[table.numbers]
path = "data/numbers"
"#;

fn project() -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    fs::write(folder.path().join("input/a.json"), r#"[{"number": 1}, {"number": 2}]"#).unwrap();
    write(folder.path(), PIPELINE);
    succeed(folder.path(), &["run", "pipeline.toml"]);
    folder
}

fn write(folder: &Path, text: &str) {
    fs::write(folder.join("pipeline.toml"), text).unwrap();
}

fn rows(folder: &Path, table: &str) -> usize {
    succeed(folder, &["table", "show", table, "--json"]).lines().count()
}

#[test]
fn regression_table_moved_after_a_clean_run_gets_only_what_is_new() {
    let folder = project();
    write(folder.path(), &PIPELINE.replace("data/numbers", "data/moved"));
    succeed(folder.path(), &["run", "pipeline.toml"]);
    fs::write(folder.path().join("input/b.json"), r#"[{"number": 3}]"#).unwrap();
    succeed(folder.path(), &["run", "pipeline.toml"]);
    assert_eq!((rows(folder.path(), "data/numbers"), rows(folder.path(), "data/moved")), (2, 1));
}

#[test]
fn regression_lost_table_of_the_newest_epoch_is_refused_and_not_filled_with_nothing() {
    let folder = project();
    fs::remove_dir_all(folder.path().join("data/numbers")).unwrap();
    let printed = fail(folder.path(), &["run", "pipeline.toml"], 7);
    assert!(printed.contains("is missing in the table `numbers`"), "{printed}");
}

#[test]
fn regression_another_source_folder_is_refused_because_its_files_would_be_passed_over() {
    let folder = project();
    fs::create_dir(folder.path().join("other")).unwrap();
    fs::write(folder.path().join("other/a.json"), r#"[{"number": 3}]"#).unwrap();
    write(folder.path(), &PIPELINE.replace("path = \"input\"", "path = \"other\""));
    let printed = fail(folder.path(), &["run", "pipeline.toml"], 2);
    assert!(printed.contains("another source") && printed.contains("input"), "{printed}");
}

#[test]
fn regression_rejected_chunk_before_a_failing_transform_reaches_the_dead_letters() {
    let folder = project();
    let transform = format!(
        "[[transform]]\nname = \"hostile\"\nplugin = \"{}\"\nconfig = {{ mode = \"trap\" }}\n",
        weir_tests::fixture("hostile.wasm").display()
    );
    write(folder.path(), &(PIPELINE.to_owned() + &transform));
    fs::write(folder.path().join("input/b.json"), r#"[{"number": "many"}]"#).unwrap();
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let letters = succeed(folder.path(), &["dead-letters", "pipeline.toml", "--json"]);
    assert_eq!(letters.lines().count(), 1, "{letters}");
}

#[test]
fn regression_small_epochs_cannot_drain_a_stream_into_the_dead_letters() {
    let folder = project();
    let text = PIPELINE.replace("path = \"input\"", "path = \"input\"\nmax_files_per_epoch = 1");
    write(folder.path(), &text);
    for file in 0..20 {
        fs::write(folder.path().join(format!("input/bad-{file:02}.json")), r#"[{"number": "many"}]"#).unwrap();
    }
    let printed = fail(folder.path(), &["run", "pipeline.toml"], 4);
    assert!(printed.contains("10 of 10 elements"), "{printed}");
}
