//! A host that sleeps while another takes over, and wakes up again: whatever it
//! was about to do, it does no harm, and learns that it is no longer needed.

use std::sync::Arc;

use object_store::memory::InMemory;
use weir::ErrorKind;
use weir::env::{Env, ManualClock};
use weir_tests::hosts::{OneStore, integers, numbered, put_input, run, run_in};
use weir_tests::intercept::{Operation, objects};
use weir_tests::parking::{Asleep, ParkingStore};
use weir_tests::readings;

/// The file with the number 3 also has a message that becomes a dead letter.
const MALFORMED: &str = "[\n  {\"number\": \"many\"}\n]\n";

const PIPELINE: &str = r#"
[pipeline]
name = "zombies"
checkpoint = "memory:///checkpoint"
trigger = "available-now"
threads = 1
max_dead_letter_ratio = 1.0

[source.files]
path = "memory:///input"
max_files_per_epoch = 2

[parser]
plugin = "builtin:json"
config = { columns = "number bigint, device string" }

[table.all]
path = "memory:///tables/all"

[table.numbers]
path = "memory:///tables/numbers"
columns = ["number"]
"#;

/// The successor cuts its epochs otherwise.
fn successor() -> String {
    PIPELINE.replace("max_files_per_epoch = 2", "max_files_per_epoch = 1")
}

async fn input(files: usize) -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    let mut files = readings::files(files, 1);
    files.insert(3, ("part-0002a.json".to_owned(), MALFORMED.to_owned()));
    put_input(&store, files).await;
    store
}

/// Every reading and the one dead letter are there exactly once.
async fn assert_whole(store: &Arc<InMemory>, readings: usize, when: &str) {
    for table in ["memory:///tables/all", "memory:///tables/numbers"] {
        assert_eq!(integers(store, table, "number").await, numbered(readings), "{table} {when}");
    }
    let letters = integers(store, "memory:///checkpoint/dead_letters", "epoch").await;
    assert_eq!(letters.len(), 1, "dead letters {when}");
}

/// What the sleeper sees in a folder when it wakes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listings {
    /// What is there.
    Present,
    /// What was there when it fell asleep.
    OfBefore,
}

fn everything(_: Operation) -> bool {
    true
}

fn creations(operation: Operation) -> bool {
    operation == Operation::Create
}

/// Puts a host to sleep at each operation in turn, lets a successor read
/// everything, and wakes the host up.
async fn check(asleep: Asleep, listings: Listings) {
    const READINGS: usize = 8;
    let (mut at, mut fenced) = (0, 0);
    loop {
        let store = input(READINGS).await;
        let parking = ParkingStore::parking(Arc::clone(&store), asleep, at, everything);
        let mut host = Box::pin(run(Arc::clone(&parking) as _, PIPELINE));
        if let Some(ended) = parking.until_asleep(&mut host).await {
            assert!(ended.is_ok(), "{ended:?}");
            break;
        }
        let when = format!("when the host slept {asleep:?} operation {at}");
        if listings == Listings::OfBefore {
            parking.list_as_of(store.fork());
        }
        let successor = run(Arc::clone(&store) as _, &successor()).await;
        assert!(successor.is_ok(), "{when}: {successor:?}");
        assert_whole(&store, READINGS, &format!("{when}, before it woke up")).await;
        parking.wake();
        match host.await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Fenced => fenced += 1,
            // A log that is there and lists as empty looks damaged.
            Err(error) => {
                let looks_damaged = listings == Listings::OfBefore && error.kind() == ErrorKind::Corrupt;
                assert!(looks_damaged, "{when}: {error}");
            }
        }
        assert_whole(&store, READINGS, &when).await;
        let again = run(Arc::clone(&store) as _, PIPELINE).await;
        assert_eq!(again.as_ref().map(|summary| summary.epochs).ok(), Some(0), "{when}: {again:?}");
        assert_whole(&store, READINGS, &format!("{when}, after another run")).await;
        at += 1;
    }
    assert!(at > 80 && fenced > at / 3, "{fenced} of {at} sleepers were fenced");
}

#[tokio::test(flavor = "multi_thread")]
async fn host_paused_before_any_operation_writes_no_row_after_its_succession() {
    check(Asleep::Before, Listings::Present).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_paused_after_any_operation_writes_no_row_after_its_succession() {
    check(Asleep::After, Listings::Present).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_host_that_is_shown_only_old_listings_is_fenced_all_the_same() {
    check(Asleep::Before, Listings::OfBefore).await;
}

/// The successor goes so far that the record and the log entry that the sleeper
/// is about to create were there and are cleaned up.
#[tokio::test(flavor = "multi_thread")]
async fn host_that_sleeps_through_clean_up_finds_out_although_its_names_are_free_again() {
    const EARLY: usize = 8;
    const READINGS: usize = EARLY + 180;
    let expires = "\nproperties = { \"delta.checkpointInterval\" = \"20\" }\n";
    let pipeline = PIPELINE.replace("\ncolumns = [\"number\"]\n", &format!("\ncolumns = [\"number\"]{expires}"));
    let clock = Arc::new(ManualClock::at(0));
    let (mut at, mut fenced, mut records_gone) = (0, 0, 0);
    loop {
        let store = input(EARLY).await;
        let parking = ParkingStore::parking(Arc::clone(&store), Asleep::Before, at, creations);
        let mut host = Box::pin(run(Arc::clone(&parking) as _, &pipeline));
        if let Some(ended) = parking.until_asleep(&mut host).await {
            assert!(ended.is_ok(), "{ended:?}");
            break;
        }
        let when = format!("when the host slept before its creation {at}");
        put_input(&store, readings::files(READINGS, 1).into_iter().skip(EARLY)).await;
        // Half a year later, so that the log entries of the tables have expired.
        let now_us = weir::env::Clock::now_us(&weir::env::SystemClock);
        clock.set(now_us + 180 * 24 * 3600 * 1_000_000);
        let later = Env {
            clock: Arc::clone(&clock) as _,
            stores: Arc::new(OneStore(Arc::clone(&store) as _)),
            ..Env::system()
        };
        let text = pipeline.replace("max_files_per_epoch = 2", "max_files_per_epoch = 1");
        let successor = run_in(&later, &text).await;
        assert!(successor.is_ok(), "{when}: {successor:?}");
        let left: Vec<String> = objects(&store).await.iter().map(ToString::to_string).collect();
        let is_there = |name: &str| left.iter().any(|path| path == name);
        assert!(!is_there("tables/numbers/_delta_log/00000000000000000001.json"), "log entries expire");
        records_gone += u64::from(!is_there("checkpoint/main/epochs/00000000000000000002.json"));
        parking.wake();
        match host.await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Fenced => fenced += 1,
            // It was reading a log whose entries have expired meanwhile.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{when}: {error}"),
        }
        assert_whole(&store, READINGS, &when).await;
        let again = run(Arc::clone(&store) as _, &pipeline).await;
        assert_eq!(again.as_ref().map(|summary| summary.epochs).ok(), Some(0), "{when}: {again:?}");
        assert_whole(&store, READINGS, &format!("{when}, after another run")).await;
        at += 1;
    }
    assert!(at > 8 && fenced > at / 2 && records_gone == at, "{fenced} fenced, {records_gone} cleaned up, {at} slept");
}
