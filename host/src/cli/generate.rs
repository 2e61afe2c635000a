//! `weir generate`: make a folder of made-up readings.

use std::path::PathBuf;

use crate::{Error, Result};

/// Make a folder of made-up readings, for demonstrations and benchmarks.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir generate input --readings 100000 --files 10
  weir generate input --format json-lines --gzip --malformed 0.001")]
pub(super) struct Args {
    /// The folder; made if it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How many readings in all.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    readings: u64,
    /// How many files.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// How readings lie in a file.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// The same seed gives the same files.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Compress the files with gzip.
    #[arg(long)]
    gzip: bool,
    /// How many devices send readings.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// The share of readings that are malformed, 0 to 1.
    #[arg(long, value_name = "RATIO", default_value_t = 0.0, value_parser = ratio)]
    malformed: f64,
}

/// How readings lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One array of readings.
    Json,
    /// One reading on each line.
    JsonLines,
}

fn ratio(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| "write a number from 0 to 1".to_owned())
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let Args { dir: _, readings: _, files: _, format: _, seed: _, gzip: _, devices: _, malformed: _ } = args;
    Err(Error::bug("not wired"))
}
