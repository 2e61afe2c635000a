//! The pipeline file: from its text to a [`Pipeline`] that can be relied on.
//!
//! ```text
//! text ─► document ─► shape (JSON Schema) ─► raw ─► check ─► validated
//!          places       mends                        collects
//! ```
//!
//! Invariants:
//! - all problems of a file are reported at once, each with its line and what to
//!   do; each step hands what is sound on to the next;
//! - any bytes whatsoever give a pipeline or problems, never a panic;
//! - what an interpolation put into a value is in no message and no `Debug`.
//!
//! Reads the file, the files of secrets and the environment, and looks whether
//! plugin files are there; changes nothing.

mod check;
mod document;
mod file;
mod interpolate;
mod problem;
mod raw;
mod schema;
mod shape;
mod texts;
mod validated;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use file::PipelineFile;
pub use interpolate::{Surroundings, SystemSurroundings};
pub use problem::{Problem, Problems};
pub use schema::schema;
pub(crate) use texts::{duration as duration_of, size as size_of};
pub use validated::{
    ColumnFrom, Compression, Emit, NotifyConfig, OnError, Pipeline, PluginConfig, PluginReference, RuleConfig,
    ServeConfig, SourceConfig, StepInput, SwapSettings, TableColumn, TableConfig, TableEvolution, Trigger,
    WebhookConfig, WindowConfig,
};

use crate::{Error, Result};

/// A longer pipeline file is refused.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Read a pipeline file. `builtins` are the names behind `builtin:`; if there
/// are none, any name goes through.
///
/// # Errors
/// Config with all problems of the file, or if it cannot be read.
pub fn load(path: &Path, builtins: &[&str]) -> Result<(Pipeline, PipelineFile)> {
    let bytes = read(path)?;
    Ok(parse(&bytes, path, builtins, &SystemSurroundings)?)
}

/// Understand the bytes of a pipeline file that lies at `path`.
///
/// # Errors
/// All problems of the file.
pub fn parse(
    bytes: &[u8],
    path: &Path,
    builtins: &[&str],
    surroundings: &dyn Surroundings,
) -> std::result::Result<(Pipeline, PipelineFile), Problems> {
    let base = path.parent().unwrap_or(Path::new(""));
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let sound = bytes.get(..error.valid_up_to()).map(String::from_utf8_lossy).unwrap_or_default();
            let file = PipelineFile::new(path, &sound);
            let problem = file.problem("", sound.len(), "the file is not UTF-8 text".to_owned(), None);
            return Err(file.problems(vec![problem]));
        }
    };
    let document::Document { mut value, mut file, mut problems, is_toml } =
        document::read(text, path, base, surroundings);
    if !is_toml {
        // What could be recovered would only give problems that are none.
        return Err(file.problems(problems));
    }
    shape::check(&schema(), &mut value, &mut file, &mut problems);
    for (index, name) in transform_names(&value) {
        file.add_alias(format!("transform.{name}"), format!("transform.{index}"));
    }
    let raw = match serde_json::from_value(value) {
        Ok(raw) => raw,
        Err(error) => {
            problems.push(file.problem_at("", error.to_string(), None));
            return Err(file.problems(problems));
        }
    };
    let check = check::Check::new(&file, base, builtins, surroundings, problems);
    match check.pipeline(raw) {
        (Some(pipeline), problems) if problems.is_empty() => Ok((pipeline, file)),
        (_, mut problems) => {
            if problems.is_empty() {
                problems.push(file.problem_at("", "weir does not understand this file, and not why", None));
            }
            Err(file.problems(problems))
        }
    }
}

/// The names of the transforms, which other rooms use in dotted paths.
fn transform_names(document: &serde_json::Value) -> Vec<(usize, String)> {
    let transforms = document.get("transform").and_then(|transforms| transforms.as_array());
    let named =
        |(index, transform): (usize, &serde_json::Value)| Some((index, transform.get("name")?.as_str()?.to_owned()));
    transforms.into_iter().flatten().enumerate().filter_map(named).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let cannot = |error| Error::config(format!("cannot read the pipeline file {}", path.display())).because(error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let what = path.display();
        return Err(Error::config(format!("the pipeline file {what} is longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}
