//! Builds the plugins in `plugins/` as components: `cargo guests`.
//!
//! The components are committed, so that nobody needs a tool chain for
//! WebAssembly who does not change a plugin. The manifest beside them says of
//! which sources and with which tool chain each was made; `--check` holds both
//! against what is there.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod compile;
mod component;
mod manifest;
mod sources;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::manifest::{Entry, Manifest};
use crate::toolchain::Toolchain;

/// What went wrong, and what to do.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// One plugin and the place of its component.
struct Guest {
    name: &'static str,
    /// Relative to the repository.
    component: &'static str,
}

const GUESTS: [Guest; 7] = [
    Guest { name: "json", component: "plugins/bundled/json.wasm" },
    Guest { name: "csv", component: "plugins/bundled/csv.wasm" },
    Guest { name: "identity", component: "plugins/bundled/identity.wasm" },
    Guest { name: "consecutive", component: "plugins/bundled/consecutive.wasm" },
    Guest { name: "statistics", component: "plugins/bundled/statistics.wasm" },
    Guest { name: "thresholds", component: "plugins/bundled/thresholds.wasm" },
    Guest { name: "hostile", component: "tests/fixtures/plugins/hostile.wasm" },
];

const MANIFEST: &str = "plugins/bundled/manifest.json";

/// Build the plugins in plugins/ as WebAssembly components.
///
/// Writes plugins/bundled/*.wasm, tests/fixtures/plugins/*.wasm and the
/// manifest plugins/bundled/manifest.json. Uses the target
/// wasm32-unknown-unknown of the active Rust tool chain if rustup has installed
/// it, else plugins/toolchain.sh, which needs Debian 12 and the network once.
#[derive(Parser)]
#[command(name = "guests", bin_name = "cargo guests")]
struct Arguments {
    /// Change nothing; fail if a component does not belong to its sources.
    ///
    /// With the recorded tool chain everything is built again and must be equal
    /// byte for byte. With another one the fresh build must be valid; use --out
    /// to run tests against it.
    #[arg(long)]
    check: bool,

    /// With --check: only compare digests, build nothing.
    #[arg(long, requires = "check")]
    no_build: bool,

    /// Put the fresh components here, flat, and leave the repository as it is.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Build with plugins/toolchain.sh even if rustup has the target.
    #[arg(long)]
    debian: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let repository = repository()?;
    let recorded = Manifest::read(&repository.join(MANIFEST));
    if arguments.check {
        let recorded = recorded.as_ref().map_err(Clone::clone)?;
        check_digests(&repository, recorded)?;
        if arguments.no_build {
            println!("the components belong to their sources");
            return Ok(());
        }
    }

    // A check builds with the tool chain on record where that is the other one.
    let recorded_toolchain = recorded.as_ref().ok().map(|recorded| &recorded.toolchain);
    let debian = arguments.debian || arguments.check && recorded_toolchain.is_some_and(|toolchain| toolchain.build_std);
    let plugins = repository.join("plugins");
    let toolchain = match Toolchain::find(&plugins, debian) {
        Err(error) if debian && !arguments.debian => {
            eprintln!("the recorded tool chain cannot be had: {error}");
            Toolchain::find(&plugins, false)?
        }
        found => found?,
    };
    println!("tool chain: {}", toolchain.identity);
    let mut fresh = Vec::new();
    for guest in &GUESTS {
        let module = compile::module(&repository, &toolchain, guest.name)?;
        let component = component::wrap(&module).map_err(|error| format!("plugin {}: {error}", guest.name))?;
        println!("{}: {} bytes, {}", guest.name, component.bytes.len(), component.roles.join(", "));
        fresh.push((guest, component.bytes));
    }

    if let Some(out) = &arguments.out {
        for (guest, bytes) in &fresh {
            write(&out.join(format!("{}.wasm", guest.name)), bytes)?;
        }
    }
    if arguments.check {
        return match recorded_toolchain {
            Some(recorded) if *recorded == toolchain.identity => compare(&repository, &fresh),
            Some(recorded) => {
                println!("recorded:   {recorded}");
                println!("another tool chain than on record: the fresh build is valid, its bytes are not compared");
                Ok(())
            }
            None => Err(format!("{MANIFEST} names no tool chain; run `cargo guests`")),
        };
    }
    if arguments.out.is_some() {
        return Ok(());
    }

    let mut manifest = Manifest { toolchain: toolchain.identity, components: Vec::new() };
    for (guest, bytes) in &fresh {
        write(&repository.join(guest.component), bytes)?;
        manifest.components.push(Entry {
            component: guest.component.into(),
            sha256: sources::sha256(bytes),
            sources_sha256: sources::digest(&repository, guest.name, &compile::flags_for_digest())?,
        });
    }
    manifest.write(&repository.join(MANIFEST))
}

/// The components on disk are those on record, made of the sources on disk.
fn check_digests(repository: &Path, recorded: &Manifest) -> Result<()> {
    let mut faults = Vec::new();
    for guest in &GUESTS {
        let Some(entry) = recorded.components.iter().find(|entry| entry.component == guest.component) else {
            faults.push(format!("{} is not in {MANIFEST}", guest.component));
            continue;
        };
        if sources::digest(repository, guest.name, &compile::flags_for_digest())? != entry.sources_sha256 {
            faults.push(format!("the sources of {} have changed since it was built", guest.component));
        }
        match std::fs::read(repository.join(guest.component)) {
            Ok(bytes) if sources::sha256(&bytes) == entry.sha256 => {}
            Ok(_) => faults.push(format!("{} is not the file that {MANIFEST} records", guest.component)),
            Err(error) => faults.push(format!("cannot read {}: {error}", guest.component)),
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("{}\nrun `cargo guests` and commit what it writes", faults.join("\n")))
}

fn compare(repository: &Path, fresh: &[(&Guest, Vec<u8>)]) -> Result<()> {
    for (guest, bytes) in fresh {
        let committed = std::fs::read(repository.join(guest.component))
            .map_err(|error| format!("cannot read {}: {error}", guest.component))?;
        if committed != *bytes {
            return Err(format!(
                "{} is not what its sources give with the recorded tool chain; run `cargo guests` and commit what it writes",
                guest.component
            ));
        }
    }
    println!("the fresh build is equal byte for byte");
    Ok(())
}

/// The repository around the current folder.
fn repository() -> Result<PathBuf> {
    let current = std::env::current_dir().map_err(|error| format!("no current folder: {error}"))?;
    let found = current.ancestors().find(|folder| folder.join("plugins/Cargo.toml").exists());
    found.map(Path::to_path_buf).ok_or_else(|| "run this inside the repository of weir".to_owned())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    std::fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
