//! From an event hub to committed rows, against a bare loop over the official
//! client: where the time goes.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use azure_messaging_eventhubs::{ConsumerClient, OpenReceiverOptions, StartLocation, StartPosition};
use bytes::Bytes;
use cpu_time::ProcessTime;
use futures::StreamExt as _;
use weir::config::{SourceConfig, SystemSurroundings};
use weir::env::Env;
use weir::source::event_hubs::EventHubsSource;
use weir::source::generator::GeneratorSettings;
use weir::source::{ChunkBounds, ChunkSender, EpochBounds, Source as _};
use weir_tests::event_hubs::{LocalHubs, Settings};

use super::run_on;

const HUB: &str = "telemetry";
const PREFETCH: u32 = 5000;
/// No run takes so long, unless it stands still.
const STANDS_STILL: Duration = Duration::from_secs(60);
/// The machine may be shared: what counts is the median over rounds, of ratios too.
const ROUNDS: usize = 7;
/// So many that opening and committing, which take a few hundredths of a second, do
/// not count.
const EVENTS: u64 = 400_000;

const PIPELINE: &str = r#"
[pipeline]
name = "bench"
checkpoint = "run/checkpoint"
trigger = "available-now"
threads = THREADS

[source.event_hubs]
connection_string = "CONNECTION"
start = "earliest"

[parser]
plugin = "builtin:json"
config = { columns = """deviceId string, ts as event_time timestamp, temperature double, humidity double,
    pressure double, battery double, lat double, lon double, status string""" }

[table.readings]
path = "run/readings"
columns = ["message.enqueued_time as enqueued", "message.partition as partition", "deviceId", "event_time",
    "temperature", "humidity", "pressure", "battery", "lat", "lon", "status"]
"#;

/// What a contender took for all events, in seconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    /// Of the whole process.
    cpu: f64,
    /// What of it the endpoint took.
    service_cpu: f64,
}

/// What this work takes, once whoever received before it has gone.
fn measured(hubs: &LocalHubs, work: impl FnOnce()) -> Cost {
    hubs.broker().wait_until_blocking(STANDS_STILL, |broker| broker.receivers(HUB).is_empty());
    let (wall, cpu, service_cpu) = (Instant::now(), ProcessTime::now(), service_cpu());
    work();
    Cost {
        wall: wall.elapsed().as_secs_f64(),
        cpu: cpu.elapsed().as_secs_f64(),
        service_cpu: self::service_cpu() - service_cpu,
    }
}

/// What the thread of the endpoint took so far, in seconds, from proc(5); zero where
/// the system does not tell.
fn service_cpu() -> f64 {
    let nanoseconds = |thread: fs::DirEntry| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let is_service = LocalHubs::THREAD.starts_with(name.trim_end());
        is_service.then(|| times.split(' ').next()?.parse::<f64>().ok())?
    };
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.filter_map(nanoseconds).sum::<f64>() / 1e9
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

/// Bodies of about this many bytes: one reading or several, and white space.
fn bodies(bytes: usize) -> Vec<Bytes> {
    let readings_per_message = u32::try_from((bytes / 190).max(1)).unwrap();
    let settings = GeneratorSettings { readings_per_message, ..GeneratorSettings::default() };
    let body = |offset| {
        let mut body = Vec::with_capacity(bytes + 64);
        settings.write_message(0, offset, &mut body);
        body.resize(body.len().max(bytes), b' ');
        Bytes::from(body)
    };
    (0..EVENTS).map(body).collect()
}

/// Work while another core is busy, as it is with parser and encoder: cores that share
/// a clock, or are threads of one, are slower then.
fn beside_a_busy_core<T>(work: impl FnOnce() -> T) -> T {
    // Also what panics ends it.
    let wanted = Arc::new(());
    let is_wanted = Arc::downgrade(&wanted);
    let _detached = thread::spawn(move || {
        let mut state = 1_u64;
        while is_wanted.strong_count() > 0 {
            state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    });
    work()
}

/// What anybody would write: a client and a loop for each partition. Says whether it
/// came to its end: on several threads the client may lose that it was woken, and then
/// waits for ever.
fn bare(connection: &str, partitions: usize, threads: usize) -> bool {
    runtime(threads).block_on(async {
        let mut tasks = Vec::new();
        for partition in 0..partitions {
            let connection = connection.to_owned();
            let origin = format!("amqp://{}", connection.split("sb://").nth(1).unwrap().split(';').next().unwrap());
            tasks.push(tokio::spawn(async move {
                let client = ConsumerClient::builder().with_custom_endpoint(origin);
                let client = client.open_with_connection_string(&connection, Some(HUB)).await.unwrap();
                let start = StartPosition { location: StartLocation::Earliest, inclusive: false };
                let options = OpenReceiverOptions {
                    prefetch: Some(PREFETCH),
                    start_position: Some(start),
                    ..OpenReceiverOptions::default()
                };
                let receiver = client.open_receiver_on_partition(partition.to_string(), Some(options)).await.unwrap();
                let mut stream = receiver.stream_events();
                let mut bytes = 0;
                for _ in 0..EVENTS / partitions as u64 {
                    let event = stream.next().await.unwrap().unwrap();
                    bytes += std::hint::black_box(event.event_data().body().map_or(0, <[u8]>::len));
                }
                bytes
            }));
        }
        let all = async {
            for task in tasks {
                assert!(task.await.unwrap() > 0);
            }
        };
        tokio::time::timeout(STANDS_STILL, all).await.is_ok()
    })
}

/// The source alone: into chunks, which nobody looks at.
fn source_alone(text: &str, threads: usize) {
    let (pipeline, _) = weir::config::parse(text.as_bytes(), "p.toml".as_ref(), &[], &SystemSurroundings).unwrap();
    let SourceConfig::EventHubs(settings) = &pipeline.source else { unreachable!("it is an event hub") };
    let (bounds, chunks): (EpochBounds, ChunkBounds) = (pipeline.epoch_bounds, pipeline.chunk_bounds);
    let mut source = EventHubsSource::new((**settings).clone(), &Env::system(), chunks).unwrap();
    source.select_fields(&["enqueued_time".to_owned(), "partition".to_owned()]).unwrap();
    runtime(threads).block_on(async {
        source.seal().await.unwrap();
        let mut read = 0;
        while let Some(range) = source.plan(bounds).await.unwrap() {
            let (out, mut inbox) = ChunkSender::bounded(1);
            let count = async {
                let mut messages = 0;
                while let Some(chunk) = inbox.recv().await {
                    messages += chunk.messages() as u64;
                }
                messages
            };
            let (done, messages) = tokio::join!(source.read(&range, out), count);
            done.unwrap();
            read += messages;
        }
        assert_eq!(read, EVENTS);
    });
}

/// Print events a second for each size and number of partitions, measured in turn.
pub(super) fn print() {
    // The bare client panics where two providers are compiled in and none is chosen.
    let _chosen = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // A case can be chosen: `cargo bench --bench performance -- event-hubs 2000/1`.
    let chosen = super::chosen(1);
    println!("event hub to Delta, events a second; each on a local endpoint in this process");
    println!(
        "{:<22} {:>11} {:>11} {:>11} {:>11} {:>11} {:>9} {:>9} {:>9}",
        "", "bare, 1 thr", "2 thr", "1 and busy", "chunks", "to Delta", "of 1", "of 2", "of busy"
    );
    for bytes in [250, 2000] {
        let bodies = LazyCell::new(|| bodies(bytes));
        for partitions in [1, 4] {
            if chosen.as_ref().is_some_and(|chosen| *chosen != format!("{bytes}/{partitions}")) {
                continue;
            }
            let hubs = LocalHubs::start_blocking(Settings::hub(HUB, partitions));
            for partition in 0..partitions {
                hubs.append_many(HUB, partition, bodies.iter().skip(partition).step_by(partitions).cloned());
            }
            compare(&hubs, partitions, bytes);
        }
    }
    println!();
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare(hubs: &LocalHubs, partitions: usize, bytes: usize) {
    let folder = tempfile::tempdir().unwrap();
    let connection = hubs.connection_string(HUB);
    let text = PIPELINE.replace("CONNECTION", &connection).replace("THREADS", "1");
    let mut costs: [Vec<Cost>; 5] = std::array::from_fn(|_| Vec::new());
    let mut profile = String::new();
    let mut stood_still = 0;
    let mut bare_to_its_end = |threads| {
        loop {
            let mut is_done = false;
            let cost = measured(hubs, || is_done = bare(&connection, partitions, threads));
            if is_done {
                return cost;
            }
            stood_still += 1;
        }
    };
    for round in 0..=ROUNDS {
        let mut of_pipeline = super::streams::Sum::default();
        // Whom ours is compared with first is next to it: cores change their speed.
        let round_costs = [
            bare_to_its_end(2),
            measured(hubs, || source_alone(&text, 1)),
            beside_a_busy_core(|| bare_to_its_end(1)),
            bare_to_its_end(1),
            measured(hubs, || {
                let (summary, _, _) = run_on(folder.path(), &text, 1, &mut of_pipeline);
                assert_eq!(summary.counts.messages, EVENTS);
            }),
        ];
        profile = format!("{:?}", super::streams::in_ms(&of_pipeline));
        fs::remove_dir_all(folder.path().join("run")).unwrap();
        // The first round warms up.
        if round > 0 {
            costs.iter_mut().zip(round_costs).for_each(|(costs, cost)| costs.push(cost));
        }
    }
    let [on_two, chunks, busy, bare, to_delta] = &costs;
    let rate = |costs: &[Cost]| EVENTS as f64 / median(costs.iter().map(|cost| cost.wall));
    let of = |bare: &[Cost]| median(bare.iter().zip(to_delta).map(|(bare, ours)| bare.wall / ours.wall));
    println!(
        "{:<22} {:>11.0} {:>11.0} {:>11.0} {:>11.0} {:>11.0} {:>8.2}x {:>8.2}x {:>8.2}x",
        format!("{bytes} B, {partitions} partition(s)"),
        rate(bare),
        rate(on_two),
        rate(busy),
        rate(chunks),
        rate(to_delta),
        of(bare),
        of(on_two),
        of(busy)
    );
    let each = |costs: &[Cost], cpu: fn(&Cost) -> f64| median(costs.iter().map(cpu)) * 1e6 / EVENTS as f64;
    let without_endpoint = |costs: &[Cost]| each(costs, |cost| cost.cpu - cost.service_cpu);
    println!(
        "    CPU an event: client {:.1} µs, into chunks {:+.1}, parse and Delta {:+.1}; the endpoint beside them {:.1}",
        without_endpoint(bare),
        without_endpoint(chunks) - without_endpoint(bare),
        without_endpoint(to_delta) - without_endpoint(chunks),
        each(to_delta, |cost| cost.service_cpu)
    );
    println!("    threads in ms: {profile}");
    if stood_still > 0 {
        println!("    the bare loop stood still for ever {stood_still} times, and was run again");
    }
}
