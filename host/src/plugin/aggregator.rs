//! The aggregator role: rows fold into groups, groups become rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::bindings::exports::weir::plugin::aggregator as wit;
use super::bindings::weir::plugin::columns::{Problem, SchemaParam, VarBytesParam};
use super::columns::{FlatSchema, Lowered, from_contract, lift, lift_states};
use super::isolate::isolate;
use super::sandbox::{Failure, Sandbox, Seat};
use super::state::{Keeper, StatefulRole, States, keeps_state};
use super::step::{
    ConfigureError, FailedInput, Needed, StepSettings, failed_inputs, part, refuse_problems, stands_in_a_step,
};
use super::{Plugin, Role};
use crate::env::Stopwatch;
use crate::{Error, Result};

/// What `configure` settled; the same for every instance.
struct Configured {
    settings: StepSettings,
    config: String,
    indices: wit::GuestIndices,
    input: FlatSchema,
    needed: Needed,
    output: SchemaRef,
    state_version: u32,
    restorable: Vec<u32>,
}

/// A call that changed the states of groups.
enum Call {
    Update { groups: Vec<u32>, rows: RecordBatch },
    Merge { into: Vec<u32>, sources: Vec<u32> },
    Release { groups: Vec<u32> },
}

/// An aggregator in its step, with the groups of one shard.
pub struct Aggregator {
    keeper: Keeper<Configured>,
}

/// What became of the groups that were to be rows.
#[derive(Debug)]
pub struct Evaluated {
    /// One row for each group that has one.
    pub rows: RecordBatch,
    /// For each row the index of its group among those that were asked for.
    pub origins: Vec<u32>,
    /// The groups that the plugin fails for, by index.
    pub failed: Vec<FailedInput>,
}

stands_in_a_step!(Aggregator, keeper.seat);
keeps_state!(Aggregator, keeper);

impl Aggregator {
    /// Configure a plugin as an aggregator of rows with this schema, which must be
    /// in the contract's types and has the event time as its last column.
    ///
    /// # Errors
    /// Refused with all problems of the configuration; Failed if the plugin does
    /// not play the role, fails, or asks for columns that there are not.
    pub fn configure(
        plugin: &Plugin,
        settings: StepSettings,
        input: &SchemaRef,
    ) -> std::result::Result<Self, ConfigureError> {
        plugin.require(Role::Aggregator)?;
        refuse_problems(plugin.check_config(&settings.config)?)?;
        let failed = |failure: Failure| settings.cannot_be_configured(failure);
        let indices = wit::GuestIndices::new(plugin.pre()).map_err(|error| {
            Error::config(format!("{} is not an aggregator of contract 0.1.0", plugin.name())).because(error)
        })?;
        let flat = FlatSchema::new(input).map_err(Error::config)?;
        let config = settings.config.to_string();
        let (seat, info) = Seat::configured(plugin, &settings, |sandbox| configure(sandbox, &indices, &config, &flat))?;
        let needed = Needed::new(info.columns, input).map_err(|reason| failed(Failure::Invalid(reason)))?;
        let output = from_contract(info.output).map_err(|reason| failed(Failure::Invalid(reason)))?;
        let (state_version, restorable) = (info.state_version, info.restorable);
        if !restorable.contains(&state_version) {
            let reason = format!("it cannot restore the version {state_version} of state that it writes");
            return Err(failed(Failure::Invalid(reason)).into());
        }
        let configured =
            Configured { settings, config, indices, input: flat, needed, output, state_version, restorable };
        Ok(Self { keeper: Keeper::new(seat, Arc::new(configured)) })
    }

    /// The same aggregator for another shard, without groups.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { keeper: self.keeper.fork() }
    }

    /// The input columns that it sees, by index.
    pub fn needed(&self) -> &[usize] {
        &self.keeper.role().needed.indices
    }

    /// The schema of the rows that groups become.
    pub fn output(&self) -> &SchemaRef {
        &self.keeper.role().output
    }

    /// The version of the state that it writes.
    pub fn state_version(&self) -> u32 {
        self.keeper.role().state_version
    }

    /// The versions of state that it reads.
    pub fn restorable(&self) -> &[u32] {
        &self.keeper.role().restorable
    }

    /// Fold row i, of the needed columns, into `groups[i]`. The rows that the
    /// plugin fails for are in no group.
    ///
    /// # Errors
    /// Plugin if it fails and its settings say so, or fails for too many rows.
    pub fn update(&mut self, groups: &[u32], rows: &RecordBatch) -> Result<Vec<FailedInput>> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let settings = self.keeper.role().settings.clone();
        let keeper = &mut self.keeper;
        let parts = isolate(&settings.step, groups.len(), settings.on_failure.get(), |range| {
            let (groups, rows) = (&groups[range.clone()], part(rows, &range)?);
            keeper.call(|sandbox, guest| update(sandbox, guest, groups, &rows))?;
            let bytes = size_of_val(groups) + rows.get_array_memory_size();
            let call = Call::Update { groups: groups.to_vec(), rows };
            keeper.note(call, bytes, groups);
            Ok(())
        })?;
        let failed = failed_inputs(parts);
        // A group that has only such rows is open all the same, also after a restart.
        failed.iter().for_each(|failed| self.keeper.mark_all(&groups[failed.input..=failed.input]));
        if self.keeper.is_journal_long() {
            self.keeper.move_base()?;
        }
        Ok(failed)
    }

    /// Fold the state of `sources[i]` into `into[i]`, in order.
    ///
    /// # Errors
    /// Plugin if it fails twice.
    pub fn merge(&mut self, into: Vec<u32>, sources: Vec<u32>) -> Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        self.keeper
            .insist(into.len(), |keeper| keeper.call(|sandbox, guest| merge(sandbox, guest, &into, &sources)))?;
        let (bytes, changed) = (2 * size_of_val(into.as_slice()), into.clone());
        self.keeper.note(Call::Merge { into, sources }, bytes, &changed);
        Ok(())
    }

    /// One row for each group, in order.
    ///
    /// # Errors
    /// Plugin if it fails and its settings say so, or fails for too many groups.
    pub fn evaluate(&mut self, groups: &[u32]) -> Result<Evaluated> {
        let role = Arc::clone(self.keeper.role());
        let settings = &role.settings;
        let (mut batches, mut origins, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for groups in groups.chunks(settings.limits.rows.clamp(1, ROWS_PER_CALL)) {
            let parts = isolate(&settings.step, groups.len(), settings.on_failure.get(), |range| {
                let groups = &groups[range];
                self.keeper.call(|sandbox, guest| evaluate(sandbox, guest, groups, &role))
            })?;
            for (range, part) in parts {
                let index = |within: usize| u32::try_from(start + within).unwrap_or(u32::MAX);
                match part {
                    Ok(rows) => {
                        origins.extend(range.map(index));
                        batches.push(rows);
                    }
                    Err(failure) => {
                        failed.push(FailedInput { input: start + range.start, reason: failure.to_string() });
                    }
                }
            }
            start += groups.len();
        }
        let rows = concat_batches(&role.output, &batches)
            .map_err(|error| Error::bug("the rows of groups do not fit together").because(error))?;
        Ok(Evaluated { rows, origins, failed })
    }
}

/// Rows that one call returns, at most.
const ROWS_PER_CALL: usize = 65_536;

type Answer = std::result::Result<wit::AggregatorInfo, Vec<Problem>>;

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

fn update(sandbox: &mut Sandbox, guest: &wit::Guest, groups: &[u32], rows: &RecordBatch) -> Result<(), Failure> {
    let lowered = Lowered::new(rows).map_err(|error| Failure::Invalid(error.to_string()))?;
    let columns = lowered.params();
    Ok(sandbox.call(|store, _| guest.call_update(store, groups, lowered.batch(&columns)))??)
}

fn merge(sandbox: &mut Sandbox, guest: &wit::Guest, into: &[u32], sources: &[u32]) -> Result<(), Failure> {
    Ok(sandbox.call(|store, _| guest.call_merge(store, into, sources))??)
}

fn evaluate(
    sandbox: &mut Sandbox,
    guest: &wit::Guest,
    groups: &[u32],
    role: &Configured,
) -> Result<RecordBatch, Failure> {
    let rows = sandbox.call(|store, _| guest.call_evaluate(store, groups))??;
    let watch = Stopwatch::start();
    let rows = lift(rows, &role.output, groups.len());
    sandbox.validated(watch.elapsed());
    let rows = rows.map_err(Failure::Invalid)?;
    match rows.num_rows() == groups.len() {
        true => Ok(rows),
        false => Err(Failure::Invalid(format!("{} rows for {} groups", rows.num_rows(), groups.len()))),
    }
}

impl StatefulRole for Configured {
    type Guest = wit::Guest;
    type Call = Call;

    fn settings(&self) -> &StepSettings {
        &self.settings
    }

    fn configure(&self, sandbox: &mut Sandbox) -> Result<wit::Guest, Failure> {
        let (guest, answer) = configure(sandbox, &self.indices, &self.config, &self.input)?;
        let info = answer.map_err(|_| Failure::Invalid("a new instance refuses its configuration".into()))?;
        let output = from_contract(info.output).map_err(Failure::Invalid)?;
        let is_same = output == self.output
            && info.columns == self.needed.names
            && info.state_version == self.state_version
            && info.restorable == self.restorable;
        match is_same {
            true => Ok(guest),
            false => Err(Failure::Invalid("a new instance announces something else".into())),
        }
    }

    fn repeat(&self, sandbox: &mut Sandbox, guest: &wit::Guest, call: &Call) -> Result<(), Failure> {
        match call {
            Call::Update { groups, rows } => update(sandbox, guest, groups, rows),
            Call::Merge { into, sources } => merge(sandbox, guest, into, sources),
            Call::Release { groups } => self.release(sandbox, guest, groups),
        }
    }

    fn snapshot(&self, sandbox: &mut Sandbox, guest: &wit::Guest, groups: &[u32]) -> Result<States, Failure> {
        let states = sandbox.call(|store, _| guest.call_snapshot(store, groups))??;
        lift_states(states, groups.len()).map_err(Failure::Invalid)
    }

    fn restore(
        &self,
        sandbox: &mut Sandbox,
        guest: &wit::Guest,
        groups: &[u32],
        states: &States,
        version: u32,
    ) -> Result<(), Failure> {
        let param = VarBytesParam { offsets: &states.offsets, data: &states.data };
        Ok(sandbox.call(|store, _| guest.call_restore(store, groups, param, version))??)
    }

    fn state_version(&self) -> u32 {
        self.state_version
    }

    fn release(&self, sandbox: &mut Sandbox, guest: &wit::Guest, groups: &[u32]) -> Result<(), Failure> {
        sandbox.call(|store, _| guest.call_release(store, groups))
    }

    fn released(groups: Vec<u32>) -> Call {
        Call::Release { groups }
    }
}
