//! Which accumulators there are, and the loops that feed them.
//!
//! Each accumulator is a vector of small states by slot, and one pass over its
//! column feeds it: the compiler sees one type of value and one operation in
//! every loop.

use weir_plugin::{Batch, Cell, CellsBuilder, Column, DataType, Decoder, Error, Groups, Malformed, State, Values};

use crate::distinct::Distinct;
use crate::ends::{First, Last};
use crate::function::Function;
use crate::numbers::{Extremes, FloatSum, IntSum, NonNulls, Rows};
use crate::quantiles::Quantiles;
use crate::text::{FirstText, LastText, TextExtremes};
use crate::variance::Variance;

/// What is accumulated. The order decides that within a state, so only append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Rows,
    NonNulls,
    IntSum,
    FloatSum,
    Extremes,
    First,
    Last,
    TextExtremes,
    FirstText,
    LastText,
    Variance,
    Distinct,
    Quantiles,
}

impl Kind {
    /// What answers a function on a column of this type, where the functions
    /// `beside` are computed of the same column.
    pub(crate) fn of(function: Function, data_type: DataType, beside: &[Function]) -> Self {
        let text = data_type == DataType::Utf8;
        let sum = if data_type == DataType::Int64 { Self::IntSum } else { Self::FloatSum };
        match function {
            // What counts anyway answers for free.
            Function::Count if beside.iter().any(|other| matches!(other, Function::Sum | Function::Avg)) => sum,
            Function::Count if beside.iter().any(|other| matches!(other, Function::Stddev | Function::StddevPop)) => {
                Self::Variance
            }
            Function::Count => Self::NonNulls,
            Function::Sum | Function::Avg => sum,
            Function::Min | Function::Max | Function::Range if text => Self::TextExtremes,
            Function::Min | Function::Max | Function::Range => Self::Extremes,
            Function::First if text => Self::FirstText,
            Function::First => Self::First,
            Function::Last if text => Self::LastText,
            Function::Last => Self::Last,
            Function::Stddev | Function::StddevPop => Self::Variance,
            Function::ApproxDistinct => Self::Distinct,
            Function::Quantile(_) => Self::Quantiles,
        }
    }

    /// Whether it needs the event time.
    pub(crate) fn is_timed(self) -> bool {
        matches!(self, Self::First | Self::Last | Self::FirstText | Self::LastText)
    }

    /// The name within the identity of a state; never change one.
    fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::NonNulls => "non-nulls",
            Self::IntSum => "int-sum",
            Self::FloatSum => "float-sum",
            Self::Extremes => "extremes",
            Self::First => "first",
            Self::Last => "last",
            Self::TextExtremes => "text-extremes",
            Self::FirstText => "first-text",
            Self::LastText => "last-text",
            Self::Variance => "variance",
            Self::Distinct => "distinct-12",
            Self::Quantiles => "quantiles-1-percent",
        }
    }
}

/// One accumulator of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Accumulator {
    /// The input column, empty for whole rows.
    pub(crate) column: String,
    pub(crate) kind: Kind,
    pub(crate) data_type: DataType,
}

impl Accumulator {
    /// What tells it from every other accumulator, also in later versions.
    pub(crate) fn identity(&self) -> String {
        format!("{} {} {}", self.kind.name(), self.data_type.name(), self.column)
    }

    /// Its states; `column` and `time` are positions in a batch.
    pub(crate) fn states(&self, column: usize, time: usize) -> Box<dyn States> {
        fn new<S: Accumulate + 'static>(column: usize, time: usize) -> Box<dyn States> {
            Box::new(PerGroup::<S> { groups: Groups::default(), column, time })
        }
        match self.kind {
            Kind::Rows => new::<Rows>(column, time),
            Kind::NonNulls => new::<NonNulls>(column, time),
            Kind::IntSum => new::<IntSum>(column, time),
            Kind::FloatSum => new::<FloatSum>(column, time),
            Kind::Extremes => new::<Extremes>(column, time),
            Kind::First => new::<First>(column, time),
            Kind::Last => new::<Last>(column, time),
            Kind::TextExtremes => new::<TextExtremes>(column, time),
            Kind::FirstText => new::<FirstText>(column, time),
            Kind::LastText => new::<LastText>(column, time),
            Kind::Variance => new::<Variance>(column, time),
            Kind::Distinct => new::<Distinct>(column, time),
            Kind::Quantiles => new::<Quantiles>(column, time),
        }
    }
}

/// One accumulator of one group.
pub(crate) trait Accumulate: State {
    /// Fold the rows in; there is a state for every slot in `groups`.
    fn update(states: &mut [Self], groups: &[u32], input: &Input<'_>) -> Result<(), Error>;

    /// Fold another state in, whose rows are taken as the later ones.
    fn merge(&mut self, source: &Self);

    /// The answer to a function on a column of this type.
    fn value(&self, function: Function, input: DataType) -> Cell<'_>;
}

/// What an accumulator sees of a chunk.
pub(crate) struct Input<'a> {
    rows: &'a Batch,
    column: usize,
    time: usize,
}

impl<'a> Input<'a> {
    /// The column of the accumulator.
    pub(crate) fn column(&self) -> Result<&'a Column, Error> {
        self.rows.columns.get(self.column).ok_or_else(|| Error::new("the rows lack a column that configure asked for"))
    }

    /// The event time of every row.
    pub(crate) fn time(&self) -> Result<&'a [i64], Error> {
        let column = self.rows.columns.get(self.time).ok_or_else(|| Error::new("the rows lack their event time"))?;
        Ok(column.int64()?.values())
    }
}

/// Fold every value that is not null into the state of its group.
#[inline]
pub(crate) fn each<S, V>(
    states: &mut [S],
    groups: &[u32],
    validity: Option<&[u8]>,
    values: impl Iterator<Item = V>,
    add: impl Fn(&mut S, V),
) {
    match validity {
        None => {
            for (group, value) in groups.iter().zip(values) {
                add(&mut states[*group as usize], value);
            }
        }
        Some(bits) => {
            for (row, (group, value)) in groups.iter().zip(values).enumerate() {
                if bits[row / 8] & (1 << (row % 8)) != 0 {
                    add(&mut states[*group as usize], value);
                }
            }
        }
    }
}

/// As [`each`], for the numbers of a column as floating-point numbers.
pub(crate) fn each_float<S>(
    states: &mut [S],
    groups: &[u32],
    column: &Column,
    add: impl Fn(&mut S, f64),
) -> Result<(), Error> {
    let validity = column.validity.as_deref();
    match &column.values {
        Values::Float64(values) => each(states, groups, validity, values.iter().copied(), add),
        Values::Int64(values) => each(states, groups, validity, values.iter().map(|value| *value as f64), add),
        _ => return Err(mismatch(column)),
    }
    Ok(())
}

/// A value in bits, for types of at most 64 of them.
pub(crate) fn each_bits<S>(
    states: &mut [S],
    groups: &[u32],
    input: &Input<'_>,
    add: impl Fn(&mut S, (u64, i64)),
) -> Result<(), Error> {
    let (column, time) = (input.column()?, input.time()?);
    let validity = column.validity.as_deref();
    let time = time.iter().copied();
    match &column.values {
        Values::Float64(values) => each(states, groups, validity, values.iter().map(|v| v.to_bits()).zip(time), add),
        Values::Int64(values) | Values::Timestamp(values) => {
            each(states, groups, validity, values.iter().map(|v| v.cast_unsigned()).zip(time), add);
        }
        Values::Boolean(bits) => {
            each(states, groups, validity, (0..groups.len()).map(|row| u64::from(bit(bits, row))).zip(time), add);
        }
        _ => return Err(mismatch(column)),
    }
    Ok(())
}

/// The value that [`each_bits`] took.
pub(crate) fn from_bits(bits: u64, data_type: DataType) -> Cell<'static> {
    match data_type {
        DataType::Float64 => Cell::Float64(f64::from_bits(bits)),
        DataType::Boolean => Cell::Boolean(bits != 0),
        _ => Cell::Int64(bits.cast_signed()),
    }
}

#[inline]
pub(crate) fn bit(bits: &[u8], row: usize) -> bool {
    bits[row / 8] & (1 << (row % 8)) != 0
}

pub(crate) fn mismatch(column: &Column) -> Error {
    Error::new(format!("a column of {} is not of the type that configure saw", column.data_type().name()))
}

/// The states of one accumulator for all groups.
pub(crate) trait States {
    fn update(&mut self, groups: &[u32], rows: &Batch) -> Result<(), Error>;
    fn merge(&mut self, into: &[u32], sources: &[u32]) -> Result<(), Error>;
    fn evaluate(&self, groups: &[u32], function: Function, input: DataType, to: &mut CellsBuilder);
    fn release(&mut self, groups: &[u32]);
    fn encode(&self, group: u32, to: &mut Vec<u8>);
    fn decode(&mut self, group: u32, from: &mut Decoder<'_>) -> Result<(), Malformed>;
}

struct PerGroup<S> {
    groups: Groups<S>,
    column: usize,
    time: usize,
}

impl<S: Accumulate> States for PerGroup<S> {
    fn update(&mut self, groups: &[u32], rows: &Batch) -> Result<(), Error> {
        let input = Input { rows, column: self.column, time: self.time };
        S::update(self.groups.reach(groups)?, groups, &input)
    }

    fn merge(&mut self, into: &[u32], sources: &[u32]) -> Result<(), Error> {
        self.groups.merge(into, sources, S::merge)
    }

    fn evaluate(&self, groups: &[u32], function: Function, input: DataType, to: &mut CellsBuilder) {
        let empty = S::default();
        for group in groups {
            to.push(self.groups.get(*group).unwrap_or(&empty).value(function, input));
        }
    }

    fn release(&mut self, groups: &[u32]) {
        self.groups.release(groups);
    }

    fn encode(&self, group: u32, to: &mut Vec<u8>) {
        match self.groups.get(group) {
            Some(state) => state.encode(to),
            None => S::default().encode(to),
        }
    }

    fn decode(&mut self, group: u32, from: &mut Decoder<'_>) -> Result<(), Malformed> {
        let state = S::decode(from)?;
        *self.groups.get_mut(group).map_err(|error| Malformed::new(error.message))? = state;
        Ok(())
    }
}
