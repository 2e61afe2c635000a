//! Columns: what a row is made of, as a configuration lists it or as the schema
//! says that the host keeps.

use std::collections::BTreeMap;

use weir_plugin::infer::RESCUED;
use weir_plugin::{DataType, NameCase, Problem, Schema, SchemaBuilder};

use crate::timestamp::Format;

/// The host accepts no deeper schema.
const DEPTH_MAX: usize = 32;

/// What a column makes of a value.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Text; numbers and booleans keep their text, objects and arrays their JSON.
    String,
    /// A floating-point number of 64 bits that is finite.
    Double,
    /// A whole number of 64 bits.
    Bigint,
    /// True or false.
    Boolean,
    /// Bytes, written as base 64.
    Binary,
    /// An instant.
    Timestamp(Format),
    /// Values that are alike; only stored schemas have it.
    List(Box<Field>),
    /// Values with names, at least one; only stored schemas have it.
    Struct(Vec<Field>),
}

impl Kind {
    /// The type in the contract.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Double => DataType::Float64,
            Self::Bigint => DataType::Int64,
            Self::Boolean => DataType::Boolean,
            Self::Binary => DataType::Binary,
            Self::Timestamp(_) => DataType::Timestamp,
            Self::List(_) => DataType::List,
            Self::Struct(_) => DataType::Struct,
        }
    }

    /// The type as people write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Double => "double",
            Self::Bigint => "bigint",
            Self::Boolean => "boolean",
            Self::Binary => "binary in base64",
            Self::Timestamp(_) => "timestamp",
            Self::List(_) => "an array",
            Self::Struct(_) => "an object",
        }
    }
}

/// A field of a struct, or the elements of a list.
#[derive(Clone, Debug)]
pub struct Field {
    /// The name.
    pub name: String,
    /// What stands there.
    pub kind: Kind,
}

/// One column to make.
#[derive(Clone, Debug)]
pub struct Column {
    /// The keys from the element down to the value; none for what takes the
    /// rescued.
    pub path: Vec<String>,
    /// The name in the rows.
    pub name: String,
    /// What it makes of a value.
    pub kind: Kind,
}

/// The schema of rows with these columns.
#[must_use]
pub fn schema(columns: &[Column]) -> Schema {
    columns.iter().fold(Schema::builder(), |to, column| append(to, &column.name, &column.kind)).build()
}

fn append(to: SchemaBuilder, name: &str, kind: &Kind) -> SchemaBuilder {
    match kind {
        Kind::List(element) => append(to.list(name), &element.name, &element.kind),
        Kind::Struct(fields) => {
            let count = u32::try_from(fields.len()).expect("invariant: a schema has fewer than 2^32 fields");
            fields.iter().fold(to.structure(name, count), |to, field| append(to, &field.name, &field.kind))
        }
        scalar => to.field(name, scalar.data_type()),
    }
}

/// Whether a stored schema has a column for what does not fit.
pub(crate) fn takes_rescued(schema: &Schema) -> bool {
    schema.top_level().any(|field| field.name == RESCUED && field.data_type == DataType::Utf8)
}

/// The columns of a stored schema, in its order, and the place of the one that
/// takes the rescued. Every other column has the key of its name.
pub(crate) fn stored(schema: &Schema, case: NameCase, problems: &mut Vec<Problem>) -> (Vec<Column>, Option<usize>) {
    let mut reader = StoredReader { rest: schema.fields.iter(), case, faults: Vec::new() };
    let mut columns = Vec::new();
    let mut rescued = None;
    while let Some(Field { name, kind }) = reader.field(0) {
        let path = if name == RESCUED && matches!(kind, Kind::String) {
            rescued = Some(columns.len());
            Vec::new()
        } else {
            vec![name.clone()]
        };
        columns.push(Column { path, name, kind });
    }
    reader.distinct(columns.iter().map(|column| &column.name), "the stored schema");
    problems.extend(reader.faults.into_iter().map(|fault| Problem::new("columns", fault)));
    (columns, rescued)
}

/// Makes a tree of the depth-first list of fields.
struct StoredReader<'a> {
    rest: std::slice::Iter<'a, weir_plugin::Field>,
    case: NameCase,
    faults: Vec<String>,
}

impl StoredReader<'_> {
    /// The next field with all below it.
    fn field(&mut self, depth: usize) -> Option<Field> {
        let field = self.rest.next()?;
        let name = field.name.clone();
        if depth > DEPTH_MAX {
            self.faults.push(format!("field '{name}' of the stored schema is nested deeper than {DEPTH_MAX} levels"));
            self.rest = [].iter();
            return None;
        }
        let mut children: Vec<Field> = (0..field.children).map_while(|_| self.field(depth + 1)).collect();
        let kind = match field.data_type {
            DataType::Utf8 => Kind::String,
            DataType::Float64 => Kind::Double,
            DataType::Int64 => Kind::Bigint,
            DataType::Boolean => Kind::Boolean,
            DataType::Binary => Kind::Binary,
            DataType::Timestamp => Kind::Timestamp(Format::Iso),
            DataType::Struct if !children.is_empty() => {
                self.distinct(
                    children.iter().map(|child| &child.name),
                    &format!("struct '{name}' of the stored schema"),
                );
                Kind::Struct(children)
            }
            DataType::List if children.len() == 1 => Kind::List(Box::new(children.remove(0))),
            DataType::List | DataType::Struct => {
                self.faults.push(format!("field '{name}' of the stored schema is a list or struct without children"));
                Kind::String
            }
        };
        Some(Field { name, kind })
    }

    /// Folded, names that differ only in case would wait for the same keys.
    fn distinct<'n>(&mut self, names: impl Iterator<Item = &'n String>, of: &str) {
        if self.case == NameCase::Sensitive {
            return;
        }
        let mut seen = BTreeMap::new();
        for name in names {
            if let Some(other) = seen.insert(name.to_lowercase(), name) {
                self.faults.push(format!(
                    "{of} has '{other}' and '{name}', which are the same with case_sensitive = false; set it to true or rename one"
                ));
            }
        }
    }
}
