//! Rows for parsers that look at one message at a time.

use crate::build::{BooleanBuilder, BytesBuilder, Float64Builder, Int64Builder};
use crate::{
    Batch, Column, DataType, Error, Manifest, Messages, Parsed, Parser, ParserInfo, Plugin, Problem, Rejection, Schema,
    Span,
};

/// A parser that looks at one message at a time: the short way to write one.
/// Export it as `export_parser!(PerMessage<Type>)`.
pub trait MessageParser: Sized {
    /// Make an instance from a JSON object, and the schema of its rows, which
    /// has neither lists nor structs.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, at once.
    fn configure(config: &str) -> Result<(Self, Schema), Vec<Problem>>;

    /// Append the rows of one message.
    ///
    /// # Errors
    /// The reason why the message goes to the dead letters. The rows that it
    /// has pushed are forgotten; to keep them and reject a part, call
    /// [`Rows::reject`].
    fn parse(&mut self, message: &[u8], rows: &mut Rows) -> Result<(), Rejected>;
}

/// Why a message is rejected; any error converts to it with `?`.
#[derive(Clone, Debug)]
pub struct Rejected(String);

impl<E: std::fmt::Display> From<E> for Rejected {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// For a boolean column.
    Boolean(bool),
    /// For an integer column, and for a timestamp column in microseconds.
    Int64(i64),
    /// For a floating-point column.
    Float64(f64),
    /// For a text column.
    Text(&'a str),
    /// For a column of bytes.
    Bytes(&'a [u8]),
}

impl From<bool> for Cell<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Cell<'_> {
    fn from(value: i64) -> Self {
        Self::Int64(value)
    }
}

impl From<f64> for Cell<'_> {
    fn from(value: f64) -> Self {
        Self::Float64(value)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Collects the rows and rejections of a chunk.
#[derive(Debug)]
pub struct Rows {
    columns: Vec<Builder>,
    origins: Vec<u32>,
    rejected: Vec<Rejection>,
    message: u32,
}

impl Rows {
    /// Append a row: one cell for each field of the schema, in order.
    ///
    /// # Panics
    /// The cells do not fit the schema in number or type.
    pub fn push(&mut self, cells: &[Cell<'_>]) {
        assert_eq!(cells.len(), self.columns.len(), "a row has one cell for each column");
        for (index, (column, cell)) in self.columns.iter_mut().zip(cells).enumerate() {
            assert!(column.push(*cell), "cell {index} does not fit its column: {cell:?}");
        }
        self.origins.push(self.message);
    }

    /// Reject a part of the message: an element, a range of bytes, or both.
    pub fn reject(&mut self, element: Option<u32>, span: Option<Span>, reason: impl Into<String>) {
        self.rejected.push(Rejection { input: self.message, element, span, reason: reason.into() });
    }

    fn truncate(&mut self, rows: usize) {
        self.origins.truncate(rows);
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }
}

/// Makes a [`Parser`] of a [`MessageParser`].
#[derive(Debug)]
pub struct PerMessage<P> {
    parser: P,
    types: Vec<DataType>,
}

impl<P: Plugin> Plugin for PerMessage<P> {
    fn manifest() -> Manifest {
        P::manifest()
    }
}

impl<P: MessageParser> Parser for PerMessage<P> {
    fn configure(config: &str, _stored: Option<Schema>) -> Result<(Self, ParserInfo), Vec<Problem>> {
        let (parser, output) = P::configure(config)?;
        let types = output.fields.iter().map(|field| field.data_type).collect();
        Ok((Self { parser, types }, ParserInfo { output, message_fields: Vec::new() }))
    }

    fn parse(&mut self, chunk: Messages) -> Result<Parsed, Error> {
        let columns = self.types.iter().map(|kind| Builder::new(*kind)).collect::<Result<_, _>>()?;
        let mut rows = Rows { columns, origins: Vec::new(), rejected: Vec::new(), message: 0 };
        for message in chunk.payloads() {
            let (kept, rejected) = (rows.origins.len(), rows.rejected.len());
            if let Err(Rejected(reason)) = self.parser.parse(message, &mut rows) {
                // The whole message is rejected, so none of its parts is besides.
                rows.truncate(kept);
                rows.rejected.truncate(rejected);
                rows.reject(None, None, reason);
            }
            rows.message += 1;
        }
        let count = u32::try_from(rows.origins.len()).map_err(|_| Error::new("more than 4294967295 rows"))?;
        let columns = rows.columns.into_iter().map(Builder::finish).collect();
        Ok(Parsed { rows: Batch { rows: count, columns }, origins: rows.origins, rejected: rows.rejected })
    }
}

/// Appends cells to a column of a type that is known at run time only.
#[derive(Debug)]
pub struct CellsBuilder(Builder);

impl CellsBuilder {
    /// An empty column.
    ///
    /// # Errors
    /// The type has children: there are no cells for lists and structs.
    pub fn new(data_type: DataType) -> Result<Self, Error> {
        Builder::new(data_type).map(Self)
    }

    /// Append a cell.
    ///
    /// # Panics
    /// The cell does not fit the type.
    pub fn push(&mut self, cell: Cell<'_>) {
        assert!(self.0.push(cell), "a cell does not fit its column: {cell:?}");
    }

    /// The column.
    #[must_use]
    pub fn into_column(self) -> Column {
        self.0.finish()
    }
}

#[derive(Debug)]
enum Builder {
    Boolean(BooleanBuilder),
    Int64(Int64Builder),
    Timestamp(Int64Builder),
    Float64(Float64Builder),
    Utf8(BytesBuilder),
    Binary(BytesBuilder),
}

impl Builder {
    fn new(data_type: DataType) -> Result<Self, Error> {
        Ok(match data_type {
            DataType::Boolean => Self::Boolean(BooleanBuilder::default()),
            DataType::Int64 => Self::Int64(Int64Builder::default()),
            DataType::Timestamp => Self::Timestamp(Int64Builder::default()),
            DataType::Float64 => Self::Float64(Float64Builder::default()),
            DataType::Utf8 => Self::Utf8(BytesBuilder::default()),
            DataType::Binary => Self::Binary(BytesBuilder::default()),
            DataType::List | DataType::Struct => {
                return Err(Error::new("there are no cells for lists and structs; build their columns"));
            }
        })
    }

    /// Append a cell; false if it does not fit.
    fn push(&mut self, cell: Cell<'_>) -> bool {
        match (self, cell) {
            (Self::Boolean(column), Cell::Boolean(value)) => column.push(value),
            (Self::Int64(column) | Self::Timestamp(column), Cell::Int64(value)) => column.push(value),
            (Self::Float64(column), Cell::Float64(value)) => column.push(value),
            (Self::Utf8(column), Cell::Text(value)) => column.push(value.as_bytes()),
            (Self::Binary(column), Cell::Bytes(value)) => column.push(value),
            (Self::Boolean(column), Cell::Null) => column.push_null(),
            (Self::Int64(column) | Self::Timestamp(column), Cell::Null) => column.push_null(),
            (Self::Float64(column), Cell::Null) => column.push_null(),
            (Self::Utf8(column) | Self::Binary(column), Cell::Null) => column.push_null(),
            _ => return false,
        }
        true
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Self::Boolean(column) => column.truncate(rows),
            Self::Int64(column) | Self::Timestamp(column) => column.truncate(rows),
            Self::Float64(column) => column.truncate(rows),
            Self::Utf8(column) | Self::Binary(column) => column.truncate(rows),
        }
    }

    fn finish(self) -> Column {
        match self {
            Self::Boolean(column) => column.into_boolean(),
            Self::Int64(column) => column.into_int64(),
            Self::Timestamp(column) => column.into_timestamp(),
            Self::Float64(column) => column.into_float64(),
            Self::Utf8(column) => column.into_utf8(),
            Self::Binary(column) => column.into_binary(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Values, VarBytes};

    struct Numbers;

    impl MessageParser for Numbers {
        fn configure(_config: &str) -> Result<(Self, Schema), Vec<Problem>> {
            Ok((Self, Schema::builder().int64("number").build()))
        }

        fn parse(&mut self, message: &[u8], rows: &mut Rows) -> Result<(), Rejected> {
            for word in std::str::from_utf8(message)?.split_whitespace() {
                rows.push(&[word.parse::<i64>()?.into()]);
            }
            Ok(())
        }
    }

    #[test]
    fn a_rejected_message_leaves_no_rows_and_its_neighbours_stay() {
        let payload = VarBytes { offsets: vec![0, 3, 9, 9, 10], data: b"1 23 x 455".to_vec() };
        let chunk = Messages { payload, fields: Batch { rows: 4, columns: Vec::new() } };
        let (mut parser, info) = PerMessage::<Numbers>::configure("{}", None).expect("valid");
        assert_eq!(info.output.fields[0].name, "number");
        let parsed = parser.parse(chunk).expect("parsed");
        assert!(matches!(&parsed.rows.columns[0].values, Values::Int64(values) if values == &[1, 2, 5]));
        assert_eq!(parsed.origins, [0, 0, 3]);
        assert_eq!((parsed.rejected.len(), parsed.rejected[0].input), (1, 1));
    }
}
