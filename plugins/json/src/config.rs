//! The configuration of the parser.

use weir_plugin::{NameCase, Problem, Schema};
use weir_values::settings::{self, Settings};

/// The JSON Schema of the configuration.
pub(crate) const SCHEMA: &str = concat!(
    r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {"#,
    weir_values::settings_schema!(),
    "\n  }\n}"
);

const HOW_TO_WRITE: &str = "list the columns to read, for example columns = \"deviceId string, ts timestamp, \
                            location.lat as lat double\", or let weir infer them: infer_column_types = true in \
                            [source.files]";

const KNOWN: &str = "`columns`, `on_mismatch` and `case_sensitive`";

/// Understand a configuration; `stored` stands in where it lists no columns.
pub(crate) fn for_rows(config: &str, stored: Option<&Schema>) -> Result<Settings, Vec<Problem>> {
    let mut config = settings::object(config)?;
    let mut problems = Vec::new();
    let settings = Settings::take(&mut config, stored, HOW_TO_WRITE, &mut problems);
    settings::refuse_rest(&config, KNOWN, &mut problems);
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// Understand as much of a configuration as matters before there are columns.
pub(crate) fn for_inference(config: &str) -> Result<NameCase, Vec<Problem>> {
    let mut config = settings::object(config)?;
    let mut problems = Vec::new();
    let case = settings::take_case(&mut config, &mut problems);
    if problems.is_empty() { Ok(case) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_columns_are_told_to_be_listed_or_inferred() {
        let problems = for_rows("{}", None).expect_err("no columns");
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, "columns"));
        for part in ["missing; list the columns", "infer_column_types = true in [source.files]"] {
            assert!(problems[0].message.contains(part), "{}", problems[0].message);
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        let problems = for_rows(r#"{"columns": "a int", "colour": 1}"#, None).expect_err("unknown");
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, "colour"));
    }

    #[test]
    fn inference_needs_no_columns() {
        assert_eq!(for_inference("{}").expect("valid"), NameCase::Sensitive);
        assert_eq!(for_inference(r#"{"case_sensitive": false}"#).expect("valid"), NameCase::Folded);
        assert!(for_inference(r#"{"case_sensitive": "no"}"#).is_err());
        assert!(for_inference("[]").is_err());
    }

    #[test]
    fn the_schema_is_json() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("JSON");
        let settings = schema["properties"].as_object().expect("an object");
        assert_eq!(settings.keys().collect::<Vec<_>>(), ["case_sensitive", "columns", "on_mismatch"]);
    }
}
