//! One instance of a component with its limits: calls, and how they fail.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{CallHook, ResourceLimiter, Store, Trap};

use super::Engine;
use super::bindings::weir::plugin::{columns, host};
use super::inert::{self, Inert};
use super::step::{ConfigureError, StepSettings, refused};
use crate::Error;
use crate::env::Stopwatch;

/// Log lines that one call may write; more are counted, not written.
const MAX_LOG_LINES_PER_CALL: u32 = 100;
/// Longer log lines are cut.
pub(super) const MAX_LOG_LINE_BYTES: usize = 4096;
/// Counters that a plugin may have in an epoch; more are not counted.
const MAX_COUNTERS: usize = 64;
/// Longer names of counters are cut.
const MAX_COUNTER_NAME_BYTES: usize = 100;
/// The time that creating an instance may take beyond the deadline of a call:
/// interpreted languages set up their runtime in it.
const START_ALLOWANCE: Duration = Duration::from_secs(5);
/// Core instances, memories and tables of one component; language runtimes and
/// the adapters of the component model need a few.
const MAX_CORE_INSTANCES: usize = 64;
const MAX_MEMORIES: usize = 8;
const MAX_TABLES: usize = 32;
const MAX_TABLE_ELEMENTS: usize = 100_000;

/// What an instance may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Its memory.
    pub memory_bytes: usize,
    /// The time of one call.
    pub deadline: Duration,
    /// What one call may move across the boundary, arguments aside.
    pub result_bytes: usize,
    /// The rows that one call may return.
    pub rows: usize,
    /// What it may import beyond the contract.
    pub grants: Grants,
}

/// What a component may import beyond the contract; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grants {
    /// WASI 0.2, inert: no files, no environment, no sockets, the clock of the epoch,
    /// and randomness that is the same for every call.
    pub wasi: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * 1024 * 1024,
            deadline: Duration::from_millis(500),
            result_bytes: 64 * 1024 * 1024,
            rows: 4 * 1024 * 1024,
            grants: Grants::default(),
        }
    }
}

/// How a call failed. The instance must not be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It trapped; with its last words, if it logged an error before.
    Trapped(String),
    /// It did not answer within its deadline.
    DeadlineMissed(Duration),
    /// It answered with an error.
    Refused(String),
    /// Its answer breaks the contract.
    Invalid(String),
    /// There is no instance to ask; no input is to blame.
    NotStarted(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trapped(reason) => write!(f, "the plugin trapped: {reason}"),
            Self::DeadlineMissed(deadline) => write!(f, "the plugin missed its deadline of {deadline:?}"),
            Self::Refused(reason) => write!(f, "the plugin failed: {reason}"),
            Self::Invalid(reason) => write!(f, "the plugin returned an invalid result: {reason}"),
            Self::NotStarted(reason) => write!(f, "no instance of the plugin can be had: {reason}"),
        }
    }
}

impl std::error::Error for Failure {}

/// What the calls of a plugin cost.
#[derive(Debug, Clone, Default)]
pub struct CallStats {
    /// How many calls were made.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// The time within the plugin.
    pub inside: Duration,
    /// The time for moving data across the boundary.
    pub boundary: Duration,
    /// The time for checking what came back.
    pub validation: Duration,
    /// The time of each call, in microseconds.
    pub latencies_us: Vec<u32>,
    /// The most memory that an instance had.
    pub peak_memory_bytes: usize,
    /// The plugin's own counters.
    pub counters: BTreeMap<String, u64>,
    /// Log lines beyond what one call may write.
    pub dropped_log_lines: u64,
}

impl CallStats {
    /// Add what another instance or call cost.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.inside += other.inside;
        self.boundary += other.boundary;
        self.validation += other.validation;
        self.latencies_us.extend_from_slice(&other.latencies_us);
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
        self.dropped_log_lines += other.dropped_log_lines;
        for (name, by) in &other.counters {
            self.count(name, *by);
        }
    }

    fn count(&mut self, name: &str, by: u64) {
        let name = &name[..name.floor_char_boundary(MAX_COUNTER_NAME_BYTES)];
        if let Some(counter) = self.counters.get_mut(name) {
            *counter = counter.saturating_add(by);
        } else if self.counters.len() < MAX_COUNTERS {
            self.counters.insert(name.to_owned(), by);
        }
    }
}

/// What an instance may have of the things that it can ask for more of.
struct Growth {
    max_memory_bytes: usize,
    /// Over all memories of the instance.
    memory_bytes: usize,
    table_elements: usize,
}

impl ResourceLimiter for Growth {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if wanted > self.max_memory_bytes {
            let max = self.max_memory_bytes;
            return Err(wasmtime::Error::msg(format!("it wants {wanted} bytes of memory, {max} are allowed")));
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.table_elements.saturating_add(desired.saturating_sub(current));
        if wanted > MAX_TABLE_ELEMENTS {
            return Err(wasmtime::Error::msg(format!(
                "it wants tables of {wanted} elements, {MAX_TABLE_ELEMENTS} are allowed"
            )));
        }
        self.table_elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }
}

/// What the host keeps for an instance.
pub(super) struct State {
    step: String,
    growth: Growth,
    now_us: i64,
    log_lines: u32,
    last_error: Option<String>,
    stats: CallStats,
    entered: Option<Stopwatch>,
    inside: Duration,
    inert: Inert,
}

/// One instance with its memory. Dropped after any failure.
pub(super) struct Sandbox {
    store: Store<State>,
    instance: Instance,
    deadline: Duration,
}

impl Sandbox {
    /// Instantiate a component. Its start functions run under a deadline, too.
    pub(super) fn start(
        engine: &Engine,
        pre: &InstancePre<State>,
        step: &str,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        let state = State {
            step: step.to_owned(),
            growth: Growth { max_memory_bytes: limits.memory_bytes, memory_bytes: 0, table_elements: 0 },
            now_us: 0,
            log_lines: 0,
            last_error: None,
            stats: CallStats::default(),
            entered: None,
            inside: Duration::ZERO,
            inert: Inert::default(),
        };
        let mut store = Store::new(engine.inner(), state);
        store.limiter(|state| &mut state.growth);
        store.set_hostcall_fuel(limits.result_bytes);
        store.call_hook(|mut context, hook| {
            let state = context.data_mut();
            match hook {
                CallHook::CallingWasm | CallHook::ReturningFromHost => state.entered = Some(Stopwatch::start()),
                CallHook::ReturningFromWasm | CallHook::CallingHost => {
                    state.inside += state.entered.take().map_or(Duration::ZERO, |entered| entered.elapsed());
                }
            }
            Ok(())
        });
        let allowance = limits.deadline.saturating_add(START_ALLOWANCE);
        store.set_epoch_deadline(Engine::ticks(allowance));
        let instance = pre.instantiate(&mut store).map_err(|error| failure(&error, allowance, None))?;
        Ok(Self { store, instance, deadline: limits.deadline })
    }

    /// Set the clock that the plugin sees.
    pub(super) fn set_now(&mut self, now_us: i64) {
        self.store.data_mut().now_us = now_us;
    }

    /// Make one call under the deadline.
    pub(super) fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Store<State>, &Instance) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.store.set_epoch_deadline(Engine::ticks(self.deadline));
        let state = self.store.data_mut();
        (state.log_lines, state.last_error, state.inside) = (0, None, Duration::ZERO);
        state.inert.begin(state.now_us);
        let watch = Stopwatch::start();
        let result = call(&mut self.store, &self.instance);
        let elapsed = watch.elapsed();
        let state = self.store.data_mut();
        state.stats.calls += 1;
        state.stats.inside += state.inside;
        state.stats.boundary += elapsed.saturating_sub(state.inside);
        state.stats.latencies_us.push(u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX));
        result.map_err(|error| failure(&error, self.deadline, state.last_error.take()))
    }

    /// Count the time for checking an answer.
    pub(super) fn validated(&mut self, time: Duration) {
        self.store.data_mut().stats.validation += time;
    }

    /// What the calls have cost since the last time.
    pub(super) fn take_stats(&mut self) -> CallStats {
        let state = self.store.data_mut();
        state.stats.peak_memory_bytes = state.growth.memory_bytes;
        std::mem::take(&mut state.stats)
    }
}

impl From<columns::Error> for Failure {
    fn from(error: columns::Error) -> Self {
        Self::Refused(shorten(&error.message).to_owned())
    }
}

impl State {
    /// The clock that the plugin sees.
    pub(super) fn now_us(&self) -> i64 {
        self.now_us
    }

    pub(super) fn inert(&mut self) -> &mut Inert {
        &mut self.inert
    }
}

impl host::Host for State {
    fn log(&mut self, level: host::Level, message: String) {
        self.log_lines += 1;
        let message = shorten(&message);
        if matches!(level, host::Level::Error) {
            self.last_error = Some(message.to_owned());
        }
        if self.log_lines > MAX_LOG_LINES_PER_CALL {
            self.stats.dropped_log_lines += 1;
            return;
        }
        let step = &self.step;
        match level {
            host::Level::Debug => tracing::debug!(target: "weir::plugin", step, "{message}"),
            host::Level::Info => tracing::info!(target: "weir::plugin", step, "{message}"),
            host::Level::Warn => tracing::warn!(target: "weir::plugin", step, "{message}"),
            host::Level::Error => tracing::error!(target: "weir::plugin", step, "{message}"),
        }
    }

    fn count(&mut self, name: String, by: u64) {
        self.stats.count(&name, by);
    }

    fn now(&mut self) -> i64 {
        self.now_us()
    }
}

impl columns::Host for State {}
impl super::bindings::weir::plugin::messages::Host for State {}

fn failure(error: &wasmtime::Error, deadline: Duration, last_words: Option<String>) -> Failure {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) {
        return Failure::DeadlineMissed(deadline);
    }
    let cause = trap.map_or_else(|| error.root_cause().to_string(), ToString::to_string);
    let cause = inert::explained(cause.trim_start_matches("wasm trap: "));
    Failure::Trapped(match last_words {
        Some(words) => format!("{words} ({cause})"),
        None => cause,
    })
}

/// The text, cut at a character boundary if it is too long.
pub(super) fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LOG_LINE_BYTES)]
}

/// The place of an instance in a step: made when it is needed, dropped after a
/// failure, its costs kept.
pub(super) struct Seat<G> {
    plugin: super::Plugin,
    step: String,
    limits: Limits,
    now_us: i64,
    live: Option<(Sandbox, G)>,
    stats: CallStats,
}

impl<G> Seat<G> {
    pub(super) fn new(plugin: super::Plugin, step: String, limits: Limits) -> Self {
        Self { plugin, step, limits, now_us: 0, live: None, stats: CallStats::default() }
    }

    /// A seat with an instance that has answered `configure`, and the answer.
    ///
    /// # Errors
    /// Refused with the problems that it answered; Failed if it did not answer.
    pub(super) fn configured<I>(
        plugin: &super::Plugin,
        settings: &StepSettings,
        configure: impl FnOnce(&mut Sandbox) -> Result<(G, Result<I, Vec<columns::Problem>>), Failure>,
    ) -> Result<(Self, I), ConfigureError> {
        let mut seat = Self::new(plugin.clone(), settings.step.clone(), settings.limits);
        let mut answer = None;
        let asked = seat.with(
            |sandbox| {
                let (guest, answered) = configure(sandbox)?;
                answer = Some(answered);
                Ok(guest)
            },
            |_, _| Ok(()),
        );
        asked.map_err(|failure| settings.cannot_be_configured(failure))?;
        let answer = answer.ok_or_else(|| Error::bug("a plugin was configured without an answer"))?;
        Ok((seat, answer.map_err(refused)?))
    }

    /// Drop the instance, if there is one; the next call makes another.
    pub(super) fn leave(&mut self) {
        self.live = None;
    }

    /// A seat for the same plugin and step, without an instance.
    pub(super) fn fork(&self) -> Self {
        Self::new(self.plugin.clone(), self.step.clone(), self.limits)
    }

    pub(super) fn plugin(&self) -> &super::Plugin {
        &self.plugin
    }

    pub(super) fn step(&self) -> &str {
        &self.step
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Set the clock that the plugin sees from now on.
    pub(super) fn set_now(&mut self, now_us: i64) {
        self.now_us = now_us;
    }

    /// Use the instance, which `configure` sets up if it has to be made first.
    pub(super) fn with<T>(
        &mut self,
        configure: impl FnOnce(&mut Sandbox) -> Result<G, Failure>,
        work: impl FnOnce(&mut Sandbox, &G) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (mut sandbox, guest) = match self.live.take() {
            Some(live) => live,
            None => {
                let started = self.plugin.start(&self.step, &self.limits);
                let mut sandbox = started.map_err(|failure| self.not_started(failure))?;
                sandbox.set_now(self.now_us);
                match configure(&mut sandbox) {
                    Ok(guest) => (sandbox, guest),
                    Err(failure) => {
                        self.stats.merge(&sandbox.take_stats());
                        return Err(self.not_started(failure));
                    }
                }
            }
        };
        sandbox.set_now(self.now_us);
        let result = work(&mut sandbox, &guest);
        self.stats.merge(&sandbox.take_stats());
        match &result {
            Ok(_) => self.live = Some((sandbox, guest)),
            Err(_) => self.stats.failures += 1,
        }
        result
    }

    fn not_started(&mut self, failure: Failure) -> Failure {
        self.stats.failures += 1;
        Failure::NotStarted(failure.to_string())
    }

    /// What the calls have cost since the last time.
    pub(super) fn take_stats(&mut self) -> CallStats {
        std::mem::take(&mut self.stats)
    }
}
