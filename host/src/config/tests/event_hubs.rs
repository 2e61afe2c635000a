//! Event hubs as sources: how they are reached and where they begin.

use super::*;
use crate::event_hubs::{Credential, Identity, Position, Transport};
use crate::model::PartitionId;
use crate::source::event_hubs::{EventHubsSettings, OnDataLoss, StartAt};

const FILES: &str = "[source.files]\npath = \"input/\"\nglob = \"*.json\"\n";
const COLUMN: &str = "message.file_name as partition";

fn with(keys: &str) -> [(&'static str, String); 2] {
    [(FILES, format!("[source.event_hubs]\n{keys}\n")), (COLUMN, "message.partition as partition".to_owned())]
}

/// The settings of a file with these keys, of which nothing is printed.
#[track_caller]
fn settings(keys: &str) -> EventHubsSettings {
    let mut text = VALID.to_owned();
    for (from, to) in with(keys) {
        text = text.replace(from, &to);
    }
    let (pipeline, file) = parsed(&text).unwrap_or_else(|problems| panic!("{problems}"));
    let shown = format!("{pipeline:?} {file:?}");
    assert!(!shown.contains("5f1d"), "{shown}");
    let SourceConfig::EventHubs(settings) = pipeline.source else { panic!("it is an event hub") };
    *settings
}

/// What is said about these keys, of which the first is on line 9.
#[track_caller]
fn check_keys(keys: &str, expected: &[&str]) {
    let replacements = with(keys);
    let said = said(&replacements.each_ref().map(|(from, to)| (*from, to.as_str())));
    assert_eq!(said.lines().count(), expected.len(), "{said}");
    for text in expected {
        assert!(said.contains(text), "`{text}` is not in\n{said}");
    }
    assert!(!said.contains("5f1d"), "{said}");
}

#[test]
fn connection_string_and_start_are_enough() {
    let settings = settings("event_hub = \"a\"\nconnection_string = \"${HUB}\"\nstart = \"earliest\"");
    assert_eq!(settings.hub.to_string(), "event hub a of n.servicebus.windows.net");
    assert_eq!((settings.hub.transport, settings.hub.endpoint), (Transport::Amqp, None));
    assert_eq!((settings.consumer_group.as_str(), settings.start), ("$Default", StartAt::At(Position::Earliest)));
    assert_eq!((settings.owner_level, settings.prefetch), (Some(0), 5000));
    assert_eq!((settings.on_data_loss, settings.buffer_bytes), (OnDataLoss::Fail, 64 << 20));
}

#[test]
fn every_key_has_its_place() {
    let settings = settings(
        r#"
        event_hub = "a"
        namespace = "sb://n.servicebus.windows.net/"
        credential = "managed-identity"
        client_id = "0000"
        transport = "websocket"
        endpoint = "amqps://proxy:443"
        consumer_group = "weir"
        start = { enqueued_time = "1970-01-01T00:00:01Z", inclusive = false }
        partition_start = { "0" = "@latest", "1" = { offset = 7 }, "2" = { sequence_number = 3 }, "3" = { offset = "-1" } }
        owner_level = "none"
        prefetch = 9
        buffer = "2MiB"
        on_data_loss = "continue"
        timeout = "3s"
        max_outage = "1m""#,
    );
    assert_eq!(settings.hub.namespace, "n.servicebus.windows.net");
    let identity = Identity::ManagedIdentity { client_id: Some("0000".to_owned()) };
    assert_eq!(settings.hub.credential, Credential::Entra(identity));
    assert_eq!(settings.hub.transport, Transport::WebSocket);
    assert_eq!(settings.hub.endpoint.as_ref().map(url::Url::as_str), Some("amqps://proxy:443"));
    assert_eq!(settings.start, StartAt::At(Position::EnqueuedTime { time_us: 1_000_000, inclusive: false }));
    let expected = [
        ("0", StartAt::Latest),
        ("1", StartAt::At(Position::Offset { offset: "7".to_owned(), inclusive: true })),
        ("2", StartAt::At(Position::SequenceNumber { number: 3, inclusive: true })),
        ("3", StartAt::At(Position::Earliest)),
    ];
    let expected = expected.map(|(partition, start)| (PartitionId(partition.to_owned()), start));
    assert_eq!(settings.partition_starts, expected.into());
    assert_eq!((settings.owner_level, settings.prefetch, settings.buffer_bytes), (None, 9, 2 << 20));
    assert_eq!((settings.timeout.as_secs(), settings.max_outage.as_secs()), (3, 60));
    assert_eq!(settings.on_data_loss, OnDataLoss::Continue);
}

#[test]
fn all_that_is_wrong_with_an_event_hub_is_told_at_once() {
    check_keys(
        "connection_string = \"${NO_HUB}\"\nclient_id = \"x\"\nendpoint = \"localhost\"\nstart = \"begin\"\n\
         owner_level = -1\nprefetch = 0\ntimeout = \"0s\"\npartition_start = { \"0\" = { offset = \"\" } }\non_dataloss = \"fail\"",
        &[
            "9: source.event_hubs.connection_string: that is not a connection string: it has neither",
            "10: source.event_hubs.client_id: a connection string brings its own credential",
            "10: source.event_hubs.client_id: only a managed identity",
            "11: source.event_hubs.endpoint: `localhost` is not an endpoint",
            "12: source.event_hubs.start: `begin` is not a position",
            "13: source.event_hubs.owner_level: that is no owner level",
            "14: source.event_hubs.prefetch: 0 is out of range",
            "15: source.event_hubs.timeout: `0s` is not a duration",
            "that is not an offset",
            "did you mean `on_data_loss`?",
        ],
    );
}

#[test]
fn ways_to_an_event_hub_that_contradict_each_other_are_refused() {
    check_keys("start = \"earliest\"", &["it is not said how the event hub is reached"]);
    check_keys("event_hub = \"a\"\nconnection_string = \"${HUB}\"", &["the key `start` is missing"]);
    check_keys(
        "connection_string = \"${HUB}\"\nnamespace = \"n\"\nstart = \"latest\"",
        &["there is a connection string, too"],
    );
    check_keys("connection_string = \"${HUB}\"\nstart = \"latest\"", &["it is not said which event hub"]);
    check_keys(
        "event_hub = \"a\"\nconnection_string = \"${OTHER_HUB}\"\nstart = \"latest\"",
        &["the connection string is for another event hub"],
    );
    check_keys(
        "event_hub = \"a\"\nconnection_string = \"${HUB}\"\nstart = { offset = \"1\", sequence_number = 1 }",
        &["a position is exactly one of them"],
    );
    check_keys(
        "event_hub = \"a\"\nnamespace = \"https://n/x\"\nstart = \"latest\"",
        &["is not the host of a namespace"],
    );
}

#[test]
fn two_sources_are_refused() {
    let both =
        format!("[source.event_hubs]\nevent_hub = \"a\"\nconnection_string = \"${{HUB}}\"\nstart = \"-1\"\n{FILES}");
    check(
        &[(FILES, &both)],
        1,
        &["source.files: there are two sources", "keep `[source.event_hubs]` or `[source.files]`"],
    );
}
