//! `weir run`: run a pipeline.

use std::path::PathBuf;

use crate::{Error, Result};

/// Run a pipeline.
///
/// Goes on where the last run stopped. The first Ctrl-C ends the run after the
/// current epoch, the second one at once; neither loses or doubles a row.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir run pipeline.toml
  weir run pipeline.toml --show
  weir run pipeline.toml --progress json 2>/dev/null | jq .numInputRows")]
pub(super) struct Args {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the first rows of each table at the end.
    #[arg(long)]
    show: bool,
    /// Print where the time went at the end.
    #[arg(long)]
    profile: bool,
    /// How progress is shown.
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    progress: Progress,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Progress {
    /// A bar on a terminal, lines elsewhere.
    Auto,
    /// A bar.
    Bar,
    /// One line for each epoch.
    Lines,
    /// One JSON object for each epoch.
    Json,
    /// Nothing.
    None,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let (_pipeline, _file) = crate::config::load(&args.file, super::check::BUILTINS)?;
    let Args { file: _, show: _, profile: _, progress: _ } = args;
    Err(Error::bug("not wired"))
}
