//! `weir plugin`: what its commands say of good and of broken plugins.

use std::fs;
use std::path::Path;

use serde_json::Value;
use weir_tests::binary::{fail, succeed, text, weir};
use weir_tests::fixture;

/// A project around the hostile plugin in this role, which needs no build.
fn project(role: &str) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("hostile.wasm"), folder.path().join("hostile.wasm")).unwrap();
    let text = format!(
        "name = \"hostile\"\nlanguage = \"rust\"\nrole = \"{role}\"\ncomponent = \"hostile.wasm\"\n\n\
         [build]\ncommands = []\noutput = \"hostile.wasm\"\n"
    );
    fs::write(folder.path().join("weir-plugin.toml"), text).unwrap();
    folder
}

/// A case of a project, out of its files.
fn case(project: &Path, name: &str, files: &[(&str, &str)]) {
    let folder = project.join("tests").join(name);
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
}

fn read(project: &Path, file: &str) -> String {
    fs::read_to_string(project.join("tests").join(file)).unwrap()
}

const NUMBERS: &str = "{\"key\":\"a\",\"number\":1}\n{\"key\":\"b\",\"number\":2}\n{\"key\":\"a\",\"number\":3}\n";
const COLUMNS: &str = "schema = [\"key string\", \"number bigint\"]\nkey = [\"key\"]\n";

#[test]
fn inspect_says_what_a_component_is_and_whether_it_is_accepted() {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    let text = succeed(folder.path(), &["plugin", "inspect", "builtin:json"]);
    for part in ["json 0.1.0", "parser, inference", "weir:plugin/host@0.1.0", "accepted     yes", "\"columns\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let hostile = fixture("hostile.wasm").display().to_string();
    let told: Value =
        serde_json::from_str(&succeed(folder.path(), &["plugin", "inspect", &hostile, "--json"])).unwrap();
    assert_eq!(told["roles"], serde_json::json!(["parser", "transform", "aggregator", "rule"]));
    assert_eq!(told["accepted"], true);
    assert_eq!(told["size_bytes"].as_u64(), Some(fs::metadata(&hostile).unwrap().len()));
    assert_eq!(told["config_schema"]["properties"]["mode"]["default"], "behave");
    assert_eq!(told["sha256"].as_str().unwrap().len(), 64);

    fs::write(folder.path().join("text.wasm"), "nonsense").unwrap();
    // A core module that describes no component: the preamble and nothing else.
    fs::write(folder.path().join("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
    for (file, why) in [
        ("text.wasm", "is not a usable WebAssembly component"),
        ("module.wasm", "does not export weir:plugin/plugin@0.1.0"),
        ("missing.wasm", "cannot read the plugin missing.wasm"),
        ("builtin:jsom", "the bundled ones are"),
        (".", "name a component or a project"),
    ] {
        let printed = fail(folder.path(), &["plugin", "inspect", file], 2);
        assert!(printed.contains(why), "{file}: {printed}");
    }
}

#[test]
fn cases_are_written_by_update_and_hold_afterwards() {
    let folder = project("parser");
    let input = "\"one\"\n{\"base64\": \"dHdv\"}\n{ \"n\": 3.50 }\n";
    case(folder.path(), "texts", &[("input.jsonl", input)]);
    let printed = fail(folder.path(), &["plugin", "test"], 5);
    assert!(printed.contains("there is no expected.jsonl") && printed.contains("--update"), "{printed}");
    succeed(folder.path(), &["plugin", "test", "--update"]);
    let rows = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n{\"text\":\"{\\\"n\\\":3.50}\"}\n";
    assert_eq!(read(folder.path(), "texts/expected.jsonl"), rows);
    assert_eq!(read(folder.path(), "texts/schema.txt"), "text string\n");
    assert!(succeed(folder.path(), &["plugin", "test"]).contains("1 case passed"));
}

#[test]
fn differences_are_shown_with_what_to_do() {
    let folder = project("parser");
    let input = ("input.jsonl", "\"one\"\n\"two\"\n");
    case(folder.path(), "value", &[input, ("expected.jsonl", "{\"text\":\"one\"}\n{\"text\":\"2\"}\n")]);
    case(
        folder.path(),
        "row",
        &[input, ("expected.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n{\"text\":\"three\"}\n")],
    );
    let both = ("expected.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    case(folder.path(), "schema", &[input, both, ("schema.txt", "text string\nlength bigint\n")]);
    case(folder.path(), "rejected", &[input, both, ("rejected.jsonl", "{\"input\":1,\"reason\":\"no\"}\n")]);
    case(folder.path(), "fine", &[input, both]);
    for (name, parts) in [
        ("value", ["-{\"text\":\"2\"}", "+{\"text\":\"two\"}"]),
        ("row", ["-{\"text\":\"three\"}", "the rows are not the expected ones"]),
        ("schema", ["-length bigint", "the output schema has changed"]),
        ("rejected", ["-{\"input\":1,\"reason\":\"no\"}", "the rejections are not the expected ones"]),
    ] {
        let printed = fail(folder.path(), &["plugin", "test", "--case", name], 5);
        let told = parts.into_iter().chain(["FAIL", "accept it with `weir plugin test --update`", "1 of 1 case"]);
        told.for_each(|part| assert!(printed.contains(part), "{name}: {part}: {printed}"));
    }
    let printed = fail(folder.path(), &["plugin", "test"], 5);
    assert!(printed.contains("ok    fine") && printed.contains("4 of 5 cases failed"), "{printed}");
    succeed(folder.path(), &["plugin", "test", "--update"]);
    assert!(succeed(folder.path(), &["plugin", "test"]).contains("5 cases passed"));
    assert!(!folder.path().join("tests/rejected/rejected.jsonl").exists(), "nothing is rejected");
}

#[test]
fn failures_are_told_and_never_accepted() {
    let parsed = [
        ("trap", "10s", "input 1: the plugin trapped: ", "panicked at ", "reject what cannot be processed"),
        ("loop", "200ms", "missed its deadline of 200ms", "input 1", "raise `limits.deadline`"),
        ("memory-bomb", "10s", "bytes of memory", "input 1", "raise `limits.memory`"),
        ("wrong-type", "10s", "returned an invalid result", "float64", "as `configure` announces them"),
        ("error", "10s", "the plugin failed: failed, as configured", "input 1", "reject the input with a reason"),
    ];
    for (mode, deadline, reason, detail, remedy) in parsed {
        let folder = project("parser");
        let settings =
            format!("config = {{ mode = \"{mode}\", when = \"poison\" }}\nlimits.deadline = \"{deadline}\"\n");
        let files = [
            ("case.toml", settings.as_str()),
            ("input.jsonl", "\"fine\"\n\"poison\"\n\"fine\"\n"),
            ("expected.jsonl", "{\"text\":\"fine\"}\n{\"text\":\"fine\"}\n"),
        ];
        case(folder.path(), "poisoned", &files);
        for arguments in [&["plugin", "test"][..], &["plugin", "test", "--update"]] {
            let printed = fail(folder.path(), arguments, 5);
            for part in ["FAIL  poisoned", reason, detail, remedy] {
                assert!(printed.contains(part), "{mode}: {part}: {printed}");
            }
        }
        assert!(!folder.path().join("tests/poisoned/rejected.jsonl").exists(), "{mode} is not accepted");
    }
}

#[test]
fn groups_are_rows_in_the_order_in_which_they_appear() {
    let folder = project("aggregator");
    case(folder.path(), "sums", &[("case.toml", COLUMNS), ("input.jsonl", NUMBERS)]);
    succeed(folder.path(), &["plugin", "test", "--update"]);
    assert_eq!(read(folder.path(), "sums/expected.jsonl"), "{\"key\":\"a\",\"sum\":4}\n{\"key\":\"b\",\"sum\":2}\n");
    assert_eq!(read(folder.path(), "sums/schema.txt"), "key string\nsum bigint\n");

    let folder = project("rule");
    let keyed = format!("{COLUMNS}config = {{ keyed = true }}\n");
    case(folder.path(), "alone", &[("case.toml", COLUMNS), ("input.jsonl", NUMBERS)]);
    case(folder.path(), "keyed", &[("case.toml", &keyed), ("input.jsonl", NUMBERS)]);
    succeed(folder.path(), &["plugin", "test", "--update"]);
    let rows = |file: &str| -> Vec<(i64, String)> {
        let row = |line: &str| {
            let alert: Value = serde_json::from_str(line).unwrap();
            (alert["row"].as_i64().unwrap(), alert["message"].as_str().unwrap().to_owned())
        };
        read(folder.path(), file).lines().map(row).collect()
    };
    let told = |numbers: [i64; 3]| (0..).zip(numbers.map(|number| number.to_string())).collect::<Vec<_>>();
    assert_eq!(rows("alone/expected.jsonl"), told([1, 2, 3]));
    assert_eq!(rows("keyed/expected.jsonl"), told([1, 2, 4]));
    assert!(succeed(folder.path(), &["plugin", "test"]).contains("2 cases passed"));
}

#[test]
fn states_that_cannot_be_moved_fail_a_case() {
    for (role, keyed) in [("aggregator", false), ("rule", true)] {
        for (mode, why) in [
            ("trap-in-snapshot", "trapped, as configured"),
            ("error-in-restore", "failed, as configured"),
            ("too-few-states", "column `state` has"),
        ] {
            let folder = project(role);
            let settings = format!("{COLUMNS}config = {{ mode = \"{mode}\", keyed = {keyed} }}\n");
            case(folder.path(), "moved", &[("case.toml", &settings), ("input.jsonl", NUMBERS)]);
            let printed = fail(folder.path(), &["plugin", "test", "--update"], 5);
            for part in ["the state cannot be moved to a fresh instance", why, "`restore` must take it"] {
                assert!(printed.contains(part), "{role} {mode}: {part}: {printed}");
            }
        }
    }
}

#[test]
fn states_that_cannot_be_merged_fail_a_case() {
    for (mode, why) in [
        ("trap-in-merge", "trapped, as configured"),
        ("error-in-merge", "failed, as configured"),
        ("trap-in-release", "trapped in release, as configured"),
    ] {
        let folder = project("aggregator");
        let settings = format!("{COLUMNS}config = {{ mode = \"{mode}\" }}\n");
        // A row alone is merged into an empty group.
        for (name, input) in [("several", NUMBERS), ("alone", "{\"key\":\"a\",\"number\":1}\n")] {
            case(folder.path(), name, &[("case.toml", &settings), ("input.jsonl", input)]);
            let printed = fail(folder.path(), &["plugin", "test", "--case", name, "--update"], 5);
            for part in ["the states of two parts cannot be merged", why, "`merge` must fold"] {
                assert!(printed.contains(part), "{mode} {name}: {part}: {printed}");
            }
        }
    }
}

#[test]
fn groups_that_fail_are_told_by_their_keys() {
    let folder = project("aggregator");
    let settings = format!("{COLUMNS}config = {{ mode = \"error-in-evaluate\" }}\n");
    let expected = ("expected.jsonl", "");
    case(folder.path(), "keyed", &[("case.toml", &settings), ("input.jsonl", NUMBERS), expected]);
    let alone = settings.replace("key = [\"key\"]\n", "");
    case(folder.path(), "without-key", &[("case.toml", &alone), ("input.jsonl", NUMBERS), expected]);
    let printed = fail(folder.path(), &["plugin", "test"], 5);
    for part in [
        "group {\"key\":\"a\"}: the plugin failed: failed, as configured",
        "group {\"key\":\"b\"}: ",
        "the group of all rows: ",
        "pass over what cannot be processed",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    fs::write(folder.path().join("rows.jsonl"), NUMBERS).unwrap();
    let printed = fail(folder.path(), &["plugin", "run", ".", "--input", "rows.jsonl"], 5);
    for part in ["| group |", "| {\"key\":\"b\"} |", "the plugin fails for group {\"key\":\"a\"}: "] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(!printed.contains("\"number\":1"), "no row is to blame: {printed}");
}

#[test]
fn roles_that_cannot_reject_are_not_told_to() {
    for (role, keyed) in [("aggregator", false), ("rule", false), ("rule", true)] {
        for mode in ["trap", "error"] {
            let folder = project(role);
            let settings = format!("{COLUMNS}config = {{ mode = \"{mode}\", poison = 2, keyed = {keyed} }}\n");
            case(folder.path(), "poisoned", &[("case.toml", &settings), ("input.jsonl", NUMBERS)]);
            let printed = fail(folder.path(), &["plugin", "test", "--update"], 5);
            for part in ["input 1: the plugin ", "pass over what cannot be processed"] {
                assert!(printed.contains(part), "{role} {mode}: {part}: {printed}");
            }
            assert!(!printed.contains("with a reason"), "{role} {mode}: {printed}");
        }
    }
}

#[test]
fn regression_what_is_no_integer_does_not_equal_one() {
    let folder = project("aggregator");
    let sums = ["{\"key\":\"a\",\"sum\":4.9}\n{\"key\":\"b\",\"sum\":2}\n", "{\"key\":\"a\",\"sum\":4}\n"];
    let schema = ("schema.txt", "key string\nsum bigint\n");
    let settings = ("case.toml", COLUMNS);
    case(folder.path(), "output", &[settings, schema, ("input.jsonl", NUMBERS), ("expected.jsonl", sums[0])]);
    let printed = fail(folder.path(), &["plugin", "test"], 5);
    for part in ["expected.jsonl:1 is no row", "`sum`", "found 4.9", "+{\"key\":\"a\",\"sum\":4}"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let rows = |number: &str| format!("{{\"key\":\"a\",\"number\":3}}\n{{\"key\":\"a\",\"number\":{number}}}\n");
    for number in ["1.99", "\"1\""] {
        let rows = rows(number);
        case(folder.path(), "input", &[settings, schema, ("input.jsonl", &rows), ("expected.jsonl", sums[1])]);
        fs::write(folder.path().join("rows.jsonl"), &rows).unwrap();
        let columns = "key string, number bigint";
        let run = ["plugin", "run", "builtin:identity", "--input", "rows.jsonl", "--schema", columns];
        for printed in [fail(folder.path(), &["plugin", "test", "--case", "input"], 5), fail(folder.path(), &run, 4)] {
            for part in [".jsonl:2: this is no row", "`number`", &format!("found {number}")] {
                assert!(printed.contains(part), "{part}: {printed}");
            }
        }
    }
}

#[test]
fn regression_not_null_and_output_are_read_as_columns() {
    let folder = project("aggregator");
    let settings =
        "schema = \"key string, number bigint not null\"\nkey = [\"key\"]\noutput = \"key  string, sum int\"\n";
    let input = "{\"key\":null,\"number\":1}\n{\"key\":\"b\",\"number\":2}\n";
    let expected = "{\"key\":null,\"sum\":1}\n{\"key\":\"b\",\"sum\":2}\n";
    case(folder.path(), "sums", &[("case.toml", settings), ("input.jsonl", input), ("expected.jsonl", expected)]);
    assert!(succeed(folder.path(), &["plugin", "test"]).contains("1 case passed"));
    case(folder.path(), "sums", &[("case.toml", &settings.replace("sum int", "total int"))]);
    let printed = fail(folder.path(), &["plugin", "test"], 5);
    assert!(printed.contains("-total bigint") && printed.contains("change `output` in case.toml"), "{printed}");
    fs::write(folder.path().join("rows.jsonl"), "{\"t\": 1.5}\n").unwrap();
    for schema in ["t double not null, s string", "s string, t double NOT NULL"] {
        let run = ["plugin", "run", "builtin:identity", "--input", "rows.jsonl", "--schema", schema, "--json"];
        let printed = succeed(folder.path(), &run);
        assert!(printed.contains("\"t\":1.5") && printed.contains("\"s\":null"), "{schema}: {printed}");
    }
}

#[test]
fn regression_a_case_that_is_half_made_does_not_keep_an_input_from_being_tried() {
    let folder = project("parser");
    fs::create_dir_all(folder.path().join("tests/a-half-made")).unwrap();
    fs::write(folder.path().join("lines.txt"), "one\n").unwrap();
    let printed = succeed(folder.path(), &["plugin", "run", ".", "--input", "lines.txt"]);
    assert!(printed.contains("one") && printed.contains("1 row from 1 message"), "{printed}");
}

#[test]
fn trying_says_what_a_pipeline_would_have_to_grant() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lines.txt"), "random\n").unwrap();
    let asks = fixture("../wasi/asks.wasm").display().to_string();
    let printed = text(&weir(folder.path(), &["plugin", "run", &asks, "--input", "lines.txt"]).output().unwrap());
    assert!(printed.contains("1 row from 1 message") && printed.contains("grants = [\"wasi\"]"), "{printed}");
}

#[test]
fn crate_cannot_have_the_name_of_what_it_is_written_with() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["plugin", "new", "--lang", "rust", "--role", "rule", "weir-plugin"];
    assert!(fail(folder.path(), &arguments, 2).contains("choose another name"));
}

#[test]
fn regression_a_case_that_is_wrong_fails_alone() {
    let folder = project("parser");
    let files = [("input.jsonl", "\"one\"\n"), ("expected.jsonl", "{\"text\":\"one\"}\n")];
    case(folder.path(), "a-fine", &files);
    case(folder.path(), "b-misspelt", &[("inputs.jsonl", "\"one\"\n"), files[1]]);
    case(folder.path(), "c-toml", &[("case.toml", "config ="), files[0], files[1]]);
    case(folder.path(), "d-json", &[("input.jsonl", "one\n"), files[1]]);
    case(folder.path(), "e-fine", &files);
    case(folder.path(), "_shared", &[("notes.txt", "")]);
    let printed = fail(folder.path(), &["plugin", "test"], 5);
    for part in [
        "ok    a-fine",
        "FAIL  b-misspelt",
        "b-misspelt has no input.jsonl: write the input to it",
        "FAIL  c-toml",
        "FAIL  d-json",
        "input.jsonl:1: this is no message",
        "ok    e-fine",
        "3 of 5 cases failed",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(!printed.contains("_shared"), "{printed}");
    assert!(succeed(folder.path(), &["plugin", "test", "--case", "e-fine"]).contains("1 case passed"));
}

#[test]
fn regression_large_inputs_are_taken_in_chunks() {
    // All rows of an input are more than one call may return.
    let folder = project("parser");
    let files = [("case.toml", "limits.rows = 70_000\n"), ("input.jsonl", "\"one\"\n")];
    case(folder.path(), "limited", &files);
    let lines: String = (0..150_000).map(|line| format!("reading-{line:010}\n")).collect();
    fs::write(folder.path().join("lines.log"), lines).unwrap();
    let printed = succeed(folder.path(), &["plugin", "run", ".", "--input", "lines.log", "--limit", "2"]);
    assert!(printed.contains("150000 rows from 150000 messages, 0 rejected, 0 failed"), "{printed}");

    let folder = project("transform");
    let settings = "limits.rows = 10_000\nschema = \"text string\"\nconfig = { mode = \"trap\", when = \"poison\" }\n";
    case(folder.path(), "limited", &[("case.toml", settings), ("input.jsonl", "{\"text\":\"fine\"}\n")]);
    let row = |row: usize| format!("{{\"text\":\"{}\"}}\n", if row == 15_000 { "poison" } else { "fine" });
    fs::write(folder.path().join("rows.jsonl"), (0..20_000).map(row).collect::<String>()).unwrap();
    let printed = fail(folder.path(), &["plugin", "run", ".", "--input", "rows.jsonl", "--limit", "2"], 5);
    for part in ["19999 rows from 20000 rows, 0 rejected, 1 failed", "the plugin fails for input 15000: "] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn regression_the_header_of_each_file_is_no_row() {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.csv"), "id\n1\n").unwrap();
    fs::write(folder.path().join("b.csv"), "id\n2\n").unwrap();
    let columns = "{\"columns\": \"id bigint\"}";
    let run = ["plugin", "run", "builtin:csv", "--input", "a.csv", "b.csv", "--config", columns, "--json"];
    assert_eq!(succeed(folder.path(), &run), "{\"id\":1}\n{\"id\":2}\n");
}

#[test]
fn projects_and_cases_that_are_wrong_say_what_would_be_right() {
    let folder = project("rule");
    let printed = fail(folder.path(), &["plugin", "test"], 2);
    assert!(printed.contains("there are no cases") && printed.contains("input.jsonl"), "{printed}");
    case(folder.path(), "one", &[("input.jsonl", "{}"), ("case.toml", "shcema = []")]);
    let printed = fail(folder.path(), &["plugin", "test"], 5);
    assert!(printed.contains("unknown field `shcema`") && printed.contains("case.toml"), "{printed}");
    let printed = fail(folder.path(), &["plugin", "test", "--case", "two"], 2);
    assert!(printed.contains("there is no case `two`: there are one"), "{printed}");
    case(folder.path(), "one", &[("case.toml", "schema = [\"number double\"]")]);
    let printed = fail(folder.path(), &["plugin", "test"], 5);
    assert!(
        printed.contains("the plugin does not take its `config`") && printed.contains("no int64 column"),
        "{printed}"
    );
    fs::remove_file(folder.path().join("hostile.wasm")).unwrap();
    let printed = fail(folder.path(), &["plugin", "test"], 2);
    assert!(printed.contains("run `weir plugin build .`"), "{printed}");
    fs::remove_file(folder.path().join("weir-plugin.toml")).unwrap();
    let printed = fail(folder.path(), &["plugin", "test"], 2);
    assert!(printed.contains("`weir plugin new` makes a folder with one"), "{printed}");
}

#[test]
fn a_build_names_all_missing_tools_and_what_a_command_left() {
    let folder = project("parser");
    let build = |text: &str| {
        let head = "name = \"hostile\"\nlanguage = \"c\"\nrole = \"parser\"\ncomponent = \"out/made.wasm\"\n[build]\n";
        fs::write(folder.path().join("weir-plugin.toml"), format!("{head}{text}")).unwrap();
    };
    build(
        "commands = []\noutput = \"hostile.wasm\"\n\
         [[build.tools]]\nname = \"no-such-tool\"\ninstall = \"get it\"\n\
         [[build.tools]]\nname = \"cp\"\ninstall = \"apt-get install coreutils\"\n\
         [[build.tools]]\nname = \"nor-this-one\"\ninstall = \"get that\"\n",
    );
    let printed = fail(folder.path(), &["plugin", "build"], 2);
    for part in
        ["2 tools are missing", "no-such-tool: install it with `get it`", "nor-this-one: install it with `get that`"]
    {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    build("commands = [[\"cp\", \"hostile.wasm\", \"made.wasm\"]]\noutput = \"made.wasm\"\n");
    let printed = succeed(folder.path(), &["plugin", "build"]);
    assert!(printed.contains("out/made.wasm: parser and transform and aggregator and rule hostile 0.1.0"), "{printed}");
    build("commands = [[\"cp\", \"missing\", \"made.wasm\"]]\noutput = \"made.wasm\"\n");
    let printed = fail(folder.path(), &["plugin", "build"], 5);
    assert!(printed.contains("`cp missing made.wasm` failed"), "{printed}");
    build("commands = []\noutput = \"other.wasm\"\n");
    let printed = fail(folder.path(), &["plugin", "build"], 5);
    assert!(printed.contains("left no ") && printed.contains("`build.output` must name"), "{printed}");
    build("commands = []\noutput = \"weir-plugin.toml\"\n");
    let printed = fail(folder.path(), &["plugin", "build"], 2);
    assert!(printed.contains("is not a usable WebAssembly component"), "{printed}");
}

#[test]
fn new_refuses_names_and_folders_that_cannot_be_used() {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    let new = |name: &'static str| vec!["plugin", "new", "--lang", "rust", "--role", "rule", name];
    let printed = fail(folder.path(), &new("GeoFence"), 2);
    assert!(printed.contains("lower-case letters"), "{printed}");
    let printed = succeed(folder.path(), &new("geo-fence"));
    assert!(printed.contains("src/lib.rs") && printed.contains("weir plugin build geo-fence"), "{printed}");
    let crate_file = fs::read_to_string(folder.path().join("geo-fence/Cargo.toml")).unwrap();
    assert!(crate_file.contains("weir-plugin = { git = \"https://github.com/weir-stream/weir\" }"), "{crate_file}");
    let printed = fail(folder.path(), &new("geo-fence"), 2);
    assert!(printed.contains("exists already"), "{printed}");
    let printed = fail(folder.path(), &["plugin", "new", "--lang", "cobol", "--role", "rule", "x"], 2);
    assert!(printed.contains("rust, python, javascript, c"), "{printed}");
}

#[test]
fn plugins_are_tried_on_files_without_a_trace() {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.json"), "[{\"id\": 1},\n {\"id\": \"x\"}]\n{\"id\": 2}\n").unwrap();
    fs::write(folder.path().join("b.csv"), "id\n3\n4\n").unwrap();
    let columns = "{\"columns\": \"id bigint\"}";
    let run = ["plugin", "run", "builtin:json", "--input", "a.json", "--config", columns];
    let printed = succeed(folder.path(), &run);
    assert!(printed.contains("2 rows from 2 messages, 1 rejected, 0 failed"), "{printed}");
    let printed =
        succeed(folder.path(), &["plugin", "run", "builtin:csv", "--input", "b.csv", "--config", columns, "--json"]);
    assert_eq!(printed, "{\"id\":3}\n{\"id\":4}\n");
    fs::write(folder.path().join("rows.jsonl"), "{\"t\": 20.0}\n{\"t\": 40.0}\n").unwrap();
    let config = "{\"levels\": [{\"column\": \"t\", \"above\": 30, \"kind\": \"HOT\"}]}";
    let rule =
        ["plugin", "run", "builtin:thresholds", "--input", "rows.jsonl", "--schema", "t double", "--config", config];
    let printed = succeed(folder.path(), &rule);
    assert!(printed.contains("HOT") && printed.contains("1 alert from 2 rows"), "{printed}");
    let hostile = fixture("hostile.wasm").display().to_string();
    let trap = ["plugin", "run", &hostile, "--role", "parser", "--input", "b.csv", "--config", "{\"mode\": \"trap\"}"];
    let printed = fail(folder.path(), &trap, 5);
    assert!(printed.contains("trapped, as configured") && printed.contains("mischief.rs:"), "{printed}");
    let printed = fail(folder.path(), &["plugin", "run", &hostile, "--input", "b.csv"], 2);
    assert!(printed.contains("say which with `--role`"), "{printed}");
    let mut left: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["a.json", "b.csv", "rows.jsonl"]);
}

#[test]
fn a_mended_parser_is_tried_on_the_dead_letters() {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    fs::write(folder.path().join("input/a.json"), "[{\"id\": 1}, {\"id\": \"x\"}, {\"id\": \"y\"}]").unwrap();
    let pipeline = "[pipeline]\nname = \"letters\"\ncheckpoint = \"data/checkpoint\"\ntrigger = \"available-now\"\n\
                    max_dead_letter_ratio = 1.0\n[source.files]\npath = \"input\"\n[parser]\nplugin = \"builtin:json\"\n\
                    config = { columns = \"id bigint\" }\n[table.t]\npath = \"data/t\"\n";
    fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let before = succeed(folder.path(), &["table", "history", "data/t"]);
    let again = ["plugin", "run", "builtin:json", "--dead-letters", "pipeline.toml"];
    let printed = succeed(folder.path(), &again);
    assert!(printed.contains("2 rejected, 0 failed") && printed.contains("reason before"), "{printed}");
    let mended: Vec<&str> = again.into_iter().chain(["--config", "{\"columns\": \"id string\"}", "--json"]).collect();
    let rows = succeed(folder.path(), &mended);
    assert!(rows.contains("{\"id\":\"x\"}") && rows.contains("{\"id\":\"y\"}"), "{rows}");
    // What a file begins with is not among what is known of a letter.
    let other = ["plugin", "run", "builtin:csv", "--dead-letters", "pipeline.toml"];
    let printed = fail(folder.path(), &other, 2);
    assert!(printed.contains("`header`: known here are file_path, file_name, position: try it in a case"), "{printed}");
    assert_eq!(succeed(folder.path(), &["table", "history", "data/t"]), before, "no table is touched");
}

#[test]
fn dead_letters_are_read_again_with_the_schema_that_the_pipeline_keeps() {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    fs::write(folder.path().join("input/a.jsonl"), "{\"id\": 1}\n{\"id\": 2\n").unwrap();
    let pipeline = "[pipeline]\nname = \"letters\"\ncheckpoint = \"data/checkpoint\"\ntrigger = \"available-now\"\n\
                    max_dead_letter_ratio = 1.0\n[source.files]\npath = \"input\"\nformat = \"json-lines\"\n\
                    schema_hints = \"id bigint\"\n[parser]\nplugin = \"builtin:json\"\n[table.t]\npath = \"data/t\"\n";
    fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let printed = succeed(folder.path(), &["plugin", "run", "builtin:json", "--dead-letters", "pipeline.toml"]);
    assert!(printed.contains("1 rejected"), "{printed}");
}

#[test]
fn test_tells_of_sources_that_were_not_built() {
    let folder = project("aggregator");
    case(folder.path(), "sums", &[("case.toml", COLUMNS), ("input.jsonl", NUMBERS)]);
    let hint = "has changed since the component was built";
    let tested = || {
        let output = weir(folder.path(), &["plugin", "test"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    succeed(folder.path(), &["plugin", "test", "--update"]);
    fs::create_dir_all(folder.path().join("src")).unwrap();
    fs::create_dir_all(folder.path().join("target")).unwrap();
    let (later, component) = (folder.path().join("src/lib.rs"), folder.path().join("hostile.wasm"));
    fs::write(folder.path().join("target/generated.rs"), "").unwrap();
    let built = fs::metadata(&component).unwrap().modified().unwrap();
    assert!(!tested().contains(hint), "{}", tested());
    fs::write(&later, "").unwrap();
    let file = fs::File::options().write(true).open(&later).unwrap();
    file.set_modified(built + std::time::Duration::from_secs(1)).unwrap();
    assert!(tested().contains(hint), "{}", tested());
}

#[test]
fn plugins_are_measured_beside_the_bundled_one_of_their_role() {
    let folder = project("aggregator");
    case(folder.path(), "sums", &[("case.toml", COLUMNS), ("input.jsonl", NUMBERS)]);
    let hostile = fixture("hostile.wasm").display().to_string();
    let columns = "{\"columns\": \"deviceId string, temperature double\"}";
    let bench = |arguments: &[&str]| -> Vec<Value> {
        let arguments: Vec<&str> = ["plugin", "bench", "--json"].into_iter().chain(arguments.iter().copied()).collect();
        let printed = succeed(folder.path(), &arguments);
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let names = |figures: &[Value]| -> Vec<String> {
        figures.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let parsers = bench(&["builtin:json", "--config", columns]);
    assert_eq!(names(&parsers), ["serde_json into typed structs, native", "builtin:json", "builtin:json"]);
    assert_eq!(parsers[0]["relative"], 1.0);
    for one in &parsers {
        assert!(one["rows"].as_u64().unwrap() > 5_000 && one["mb_per_second"].as_f64().unwrap() > 0.0, "{one}");
        assert_eq!(one["rows"], parsers[0]["rows"], "all see the same readings");
    }
    assert!(parsers[1]["memory_bytes"].as_u64().unwrap() > 0 && parsers[1]["call_p99_us"].as_u64().is_some());
    assert_eq!(names(&bench(&["."])), ["builtin:statistics", "hostile"]);
    assert_eq!(names(&bench(&[&hostile, "--role", "transform"])), ["builtin:identity", hostile.as_str()]);
    let level = "{\"levels\": [{\"column\": \"temperature\", \"above\": 30, \"kind\": \"HOT\"}]}";
    assert_eq!(names(&bench(&["builtin:thresholds", "--config", level])), ["builtin:thresholds", "builtin:thresholds"]);
    let table = succeed(folder.path(), &["plugin", "bench", "."]);
    assert!(table.contains("rows/s") && table.contains("call p99") && table.contains("1.00x"), "{table}");
    let printed = fail(folder.path(), &["plugin", "bench", "builtin:json", "builtin:identity"], 2);
    assert!(printed.contains("builtin:identity is no parser"), "{printed}");
}
