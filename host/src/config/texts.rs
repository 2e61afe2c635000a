//! The small languages inside the strings of a pipeline file: sizes, durations,
//! triggers, columns, globs, times.
//!
//! An `Err` is the remedy: what such a string looks like. It never repeats the
//! string, which may be a secret.

use std::time::Duration;

use super::shape::nearest;
use super::validated::{ColumnFrom, TableColumn, Trigger};
use crate::model::Span;
use crate::source::files::check_glob;

/// Longer spans of event time are mistakes.
const MAX_SPAN_US: i64 = 10_000 * 24 * 3600 * 1_000_000;
/// Longer trials of plugins are mistakes.
const MAX_EPOCHS: u32 = 1_000_000;

/// A number of bytes: `64MiB`, `1GB`, `512 KiB`, `100`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let remedy =
        || "write a whole number with a unit, such as \"64MiB\" (B, kB, KiB, MB, MiB, GB, GiB, TB, TiB)".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "ki" | "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mi" | "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gi" | "gib" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "ti" | "tib" => 1 << 40,
        _ => return Err(remedy()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(remedy)
}

/// A length of time that is not zero: `5m`, `500ms`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(Duration::ZERO) => Err("it must be longer than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("write a number with a unit, such as \"500ms\", \"5s\", \"1m 30s\", \"2h\"".to_owned()),
    }
}

/// A length of time, or `0s`.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(Duration::ZERO) => Ok(Duration::ZERO),
        Ok(_) | Err(_) => duration(text),
    }
}

/// A number of epochs: `3 epochs`, `1 epoch`, `0`.
pub(super) fn epochs(text: &str) -> Result<u32, String> {
    let number = text.trim().trim_end_matches("epochs").trim_end_matches("epoch").trim_end();
    match number.parse() {
        Ok(epochs @ 0..=MAX_EPOCHS) => Ok(epochs),
        Ok(_) | Err(_) => Err(format!("write a number such as \"3 epochs\", at most {MAX_EPOCHS}")),
    }
}

/// A character of ASCII that encloses fields, or nothing.
pub(super) fn quote(text: &str) -> Result<Option<u8>, String> {
    match text.as_bytes() {
        [] => Ok(None),
        [quote] if quote.is_ascii_punctuation() => Ok(Some(*quote)),
        _ => Err("write one character such as \"'\", or an empty text for none".to_owned()),
    }
}

/// A length of event time that is not zero, in units that are always as long:
/// `5m`, `1d`; no months or years.
pub(super) fn span(text: &str) -> Result<Span, String> {
    const REMEDY: &str = "write a number with a unit of fixed length, such as \"30s\", \"5m\", \"2h\", \"1d\"";
    let units = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|unit| !unit.is_empty());
    if units.into_iter().any(|unit| matches!(unit, "M" | "month" | "months" | "y" | "year" | "years")) {
        return Err(format!("months and years are not always as long: {REMEDY}"));
    }
    let span = Span::of(duration(text).map_err(|_| REMEDY.to_owned())?);
    match span.0 {
        1..=MAX_SPAN_US => Ok(span),
        _ => Err("it must be at least a microsecond and at most 10000 days".to_owned()),
    }
}

/// As [`span`], but also negative or zero.
pub(super) fn offset(text: &str) -> Result<Span, String> {
    let text = text.trim();
    match text.strip_prefix('-') {
        Some(text) => span(text).map(|span| Span(-span.0)),
        None if text == "0" || text == "0s" => Ok(Span(0)),
        None => span(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// `available-now`, `asap`, or an interval.
pub(super) fn trigger(text: &str) -> Result<Trigger, String> {
    match text {
        "available-now" => Ok(Trigger::AvailableNow),
        "asap" => Ok(Trigger::Asap),
        text => duration(text).map(Trigger::Interval).map_err(|_| {
            "allowed: \"available-now\", \"asap\", or an interval longer than zero such as \"5s\"".to_owned()
        }),
    }
}

/// A time with its zone (RFC 3339), in microseconds since 1970-01-01T00:00:00Z.
pub(super) fn time_us(text: &str) -> Result<i64, String> {
    let time = chrono::DateTime::parse_from_rfc3339(text);
    time.map(|time| time.timestamp_micros())
        .map_err(|_| "write a time with its zone (RFC 3339), such as \"2025-10-05T18:40:10Z\"".to_owned())
}

/// A pattern over paths, as the source of files understands it.
pub(super) fn glob(text: &str) -> Result<String, String> {
    check_glob(text).map(|()| text.to_owned()).map_err(|_| "write a pattern such as \"*.json\"".to_owned())
}

/// `column`, `column as name`, `message.FIELD as name`, `epoch.time as name`, `*`.
pub(super) fn column(text: &str) -> Result<TableColumn, String> {
    const FORMS: &str =
        "allowed: \"column\", \"column as name\", \"message.FIELD as name\", \"epoch.time as name\", \"*\"";
    if text.trim() == "*" {
        return Ok(TableColumn { name: "*".to_owned(), from: ColumnFrom::Rest });
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let (from, name) = match words.as_slice() {
        [from] => (*from, None),
        [from, "as", name] => (*from, Some(*name)),
        _ => return Err(FORMS.to_owned()),
    };
    let from = match from.split_once('.') {
        Some(("message", "")) => return Err(FORMS.to_owned()),
        Some(("message", field)) => ColumnFrom::Message(field.to_owned()),
        Some(("epoch", "time")) => ColumnFrom::EpochTime,
        Some(("epoch", _)) => return Err("an epoch has only `epoch.time`".to_owned()),
        Some((origin, _)) if nearest(origin, ["message", "epoch"].into_iter()).is_some() => {
            return Err(FORMS.to_owned());
        }
        _ => ColumnFrom::Row(from.to_owned()),
    };
    let name = match (name, &from) {
        (Some(name), _) => name.to_owned(),
        (None, ColumnFrom::Row(column)) => match column.strip_prefix("alert.") {
            Some(field) => format!("alert_{field}"),
            None => column.clone(),
        },
        (None, ColumnFrom::Message(_) | ColumnFrom::EpochTime | ColumnFrom::Rest) => {
            return Err("give it a name in the table: add ` as NAME`".to_owned());
        }
    };
    // What Delta refuses in the names of columns.
    if name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=']) {
        return Err("the name of a column has none of , ; { } ( ) = in it".to_owned());
    }
    Ok(TableColumn { name, from })
}

/// Whether it can name a table or a transform: a letter or `_`, then letters,
/// digits, `_` and `-`.
pub(super) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
        && chars.all(|c| c == '_' || c == '-' || c.is_ascii_alphanumeric())
}
