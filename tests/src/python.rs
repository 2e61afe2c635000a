//! Python with the packages of clients that we did not write.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The packages, pinned so that a test means the same tomorrow.
const PACKAGES: &[&str] = &["deltalake==1.6.6", "pyarrow==26.0.1", "azure-eventhub==5.15.1"];

/// The Python interpreter of a virtual environment that has the packages. It is
/// made once and kept beside the build.
///
/// # Panics
/// If there is no Python 3 with `venv`, or the packages cannot be had.
pub fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let folder = crate::target_folder().join("python").join(PACKAGES.join("-"));
        let interpreter = folder.join("bin/python");
        let ready = folder.join("ready");
        if !ready.exists() {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
            run(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES));
            std::fs::write(&ready, "").expect("the environment can be marked as ready");
        }
        interpreter
    })
}

/// Run a script with these arguments and return what it printed.
///
/// # Panics
/// If the script fails, with what it printed.
#[track_caller]
pub fn script(script: &str, arguments: &[&str]) -> String {
    // The libraries' own threads may abort an interpreter that takes itself apart.
    let script = format!("{script}\nimport os, sys\nsys.stdout.flush()\nos._exit(0)\n");
    let output = Command::new(interpreter()).args(["-c", &script]).args(arguments).output();
    let output = output.expect("python can be started");
    assert!(output.status.success(), "the script failed: {}", crate::binary::text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("the README names python3 and python3-venv");
    assert!(output.status.success(), "{command:?} failed: {}", crate::binary::text(&output));
}
