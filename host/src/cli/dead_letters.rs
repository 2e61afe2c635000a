//! `weir dead-letters`: show what could not become a row.

use std::path::PathBuf;

use crate::{Error, Result};

/// Show what could not become a row, with where it came from and why.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir dead-letters pipeline.toml --limit 5
  weir dead-letters pipeline.toml --json")]
pub(super) struct Args {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// At most so many dead letters.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// One JSON object for each dead letter.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let (_pipeline, _file) = crate::config::load(&args.file, super::check::BUILTINS)?;
    let Args { file: _, limit: _, json: _ } = args;
    Err(Error::bug("not wired"))
}
