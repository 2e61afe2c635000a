//! How the schema of files is managed.

use super::super::raw;
use super::super::validated::TableEvolution;
use super::{Check, bytes};
use crate::schema::{self, Evolution, RESCUED, SampleBounds, SchemaSettings, Types};

/// The first 50 GB are enough to know the columns of most folders.
const SAMPLE_BYTES: u64 = 50_000_000_000;
/// As are the first thousand files.
const SAMPLE_FILES: u64 = 1000;

impl Check<'_> {
    /// The settings, if weir is to keep the schema; also decides what becomes of
    /// columns that tables do not have.
    pub(super) fn schema(&mut self, raw: &raw::Files) -> Option<SchemaSettings> {
        let at = |key: &str| format!("source.files.{key}");
        let is_managed = ["schema", "schema_hints", "infer_column_types", "schema_evolution", "rescued_data_column"];
        let is_managed = raw.have_columns() || is_managed.iter().any(|key| self.file.has(&at(key)));
        for key in ["infer_max_files", "infer_max_bytes"] {
            if self.file.has(&at(key)) && (!is_managed || raw.schema.is_some()) {
                let remedy = "set `infer_column_types` too, or leave it out".to_owned();
                self.wrong(&at(key), "the schema is not inferred", Some(remedy));
            }
        }
        if !is_managed {
            return None;
        }
        let columns = |text: &str| schema::columns_of(text).map(Some);
        let explicit = self.text(&at("schema"), raw.schema.clone(), "a list of columns", None, columns);
        let hints = raw.schema_hints.clone();
        let hints = self.text(&at("schema_hints"), hints, "a list of columns", Vec::new(), schema::hints_of);
        let max_bytes = self.size(&at("infer_max_bytes"), raw.infer_max_bytes.clone(), SAMPLE_BYTES, 1..=u64::MAX);
        let evolution = match (raw.schema_evolution, &raw.schema) {
            (Some(raw::SchemaEvolution::AddNewColumns | raw::SchemaEvolution::AddNewColumnsWithTypeWidening), _)
            | (None, None) => Evolution::AddNewColumns,
            (Some(raw::SchemaEvolution::AddNewColumnsRestart), _) => Evolution::AddNewColumnsAndStop,
            (Some(raw::SchemaEvolution::Rescue), _) => Evolution::Rescue,
            (Some(raw::SchemaEvolution::FailOnNewColumns), _) => Evolution::FailOnNewColumns,
            (Some(raw::SchemaEvolution::None), _) | (None, Some(_)) => Evolution::None,
        };
        // The schema gets columns by hints and by hand, too.
        self.evolution = TableEvolution::AddColumns;
        let rescued = raw.rescued_data_column.clone();
        if rescued.as_deref().is_some_and(|name| name.trim().is_empty()) {
            self.wrong(&at("rescued_data_column"), "the name is empty", None);
        }
        Some(SchemaSettings {
            explicit: explicit?,
            hints: hints?,
            // Columns have types already.
            types: match raw.infer_column_types.unwrap_or(raw.have_columns()) {
                true => Types::Inferred,
                false => Types::Strings,
            },
            rescued_column: rescued.or_else(|| (evolution != Evolution::None).then(|| RESCUED.to_owned())),
            evolution,
            sample: SampleBounds {
                max_files: bytes(raw.infer_max_files.unwrap_or(SAMPLE_FILES)),
                max_bytes: max_bytes?,
            },
        })
    }
}
