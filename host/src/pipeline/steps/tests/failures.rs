//! Rows that a plugin fails for.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use serde_json::json;
use weir_tests::fixture;

use super::super::feed::{Fed, Feeder, Input, Times};
use super::super::window::{WindowOutput, WindowShard, output_schema};
use super::{cells, load, nothing, settings, with_time};
use crate::config::Emit;
use crate::event_time::{KeyColumns, StateColumns, WindowKind};
use crate::model::{EventTime, Span};
use crate::plugin::{Aggregator, ComponentSource};

/// The number that the plugin fails for.
const POISON: i64 = 13;
const STATE_VERSION: u32 = 1;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, true)]))
}

/// Sliding windows of ten each five, of sums that fail for a number.
fn windows(segments: &[Bytes]) -> (Feeder, WindowShard) {
    let plugin = load(&ComponentSource::File(fixture("hostile.wasm")));
    let config = settings(json!({ "mode": "error", "poison": POISON }));
    let aggregator = Aggregator::configure(&plugin, config, &with_time(&schema(), false)).unwrap();
    let keys = KeyColumns::new(&[], &schema()).unwrap();
    let output = output_schema(&keys, &schema(), aggregator.output()).unwrap();
    let needed = aggregator.needed().to_vec();
    let feeder = Feeder { step: 0, input: Input::Rows, keys: keys.clone(), needed, shown: None };
    let kind = WindowKind::Aligned { size: Span(10), slide: Span(5), offset: Span(0) };
    let state = StateColumns::new(&keys, &schema());
    let mut shard = WindowShard::new(aggregator, kind, WindowOutput { keys, schema: output }, state, Emit::OnClose);
    shard.restore(segments, STATE_VERSION, (0, 1)).unwrap();
    (feeder, shard)
}

fn feed(feeder: &Feeder, rows: &[(i64, i64)]) -> Fed {
    let (numbers, times): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
    let rows = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(numbers))]).unwrap();
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
    feeder.feed(&rows, &Times::of(&times), (&[], &nothing()), 0).unwrap()
}

#[test]
fn regression_row_that_fails_in_several_windows_fails_once() {
    let (feeder, mut shard) = windows(&[]);
    let answer = shard.feed(&feed(&feeder, &[(1, 7), (POISON, 7), (2, 8)]), (0, 1), None).unwrap();
    assert_eq!(answer.failed.iter().map(|failed| failed.input).collect::<Vec<_>>(), [1]);
    let rows = cells(&shard.close(Some(EventTime(100))).unwrap().rows);
    let sums: Vec<&str> = rows.iter().map(|row| row[2].1.as_str()).collect();
    assert_eq!(sums, ["3", "3"], "the other rows are in both windows");
}

#[test]
fn regression_window_of_failed_rows_is_the_same_after_a_restart() {
    let (feeder, mut shard) = windows(&[]);
    shard.feed(&feed(&feeder, &[(1, 7), (POISON, 107)]), (0, 1), None).unwrap();
    let segment = shard.end_epoch(false).unwrap().bytes.unwrap();
    let (_, mut restarted) = windows(&[segment]);
    let close = |shard: &mut WindowShard| cells(&shard.close(Some(EventTime(200))).unwrap().rows);
    assert_eq!(close(&mut restarted), close(&mut shard));
}

#[test]
fn regression_rows_beside_failed_ones_count_in_the_journal() {
    let (feeder, mut shard) = windows(&[]);
    shard.plugin().set_max_journal_bytes(60);
    shard.feed(&feed(&feeder, &[(1, 7), (POISON, 7)]), (0, 1), None).unwrap();
    assert!(shard.plugin().state(0).is_some(), "the base has moved, so that the journal is bounded");
}
