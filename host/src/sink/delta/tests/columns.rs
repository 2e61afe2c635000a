//! Columns that a table gets while it is written to.

use super::*;
use crate::sink::delta::Evolution;

fn adding(location: Location) -> TableSettings {
    TableSettings { evolution: Evolution::AddColumns, ..TableSettings::new("events", location) }
}

fn wide() -> SchemaRef {
    let inside = DataType::Struct(Fields::from(vec![Field::new("lat", DataType::Float64, true)]));
    let mut fields = vec![Field::new("unit", DataType::Utf8, true), Field::new("place", inside, true)];
    fields.extend(simple().fields().iter().map(|field| field.as_ref().clone()));
    Arc::new(Schema::new(fields))
}

fn wider() -> SchemaRef {
    let fields = vec![Field::new("alt", DataType::Int64, true), Field::new("lat", DataType::Float64, true)];
    let inside = DataType::Struct(Fields::from(fields));
    let wide = wide();
    let fields = wide.fields().iter().map(|field| match field.name().as_str() {
        "place" => Field::new("place", inside.clone(), true),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// One row of this schema: an id, and nothing else.
fn row(schema: &SchemaRef, id: i64) -> RecordBatch {
    let column = |field: &Arc<Field>| -> ArrayRef {
        match field.name().as_str() {
            "id" => Arc::new(Int64Array::from(vec![id])),
            _ => arrow::array::new_null_array(field.data_type(), 1),
        }
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect()).expect("a batch")
}

async fn names(table: &Table) -> Vec<String> {
    let schema = overview(table.storage()).await.expect("read").schema;
    schema.fields().iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_columns_come_with_the_first_rows_that_have_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for location in [memory(), local(&folder)] {
        let env = env();
        let before = Table::open_or_create(adding(location.clone()), &simple(), &env).await.expect("open");
        let files = stage(&before, 0, [ids([0])]).await;
        let _committed = commit(&before, 0, &files).await.expect("commit");
        let table = Table::open_or_create(adding(location.clone()), &wide(), &env).await.expect("open");
        let files = stage(&table, 1, [row(&wide(), 1)]).await;
        assert_eq!(names(&table).await, ["id bigint", "name string"], "nothing is visible before the commit");
        assert_eq!(commit(&table, 1, &files).await.expect("commit"), CommitOutcome::Committed { version: 2 });
        assert_eq!(names(&table).await, ["id bigint", "name string", "unit string", "place struct<lat:double>"]);
        assert_eq!(rows(&table).await, [0, 1]);
        // The columns are added once, and inside of structs, too.
        let files = stage(&table, 2, [row(&wide(), 2)]).await;
        let _committed = commit(&table, 2, &files).await.expect("commit");
        assert_eq!(table.schema_to_add().expect("a schema"), None);
        let table = Table::open_or_create(adding(location), &wider(), &env).await.expect("open");
        let files = stage(&table, 3, [row(&wider(), 3)]).await;
        let _committed = commit(&table, 3, &files).await.expect("commit");
        assert_eq!(names(&table).await[3], "place struct<lat:double,alt:bigint>");
        assert_eq!(rows(&table).await, [0, 1, 2, 3]);
        let entries = history(table.storage(), 10).await.expect("history");
        let versions: Vec<u64> = entries.iter().map(|entry| entry.version).collect();
        assert_eq!(versions, [4, 3, 2, 1, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writer_that_finds_the_columns_added_adds_them_no_more() {
    let env = env();
    let location = memory();
    let a = Table::open_or_create(adding(location.clone()), &simple(), &env).await.expect("open");
    let b = Table::open_or_create(adding(location.clone()), &wide(), &env).await.expect("open");
    let c = Table::open_or_create(adding(location), &wide(), &env).await.expect("open");
    let (of_a, of_b, of_c) =
        (stage(&a, 0, [ids([0])]).await, stage(&b, 1, [row(&wide(), 1)]).await, stage(&c, 2, [row(&wide(), 2)]).await);
    let _committed = commit(&b, 1, &of_b).await.expect("commit");
    let _committed = commit(&c, 2, &of_c).await.expect("commit");
    assert_eq!(names(&b).await, ["id bigint", "name string", "unit string", "place struct<lat:double>"]);
    // Rows of before fit all the same: the columns are null. (Another writer of other epochs.)
    let request = CommitRequest { app_id: "other", epoch: epoch(0), files: &of_a, schema: None, metadata: Map::new() };
    let _committed = a.commit(request).await.expect("commit");
    assert_eq!(rows(&a).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_contradict_the_table_are_refused() {
    let env = env();
    let location = memory();
    let _created = Table::open_or_create(adding(location.clone()), &simple(), &env).await.expect("open");
    let check = async |fields: Vec<Field>, says: &str| {
        let error =
            Table::open_or_create(adding(location.clone()), &Schema::new(fields), &env).await.err().expect(says);
        assert!(error.to_string().contains(says), "{error}");
    };
    check(vec![Field::new("id", DataType::Utf8, true)], "`id` is string in the pipeline but bigint in the table").await;
    check(vec![Field::new("ID", DataType::Int64, true)], "Delta ignores the case").await;
    let fixed = TableSettings::new("events", location.clone());
    let error = Table::open_or_create(fixed, &wide(), &env).await.err().expect("fixed");
    assert!(error.to_string().contains("column `unit` is missing in the table"), "{error}");
}
