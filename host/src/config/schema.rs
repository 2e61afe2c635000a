//! The JSON Schema (draft 2020-12) of the pipeline file, for editors and for
//! the first of the two checks of a file.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::raw;

/// The JSON Schema of the pipeline file.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(without_null))
        .into_generator()
        .into_root_schema_for::<raw::File>()
        .to_value()
}

/// TOML has no null: what may be null may be absent, and the list of required
/// keys says so already.
fn without_null(schema: &mut schemars::Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_stays_as_it_was_agreed() {
        let golden: Value = serde_json::from_str(include_str!("schema.golden.json")).expect("golden file is JSON");
        let now = schema();
        assert_eq!(
            now,
            golden,
            "if the change is meant, write `weir schema` to schema.golden.json:\n{}",
            serde_json::to_string_pretty(&now).expect("schema is JSON")
        );
    }
}
