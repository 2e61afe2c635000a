//! The columns of a table: what may be written, how the wanted schema compares
//! with the table's, and how batches are fitted to it.
//!
//! Nothing is ever cast: a column fits or is refused.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use delta_kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use delta_kernel::schema::StructType;
use serde_json::Value;

use super::settings::Evolution;
use crate::{Error, Result};

/// What Parquet and Delta refuse in the names of columns without column mapping
/// (Delta protocol, "Column Mapping").
const FORBIDDEN_IN_NAMES: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// The Delta schema for an Arrow schema.
pub(super) fn to_delta(schema: &Schema) -> Result<StructType> {
    schema
        .try_into_kernel()
        .map_err(|error| Error::config("the schema cannot be written as a Delta table").because(error))
}

/// The Arrow schema for a Delta schema.
pub(super) fn to_arrow(schema: &StructType) -> Result<SchemaRef> {
    let schema: Schema = schema
        .try_into_arrow()
        .map_err(|error| Error::data("the table has a type without an Arrow form").because(error))?;
    Ok(Arc::new(schema))
}

/// What is wrong with a wanted schema, whatever the table.
pub(super) fn problems_of(schema: &Schema, partition_by: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name().to_lowercase()) {
            problems.push(format!("column `{}` is there twice: Delta ignores upper and lower case", field.name()));
        }
        field_problems(field, field.name(), &mut problems);
    }
    for (index, name) in partition_by.iter().enumerate() {
        let Ok(field) = schema.field_with_name(name) else {
            problems.push(format!("partition column `{name}` is not a column"));
            continue;
        };
        if partition_by[..index].contains(name) {
            problems.push(format!("partition column `{name}` is named twice"));
        }
        if !can_partition(field.data_type()) {
            let kind = type_name(field.data_type());
            problems.push(format!("column `{name}` is {kind}: partition by boolean, bigint, string or timestamp"));
        }
    }
    if !schema.fields().is_empty() && partition_by.len() >= schema.fields().len() {
        problems.push("every column is a partition column: leave at least one for the files".to_owned());
    }
    problems
}

fn can_partition(kind: &DataType) -> bool {
    matches!(kind, DataType::Boolean | DataType::Int64 | DataType::Utf8 | DataType::Timestamp(_, _))
}

fn field_problems(field: &Field, path: &str, problems: &mut Vec<String>) {
    if field.name().is_empty() || field.name().contains(FORBIDDEN_IN_NAMES) {
        problems
            .push(format!("column `{path}`: a name must not be empty nor contain any of ` ,;{{}}()=` or line breaks"));
    }
    match field.data_type() {
        DataType::Boolean | DataType::Int64 | DataType::Float64 | DataType::Utf8 | DataType::Binary => {}
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {}
        DataType::List(element) => field_problems(element, &format!("{path}.{}", element.name()), problems),
        DataType::Struct(fields) => {
            for field in fields {
                field_problems(field, &format!("{path}.{}", field.name()), problems);
            }
        }
        other => problems.push(format!("column `{path}` has the type {other}, which a table cannot hold")),
    }
}

/// Why rows of the wanted schema do not fit the table, one sentence a column.
pub(super) fn differences(wanted: &Schema, table: &Schema, evolution: Evolution) -> Vec<String> {
    let mut comparison = Comparison { evolution, problems: Vec::new() };
    comparison.fields(wanted.fields(), table.fields(), "");
    comparison.problems
}

struct Comparison {
    evolution: Evolution,
    problems: Vec<String>,
}

impl Comparison {
    fn fields(&mut self, wanted: &Fields, table: &Fields, prefix: &str) {
        for want in wanted {
            let path = format!("{prefix}{}", want.name());
            if let Some(have) = find(table, want.name()) {
                self.field(want, have, &path);
            } else if let Some(have) = table.iter().find(|have| is_same_ignoring_case(have, want)) {
                let have = have.name();
                self.problems.push(format!("column `{path}` is `{prefix}{have}` in the table: Delta ignores the case"));
            } else if self.evolution == Evolution::Fixed {
                let kind = type_name(want.data_type());
                self.problems.push(format!("column `{path}` is missing in the table: add it there as {kind}"));
            }
        }
        for have in table.iter().filter(|have| !wanted.iter().any(|want| is_same_ignoring_case(want, have))) {
            let (name, kind) = (have.name(), type_name(have.data_type()));
            let only_there = format!("column `{prefix}{name}` ({kind}) is in the table but not in the pipeline");
            match self.evolution {
                Evolution::AddColumns if have.is_nullable() => {}
                Evolution::AddColumns => self.problems.push(format!("{only_there}, and may not be null")),
                Evolution::Fixed => self.problems.push(only_there),
            }
        }
    }

    fn field(&mut self, want: &Field, have: &Field, path: &str) {
        if want.is_nullable() && !have.is_nullable() {
            self.problems.push(format!("column `{path}` may be null in the pipeline but not in the table"));
        }
        match (want.data_type(), have.data_type()) {
            (DataType::Struct(wanted), DataType::Struct(table)) => self.fields(wanted, table, &format!("{path}.")),
            (DataType::List(want), DataType::List(have)) => self.field(want, have, &format!("{path}.element")),
            (want, have) if want == have => {}
            (want, have) => {
                let (want, have) = (type_name(want), type_name(have));
                self.problems.push(format!("column `{path}` is {want} in the pipeline but {have} in the table"));
            }
        }
    }
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a FieldRef> {
    fields.iter().find(|field| field.name() == name)
}

fn is_same_ignoring_case(one: &Field, other: &Field) -> bool {
    one.name().to_lowercase() == other.name().to_lowercase()
}

/// The table's columns, and behind them those that only the wanted schema has, as
/// columns that may be null: rows of earlier files do not have them.
///
/// The two must not differ otherwise.
pub(super) fn extended(table: &Schema, wanted: &Schema) -> Schema {
    Schema::new(extended_fields(table.fields(), wanted.fields()))
}

fn extended_fields(table: &Fields, wanted: &Fields) -> Fields {
    let known = table.iter().map(|have| match find(wanted, have.name()) {
        Some(want) => {
            let data_type = extended_type(have.data_type(), want.data_type());
            Arc::new(have.as_ref().clone().with_data_type(data_type))
        }
        None => Arc::clone(have),
    });
    let new = wanted.iter().filter(|want| find(table, want.name()).is_none());
    known.chain(new.map(|want| Arc::new(want.as_ref().clone().with_nullable(true)))).collect()
}

fn extended_type(table: &DataType, wanted: &DataType) -> DataType {
    match (table, wanted) {
        (DataType::Struct(table), DataType::Struct(wanted)) => DataType::Struct(extended_fields(table, wanted)),
        (DataType::List(table), DataType::List(wanted)) => {
            let element = extended_type(table.data_type(), wanted.data_type());
            DataType::List(Arc::new(table.as_ref().clone().with_data_type(element)))
        }
        (table, _) => table.clone(),
    }
}

/// Add the fields of a Delta schema in JSON that another lacks (Delta protocol,
/// "Schema Serialization Format"); everything else that is said of the columns
/// that it has stays. Says whether anything was added.
pub(super) fn add_columns(table: &mut Value, wanted: &Value) -> bool {
    let kind = |schema: &Value| schema.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match (kind(table).as_str(), kind(wanted).as_str()) {
        ("struct", "struct") => {}
        ("array", "array") => return add_columns(&mut table["elementType"], &wanted["elementType"]),
        _ => return false,
    }
    let Some(fields) = table.get_mut("fields").and_then(Value::as_array_mut) else { return false };
    let mut added = false;
    for want in wanted.get("fields").and_then(Value::as_array).into_iter().flatten() {
        match fields.iter_mut().find(|have| have["name"] == want["name"]) {
            Some(have) => added |= add_columns(&mut have["type"], &want["type"]),
            None => {
                fields.push(want.clone());
                added = true;
            }
        }
    }
    added
}

/// The name of a type as SQL users know it.
pub(crate) fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 => "string".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Timestamp(_, Some(_)) => "timestamp".to_owned(),
        DataType::Timestamp(_, None) => "timestamp_ntz".to_owned(),
        DataType::List(element) => format!("array<{}>", type_name(element.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{}:{}", field.name(), type_name(field.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        other => other.to_string(),
    }
}

/// The same rows in the columns of `target`: reordered by name, renamed inside
/// lists, never copied or cast. What the batch does not have is null.
///
/// # Errors
/// Bug if the batch lacks a column that may not be null.
pub(super) fn fit(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == target {
        return Ok(batch.clone());
    }
    let mut columns = Vec::with_capacity(target.fields().len());
    for field in target.fields() {
        columns.push(fit_or_null(batch.column_by_name(field.name()), field, batch.num_rows())?);
    }
    RecordBatch::try_new(Arc::clone(target), columns)
        .map_err(|error| Error::bug("a batch does not fit its table").because(error))
}

/// A column as [`fit`] fits it.
///
/// # Errors
/// As [`fit`].
pub(super) fn fit_array(array: &ArrayRef, target: &FieldRef) -> Result<ArrayRef> {
    if array.data_type() == target.data_type() {
        return Ok(Arc::clone(array));
    }
    let wrong = |error| Error::bug(format!("column `{}` does not fit its table", target.name())).because(error);
    match (array.data_type(), target.data_type()) {
        (DataType::List(_), DataType::List(element)) => {
            let list = array.as_list::<i32>();
            let values = fit_array(list.values(), element)?;
            let list = ListArray::try_new(Arc::clone(element), list.offsets().clone(), values, list.nulls().cloned());
            Ok(Arc::new(list.map_err(wrong)?))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let parts = array.as_struct();
            let mut columns = Vec::with_capacity(fields.len());
            for field in fields {
                columns.push(fit_or_null(parts.column_by_name(field.name()), field, parts.len())?);
            }
            let fitted = StructArray::try_new(fields.clone(), columns, parts.nulls().cloned()).map_err(wrong)?;
            Ok(Arc::new(fitted))
        }
        (have, want) => Err(Error::bug(format!(
            "column `{}` is {} but its table has {}",
            target.name(),
            type_name(have),
            type_name(want)
        ))),
    }
}

fn fit_or_null(column: Option<&ArrayRef>, target: &FieldRef, rows: usize) -> Result<ArrayRef> {
    match column {
        Some(column) => fit_array(column, target),
        None if target.is_nullable() => Ok(new_null_array(target.data_type(), rows)),
        None => Err(Error::bug(format!("a batch lacks the column `{}` of its table", target.name()))),
    }
}
