//! What a pipeline may say about its folder of files.

use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::fields;
use crate::env::Location;
use crate::{Error, Result};

/// How the bytes of a file become messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// Root values of JSON, pretty-printed or not, one or several a file; the
    /// elements of a root array that is longer than a chunk.
    Json,
    /// One value of JSON a line.
    JsonLines,
    /// Whole records, some of them a message; a record may have lines in quotes.
    Csv,
    /// One message a line.
    Text,
    /// One message a file.
    Binary,
    /// Rows that have columns; there is nothing to parse.
    Parquet,
}

/// A folder of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesSettings {
    /// The folder; files are found at any depth below it.
    pub folder: Location,
    /// Which files: without a `/` it is matched with the file name, otherwise
    /// with the whole path below the folder.
    pub glob: String,
    /// How a file becomes messages.
    pub format: FileFormat,
    /// What encloses a field of CSV that has line ends in it, if anything does.
    pub csv_quote: Option<u8>,
    /// Folders `name=value` on the way to a file that are message fields.
    pub partition_columns: Vec<String>,
    /// How often to look for new files.
    pub poll_interval: Duration,
    /// What becomes of files that are there at the very first start.
    pub existing: Existing,
    /// What becomes of a file that changes after it was read.
    pub overwrites: Overwrites,
    /// Files whose modification time is longer ago are neither read nor
    /// remembered.
    pub max_age: Option<Duration>,
    /// Object stores: how often everything is listed, if in between only names
    /// behind the greatest known one are.
    pub backfill_interval: Option<Duration>,
    /// What becomes of files that were read.
    pub clean: Option<CleanSource>,
}

/// What becomes of files that are there at the very first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They are read.
    Read,
    /// They are passed over, for good.
    PassedOver,
}

/// What becomes of a file that changes after it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrites {
    /// It is passed over, with a warning.
    PassedOver,
    /// It is read again as a whole.
    Read,
}

/// What becomes of files that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanSource {
    /// How they go.
    pub how: Clean,
    /// How long they stay after the epoch that read them.
    pub retention: Duration,
}

/// How a file leaves the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clean {
    /// It is deleted.
    Delete,
    /// It is moved to the same path below this folder of the same store.
    Move(Location),
}

impl FilesSettings {
    /// JSON files in a folder, and the default of everything else.
    pub fn new(folder: Location) -> Self {
        Self {
            poll_interval: Self::default_poll_interval(&folder),
            folder,
            glob: "**".to_owned(),
            format: FileFormat::Json,
            csv_quote: Some(b'"'),
            partition_columns: Vec::new(),
            existing: Existing::Read,
            overwrites: Overwrites::PassedOver,
            max_age: None,
            backfill_interval: None,
            clean: None,
        }
    }

    /// A poll interval that suits a location: listing a local folder is cheap,
    /// listing an object store costs money.
    pub fn default_poll_interval(folder: &Location) -> Duration {
        match folder {
            Location::Local(_) => Duration::from_millis(250),
            Location::Remote(_) => Duration::from_secs(5),
        }
    }

    /// Whether the settings can be used.
    ///
    /// # Errors
    /// Config if the glob cannot be understood, the poll interval is zero, a
    /// partition column cannot be one, or files cannot be moved to where they
    /// should be.
    pub fn validate(&self) -> Result<()> {
        if self.poll_interval.is_zero() {
            return Err(Error::config("the poll interval is zero: give a time such as 250ms"));
        }
        check_glob(&self.glob)?;
        for (index, name) in self.partition_columns.iter().enumerate() {
            check_partition_column(&self.partition_columns[..index], name).map_err(Error::config)?;
        }
        match &self.clean {
            Some(CleanSource { how: Clean::Move(target), .. }) => {
                check_move_target(&self.folder, target).map_err(Error::config)
            }
            Some(CleanSource { how: Clean::Delete, .. }) | None => Ok(()),
        }
    }
}

/// Whether a name can be a partition column behind others.
///
/// Fails with why not.
pub fn check_partition_column(before: &[String], name: &str) -> std::result::Result<(), String> {
    if name.is_empty() || name.contains(['/', '=']) {
        return Err(format!("`{name}` cannot be the name of a folder before `=`"));
    }
    if fields::is_reserved(name) {
        return Err(format!("`{name}` is a message field of every file"));
    }
    match before.iter().any(|other| other.eq_ignore_ascii_case(name)) {
        true => Err(format!("`{name}` is there twice")),
        false => Ok(()),
    }
}

/// Whether files of a folder can be moved to another.
///
/// Fails with why not.
pub fn check_move_target(folder: &Location, target: &Location) -> std::result::Result<(), String> {
    if target.contains(folder) || folder.contains(target) {
        return Err(format!("{target} and the folder of the source, {folder}, must not lie within each other"));
    }
    match target.is_same_store(folder) {
        true => Ok(()),
        false => Err(format!("{target} is not in the store of the source, {folder}")),
    }
}

/// Whether a glob can be understood.
///
/// # Errors
/// Config if it is empty or malformed.
pub fn check_glob(text: &str) -> Result<()> {
    FileGlob::parse(text).map(|_| ())
}

/// A compiled glob.
#[derive(Debug)]
pub(super) struct FileGlob {
    matcher: GlobMatcher,
    of: GlobOf,
}

#[derive(Debug, Clone, Copy)]
enum GlobOf {
    Name,
    Path,
}

impl FileGlob {
    /// Understand a glob; `*` and `?` do not cross `/`, `**` does.
    ///
    /// # Errors
    /// Config if it is empty or malformed.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::config("the glob is empty: use `*` for all files"));
        }
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .build()
            .map_err(|error| Error::config(format!("`{text}` is not a glob")).because(error))?;
        let of = if text.contains('/') { GlobOf::Path } else { GlobOf::Name };
        Ok(Self { matcher: glob.compile_matcher(), of })
    }

    /// Whether a path below the folder is meant.
    pub(super) fn matches(&self, path: &str) -> bool {
        match self.of {
            GlobOf::Path => self.matcher.is_match(path),
            GlobOf::Name => self.matcher.is_match(path.rsplit('/').next().unwrap_or(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_without_slash_matches_names_at_any_depth() {
        let cases = [
            ("*.json", "a.json", true),
            ("*.json", "x/y/a.json", true),
            ("*.json", "a.json.gz", false),
            ("*.{json,json.gz}", "x/a.json.gz", true),
            ("x/*.json", "x/a.json", true),
            ("x/*.json", "x/y/a.json", false),
            ("x/**/*.json", "x/y/z/a.json", true),
            ("x/**/*.json", "a.json", false),
            ("*", "x/anything", true),
        ];
        for (glob, path, expected) in cases {
            assert_eq!(FileGlob::parse(glob).unwrap().matches(path), expected, "{glob} on {path}");
        }
    }

    #[test]
    fn broken_settings_are_refused() {
        let folder = Location::parse("memory://x/y", std::path::Path::new("/")).unwrap();
        let settings = |glob: &str| FilesSettings { glob: glob.to_owned(), ..FilesSettings::new(folder.clone()) };
        let columns = |names: &[&str]| FilesSettings {
            partition_columns: names.iter().map(|name| (*name).to_owned()).collect(),
            ..settings("*")
        };
        let moved = |to: &str| {
            let to = Location::parse(to, std::path::Path::new("/")).unwrap();
            FilesSettings {
                clean: Some(CleanSource { how: Clean::Move(to), retention: Duration::ZERO }),
                ..settings("*")
            }
        };
        for sound in [settings("*"), columns(&["date", "hour"]), moved("memory://x/z"), moved("memory://x/yy")] {
            assert!(sound.validate().is_ok(), "{sound:?}");
        }
        for (settings, says) in [
            (settings("["), "`[` is not a glob"),
            (settings(""), "the glob is empty"),
            (FilesSettings { poll_interval: Duration::ZERO, ..settings("*") }, "poll interval"),
            (columns(&["position"]), "`position` is a message field"),
            (columns(&["_metadata"]), "`_metadata` is a message field"),
            (columns(&["date", "Date"]), "`Date` is there twice"),
            (columns(&["a=b"]), "`a=b` cannot be"),
            (moved("memory://x/y"), "must not lie within"),
            (moved("memory://x/y/z"), "must not lie within"),
            (moved("memory://x/"), "must not lie within"),
            (moved("memory://other/z"), "not in the store"),
            (moved("/tmp/z"), "not in the store"),
        ] {
            let error = settings.validate().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn formats_have_kebab_names() {
        let names: Vec<String> = [FileFormat::Json, FileFormat::JsonLines, FileFormat::Csv, FileFormat::Text]
            .iter()
            .map(|format| serde_json::to_string(format).unwrap())
            .collect();
        assert_eq!(names, ["\"json\"", "\"json-lines\"", "\"csv\"", "\"text\""]);
    }
}
