//! How fast the parser is natively.
//!
//! `cargo run --release --example csv_throughput`: the readings that the
//! example of the JSON parser has, as CSV, in blocks as the host makes them; the
//! best of many short rounds, because machines are shared.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use weir_csv::Parser;
use weir_plugin::build::{BytesBuilder, Int64Builder};
use weir_plugin::{Batch, Messages, VarBytes};

const HEADER: &str = "deviceId,ts,temperature,humidity,pressure,battery,lat,lon,status";
const COLUMNS: &str = "deviceId string, ts timestamp, temperature double, humidity double, pressure double, \
                       battery double, lat double, lon double, status string";
const CHUNK_BYTES: usize = 256 << 10;
const BLOCK_BYTES: usize = 32 << 10;
const ROUNDS: usize = 200;

fn main() -> Result<(), String> {
    for (name, quoted) in [("plain", false), ("quoted texts", true)] {
        let chunk = chunk(quoted);
        let config = serde_json::json!({ "columns": COLUMNS }).to_string();
        let (mut parser, _) =
            <Parser as weir_plugin::Parser>::configure(&config, None).map_err(|problems| format!("{problems:?}"))?;
        let mut best = Duration::MAX;
        let mut rows = 0;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            rows = parser.parse(&chunk).map_err(|error| error.message)?.rows.rows;
            best = best.min(start.elapsed());
        }
        println!("{name}: {rows} rows, {:.0} MB/s", chunk.payload.data.len() as f64 / best.as_secs_f64() / 1e6);
    }
    Ok(())
}

fn chunk(quoted: bool) -> Messages {
    let mut seed = 1_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let quote = if quoted { "\"" } else { "" };
    let mut payload = VarBytes { offsets: vec![0], data: Vec::new() };
    let (mut headers, mut positions) = (BytesBuilder::default(), Int64Builder::default());
    let mut block = format!("{HEADER}\n");
    for row in 0.. {
        let _ = writeln!(
            block,
            "{quote}sensor-{:03}{quote},2025-10-05T{:02}:{:02}:{:02}Z,{:.1},{:.1},{:.1},{:.2},{:.4},{:.4},{quote}{}{quote}",
            random(1000),
            row / 3600 % 24,
            row / 60 % 60,
            row % 60,
            random(400) as f64 / 10.0,
            random(1000) as f64 / 10.0,
            950.0 + random(1000) as f64 / 10.0,
            random(100) as f64 / 100.0,
            49.0 + random(10_000) as f64 / 10_000.0,
            -123.0 - random(10_000) as f64 / 10_000.0,
            ["OK", "OK", "WARN", "FAIL"][random(4) as usize],
        );
        if block.len() > BLOCK_BYTES {
            headers.push(HEADER.as_bytes());
            positions.push(payload.data.len() as i64);
            payload.data.extend_from_slice(block.as_bytes());
            payload.offsets.push(payload.data.len() as i32);
            block.clear();
        }
        if payload.data.len() > CHUNK_BYTES {
            break;
        }
    }
    let rows = payload.len() as u32;
    Messages { payload, fields: Batch { rows, columns: vec![headers.into_utf8(), positions.into_int64()] } }
}
