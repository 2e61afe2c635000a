//! What can go wrong with an event hub, at several instants each: every message
//! is in the table once all the same, and the progress tells what happened.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use weir_tests::binary::{text, weir};
use weir_tests::event_hubs::{Condition, Cut, Fault, LocalHubs, Moment, Settings, Target, Thief, When};

use crate::event_hubs::{fill, filled, project, rows, run};

/// Short times, so that silence is noticed soon; small epochs, so that a fault
/// meets several.
const KEYS: &str = "start = \"earliest\"\ntimeout = \"2s\"\nmax_outage = \"30s\"";
const MESSAGES: u64 = 400;
const PARTITIONS: usize = 2;

fn hubs() -> LocalHubs {
    LocalHubs::start_blocking(Settings::hub("telemetry", PARTITIONS).with_key("reader", "c2VjcmV0"))
}

fn telemetry() -> Target {
    Target::hub("telemetry")
}

/// The kinds of incidents in the progress of these epochs.
fn incidents(epochs: &[Value]) -> Vec<String> {
    let of_epoch = |epoch: &Value| epoch["sources"][0]["incidents"].as_array().cloned().unwrap_or_default();
    let kinds = epochs.iter().flat_map(of_epoch).map(|one| one["kind"].as_str().unwrap().to_owned());
    let mut kinds: Vec<String> = kinds.collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// With this fault at each of these instants the table holds every message once,
/// and the progress names an incident of this kind.
#[track_caller]
fn check(fault: &Fault, target: &Target, instants: &[When], told: Option<&str>) {
    for when in instants {
        let hubs = hubs();
        fill(&hubs, PARTITIONS, 0, MESSAGES);
        let id = hubs.inject(target.clone(), *when, fault.clone());
        let folder = project("available-now", KEYS);
        let text = std::fs::read_to_string(folder.path().join("pipeline.toml")).unwrap();
        let text = text.replace("[source.event_hubs]", "max_events_per_epoch = 250\n\n[source.event_hubs]");
        std::fs::write(folder.path().join("pipeline.toml"), text).unwrap();
        let epochs = run(folder.path(), &hubs);
        let fired = hubs.fired(id);
        assert!(fired > 0, "{fault:?} {when:?} did not happen");
        assert!(rows(folder.path()) == filled(PARTITIONS, 0, MESSAGES), "{fault:?} {when:?}");
        let kinds = incidents(&epochs);
        let is_told = told.is_none_or(|told| kinds.iter().any(|kind| kind == told));
        assert!(is_told, "{fault:?} {when:?} is told as {kinds:?}");
    }
}

/// Instants in the stream: at its beginning, within it, at its end.
const IN_STREAM: [When; 3] = [When::AfterDeliveries(1), When::AfterDeliveries(333), When::AfterDeliveries(799)];

#[test]
fn connection_that_drops_is_opened_where_it_stood() {
    for cut in [Cut::BetweenFrames, Cut::WithinFrame] {
        check(&Fault::Drop(cut), &telemetry().receivers(), &IN_STREAM[..2], Some("disconnected"));
    }
    check(&Fault::Drop(Cut::BetweenFrames), &telemetry().receivers(), &IN_STREAM[2..], None);
    check(&Fault::Drop(Cut::WithinFrame), &telemetry(), &[When::EveryDeliveries(90)], Some("disconnected"));
}

#[test]
fn link_or_connection_that_the_service_closes_is_opened_again() {
    let conditions = [Condition::internal_error(), Condition::detach_forced(), Condition::timeout()];
    for condition in conditions {
        check(&Fault::Detach(condition), &telemetry().receivers(), &IN_STREAM[..2], Some("disconnected"));
    }
    check(&Fault::Close(Condition::connection_forced()), &telemetry(), &IN_STREAM[..2], Some("disconnected"));
}

#[test]
fn busy_service_is_left_alone_for_as_long_as_it_asks() {
    let busy = Condition::server_busy();
    let instants = [When::Now, When::AfterAttaches(1)];
    check(&Fault::RefuseAttach(busy.clone()), &telemetry().receivers(), &instants, Some("throttled"));
    check(&Fault::RefuseManagement(busy.clone()), &Target::all(), &[When::Now], Some("throttled"));
    check(&Fault::Detach(busy), &telemetry().receivers(), &[When::AfterDeliveries(100)], Some("throttled"));
}

#[test]
fn repeated_deliveries_are_left_out() {
    check(&Fault::Duplicate(50), &telemetry().receivers(), &IN_STREAM[..2], Some("repeated"));
    check(&Fault::Duplicate(3), &telemetry().receivers(), &[When::EveryDeliveries(10)], Some("repeated"));
}

#[test]
fn frozen_connection_is_noticed_and_given_up() {
    check(&Fault::Freeze(Moment::Now, None), &telemetry().receivers(), &IN_STREAM[..2], Some("disconnected"));
}

#[test]
fn service_that_never_answers_an_exchange_is_asked_again() {
    for moment in [Moment::Attach, Moment::PutToken, Moment::Management] {
        check(&Fault::Freeze(moment, None), &Target::all(), &[When::Now], Some("disconnected"));
    }
}

#[test]
fn token_that_expires_is_renewed() {
    check(&Fault::ExpireToken, &telemetry().receivers(), &IN_STREAM[..2], Some("disconnected"));
}

#[test]
fn slow_deliveries_are_waited_for() {
    check(&Fault::Slow(Duration::from_millis(5)), &telemetry().receivers(), &[When::AfterDeliveries(100)], None);
}

#[test]
fn refusal_that_passes_is_tried_again() {
    check(&Fault::RefuseToken(Condition::auth_failed()), &Target::all(), &[When::Now], Some("refused"));
    check(&Fault::RefuseAttach(Condition::unauthorized()), &telemetry().receivers(), &[When::Now], Some("refused"));
}

#[test]
fn service_that_is_away_for_a_while_is_waited_for() {
    let hubs = hubs();
    fill(&hubs, PARTITIONS, 0, MESSAGES);
    let folder = project("available-now", KEYS);
    hubs.shut_down_listener();
    let child = start(folder.path(), &hubs);
    std::thread::sleep(Duration::from_secs(1));
    hubs.listen_again();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(rows(folder.path()) == filled(PARTITIONS, 0, MESSAGES));
}

#[test]
fn outage_that_is_too_long_ends_the_run_and_the_next_one_goes_on() {
    let hubs = hubs();
    fill(&hubs, PARTITIONS, 0, MESSAGES);
    let folder = project("available-now", "start = \"earliest\"\ntimeout = \"1s\"\nmax_outage = \"2s\"");
    hubs.shut_down_listener();
    let output = start(folder.path(), &hubs).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("gave up after") && text(&output).contains("telemetry"), "{}", text(&output));
    hubs.listen_again();
    run(folder.path(), &hubs);
    assert!(rows(folder.path()) == filled(PARTITIONS, 0, MESSAGES));
}

/// What a run that must fail prints.
#[track_caller]
fn fail(folder: &std::path::Path, hubs: &LocalHubs, code: i32) -> String {
    let output = start(folder, hubs).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    text(&output)
}

fn start(folder: &std::path::Path, hubs: &LocalHubs) -> Child {
    let mut command = weir(folder, &["run", "pipeline.toml", "--progress", "json"]);
    let command = command.env("HUBS", hubs.connection_string("telemetry"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn receiver_that_takes_a_partition_is_named_and_not_fought() {
    for (thief, when) in [(Thief::Stays, When::AfterDeliveries(50)), (Thief::Leaves, When::AfterDeliveries(500))] {
        let hubs = hubs();
        fill(&hubs, PARTITIONS, 0, MESSAGES);
        let id = hubs.inject(telemetry().receivers(), when, Fault::Steal(thief));
        let folder = project("available-now", KEYS);
        let printed = fail(folder.path(), &hubs, 6);
        assert!(printed.contains("taken over by another receiver") && printed.contains("New receiver"), "{printed}");
        hubs.clear(id);
        run(folder.path(), &hubs);
        assert!(rows(folder.path()) == filled(PARTITIONS, 0, MESSAGES), "{thief:?}");
    }
}

#[test]
fn second_host_displaces_the_first_which_stops() {
    let hubs = hubs();
    fill(&hubs, PARTITIONS, 0, MESSAGES);
    let folder = project("asap", KEYS);
    let first = start(folder.path(), &hubs);
    hubs.wait_until_blocking(Duration::from_secs(30), |broker| broker.receivers("telemetry").len() == PARTITIONS);
    let other = project("available-now", KEYS);
    run(other.path(), &hubs);
    let output = first.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(rows(other.path()) == filled(PARTITIONS, 0, MESSAGES));
}

#[test]
fn refusal_that_stays_names_the_remedy() {
    let refused = |fault: Fault, target: Target, says: &str| {
        let hubs = hubs();
        fill(&hubs, PARTITIONS, 0, 1);
        hubs.inject(target, When::EveryTime, fault);
        let folder = project("available-now", KEYS);
        let printed = fail(folder.path(), &hubs, 2);
        assert!(printed.contains(says), "{printed}");
    };
    refused(Fault::RefuseToken(Condition::auth_failed()), Target::all(), "check the key or the role");
    refused(Fault::RefuseAttach(Condition::unauthorized()), telemetry().receivers(), "check the key or the role");
    refused(Fault::RefuseManagement(Condition::not_found("telemetry")), Target::all(), "check the names");
}

#[test]
fn expired_messages_stop_the_pipeline_by_name_or_are_counted() {
    // Expired before the run, with and without messages behind, and within the stream.
    for (case, first, last) in [("expired", 100_u64, 149_u64), ("all expired", 100, 199), ("skipped", 200, 249)] {
        let hubs = hubs();
        fill(&hubs, PARTITIONS, 0, 100);
        let folder = project("available-now", KEYS);
        run(folder.path(), &hubs);
        fill(&hubs, PARTITIONS, 100, 200);
        if case != "skipped" {
            hubs.trim("telemetry", 1, i64::try_from(last + 1).unwrap());
        } else {
            hubs.skip_sequence_numbers("telemetry", 1, 50);
            fill(&hubs, 1, 200, 300);
            let bodies = (250..300).map(|id| format!("{{\"id\": {id}}}").into());
            hubs.append_many("telemetry", 1, bodies);
        }
        let printed = fail(folder.path(), &hubs, 4);
        let says = format!("messages {first} to {last} of partition 1");
        assert!(printed.contains(&says), "{case}: {printed}");

        let text = std::fs::read_to_string(folder.path().join("pipeline.toml")).unwrap();
        let text = text.replace("timeout =", "on_data_loss = \"continue\"\ntimeout =");
        std::fs::write(folder.path().join("pipeline.toml"), text).unwrap();
        let epochs = run(folder.path(), &hubs);
        let lost: u64 = epochs.iter().map(|epoch| epoch["numLostMessages"].as_u64().unwrap()).sum();
        assert_eq!(lost, last + 1 - first, "{case}: {epochs:?}");
        assert!(incidents(&epochs).contains(&"lost".to_owned()), "{case}: {epochs:?}");
        let mut expected = filled(PARTITIONS, 0, if case == "skipped" { 300 } else { 200 });
        expected.retain(|(partition, number, _)| partition == "0" || !(first..=last).contains(number));
        assert!(rows(folder.path()) == expected, "{case}");
        assert_eq!(run(folder.path(), &hubs), Vec::<Value>::new(), "{case}: nothing is lost twice");
    }
}

#[test]
fn messages_that_expire_while_they_are_read_are_a_gap_too() {
    let hubs = hubs();
    fill(&hubs, PARTITIONS, 0, MESSAGES);
    hubs.inject(telemetry().receivers().partition(1), When::Now, Fault::Slow(Duration::from_millis(10)));
    hubs.inject(telemetry().receivers().partition(1), When::AfterDeliveries(20), Fault::Trim(300));
    hubs.inject(telemetry().receivers().partition(1), When::AfterDeliveries(25), Fault::Drop(Cut::BetweenFrames));
    let folder = project("available-now", &format!("{KEYS}\non_data_loss = \"continue\""));
    let epochs = run(folder.path(), &hubs);
    let lost: u64 = epochs.iter().map(|epoch| epoch["numLostMessages"].as_u64().unwrap()).sum();
    let rows = rows(folder.path());
    let of_first = rows.iter().filter(|(partition, _, _)| partition == "0").count() as u64;
    let of_second: Vec<u64> = rows.iter().filter(|row| row.0 == "1").map(|row| row.1).collect();
    assert_eq!(of_first, MESSAGES);
    assert!(lost > 200 && of_second.len() as u64 + lost == MESSAGES, "{lost} lost, {} rows", of_second.len());
    assert!(of_second.windows(2).all(|pair| pair[0] < pair[1]), "nothing twice");
}

#[test]
fn event_hub_that_was_made_anew_is_not_taken_for_the_old_one() {
    let old = hubs();
    fill(&old, PARTITIONS, 0, 100);
    let folder = project("available-now", KEYS);
    run(folder.path(), &old);
    drop(old);
    let new = hubs();
    fill(&new, PARTITIONS, 0, 5);
    let printed = fail(folder.path(), &new, 4);
    assert!(printed.contains("made anew") && printed.contains("partition 0"), "{printed}");
}

#[test]
fn partition_that_appears_is_read_from_its_beginning() {
    let hubs = hubs();
    fill(&hubs, PARTITIONS, 0, 10);
    let folder = project("asap", KEYS);
    let mut child = start(folder.path(), &hubs);
    hubs.wait_until_blocking(Duration::from_secs(30), |broker| broker.receivers("telemetry").len() == PARTITIONS);
    assert_eq!(hubs.add_partition("telemetry"), PARTITIONS);
    fill(&hubs, PARTITIONS + 1, 10, 20);
    let late: Vec<(String, u64, u64)> = (0..10).map(|number| ("2".to_owned(), number, number + 10)).collect();
    let mut expected = filled(PARTITIONS, 0, 20);
    expected.extend(late);
    let mut waited = Duration::ZERO;
    while rows(folder.path()) != expected {
        assert!(waited < Duration::from_secs(30), "{:?}", rows(folder.path()));
        std::thread::sleep(Duration::from_millis(200));
        waited += Duration::from_millis(200);
    }
    child.kill().unwrap();
    let printed = text(&child.wait_with_output().unwrap());
    assert!(printed.contains("partition-added"), "{printed}");
}
