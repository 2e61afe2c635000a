//! Windows against the naive ones, over random rows and random batching.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::feed::{Feeder, Input, Times};
use super::super::window::{WindowOutput, WindowShard, output_schema};
use super::naive::{Given, Key, NaiveWatermark, NaiveWindows};
use super::{
    Dice, EpochInput, PARTITIONS, Row, TIME, batch, bundled, cells, chunk, epochs, feed, schema, settings, with_time,
};
use crate::config::Emit;
use crate::env::{Clock, SystemClock};
use crate::event_time::{EventTimeSettings, KeyColumns, Policy, StateColumns, Watermarks, WindowKind};
use crate::model::{EventTime, EventTimeState, PartitionId, Span};
use crate::pipeline::times::TimeRule;
use crate::plugin::Aggregator;

/// What the clock of the host says; some rows are ahead of it.
const CLOCK_US: i64 = 25;
const MAX_FUTURE_SKEW: i64 = 10;
const IDLE_SECONDS: u32 = 60;
const STATE_VERSION: u32 = 1;

/// A pipeline with one window, and what it reads.
#[derive(Debug, Clone)]
struct Case {
    kind: WindowKind,
    keys: Vec<&'static str>,
    emit: Emit,
    policy: Policy,
    delay: i64,
    flush_at_end: bool,
    /// Without columns the plugin asks for none.
    has_columns: bool,
    epochs: Vec<EpochInput>,
}

/// Where it must not matter how a run went.
#[derive(Debug, Clone, Copy)]
struct Batching {
    seed: u64,
    /// At most so many shards.
    shards: usize,
    /// Once in so many epochs a run starts again; never with 0.
    restarts: u64,
    /// Once in so many calls the instance is lost; never with 0.
    losses: u64,
}

impl Batching {
    /// The epochs before which a run starts again.
    fn restarts(self, epochs: usize) -> Vec<bool> {
        let mut dice = Dice(self.seed ^ 0x5eed);
        (0..epochs).map(|_| self.restarts > 0 && dice.once_in(self.restarts)).collect()
    }
}

/// What is in a window, by the name of its column.
type Values = Vec<(String, String)>;

fn config(has_columns: bool) -> Value {
    match has_columns {
        true => json!({
            "*": ["count as rows"],
            "value": ["count", "sum", "avg", "min", "max", "first", "last"],
            "temperature": ["sum", "avg", "max", "last"],
        }),
        false => json!({ "*": ["count as rows"] }),
    }
}

thread_local! {
    /// Configured once for each thread, because that takes a while.
    static AGGREGATORS: [Aggregator; 2] = [false, true].map(|has_columns| {
        let input = with_time(&schema(), false);
        Aggregator::configure(&bundled("statistics"), settings(config(has_columns)), &input).unwrap()
    });
}

/// One run of the step, from a start to the next one.
struct Run {
    feeder: Feeder,
    shards: Vec<WindowShard>,
    watermarks: Watermarks,
}

impl Run {
    fn start(case: &Case, segments: &[Bytes], shards: usize, state: &EventTimeState, now: Instant) -> Self {
        AGGREGATORS.with(|aggregators| {
            let aggregator = &aggregators[usize::from(case.has_columns)];
            let names: Vec<String> = case.keys.iter().map(|key| (*key).to_owned()).collect();
            let keys = KeyColumns::new(&names, &schema()).unwrap();
            let output = output_schema(&keys, &schema(), aggregator.output()).unwrap();
            let state_columns = StateColumns::new(&keys, &schema());
            let needed = aggregator.needed().to_vec();
            let feeder = Feeder { step: 0, input: Input::Rows, keys: keys.clone(), needed, shown: None };
            let shard = |number: usize| {
                let output = WindowOutput { keys: keys.clone(), schema: output.clone() };
                let mut shard =
                    WindowShard::new(aggregator.fork(), case.kind, output, state_columns.clone(), case.emit);
                shard.restore(segments, STATE_VERSION, (number, shards)).unwrap();
                shard
            };
            let settings = EventTimeSettings {
                column: "time".to_owned(),
                delay: Span(case.delay),
                policy: case.policy,
                idle_timeout: Duration::from_secs(IDLE_SECONDS.into()),
                max_future_skew: Span(MAX_FUTURE_SKEW),
            };
            Self { feeder, shards: (0..shards).map(shard).collect(), watermarks: Watermarks::new(settings, state, now) }
        })
    }

    /// Feed a chunk whose first row has this number within the epoch.
    fn feed(
        &mut self,
        rows: &[Row],
        first: usize,
        in_force: Option<EventTime>,
        now: Instant,
    ) -> Vec<(usize, i64, i64)> {
        let rule = TimeRule { column: TIME, max_future_skew: MAX_FUTURE_SKEW, has_partitions: true };
        let messages: Vec<u32> = (0..).take(rows.len()).collect();
        let times = Times::of(batch(rows).column(TIME));
        let (_, observed) = rule.measure(&times, &messages, &chunk(rows), CLOCK_US);
        observed.iter().for_each(|observed| self.watermarks.observe(observed, now));
        let fed = feed(&self.feeder, rows);
        let of = self.shards.len();
        let mut late = Vec::new();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let answer = shard.feed(&fed, (number, of), in_force).unwrap();
            assert_eq!(answer.failed, [], "the plugin fails for no row");
            let of_epoch =
                |late: &crate::event_time::LateRow| (first + late.row as usize, late.window.start.0, late.window.end.0);
            late.extend(answer.late.iter().map(of_epoch));
        }
        late
    }

    /// Let the watermark take effect, and close.
    fn close(&mut self, case: &Case) -> Vec<(Key, i64, i64, Values, bool)> {
        let watermark = self.watermarks.current();
        let mut emitted = Vec::new();
        for shard in &mut self.shards {
            emitted.extend(cells(&shard.close(watermark).unwrap().rows).into_iter().map(|row| emitted_row(case, row)));
        }
        emitted
    }
}

fn emitted_row(case: &Case, mut cells: Values) -> (Key, i64, i64, Values, bool) {
    let key = cells.drain(..case.keys.len()).map(|(_, value)| value).collect();
    let bounds: Vec<i64> = cells.drain(..2).map(|(_, value)| value.parse().unwrap()).collect();
    let (name, is_final) = cells.pop().unwrap();
    assert_eq!(name, "is_final");
    cells.sort();
    (key, bounds[0], bounds[1], cells, is_final == "true")
}

/// The rows of each epoch, from the real thing.
fn given(case: &Case, batching: Batching) -> Vec<Given<Values>> {
    let mut dice = Dice(batching.seed);
    let mut now = SystemClock.monotonic();
    let mut segments: Vec<Bytes> = Vec::new();
    let (mut state, mut run) = (EventTimeState::default(), None::<Run>);
    let mut all = Vec::new();
    let mut flushes = usize::from(case.flush_at_end);
    let restarts = batching.restarts(case.epochs.len());
    let mut inputs = case.epochs.iter().zip(restarts);
    loop {
        let input = inputs.next();
        if run.is_none() || input.is_some_and(|(_, restart)| restart) {
            let shards = 1 + dice.index(batching.shards);
            run = Some(Run::start(case, &segments, shards, &state, now));
        }
        let Some(run) = &mut run else { unreachable!("just started") };
        if dice.once_in(4) {
            run.shards.iter_mut().for_each(|shard| shard.plugin().set_max_journal_bytes(0));
        }
        let lose = |run: &mut Run, dice: &mut Dice| {
            let lost = run.shards.iter_mut().filter(|_| batching.losses > 0 && dice.once_in(batching.losses));
            lost.for_each(|shard| shard.plugin().lose_instance());
        };
        let in_force = run.watermarks.current();
        let mut given = Given::default();
        if let Some((input, _)) = input {
            now += Duration::from_secs(input.seconds.into());
            PARTITIONS.iter().for_each(|name| run.watermarks.know(&PartitionId((*name).to_owned()), now));
            let mut first = 0;
            for rows in dice.cut(&input.rows) {
                lose(run, &mut dice);
                given.late.extend(run.feed(rows, first, in_force, now));
                first += rows.len();
            }
            let unread =
                |id: &PartitionId| PARTITIONS.iter().zip(input.unread).any(|(name, unread)| unread && *name == id.0);
            run.watermarks.advance(now, unread);
        } else {
            let latest = run.shards.iter().filter_map(|shard| shard.latest_end(EventTime(i64::MAX))).max();
            let Some(end) = latest.filter(|_| flushes > 0) else { return all };
            flushes -= 1;
            run.watermarks.advance_to(end);
        }
        lose(run, &mut dice);
        given.emitted = run.close(case);
        lose(run, &mut dice);
        let is_whole = dice.once_in(5);
        let mut change = Vec::new();
        for shard in &mut run.shards {
            change.extend(shard.end_epoch(is_whole).unwrap().bytes.into_iter().flatten());
        }
        if !change.is_empty() {
            dice.keep(&mut segments, change.into(), is_whole);
        }
        state = run.watermarks.state();
        given.emitted.sort_by(|one, other| format!("{one:?}").cmp(&format!("{other:?}")));
        given.late.sort_unstable();
        all.push(given);
    }
}

/// The rows of each epoch, naively.
fn expected(case: &Case, batching: Batching) -> Vec<Given<Values>> {
    let mut watermark = NaiveWatermark {
        policy: case.policy,
        delay: case.delay,
        idle_seconds: IDLE_SECONDS,
        limit: CLOCK_US + MAX_FUTURE_SKEW,
        now: None,
        partitions: [(None, 0); PARTITIONS.len()],
        seconds: 0,
    };
    let mut windows = NaiveWindows::new(case.kind, case.emit);
    let mut all = Vec::new();
    for (input, restart) in case.epochs.iter().zip(batching.restarts(case.epochs.len())) {
        if restart {
            watermark.restart();
        }
        let rows = input.rows.iter().map(|row| (key(case, row), row.time, row.clone()));
        let late = windows.accept(rows, watermark.now);
        watermark.advance(input);
        all.push(Given { late, emitted: windows.close(watermark.now, |rows| values(case, rows)) });
    }
    if let Some(end) = windows.latest_end().filter(|_| case.flush_at_end) {
        let end = watermark.now.max(Some(end));
        all.push(Given { late: Vec::new(), emitted: windows.close(end, |rows| values(case, rows)) });
    }
    for given in &mut all {
        given.emitted.sort_by(|one, other| format!("{one:?}").cmp(&format!("{other:?}")));
    }
    all
}

fn key(case: &Case, row: &Row) -> Key {
    let value = |key: &&str| match *key {
        "device" => row.device.map_or("null".to_owned(), |device| format!("{device:?}")),
        _ => row.site.map_or("null".to_owned(), |site| site.to_string()),
    };
    case.keys.iter().map(value).collect()
}

/// What the statistics of these rows, in the order of their arrival, are.
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
fn values(case: &Case, rows: &[Row]) -> Values {
    fn text<T: std::fmt::Debug>(value: Option<T>) -> String {
        value.map_or("null".to_owned(), |value| format!("{value:?}"))
    }
    let mut values = vec![("rows".to_owned(), rows.len().to_string())];
    if case.has_columns {
        let timed: Vec<(i64, i64)> = rows.iter().filter_map(|row| Some((row.time?, row.value?))).collect();
        let sum = timed.iter().map(|(_, value)| value).sum::<i64>();
        let some = (!timed.is_empty()).then_some(());
        let warm: Vec<(i64, f64)> = rows.iter().filter_map(|row| Some((row.time?, row.temperature?))).collect();
        let total = warm.iter().map(|(_, value)| value).sum::<f64>() + 0.0;
        let any = (!warm.is_empty()).then_some(());
        // Of equal keys `min_by_key` takes the first, and `max_by_key` the last.
        values.extend([
            ("count_value".to_owned(), timed.len().to_string()),
            ("sum_value".to_owned(), text(some.map(|()| sum))),
            ("avg_value".to_owned(), text(some.map(|()| sum as f64 / timed.len() as f64))),
            ("min_value".to_owned(), text(timed.iter().map(|(_, value)| value).min())),
            ("max_value".to_owned(), text(timed.iter().map(|(_, value)| value).max())),
            ("first_value".to_owned(), text(timed.iter().min_by_key(|(time, _)| time).map(|(_, value)| value))),
            ("last_value".to_owned(), text(timed.iter().max_by_key(|(time, _)| time).map(|(_, value)| value))),
            ("sum_temperature".to_owned(), text(any.map(|()| total))),
            ("avg_temperature".to_owned(), text(any.map(|()| total / warm.len() as f64))),
            ("max_temperature".to_owned(), text(warm.iter().map(|(_, value)| *value).reduce(f64::max))),
            ("last_temperature".to_owned(), text(warm.iter().max_by_key(|(time, _)| time).map(|(_, value)| value))),
        ]);
    }
    values.sort();
    values
}

fn case(kind: impl Strategy<Value = WindowKind>) -> impl Strategy<Value = Case> {
    let keys = prop::sample::select(vec![vec![], vec!["device"], vec!["device", "site"], vec!["site"]]);
    let emit = prop::sample::select(vec![Emit::OnClose, Emit::EachEpoch]);
    let policy = prop::sample::select(vec![Policy::Min, Policy::Max]);
    (kind, keys, emit, policy, 0_i64..8, any::<[bool; 2]>(), epochs()).prop_map(
        |(kind, keys, emit, policy, delay, [flush_at_end, has_columns], epochs)| Case {
            kind,
            keys,
            emit,
            policy,
            delay,
            flush_at_end,
            has_columns,
            epochs,
        },
    )
}

fn batching() -> impl Strategy<Value = Batching> {
    (any::<u64>(), 1_usize..4, 0_u64..4, 0_u64..6).prop_map(|(seed, shards, restarts, losses)| Batching {
        seed,
        shards,
        restarts,
        losses,
    })
}

fn aligned() -> impl Strategy<Value = WindowKind> {
    let span = (1_i64..16).prop_flat_map(|size| (Just(size), 1..=size));
    let shifted = span.prop_flat_map(|(size, slide)| (Just(size), Just(slide), 1 - slide..slide));
    shifted.prop_map(|(size, slide, offset)| WindowKind::Aligned {
        size: Span(size),
        slide: Span(slide),
        offset: Span(offset),
    })
}

fn tumbling() -> impl Strategy<Value = WindowKind> {
    let shifted = (1_i64..16).prop_flat_map(|size| (Just(size), 1 - size..size));
    shifted.prop_map(|(size, offset)| WindowKind::Aligned { size: Span(size), slide: Span(size), offset: Span(offset) })
}

fn session() -> impl Strategy<Value = WindowKind> {
    (1_i64..9).prop_map(|gap| WindowKind::Session { gap: Span(gap) })
}

fn check(case: &Case, batching: Batching) -> Result<(), TestCaseError> {
    prop_assert_eq!(given(case, batching), expected(case, batching));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2500))]

    #[test]
    fn tumbling_windows_are_the_naive_ones(case in case(tumbling()), batching in batching()) {
        check(&case, batching)?;
    }

    #[test]
    fn sliding_windows_are_the_naive_ones(case in case(aligned()), batching in batching()) {
        check(&case, batching)?;
    }

    #[test]
    fn sessions_are_the_naive_ones(case in case(session()), batching in batching()) {
        check(&case, batching)?;
    }

    #[test]
    fn windows_do_not_depend_on_the_batching(
        mut case in case(prop_oneof![tumbling(), aligned(), session()]),
        one in batching(),
        other in batching(),
    ) {
        // A start counts as hearing of all partitions, so nobody may be idle.
        case.epochs.iter_mut().for_each(|epoch| epoch.seconds = 0);
        prop_assert_eq!(given(&case, one), given(&case, other));
    }
}
