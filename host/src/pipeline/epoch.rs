//! Reads, runs and stages one epoch. Nothing of it is visible to anybody until
//! its record is prepared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::FutureExt as _;
use tokio::sync::mpsc;

use super::build::Parts;
use super::flow::{End, Flow, Moment, Outlet};
use super::kept::NewColumns;
use super::progress::{Counts, Report};
use super::steps::{Delta, StepCounts};
use super::swap::{Comparison, Shadow};
use super::times::TimeStats;
use super::workers::Processed;
use crate::checkpoint::StagedTable;
use crate::env::Stopwatch;
use crate::event_time::Watermarks;
use crate::model::{AttemptId, Epoch, EventTimeState, Lane, PluginIdentity, SourceRange};
use crate::plugin::CallStats;
use crate::sink::dead_letter::{self, DeadLetter};
use crate::sink::delta::{Encoders, Stage, Staged, Table};
use crate::sink::notify::Batch;
use crate::source::{Chunk, ChunkSender, Incident};
use crate::{Error, Result};

/// Chunks that wait between the source and the workers.
const CHUNK_QUEUE: usize = 1;
/// Dead letters are staged in batches of about this many,
const DEAD_LETTERS_PER_BATCH: usize = 4096;
/// or of about so many bytes.
const DEAD_LETTER_BYTES_PER_BATCH: usize = 4 << 20;
/// Fewer dead letters than this never stop an epoch, whatever their share: a
/// share of very few messages says nothing about a plugin.
const MIN_DEAD_LETTERS_TO_STOP: u64 = 10;
/// After so many elements, earlier epochs say nothing about a plugin any more.
const ELEMENTS_TO_FORGET: u64 = 10_000;
/// Dead letters that the error shows.
const SAMPLES: usize = 3;

/// An epoch that is staged and can be prepared.
pub(super) struct StagedEpoch {
    pub(super) epoch: Epoch,
    pub(super) clock_us: i64,
    pub(super) range: SourceRange,
    /// By the name of the table; only tables that get rows.
    pub(super) tables: BTreeMap<String, StagedTable>,
    pub(super) counts: Counts,
    /// The plugins that took part, in the order of the stream.
    pub(super) plugins: Vec<PluginIdentity>,
    /// What each of them cost.
    pub(super) stats: Vec<CallStats>,
    /// Where event time stands behind it, if the pipeline has it.
    pub(super) event_time: Option<EventTimeState>,
    /// What its event times are.
    pub(super) times: TimeStats,
    /// What it changed in the states of steps.
    pub(super) deltas: Vec<Delta>,
    /// What somebody is to be notified of, once it is committed.
    pub(super) notifications: Option<Batch>,
    /// What it did to each step behind the rows.
    pub(super) steps: Vec<StepCounts>,
    /// What happened to the source meanwhile.
    pub(super) incidents: Vec<Incident>,
    /// Some of its dead letters, in words.
    pub(super) samples: Vec<String>,
    pub(super) took: Duration,
    pub(super) busy: Busy,
}

/// How staging ended.
pub(super) enum Stages {
    /// The epoch can be prepared.
    Epoch(Box<StagedEpoch>),
    /// It has columns that the kept schema lacks: nothing of it is kept, and it is to
    /// be staged again with another schema.
    NewColumns(NewColumns),
}

/// What is to be staged.
pub(super) struct Plan<'a> {
    /// The identifier of the pipeline.
    pub(super) pipeline: &'a str,
    pub(super) lane: &'a Lane,
    pub(super) attempt: &'a AttemptId,
    pub(super) epoch: Epoch,
    pub(super) range: SourceRange,
    pub(super) clock_us: i64,
    /// A point in time for judging who is idle.
    pub(super) now: Instant,
    /// Whether all windows are to be closed.
    pub(super) flush: bool,
}

/// The time that threads beside the plugins' worked on an epoch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Busy {
    /// Reading, and cutting what was read into messages.
    pub(super) read: Duration,
    /// Encoding Parquet, over all encoders.
    pub(super) encode: Duration,
}

/// Read a range, run it through the plugins, and stage what comes out. After new
/// columns the steps have rows of an epoch that never was: make them anew.
///
/// # Errors
/// What the source, a plugin or a table fails with.
pub(super) async fn stage(parts: &mut Parts, plan: Plan<'_>, report: &mut dyn Report) -> Result<Stages> {
    let watch = Stopwatch::start();
    let Plan { epoch, clock_us, range, .. } = &plan;
    let Parts { source, workers, duties, shadow, .. } = parts;
    let mut stages = Vec::with_capacity(parts.tables.len());
    for table in &parts.tables {
        stages.push(Stage::start(table, &parts.encoders, plan.attempt, *epoch).await?);
    }
    let dead = DeadLetters::start(&parts.dead_letters, &parts.encoders, plan.attempt, (*epoch, *clock_us)).await?;
    let compared = shadow.as_ref().map(Shadow::comparison);
    let mut flow = Flow::new(Staging { stages, dead, compared }, parts.plugins.len(), plan.now);
    let begun = ((plan.pipeline, plan.lane), *epoch, *clock_us);
    duties.begin(begun.0, begun.1, begun.2).await?;
    duties.hear_of(range, plan.now);
    if let Some(shadow) = shadow {
        shadow.begin(begun, range, plan.now).await;
    }

    let (chunks, incoming) = ChunkSender::bounded(CHUNK_QUEUE);
    let (waited, mut read) = (chunks.waited(), Duration::ZERO);
    let reading = async {
        let watch = Stopwatch::start();
        source.read(range, chunks).await?;
        read = watch.elapsed().saturating_sub(waited.time());
        Ok(())
    };
    let chunk = async |processed: Processed| {
        report.chunk(processed.payload_bytes, processed.rows);
        flow.chunk(processed, duties).await
    };
    match shadow {
        None => tokio::try_join!(reading, workers.run(incoming, *clock_us, chunk)).map(drop)?,
        Some(shadow) => {
            let (forward, forwarded) = mpsc::channel(CHUNK_QUEUE);
            let (copy, copied) = mpsc::channel(CHUNK_QUEUE);
            let copying = copy_chunks(incoming, forward, copy);
            let trying = shadow.run(copied, *clock_us).map(Ok);
            tokio::try_join!(reading, copying, trying, workers.run(forwarded, *clock_us, chunk)).map(drop)?;
        }
    }
    if let Some(new) = flow.new_columns.take() {
        return Ok(Stages::NewColumns(new));
    }
    let end = End { now: plan.now, clock_us: *clock_us, flush: plan.flush };
    let (deltas, steps) = flow.end(duties, end, |partition| source.has_unread(partition)).await?;
    if let Some(shadow) = shadow {
        shadow.end(end, |partition| source.has_unread(partition)).await;
    }
    let notifications = duties.take_notifications();
    let event_time = duties.watermarks.as_ref().map(Watermarks::state);

    let incidents = source.take_incidents();
    flow.counts.add_incidents(&incidents);
    let Flow { outlet: Staging { stages, mut dead, .. }, counts, stats, times, .. } = flow;
    dead.flush().await?;
    let (mut tables, mut encode) = (BTreeMap::new(), Duration::ZERO);
    let named = parts.tables.iter().zip(stages).chain([(&parts.dead_letters, dead.stage)]);
    for (table, stage) in named.collect::<Vec<(&Arc<Table>, Stage)>>() {
        let Staged { files, encoding } = stage.finish().await?;
        encode += encoding;
        if !files.is_empty() {
            let settings = table.settings();
            let location = settings.location.to_string();
            let schema = table.schema_to_add()?;
            tables.insert(settings.name.clone(), StagedTable { location, files, schema });
        }
    }
    let busy = Busy { read, encode };
    let (epoch, clock_us, samples) = (*epoch, *clock_us, dead.samples);
    let range = source.settle(plan.range);
    Ok(Stages::Epoch(Box::new(StagedEpoch {
        epoch,
        clock_us,
        range,
        tables,
        counts,
        plugins: parts.plugins.iter().map(|plugin| plugin.identity.clone()).collect(),
        stats,
        event_time,
        times,
        deltas,
        notifications,
        steps,
        incidents,
        samples,
        took: watch.elapsed(),
        busy,
    })))
}

/// Give everybody a copy of each chunk. Who does not want any more misses nothing that
/// counts.
async fn copy_chunks(
    mut chunks: mpsc::Receiver<Chunk>,
    forward: mpsc::Sender<Chunk>,
    copy: mpsc::Sender<Chunk>,
) -> Result<()> {
    while let Some(chunk) = chunks.recv().await {
        drop(copy.send(chunk.clone()).await);
        forward.send(chunk).await.map_err(|_| Error::bug("nobody takes the chunks that are read"))?;
    }
    Ok(())
}

/// Where what comes out of an epoch is staged.
struct Staging {
    /// In the order of the tables.
    stages: Vec<Stage>,
    dead: DeadLetters,
    /// Where it is compared with what others make of the epoch.
    compared: Option<Arc<Comparison>>,
}

impl Outlet for Staging {
    async fn rows(&mut self, table: usize, rows: RecordBatch, moment: Moment) -> Result<()> {
        if let Some(compared) = &self.compared {
            compared.old(table, &rows, moment);
        }
        self.stages[table].write(rows).await
    }

    async fn letters(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        if let Some(compared) = &self.compared {
            compared.old_letters(&letters);
        }
        self.dead.add(letters).await
    }
}

/// The dead letters of an epoch on their way to their table.
struct DeadLetters {
    epoch: Epoch,
    clock_us: i64,
    stage: Stage,
    waiting: Vec<DeadLetter>,
    waiting_bytes: usize,
    samples: Vec<String>,
}

impl DeadLetters {
    async fn start(
        table: &Table,
        encoders: &Encoders,
        attempt: &AttemptId,
        (epoch, clock_us): (Epoch, i64),
    ) -> Result<Self> {
        let stage = Stage::start(table, encoders, attempt, epoch).await?;
        Ok(Self { epoch, clock_us, stage, waiting: Vec::new(), waiting_bytes: 0, samples: Vec::new() })
    }

    async fn add(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        for letter in letters {
            if self.samples.len() < SAMPLES {
                self.samples.push(format!("{} at {}: {}", letter.place, letter.position, letter.reason));
            }
            self.waiting_bytes += letter.reason.len() + letter.raw.as_ref().map_or(0, bytes::Bytes::len);
            self.waiting.push(letter);
            if self.waiting.len() >= DEAD_LETTERS_PER_BATCH || self.waiting_bytes >= DEAD_LETTER_BYTES_PER_BATCH {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let letters = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        self.stage.write(dead_letter::rows(&letters, self.epoch, self.clock_us)?).await
    }
}

/// Stop before an epoch is prepared of which too much would become dead letters.
///
/// Epochs with few dead letters are judged together with those that follow, so
/// that small ones cannot drain a stream unnoticed; `unjudged` holds their counts.
///
/// # Errors
/// Data if the share is larger than allowed, with samples.
pub(super) fn refuse_too_many_dead_letters(staged: &StagedEpoch, unjudged: &mut Counts, max_ratio: f64) -> Result<()> {
    let Some(too_many) = too_many_dead_letters(&staged.counts, unjudged, max_ratio) else { return Ok(()) };
    Err(Error::data(format!(
        "{too_many} up to epoch {}; nothing of the epoch was written. Mend the plugin or its configuration, or raise \
         the ratio. For example: {}",
        staged.epoch,
        staged.samples.join("; ")
    )))
}

/// How much would become dead letters, if that is too much.
pub(super) fn too_many_dead_letters(counts: &Counts, unjudged: &mut Counts, max_ratio: f64) -> Option<String> {
    unjudged.merge(counts);
    if unjudged.dead_letters < MIN_DEAD_LETTERS_TO_STOP {
        if unjudged.parsed > ELEMENTS_TO_FORGET {
            *unjudged = Counts::default();
        }
        return None;
    }
    let judged = std::mem::take(unjudged);
    let all = judged.parsed + judged.dead_letters;
    #[expect(clippy::cast_precision_loss, reason = "a ratio does not need the last digits")]
    let ratio = judged.dead_letters as f64 / all.max(1) as f64;
    (ratio > max_ratio).then(|| {
        format!(
            "{} of {all} elements would become dead letters, more than max_dead_letter_ratio = {max_ratio} allows",
            judged.dead_letters
        )
    })
}
