//! Compiles one plugin to a core module, with bytes that depend on nothing but
//! the sources and the tool chain.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::toolchain::{Debian, TARGET, Toolchain};

const FLAGS: &[&str] = &["-Ctarget-feature=+simd128"];
/// Where the sources of the standard library appear; see [`link_library`].
const LIBRARY_LINK: &str = "/var/tmp/weir-rust-library";
const BUILD_STD: &str = "-Zbuild-std=std,panic_abort";

/// All flags that decide the bytes and come from here.
pub(crate) fn flags_for_digest() -> String {
    format!("{} {BUILD_STD} --locked --release --crate-type=cdylib", FLAGS.join(" "))
}

/// Compile plugin `name` and return its core module.
pub(crate) fn module(repository: &Path, toolchain: &Toolchain, name: &str) -> Result<Vec<u8>> {
    let plugins = repository.join("plugins");
    let target = std::env::var_os("WEIR_GUESTS_TARGET_DIR").map_or_else(|| plugins.join("target"), PathBuf::from);
    let mut command = Command::new(&toolchain.cargo);
    // Only a library that is nothing but a cdylib gets link-time optimisation;
    // the manifests say rlib too, for the native benchmarks.
    command
        .current_dir(&plugins)
        .args(["rustc", "--quiet", "--release", "--locked", "--lib", "--crate-type=cdylib"])
        .args(["--target", TARGET, "--package", &format!("weir-{name}")]);
    for variable in ["RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        command.env_remove(variable);
    }
    command.env("CARGO_TARGET_DIR", &target).env("CARGO_INCREMENTAL", "0");

    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    // The last prefix that fits decides, so the wider ones come first.
    flags.push(remap(repository, "/src"));
    flags.push(remap(&cargo_home()?, "/cargo"));
    if let Some(debian) = &toolchain.debian {
        let link = link_library(debian)?;
        flags.push(remap(&debian.rust_src, "/rust"));
        command
            .arg(BUILD_STD)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", &debian.rustc)
            .env("LD_LIBRARY_PATH", &debian.library_path)
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &debian.linker)
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", &link);
        flags.push(remap(&link, "/rust/library"));
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));

    let status = command.status().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !status.success() {
        return Err(format!("plugin {name} does not compile, see above"));
    }
    let file = target.join(TARGET).join("release").join(format!("weir_{name}.wasm"));
    std::fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// Make the sources of the standard library appear at one place on every machine.
///
/// The names of symbols, and with them the order of functions, depend on the
/// absolute path of every crate of the library; a link makes that path the same
/// wherever the tool chain was unpacked. Another user's link is never followed.
fn link_library(debian: &Debian) -> Result<PathBuf> {
    let library = debian.rust_src.join("library");
    let link = PathBuf::from(LIBRARY_LINK);
    let points_there = || std::fs::read_link(&link).is_ok_and(|target| target == library);
    if !points_there() {
        // Renamed into place, so that a build at the same time always finds one.
        let fresh = link.with_extension(std::process::id().to_string());
        #[cfg(unix)]
        let made = std::os::unix::fs::symlink(&library, &fresh).and_then(|()| std::fs::rename(&fresh, &link));
        #[cfg(not(unix))]
        let made = Err::<(), _>(std::io::Error::other("only on Unix"));
        if let Err(error) = made {
            let _ = std::fs::remove_file(&fresh);
            return Err(format!("cannot link {LIBRARY_LINK} to {}: {error}; remove it", library.display()));
        }
    }
    if points_there() { Ok(link) } else { Err(format!("{LIBRARY_LINK} belongs to another build; try again")) }
}

fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .ok_or_else(|| "neither CARGO_HOME nor HOME is set".to_owned())
}
