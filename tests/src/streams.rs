//! Streams of readings in event time: written as short texts, run on a store in
//! memory, and compared as short texts.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tokio::sync::watch;
use weir::env::{Clock, Env, Location};
use weir::pipeline::{Progress, Report};
use weir::sink::delta::show;

use crate::hosts::{ImpatientClock, OneStore, env, parse, put_input};

/// The beginning of a pipeline over such a stream: each file is an epoch, and
/// the tables of its steps are below `memory:///`.
pub const HEAD: &str = r#"
[pipeline]
name = "stream"
checkpoint = "memory:///checkpoint"
trigger = "available-now"
threads = 2
max_dead_letter_ratio = 1.0

[source.files]
path = "memory:///input"
max_files_per_epoch = 1

[parser]
plugin = "builtin:json"
config = { columns = "device string, ts as event_time timestamp, number bigint, temperature double, battery double" }

[table.rows]
path = "memory:///rows"
"#;

/// Remembers what it is told of every epoch.
#[derive(Debug, Default)]
pub struct Tells(pub Vec<Value>);

impl Report for Tells {
    fn planned(&mut self, _left_bytes: Option<u64>) {}

    fn chunk(&mut self, _payload_bytes: u64, _rows: u64) {}

    fn epoch(&mut self, progress: &Progress) {
        self.0.push(json!(progress));
    }
}

/// A stream in a store in memory.
pub struct Stream {
    /// Input, tables and checkpoint.
    pub store: Arc<InMemory>,
    clock: Arc<dyn Clock>,
    files: usize,
}

impl Default for Stream {
    fn default() -> Self {
        Self::with_clock(Arc::new(ImpatientClock))
    }
}

impl Stream {
    /// An empty stream for hosts with this clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { store: Arc::new(InMemory::new()), clock, files: 0 }
    }

    /// A stream that is as this one is now, and goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { store: Arc::new(self.store.fork()), clock: Arc::clone(&self.clock), files: self.files }
    }

    /// A stream of these files.
    pub async fn of(files: &[&[&str]]) -> Self {
        let mut stream = Self::default();
        for file in files {
            stream.put(file).await;
        }
        stream
    }

    /// Add a file of readings, as [`reading`] understands them.
    pub async fn put(&mut self, readings: &[&str]) {
        let readings: Vec<Value> = readings.iter().map(|text| reading(text)).collect();
        self.put_json(&Value::from(readings).to_string()).await;
    }

    /// Add a file of this text.
    pub async fn put_json(&mut self, text: &str) {
        put_input(&self.store, [(format!("{:04}.json", self.files), text.to_owned())]).await;
        self.files += 1;
    }

    /// Run until everything is read, and return what was told of each epoch.
    ///
    /// # Errors
    /// What the run fails with.
    pub async fn try_run(&self, text: &str) -> weir::Result<Vec<Value>> {
        self.try_run_on(Arc::clone(&self.store) as _, text).await
    }

    /// The same through another view of the store.
    ///
    /// # Errors
    /// What the run fails with.
    pub async fn try_run_on(&self, store: Arc<dyn ObjectStore>, text: &str) -> weir::Result<Vec<Value>> {
        let mut tells = Tells::default();
        self.run_telling(store, text, &mut tells).await?;
        Ok(tells.0)
    }

    /// The same, telling somebody else.
    ///
    /// # Errors
    /// What the run fails with.
    pub async fn run_telling(
        &self,
        store: Arc<dyn ObjectStore>,
        text: &str,
        report: &mut dyn Report,
    ) -> weir::Result<()> {
        let env = Env { clock: Arc::clone(&self.clock), stores: Arc::new(OneStore(store)), ..Env::system() };
        let (pipeline, file) = parse(text);
        let (_stop, shutdown) = watch::channel(false);
        weir::pipeline::run(&pipeline, &file, &env, shutdown, report).await?;
        Ok(())
    }

    /// Run and expect success.
    ///
    /// # Panics
    /// If the run fails.
    pub async fn run(&self, text: &str) -> Vec<Value> {
        self.try_run(text).await.unwrap_or_else(|error| panic!("the run failed: {error}"))
    }

    /// Run and expect failure.
    ///
    /// # Panics
    /// If the run succeeds.
    pub async fn fail(&self, text: &str) -> weir::Error {
        match self.try_run(text).await {
            Ok(epochs) => panic!("a run that should fail made {} epochs", epochs.len()),
            Err(error) => error,
        }
    }

    /// The rows of the table at `memory:///NAME`, sorted, each as its values with
    /// a space between them; all columns where none is named. No rows if there
    /// is no table.
    pub async fn rows(&self, table: &str, columns: &str) -> Vec<String> {
        rows(&self.store, table, columns).await
    }

    /// The rows in the dead letters: step and reason.
    pub async fn letters(&self) -> Vec<String> {
        self.rows("checkpoint/dead_letters", "step reason").await
    }
}

/// As [`Stream::rows`].
///
/// # Panics
/// If the table cannot be read.
pub async fn rows(store: &Arc<InMemory>, table: &str, columns: &str) -> Vec<String> {
    let url = format!("memory:///{table}");
    let location = Location::parse(&url, Path::new("")).expect("the location is sound");
    let storage = env(Arc::clone(store) as _).storage(&location).expect("the location is usable");
    let columns: Vec<String> = columns.split_whitespace().map(str::to_owned).collect();
    let columns = (!columns.is_empty()).then_some(columns);
    let batches = match show::first_rows(&storage, usize::MAX, columns.as_deref()).await {
        Ok(batches) => batches,
        Err(error) if error.to_string().starts_with("there is no table") => return Vec::new(),
        Err(error) => panic!("the table cannot be read: {error}"),
    };
    let options = FormatOptions::new().with_null("-").with_timestamp_tz_format(Some("%H:%M:%S%.f"));
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns: Vec<_> = columns.map(|column| column.expect("all types can be shown")).collect();
        for row in 0..batch.num_rows() {
            let mut text = String::new();
            for (index, column) in columns.iter().enumerate() {
                let space = if index == 0 { "" } else { " " };
                let _ = write!(text, "{space}{}", column.value(row));
            }
            rows.push(text);
        }
    }
    rows.sort_unstable();
    rows
}

/// A reading: `DEVICE TIME [NUMBER [TEMPERATURE [BATTERY]]]`, where `-` is null
/// and a time is one of 2025-10-06 unless it has a date, as in
/// `a 10:00:00.000 1 21.5 80`.
///
/// # Panics
/// If a number is none.
pub fn reading(text: &str) -> Value {
    let mut words = text.split_whitespace().map(|word| (word != "-").then_some(word));
    let mut next = || words.next().flatten();
    let (device, time, number, temperature, battery) = (next(), next(), next(), next(), next());
    let time = time.map(|time| match time.contains('T') {
        true => time.to_owned(),
        false => format!("2025-10-06T{time}Z"),
    });
    let float = |text: Option<&str>| text.map(|text| text.parse::<f64>().expect("a number"));
    json!({
        "device": device,
        "ts": time,
        "number": number.map(|number| number.parse::<i64>().expect("a whole number")),
        "temperature": float(temperature),
        "battery": float(battery),
    })
}

/// The watermark behind an epoch, as it was told: the time of day.
pub fn watermark(told: &Value) -> Option<&str> {
    let text = told["eventTime"]["watermark"].as_str()?;
    text.strip_prefix("2025-10-06T")?.strip_suffix('Z')
}

/// What was told of a step of an epoch.
pub fn step<'a>(told: &'a Value, name: &str) -> &'a Value {
    let steps = told["stateOperators"].as_array().map_or(&[][..], Vec::as_slice);
    steps.iter().find(|step| step["operatorName"] == name).unwrap_or(&Value::Null)
}
