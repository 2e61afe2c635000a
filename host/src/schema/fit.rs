//! Rows that have columns already, put into the columns of a schema.
//!
//! What a parser does for text this does for formats that know their types: a
//! column is found by its name, a value that fits goes into it, and everything
//! else is left over, to be rescued.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, StringArray, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;

use super::rescued::FILE_PATH;
use super::text::{list_of, timestamp};

/// The schema in the types of the plugin contract, every value of which may be
/// missing: narrow numbers are widened, decimals are double, dates are timestamps
/// at midnight in UTC, times of day are strings.
///
/// # Errors
/// The name of a column whose type has no counterpart.
pub fn contract_schema(schema: &Schema) -> Result<Schema, String> {
    let field = |field: &FieldRef| {
        let data_type = contract_type(field.data_type()).ok_or_else(|| {
            format!("the column `{}` has the type {}, which weir does not know", field.name(), field.data_type())
        })?;
        Ok(Field::new(field.name(), data_type, true))
    };
    schema.fields().iter().map(field).collect::<Result<Vec<_>, String>>().map(Schema::new)
}

fn contract_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean => DataType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        DataType::UInt64 | DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            DataType::Float64
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Time32(_) | DataType::Time64(_) => {
            DataType::Utf8
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => timestamp(),
        DataType::Dictionary(_, values) => contract_type(values)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            list_of(contract_type(item.data_type())?)
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let field = |field: &FieldRef| Some(Field::new(field.name(), contract_type(field.data_type())?, true));
            DataType::Struct(fields.iter().map(field).collect::<Option<Fields>>()?)
        }
        _ => return None,
    })
}

/// Rows in the types of the plugin contract, as [`contract_schema`] says.
///
/// # Errors
/// What arrow says of values that cannot be cast.
pub fn contract_rows(rows: &RecordBatch, schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
    let column = |(column, field): (&ArrayRef, &FieldRef)| {
        // A time without a zone is one in UTC.
        let column = match column.data_type() {
            DataType::Timestamp(_, None) => cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?,
            _ => Arc::clone(column),
        };
        cast(&column, field.data_type())
    };
    let columns = rows.columns().iter().zip(schema.fields()).map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// The rows in the columns of `schema`, and for each of them what is left over, as
/// the text of a JSON object, or null if everything fits. `file` names the file of
/// a row.
///
/// # Errors
/// What arrow says of columns that do not fit together.
pub fn fit<'a>(
    rows: &RecordBatch,
    schema: &Arc<Schema>,
    file: impl Fn(usize) -> &'a str,
) -> Result<(RecordBatch, StringArray), ArrowError> {
    let all = StructArray::from(rows.clone());
    let (fitted, left) = fit_fields(&all, schema.fields())?;
    let fitted = RecordBatch::try_new(Arc::clone(schema), fitted)?;
    let Some(left) = left else { return Ok((fitted, StringArray::new_null(rows.num_rows()))) };
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(&RecordBatch::from(left))?;
    writer.finish()?;
    let texts = String::from_utf8(writer.into_inner()).map_err(|error| ArrowError::JsonError(error.to_string()))?;
    let texts = texts.lines().enumerate().map(|(row, text)| match text.strip_suffix('}') {
        Some("{") | None => None,
        Some(open) => Some(format!("{open},\"{FILE_PATH}\":{}}}", serde_json::Value::from(file(row)))),
    });
    Ok((fitted, texts.collect()))
}

type Fitted<T> = Result<(T, Option<ArrayRef>), ArrowError>;

fn fit_fields(found: &StructArray, wanted: &Fields) -> Result<(Vec<ArrayRef>, Option<StructArray>), ArrowError> {
    let (mut left_fields, mut left_columns) = (Vec::new(), Vec::new());
    let mut fitted = vec![None; wanted.len()];
    for (field, column) in found.fields().iter().zip(found.columns()) {
        let at = wanted.iter().position(|wanted| wanted.name() == field.name());
        let left = match at {
            Some(at) => {
                let (column, left) = fit_column(column, wanted[at].data_type())?;
                fitted[at] = Some(column);
                left
            }
            None => Some(Arc::clone(column)),
        };
        if let Some(left) = left.filter(|left| left.null_count() < left.len()) {
            left_fields.push(Arc::new(Field::new(field.name(), left.data_type().clone(), true)));
            left_columns.push(left);
        }
    }
    let missing = wanted.iter().zip(fitted);
    let fitted = missing
        .map(|(field, column)| column.unwrap_or_else(|| new_null_array(field.data_type(), found.len())))
        .collect();
    let left = (!left_fields.is_empty())
        .then(|| StructArray::try_new(Fields::from(left_fields), left_columns, None))
        .transpose()?;
    Ok((fitted, left))
}

fn fit_column(found: &ArrayRef, wanted: &DataType) -> Fitted<ArrayRef> {
    match (found.data_type(), wanted) {
        (found_type, wanted) if found_type == wanted => Ok((Arc::clone(found), None)),
        (DataType::Int64, DataType::Float64) => Ok((cast(found, wanted)?, None)),
        (DataType::Int64 | DataType::Float64 | DataType::Boolean | DataType::Timestamp(..), DataType::Utf8) => {
            Ok((cast(found, wanted)?, None))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let parts = found.as_struct();
            let (columns, left) = fit_fields(parts, fields)?;
            let fitted = StructArray::try_new(fields.clone(), columns, parts.nulls().cloned())?;
            // A row of which nothing is left over must not look as if something were.
            let left = left.map(|left| -> Result<ArrayRef, ArrowError> {
                let nulls = (0..left.len()).map(|row| left.columns().iter().any(|column| column.is_valid(row)));
                let (fields, columns, _) = left.clone().into_parts();
                Ok(Arc::new(StructArray::try_new(fields, columns, Some(nulls.collect()))?))
            });
            Ok((Arc::new(fitted), left.transpose()?))
        }
        (_, wanted) => Ok((new_null_array(wanted, found.len()), Some(Arc::clone(found)))),
    }
}

#[cfg(test)]
mod tests {
    use arrow::json::ReaderBuilder;

    use super::super::text::columns_of;
    use super::*;

    /// Rows of one schema in the columns of another: the rows as JSON, and what is
    /// left over of each.
    #[track_caller]
    fn check(have: &str, rows: &[&str], want: &str, fitted: &[&str], left: &[Option<&str>]) {
        let text = rows.join("\n");
        let mut reader = ReaderBuilder::new(columns_of(have).unwrap()).build(text.as_bytes()).unwrap();
        let batch = reader.next().unwrap().unwrap();
        let (found, texts) = fit(&batch, &columns_of(want).unwrap(), |_| "f").unwrap();
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer.write(&found).unwrap();
        writer.finish().unwrap();
        let lines = String::from_utf8(writer.into_inner()).unwrap();
        assert_eq!(lines.lines().collect::<Vec<_>>(), fitted);
        assert_eq!(texts.iter().collect::<Vec<_>>(), left);
    }

    #[test]
    fn what_fits_goes_into_its_column_and_the_rest_is_left_over() {
        check("a bigint", &[r#"{"a":1}"#], "a bigint, b string", &[r#"{"a":1}"#], &[None]);
        check(
            "a bigint, b string",
            &[r#"{"a":1,"b":"x"}"#, r#"{"a":2}"#],
            "a bigint",
            &[r#"{"a":1}"#, r#"{"a":2}"#],
            &[Some(r#"{"b":"x","_file_path":"f"}"#), None],
        );
        check("a bigint", &[r#"{"a":1}"#], "a double", &[r#"{"a":1.0}"#], &[None]);
        check("a double", &[r#"{"a":1.5}"#], "a bigint", &["{}"], &[Some(r#"{"a":1.5,"_file_path":"f"}"#)]);
        check("a boolean", &[r#"{"a":true}"#], "a string", &[r#"{"a":"true"}"#], &[None]);
        check(
            "l struct<lat: double, alt: bigint>",
            &[r#"{"l":{"lat":1.5,"alt":2}}"#, r#"{"l":{"lat":2.5}}"#, "{}"],
            "l struct<lat: double>",
            &[r#"{"l":{"lat":1.5}}"#, r#"{"l":{"lat":2.5}}"#, "{}"],
            &[Some(r#"{"l":{"alt":2},"_file_path":"f"}"#), None, None],
        );
        check(
            "l array<string>",
            &[r#"{"l":["x"]}"#],
            "l array<bigint>",
            &["{}"],
            &[Some(r#"{"l":["x"],"_file_path":"f"}"#)],
        );
    }

    #[test]
    fn types_of_files_become_those_of_the_contract() {
        let schema = Schema::new(vec![
            Field::new("i", DataType::Int32, false),
            Field::new("f", DataType::Float32, true),
            Field::new("d", DataType::Date32, true),
            Field::new("t", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
            Field::new("m", DataType::Decimal128(10, 2), true),
            Field::new("l", DataType::LargeList(Arc::new(Field::new("element", DataType::UInt8, false))), true),
        ]);
        let contract = contract_schema(&schema).unwrap();
        let texts = super::super::text::texts_of(&contract);
        assert_eq!(texts, ["i bigint", "f double", "d timestamp", "t timestamp", "m double", "l array<bigint>"]);
        let rows = contract_rows(&RecordBatch::new_empty(Arc::new(schema)), &Arc::new(contract)).unwrap();
        assert_eq!(rows.num_rows(), 0);
        let odd = Schema::new(vec![Field::new("x", DataType::Duration(TimeUnit::Second), true)]);
        assert!(contract_schema(&odd).unwrap_err().contains("`x`"));
    }
}
