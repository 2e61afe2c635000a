//! Each fault does what it says, when it says so, to whom it names.

use std::time::{Duration, Instant};

use super::super::frame::{CLOSE, DETACH, DISPOSITION, TRANSFER};
use super::client::{Client, End};
use super::*;

/// The client receives from partition 0, with much credit.
fn receiving(hubs: &LocalHubs) -> Client {
    let mut client = Client::new(hubs);
    client.receive(0, "telemetry/0", None, None).unwrap();
    client.credit(0);
    client
}

fn first() -> Target {
    Target::hub("telemetry").partition(0)
}

#[test]
fn a_drop_comes_after_exactly_so_many_deliveries() {
    let hubs = hubs(50);
    let fault = hubs.inject(first(), When::AfterDeliveries(7), Fault::Drop(Cut::BetweenFrames));
    let mut client = receiving(&hubs);
    assert_eq!(client.sequence_numbers(7), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(client.next().unwrap_err(), End::Reset);
    assert_eq!(hubs.fired(fault), 1);
    assert_eq!(receiving(&hubs).sequence_numbers(50).len(), 50, "it happens once");
}

#[test]
fn a_drop_within_a_frame_leaves_half_a_transfer() {
    let hubs = hubs(50);
    hubs.inject(first(), When::AfterDeliveries(3), Fault::Drop(Cut::WithinFrame));
    let mut client = receiving(&hubs);
    assert_eq!(client.sequence_numbers(3), [0, 1, 2]);
    assert_eq!(client.next().unwrap_err(), End::Reset);
    assert_eq!(client.inbox.len(), (256 + 42) / 2);
}

#[test]
fn a_fault_can_happen_each_time_after_so_many_deliveries() {
    let hubs = hubs(50);
    let fault = hubs.inject(first(), When::EveryDeliveries(5), Fault::Drop(Cut::BetweenFrames));
    for _ in 0..3 {
        let mut client = receiving(&hubs);
        assert_eq!(client.sequence_numbers(5), [0, 1, 2, 3, 4]);
        assert_eq!(client.next().unwrap_err(), End::Reset);
    }
    assert_eq!(hubs.fired(fault), 3);
    hubs.clear(fault);
    receiving(&hubs).sequence_numbers(50);
}

#[test]
fn links_are_detached_and_connections_closed_with_the_condition() {
    let hubs = hubs(0);
    for condition in
        [Condition::internal_error(), Condition::timeout(), Condition::detach_forced(), Condition::auth_failed()]
    {
        let mut client = receiving(&hubs);
        hubs.inject(first(), When::Now, Fault::Detach(condition.clone()));
        assert_eq!(client.expect(DETACH).condition(2), (condition.name.as_str(), condition.description.as_str()));
    }
    let mut client = receiving(&hubs);
    let mut other = Client::new(&hubs);
    other.receive(0, "telemetry/1", None, None).unwrap();
    hubs.inject(first(), When::Now, Fault::Close(Condition::connection_forced()));
    assert_eq!(client.expect(CLOSE).condition(0).0, "amqp:connection:forced");
    client.send(CLOSE, vec![Value::Null]);
    assert_eq!(client.next().unwrap_err(), End::Closed);
    other.nothing_more(0, 100);
}

#[test]
fn an_attach_is_refused_once_or_always_or_later() {
    let hubs = hubs(0);
    let busy = || Fault::RefuseAttach(Condition::server_busy());
    let attach = |receiver: bool| {
        let mut client = Client::new(&hubs);
        let refusal =
            if receiver { client.receive(0, "telemetry/0", None, None) } else { client.sender(0, "telemetry") };
        refusal.is_ok()
    };
    hubs.inject(Target::hub("telemetry").receivers(), When::Now, busy());
    assert_eq!([attach(false), attach(true), attach(true)], [true, false, true]);
    let always = hubs.inject(Target::hub("telemetry").senders(), When::EveryTime, busy());
    assert_eq!([attach(false), attach(false), attach(true)], [false, false, true]);
    hubs.clear(always);
    hubs.inject(Target::all(), When::AfterAttaches(2), busy());
    assert_eq!([attach(true), attach(false), attach(true), attach(true)], [true, true, false, true]);
}

#[test]
fn a_sent_message_is_rejected_or_stored_without_a_word() {
    let hubs = hubs(0);
    let mut client = Client::new(&hubs);
    client.sender(0, "telemetry/Partitions/0").unwrap();
    let send = |client: &mut Client| client.transfer(0, false, &Message::new("sent").sections);
    hubs.inject(first(), When::Now, Fault::RejectSend(Condition::server_busy()));
    send(&mut client);
    assert_eq!(client.outcome().as_deref(), Some("com.microsoft:server-busy"));
    assert_eq!(hubs.messages("telemetry", 0).len(), 0);
    hubs.inject(first(), When::Now, Fault::LoseAcknowledgement(Loss::Silent));
    send(&mut client);
    send(&mut client);
    assert_eq!(client.expect(DISPOSITION).integer(1), 2, "the second message is not acknowledged");
    assert_eq!(hubs.messages("telemetry", 0).len(), 2);
    hubs.inject(first(), When::AfterDeliveries(1), Fault::LoseAcknowledgement(Loss::Dropped));
    send(&mut client);
    assert_eq!(client.outcome(), None);
    send(&mut client);
    assert_eq!(client.next().unwrap_err(), End::Reset);
    assert_eq!(hubs.messages("telemetry", 0).len(), 4);
}

#[test]
fn every_third_message_is_rejected() {
    let hubs = hubs(0);
    let mut client = Client::new(&hubs);
    client.sender(0, "telemetry/Partitions/0").unwrap();
    hubs.inject(first(), When::EveryDeliveries(2), Fault::RejectSend(Condition::server_busy()));
    let mut rejected = Vec::new();
    for number in 0..9 {
        client.transfer(0, false, &Message::new("sent").sections);
        if client.outcome().is_some() {
            rejected.push(number);
        }
    }
    assert_eq!(rejected, [2, 5, 8]);
}

#[test]
fn a_thief_takes_the_link_and_stays_or_leaves() {
    let hubs = hubs(0);
    let mut client = receiving(&hubs);
    hubs.inject(first(), When::Now, Fault::Steal(Thief::Leaves));
    assert_eq!(client.expect(DETACH).condition(2).0, "amqp:link:stolen");
    let mut client = Client::new(&hubs);
    client.receive(0, "telemetry/0", None, Some(4)).unwrap();
    let fault = hubs.inject(first(), When::Now, Fault::Steal(Thief::Stays));
    let detach = client.expect(DETACH);
    assert!(detach.condition(2).1.contains("New receiver 'thief' with higher epoch of '5'"), "{detach:?}");
    assert_eq!(client.receive(1, "telemetry/0", None, Some(4)).unwrap_err().0, "amqp:link:stolen");
    hubs.clear(fault);
    client.receive(2, "telemetry/0", None, Some(4)).unwrap();
}

#[test]
fn messages_come_again() {
    let hubs = hubs(6);
    hubs.inject(first(), When::AfterDeliveries(4), Fault::Duplicate(2));
    assert_eq!(receiving(&hubs).sequence_numbers(8), [0, 1, 2, 3, 2, 3, 4, 5]);
}

#[test]
fn a_frozen_connection_is_read_but_says_nothing_until_it_thaws() {
    let hubs = hubs(3);
    let mut client = receiving(&hubs);
    client.sequence_numbers(3);
    client.sender(1, "telemetry/Partitions/1").unwrap();
    let fault = hubs.inject(first(), When::Now, Fault::Freeze(Moment::Now, None));
    hubs.append("telemetry", 0, "unseen");
    client.transfer(1, false, &Message::new("sent").sections);
    hubs.wait_until_blocking(Duration::from_secs(10), |hubs| hubs.messages("telemetry", 1).len() == 4);
    assert_eq!(hubs.counters().deliveries, 3);
    hubs.clear(fault);
    let mut codes = [client.next().unwrap().code, client.next().unwrap().code];
    codes.sort_unstable();
    assert_eq!(codes, [TRANSFER, DISPOSITION]);
}

#[test]
fn an_attach_can_freeze_for_a_time() {
    let hubs = hubs(1);
    let time = Duration::from_millis(300);
    hubs.inject(Target::all(), When::Now, Fault::Freeze(Moment::Attach, Some(time)));
    let begin = Instant::now();
    receiving(&hubs).sequence_numbers(1);
    assert!(begin.elapsed() >= time);
}

#[test]
fn an_expired_token_detaches_until_there_is_a_new_one() {
    let hubs = hubs(0);
    let mut client = receiving(&hubs);
    hubs.inject(first(), When::Now, Fault::ExpireToken);
    let detach = client.expect(DETACH);
    let (name, description) = detach.condition(2);
    assert!(name == "amqp:unauthorized-access" && description.starts_with("ExpiredToken"), "{description}");
    assert_eq!(client.receive(1, "telemetry/0", None, None).unwrap_err().0, "amqp:unauthorized-access");
    client.sender(2, "$cbs").unwrap();
    client.answers(3, "$cbs").unwrap();
    client.credit(3);
    let put = vec![("operation", Value::string("put-token")), ("name", Value::string("amqp://host/telemetry"))];
    let refuse = hubs.inject(Target::all(), When::Now, Fault::RefuseToken(Condition::unauthorized()));
    for (fault, code) in [(Some(refuse), 401), (None, 202)] {
        client.transfer(2, false, &answer(Some(Value::Ulong(1)), put.clone(), Some(Value::string("token"))));
        assert_eq!(client.outcome(), None);
        let response = stored(&client.expect(TRANSFER).payload);
        assert_eq!(response.property("status-code"), Some(&Value::Int(code)), "{fault:?}");
    }
    client.receive(4, "telemetry/0", None, None).unwrap();
}

#[test]
fn slow_deliveries_wait_for_each_other() {
    let hubs = hubs(4);
    let delay = Duration::from_millis(50);
    let fault = hubs.inject(first(), When::Now, Fault::Slow(delay));
    let begin = Instant::now();
    let mut client = receiving(&hubs);
    client.sequence_numbers(4);
    assert!(begin.elapsed() >= delay * 3);
    hubs.clear(fault);
    hubs.append_many("telemetry", 0, (0..200).map(|_| Bytes::from_static(b"fast")));
    client.sequence_numbers(200);
    assert!(begin.elapsed() < delay * 100);
}

#[test]
fn partitions_are_trimmed_and_added_and_leave_numbers_out() {
    let hubs = hubs(5);
    hubs.inject(first(), When::AfterAttaches(0), Fault::Trim(2));
    hubs.inject(first(), When::Now, Fault::SkipSequenceNumbers(10));
    hubs.append("telemetry", 0, "after the gap");
    let mut client = Client::new(&hubs);
    client.receive(0, "telemetry/0", None, None).unwrap();
    client.credit(0);
    assert_eq!(client.sequence_numbers(4), [2, 3, 4, 15]);
    hubs.inject(Target::hub("telemetry"), When::Now, Fault::AddPartition);
    assert_eq!(hubs.partitions("telemetry"), 3);
    client.receive(1, "telemetry/2", None, None).unwrap();
}
