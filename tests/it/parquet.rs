//! Files that have columns: Parquet of a writer that we did not write.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use weir_tests::binary::{fail, succeed};
use weir_tests::python;

const PIPELINE: &str = r#"
[pipeline]
name = "columns"
checkpoint = "data/checkpoint"
trigger = "available-now"
max_dead_letter_ratio = 1.0

[source.files]
path = "input"
glob = "*.parquet"
format = "parquet"

[table.rows]
path = "data/rows"
"#;

/// Writes a file with rows of these columns: `{"name": [type, [values]]}`.
const WRITE: &str = r#"
import json, sys, datetime, decimal
import pyarrow as pa, pyarrow.parquet as pq
types = {
    "int": pa.int32(), "bigint": pa.int64(), "float": pa.float32(), "double": pa.float64(), "string": pa.string(),
    "date": pa.date32(), "time": pa.timestamp("ns"), "decimal": pa.decimal128(10, 2), "bool": pa.bool_(),
    "list": pa.list_(pa.int16()), "struct": pa.struct([("lat", pa.float64()), ("alt", pa.int32())]),
    "duration": pa.duration("s"),
}
def value(kind, value):
    if value is None: return None
    if kind == "date": return datetime.date.fromisoformat(value)
    if kind == "time": return datetime.datetime.fromisoformat(value)
    if kind == "decimal": return decimal.Decimal(value)
    return value
columns = json.load(open(sys.argv[2]))
arrays = [pa.array([value(kind, one) for one in values], types[kind]) for kind, values in columns.values()]
pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), sys.argv[1])
"#;

fn project() -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("input/day=2025-10-05")).unwrap();
    fs::write(folder.path().join("pipeline.toml"), PIPELINE).unwrap();
    folder
}

fn write(folder: &Path, name: &str, columns: &Value) {
    let path = folder.join("input").join(name);
    let listed = folder.join("columns.json");
    fs::write(&listed, columns.to_string()).unwrap();
    python::script(WRITE, &[path.to_str().unwrap(), listed.to_str().unwrap()]);
}

fn rows(folder: &Path) -> Vec<Value> {
    let shown = succeed(folder, &["table", "show", "data/rows", "--json", "--limit", "100000"]);
    let mut rows: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &mut rows {
        row.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    }
    rows.sort_by_key(|row| row["id"].as_i64());
    rows
}

#[test]
fn parquet_arrives_as_columns_in_the_types_of_the_contract() {
    let folder = project();
    let columns = json!({
        "id": ["int", [1, 2]],
        "f": ["float", [1.5, null]],
        "d": ["date", ["2025-10-05", null]],
        "t": ["time", ["2025-10-05T18:40:10.123456", null]],
        "m": ["decimal", ["12.50", null]],
        "b": ["bool", [true, false]],
        "s": ["string", ["x", "y"]],
        "l": ["list", [[1, 2], []]],
        "p": ["struct", [{ "lat": 1.5, "alt": 3 }, null]],
    });
    write(folder.path(), "a.parquet", &columns);
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let expected = [
        json!({ "b": true, "d": "2025-10-05T00:00:00Z", "f": 1.5, "id": 1, "l": [1, 2], "m": 12.5,
            "p": { "lat": 1.5, "alt": 3 }, "s": "x", "t": "2025-10-05T18:40:10.123456Z" }),
        json!({ "b": false, "id": 2, "l": [], "s": "y" }),
    ];
    assert_eq!(rows(folder.path()), expected);
}

#[test]
fn columns_of_parquet_evolve_and_what_does_not_fit_is_rescued() {
    let folder = project();
    write(folder.path(), "a.parquet", &json!({ "id": ["bigint", [1]], "n": ["bigint", [5]] }));
    succeed(folder.path(), &["run", "pipeline.toml"]);
    write(
        folder.path(),
        "b.parquet",
        &json!({ "id": ["bigint", [2]], "n": ["string", ["x"]], "new": ["double", [0.5]] }),
    );
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let found = rows(folder.path());
    assert_eq!(found[0], json!({ "id": 1, "n": 5 }));
    assert_eq!((&found[1]["id"], &found[1]["new"]), (&json!(2), &json!(0.5)));
    let rescued: Value = serde_json::from_str(found[1]["_rescued_data"].as_str().unwrap()).unwrap();
    assert_eq!(rescued["n"], json!("x"));
    assert!(rescued["_file_path"].as_str().unwrap().ends_with("input/b.parquet"), "{rescued}");
}

#[test]
fn folders_of_partitions_become_columns() {
    let folder = project();
    write(folder.path(), "day=2025-10-05/a.parquet", &json!({ "id": ["bigint", [1]] }));
    succeed(folder.path(), &["run", "pipeline.toml"]);
    write(folder.path(), "b.parquet", &json!({ "id": ["bigint", [2]] }));
    succeed(folder.path(), &["run", "pipeline.toml"]);
    assert_eq!(rows(folder.path()), [json!({ "id": 1, "day": "2025-10-05" }), json!({ "id": 2 })]);
}

#[test]
fn many_rows_come_through_once_and_in_batches() {
    let folder = project();
    let ids: Vec<u32> = (0..50_000).collect();
    write(folder.path(), "a.parquet", &json!({ "id": ["bigint", ids] }));
    succeed(folder.path(), &["run", "pipeline.toml"]);
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let found: Vec<i64> = rows(folder.path()).iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert_eq!(found, (0..50_000).collect::<Vec<i64>>());
}

#[test]
fn damaged_parquet_and_unknown_types_are_dead_letters_and_the_rest_goes_on() {
    let folder = project();
    write(folder.path(), "a.parquet", &json!({ "id": ["bigint", [1]] }));
    fs::write(folder.path().join("input/b.parquet"), b"PAR1 is not enough").unwrap();
    write(folder.path(), "c.parquet", &json!({ "id": ["bigint", [3]], "took": ["duration", [7]] }));
    succeed(folder.path(), &["run", "pipeline.toml"]);
    assert_eq!(rows(folder.path()), [json!({ "id": 1 })]);
    let letters = succeed(folder.path(), &["dead-letters", "pipeline.toml", "--json"]);
    let mut letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    letters.sort_by_key(|letter| letter["source_place"].as_str().unwrap().to_owned());
    let reason = |letter: usize| letters[letter]["reason"].as_str().unwrap();
    assert_eq!(letters.len(), 2);
    assert!(reason(0).contains("cannot be read as Parquet"), "{}", reason(0));
    assert!(reason(1).contains("`took`"), "{}", reason(1));
}

#[test]
fn parser_beside_parquet_and_no_parser_beside_bytes_are_refused() {
    let folder = project();
    let parser = "\n[parser]\nplugin = \"builtin:json\"\n";
    fs::write(folder.path().join("pipeline.toml"), PIPELINE.to_owned() + parser).unwrap();
    let printed = fail(folder.path(), &["check", "pipeline.toml"], 2);
    assert!(printed.contains("leave `[parser]` out"), "{printed}");
    fs::write(folder.path().join("pipeline.toml"), PIPELINE.replace("\"parquet\"", "\"json\"")).unwrap();
    let printed = fail(folder.path(), &["check", "pipeline.toml"], 2);
    assert!(printed.contains("there is no parser"), "{printed}");
}
