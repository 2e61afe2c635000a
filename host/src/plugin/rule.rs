//! The rule role: rows in, alerts out; with or without memory.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{concat, filter};
use arrow::datatypes::SchemaRef;

use super::bindings::exports::weir::plugin::rule as wit;
use super::bindings::weir::plugin::columns::{Problem, SchemaParam, VarBytesParam};
use super::columns::{FlatSchema, Lowered, lift_states, lift_texts};
use super::isolate::isolate;
use super::sandbox::{Failure, Sandbox, Seat};
use super::state::{Keeper, StatefulRole, States, keeps_state};
use super::step::{ConfigureError, FailedInput, Needed, StepSettings, part, refuse_problems, stands_in_a_step};
use super::{Plugin, Role};
use crate::env::Stopwatch;
use crate::{Error, Result};

/// Alerts that a rule may raise for each row that it sees, on average of a call,
const MAX_ALERTS_PER_ROW: usize = 16;
/// and besides in any call, which may have one row only.
const MIN_ALERTS_PER_CALL: usize = 1024;

/// Whether a rule judges each row alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Each row alone.
    Stateless,
    /// It keeps a state for each group.
    Keyed,
}

/// Alerts as columns, one entry an alert.
#[derive(Debug, Clone)]
pub struct Alerts {
    /// The row that raised the alert; never decreases.
    pub rows: Vec<u32>,
    /// What kind of alert.
    pub kind: StringArray,
    /// How bad.
    pub severity: StringArray,
    /// What happened, for people.
    pub message: StringArray,
}

/// What a rule made of rows.
#[derive(Debug)]
pub struct Judged {
    /// What it raised.
    pub alerts: Alerts,
    /// The rows that it fails for.
    pub failed: Vec<FailedInput>,
}

/// What `configure` settled; the same for every instance.
struct Configured {
    settings: StepSettings,
    config: String,
    indices: wit::GuestIndices,
    input: FlatSchema,
    needed: Needed,
    memory: wit::Memory,
    state_version: u32,
    restorable: Vec<u32>,
}

/// A call that changed the states of groups.
enum Call {
    Evaluate { groups: Vec<u32>, rows: RecordBatch },
    Release { groups: Vec<u32> },
}

/// A rule in its step: for one worker, or with the groups of one shard.
pub struct Rule {
    keeper: Keeper<Configured>,
}

stands_in_a_step!(Rule, keeper.seat);
keeps_state!(Rule, keeper);

impl Rule {
    /// Configure a plugin as a rule over rows with this schema, which must be in
    /// the contract's types.
    ///
    /// # Errors
    /// Refused with all problems of the configuration; Failed if the plugin does
    /// not play the role, fails, or asks for columns that there are not.
    pub fn configure(
        plugin: &Plugin,
        settings: StepSettings,
        input: &SchemaRef,
    ) -> std::result::Result<Self, ConfigureError> {
        plugin.require(Role::Rule)?;
        refuse_problems(plugin.check_config(&settings.config)?)?;
        let failed = |failure: Failure| settings.cannot_be_configured(failure);
        let indices = wit::GuestIndices::new(plugin.pre()).map_err(|error| {
            Error::config(format!("{} is not a rule of contract 0.1.0", plugin.name())).because(error)
        })?;
        let flat = FlatSchema::new(input).map_err(Error::config)?;
        let config = settings.config.to_string();
        let (seat, info) = Seat::configured(plugin, &settings, |sandbox| configure(sandbox, &indices, &config, &flat))?;
        let needed = Needed::new(info.columns, input).map_err(|reason| failed(Failure::Invalid(reason)))?;
        let (memory, state_version, restorable) = (info.memory, info.state_version, info.restorable);
        if memory == wit::Memory::Keyed && !restorable.contains(&state_version) {
            let reason = format!("it cannot restore the version {state_version} of state that it writes");
            return Err(failed(Failure::Invalid(reason)).into());
        }
        let configured =
            Configured { settings, config, indices, input: flat, needed, memory, state_version, restorable };
        Ok(Self { keeper: Keeper::new(seat, Arc::new(configured)) })
    }

    /// The same rule for another worker or shard, without groups.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { keeper: self.keeper.fork() }
    }

    /// Make the instance now rather than at the first call.
    ///
    /// # Errors
    /// Plugin if it cannot be made.
    pub fn warm(&mut self) -> Result<()> {
        let warmed = self.keeper.call(|_, _| Ok(()));
        warmed.map_err(|failure| self.keeper.role().settings.cannot_be_configured(failure))
    }

    /// Whether it remembers.
    pub fn memory(&self) -> Memory {
        match self.keeper.role().memory {
            wit::Memory::Stateless => Memory::Stateless,
            wit::Memory::Keyed => Memory::Keyed,
        }
    }

    /// The input columns that it sees, by index.
    pub fn needed(&self) -> &[usize] {
        &self.keeper.role().needed.indices
    }

    /// The version of the state that it writes.
    pub fn state_version(&self) -> u32 {
        self.keeper.role().state_version
    }

    /// The versions of state that it reads.
    pub fn restorable(&self) -> &[u32] {
        &self.keeper.role().restorable
    }

    /// Judge rows, of the needed columns, in order. `groups[i]` is the group of
    /// row i; none for a rule without memory.
    ///
    /// # Errors
    /// Plugin if it fails and its settings say so, or fails for too many rows.
    pub fn evaluate(&mut self, groups: &[u32], rows: &RecordBatch) -> Result<Judged> {
        let role = Arc::clone(self.keeper.role());
        if rows.num_rows() == 0 {
            return Ok(Judged { alerts: Alerts::none(), failed: Vec::new() });
        }
        let settings = &role.settings;
        let keeper = &mut self.keeper;
        let parts = isolate(&settings.step, rows.num_rows(), settings.on_failure.get(), |range| {
            let groups = groups.get(range.clone()).unwrap_or_default();
            let rows = part(rows, &range)?;
            let alerts = keeper.call(|sandbox, guest| evaluate(sandbox, guest, groups, &rows, &role))?;
            if role.memory == wit::Memory::Keyed {
                let bytes = size_of_val(groups) + rows.get_array_memory_size();
                keeper.note(Call::Evaluate { groups: groups.to_vec(), rows }, bytes, groups);
            }
            Ok(alerts)
        })?;
        if self.keeper.is_journal_long() {
            self.keeper.move_base()?;
        }
        join(parts)
    }
}

impl Alerts {
    fn none() -> Self {
        let empty = || StringArray::from(Vec::<&str>::new());
        Self { rows: Vec::new(), kind: empty(), severity: empty(), message: empty() }
    }

    /// Keep the alerts for which `kept` says so.
    ///
    /// # Errors
    /// Bug if it does not say so of each.
    pub fn retain(&mut self, kept: &BooleanArray) -> Result<()> {
        let unfit = |error| Error::bug("alerts cannot be left out").because(error);
        for texts in [&mut self.kind, &mut self.severity, &mut self.message] {
            *texts = StringArray::from(filter(texts, kept).map_err(unfit)?.to_data());
        }
        let mut kept = kept.values().iter();
        self.rows.retain(|_| kept.next().unwrap_or(false));
        Ok(())
    }

    /// The number of alerts.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Put the parts of isolated rows together.
fn join(mut parts: Vec<super::isolate::Part<Alerts>>) -> Result<Judged> {
    if let [(_, part)] = parts.as_mut_slice()
        && let Ok(alerts) = part
    {
        return Ok(Judged { alerts: std::mem::replace(alerts, Alerts::none()), failed: Vec::new() });
    }
    let (mut rows, mut texts, mut failed) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()], Vec::new());
    for (range, part) in parts {
        match part {
            Ok(alerts) => {
                let shift = u32::try_from(range.start).map_err(|_| Error::bug("a chunk has more than 2^32 rows"))?;
                rows.extend(alerts.rows.into_iter().map(|row| row + shift));
                for (all, part) in texts.iter_mut().zip([alerts.kind, alerts.severity, alerts.message]) {
                    all.push(part);
                }
            }
            Err(failure) => failed.push(FailedInput { input: range.start, reason: failure.to_string() }),
        }
    }
    let text = |parts: &Vec<StringArray>| -> Result<StringArray> {
        if parts.is_empty() {
            return Ok(Alerts::none().kind);
        }
        let parts: Vec<&dyn arrow::array::Array> = parts.iter().map(|part| part as _).collect();
        let whole = concat(&parts).map_err(|error| Error::data("the alerts of a chunk are too long").because(error))?;
        Ok(StringArray::from(whole.to_data()))
    };
    let [kind, severity, message] = &texts;
    let alerts = Alerts { rows, kind: text(kind)?, severity: text(severity)?, message: text(message)? };
    Ok(Judged { alerts, failed })
}

type Answer = std::result::Result<wit::RuleInfo, Vec<Problem>>;

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

fn evaluate(
    sandbox: &mut Sandbox,
    guest: &wit::Guest,
    groups: &[u32],
    rows: &RecordBatch,
    role: &Configured,
) -> Result<Alerts, Failure> {
    let lowered = Lowered::new(rows).map_err(|error| Failure::Invalid(error.to_string()))?;
    let columns = lowered.params();
    let alerts = sandbox.call(|store, _| guest.call_evaluate(store, groups, lowered.batch(&columns)))??;
    let watch = Stopwatch::start();
    let alerts = check(alerts, rows.num_rows(), role.settings.limits.rows);
    sandbox.validated(watch.elapsed());
    alerts.map_err(Failure::Invalid)
}

fn check(alerts: wit::Alerts, rows: usize, max_alerts: usize) -> Result<Alerts, String> {
    let count = alerts.rows.len();
    let most = max_alerts.min(rows.saturating_mul(MAX_ALERTS_PER_ROW) + MIN_ALERTS_PER_CALL);
    if count > most {
        return Err(format!("{count} alerts, more than the {most} that one call may return for {rows} rows"));
    }
    if let Some(index) = alerts.rows.iter().position(|row| *row as usize >= rows) {
        return Err(format!("alert {index} names row {}, but there are {rows}", alerts.rows[index]));
    }
    if !alerts.rows.is_sorted() {
        return Err("the rows of the alerts decrease".into());
    }
    Ok(Alerts {
        kind: lift_texts("kind", alerts.kind, count)?,
        severity: lift_texts("severity", alerts.severity, count)?,
        message: lift_texts("message", alerts.message, count)?,
        rows: alerts.rows,
    })
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
        let is_same = info.columns == self.needed.names
            && info.memory == self.memory
            && info.state_version == self.state_version
            && info.restorable == self.restorable;
        match is_same {
            true => Ok(guest),
            false => Err(Failure::Invalid("a new instance announces something else".into())),
        }
    }

    fn repeat(&self, sandbox: &mut Sandbox, guest: &wit::Guest, call: &Call) -> Result<(), Failure> {
        match call {
            // What it raised then is told already.
            Call::Evaluate { groups, rows } => evaluate(sandbox, guest, groups, rows, self).map(drop),
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
