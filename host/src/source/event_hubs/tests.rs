//! The source of an event hub without its service: feeds, blocks, chunks.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;
use tokio::sync::Notify;

use super::block::Block;
use super::chunks::Chunks;
use super::control::Standing;
use super::feed::{Available, Feed, FeedBounds, Item, Pushed, Until};
use super::fields::{HubField, all_fields};
use super::settings::{EventHubsSettings, OnDataLoss, StartAt};
use crate::ErrorKind;
use crate::event_hubs::{HubSettings, Message, Position, Transport};
use crate::model::{Offset, OffsetRange, PartitionId};
use crate::source::{Chunk, ChunkSender};

/// A message weighs its body, its fields and its place: about a hundred bytes.
const BOUNDS: FeedBounds = FeedBounds { block_bytes: 700, buffer_bytes: 3000, max_message_bytes: 12 };

/// Settings with the defaults of the pipeline file.
pub(super) fn settings() -> EventHubsSettings {
    let connection = "Endpoint=sb://n;SharedAccessKeyName=k;SharedAccessKey=s";
    let hub = HubSettings::of_connection_string(connection, Some("hub".to_owned()), Transport::Amqp, None).unwrap();
    EventHubsSettings {
        hub,
        consumer_group: "$Default".to_owned(),
        start: StartAt::At(Position::Earliest),
        partition_starts: Default::default(),
        owner_level: Some(0),
        prefetch: 5000,
        on_data_loss: OnDataLoss::Fail,
        timeout: Duration::from_secs(30),
        max_outage: Duration::from_secs(600),
        buffer_bytes: 64 << 20,
    }
}

fn names() -> Vec<String> {
    all_fields().fields().iter().map(|field| field.name().clone()).collect()
}

fn feed(next: u64, begin: u64, end: u64) -> Feed {
    let fields = HubField::named(&names()).unwrap();
    Feed::new(PartitionId("7".to_owned()), &fields, BOUNDS, Arc::new(Notify::new()), Standing { next, begin, end })
}

fn body(number: u64) -> String {
    format!("m{number}")
}

fn push(feed: &Feed, number: u64) -> Pushed {
    let key = number.is_multiple_of(2).then(|| format!("k{number}"));
    feed.push(number, &Message::made(number, body(number).as_bytes(), key.as_deref()))
}

fn range(start: u64, end: u64) -> OffsetRange {
    OffsetRange { start: Offset(start), end: Offset(end) }
}

fn end(feed: &Feed, next: u64, on_data_loss: OnDataLoss) -> u64 {
    feed.available(next, Until::Known, on_data_loss).unwrap().end
}

/// All that a range has now: blocks and gaps.
fn take(feed: &Feed, range: &mut OffsetRange) -> (Vec<Block>, Vec<OffsetRange>) {
    let (mut blocks, mut gaps) = (Vec::new(), Vec::new());
    while !range.is_empty()
        && let Some(taken) = feed.take(range, OnDataLoss::Continue).unwrap()
    {
        match taken {
            Item::Block(block) => blocks.push(block),
            Item::Gap(gap) => gaps.push(gap),
        }
    }
    (blocks, gaps)
}

async fn chunks_of(blocks: Vec<Block>, chunk_bytes: usize) -> Vec<Chunk> {
    let (out, mut inbox) = ChunkSender::bounded(10_000);
    let mut chunks = Chunks::new(HubField::named(&names()).unwrap(), chunk_bytes, out);
    for block in blocks {
        assert!(chunks.add(&"7".into(), block).await.unwrap());
    }
    chunks.flush().await.unwrap();
    drop(chunks);
    let mut got = Vec::new();
    while let Some(chunk) = inbox.recv().await {
        got.push(chunk);
    }
    got
}

/// The numbers of the messages of chunks, after checking each with its fields.
fn numbers(chunks: &[Chunk]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for chunk in chunks {
        assert_eq!(chunk.fields.schema(), all_fields());
        for message in 0..chunk.messages() {
            let span = chunk.offsets[message] as usize..chunk.offsets[message + 1] as usize;
            let (name, number) = chunk.place_of(message);
            assert_eq!(name, "7");
            let column = |index: usize| chunk.fields.column(index);
            assert_eq!(&chunk.payload[span], body(number).as_bytes());
            assert_eq!(column(0).as_binary::<i32>().value(message), body(number).as_bytes());
            assert_eq!(column(1).as_string::<i32>().value(message), "7");
            assert_eq!(column(2).as_string::<i32>().value(message), (number * 100).to_string());
            assert_eq!(column(3).as_primitive::<Int64Type>().value(message), number as i64);
            let enqueued = column(4).as_primitive::<TimestampMicrosecondType>();
            assert_eq!(enqueued.value(message), number as i64 * 1000);
            let key = column(6).as_string::<i32>();
            assert_eq!(key.is_null(message), !number.is_multiple_of(2));
            assert!(key.is_null(message) || key.value(message) == format!("k{number}"));
            numbers.push(number);
        }
    }
    numbers
}

#[tokio::test]
async fn range_ends_within_a_block_and_the_rest_is_read_next() {
    let feed = feed(0, 0, 0);
    for number in 0..20 {
        push(&feed, number);
    }
    let mut first = range(0, 13);
    let (blocks, gaps) = take(&feed, &mut first);
    assert!(first.is_empty() && gaps.is_empty());
    assert_eq!(numbers(&chunks_of(blocks, 16).await), (0..13).collect::<Vec<_>>());
    let (blocks, _) = take(&feed, &mut range(13, 20));
    assert_eq!(numbers(&chunks_of(blocks, 1000).await), (13..20).collect::<Vec<_>>());
}

#[test]
fn small_block_waits_until_the_range_is_complete() {
    let feed = feed(0, 0, 5);
    for number in 0..3 {
        push(&feed, number);
    }
    let mut wanted = range(0, 4);
    assert!(take(&feed, &mut wanted).0.is_empty());
    push(&feed, 3);
    assert_eq!(take(&feed, &mut wanted).0.len(), 1);
}

#[test]
fn repeated_messages_are_left_out_and_missing_ones_are_a_gap() {
    let feed = feed(5, 5, 5);
    assert_eq!(push(&feed, 4), Pushed::Repeated);
    assert!(matches!(push(&feed, 5), Pushed::Taken { gap, .. } if gap.is_empty()));
    assert_eq!(push(&feed, 5), Pushed::Repeated);
    assert!(matches!(push(&feed, 9), Pushed::Taken { gap, .. } if gap == range(6, 9)));
    let (blocks, gaps) = take(&feed, &mut range(5, 10));
    assert_eq!((blocks.len(), gaps), (2, vec![range(6, 9)]));
}

#[test]
fn gap_ends_a_run_that_must_not_lose_but_not_what_comes_before_it() {
    let feed = feed(0, 0, 0);
    push(&feed, 0);
    push(&feed, 3);
    assert_eq!(end(&feed, 0, OnDataLoss::Continue), 4);
    assert_eq!(end(&feed, 0, OnDataLoss::Fail), 1);
    assert!(feed.take(&mut range(0, 1), OnDataLoss::Fail).unwrap().is_some());
    let error = feed.available(1, Until::Known, OnDataLoss::Fail).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("messages 1 to 2 of partition 7"), "{error}");
}

#[test]
fn what_expired_before_the_start_is_a_gap_of_its_own() {
    let feed = feed(10, 25, 25);
    assert_eq!(feed.available(10, Until::Known, OnDataLoss::Continue).unwrap(), Available { first: 25, end: 25 });
    let (blocks, gaps) = take(&feed, &mut range(10, 20));
    assert_eq!((blocks.len(), gaps), (0, vec![range(10, 20)]));
    assert_eq!(take(&feed, &mut range(20, 25)).1, vec![range(20, 25)]);
}

#[test]
fn partition_without_connection_is_read_up_to_what_has_come() {
    let feed = feed(0, 0, 100);
    push(&feed, 0);
    assert_eq!(end(&feed, 0, OnDataLoss::Fail), 1);
    feed.set_connected(true);
    assert_eq!(end(&feed, 0, OnDataLoss::Fail), 100);
    assert_eq!(feed.available(0, Until::Sealed(40), OnDataLoss::Fail).unwrap().end, 40);
}

#[test]
fn what_came_before_a_failure_is_read_first() {
    let feed = feed(0, 0, 100);
    push(&feed, 0);
    feed.fail(crate::Error::unavailable("gone"));
    assert_eq!(end(&feed, 0, OnDataLoss::Fail), 1);
    let sealed = feed.available(0, Until::Sealed(100), OnDataLoss::Fail).unwrap();
    assert_eq!(sealed, Available { first: 0, end: 1 });
    let mut wanted = range(0, 1);
    assert!(feed.take(&mut wanted, OnDataLoss::Fail).unwrap().is_some());
    assert!(feed.available(1, Until::Sealed(1), OnDataLoss::Fail).is_ok(), "nothing more is wanted");
    assert!(feed.available(1, Until::Known, OnDataLoss::Fail).is_err());
}

#[tokio::test]
async fn long_messages_are_unreadable_and_keep_their_place() {
    let feed = feed(0, 0, 0);
    push(&feed, 0);
    feed.push(1, &Message::made(1, b"much too long a message", None));
    push(&feed, 2);
    let (blocks, _) = take(&feed, &mut range(0, 3));
    let chunks = chunks_of(blocks, 1000).await;
    assert_eq!(numbers(&chunks), [0, 2]);
    let unreadable = &chunks[0].unreadable[0];
    assert_eq!((unreadable.place.as_str(), unreadable.position), ("7", 1));
    assert!(unreadable.reason.contains("23 bytes") && unreadable.raw.len() == 12, "{unreadable:?}");
}

#[tokio::test]
async fn receiver_waits_for_room_and_goes_on_when_something_is_read() {
    let feed = feed(0, 0, 0);
    let mut number = 0;
    while matches!(push(&feed, number), Pushed::Taken { has_room: true, .. }) {
        number += 1;
    }
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), feed.has_room()).await;
    assert!(waiting.is_err(), "there is no room");
    let all = &mut range(0, number + 1);
    let (room, taken) = tokio::join!(feed.has_room(), async { take(&feed, all) });
    assert_eq!((room, taken.0.is_empty()), ((), false));
}

#[tokio::test]
async fn regression_every_block_wakes_the_reader_before_there_is_no_room() {
    let arrived = Arc::new(Notify::new());
    let fields = HubField::named(&[]).unwrap();
    let bounds = FeedBounds { block_bytes: 100, buffer_bytes: 200, max_message_bytes: 1000 };
    let feed = Feed::new(
        PartitionId("7".to_owned()),
        &fields,
        bounds,
        Arc::clone(&arrived),
        Standing { next: 0, begin: 0, end: 0 },
    );
    feed.want(1000);
    for number in 0.. {
        // Two of them do not fit into a block, one does not fill it.
        let message = Message::made(number, &[b'x'; 60], None);
        if matches!(feed.push(number, &message), Pushed::Taken { has_room: false, .. }) {
            break;
        }
    }
    tokio::time::timeout(Duration::from_secs(5), arrived.notified()).await.expect("the reader is told");
}

/// What happens to a feed.
#[derive(Debug, Clone)]
enum Step {
    /// So many messages come, after this many were skipped.
    Come { skipped: u64, count: u64 },
    /// The last ones come again.
    Again(u64),
    /// An epoch reads so many sequence numbers, as far as they exist.
    Read(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..3, 1_u64..12).prop_map(|(skipped, count)| Step::Come { skipped: skipped.saturating_sub(1), count }),
        (1_u64..5).prop_map(Step::Again),
        (1_u64..20).prop_map(Step::Read),
    ]
}

proptest! {
    #[test]
    fn ranges_deliver_each_number_once_in_order_as_message_or_gap(
        first in 0_u64..5,
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let feed = feed(first, first, first);
            let (mut came, mut next) = (first, first);
            let mut expected = Vec::new();
            let mut delivered = Vec::new();
            for step in steps.iter().chain([&Step::Read(u64::MAX / 2)]) {
                match step {
                    Step::Come { skipped, count } => {
                        came += skipped;
                        for number in came..came + count {
                            push(&feed, number);
                            expected.push(number);
                        }
                        came += count;
                    }
                    Step::Again(count) => {
                        for number in came.saturating_sub(*count)..came {
                            prop_assert_eq!(push(&feed, number), Pushed::Repeated);
                        }
                    }
                    Step::Read(count) => {
                        let end = end(&feed, next, OnDataLoss::Continue).min(next + count);
                        let mut wanted = range(next, end);
                        let (blocks, gaps) = take(&feed, &mut wanted);
                        prop_assert!(wanted.is_empty());
                        let missing: u64 = gaps.iter().map(OffsetRange::len).sum();
                        let got = numbers(&chunks_of(blocks, 30).await);
                        prop_assert_eq!(got.len() as u64 + missing, end - next);
                        delivered.extend(got);
                        next = end;
                    }
                }
            }
            prop_assert_eq!(&delivered, &expected);
            Ok(())
        })?;
    }
}
