//! Compiled components, kept across runs.
//!
//! The key is the digest of the component and the compatibility hash of the
//! engine, so an entry is never used for other code or another engine. The
//! folder belongs to the user alone (mode 0700), because a compiled component is
//! native code. A cache that cannot be used costs time, never a run.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use wasmtime::component::Component;

use super::Engine;
use crate::model::Digest;

/// A folder of compiled components.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The compiled component, from the cache or from `compile`.
    pub(super) fn get_or_compile(
        &self,
        engine: &Engine,
        digest: Digest,
        compile: impl FnOnce() -> crate::Result<Component>,
    ) -> crate::Result<Component> {
        let path = self.folder.join(format!("{digest}-{:016x}.cwasm", engine_hash(engine)));
        if let Some(component) = self.load(engine, &path) {
            return Ok(component);
        }
        let component = compile()?;
        if let Err(error) = self.store(&component, &path) {
            tracing::warn!("cannot keep a compiled plugin in {}: {error}", self.folder.display());
        }
        Ok(component)
    }

    fn load(&self, engine: &Engine, path: &Path) -> Option<Component> {
        if !path.exists() || !is_private(&self.folder) {
            return None;
        }
        // SAFETY: the file lies in a folder that only this user can write to, and
        // only `store` below writes there: it is what wasmtime serialized.
        let loaded = unsafe { Component::deserialize_file(engine.inner(), path) };
        loaded.inspect_err(|error| tracing::warn!("compiling again, {} is unusable: {error}", path.display())).ok()
    }

    fn store(&self, component: &Component, path: &Path) -> Result<(), wasmtime::Error> {
        if !self.folder.exists() {
            make_private(&self.folder)?;
        }
        if !is_private(&self.folder) {
            return Err(wasmtime::Error::msg("the folder is not this user's alone (mode 0700)"));
        }
        // A file of its own, whole before it has its name: other threads and
        // processes, and a loss of power, never leave half of one.
        let mut temporary = tempfile::NamedTempFile::new_in(&self.folder)?;
        temporary.write_all(&component.serialize()?)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        Ok(())
    }
}

fn engine_hash(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.inner().precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

#[cfg(unix)]
fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Whether the folder belongs to this user, and to nobody else.
#[cfg(unix)]
fn is_private(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let ours = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(folder)
        .is_ok_and(|folder| folder.is_dir() && folder.uid() == ours && folder.mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(not(unix))]
fn is_private(_folder: &Path) -> bool {
    true
}
