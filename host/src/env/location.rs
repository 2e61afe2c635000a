//! Where something lies: a local path or the URL of an object store.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use url::Url;

use crate::{Error, Result};

/// The schemes of the object stores that weir can reach.
const SCHEMES: &[&str] = &["file", "memory", "az", "azure", "abfs", "abfss", "adl", "s3", "s3a"];

/// A folder (or file) on the local disk or on an object store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// An absolute path on the local disk.
    Local(PathBuf),
    /// A URL such as `az://container/path`.
    Remote(Url),
}

impl Location {
    /// Understand a path, taken relative to `base`, or a URL.
    ///
    /// # Errors
    /// Config for an empty text, a malformed URL, or an unknown scheme.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        if text.trim().is_empty() {
            return Err(Error::config("the location is empty: give a path or a URL such as az://container/path"));
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::Local(normalize(&base.join(text))?));
        };
        // What is behind it may be a signature, which no message may show.
        if let Some((shown, _)) = text.split_once(['?', '#']) {
            return Err(Error::config(format!(
                "`{shown}` has something behind it: write the URL alone, and put a shared access signature into the \
                 variable AZURE_STORAGE_SAS_TOKEN"
            )));
        }
        if !SCHEMES.contains(&scheme) {
            let known = SCHEMES.join(", ");
            return Err(Error::config(format!(
                "`{text}` has the unknown scheme `{scheme}`: use a path or one of {known}"
            )));
        }
        let url = Url::parse(text).map_err(|error| Error::config(format!("`{text}` is not a URL")).because(error))?;
        if url.password().is_some() {
            return Err(Error::config(format!(
                "a {scheme}:// URL holds a password: keys belong into the environment, such as AZURE_STORAGE_ACCOUNT_KEY"
            )));
        }
        if scheme == "file" {
            let path = url.to_file_path().map_err(|()| Error::config(format!("`{text}` is not a local path")))?;
            return Ok(Self::Local(normalize(&path)?));
        }
        Ok(Self::Remote(url))
    }

    /// The location below this one; `name` has `/` between its parts.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Remote(url) => {
                let mut url = url.clone();
                let path = format!("{}/{name}", url.path().trim_end_matches('/'));
                url.set_path(&path);
                Self::Remote(url)
            }
        }
    }

    /// Whether `inner` is this location or lies below it.
    pub fn contains(&self, inner: &Self) -> bool {
        match (self, inner) {
            (Self::Local(outer), Self::Local(inner)) => inner.starts_with(outer),
            (Self::Remote(outer), Self::Remote(inner)) => {
                let (above, below) = (outer.path().trim_end_matches('/'), inner.path());
                let rest = below.strip_prefix(above);
                is_same_place(outer, inner) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            (Self::Local(_), Self::Remote(_)) | (Self::Remote(_), Self::Local(_)) => false,
        }
    }

    /// Whether both are on the local disk, or in one container of one store.
    pub fn is_same_store(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(_), Self::Local(_)) => true,
            (Self::Remote(one), Self::Remote(other)) => is_same_place(one, other),
            (Self::Local(_), Self::Remote(_)) | (Self::Remote(_), Self::Local(_)) => false,
        }
    }

    /// The location as a URL.
    ///
    /// # Errors
    /// Config if a local path cannot be written as a URL.
    pub fn url(&self) -> Result<Url> {
        match self {
            Self::Local(path) => Url::from_directory_path(path)
                .map_err(|()| Error::config(format!("`{}` cannot be written as a URL", path.display()))),
            Self::Remote(url) => Ok(url.clone()),
        }
    }
}

fn is_same_place(one: &Url, other: &Url) -> bool {
    (one.scheme(), one.authority()) == (other.scheme(), other.authority())
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Remote(url) => url.fmt(f),
        }
    }
}

/// The absolute path without `.` and `..`, so that one folder has one spelling.
fn normalize(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Error::config(format!("cannot resolve {}", path.display())).because(error))?;
    let mut normal = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    Ok(normal)
}
