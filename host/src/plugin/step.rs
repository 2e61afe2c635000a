//! How a plugin stands in a step of a pipeline, whatever its role.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use super::bindings::weir::plugin::columns as wit;
use super::isolate::Part;
use super::sandbox::{Failure, Limits, shorten};
use super::{ConfigProblem, Rejection};
use crate::Error;

/// Problems of a configuration that are told; nobody reads more.
const MAX_PROBLEMS: usize = 100;

/// How to go on when a plugin fails for an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Isolate the offending inputs and reject them.
    Isolate,
    /// Fail the call, after one retry.
    Fail,
}

/// What happens when a plugin fails for an input, for all instances of a step
/// together. May be changed between epochs.
#[derive(Debug, Clone)]
pub struct FailurePolicy(Arc<AtomicBool>);

impl FailurePolicy {
    /// This one, until it is changed.
    pub fn new(on_failure: OnFailure) -> Self {
        Self(Arc::new(AtomicBool::new(on_failure == OnFailure::Isolate)))
    }

    /// Change it for all instances.
    pub fn set(&self, on_failure: OnFailure) {
        self.0.store(on_failure == OnFailure::Isolate, Ordering::Release);
    }

    /// What happens now.
    pub fn get(&self) -> OnFailure {
        if self.0.load(Ordering::Acquire) { OnFailure::Isolate } else { OnFailure::Fail }
    }
}

/// How a plugin stands in a step.
#[derive(Debug, Clone)]
pub struct StepSettings {
    /// The name of the step, for example `parser`.
    pub step: String,
    /// The configuration, a JSON object.
    pub config: serde_json::Value,
    /// What an instance may use.
    pub limits: Limits,
    /// What happens when it fails for an input.
    pub on_failure: FailurePolicy,
}

impl StepSettings {
    pub(super) fn cannot_be_configured(&self, failure: Failure) -> Error {
        Error::plugin(format!("{} cannot be configured", self.step)).because(failure)
    }
}

/// Why a plugin did not accept its configuration.
#[derive(Debug)]
pub enum ConfigureError {
    /// The configuration is wrong.
    Refused(Vec<ConfigProblem>),
    /// The plugin, or its role, is wrong.
    Failed(Error),
}

impl From<Error> for ConfigureError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ConfigureError> for Error {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Failed(error) => error,
            ConfigureError::Refused(problems) => {
                let at = |problem: &ConfigProblem| match problem.path.as_str() {
                    "" => shorten(&problem.message).to_owned(),
                    path => format!("{path}: {}", shorten(&problem.message)),
                };
                Self::config(problems.iter().map(at).collect::<Vec<_>>().join("; "))
            }
        }
    }
}

fn config_problems(problems: Vec<wit::Problem>) -> Vec<ConfigProblem> {
    let short = |text: &str| shorten(text).to_owned();
    let problems = problems.iter().take(MAX_PROBLEMS);
    problems.map(|problem| ConfigProblem { path: short(&problem.path), message: short(&problem.message) }).collect()
}

/// What a plugin refuses without a reason is refused all the same.
pub(super) fn refused(problems: Vec<wit::Problem>) -> ConfigureError {
    let mut problems = config_problems(problems);
    if problems.is_empty() {
        let message = "the plugin refuses its configuration and does not say why".to_owned();
        problems.push(ConfigProblem { path: String::new(), message });
    }
    ConfigureError::Refused(problems)
}

pub(super) fn refuse_problems(problems: Vec<ConfigProblem>) -> Result<(), ConfigureError> {
    if problems.is_empty() { Ok(()) } else { Err(ConfigureError::Refused(problems)) }
}

/// A column or field is asked for once.
pub(super) fn refuse_twice(names: &[String]) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("it asks for `{}` twice", shorten(twice))),
        None => Ok(()),
    }
}

/// What every role hands on to the seat of its instance.
macro_rules! stands_in_a_step {
    ($role:ty, $($seat:ident).+) => {
        impl $role {
            /// The plugin.
            pub fn plugin(&self) -> &$crate::plugin::Plugin {
                self.$($seat).+.plugin()
            }

            /// The name of the step.
            pub fn step(&self) -> &str {
                self.$($seat).+.step()
            }

            /// Set the clock that the plugin sees from now on.
            pub fn set_now(&mut self, now_us: i64) {
                self.$($seat).+.set_now(now_us);
            }

            /// What the calls have cost since the last time.
            pub fn take_stats(&mut self) -> $crate::plugin::CallStats {
                self.$($seat).+.take_stats()
            }
        }
    };
}
pub(super) use stands_in_a_step;

/// The input columns that a plugin asked for.
#[derive(Debug)]
pub(super) struct Needed {
    pub(super) names: Vec<String>,
    pub(super) indices: Vec<usize>,
}

impl Needed {
    /// The columns of these names. Fails with what is wrong with them.
    pub(super) fn new(names: Vec<String>, input: &Schema) -> Result<Self, String> {
        refuse_twice(&names)?;
        let index = |name: &String| {
            let unknown = |_| format!("it asks for the column `{}`, which its input does not have", shorten(name));
            input.index_of(name).map_err(unknown)
        };
        let indices = names.iter().map(index).collect::<Result<_, _>>()?;
        Ok(Self { names, indices })
    }
}

/// An input that a plugin fails for, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedInput {
    /// The index of the input.
    pub input: usize,
    /// Why, for people.
    pub reason: String,
}

impl FailedInput {
    /// The input as a rejected one.
    pub fn into_rejection(self) -> Rejection {
        Rejection { input: self.input, element: None, span: None, reason: self.reason }
    }
}

/// The inputs that were isolated.
pub(super) fn failed_inputs<T>(parts: Vec<Part<T>>) -> Vec<FailedInput> {
    let failed = parts.into_iter().filter_map(|(range, part)| Some((range.start, part.err()?)));
    failed.map(|(input, failure)| FailedInput { input, reason: failure.to_string() }).collect()
}

/// These rows of a batch, which may have no columns.
///
/// # Errors
/// What arrow says of columns that cannot be taken from.
pub fn take_rows(rows: &RecordBatch, indices: &UInt32Array) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(|column| take(column, indices, None)).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
    RecordBatch::try_new_with_options(rows.schema(), columns, &options)
}

/// A part of the rows, fit to be lowered.
pub(super) fn part(rows: &RecordBatch, range: &Range<usize>) -> Result<RecordBatch, Failure> {
    if range.len() == rows.num_rows() {
        return Ok(rows.clone());
    }
    // Taking, unlike slicing, also compacts nested columns.
    let indices: UInt32Array = range.clone().map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
    take_rows(rows, &indices).map_err(|error| Failure::Invalid(error.to_string()))
}
