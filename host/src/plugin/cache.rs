//! Compiled components, kept across runs.
//!
//! The key is the digest of the component and the compatibility hash of the
//! engine, so an entry is never used for other code or another engine. The
//! folder belongs to the user alone (mode 0700), because a compiled component is
//! native code. A cache that cannot be used costs time, never a run. What nobody has
//! used for a month is removed when something new comes.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wasmtime::component::Component;

use super::Engine;
use crate::env;
use crate::model::Digest;

/// How the name of an entry ends.
const ENDING: &str = "cwasm";
/// An entry that was not used for so long is removed.
const KEEP_UNUSED: Duration = Duration::from_hours(30 * 24);
/// That an entry is used is noted again after so long.
const NOTE_USE: Duration = Duration::from_hours(24);

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
        let path = self.folder.join(format!("{digest}-{:016x}.{ENDING}", engine_hash(engine)));
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
        note_use(path);
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
        self.remove_unused();
        Ok(())
    }

    /// Remove what nobody has used for long; what cannot be removed stays.
    fn remove_unused(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for entry in entries.filter(|path| path.extension().is_some_and(|ending| ending == ENDING)) {
            if env::age_of(&entry).is_some_and(|unused| unused > KEEP_UNUSED) {
                let _stays = fs::remove_file(entry);
            }
        }
    }
}

fn note_use(entry: &Path) {
    if env::age_of(entry).is_some_and(|unused| unused > NOTE_USE) {
        let _unnoted = env::touch(entry);
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

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// The header of a component, and nothing behind it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn what_is_not_used_for_long_is_removed_when_something_new_comes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"));
        let engine = Engine::new().unwrap();
        let compile = |digest: &[u8]| {
            let component = || Ok(Component::new(engine.inner(), EMPTY).unwrap());
            cache.get_or_compile(&engine, Digest::of(digest), component).unwrap();
        };
        let entries = || fs::read_dir(&cache.folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let make_old =
            |path: &Path| fs::File::options().append(true).open(path).unwrap().set_modified(UNIX_EPOCH).unwrap();
        compile(b"used");
        compile(b"unused");
        for entry in entries() {
            make_old(&entry);
        }
        fs::write(cache.folder.join("notes.txt"), "").unwrap();
        make_old(&cache.folder.join("notes.txt"));
        compile(b"used");
        compile(b"new");
        let left: Vec<String> =
            entries().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(!left.iter().any(|name| name.starts_with(&Digest::of(b"unused").to_string())), "{left:?}");
    }
}
