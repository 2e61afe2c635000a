//! Plugins: components in a sandbox, and the roles that they play.
//!
//! The room turns a reference into a checked component ([`Library`]), gives each
//! worker an instance with limits of its own, and moves columns across the
//! boundary. It knows nothing of offsets, epochs' fate, storage or Delta.
//!
//! Invariants:
//! - nothing that a plugin returns is used before it is validated;
//! - after a trap, a missed deadline or an invalid result the instance is
//!   dropped; state never survives a failure;
//! - a component can import the contract and nothing else;
//! - for every input there is a row, a rejection, or silence that the plugin
//!   chose: a failure is never silent.
//!
//! | file | job |
//! |---|---|
//! | `engine` | the configured engine and the clock tick behind deadlines |
//! | `library`, `cache` | reference → bytes → digest → checked, compiled component |
//! | `sandbox` | one instance with its limits; calls and how they fail |
//! | `columns/` | Arrow ⇄ contract columns |
//! | `isolate` | retry, then bisection to the offending inputs |
//! | `parser`, `transform` | the roles |

mod bindings;
mod cache;
mod columns;
mod engine;
mod isolate;
mod library;
mod parser;
mod sandbox;
mod transform;

pub use engine::Engine;
pub use library::{ComponentSource, ConfigProblem, Library, Plugin, Role, builtin_names};
pub use parser::{ConfigureError, Messages, Parser, StepSettings};
pub use sandbox::{CallStats, Failure, Limits};
pub use transform::Transform;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// How to go on when a plugin fails for an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Isolate the offending inputs and reject them.
    Isolate,
    /// Fail the call, after one retry.
    Fail,
}

/// A piece of input that did not become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The index of the message (parser) or row (transform).
    pub input: usize,
    /// The element within the message.
    pub element: Option<u32>,
    /// The bytes of the message: start inclusive, end exclusive; none for all.
    pub span: Option<(u32, u32)>,
    /// Why, for people.
    pub reason: String,
}

/// What a parser or transform made of a chunk.
#[derive(Debug)]
pub struct Produced {
    /// The rows.
    pub rows: RecordBatch,
    /// For each row, the input that it came from.
    pub origins: Vec<u32>,
    /// What did not become a row, in the order of the inputs.
    pub rejected: Vec<Rejection>,
}

/// What the parts of one chunk may return together: as much as one call.
struct Allowance {
    rows: usize,
    bytes: usize,
}

impl Allowance {
    fn new(limits: &Limits) -> Self {
        Self { rows: limits.rows, bytes: limits.result_bytes }
    }

    /// Take what a part returned out of the allowance, if it is still in it.
    fn take(&mut self, part: Produced) -> Result<Produced, Failure> {
        let over =
            |what: &str| Failure::Invalid(format!("the parts of a chunk have more {what} than one call may return"));
        let bytes = self.bytes.checked_sub(part.rows.get_array_memory_size()).ok_or_else(|| over("bytes"))?;
        let rows = self.rows.checked_sub(part.rows.num_rows()).ok_or_else(|| over("rows"))?;
        *self = Self { rows, bytes };
        Ok(part)
    }
}

impl Produced {
    /// What becomes of no input; a plugin is not asked.
    fn nothing(schema: &SchemaRef) -> Self {
        Self { rows: RecordBatch::new_empty(Arc::clone(schema)), origins: Vec::new(), rejected: Vec::new() }
    }
}

use bindings::weir::plugin::columns as wit;

/// Problems of a configuration that are told; nobody reads more.
const MAX_PROBLEMS: usize = 100;
/// Rejections that one call may return. The dead letters of a chunk are in memory
/// together, and a plugin that rejects more is tried with smaller pieces.
const MAX_REJECTIONS: usize = 65_536;

fn config_problems(problems: Vec<wit::Problem>) -> Vec<ConfigProblem> {
    let short = |text: &str| sandbox::shorten(text).to_owned();
    let problems = problems.iter().take(MAX_PROBLEMS);
    problems.map(|problem| ConfigProblem { path: short(&problem.path), message: short(&problem.message) }).collect()
}

/// What a plugin refuses without a reason is refused all the same.
fn refused(problems: Vec<wit::Problem>) -> ConfigureError {
    let mut problems = config_problems(problems);
    if problems.is_empty() {
        let message = "the plugin refuses its configuration and does not say why".to_owned();
        problems.push(ConfigProblem { path: String::new(), message });
    }
    ConfigureError::Refused(problems)
}

fn refuse_problems(problems: Vec<ConfigProblem>) -> Result<(), ConfigureError> {
    if problems.is_empty() { Ok(()) } else { Err(ConfigureError::Refused(problems)) }
}

/// A column or field is asked for once.
fn refuse_twice(names: &[String]) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("it asks for `{}` twice", sandbox::shorten(twice))),
        None => Ok(()),
    }
}

fn check_origins(origins: &[u32], rows: usize, inputs: usize) -> Result<(), String> {
    if origins.len() != rows {
        return Err(format!("{} origins for {rows} rows", origins.len()));
    }
    match origins.iter().position(|origin| *origin as usize >= inputs) {
        Some(row) => Err(format!("row {row} has the origin {}, but there are {inputs} inputs", origins[row])),
        None => Ok(()),
    }
}

/// The rejections of an answer, checked, in the order of their inputs.
fn rejections(
    rejected: Vec<wit::Rejection>,
    inputs: usize,
    input_bytes: impl Fn(usize) -> u32,
) -> Result<Vec<Rejection>, String> {
    if rejected.len() > MAX_REJECTIONS {
        return Err(format!("{} rejections, more than the {MAX_REJECTIONS} that one call may return", rejected.len()));
    }
    let check = |(index, rejection): (usize, wit::Rejection)| {
        let input = rejection.input as usize;
        if input >= inputs {
            return Err(format!("rejection {index} names input {input}, but there are {inputs}"));
        }
        let span = rejection.span.map(|span| (span.start, span.end));
        if let Some((start, end)) = span.filter(|(start, end)| start > end || *end > input_bytes(input)) {
            return Err(format!(
                "rejection {index} names the bytes {start} to {end} of an input of {} bytes",
                input_bytes(input)
            ));
        }
        let reason = sandbox::shorten(&rejection.reason).to_owned();
        Ok(Rejection { input, element: rejection.element, span, reason })
    };
    let mut rejected: Vec<Rejection> = rejected.into_iter().enumerate().map(check).collect::<Result<_, _>>()?;
    rejected.sort_by_key(|rejection| rejection.input);
    Ok(rejected)
}
