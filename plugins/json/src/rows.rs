//! The rows being made: values go from the text straight into columns.
//!
//! A row is written value by value and then either committed, which fills what
//! is missing with nulls, or taken back. Invariant: between rows all columns
//! have the same length.

use weir_plugin::build::{BooleanBuilder, BytesBuilder, Float64Builder, Int64Builder};
use weir_plugin::{Batch, Column};

use crate::config::{Config, Kind, OnMismatch};
use crate::cursor::{Cursor, Result};
use crate::text;
use crate::timestamp::{Dates, Format};
use crate::wide;

/// A value that is not of its column's type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mismatch {
    pub(crate) column: usize,
    /// The bytes of the value.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// What was expected.
    pub(crate) expected: &'static str,
}

#[derive(Debug)]
struct Cells {
    builder: Builder,
    /// The number of rows that have a value or a null here.
    written: usize,
}

#[derive(Debug)]
enum Builder {
    String(BytesBuilder),
    Double(Float64Builder),
    Bigint(Int64Builder),
    Boolean(BooleanBuilder),
    Binary(BytesBuilder),
    Timestamp(Int64Builder),
}

/// What was found where a value was expected.
enum Found {
    Value,
    Null,
    Mismatch,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    config: &'a Config,
    cells: Vec<Cells>,
    rows: usize,
    /// How many columns have the current row.
    filled: usize,
    mismatches: Vec<Mismatch>,
    dates: Dates,
    scratch: Vec<u8>,
}

impl<'a> Rows<'a> {
    /// No rows yet, with room for `rows` rows, and for `text_bytes[i]` bytes in column i.
    pub(crate) fn new(config: &'a Config, rows: usize, text_bytes: &[usize]) -> Self {
        let bytes = |index: usize| text_bytes.get(index).copied().unwrap_or(0);
        let cells = config.columns.iter().enumerate().map(|(index, column)| Cells {
            builder: match column.kind {
                Kind::String => Builder::String(BytesBuilder::with_capacity(rows, bytes(index))),
                Kind::Double => Builder::Double(Float64Builder::with_capacity(rows)),
                Kind::Bigint => Builder::Bigint(Int64Builder::with_capacity(rows)),
                Kind::Boolean => Builder::Boolean(BooleanBuilder::with_capacity(rows)),
                Kind::Binary => Builder::Binary(BytesBuilder::with_capacity(rows, bytes(index))),
                Kind::Timestamp(_) => Builder::Timestamp(Int64Builder::with_capacity(rows)),
            },
            written: 0,
        });
        let cells = cells.collect();
        Self { config, cells, rows: 0, filled: 0, mismatches: Vec::new(), dates: Dates::default(), scratch: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// The number of bytes that each column of variable length holds, else 0.
    pub(crate) fn text_bytes(&self) -> Vec<usize> {
        let bytes = |cells: &Cells| match &cells.builder {
            Builder::String(builder) | Builder::Binary(builder) => builder.byte_len(),
            _ => 0,
        };
        self.cells.iter().map(bytes).collect()
    }

    /// Read the value at the cursor into a column of the current row. If the
    /// column has one already, a key came twice, and the last one wins.
    #[inline(always)]
    pub(crate) fn value(&mut self, cursor: &mut Cursor<'_>, column: usize, depth: u32) -> Result<()> {
        if self.usual(cursor, column) {
            return Ok(());
        }
        cursor.apart(|cursor| self.any_value(cursor, column, depth))
    }

    /// Read the value if it is the first of its column and like most of its
    /// kind; false, with nothing done, if it is not.
    #[inline(always)]
    fn usual(&mut self, cursor: &mut Cursor<'_>, column: usize) -> bool {
        let cells = &mut self.cells[column];
        if cells.written != self.rows {
            return false;
        }
        match &mut cells.builder {
            Builder::String(builder) => {
                let Some(text) = cursor.plain_string() else {
                    return false;
                };
                builder.push_with(|out| wide::append(out, cursor.bytes, text.start, text.end));
                cursor.at = text.end + 1;
            }
            Builder::Double(builder) => {
                let Some(number) = cursor.short_number() else {
                    return false;
                };
                let Some(value) = number.short_double() else {
                    return false;
                };
                builder.push(value);
                cursor.at = number.end;
            }
            Builder::Bigint(builder) => {
                let Some(number) = cursor.short_number() else {
                    return false;
                };
                let Some(value) = number.bigint() else {
                    return false;
                };
                builder.push(value);
                cursor.at = number.end;
            }
            Builder::Boolean(_) | Builder::Binary(_) | Builder::Timestamp(_) => return false,
        }
        cells.written += 1;
        self.filled += 1;
        true
    }

    #[inline(never)]
    fn any_value(&mut self, cursor: &mut Cursor<'_>, column: usize, depth: u32) -> Result<()> {
        if self.cells[column].written != self.rows {
            self.clear(column);
        }
        let start = cursor.at;
        let cells = &mut self.cells[column];
        let found = match &mut cells.builder {
            Builder::String(builder) => match cursor.peek() {
                Some(b'"') => string(cursor, builder)?,
                Some(b'n') => other(cursor, depth)?,
                _ => {
                    // Whatever it is, its JSON is the text.
                    cursor.value(depth)?;
                    builder.push_with(|out| wide::append(out, cursor.bytes, start, cursor.at));
                    Found::Value
                }
            },
            Builder::Double(builder) => match cursor.peek() {
                Some(b'-' | b'0'..=b'9') => match cursor.number()?.double(cursor.bytes) {
                    Some(value) => {
                        builder.push(value);
                        Found::Value
                    }
                    None => Found::Mismatch,
                },
                _ => other(cursor, depth)?,
            },
            Builder::Bigint(builder) => match cursor.peek() {
                Some(b'-' | b'0'..=b'9') => match cursor.number()?.bigint() {
                    Some(value) => {
                        builder.push(value);
                        Found::Value
                    }
                    None => Found::Mismatch,
                },
                _ => other(cursor, depth)?,
            },
            Builder::Boolean(builder) => match cursor.peek() {
                Some(b't') => {
                    cursor.literal(b"true")?;
                    builder.push(true);
                    Found::Value
                }
                Some(b'f') => {
                    cursor.literal(b"false")?;
                    builder.push(false);
                    Found::Value
                }
                _ => other(cursor, depth)?,
            },
            Builder::Binary(builder) => match cursor.peek() {
                Some(b'"') => binary(cursor, builder, &mut self.scratch)?,
                _ => other(cursor, depth)?,
            },
            Builder::Timestamp(builder) => {
                let Kind::Timestamp(format) = &self.config.columns[column].kind else {
                    unreachable!("the builder was made from the kind");
                };
                match timestamp(cursor, format, &mut self.dates, &mut self.scratch, depth)? {
                    Ok(value) => {
                        builder.push(value);
                        Found::Value
                    }
                    Err(found) => found,
                }
            }
        };
        if !matches!(found, Found::Value) {
            cells.builder.push_null();
        }
        cells.written += 1;
        self.filled += 1;
        if matches!(found, Found::Mismatch) {
            self.mismatch(column, start, cursor.at, self.config.columns[column].kind.name());
        }
        Ok(())
    }

    /// Take back what the current row has in a column.
    #[cold]
    pub(crate) fn clear(&mut self, column: usize) {
        let cells = &mut self.cells[column];
        if cells.written > self.rows {
            cells.builder.truncate(self.rows);
            cells.written = self.rows;
            self.filled -= 1;
        }
        self.mismatches.retain(|mismatch| mismatch.column != column);
    }

    /// Note that a value is not what a column expects.
    #[cold]
    pub(crate) fn mismatch(&mut self, column: usize, start: usize, end: usize, expected: &'static str) {
        if self.config.on_mismatch == OnMismatch::Reject {
            self.mismatches.push(Mismatch { column, start, end, expected });
        }
    }

    /// End the current row. If a value did not fit, the row is taken back and
    /// the first such value is returned.
    #[inline]
    pub(crate) fn commit(&mut self) -> core::result::Result<(), Mismatch> {
        if let Some(first) = self.mismatches.first().copied() {
            self.take_back();
            return Err(first);
        }
        if self.filled != self.cells.len() {
            for cells in &mut self.cells {
                if cells.written == self.rows {
                    cells.builder.push_null();
                    cells.written += 1;
                }
            }
        }
        self.rows += 1;
        self.filled = 0;
        Ok(())
    }

    /// Forget the current row.
    #[cold]
    pub(crate) fn take_back(&mut self) {
        for cells in &mut self.cells {
            cells.builder.truncate(self.rows);
            cells.written = self.rows;
        }
        self.filled = 0;
        self.mismatches.clear();
    }

    /// All committed rows.
    pub(crate) fn finish(self) -> Batch {
        let rows = u32::try_from(self.rows).expect("invariant: a chunk has fewer than 2^32 bytes, so fewer rows");
        Batch { rows, columns: self.cells.into_iter().map(|cells| cells.builder.finish()).collect() }
    }
}

#[inline]
fn string(cursor: &mut Cursor<'_>, builder: &mut BytesBuilder) -> Result<Found> {
    let found = cursor.string()?;
    let bytes = cursor.bytes;
    if !found.escaped {
        builder.push_with(|out| wide::append(out, bytes, found.start, found.end));
        return Ok(Found::Value);
    }
    let rows = builder.len();
    if builder.push_with(|out| text::unescape(&bytes[found.start..found.end], out)) {
        return Ok(Found::Value);
    }
    builder.truncate(rows);
    Ok(Found::Mismatch)
}

fn binary(cursor: &mut Cursor<'_>, builder: &mut BytesBuilder, scratch: &mut Vec<u8>) -> Result<Found> {
    let Some(inside) = unescaped(cursor, scratch)? else {
        return Ok(Found::Mismatch);
    };
    let rows = builder.len();
    if builder.push_with(|out| text::base64(inside, out)) {
        return Ok(Found::Value);
    }
    builder.truncate(rows);
    Ok(Found::Mismatch)
}

#[inline]
fn timestamp(
    cursor: &mut Cursor<'_>,
    format: &Format,
    dates: &mut Dates,
    scratch: &mut Vec<u8>,
    depth: u32,
) -> Result<core::result::Result<i64, Found>> {
    let instant = match (cursor.peek(), format) {
        (Some(b'"'), _) => unescaped(cursor, scratch)?.and_then(|inside| dates.text(inside, format)),
        (Some(b'-' | b'0'..=b'9'), Format::Epoch { shift }) => cursor.number()?.scaled(*shift),
        _ => return other(cursor, depth).map(Err),
    };
    Ok(instant.ok_or(Found::Mismatch))
}

/// The inside of the string at the cursor; none if it is no text.
#[inline]
fn unescaped<'s, 'b: 's>(cursor: &mut Cursor<'b>, scratch: &'s mut Vec<u8>) -> Result<Option<&'s [u8]>> {
    let found = cursor.string()?;
    let inside = &cursor.bytes[found.start..found.end];
    if !found.escaped {
        return Ok(Some(inside));
    }
    scratch.clear();
    Ok(if text::unescape(inside, scratch) { Some(scratch) } else { None })
}

/// A value of none of the types that the column takes: null, or a mismatch.
fn other(cursor: &mut Cursor<'_>, depth: u32) -> Result<Found> {
    if cursor.peek() == Some(b'n') {
        cursor.literal(b"null")?;
        return Ok(Found::Null);
    }
    cursor.value(depth)?;
    Ok(Found::Mismatch)
}

impl Builder {
    fn push_null(&mut self) {
        match self {
            Self::String(builder) | Self::Binary(builder) => builder.push_null(),
            Self::Double(builder) => builder.push_null(),
            Self::Bigint(builder) | Self::Timestamp(builder) => builder.push_null(),
            Self::Boolean(builder) => builder.push_null(),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Self::String(builder) | Self::Binary(builder) => builder.truncate(rows),
            Self::Double(builder) => builder.truncate(rows),
            Self::Bigint(builder) | Self::Timestamp(builder) => builder.truncate(rows),
            Self::Boolean(builder) => builder.truncate(rows),
        }
    }

    fn finish(self) -> Column {
        match self {
            Self::String(builder) => builder.into_utf8(),
            Self::Binary(builder) => builder.into_binary(),
            Self::Double(builder) => builder.into_float64(),
            Self::Bigint(builder) => builder.into_int64(),
            Self::Timestamp(builder) => builder.into_timestamp(),
            Self::Boolean(builder) => builder.into_boolean(),
        }
    }
}
