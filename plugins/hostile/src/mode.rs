//! What there is to be done wrong.

use serde_json::Value;
use weir_plugin::Problem;

macro_rules! modes {
    ($($(#[doc = $doc:literal])+ $mode:ident = $name:literal,)+) => {
        /// What the plugin does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Mode {
            $($(#[doc = $doc])+ $mode,)+
        }

        /// Every mode with its name in a configuration.
        const MODES: &[(&str, Mode)] = &[$(($name, Mode::$mode),)+];
    };
}

modes! {
    /// Nothing.
    Behave = "behave",
    /// Never returns from a call.
    LoopForever = "loop",
    /// Never returns from `configure`; `when` has no effect.
    LoopInConfigure = "loop-in-configure",
    /// Traps in `configure`; `when` has no effect.
    TrapInConfigure = "trap-in-configure",
    /// Returns a problem from `configure`; `when` has no effect.
    ProblemInConfigure = "problem-in-configure",
    /// Allocates and touches memory until there is none.
    MemoryBomb = "memory-bomb",
    /// Recurses until the stack is used up.
    StackOverflow = "stack-overflow",
    /// Panics, which traps.
    Trap = "trap",
    /// Traps on call number `count` of the instance, counted from 1.
    TrapOnCall = "trap-on-call",
    /// Returns an error.
    ReturnError = "error",
    /// Bytes that are not UTF-8 in a text column.
    InvalidUtf8 = "invalid-utf8",
    /// Offsets that go back.
    DecreasingOffsets = "decreasing-offsets",
    /// Offsets beyond the data.
    OffsetsBeyondData = "offsets-beyond-data",
    /// Offsets below zero.
    NegativeOffsets = "negative-offsets",
    /// One offset too few.
    MissingOffset = "missing-offset",
    /// A validity bitmap that is too short.
    ShortValidity = "short-validity",
    /// More rows announced than the columns have.
    WrongRowCount = "wrong-row-count",
    /// A column that the schema does not have.
    ExtraColumn = "extra-column",
    /// No column at all.
    MissingColumns = "missing-columns",
    /// A column of another type than the schema says.
    WrongType = "wrong-type",
    /// The last origin is beyond the input.
    OriginOutOfRange = "origin-out-of-range",
    /// Origins that go back.
    DecreasingOrigins = "decreasing-origins",
    /// One origin too few.
    MissingOrigin = "missing-origin",
    /// A rejection of an input that does not exist.
    RejectionOutOfRange = "rejection-out-of-range",
    /// A rejection with a span that ends before it starts, beyond every message.
    RejectionSpan = "rejection-span",
    /// A rejection with `count` bytes of reason.
    LongReason = "long-reason",
    /// The first row `count` times.
    ManyRows = "many-rows",
    /// A first text of `count` bytes.
    ManyBytes = "many-bytes",
    /// `count` rejections.
    ManyRejections = "many-rejections",
    /// Traps in `merge`; `when` and `poison` have no effect, as in all modes that
    /// name another function than `update` and the `evaluate` of a rule.
    TrapInMerge = "trap-in-merge",
    /// Traps in the `evaluate` of an aggregator.
    TrapInEvaluate = "trap-in-evaluate",
    /// Traps in `release`.
    TrapInRelease = "trap-in-release",
    /// Traps in `snapshot`.
    TrapInSnapshot = "trap-in-snapshot",
    /// Traps in `restore`.
    TrapInRestore = "trap-in-restore",
    /// Never returns from the `evaluate` of an aggregator.
    LoopInEvaluate = "loop-in-evaluate",
    /// Never returns from `snapshot`.
    LoopInSnapshot = "loop-in-snapshot",
    /// Returns an error from `merge`.
    ErrorInMerge = "error-in-merge",
    /// Returns an error from the `evaluate` of an aggregator.
    ErrorInEvaluate = "error-in-evaluate",
    /// Returns an error from `snapshot`.
    ErrorInSnapshot = "error-in-snapshot",
    /// Returns an error from `restore`.
    ErrorInRestore = "error-in-restore",
    /// One row too few from the `evaluate` of an aggregator.
    TooFewRows = "too-few-rows",
    /// One row too many from the `evaluate` of an aggregator.
    TooManyRows = "too-many-rows",
    /// `count` bytes of memory for each row, kept for ever.
    MemoryPerRow = "memory-per-row",
    /// `count` bytes of memory for each group in a call of `update`, kept until
    /// the group is released.
    MemoryPerGroup = "memory-per-group",
    /// One state too few.
    TooFewStates = "too-few-states",
    /// One state too many.
    TooManyStates = "too-many-states",
    /// Offsets of states that go back.
    StatesDecreasingOffsets = "states-decreasing-offsets",
    /// Offsets of states beyond their data.
    StatesBeyondData = "states-beyond-data",
    /// A first state of `count` bytes, which `restore` refuses.
    LongState = "long-state",
    /// An alert for a row beyond the input.
    AlertOutOfRange = "alert-out-of-range",
    /// Alerts whose rows go back.
    DecreasingAlerts = "decreasing-alerts",
    /// One severity too few.
    UnevenAlerts = "uneven-alerts",
    /// A message that is not UTF-8.
    AlertInvalidUtf8 = "alert-invalid-utf8",
    /// Offsets of messages beyond their data.
    AlertBeyondData = "alert-beyond-data",
    /// `count` alerts for the first row.
    ManyAlerts = "many-alerts",
    /// A message of `count` bytes.
    LongMessage = "long-message",
    /// `count` log lines of 1 KiB.
    LogFlood = "log-flood",
    /// `count` counters, each with another name.
    CountFlood = "count-flood",
}

/// The configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// Only misbehave where this occurs in the input; empty is always.
    pub(crate) when: String,
    /// Only misbehave where a row has this `number`; none is always.
    pub(crate) poison: Option<i64>,
    /// Whether the rule remembers.
    pub(crate) keyed: bool,
    /// How much of it, where a mode has an amount.
    pub(crate) count: u32,
}

impl Settings {
    pub(crate) fn new(config: &str) -> Result<Self, Vec<Problem>> {
        let config: Value = serde_json::from_str(config).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let name = config["mode"].as_str().unwrap_or("behave");
        let Some((_, mode)) = MODES.iter().find(|(known, _)| *known == name) else {
            return Err(vec![Problem::new("mode", format!("unknown mode '{name}'"))]);
        };
        let count = config["count"].as_u64().and_then(|count| u32::try_from(count).ok());
        Ok(Self {
            mode: *mode,
            poison: config["poison"].as_i64(),
            keyed: config["keyed"].as_bool().unwrap_or_default(),
            when: config["when"].as_str().unwrap_or_default().to_owned(),
            count: count.unwrap_or(1_000_000),
        })
    }
}

/// The JSON Schema of the configuration.
pub(crate) fn schema() -> String {
    let modes: Vec<&str> = MODES.iter().map(|(name, _)| *name).collect();
    serde_json::json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "mode": { "enum": modes, "default": "behave" },
            "when": { "type": "string" },
            "poison": { "type": "integer" },
            "keyed": { "type": "boolean", "default": false },
            "count": { "type": "integer", "minimum": 0, "maximum": u32::MAX, "default": 1_000_000 },
        },
    })
    .to_string()
}
