//! `weir check`: check a pipeline file without running it.

use std::path::PathBuf;

use crate::Result;
use crate::config;

/// The names behind `builtin:`; none: any name goes through.
pub(super) const BUILTINS: &[&str] = &[];

/// Check a pipeline file and report all its problems.
///
/// Reads the file, the environment and the files of secrets that it names.
/// Changes nothing.
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
    let (pipeline, _) = config::load(&args.file, BUILTINS)?;
    super::print(&format!("{}: the pipeline {} is sound", args.file.display(), pipeline.name))
}
