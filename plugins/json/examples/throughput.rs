//! How fast the parser is natively, beside `serde_json` into typed structs.
//!
//! `cargo run --release --example throughput`: seeded messages, each an array
//! of ten readings; both parsers make the same columns; rounds in turn, the
//! best of each, because machines are shared. The parser runs a second time with
//! a stored schema that asks for what does not fit, which is nothing.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::time::{Duration, Instant};

use serde::Deserialize;
use weir_json::Parser;
use weir_plugin::build::BytesBuilder;
use weir_plugin::infer::RESCUED;
use weir_plugin::{Batch, Messages, Schema, VarBytes};

const COLUMNS: &str = "deviceId string, ts timestamp, temperature double, humidity double, pressure double, \
                       battery double, lat double, lon double, status string";
const CHUNK_BYTES: usize = 2 << 20;
const ROUNDS: usize = 40;

fn main() -> Result<(), String> {
    for (name, pretty) in [("one line", false), ("pretty-printed", true)] {
        let chunk = chunk(pretty);
        let config = serde_json::json!({ "columns": COLUMNS }).to_string();
        let (mut parser, info) =
            <Parser as weir_plugin::Parser>::configure(&config, None).map_err(|problems| format!("{problems:?}"))?;
        let stored = Schema { fields: [info.output.fields, Schema::builder().utf8(RESCUED).build().fields].concat() };
        let (mut rescuing, _) = <Parser as weir_plugin::Parser>::configure("{}", Some(stored))
            .map_err(|problems| format!("{problems:?}"))?;
        let (mut own, mut with_rescue, mut serde) = (Duration::MAX, Duration::MAX, Duration::MAX);
        let mut rows = (0, 0);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            rows.0 = parser.parse(&chunk).map_err(|error| error.message)?.rows.rows as usize;
            own = own.min(start.elapsed());
            let start = Instant::now();
            rescuing.parse(&chunk).map_err(|error| error.message)?;
            with_rescue = with_rescue.min(start.elapsed());
            let start = Instant::now();
            rows.1 = with_serde(&chunk)?.temperature.len();
            serde = serde.min(start.elapsed());
        }
        if rows.0 != rows.1 {
            return Err(format!("{} rows against {}", rows.0, rows.1));
        }
        let rate = |time: Duration| chunk.payload.data.len() as f64 / time.as_secs_f64() / 1e6;
        println!(
            "{name}: {} rows, this parser {:.0} MB/s, with a rescue {:.0} MB/s, serde_json {:.0} MB/s",
            rows.0,
            rate(own),
            rate(with_rescue),
            rate(serde)
        );
    }
    Ok(())
}

fn chunk(pretty: bool) -> Messages {
    let mut payload = VarBytes { offsets: vec![0], data: Vec::new() };
    let mut seed = 1_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut rows = 0;
    while payload.data.len() < CHUNK_BYTES {
        let readings: Vec<serde_json::Value> = (0..10)
            .map(|_| {
                rows += 1;
                serde_json::json!({
                    "deviceId": format!("sensor-{:03}", random(1000)),
                    "ts": format!("2025-10-05T{:02}:{:02}:{:02}Z", rows / 3600 % 24, rows / 60 % 60, rows % 60),
                    "temperature": random(400) as f64 / 10.0,
                    "humidity": random(1000) as f64 / 10.0,
                    "pressure": 950.0 + random(1000) as f64 / 10.0,
                    "battery": random(100) as f64 / 100.0,
                    "lat": 49.0 + random(10_000) as f64 / 10_000.0,
                    "lon": -123.0 - random(10_000) as f64 / 10_000.0,
                    "status": (["OK", "OK", "WARN", "FAIL"][random(4) as usize]),
                })
            })
            .collect();
        // `json!` sorts the keys; producers do not, but the order does not matter here.
        let text = if pretty { serde_json::to_vec_pretty(&readings) } else { serde_json::to_vec(&readings) };
        payload.data.extend(text.unwrap_or_default());
        payload.offsets.push(payload.data.len() as i32);
    }
    let rows = payload.len() as u32;
    let mut paths = BytesBuilder::default();
    (0..rows).for_each(|_| paths.push(b"in/readings.json"));
    Messages { payload, fields: Batch { rows, columns: vec![paths.into_utf8()] } }
}

#[derive(Deserialize)]
struct Reading<'a> {
    #[serde(rename = "deviceId")]
    device_id: &'a str,
    ts: &'a str,
    temperature: f64,
    humidity: f64,
    pressure: f64,
    battery: f64,
    lat: f64,
    lon: f64,
    status: &'a str,
}

#[derive(Default)]
struct Columns {
    device_id: (Vec<i32>, Vec<u8>),
    ts: Vec<i64>,
    temperature: Vec<f64>,
    humidity: Vec<f64>,
    pressure: Vec<f64>,
    battery: Vec<f64>,
    lat: Vec<f64>,
    lon: Vec<f64>,
    status: (Vec<i32>, Vec<u8>),
}

fn with_serde(chunk: &Messages) -> Result<Columns, String> {
    let mut columns = Columns::default();
    let append = |text: &str, to: &mut (Vec<i32>, Vec<u8>)| {
        to.1.extend_from_slice(text.as_bytes());
        to.0.push(to.1.len() as i32);
    };
    for payload in chunk.payloads() {
        let readings: Vec<Reading<'_>> = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        for reading in readings {
            append(reading.device_id, &mut columns.device_id);
            let instant = chrono::DateTime::parse_from_rfc3339(reading.ts).map_err(|error| error.to_string())?;
            columns.ts.push(instant.timestamp_micros());
            columns.temperature.push(reading.temperature);
            columns.humidity.push(reading.humidity);
            columns.pressure.push(reading.pressure);
            columns.battery.push(reading.battery);
            columns.lat.push(reading.lat);
            columns.lon.push(reading.lon);
            append(reading.status, &mut columns.status);
        }
    }
    Ok(columns)
}
