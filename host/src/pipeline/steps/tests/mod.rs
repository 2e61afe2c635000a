//! Windows, rules and the search for repeated rows against naive models of them,
//! whatever the batching: how rows are cut into chunks and spread over shards,
//! when a run starts again, and when an instance is lost.

mod duties;
mod failures;
mod keyed;
mod naive;
mod windows;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::feed::{Fed, Feeder, Times, time_of};
use crate::plugin::{
    Compiler, ComponentSource, Engine, FailurePolicy, Library, Limits, OnFailure, Plugin, StepSettings,
};
use crate::source::{Chunk, Place, Positions};

/// One reading.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    device: Option<&'static str>,
    site: Option<i64>,
    value: Option<i64>,
    temperature: Option<f64>,
    time: Option<i64>,
    partition: usize,
}

const PARTITIONS: [&str; 3] = ["0", "1", "2"];

/// The column with the event time.
const TIME: usize = 4;

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("device", DataType::Utf8, true),
        Field::new("site", DataType::Int64, true),
        Field::new("value", DataType::Int64, true),
        Field::new("temperature", DataType::Float64, true),
        Field::new("time", time, true),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times: TimestampMicrosecondArray = rows.iter().map(|row| row.time).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.device).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.site).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.value).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.temperature).collect::<Float64Array>()),
        Arc::new(times.with_timezone("UTC")),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// The chunk that rows came in, each of them a message.
fn chunk(rows: &[Row]) -> Chunk {
    let place = |(first_message, row): (usize, &Row)| Place {
        first_message,
        name: PARTITIONS[row.partition].into(),
        positions: Positions::Each(vec![0]),
    };
    Chunk {
        payload: Bytes::new(),
        offsets: vec![0; rows.len() + 1],
        fields: nothing(),
        places: rows.iter().enumerate().map(place).collect(),
        unreadable: Vec::new(),
        rows: None,
    }
}

fn nothing() -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::empty()))
}

fn feed(feeder: &Feeder, rows: &[Row]) -> Fed {
    let rows = batch(rows);
    feeder.feed(&rows, &Times::of(rows.column(TIME)), (&[], &nothing()), 0).unwrap()
}

/// Rows with their event time behind them.
fn with_time(rows: &Schema, nullable: bool) -> SchemaRef {
    let mut fields = rows.fields().to_vec();
    fields.push(Arc::new(time_of(nullable)));
    Arc::new(Schema::new(fields))
}

/// A value, so that two of them can be compared.
fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".to_owned();
    }
    match column.data_type() {
        DataType::Utf8 => format!("{:?}", column.as_string::<i32>().value(row)),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        other => unreachable!("no column of {other}"),
    }
}

/// Values by the name of their column.
fn cells(rows: &RecordBatch) -> Vec<Vec<(String, String)>> {
    let schema = rows.schema();
    let named = |row: usize| {
        let named = |(field, column): (&Arc<Field>, &ArrayRef)| (field.name().clone(), cell(column, row));
        schema.fields().iter().zip(rows.columns()).map(named).collect()
    };
    (0..rows.num_rows()).map(named).collect()
}

fn bundled(name: &'static str) -> Plugin {
    load(&ComponentSource::Builtin(name.to_owned()))
}

fn load(source: &ComponentSource) -> Plugin {
    static LIBRARY: OnceLock<(Library, tempfile::TempDir)> = OnceLock::new();
    let (library, _) = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        (Library::new(Engine::new().unwrap(), folder.path().join("plugins"), Compiler::Here).unwrap(), folder)
    });
    library.load(source, None, &limits()).unwrap()
}

/// A machine may be busy with other tests.
fn limits() -> Limits {
    Limits { deadline: Duration::from_secs(60), ..Limits::default() }
}

fn settings(config: Value) -> StepSettings {
    StepSettings {
        step: "step".to_owned(),
        config,
        limits: limits(),
        on_failure: FailurePolicy::new(OnFailure::Isolate),
    }
}

/// Throws that decide how a run goes where that must not matter.
struct Dice(u64);

impl Dice {
    /// A number below `sides` (SplitMix64: Steele, Lea, Flood, 2014).
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn index(&mut self, sides: usize) -> usize {
        usize::try_from(self.throw(sides as u64)).unwrap()
    }

    /// True once in so many throws.
    fn once_in(&mut self, sides: u64) -> bool {
        self.throw(sides) == 0
    }

    /// Cut rows into chunks.
    fn cut<'a, T>(&mut self, mut rows: &'a [T]) -> Vec<&'a [T]> {
        let mut chunks = Vec::new();
        while !rows.is_empty() {
            let (chunk, rest) = rows.split_at(1 + self.index(rows.len()));
            chunks.push(chunk);
            rows = rest;
        }
        chunks
    }

    /// Put an epoch's change behind what was kept, as the checkpoint may.
    fn keep(&mut self, segments: &mut Vec<Bytes>, change: Bytes, is_whole: bool) {
        if is_whole {
            segments.clear();
        }
        segments.push(change);
        if segments.len() > 1 && self.once_in(3) {
            let merged = segments.split_off(segments.len() - 1 - self.index(segments.len() - 1));
            let first = segments.pop().into_iter();
            segments.push(first.chain(merged).collect::<Vec<_>>().concat().into());
        }
    }
}

/// What an epoch reads, and what is known when it ends.
#[derive(Debug, Clone)]
struct EpochInput {
    rows: Vec<Row>,
    /// Since the epoch before.
    seconds: u32,
    /// Which partitions have messages that are not read yet.
    unread: [bool; 3],
}

fn maybe<T: std::fmt::Debug + Clone + 'static>(
    values: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Option<T>> {
    prop_oneof![1 => Just(None), 8 => values.prop_map(Some)]
}

/// Rows whose event times go on, more or less, cut into epochs.
fn epochs() -> impl Strategy<Value = Vec<EpochInput>> {
    let device = prop::sample::select(vec![None, Some(""), Some("a"), Some("b")]);
    let site = prop::sample::select(vec![None, Some(0), Some(1)]);
    let row = (device, site, maybe(-9_i64..10), maybe(-8_i32..9), maybe(-9_i64..10), 0..PARTITIONS.len());
    let epoch = (prop::collection::vec(row, 0..9), 0_u32..40, any::<[bool; 3]>(), any::<bool>());
    (prop::collection::vec(epoch, 1..7), -40_i64..10, 0_i64..4).prop_map(|(epochs, origin, pace)| {
        let mut number = 0;
        let epoch = |(rows, seconds, unread, is_timed): (Vec<_>, u32, [bool; 3], bool)| {
            let row = |(device, site, value, quarters, jitter, partition): (_, _, _, Option<i32>, Option<i64>, _)| {
                number += 1;
                let time = jitter.map(|jitter| origin + pace * number + jitter);
                Row { device, site, value, temperature: quarters.map(|n| f64::from(n) / 4.0), time, partition }
            };
            let rows = rows.into_iter().map(row).collect();
            // Mostly nobody has unread messages or is idle.
            let unread = if is_timed { unread } else { [false; 3] };
            EpochInput { rows, seconds: if is_timed { seconds } else { 0 }, unread }
        };
        epochs.into_iter().map(epoch).collect()
    })
}
