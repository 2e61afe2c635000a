//! Groups without windows: what a keyed rule remembers, and which rows repeat
//! others, against naive models.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::super::feed::{Feeder, Input};
use super::super::rule::RuleShard;
use super::super::shard::Ended;
use super::{Dice, EpochInput, Row, TIME, batch, bundled, cell, epochs, feed, schema, settings, with_time};
use crate::event_time::{DeduplicateSettings, Deduplicator, KeyColumns, StateColumns};
use crate::model::{EventTime, Span};
use crate::pipeline::steps::Times;
use crate::plugin::Rule;

const STATE_VERSION: u32 = 1;
/// The rule raises an alert when the value was above this so many times in a row.
const ABOVE: i64 = 2;
const TIMES: u64 = 2;

/// What must matter.
#[derive(Debug, Clone)]
struct Case {
    keys: Vec<&'static str>,
    delay: i64,
    /// How long a group is remembered, for ever without an end.
    after: Option<i64>,
    epochs: Vec<EpochInput>,
}

fn case() -> impl Strategy<Value = Case> {
    let keys = prop::sample::select(vec![vec![], vec!["device"], vec!["device", "site"], vec!["site"]]);
    (keys, 0_i64..8, prop::option::of(1_i64..12), epochs()).prop_map(|(keys, delay, after, epochs)| Case {
        keys,
        delay,
        after,
        epochs,
    })
}

fn names(case: &Case) -> Vec<String> {
    case.keys.iter().map(|key| (*key).to_owned()).collect()
}

fn key(case: &Case, row: &Row) -> Vec<String> {
    let rows = batch(std::slice::from_ref(row));
    case.keys.iter().map(|key| cell(rows.column_by_name(key).unwrap(), 0)).collect()
}

/// The watermark behind an epoch.
fn advanced(watermark: Option<i64>, case: &Case, epoch: &EpochInput) -> Option<i64> {
    watermark.max(epoch.rows.iter().filter_map(|row| row.time).max().map(|max| max - case.delay))
}

thread_local! {
    static RULE: Rule = {
        let config = json!({
            "column": "value", "above": ABOVE, "times": TIMES, "kind": "HIGH", "message": "{count} times",
        });
        Rule::configure(&bundled("consecutive"), settings(config), &with_time(&schema(), true)).unwrap()
    };
}

fn start(case: &Case, segments: &[Bytes], shards: usize) -> (Feeder, Vec<RuleShard>) {
    RULE.with(|rule| {
        let keys = KeyColumns::new(&names(case), &schema()).unwrap();
        let needed = rule.needed().to_vec();
        let feeder = Feeder { step: 0, input: Input::Rows, keys: keys.clone(), needed, shown: None };
        let shard = |number: usize| {
            let mut shard = RuleShard::new(rule.fork(), case.after.map(Span), StateColumns::new(&keys, &schema()));
            shard.restore(segments, STATE_VERSION, (number, shards)).unwrap();
            shard
        };
        (feeder, (0..shards).map(shard).collect())
    })
}

/// The rows of each epoch that raise an alert, and how many groups are left.
fn raised(case: &Case, seed: u64) -> Vec<(Vec<usize>, usize)> {
    let mut dice = Dice(seed);
    let mut segments: Vec<Bytes> = Vec::new();
    let (mut run, mut watermark, mut all) = (None, None, Vec::new());
    for epoch in &case.epochs {
        if run.is_none() || dice.once_in(3) {
            let shards = 1 + dice.index(3);
            run = Some(start(case, &segments, shards));
        }
        let Some((feeder, shards)) = &mut run else { unreachable!("just started") };
        let (mut alerts, mut first, of) = (Vec::new(), 0, shards.len());
        for rows in dice.cut(&epoch.rows) {
            let fed = feed(feeder, rows);
            for (number, shard) in shards.iter_mut().enumerate() {
                if dice.once_in(5) {
                    shard.plugin().lose_instance();
                }
                if dice.once_in(9) {
                    shard.plugin().set_max_journal_bytes(0);
                }
                let answer = shard.feed(&fed, (number, of), watermark.map(EventTime)).unwrap();
                alerts.extend(answer.alerts.unwrap().rows.iter().map(|row| first + *row as usize));
            }
            first += rows.len();
        }
        watermark = advanced(watermark, case, epoch);
        let is_whole = dice.once_in(5);
        let mut change = Vec::new();
        for shard in shards.iter_mut() {
            if let Some(watermark) = watermark {
                shard.forget(EventTime(watermark)).unwrap();
            }
            change.extend(shard.end_epoch(is_whole).unwrap().bytes.into_iter().flatten());
        }
        if !change.is_empty() {
            dice.keep(&mut segments, change.into(), is_whole);
        }
        alerts.sort_unstable();
        all.push((alerts, shards.iter().map(|shard| shard.groups().len()).sum()));
    }
    all
}

#[derive(Default)]
struct Counted {
    count: u64,
    raised: bool,
    /// The watermark at which it is forgotten.
    end: i64,
}

fn expected_alerts(case: &Case) -> Vec<(Vec<usize>, usize)> {
    let mut groups: BTreeMap<Vec<String>, Counted> = BTreeMap::new();
    let (mut watermark, mut all) = (None::<i64>, Vec::new());
    for epoch in &case.epochs {
        let mut alerts = Vec::new();
        for (number, row) in epoch.rows.iter().enumerate() {
            let group = groups.entry(key(case, row)).or_insert(Counted { end: i64::MIN, ..Counted::default() });
            // It lives on until the watermark moves, however old the row is.
            let end = watermark.map_or(i64::MIN, |watermark| watermark + 1);
            group.end = group.end.max(end).max(row.time.zip(case.after).map_or(i64::MIN, |(time, after)| time + after));
            match row.value {
                None => {}
                Some(value) if value > ABOVE => {
                    group.count += 1;
                    if !group.raised && group.count >= TIMES {
                        group.raised = true;
                        alerts.push(number);
                    }
                }
                Some(_) => (group.count, group.raised) = (0, false),
            }
        }
        watermark = advanced(watermark, case, epoch);
        if let (Some(watermark), Some(_)) = (watermark, case.after) {
            groups.retain(|_, group| group.end > watermark);
        }
        all.push((alerts, groups.len()));
    }
    all
}

/// Which rows of each epoch are the first of their kind, and how many are
/// remembered behind it.
fn first(case: &Case, within: i64, seed: u64) -> Vec<(Vec<bool>, usize)> {
    let mut dice = Dice(seed);
    let settings = DeduplicateSettings { by: names(case), within: Span(within) };
    let mut segments: Vec<Bytes> = Vec::new();
    let (mut run, mut watermark, mut all) = (None, None, Vec::new());
    for epoch in &case.epochs {
        if run.is_none() || dice.once_in(3) {
            let keys = KeyColumns::new(&settings.by, &schema()).unwrap();
            let columns = StateColumns::new(&keys, &schema());
            let mut rows = Deduplicator::new(&settings);
            for kept in columns.restore(&segments).unwrap() {
                for row in (0..kept.windows.len()).filter(|row| kept.states[*row].is_some()) {
                    rows.restore(&kept.keys, row, kept.windows[row]);
                }
            }
            run = Some((keys, columns, rows));
        }
        let Some((keys, columns, remembered)) = &mut run else { unreachable!("just started") };
        let mut flags = Vec::new();
        for rows in dice.cut(&epoch.rows) {
            let rows = batch(rows);
            let times = Times::of(rows.column(TIME));
            let first = remembered.first(&keys.rows(&rows).unwrap(), times.values(), times.valid());
            flags.extend(first.values().iter());
        }
        watermark = advanced(watermark, case, epoch);
        if let Some(watermark) = watermark {
            remembered.forget(EventTime(watermark));
        }
        let (changed, is_whole) = (remembered.end_epoch(), dice.once_in(5));
        let ended = Ended::of(columns, remembered.groups(), &changed, is_whole, |_| Some(&[])).unwrap();
        if let Some(change) = ended.bytes {
            dice.keep(&mut segments, change, is_whole);
        }
        all.push((flags, remembered.groups().len()));
    }
    all
}

fn expected_first(case: &Case, within: i64) -> Vec<(Vec<bool>, usize)> {
    // Until when the first row of a kind is remembered.
    let mut seen: BTreeMap<Vec<String>, i64> = BTreeMap::new();
    let (mut watermark, mut all) = (None, Vec::new());
    for epoch in &case.epochs {
        let is_first = |row: &Row| {
            let Some(time) = row.time else { return true };
            let key = key(case, row);
            let is_first = seen.get(&key).is_none_or(|until| time >= *until);
            if is_first {
                seen.insert(key, time + within);
            }
            is_first
        };
        let flags = epoch.rows.iter().map(is_first).collect();
        watermark = advanced(watermark, case, epoch);
        if let Some(watermark) = watermark {
            seen.retain(|_, until| *until > watermark);
        }
        all.push((flags, seen.len()));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn rule_counts_rows_in_a_row_whatever_the_batching(case in case(), seed in any::<u64>()) {
        prop_assert_eq!(raised(&case, seed), expected_alerts(&case));
    }

    #[test]
    fn first_row_of_its_kind_wins_whatever_the_batching(case in case(), within in 1_i64..12, seed in any::<u64>()) {
        prop_assert_eq!(first(&case, within, seed), expected_first(&case, within));
    }
}
