//! Builders of columns: append values row by row, take the [`Column`] at the end.
//!
//! Every builder appends one row with `push` or `push_null`, and forgets rows
//! with `truncate`, which is what makes the rejection of a half-written row
//! cheap. Nulls are kept as row numbers until the end: a column without nulls,
//! the common case, pays nothing for them.
//!
//! A list and a struct are one column for themselves, [`ListBuilder`] and
//! [`StructBuilder`], followed by the columns of their children, which the author
//! builds beside them; see there.
//!
//! Lengths are bounded by the 32-bit offsets of the contract; a builder of
//! variable length panics rather than wrap.

use crate::{Column, Values, VarBytes};

/// The rows that are null, ascending.
#[derive(Clone, Debug, Default)]
struct Nulls(Vec<u32>);

impl Nulls {
    #[cold]
    fn push(&mut self, row: usize) {
        self.0.push(u32::try_from(row).expect("invariant: rows are counted in 32 bits"));
    }

    #[inline]
    fn truncate(&mut self, rows: usize) {
        while self.0.last().is_some_and(|last| *last as usize >= rows) {
            self.0.pop();
        }
    }

    fn finish(self, rows: usize) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return None;
        }
        let mut bits = vec![0xff_u8; rows.div_ceil(8)];
        for row in self.0 {
            bits[row as usize / 8] &= !(1 << (row % 8));
        }
        if let (Some(last), tail @ 1..) = (bits.last_mut(), rows % 8) {
            *last &= (1 << tail) - 1;
        }
        Some(bits)
    }
}

/// Appends numbers: the shape that integers, floating-point numbers and
/// timestamps share.
#[derive(Clone, Debug, Default)]
pub struct NumberBuilder<T> {
    values: Vec<T>,
    nulls: Nulls,
}

impl<T: Copy + Default> NumberBuilder<T> {
    /// An empty column with room for `rows` rows.
    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), nulls: Nulls::default() }
    }

    /// Append a value.
    #[inline]
    pub fn push(&mut self, value: T) {
        self.values.push(value);
    }

    /// Append a null.
    pub fn push_null(&mut self) {
        self.nulls.push(self.values.len());
        self.values.push(T::default());
    }

    /// The number of rows.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Forget all rows but the first `rows`.
    pub fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    fn finish(self, wrap: fn(Vec<T>) -> Values) -> Column {
        let validity = self.nulls.finish(self.values.len());
        Column { validity, values: wrap(self.values) }
    }
}

/// Appends 64-bit integers, or timestamps in microseconds.
pub type Int64Builder = NumberBuilder<i64>;
/// Appends 64-bit floating-point numbers.
pub type Float64Builder = NumberBuilder<f64>;

impl NumberBuilder<i64> {
    /// The column, as integers.
    #[must_use]
    pub fn into_int64(self) -> Column {
        self.finish(Values::Int64)
    }

    /// The column, as timestamps.
    #[must_use]
    pub fn into_timestamp(self) -> Column {
        self.finish(Values::Timestamp)
    }
}

impl NumberBuilder<f64> {
    /// The column.
    #[must_use]
    pub fn into_float64(self) -> Column {
        self.finish(Values::Float64)
    }
}

/// Appends booleans as bits.
#[derive(Clone, Debug, Default)]
pub struct BooleanBuilder {
    bits: Vec<u8>,
    rows: usize,
    nulls: Nulls,
}

impl BooleanBuilder {
    /// An empty column with room for `rows` rows.
    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        Self { bits: Vec::with_capacity(rows.div_ceil(8)), rows: 0, nulls: Nulls::default() }
    }

    /// Append a value.
    #[inline]
    pub fn push(&mut self, value: bool) {
        let bit = u8::from(value) << (self.rows % 8);
        match self.bits.get_mut(self.rows / 8) {
            Some(byte) => *byte |= bit,
            None => self.bits.push(bit),
        }
        self.rows += 1;
    }

    /// Append a null.
    pub fn push_null(&mut self) {
        self.nulls.push(self.rows);
        self.push(false);
    }

    /// The number of rows.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Forget all rows but the first `rows`.
    pub fn truncate(&mut self, rows: usize) {
        if rows < self.rows {
            self.rows = rows;
            self.bits.truncate(rows.div_ceil(8));
            // The bits behind the end must be 0: `push` only sets bits.
            if let (Some(last), tail @ 1..) = (self.bits.last_mut(), rows % 8) {
                *last &= (1 << tail) - 1;
            }
        }
        self.nulls.truncate(rows);
    }

    /// The column.
    #[must_use]
    pub fn into_boolean(self) -> Column {
        Column { validity: self.nulls.finish(self.rows), values: Values::Boolean(self.bits) }
    }
}

/// Appends byte strings, or text where the author sees to it that it is UTF-8.
#[derive(Clone, Debug)]
pub struct BytesBuilder {
    offsets: Vec<i32>,
    data: Vec<u8>,
    nulls: Nulls,
}

impl Default for BytesBuilder {
    fn default() -> Self {
        Self::with_capacity(0, 0)
    }
}

impl BytesBuilder {
    /// An empty column with room for `rows` rows of `bytes` bytes together.
    #[must_use]
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, data: Vec::with_capacity(bytes), nulls: Nulls::default() }
    }

    /// Append a value.
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.end_row();
    }

    /// Append a value that `write` appends to the bytes. It must not remove any.
    #[inline]
    pub fn push_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let result = write(&mut self.data);
        self.end_row();
        result
    }

    /// Append a null.
    pub fn push_null(&mut self) {
        self.nulls.push(self.len());
        self.end_row();
    }

    /// The number of rows.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes of all rows.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// Forget all rows but the first `rows`.
    pub fn truncate(&mut self, rows: usize) {
        if rows < self.len() {
            self.offsets.truncate(rows + 1);
            self.data.truncate(self.offsets[rows] as usize);
            self.nulls.truncate(rows);
        }
    }

    /// The column, as text. Every value must be UTF-8; the host checks.
    #[must_use]
    pub fn into_utf8(self) -> Column {
        let (validity, values) = self.finish();
        Column { validity, values: Values::Utf8(values) }
    }

    /// The column, as bytes.
    #[must_use]
    pub fn into_binary(self) -> Column {
        let (validity, values) = self.finish();
        Column { validity, values: Values::Binary(values) }
    }

    /// The values alone, for parts of the contract that know no nulls.
    #[must_use]
    pub fn into_var_bytes(self) -> VarBytes {
        VarBytes { offsets: self.offsets, data: self.data }
    }

    fn finish(self) -> (Option<Vec<u8>>, VarBytes) {
        let rows = self.len();
        (self.nulls.finish(rows), VarBytes { offsets: self.offsets, data: self.data })
    }

    #[inline]
    fn end_row(&mut self) {
        let end = i32::try_from(self.data.len()).expect("a column of text or bytes holds at most 2 GiB");
        self.offsets.push(end);
    }
}

/// Appends the lengths of lists. The elements of all lists stand one behind the
/// other in a column of their own, which follows this one in a batch.
///
/// To append a list, append its elements there and [`push`](Self::push) their
/// number here; [`elements`](Self::elements) says how many belong to lists.
#[derive(Clone, Debug)]
pub struct ListBuilder {
    offsets: Vec<i32>,
    nulls: Nulls,
}

impl Default for ListBuilder {
    fn default() -> Self {
        Self { offsets: vec![0], nulls: Nulls::default() }
    }
}

impl ListBuilder {
    /// Append a list of the next `length` elements.
    pub fn push(&mut self, length: usize) {
        let end = i32::try_from(self.elements() + length).expect("a column of lists holds less than 2^31 elements");
        self.offsets.push(end);
    }

    /// Append a null, which has no elements.
    pub fn push_null(&mut self) {
        self.nulls.push(self.len());
        self.push(0);
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of elements of all lists: the length that the column of the
    /// elements has between rows.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.offsets.last().map_or(0, |end| *end as usize)
    }

    /// Forget all rows but the first `rows`. The column of the elements is to be
    /// cut to [`elements`](Self::elements) afterwards.
    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.nulls.truncate(rows);
    }

    /// The column, without that of its elements.
    #[must_use]
    pub fn into_list(self) -> Column {
        Column { validity: self.nulls.finish(self.offsets.len() - 1), values: Values::List(self.offsets) }
    }
}

/// Counts structs. The values of each child stand in a column of its own, as
/// many as there are structs, nulls included; they follow this one in a batch.
#[derive(Clone, Debug, Default)]
pub struct StructBuilder {
    rows: usize,
    nulls: Nulls,
}

impl StructBuilder {
    /// Append a struct that is there, whatever its children are.
    #[inline]
    pub fn push(&mut self) {
        self.rows += 1;
    }

    /// Append a null; every child needs a row all the same, best a null.
    pub fn push_null(&mut self) {
        self.nulls.push(self.rows);
        self.rows += 1;
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Forget all rows but the first `rows`. So must be all children.
    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        self.nulls.truncate(rows);
    }

    /// The column, without those of its children.
    #[must_use]
    pub fn into_struct(self) -> Column {
        Column { validity: self.nulls.finish(self.rows), values: Values::Struct }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_structs_count_their_rows_and_forget_them() {
        let mut lists = ListBuilder::default();
        lists.push(2);
        lists.push_null();
        lists.push(3);
        assert_eq!((lists.len(), lists.elements()), (3, 5));
        lists.truncate(2);
        assert_eq!(lists.elements(), 2, "what the elements are to be cut to");
        lists.push(1);
        let column = lists.into_list();
        assert_eq!(column.validity, Some(vec![0b101]));
        assert!(matches!(column.values, Values::List(offsets) if offsets == [0, 2, 2, 3]));

        let mut structs = StructBuilder::default();
        structs.push();
        structs.push_null();
        structs.push_null();
        structs.truncate(2);
        structs.push();
        assert_eq!(structs.len(), 3);
        assert_eq!(structs.into_struct().validity, Some(vec![0b101]));
    }

    #[test]
    fn nulls_become_a_bitmap_only_where_there_are_any() {
        let mut numbers = Int64Builder::default();
        (0..9).for_each(|n| numbers.push(n));
        assert!(numbers.clone().into_int64().validity.is_none());
        numbers.push_null();
        assert_eq!(numbers.into_int64().validity, Some(vec![0xff, 0b01]));
    }

    #[test]
    fn truncated_rows_leave_no_trace() {
        let mut flags = BooleanBuilder::default();
        (0..12).for_each(|_| flags.push(true));
        flags.push_null();
        flags.truncate(9);
        flags.push(false);
        flags.push(true);
        let column = flags.into_boolean();
        assert!(column.validity.is_none());
        assert!(matches!(column.values, Values::Boolean(bits) if bits == [0xff, 0b101]));

        let mut texts = BytesBuilder::default();
        texts.push(b"kept");
        texts.push_null();
        texts.push(b"gone");
        texts.truncate(1);
        texts.push(b"too");
        let column = texts.into_utf8();
        assert!(column.validity.is_none());
        assert!(matches!(column.values, Values::Utf8(text) if text.offsets == [0, 4, 7] && text.data == b"kepttoo"));
    }
}
