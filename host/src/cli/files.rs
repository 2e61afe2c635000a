//! `weir files`: ask which files were ingested.

use std::path::PathBuf;

use super::table::columns_as_table;
use crate::env::Env;
use crate::pipeline::{AskedFile, FilePlace, FilesSummary, files_summary, find_files};
use crate::source::files::LedgerLine;
use crate::{Error, Result};

/// Ask which files were ingested, when, and by which epoch.
///
/// Without a path: how many there are. Fails with exit code 4 if a file that is
/// asked for was not ingested.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir files pipeline.toml
  weir files pipeline.toml input/2025/a.json b.json
  weir files pipeline.toml a.json --json")]
pub(super) struct Args {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Files: paths below the source's folder, or as they lie here.
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// One JSON object for each file.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let (pipeline, _) = super::load(&args.file)?;
    let env = Env::system();
    if args.paths.is_empty() {
        let summary = super::block_on(files_summary(&pipeline, &env))?;
        return super::print(&if args.json { summary_as_json(&summary).to_string() } else { told(&summary) });
    }
    let files = super::block_on(find_files(&pipeline, &env, &args.paths))?;
    if args.json {
        files.iter().flat_map(as_json).try_for_each(|line| super::print(&line.to_string()))?;
    } else {
        let names = ["path", "ingested", "epoch", "bytes", "modified", "now"];
        super::print(&columns_as_table(&names, files.iter().flat_map(cells))?)?;
    }
    let missing: Vec<&str> = files.iter().filter(|file| !is_ingested(file)).map(|file| file.path.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::data(format!("{} of {} files were not ingested: {}", missing.len(), files.len(), missing.join(", "))))
}

fn is_ingested(file: &AskedFile) -> bool {
    file.lines.iter().any(|line| !line.skipped)
}

fn told(summary: &FilesSummary) -> String {
    let epoch = |epoch: Option<(crate::model::Epoch, Option<i64>)>| match epoch {
        Some((epoch, clock_us)) => format!("epoch {epoch} {}", clock_us.map(time).unwrap_or_default()),
        None => "none".to_owned(),
    };
    let skipped = match summary.skipped {
        0 => String::new(),
        skipped => format!("\n{skipped} files were there at the first start and were passed over"),
    };
    format!(
        "{} files, {} bytes\nfirst: {}\nlast:  {}{skipped}",
        summary.files,
        summary.bytes,
        epoch(summary.first).trim_end(),
        epoch(summary.last).trim_end(),
    )
}

fn summary_as_json(summary: &FilesSummary) -> serde_json::Value {
    serde_json::json!({
        "files": summary.files,
        "bytes": summary.bytes,
        "skipped": summary.skipped,
        "firstEpoch": summary.first.map(|first| first.0),
        "firstTime": summary.first.and_then(|first| first.1).map(time),
        "lastEpoch": summary.last.map(|last| last.0),
        "lastTime": summary.last.and_then(|last| last.1).map(time),
    })
}

fn cells(file: &AskedFile) -> Vec<[String; 6]> {
    let row = |line: Option<&LedgerLine>| {
        let ingested = match line {
            None => "no".to_owned(),
            Some(line) if line.skipped => "passed over".to_owned(),
            Some(line) => line.taken_us.map_or("yes".to_owned(), time),
        };
        [
            file.path.clone(),
            ingested,
            line.map(|line| line.epoch.to_string()).unwrap_or_default(),
            line.map(|line| line.size.to_string()).unwrap_or_default(),
            line.map(|line| time(line.modified_us)).unwrap_or_default(),
            place(file.place).to_owned(),
        ]
    };
    if file.lines.is_empty() { vec![row(None)] } else { file.lines.iter().map(|line| row(Some(line))).collect() }
}

fn as_json(file: &AskedFile) -> Vec<serde_json::Value> {
    let object = |line: Option<&LedgerLine>| {
        serde_json::json!({
            "path": file.path,
            "ingested": line.is_some_and(|line| !line.skipped),
            "passedOver": line.is_some_and(|line| line.skipped),
            "time": line.and_then(|line| line.taken_us).map(time),
            "epoch": line.map(|line| line.epoch),
            "bytes": line.map(|line| line.size),
            "modified": line.map(|line| time(line.modified_us)),
            "etag": line.and_then(|line| line.etag.clone()),
            "now": place(file.place),
        })
    };
    if file.lines.is_empty() { vec![object(None)] } else { file.lines.iter().map(|line| object(Some(line))).collect() }
}

fn place(place: FilePlace) -> &'static str {
    match place {
        FilePlace::Source => "in the source",
        FilePlace::Moved => "moved",
        FilePlace::Gone => "gone",
    }
}

fn time(time_us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(time_us).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
