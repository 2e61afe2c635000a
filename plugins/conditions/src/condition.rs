//! Conditions: from JSON to a test of a whole column.
//!
//! Numbers, instants and booleans are compared as integers in the order of the
//! values, so that every combination of bounds is one interval.

use serde_json::{Map, Value};
use weir_plugin::{Batch, Column, DataType, Error, Values};

use crate::Columns;

/// The names of the conditions in a configuration.
pub(crate) const NAMES: &[&str] =
    &["above", "at_least", "at_most", "below", "between", "equals", "is_null", "not_equals", "outside"];

/// A test of the values of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The position of the column in a batch.
    pub column: usize,
    /// The type of the column.
    pub data_type: DataType,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Null,
    NotNull,
    Keys(Keys),
    Text { equals: Option<Box<[u8]>>, not: Option<Box<[u8]>> },
}

/// An interval of keys, both ends included, with a hole.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Keys {
    low: i64,
    high: i64,
    /// Both ends included; none where `.0 > .1`.
    hole: (i64, i64),
}

impl Keys {
    const ALL: Self = Self { low: i64::MIN, high: i64::MAX, hole: (i64::MAX, i64::MIN) };

    #[inline]
    fn has(&self, key: i64) -> bool {
        (self.low <= key) & (key <= self.high) & !((self.hole.0 <= key) & (key <= self.hole.1))
    }

    fn is_empty(&self) -> bool {
        self.low > self.high || self.hole.0 <= self.low && self.high <= self.hole.1
    }
}

/// A fault of a condition: its name, empty for all of them, and the message.
pub(crate) type Fault = (String, String);

impl Condition {
    /// Read the conditions of an object, which must hold together.
    pub(crate) fn new(object: &Map<String, Value>, name: &str, columns: &mut Columns<'_>) -> Result<Self, Vec<Fault>> {
        let (column, data_type) = columns.want(name).map_err(|message| vec![("column".to_owned(), message)])?;
        let given: Vec<(&str, &Value)> =
            NAMES.iter().filter_map(|name| object.get(*name).map(|value| (*name, value))).collect();
        let Some((first, _)) = given.first() else {
            return Err(vec![(String::new(), format!("there is no condition; write one of {}", NAMES.join(", ")))]);
        };
        let excluded = || {
            let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
            vec![((*first).to_owned(), format!("no value of {} meets {}", data_type.name(), names.join(" and ")))]
        };
        let test = match object.get("is_null") {
            Some(Value::Bool(true)) if given.len() == 1 => Test::Null,
            Some(Value::Bool(true)) => return Err(excluded()),
            Some(Value::Bool(false)) if given.len() == 1 => Test::NotNull,
            Some(Value::Bool(false)) | None => {
                let others: Vec<_> = given.iter().copied().filter(|(name, _)| *name != "is_null").collect();
                let test =
                    if data_type == DataType::Utf8 { text_test(&others)? } else { key_test(&others, data_type)? };
                test.ok_or_else(excluded)?
            }
            Some(other) => return Err(vec![("is_null".to_owned(), format!("{other} is neither true nor false"))]),
        };
        Ok(Self { column, data_type, test })
    }

    /// Whether a null meets the condition.
    #[must_use]
    pub fn is_met_by_null(&self) -> bool {
        self.test == Test::Null
    }

    /// Whether no value meets both conditions; false where that is not known.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        match (&self.test, &other.test) {
            (Test::Keys(one), Test::Keys(two)) => {
                let both = Keys { low: one.low.max(two.low), high: one.high.min(two.high), hole: one.hole };
                both.is_empty() || Keys { hole: two.hole, ..both }.is_empty()
            }
            _ => false,
        }
    }

    /// Set the mark of every row that meets the condition.
    ///
    /// # Errors
    /// The rows are not of the schema that the condition was made for.
    pub fn mark(&self, rows: &Batch, marks: &mut [u16], mark: u16) -> Result<(), Error> {
        let column = rows.columns.get(self.column).ok_or_else(|| Error::new("the rows lack a column"))?;
        match (&self.test, &column.values) {
            (Test::Null, _) => {
                if column.validity.is_some() {
                    paint(marks, mark, 0.., |row| column.is_null(row));
                }
            }
            (Test::NotNull, _) => paint_values(column, marks, mark, std::iter::repeat(()), |()| true),
            (Test::Keys(keys), Values::Float64(values)) => {
                let keys = *keys;
                paint_values(column, marks, mark, values.iter().copied(), |value| keys.has(key_of(value)));
            }
            (Test::Keys(keys), Values::Int64(values) | Values::Timestamp(values)) => {
                let keys = *keys;
                paint_values(column, marks, mark, values.iter().copied(), |value| keys.has(value));
            }
            (Test::Keys(keys), Values::Boolean(_)) => {
                let values = column.boolean()?;
                paint(marks, mark, 0.., |row| values.get(row).is_some_and(|value| keys.has(i64::from(value))));
            }
            (Test::Text { equals, not }, Values::Utf8(texts)) => {
                paint_values(column, marks, mark, texts.iter(), |text| {
                    equals.as_deref().is_none_or(|equals| text == equals) && not.as_deref() != Some(text)
                });
            }
            _ => return Err(Error::new("the rows have another schema than the one configured")),
        }
        Ok(())
    }
}

/// Set the mark where a value that is not null is a hit.
fn paint_values<V>(
    column: &Column,
    marks: &mut [u16],
    mark: u16,
    values: impl Iterator<Item = V>,
    hit: impl Fn(V) -> bool,
) {
    match &column.validity {
        None => paint(marks, mark, values, hit),
        Some(bits) => {
            paint(marks, mark, values.enumerate(), |(row, value)| (bits[row / 8] & (1 << (row % 8)) != 0) & hit(value))
        }
    }
}

#[inline]
fn paint<V>(marks: &mut [u16], mark: u16, values: impl Iterator<Item = V>, hit: impl Fn(V) -> bool) {
    // A choice between two values, not a branch: the compiler does many rows at once.
    for (slot, value) in marks.iter_mut().zip(values) {
        *slot = if hit(value) { mark } else { *slot };
    }
}

/// An integer in the order of the numbers: NaN is the greatest, and -0.0 is 0.0.
#[inline]
fn key_of(value: f64) -> i64 {
    let bits = if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }.cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// A bound as a key, or the key below it where it lies between two.
struct Bound {
    key: i64,
    exact: bool,
}

fn key_test(given: &[(&str, &Value)], data_type: DataType) -> Result<Option<Test>, Vec<Fault>> {
    let mut keys = Keys::ALL;
    let mut faults = Vec::new();
    for (name, value) in given {
        if let Err(message) = narrow(&mut keys, name, value, data_type) {
            faults.push(((*name).to_owned(), message));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(if keys.is_empty() { None } else { Some(Test::Keys(keys)) })
}

/// Take what a condition leaves of the keys.
fn narrow(keys: &mut Keys, name: &str, value: &Value, data_type: DataType) -> Result<(), String> {
    if data_type == DataType::Boolean && !matches!(name, "equals" | "not_equals") {
        return Err("a boolean column takes equals, not_equals and is_null".to_owned());
    }
    match name {
        "above" => keys.low = keys.low.max(bound(value, data_type)?.key.checked_add(1).ok_or("nothing is above it")?),
        "at_least" => keys.low = keys.low.max(at_least(&bound(value, data_type)?)),
        "below" => {
            let bound = at_least(&bound(value, data_type)?);
            keys.high = keys.high.min(bound.checked_sub(1).ok_or("nothing is below it")?);
        }
        "at_most" => keys.high = keys.high.min(bound(value, data_type)?.key),
        "between" | "outside" => {
            let Some([low, high]) = value.as_array().and_then(|ends| ends.as_array::<2>()) else {
                return Err(format!("{value} is not a pair of bounds like [10, 20]"));
            };
            let (low, high) = (at_least(&bound(low, data_type)?), bound(high, data_type)?.key);
            if low > high {
                return Err("the first bound is above the second".to_owned());
            }
            if name == "between" {
                *keys = Keys { low: keys.low.max(low), high: keys.high.min(high), ..*keys };
            } else {
                return dig(keys, (low, high), "outside");
            }
        }
        "equals" | "not_equals" => {
            let Bound { key, exact: true } = bound(value, data_type)? else {
                return Err(format!("{value} is never the value of a column of {}", data_type.name()));
            };
            if name == "equals" {
                *keys = Keys { low: keys.low.max(key), high: keys.high.min(key), ..*keys };
            } else {
                return dig(keys, (key, key), "not_equals");
            }
        }
        _ => {}
    }
    Ok(())
}

fn at_least(bound: &Bound) -> i64 {
    bound.key.saturating_add(i64::from(!bound.exact))
}

fn dig(keys: &mut Keys, hole: (i64, i64), name: &str) -> Result<(), String> {
    if keys.hole != Keys::ALL.hole {
        return Err(format!("{name} cannot stand beside another condition that leaves values out"));
    }
    keys.hole = hole;
    Ok(())
}

fn bound(value: &Value, data_type: DataType) -> Result<Bound, String> {
    let wrong = |expected: &str| format!("{value} is not {expected}, as the column is {}", data_type.name());
    let exact = |key| Bound { key, exact: true };
    match data_type {
        DataType::Float64 => value.as_f64().map(|value| exact(key_of(value))).ok_or_else(|| wrong("a number")),
        DataType::Int64 => {
            if let Some(key) = value.as_i64() {
                return Ok(exact(key));
            }
            let number = value.as_f64().ok_or_else(|| wrong("a number"))?;
            // 2^63 is the first number beyond.
            if number < i64::MIN as f64 || number >= -(i64::MIN as f64) {
                return Err(wrong("a number of 64 bits"));
            }
            Ok(Bound { key: number.floor() as i64, exact: number.fract() == 0.0 })
        }
        DataType::Timestamp => {
            let instant = value.as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
            let instant = instant.ok_or_else(|| wrong("an instant like \"2025-10-05T18:40:10Z\""))?;
            Ok(Bound { key: instant.timestamp_micros(), exact: instant.timestamp_subsec_nanos() % 1000 == 0 })
        }
        DataType::Boolean => value.as_bool().map(|value| exact(i64::from(value))).ok_or_else(|| wrong("true or false")),
        _ => Err(wrong("comparable")),
    }
}

fn text_test(given: &[(&str, &Value)]) -> Result<Option<Test>, Vec<Fault>> {
    let (mut equals, mut not) = (None, None);
    let mut faults = Vec::new();
    for (name, value) in given {
        let text = value.as_str().map(|text| Box::<[u8]>::from(text.as_bytes()));
        match (*name, text) {
            ("equals", Some(text)) => equals = Some(text),
            ("not_equals", Some(text)) => not = Some(text),
            ("equals" | "not_equals", None) => faults.push(((*name).to_owned(), format!("{value} is not a text"))),
            _ => faults.push(((*name).to_owned(), "a utf8 column takes equals, not_equals and is_null".to_owned())),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(if equals.is_some() && equals == not { None } else { Some(Test::Text { equals, not }) })
}
