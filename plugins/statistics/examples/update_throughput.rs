//! How many rows a second `update` folds natively.
//!
//! `cargo run --release --example update_throughput`: seeded readings in chunks of
//! 4 MB over 1000 groups, the statistics of the stateful job; the best round,
//! because machines are shared.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::time::{Duration, Instant};

use weir_plugin::{Aggregator, Batch, Column, Schema, Values};
use weir_statistics::Statistics;

/// 8 bytes for each value and the event time, 4 for the group.
const ROWS: usize = (4 << 20) / (3 * 8 + 4);
const GROUPS: u64 = 1000;
const ROUNDS: usize = 60;

fn main() -> Result<(), String> {
    let functions = ["avg", "min", "max", "last", "range"];
    let sketches = ["p50", "p99", "approx_distinct", "stddev"];
    measure("avg, min, max, last, range of two columns, nothing null", &functions, None)?;
    measure("the same with a tenth of the values null", &functions, Some(10))?;
    measure("p50, p99, approx_distinct, stddev of two columns", &sketches, None)
}

fn measure(name: &str, functions: &[&str], null_each: Option<u64>) -> Result<(), String> {
    let config = serde_json::json!({ "*": ["count"], "temperature": functions, "battery": functions });
    let input = Schema::builder().float64("temperature").float64("battery").timestamp("event.time").build();
    let (mut statistics, info) =
        Statistics::configure(&config.to_string(), input).map_err(|problems| format!("{problems:?}"))?;
    let (groups, rows) = chunk(info.columns.len(), null_each);
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        statistics.update(&groups, &rows).map_err(|error| error.message)?;
        best = best.min(start.elapsed());
    }
    let rate = ROWS as f64 / best.as_secs_f64() / 1e6;
    println!("{name}: {rate:.1} million rows/s, {:.1} ns a row", 1e3 / rate);
    Ok(())
}

fn chunk(columns: usize, null_each: Option<u64>) -> (Vec<u32>, Batch) {
    let mut seed = 1_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let groups = (0..ROWS).map(|_| random(GROUPS) as u32).collect();
    let mut all: Vec<Column> = (0..2)
        .map(|_| Column {
            validity: null_each.map(|each| {
                (0..ROWS.div_ceil(8))
                    .map(|_| (0..8).fold(0, |bits, bit| bits | u8::from(random(each) > 0) << bit))
                    .collect()
            }),
            values: Values::Float64((0..ROWS).map(|_| random(1000) as f64 / 10.0).collect()),
        })
        .collect();
    if columns > 2 {
        all.push(Column { validity: None, values: Values::Timestamp((0..ROWS).map(|row| row as i64).collect()) });
    }
    (groups, Batch { rows: ROWS as u32, columns: all })
}
