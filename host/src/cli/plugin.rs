//! `weir plugin`: make, check and swap plugins.

use clap::Subcommand;

use super::swap::{self, RollbackArgs, SwapArgs, VersionsArgs};
use crate::Result;

/// Swap the plugins of a pipeline that runs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let another component have a step of a pipeline that runs.
    Swap(SwapArgs),
    /// Go back to an earlier version of a plugin.
    Rollback(RollbackArgs),
    /// Show which versions the plugins of a pipeline have, and had.
    Versions(VersionsArgs),
}

pub(super) fn execute(args: &Args) -> Result<()> {
    match &args.command {
        Command::Swap(args) => swap::swap(args),
        Command::Rollback(args) => swap::rollback(args),
        Command::Versions(args) => swap::versions(args),
    }
}
