//! Pipeline files and what weir says about them.

mod event_hubs;
mod files;
mod notify;

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// A world with a few variables, one secret file and one plugin.
struct World;

impl Surroundings for World {
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "CONTAINER" => "lake",
            "CANARY" => "canary-5f1d",
            "HUB" => "Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=canary-5f1d",
            "OTHER_HUB" => {
                "Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=canary-5f1d;EntityPath=b"
            }
            "NO_HUB" => "Endpoint=sb://n.servicebus.windows.net/;SharedAccessKey=canary-5f1d",
            "EMPTY" => "",
            "SHORT" => "x",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn secret(&self, path: &Path) -> std::result::Result<String, String> {
        if path == Path::new("/run/secrets/canary") {
            Ok("canary-5f1d\n".to_owned())
        } else {
            Err("no such file".to_owned())
        }
    }

    fn is_file(&self, path: &Path) -> bool {
        path == Path::new("/etc/weir/plugins/clean.wasm")
    }
}

const VALID: &str = r#"
[pipeline]
name = "factory"
checkpoint = "data/checkpoint"
trigger = "5s"
max_bytes_per_epoch = "64MiB"

[source.files]
path = "input/"
glob = "*.json"

[parser]
plugin = "builtin:json"
config = { columns = "deviceId string, ts timestamp", token = "${file:/run/secrets/canary}" }
limits = { memory = "32MiB", deadline = "100ms" }

[[transform]]
name = "clean"
plugin = "plugins/clean.wasm"
config.levels = [{ above = 35.0 }]

[table.events]
path = "az://${CONTAINER}/events"
partition_by = ["partition"]
columns = ["deviceId", "ts as local_ts", "message.file_name as partition", "epoch.time as server_ts_utc"]
properties = { "delta.appendOnly" = "true" }
"#;

fn parsed(text: &str) -> std::result::Result<(Pipeline, PipelineFile), Problems> {
    parse(text.as_bytes(), Path::new("/etc/weir/pipeline.toml"), &["json", "statistics"], &World)
}

/// What is said about the valid file with some texts replaced, one line for
/// each problem: `line: path: message = remedy`.
fn said(replacements: &[(&str, &str)]) -> String {
    let mut text = VALID.to_owned();
    for (from, to) in replacements {
        assert!(text.contains(from), "the valid file has no {from}");
        text = text.replacen(from, to, 1);
    }
    match parsed(&text) {
        Ok(_) => String::new(),
        Err(problems) => {
            let line = |problem: &Problem| {
                let remedy = problem.remedy.as_deref().map(|remedy| format!(" = {remedy}")).unwrap_or_default();
                format!("{}: {}: {}{remedy}\n", problem.line, problem.path, problem.message)
            };
            problems.list.iter().map(line).collect()
        }
    }
}

/// With the replacements made, exactly so many problems are reported, and each
/// of the texts is in what is said.
#[track_caller]
fn check(replacements: &[(&str, &str)], problems: usize, texts: &[&str]) {
    let said = said(replacements);
    assert_eq!(said.lines().count(), problems, "{said}");
    for text in texts {
        assert!(said.contains(text), "`{text}` is not in\n{said}");
    }
}

#[test]
fn valid_file_gives_the_pipeline() {
    let (pipeline, _) = parsed(VALID).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(pipeline.name, "factory");
    assert_eq!(pipeline.checkpoint.to_string(), "/etc/weir/data/checkpoint");
    assert_eq!(pipeline.dead_letters.to_string(), "/etc/weir/data/checkpoint/dead_letters");
    assert_eq!(pipeline.trigger, Trigger::Interval(std::time::Duration::from_secs(5)));
    assert_eq!((pipeline.epoch_bounds.max_bytes, pipeline.epoch_bounds.max_files), (64 << 20, 1000));
    assert_eq!((pipeline.chunk_bounds.chunk_bytes, pipeline.chunk_bounds.max_message_bytes), (1 << 20, 16 << 20));
    assert_eq!(pipeline.parser.as_ref().unwrap().config["token"], "canary-5f1d");
    assert_eq!(pipeline.parser.as_ref().unwrap().limits.memory_bytes, 32 << 20);
    let step = &pipeline.transforms[0];
    assert_eq!(step.step, "transform.clean");
    assert_eq!(step.reference, PluginReference::File("/etc/weir/plugins/clean.wasm".into()));
    let table = &pipeline.tables[0];
    assert_eq!(table.location.to_string(), "az://lake/events");
    assert_eq!(table.properties["delta.appendOnly"], "true");
    let column = |name: &str, from| TableColumn { name: name.to_owned(), from };
    let expected = [
        column("deviceId", ColumnFrom::Row("deviceId".to_owned())),
        column("local_ts", ColumnFrom::Row("ts".to_owned())),
        column("partition", ColumnFrom::Message("file_name".to_owned())),
        column("server_ts_utc", ColumnFrom::EpochTime),
    ];
    assert_eq!(table.columns.as_deref(), Some(&expected[..]));
}

#[test]
fn generator_is_a_source_and_takes_toml_times() {
    let text = VALID.replace(
        "[source.files]\npath = \"input/\"\nglob = \"*.json\"",
        "[source.generator]\nstart = 1970-01-01T00:00:01Z",
    );
    let (pipeline, _) = parsed(&text).unwrap_or_else(|problems| panic!("{problems}"));
    let SourceConfig::Generator(generator) = pipeline.source else { panic!("not a generator") };
    assert_eq!((generator.start_us, generator.devices, generator.events), (1_000_000, 1000, None));
    let endless = parsed(&text.replace("\"5s\"", "\"available-now\"")).expect_err("a run that never ends");
    assert_eq!((endless.list.len(), endless.list[0].path.as_str()), (1, "source.generator"));
}

#[test]
fn seven_different_mistakes_are_reported_at_once() {
    check(
        &[
            ("trigger = \"5s\"", "triger = \"soon\"\nthreads = \"all\""),
            ("deadline = \"100ms\"", "deadline = \"fast\""),
            ("builtin:json", "builtin:jsn"),
            ("glob = \"*.json\"", "glob = \"{*.json\""),
            ("\"ts as local_ts\"", "\"ts to local_ts\""),
            ("path = \"input/\"", "pth = 5"),
        ],
        9,
        &[
            "5: pipeline.triger: unknown key `triger` in [pipeline] = did you mean `trigger`?",
            "5: pipeline.trigger: `soon` is not a trigger = allowed: \"available-now\", \"asap\"",
            "6: pipeline.threads: expected an integer, found a string",
            "16: parser.limits.deadline: `fast` is not a duration = write a number with a unit",
            "14: parser.plugin: `builtin:jsn` is no plugin that weir comes with = did you mean \"builtin:json\"?",
            "11: source.files.glob: `{*.json` is not a pattern",
            "26: table.events.columns.1: `ts to local_ts` is not a column = allowed: \"column\"",
            "10: source.files.pth: unknown key `pth`",
            "10: source.files.path: expected a string, found an integer",
        ],
    );
}

#[test]
fn shape_problems_say_what_is_allowed() {
    check(&[("[parser]", "[parsr]")], 1, &["12: parsr: unknown section `parsr` in the file = did you mean `parser`?"]);
    check(&[("[table.events]", "[outlet.x]")], 2, &["unknown section `outlet` in the file = allowed here:", "`table`"]);
    check(
        &[("name = \"factory\"", "")],
        1,
        &["2: pipeline.name: the key `name` is missing in [pipeline] = add `name = \"factory\"`"],
    );
    check(
        &[("glob = \"*.json\"", "format = \"jsonlines\"")],
        1,
        &["`jsonlines` is not allowed = did you mean `json-lines`?"],
    );
    check(&[("trigger = \"5s\"", "max_dead_letter_ratio = 1.5")], 1, &["1.5 is out of range = allowed: from 0 to 1"]);
    check(&[("trigger = \"5s\"", "threads = 0")], 1, &["0 is out of range"]);
    check(&[("trigger = \"5s\"", "chunk = true")], 1, &["expected an integer or a string, found a boolean"]);
    check(
        &[("[source.files]\npath = \"input/\"\nglob = \"*.json\"", "")],
        1,
        &["1: source: the section `source` is missing"],
    );
    check(&[("[source.files]\npath = \"input/\"\nglob = \"*.json\"", "[source]")], 1, &["there is no source"]);
    check(&[("[parser]", "[source.generator]\nseed = 1\n[parser]")], 1, &["there are two sources"]);
}

#[test]
fn syntax_problems_have_their_lines() {
    check(&[("name = \"factory\"", "name = \"factory"), ("glob = \"*.json\"", "glob = = 1")], 2, &["3: : ", "10: : "]);
    check(&[("trigger = \"5s\"", "trigger = \"5s\"\ntrigger = \"7s\"")], 1, &["duplicate key = keep one of them"]);
    let problems = parse(b"[pipeline]\nname = \"\xff\"", Path::new("p.toml"), &[], &World).expect_err("not UTF-8");
    assert_eq!((problems.list[0].line, problems.list[0].column), (2, 9));
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    check(
        &[("trigger = \"5s\"", "chunk = \"32MiB\"")],
        2,
        &["5: pipeline.chunk: a chunk (33554432 bytes) is larger than the largest message", "15: parser.limits.memory"],
    );
    check(
        &[("data/checkpoint", "input/checkpoint")],
        1,
        &["4: pipeline.checkpoint: the checkpoint lies in the folder of the source"],
    );
    check(&[("az://${CONTAINER}/events", "input")], 1, &["the table events lies in the folder of the source"]);
    check(&[("az://${CONTAINER}/events", "data")], 1, &["the checkpoint lies in the folder of the table events"]);
    check(
        &[("[table.events]", "[table.other]\npath = \"az://lake/events/other\"\n[table.events]")],
        1,
        &["the table other lies in the folder of the table events"],
    );
    check(&[("[table.events]", "[table.dead_letters]")], 1, &["is reserved"]);
    check(&[("[table.events]", "[table.\"1 2\"]")], 1, &["`1 2` cannot name a table"]);
    check(&[("\"ts as local_ts\"", "\"ts as DEVICEID\"")], 1, &["another column has the name `DEVICEID`"]);
    check(
        &[("[\"partition\"]", "[\"partition\", \"partition\", \"x\"]")],
        2,
        &["is there twice", "`x` is not among the columns"],
    );
    check(&[("delta.appendOnly", "delta.setTransactionRetentionDuration")], 1, &["forgets which epochs it has"]);
    check(
        &[("[table.events]", "[[transform]]\nname = \"clean\"\nplugin = \"no.wasm\"\n[table.events]")],
        2,
        &["another transform has the name `clean`", "there is no component `no.wasm`"],
    );
    check(
        &[("plugin = \"builtin:json\"", "plugin = \"oci:x\"\nsha256 = \"12\"")],
        2,
        &["names no plugin", "`12` is not a SHA-256 digest"],
    );
    check(&[("path = \"input/\"", "path = \"gs://x\"")], 1, &["unknown scheme `gs`"]);
}

#[test]
fn interpolation_is_resolved_or_reported_and_never_shown() {
    check(&[("factory", "a$$b $ ${EMPTY}c")], 0, &[]);
    check(
        &[("factory", "${NOPE} ${}"), ("input/", "${file:gone}")],
        3,
        &[
            "3: pipeline.name: the environment variable NOPE is not set",
            "names no variable",
            "cannot read the file /etc/weir/gone: no such file",
        ],
    );
    let wrong = [
        ("\"5s\"", "\"${CANARY}\""),
        ("input/", "${CANARY}://x"),
        ("deviceId\"", "${CANARY} x\""),
        ("builtin:json", "${CANARY}"),
        ("\"64MiB\"", "\"${CANARY}\""),
        ("name = \"clean\"", "name = \"${CANARY}!\""),
        ("[\"partition\"]", "[\"${CANARY}\"]"),
    ];
    let said = said(&wrong);
    assert!(said.lines().count() >= 6 && !said.contains("canary-5f1d") && !said.contains("5f1d"), "{said}");

    let (pipeline, file) = parsed(VALID).unwrap_or_else(|problems| panic!("{problems}"));
    let shown = format!("{:?} {file:?}", pipeline.parser);
    assert!(!shown.contains("canary-5f1d"), "{shown}");
    let problem = file.problem_at("parser.config.token", "`canary-5f1d` is too short", None);
    assert_eq!(problem.message, "`[redacted]` is too short");
}

#[test]
fn other_rooms_find_the_line_by_path() {
    let (_, file) = parsed(VALID).unwrap_or_else(|problems| panic!("{problems}"));
    let line = |path: &str| file.problem_at(path, "", None).line;
    assert_eq!(line("transform.clean.config.levels.0.above"), 20);
    assert_eq!(line("transform.0.config.levels.0.below"), 20);
    assert_eq!(line("table.events.columns.3"), 25);
    assert_eq!(line("table.events.schema"), 22);
    assert_eq!(line("parser.limits.stack"), 15);
    assert_eq!(line("table.events.properties.\"delta.appendOnly\""), 26);
    assert_eq!(line("nowhere.at.all"), 1);
}

#[test]
fn rendering_reads_like_a_compiler() {
    let problems = parsed(&VALID.replace("\"5s\"", "\"soon\"")).expect_err("a wrong trigger");
    let expected = "the pipeline file is wrong
/etc/weir/pipeline.toml:5:11: pipeline.trigger: `soon` is not a trigger
  = allowed: \"available-now\", \"asap\", or an interval longer than zero such as \"5s\"
1 problem in /etc/weir/pipeline.toml";
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn sizes_are_read_with_their_units() {
    for (text, expected) in [
        ("0", Some(0)),
        ("64MiB", Some(64 << 20)),
        ("1GB", Some(1_000_000_000)),
        (" 5 KiB ", Some(5120)),
        ("-1", None),
        ("1.5GiB", None),
        ("", None),
        ("99999999999TiB", None),
        ("1XB", None),
    ] {
        assert_eq!(texts::size(text).ok(), expected, "{text}");
    }
}

#[test]
fn load_reads_the_file_and_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipeline.toml");
    assert_eq!(load(&path, &[]).expect_err("no file yet").kind(), crate::ErrorKind::Config);

    std::fs::write(folder.path().join("secret"), "canary-5f1d\n").expect("written");
    let text = VALID.replace("/run/secrets/canary", "secret").replace("${CONTAINER}", "lake");
    std::fs::create_dir(folder.path().join("plugins")).expect("made");
    std::fs::write(folder.path().join("plugins/clean.wasm"), "").expect("written");
    std::fs::write(&path, &text).expect("written");
    let (pipeline, _) = load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(pipeline.parser.as_ref().unwrap().config["token"], "canary-5f1d");

    std::fs::write(&path, " ".repeat(2 << 20)).expect("written");
    assert!(load(&path, &[]).expect_err("too long").to_string().contains("is longer than"));
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let deep = [
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{ a = ".repeat(100_000)),
    ];
    for text in deep {
        assert!(parsed(&text).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_pipeline_or_problems(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, Path::new("p.toml"), &[], &World);
    }

    #[test]
    fn a_mutated_file_gives_a_pipeline_or_problems(
        edits in proptest::collection::vec((0..VALID.len(), 0_usize..8, "[\\[\\]{}=\"$.a-c0-9\\n,é]{0,6}"), 1..5),
    ) {
        let mut bytes = VALID.as_bytes().to_vec();
        for (at, length, text) in edits {
            let at = at.min(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, text.bytes());
        }
        if let Err(problems) = parse(&bytes, Path::new("p.toml"), &["json"], &World) {
            prop_assert!(!problems.list.is_empty());
            prop_assert!(problems.list.iter().all(|problem| problem.line >= 1 && problem.column >= 1));
        }
    }
}
