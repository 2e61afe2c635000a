//! Plugins: components in a sandbox, and the roles that they play.
//!
//! The room turns a reference into a checked component ([`Library`]), gives each
//! worker an instance with limits of its own, and moves columns across the
//! boundary. It knows nothing of offsets, epochs' fate, storage or Delta.
//!
//! Invariants:
//! - nothing that a plugin returns is used before it is validated;
//! - after a trap, a missed deadline or an invalid result the instance is
//!   dropped, with the state in it, which is had again from what the host keeps;
//! - a component can import the contract and nothing else, unless it is granted an
//!   inert WASI, through which nothing of the world is reached;
//! - for every input there is a row, a rejection, or silence that the plugin
//!   chose: a failure is never silent.
//!
//! | file | job |
//! |---|---|
//! | `engine` | the configured engine and the clock tick behind deadlines |
//! | `library`, `cache` | reference → bytes → digest → checked, compiled component |
//! | `compile` | component → native code, in a process with limits |
//! | `inspect` | what a component is, whether or not it will be accepted |
//! | `config_schema` | what a plugin's schema says of a configuration, for people |
//! | `inert` | what the grant `wasi` links: language runtimes start, and reach nothing |
//! | `sandbox` | one instance with its limits; calls and how they fail |
//! | `columns/` | Arrow ⇄ contract columns |
//! | `isolate` | retry, then bisection to the offending inputs |
//! | `step` | how a plugin stands in a step, whatever its role |
//! | `state` | state within a component, and how it is had again |
//! | `parser`, `inference`, `transform`, `aggregator`, `rule` | the roles |

mod aggregator;
mod bindings;
mod cache;
mod columns;
mod compile;
mod config_schema;
mod engine;
mod inert;
mod inference;
mod inspect;
mod isolate;
mod library;
mod parser;
mod rule;
mod sandbox;
mod state;
mod step;
mod transform;

pub use aggregator::{Aggregator, Evaluated};
pub use columns::spread;
pub use compile::{COMMAND as COMPILE_COMMAND, Compiler, compile_here};
pub use engine::Engine;
pub use inference::Inference;
pub use inspect::{Form, Inspection};
pub use library::{
    ComponentSource, ConfigProblem, Library, Plugin, Role, builtin_names, encoded, form_of, refuse_another,
};
pub use parser::{Messages, Parser};
pub use rule::{Alerts, Judged, Memory, Rule};
pub use sandbox::{CallStats, Failure, Grants, Limits};
pub use step::{ConfigureError, FailedInput, FailurePolicy, OnFailure, StepSettings, take_rows};
pub use transform::Transform;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

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

/// Rejections that one call may return. The dead letters of a chunk are in memory
/// together, and a plugin that rejects more is tried with smaller pieces.
const MAX_REJECTIONS: usize = 65_536;

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
