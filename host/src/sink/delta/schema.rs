//! The columns of a table: what may be written, how the wanted schema compares
//! with the table's, and how batches are fitted to it.
//!
//! Nothing is ever cast: a column fits or is refused.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use delta_kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use delta_kernel::schema::StructType;

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

/// How the wanted schema differs from the table's, one sentence a column.
pub(super) fn differences(wanted: &Schema, table: &Schema) -> Vec<String> {
    let mut problems = Vec::new();
    compare_fields(wanted.fields(), table.fields(), "", &mut problems);
    problems
}

fn compare_fields(wanted: &Fields, table: &Fields, prefix: &str, problems: &mut Vec<String>) {
    for want in wanted {
        let path = format!("{prefix}{}", want.name());
        match table.iter().find(|have| have.name() == want.name()) {
            Some(have) => compare(want, have, &path, problems),
            None => problems.push(format!(
                "column `{path}` is missing in the table: add it there as {}",
                type_name(want.data_type())
            )),
        }
    }
    for have in table.iter().filter(|have| !wanted.iter().any(|want| want.name() == have.name())) {
        problems.push(format!(
            "column `{prefix}{}` ({}) is in the table but not in the pipeline",
            have.name(),
            type_name(have.data_type())
        ));
    }
}

fn compare(want: &Field, have: &Field, path: &str, problems: &mut Vec<String>) {
    if want.is_nullable() && !have.is_nullable() {
        problems.push(format!("column `{path}` may be null in the pipeline but not in the table"));
    }
    match (want.data_type(), have.data_type()) {
        (DataType::Struct(wanted), DataType::Struct(table)) => {
            compare_fields(wanted, table, &format!("{path}."), problems);
        }
        (DataType::List(want), DataType::List(have)) => compare(want, have, &format!("{path}.element"), problems),
        (want, have) if want == have => {}
        (want, have) => problems.push(format!(
            "column `{path}` is {} in the pipeline but {} in the table",
            type_name(want),
            type_name(have)
        )),
    }
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
/// lists, never copied or cast.
///
/// # Errors
/// Bug if the batch does not have the columns that were agreed on.
pub(super) fn fit(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == target {
        return Ok(batch.clone());
    }
    let mut columns = Vec::with_capacity(target.fields().len());
    for field in target.fields() {
        let column = batch.column_by_name(field.name()).ok_or_else(|| missing(field.name()))?;
        columns.push(fit_array(column, field)?);
    }
    RecordBatch::try_new(Arc::clone(target), columns)
        .map_err(|error| Error::bug("a batch does not fit its table").because(error))
}

fn fit_array(array: &ArrayRef, target: &FieldRef) -> Result<ArrayRef> {
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
                let column = parts.column_by_name(field.name()).ok_or_else(|| missing(field.name()))?;
                columns.push(fit_array(column, field)?);
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

fn missing(name: &str) -> Error {
    Error::bug(format!("a batch lacks the column `{name}` of its table"))
}
