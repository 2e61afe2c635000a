//! `weir plugin build`: build the component of a project.

use std::path::PathBuf;

use super::{GENEROUS, library, tell};
use crate::cli::print;
use crate::plugin::Form;
use crate::workbench::{Project, build};
use crate::{Error, Result};

/// Build the component of a project, as its `weir-plugin.toml` says.
///
/// The commands run in the folder with the environment of this one. What they
/// leave may be a component or a core module, which weir encodes. Names the tools
/// that are missing, all at once, and how to install them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin build
  weir plugin build geofence")]
pub(super) struct Args {
    /// The folder of the project.
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let project = Project::open(&args.folder)?;
    let built = build(&project, &library()?, &GENEROUS, &mut |command| tell(command))?;
    let component = built.component.display();
    let plugin = built.inspection.accepted.map_err(|error| {
        Error::new(error.kind(), format!("{component} is written, but weir does not accept it")).because(error)
    })?;
    let roles: Vec<&str> = plugin.roles().iter().map(|role| role.name()).collect();
    let grant = if built.inspection.needs.wasi { ", needs the grant \"wasi\"" } else { "" };
    print(&format!(
        "{component}: {} {} {}, {} bytes{}{grant}, sha256 {}",
        roles.join(" and "),
        plugin.name(),
        plugin.version(),
        built.inspection.size_bytes,
        if built.form == Form::CoreModule { ", encoded from a core module" } else { "" },
        built.inspection.digest
    ))
}
