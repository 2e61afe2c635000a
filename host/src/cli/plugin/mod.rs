//! `weir plugin`: make, build, test, measure, look at and swap plugins.

mod bench;
mod build;
mod inspect;
mod new;
mod run;
mod swap;
mod test;

use std::io::Write as _;
use std::path::Path;

use self::swap::{RollbackArgs, SwapArgs, VersionsArgs};
use crate::env::{self, Env};
use crate::plugin::{Compiler, ComponentSource, Engine, Grants, Library, Limits, Plugin};
use crate::workbench::{PROJECT_FILE, Project};
use crate::{Error, Result};

/// Make, build, test, measure, look at and swap plugins.
///
/// A plugin is a WebAssembly component in the role of a parser, a transform, an
/// aggregator or a rule. A project is a folder with a `weir-plugin.toml`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin new --lang rust --role parser my-lines
  weir plugin build my-lines
  weir plugin test my-lines
  weir plugin run my-lines --input sample.log
  weir plugin bench my-lines
  weir plugin inspect my-lines/my-lines.wasm
  weir plugin swap pipeline.toml parser my-lines/my-lines.wasm")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a folder with a plugin that builds, and a case for it.
    New(new::Args),
    /// Build the component of a project.
    Build(build::Args),
    /// Run the cases of a project.
    Test(test::Args),
    /// Try a plugin on files, or on the dead letters of a pipeline.
    Run(run::Args),
    /// Measure plugins beside the bundled ones.
    Bench(bench::Args),
    /// Say what a component is, and whether weir accepts it.
    Inspect(inspect::Args),
    /// Let another component have a step of a pipeline that runs.
    Swap(SwapArgs),
    /// Go back to an earlier version of a plugin of a pipeline that runs.
    Rollback(RollbackArgs),
    /// Show which versions the plugins of a pipeline that runs have, and had.
    Versions(VersionsArgs),
}

pub(super) fn execute(args: &Args) -> Result<()> {
    match &args.command {
        Command::New(args) => new::execute(args),
        Command::Build(args) => build::execute(args),
        Command::Test(args) => test::execute(args),
        Command::Run(args) => run::execute(args),
        Command::Bench(args) => bench::execute(args),
        Command::Inspect(args) => inspect::execute(args),
        Command::Swap(args) => swap::swap(args),
        Command::Rollback(args) => swap::rollback(args),
        Command::Versions(args) => swap::versions(args),
    }
}

/// What a plugin may use to describe itself and to be tried: an interpreter needs more
/// than the code that it runs, and the grant reaches nothing.
const GENEROUS: Limits = Limits {
    memory_bytes: 512 << 20,
    deadline: std::time::Duration::from_secs(10),
    result_bytes: 64 << 20,
    rows: 4 << 20,
    grants: Grants { wasi: true },
};

/// A plugin that may use what is generous. Says what a pipeline has to grant it.
fn try_out(library: &Library, text: &str) -> Result<Plugin> {
    let plugin = library.load(&component(text)?, None, &GENEROUS)?;
    if plugin.needs().wasi {
        tell(&format!(
            "{} has the grant \"wasi\" here, which a pipeline and a case give only where they say `grants = [\"wasi\"]`",
            plugin.name()
        ));
    }
    Ok(plugin)
}

fn library() -> Result<Library> {
    Library::new(Engine::new()?, env::cache_dir().join("plugins"), Compiler::new(Env::command().program))
}

/// The component that an argument names: `builtin:NAME`, a file, or a project.
fn component(text: &str) -> Result<ComponentSource> {
    if let Some(name) = text.strip_prefix("builtin:") {
        return Ok(ComponentSource::Builtin(name.to_owned()));
    }
    let path = Path::new(text);
    if path.join(PROJECT_FILE).is_file() {
        return Project::open(path)?.built();
    }
    if path.is_dir() {
        return Err(Error::config(format!(
            "{text} is a folder without a {PROJECT_FILE}: name a component or a project"
        )));
    }
    Ok(ComponentSource::File(path.to_owned()))
}

/// Tell a person what happens. With standard error gone there is nobody to tell.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
