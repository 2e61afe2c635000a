//! Numbers: the strict grammar of JSON, and exact conversion.

use crate::wide::{self, BLOCK};

/// A number as it is written: `mantissa · 10^exponent`.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// Its first byte.
    pub start: usize,
    /// The byte behind its last one.
    pub end: usize,
    negative: bool,
    /// All digits; meaningless unless `fits`.
    mantissa: u64,
    exponent: i32,
    /// Whether the digits fit the mantissa and the exponent is sane.
    fits: bool,
    /// Written without a fraction and an exponent.
    integral: bool,
}

/// Nineteen digits always fit 64 bits.
const DIGITS_MAX: usize = 19;
/// No exponent beyond this matters, and none overflows when it is shifted.
const EXPONENT_MAX: i32 = 9999;

/// Text that is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNumber {
    /// The byte where it shows.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl Number {
    /// The number that starts at byte `start` of `bytes`; what may follow it is
    /// not looked at.
    ///
    /// # Errors
    /// There is none.
    #[inline]
    pub fn read(bytes: &[u8], start: usize) -> Result<Self, NoNumber> {
        match Self::short(bytes, start) {
            Some(number) => Ok(number),
            None => Self::any(bytes, start),
        }
    }

    /// The number that is all of `text`.
    #[must_use]
    #[inline]
    pub fn whole(text: &[u8]) -> Option<Self> {
        Self::read(text, 0).ok().filter(|number| number.end == text.len())
    }

    /// The number at `start` if it has no exponent and ends within one block:
    /// what measurements look like.
    #[must_use]
    #[inline(always)]
    pub fn short(bytes: &[u8], start: usize) -> Option<Self> {
        let negative = bytes.get(start) == Some(&b'-');
        let digits = start + usize::from(negative);
        let block = bytes.get(digits..)?.first_chunk::<BLOCK>()?;
        let (whole, fraction_end) = wide::non_digits(block);
        if whole == 0 || whole == BLOCK || (block[0] == b'0' && whole > 1) {
            return None;
        }
        let integral = block[whole] != b'.';
        let (dot, end) = if integral { (-1, whole) } else { (whole as i8, fraction_end) };
        if end == BLOCK || end == whole + 1 || block[end] | 0x20 == b'e' {
            return None;
        }
        let mantissa = wide::decimal(block, dot, end);
        let exponent = if integral { 0 } else { whole as i32 + 1 - end as i32 };
        Some(Self { start, end: digits + end, negative, mantissa, exponent, fits: true, integral })
    }

    #[inline(never)]
    fn any(bytes: &[u8], start: usize) -> Result<Self, NoNumber> {
        let expected_digit = |at| Err(NoNumber { at, what: "expected a digit" });
        let negative = bytes.get(start) == Some(&b'-');
        let mut at = start + usize::from(negative);
        let mut mantissa = 0;
        let mut digits = take_digits(bytes, at, &mut mantissa);
        if digits == 0 {
            return expected_digit(at);
        }
        if bytes[at] == b'0' && digits > 1 {
            return Err(NoNumber { at: at + 1, what: "a number must not start with zeros" });
        }
        at += digits;
        let mut exponent = 0;
        let mut integral = true;
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            let fraction = take_digits(bytes, at, &mut mantissa);
            if fraction == 0 {
                return expected_digit(at);
            }
            at += fraction;
            digits += fraction;
            exponent = -i32::try_from(fraction).unwrap_or(EXPONENT_MAX);
            integral = false;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let sign = bytes.get(at + 1);
            let first = at + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
            let (value, length) = take_exponent(&bytes[first..]);
            if length == 0 {
                return expected_digit(first);
            }
            exponent = exponent.saturating_add(if sign == Some(&b'-') { -value } else { value });
            at = first + length;
            integral = false;
        }
        let fits = digits <= DIGITS_MAX && exponent.abs() < EXPONENT_MAX;
        Ok(Self { start, end: at, negative, mantissa, exponent, fits, integral })
    }
}

/// The number of digits at `at`, which are added to the mantissa.
#[inline(always)]
fn take_digits(bytes: &[u8], at: usize, mantissa: &mut u64) -> usize {
    let rest = &bytes[at..];
    let mut length = 0;
    while let Some(digit) = rest.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        length += 1;
    }
    length
}

/// The value of the digits at the start, as far as it matters, and their number.
fn take_exponent(digits: &[u8]) -> (i32, usize) {
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value =
        digits[..length].iter().fold(0_i32, |value, digit| (value * 10 + i32::from(digit - b'0')).min(EXPONENT_MAX));
    (value, length)
}

impl Number {
    /// Whether it is written without a fraction and an exponent.
    #[must_use]
    pub fn is_integral(&self) -> bool {
        self.integral
    }

    /// The nearest 64-bit floating-point number; none if that is infinite.
    /// `bytes` is what the number was read from.
    #[must_use]
    #[inline]
    pub fn double(&self, bytes: &[u8]) -> Option<f64> {
        if let Some(value) = self.short_double() {
            return Some(value);
        }
        let text = std::str::from_utf8(&bytes[self.start..self.end]).ok()?;
        text.parse().ok().filter(|value: &f64| value.is_finite())
    }

    /// The nearest 64-bit floating-point number, if one operation gives it.
    #[must_use]
    #[inline(always)]
    pub fn short_double(&self) -> Option<f64> {
        // Both sides of the operation are exact, so its one rounding is right
        // (Clinger, How to read floating point numbers accurately, 1990).
        if self.fits && self.mantissa <= 1 << 53 && self.exponent.unsigned_abs() < 23 {
            let power = POWERS[self.exponent.unsigned_abs() as usize];
            // Signed, the conversion is one instruction.
            let magnitude = self.mantissa as i64 as f64;
            let magnitude = if self.exponent < 0 { magnitude / power } else { magnitude * power };
            return Some(if self.negative { -magnitude } else { magnitude });
        }
        None
    }

    /// The integer, if the number is written as one and fits.
    #[must_use]
    #[inline]
    pub fn bigint(&self) -> Option<i64> {
        if !self.integral || !self.fits {
            return None;
        }
        if self.negative { 0_i64.checked_sub_unsigned(self.mantissa) } else { i64::try_from(self.mantissa).ok() }
    }

    /// The number times `10^shift`, rounded down to an integer, if it fits.
    #[must_use]
    pub fn scaled(&self, shift: i32) -> Option<i64> {
        if !self.fits {
            return None;
        }
        if self.mantissa == 0 {
            return Some(0);
        }
        let magnitude = i128::from(self.mantissa);
        let value = if self.negative { -magnitude } else { magnitude };
        let scaled = match self.exponent + shift {
            up @ 0..=19 => value * 10_i128.pow(up.unsigned_abs()),
            down @ -20..0 => value.div_euclid(10_i128.pow(down.unsigned_abs())),
            down if down < 0 => -i128::from(self.negative),
            _ => return None,
        };
        i64::try_from(scaled).ok()
    }
}

/// The powers of ten that a 64-bit floating-point number holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Option<Number> {
        Number::whole(text.as_bytes())
    }

    fn double(text: &str) -> Option<f64> {
        number(text).and_then(|number| number.double(text.as_bytes()))
    }

    #[test]
    fn only_the_strict_grammar_is_a_number() {
        for good in ["0", "-0", "10", "1.0", "1e5", "1E+5", "-1.25e-7", "0.5", "0e0"] {
            assert!(number(good).is_some(), "{good}");
        }
        for bad in ["", "-", "01", "-01", "00", "1.", ".5", "1e", "1e+", "+1", "1.e5", "0x1", "--1"] {
            assert!(number(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn doubles_that_overflow_are_no_doubles() {
        assert_eq!(double("1e400"), None);
        assert_eq!(double("-1e400"), None);
        assert_eq!(double("1e-400"), Some(0.0));
        assert_eq!(double("1e99999999999999999999"), None);
        assert_eq!(double("123456789012345678901234567890"), Some(1.234_567_890_123_456_8e29));
        assert_eq!(double("-0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
    }

    #[test]
    fn integers_are_exact_or_none() {
        let bigint = |text| number(text).and_then(|number| number.bigint());
        assert_eq!(bigint("9223372036854775807"), Some(i64::MAX));
        assert_eq!(bigint("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(bigint("9223372036854775808"), None);
        assert_eq!(bigint("99999999999999999999"), None);
        assert_eq!(bigint("-0"), Some(0));
        assert_eq!(bigint("3.0"), None);
        assert_eq!(bigint("3e0"), None);
    }

    #[test]
    fn scaling_rounds_down_and_never_wraps() {
        let scaled = |text, shift| number(text).and_then(|number| number.scaled(shift));
        assert_eq!(scaled("1.5", 6), Some(1_500_000));
        assert_eq!(scaled("1.0000019", 6), Some(1_000_001));
        assert_eq!(scaled("-0.0000001", 6), Some(-1));
        assert_eq!(scaled("-1e-9000", 6), Some(-1));
        assert_eq!(scaled("1.7e9", 6), Some(1_700_000_000_000_000));
        assert_eq!(scaled("1e30", 6), None);
        assert_eq!(scaled("0e9000", 6), Some(0));
        assert_eq!(scaled("9999999999999", 6), None);
    }

    proptest! {
        #[test]
        fn doubles_agree_with_the_standard_library(text in r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
            let expected = text.parse::<f64>().ok().filter(|value| value.is_finite());
            prop_assert_eq!(double(&text).map(f64::to_bits), expected.map(f64::to_bits));
        }

        #[test]
        fn what_follows_a_number_does_not_change_it(
            text in r"-?[0-9]{1,9}(\.[0-9]{0,9})?([eE][+-]?[0-9]{1,2})?",
            behind in "[,} \n]",
        ) {
            let alone = Number::read(text.as_bytes(), 0);
            let followed = format!("{text}{behind}, \"padding\": 1.5e5");
            let found = Number::read(followed.as_bytes(), 0);
            prop_assert_eq!(alone.is_ok(), found.is_ok());
            if let (Ok(alone), Ok(found)) = (alone, found) {
                prop_assert_eq!(alone.end, found.end);
                let double = |number: Number| number.double(followed.as_bytes()).map(f64::to_bits);
                prop_assert_eq!(double(alone), double(found));
                prop_assert_eq!(alone.bigint(), found.bigint());
                prop_assert_eq!(alone.scaled(6), found.scaled(6));
            }
        }
    }
}
