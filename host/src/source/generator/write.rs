//! Readings as JSON text, digit by digit.

use std::io::{self, Write};
use std::ops::Range;

use super::{GeneratorSettings, Malformation, Reading};

/// How readings are laid out in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadingsForm {
    /// One message a line, each an array of readings.
    JsonLines,
    /// One array of all readings, on one line.
    CompactArray,
    /// One array of all readings, indented.
    PrettyArray,
}

/// The text around the values of a reading.
pub(super) struct Layout {
    open: &'static str,
    between: &'static str,
    close: &'static str,
}

/// All on one line.
pub(super) const COMPACT: Layout = Layout { open: "{", between: ", ", close: "}" };

const PRETTY: Layout = Layout { open: "  {\n    ", between: ",\n    ", close: "\n  }" };

/// Bytes gathered before they are written.
const BLOCK_BYTES: usize = 256 << 10;

/// Write the messages of a partition at these offsets.
///
/// In an array a truncated message cannot stand, so its last reading is null
/// there; the count of readings that are as they should be is the same in every
/// form.
///
/// # Errors
/// What the writer gives.
pub fn write_readings(
    settings: &GeneratorSettings,
    partition: u32,
    offsets: Range<u64>,
    form: ReadingsForm,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut block = Vec::with_capacity(BLOCK_BYTES * 2);
    let (layout, open, between, close) = match form {
        ReadingsForm::JsonLines => (&COMPACT, "", "", ""),
        ReadingsForm::CompactArray => (&COMPACT, "[", ",", "]\n"),
        ReadingsForm::PrettyArray => (&PRETTY, "[\n", ",\n", "\n]\n"),
    };
    block.extend_from_slice(open.as_bytes());
    let mut is_first = true;
    for offset in offsets {
        if form == ReadingsForm::JsonLines {
            settings.write_message(partition, offset, &mut block);
            block.push(b'\n');
        } else {
            let message = settings.message(partition, offset);
            for (index, reading) in message.readings.iter().enumerate() {
                if !std::mem::take(&mut is_first) {
                    block.extend_from_slice(between.as_bytes());
                }
                let malformation = message.spoiled.filter(|spoiled| spoiled.1 == index).map(|spoiled| spoiled.0);
                let malformation = match malformation {
                    Some(Malformation::Truncated) => Some(Malformation::NullElement),
                    other => other,
                };
                append_reading(reading, malformation, layout, &mut block);
            }
        }
        if block.len() >= BLOCK_BYTES {
            out.write_all(&block)?;
            block.clear();
        }
    }
    block.extend_from_slice(close.as_bytes());
    out.write_all(&block)
}

/// Append one reading, spoiled as asked.
pub(super) fn append_reading(
    reading: &Reading,
    malformation: Option<Malformation>,
    layout: &Layout,
    out: &mut Vec<u8>,
) {
    if malformation == Some(Malformation::NullElement) {
        return out.extend_from_slice(b"null");
    }
    let between = |out: &mut Vec<u8>, key: &str| {
        out.extend_from_slice(layout.between.as_bytes());
        out.extend_from_slice(key.as_bytes());
    };
    out.extend_from_slice(layout.open.as_bytes());
    out.extend_from_slice(b"\"deviceId\": \"sensor-");
    append_digits(u64::from(reading.device), 4, out);
    if malformation != Some(Malformation::MissingQuote) {
        out.push(b'"');
    }
    between(out, "\"ts\": \"");
    append_time(reading.time_us, out);
    out.push(b'"');
    if malformation == Some(Malformation::Truncated) {
        return;
    }
    between(out, "\"temperature\": ");
    match malformation {
        Some(Malformation::WrongType) => out.extend_from_slice(b"\"warm\""),
        _ => append_decimal(reading.temperature, 2, out),
    }
    between(out, "\"humidity\": ");
    append_decimal(reading.humidity, 2, out);
    between(out, "\"pressure\": ");
    append_decimal(reading.pressure, 2, out);
    between(out, "\"battery\": ");
    append_decimal(reading.battery, 4, out);
    between(out, "\"lat\": ");
    append_decimal(reading.lat, 4, out);
    between(out, "\"lon\": ");
    append_decimal(reading.lon, 4, out);
    between(out, "\"status\": \"");
    out.extend_from_slice(reading.status.as_str().as_bytes());
    out.push(b'"');
    out.extend_from_slice(layout.close.as_bytes());
}

/// Append a number with leading zeros up to a width.
fn append_digits(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = number;
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

/// Append a number of units of the last of so many decimals.
fn append_decimal(units: i64, decimals: usize, out: &mut Vec<u8>) {
    if units < 0 {
        out.push(b'-');
    }
    let units = units.unsigned_abs();
    let one = 10_u64.pow(decimals as u32);
    append_digits(units / one, 1, out);
    out.push(b'.');
    append_digits(units % one, decimals, out);
}

/// Append a time as in RFC 3339, with milliseconds and `Z`.
fn append_time(time_us: i64, out: &mut Vec<u8>) {
    let ms = time_us.div_euclid(1000);
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) as u64);
    let (year, month, day) = civil(days);
    for (number, width, behind) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (of_day / 3_600_000, 2, b':'),
        (of_day / 60_000 % 60, 2, b':'),
        (of_day / 1000 % 60, 2, b'.'),
        (of_day % 1000, 3, b'Z'),
    ] {
        append_digits(number, width, out);
        out.push(behind);
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant,
/// "chrono-compatible low-level date algorithms", `civil_from_days`); years
/// before 0 are given as 0.
fn civil(days: i64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (u64::try_from(year).unwrap_or(0), day_part(month), day_part(day))
}

/// Months and days are positive.
fn day_part(number: i64) -> u64 {
    number.unsigned_abs()
}
