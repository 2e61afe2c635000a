//! The threads that run plugins: chunks go round to them and come back in the
//! order in which they went.

use arrow::array::RecordBatch;
use tokio::sync::mpsc;

use super::rows::{Projection, rejected_messages, rejected_rows, unreadable};
use crate::env::{self, Worker};
use crate::model::PluginIdentity;
use crate::plugin::{CallStats, Messages, Parser, Transform};
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
    /// What each step cost, parser first.
    pub(super) stats: Vec<CallStats>,
}

/// The plugins of a pipeline, for one worker.
pub(super) struct Steps {
    pub(super) parser: Parser,
    pub(super) transforms: Vec<Transform>,
    pub(super) projections: Vec<Projection>,
    /// Which of the chunk's fields the parser sees, by index.
    pub(super) parser_fields: Vec<usize>,
}

impl Steps {
    fn fork(&self) -> Self {
        Self {
            parser: self.parser.fork(),
            transforms: self.transforms.iter().map(Transform::fork).collect(),
            projections: self.projections.clone(),
            parser_fields: self.parser_fields.clone(),
        }
    }

    /// The plugins, in the order of the stream.
    pub(super) fn identities(&self) -> Vec<PluginIdentity> {
        let parser = self.parser.plugin().identity(self.parser.step());
        let transforms = self.transforms.iter().map(|step| step.plugin().identity(step.step()));
        std::iter::once(parser).chain(transforms).collect()
    }

    fn process(&mut self, mut chunk: Chunk, clock_us: i64) -> Result<Processed> {
        let mut dead_letters = unreadable(&mut chunk);
        let identities = self.identities();
        self.parser.set_now(clock_us);
        let fields = chunk.fields.project(&self.parser_fields);
        let fields = fields.map_err(|error| Error::bug("a source lacks a field that it offered").because(error))?;
        let messages = Messages { payload: &chunk.payload, offsets: &chunk.offsets, fields: &fields };
        let produced = self.parser.parse(messages)?;
        let (mut rows, mut origins) = (produced.rows, produced.origins);
        let parsed = rows.num_rows() as u64;
        dead_letters.extend(rejected_messages(&identities[0], &chunk, produced.rejected));
        let mut stats = vec![self.parser.take_stats()];
        for (transform, identity) in self.transforms.iter_mut().zip(&identities[1..]) {
            transform.set_now(clock_us);
            let produced = transform.apply(&rows)?;
            dead_letters.extend(rejected_rows(identity, &chunk, &rows, &origins, produced.rejected)?);
            origins = produced.origins.iter().map(|row| origins[*row as usize]).collect();
            rows = produced.rows;
            stats.push(transform.take_stats());
        }
        let project = |projection: &Projection| projection.apply(&rows, &origins, &chunk.fields, clock_us);
        Ok(Processed {
            tables: self.projections.iter().map(project).collect::<Result<_>>()?,
            dead_letters,
            messages: chunk.messages() as u64,
            payload_bytes: chunk.payload.len() as u64,
            parsed,
            rows: rows.num_rows() as u64,
            stats,
        })
    }
}

struct Job {
    chunk: Chunk,
    clock_us: i64,
}

struct Lane {
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Result<Processed>>,
    // Ends when `jobs` is dropped.
    _thread: Worker<()>,
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
            let mut steps = steps.fork();
            let thread = env::worker(&format!("weir-plugins-{index}"), move || {
                while let Some(job) = todo.blocking_recv() {
                    if finished.blocking_send(steps.process(job.chunk, job.clock_us)).is_err() {
                        return;
                    }
                }
            })?;
            Ok(Lane { jobs, done, _thread: thread })
        };
        Ok(Self { lanes: (0..threads.max(1)).map(lane).collect::<Result<_>>()? })
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
