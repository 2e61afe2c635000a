//! Small cases of schemas that weir keeps for files: inference, hints, evolution,
//! rescue. Each is a folder in `tests/cases/auto-loader` with a `case.toml`:
//!
//! ```toml
//! options = "…"        # of [source.files]
//! parser = "…"         # of its config; "@csv" for the parser of CSV
//! columns = ["*"]      # of the table
//!
//! [[step]]             # files that are added before a run, and what is there behind it
//! files = { "a.json" = "…" }
//! options = "…"        # from now on
//! fails = "4 text"     # the exit code, and something that it says
//! schema = ["a bigint"]
//! rows = ['{"a": 1}']  # all rows of the table, in any order, without nulls
//! dead_letters = ["a.json 11 "]   # where they begin: place, position
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use weir_tests::binary::{fail, succeed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    options: String,
    #[serde(default)]
    parser: String,
    columns: Option<Vec<String>>,
    step: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    files: BTreeMap<String, String>,
    options: Option<String>,
    columns: Option<Vec<String>>,
    fails: Option<String>,
    schema: Option<Vec<String>>,
    rows: Option<Vec<String>>,
    dead_letters: Option<Vec<String>>,
}

fn pipeline(options: &str, parser: &str, columns: Option<&Vec<String>>) -> String {
    let (plugin, config) = match parser {
        "@csv" => ("csv", ""),
        config => ("json", config),
    };
    let columns = columns.map_or(String::new(), |columns| format!("columns = {columns:?}"));
    format!(
        r#"
[pipeline]
name = "case"
checkpoint = "data/checkpoint"
trigger = "available-now"
max_dead_letter_ratio = 1.0

[source.files]
path = "input"
{options}

[parser]
plugin = "builtin:{plugin}"
config = {{ {config} }}

[table.rows]
path = "data/rows"
{columns}
"#
    )
}

/// The objects, without nulls, in an order of their own; rescued values are objects,
/// and `$` is the folder of the input.
fn normal<'a>(lines: impl Iterator<Item = &'a str>, input: Option<&str>) -> Vec<String> {
    let mut rows: Vec<String> = lines
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let mut row = row.as_object().unwrap().clone();
            row.retain(|_, value| !value.is_null());
            for value in row.values_mut() {
                // Rescued values are a text of JSON.
                if let Some(Ok(Value::Object(object))) = value.as_str().map(serde_json::from_str)
                    && object.contains_key("_file_path")
                {
                    *value = Value::Object(object);
                }
                if let (Some(file), Some(input)) = (value.get_mut("_file_path"), input) {
                    *file = Value::String(file.as_str().unwrap().replace(input, "$"));
                }
            }
            // Keys in alphabetical order.
            Value::Object(row.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()).to_string()
        })
        .collect();
    rows.sort();
    rows
}

fn newest_schema(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder.join("data/checkpoint/main/schema")).unwrap();
    let newest = files.map(|file| file.unwrap().path()).max().unwrap();
    let text = fs::read_to_string(newest).unwrap();
    let record: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    record["columns"].as_array().unwrap().iter().map(|column| column.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn check(folder: &Path) {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let case: Case = toml::from_str(&fs::read_to_string(folder.join("case.toml")).unwrap()).unwrap();
    let project = tempfile::tempdir().unwrap();
    let project = project.path().canonicalize().unwrap();
    let input = project.join("input");
    fs::create_dir(&input).unwrap();
    let mut options = case.options;
    let mut columns = case.columns;
    let mut seconds = 1_759_689_610;
    for (number, step) in case.step.into_iter().enumerate() {
        let context = format!("{name}, step {}", number + 1);
        options = step.options.unwrap_or(options);
        columns = step.columns.or(columns);
        fs::write(project.join("pipeline.toml"), pipeline(&options, &case.parser, columns.as_ref())).unwrap();
        for (file, text) in step.files {
            let path = input.join(file);
            fs::write(&path, text).unwrap();
            // Their order must not depend on how fast they are written.
            seconds += 1;
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        match &step.fails {
            None => drop(succeed(&project, &["run", "pipeline.toml"])),
            Some(expected) => {
                let (code, says) = expected.split_once(' ').unwrap();
                let printed = fail(&project, &["run", "pipeline.toml"], code.parse().unwrap());
                assert!(printed.contains(says), "{context}: {printed}");
            }
        }
        if let Some(schema) = step.schema {
            assert_eq!(newest_schema(&project), schema, "{context}");
        }
        if let Some(rows) = step.rows {
            let printed = succeed(&project, &["table", "show", "data/rows", "--json", "--limit", "1000"]);
            let rows = normal(rows.iter().map(String::as_str), None);
            assert_eq!(normal(printed.lines(), input.to_str()), rows, "{context}");
        }
        if let Some(expected) = step.dead_letters {
            let printed = succeed(&project, &["dead-letters", "pipeline.toml", "--json"]);
            let letters: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let place = |letter: &Value| {
                let span = letter["span_start"].as_u64().unwrap_or(0);
                format!("{} {} ", letter["source_place"].as_str().unwrap(), letter["position"].as_u64().unwrap() + span)
            };
            let mut found: Vec<String> = letters.iter().map(place).collect();
            found.sort();
            assert_eq!(found, expected, "{context}: {printed}");
        }
    }
}

#[test]
fn cases_of_kept_schemas_end_as_they_say() {
    crate::binary();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/auto-loader");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 60, "there are {} cases", cases.len());
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let failed = std::panic::catch_unwind(|| check(case)).err()?;
            let message = failed.downcast_ref::<String>().cloned().unwrap_or_else(|| "?".to_owned());
            Some(format!("{}: {message}", case.file_name().unwrap().to_string_lossy()))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} cases failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}
