//! Texts as values of a column, and what a text could be.

use weir_plugin::infer::Seen;
use weir_values::cells::Builder;
use weir_values::number::Number;
use weir_values::text::base64;
use weir_values::timestamp::Dates;
use weir_values::wide;

/// Append the text `bytes[start..end]` to a column if it is a value of its type;
/// false, with nothing done, if it is not. What stands behind it does not matter,
/// but lets whole blocks be read.
#[inline]
pub(crate) fn append<P>(bytes: &[u8], start: usize, end: usize, builder: &mut Builder<P>, dates: &mut Dates) -> bool {
    let text = &bytes[start..end];
    match builder {
        Builder::String(builder) => builder.push_with(|out| wide::append(out, bytes, start, end)),
        Builder::Double(builder) => {
            let usual = Number::short(bytes, start).filter(|number| number.end == end);
            match usual.and_then(|number| number.short_double()).or_else(|| double(text)) {
                Some(value) => builder.push(value),
                None => return false,
            }
        }
        Builder::Bigint(builder) => {
            let usual = Number::short(bytes, start).filter(|number| number.end == end);
            match usual.and_then(|number| number.bigint()).or_else(|| bigint(text)) {
                Some(value) => builder.push(value),
                None => return false,
            }
        }
        Builder::Boolean(builder) => match boolean(text) {
            Some(value) => builder.push(value),
            None => return false,
        },
        Builder::Timestamp(builder, format) => match dates.text(text, format) {
            Some(value) => builder.push(value),
            None => return false,
        },
        Builder::Binary(builder) => {
            let rows = builder.len();
            if !builder.push_with(|out| base64(text, out)) {
                builder.truncate(rows);
                return false;
            }
        }
        Builder::List(_) | Builder::Struct(_) => unreachable!("the configuration has refused lists and structs"),
    }
    true
}

/// Say what a text is. A number with zeros in front is none: who writes them
/// means them.
pub(crate) fn see(text: &[u8], seen: &mut Seen, dates: &mut Dates) {
    if boolean(text).is_some() {
        seen.boolean();
    } else if let Some(number) = Number::whole(text) {
        if number.bigint().is_some() {
            seen.bigint();
        } else if number.double(text).is_some() {
            seen.double();
        } else {
            seen.text();
        }
    } else if dates.is_full(text) {
        seen.timestamp();
    } else {
        seen.text();
    }
}

fn boolean(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// A whole number; a plus and zeros may stand in front.
fn bigint(text: &[u8]) -> Option<i64> {
    match Number::whole(text) {
        Some(number) => number.bigint(),
        None => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// A number that is finite; a plus and zeros may stand in front, and digits may
/// be missing on one side of the point.
fn double(text: &[u8]) -> Option<f64> {
    if let Some(number) = Number::whole(text) {
        return number.double(text);
    }
    // Words like "inf" and "nan" are numbers to the standard library.
    if !text.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_spreadsheets_write_them() {
        for (text, expected) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            ("-007", Some(-7)),
            ("5.0", None),
            ("", None),
            (" 5", None),
            ("1e3", None),
        ] {
            assert_eq!(bigint(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(bigint(b"9223372036854775808"), None);
        for (text, expected) in [
            ("5", Some(5.0)),
            ("+.5", Some(0.5)),
            ("5.", Some(5.0)),
            ("007.5", Some(7.5)),
            ("1e3", Some(1000.0)),
            ("1e400", None),
            ("inf", None),
            ("NaN", None),
            ("e", None),
            ("", None),
            ("1,5", None),
        ] {
            assert_eq!(double(text.as_bytes()), expected, "{text}");
        }
        assert_eq!((boolean(b"TRUE"), boolean(b"False"), boolean(b"1")), (Some(true), Some(false), None));
    }
}
