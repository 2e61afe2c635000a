//! Columns there and back, and everything that a plugin could get wrong.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use super::super::bindings::weir::plugin::columns as wit;
use super::*;

/// What a plugin would return that returns what it was given.
fn echo(batch: &wit::BatchParam<'_>) -> wit::BatchResult {
    let bytes = |bytes: &wit::VarBytesParam<'_>| wit::VarBytesResult {
        offsets: bytes.offsets.to_vec(),
        data: bytes.data.to_vec(),
    };
    let values = |values: &wit::ValuesParam<'_>| match values {
        wit::ValuesParam::Boolean(bits) => wit::ValuesResult::Boolean(bits.to_vec()),
        wit::ValuesParam::Int64(values) => wit::ValuesResult::Int64(values.to_vec()),
        wit::ValuesParam::Float64(values) => wit::ValuesResult::Float64(values.to_vec()),
        wit::ValuesParam::Utf8(text) => wit::ValuesResult::Utf8(bytes(text)),
        wit::ValuesParam::Binary(binary) => wit::ValuesResult::Binary(bytes(binary)),
        wit::ValuesParam::Timestamp(values) => wit::ValuesResult::Timestamp(values.to_vec()),
        wit::ValuesParam::List(offsets) => wit::ValuesResult::List(offsets.to_vec()),
        wit::ValuesParam::Struct => wit::ValuesResult::Struct,
    };
    let column = |column: &wit::ColumnParam<'_>| wit::ColumnResult {
        validity: column.validity.map(<[u8]>::to_vec),
        values: values(&column.values),
    };
    wit::BatchResult { rows: batch.rows, columns: batch.columns.iter().map(column).collect() }
}

fn returned(batch: &RecordBatch) -> wit::BatchResult {
    let lowered = Lowered::new(batch).unwrap();
    let columns = lowered.params();
    echo(&lowered.batch(&columns))
}

/// The values of a row.
type Row = (Option<bool>, Option<i64>, Option<f64>, Option<String>);

/// A column of each scalar type.
fn scalars(rows: &[Row]) -> RecordBatch {
    let texts: Vec<Option<&str>> = rows.iter().map(|row| row.3.as_deref()).collect();
    let times = TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.1)).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("boolean", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.0)))),
        ("int64", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)))),
        ("float64", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.2)))),
        ("utf8", Arc::new(StringArray::from(texts.clone()))),
        ("binary", Arc::new(BinaryArray::from_iter(texts.iter().map(|text| text.map(str::as_bytes))))),
        ("timestamp", Arc::new(times)),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

proptest! {
    #[test]
    fn columns_and_slices_of_them_come_back_as_they_went(
        rows in prop::collection::vec(any::<Row>(), 0..40),
        cut in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let batch = scalars(&rows);
        let (start, end) = (cut.0.index(rows.len() + 1), cut.1.index(rows.len() + 1));
        let slice = batch.slice(start.min(end), start.abs_diff(end));
        for batch in [batch, slice] {
            let back = lift(returned(&batch), &batch.schema(), usize::MAX).unwrap();
            // NaN is not equal to itself; what is printed of it is.
            prop_assert_eq!(format!("{back:?}"), format!("{batch:?}"));
        }
    }
}

#[test]
fn nested_columns_come_back_as_they_went() {
    let list: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]));
    let item: ArrayRef = Arc::new(StringArray::from(vec![Some("ä"), Some("b"), None]));
    let structure: ArrayRef =
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("item", DataType::Utf8, true)), item)]));
    let batch = RecordBatch::try_from_iter_with_nullable([("list", list, true), ("struct", structure, true)]).unwrap();
    let back = lift(returned(&batch), &batch.schema(), usize::MAX).unwrap();
    assert_eq!(back, batch);
    let flat = FlatSchema::new(&batch.schema()).unwrap();
    let params = flat.params();
    let fields = params.iter().map(|field| wit::FieldResult {
        name: field.name.to_owned(),
        data_type: field.data_type,
        nullable: field.nullable,
        children: field.children,
    });
    let schema = from_contract(wit::SchemaResult { fields: fields.collect() }).unwrap();
    assert_eq!(schema.as_ref(), batch.schema().as_ref());
}

/// Spoils a batch of two rows, an `int64` that is not nullable and a `utf8`; the
/// refusal names what is wrong.
#[track_caller]
fn check(spoil: impl FnOnce(&mut wit::BatchResult), expected: &str) {
    let fields = vec![Field::new("number", DataType::Int64, false), Field::new("text", DataType::Utf8, true)];
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![1, 2])), Arc::new(StringArray::from(vec!["ä", "b"]))];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let mut answer = returned(&batch);
    spoil(&mut answer);
    let error = lift(answer, &batch.schema(), 10).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

fn text(answer: &mut wit::BatchResult) -> &mut wit::VarBytesResult {
    match &mut answer.columns[1].values {
        wit::ValuesResult::Utf8(text) => text,
        _ => panic!("the second column is text"),
    }
}

#[test]
fn whatever_breaks_the_contract_is_refused_by_name() {
    check(|answer| answer.rows = 11, "more than the 10");
    check(|answer| answer.rows = 3, "`number` has 2 values for 3 rows");
    check(|answer| drop(answer.columns.pop()), "`text` is missing");
    check(|answer| answer.columns.push(answer.columns[0].clone()), "1 more columns");
    check(|answer| answer.columns.swap(0, 1), "`number` holds utf8, not Int64");
    check(|answer| answer.columns[0].validity = Some(vec![1]), "`number` has 1 nulls");
    check(|answer| answer.columns[1].validity = Some(vec![]), "`text` has 0 bytes of validity");
    check(|answer| text(answer).offsets.truncate(2), "`text` has 2 offsets for 2 rows");
    check(|answer| text(answer).offsets[0] = 1, "first offset 1");
    check(|answer| text(answer).offsets[1] = -1, "decrease at row 0");
    check(|answer| text(answer).offsets[1] = 9, "decrease at row 1");
    check(|answer| text(answer).offsets[2] = 9, "ends at offset 9");
    check(|answer| text(answer).data[0] = 0xff, "not valid UTF-8 at row 0");
    // The text as a whole is valid, but a value begins within a character.
    check(|answer| text(answer).offsets[1] = 1, "not valid UTF-8 at row 0");
}

#[test]
fn broken_schemas_are_refused() {
    let field =
        |name: &str, data_type, children| wit::FieldResult { name: name.into(), data_type, nullable: true, children };
    let int = wit::DataType::Int64;
    for (fields, expected) in [
        (vec![field("", int, 0)], "has 0 bytes"),
        (vec![field("a", int, 0), field("a", int, 0)], "two columns named `a`"),
        (vec![field("a", int, 1), field("b", int, 0)], "announces 1 children"),
        (vec![field("a", wit::DataType::List, 0)], "announces 0 children"),
        (vec![field("a", wit::DataType::Struct, 2), field("b", int, 0)], "more children than there are"),
        ((0..100).map(|_| field("a", wit::DataType::List, 1)).collect(), "nested deeper"),
        ((0..10_001).map(|index| field(&index.to_string(), int, 0)).collect(), "more than 10000"),
    ] {
        let error = from_contract(wit::SchemaResult { fields }).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
