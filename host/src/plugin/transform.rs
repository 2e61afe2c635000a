//! The transform role: rows in, rows and rejections out.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use super::bindings::exports::weir::plugin::transform as wit;
use super::bindings::weir::plugin::columns::{Problem, SchemaParam};
use super::columns::{FlatSchema, Lowered, from_contract, lift, spread};
use super::isolate::isolate;
use super::parser::join;
use super::sandbox::{Failure, Limits, Sandbox, Seat};
use super::step::{ConfigureError, Needed, StepSettings, part, refuse_problems, stands_in_a_step};
use super::{Allowance, Plugin, Produced, Role};
use crate::env::Stopwatch;
use crate::{Error, Result};

/// What `configure` settled; the same for every instance.
struct Configured {
    settings: StepSettings,
    config: String,
    indices: wit::GuestIndices,
    input: FlatSchema,
    /// The input columns that the plugin sees.
    needed: Needed,
    /// The columns that the plugin returns.
    returned: SchemaRef,
    /// The input columns carried over behind them.
    carried: Needed,
    /// The columns that come out, in all.
    output: SchemaRef,
}

/// A transform in its step, for one worker.
pub struct Transform {
    seat: Seat<wit::Guest>,
    configured: Arc<Configured>,
}

stands_in_a_step!(Transform, seat);

impl Transform {
    /// Configure a plugin as a transform of rows with this schema, which must be
    /// in the contract's types.
    ///
    /// # Errors
    /// Refused with all problems of the configuration; Failed if the plugin does
    /// not play the role, fails, or asks for columns that there are not.
    pub fn configure(
        plugin: &Plugin,
        settings: StepSettings,
        input: &SchemaRef,
    ) -> std::result::Result<Self, ConfigureError> {
        plugin.require(Role::Transform)?;
        refuse_problems(plugin.check_config(&settings.config)?)?;
        let failed = |failure: Failure| settings.cannot_be_configured(failure);
        let indices = wit::GuestIndices::new(plugin.pre()).map_err(|error| {
            Error::config(format!("{} is not a transform of contract 0.1.0", plugin.name())).because(error)
        })?;
        let flat = FlatSchema::new(input).map_err(Error::config)?;
        let config = settings.config.to_string();
        let (seat, info) = Seat::configured(plugin, &settings, |sandbox| configure(sandbox, &indices, &config, &flat))?;
        let columns = |names| Needed::new(names, input).map_err(|reason| failed(Failure::Invalid(reason)));
        let (needed, carried) = (columns(info.columns)?, columns(info.carried)?);
        let returned = from_contract(info.output).map_err(|reason| failed(Failure::Invalid(reason)))?;
        let output =
            join_schemas(&returned, input, &carried.indices).map_err(|reason| failed(Failure::Invalid(reason)))?;
        let configured = Configured { settings, config, indices, input: flat, needed, returned, carried, output };
        Ok(Self { seat, configured: Arc::new(configured) })
    }

    /// The same transform for another worker, with an instance of its own.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { seat: self.seat.fork(), configured: Arc::clone(&self.configured) }
    }

    /// The schema of the rows that come out.
    pub fn output(&self) -> &SchemaRef {
        &self.configured.output
    }

    /// Make the instance now rather than at the first call.
    ///
    /// # Errors
    /// Plugin if it cannot be made.
    pub fn warm(&mut self) -> Result<()> {
        let configured = Arc::clone(&self.configured);
        let warmed = self.seat.with(|sandbox| again(&configured, sandbox), |_, _| Ok(()));
        warmed.map_err(|failure| configured.settings.cannot_be_configured(failure))
    }

    /// Transform a chunk of rows in the input schema.
    ///
    /// # Errors
    /// Plugin if it fails and its settings say so, or fails for too many rows.
    pub fn apply(&mut self, rows: &RecordBatch) -> Result<Produced> {
        let configured = Arc::clone(&self.configured);
        if rows.num_rows() == 0 {
            return Ok(Produced::nothing(&configured.output));
        }
        let (settings, seat) = (&configured.settings, &mut self.seat);
        let mut allowance = Allowance::new(&settings.limits);
        let parts = isolate(&settings.step, rows.num_rows(), settings.on_failure.get(), |range| {
            attempt(seat, &configured, rows, range).and_then(|part| allowance.take(part))
        })?;
        join(parts, &configured.output)
    }
}

fn join_schemas(returned: &SchemaRef, input: &SchemaRef, carried: &[usize]) -> std::result::Result<SchemaRef, String> {
    let mut fields: Vec<FieldRef> = returned.fields().to_vec();
    for index in carried {
        let field = &input.fields()[*index];
        if fields.iter().any(|other| other.name() == field.name()) {
            return Err(format!("it both returns and carries over the column `{}`", field.name()));
        }
        fields.push(Arc::clone(field));
    }
    Ok(Arc::new(Schema::new(fields)))
}

type Answer = std::result::Result<wit::TransformInfo, Vec<Problem>>;

fn configure(
    sandbox: &mut Sandbox,
    indices: &wit::GuestIndices,
    config: &str,
    input: &FlatSchema,
) -> std::result::Result<(wit::Guest, Answer), Failure> {
    sandbox.call(|store, instance| {
        let guest = indices.load(&mut *store, instance)?;
        let answer = guest.call_configure(store, config, SchemaParam { fields: &input.params() })?;
        Ok((guest, answer))
    })
}

/// Configure another instance, which must announce the same.
fn again(configured: &Configured, sandbox: &mut Sandbox) -> std::result::Result<wit::Guest, Failure> {
    let (guest, answer) = configure(sandbox, &configured.indices, &configured.config, &configured.input)?;
    let info = answer.map_err(|_| Failure::Invalid("a new instance refuses its configuration".into()))?;
    let returned = from_contract(info.output).map_err(Failure::Invalid)?;
    let is_same = returned == configured.returned
        && info.columns == configured.needed.names
        && info.carried == configured.carried.names;
    match is_same {
        true => Ok(guest),
        false => Err(Failure::Invalid("a new instance announces something else".into())),
    }
}

fn attempt(
    seat: &mut Seat<wit::Guest>,
    configured: &Configured,
    rows: &RecordBatch,
    range: Range<usize>,
) -> std::result::Result<Produced, Failure> {
    let limits = *seat.limits();
    let broken = |error: arrow::error::ArrowError| Failure::Invalid(error.to_string());
    seat.with(
        |sandbox| again(configured, sandbox),
        |sandbox, guest| {
            let rows = &part(rows, &range)?;
            let needed = rows.project(&configured.needed.indices).map_err(broken)?;
            let lowered = Lowered::new(&needed).map_err(|error| Failure::Invalid(error.to_string()))?;
            let columns = lowered.params();
            let transformed = sandbox.call(|store, _| guest.call_apply(store, lowered.batch(&columns)))??;
            let watch = Stopwatch::start();
            let produced = check(transformed, configured, rows, &limits);
            sandbox.validated(watch.elapsed());
            produced.map_err(Failure::Invalid)
        },
    )
}

fn check(
    transformed: wit::Transformed,
    configured: &Configured,
    input: &RecordBatch,
    limits: &Limits,
) -> std::result::Result<Produced, String> {
    let returned = lift(transformed.rows, &configured.returned, limits.rows)?;
    let origins = transformed.origins;
    super::check_origins(&origins, returned.num_rows(), input.num_rows())?;
    // A row has no bytes that a span could name.
    let rejected = super::rejections(transformed.rejected, input.num_rows(), |_| 0)?;
    if let Some(pair) = rejected.windows(2).find(|pair| pair[0].input == pair[1].input) {
        return Err(format!("input row {} is rejected twice", pair[0].input));
    }
    if configured.carried.indices.is_empty() {
        return Ok(Produced { rows: returned, origins, rejected });
    }
    let indices = UInt32Array::from(origins.clone());
    let mut columns = returned.columns().to_vec();
    for index in &configured.carried.indices {
        columns.push(spread(input.column(*index), &indices, limits.result_bytes)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(returned.num_rows()));
    let rows = RecordBatch::try_new_with_options(Arc::clone(&configured.output), columns, &options);
    Ok(Produced { rows: rows.map_err(|error| error.to_string())?, origins, rejected })
}
