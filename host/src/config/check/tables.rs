//! Tables, their columns, and which folders may lie in which.

use std::collections::{BTreeMap, BTreeSet};

use super::super::file::join;
use super::super::raw;
use super::super::texts;
use super::super::validated::{
    ColumnFrom, Compression, RuleConfig, SourceConfig, TableColumn, TableConfig, WindowConfig,
};
use super::{Check, MIB};
use crate::env::Location;
use crate::source::files::{Clean, CleanSource};

/// Readers forget which epochs a table has when they are told to forget early.
const FORBIDDEN_PROPERTY: &str = "delta.setTransactionRetentionDuration";
/// The name of the section, and of the table in reports, of the dead letters.
const RESERVED: &str = "dead_letters";

impl Check<'_> {
    /// The tables, or as many of them as are right.
    pub(super) fn tables(&mut self, raw: BTreeMap<String, Option<raw::Table>>) -> Vec<TableConfig> {
        if raw.is_empty() && self.is_clean_below("table") {
            self.wrong("table", "there is no table", Some("add `[table.NAME]` with a `path`".to_owned()));
        }
        let mut tables = Vec::new();
        for (name, table) in raw {
            let path = join("table", &name);
            let shown = self.file.shown("", &name);
            if !texts::is_name(&name) {
                let remedy = "use letters, digits, `_` and `-`, with a letter or `_` first".to_owned();
                self.wrong(&path, format!("{shown} cannot name a table"), Some(remedy));
            } else if name == RESERVED {
                let remedy = format!("choose another name; `[{RESERVED}]` says where dead letters go");
                self.wrong(&path, format!("the name {shown} is reserved"), Some(remedy));
            }
            if let Some(table) = table {
                tables.extend(self.table(&path, name, table));
            }
        }
        tables
    }

    pub(super) fn table(&mut self, path: &str, name: String, raw: raw::Table) -> Option<TableConfig> {
        let location = self.location(&join(path, "path"), raw.path);
        let columns = raw.columns.map(|columns| self.columns(&join(path, "columns"), columns));
        let columns_are_known =
            columns.as_ref().is_none_or(Option::is_some) && self.is_clean_below(&join(path, "columns"));
        let named = columns.as_ref().and_then(Option::as_deref).filter(|_| columns_are_known);
        let partition_by = self.partition_by(&join(path, "partition_by"), raw.partition_by.unwrap_or_default(), named);
        let target = &join(path, "target_file_size");
        let target_file_bytes = self.size(target, raw.target_file_size, 128 * MIB, 1..=1 << 40);
        let mut properties = BTreeMap::new();
        for (key, value) in raw.properties.unwrap_or_default() {
            if key == FORBIDDEN_PROPERTY {
                let message = "with this property a table forgets which epochs it has";
                self.wrong(&join(&join(path, "properties"), &key), message, Some("leave it out".to_owned()));
            }
            properties.extend(value.map(|value| (key, value)));
        }
        Some(TableConfig {
            name,
            location: location?,
            partition_by,
            columns: columns.flatten(),
            properties,
            compression: raw.compression.unwrap_or(Compression::Zstd),
            target_file_bytes: target_file_bytes?,
            evolution: raw.schema_evolution.unwrap_or(self.evolution),
        })
    }

    /// The columns, if all of them are right.
    fn columns(&mut self, path: &str, raw: Vec<Option<String>>) -> Option<Vec<TableColumn>> {
        if raw.is_empty() {
            let remedy = "name columns, or leave `columns` out for all of them".to_owned();
            self.wrong(path, "the table has no columns", Some(remedy));
            return None;
        }
        let count = raw.len();
        // Delta tells columns apart without looking at case.
        let mut names = BTreeSet::new();
        let mut columns = Vec::with_capacity(count);
        for (index, text) in raw.into_iter().enumerate() {
            let Some(text) = text else { continue };
            let path = join(path, &index.to_string());
            match texts::column(&text) {
                Ok(column) if names.insert(column.name.to_lowercase()) => columns.push(column),
                Ok(column) => {
                    let message = format!("another column has the name {}", self.file.shown(&path, &column.name));
                    self.wrong(&path, message, Some("rename one of them: \"column as name\"".to_owned()));
                }
                Err(remedy) => {
                    self.wrong(&path, format!("{} is not a column", self.file.shown(&path, &text)), Some(remedy));
                }
            }
        }
        (columns.len() == count).then_some(columns)
    }

    fn partition_by(&mut self, path: &str, raw: Vec<Option<String>>, columns: Option<&[TableColumn]>) -> Vec<String> {
        let mut partition_by: Vec<String> = Vec::with_capacity(raw.len());
        for (index, name) in raw.into_iter().enumerate() {
            let Some(name) = name else { continue };
            let path = join(path, &index.to_string());
            let shown = self.file.shown(&path, &name);
            if partition_by.contains(&name) {
                self.wrong(&path, format!("{shown} is there twice"), Some("keep one of them".to_owned()));
            } else if let Some(columns) = columns
                && !columns.iter().any(|column| column.name == name || column.from == ColumnFrom::Rest)
            {
                let names = columns.iter().map(|column| format!("`{}`", column.name)).collect::<Vec<_>>().join(", ");
                let message = format!("{shown} is not among the columns of the table");
                self.wrong(&path, message, Some(format!("use one of {names}")));
            }
            partition_by.push(name);
        }
        if columns.is_some_and(|columns| columns.len() <= partition_by.len() && !has_rest(columns))
            && self.is_clean_below(path)
        {
            let remedy = "leave at least one column that the table is not partitioned by".to_owned();
            self.wrong(path, "the table is partitioned by all its columns", Some(remedy));
        }
        partition_by
    }

    /// Which folders may lie in which: nothing that weir writes lies where it
    /// reads, and no two tables share a folder.
    pub(super) fn places(
        &mut self,
        source: Option<&SourceConfig>,
        checkpoint: Option<&Location>,
        tables: &[TableConfig],
        windows: &[WindowConfig],
        rules: &[RuleConfig],
        dead_letters: Option<&Location>,
    ) {
        let place = |path: String, table: &'_ TableConfig| (join(&path, "path"), format!("the table {}", table.name));
        let tables = tables.iter().map(|table| (place(join("table", &table.name), table), table));
        let windows = windows.iter().flat_map(|window| {
            let path = |key: &str| join(&join("window", &window.name), key);
            let table = window.table.iter().map(move |table| (place(path("table"), table), table));
            table.chain(window.late.iter().map(move |table| (place(path("late"), table), table)))
        });
        let rule_configs = rules;
        let rules = rules.iter().map(|rule| {
            let path = join(&join("rule", &rule.name), "table");
            (place(path, &rule.table), &rule.table)
        });
        let tables = tables.chain(windows).chain(rules).map(|((path, what), table)| (path, what, &table.location));
        let dead = "dead_letters.path";
        let dead_letters = dead_letters.filter(|_| self.file.has(dead));
        let dead_letters = dead_letters.map(|at| (dead.to_owned(), "the dead-letter table".to_owned(), at));
        let checkpoint = checkpoint.map(|at| ("pipeline.checkpoint".to_owned(), "the checkpoint".to_owned(), at));
        let tables: Vec<_> = tables.chain(dead_letters).collect();
        let folders: Vec<_> = checkpoint.iter().chain(&tables).cloned().collect();
        self.notify_places(source, &folders, rule_configs);
        if let Some(SourceConfig::Files(files)) = source {
            for (path, what, at) in checkpoint.iter().chain(&tables) {
                if contains(&files.folder, at) {
                    let remedy = "weir would read what it writes: move one of them".to_owned();
                    self.wrong(path, format!("{what} lies in the folder of the source"), Some(remedy));
                }
                if let Some(CleanSource { how: Clean::Move(target), .. }) = &files.clean
                    && (contains(at, target) || contains(target, at))
                {
                    let remedy = "give the files that were read a folder of their own".to_owned();
                    let message = format!("files are moved to where {what} is");
                    self.wrong("source.files.clean_source_move_to", message, Some(remedy));
                }
            }
        }
        for (index, (path, what, at)) in tables.iter().enumerate() {
            for (_, other_what, other) in &tables[..index] {
                let message = if at == other {
                    format!("{what} has the same folder as {other_what}")
                } else if contains(other, at) {
                    format!("{what} lies in the folder of {other_what}")
                } else if contains(at, other) {
                    format!("{other_what} lies in the folder of {what}")
                } else {
                    continue;
                };
                self.wrong(path, message, Some("give each table a folder of its own".to_owned()));
            }
            if let Some((_, _, checkpoint)) = &checkpoint
                && contains(at, checkpoint)
            {
                let remedy = "give the checkpoint a folder outside of all tables".to_owned();
                self.wrong("pipeline.checkpoint", format!("the checkpoint lies in the folder of {what}"), Some(remedy));
            }
        }
    }
}

fn has_rest(columns: &[TableColumn]) -> bool {
    columns.iter().any(|column| column.from == ColumnFrom::Rest)
}

/// Whether `inner` is `outer` or lies below it.
pub(super) fn contains(outer: &Location, inner: &Location) -> bool {
    outer.contains(inner)
}
