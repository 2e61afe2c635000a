//! `weir table`: look into a Delta table.

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

fn show(args: &Show) -> Result<()> {
    let Show { path: _, limit: _, columns: _, json: _ } = args;
    Err(Error::bug("not wired"))
}

fn history(args: &History) -> Result<()> {
    let History { path: _, limit: _, json: _ } = args;
    Err(Error::bug("not wired"))
}
