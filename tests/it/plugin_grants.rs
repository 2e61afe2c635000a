//! The grant `wasi`: components that import it are refused without, and reach nothing
//! of the world with it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_tests::binary::{fail, succeed, text, weir};
use weir_tests::root;

fn component() -> PathBuf {
    root().join("tests/fixtures/wasi/asks.wasm")
}

/// A pipeline that asks for these things, with these lines in its parser's section.
fn pipeline(lines: &str, asked: &[&str]) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    fs::write(folder.path().join("input/a.txt"), asked.join("\n")).unwrap();
    let text = format!(
        "[pipeline]\nname = \"asks\"\ncheckpoint = \"data/checkpoint\"\ntrigger = \"available-now\"\n\
         max_dead_letter_ratio = 1.0\n[source.files]\npath = \"input\"\nformat = \"text\"\n\
         [parser]\nplugin = \"{}\"\n{lines}\n[table.answers]\npath = \"data/answers\"\n",
        component().display()
    );
    fs::write(folder.path().join("pipeline.toml"), text).unwrap();
    folder
}

/// What a component that asked was answered.
fn answers(folder: &Path) -> Vec<(String, String)> {
    let rows = succeed(folder, &["table", "show", "data/answers", "--json"]);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["asked"].as_str().unwrap().to_owned(), row["answer"].as_str().unwrap().to_owned())
    };
    rows.lines().map(row).collect()
}

#[test]
fn a_component_that_imports_wasi_needs_the_grant() {
    let folder = pipeline("", &["environment"]);
    let printed = fail(folder.path(), &["check", "pipeline.toml"], 2);
    for part in ["imports wasi:", "it needs the grant \"wasi\"", "`grants = [\"wasi\"]`"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let granted = pipeline("grants = [\"wasi\"]", &["environment"]);
    succeed(granted.path(), &["check", "pipeline.toml"]);
    let unknown = pipeline("grants = [\"network\"]", &["environment"]);
    let printed = fail(unknown.path(), &["check", "pipeline.toml"], 2);
    assert!(printed.contains("parser.grants") && printed.contains("wasi"), "{printed}");
    let inspected = ["plugin", "inspect", &component().display().to_string(), "--json"];
    let told: Value = serde_json::from_str(&succeed(folder.path(), &inspected)).unwrap();
    assert_eq!((&told["accepted"], &told["grants"]), (&Value::Bool(true), &serde_json::json!(["wasi"])));
    let imports = told["imports"].as_array().unwrap();
    assert!(imports.iter().any(|import| import == "wasi:random/random@0.2.6"), "{imports:?}");
}

#[test]
fn a_granted_component_reaches_nothing_of_the_world() {
    let asked = ["environment", "files", "stdin", "clocks", "network"];
    let folder = pipeline("grants = [\"wasi\"]", &asked);
    // What is in the environment of the host is not in that of the plugin.
    let output = weir(folder.path(), &["run", "pipeline.toml"]).env("WEIR_TEST_SECRET", "secret").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let answers = answers(folder.path());
    let expected = [("environment", "[] []"), ("files", "0"), ("stdin", "closed"), ("clocks", "true true true [0]")];
    assert_eq!(answers, expected.map(|(asked, answer)| (asked.to_owned(), answer.to_owned())));
    let letters = succeed(folder.path(), &["dead-letters", "pipeline.toml", "--json"]);
    assert!(
        letters.contains("it called wasi:sockets/instance-network@0.2.6#instance-network, which the grant"),
        "{letters}"
    );
}

#[test]
fn randomness_is_the_same_again_and_output_goes_to_the_log() {
    let folder = tempfile::tempdir().unwrap();
    crate::binary();
    fs::write(folder.path().join("a.txt"), "random\n").unwrap();
    fs::write(folder.path().join("b.txt"), "stderr\n").unwrap();
    let component = component().display().to_string();
    let project = "name = \"asks\"\nlanguage = \"rust\"\nrole = \"parser\"\ncomponent = \"asks.wasm\"\n\
                   [build]\ncommands = []\noutput = \"asks.wasm\"\n";
    fs::write(folder.path().join("weir-plugin.toml"), project).unwrap();
    fs::copy(&component, folder.path().join("asks.wasm")).unwrap();
    let case = folder.path().join("tests/random");
    fs::create_dir_all(&case).unwrap();
    fs::write(case.join("input.jsonl"), "\"random\"\n").unwrap();
    let printed = fail(folder.path(), &["plugin", "test"], 2);
    assert!(printed.contains("it needs the grant \"wasi\""), "{printed}");
    fs::write(case.join("case.toml"), "grants = [\"wasi\"]\nnow = 2025-10-05T18:40:10Z\n").unwrap();
    succeed(folder.path(), &["plugin", "test", "--update"]);
    succeed(folder.path(), &["plugin", "test"]);
    let random = fs::read_to_string(case.join("expected.jsonl")).unwrap();
    fs::write(case.join("case.toml"), "grants = [\"wasi\"]\nnow = 2025-10-05T18:40:11Z\n").unwrap();
    succeed(folder.path(), &["plugin", "test", "--update"]);
    assert_ne!(fs::read_to_string(case.join("expected.jsonl")).unwrap(), random, "another epoch");
    let output = weir(folder.path(), &["plugin", "run", &component, "--input", "b.txt", "--log", "info"]).output();
    let printed = text(&output.unwrap());
    assert!(printed.contains("the plugin says so") && printed.contains("65536 bytes of room"), "{printed}");
}
