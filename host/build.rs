//! Embeds what `weir plugin new` copies: the templates, the contract, and the
//! helper files of the languages. A table of `include_bytes!`, so that cargo sees
//! files that are added or go.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Folders below the repository whose files are embedded, where they are there.
const FOLDERS: [&str; 5] = ["plugins/templates", "plugins/python", "plugins/javascript", "plugins/c", "wit/0.1.0"];
/// What tools leave behind.
const LEFT_BEHIND: [&str; 6] = ["node_modules", "__pycache__", "target", "build", ".venv", ".mypy_cache"];

fn main() -> io::Result<()> {
    let repository = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    let mut files = Vec::new();
    for folder in FOLDERS {
        let folder = repository.join(folder);
        // A folder that is not there would make cargo run this every time.
        if folder.is_dir() {
            println!("cargo::rerun-if-changed={}", folder.display());
            list(&folder, &mut files)?;
        }
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&repository).unwrap_or(file).to_string_lossy().replace('\\', "/");
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", file.display().to_string())
            .map_err(io::Error::other)?;
    }
    table.push(']');
    fs::write(Path::new(&variable("OUT_DIR")?).join("embedded.rs"), table)
}

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script everything in its environment")]
fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(io::Error::other)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !LEFT_BEHIND.contains(&name.as_str()) {
            list(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
