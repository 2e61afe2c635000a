//! The configuration: from a JSON object to output columns and the accumulators
//! that they need, with every fault at once.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use weir_plugin::{DataType, Problem, Schema};

use crate::accumulate::{Accumulator, Kind};
use crate::function::{ALLOWED, Function};

/// The JSON Schema of the configuration.
pub(crate) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "description": "The functions of each column; `*` stands for whole rows and takes count alone. A function is count, sum, avg, min, max, range, first, last, stddev, stddev_pop, approx_distinct, a percentile like p50 or p99.9, or quantile(0.25); `function as name` names the output column, which is `count` or `{function}_{column}` otherwise.",
  "examples": [{ "*": ["count as message_count"], "temperature": ["avg", "min", "max", "range as temperature_range"] }],
  "minProperties": 1,
  "additionalProperties": { "type": "array", "minItems": 1, "items": { "type": "string", "minLength": 1 } }
}"#;

/// The column that stands for whole rows.
const ROWS: &str = "*";

/// The column with the event time, which the host appends to the input.
pub(crate) const EVENT_TIME: &str = "event.time";

/// A row of a table has no more.
const OUTPUTS_MAX: usize = 4096;

const HOW_TO_WRITE: &str = "list functions for columns, for example {\"*\": [\"count\"], \"temperature\": [\"avg\"]}";

/// One output column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) function: Function,
    /// The type of the input column; that of a count for whole rows.
    pub(crate) input: DataType,
    pub(crate) data_type: DataType,
    /// The accumulator that has the answer.
    pub(crate) accumulator: usize,
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) outputs: Vec<Output>,
    /// Sorted, without duplicates: the same set for every order of functions.
    pub(crate) accumulators: Vec<Accumulator>,
    /// The input columns that the accumulators read.
    pub(crate) columns: Vec<String>,
}

/// What a configuration asks for, before the accumulators are known.
struct Wish {
    path: String,
    name: String,
    function: Function,
    /// None for whole rows.
    column: Option<(String, DataType)>,
    data_type: DataType,
}

impl Config {
    /// Understand a configuration for rows of this schema.
    pub(crate) fn new(config: &str, input: &Schema) -> Result<Self, Vec<Problem>> {
        let Ordered(columns) = serde_json::from_str(config)
            .map_err(|error| vec![Problem::new("", format!("the configuration must be a JSON object: {error}"))])?;
        let mut problems = Vec::new();
        let mut wishes = Vec::new();
        if columns.is_empty() {
            problems.push(Problem::new("", format!("empty; {HOW_TO_WRITE}")));
        }
        // Whole rows come first, whatever the order of the text.
        let (rows, others): (Vec<_>, Vec<_>) = columns.iter().partition(|(column, _)| column == ROWS);
        for (column, functions) in rows.into_iter().chain(others) {
            wishes_of(column, functions, input, &mut wishes, &mut problems);
        }
        report_repeated(&columns, &mut problems);
        report_duplicates(&wishes, &mut problems);
        if wishes.len() > OUTPUTS_MAX {
            problems.push(Problem::new("", format!("{} functions; at most {OUTPUTS_MAX} are possible", wishes.len())));
        }
        if problems.is_empty() { Ok(Self::from_wishes(wishes)) } else { Err(problems) }
    }

    /// The schema of the results.
    pub(crate) fn output(&self) -> Schema {
        let mut schema = Schema::builder();
        for output in &self.outputs {
            schema = schema.field(output.name.as_str(), output.data_type);
            if matches!(output.function, Function::Count | Function::ApproxDistinct) {
                schema = schema.required();
            }
        }
        schema.build()
    }

    fn from_wishes(wishes: Vec<Wish>) -> Self {
        let needed = |wish: &Wish| {
            let Some((column, data_type)) = &wish.column else {
                return Accumulator { kind: Kind::Rows, column: String::new(), data_type: DataType::Int64 };
            };
            let beside: Vec<Function> = wishes
                .iter()
                .filter(|other| other.column.as_ref().is_some_and(|(name, _)| name == column))
                .map(|other| other.function)
                .collect();
            Accumulator {
                kind: Kind::of(wish.function, *data_type, &beside),
                column: column.clone(),
                data_type: *data_type,
            }
        };
        let each: Vec<Accumulator> = wishes.iter().map(needed).collect();
        let mut accumulators = each.clone();
        accumulators.sort();
        accumulators.dedup();
        let mut columns: Vec<String> = Vec::new();
        let read = accumulators.iter().filter(|accumulator| accumulator.kind != Kind::Rows);
        let timed = accumulators.iter().any(|accumulator| accumulator.kind.is_timed());
        for column in read.map(|accumulator| accumulator.column.as_str()).chain(timed.then_some(EVENT_TIME)) {
            if !columns.iter().any(|known| known == column) {
                columns.push(column.to_owned());
            }
        }
        let outputs = wishes.iter().zip(&each).map(|(wish, accumulator)| Output {
            name: wish.name.clone(),
            function: wish.function,
            input: accumulator.data_type,
            data_type: wish.data_type,
            accumulator: accumulators.binary_search(accumulator).expect("invariant: it was collected above"),
        });
        Self { outputs: outputs.collect(), accumulators, columns }
    }
}

/// The functions of one column.
fn wishes_of(column: &str, functions: &Value, input: &Schema, wishes: &mut Vec<Wish>, problems: &mut Vec<Problem>) {
    let data_type = input.position(column).map(|position| input.fields[position].data_type);
    if column != ROWS && data_type.is_none() {
        let known: Vec<&str> = input.top_level().map(|field| field.name.as_str()).collect();
        problems.push(Problem::new(column, format!("there is no such column; there are {}", known.join(", "))));
        return;
    }
    let functions = match functions {
        Value::Array(functions) if !functions.is_empty() => functions,
        Value::Array(_) => {
            problems.push(Problem::new(column, format!("the list is empty; there are {ALLOWED}")));
            return;
        }
        other => {
            problems.push(Problem::new(column, format!("{other} is not a list of functions like [\"avg\", \"max\"]")));
            return;
        }
    };
    for (index, text) in functions.iter().enumerate() {
        let path = format!("{column}.{index}");
        let wish = match text {
            Value::String(text) => wish(path.clone(), column, text, data_type).and_then(|wish| {
                let timed = matches!(wish.function, Function::First | Function::Last);
                if timed && input.position(EVENT_TIME).is_none() {
                    return Err(format!("{} needs the event time, and the rows have none", wish.function.name()));
                }
                Ok(wish)
            }),
            other => Err(format!("{other} is not a text like \"avg\" or \"avg as average\"")),
        };
        match wish {
            Ok(wish) => wishes.push(wish),
            Err(message) => problems.push(Problem::new(path, message)),
        }
    }
}

fn wish(path: String, column: &str, text: &str, data_type: Option<DataType>) -> Result<Wish, String> {
    let (function, name) = match text.split_once(" as ") {
        Some((function, name)) => (function.trim(), Some(name.trim())),
        None => (text.trim(), None),
    };
    if name.is_some_and(str::is_empty) || text.trim_end().ends_with(" as") {
        return Err(format!("a name is missing behind `as`, for example `{function} as name`"));
    }
    let function = Function::parse(function)?;
    let Some(data_type) = data_type.filter(|_| column != ROWS) else {
        if function != Function::Count {
            return Err(format!("`*` takes count alone; write '{}' for a column", function.name()));
        }
        let name = name.unwrap_or("count").to_owned();
        return Ok(Wish { path, name, function, column: None, data_type: DataType::Int64 });
    };
    let name = name.map_or_else(|| format!("{}_{column}", function.name()), str::to_owned);
    let output = function.output(data_type).ok_or_else(|| {
        format!("the column is {}, but {} takes {}", data_type.name(), function.name(), function.takes())
    })?;
    Ok(Wish { path, name, function, column: Some((column.to_owned(), data_type)), data_type: output })
}

fn report_repeated(columns: &[(String, Value)], problems: &mut Vec<Problem>) {
    for (index, (column, _)) in columns.iter().enumerate() {
        if columns[..index].iter().any(|(earlier, _)| earlier == column) {
            problems.push(Problem::new(column.as_str(), "stands there twice; write all functions in one list"));
        }
    }
}

/// Tables treat names that differ only in case as the same.
fn report_duplicates(wishes: &[Wish], problems: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for wish in wishes {
        if let Some(other) = seen.insert(wish.name.to_lowercase(), &wish.path) {
            let message = format!("'{}' is also the name of {other}; rename one with `as`", wish.name);
            problems.push(Problem::new(wish.path.as_str(), message));
        }
    }
}

/// An object in the order of its text.
struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Ordered, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Ordered(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}
