//! `weir check`: check a pipeline file without running it.

use std::path::PathBuf;

use crate::Result;
use crate::env::Env;
use crate::pipeline;

/// Check a pipeline file and report all its problems.
///
/// Loads and configures the plugins, and looks at the tables and the checkpoint
/// that exist. Reads no data and changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir check pipeline.toml")]
pub(super) struct Args {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let (pipeline, file) = super::load(&args.file)?;
    super::block_on(pipeline::check(&pipeline, &file, &Env::command()))?;
    super::print(&format!("{}: the pipeline {} is sound", args.file.display(), pipeline.name))
}
