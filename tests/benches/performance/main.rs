//! `cargo bench`: the figures of the performance page, each beside its native
//! twin and measured in turn, so that a change shows as a ratio.
//!
//! `WEIR_BENCH_READINGS` sets the size of the end-to-end run.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod event_hubs;
mod files;
mod groups;
mod streams;
mod swaps;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::Schema;
use cpu_time::{ProcessTime, ThreadTime};
use serde::Deserialize;
use tokio::sync::watch;
use weir::config::SystemSurroundings;
use weir::env::Env;
use weir::pipeline::{Report, Summary};
use weir::plugin::{
    Compiler, ComponentSource, Engine, FailurePolicy, Library, Limits, Messages, OnFailure, Parser, StepSettings,
    Transform,
};
use weir::source::generator::GeneratorSettings;
use weir_tests::memory::status_kib;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How often each measurement is taken; the median counts.
const ROUNDS: usize = 9;
const CHUNK_BYTES: usize = 1 << 20;
const COLUMNS: &str = "deviceId string, ts string, temperature double, humidity double, pressure double, \
                       battery double, lat double, lon double, status string";

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    // A name chooses one of them: `cargo bench --bench performance -- event-hubs`.
    let chosen = chosen(0);
    let parts: [(&str, fn()); 7] = [
        ("parsers", parsers),
        ("boundary", boundary),
        ("streams", streams::print),
        ("groups", groups::print),
        ("files", files::print),
        ("event-hubs", event_hubs::print),
        ("swaps", swaps::print),
    ];
    for (name, print) in parts {
        if chosen.as_ref().is_none_or(|chosen| chosen == name) {
            print();
        }
    }
}

/// The name at this place of the command, flags aside.
fn chosen(place: usize) -> Option<String> {
    std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).nth(place)
}

/// The native twin that most people would write.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "what is measured is that they are filled")]
struct Reading {
    device_id: String,
    ts: String,
    temperature: f64,
    humidity: f64,
    pressure: f64,
    battery: f64,
    lat: f64,
    lon: f64,
    status: String,
}

fn settings() -> GeneratorSettings {
    GeneratorSettings { readings_per_message: 10, ..GeneratorSettings::default() }
}

/// A chunk of messages: payload and offsets.
fn chunk() -> (Vec<u8>, Vec<i32>) {
    let (mut payload, mut offsets) = (Vec::new(), vec![0]);
    for offset in 0.. {
        settings().write_message(0, offset, &mut payload);
        payload.push(b'\n');
        offsets.push(i32::try_from(payload.len()).unwrap());
        if payload.len() >= CHUNK_BYTES {
            break;
        }
    }
    (payload, offsets)
}

fn library() -> Library {
    Library::new(Engine::new().unwrap(), weir::env::cache_dir().join("plugins"), Compiler::Here).unwrap()
}

fn step(config: serde_json::Value) -> StepSettings {
    let limits = Limits { deadline: Duration::from_secs(5), ..Limits::default() };
    StepSettings { step: "bench".to_owned(), config, limits, on_failure: FailurePolicy::new(OnFailure::Fail) }
}

fn no_fields(messages: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(messages));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
}

/// What is measured, with its name.
type Contender<'a> = (&'a str, Box<dyn FnMut() + 'a>);

/// The CPU time of each contender, measured in turn, the median over the rounds.
fn in_turn(contenders: &mut [Contender<'_>]) -> Vec<Duration> {
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..=ROUNDS {
        for (times, (_, contender)) in times.iter_mut().zip(contenders.iter_mut()) {
            let start = ThreadTime::now();
            contender();
            // The first round warms up.
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    times.into_iter().map(median).collect()
}

fn parsers() {
    let (payload, offsets) = chunk();
    let fields = no_fields(offsets.len() - 1);
    let config = serde_json::json!({ "columns": COLUMNS });
    let limits = Limits::default();
    let plugin = library().load(&ComponentSource::Builtin("json".into()), None, &limits).unwrap();
    let mut component = Parser::configure(&plugin, step(config.clone()), None).map_err(weir::Error::from).unwrap();
    let (mut native, _) = <weir_json::Parser as weir_plugin::Parser>::configure(&config.to_string(), None).unwrap();
    let messages = weir_plugin::Messages {
        payload: weir_plugin::VarBytes { offsets: offsets.clone(), data: payload.clone() },
        fields: weir_plugin::Batch { rows: u32::try_from(offsets.len() - 1).unwrap(), columns: vec![] },
    };
    let bodies: Vec<&[u8]> = offsets.windows(2).map(|pair| &payload[pair[0] as usize..pair[1] as usize]).collect();
    const REPEAT: usize = 20;
    let times = in_turn(&mut [
        (
            "component",
            Box::new(|| {
                for _ in 0..REPEAT {
                    let messages = Messages { payload: &payload, offsets: &offsets, fields: &fields };
                    black_box(component.parse(messages).unwrap());
                }
            }),
        ),
        (
            "native",
            Box::new(|| {
                for _ in 0..REPEAT {
                    black_box(native.parse(&messages).unwrap());
                }
            }),
        ),
        (
            "serde_json",
            Box::new(|| {
                for _ in 0..REPEAT {
                    for body in &bodies {
                        black_box(serde_json::from_slice::<Vec<Reading>>(body).unwrap());
                    }
                }
            }),
        ),
    ]);
    let stats = component.take_stats();
    println!("parser, chunks of {} KiB, {} readings each", payload.len() >> 10, (offsets.len() - 1) * 10);
    println!("{:<52} {:>9} {:>8}", "", "MB/s", "CPU");
    let names = ["component, guard rails on", "the same code, native", "serde_json into typed structs, native"];
    for (name, time) in names.iter().zip(&times) {
        let rate = (payload.len() * REPEAT) as f64 / time.as_secs_f64() / 1e6;
        println!("{name:<52} {rate:>9.0} {:>7.2}x", time.as_secs_f64() / times[1].as_secs_f64());
    }
    println!(
        "{:<52} {:>9} {:>7.2}x",
        "component against serde_json (at most 1)",
        "",
        times[0].as_secs_f64() / times[2].as_secs_f64()
    );
    let whole = (stats.inside + stats.boundary + stats.validation).as_secs_f64();
    let share = |part: Duration| 100.0 * part.as_secs_f64() / whole;
    println!(
        "of the calls: inside {:.1} %, boundary {:.1} %, validation {:.1} %\n",
        share(stats.inside),
        share(stats.boundary),
        share(stats.validation)
    );
}

fn boundary() {
    const ROWS: usize = 75_000;
    let texts: Vec<String> = (0..ROWS).map(|row| format!("device-{:04}", row % 1000)).collect();
    let number = |shift: usize| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values((0..ROWS).map(|row| (row + shift) as f64)))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(StringArray::from(texts))),
        ("b", Arc::new(Int64Array::from_iter_values(0..ROWS as i64))),
        ("c", number(1)),
        ("d", number(2)),
        ("e", number(3)),
        ("f", number(4)),
        ("g", number(5)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let bytes = batch.get_array_memory_size() as f64;
    let plugin = library().load(&ComponentSource::Builtin("identity".into()), None, &Limits::default()).unwrap();
    let mut identity =
        Transform::configure(&plugin, step(serde_json::json!({})), &batch.schema()).map_err(weir::Error::from).unwrap();
    identity.apply(&batch).unwrap();
    identity.take_stats();
    for _ in 0..100 {
        black_box(identity.apply(&batch).unwrap());
    }
    let stats = identity.take_stats();
    let each_way = 2.0 * 100.0 * bytes / 1e9;
    println!("boundary, identity over {:.1} MB of 7 columns, both ways", bytes / 1e6);
    println!("{:<52} {:>9.1} GB/s", "host side of the copies", each_way / stats.boundary.as_secs_f64());
    println!("{:<52} {:>9.1} GB/s", "whole call", each_way / (stats.boundary + stats.inside).as_secs_f64());
    println!("{:<52} {:>9.1} GB/s\n", "validation", 100.0 * bytes / 1e9 / stats.validation.as_secs_f64());
}

/// Run a pipeline file of this text in a folder; what it did, and what it took.
fn run(folder: &Path, text: &str, report: &mut dyn Report) -> (Summary, f64, f64) {
    run_on(folder, text, 2, report)
}

/// The same with so many threads for sources and stores.
fn run_on(folder: &Path, text: &str, threads: usize, report: &mut dyn Report) -> (Summary, f64, f64) {
    let file = folder.join("pipeline.toml");
    let (pipeline, file) = weir::config::parse(text.as_bytes(), &file, &[], &SystemSurroundings).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    let (_stop, shutdown) = watch::channel(false);
    let (wall, cpu) = (Instant::now(), ProcessTime::now());
    let summary = runtime.block_on(weir::pipeline::run(&pipeline, &file, &Env::system(), shutdown, report)).unwrap();
    (summary, wall.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64())
}

/// The memory that this process has, or the most that it had (`VmRSS`, `VmHWM`),
/// where the system tells.
fn memory_mib(which: &str) -> String {
    status_kib("self", which).map_or_else(|| "unknown".to_owned(), |kib| (kib / 1024).to_string())
}
