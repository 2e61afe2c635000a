//! From what is inferred to the versions of a schema.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use super::text::{Hint, is_same, list_of, type_text};
use super::{RESCUED, SchemaSettings, Types};

/// The first version: what was inferred, where hints do not know better.
///
/// Columns are in alphabetical order, and hints add those that nothing else has.
///
/// # Errors
/// A hint that goes into something that is no struct.
pub fn settle(inferred: &Schema, settings: &SchemaSettings) -> Result<Schema, String> {
    let mut fields: Vec<FieldRef> = inferred.fields().iter().filter(|field| field.name() != RESCUED).cloned().collect();
    if settings.types == Types::Strings {
        // A column of which hints know something inside keeps its shape.
        let keeps = |name: &str| settings.hints.iter().any(|hint| hint.path.len() > 1 && is_same(&hint.path[0], name));
        for field in &mut fields {
            let shape = if keeps(field.name()) { strings_of(field.data_type()) } else { DataType::Utf8 };
            *field = Arc::new(Field::new(field.name(), shape, true));
        }
    }
    for Hint { path, data_type, .. } in &settings.hints {
        hint(&mut fields, path, data_type).map_err(|problem| format!("the hint `{}`: {problem}", path.join(".")))?;
    }
    fields.sort_by(|one, other| one.name().cmp(other.name()));
    Ok(Schema::new(known_types(&fields)))
}

/// The next version: new columns behind the others, and new fields in structs;
/// nothing else changes. The same schema if there is nothing new.
///
/// # Errors
/// As [`settle`].
pub fn evolve(current: &Schema, inferred: &Schema, settings: &SchemaSettings) -> Result<Schema, String> {
    let settled = settle(inferred, settings)?;
    Ok(extend(current, &settled))
}

/// The columns of `current`, and behind them those that only `more` has; the same
/// inside structs.
pub fn extend(current: &Schema, more: &Schema) -> Schema {
    Schema::new(extended(current.fields(), more.fields()))
}

/// The first column of both schemas that has another type in each: its path, and
/// both types as people write them.
pub fn contradiction(one: &Schema, other: &Schema) -> Option<(String, String, String)> {
    contradiction_in(one.fields(), other.fields(), "")
}

fn contradiction_in(one: &[FieldRef], other: &[FieldRef], prefix: &str) -> Option<(String, String, String)> {
    other.iter().find_map(|field| {
        let same = one.iter().find(|same| is_same(same.name(), field.name()))?;
        let path = format!("{prefix}{}", field.name());
        match (same.data_type(), field.data_type()) {
            (DataType::Struct(one), DataType::Struct(other)) => contradiction_in(one, other, &format!("{path}.")),
            (one, other) if one == other => None,
            (one, other) => Some((path, type_text(one), type_text(other))),
        }
    })
}

fn extended(current: &[FieldRef], found: &[FieldRef]) -> Vec<FieldRef> {
    let mut fields = current.to_vec();
    for new in found {
        match fields.iter_mut().find(|field| is_same(field.name(), new.name())) {
            Some(field) => {
                let data_type = extended_type(field.data_type(), new.data_type());
                *field = Arc::new(field.as_ref().clone().with_data_type(data_type));
            }
            None => fields.push(Arc::clone(new)),
        }
    }
    fields
}

fn extended_type(current: &DataType, found: &DataType) -> DataType {
    match (current, found) {
        (DataType::Struct(current), DataType::Struct(found)) => DataType::Struct(extended(current, found).into()),
        (DataType::List(current), DataType::List(found)) => {
            list_of(extended_type(current.data_type(), found.data_type()))
        }
        (current, _) => current.clone(),
    }
}

/// The same shape, of strings.
fn strings_of(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => {
            let field = |field: &FieldRef| Field::new(field.name(), strings_of(field.data_type()), true);
            DataType::Struct(fields.iter().map(field).collect())
        }
        DataType::List(item) => list_of(strings_of(item.data_type())),
        _ => DataType::Utf8,
    }
}

fn hint(fields: &mut Vec<FieldRef>, path: &[String], data_type: &DataType) -> Result<(), String> {
    let Some((name, inside)) = path.split_first() else { return Ok(()) };
    let at = fields.iter().position(|field| is_same(field.name(), name));
    if inside.is_empty() {
        let hinted = Arc::new(Field::new(name, data_type.clone(), true));
        match at {
            Some(at) => fields[at] = hinted,
            None => fields.push(hinted),
        }
        return Ok(());
    }
    let mut children: Vec<FieldRef> = match at.map(|at| fields[at].data_type()) {
        None | Some(DataType::Null) => Vec::new(),
        Some(DataType::Struct(children)) => children.to_vec(),
        Some(_) => return Err(format!("`{name}` is no struct in the sample")),
    };
    hint(&mut children, inside, data_type)?;
    let name = at.map_or(name, |at| fields[at].name());
    let whole = Arc::new(Field::new(name, DataType::Struct(children.into()), true));
    match at {
        Some(at) => fields[at] = whole,
        None => fields.push(whole),
    }
    Ok(())
}

/// What no value told is a string.
fn known_types(fields: &[FieldRef]) -> Vec<FieldRef> {
    fields.iter().map(|field| Arc::new(Field::new(field.name(), known(field.data_type()), true))).collect()
}

fn known(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null => DataType::Utf8,
        DataType::Struct(fields) => DataType::Struct(known_types(fields).into()),
        DataType::List(item) => list_of(known(item.data_type())),
        known => known.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::{columns_of, hints_of, texts_of};
    use super::super::{Evolution, SampleBounds};
    use super::*;

    fn settings(types: Types, hints: &str) -> SchemaSettings {
        SchemaSettings {
            explicit: None,
            hints: if hints.is_empty() { Vec::new() } else { hints_of(hints).unwrap() },
            types,
            evolution: Evolution::AddNewColumns,
            rescued_column: None,
            sample: SampleBounds { max_files: 1, max_bytes: 1 },
        }
    }

    #[track_caller]
    fn check_settle(types: Types, inferred: &str, hints: &str, expected: Result<&str, &str>) {
        let settled = settle(&columns_of(inferred).unwrap(), &settings(types, hints));
        match (settled, expected) {
            (Ok(schema), Ok(expected)) => assert_eq!(texts_of(&schema).join(", "), expected),
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn hints_win_and_add() {
        use Types::{Inferred, Strings};
        check_settle(Inferred, "b bigint, a bigint", "", Ok("a bigint, b bigint"));
        check_settle(Inferred, "b bigint, a bigint", "b double, _c string", Ok("_c string, a bigint, b double"));
        check_settle(
            Inferred,
            "l struct<lat: bigint, x: bigint>",
            "l.lat double",
            Ok("l struct<lat: double, x: bigint>"),
        );
        check_settle(Inferred, "a bigint", "l.lat double", Ok("a bigint, l struct<lat: double>"));
        check_settle(Inferred, "l string", "l.lat double", Err("`l.lat`: `l` is no struct"));
        check_settle(Inferred, "Price bigint", "price double", Ok("price double"));
        check_settle(Strings, "b bigint, a array<bigint>", "", Ok("a string, b string"));
        check_settle(Strings, "l struct<lat: bigint, x: bigint>", "", Ok("l string"));
        check_settle(
            Strings,
            "l struct<lat: bigint, x: bigint>",
            "l.lat double",
            Ok("l struct<lat: double, x: string>"),
        );
        check_settle(Inferred, "_rescued_data string, a bigint", "", Ok("a bigint"));
    }

    #[test]
    fn what_no_value_told_is_a_string() {
        let unknown =
            Schema::new(vec![Field::new("a", DataType::Null, true), Field::new("b", list_of(DataType::Null), true)]);
        let settled = settle(&unknown, &settings(Types::Inferred, "")).unwrap();
        assert_eq!(texts_of(&settled), ["a string", "b array<string>"]);
    }

    #[track_caller]
    fn check_evolve(current: &str, inferred: &str, hints: &str, expected: &str) {
        let (current, inferred) = (columns_of(current).unwrap(), columns_of(inferred).unwrap());
        let evolved = evolve(&current, &inferred, &settings(Types::Inferred, hints)).unwrap();
        assert_eq!(texts_of(&evolved).join(", "), expected);
    }

    #[test]
    fn new_columns_stand_behind_and_old_ones_stay() {
        check_evolve("b bigint", "a double, b double, c string", "", "b bigint, a double, c string");
        check_evolve("b bigint", "B double", "", "b bigint");
        check_evolve(
            "l struct<lat: double>",
            "l struct<alt: bigint, lat: string>",
            "",
            "l struct<lat: double, alt: bigint>",
        );
        check_evolve(
            "l array<struct<x: bigint>>",
            "l array<struct<y: bigint>>",
            "",
            "l array<struct<x: bigint, y: bigint>>",
        );
        check_evolve("l string", "l struct<lat: double>", "", "l string");
        check_evolve("a bigint", "n bigint", "n double", "a bigint, n double");
    }
}
