//! Templates of messages: `Low battery warning: {value}%`.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat};
use weir_plugin::{Batch, Message, Values};

use crate::Columns;

/// A message with places for values.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Value { column: usize, decimals: Option<usize> },
    Count,
}

/// More decimals than a 64-bit number ever needs.
const DECIMALS_MAX: usize = 20;

impl Template {
    /// Read a template. `value` is the column that `{value}` stands for;
    /// `{count}` exists where rows are counted.
    pub(crate) fn new(text: &str, value: &str, counted: bool, columns: &mut Columns<'_>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, behind) = (&rest[at..=at], &rest[at + 1..]);
            if let Some(behind) = behind.strip_prefix(brace) {
                literal.push_str(brace);
                rest = behind;
                continue;
            }
            let Some((name, behind)) = behind.split_once('}').filter(|_| brace == "{") else {
                return Err(format!("a brace without its partner at '{}'; write {brace}{brace} for one", &rest[at..]));
            };
            rest = behind;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part(name, value, counted, columns)?);
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// `column is value`, where no message is configured.
    pub(crate) fn default_for(value: &str, columns: &mut Columns<'_>) -> Result<Self, String> {
        let parts = vec![Part::Literal(format!("{value} is ")), part("value", value, false, columns)?];
        Ok(Self { parts })
    }

    /// Append the message for a row; `count` is what `{count}` stands for.
    pub fn write(&self, rows: &Batch, row: usize, count: u64, to: &mut Message<'_>) {
        for part in &self.parts {
            // Writing to a message cannot fail.
            let _ = match part {
                Part::Literal(text) => to.write_str(text),
                Part::Count => write!(to, "{count}"),
                Part::Value { column, decimals } => write_value(rows, *column, row, *decimals, to),
            };
        }
    }
}

fn part(inside: &str, value: &str, counted: bool, columns: &mut Columns<'_>) -> Result<Part, String> {
    let (name, decimals) = match inside.rsplit_once(":.") {
        None => (inside, None),
        Some((name, digits)) => {
            let decimals = digits.parse().ok().filter(|decimals| *decimals <= DECIMALS_MAX);
            let decimals =
                decimals.ok_or_else(|| format!("'{{{inside}}}' asks for '{digits}' decimals; write {{{name}:.2}}"))?;
            (name, Some(decimals))
        }
    };
    if counted && name == "count" && decimals.is_none() {
        return Ok(Part::Count);
    }
    let (column, data_type) = columns.want(if name == "value" { value } else { name })?;
    if decimals.is_some() && data_type != weir_plugin::DataType::Float64 {
        return Err(format!("'{{{inside}}}' asks for decimals, but the column is {}", data_type.name()));
    }
    Ok(Part::Value { column, decimals })
}

fn write_value(
    rows: &Batch,
    column: usize,
    row: usize,
    decimals: Option<usize>,
    to: &mut Message<'_>,
) -> std::fmt::Result {
    let Some(column) = rows.columns.get(column).filter(|column| !column.is_null(row)) else {
        return to.write_str("null");
    };
    match &column.values {
        // Debug is the shortest text that reads back as the same number, with a decimal.
        Values::Float64(values) => match decimals {
            Some(decimals) => write!(to, "{:.decimals$}", values[row]),
            None => write!(to, "{:?}", values[row]),
        },
        Values::Int64(values) => write!(to, "{}", values[row]),
        Values::Timestamp(values) => match DateTime::from_timestamp_micros(values[row]) {
            Some(instant) => to.write_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(to, "{} microseconds since 1970", values[row]),
        },
        Values::Boolean(bits) => write!(to, "{}", bits[row / 8] & (1 << (row % 8)) != 0),
        Values::Utf8(texts) => to.write_str(&String::from_utf8_lossy(texts.get(row))),
        Values::Binary(_) | Values::List(_) | Values::Struct => Ok(()),
    }
}
