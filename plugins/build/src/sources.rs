//! The digest of all that a component is made of.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Result;

/// The digest of a plugin's sources: its crate, the crates of the workspace that
/// it depends on, the SDK, the contract, the workspace with its lock file, and
/// `flags`.
pub(crate) fn digest(repository: &Path, guest: &str, flags: &str) -> Result<String> {
    let plugins = repository.join("plugins");
    let mut files = vec![plugins.join("Cargo.toml"), plugins.join("Cargo.lock")];
    for folder in crates(&plugins, guest)? {
        files.push(plugins.join(&folder).join("Cargo.toml"));
        walk(&plugins.join(&folder).join("src"), &mut files)?;
    }
    // The page beside the contract is for people, and no component is made of it.
    let mut contract = Vec::new();
    walk(&repository.join("wit"), &mut contract)?;
    contract.retain(|file| file.extension().is_some_and(|extension| extension == "wit"));
    files.append(&mut contract);
    // Names are compared as text with forward slashes, so that every system sorts them alike.
    let mut named = Vec::new();
    for file in files {
        let name = file.strip_prefix(repository).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        named.push((name, file));
    }
    named.sort();
    let mut all = Sha256::new();
    all.update(flags);
    for (name, file) in named {
        let bytes = std::fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        all.update(format!("\n{name} {}", sha256(&bytes)));
    }
    Ok(hexadecimal(&all.finalize()))
}

/// The folders of a plugin's crate and of all crates in the workspace below it.
fn crates(plugins: &Path, guest: &str) -> Result<Vec<String>> {
    let mut folders = vec!["sdk".to_owned(), guest.to_owned()];
    let mut read = 1;
    while read < folders.len() {
        let manifest = plugins.join(&folders[read]).join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest)
            .map_err(|error| format!("cannot read {}: {error}", manifest.display()))?;
        for name in text.lines().filter_map(|line| line.strip_prefix("weir-")?.strip_suffix(".workspace = true")) {
            // The crate of the SDK is named for its users.
            if name != "plugin" && !folders.iter().any(|known| known == name) {
                folders.push(name.to_owned());
            }
        }
        read += 1;
    }
    Ok(folders)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = |error| format!("cannot read {}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
