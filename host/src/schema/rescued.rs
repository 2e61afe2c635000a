//! Which columns a schema lacks, by what a parser rescued.

use std::collections::BTreeSet;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use serde_json::{Map, Value};

use super::text::is_same;

/// What a parser adds to what it rescues.
pub(super) const FILE_PATH: &str = "_file_path";

/// Columns that the schema lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewColumns {
    /// Their dotted paths.
    pub paths: BTreeSet<String>,
    /// The first row that has one.
    pub first_row: Option<usize>,
}

/// The columns in the rescued values of these rows, in the column of index
/// `rescued`, that `schema` does not have and that are not `ignored`.
pub fn new_columns(rows: &RecordBatch, rescued: usize, schema: &Schema, ignored: &BTreeSet<String>) -> NewColumns {
    let mut found = NewColumns::default();
    let Some(texts) = rows.columns().get(rescued).and_then(|column| column.as_string_opt::<i32>()) else {
        return found;
    };
    if texts.null_count() == texts.len() {
        return found;
    }
    for (row, text) in texts.iter().enumerate() {
        // What a plugin wrote is not trusted: without an object there is nothing new.
        let Some(Ok(Value::Object(object))) = text.map(serde_json::from_str) else { continue };
        let before = found.paths.len();
        look(&object, schema.fields(), "", ignored, &mut found.paths);
        if found.paths.len() > before {
            found.first_row.get_or_insert(row);
        }
    }
    found
}

fn look(
    object: &Map<String, Value>,
    fields: &[FieldRef],
    prefix: &str,
    ignored: &BTreeSet<String>,
    paths: &mut BTreeSet<String>,
) {
    for (key, value) in object {
        if prefix.is_empty() && key == FILE_PATH {
            continue;
        }
        let path = format!("{prefix}{key}");
        match fields.iter().find(|field| is_same(field.name(), key)) {
            Some(field) => look_inside(value, field.data_type(), &path, ignored, paths),
            None if ignored.contains(&path) => {}
            None => drop(paths.insert(path)),
        }
    }
}

fn look_inside(
    value: &Value,
    data_type: &DataType,
    path: &str,
    ignored: &BTreeSet<String>,
    paths: &mut BTreeSet<String>,
) {
    match (value, data_type) {
        (Value::Object(object), DataType::Struct(fields)) => {
            look(object, fields, &format!("{path}."), ignored, paths);
        }
        (Value::Array(values), DataType::List(item)) => {
            values.iter().for_each(|value| look_inside(value, item.data_type(), path, ignored, paths));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::super::text::columns_of;
    use super::*;

    #[track_caller]
    fn check(schema: &str, rescued: &[Option<&str>], paths: &[&str], first_row: Option<usize>) {
        let texts: ArrayRef = Arc::new(StringArray::from(rescued.to_vec()));
        let rows = RecordBatch::try_from_iter([("_rescued_data", texts)]).unwrap();
        let ignored = BTreeSet::from(["known.to.be.ignored".to_owned(), "ignored".to_owned()]);
        let found = new_columns(&rows, 0, &columns_of(schema).unwrap(), &ignored);
        assert_eq!(found.paths.iter().map(String::as_str).collect::<Vec<_>>(), paths);
        assert_eq!(found.first_row, first_row);
    }

    #[test]
    fn keys_that_the_schema_lacks_are_new_columns() {
        let file = r#""_file_path":"a.json""#;
        check("a bigint", &[None, None], &[], None);
        check("a bigint", &[None, Some(&format!(r#"{{"b":1,{file}}}"#))], &["b"], Some(1));
        check("a bigint", &[Some(&format!(r#"{{"a":"x",{file}}}"#))], &[], None);
        check("price double", &[Some(r#"{"Price":1}"#)], &[], None);
        check("l struct<lat: double>", &[Some(r#"{"l":{"lat":"x","alt":5}}"#)], &["l.alt"], Some(0));
        check("l array<struct<x: double>>", &[Some(r#"{"l":[{"x":1},{"y":5}]}"#)], &["l.y"], Some(0));
        check("l string", &[Some(r#"{"l":{"alt":5}}"#)], &[], None);
        check("a bigint", &[Some(r#"{"ignored":1}"#)], &[], None);
        check("a bigint", &[Some("no object"), Some("[1]")], &[], None);
    }
}
