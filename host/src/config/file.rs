//! Where each key of a pipeline file stands, and what must not be printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::problem::{Problem, Problems};

/// What a redacted value is shown as.
const REDACTED: &str = "[redacted]";
/// An interpolated value that is shorter is only hidden where it stands: taken
/// out of every text, it would take ordinary words apart.
const MIN_SECRET_CHARS: usize = 4;
/// A longer value is cut when it is shown.
const MAX_SHOWN_CHARS: usize = 80;

/// A byte position of a key and of its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) key: usize,
    pub(super) value: usize,
}

/// A pipeline file that was read: it tells where the keys stand.
///
/// Dotted paths name the keys: `table.events.columns.0`; a key that is not a
/// bare TOML key is quoted, and a transform may be named by its name as well as
/// by its index. Never prints the text of the file.
#[derive(Clone)]
pub struct PipelineFile {
    path: PathBuf,
    /// Byte positions of the beginnings of the lines.
    lines: Vec<usize>,
    text: String,
    places: BTreeMap<String, Place>,
    /// From a path that the checks use to the one that the file has.
    aliases: Vec<(String, String)>,
    interpolated: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl PipelineFile {
    /// A file without any keys yet.
    pub(super) fn new(path: &Path, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self {
            path: path.to_owned(),
            lines: std::iter::once(0).chain(breaks).collect(),
            text: text.to_owned(),
            places: BTreeMap::new(),
            aliases: Vec::new(),
            interpolated: BTreeSet::new(),
            secrets: BTreeSet::new(),
        }
    }

    /// The path of the file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A problem with the value at a dotted path, or, where the file has no such
    /// key, with the nearest key above it. Secrets are taken out of the texts.
    pub fn problem_at(&self, path: &str, message: impl Into<String>, remedy: Option<String>) -> Problem {
        let place = self.nearest(path);
        self.problem(path, place.value, message.into(), remedy)
    }

    /// Whether the file has this key, right or wrong.
    pub fn has(&self, path: &str) -> bool {
        self.places.contains_key(&self.resolve(path))
    }

    /// A problem with the key, not with its value.
    pub(super) fn problem_at_key(&self, path: &str, message: String, remedy: Option<String>) -> Problem {
        self.problem(path, self.nearest(path).key, message, remedy)
    }

    /// A problem at a byte position.
    pub(super) fn problem(&self, path: &str, at: usize, message: String, remedy: Option<String>) -> Problem {
        let (line, column) = self.line_and_column(at);
        let hidden = self.is_interpolated(path);
        let remedy = remedy.map(|remedy| self.redact(&remedy, hidden));
        Problem { path: path.to_owned(), line, column, message: self.redact(&message, hidden), remedy }
    }

    /// These problems of this file.
    pub fn problems(&self, list: Vec<Problem>) -> Problems {
        Problems::new(&self.path.display().to_string(), list)
    }

    /// A value as it may be shown in a message.
    pub(super) fn shown(&self, path: &str, text: &str) -> String {
        if self.is_interpolated(path) {
            return "the interpolated value".to_owned();
        }
        let mut short: String = text.chars().take(MAX_SHOWN_CHARS).flat_map(char::escape_debug).collect();
        if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
            short.push('…');
        }
        format!("`{}`", short.replace("\\\"", "\"").replace("\\'", "'"))
    }

    /// Whether the value at this path came, in part, from an interpolation.
    pub(super) fn is_interpolated(&self, path: &str) -> bool {
        self.interpolated.contains(&self.resolve(path))
    }

    pub(super) fn add(&mut self, path: String, place: Place) {
        self.places.insert(path, place);
    }

    pub(super) fn add_alias(&mut self, alias: String, path: String) {
        self.aliases.push((alias, path));
    }

    pub(super) fn add_secrets(&mut self, path: &str, secrets: Vec<String>) {
        if !secrets.is_empty() {
            self.interpolated.insert(path.to_owned());
            self.secrets.extend(secrets.into_iter().filter(|secret| !secret.is_empty()));
        }
    }

    fn redact(&self, text: &str, also_short: bool) -> String {
        let mut text = text.to_owned();
        // The longest first: one secret may be part of another.
        let mut secrets: Vec<_> = self.secrets.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            if also_short || secret.chars().count() >= MIN_SECRET_CHARS {
                text = text.replace(secret.as_str(), REDACTED);
                text = text.replace(&secret.escape_debug().to_string(), REDACTED);
            }
        }
        text
    }

    /// The place of the key, or of the nearest key above it.
    fn nearest(&self, path: &str) -> Place {
        let path = self.resolve(path);
        let mut path = path.as_str();
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => return Place { key: 0, value: 0 },
            }
        }
    }

    /// The path that the file has for a path that the checks use.
    fn resolve(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for (alias, target) in &self.aliases {
            if let Some(rest) = path.strip_prefix(alias.as_str())
                && (rest.is_empty() || rest.starts_with('.'))
            {
                path = format!("{target}{rest}");
            }
        }
        path
    }

    fn line_and_column(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..at).map_or(0, |before| before.chars().count());
        (line, before + 1)
    }
}

impl fmt::Debug for PipelineFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The dotted path of a key below another one.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
