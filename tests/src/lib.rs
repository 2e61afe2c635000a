//! The harness of weir's integration tests: the real binary, stores that break
//! on command, and exact comparison of tables.

#![expect(clippy::panic, reason = "what tests do when something is wrong")]

pub mod azurite;
pub mod binary;
pub mod event_hubs;
pub mod faults;
pub mod front;
pub mod hosts;
pub mod http;
pub mod intercept;
pub mod lossy;
pub mod memory;
pub mod parking;
pub mod python;
pub mod readings;
pub mod streams;
pub mod swapping;
pub mod tables;
pub mod wasm;

use std::path::{Path, PathBuf};

/// The root of the project.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("invariant: the tests lie in a folder of the project").to_owned()
}

/// A component that was built for the tests.
pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/plugins").join(name)
}

/// The folder of the build, in which the running test or program lies.
fn target_folder() -> PathBuf {
    let running = std::env::current_exe().expect("a process knows its path");
    let profile = running.ancestors().find(|folder| folder.join("build").is_dir() && folder.join("deps").is_dir());
    let target = profile.and_then(Path::parent).expect("it lies in target/profile or target/profile/deps");
    target.to_owned()
}
