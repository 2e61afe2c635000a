//! Schemas, and the small constructors of the contract's records.

use crate::{DataType, Error, Field, Manifest, Problem, Schema};

impl Schema {
    /// Start a schema.
    #[must_use]
    pub fn builder() -> SchemaBuilder {
        SchemaBuilder { fields: Vec::new() }
    }

    /// The position of the top-level field `name`, counted in depth-first order
    /// like the columns of a batch.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        let mut at = 0;
        while at < self.fields.len() {
            if self.fields[at].name == name {
                return Some(at);
            }
            at = self.after(at);
        }
        None
    }

    /// The fields at the top level, in order.
    pub fn top_level(&self) -> impl Iterator<Item = &Field> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let field = self.fields.get(at)?;
            at = self.after(at);
            Some(field)
        })
    }

    /// The schema of batches with these columns at the top level, in this order:
    /// what a plugin sees that asked for them. Names that do not exist are left out.
    #[must_use]
    pub fn select<N: AsRef<str>>(&self, names: &[N]) -> Schema {
        let mut fields = Vec::with_capacity(names.len());
        for at in names.iter().filter_map(|name| self.position(name.as_ref())) {
            fields.extend_from_slice(&self.fields[at..self.after(at)]);
        }
        Schema { fields }
    }

    /// The position behind field `at` and everything below it.
    fn after(&self, at: usize) -> usize {
        let mut open = 1_usize;
        let mut next = at;
        while open > 0 && next < self.fields.len() {
            open = open - 1 + self.fields[next].children as usize;
            next += 1;
        }
        next
    }
}

/// Builds a [`Schema`] field by field. Fields may be null unless [`required`]
/// follows them.
///
/// [`required`]: SchemaBuilder::required
#[derive(Clone, Debug)]
pub struct SchemaBuilder {
    fields: Vec<Field>,
}

impl SchemaBuilder {
    /// Append a field of a type without children.
    #[must_use]
    pub fn field(self, name: impl Into<String>, data_type: DataType) -> Self {
        self.with_children(name, data_type, 0)
    }

    /// Append a boolean field.
    #[must_use]
    pub fn boolean(self, name: impl Into<String>) -> Self {
        self.field(name, DataType::Boolean)
    }

    /// Append a field of 64-bit integers.
    #[must_use]
    pub fn int64(self, name: impl Into<String>) -> Self {
        self.field(name, DataType::Int64)
    }

    /// Append a field of 64-bit floating-point numbers.
    #[must_use]
    pub fn float64(self, name: impl Into<String>) -> Self {
        self.field(name, DataType::Float64)
    }

    /// Append a field of text.
    #[must_use]
    pub fn utf8(self, name: impl Into<String>) -> Self {
        self.field(name, DataType::Utf8)
    }

    /// Append a field of bytes.
    #[must_use]
    pub fn binary(self, name: impl Into<String>) -> Self {
        self.field(name, DataType::Binary)
    }

    /// Append a field of instants.
    #[must_use]
    pub fn timestamp(self, name: impl Into<String>) -> Self {
        self.field(name, DataType::Timestamp)
    }

    /// Append a list; the next field is its element.
    #[must_use]
    pub fn list(self, name: impl Into<String>) -> Self {
        self.with_children(name, DataType::List, 1)
    }

    /// Append a struct; the next `children` fields are its values.
    #[must_use]
    pub fn structure(self, name: impl Into<String>, children: u32) -> Self {
        self.with_children(name, DataType::Struct, children)
    }

    /// The last field is never null.
    #[must_use]
    pub fn required(mut self) -> Self {
        if let Some(field) = self.fields.last_mut() {
            field.nullable = false;
        }
        self
    }

    /// The schema.
    #[must_use]
    pub fn build(self) -> Schema {
        Schema { fields: self.fields }
    }

    fn with_children(mut self, name: impl Into<String>, data_type: DataType, children: u32) -> Self {
        self.fields.push(Field { name: name.into(), data_type, nullable: true, children });
        self
    }
}

/// Whether names that differ only in case are different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameCase {
    /// They are different.
    #[default]
    Sensitive,
    /// They are the same.
    Folded,
}

impl DataType {
    /// The name in the contract, for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
            Self::Timestamp => "timestamp",
            Self::List => "list",
            Self::Struct => "struct",
        }
    }
}

impl Manifest {
    /// What a plugin says of itself; `config_schema` is a JSON Schema.
    #[must_use]
    pub fn new(name: &str, version: &str, description: &str, config_schema: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            description: description.into(),
            config_schema: config_schema.into(),
        }
    }
}

impl Problem {
    /// A fault at `path` of the configuration; the empty path is all of it.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl Error {
    /// A failure of a whole call.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_counts_the_fields_below_a_struct() {
        let schema = Schema::builder().structure("place", 2).float64("lat").float64("lon").utf8("name").build();
        assert_eq!(schema.position("name"), Some(3));
        assert_eq!(schema.position("lat"), None, "not at the top level");
        let names: Vec<_> = schema.top_level().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["place", "name"]);
        let selected = schema.select(&["name", "place"]);
        assert_eq!((selected.fields.len(), selected.position("place")), (4, Some(1)));
    }
}
