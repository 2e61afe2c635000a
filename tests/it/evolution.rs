//! Schemas that change while the stream runs, under kills and for other readers.

use serde_json::{Map, Value, json};
use weir_tests::binary::succeed;
use weir_tests::python;

use crate::kills::kill_often;

const FILES: usize = 40;
const ROWS_EACH: usize = 50;
/// A new column comes with each so many files.
const FILES_PER_COLUMN: usize = 5;

const PIPELINE: &str = r#"
[pipeline]
name = "evolution"
checkpoint = "data/checkpoint"
trigger = "available-now"
threads = 2

[source.files]
path = "input"
max_files_per_epoch = 2
infer_column_types = true
infer_max_files = 1

[parser]
plugin = "builtin:json"

[table.rows]
path = "data/rows"
"#;

/// The columns of the rows of a file: the later it comes, the more there are.
fn row(file: usize, row: usize) -> Value {
    let number = file * ROWS_EACH + row;
    let mut columns = Map::from_iter([("number".to_owned(), json!(number))]);
    for column in 0..file / FILES_PER_COLUMN {
        let value = match column % 3 {
            0 => json!(number + column),
            1 => json!(format!("text {number}")),
            _ => json!({ "inside": number, format!("of_{file}"): true }),
        };
        columns.insert(format!("column_{column}"), value);
    }
    Value::Object(columns)
}

fn files() -> Vec<(String, String)> {
    let text = |file| Value::from_iter((0..ROWS_EACH).map(|number| row(file, number))).to_string();
    (0..FILES).map(|file| (format!("{file:03}.json"), text(file))).collect()
}

/// Every version is read: its number of rows and of columns.
const EVERY_VERSION: &str = r#"
import sys
from deltalake import DeltaTable
newest = DeltaTable(sys.argv[1]).version()
for version in range(newest + 1):
    rows = DeltaTable(sys.argv[1], version=version).to_pyarrow_table()
    print(rows.num_rows, len(rows.schema.names))
"#;

#[test]
fn columns_that_come_between_kills_are_in_the_table_and_no_row_is_lost() {
    let (folder, seed) = kill_often(PIPELINE, &files());
    let shown = succeed(folder.path(), &["table", "show", "data/rows", "--json", "--limit", "100000"]);
    let without_nulls = |value: &Value| {
        let mut row = value.as_object().unwrap().clone();
        row.retain(|_, value| !value.is_null());
        for value in row.values_mut().filter_map(Value::as_object_mut) {
            value.retain(|_, value| !value.is_null());
        }
        Value::Object(row)
    };
    let mut found: Vec<Value> = shown.lines().map(|line| without_nulls(&serde_json::from_str(line).unwrap())).collect();
    found.sort_by_key(|row| row["number"].as_u64());
    let expected: Vec<Value> =
        (0..FILES).flat_map(|file| (0..ROWS_EACH).map(move |number| row(file, number))).collect();
    assert_eq!(found.len(), expected.len(), "seed {seed}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "seed {seed}");
    }
    let path = folder.path().join("data/rows");
    let versions = python::script(EVERY_VERSION, &[path.to_str().unwrap()]);
    let versions: Vec<Vec<usize>> =
        versions.lines().map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect()).collect();
    assert!(versions.is_sorted(), "seed {seed}: rows and columns only grow: {versions:?}");
    // Those of the rows, and the one for what does not fit.
    assert_eq!(versions.last().unwrap(), &[FILES * ROWS_EACH, 1 + (FILES - 1) / FILES_PER_COLUMN + 1]);
}
