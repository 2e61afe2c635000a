//! Finds what can compile for `wasm32-unknown-unknown` on this machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::manifest::Identity;

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// A tool chain, ready for use.
pub(crate) struct Toolchain {
    pub(crate) cargo: PathBuf,
    pub(crate) identity: Identity,
    /// Set where the standard library must be built along.
    pub(crate) debian: Option<Debian>,
}

/// Debian's compiler with the sources of its library, and rustup's linker.
pub(crate) struct Debian {
    pub(crate) rustc: PathBuf,
    pub(crate) rust_src: PathBuf,
    pub(crate) library_path: PathBuf,
    pub(crate) linker: PathBuf,
}

impl Toolchain {
    /// The active tool chain if it has the target, else, or if `debian` asks
    /// for it, what `toolchain.sh` in `plugins` provides.
    pub(crate) fn find(plugins: &Path, debian: bool) -> Result<Self> {
        let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let cargo_version = output(Command::new(&cargo).arg("--version"))?;
        let sysroot = PathBuf::from(output(Command::new("rustc").args(["--print", "sysroot"]))?);
        let host = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
        let linker = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
        let linker_version = output(Command::new(&linker).args(["-flavor", "wasm", "--version"]))
            .unwrap_or_else(|_| "the default linker".into());
        let identity = |rustc, build_std| Identity { rustc, cargo: cargo_version, linker: linker_version, build_std };

        if !debian && sysroot.join("lib/rustlib").join(TARGET).join("lib").exists() {
            let rustc = output(Command::new("rustc").arg("--version"))?;
            return Ok(Self { cargo, identity: identity(rustc, false), debian: None });
        }
        if !linker.exists() {
            return Err(format!(
                "no linker at {}; install Rust with rustup, or the target: rustup target add {TARGET}",
                linker.display()
            ));
        }
        let script = plugins.join("toolchain.sh");
        let answer = output(Command::new(&script).stderr(Stdio::inherit())).map_err(|error| {
            format!("{error}\nthere is no tool chain for {TARGET}; if rustup can reach its server: rustup target add {TARGET}")
        })?;
        let answers: HashMap<_, _> = answer.lines().filter_map(|line| line.split_once('=')).collect();
        let get =
            |key: &str| answers.get(key).copied().ok_or_else(|| format!("{} did not print {key}", script.display()));
        let debian = Debian {
            rustc: get("RUSTC")?.into(),
            rust_src: get("RUST_SRC")?.into(),
            library_path: get("LD_LIBRARY_PATH")?.into(),
            linker,
        };
        Ok(Self { cargo, identity: identity(get("VERSION")?.to_owned(), true), debian: Some(debian) })
    }
}

/// What a command prints, without the last line break.
fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| format!("cannot run {shown}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
