//! `weir schema`: print the JSON Schema of the pipeline file.

use crate::{Error, Result};

/// Print the JSON Schema of the pipeline file, for editors.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir schema > weir.schema.json
  # then, as the first line of a pipeline file:
  #:schema ./weir.schema.json")]
pub(super) struct Args {}

pub(super) fn execute(_: &Args) -> Result<()> {
    let text = serde_json::to_string_pretty(&crate::config::schema());
    super::print(&text.map_err(|error| Error::bug("the schema is not JSON").because(error))?)
}
