//! The threads that run plugins: chunks go round to them and come back in the
//! order in which they went.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tokio::sync::{mpsc, oneshot};

use super::build::Plugged;
use super::kept::NewColumns;
use super::maker::Maker;
use super::rows::{Projection, rejected_messages, rejected_rows, unfit, unreadable};
use super::steps::{Fed, Feeder, Input, RaisedAlerts, Times};
use super::times::{TimeRule, TimeStats};
use super::watch::Watch;
use crate::env::{self, Thread};
use crate::event_time::{KeyColumns, KeyRows, Observed};
use crate::model::PluginIdentity;
use crate::plugin::{CallStats, FailedInput, Rule, Transform};
use crate::sink::dead_letter::DeadLetter;
use crate::source::Chunk;
use crate::{Error, Result};

/// Chunks that wait before, and behind, each worker.
const QUEUE: usize = 1;

/// What the plugins made of one chunk.
#[derive(Debug, Default)]
pub(super) struct Processed {
    /// The rows of each table, in the order of the tables.
    pub(super) tables: Vec<RecordBatch>,
    /// What did not become rows.
    pub(super) dead_letters: Vec<DeadLetter>,
    /// The messages of the chunk.
    pub(super) messages: u64,
    /// The bytes of the chunk.
    pub(super) payload_bytes: u64,
    /// The rows that came out of the parser.
    pub(super) parsed: u64,
    /// The rows that came out of the last step.
    pub(super) rows: u64,
    /// The rows that repeated others.
    pub(super) repeated: u64,
    /// What each plugin cost, by its place among all of the pipeline.
    pub(super) stats: Vec<(usize, CallStats)>,
    /// What the event times say of each partition.
    pub(super) times: TimeStats,
    pub(super) observed: Vec<Observed>,
    /// What rules without memory raised.
    pub(super) alerts: Vec<RaisedAlerts>,
    /// What tells which rows come twice.
    pub(super) repeats: Option<(KeyRows, Times)>,
    /// Rows that rules without memory fail for: the row, and its dead letter.
    pub(super) failed: Vec<(usize, DeadLetter)>,
    /// What other steps see of the chunk.
    pub(super) fed: Vec<(usize, Fed)>,
    /// Columns that the kept schema lacks.
    pub(super) new_columns: Option<NewColumns>,
    /// What the rows came from, for those that steps cannot do.
    pub(super) origin: Option<Origin>,
}

impl Processed {
    /// Leave out the rows that repeat others; `first` says which do not.
    pub(super) fn leave_out_repeats(&mut self, first: &BooleanArray) -> Result<()> {
        self.failed.retain(|(row, _)| first.value(*row));
        for table in &mut self.tables {
            *table = filter_record_batch(table, first).map_err(unfit)?;
        }
        for RaisedAlerts { alerts, .. } in &mut self.alerts {
            let kept: Vec<bool> = alerts.rows.iter().map(|row| first.value(*row as usize)).collect();
            alerts.retain(&BooleanArray::from(kept))?;
        }
        for (_, fed) in &mut self.fed {
            fed.keep(first);
        }
        self.repeated = first.false_count() as u64;
        self.rows -= self.repeated;
        Ok(())
    }
}

/// What rows came from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) chunk: Chunk,
    pub(super) rows: RecordBatch,
    pub(super) messages: Vec<u32>,
}

/// The plugins of a pipeline, for one worker.
pub(super) struct Steps {
    pub(super) maker: Maker,
    /// What is done to its rows, if weir keeps their schema.
    pub(super) watch: Option<Watch>,
    pub(super) transforms: Vec<Transform>,
    pub(super) projections: Vec<Projection>,
    /// Which of the chunk's fields the maker of rows sees, by index.
    pub(super) maker_fields: Vec<usize>,
    pub(super) times: Option<TimeRule>,
    /// Rules that judge each row alone.
    pub(super) rules: Vec<RowRule>,
    /// What goes to the other steps.
    pub(super) feeders: Vec<Feeder>,
    /// The columns in which rows that come twice are the same.
    pub(super) repeats: Option<KeyColumns>,
}

/// A rule that judges each row alone.
pub(super) struct RowRule {
    pub(super) rule: Rule,
    pub(super) feeder: Feeder,
    /// Its place among the plugins of the pipeline.
    pub(super) plugin: usize,
}

impl Steps {
    fn fork(&self) -> Self {
        Self {
            maker: self.maker.fork(),
            watch: self.watch.as_ref().map(Watch::fork),
            transforms: self.transforms.iter().map(Transform::fork).collect(),
            projections: self.projections.clone(),
            maker_fields: self.maker_fields.clone(),
            times: self.times,
            rules: self.rules.iter().map(RowRule::fork).collect(),
            feeders: self.feeders.clone(),
            repeats: self.repeats.clone(),
        }
    }

    /// The plugins, in the order of the stream; those of rules aside.
    pub(super) fn plugins(&self) -> Vec<Plugged> {
        let transforms = self.transforms.iter().map(|step| Plugged::new(step.plugin(), step.step()));
        self.maker.plugin().into_iter().chain(transforms).collect()
    }

    /// The plugins, in the order of the stream.
    pub(super) fn identities(&self) -> Vec<PluginIdentity> {
        let parser = self.maker.identity();
        let transforms = self.transforms.iter().map(|step| step.plugin().identity(step.step()));
        parser.into_iter().chain(transforms).collect()
    }

    /// Make all instances.
    fn warm(&mut self) -> Result<()> {
        self.maker.warm()?;
        self.transforms.iter_mut().try_for_each(Transform::warm)?;
        self.rules.iter_mut().try_for_each(|rule| rule.rule.warm())
    }

    fn process(&mut self, mut chunk: Chunk, clock_us: i64) -> Result<Processed> {
        let mut dead_letters = unreadable(&mut chunk);
        let identities = self.identities();
        let fields = chunk.fields.project(&self.maker_fields);
        let fields = fields.map_err(|error| Error::bug("a source lacks a field that it offered").because(error))?;
        let produced = self.maker.make(&chunk, &fields, clock_us)?;
        let (mut rows, mut origins) = (produced.rows, produced.origins);
        let parsed = rows.num_rows() as u64;
        let mut new_columns = None;
        if let Some(watch) = &mut self.watch {
            new_columns = watch.look(&rows, &origins, (&chunk, &fields));
            rows = watch.shape(&rows, &origins, &chunk.fields)?;
        }
        // Only a plugin rejects.
        if let Some(parser) = identities.first() {
            dead_letters.extend(rejected_messages(parser, &chunk, produced.rejected));
        }
        let mut stats: Vec<(usize, CallStats)> = self.maker.take_stats().map(|stats| (0, stats)).into_iter().collect();
        let first_transform = stats.len();
        for (transform, identity) in self.transforms.iter_mut().zip(&identities[first_transform..]) {
            transform.set_now(clock_us);
            let produced = transform.apply(&rows)?;
            dead_letters.extend(rejected_rows(identity, &chunk, &rows, &origins, produced.rejected)?);
            origins = produced.origins.iter().map(|row| origins[*row as usize]).collect();
            rows = produced.rows;
            stats.push((stats.len(), transform.take_stats()));
        }
        let project = |projection: &Projection| projection.apply(&rows, &origins, &chunk.fields, clock_us);
        let tables = self.projections.iter().map(project).collect::<Result<Vec<RecordBatch>>>()?;
        let mut processed = Processed {
            tables,
            dead_letters,
            messages: chunk.messages() as u64,
            payload_bytes: chunk.payload.len() as u64,
            parsed,
            rows: rows.num_rows() as u64,
            stats,
            new_columns,
            ..Processed::default()
        };
        self.judge(&mut processed, Origin { chunk, rows, messages: origins }, clock_us)?;
        Ok(processed)
    }

    /// Run the rules that judge each row alone, and say what other steps see.
    fn judge(&mut self, processed: &mut Processed, origin: Origin, clock_us: i64) -> Result<()> {
        let Origin { chunk, rows, messages } = &origin;
        let times = match &self.times {
            Some(rule) => {
                let times = Times::of(rows.column(rule.column));
                (processed.times, processed.observed) = rule.measure(&times, messages, chunk, clock_us);
                times
            }
            None => Times::none(rows.num_rows()),
        };
        for RowRule { rule, feeder, plugin } in &mut self.rules {
            let input = input(feeder.input, rows, &processed.tables)?;
            rule.set_now(clock_us);
            let judged = rule.evaluate(&[], &feeder.needed(input, &times)?)?;
            processed.stats.push((*plugin, rule.take_stats()));
            let failed: Vec<usize> = judged.failed.iter().map(|failed| failed.input).collect();
            let rejected = judged.failed.into_iter().map(FailedInput::into_rejection).collect();
            let identity = rule.plugin().identity(rule.step());
            let letters = rejected_rows(&identity, chunk, rows, messages, rejected)?;
            processed.failed.extend(failed.into_iter().zip(letters));
            if let Some(shown) = feeder.shown.as_ref().filter(|_| !judged.alerts.is_empty()) {
                let shown = shown.apply(input, messages, &chunk.fields, clock_us)?;
                let (step, times, alerts) = (feeder.step, times.clone(), judged.alerts);
                processed.alerts.push(RaisedAlerts { step, shown, times, alerts });
            }
        }
        for feeder in &self.feeders {
            let input = input(feeder.input, rows, &processed.tables)?;
            let fed = feeder.feed(input, &times, (messages, &chunk.fields), clock_us)?;
            processed.fed.push((feeder.step, fed));
        }
        if let Some(repeats) = &self.repeats {
            processed.repeats = Some((repeats.rows(rows)?, times));
        }
        if !self.feeders.is_empty() {
            processed.origin = Some(origin);
        }
        Ok(())
    }
}

fn input<'a>(input: Input, rows: &'a RecordBatch, tables: &'a [RecordBatch]) -> Result<&'a RecordBatch> {
    match input {
        Input::Rows => Ok(rows),
        Input::Table(index) => tables.get(index).ok_or_else(|| Error::bug("a step sees a table that there is not")),
        Input::Window(_) => Err(Error::bug("a worker cannot see what a window gives")),
    }
}

impl RowRule {
    fn fork(&self) -> Self {
        Self { rule: self.rule.fork(), feeder: self.feeder.clone(), plugin: self.plugin }
    }
}

struct Job {
    chunk: Chunk,
    clock_us: i64,
}

struct Lane {
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Result<Processed>>,
    /// Whether its instances could be made.
    warm: Option<oneshot::Receiver<Result<()>>>,
    // Ends when `jobs` is dropped.
    _thread: Thread<()>,
}

/// The worker threads of a pipeline.
pub(super) struct Workers {
    lanes: Vec<Lane>,
}

impl Workers {
    /// Start this many threads, each with instances of its own.
    ///
    /// # Errors
    /// Unavailable if the system has no thread to give.
    pub(super) fn start(steps: &Steps, threads: usize) -> Result<Self> {
        let lane = |index: usize| {
            let (jobs, mut todo) = mpsc::channel::<Job>(QUEUE);
            let (finished, done) = mpsc::channel(QUEUE);
            let (warmed, warm) = oneshot::channel();
            let mut steps = steps.fork();
            let thread = env::worker(&format!("weir-plugins-{index}"), move || {
                // Whoever waits for it is told; otherwise the first chunk is.
                drop(warmed.send(steps.warm()));
                while let Some(job) = todo.blocking_recv() {
                    if finished.blocking_send(steps.process(job.chunk, job.clock_us)).is_err() {
                        return;
                    }
                }
            })?;
            Ok(Lane { jobs, done, warm: Some(warm), _thread: thread })
        };
        Ok(Self { lanes: (0..threads.max(1)).map(lane).collect::<Result<_>>()? })
    }

    /// Wait until all have their instances.
    ///
    /// # Errors
    /// Plugin if one cannot be made.
    pub(super) async fn warmed(&mut self) -> Result<()> {
        for warm in self.lanes.iter_mut().filter_map(|lane| lane.warm.take()) {
            warm.await.map_err(|_| Error::bug("a worker thread ended before its work"))??;
        }
        Ok(())
    }

    /// Run all chunks through the workers and hand what comes out to `collect`,
    /// in the order of the chunks.
    ///
    /// After an error the workers may hold chunks of this run: drop them.
    ///
    /// # Errors
    /// The first error of a worker or of `collect`.
    pub(super) async fn run(
        &mut self,
        mut chunks: mpsc::Receiver<Chunk>,
        clock_us: i64,
        mut collect: impl AsyncFnMut(Processed) -> Result<()>,
    ) -> Result<()> {
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for lane in &mut self.lanes {
            senders.push(lane.jobs.clone());
            receivers.push(&mut lane.done);
        }
        let count = senders.len();
        // How many chunks are on their way, so that the end is known.
        let (sent, mut under_way) = mpsc::channel::<()>(count * (2 * QUEUE + 1));
        let dispatch = async move {
            let mut next = 0;
            while let Some(chunk) = chunks.recv().await {
                let ended = |_| Error::bug("a worker thread ended before its work");
                senders[next].send(Job { chunk, clock_us }).await.map_err(ended)?;
                sent.send(()).await.map_err(|_| Error::bug("nobody collects what the workers make"))?;
                next = (next + 1) % count;
            }
            Ok(())
        };
        let collecting = async {
            let mut next = 0;
            while under_way.recv().await.is_some() {
                let died = || Error::bug("a worker thread ended before its work");
                collect(receivers[next].recv().await.ok_or_else(died)??).await?;
                next = (next + 1) % count;
            }
            Ok(())
        };
        // A failure on one side drops the other where it waits.
        tokio::try_join!(dispatch, collecting).map(|((), ())| ())
    }
}
