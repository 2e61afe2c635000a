//! From a project to its component.
//!
//! Programs run in the project's folder, without a shell, with the environment of
//! this process, and write to the terminal; so whatever a tool chain needs beyond
//! this file goes through environment variables.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::project::{Language, Project};
use bytes::Bytes;

use crate::env;
use crate::plugin::{self, ComponentSource, Form, Inspection, Library, Limits};
use crate::{Error, Result};

/// The target that Rust plugins are built for.
const RUST_TARGET: &str = "wasm32-unknown-unknown";
/// With this set cargo builds the standard library itself, so no target is needed.
const BUILD_STD: &str = "CARGO_UNSTABLE_BUILD_STD";

/// A component that was built and is accepted, or is with grants.
pub struct Built {
    /// Where it is.
    pub component: PathBuf,
    /// What it is.
    pub inspection: Inspection,
    /// What the commands had left.
    pub form: Form,
}

/// Build a project. `tell` is told each command before it runs.
///
/// # Errors
/// Config if tools are missing; Plugin if a command fails or leaves no component
/// that plays the role of the project.
pub fn build(project: &Project, library: &Library, limits: &Limits, tell: &mut dyn FnMut(&str)) -> Result<Built> {
    refuse_missing_tools(project)?;
    if project.language == Language::Rust {
        refuse_missing_target(&project.folder)?;
    }
    for command in &project.commands {
        run(project, command, tell)?;
    }
    let output = output(project);
    let bytes = std::fs::read(&output).map(Bytes::from).map_err(|error| {
        Error::plugin(format!(
            "the commands ran, but left no {}: `build.output` must name what they write",
            output.display()
        ))
        .because(error)
    })?;
    let source = ComponentSource::File(output);
    let form = plugin::form_of(&bytes);
    let component = plugin::encoded(&source, &bytes)?;
    write(&project.component, &component)?;
    let inspection = library.inspect(&ComponentSource::File(project.component.clone()), limits)?;
    if let Ok(plugin) = &inspection.accepted {
        plugin.require(project.role.role())?;
    }
    Ok(Built { component: project.component.clone(), inspection, form })
}

/// Where the commands leave their output. `target/` is where cargo builds, which
/// the environment may have put elsewhere.
fn output(project: &Project) -> PathBuf {
    let target = env::variable("CARGO_TARGET_DIR").filter(|_| project.language == Language::Rust);
    match (project.output.strip_prefix("target/"), target) {
        (Some(below), Some(target)) => project.folder.join(target).join(below),
        _ => project.folder.join(&project.output),
    }
}

fn refuse_missing_tools(project: &Project) -> Result<()> {
    let missing = project.tools.iter().filter(|tool| !is_on_path(&tool.name));
    let missing: Vec<String> =
        missing.map(|tool| format!("\n  {}: install it with `{}`", tool.name, tool.install)).collect();
    match missing.len() {
        0 => Ok(()),
        1 => Err(Error::config(format!("a tool is missing that the build needs:{}", missing.concat()))),
        count => Err(Error::config(format!("{count} tools are missing that the build needs:{}", missing.concat()))),
    }
}

fn is_on_path(name: &str) -> bool {
    let path = env::variable("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_executable(&folder.join(name)))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.with_extension("exe").is_file() || file.is_file()
}

/// Whether the compiler has a standard library for WebAssembly, or cargo builds it.
fn refuse_missing_target(folder: &Path) -> Result<()> {
    if env::variable(BUILD_STD).is_some() {
        return Ok(());
    }
    let rustc = env::variable("RUSTC").unwrap_or_else(|| "rustc".to_owned());
    let asked = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", RUST_TARGET])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    // Whoever has no rustc is told so by the list of tools, or by cargo.
    let Ok(asked) = asked else { return Ok(()) };
    let libraries = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    if !asked.status.success() || libraries.is_dir() {
        return Ok(());
    }
    Err(Error::config(format!(
        "the Rust compiler cannot build for WebAssembly yet: run `rustup target add {RUST_TARGET}` (where rustup \
         cannot fetch it, docs/plugins/rust.md in weir's repository has another way)"
    )))
}

fn run(project: &Project, command: &[String], tell: &mut dyn FnMut(&str)) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let shown = command.join(" ");
    tell(&format!("$ {shown}"));
    // A relative path is relative to the project, also where the platform would
    // look for it from here.
    let below = project.folder.join(program);
    let is_path = program.contains('/');
    let program = match std::path::absolute(&below) {
        Ok(path) if is_path => path.into_os_string(),
        _ => program.into(),
    };
    let status = Command::new(program)
        .args(arguments)
        .current_dir(&project.folder)
        .stdin(Stdio::null())
        .stdout(terminal())
        .status()
        .map_err(|error| {
            Error::config(format!("cannot run `{shown}` in {}", project.folder.display())).because(error)
        })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::plugin(format!("`{shown}` failed with {status}: see above what it says")))
}

/// Standard error: standard output is for what weir itself says.
fn terminal() -> Stdio {
    use std::os::fd::AsFd as _;
    std::io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::inherit(), Stdio::from)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, bytes));
    made.map_err(|error| Error::unavailable(format!("cannot write {}", path.display())).because(error))
}
