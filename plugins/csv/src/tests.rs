//! The parser as a whole: blocks of files in, rows and rejections out.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_plugin::build::{BytesBuilder, Int64Builder};
use weir_plugin::infer::RESCUED;
use weir_plugin::{Batch, Column, DataType, Inference, Messages, Parsed, Schema, Values, VarBytes};

use crate::Parser;

/// A file, as the host hands it over: blocks of whole records.
struct File {
    blocks: Vec<Vec<u8>>,
    header: Option<Vec<u8>>,
}

impl File {
    /// In one block, its first line the header.
    fn new(text: &[u8]) -> Self {
        let header =
            text.split(|byte| *byte == b'\n').next().map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec());
        Self { blocks: vec![text.to_vec()], header: header.filter(|header| !header.is_empty()) }
    }

    fn chunk(&self, fields: &[&str]) -> Messages {
        let mut payload = VarBytes { offsets: vec![0], data: Vec::new() };
        let (mut headers, mut positions, mut paths) =
            (BytesBuilder::default(), Int64Builder::default(), BytesBuilder::default());
        for block in &self.blocks {
            positions.push(payload.data.len() as i64);
            paths.push(b"in/a.csv");
            match &self.header {
                Some(header) => headers.push(header),
                None => headers.push_null(),
            }
            payload.data.extend_from_slice(block);
            payload.offsets.push(i32::try_from(payload.data.len()).expect("a small chunk"));
        }
        let column = |name: &&str| match *name {
            "header" => headers.clone().into_utf8(),
            "position" => positions.clone().into_int64(),
            "file_path" => paths.clone().into_utf8(),
            other => panic!("the host has no field {other}"),
        };
        let rows = u32::try_from(self.blocks.len()).expect("few blocks");
        Messages { payload, fields: Batch { rows, columns: fields.iter().map(column).collect() } }
    }
}

/// The rows as text: cells separated by `|`, nulls as `-`.
fn rows(parsed: &Parsed) -> Vec<String> {
    assert_eq!(parsed.origins.len(), parsed.rows.rows as usize, "one origin for each row");
    (0..parsed.rows.rows as usize)
        .map(|row| parsed.rows.columns.iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|"))
        .collect()
}

fn cell(column: &Column, row: usize) -> String {
    if column.is_null(row) {
        return "-".into();
    }
    match &column.values {
        Values::Boolean(bits) => (bits[row / 8] >> (row % 8) & 1 == 1).to_string(),
        Values::Int64(values) | Values::Timestamp(values) => values[row].to_string(),
        Values::Float64(values) => format!("{:?}", values[row]),
        Values::Utf8(values) => std::str::from_utf8(values.get(row)).expect("UTF-8").to_owned(),
        Values::Binary(values) => format!("{:02x?}", values.get(row)),
        Values::List(_) | Values::Struct => unreachable!("no column of this parser"),
    }
}

fn parse(config: &Value, stored: Option<&Schema>, file: &File) -> Parsed {
    match <Parser as weir_plugin::Parser>::configure(&config.to_string(), stored.cloned()) {
        Ok((mut parser, info)) => {
            let fields: Vec<&str> = info.message_fields.iter().map(String::as_str).collect();
            parser.parse(&file.chunk(&fields)).expect("parsed")
        }
        Err(problems) => panic!("{problems:?}"),
    }
}

/// The rows of a file and its rejections as `element start..end reason`, of
/// which the expectation is a part.
#[track_caller]
fn check_with(config: &Value, stored: Option<&Schema>, file: &File, expected: &[&str], rejections: &[&str]) {
    let parsed = parse(config, stored, file);
    assert_eq!(rows(&parsed), expected);
    let found: Vec<String> = parsed
        .rejected
        .iter()
        .map(|rejection| match (rejection.element, rejection.span) {
            (Some(element), Some(span)) => {
                assert!(span.start < span.end, "an empty span: {rejection:?}");
                format!("{element} {}..{} {}", span.start, span.end, rejection.reason)
            }
            _ => format!("all {}", rejection.reason),
        })
        .collect();
    assert_eq!(found.len(), rejections.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(rejections) {
        assert!(found.contains(expected), "{found}");
    }
}

#[track_caller]
fn check(columns: &str, text: impl AsRef<[u8]>, expected: &[&str], rejections: &[&str]) {
    check_with(&json!({ "columns": columns }), None, &File::new(text.as_ref()), expected, rejections);
}

#[test]
fn columns_are_found_by_the_names_in_the_header() {
    check("b int, a string", "a,b\nx,1\ny,2\n", &["1|x", "2|y"], &[]);
    check("b int, a string", "\u{feff}a,b\r\nx,1\r\n\r\ny,2", &["1|x", "2|y"], &[]);
    check("`the b` as b int, missing int, `the b` as t string", "a,\"the b\"\n1,2\n", &["2|-|2"], &[]);
    check("a int, _c1 int, _c2 int", "a,,a\n1,2,3\n", &["1|2|3"], &[]);
    check("a int", "a,b\n", &[], &[]);
    check("a int", "a,b", &[], &[]);
    check("a int", "", &[], &[]);
    check("A int", "a\n1\n", &["-"], &[]);
    check_with(
        &json!({"columns": "Größe int", "case_sensitive": false}),
        None,
        &File::new("GRÖSSE,größe\n1,2\n".as_bytes()),
        &["2"],
        &[],
    );
}

#[test]
fn blocks_of_a_file_share_its_header() {
    let blocks = vec![b"a,b\n1,2\n".to_vec(), b"3,4\n".to_vec(), b"5,6\n".to_vec()];
    let file = File { blocks, header: Some(b"a,b".to_vec()) };
    check_with(&json!({"columns": "b int"}), None, &file, &["2", "4", "6"], &[]);
    let parsed = parse(&json!({"columns": "b int"}), None, &file);
    assert_eq!(parsed.origins, [0, 1, 2]);
    // Without a header the first record is like any other.
    check_with(&json!({"columns": "_c1 as b string", "header": false}), None, &file, &["b", "2", "4", "6"], &[]);
    let headless = File { header: None, ..file };
    check_with(&json!({"columns": "b int"}), None, &headless, &[], &["all the file has no header"; 3]);
}

#[test]
fn texts_become_what_their_column_says() {
    check("s string, i int", "s,i\n\"a,\"\"b\"\"\nc\",5\n,\n\"\",+7\n", &["a,\"b\"\nc|5", "-|-", "|7"], &[]);
    check("d double, b boolean", "d,b\n1e3,TRUE\n-.5,false\n", &["1000.0|true", "-0.5|false"], &[]);
    check("t timestamp, x binary", "t,x\n1970-01-01T00:00:01Z,AP8=\n", &["1000000|[00, ff]"], &[]);
    check("t timestamp('%d.%m.%Y'), u timestamp('epoch-s')", "t,u\n02.01.1970,1.5\n", &["86400000000|1500000"], &[]);
}

#[test]
fn other_dialects_are_read() {
    let config = json!({"columns": "a string, b double", "delimiter": ";", "quote": "'", "escape": "\\", "null": "NA"});
    let text = b"a;b\n'it\\'s';1.5\nNA;NA\n'NA';2\n;3\n";
    check_with(&config, None, &File::new(text), &["it's|1.5", "-|-", "NA|2.0", "|3.0"], &[]);
    let config = json!({"columns": "b int", "delimiter": "\\t"});
    check_with(&config, None, &File::new(b"a\tb\nx,y\t5\n"), &["5"], &[]);
}

#[test]
fn texts_of_another_type_reject_their_record_or_are_left_out() {
    let text = "a,b\nx,1\n2,y z\n3,4\n";
    check(
        "a int, b int",
        text,
        &["3|4"],
        &["0 4..7 record 0, column a: found x at byte 4, expected bigint", "1 8..13 record 1, column b: found y z"],
    );
    let config = json!({"columns": "a int, b int", "on_mismatch": "null"});
    check_with(&config, None, &File::new(text.as_bytes()), &["-|1", "2|-", "3|4"], &[]);
    check("d double", "d\nNaN\ninf\n1e400\n", &[], &["found NaN", "found inf", "found 1e400"]);
}

#[test]
fn records_that_cannot_be_read_are_rejected_and_the_rest_goes_on() {
    check(
        "a int, b int",
        "a,b\n1,2\n3,\"4\n5,6\n",
        &["1|2", "5|6"],
        &["1 8..12 record 1: this quote is never closed at byte 10"],
    );
    check("a int, b int", "a,b\n\"1\"x,2\n3,4", &["3|4"], &["0 4..10 record 0: expected a delimiter"]);
    // A line with another number of fields may be inside of the quotes.
    check("a int, b int", "a,b\n1,\"2\ntext, text, text\n3,4\n", &["3|4"], &["0 4..25"]);
    check("a int, b int", "a,b\n1,\"2\ntext", &[], &["0 4..13"]);
    check("a int, b string", "a,b\nx, \r\n\r\n1,2\r\n", &["1|2"], &["0 4..7"]);
    check("s string", b"s\n\xff\nx\n", &["x"], &["0 2..3 record 0: invalid UTF-8 at byte 2"]);
    check("s string", "s,\"t\nx,y\n", &[], &["all the header cannot be read"]);
}

#[test]
fn records_longer_and_shorter_than_the_header_are_rows() {
    check("a int, b int", "a,b\n1\n1,2,3\n", &["1|-", "1|2"], &[]);
    check("a int, _c2 int", "a,b\n1,2,3\n", &["1|3"], &[]);
}

#[test]
fn names_that_look_like_places_take_one_field_only() {
    check("_c1 int, _c2 int", "_c1,,x\n1,2,3\n", &["1|-"], &[]);
    check("_c3 int", "_c3,a\n1,2,3,4\n", &["1"], &[]);
}

#[test]
fn regression_message_of_nothing_but_faults_is_not_scanned_for_each_of_them() {
    let text = format!("a,b\n{}", "\"x\"y\n".repeat(100_000));
    let parsed = parse(&json!({"columns": "a string"}), None, &File::new(text.as_bytes()));
    assert_eq!((parsed.rows.rows, parsed.rejected.len()), (0, 1));
    let text = format!("a\n{}", "\"x\"y\nz,\"\n".repeat(20_000));
    let parsed = parse(&json!({"columns": "a string"}), None, &File::new(text.as_bytes()));
    let last = parsed.rejected.last().and_then(|rejection| rejection.span).expect("a span");
    assert!(last.end as usize > text.len() - 2, "all of it is accounted for");
}

#[test]
fn endless_rejections_become_one() {
    let text = format!("a\n{}", "x\n".repeat(20_000));
    let parsed = parse(&json!({"columns": "a int"}), None, &File::new(text.as_bytes()));
    assert_eq!((parsed.rows.rows, parsed.rejected.len()), (0, 10_001));
    let last = parsed.rejected.last().and_then(|rejection| rejection.span).expect("a span");
    assert_eq!((last.start as usize, last.end as usize), (20_002, text.len()));
}

#[test]
fn what_does_not_fit_a_stored_schema_is_rescued() {
    let stored = Schema::builder().int64("id").float64("price").utf8("s").utf8(RESCUED).build();
    let check = |text: &str, expected: &[&str]| {
        check_with(&json!({}), Some(&stored), &File::new(text.as_bytes()), expected, &[]);
    };
    let path = r#""_file_path":"in/a.csv"}"#;
    check("id,price,s\n1,2.5,x\n,,\n", &["1|2.5|x|-", "-|-|-|-"]);
    check("price,id\n$100.00,1\n", &[&format!(r#"1|-|-|{{"price":"$100.00",{path}"#)]);
    check(
        "ID,s,new\n1,x,\"say \"\"hi\"\"\"\n,y,\n",
        &[&format!(r#"-|-|x|{{"ID":"1","new":"say \"hi\"",{path}"#), "-|-|y|-"],
    );
    check("id,price\n1,NaN,surplus,\n", &[&format!(r#"1|-|-|{{"price":"NaN","_c2":"surplus",{path}"#)]);
    check("id,_file_path\n1,x\n", &["1|-|-|-"]);
    check("_rescued_data\nx\n", &[&format!(r#"-|-|-|{{"_rescued_data":"x",{path}"#)]);
    // Not even then are records that cannot be read.
    check_with(&json!({}), Some(&stored), &File::new(b"id\n\"1\n2\n"), &["2|-|-|-"], &["0 3..5"]);
    // Without its column nothing is rescued, and what does not fit is null.
    let plain = Schema::builder().int64("id").build();
    check_with(&json!({}), Some(&plain), &File::new(b"id,z\nx,1\n2,3\n"), &["-", "2"], &[]);
}

/// A schema as text, like `a: int64`; unknown is `?`.
fn shown(schema: &Schema) -> String {
    let name = |field: &weir_plugin::Field| match field.data_type {
        DataType::Struct => format!("{}: ?", field.name),
        other => format!("{}: {}", field.name, other.name()),
    };
    schema.fields.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn infer(config: &Value, file: &File) -> Schema {
    // The host learns in this way which message fields a sample needs.
    let nothing = Schema::builder().utf8(RESCUED).build();
    let configured = <Parser as weir_plugin::Parser>::configure(&config.to_string(), Some(nothing));
    let (_, info) = configured.expect("a schema of nothing but the rescued is one");
    let fields: Vec<&str> = info.message_fields.iter().map(String::as_str).collect();
    match Parser::infer(&config.to_string(), &file.chunk(&fields)) {
        Ok(schema) => schema,
        Err(problems) => panic!("{problems:?}"),
    }
}

#[test]
fn types_are_inferred_from_all_texts() {
    let check = |config: Value, text: &str, expected: &str| {
        assert_eq!(shown(&infer(&config, &File::new(text.as_bytes()))), expected, "{text}");
    };
    check(
        json!({}),
        "s,i,d,b,t,none\nx,1,1,true,2025-10-05 18:40:10,\ny,-2,2.5,FALSE,2025-10-05T18:40:10Z,\n",
        "b: boolean, d: float64, i: int64, none: ?, s: utf8, t: timestamp",
    );
    check(json!({}), "zip,date,empty,nan\n007,2025-10-05,\"\",NaN\n", "date: utf8, empty: utf8, nan: utf8, zip: utf8");
    check(json!({}), "a,b\n1,\"2\n3,4\n", "a: int64, b: int64");
    check(json!({}), "a\n1,surplus\n", "a: int64");
    check(json!({}), "a,_rescued_data,,a\n1,2,3,4\n", "_c2: int64, _c3: int64, a: int64");
    check(json!({}), "a,A\n1,x\n", "A: utf8, a: int64");
    check(json!({"case_sensitive": false}), "b,B\n1,x\n", "_c1: utf8, b: int64");
    check(json!({"header": false}), "1,x\n2.5,y,true\n", "_c0: float64, _c1: utf8, _c2: boolean");
    check(json!({"null": "NA", "delimiter": ";"}), "a;b\nNA;1,5\n2;\n", "a: int64, b: utf8");
    check(json!({}), "", "");
}

/// A record of texts that are of all types.
fn record() -> impl Strategy<Value = Vec<String>> {
    let text = prop_oneof![
        Just(String::new()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<i32>().prop_map(|number| format!("{:?}", f64::from(number) / 1024.0)),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "2025-1[0-2]-0[1-9]T1[0-9]:[0-5][0-9]:00Z",
        "[ -~\n\r]{0,20}",
        any::<String>(),
    ];
    vec(text, 4)
}

fn written(records: &[Vec<String>], quote_all: bool) -> String {
    let mut text = "a,b,c,d\n".to_owned();
    for record in records {
        let field = |field: &String| {
            let plain = !quote_all && !field.contains([',', '"', '\n', '\r']) && !field.starts_with('\u{feff}');
            if plain { field.clone() } else { format!("\"{}\"", field.replace('"', "\"\"")) }
        };
        text.push_str(&record.iter().map(field).collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Read as text, every field comes back; and in the inferred schema every
    /// record is a row of which nothing is rescued.
    #[test]
    fn a_sample_fits_the_schema_inferred_from_it(records in vec(record(), 0..8), quote_all in any::<bool>()) {
        let file = File::new(written(&records, quote_all).as_bytes());
        let texts = parse(&json!({"columns": "a string, b string, c string, d string"}), None, &file);
        let expected: Vec<String> = records.iter().map(|record| {
            let field = |field: &String| if field.is_empty() && !quote_all { "-".to_owned() } else { field.clone() };
            record.iter().map(field).collect::<Vec<_>>().join("|")
        }).collect();
        prop_assert_eq!(rows(&texts), expected);

        let mut schema = infer(&json!({}), &file);
        for field in &mut schema.fields {
            if field.data_type == DataType::Struct {
                field.data_type = DataType::Utf8;
            }
        }
        schema.fields.extend(Schema::builder().utf8(RESCUED).build().fields);
        let parsed = parse(&json!({}), Some(&schema), &file);
        prop_assert!(parsed.rejected.is_empty());
        prop_assert_eq!(parsed.rows.rows as usize, records.len());
        for (row, record) in records.iter().enumerate() {
            prop_assert_eq!(cell(&parsed.rows.columns[4], row), "-");
            for (field, column) in record.iter().zip(&parsed.rows.columns) {
                match &column.values {
                    _ if field.is_empty() && !quote_all => prop_assert!(column.is_null(row)),
                    Values::Int64(values) => prop_assert_eq!(values[row].to_string(), field.as_str()),
                    Values::Float64(values) => prop_assert_eq!(Ok(values[row]), field.parse::<f64>()),
                    Values::Timestamp(_) => prop_assert!(!column.is_null(row)),
                    Values::Boolean(_) => prop_assert_eq!(cell(column, row), field.to_lowercase()),
                    _ => prop_assert_eq!(&cell(column, row), field),
                }
            }
        }
    }

    #[test]
    fn the_order_of_a_sample_does_not_matter(mut records in vec(record(), 1..8), turn in any::<prop::sample::Index>()) {
        let schema = shown(&infer(&json!({}), &File::new(written(&records, false).as_bytes())));
        let turn = turn.index(records.len());
        records.rotate_left(turn);
        prop_assert_eq!(shown(&infer(&json!({}), &File::new(written(&records, false).as_bytes()))), schema);
    }

    /// Rows and rejections number the records of a message without a gap, and
    /// what is rejected does not overlap.
    #[test]
    fn damaged_files_neither_panic_nor_lose_records(text in "[a1,\"\n\r;\u{e9}]{0,60}", header in any::<bool>()) {
        let config = json!({"columns": "`a` int, `1` string, _c0 double", "header": header});
        let file = File { header: Some(b"a,1".to_vec()), ..File::new(text.as_bytes()) };
        let parsed = parse(&config, None, &file);
        rows(&parsed);
        let mut end = 0;
        let mut elements = Vec::new();
        for rejection in &parsed.rejected {
            if let Some(span) = rejection.span {
                prop_assert!(end <= span.start && span.start < span.end && span.end as usize <= text.len());
                end = span.end;
                elements.push(rejection.element.expect("an element") as usize);
            }
        }
        let records = parsed.rows.rows as usize + elements.len();
        prop_assert!(elements.iter().all(|element| *element < records));
        prop_assert!(elements.is_sorted_by(|one, other| one < other));
        infer(&json!({"header": header}), &file);
    }
}
