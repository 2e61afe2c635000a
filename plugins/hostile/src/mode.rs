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
            "count": { "type": "integer", "minimum": 0, "maximum": u32::MAX, "default": 1_000_000 },
        },
    })
    .to_string()
}
