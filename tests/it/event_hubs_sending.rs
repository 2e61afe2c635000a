//! What weir sends to event hubs: alerts, files, made-up readings; and over which
//! transports it reaches one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use weir_tests::binary::{succeed, text, weir};
use weir_tests::event_hubs::{Condition, Cut, Fault, LocalHubs, Loss, Moment, Settings, Stored, Target, When};
use weir_tests::front::{Front, Speaks};

use crate::event_hubs::{fill, filled, project, rows};

const PIPELINE: &str = r#"
[pipeline]
name = "alarms"
checkpoint = "data/checkpoint"
trigger = "available-now"
max_events_per_epoch = 30

[source.event_hubs]
connection_string = "${HUBS}"
event_hub = "telemetry"
start = "earliest"

[parser]
plugin = "builtin:json"
config = { columns = "id bigint, device string, temperature double" }

[table.readings]
path = "data/readings"

[rule.hot]
plugin = "builtin:thresholds"
config.levels = [{ column = "temperature", above = 30.0, kind = "HOT", severity = "WARNING", message = "{value}°C" }]
table = { path = "data/alerts", columns = ["id", "device", "alert.id as alert_id"] }
notify = [{ event_hub = "alerts", connection_string = "${HUBS}", partition_key = ["device"], timeout = "2s" }]
"#;

fn hubs() -> LocalHubs {
    LocalHubs::start_blocking(Settings::hub("telemetry", 2).and_hub("alerts", 3).with_key("all", "c2VjcmV0"))
}

/// The connection string of the namespace.
fn namespace(hubs: &LocalHubs) -> String {
    hubs.connection_string("telemetry").replace("EntityPath=telemetry;", "").replace(";EntityPath=telemetry", "")
}

fn all(hubs: &LocalHubs, hub: &str) -> Vec<(usize, Stored)> {
    let of = |partition| hubs.messages(hub, partition).into_iter().map(move |message| (partition, message));
    (0..hubs.partitions(hub)).flat_map(of).collect()
}

/// Runs the pipeline over a hundred readings, of which the odd ones are hot.
#[track_caller]
fn alarm(hubs: &LocalHubs) -> tempfile::TempDir {
    crate::binary();
    for id in 0..100 {
        let temperature = if id % 2 == 1 { 31.5 } else { 20.0 };
        let body = format!("{{\"id\": {id}, \"device\": \"d-{}\", \"temperature\": {temperature}}}", id % 7);
        hubs.append("telemetry", id % 2, body);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.toml"), PIPELINE).unwrap();
    let output = weir(folder.path(), &["run", "pipeline.toml"]).env("HUBS", namespace(hubs)).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    folder
}

/// The ids of alerts in the table.
fn ids_of_table(folder: &Path) -> BTreeSet<String> {
    let shown = succeed(folder, &["table", "show", "data/alerts", "--json", "--limit", "1000"]);
    let id = |row: &str| serde_json::from_str::<Value>(row).unwrap()["alert_id"].as_str().unwrap().to_owned();
    shown.lines().map(id).collect()
}

#[test]
fn alerts_arrive_with_the_id_of_their_table_and_the_key_of_their_row() {
    let hubs = hubs();
    let folder = alarm(&hubs);
    let messages = all(&hubs, "alerts");
    let mut partitions: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for (partition, message) in &messages {
        let alert: Value = serde_json::from_slice(&message.body).unwrap();
        let id = alert["id"].as_str().unwrap();
        assert_eq!(message.message_id().and_then(|id| id.as_str()), Some(id));
        assert_eq!(message.key.as_deref(), alert["row"]["device"].as_str());
        assert_eq!(message.content_type(), Some("application/json"));
        for (name, value) in [("rule", "hot"), ("kind", "HOT"), ("severity", "WARNING"), ("pipeline", "alarms")] {
            assert_eq!(message.property(name).and_then(|value| value.as_str()), Some(value), "{name}");
        }
        partitions.entry(message.key.clone().unwrap()).or_default().insert(*partition);
        ids.insert(id.to_owned());
    }
    assert_eq!((messages.len(), ids.len()), (50, 50), "each once");
    assert_eq!(ids, ids_of_table(folder.path()));
    assert!(partitions.len() == 7 && partitions.values().all(|of_key| of_key.len() == 1), "{partitions:?}");
}

#[test]
fn key_that_alerts_do_not_have_is_refused() {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.toml"), PIPELINE.replace("\"id\", \"device\", ", "\"id\", ")).unwrap();
    let hubs = hubs();
    let output = weir(folder.path(), &["check", "pipeline.toml"]).env("HUBS", namespace(&hubs)).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("no column `device` to choose a partition by"), "{}", text(&output));
}

#[test]
fn alerts_arrive_at_least_once_whatever_happens_to_the_connection() {
    let faults = [
        (Fault::LoseAcknowledgement(Loss::Silent), When::Now),
        (Fault::LoseAcknowledgement(Loss::Dropped), When::AfterDeliveries(10)),
        (Fault::RejectSend(Condition::server_busy()), When::Now),
        (Fault::Freeze(Moment::Send, None), When::Now),
        (Fault::Drop(Cut::BetweenFrames), When::AfterDeliveries(20)),
        (Fault::RefuseAttach(Condition::server_busy()), When::Now),
        (Fault::Detach(Condition::detach_forced()), When::AfterDeliveries(15)),
    ];
    for (fault, when) in faults {
        let hubs = hubs();
        let id = hubs.inject(Target::hub("alerts").senders(), when, fault.clone());
        let folder = alarm(&hubs);
        assert!(hubs.fired(id) > 0, "{fault:?} did not happen");
        let id_of = |message: &Stored| message.message_id().and_then(|id| id.as_str()).unwrap().to_owned();
        let mut ids: BTreeSet<String> = all(&hubs, "alerts").iter().map(|(_, message)| id_of(message)).collect();
        let expected = ids_of_table(folder.path());
        // What a run has no more time to send waits for the next one.
        for _ in 0..3 {
            if ids == expected {
                break;
            }
            let output = weir(folder.path(), &["run", "pipeline.toml"]).env("HUBS", namespace(&hubs)).output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
            ids = all(&hubs, "alerts").iter().map(|(_, message)| id_of(message)).collect();
        }
        assert_eq!(ids, expected, "{fault:?}");
    }
}

/// Runs `weir send` with these arguments.
fn send(folder: &Path, hubs: &LocalHubs, arguments: &[&str]) -> Output {
    crate::binary();
    let arguments: Vec<&str> = ["send"].into_iter().chain(arguments.iter().copied()).collect();
    weir(folder, &arguments).env("EVENT_HUBS_CONNECTION_STRING", namespace(hubs)).output().unwrap()
}

#[track_caller]
fn sent(folder: &Path, hubs: &LocalHubs, arguments: &[&str], says: &str) {
    let output = send(folder, hubs, arguments);
    assert!(output.status.success() && text(&output).contains(says), "{}", text(&output));
}

#[test]
fn files_lines_and_readings_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.json"), "[{\"id\": 1}]\n").unwrap();
    fs::write(folder.path().join("b.json"), "{\"id\": 2}").unwrap();
    fs::write(folder.path().join("c.jsonl"), "{\"id\": 3}\r\n\n{\"id\": 4}\n").unwrap();
    let hubs = hubs();
    sent(folder.path(), &hubs, &["--event-hub", "telemetry", "a.json", "b.json"], "2 messages (21 bytes) sent");
    let line_key = ["--event-hub", "alerts", "--lines", "c.jsonl", "--partition-key", "k"];
    sent(folder.path(), &hubs, &line_key, "2 messages (18 bytes) sent");
    let bodies = |hub: &str| -> BTreeSet<String> {
        all(&hubs, hub).iter().map(|(_, message)| String::from_utf8(message.body.to_vec()).unwrap()).collect()
    };
    assert_eq!(bodies("telemetry"), BTreeSet::from(["[{\"id\": 1}]\n".to_owned(), "{\"id\": 2}".to_owned()]));
    assert_eq!(bodies("alerts"), BTreeSet::from(["{\"id\": 3}".to_owned(), "{\"id\": 4}".to_owned()]));
    assert!(all(&hubs, "alerts").iter().all(|(_, message)| message.key.as_deref() == Some("k")));

    let readings = ["--event-hub", "telemetry", "--readings", "30000", "--readings-per-message", "10"];
    sent(folder.path(), &hubs, &readings, "3000 messages");
    let readings =
        all(&hubs, "telemetry").iter().map(|(_, message)| message.body.len()).filter(|bytes| *bytes > 100).count();
    assert_eq!(readings, 3000);
    fs::write(folder.path().join("pipeline.toml"), PIPELINE).unwrap();
    let output =
        weir(folder.path(), &["send", "--to", "pipeline.toml", "a.json"]).env("HUBS", namespace(&hubs)).output();
    assert!(text(&output.unwrap()).contains("1 message ("));
}

#[test]
fn sending_goes_on_after_a_break_and_says_what_it_could_not_send() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..500).map(|id| format!("{{\"id\": {id}}}\n")).collect();
    fs::write(folder.path().join("lines.jsonl"), lines).unwrap();
    for fault in [
        Fault::LoseAcknowledgement(Loss::Dropped),
        Fault::RejectSend(Condition::server_busy()),
        Fault::Drop(Cut::WithinFrame),
        Fault::Detach(Condition::internal_error()),
    ] {
        let hubs = hubs();
        let id = hubs.inject(Target::hub("telemetry").senders(), When::AfterAttaches(0), fault.clone());
        sent(
            folder.path(),
            &hubs,
            &["--timeout", "3s", "--event-hub", "telemetry", "--lines", "lines.jsonl"],
            "500 messages",
        );
        assert!(hubs.fired(id) > 0, "{fault:?} did not happen");
        let bodies: BTreeSet<_> = all(&hubs, "telemetry").into_iter().map(|(_, message)| message.body).collect();
        assert_eq!(bodies.len(), 500, "{fault:?}");
    }
    fs::write(folder.path().join("large.bin"), vec![b'x'; 2 << 20]).unwrap();
    let output = send(folder.path(), &hubs(), &["--event-hub", "telemetry", "lines.jsonl", "large.bin"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("so far 1 of the messages") && text(&output).contains("2097152 bytes"),
        "{}",
        text(&output)
    );
    let output = send(folder.path(), &hubs(), &["--event-hub", "nowhere", "lines.jsonl"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("nowhere") && text(&output).contains("check the names"), "{}", text(&output));
}

#[test]
fn tls_and_web_sockets_carry_the_same_messages() {
    for (speaks, scheme, keys) in
        [(Speaks::Tls, "amqps", ""), (Speaks::WebSocket, "wss", "transport = \"websocket\"\n")]
    {
        let hubs = hubs();
        fill(&hubs, 2, 0, 2000);
        let front = Front::start(speaks, hubs.port());
        let folder = project(
            "available-now",
            &format!(
                "endpoint = \"{scheme}://localhost:{}\"\n{keys}start = \"earliest\"\ntimeout = \"10s\"",
                front.port()
            ),
        );
        let certificate = folder.path().join("certificate.pem");
        front.write_certificate(&certificate);
        let run = |trusts: bool| {
            let mut command = weir(folder.path(), &["run", "pipeline.toml"]);
            command.env("HUBS", hubs.connection_string("telemetry"));
            if trusts {
                command.env("SSL_CERT_FILE", &certificate);
            }
            command
        };
        let output = run(true).output().unwrap();
        assert!(output.status.success(), "{speaks:?}: {}", text(&output));
        assert!(rows(folder.path()) == filled(2, 0, 2000), "{speaks:?}");
    }
}
