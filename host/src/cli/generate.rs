//! `weir generate`: make a folder of made-up readings.

use std::fs::File;
use std::io::IsTerminal as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use indicatif::ProgressBar;

use crate::source::generator::{GeneratorSettings, ReadingsForm, write_readings};
use crate::{Error, Result};

/// Readings of one message, which is one line of a file of JSON lines.
const READINGS_PER_MESSAGE: u32 = 10;

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
    /// How many readings in all, in messages of ten.
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
    /// One array of readings, indented.
    Json,
    /// One array of ten readings on each line.
    JsonLines,
}

fn ratio(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| "write a number from 0 to 1".to_owned())
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let messages = args.readings.div_ceil(u64::from(READINGS_PER_MESSAGE));
    let settings = GeneratorSettings {
        seed: args.seed,
        devices: args.devices,
        readings_per_message: READINGS_PER_MESSAGE,
        malformed: args.malformed,
        ..GeneratorSettings::default()
    };
    settings.validate()?;
    let failed = |path: &Path, error| Error::unavailable(format!("cannot write {}", path.display())).because(error);
    std::fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, error))?;
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new(u64::from(args.files)) } else { ProgressBar::hidden() };
    let files = u64::from(args.files);
    for file in 0..files {
        let path = args.dir.join(args.name(file));
        let offsets = messages * file / files..messages * (file + 1) / files;
        write(args, &settings, offsets, &path).map_err(|error| failed(&path, error))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    super::print(&format!(
        "{} readings in {files} files in {}",
        messages * u64::from(READINGS_PER_MESSAGE),
        args.dir.display()
    ))
}

impl Args {
    fn name(&self, file: u64) -> String {
        let extension = match self.format {
            Format::Json => "json",
            Format::JsonLines => "jsonl",
        };
        format!("readings-{file:05}.{extension}{}", if self.gzip { ".gz" } else { "" })
    }
}

/// Write one file under a name that no source takes, then give it its own.
fn write(args: &Args, settings: &GeneratorSettings, offsets: Range<u64>, path: &Path) -> std::io::Result<()> {
    let form = match args.format {
        Format::Json => ReadingsForm::PrettyArray,
        Format::JsonLines => ReadingsForm::JsonLines,
    };
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished)?;
    if args.gzip {
        let mut gzip = GzEncoder::new(file, Compression::fast());
        write_readings(settings, 0, offsets, form, &mut gzip)?;
        gzip.finish()?;
    } else {
        write_readings(settings, 0, offsets, form, &mut file)?;
    }
    std::fs::rename(&unfinished, path)
}
