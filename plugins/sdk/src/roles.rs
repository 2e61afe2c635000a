//! The roles of a plugin as traits, and the shells that connect them to the
//! contract: an instance is configured once and then called chunk by chunk.

use crate::{
    AggregatorInfo, Alerts, Batch, Error, Manifest, Messages, Parsed, ParserInfo, Problem, RuleInfo, Schema,
    TransformInfo, Transformed, VarBytes,
};

/// What every plugin says of itself.
pub trait Plugin {
    /// Name, version, purpose and the JSON Schema of the configuration. Called
    /// on instances that were not configured; the same for every call.
    fn manifest() -> Manifest;
}

/// Turns messages into rows.
pub trait Parser: Sized {
    /// Make an instance from a JSON object. `stored` is the schema that the
    /// host keeps for the source, where it keeps one: unless `config` lists
    /// columns, the rows have exactly its fields, in its order, all nullable.
    /// A top-level text field named [`RESCUED`](crate::infer::RESCUED) asks for
    /// what did not fit; the contract says how.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, at once.
    fn configure(config: &str, stored: Option<Schema>) -> Result<(Self, ParserInfo), Vec<Problem>>;

    /// Parse a chunk. Input that cannot become a row is a rejection within
    /// [`Parsed`], not an error.
    ///
    /// # Errors
    /// The call failed as a whole. The host retries it on a fresh instance,
    /// then searches for the message that is to blame.
    fn parse(&mut self, chunk: Messages) -> Result<Parsed, Error>;
}

/// Derives a schema from a sample of messages, beside [`Parser`].
///
/// [`Sample`](crate::infer::Sample) merges what the values are and bounds the
/// result, so that an implementation only has to look at values.
pub trait Inference {
    /// The schema that fits all messages of the sample: [`Parser::configure`]
    /// with the same `config` and this schema parses them without loss. Called
    /// at any time, also on an instance that was not configured; `config` need
    /// not name columns. The message fields are those that `configure` asks for
    /// when `stored` has nothing but [`RESCUED`](crate::infer::RESCUED). What is
    /// malformed in the sample is skipped.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, at once; or the sample
    /// has more columns, or deeper ones, than a schema may have.
    fn infer(config: &str, sample: &Messages) -> Result<Schema, Vec<Problem>>;
}

/// Turns rows into rows.
pub trait Transform: Sized {
    /// Make an instance from a JSON object and the schema of the rows to come.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, at once.
    fn configure(config: &str, input: Schema) -> Result<(Self, TransformInfo), Vec<Problem>>;

    /// Transform a chunk.
    ///
    /// # Errors
    /// The call failed as a whole. The host retries it on a fresh instance,
    /// then searches for the row that is to blame.
    fn apply(&mut self, rows: Batch) -> Result<Transformed, Error>;
}

/// Folds rows into groups.
///
/// A group is a slot number of the host; a slot that was not used before, or
/// was released, is empty. [`Groups`](crate::Groups) keeps a state for each.
pub trait Aggregator: Sized {
    /// Make an instance from a JSON object and the schema of the rows to come.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, at once.
    fn configure(config: &str, input: Schema) -> Result<(Self, AggregatorInfo), Vec<Problem>>;

    /// Fold row i into `groups[i]`, in the order of the rows: the hot path.
    ///
    /// # Errors
    /// The call failed as a whole. The host retries it on a fresh instance,
    /// then searches for the row that is to blame.
    fn update(&mut self, groups: &[u32], rows: &Batch) -> Result<(), Error>;

    /// Fold the state of `sources[i]` into `into[i]`, in order.
    ///
    /// # Errors
    /// The call failed as a whole.
    fn merge(&mut self, into: &[u32], sources: &[u32]) -> Result<(), Error>;

    /// One row for each group, in order, in the announced schema.
    ///
    /// # Errors
    /// The call failed as a whole.
    fn evaluate(&self, groups: &[u32]) -> Result<Batch, Error>;

    /// Forget the groups. Their slots are empty afterwards.
    fn release(&mut self, groups: &[u32]);

    /// The state of each group, in order.
    ///
    /// # Errors
    /// The call failed as a whole.
    fn snapshot(&self, groups: &[u32]) -> Result<VarBytes, Error>;

    /// Put states in place that `snapshot` returned, in the version it had.
    ///
    /// # Errors
    /// A state is not one, or not one of this configuration.
    fn restore(&mut self, groups: &[u32], states: &VarBytes, state_version: u32) -> Result<(), Error>;
}

/// Judges rows and raises alerts. The functions of the state are for rules that
/// announce [`Memory::Keyed`](crate::Memory) only.
pub trait Rule: Sized {
    /// Make an instance from a JSON object and the schema of the rows to come.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, at once.
    fn configure(config: &str, input: Schema) -> Result<(Self, RuleInfo), Vec<Problem>>;

    /// Judge the rows in order. `groups[i]` is the group of row i where the rule
    /// is keyed; else `groups` is empty.
    ///
    /// # Errors
    /// The call failed as a whole. The host retries it on a fresh instance,
    /// then searches for the row that is to blame.
    fn evaluate(&mut self, groups: &[u32], rows: &Batch) -> Result<Alerts, Error>;

    /// Forget the groups. Their slots are empty afterwards.
    fn release(&mut self, _groups: &[u32]) {}

    /// The state of each group, in order.
    ///
    /// # Errors
    /// The call failed as a whole, or the rule keeps no state.
    fn snapshot(&self, _groups: &[u32]) -> Result<VarBytes, Error> {
        Err(Error::new("this rule keeps no state"))
    }

    /// Put states in place that `snapshot` returned, in the version it had.
    ///
    /// # Errors
    /// A state is not one, or the rule keeps none.
    fn restore(&mut self, _groups: &[u32], _states: &VarBytes, _state_version: u32) -> Result<(), Error> {
        Err(Error::new("this rule keeps no state"))
    }
}

/// What [`export!`](crate::export) expands to; not for direct use.
#[doc(hidden)]
pub mod shell {
    use std::cell::RefCell;
    use std::thread::LocalKey;

    use crate::{Error, Problem, host};

    /// The configured instance of a role: a component instance has one thread.
    pub type Instance<T> = RefCell<Option<T>>;

    /// Keep what `configured` made and hand out its description.
    pub fn configure<T: 'static, I>(
        instance: &'static LocalKey<Instance<T>>,
        configured: impl FnOnce() -> Result<(T, I), Vec<Problem>>,
    ) -> Result<I, Vec<Problem>> {
        host::log_panics();
        let (plugin, info) = configured()?;
        instance.set(Some(plugin));
        Ok(info)
    }

    /// Call the configured instance.
    pub fn call<T: 'static, R>(
        instance: &'static LocalKey<Instance<T>>,
        call: impl FnOnce(&mut T) -> Result<R, Error>,
    ) -> Result<R, Error> {
        instance.with_borrow_mut(|plugin| match plugin {
            Some(plugin) => call(plugin),
            None => Err(Error::new("called before configure succeeded")),
        })
    }
}
