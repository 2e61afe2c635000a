//! What a pipeline may say about its folder of files.

use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

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
    /// One message a line.
    Text,
    /// One message a file.
    Binary,
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
    /// How often to look for new files.
    pub poll_interval: Duration,
}

impl FilesSettings {
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
    /// Config if the glob cannot be understood or the poll interval is zero.
    pub fn validate(&self) -> Result<()> {
        if self.poll_interval.is_zero() {
            return Err(Error::config("the poll interval is zero: give a time such as 250ms"));
        }
        check_glob(&self.glob)
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
        let poll_interval = FilesSettings::default_poll_interval(&folder);
        let settings = |glob: &str| FilesSettings {
            folder: folder.clone(),
            glob: glob.to_owned(),
            format: FileFormat::Json,
            poll_interval,
        };
        assert!(settings("*").validate().is_ok());
        for (settings, says) in [
            (settings("["), "`[` is not a glob"),
            (settings(""), "the glob is empty"),
            (FilesSettings { poll_interval: Duration::ZERO, ..settings("*") }, "poll interval"),
        ] {
            let error = settings.validate().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn formats_have_kebab_names() {
        let names: Vec<String> = [FileFormat::Json, FileFormat::JsonLines, FileFormat::Text, FileFormat::Binary]
            .iter()
            .map(|format| serde_json::to_string(format).unwrap())
            .collect();
        assert_eq!(names, ["\"json\"", "\"json-lines\"", "\"text\"", "\"binary\""]);
    }
}
