//! The way to build plugins in Rust: rustup's target where it is installed, else the
//! tool chain of `plugins/toolchain.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::root;

const TARGET: &str = "wasm32-unknown-unknown";

/// The environment in which `weir plugin build` can build a plugin in Rust. Cargo
/// builds beside these tests, so that the standard library is compiled once.
///
/// # Panics
/// If there is neither the target nor another tool chain.
pub fn rust_environment() -> &'static [(String, String)] {
    static ENVIRONMENT: OnceLock<Vec<(String, String)>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let target = crate::target_folder().join("tmp/plugins");
        let mut environment = vec![("CARGO_TARGET_DIR".to_owned(), target.display().to_string())];
        let libraries = PathBuf::from(output("rustc", &["--print", "target-libdir", "--target", TARGET]));
        if libraries.is_dir() {
            return environment;
        }
        // It says itself what to do if it cannot.
        let printed = output("bash", &[&root().join("plugins/toolchain.sh").display().to_string()]);
        let values = printed.lines().filter_map(|line| line.split_once('='));
        let needed = values.filter(|(key, _)| ["RUSTC", "LD_LIBRARY_PATH"].contains(key));
        environment.extend(needed.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let mut set = |key: &str, value: &str| environment.push((key.to_owned(), value.to_owned()));
        set("RUSTC_BOOTSTRAP", "1");
        set("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
        set("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &linker());
        environment
    })
}

/// The versions of the guests' workspace, so that nothing else is downloaded.
///
/// # Panics
/// If the file cannot be copied.
pub fn pin_versions(project: &Path) {
    std::fs::copy(root().join("plugins/Cargo.lock"), project.join("Cargo.lock")).expect("the versions can be copied");
}

/// The linker for WebAssembly that comes with every Rust.
fn linker() -> String {
    let version = output("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc says what it runs on");
    format!("{}/lib/rustlib/{host}/bin/rust-lld", output("rustc", &["--print", "sysroot"]))
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the tool chain of Rust is there");
    assert!(output.status.success(), "{program} {arguments:?} failed: {}", crate::binary::text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
