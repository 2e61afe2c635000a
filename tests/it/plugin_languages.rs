//! Plugins from an empty folder to rows in a Delta table, language by language, and the
//! pages and examples about them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use weir_tests::binary::{fail, succeed, text, weir};
use weir_tests::{root, wasm};

/// A plugin of a language in a role, on its way into a table.
struct Way {
    language: &'static str,
    role: &'static str,
    /// What makes the tool chain of the language work here.
    prepare: fn(&Path, &mut Command),
    /// The pipeline file behind its source, where `PLUGIN` is the component.
    pipeline: &'static str,
    /// The input of the pipeline.
    input: &'static str,
    /// The table that the plugin writes, and rows that must be in it, as JSON.
    table: &'static str,
    rows: &'static [&'static str],
}

const JSON: &str = r#"
[parser]
plugin = "builtin:json"
config = { columns = "deviceId string, ts timestamp, temperature double" }
"#;

const READINGS: &str = r#"{"deviceId": "a", "ts": "2025-10-05T18:40:10Z", "temperature": 20.0}
{"deviceId": "a", "ts": "2025-10-05T18:40:11Z", "temperature": 31.5}
{"deviceId": "b", "ts": "2025-10-05T18:40:12Z", "temperature": -40.0}
{"deviceId": "b", "ts": "2025-10-05T19:40:12Z", "temperature": null}
"#;

const WAYS: &[Way] = &[
    Way {
        language: "rust",
        role: "parser",
        prepare: rust,
        pipeline: "[parser]\nplugin = \"PLUGIN\"\n[table.out]\npath = \"data/out\"\n",
        input: "device=greenhouse-1 temperature=21.5\nno pairs\ndevice=greenhouse-2\n",
        table: "data/out",
        rows: &["{\"device\":\"greenhouse-1\",\"temperature\":21.5}", "{\"device\":\"greenhouse-2\"}"],
    },
    Way {
        language: "rust",
        role: "transform",
        prepare: rust,
        pipeline: "JSON[[transform]]\nname = \"fahrenheit\"\nplugin = \"PLUGIN\"\n[table.out]\npath = \"data/out\"\n",
        input: READINGS,
        table: "data/out",
        rows: &[
            "{\"temperature_fahrenheit\":68.0,\"deviceId\":\"a\",\"ts\":\"2025-10-05T18:40:10Z\",\"temperature\":20.0}",
            "{\"temperature_fahrenheit\":-40.0,\"deviceId\":\"b\",\"ts\":\"2025-10-05T18:40:12Z\",\"temperature\":-40.0}",
        ],
    },
    Way {
        language: "rust",
        role: "aggregator",
        prepare: rust,
        pipeline: "JSON[table.readings]\npath = \"data/readings\"\n[event_time]\ncolumn = \"ts\"\ndelay = \"1m\"\n\
                   [window.hot]\nsize = \"5m\"\nkey = [\"deviceId\"]\nplugin = \"PLUGIN\"\n\
                   config = { column = \"temperature\", limit = 30.0 }\ntable = { path = \"data/hot\" }\n",
        input: READINGS,
        table: "data/hot",
        rows: &["\"deviceId\":\"a\"", "\"above_count\":1,\"greatest\":31.5", "\"above_count\":0,\"greatest\":-40.0"],
    },
    Way {
        language: "rust",
        role: "rule",
        prepare: rust,
        pipeline: "JSON[table.readings]\npath = \"data/readings\"\n[rule.jumps]\nkey = [\"deviceId\"]\n\
                   plugin = \"PLUGIN\"\nconfig = { column = \"temperature\", most = 5.0 }\n\
                   table = { path = \"data/jumps\" }\n",
        input: READINGS,
        table: "data/jumps",
        rows: &["JUMP", "from 20 to 31.5"],
    },
];

fn rust(project: &Path, command: &mut Command) {
    wasm::pin_versions(project);
    command.envs(wasm::rust_environment().iter().cloned());
}

/// Run a command that must succeed; returns what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?} failed: {}", text(&output));
    text(&output)
}

/// Make a project and build it.
fn make(way: &Way, folder: &Path, name: &str) {
    let sdk = root().display().to_string();
    let mut new = vec!["plugin", "new", "--lang", way.language, "--role", way.role, name];
    // The SDK of this checkout, rather than the published one.
    if way.language == "rust" {
        new.extend(["--sdk", &sdk]);
    }
    succeed(folder, &new);
    build(way, folder, name);
}

fn build(way: &Way, folder: &Path, name: &str) {
    let mut build = weir(folder, &["plugin", "build", name]);
    (way.prepare)(&folder.join(name), &mut build);
    run(&mut build);
}

#[test]
fn a_new_plugin_builds_holds_its_case_and_fills_a_table() {
    crate::binary();
    for way in WAYS {
        let what = format!("{} {}", way.language, way.role);
        let folder = tempfile::tempdir().unwrap();
        make(way, folder.path(), "my-plugin");
        let printed = succeed(folder.path(), &["plugin", "test", "my-plugin"]);
        assert!(printed.contains("1 case passed") && !printed.contains("there is no"), "{what}: {printed}");
        let inspected = ["plugin", "inspect", "my-plugin/my-plugin.wasm", "--json"];
        let told: Value = serde_json::from_str(&succeed(folder.path(), &inspected)).unwrap();
        assert_eq!((&told["name"], &told["accepted"]), (&Value::from("my-plugin"), &Value::Bool(true)), "{what}");
        assert_eq!(told["grants"], serde_json::json!([]), "{what} needs no grant");

        fs::create_dir(folder.path().join("input")).unwrap();
        fs::write(folder.path().join("input/a.txt"), way.input).unwrap();
        let head = "[pipeline]\nname = \"way\"\ncheckpoint = \"data/checkpoint\"\ntrigger = \"available-now\"\n\
                    max_dead_letter_ratio = 0.5\n[source.files]\npath = \"input\"\nformat = \"text\"\n";
        let pipeline = format!("{head}{}", way.pipeline.replace("JSON", JSON));
        let pipeline = pipeline.replace("PLUGIN", "my-plugin/my-plugin.wasm");
        fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        succeed(folder.path(), &["run", "pipeline.toml"]);
        let rows = succeed(folder.path(), &["table", "show", way.table, "--json"]);
        for row in way.rows {
            assert!(rows.contains(row), "{what}: {row}: {rows}");
        }
    }
}

#[test]
fn a_panic_and_a_lost_state_are_told_by_the_cases() {
    crate::binary();
    let change = |project: &Path, from: &str, to: &str| {
        let path = project.join("src/lib.rs");
        let source = fs::read_to_string(&path).unwrap();
        assert!(source.contains(from), "{from}");
        fs::write(path, source.replace(from, to)).unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let way = |role| WAYS.iter().find(|way| way.language == "rust" && way.role == role).unwrap();
    make(way("parser"), folder.path(), "panics");
    change(&folder.path().join("panics"), "value.parse::<f64>()", "Ok::<f64, ()>(value.parse::<f64>().unwrap())");
    build(way("parser"), folder.path(), "panics");
    let printed = fail(folder.path(), &["plugin", "test", "panics"], 5);
    for part in ["input 3: the plugin trapped: panicked at src/lib.rs:", "reject what cannot be processed"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    make(way("rule"), folder.path(), "forgets");
    change(&folder.path().join("forgets"), "to.push(u8::from(self.0.is_some()))", "to.push(0)");
    build(way("rule"), folder.path(), "forgets");
    let printed = fail(folder.path(), &["plugin", "test", "forgets", "--update"], 5);
    for part in ["when a fresh instance takes the state over", "-{\"row\":4", "everything that a later row depends on"]
    {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn the_examples_build_and_hold_their_cases() {
    crate::binary();
    let examples = root().join("examples/plugins");
    for example in fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(project) = fs::read_to_string(example.join("weir-plugin.toml")) else { continue };
        if !project.contains("language = \"rust\"") {
            continue;
        }
        // A copy, so that building leaves no traces; the SDK stays where it is.
        let folder = tempfile::tempdir().unwrap();
        for entry in walkdir::WalkDir::new(&example).into_iter().map(Result::unwrap) {
            let below = entry.path().strip_prefix(&example).unwrap();
            if below.starts_with("target") {
                continue;
            }
            let to = folder.path().join(below);
            if entry.file_type().is_dir() {
                fs::create_dir_all(to).unwrap();
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
        let manifest = folder.path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        let sdk = root().join("plugins/sdk").display().to_string();
        fs::write(&manifest, text.replace("../../../plugins/sdk", &sdk)).unwrap();
        let mut build = weir(folder.path(), &["plugin", "build"]);
        build.envs(wasm::rust_environment().iter().cloned());
        run(&mut build);
        let printed = succeed(folder.path(), &["plugin", "test"]);
        assert!(printed.contains("passed"), "{}: {printed}", example.display());
    }
}

/// The blocks of a page: what stands behind the fence, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut is_open = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(info) => {
                is_open = !is_open;
                if is_open {
                    blocks.push((info.to_owned(), String::new()));
                }
            }
            None if is_open => blocks.last_mut().unwrap().1.push_str(&format!("{line}\n")),
            None => {}
        }
    }
    blocks
}

#[test]
fn the_page_for_rust_leads_to_rows_in_a_table() {
    crate::binary();
    let page = fs::read_to_string(root().join("docs/plugins/rust.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut printed = String::new();
    for (info, text) in blocks(&page) {
        if let Some((_, file)) = info.split_once(' ') {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            continue;
        }
        for line in text.lines().filter(|line| line.starts_with("weir ")) {
            let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
            let sdk = root().display().to_string();
            // The SDK of this checkout, rather than the published one.
            let ours = ["--sdk", sdk.as_str()];
            let more: &[&str] = if line.starts_with("weir plugin new") { &ours } else { &[] };
            let all: Vec<&str> = arguments.iter().chain(more).copied().collect();
            let mut command = weir(folder.path(), &all);
            if line.starts_with("weir plugin build") {
                rust(&folder.path().join("my-lines"), &mut command);
            }
            printed.push_str(&run(&mut command));
        }
    }
    for part in ["1 case passed", "3 rows from 4 messages, 1 rejected", "3 of 3 rows", "`warm` is no number"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}
