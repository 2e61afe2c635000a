//! Reads, runs and stages one epoch. Nothing of it is visible to anybody until
//! its record is prepared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::build::Parts;
use super::progress::{Counts, Report};
use super::workers::Processed;
use crate::checkpoint::StagedTable;
use crate::env::Stopwatch;
use crate::model::{AttemptId, Epoch, SourceRange};
use crate::plugin::CallStats;
use crate::sink::dead_letter::{self, DeadLetter};
use crate::sink::delta::{Stage, Staged, Table};
use crate::source::ChunkSender;
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
    /// What each step cost, parser first.
    pub(super) stats: Vec<CallStats>,
    /// Some of its dead letters, in words.
    pub(super) samples: Vec<String>,
    pub(super) took: Duration,
    pub(super) busy: Busy,
}

/// The time that threads beside the plugins' worked on an epoch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Busy {
    /// Reading, and cutting what was read into messages.
    pub(super) read: Duration,
    /// Encoding Parquet, over all encoders.
    pub(super) encode: Duration,
}

/// Read a range, run it through the plugins, and stage what comes out.
///
/// # Errors
/// What the source, a plugin or a table fails with.
pub(super) async fn stage(
    parts: &mut Parts,
    attempt: &AttemptId,
    epoch: Epoch,
    range: SourceRange,
    clock_us: i64,
    report: &mut dyn Report,
) -> Result<StagedEpoch> {
    let watch = Stopwatch::start();
    let mut stages = Vec::new();
    for table in &parts.tables {
        stages.push(Stage::start(table, &parts.encoders, attempt, epoch).await?);
    }
    let dead_stage = Stage::start(&parts.dead_letters, &parts.encoders, attempt, epoch).await?;
    let mut dead =
        DeadLetters { epoch, clock_us, stage: dead_stage, waiting: Vec::new(), waiting_bytes: 0, samples: Vec::new() };
    let mut counts = Counts::default();
    let mut stats = vec![CallStats::default(); parts.plugins.len()];

    let (chunks, incoming) = ChunkSender::bounded(CHUNK_QUEUE);
    let (waited, mut read) = (chunks.waited(), Duration::ZERO);
    let reading = async {
        let watch = Stopwatch::start();
        parts.source.read(&range, &parts.message_fields, chunks).await?;
        read = watch.elapsed().saturating_sub(waited.time());
        Ok(())
    };
    let running = parts.workers.run(incoming, clock_us, async |processed: Processed| {
        counts.add(&processed);
        report.chunk(processed.payload_bytes, processed.rows);
        for (total, step) in stats.iter_mut().zip(&processed.stats) {
            total.merge(step);
        }
        for (stage, rows) in stages.iter_mut().zip(processed.tables) {
            stage.write(rows).await?;
        }
        dead.add(processed.dead_letters).await
    });
    tokio::try_join!(reading, running)?;
    dead.flush().await?;

    let (mut tables, mut encode) = (BTreeMap::new(), Duration::ZERO);
    let named: Vec<(&Arc<Table>, Stage)> =
        parts.tables.iter().zip(stages).chain([(&parts.dead_letters, dead.stage)]).collect();
    for (table, stage) in named {
        let Staged { files, encoding } = stage.finish().await?;
        encode += encoding;
        if !files.is_empty() {
            let settings = table.settings();
            let location = settings.location.to_string();
            tables.insert(settings.name.clone(), StagedTable { location, files });
        }
    }
    let busy = Busy { read, encode };
    Ok(StagedEpoch {
        epoch,
        clock_us,
        range,
        tables,
        counts,
        stats,
        samples: dead.samples,
        took: watch.elapsed(),
        busy,
    })
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
