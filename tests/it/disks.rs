//! No room, no file handles: a run stops and says so, and loses nothing.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;

use object_store::memory::InMemory;
use weir::ErrorKind;
use weir::env::{Env, Location};
use weir_tests::binary::{succeed, text, weir};
use weir_tests::faults::Room;
use weir_tests::hosts::{integers, numbered, put_input, run};
use weir_tests::readings;
use weir_tests::tables::sorted_integers;

const READINGS: usize = 12;

fn pipeline(folder: &str) -> String {
    format!(
        r#"
[pipeline]
name = "disks"
checkpoint = "{folder}checkpoint"
trigger = "available-now"
threads = 1

[source.files]
path = "{folder}input"
max_files_per_epoch = 1

[parser]
plugin = "builtin:json"
config = {{ columns = "number bigint" }}

[table.numbers]
path = "{folder}numbers"
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_at_any_write_stops_clearly_and_goes_on_with_room() {
    let text = pipeline("memory:///");
    for writes in 0.. {
        let store = Arc::new(InMemory::new());
        put_input(&store, readings::files(4, READINGS / 4)).await;
        let disk = Room::on(&store, writes);
        let result = run(Arc::clone(&disk) as _, &text).await;
        if disk.by.left() > 0 {
            assert!(result.is_ok() && writes > 12, "{writes} writes: {result:?}");
            break;
        }
        let when = format!("room for {writes} writes");
        // Maintenance after the last commit may do without.
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{when}: {error}");
            assert_eq!(error.kind().exit_code(), 3);
            assert!(error.to_string().contains("no storage space"), "{when}: {error}");
        }
        let again = run(Arc::clone(&store) as _, &text).await;
        assert!(again.is_ok(), "{when}: {again:?}");
        assert_eq!(integers(&store, "memory:///numbers", "number").await, numbered(READINGS), "{when}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn too_few_file_handles_stop_clearly_and_more_go_on() {
    crate::binary();
    let project = tempfile::tempdir().unwrap();
    let folder = project.path();
    fs::write(folder.join("pipeline.toml"), pipeline("")).unwrap();
    fs::create_dir(folder.join("input")).unwrap();
    for (name, text) in readings::files(4, READINGS / 4) {
        fs::write(folder.join("input").join(name), text).unwrap();
    }
    // The plugin is compiled before handles are scarce.
    succeed(folder, &["check", "pipeline.toml"]);
    let mut stopped = 0;
    for handles in (9..60).step_by(3) {
        let mut limited = Command::new("sh");
        let unlimited = weir(folder, &["run", "pipeline.toml", "--progress", "none"]);
        limited.args(["-c", &format!("ulimit -n {handles}; exec \"$0\" \"$@\"")]).arg(unlimited.get_program());
        limited.args(unlimited.get_args()).current_dir(folder).stdin(Stdio::null());
        for (name, value) in unlimited.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        let output = limited.output().unwrap();
        let printed = text(&output);
        if !output.status.success() {
            stopped += 1;
            let known = [Some(2), Some(3)].contains(&output.status.code());
            assert!(known && printed.contains("Too many open files"), "{handles} handles: {printed}");
        }
    }
    assert!(stopped > 0, "nine handles are not enough for the runtime and one object");
    succeed(folder, &["run", "pipeline.toml"]);
    let table = Location::Local(folder.join("numbers"));
    assert_eq!(sorted_integers(&Env::system(), &table, "number").await, numbered(READINGS));
}
