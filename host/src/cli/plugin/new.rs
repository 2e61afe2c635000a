//! `weir plugin new`: make a folder with a plugin that builds.

use std::path::PathBuf;

use crate::Result;
use crate::cli::print;
use crate::workbench::{Language, NewProject, RoleName, create};

/// Make a folder with a plugin that builds, a case for it, and a page that says
/// how to go on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin new --lang rust --role parser my-lines
  weir plugin new --lang python --role rule geo-fence --folder plugins/geo-fence")]
pub(super) struct Args {
    /// The name of the plugin: lower-case letters, digits, hyphens.
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is written in.
    #[arg(long, value_enum)]
    lang: Language,
    /// What it is for.
    #[arg(long, value_enum)]
    role: RoleName,
    /// The folder to make; the name by default.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Rust: use the SDK of this checkout of weir instead of the published one.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let new = NewProject { language: args.lang, role: args.role, name: &args.name, sdk: args.sdk.as_deref() };
    let files = create(&new, &folder)?;
    let folder = folder.display();
    let mut lines: Vec<String> = files.iter().map(|file| format!("  {}", file.display())).collect();
    // The contract and the helpers are many files, and nobody edits them.
    lines.retain(|line| !line.starts_with("  wit/") && !line.starts_with("  sdk/"));
    print(&format!(
        "{folder}\n{}\n\nNext:\n  weir plugin build {folder}\n  weir plugin test {folder}",
        lines.join("\n")
    ))
}
