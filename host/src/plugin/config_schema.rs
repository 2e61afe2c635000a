//! What a plugin's schema says of a configuration, in words for people.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::ConfigProblem;

/// The problems that one error of the validator stands for, each at its place.
pub(super) fn problems(error: &ValidationError<'_>) -> Vec<ConfigProblem> {
    let path = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let here = |message: String| vec![ConfigProblem { path: path.clone(), message }];
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => {
            let unknown =
                |key: &String| ConfigProblem { path: at(key), message: format!("there is no setting `{key}`") };
            unexpected.iter().map(unknown).collect()
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            here(format!("the setting `{key}` is missing"))
        }
        Kind::Type { .. } => here(format!("{}, found {}", expected(error), found(error.instance()))),
        Kind::MinItems { limit } => here(format!("at least {limit} {} needed", entries(*limit))),
        Kind::MaxItems { limit } => here(format!("at most {limit} {} allowed", entries(*limit))),
        Kind::MinProperties { limit } => here(format!("at least {limit} {} needed", entries(*limit))),
        Kind::Minimum { limit } => here(format!("{} is too small, the least is {limit}", error.instance())),
        Kind::Maximum { limit } => here(format!("{} is too large, the most is {limit}", error.instance())),
        _ => here(error.to_string()),
    }
}

/// What the validator expected, out of its own words, which have the type last.
fn expected(error: &ValidationError<'_>) -> String {
    let text = error.to_string();
    match text.rsplit_once("is not of type ").or_else(|| text.rsplit_once("is not of types ")) {
        Some((_, kinds)) => format!("expected {}", kinds.replace('"', "")),
        None => text,
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

fn entries(limit: u64) -> &'static str {
    if limit == 1 { "entry is" } else { "entries are" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(config: &Value, expected: &[(&str, &str)]) {
        let schema = json!({
            "type": "object",
            "properties": {
                "levels": { "type": "array", "minItems": 1, "items": { "type": "object", "required": ["kind"] } },
                "times": { "type": "integer", "minimum": 1 },
            },
            "required": ["levels"],
            "additionalProperties": false,
        });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let found: Vec<ConfigProblem> = validator.iter_errors(config).flat_map(|error| problems(&error)).collect();
        let found: Vec<(&str, &str)> =
            found.iter().map(|problem| (problem.path.as_str(), problem.message.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn schema_errors_name_the_setting_and_say_what_is_expected() {
        check(&json!({ "levels": [{ "kind": "HOT" }] }), &[]);
        check(&json!({}), &[("", "the setting `levels` is missing")]);
        check(&json!({ "levels": [] }), &[("levels", "at least 1 entry is needed")]);
        check(&json!({ "levels": [{}] }), &[("levels.0", "the setting `kind` is missing")]);
        check(&json!({ "levels": "HOT" }), &[("levels", "expected array, found a text")]);
        check(
            &json!({ "levels": [{ "kind": "HOT" }], "times": 0, "tims": 3 }),
            &[("times", "0 is too small, the least is 1"), ("tims", "there is no setting `tims`")],
        );
    }
}
