//! What several samples say together.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};

use super::text::{is_same, list_of};

/// The schema that fits what either fits, in alphabetical order.
///
/// Mixed bigint and double is double; structs and lists are merged inside; every
/// other mix is string. A type that is not known yet ([`DataType::Null`]) is what
/// the other one is. Names that differ only in case are one column.
pub fn merge(one: &Schema, other: &Schema) -> Schema {
    Schema::new(merge_fields(one.fields(), other.fields()))
}

fn merge_fields(one: &Fields, other: &Fields) -> Vec<FieldRef> {
    let mut merged: Vec<FieldRef> = Vec::with_capacity(one.len().max(other.len()));
    for field in one.iter().chain(other) {
        match merged.iter_mut().find(|found| is_same(found.name(), field.name())) {
            Some(found) => {
                let data_type = merge_types(found.data_type(), field.data_type());
                // Which of two spellings stays must not depend on what came first.
                let name = found.name().min(field.name());
                *found = Arc::new(Field::new(name, data_type, true));
            }
            None => merged.push(Arc::new(field.as_ref().clone().with_nullable(true))),
        }
    }
    merged.sort_by(|one, other| one.name().cmp(other.name()));
    merged
}

fn merge_types(one: &DataType, other: &DataType) -> DataType {
    match (one, other) {
        (one, other) if one == other => one.clone(),
        (DataType::Null, known) | (known, DataType::Null) => known.clone(),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
        (DataType::Struct(one), DataType::Struct(other)) => DataType::Struct(merge_fields(one, other).into()),
        (DataType::List(one), DataType::List(other)) => list_of(merge_types(one.data_type(), other.data_type())),
        _ => DataType::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::{columns_of, texts_of};
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, expected: &str) {
        let (one, other) = (columns_of(one).unwrap(), columns_of(other).unwrap());
        for merged in [merge(&one, &other), merge(&other, &one)] {
            assert_eq!(texts_of(&merged).join(", "), expected);
        }
    }

    #[test]
    fn samples_merge_to_what_fits_both() {
        check("b bigint, a string", "c double", "a string, b bigint, c double");
        check("a bigint", "a double", "a double");
        check("a bigint", "a boolean", "a string");
        check("a timestamp", "a string", "a string");
        check("a struct<x: bigint>", "a string", "a string");
        check("a array<bigint>", "a array<double>", "a array<double>");
        check("a array<bigint>", "a bigint", "a string");
        check("a struct<y: bigint>", "a struct<x: string, y: double>", "a struct<x: string, y: double>");
        check("Price double", "price bigint", "Price double");
    }

    #[test]
    fn an_unknown_type_is_what_the_other_one_is() {
        let unknown = Schema::new(vec![Field::new("a", DataType::Null, true)]);
        let known = columns_of("a array<bigint>").unwrap();
        assert_eq!(texts_of(&merge(&unknown, &known)), ["a array<bigint>"]);
        assert_eq!(merge(&unknown, &unknown), unknown);
    }
}
