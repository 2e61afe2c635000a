//! Schemas: Arrow's tree, and the contract's list in depth-first order.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

use super::super::bindings::weir::plugin::columns as wit;

/// Bounds on a schema that a plugin announces.
const MAX_FIELDS: usize = 10_000;
const MAX_DEPTH: usize = 32;
const MAX_NAME_BYTES: usize = 1024;

/// The name of the child of a list, as Arrow spells it.
const LIST_ITEM: &str = "item";

/// A schema in the contract's order, which a call can borrow.
#[derive(Debug, Clone)]
pub(in super::super) struct FlatSchema(Vec<(String, wit::DataType, bool, u32)>);

impl FlatSchema {
    /// The contract's form of a schema in the contract's types.
    ///
    /// Fails with the name of a column whose type the contract does not have.
    pub(in super::super) fn new(schema: &Schema) -> Result<Self, String> {
        let mut flat = Vec::new();
        schema.fields().iter().try_for_each(|field| flatten(field, &mut flat))?;
        Ok(Self(flat))
    }

    /// The fields, borrowed for a call.
    pub(in super::super) fn params(&self) -> Vec<wit::FieldParam<'_>> {
        self.0
            .iter()
            .map(|(name, data_type, nullable, children)| wit::FieldParam {
                name,
                data_type: *data_type,
                nullable: *nullable,
                children: *children,
            })
            .collect()
    }
}

fn flatten(field: &Field, flat: &mut Vec<(String, wit::DataType, bool, u32)>) -> Result<(), String> {
    let unknown = || format!("column `{}` has the type {}, which plugins do not know", field.name(), field.data_type());
    let (data_type, children): (_, Vec<&FieldRef>) = match field.data_type() {
        DataType::Boolean => (wit::DataType::Boolean, vec![]),
        DataType::Int64 => (wit::DataType::Int64, vec![]),
        DataType::Float64 => (wit::DataType::Float64, vec![]),
        DataType::Utf8 => (wit::DataType::Utf8, vec![]),
        DataType::Binary => (wit::DataType::Binary, vec![]),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => (wit::DataType::Timestamp, vec![]),
        DataType::List(item) => (wit::DataType::List, vec![item]),
        DataType::Struct(fields) => (wit::DataType::Struct, fields.iter().collect()),
        _ => return Err(unknown()),
    };
    let count = u32::try_from(children.len()).map_err(|_| unknown())?;
    flat.push((field.name().clone(), data_type, field.is_nullable(), count));
    children.into_iter().try_for_each(|child| flatten(child, flat))
}

/// What a struct without children means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    /// It is not allowed.
    Refused,
    /// No value told the type.
    Unknown,
}

/// The Arrow form of a schema that a plugin announced.
///
/// Fails with what is wrong with it.
pub(in super::super) fn from_contract(schema: wit::SchemaResult) -> Result<SchemaRef, String> {
    unflatten_all(schema, Empty::Refused)
}

/// The Arrow form of a schema that a plugin inferred: a struct without children,
/// for which the sample had no value, has the type null.
///
/// Fails with what is wrong with it.
pub(in super::super) fn from_inference(schema: wit::SchemaResult) -> Result<SchemaRef, String> {
    unflatten_all(schema, Empty::Unknown)
}

fn unflatten_all(schema: wit::SchemaResult, empty: Empty) -> Result<SchemaRef, String> {
    if schema.fields.len() > MAX_FIELDS {
        return Err(format!("the schema has {} fields, more than {MAX_FIELDS}", schema.fields.len()));
    }
    let mut flat = schema.fields.into_iter();
    let mut fields = Vec::new();
    while let Some(field) = flat.next() {
        fields.push(unflatten(field, &mut flat, empty, 0)?);
    }
    distinct(&fields, "the schema")?;
    Ok(Arc::new(Schema::new(fields)))
}

fn unflatten(
    field: wit::FieldResult,
    rest: &mut impl Iterator<Item = wit::FieldResult>,
    empty: Empty,
    depth: usize,
) -> Result<FieldRef, String> {
    let name = field.name;
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("a column name has {} bytes, expected 1 to {MAX_NAME_BYTES}", name.len()));
    }
    if depth > MAX_DEPTH {
        return Err(format!("column `{name}` is nested deeper than {MAX_DEPTH} levels"));
    }
    let expected = match field.data_type {
        wit::DataType::List => field.children == 1,
        wit::DataType::Struct => field.children > 0 || empty == Empty::Unknown,
        _ => field.children == 0,
    };
    if !expected {
        return Err(format!("column `{name}` of type {:?} announces {} children", field.data_type, field.children));
    }
    let mut children = Vec::new();
    for _ in 0..field.children {
        let child = rest.next().ok_or_else(|| format!("column `{name}` announces more children than there are"))?;
        children.push(unflatten(child, rest, empty, depth + 1)?);
    }
    let data_type = match field.data_type {
        wit::DataType::Boolean => DataType::Boolean,
        wit::DataType::Int64 => DataType::Int64,
        wit::DataType::Float64 => DataType::Float64,
        wit::DataType::Utf8 => DataType::Utf8,
        wit::DataType::Binary => DataType::Binary,
        wit::DataType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        wit::DataType::List => {
            let item = children.pop().ok_or_else(|| format!("list `{name}` has no child"))?;
            DataType::List(Arc::new(item.as_ref().clone().with_name(LIST_ITEM)))
        }
        wit::DataType::Struct if children.is_empty() => DataType::Null,
        wit::DataType::Struct => {
            distinct(&children, &format!("struct `{name}`"))?;
            DataType::Struct(Fields::from(children))
        }
    };
    Ok(Arc::new(Field::new(name, data_type, field.nullable)))
}

fn distinct(fields: &[FieldRef], of: &str) -> Result<(), String> {
    let mut names = HashSet::new();
    match fields.iter().find(|field| !names.insert(field.name())) {
        Some(twice) => Err(format!("{of} has two columns named `{}`", twice.name())),
        None => Ok(()),
    }
}
