//! What swapping a plugin costs the stream: for how long it stands still, and how long
//! it takes to make a version ready beside it.

use std::time::Instant;

use tokio::sync::watch;
use weir::config::SystemSurroundings;
use weir::env::Env;
use weir::pipeline::{Ask, Silent, Swap, SwapEvent, swaps};
use weir::plugin::ComponentSource;
use weir_tests::swapping::{FULL_LOAD, STEPS, another};

use super::memory_mib;

const SWAPS: usize = 100;

pub(super) fn print() {
    println!("\nhot swap, {SWAPS} in a row of the plugins of a pipeline under full load, each step in turn");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.toml");
    let (pipeline, file) = weir::config::parse(FULL_LOAD.as_bytes(), &file, &[], &SystemSurroundings).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let events: Vec<SwapEvent> = runtime.block_on(async {
        let (stop, shutdown) = watch::channel(false);
        let (sender, swaps) = swaps();
        let env = Env::system();
        let mut report = Silent;
        let running = weir::pipeline::run_with_swaps(&pipeline, &file, &env, (shutdown, swaps), &mut report);
        let swapping = async {
            let mut events = Vec::new();
            for number in 0..SWAPS {
                let (step, name) = STEPS[number % STEPS.len()];
                let component = ComponentSource::Builtin(name.to_owned()).read().unwrap();
                let component = another(&component, u8::try_from(number + 1).unwrap());
                let component = ComponentSource::Bytes(name.to_owned(), component.into());
                let (step, sha256, shadow) = (step.to_owned(), None, None);
                let swap = Swap { step, component, sha256, shadow, probation: Some(1), is_named: false };
                events.extend(sender.ask(Ask::Swap(swap)).await.unwrap());
                if number == SWAPS / 10 {
                    println!("  memory after {} swaps: {} MiB", number + 1, memory_mib("VmRSS"));
                }
            }
            println!("  memory after {SWAPS} swaps: {} MiB", memory_mib("VmRSS"));
            stop.send_replace(true);
            events
        };
        let (ran, events) = tokio::join!(running, swapping);
        let summary = ran.unwrap();
        println!("  {} epochs with {} messages meanwhile", summary.epochs, summary.counts.messages);
        events
    });
    for (step, _) in STEPS {
        let of_step = || events.iter().filter(|event| event.step == step);
        let pauses = of_step().filter_map(|event| event.pause_us);
        told(&format!("{step}: the stream stands still"), pauses.collect(), "µs");
    }
    told("all: the stream stands still", events.iter().filter_map(|event| event.pause_us).collect(), "µs");
    told("all: made ready beside it, compiled", events.iter().filter_map(|event| event.ready_ms).collect(), "ms");
    cached();
}

/// What a version takes that was compiled before.
fn cached() {
    let library = super::library();
    let source = ComponentSource::Builtin("json".to_owned());
    let limits = weir::plugin::Limits::default();
    library.load(&source, None, &limits).unwrap();
    let mut times = Vec::new();
    for _ in 0..SWAPS {
        let watch = Instant::now();
        library.load(&source, None, &limits).unwrap();
        times.push(u64::try_from(watch.elapsed().as_micros()).unwrap());
    }
    told("the JSON parser from the cache of compiled components", times, "µs");
}

fn told(what: &str, mut times: Vec<u64>, unit: &str) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len().saturating_sub(1)) * share / 100).copied().unwrap_or(0);
    println!("  {what:<56} p50 {:>6} {unit}, p99 {:>6} {unit}", at(50), at(99));
}
