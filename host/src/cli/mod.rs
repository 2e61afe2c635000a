//! The command line: one file for each command.
//!
//! A command reads its arguments, calls the rooms, and prints. Results go to
//! standard output, everything else (the log, errors) to standard error.

mod check;
mod dead_letters;
mod files;
mod generate;
mod plugin;
mod report;
mod run;
mod schema;
mod send;
mod table;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Pipeline, PipelineFile};
use crate::plugin::{COMPILE_COMMAND, builtin_names, compile_here};
use crate::{Error, Result};

/// Libraries that log in their own words what weir tells in its own, and whose
/// more detailed lines hold tokens. A filter that names them has them all the same.
const QUIET: &str = "azure_core=off,azure_core_amqp=off,azure_identity=off,azure_messaging_eventhubs=off,\
                     typespec_client_core=off,tungstenite=off,tokio_tungstenite=off,fe2o3_amqp=off,fe2o3_amqp_cbs=off,fe2o3_amqp_management=off";

/// Threads for sources and stores.
const RUNTIME_THREADS: usize = 2;

const AFTER_HELP: &str = "\
Exit codes:
  0    everything was done
  1    weir broke one of its own rules: report it
  2    the pipeline file, the command line or a plugin's configuration is wrong
  3    a store or service did not answer: try again later
  4    the input or a table does not fit
  5    a plugin failed beyond what the pipeline tolerates
  6    another host took the pipeline over
  7    a durable record is damaged or does not belong here
  130  stopped before a bounded run was done, or by a second Ctrl-C

Examples:
  weir check pipeline.toml
  weir run pipeline.toml --show
  weir table show data/tables/events --limit 5";

/// A WebAssembly plugin host for streaming pipelines into Delta Lake.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_long_help = AFTER_HELP, after_help = "`weir --help` has the exit codes and examples.")]
struct Cli {
    /// What is logged: error, warn, info, debug, trace, or a filter such as
    /// `warn,weir=debug`.
    #[arg(long, global = true, value_name = "LEVEL", env = "WEIR_LOG", default_value = "warn")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a pipeline.
    Run(run::Args),
    /// Check a pipeline file and report all its problems.
    Check(check::Args),
    /// Look into a Delta table.
    Table(table::Args),
    /// Show what could not become a row.
    DeadLetters(dead_letters::Args),
    /// Ask which files were ingested, when, and by which epoch.
    Files(files::Args),
    /// Make a folder of made-up readings.
    Generate(generate::Args),
    /// Send files, or made-up readings, to an event hub.
    Send(Box<send::Args>),
    /// Make, build, test, measure, look at and swap plugins.
    Plugin(plugin::Args),
    /// Print the JSON Schema of the pipeline file.
    Schema(schema::Args),
    /// Compile a component from standard input to standard output, under limits: what
    /// other commands start for each component that they do not know.
    #[command(name = COMPILE_COMMAND, hide = true)]
    Compile,
}

/// Run the command that the arguments of the process name.
pub fn main() -> ExitCode {
    // Prints help and version itself, and ends the process with 2 if it cannot
    // understand the arguments.
    let cli = Cli::parse();
    match log_to_stderr(&cli.log).and_then(|()| execute(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => run::execute(&args),
        Command::Check(args) => check::execute(&args),
        Command::Table(args) => table::execute(&args),
        Command::DeadLetters(args) => dead_letters::execute(&args),
        Command::Files(args) => files::execute(&args),
        Command::Generate(args) => generate::execute(&args),
        Command::Send(args) => send::execute(&args),
        Command::Plugin(args) => plugin::execute(&args),
        Command::Schema(args) => schema::execute(&args),
        Command::Compile => compile_here(std::io::stdin().lock(), std::io::stdout().lock()),
    }
}

fn log_to_stderr(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| {
        let levels = "error, warn, info, debug, trace, or a filter such as `warn,weir=debug`";
        Error::config(format!("--log takes {levels}")).because(error)
    })?;
    let ansi = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    log.try_init().map_err(|error| Error::bug("the log is already set up").because(error))
}

/// Read a pipeline file.
fn load(file: &Path) -> Result<(Pipeline, PipelineFile)> {
    config::load(file, &builtin_names().collect::<Vec<_>>())
}

/// Run a command that talks to stores.
fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    // Sources and stores wait more than they work; the work has its own threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| Error::unavailable("cannot start the async runtime").because(error))?;
    let result = runtime.block_on(command);
    // What still blocks a thread, such as a compiler, must not keep the process.
    runtime.shutdown_background();
    result
}

/// Print lines to standard output. A reader that has seen enough and closed the
/// pipe is no failure.
///
/// # Errors
/// Unavailable if standard output cannot be written.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::unavailable("cannot write to standard output").because(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// These arguments are understood (or not).
    #[track_caller]
    fn check(arguments: &str, understood: bool) {
        let parsed = Cli::try_parse_from(std::iter::once("weir").chain(arguments.split_whitespace()));
        assert_eq!(parsed.is_ok(), understood, "{arguments}: {parsed:?}");
    }

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_understood() {
        check("run p.toml --show --profile --progress lines --log debug", true);
        check("run p.toml --progress often", false);
        check("check p.toml", true);
        check("table show data/t --limit 3 --columns a,b --json", true);
        check("table history data/t --limit 3 --json", true);
        check("files p.toml", true);
        check("files p.toml a.json b.json --json", true);
        check("dead-letters p.toml --limit 3 --json", true);
        check(
            "generate out --readings 10 --files 2 --format json-lines --seed 7 --gzip --devices 3 --malformed 0.1",
            true,
        );
        check("generate out --malformed 2", false);
        check("plugin swap p.toml rule.hot hot.wasm --shadow 3 --probation 5", true);
        check("plugin rollback p.toml rule.hot --url http://localhost:1", true);
        check("plugin rollback p.toml rule.hot --to abc", false);
        check("plugin versions p.toml --json", true);
        check("send --to p.toml a.json b.json", true);
        check("send --event-hub h --readings 10 --rate 5 --partition-key k", true);
        check("send --event-hub h", false);
        check("send --event-hub h --readings 10 a.json", false);
        check("plugin new --lang rust --role parser my-lines --sdk ../weir", true);
        check("plugin new --lang cobol --role parser my-lines", false);
        check("plugin build", true);
        check("plugin test f --update --case a --case b", true);
        check("plugin inspect f.wasm --json", true);
        check("plugin", false);
        check("schema", true);
        check("", false);
    }

    #[test]
    fn help_lists_the_exit_code_of_every_kind() {
        use crate::ErrorKind::{Bug, Config, Corrupt, Data, Fenced, Plugin, Unavailable};
        for kind in [Bug, Config, Unavailable, Data, Plugin, Fenced, Corrupt] {
            assert!(AFTER_HELP.contains(&format!("\n  {}  ", kind.exit_code())), "{kind:?}");
        }
    }
}
