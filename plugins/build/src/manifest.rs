//! The record beside the committed components.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

/// What the committed components were made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) toolchain: Identity,
    pub(crate) components: Vec<Entry>,
}

/// One component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The file, relative to the repository.
    pub(crate) component: String,
    pub(crate) sha256: String,
    /// Of all files and flags that it is made of.
    pub(crate) sources_sha256: String,
}

/// What decides the bytes besides the sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) rustc: String,
    pub(crate) cargo: String,
    pub(crate) linker: String,
    /// Whether the standard library is built along.
    pub(crate) build_std: bool,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = if self.build_std { "own standard library" } else { "rustup's standard library" };
        write!(f, "{}; {}; {}; {library}", self.rustc, self.cargo, self.linker)
    }
}

impl Manifest {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {shown}: {error}; run `cargo guests`"))?;
        serde_json::from_str(&text).map_err(|error| format!("{shown} is damaged: {error}; run `cargo guests`"))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        text.push('\n');
        crate::write(path, text.as_bytes())
    }
}
