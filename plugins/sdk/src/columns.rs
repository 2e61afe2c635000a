//! Readers over the columns that come in.
//!
//! The host has checked every layout before a plugin sees it, so readers index
//! without ceremony; a row out of range is a bug of the plugin and panics.

use crate::{Column, DataType, Error, Values, VarBytes};

impl Column {
    /// The type of the values.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match &self.values {
            Values::Boolean(_) => DataType::Boolean,
            Values::Int64(_) => DataType::Int64,
            Values::Float64(_) => DataType::Float64,
            Values::Utf8(_) => DataType::Utf8,
            Values::Binary(_) => DataType::Binary,
            Values::Timestamp(_) => DataType::Timestamp,
            Values::List(_) => DataType::List,
            Values::Struct => DataType::Struct,
        }
    }

    /// Whether row `row` has no value.
    #[must_use]
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.validity.as_ref().is_some_and(|bits| !bit(bits, row))
    }

    /// Read integers, or timestamps in microseconds.
    ///
    /// # Errors
    /// The column has another type.
    pub fn int64(&self) -> Result<Numbers<'_, i64>, Error> {
        match &self.values {
            Values::Int64(values) | Values::Timestamp(values) => Ok(Numbers { column: self, values }),
            _ => Err(self.mismatch("int64 or timestamp")),
        }
    }

    /// Read floating-point numbers.
    ///
    /// # Errors
    /// The column has another type.
    pub fn float64(&self) -> Result<Numbers<'_, f64>, Error> {
        match &self.values {
            Values::Float64(values) => Ok(Numbers { column: self, values }),
            _ => Err(self.mismatch("float64")),
        }
    }

    /// Read booleans.
    ///
    /// # Errors
    /// The column has another type.
    pub fn boolean(&self) -> Result<Booleans<'_>, Error> {
        match &self.values {
            Values::Boolean(bits) => Ok(Booleans { column: self, bits }),
            _ => Err(self.mismatch("boolean")),
        }
    }

    /// Read text, or bytes.
    ///
    /// # Errors
    /// The column has another type.
    pub fn text(&self) -> Result<Texts<'_>, Error> {
        match &self.values {
            Values::Utf8(values) | Values::Binary(values) => Ok(Texts { column: self, values }),
            _ => Err(self.mismatch("utf8 or binary")),
        }
    }

    fn mismatch(&self, expected: &str) -> Error {
        Error::new(format!("a column of {} was read as {expected}", self.data_type().name()))
    }
}

/// A column of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a, T> {
    column: &'a Column,
    values: &'a [T],
}

impl<'a, T: Copy> Numbers<'a, T> {
    /// The value of a row, none where it is null.
    #[must_use]
    #[inline]
    pub fn get(&self, row: usize) -> Option<T> {
        if self.column.is_null(row) { None } else { Some(self.values[row]) }
    }

    /// All values, with arbitrary ones behind nulls.
    #[must_use]
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    /// The values of all rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<T>> + '_ {
        (0..self.values.len()).map(|row| self.get(row))
    }
}

/// A column of booleans.
#[derive(Clone, Copy, Debug)]
pub struct Booleans<'a> {
    column: &'a Column,
    bits: &'a [u8],
}

impl Booleans<'_> {
    /// The value of a row, none where it is null.
    #[must_use]
    #[inline]
    pub fn get(&self, row: usize) -> Option<bool> {
        if self.column.is_null(row) { None } else { Some(bit(self.bits, row)) }
    }
}

/// A column of text or bytes.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    column: &'a Column,
    values: &'a VarBytes,
}

impl<'a> Texts<'a> {
    /// The bytes of a row, none where it is null.
    #[must_use]
    #[inline]
    pub fn bytes(&self, row: usize) -> Option<&'a [u8]> {
        if self.column.is_null(row) { None } else { Some(self.values.get(row)) }
    }

    /// The text of a row; none where it is null, or bytes that are not text.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&'a str> {
        self.bytes(row).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}

impl VarBytes {
    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value `index`.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        &self.data[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

#[inline]
fn bit(bits: &[u8], row: usize) -> bool {
    bits[row / 8] & (1 << (row % 8)) != 0
}

#[cfg(test)]
mod tests {
    use crate::build::{BytesBuilder, Float64Builder};

    #[test]
    fn a_reader_returns_what_a_builder_took() {
        let mut numbers = Float64Builder::default();
        numbers.push(1.5);
        numbers.push_null();
        let column = numbers.into_float64();
        let read = column.float64().expect("numbers");
        assert_eq!(read.iter().collect::<Vec<_>>(), [Some(1.5), None]);
        assert!(column.text().is_err());

        let mut texts = BytesBuilder::default();
        texts.push("ü".as_bytes());
        texts.push_null();
        let column = texts.into_utf8();
        let read = column.text().expect("text");
        assert_eq!((read.get(0), read.get(1)), (Some("ü"), None));
    }
}
