//! Where an event hub is read from at the first start, what its messages bring
//! along, and what must not be seen.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use weir_tests::binary::{succeed, text, weir};
use weir_tests::event_hubs::{Condition, Fault, LocalHubs, Message, Settings, Target, Value as Amqp, When};

use crate::event_hubs::{fill, pipeline, project, rows, run};

/// Three partitions of ten messages with the sequence numbers from 100 on, that
/// came a second apart.
fn hubs() -> LocalHubs {
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 3).with_first_sequence(100));
    for partition in 0..3 {
        let message = |id: i64| Message::new(format!("{{\"id\": {id}}}")).enqueued_at(1_760_000_000_000 + id * 1000);
        hubs.append_messages("telemetry", partition, (100..110).map(message));
    }
    hubs
}

/// With this start, each partition is read from this sequence number on; and
/// messages that come later are read once.
#[track_caller]
fn check(keys: &str, firsts: [u64; 3]) {
    let hubs = hubs();
    let folder = project("available-now", keys);
    run(folder.path(), &hubs);
    let later: Vec<_> = (110..112).map(|id| format!("{{\"id\": {id}}}").into()).collect::<Vec<_>>();
    for partition in 0..3 {
        hubs.append_many("telemetry", partition, later.clone());
    }
    run(folder.path(), &hubs);
    let expected: Vec<_> = firsts
        .iter()
        .enumerate()
        .flat_map(|(partition, first)| (*first..112).map(move |id| (partition.to_string(), id, id)))
        .collect();
    assert_eq!(rows(folder.path()), expected, "{keys}");
}

#[test]
fn first_start_begins_where_the_pipeline_says() {
    let offset = hubs().messages("telemetry", 0)[4].place.offset;
    let cases = [
        ("start = \"earliest\"".to_owned(), [100; 3]),
        ("start = \"-1\"".to_owned(), [100; 3]),
        ("start = \"@earliest\"".to_owned(), [100; 3]),
        ("start = \"latest\"".to_owned(), [110; 3]),
        ("start = \"@latest\"".to_owned(), [110; 3]),
        ("start = { sequence_number = 105 }".to_owned(), [105; 3]),
        ("start = { sequence_number = 105, inclusive = false }".to_owned(), [106; 3]),
        ("start = { sequence_number = 109, inclusive = false }".to_owned(), [110; 3]),
        (format!("start = {{ offset = \"{offset}\" }}"), [104; 3]),
        (format!("start = {{ offset = \"{offset}\", inclusive = false }}"), [105; 3]),
        (
            "start = \"latest\"\npartition_start = { \"1\" = \"earliest\", \"2\" = { sequence_number = 108 } }"
                .to_owned(),
            [110, 100, 108],
        ),
    ];
    for (keys, firsts) in cases {
        check(&keys, firsts);
    }
    // 1760000105 s is 2025-10-09T08:55:05Z.
    check("start = { enqueued_time = \"2025-10-09T08:55:05Z\" }", [105; 3]);
    check("start = { enqueued_time = \"2025-10-09T08:55:05Z\", inclusive = false }", [106; 3]);
    check("start = { enqueued_time = \"2025-10-09T10:00:00Z\" }", [110; 3]);
}

#[test]
fn position_beyond_the_end_is_refused_with_the_end() {
    let hubs = hubs();
    let folder = project("available-now", "start = { sequence_number = 500 }");
    let output = weir(folder.path(), &["run", "pipeline.toml"])
        .env("HUBS", hubs.connection_string("telemetry"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("ends before 110"), "{}", text(&output));
}

#[test]
fn epochs_have_as_many_messages_as_they_may_in_proportion_to_what_waits() {
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 2));
    fill(&hubs, 1, 0, 300);
    fill(&hubs, 2, 300, 400);
    let folder = tempfile::tempdir().unwrap();
    crate::binary();
    let text = pipeline("available-now", "start = \"earliest\"");
    let text = text.replace("trigger =", "max_events_per_epoch = 100\ntrigger =");
    fs::write(folder.path().join("pipeline.toml"), text).unwrap();
    let epochs = run(folder.path(), &hubs);
    assert_eq!(epochs.len(), 5);
    for epoch in &epochs {
        assert_eq!(epoch["numInputRows"], 100, "{epoch}");
        let source = &epoch["sources"][0];
        let read = |partition: &str| {
            source["endOffset"][partition].as_u64().unwrap() - source["startOffset"][partition].as_u64().unwrap()
        };
        assert_eq!((read("0"), read("1")), (80, 20), "{epoch}");
    }
}

const FIELDS: &str = r#"
[table.fields]
path = "data/fields"
columns = [
    "message.body as body", "message.partition as partition", "message.offset as offset",
    "message.sequence_number as number", "message.enqueued_time as enqueued", "message.publisher as publisher",
    "message.partition_key as key", "message.properties as properties", "message.system_properties as system",
]
"#;

#[test]
fn messages_bring_their_fields_into_tables() {
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 1));
    let first = Message::new("{\"id\": 1}")
        .with_key("sensor-7")
        .with_publisher("gateway")
        .with_properties([("site", Amqp::string("north")), ("line", Amqp::Long(4))])
        .with_annotation("x-custom", Amqp::string("kept"))
        .enqueued_at(1_760_000_000_123);
    hubs.append_messages("telemetry", 0, [first, Message::new("{\"id\": 2}").enqueued_at(1_760_000_001_000)]);
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{}{FIELDS}", pipeline("available-now", "start = \"earliest\""));
    fs::write(folder.path().join("pipeline.toml"), text).unwrap();
    run(folder.path(), &hubs);
    let shown = succeed(folder.path(), &["table", "show", "data/fields", "--json"]);
    let mut rows: Vec<Value> = shown.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    rows.sort_by_key(|row| row["number"].as_u64());
    let offset = |number: usize| hubs.messages("telemetry", 0)[number].place.offset;
    let parsed = |row: &Value, column: &str| -> Value { serde_json::from_str(row[column].as_str().unwrap()).unwrap() };
    assert_eq!(rows[0]["partition"], "0");
    assert_eq!((&rows[0]["publisher"], &rows[0]["key"]), (&json!("gateway"), &json!("sensor-7")));
    assert_eq!(rows[0]["offset"], json!(offset(0).to_string()));
    assert_eq!(parsed(&rows[0], "properties"), json!({ "site": "north", "line": 4 }));
    assert_eq!(parsed(&rows[0], "system"), json!({ "x-custom": "kept" }));
    assert!(rows[0]["enqueued"].as_str().unwrap().contains("08:53:20.123"), "{}", rows[0]);
    assert_eq!(rows[1]["offset"], json!(offset(1).to_string()));
    for column in ["publisher", "key", "properties", "system"] {
        assert!(rows[1].get(column).is_none_or(Value::is_null), "{column} of {}", rows[1]);
    }
    assert!(rows[0]["body"].as_str().is_some(), "{}", rows[0]);
}

/// All bytes of the files of a folder.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let files =
        walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files.flat_map(|entry| fs::read(entry.path()).unwrap()).collect()
}

#[test]
fn secret_of_a_connection_string_is_seen_nowhere() {
    const CANARY: &str = "Q0FOQVJZZWpuZ2V3YWxk";
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 2).with_key("all", CANARY));
    fill(&hubs, 2, 0, 50);
    let keys = "start = \"earliest\"\ntimeout = \"1s\"\nmax_outage = \"2s\"";
    let folder = project("available-now", keys);
    let connection = hubs.connection_string("telemetry");
    assert!(connection.contains(CANARY));
    let mut printed = String::new();
    let mut run = |arguments: &[&str], connection: &str, code: i32| {
        let output = weir(folder.path(), arguments).env("HUBS", connection).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        printed.push_str(&text(&output));
    };
    let all = ["run", "pipeline.toml", "--progress", "json", "--log", "trace", "--profile", "--show"];
    run(&all, &connection, 0);
    hubs.inject(
        Target::hub("telemetry").receivers(),
        When::EveryDeliveries(20),
        Fault::Detach(Condition::internal_error()),
    );
    fill(&hubs, 2, 50, 100);
    run(&all, &connection, 0);
    // Refused, unreachable, and strings that are broken in several places.
    run(&all, &connection.replace(CANARY, &format!("{CANARY}wrong")), 2);
    hubs.shut_down_listener();
    run(&all, &connection, 3);
    for broken in [
        connection.replace("Endpoint=", "Endpont="),
        connection.replace("SharedAccessKeyName=", "Name="),
        CANARY.to_owned(),
        format!("Endpoint={CANARY};SharedAccessKeyName=a;SharedAccessKey={CANARY}"),
    ] {
        run(&["check", "pipeline.toml", "--log", "trace"], &broken, 2);
    }
    assert!(!printed.contains(CANARY), "printed");
    let written = bytes_below(folder.path());
    let is_written = written.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    assert!(!is_written, "in the checkpoint or a table");
}
