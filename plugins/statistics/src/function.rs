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
    /// The standard deviation of a sample.
    Stddev,
    /// The standard deviation of a whole population.
    StddevPop,
    /// About how many different values there are.
    ApproxDistinct,
    /// About the value at this fraction of the way from the smallest to the
    /// greatest, 0 to 1.
    Quantile(f64),
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
    ("stddev", Function::Stddev),
    ("stddev_pop", Function::StddevPop),
    ("approx_distinct", Function::ApproxDistinct),
];

/// What a configuration may say.
pub(crate) const ALLOWED: &str = "count, sum, avg, min, max, range, first, last, stddev, stddev_pop, \
                               approx_distinct, a percentile like p50 or p99.9, and quantile(0.25)";

impl Function {
    /// The function that a text names.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some((_, function)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*function);
        }
        let quantile = if let Some(percent) = text.strip_prefix('p').filter(|rest| rest.starts_with(is_digit)) {
            number(percent).map(|percent| percent / 100.0)
        } else if let Some(fraction) = text.strip_prefix("quantile(").and_then(|rest| rest.strip_suffix(')')) {
            number(fraction.trim())
        } else {
            return Err(format!("there is no function '{text}'; there are {ALLOWED}"));
        };
        match quantile {
            Some(quantile) if (0.0..=1.0).contains(&quantile) => Ok(Self::Quantile(quantile)),
            _ => Err(format!("'{text}' is no quantile; there are p0 to p100 and quantile(0) to quantile(1)")),
        }
    }

    /// The name, as it starts the name of an output column: a quantile is a
    /// percentile there, with `_` for the decimal point, which tables refuse.
    pub(crate) fn name(self) -> String {
        if let Self::Quantile(quantile) = self {
            // Percents of few digits come back as they were written.
            let percent = (quantile * 1e12).round() / 1e10;
            return format!("p{percent}").replace('.', "_");
        }
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
            (Self::Avg | Self::Stddev | Self::StddevPop | Self::Quantile(_), Int64 | Float64) => Some(Float64),
            (Self::ApproxDistinct, DataType::List | DataType::Struct) => None,
            (Self::ApproxDistinct, _) => Some(Int64),
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
            Self::ApproxDistinct => "every type but lists and structs",
            Self::Sum | Self::Avg | Self::Stddev | Self::StddevPop | Self::Quantile(_) => "int64 and float64",
            Self::Range => "int64, float64 and timestamp",
            Self::Min | Self::Max | Self::First | Self::Last => "int64, float64, timestamp, boolean and utf8",
        }
    }
}

/// A number in digits, without sign and exponent.
fn number(text: &str) -> Option<f64> {
    let plain = text.starts_with(is_digit) && text.chars().all(|letter| is_digit(letter) || letter == '.');
    text.parse().ok().filter(|_| plain)
}

fn is_digit(letter: char) -> bool {
    letter.is_ascii_digit()
}
