//! Windows behind windows, by way of what the steps of an epoch have to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::duties::{Duties, FedChunk};
use super::super::feed::{Feeder, Input};
use super::super::shard::{ShardStep, Shards};
use super::super::window::{WindowOutput, WindowShard, output_schema};
use super::naive::{Key, NaiveWindows};
use super::{Dice, EpochInput, Row, batch, bundled, cell, cells, chunk, epochs, feed, schema, settings, with_time};
use crate::config::Emit;
use crate::env::{Clock, SystemClock};
use crate::event_time::{EventTimeSettings, KeyColumns, Observed, Policy, StateColumns, Watermarks, WindowKind};
use crate::model::{Epoch, EventTime, EventTimeState, Lane, Offset, OffsetRange, PartitionId, SourceRange, Span};
use crate::pipeline::rows::Projection;
use crate::pipeline::wire::{Makings, Output, StepPlan};
use crate::pipeline::workers::Origin;
use crate::plugin::Aggregator;

const INNER: usize = 0;
const OUTER: usize = 1;
const STATE_VERSION: u32 = 1;

/// A window over what another window gives.
#[derive(Debug, Clone)]
struct Case {
    kinds: [WindowKind; 2],
    keys: [Vec<&'static str>; 2],
    emit: [Emit; 2],
    delay: i64,
    epochs: Vec<EpochInput>,
}

thread_local! {
    static AGGREGATORS: [Aggregator; 2] = {
        let configure = |config: Value, input: &SchemaRef| {
            Aggregator::configure(&bundled("statistics"), settings(config), &with_time(input, false)).unwrap()
        };
        let inner = configure(json!({ "*": ["count as rows"] }), &schema());
        // Its keys do not matter for the columns that the outer one needs.
        let output = output_schema(&KeyColumns::new(&[], &schema()).unwrap(), &schema(), inner.output()).unwrap();
        let config = json!({ "*": ["count as windows"], "rows": ["sum", "first", "last"] });
        [inner, configure(config, &output)]
    };
}

fn event_time(delay: i64) -> EventTimeSettings {
    EventTimeSettings {
        column: "time".to_owned(),
        delay: Span(delay),
        policy: Policy::Min,
        idle_timeout: Duration::from_secs(60),
        max_future_skew: Span(0),
    }
}

async fn start(case: &Case, shards: usize, state: &EventTimeState, segments: &[Vec<Bytes>; 2]) -> (Feeder, Duties) {
    let (mut feeders, mut plans, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let mut input = schema();
    AGGREGATORS.with(|aggregators| {
        for step in [INNER, OUTER] {
            let names: Vec<String> = case.keys[step].iter().map(|key| (*key).to_owned()).collect();
            let keys = KeyColumns::new(&names, &input).unwrap();
            let output = output_schema(&keys, &input, aggregators[step].output()).unwrap();
            // The column behind the last is the event time.
            let needed = aggregators[step].needed().iter().map(|index| {
                let seen = ["window_start", "window_end", "rows", "is_final", "event.time"];
                if step == INNER { *index } else { input.index_of(seen[*index]).unwrap_or(input.fields().len()) }
            });
            let needed = needed.collect();
            let from = if step == INNER { Input::Rows } else { Input::Window(INNER) };
            feeders.push(Feeder { step, input: from, keys: keys.clone(), needed, shown: None });
            let projection = Projection::new(None, &output, &Schema::empty()).unwrap();
            plans.push(StepPlan {
                name: format!("window.{step}"),
                plugin: aggregators[step].plugin().identity("window"),
                makings: Makings::new(aggregators[step].plugin(), &settings(json!({})), &input),
                identity: None,
                restorable: vec![STATE_VERSION],
                output: Output::Window { table: Some((step, projection)), late: None },
                behind: Vec::new(),
            });
            let columns = StateColumns::new(&keys, &input);
            let given = WindowOutput { keys, schema: Arc::clone(&output) };
            let window = WindowShard::new(aggregators[step].fork(), case.kinds[step], given, columns, case.emit[step]);
            steps.push(ShardStep::Window(Box::new(window)));
            input = output;
        }
    });
    plans[INNER].behind.extend(feeders.pop());
    let mut duties = Duties::new(plans, Some(Shards::start(&steps, None, shards).unwrap()), None);
    duties.watermarks = Some(Watermarks::new(event_time(case.delay), state, SystemClock.monotonic()));
    for step in [INNER, OUTER] {
        duties.restore(step, segments[step].clone(), STATE_VERSION).await.unwrap();
    }
    (feeders.remove(0), duties)
}

/// What each step gives in an epoch: sorted rows as text, and how many were late.
type Given = [(Vec<String>, u64); 2];

async fn given(case: &Case, seed: u64) -> Vec<Given> {
    let mut dice = Dice(seed);
    let mut segments = [Vec::new(), Vec::new()];
    let (mut state, mut run, mut all) = (EventTimeState::default(), None, Vec::new());
    let now = SystemClock.monotonic();
    let mut inputs = case.epochs.iter();
    loop {
        let input = inputs.next();
        if run.is_none() || dice.once_in(4) {
            let shards = 1 + dice.index(3);
            run = Some(start(case, shards, &state, &segments).await);
        }
        let Some((feeder, duties)) = &mut run else { unreachable!("just started") };
        let end = duties.latest_end(i64::MAX).await.unwrap();
        duties.begin(("pipeline", &Lane::single()), Epoch::FIRST, 0).await.unwrap();
        match (input, end) {
            (Some(input), _) => read(&mut dice, input, feeder, duties, now).await,
            (None, Some(end)) => duties.advance_to(end),
            (None, None) => return all,
        }
        let outcome = duties.close(duties.watermark()).await.unwrap();
        let (deltas, counts) = duties.end().await.unwrap();
        for delta in deltas {
            let step = if delta.step == "window.0" { INNER } else { OUTER };
            dice.keep(&mut segments[step], delta.bytes, delta.is_whole);
        }
        state = duties.watermarks.as_ref().unwrap().state();
        let mut given: Given = [(Vec::new(), counts[INNER].late), (Vec::new(), counts[OUTER].late)];
        for (table, rows) in &outcome.rows {
            given[*table].0.extend(
                cells(rows)
                    .iter()
                    .map(|row| row.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")),
            );
        }
        given.iter_mut().for_each(|(rows, _)| rows.sort());
        all.push(given);
    }
}

async fn read(dice: &mut Dice, input: &EpochInput, feeder: &Feeder, duties: &mut Duties, now: Instant) {
    for rows in dice.cut(&input.rows) {
        let messages = (0..).take(rows.len()).collect();
        let origin = Origin { chunk: chunk(rows), rows: batch(rows), messages };
        let fed = vec![(INNER, Arc::new(feed(feeder, rows)))];
        let outcome = duties.feed(FedChunk { fed, origin }).await.unwrap();
        assert!(outcome.rows.is_empty(), "nothing is given before the epoch ends");
        let max = rows.iter().filter_map(|row| row.time).max().map(EventTime);
        let observed = Observed { partition: PartitionId("all".to_owned()), max };
        duties.watermarks.as_mut().unwrap().observe(&observed, now);
    }
    assert!(duties.drain().await.unwrap().dead_letters.is_empty());
    duties.advance(now, |_| false);
}

fn key(names: &[&'static str], row: &Row) -> Key {
    let rows = batch(std::slice::from_ref(row));
    names.iter().map(|name| cell(rows.column_by_name(name).unwrap(), 0)).collect()
}

fn expected(case: &Case) -> Vec<Given> {
    let mut inner = NaiveWindows::new(case.kinds[INNER], case.emit[INNER]);
    let mut outer = NaiveWindows::new(case.kinds[OUTER], case.emit[OUTER]);
    let (mut watermark, mut all) = (None::<i64>, Vec::new());
    let mut inputs = case.epochs.iter();
    loop {
        let in_force = watermark;
        let mut late = [0, 0];
        match (inputs.next(), inner.latest_end().max(outer.latest_end())) {
            (Some(input), _) => {
                let rows = input.rows.iter().map(|row| (key(&case.keys[INNER], row), row.time, ()));
                late[INNER] = inner.accept(rows, in_force).len() as u64;
                watermark =
                    watermark.max(input.rows.iter().filter_map(|row| row.time).max().map(|max| max - case.delay));
            }
            (None, Some(end)) => watermark = watermark.max(Some(end)),
            (None, None) => return all,
        }
        let closed = inner.close(watermark, <[()]>::len);
        let mut finals: Vec<_> = closed.iter().filter(|(.., is_final)| *is_final).collect();
        // In order of their ends, starts and keys, of which nulls are the first.
        finals.sort_by_key(|(key, start, end, ..)| {
            (*end, *start, key.iter().map(|value| (value != "null", value.clone())).collect::<Vec<_>>())
        });
        let outer_key = |key: &Key| {
            let named: BTreeMap<_, _> = case.keys[INNER].iter().zip(key).collect();
            case.keys[OUTER].iter().map(|name| named[name].clone()).collect::<Key>()
        };
        let rows = finals.iter().map(|(key, _, end, rows, _)| (outer_key(key), Some(end - 1), (end - 1, *rows)));
        late[OUTER] = outer.accept(rows.collect::<Vec<_>>(), in_force).len() as u64;
        let nested = outer.close(watermark, |rows| {
            let first = rows.iter().min_by_key(|(time, _)| time).map_or(0, |(_, rows)| *rows);
            let last = rows.iter().max_by_key(|(time, _)| time).map_or(0, |(_, rows)| *rows);
            let sum: usize = rows.iter().map(|(_, rows)| rows).sum();
            format!("windows={} sum_rows={sum} first_rows={first} last_rows={last}", rows.len())
        });
        let text = |step: usize, key: &Key, start: &i64, end: &i64, values: &str, is_final: &bool| {
            let key: String = case.keys[step].iter().zip(key).map(|(name, value)| format!("{name}={value} ")).collect();
            format!("{key}window_start={start} window_end={end} {values} is_final={is_final}")
        };
        let mut given: Given = [(Vec::new(), late[INNER]), (Vec::new(), late[OUTER])];
        for (key, start, end, rows, is_final) in &closed {
            given[INNER].0.push(text(INNER, key, start, end, &format!("rows={rows}"), is_final));
        }
        for (key, start, end, values, is_final) in &nested {
            given[OUTER].0.push(text(OUTER, key, start, end, values, is_final));
        }
        given.iter_mut().for_each(|(rows, _)| rows.sort());
        all.push(given);
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn kind() -> impl Strategy<Value = WindowKind> {
    let aligned = (1_i64..16, 1_i64..16).prop_map(|(size, slide)| WindowKind::Aligned {
        size: Span(size),
        slide: Span(slide.min(size)),
        offset: Span(0),
    });
    prop_oneof![aligned, (1_i64..9).prop_map(|gap| WindowKind::Session { gap: Span(gap) })]
}

fn case() -> impl Strategy<Value = Case> {
    let emit = || prop::sample::select(vec![Emit::OnClose, Emit::EachEpoch]);
    let outer = prop::sample::select(vec![vec![], vec!["device"]]);
    let inner = prop::sample::select(vec![vec!["device"], vec!["device", "site"]]);
    ([kind(), kind()], inner, outer, [emit(), emit()], 0_i64..8, epochs()).prop_map(
        |(kinds, inner, outer, emit, delay, epochs)| Case { kinds, keys: [inner, outer], emit, delay, epochs },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn windows_of_windows_are_the_naive_ones(case in case(), seed in any::<u64>()) {
        prop_assert_eq!(run(given(&case, seed)), expected(&case));
    }
}

#[test]
fn regression_window_of_a_window_closes_in_the_same_epoch() {
    let tumbling = |size| WindowKind::Aligned { size: Span(size), slide: Span(size), offset: Span(0) };
    let row =
        |time| Row { device: Some("a"), site: None, value: None, temperature: None, time: Some(time), partition: 0 };
    let rows = [1, 6, 7, 12, 100].map(row).to_vec();
    let case = Case {
        kinds: [tumbling(5), tumbling(10)],
        keys: [vec!["device"], vec![]],
        emit: [Emit::OnClose; 2],
        delay: 0,
        epochs: vec![EpochInput { rows, seconds: 0, unread: [false; 3] }],
    };
    let epochs = run(given(&case, 1));
    let (outer, late) = &epochs[0][OUTER];
    assert_eq!(*late, 0, "nothing is late for a window that was open when the epoch began");
    assert_eq!(
        *outer,
        [
            "window_start=0 window_end=10 windows=2 sum_rows=3 first_rows=1 last_rows=2 is_final=true",
            "window_start=10 window_end=20 windows=1 sum_rows=1 first_rows=1 last_rows=1 is_final=true",
        ]
    );
}

#[test]
fn regression_partition_that_waits_for_its_first_turn_holds_the_watermark() {
    let now = SystemClock.monotonic();
    let mut duties = Duties::new(Vec::new(), None, None);
    duties.watermarks = Some(Watermarks::new(event_time(0), &EventTimeState::default(), now));
    let id = |name: &str| PartitionId(name.to_owned());
    let range = |start, end| OffsetRange { start: Offset(start), end: Offset(end) };
    duties.hear_of(&SourceRange::Offsets([(id("0"), range(0, 9)), (id("1"), range(0, 0))].into()), now);
    let observed = Observed { partition: id("0"), max: Some(EventTime(50)) };
    duties.watermarks.as_mut().unwrap().observe(&observed, now);
    duties.advance(now, |partition| partition.0 == "1");
    assert_eq!(duties.watermark(), None, "what partition 1 holds may be older");
    duties.advance(now, |_| false);
    assert_eq!(duties.watermark(), Some(EventTime(50)), "an empty partition holds nobody up");
}
