//! Instants from text and numbers, as microseconds since 1970-01-01T00:00:00Z.

use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, Utc};

use crate::number::Number;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// How a column writes its instants.
#[derive(Clone, Debug)]
pub enum Format {
    /// RFC 3339 and what is near it; see [`Dates::iso`].
    Iso,
    /// A count since 1970; a second of it has ten to this power microseconds.
    Epoch {
        /// The power.
        shift: i32,
    },
    /// A pattern as in `strftime`.
    Pattern(Vec<Item<'static>>),
}

impl Format {
    /// Understand what stands in the brackets behind `timestamp`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        match text {
            "epoch-s" => Ok(Self::Epoch { shift: 6 }),
            "epoch-ms" => Ok(Self::Epoch { shift: 3 }),
            "epoch-us" => Ok(Self::Epoch { shift: 0 }),
            _ if text.contains('%') => pattern(text).map(Self::Pattern),
            _ => Err(format!(
                "unknown timestamp format '{text}'; write 'epoch-s', 'epoch-ms', 'epoch-us' or a pattern like '%Y-%m-%d %H:%M:%S'"
            )),
        }
    }
}

fn pattern(text: &str) -> Result<Vec<Item<'static>>, String> {
    let items: Vec<Item<'static>> = StrftimeItems::new(text).map(Item::to_owned).collect();
    if items.iter().any(|item| matches!(item, Item::Error)) {
        return Err(format!(
            "'{text}' has a specifier that does not exist; %Y, %m, %d, %H, %M, %S, %.f, %z are the usual ones"
        ));
    }
    // A pattern that cannot read back what it writes lacks a part of the date.
    let sample = DateTime::<Utc>::UNIX_EPOCH.format_with_items(items.iter()).to_string();
    match by_pattern(sample.as_bytes(), &items) {
        Some(_) => Ok(items),
        None => Err(format!("'{text}' does not determine an instant: it needs at least a year, a month and a day")),
    }
}

fn by_pattern(text: &[u8], items: &[Item<'static>]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, items.iter()).ok()?;
    if let Ok(instant) = parsed.to_datetime() {
        return Some(instant.timestamp_micros());
    }
    if let Ok(instant) = parsed.to_naive_datetime_with_offset(0) {
        return Some(instant.and_utc().timestamp_micros());
    }
    let no_time = parsed.hour_div_12().is_none() && parsed.hour_mod_12().is_none() && parsed.offset().is_none();
    let date = parsed.to_naive_date().ok().filter(|_| no_time)?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

/// Reads instants. Remembers the last date, because most neighbours share it.
#[derive(Clone, Debug)]
pub struct Dates {
    last: [u8; 10],
    days: i64,
}

impl Default for Dates {
    fn default() -> Self {
        Self { last: *b"1970-01-01", days: 0 }
    }
}

impl Dates {
    /// The instant that a string stands for.
    #[must_use]
    #[inline]
    pub fn text(&mut self, text: &[u8], format: &Format) -> Option<i64> {
        match format {
            Format::Iso => self.iso(text),
            Format::Epoch { shift } => epoch(text, *shift),
            Format::Pattern(items) => by_pattern(text, items),
        }
    }

    /// Whether a text is an instant with date and time of day as [`iso`](Self::iso)
    /// reads it: what a column must have to be inferred as one of timestamps.
    #[must_use]
    pub fn is_full(&mut self, text: &[u8]) -> bool {
        text.len() > 10 && self.iso(text).is_some()
    }

    /// `YYYY-MM-DD`, then optionally `T`, `t` or a space and `HH:MM`, `:SS`, a
    /// fraction behind a dot or comma (cut to microseconds), and a zone: `Z`,
    /// `z`, `±HH:MM`, `±HHMM` or `±HH`, also behind a space. No time is
    /// midnight, no zone is UTC. A leap second is the first of the next minute.
    #[must_use]
    #[inline]
    pub fn iso(&mut self, text: &[u8]) -> Option<i64> {
        let (date, rest) = text.split_first_chunk::<10>()?;
        let midnight = self.days(date)? * DAY;
        let Some((clock, rest)) = rest.split_first_chunk::<6>() else {
            return if rest.is_empty() { Some(midnight) } else { None };
        };
        if !matches!(clock[0], b'T' | b't' | b' ') || clock[3] != b':' {
            return None;
        }
        let (hour, minute) = (two(clock[1], clock[2])?, two(clock[4], clock[5])?);
        if hour > 23 || minute > 59 {
            return None;
        }
        let mut time = (hour * 60 + minute) * 60 * SECOND;
        let mut rest = rest;
        if let [b':', tens, ones, tail @ ..] = rest {
            let second = two(*tens, *ones)?;
            if second > 60 {
                return None;
            }
            time += second * SECOND;
            rest = tail;
            if let [b'.' | b',', tail @ ..] = rest {
                let (micros, digits) = fraction(tail)?;
                time += micros;
                rest = &tail[digits..];
            }
        }
        let zone = if rest == b"Z" { 0 } else { zone(rest)? };
        Some(midnight + time - zone)
    }

    #[inline]
    fn days(&mut self, date: &[u8; 10]) -> Option<i64> {
        if *date != self.last {
            self.days = days(date)?;
            self.last = *date;
        }
        Some(self.days)
    }
}

fn epoch(text: &[u8], shift: i32) -> Option<i64> {
    if !matches!(text.first(), Some(b'-' | b'0'..=b'9')) {
        return None;
    }
    Number::whole(text)?.scaled(shift)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (Hinnant,
/// "chrono-compatible low-level date algorithms", `days_from_civil`).
fn days(date: &[u8; 10]) -> Option<i64> {
    let year = two(date[0], date[1])? * 100 + two(date[2], date[3])?;
    let (month, day) = (two(date[5], date[6])?, two(date[8], date[9])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if date[4] != b'-' || date[7] != b'-' || day < 1 || day > length {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

/// Microseconds of the digits at the start, and how many digits there are.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, usize)> {
    let mut micros = 0;
    let mut unit = SECOND / 10;
    let mut digits = 0;
    while let Some(digit) = text.get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        micros += i64::from(digit) * unit;
        unit /= 10;
        digits += 1;
    }
    if digits == 0 { None } else { Some((micros, digits)) }
}

/// The microseconds that a zone is ahead of UTC.
fn zone(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, hour, minute) = match *text {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, a, b] => (sign, two(a, b)?, 0),
        [sign, a, b, b':', c, d] | [sign, a, b, c, d] => (sign, two(a, b)?, two(c, d)?),
        _ => return None,
    };
    if hour > 23 || minute > 59 {
        return None;
    }
    let ahead = (hour * 60 + minute) * 60 * SECOND;
    match sign {
        b'+' => Some(ahead),
        b'-' => Some(-ahead),
        _ => None,
    }
}

#[inline]
fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { None } else { Some(i64::from(tens) * 10 + i64::from(ones)) }
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, SecondsFormat};
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(format: &str, text: &str, expected: Option<&str>) {
        let format = if format.is_empty() { Format::Iso } else { Format::new(format).expect("a format") };
        let found = Dates::default().text(text.as_bytes(), &format);
        let found = found.and_then(DateTime::from_timestamp_micros);
        assert_eq!(found.map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true)).as_deref(), expected, "{text}");
    }

    #[test]
    fn iso_instants_and_their_relatives_are_read() {
        check("", "2025-10-05T18:40:10Z", Some("2025-10-05T18:40:10Z"));
        check("", "2025-10-05T18:40:10.123456789Z", Some("2025-10-05T18:40:10.123456Z"));
        check("", "2025-10-05t18:40:10,5z", Some("2025-10-05T18:40:10.500Z"));
        check("", "2025-10-05 18:40:10 +02:00", Some("2025-10-05T16:40:10Z"));
        check("", "2025-10-05T18:40:10-0330", Some("2025-10-05T22:10:10Z"));
        check("", "2025-10-05T00:40+02", Some("2025-10-04T22:40:00Z"));
        check("", "2025-10-05", Some("2025-10-05T00:00:00Z"));
        check("", "2025-10-05T18:40:10", Some("2025-10-05T18:40:10Z"));
        check("", "1969-12-31T23:59:59.999999Z", Some("1969-12-31T23:59:59.999999Z"));
        check("", "0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z"));
        check("", "2024-02-29", Some("2024-02-29T00:00:00Z"));
        check("", "2016-12-31T23:59:60Z", Some("2017-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for bad in [
            "",
            "2025",
            "2025-13-01",
            "2025-02-29",
            "2025-00-10",
            "2025-01-00",
            "2025-10-05T",
            "2025-10-05T18",
            "2025-10-05T24:00:00Z",
            "2025-10-05T18:60:00Z",
            "2025-10-05T18:40:61Z",
            "2025-10-05T18:40:10.Z",
            "2025-10-05T18:40:10+25:00",
            "2025-10-05T18:40:10 UTC",
            "2025-10-05T18:40:10Zx",
            "2025/10/05",
            "05.10.2025",
            "2025-10-05T1a:40:10Z",
            "2025-10-05Z",
            "1696506010",
        ] {
            check("", bad, None);
        }
    }

    #[test]
    fn counts_and_patterns_are_read() {
        check("epoch-s", "1696506010.5", Some("2023-10-05T11:40:10.500Z"));
        check("epoch-ms", "-1", Some("1969-12-31T23:59:59.999Z"));
        check("epoch-us", "1696506010000001", Some("2023-10-05T11:40:10.000001Z"));
        check("epoch-s", "9e99", None);
        check("epoch-s", "now", None);
        check("%d.%m.%Y %H:%M", "05.10.2025 18:40", Some("2025-10-05T18:40:00Z"));
        check("%d.%m.%Y", "05.10.2025", Some("2025-10-05T00:00:00Z"));
        check("%d/%b/%Y:%H:%M:%S %z", "05/Oct/2025:18:40:10 +0200", Some("2025-10-05T16:40:10Z"));
        check("%Y-%m-%d %H:%M:%S%.f", "2025-10-05 18:40:10.25", Some("2025-10-05T18:40:10.250Z"));
        check("%d.%m.%Y", "5th of October", None);
    }

    #[test]
    fn formats_that_cannot_work_say_so() {
        assert!(Format::new("%H:%M").expect_err("no date").contains("at least a year"));
        assert!(Format::new("%Q").expect_err("no such specifier").contains("does not exist"));
        assert!(Format::new("unix").expect_err("unknown").contains("epoch-s"));
    }

    proptest! {
        #[test]
        fn every_day_has_the_number_that_chrono_gives_it(days in -719_000_i32..2_900_000) {
            let date = NaiveDate::from_num_days_from_ce_opt(days + 719_163).expect("in range");
            let text = date.format("%Y-%m-%d").to_string();
            prop_assert_eq!(Dates::default().iso(text.as_bytes()), Some(i64::from(days) * DAY));
        }
    }
}
