//! The functions: their names, their grammar, and what they take and give.

use weir_plugin::DataType;

/// What is computed of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    /// Rows, or values that are not null.
    Count,
    Sum,
    Avg,
    Min,
    Max,
    /// The greatest value less the smallest.
    Range,
    /// The value with the smallest event time.
    First,
    /// The value with the greatest event time.
    Last,
}

const NAMES: &[(&str, Function)] = &[
    ("count", Function::Count),
    ("sum", Function::Sum),
    ("avg", Function::Avg),
    ("min", Function::Min),
    ("max", Function::Max),
    ("range", Function::Range),
    ("first", Function::First),
    ("last", Function::Last),
];

/// What a configuration may say.
pub(crate) const ALLOWED: &str = "count, sum, avg, min, max, range, first, last";

impl Function {
    /// The function that a text names.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, function)| *function)
            .ok_or_else(|| format!("there is no function '{text}'; there are {ALLOWED}"))
    }

    /// The name, as it starts the name of an output column.
    pub(crate) fn name(self) -> String {
        let found = NAMES.iter().find(|(_, function)| *function == self);
        found.map_or_else(String::new, |(name, _)| (*name).to_owned())
    }

    /// The type of the result for a column of this type, none where the function
    /// does not fit.
    pub(crate) fn output(self, input: DataType) -> Option<DataType> {
        use DataType::{Boolean, Float64, Int64, Timestamp, Utf8};
        match (self, input) {
            (Self::Count, _) => Some(Int64),
            (Self::Sum, Int64 | Float64) => Some(input),
            (Self::Avg, Int64 | Float64) => Some(Float64),
            (Self::Min | Self::Max | Self::First | Self::Last, Int64 | Float64 | Timestamp | Boolean | Utf8) => {
                Some(input)
            }
            (Self::Range, Int64 | Float64) => Some(input),
            (Self::Range, Timestamp) => Some(Int64),
            _ => None,
        }
    }

    /// The types that the function takes, for people.
    pub(crate) fn takes(self) -> &'static str {
        match self {
            Self::Count => "every type",
            Self::Sum | Self::Avg => "int64 and float64",
            Self::Range => "int64, float64 and timestamp",
            Self::Min | Self::Max | Self::First | Self::Last => "int64, float64, timestamp, boolean and utf8",
        }
    }
}
