//! The local Event Hubs endpoint held to the protocol by a client that we did not
//! write: the official Python package `azure-eventhub`, with AMQP of its own.

use std::time::Duration;

use weir_tests::event_hubs::{AtEnd, Condition, Fault, LocalHubs, Message, Settings, Stored, Target, Value, When};
use weir_tests::python;

const LIMIT: Duration = Duration::from_secs(60);

/// What all scripts begin with.
const CLIENT: &str = r#"
import sys, threading
from datetime import datetime, timezone
from azure.eventhub import EventHubConsumerClient, EventHubProducerClient, EventData
from azure.eventhub.exceptions import EventHubError

connection = sys.argv[1]

def producer(**options):
    return EventHubProducerClient.from_connection_string(connection, **options)

def consumer(**options):
    return EventHubConsumerClient.from_connection_string(connection, "$Default", **options)

def receive(count, retries=3, **options):
    client, events, errors, done = consumer(retry_total=retries), [], [], threading.Event()
    def on_event(context, event):
        events.append(event)
        if len(events) >= count:
            done.set()
    def on_error(context, error):
        errors.append(error)
        done.set()
    options = dict(options, on_event=on_event, on_error=on_error)
    thread = threading.Thread(target=client.receive, kwargs=options, daemon=True)
    thread.start()
    assert done.wait(30), len(events)
    client.close()
    thread.join(30)
    if errors:
        raise errors[0]
    return events
"#;

#[track_caller]
fn script(script: &str, hubs: &LocalHubs, arguments: &[&str]) -> String {
    let connection = hubs.connection_string("telemetry");
    let arguments: Vec<_> = [connection.as_str()].into_iter().chain(arguments.iter().copied()).collect();
    python::script(&format!("{CLIENT}\n{script}"), &arguments)
}

/// An endpoint that checks the signatures of tokens.
fn hubs() -> LocalHubs {
    LocalHubs::start_blocking(Settings::hub("telemetry", 4).with_key("root", "c2VjcmV0").with_first_sequence(100))
}

const SEND: &str = r#"
with producer() as client:
    # One at a time, in turn over the partitions.
    for number in range(8):
        client.send_event(EventData(f"single {number}"))
    client.send_event(EventData("to a partition"), partition_id="2")

    event = EventData(b"\x00\xff")
    event.properties = {"text": "t", "number": 7, "truth": True, "float": 1.5, "bytes": b"b"}
    event.content_type = "application/octet-stream"
    event.correlation_id = "the cause"
    event.message_id = "the id"
    client.send_event(event, partition_id="3")

    # A batch with a key stays together; the same key finds the same partition later.
    batch = client.create_batch(partition_key="sensor-001")
    for number in range(50):
        batch.add(EventData(f"batch {number}"))
    client.send_batch(batch)
    client.send_event(EventData("keyed"), partition_key="sensor-001")

    # Many frames.
    client.send_event(EventData(b"x" * 900_000), partition_id="0")
    # The client knows the limit of batches from the link, and sends single events all the same.
    try:
        client.create_batch(partition_id="0").add(EventData(b"x" * 1_100_000))
        raise SystemExit("a batch took what is too large")
    except ValueError:
        pass
with producer(retry_total=0) as client:
    try:
        client.send_event(EventData(b"x" * 1_100_000), partition_id="0")
        raise SystemExit("a message that is too large was sent")
    except EventHubError:
        pass
"#;

fn bodies(messages: &[Stored]) -> Vec<&str> {
    messages.iter().filter_map(|message| std::str::from_utf8(&message.body).ok()).collect()
}

#[test]
fn python_sends_events_batches_keys_and_properties() {
    let hubs = hubs();
    script(SEND, &hubs, &[]);
    let partitions: Vec<_> = (0..4).map(|partition| hubs.messages("telemetry", partition)).collect();
    for (number, messages) in partitions.iter().enumerate() {
        let expected = [format!("single {number}"), format!("single {}", number + 4)];
        assert_eq!(bodies(messages)[..2], expected);
        let numbers: Vec<_> = messages.iter().map(|message| message.place.sequence_number).collect();
        assert_eq!(numbers, (100..100 + messages.len() as i64).collect::<Vec<_>>());
    }
    assert_eq!(bodies(&partitions[2])[2], "to a partition");

    let rich = partitions[3].iter().find(|message| message.body[..] == [0, 255]).unwrap();
    assert_eq!(rich.content_type(), Some("application/octet-stream"));
    assert_eq!(rich.correlation_id().and_then(Value::as_str), Some("the cause"));
    assert_eq!(rich.message_id().and_then(Value::as_str), Some("the id"));
    assert_eq!(rich.property("text").and_then(Value::as_str), Some("t"));
    assert_eq!(rich.property("number").and_then(Value::as_integer), Some(7));
    assert_eq!(rich.property("truth"), Some(&Value::Bool(true)));
    assert_eq!(rich.property("float"), Some(&Value::Double(1.5)));

    let keyed = |message: &&Stored| message.key.as_deref() == Some("sensor-001");
    let by_partition: Vec<_> = partitions.iter().map(|messages| messages.iter().filter(keyed).count()).collect();
    assert_eq!(by_partition, [0, 0, 0, 51], "Event Hubs' hash of the key");
    let batch: Vec<_> = partitions[3].iter().filter(keyed).cloned().collect();
    let expected = (0..50).map(|number| format!("batch {number}")).chain(["keyed".to_owned()]);
    assert_eq!(bodies(&batch), expected.collect::<Vec<_>>());
    let large: Vec<_> = partitions[0].iter().filter(|message| message.body.len() == 900_000).collect();
    assert_eq!(large.len(), 1);
}

const PROPERTIES: &str = r#"
with producer(retry_total=0) as client:
    properties = client.get_eventhub_properties()
    assert properties["eventhub_name"] == "telemetry", properties
    assert properties["partition_ids"] == ["0", "1", "2", "3"], properties
    assert abs((datetime.now(timezone.utc) - properties["created_at"]).total_seconds()) < 60, properties
    assert client.get_partition_ids() == ["0", "1", "2", "3"]
    full, empty = client.get_partition_properties("1"), client.get_partition_properties("0")
    assert (full["beginning_sequence_number"], full["last_enqueued_sequence_number"]) == (103, 109), full
    assert not full["is_empty"] and full["last_enqueued_offset"] == "450", full
    assert full["last_enqueued_time_utc"] == datetime.fromtimestamp(9, timezone.utc), full
    assert empty["is_empty"] and empty["last_enqueued_sequence_number"] == -1, empty
    assert empty["last_enqueued_offset"] == "-1" and empty["last_enqueued_time_utc"].year == 1, empty
    try:
        client.get_partition_properties("9")
        raise SystemExit("there is no partition 9")
    except EventHubError as error:
        assert "Status code: 404" in str(error), error
"#;

#[test]
fn python_reads_the_properties_of_hub_and_partitions() {
    let hubs = hubs();
    hubs.append_messages("telemetry", 1, (0..10).map(|number| Message::new("12345").enqueued_at(1000 * number)));
    hubs.trim("telemetry", 1, 103);
    script(PROPERTIES, &hubs, &[]);
}

const RECEIVE: &str = r#"
def numbers(count, position, inclusive=False):
    events = receive(count, partition_id="1", starting_position=position, starting_position_inclusive=inclusive)
    return [event.sequence_number for event in events]

assert numbers(7, "-1") == list(range(103, 110))
assert numbers(4, 105) == [106, 107, 108, 109]
assert numbers(5, 105, True) == [105, 106, 107, 108, 109]
assert numbers(2, datetime.fromtimestamp(7, timezone.utc)) == [108, 109]
assert numbers(3, datetime.fromtimestamp(7, timezone.utc), True) == [107, 108, 109]

before, last = sys.argv[2:]
event = receive(1, partition_id="1", starting_position=108)[0]
assert event.offset == last and event.enqueued_time == datetime.fromtimestamp(9, timezone.utc), event
assert event.partition_key == b"key" and event.body_as_str() == "12345", event
assert event.properties == {b"number": 9, b"text": b"t"}, event.properties
assert event.system_properties[b"iothub-connection-device-id"] == b"sensor", event.system_properties
assert numbers(1, before) == [109]

large = receive(1, partition_id="3", starting_position="-1")[0]
assert large.body_as_str() == "y" * 900_000

# Another thread sends when this one receives.
latest = receive(1, partition_id="2", starting_position="@latest")
assert [event.body_as_str() for event in latest] == ["after"], latest
"#;

#[test]
fn python_receives_from_every_start_position() {
    let hubs = hubs();
    let message = |number: i64| {
        let message = Message::new("12345").with_key("key").enqueued_at(1000 * number);
        let message = message.with_annotation("iothub-connection-device-id", Value::string("sensor"));
        message.with_properties([("number", Value::Long(number)), ("text", Value::string("t"))])
    };
    hubs.append_messages("telemetry", 1, (0..10).map(message));
    hubs.trim("telemetry", 1, 103);
    let offset = |message: &Stored| message.place.offset.to_string();
    let offsets: Vec<_> = hubs.messages("telemetry", 1).iter().map(offset).collect();
    hubs.append("telemetry", 3, "y".repeat(900_000));
    hubs.append("telemetry", 2, "before");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let latest = |hubs: &weir_tests::event_hubs::Broker| {
                let receivers = hubs.receivers("telemetry");
                receivers.iter().any(|receiver| receiver.start.as_ref().is_some_and(|start| start.contains("@latest")))
            };
            hubs.wait_until_blocking(LIMIT, latest);
            hubs.append("telemetry", 2, "after");
        });
        script(RECEIVE, &hubs, &[&offsets[5], &offsets[6]]);
    });
}

const LEVELS: &str = r#"
client, lost, received = consumer(retry_total=0), [], threading.Event()
gone = threading.Event()
def on_event(context, event):
    received.set()
def on_error(context, error):
    lost.append(error)
    gone.set()
options = dict(on_event=on_event, on_error=on_error, partition_id="0", starting_position="-1", owner_level=1)
threading.Thread(target=client.receive, kwargs=options, daemon=True).start()
assert received.wait(30)
assert len(receive(1, partition_id="0", starting_position="-1", owner_level=2)) == 1
assert gone.wait(30), "the lower level is displaced"
print(type(lost[0]).__name__)
print(lost[0])
"#;

#[test]
fn python_is_displaced_by_a_higher_owner_level() {
    let hubs = hubs();
    hubs.append("telemetry", 0, "one");
    let printed = script(LEVELS, &hubs, &[]);
    assert!(printed.contains("getting disconnected") && printed.contains("with higher epoch of '2'"), "{printed}");
}

const RETRIES: &str = r#"
with producer(retry_backoff_factor=0.01) as client:
    client.send_event(EventData("one"), partition_id="0")
    client.send_event(EventData("two"), partition_id="0")
events = receive(2, partition_id="0", starting_position="-1")
assert [event.body_as_str() for event in events] == ["one", "two"]
try:
    receive(1, retries=0, partition_id="0", starting_position=500)
    raise SystemExit("there is no sequence number 500")
except EventHubError as error:
    print(error)
"#;

#[test]
fn python_recovers_from_faults_and_is_told_what_is_out_of_range() {
    let hubs = LocalHubs::start_blocking(Settings { at_end: AtEnd::Accepted, ..Settings::hub("telemetry", 1) });
    let refused = hubs.inject(Target::all().senders(), When::Now, Fault::RefuseAttach(Condition::internal_error()));
    let detached = hubs.inject(Target::all(), When::AfterDeliveries(1), Fault::Detach(Condition::detach_forced()));
    let printed = script(RETRIES, &hubs, &[]);
    assert_eq!([refused, detached].map(|fault| hubs.fired(fault)), [1, 1]);
    assert!(printed.contains("The supplied sequence number '500' is invalid"), "{printed}");
}
