//! The endpoint as a client of bare frames sees it.

mod client;
mod faults;

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use self::client::{Client, sequence_number, stored};
use super::frame::{ATTACH, CLOSE, DETACH, FLOW, TRANSFER};
use super::message::answer;
use super::*;

/// An endpoint with so many small messages in each of two partitions.
fn hubs(messages: usize) -> LocalHubs {
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 2));
    for partition in 0..2 {
        hubs.append_many("telemetry", partition, (0..messages).map(|number| Bytes::from(format!("message {number}"))));
    }
    hubs
}

#[test]
fn nothing_is_sent_beyond_window_and_credit() {
    let hubs = hubs(20);
    let mut client = Client::with(&hubs, 65_536, 3);
    client.receive(0, "telemetry/0", None, None).unwrap();
    client.nothing_more(0, 3);
    client.flow(0, (0, 0), 3, 10, false);
    assert_eq!(client.sequence_numbers(3), [0, 1, 2]);
    client.nothing_more(3, 0);
    client.flow(0, (3, 3), 100, 5, false);
    assert_eq!(client.sequence_numbers(5), [3, 4, 5, 6, 7]);
    client.nothing_more(8, 100);
}

#[test]
fn drain_uses_the_credit_up() {
    let hubs = hubs(4);
    let mut client = Client::new(&hubs);
    client.receive(0, "telemetry/0", None, None).unwrap();
    client.flow(0, (0, 0), u32::MAX, 10, true);
    assert_eq!(client.sequence_numbers(4), [0, 1, 2, 3]);
    let flow = client.expect(FLOW);
    assert_eq!([5, 6].map(|field| flow.integer(field)), [10, 0], "delivery count and credit");
    hubs.append("telemetry", 0, "more");
    client.nothing_more(4, 100);
}

#[test]
fn a_message_is_cut_to_the_frames_of_the_client_and_waits_for_its_window() {
    let hubs = hubs(0);
    let body: Vec<u8> = (0..2000u32).map(|number| number as u8).collect();
    hubs.append("telemetry", 0, body.clone());
    let mut client = Client::with(&hubs, 512, 2);
    client.receive(0, "telemetry/0", None, None).unwrap();
    client.flow(0, (0, 0), 2, 10, false);
    let mut payload = BytesMut::new();
    let mut more = Vec::new();
    for seen in [2, 4, 5] {
        for _ in 0..(seen - more.len()) {
            let transfer = client.expect(TRANSFER);
            assert!(transfer.payload.len() <= 512 - 42, "{}", transfer.payload.len());
            payload.extend_from_slice(&transfer.payload);
            more.push(*transfer.fields.field(5) == Value::Bool(true));
        }
        client.nothing_more(seen as u32, 0);
        client.flow(0, (seen as u32, 0), 2, 10, false);
    }
    assert_eq!(more, [true, true, true, true, false]);
    assert_eq!(stored(&payload.freeze()).body, body);
}

#[test]
fn a_message_of_many_frames_is_stored_whole_and_a_larger_one_detaches() {
    let settings = Settings { max_message_bytes: 100_000, ..Settings::hub("telemetry", 1) };
    let hubs = LocalHubs::start_blocking(settings);
    let message = Message::new(vec![7; 90_000]).sections;
    let mut client = Client::new(&hubs);
    client.sender(0, "telemetry/Partitions/0").unwrap();
    client.transfer(0, true, &message[..60_000]);
    client.transfer(0, false, &message[60_000..]);
    assert_eq!(client.outcome(), None);
    assert_eq!(hubs.messages("telemetry", 0)[0].body, vec![7; 90_000]);
    client.transfer(0, true, &message[..60_000]);
    client.transfer(0, true, &message[..60_000]);
    assert_eq!(client.expect(DETACH).condition(2).0, "amqp:link:message-size-exceeded");
    assert_eq!(hubs.messages("telemetry", 0).len(), 1);
}

#[test]
fn senders_get_credit_again_and_their_messages_are_in_order() {
    let hubs = hubs(0);
    let mut client = Client::new(&hubs);
    client.sender(0, "telemetry/Partitions/1").unwrap();
    for number in 0..1000 {
        client.transfer(0, false, &Message::new(format!("{number}")).sections);
        while client.next().unwrap().code == FLOW {}
    }
    let bodies: Vec<_> = hubs.messages("telemetry", 1).into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, (0..1000).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn receivers_begin_where_their_selector_says() {
    let settings = Settings::hub("telemetry", 2).with_first_sequence(100);
    let hubs = LocalHubs::start_blocking(settings);
    let messages = (0..10).map(|number| Message::new("12345").enqueued_at(1000 * number));
    hubs.append_messages("telemetry", 0, messages);
    hubs.trim("telemetry", 0, 103);
    let offset = hubs.messages("telemetry", 0)[2].place.offset;
    let mut handle = 0;
    let mut first = |selector: &str, place: &str| {
        // Drained, a receiver at the end says so instead of waiting.
        let mut client = Client::new(&hubs);
        handle += 1;
        client.receive(handle, place, Some(&format!("amqp.annotation.{selector}")), None).map_err(|(name, text)| {
            assert_eq!(name, "com.microsoft:argument-error");
            text
        })?;
        client.flow(handle, (0, 0), u32::MAX, 1, true);
        let next = client.next().unwrap();
        Ok(if next.code == TRANSFER { Some(sequence_number(&next.payload)) } else { None })
    };
    for (selector, expected) in [
        ("x-opt-offset > '-1'", Ok(Some(103))),
        ("x-opt-offset > '@latest'", Ok(None)),
        ("x-opt-offset > '0'", Ok(Some(103))),
        (&format!("x-opt-offset > '{offset}'"), Ok(Some(106))),
        (&format!("x-opt-offset >= '{offset}'"), Ok(Some(105))),
        ("x-opt-sequence-number > '104'", Ok(Some(105))),
        ("x-opt-sequence-number >= '104'", Ok(Some(104))),
        ("x-opt-sequence-number > '7'", Ok(Some(103))),
        ("x-opt-sequence-number > '109'", Ok(None)),
        ("x-opt-enqueued-time > '7000'", Ok(Some(108))),
        ("x-opt-enqueued-time >= '7000'", Ok(Some(107))),
        ("x-opt-enqueued-time > '99999'", Ok(None)),
        (
            "x-opt-sequence-number > '110'",
            Err("The supplied sequence number '110' is invalid. The last sequence number in the system is '109'"),
        ),
        ("x-opt-offset > '5000'", Err("The supplied offset '5000' is invalid. The last offset in the system is '450'")),
    ] {
        assert_eq!(first(selector, "telemetry/0"), expected.map_err(str::to_owned), "{selector}");
    }
    assert_eq!(first("x-opt-sequence-number > '-1'", "telemetry/1"), Ok(None));
}

/// What becomes of receivers with these owner levels that come one after the other.
fn check_levels(levels: &[Option<i64>], attached: &[usize], refused: &[(usize, &str)], displaced: &[usize]) {
    let hubs = hubs(0);
    let mut clients = Vec::new();
    let mut refusals = Vec::new();
    for (number, level) in levels.iter().enumerate() {
        let mut client = Client::new(&hubs);
        if let Err((name, _)) = client.receive(number as u32, "telemetry/0", None, *level) {
            refusals.push((number, name));
        }
        clients.push(client);
    }
    let names: Vec<_> = hubs.receivers("telemetry").into_iter().map(|receiver| receiver.name).collect();
    assert_eq!(names, attached.iter().map(|number| format!("receiver {number}")).collect::<Vec<_>>(), "{levels:?}");
    let refusals: Vec<_> = refusals.iter().map(|(number, name)| (*number, name.as_str())).collect();
    assert_eq!(refusals, refused, "{levels:?}");
    for number in displaced {
        let detach = clients[*number].expect(DETACH);
        let (name, description) = detach.condition(2);
        assert_eq!(name, "amqp:link:stolen");
        assert!(description.contains(&format!("current receiver 'receiver {number}'")), "{description}");
    }
}

#[test]
fn owner_levels_decide_who_receives() {
    let stolen = "amqp:link:stolen";
    check_levels(&[Some(1), Some(2)], &[1], &[], &[0]);
    check_levels(&[Some(1), Some(1)], &[1], &[], &[0]);
    check_levels(&[Some(2), Some(1)], &[0], &[(1, stolen)], &[]);
    check_levels(&[None, None, Some(0)], &[2], &[], &[0, 1]);
    check_levels(&[Some(0), None], &[0], &[(1, stolen)], &[]);
    let many = (5, "amqp:resource-limit-exceeded");
    check_levels(&[None; 6], &[0, 1, 2, 3, 4], &[many], &[]);
}

#[test]
fn nodes_answer_what_there_is_and_what_there_is_not() {
    let hubs = hubs(3);
    let mut client = Client::new(&hubs);
    client.sender(0, "$management").unwrap();
    client.answers(1, "$management").unwrap();
    client.credit(1);
    let mut deliveries = 0;
    let mut ask = |kind: &str, hub: &str, partition: Option<&str>| {
        let partition = partition.map(|partition| ("partition", Value::string(partition)));
        let properties =
            [("operation", "READ"), ("type", kind), ("name", hub)].map(|(name, text)| (name, Value::string(text)));
        // An answer has the form of a request.
        let request = answer(None, properties.into_iter().chain(partition).collect(), None);
        client.transfer(0, false, &request);
        assert_eq!(client.outcome(), None);
        deliveries += 1;
        let response = client.expect(TRANSFER);
        let stored = stored(&response.payload);
        let code = stored.property("status-code").and_then(Value::as_integer).unwrap();
        let mut body = &stored.body[3..];
        (code, Value::read(&mut body).unwrap())
    };
    let (code, body) = ask("com.microsoft:eventhub", "telemetry", None);
    assert_eq!(code, 200);
    assert_eq!(body.get("partition_ids"), Some(&Value::Array(vec![Value::string("0"), Value::string("1")])));
    let (code, body) = ask("com.microsoft:partition", "telemetry", Some("1"));
    assert_eq!((code, body.get("last_enqueued_sequence_number")), (200, Some(&Value::Long(2))));
    assert_eq!(ask("com.microsoft:eventhub", "nothing", None).0, 404);
    assert_eq!(ask("com.microsoft:partition", "telemetry", Some("7")).0, 404);
}

#[test]
fn what_there_is_not_cannot_be_attached_to() {
    let hubs = hubs(0);
    let mut client = Client::new(&hubs);
    assert_eq!(client.receive(0, "telemetry/2", None, None).unwrap_err().0, "amqp:not-found");
    assert_eq!(client.receive(1, "nothing/0", None, None).unwrap_err().0, "amqp:not-found");
    assert_eq!(client.sender(2, "telemetry/Partitions/9").unwrap_err().0, "amqp:not-found");
    client.send(DETACH, vec![Value::Uint(2), Value::Bool(true)]);
    client.sender(2, "telemetry").unwrap();
    assert_eq!(hubs.counters().refusals, 3);
}

#[test]
fn with_a_key_links_need_a_token() {
    let hubs = LocalHubs::start_blocking(Settings::hub("telemetry", 1).with_key("root", "secret"));
    let mut client = Client::new(&hubs);
    assert_eq!(client.receive(0, "telemetry/0", None, None).unwrap_err().0, "amqp:unauthorized-access");
}

#[test]
fn a_client_that_asks_for_it_hears_that_the_endpoint_lives() {
    let hubs = hubs(0);
    let mut client = Client::new(&hubs);
    while client.inbox.is_empty() {
        client.fill().unwrap();
    }
    assert_eq!(&client.inbox[..], [0, 0, 0, 8, 2, 0, 0, 0]);
}

#[test]
fn what_is_not_amqp_closes_the_connection() {
    let hubs = hubs(0);
    let mut client = Client::new(&hubs);
    client.write(&[0, 0, 0, 12, 2, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(client.expect(CLOSE).condition(0).0, "amqp:connection:framing-error");
    let mut client = Client::new(&hubs);
    client.send(ATTACH, vec![Value::Null]);
    assert_eq!(client.expect(CLOSE).condition(0).0, "amqp:connection:framing-error");
}

#[test]
fn after_an_outage_the_port_and_the_messages_are_the_same() {
    let hubs = hubs(2);
    let mut client = Client::new(&hubs);
    client.receive(0, "telemetry/0", None, None).unwrap();
    for _ in 0..3 {
        hubs.shut_down_listener();
        while client.next().is_ok() {}
        assert!(std::net::TcpStream::connect(("127.0.0.1", hubs.port())).is_err());
        assert_eq!((hubs.receivers("telemetry"), hubs.counters().open_connections), (Vec::new(), 0));
        hubs.listen_again();
        client = Client::new(&hubs);
        client.receive(0, "telemetry/0", None, None).unwrap();
        client.credit(0);
        assert_eq!(client.sequence_numbers(2), [0, 1]);
    }
}

#[test]
fn a_test_waits_for_what_clients_do() {
    let hubs = hubs(2);
    let broker = hubs.broker();
    let waiter = std::thread::spawn(move || {
        broker.wait_until_blocking(Duration::from_secs(10), |broker| broker.counters().deliveries == 2);
    });
    let mut client = Client::new(&hubs);
    client.receive(0, "telemetry/0", None, None).unwrap();
    client.credit(0);
    waiter.join().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(hubs.wait_until(Duration::from_secs(10), |broker| broker.receivers("telemetry").len() == 1));
}
