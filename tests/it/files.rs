//! The source of files as users run it: what is found, what is passed over, what
//! goes when it was read, and what the ledger says of it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use weir_tests::binary::{fail, succeed, weir};

const PIPELINE: &str = r#"
[pipeline]
name = "files"
checkpoint = "data/checkpoint"
trigger = "available-now"
threads = 2

[source.files]
path = "input"
# more

[parser]
plugin = "builtin:json"
config = { columns = "number bigint" }

[table.numbers]
path = "data/numbers"
"#;

/// How often a process is killed.
const KILLS: u64 = 12;

/// A folder with a pipeline that has these lines in `[source.files]`.
fn project(more: &str) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    configure(folder.path(), more);
    folder
}

fn configure(folder: &Path, more: &str) {
    fs::write(folder.join("pipeline.toml"), PIPELINE.replace("# more", more)).unwrap();
}

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join("input").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn run(folder: &Path) {
    succeed(folder, &["run", "pipeline.toml"]);
}

/// The column `number` of the table, sorted.
fn numbers(folder: &Path) -> Vec<i64> {
    let shown = rows(folder, "number");
    let mut numbers: Vec<i64> = shown.iter().map(|row| row["number"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn rows(folder: &Path, columns: &str) -> Vec<Value> {
    let arguments = ["table", "show", "data/numbers", "--json", "--limit", "100000", "--columns", columns];
    succeed(folder, &arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Starts a run and kills it after a while, a longer one each time.
fn kill_after(folder: &Path, part: u64) {
    let mut process = weir(folder, &["run", "pipeline.toml", "--progress", "none"]);
    let mut process = process.stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(part * 25));
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn existing_files_are_never_read_whenever_the_first_runs_die() {
    let folder = project("include_existing = false");
    for number in 0..20 {
        put(folder.path(), &format!("old-{number}.json"), r#"{"number": -1}"#);
    }
    for part in 0..KILLS {
        kill_after(folder.path(), part);
    }
    run(folder.path());
    assert_eq!(numbers(folder.path()), Vec::<i64>::new());
    for number in 0..20 {
        put(folder.path(), &format!("new-{number}.json"), &format!("{{\"number\": {number}}}"));
    }
    run(folder.path());
    run(folder.path());
    assert_eq!(numbers(folder.path()), (0..20).collect::<Vec<_>>());
    let summary: Value = serde_json::from_str(&succeed(folder.path(), &["files", "pipeline.toml", "--json"])).unwrap();
    assert_eq!((&summary["files"], &summary["skipped"]), (&20.into(), &20.into()), "{summary}");
}

#[test]
fn overwritten_file_is_read_again_as_a_whole_only_if_that_is_allowed() {
    for (more, expected) in [("", vec![1, 2]), ("allow_overwrites = true", vec![1, 1, 2, 2, 3])] {
        let folder = project(more);
        put(folder.path(), "a.json", r#"{"number": 1}"#);
        put(folder.path(), "b.json", r#"{"number": 2}"#);
        run(folder.path());
        put(folder.path(), "a.json", r#"[{"number": 1}, {"number": 2}, {"number": 3}]"#);
        run(folder.path());
        run(folder.path());
        assert_eq!(numbers(folder.path()), expected, "{more}");
    }
}

#[test]
fn files_that_were_read_are_moved_once_whenever_the_runs_die() {
    let more = "clean_source = \"move\"\nclean_source_retention = \"0s\"\nclean_source_move_to = \"archive\"\n\
                max_files_per_epoch = 3";
    let folder = project(more);
    for number in 0..60 {
        put(folder.path(), &format!("x/{number}.json"), &format!("{{\"number\": {number}}}"));
    }
    for part in 0..KILLS {
        kill_after(folder.path(), part);
    }
    run(folder.path());
    assert_eq!(numbers(folder.path()), (0..60).collect::<Vec<_>>());
    let count = |name: &str| fs::read_dir(folder.path().join(name)).unwrap().count();
    assert_eq!((count("input/x"), count("archive/x")), (0, 60));
    let asked = succeed(folder.path(), &["files", "pipeline.toml", "x/7.json", "--json"]);
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!((&asked["ingested"], &asked["now"]), (&true.into(), &"moved".into()));
}

#[test]
fn files_stay_for_their_retention() {
    let folder = project("clean_source = \"delete\"");
    put(folder.path(), "a.json", r#"{"number": 1}"#);
    run(folder.path());
    run(folder.path());
    assert!(folder.path().join("input/a.json").exists());
    configure(folder.path(), "clean_source = \"delete\"\nclean_source_retention = \"0s\"");
    run(folder.path());
    assert!(!folder.path().join("input/a.json").exists());
    assert_eq!(numbers(folder.path()), [1]);
}

#[test]
fn old_files_are_not_read() {
    let folder = project("max_file_age = \"1d\"");
    put(folder.path(), "old.json", r#"{"number": 1}"#);
    put(folder.path(), "young.json", r#"{"number": 2}"#);
    let file = fs::File::options().append(true).open(folder.path().join("input/old.json")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    run(folder.path());
    assert_eq!(numbers(folder.path()), [2]);
}

#[test]
fn what_is_known_of_a_file_can_be_columns() {
    let folder = project("partition_columns = [\"date\", \"hour\"]");
    let columns = "columns = [\"number\", \"message._metadata as _metadata\", \"message.date as date\", \"message.hour as hour\"]";
    let text = fs::read_to_string(folder.path().join("pipeline.toml")).unwrap();
    fs::write(folder.path().join("pipeline.toml"), format!("{text}{columns}\npartition_by = [\"date\"]\n")).unwrap();
    put(folder.path(), "date=2025-10-05/hour=08%3A30/a.json", r#"[{"number": 1}, {"number": 2}]"#);
    put(folder.path(), "date=__HIVE_DEFAULT_PARTITION__/b.json", r#"{"number": 3}"#);
    run(folder.path());
    let mut shown = rows(folder.path(), "number,_metadata,date,hour");
    shown.sort_by_key(|row| row["number"].as_i64());
    assert_eq!(shown.len(), 3);
    assert_eq!((&shown[1]["date"], &shown[1]["hour"]), (&"2025-10-05".into(), &"08:30".into()));
    assert_eq!((&shown[2]["date"], &shown[2]["hour"]), (&Value::Null, &Value::Null));
    let metadata = &shown[1]["_metadata"];
    assert_eq!((&metadata["file_name"], &metadata["file_size"]), (&"a.json".into(), &30.into()));
    assert!(metadata["file_path"].as_str().unwrap().ends_with("hour=08%3A30/a.json"), "{metadata}");
    assert!(metadata["file_modification_time"].is_string(), "{metadata}");
    // A person sees it, too, and a second run finds the table as it was.
    let table = succeed(folder.path(), &["table", "show", "data/numbers"]);
    assert!(table.contains("file_name: a.json"), "{table}");
    run(folder.path());
}

#[test]
fn ledger_says_what_was_ingested_and_fails_for_what_was_not() {
    let folder = project("max_files_per_epoch = 1");
    let ask = |arguments: &[&str]| succeed(folder.path(), &[&["files", "pipeline.toml"], arguments].concat());
    assert!(ask(&[]).starts_with("0 files, 0 bytes"));
    for number in 0..70 {
        put(folder.path(), &format!("x/{number:02}.json"), &format!("{{\"number\": {number}}}"));
    }
    run(folder.path());
    let summary: Value = serde_json::from_str(&ask(&["--json"])).unwrap();
    assert_eq!((&summary["files"], &summary["bytes"]), (&70.into(), &(70 * 14 - 10).into()), "{summary}");
    assert_eq!((&summary["firstEpoch"], &summary["lastEpoch"]), (&0.into(), &69.into()));
    // One from a segment, one from a record, as they lie here and below the source.
    let lines = ask(&["input/x/00.json", "x/69.json", "--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, path, epoch) in [(&lines[0], "x/00.json", 0), (&lines[1], "x/69.json", 69)] {
        assert_eq!((&line["path"], &line["epoch"]), (&path.into(), &epoch.into()), "{line}");
        assert_eq!((&line["ingested"], &line["now"]), (&true.into(), &"in the source".into()));
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    let printed = fail(folder.path(), &["files", "pipeline.toml", "x/00.json", "x/99.json"], 4);
    assert!(printed.contains("1 of 2 files were not ingested: x/99.json"), "{printed}");
    assert!(printed.contains("| x/99.json | no "), "{printed}");
}

#[test]
fn dropped_file_is_picked_up_at_once_by_a_run_that_goes_on() {
    let folder = project("poll_interval = \"1d\"");
    let text = fs::read_to_string(folder.path().join("pipeline.toml")).unwrap();
    fs::write(folder.path().join("pipeline.toml"), text.replace("available-now", "asap")).unwrap();
    put(folder.path(), "0.json", r#"{"number": 0}"#);
    let mut process = weir(folder.path(), &["run", "pipeline.toml", "--progress", "json"]);
    let mut process = process.stdout(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(process.stdout.take().unwrap()).lines();
    for (number, line) in (1..4).zip(told) {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(line["numInputRows"], 1, "{line}");
        put(folder.path(), &format!("{number}.json"), &format!("{{\"number\": {number}}}"));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    configure(folder.path(), "");
    run(folder.path());
    assert_eq!(numbers(folder.path()), [0, 1, 2, 3]);
}

#[test]
fn settings_that_cannot_be_are_refused_each_with_its_place() {
    let folder = project(
        "partition_columns = [\"date\", \"position\"]\nclean_source = \"move\"\nclean_source_move_to = \"input/done\"\n\
         max_file_age = \"old\"\nbackfill_interval = \"0s\"\ncsv_quote = \"ab\"\nmax_bytes_per_epoch = 0",
    );
    let printed = fail(folder.path(), &["check", "pipeline.toml"], 2);
    for says in [
        "`position` is a message field of every file",
        "must not lie within each other",
        "`old` is not a duration",
        "`0s` is not a duration",
        "`ab` is not a quote",
        "the size is out of range",
        "6 problems",
    ] {
        assert!(printed.contains(says), "{says}: {printed}");
    }
    for (more, says) in [
        ("clean_source = \"move\"", "files cannot be moved to nowhere"),
        ("clean_source_move_to = \"archive\"", "nothing is moved"),
        ("clean_source = \"move\"\nclean_source_move_to = \"data/numbers/x\"", "files are moved to where"),
        ("clean_source = \"move\"\nclean_source_move_to = \"memory://x/y\"", "not in the store of the source"),
    ] {
        configure(folder.path(), more);
        let printed = fail(folder.path(), &["check", "pipeline.toml"], 2);
        assert!(printed.contains(says) && printed.contains("1 problem in"), "{says}: {printed}");
    }
}
