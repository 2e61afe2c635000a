//! Runs that go on while somebody swaps their plugins.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::{ObjectStore, Result};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use weir::pipeline::{Ask, Progress, Report, SwapEvent, SwapSender, swaps};

use crate::hosts::{env, parse};
use crate::intercept::{Intercept, Intercepted, Operation};

/// The component with something in it that changes nothing but its digest: a custom
/// section (WebAssembly core specification, section 5.5.3), which components have too.
pub fn another(component: &[u8], number: u8) -> Vec<u8> {
    let mut other = component.to_vec();
    other.extend([0, 3, 1, b'v', number]);
    other
}

/// Endless readings, as fast as they come, through all roles; the groups of a thousand
/// devices are open.
pub const FULL_LOAD: &str = r#"
[pipeline]
name = "full-load"
checkpoint = "checkpoint"
max_events_per_epoch = 5000

[source.generator]
devices = 1000

[parser]
plugin = "builtin:json"
config = { columns = "deviceId string, ts as event_time timestamp, temperature double, battery double" }

[[transform]]
name = "same"
plugin = "builtin:identity"

[table.readings]
path = "readings"

[event_time]
column = "event_time"
delay = "5m"

[window.summary]
size = "5m"
key = ["deviceId"]
plugin = "builtin:statistics"
config = { temperature = ["avg", "min", "max", "last"], battery = ["avg", "min", "max", "last"] }
table = { path = "summary" }

[rule.hot]
plugin = "builtin:thresholds"
config = { levels = [{ column = "temperature", above = 37.9, kind = "HOT" }] }
table = { path = "hot" }

[rule.often]
key = ["deviceId"]
plugin = "builtin:consecutive"
config = { column = "temperature", above = 36.0, times = 2, kind = "OFTEN" }
table = { path = "often" }
"#;

/// The steps of [`FULL_LOAD`], with the bundled plugins that they have.
pub const STEPS: [(&str, &str); 5] = [
    ("parser", "json"),
    ("transform.same", "identity"),
    ("window.summary", "statistics"),
    ("rule.hot", "thresholds"),
    ("rule.often", "consecutive"),
];

/// Remembers what it is told, and how many rows there were.
struct Tells {
    epochs: Vec<Value>,
    rows: watch::Sender<u64>,
}

impl Report for Tells {
    fn planned(&mut self, _left_bytes: Option<u64>) {}

    fn chunk(&mut self, _payload_bytes: u64, _rows: u64) {}

    fn epoch(&mut self, progress: &Progress) {
        self.rows.send_modify(|rows| *rows += progress.num_output_rows + progress.num_duplicate_rows);
        self.epochs.push(json!(progress));
    }
}

/// Run an endless pipeline while `drive`, which is told how many rows are committed,
/// swaps its plugins, until so many are, those that are left out because they come
/// twice among them; what was told of each epoch, and what `drive` returned.
///
/// # Errors
/// What the run fails with.
pub async fn run_swapping<T>(
    store: Arc<dyn ObjectStore>,
    text: &str,
    rows: u64,
    drive: impl AsyncFnOnce(SwapSender, watch::Receiver<u64>) -> T,
) -> weir::Result<(Vec<Value>, T)> {
    let (pipeline, file) = parse(text);
    let (stop, shutdown) = watch::channel(false);
    let (sender, swaps) = swaps();
    let (told, mut seen) = watch::channel(0);
    let mut tells = Tells { epochs: Vec::new(), rows: told };
    let env = env(store);
    let running = weir::pipeline::run_with_swaps(&pipeline, &file, &env, (shutdown, swaps), &mut tells);
    let driving = async {
        let driven = drive(sender, seen.clone()).await;
        // A run that has failed says so itself.
        let _ = seen.wait_for(|seen| *seen >= rows).await;
        stop.send_replace(true);
        driven
    };
    let (ran, driven) = tokio::join!(running, driving);
    ran.map(|_| (tells.epochs, driven))
}

type Answered = weir::Result<Vec<SwapEvent>>;

/// What somebody is told who asks at an operation.
pub type Told = oneshot::Receiver<Answered>;

type Answer = oneshot::Sender<Answered>;

/// Asks for a swap at one operation.
pub struct Asks {
    at: u64,
    next: AtomicU64,
    asking: Mutex<Option<(SwapSender, Ask, Answer)>>,
}

impl fmt::Debug for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asks").field("at", &self.at).finish_non_exhaustive()
    }
}

/// A store in memory at one of whose operations somebody asks for a swap.
pub type AskingStore = Intercepted<Asks>;

impl AskingStore {
    /// A view of `inner`; from the operation of this number on, `prepare` decides.
    pub fn asking(inner: Arc<InMemory>, at: u64) -> Arc<Self> {
        Self::new(inner, Asks { at, next: AtomicU64::new(0), asking: Mutex::new(None) })
    }

    /// Let this be asked when the operation comes, at once if it has come already.
    pub fn prepare(&self, sender: SwapSender, ask: Ask) -> Told {
        let (answer, told) = oneshot::channel();
        *self.by.asking.lock().unwrap_or_else(PoisonError::into_inner) = Some((sender, ask, answer));
        if self.by.next.load(Ordering::SeqCst) > self.by.at {
            self.by.ask();
        }
        told
    }

    /// Whether a run came as far as the operation.
    pub fn was_reached(&self) -> bool {
        self.by.next.load(Ordering::SeqCst) > self.by.at
    }

    /// Ask now, if nobody has yet.
    pub fn ask(&self) {
        self.by.ask();
    }
}

impl Asks {
    fn ask(&self) {
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((sender, ask, answer)) = asking {
            tokio::spawn(async move { answer.send(sender.ask(ask).await) });
        }
    }
}

#[async_trait]
impl Intercept for Asks {
    async fn before(&self, _operation: Operation) -> Result<u64> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        if number == self.at {
            self.ask();
        }
        Ok(number)
    }

    async fn after(&self, _number: u64, _operation: Operation) -> Result<()> {
        Ok(())
    }
}
