//! `weir dead-letters`: show what could not become a row.

use std::path::PathBuf;

use super::table::{Form, print_rows};
use crate::Result;
use crate::env::Env;

/// What a person needs; JSON has all columns, the raw bytes in hexadecimal.
const SHOWN: [&str; 7] = ["epoch", "step", "source_place", "position", "element", "reason", "plugin"];

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
    let (pipeline, _) = super::load(&args.file)?;
    let columns = if args.json { Vec::new() } else { SHOWN.map(str::to_owned).to_vec() };
    let env = Env::system();
    super::block_on(print_rows(&env, &pipeline.dead_letters, args.limit, &columns, Form::new(args.json)))
}
