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
fn the_examples_build_hold_their_cases_and_give_the_expected_rows() {
    crate::binary();
    let checkout = root();
    // Copies, so that building leaves no traces; SDK and contract are where they are
    // for the originals.
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(checkout.join("plugins"), folder.path().join("plugins")).unwrap();
    std::os::unix::fs::symlink(checkout.join("wit"), folder.path().join("wit")).unwrap();
    let mut built = 0;
    for example in fs::read_dir(checkout.join("examples/plugins")).unwrap().map(|entry| entry.unwrap().path()) {
        if !example.join("weir-plugin.toml").is_file() {
            continue;
        }
        let project = folder.path().join("examples/plugins").join(example.file_name().unwrap());
        crate::examples::copy_to(&example, &project);
        let mut build = weir(&project, &["plugin", "build"]);
        build.envs(wasm::rust_environment().iter().cloned());
        run(&mut build);
        let printed = succeed(&project, &["plugin", "test"]);
        assert!(printed.contains("passed"), "{}: {printed}", example.display());
        built += 1;
        if !project.join("pipeline.toml").is_file() {
            continue;
        }
        succeed(&project, &["run", "pipeline.toml"]);
        for expected in fs::read_dir(project.join("expected")).unwrap().map(|entry| entry.unwrap().path()) {
            let table = format!("data/tables/{}", expected.file_stem().unwrap().to_string_lossy());
            let rows = succeed(&project, &["table", "show", &table, "--json", "--limit", "100000"]);
            let sorted = |text: &str| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort_unstable();
                lines
            };
            let expected = fs::read_to_string(expected).unwrap();
            assert_eq!(sorted(&rows), sorted(&expected), "{table} of {}", example.display());
        }
    }
    assert!(built > 8, "{built} examples");
}

/// The commands of a page from its beginning to the end of its way to a table, as a
/// script: indented lines, and the pipeline file where it stands.
fn script(page: &str) -> String {
    let mut script = String::from("set -e\n");
    let mut fence: Option<String> = None;
    for line in page.lines().take_while(|line| !line.starts_with("## What")) {
        match (&fence, line.strip_prefix("```")) {
            (None, Some(info)) => {
                fence = Some(info.to_owned());
                if info == "toml" {
                    script.push_str("cat > pipeline.toml <<'END'\n");
                }
            }
            (Some(info), Some(_)) => {
                if info == "toml" {
                    script.push_str("END\n");
                }
                fence = None;
            }
            (Some(info), None) if info == "toml" => script.push_str(&format!("{line}\n")),
            (Some(_), None) => {}
            (None, None) => script.extend(line.strip_prefix("    ").map(|command| format!("{command}\n"))),
        }
    }
    script
}

#[test]
fn the_pages_for_other_languages_lead_to_rows_in_a_table() {
    crate::binary();
    for language in ["python", "javascript", "c"] {
        let page = fs::read_to_string(root().join("docs/plugins").join(language).with_extension("md")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let binary = weir(folder.path(), &[]);
        let path = Path::new(binary.get_program()).parent().unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script(&page)).current_dir(folder.path());
        shell.env("PATH", format!("{}:{}", path.display(), weir::env::variable("PATH").unwrap_or_default()));
        for (name, value) in binary.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let printed = run(&mut shell);
        for part in ["1 case passed", "| sensor-1 | 2025-10-05T18:40:10Z | 21.5", "1 fields where 3 were expected"] {
            assert!(printed.contains(part), "{language}: {part}: {printed}");
        }
    }
}

#[test]
fn new_plugins_in_other_languages_build_and_hold_their_cases_in_every_role() {
    crate::binary();
    for language in ["python", "javascript", "c"] {
        // Parsers are on the pages.
        for role in ["transform", "aggregator", "rule"] {
            let folder = tempfile::tempdir().unwrap();
            succeed(folder.path(), &["plugin", "new", "--lang", language, "--role", role, "my-plugin"]);
            succeed(folder.path(), &["plugin", "build", "my-plugin"]);
            let printed = succeed(folder.path(), &["plugin", "test", "my-plugin"]);
            assert!(printed.contains("passed"), "{language} {role}: {printed}");
        }
    }
}

/// A transform that reads and makes lists and structs, by language: its file and source.
const NESTED: [(&str, &str, &str); 2] = [
    (
        "python",
        "plugin.py",
        r#"import time

import weir


class Nested(weir.RowTransform):
    name, version, description = "nested", "0.1.0", "Lists and structs."
    input = "tags array<string>, at struct<alt: double>, points array<struct<n: bigint, x: double>>"
    output = """joined string, place struct<alt: double not null, names: array<string>>,
        back array<struct<x double, n bigint>>, lists array<array<bigint>>"""
    carried = []

    def apply(self, rows, tags, at, points):
        if tags == ["misfit"]:
            rows.push(None, {"alt": None}, None, None)
            return
        if tags == ["clock"]:
            time.time()
        joined = None if tags is None else ",".join(tag or "" for tag in tags)
        place = None if at is None or at["alt"] is None else {"alt": at["alt"], "names": tags}
        lists = None if points is None else [None if point is None else [point["n"]] * 2 for point in points]
        rows.push(joined, place, points, lists)


Plugin, Transform = weir.export(Nested)
"#,
    ),
    (
        "javascript",
        "plugin.js",
        r#"import { rowTransform } from "weir";

export const { plugin, transform } = rowTransform({
  name: "nested",
  version: "0.1.0",
  description: "Lists and structs.",
  input: "tags array<string>, at struct<alt: double>, points array<struct<n: bigint, x: double>>",
  output: `joined string, place struct<alt: double not null, names: array<string>>,
    back array<struct<x double, n bigint>>, lists array<array<bigint>>`,
  carried: [],

  apply(rows, tags, at, points) {
    if (tags?.[0] === "misfit") {
      rows.push(null, { alt: null }, null, null);
      return;
    }
    const place = at === null || at.alt === null ? null : { alt: at.alt, names: tags };
    const lists = points && points.map((point) => point && [point.n, point.n]);
    rows.push(tags && tags.join(","), place, points, lists);
  },
});
"#,
    ),
];

#[test]
fn lists_and_structs_cross_the_helpers_of_python_and_javascript() {
    crate::binary();
    let case = [
        (
            "case.toml",
            "schema = [\"tags array<string>\", \"at struct<lat: double, city: string, alt: bigint>\", \
             \"points array<struct<x: double, n: bigint>>\"]\n",
        ),
        (
            "input.jsonl",
            r#"{"tags":["a","b"],"at":{"lat":49.5,"city":"x","alt":3},"points":[{"x":1.5,"n":2},null,{"x":null,"n":4}]}
{"tags":[],"at":null,"points":[]}
{"tags":null,"at":{"lat":null,"city":null,"alt":null},"points":null}
{"tags":["misfit"],"at":null,"points":null}
{"tags":[null,"c"],"at":{"lat":1.0,"city":"кухня","alt":-5},"points":[{"x":-0.5,"n":null}]}
"#
            .trim_start(),
        ),
        (
            "expected.jsonl",
            r#"{"joined":"a,b","place":{"alt":3.0,"names":["a","b"]},"back":[{"x":1.5,"n":2},null,{"x":null,"n":4}],"lists":[[2,2],null,[4,4]]}
{"joined":"","place":null,"back":[],"lists":[]}
{"joined":null,"place":null,"back":null,"lists":null}
{"joined":",c","place":{"alt":-5.0,"names":[null,"c"]},"back":[{"x":-0.5,"n":null}],"lists":[[null,null]]}
"#,
        ),
        (
            "schema.txt",
            "joined string\nplace struct<alt: double, names: array<string>>\n\
             back array<struct<x: double, n: bigint>>\nlists array<array<bigint>>\n",
        ),
    ];
    for (language, file, source) in NESTED {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("nested");
        succeed(folder.path(), &["plugin", "new", "--lang", language, "--role", "transform", "nested"]);
        fs::write(project.join(file), source).unwrap();
        fs::remove_dir_all(project.join("tests")).unwrap();
        fs::create_dir_all(project.join("tests/nested")).unwrap();
        for (name, text) in case {
            fs::write(project.join("tests/nested").join(name), text).unwrap();
        }
        let value = if language == "python" { "{'alt': None}" } else { "{\\\"alt\\\":null}" };
        let reason = format!("column place: {value} is no struct<alt: double, names: array<string>>");
        let rejected = format!("{{\"input\":3,\"reason\":\"{reason}\"}}\n");
        fs::write(project.join("tests/nested/rejected.jsonl"), rejected).unwrap();
        succeed(folder.path(), &["plugin", "build", "nested"]);
        let printed = succeed(folder.path(), &["plugin", "test", "nested"]);
        assert!(printed.contains("1 case passed"), "{language}: {printed}");
        if language == "python" {
            fs::write(folder.path().join("clock.jsonl"), "{\"tags\":[\"clock\"]}\n").unwrap();
            let printed = succeed(folder.path(), &["plugin", "run", "nested", "--input", "clock.jsonl"]);
            assert!(printed.contains("a plugin has no clock"), "{printed}");
        }
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
