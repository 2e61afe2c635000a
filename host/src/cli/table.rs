//! `weir table`: look into a Delta table.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::json::LineDelimitedWriter;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;

use crate::env::{Env, Location};
use crate::sink::delta::show::{self, HistoryEntry};
use crate::{Error, Result};

/// Look into a Delta table.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir table show data/tables/events --limit 5 --columns deviceId,temperature
  weir table show az://container/tables/events --json
  weir table history data/tables/events")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print rows of a table.
    Show(Show),
    /// Print the versions of a table, newest first.
    History(History),
}

/// Print rows of a table.
#[derive(Debug, clap::Args)]
struct Show {
    /// The folder of the table, a path or a URL.
    #[arg(value_name = "PATH")]
    path: String,
    /// At most so many rows.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Only these columns, in this order.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    columns: Vec<String>,
    /// One JSON object for each row.
    #[arg(long)]
    json: bool,
}

/// Print the versions of a table, newest first.
#[derive(Debug, clap::Args)]
struct History {
    /// The folder of the table, a path or a URL.
    #[arg(value_name = "PATH")]
    path: String,
    /// At most so many versions.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// One JSON object for each version.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    match &args.command {
        Command::Show(args) => show(args),
        Command::History(args) => history(args),
    }
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

impl Form {
    pub(super) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Table }
    }
}

fn show(args: &Show) -> Result<()> {
    let env = Env::system();
    let location = location(&args.path)?;
    super::block_on(print_rows(&env, &location, args.limit, &args.columns, Form::new(args.json)))
}

fn history(args: &History) -> Result<()> {
    let env = Env::system();
    let storage = env.storage(&location(&args.path)?)?;
    let entries = super::block_on(show::history(&storage, args.limit))?;
    if args.json {
        return entries.iter().try_for_each(|entry| super::print(&as_json(entry).to_string()));
    }
    let names = ["version", "time", "operation", "epoch", "rows", "files", "plugins"];
    super::print(&columns_as_table(&names, entries.iter().map(cells))?)
}

/// Rows of texts as a table for people.
pub(super) fn columns_as_table<const N: usize>(
    names: &[&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<String> {
    let mut columns = [const { Vec::new() }; N];
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    let columns = names.iter().zip(columns).map(|(name, column)| {
        let column: ArrayRef = Arc::new(StringArray::from(column));
        (*name, column)
    });
    let batch = RecordBatch::try_from_iter(columns);
    let batch = batch.map_err(|error| Error::bug("texts do not make a table").because(error))?;
    as_table(&[batch])
}

/// The first rows of the table at a location, for people or programs.
pub(super) async fn print_rows(
    env: &Env,
    location: &Location,
    limit: usize,
    columns: &[String],
    form: Form,
) -> Result<()> {
    let storage = env.storage(location)?;
    let columns = (!columns.is_empty()).then_some(columns);
    let rows = show::first_rows(&storage, limit, columns).await?;
    if form == Form::Json {
        let mut writer = LineDelimitedWriter::new(Vec::new());
        let failed = |error| Error::data("the rows cannot be written as JSON").because(error);
        rows.iter().try_for_each(|rows| writer.write(rows)).and_then(|()| writer.finish()).map_err(failed)?;
        return match String::from_utf8_lossy(&writer.into_inner()).trim_end() {
            "" => Ok(()),
            lines => super::print(lines),
        };
    }
    let shown: usize = rows.iter().map(RecordBatch::num_rows).sum();
    let all = show::overview(&storage).await?.rows();
    super::print(&as_table(&rows)?)?;
    super::print(&match all {
        Some(all) => format!("{shown} of {all} rows"),
        None => format!("{shown} rows"),
    })
}

/// Where a table is that a person has named.
fn location(path: &str) -> Result<Location> {
    Location::parse(path, Path::new(""))
}

/// Rows as a table for people.
pub(super) fn as_table(rows: &[RecordBatch]) -> Result<String> {
    let options = FormatOptions::new().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"));
    let table = pretty_format_batches_with_options(rows, &options);
    table.map(|table| table.to_string()).map_err(|error| Error::data("the rows cannot be shown").because(error))
}

fn cells(entry: &HistoryEntry) -> [String; 7] {
    let time = entry.timestamp_ms.and_then(chrono::DateTime::from_timestamp_millis);
    let plugins = entry.info.get("weir").and_then(|weir| weir.get("plugins")).and_then(|plugins| plugins.as_array());
    let plugin = |plugin: &serde_json::Value| {
        let text = |key: &str| plugin.get(key).and_then(|value| value.as_str()).unwrap_or("?").to_owned();
        let digest: String = text("sha256").chars().take(12).collect();
        format!("{} {} {digest}", text("name"), text("version"))
    };
    let plugins: Vec<String> = plugins.into_iter().flatten().map(plugin).collect();
    let epochs: Vec<String> = entry.epochs.values().map(ToString::to_string).collect();
    [
        entry.version.to_string(),
        time.map_or_else(String::new, |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
        entry.operation.clone(),
        epochs.join(", "),
        entry.rows.to_string(),
        format!("+{} -{}", entry.files_added, entry.files_removed),
        plugins.join(", "),
    ]
}

fn as_json(entry: &HistoryEntry) -> serde_json::Value {
    serde_json::json!({
        "version": entry.version,
        "timestamp": entry.timestamp_ms,
        "operation": entry.operation,
        "epochs": entry.epochs,
        "rows": entry.rows,
        "filesAdded": entry.files_added,
        "filesRemoved": entry.files_removed,
        "info": entry.info,
    })
}
