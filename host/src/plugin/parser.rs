//! The parser role: messages in, rows and rejections out.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::bindings::exports::weir::plugin::parser as wit;
use super::bindings::weir::plugin::columns::{Problem, SchemaParam, VarBytesParam};
use super::columns::{FlatSchema, Lowered, from_contract, lift};
use super::isolate::isolate;
use super::sandbox::{Failure, Limits, Sandbox, Seat};
use super::step::{ConfigureError, StepSettings, refuse_problems, refuse_twice, stands_in_a_step};
use super::{Allowance, Plugin, Produced, Rejection, Role};
use crate::env::Stopwatch;
use crate::{Error, Result};

/// Bodies of messages and their fields, borrowed for a call.
#[derive(Clone, Copy)]
pub struct Messages<'a> {
    /// The bodies, one behind the other.
    pub payload: &'a [u8],
    /// Message i is `payload[offsets[i]..offsets[i + 1]]`; starts at 0, never
    /// decreases, ends at the length of the payload.
    pub offsets: &'a [i32],
    /// One row for each message: the fields that the parser asked for, in order.
    pub fields: &'a RecordBatch,
}

impl Messages<'_> {
    /// The number of messages.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What `configure` settled; the same for every instance.
struct Configured {
    settings: StepSettings,
    config: String,
    indices: wit::GuestIndices,
    stored: Option<FlatSchema>,
    output: SchemaRef,
    message_fields: Vec<String>,
}

/// A parser in its step, for one worker.
pub struct Parser {
    seat: Seat<wit::Guest>,
    configured: Arc<Configured>,
}

stands_in_a_step!(Parser, seat);

impl Parser {
    /// Configure a plugin as a parser. `stored` is the schema that the host keeps
    /// for the source, where it does.
    ///
    /// # Errors
    /// Refused with all problems of the configuration; Failed if the plugin does
    /// not play the role or fails.
    pub fn configure(
        plugin: &Plugin,
        settings: StepSettings,
        stored: Option<&SchemaRef>,
    ) -> std::result::Result<Self, ConfigureError> {
        plugin.require(Role::Parser)?;
        refuse_problems(plugin.check_config(&settings.config)?)?;
        let failed = |failure: Failure| settings.cannot_be_configured(failure);
        let indices = wit::GuestIndices::new(plugin.pre()).map_err(|error| {
            Error::config(format!("{} is not a parser of contract 0.1.0", plugin.name())).because(error)
        })?;
        let stored = stored.map(|schema| FlatSchema::new(schema)).transpose().map_err(Error::config)?;
        let config = settings.config.to_string();
        let (seat, info) =
            Seat::configured(plugin, &settings, |sandbox| configure(sandbox, &indices, &config, stored.as_ref()))?;
        let output = from_contract(info.output).map_err(|reason| failed(Failure::Invalid(reason)))?;
        let message_fields = info.message_fields;
        refuse_twice(&message_fields).map_err(|reason| failed(Failure::Invalid(reason)))?;
        let configured = Configured { settings, config, indices, stored, output, message_fields };
        Ok(Self { seat, configured: Arc::new(configured) })
    }

    /// The same parser for another worker, with an instance of its own.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { seat: self.seat.fork(), configured: Arc::clone(&self.configured) }
    }

    /// The schema of the rows.
    pub fn output(&self) -> &SchemaRef {
        &self.configured.output
    }

    /// The message fields that it wants to see.
    pub fn message_fields(&self) -> &[String] {
        &self.configured.message_fields
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

    /// Parse a chunk. Every message is in the rows, among the rejections, or was
    /// empty to the plugin.
    ///
    /// # Errors
    /// Plugin if it fails and its settings say so, or fails for too many inputs.
    pub fn parse(&mut self, messages: Messages<'_>) -> Result<Produced> {
        let configured = Arc::clone(&self.configured);
        if messages.is_empty() {
            return Ok(Produced::nothing(&configured.output));
        }
        let (settings, seat) = (&configured.settings, &mut self.seat);
        let mut allowance = Allowance::new(&settings.limits);
        let parts = isolate(&settings.step, messages.len(), settings.on_failure.get(), |range| {
            attempt(seat, &configured, messages, range).and_then(|part| allowance.take(part))
        })?;
        join(parts, &configured.output)
    }
}

/// Put the parts of an isolated chunk together; failures become rejections.
pub(super) fn join(parts: Vec<super::isolate::Part<Produced>>, schema: &SchemaRef) -> Result<Produced> {
    let mut batches = Vec::new();
    let (mut origins, mut rejected) = (Vec::new(), Vec::new());
    if parts.len() == 1 && parts[0].1.is_ok() {
        return parts.into_iter().next().and_then(|(_, part)| part.ok()).ok_or_else(|| Error::bug("a part vanished"));
    }
    for (range, part) in parts {
        match part {
            Ok(part) => {
                let shift = u32::try_from(range.start).map_err(|_| Error::bug("a chunk has more than 2^32 inputs"))?;
                batches.push(part.rows);
                origins.extend(part.origins.into_iter().map(|origin| origin + shift));
                rejected.extend(
                    part.rejected
                        .into_iter()
                        .map(|rejection| Rejection { input: rejection.input + range.start, ..rejection }),
                );
            }
            Err(failure) => {
                let reason = failure.to_string();
                rejected.push(Rejection { input: range.start, element: None, span: None, reason });
            }
        }
    }
    let rows = concat_batches(schema, &batches)
        .map_err(|error| Error::data("the rows of a chunk do not fit together").because(error))?;
    Ok(Produced { rows, origins, rejected })
}

type Answer = std::result::Result<wit::ParserInfo, Vec<Problem>>;

fn configure(
    sandbox: &mut Sandbox,
    indices: &wit::GuestIndices,
    config: &str,
    stored: Option<&FlatSchema>,
) -> std::result::Result<(wit::Guest, Answer), Failure> {
    sandbox.call(|store, instance| {
        let guest = indices.load(&mut *store, instance)?;
        let fields = stored.map(FlatSchema::params);
        let stored = fields.as_deref().map(|fields| SchemaParam { fields });
        let answer = guest.call_configure(store, config, stored)?;
        Ok((guest, answer))
    })
}

/// Configure another instance, which must announce the same.
fn again(configured: &Configured, sandbox: &mut Sandbox) -> std::result::Result<wit::Guest, Failure> {
    let (guest, answer) = configure(sandbox, &configured.indices, &configured.config, configured.stored.as_ref())?;
    let info = answer.map_err(|_| Failure::Invalid("a new instance refuses its configuration".into()))?;
    let output = from_contract(info.output).map_err(Failure::Invalid)?;
    match output == configured.output && info.message_fields == configured.message_fields {
        true => Ok(guest),
        false => Err(Failure::Invalid("a new instance announces something else".into())),
    }
}

fn attempt(
    seat: &mut Seat<wit::Guest>,
    configured: &Configured,
    messages: Messages<'_>,
    range: Range<usize>,
) -> std::result::Result<Produced, Failure> {
    let limits = *seat.limits();
    seat.with(
        |sandbox| again(configured, sandbox),
        |sandbox, guest| {
            // A part of the chunk needs offsets and fields of its own; the whole of
            // it is borrowed as it is.
            let whole = range.len() == messages.len();
            let base = messages.offsets.get(range.start).copied().unwrap_or(0);
            let rebased: Vec<i32> = match whole {
                true => Vec::new(),
                false => messages.offsets[range.start..=range.end].iter().map(|offset| offset - base).collect(),
            };
            let offsets = if whole { messages.offsets } else { &rebased };
            let last = messages.offsets.get(range.end).copied().unwrap_or(0);
            let data = &messages.payload[base as usize..last as usize];
            let fields = messages.fields.slice(range.start, range.len());
            let lowered = Lowered::new(&fields).map_err(|error| Failure::Invalid(error.to_string()))?;
            let columns = lowered.params();
            let chunk = wit::Messages { payload: VarBytesParam { offsets, data }, fields: lowered.batch(&columns) };
            let parsed = sandbox.call(|store, _| guest.call_parse(store, chunk))??;
            let watch = Stopwatch::start();
            let produced = check(parsed, configured, &limits, offsets);
            sandbox.validated(watch.elapsed());
            produced.map_err(Failure::Invalid)
        },
    )
}

fn check(
    parsed: wit::Parsed,
    configured: &Configured,
    limits: &Limits,
    offsets: &[i32],
) -> std::result::Result<Produced, String> {
    let rows = lift(parsed.rows, &configured.output, limits.rows)?;
    let inputs = offsets.len() - 1;
    super::check_origins(&parsed.origins, rows.num_rows(), inputs)?;
    if !parsed.origins.is_sorted() {
        return Err("the origins decrease".into());
    }
    let length = |input: usize| offsets[input + 1].abs_diff(offsets[input]);
    let rejected = super::rejections(parsed.rejected, inputs, length)?;
    Ok(Produced { rows, origins: parsed.origins, rejected })
}
