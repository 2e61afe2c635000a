//! Where a receiver begins: the selector filter of its source.

use super::value::Value;

/// Name and code of the filter that Event Hubs knows.
const SELECTOR: &str = "apache.org:selector-filter:string";
const SELECTOR_CODE: u64 = 0x0000_468c_0000_0004;

/// The position from which a receiver reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At the first message that there is.
    Earliest,
    /// After the last message that there is.
    Latest,
    /// At the message with this offset, or after it.
    Offset(i64, Bound),
    /// At the message with this sequence number, or after it.
    SequenceNumber(i64, Bound),
    /// At the first message that was enqueued at this time in milliseconds, or after it.
    EnqueuedTime(i64, Bound),
}

/// Whether a position belongs to what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// It does.
    Inclusive,
    /// It does not.
    Exclusive,
}

/// The selector of a source: its text, or none if the source has no filter.
pub(super) fn of_source(source: &Value) -> Option<String> {
    let Value::Map(filters) = source.field(7).undescribed() else { return None };
    let is_selector = |descriptor: &Value| match descriptor {
        Value::Ulong(code) => *code == SELECTOR_CODE,
        name => name.as_str() == Some(SELECTOR),
    };
    filters.iter().find_map(|(name, filter)| {
        let found = is_selector(name) || matches!(filter, Value::Described(descriptor, _) if is_selector(descriptor));
        found.then(|| filter.undescribed().as_str().map(str::to_owned)).flatten()
    })
}

/// Read a selector.
///
/// # Errors
/// If it is not one that Event Hubs knows; the text names what is wrong.
pub(super) fn parse(selector: &str) -> Result<Start, String> {
    let wrong = || format!("the selector is not understood: {selector}");
    let rest = selector.trim().strip_prefix("amqp.annotation.").ok_or_else(wrong)?;
    let end = rest.find([' ', '>']).ok_or_else(wrong)?;
    let (name, rest) = rest.split_at(end);
    let rest = rest.trim_start().strip_prefix('>').ok_or_else(wrong)?;
    let (bound, rest) = match rest.strip_prefix('=') {
        Some(rest) => (Bound::Inclusive, rest),
        None => (Bound::Exclusive, rest),
    };
    let rest = rest.trim();
    let text = rest.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(rest);
    if text == "@latest" {
        return Ok(Start::Latest);
    }
    let number: i64 = text.parse().map_err(|_| wrong())?;
    match name {
        "x-opt-offset" if number == -1 => Ok(Start::Earliest),
        "x-opt-offset" => Ok(Start::Offset(number, bound)),
        "x-opt-sequence-number" if number == -1 => Ok(Start::Earliest),
        "x-opt-sequence-number" => Ok(Start::SequenceNumber(number, bound)),
        "x-opt-enqueued-time" | "x-opt-enqueuedtimeutc" => Ok(Start::EnqueuedTime(number, bound)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_all_clients_are_understood() {
        for (text, expected) in [
            ("amqp.annotation.x-opt-offset > '-1'", Start::Earliest),
            ("amqp.annotation.x-opt-offset > '@latest'", Start::Latest),
            ("amqp.annotation.x-opt-offset >= '4120'", Start::Offset(4120, Bound::Inclusive)),
            ("amqp.annotation.x-opt-offset >'7'", Start::Offset(7, Bound::Exclusive)),
            ("amqp.annotation.x-opt-sequence-number > '3'", Start::SequenceNumber(3, Bound::Exclusive)),
            ("amqp.annotation.x-opt-sequence-number >= 3", Start::SequenceNumber(3, Bound::Inclusive)),
            (
                "amqp.annotation.x-opt-enqueued-time > '1700000000000'",
                Start::EnqueuedTime(1_700_000_000_000, Bound::Exclusive),
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_selectors_are_named_in_the_error() {
        for text in [
            "",
            "x-opt-offset > '1'",
            "amqp.annotation.x-opt-colour > '1'",
            "amqp.annotation.x-opt-offset < '1'",
            "amqp.annotation.x-opt-offset > 'x'",
        ] {
            assert_eq!(parse(text), Err(format!("the selector is not understood: {text}")));
        }
    }
}
