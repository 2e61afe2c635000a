//! The real binary, run as users run it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

static PATH: OnceLock<&'static str> = OnceLock::new();

/// Say where the binary is, which only an integration test knows.
pub fn is_at(path: &'static str) {
    let _same = PATH.set(path);
}

/// A command of the binary with these arguments, to be run in a folder. Compiled
/// plugins are shared by all tests of a run.
pub fn weir(folder: &Path, arguments: &[&str]) -> Command {
    static CACHE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let cache = CACHE.get_or_init(|| tempfile::tempdir().expect("a folder for compiled plugins"));
    let mut command = Command::new(PATH.get().expect("the test has said where the binary is"));
    command.args(arguments).current_dir(folder).env("WEIR_CACHE_DIR", cache.path()).env_remove("WEIR_LOG");
    command.stdin(Stdio::null());
    command
}

/// Run to the end and expect success; returns standard output.
///
/// # Panics
/// If the command fails, with what it printed.
#[track_caller]
pub fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = weir(folder, arguments).output().expect("weir can be started");
    assert!(output.status.success(), "weir {arguments:?} failed: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Run to the end and expect this exit code; returns what it printed.
///
/// # Panics
/// If it ends otherwise.
#[track_caller]
pub fn fail(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = weir(folder, arguments).output().expect("weir can be started");
    assert_eq!(output.status.code(), Some(code), "weir {arguments:?}: {}", text(&output));
    text(&output)
}

/// All that a command printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
