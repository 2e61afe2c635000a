//! The wall clock does not matter: frozen, jumping, going backwards, the same
//! rows come out once.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weir::env::{Clock, Env, Location, SystemClock};
use weir_tests::hosts::{numbered, run_in};
use weir_tests::readings;
use weir_tests::tables::sorted_integers;

const FILES: usize = 24;
const READINGS_EACH: usize = 3;
const HOUR_US: i64 = 3_600_000_000;
const DECADE_US: i64 = 10 * 365 * 24 * HOUR_US;

/// Log entries expire within a jump, and checkpoints of the log are frequent.
fn pipeline(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
[pipeline]
name = "clocks"
checkpoint = "{folder}/checkpoint"
trigger = "available-now"
threads = 2

[source.files]
path = "{folder}/input"
max_files_per_epoch = 1

[parser]
plugin = "builtin:json"
config = {{ columns = "number bigint, device string" }}

[table.numbers]
path = "{folder}/numbers"
columns = ["number", "device", "epoch.time as server_time"]
properties = {{ "delta.checkpointInterval" = "5" }}
"#
    )
}

/// A clock whose every reading is another step of a walk, in a circle.
struct Walk {
    start_us: i64,
    steps_us: &'static [i64],
    next: AtomicUsize,
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} by {:?}", self.start_us, self.steps_us)
    }
}

impl Clock for Walk {
    fn now_us(&self) -> i64 {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let round: i64 = self.steps_us.iter().sum();
        let (rounds, step) = (number / self.steps_us.len(), number % self.steps_us.len());
        let walked = round.saturating_mul(i64::try_from(rounds).unwrap());
        self.steps_us[..=step].iter().fold(self.start_us.saturating_add(walked), |at, step| at.saturating_add(*step))
    }
}

/// Runs the same input on local disk, half of it under one clock and half under
/// the same clock started anew.
async fn check(start_us: i64, steps_us: &'static [i64]) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    let text = pipeline(folder.path());
    for part in readings::files(FILES, READINGS_EACH).chunks(FILES / 2) {
        for (name, text) in part {
            fs::write(folder.path().join("input").join(name), text).unwrap();
        }
        let clock = Arc::new(Walk { start_us, steps_us, next: AtomicUsize::new(0) });
        let env = Env { clock: Arc::clone(&clock) as _, ..Env::system() };
        let summary = run_in(&env, &text).await.map_err(|error| format!("{clock:?}: {error}")).unwrap();
        assert_eq!((summary.epochs, summary.counts.dead_letters), (FILES as u64 / 2, 0), "{clock:?}");
        assert!(clock.next.load(Ordering::SeqCst) > FILES, "{clock:?} was read often");
    }
    let table = Location::Local(folder.path().join("numbers"));
    let numbers = sorted_integers(&Env::system(), &table, "number").await;
    assert_eq!(numbers, numbered(FILES * READINGS_EACH), "from {start_us} by {steps_us:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_clock_changes_nothing() {
    check(SystemClock.now_us(), &[0]).await;
    check(0, &[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_far_in_the_past_or_the_future_changes_nothing() {
    check(-DECADE_US, &[1000]).await;
    check(SystemClock.now_us() + 100 * DECADE_US, &[1000]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_that_goes_backwards_changes_nothing() {
    check(SystemClock.now_us(), &[-HOUR_US]).await;
    check(SystemClock.now_us(), &[-1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_that_jumps_to_and_fro_changes_nothing() {
    check(SystemClock.now_us(), &[DECADE_US, -HOUR_US, -DECADE_US, HOUR_US, 1]).await;
    check(SystemClock.now_us(), &[HOUR_US, 0, 0, -3 * HOUR_US, DECADE_US, 0, -2 * DECADE_US]).await;
}
