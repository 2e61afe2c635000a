//! Reads, runs and stages one epoch. Nothing of it is visible to anybody until
//! its record is prepared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::build::Parts;
use super::kept::NewColumns;
use super::progress::{Counts, Report};
use super::steps::{Delta, Duties, FedChunk, Outcome, StepCounts};
use super::times::TimeStats;
use super::workers::Processed;
use crate::checkpoint::StagedTable;
use crate::env::Stopwatch;
use crate::event_time::Watermarks;
use crate::model::{AttemptId, Epoch, EventTimeState, Lane, SourceRange};
use crate::plugin::CallStats;
use crate::sink::dead_letter::{self, DeadLetter};
use crate::sink::delta::{Encoders, Stage, Staged, Table};
use crate::sink::notify::Batch;
use crate::source::{ChunkSender, Incident};
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
    /// What each plugin cost, in the order of the stream.
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
    let Parts { source, workers, duties, .. } = parts;
    let mut staging = Staging {
        now: plan.now,
        stages: Vec::new(),
        dead: DeadLetters::start(&parts.dead_letters, &parts.encoders, plan.attempt, (*epoch, *clock_us)).await?,
        counts: Counts::default(),
        stats: vec![CallStats::default(); parts.plugins.len()],
        times: TimeStats::default(),
        new_columns: None,
        report,
    };
    for table in &parts.tables {
        staging.stages.push(Stage::start(table, &parts.encoders, plan.attempt, *epoch).await?);
    }
    duties.begin((plan.pipeline, plan.lane), *epoch, *clock_us).await?;
    duties.hear_of(range, plan.now);

    let (chunks, incoming) = ChunkSender::bounded(CHUNK_QUEUE);
    let (waited, mut read) = (chunks.waited(), Duration::ZERO);
    let reading = async {
        let watch = Stopwatch::start();
        source.read(range, chunks).await?;
        read = watch.elapsed().saturating_sub(waited.time());
        Ok(())
    };
    let running = workers.run(incoming, *clock_us, async |processed: Processed| staging.chunk(processed, duties).await);
    tokio::try_join!(reading, running)?;
    if let Some(new) = staging.new_columns.take() {
        return Ok(Stages::NewColumns(new));
    }
    let outcome = duties.drain().await?;
    staging.take(outcome).await?;

    duties.advance(plan.now, |partition| source.has_unread(partition));
    if plan.flush
        && let Some(end) = duties.latest_end(plan.clock_us).await?
    {
        duties.advance_to(end);
    }
    let outcome = duties.close(duties.watermark()).await?;
    staging.take(outcome).await?;
    let (deltas, steps) = duties.end().await?;
    let notifications = duties.take_notifications();
    for (total, step) in staging.stats.iter_mut().rev().zip(steps_of(&steps, duties).rev()) {
        total.merge(&step.stats);
    }
    staging.counts.add_steps(&steps);
    let event_time = duties.watermarks.as_ref().map(Watermarks::state);

    let incidents = source.take_incidents();
    staging.counts.add_incidents(&incidents);
    staging.dead.flush().await?;
    let Staging { stages, dead, counts, stats, times, .. } = staging;
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

/// The steps that have plugins.
fn steps_of<'a>(steps: &'a [StepCounts], duties: &Duties) -> std::slice::Iter<'a, StepCounts> {
    steps[..duties.plans.len().min(steps.len())].iter()
}

/// An epoch in the making.
struct Staging<'a> {
    now: Instant,
    /// In the order of the tables.
    stages: Vec<Stage>,
    dead: DeadLetters,
    counts: Counts,
    stats: Vec<CallStats>,
    times: TimeStats,
    new_columns: Option<NewColumns>,
    report: &'a mut dyn Report,
}

impl Staging<'_> {
    /// Take in what the plugins made of a chunk, and hand it to the other steps.
    async fn chunk(&mut self, mut processed: Processed, duties: &mut Duties) -> Result<()> {
        if let Some(new) = processed.new_columns.take() {
            match &mut self.new_columns {
                Some(all) => all.merge(new),
                None => self.new_columns = Some(new),
            }
        }
        if self.new_columns.is_some() {
            // Nothing of the epoch will be kept: only more new columns count.
            return Ok(());
        }
        let first = match processed.repeats.take() {
            Some((keys, times)) => duties.first(keys, times).await?,
            None => None,
        };
        if let Some(first) = &first {
            processed.leave_out_repeats(first)?;
        }
        processed.dead_letters.extend(processed.failed.drain(..).map(|(_, letter)| letter));
        self.counts.add(&processed);
        self.report.chunk(processed.payload_bytes, processed.rows);
        for (plugin, stats) in &processed.stats {
            self.stats[*plugin].merge(stats);
        }
        self.times.merge(&processed.times);
        if let Some(watermarks) = &mut duties.watermarks {
            processed.observed.iter().for_each(|observed| watermarks.observe(observed, self.now));
        }
        for (stage, rows) in self.stages.iter_mut().zip(processed.tables) {
            stage.write(rows).await?;
        }
        self.dead.add(processed.dead_letters).await?;
        for alerts in processed.alerts {
            if let Some((table, rows)) = duties.alerts(alerts)? {
                self.stages[table].write(rows).await?;
            }
        }
        if let Some(origin) = processed.origin {
            let fed = processed.fed.into_iter().map(|(step, fed)| (step, Arc::new(fed))).collect();
            let outcome = duties.feed(FedChunk { fed, origin }).await?;
            self.take(outcome).await?;
        }
        Ok(())
    }

    /// Take in what came out of steps.
    async fn take(&mut self, outcome: Outcome) -> Result<()> {
        self.counts.dead_letters += outcome.dead_letters.len() as u64;
        self.dead.add(outcome.dead_letters).await?;
        for (table, rows) in outcome.rows {
            self.stages[table].write(rows).await?;
        }
        Ok(())
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
    unjudged.merge(&staged.counts);
    if unjudged.dead_letters < MIN_DEAD_LETTERS_TO_STOP {
        if unjudged.parsed > ELEMENTS_TO_FORGET {
            *unjudged = Counts::default();
        }
        return Ok(());
    }
    let judged = std::mem::take(unjudged);
    let all = judged.parsed + judged.dead_letters;
    #[expect(clippy::cast_precision_loss, reason = "a ratio does not need the last digits")]
    let ratio = judged.dead_letters as f64 / all.max(1) as f64;
    if ratio <= max_ratio {
        return Ok(());
    }
    Err(Error::data(format!(
        "{} of {all} elements up to epoch {} would become dead letters, more than max_dead_letter_ratio = {max_ratio} allows; \
         nothing of the epoch was written. Mend the plugin or its configuration, or raise the ratio. For example: {}",
        judged.dead_letters,
        staged.epoch,
        staged.samples.join("; ")
    )))
}
