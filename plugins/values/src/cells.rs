//! The columns of the rows being made, nested ones included.
//!
//! A row is written value by value and then either committed, which fills what
//! is missing with nulls, or taken back. The builders live as long as the
//! parser: what they have is taken at the end of a chunk.
//!
//! `P` is what a parser keeps for each struct, beside its columns: how it finds
//! the fields. Invariant: between rows all columns of a group have the same length.

use weir_plugin::Column;
use weir_plugin::build::{BooleanBuilder, BytesBuilder, Float64Builder, Int64Builder, ListBuilder, StructBuilder};

use crate::columns::{Field, Kind};
use crate::timestamp::Format;

/// The columns of rows, or of the fields of a struct.
#[derive(Clone, Debug)]
pub struct Group<P> {
    /// The columns, in order.
    pub cells: Vec<Cells<P>>,
    /// The number of rows that are committed.
    pub rows: usize,
    /// How many columns have the current row.
    pub filled: usize,
}

/// One column.
#[derive(Clone, Debug)]
pub struct Cells<P> {
    /// The values.
    pub builder: Builder<P>,
    /// The number of rows that have a value or a null here.
    pub written: usize,
}

/// The values of one column.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "a variant for each kind")]
pub enum Builder<P> {
    String(BytesBuilder),
    Double(Float64Builder),
    Bigint(Int64Builder),
    Boolean(BooleanBuilder),
    Binary(BytesBuilder),
    Timestamp(Int64Builder, Box<Format>),
    List(Box<Lists<P>>),
    Struct(Box<Structs<P>>),
}

/// Lists, with the elements of all of them.
#[derive(Clone, Debug)]
pub struct Lists<P> {
    /// How long they are.
    pub lists: ListBuilder,
    /// Their elements.
    pub elements: Builder<P>,
}

/// Structs, with their fields.
#[derive(Clone, Debug)]
pub struct Structs<P> {
    /// Which of them are there.
    pub structs: StructBuilder,
    /// Their fields.
    pub group: Group<P>,
    /// How the fields are found.
    pub plan: P,
}

impl<P> Group<P> {
    /// No rows of these kinds; `plan` makes what is kept for the fields of a struct.
    pub fn new<'k>(kinds: impl Iterator<Item = &'k Kind>, plan: &impl Fn(&[Field]) -> P) -> Self {
        let cells = kinds.map(|kind| Cells { builder: Builder::new(kind, plan), written: 0 }).collect();
        Self { cells, rows: 0, filled: 0 }
    }

    /// Have room for `rows` rows, and for `text_bytes[i]` bytes in column i. Only
    /// before the first row of a chunk.
    pub fn reserve(&mut self, rows: usize, text_bytes: &[usize]) {
        for (index, cells) in self.cells.iter_mut().enumerate() {
            cells.builder.reserve(rows, text_bytes.get(index).copied().unwrap_or(0));
        }
    }

    /// The number of bytes that each column of variable length holds, else 0.
    #[must_use]
    pub fn text_bytes(&self) -> Vec<usize> {
        let bytes = |cells: &Cells<P>| match &cells.builder {
            Builder::String(builder) | Builder::Binary(builder) => builder.byte_len(),
            _ => 0,
        };
        self.cells.iter().map(bytes).collect()
    }

    /// End the current row; columns that have no value of it get a null.
    #[inline]
    pub fn commit(&mut self) {
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
    }

    /// Take back what the current row has in a column.
    #[cold]
    pub fn clear(&mut self, column: usize) {
        let cells = &mut self.cells[column];
        if cells.written > self.rows {
            cells.builder.truncate(self.rows);
            cells.written = self.rows;
            self.filled -= 1;
        }
    }

    /// Forget the current row.
    #[cold]
    pub fn take_back(&mut self) {
        self.truncate(self.rows);
    }

    /// The columns of all committed rows, in depth-first order. None is left.
    pub fn take(&mut self) -> Vec<Column> {
        let mut columns = Vec::with_capacity(self.cells.len());
        self.take_into(&mut columns);
        columns
    }

    fn take_into(&mut self, columns: &mut Vec<Column>) {
        for cells in &mut self.cells {
            cells.builder.take_into(columns);
            cells.written = 0;
        }
        self.rows = 0;
        self.filled = 0;
    }

    fn truncate(&mut self, rows: usize) {
        for cells in &mut self.cells {
            cells.builder.truncate(rows);
            cells.written = rows;
        }
        self.rows = rows;
        self.filled = 0;
    }
}

impl<P> Builder<P> {
    fn new(kind: &Kind, plan: &impl Fn(&[Field]) -> P) -> Self {
        match kind {
            Kind::String => Self::String(BytesBuilder::default()),
            Kind::Double => Self::Double(Float64Builder::default()),
            Kind::Bigint => Self::Bigint(Int64Builder::default()),
            Kind::Boolean => Self::Boolean(BooleanBuilder::default()),
            Kind::Binary => Self::Binary(BytesBuilder::default()),
            Kind::Timestamp(format) => Self::Timestamp(Int64Builder::default(), Box::new(format.clone())),
            Kind::List(element) => {
                let elements = Self::new(&element.kind, plan);
                Self::List(Box::new(Lists { lists: ListBuilder::default(), elements }))
            }
            Kind::Struct(fields) => {
                let group = Group::new(fields.iter().map(|field| &field.kind), plan);
                Self::Struct(Box::new(Structs { structs: StructBuilder::default(), group, plan: plan(fields) }))
            }
        }
    }

    /// The type of the column as people write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::String(_) => Kind::String.name(),
            Self::Double(_) => Kind::Double.name(),
            Self::Bigint(_) => Kind::Bigint.name(),
            Self::Boolean(_) => Kind::Boolean.name(),
            Self::Binary(_) => Kind::Binary.name(),
            Self::Timestamp(..) => Kind::Timestamp(Format::Iso).name(),
            Self::List(_) => "an array of fitting values",
            Self::Struct(_) => "an object",
        }
    }

    /// Append a null.
    pub fn push_null(&mut self) {
        match self {
            Self::String(builder) | Self::Binary(builder) => builder.push_null(),
            Self::Double(builder) => builder.push_null(),
            Self::Bigint(builder) | Self::Timestamp(builder, _) => builder.push_null(),
            Self::Boolean(builder) => builder.push_null(),
            Self::List(inner) => inner.lists.push_null(),
            Self::Struct(inner) => {
                inner.structs.push_null();
                inner.group.commit();
            }
        }
    }

    /// Forget all rows but the first `rows`, and what is half-written behind them.
    pub fn truncate(&mut self, rows: usize) {
        match self {
            Self::String(builder) | Self::Binary(builder) => builder.truncate(rows),
            Self::Double(builder) => builder.truncate(rows),
            Self::Bigint(builder) | Self::Timestamp(builder, _) => builder.truncate(rows),
            Self::Boolean(builder) => builder.truncate(rows),
            Self::List(inner) => {
                inner.lists.truncate(rows);
                inner.elements.truncate(inner.lists.elements());
            }
            Self::Struct(inner) => {
                inner.structs.truncate(rows);
                inner.group.truncate(rows);
            }
        }
    }

    fn reserve(&mut self, rows: usize, bytes: usize) {
        match self {
            Self::String(builder) | Self::Binary(builder) => *builder = BytesBuilder::with_capacity(rows, bytes),
            Self::Double(builder) => *builder = Float64Builder::with_capacity(rows),
            Self::Bigint(builder) | Self::Timestamp(builder, _) => *builder = Int64Builder::with_capacity(rows),
            Self::Boolean(builder) => *builder = BooleanBuilder::with_capacity(rows),
            Self::List(_) => {}
            Self::Struct(inner) => inner.group.reserve(rows, &[]),
        }
    }

    fn take_into(&mut self, columns: &mut Vec<Column>) {
        use std::mem::take;
        match self {
            Self::String(builder) => columns.push(take(builder).into_utf8()),
            Self::Binary(builder) => columns.push(take(builder).into_binary()),
            Self::Double(builder) => columns.push(take(builder).into_float64()),
            Self::Bigint(builder) => columns.push(take(builder).into_int64()),
            Self::Timestamp(builder, _) => columns.push(take(builder).into_timestamp()),
            Self::Boolean(builder) => columns.push(take(builder).into_boolean()),
            Self::List(inner) => {
                columns.push(take(&mut inner.lists).into_list());
                inner.elements.take_into(columns);
            }
            Self::Struct(inner) => {
                columns.push(take(&mut inner.structs).into_struct());
                inner.group.take_into(columns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_plugin::Values;

    use super::*;

    /// `a bigint, s struct<b string, l list<bigint>>`
    fn group() -> Group<usize> {
        let item = Field { name: "item".into(), kind: Kind::Bigint };
        let fields = vec![
            Field { name: "b".into(), kind: Kind::String },
            Field { name: "l".into(), kind: Kind::List(Box::new(item)) },
        ];
        Group::new([Kind::Bigint, Kind::Struct(fields)].iter(), &|fields| fields.len())
    }

    /// Write the struct of a row, with a list of these numbers, as far as `steps` says.
    fn write(group: &mut Group<usize>, numbers: &[i64], steps: usize) {
        let Builder::Struct(inner) = &mut group.cells[1].builder else { panic!("a struct") };
        assert_eq!(inner.plan, 2);
        let Builder::List(list) = &mut inner.group.cells[1].builder else { panic!("a list") };
        let Builder::Bigint(elements) = &mut list.elements else { panic!("numbers") };
        numbers.iter().for_each(|number| elements.push(*number));
        if steps > 0 {
            list.lists.push(numbers.len());
            inner.group.cells[1].written += 1;
            inner.group.filled += 1;
        }
        if steps > 1 {
            inner.group.commit();
            inner.structs.push();
            group.cells[1].written += 1;
            group.filled += 1;
        }
    }

    #[test]
    fn rows_taken_back_at_any_moment_leave_no_trace() {
        for steps in 0..=2 {
            let mut group = group();
            write(&mut group, &[1, 2], 2);
            group.commit();
            write(&mut group, &[3, 4, 5], steps);
            group.take_back();
            group.commit();
            write(&mut group, &[6], 2);
            group.commit();
            let columns = group.take();
            assert_eq!(columns.len(), 5);
            assert_eq!(columns[1].validity, Some(vec![0b101]), "the struct, after step {steps}");
            assert!(matches!(&columns[3].values, Values::List(offsets) if offsets == &[0, 2, 2, 3]));
            assert!(matches!(&columns[4].values, Values::Int64(values) if values == &[1, 2, 6]));
            assert!(columns[2].is_null(0) && columns[2].is_null(2), "fields without a value are null");
        }
    }

    #[test]
    fn nothing_is_left_when_all_is_taken() {
        let mut group = group();
        write(&mut group, &[1], 2);
        group.commit();
        group.take();
        write(&mut group, &[], 2);
        group.commit();
        let columns = group.take();
        assert!(matches!(&columns[3].values, Values::List(offsets) if offsets == &[0, 0]));
        assert!(columns[1].validity.is_none());
    }
}
