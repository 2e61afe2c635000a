//! A staged epoch → its durable record, and the commit behind it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Committing, EPOCHS_PER_SEGMENT, FILES_PER_SEGMENT, MERGE_AT_RATIO, Run, fenced_if_overtaken};
use crate::checkpoint::{Checkpoint, EpochRecord, SourceState};
use crate::env::Stopwatch;
use crate::model::{AttemptId, Epoch, EpochRange, Segment, SourceRange};
use crate::pipeline::commit::{all_tables, commit, committed_epoch, fenced, tidy_up};
use crate::pipeline::epoch::StagedEpoch;
use crate::pipeline::notifications::NOTIFY;
use crate::pipeline::progress::{Durations, Progress, Report};
use crate::protocol::recover::is_overtaken;
use crate::sink::delta::Table;
use crate::{Error, Result};

impl Run<'_> {
    /// Make the record of a staged epoch durable and begin its commit.
    pub(super) async fn prepare(&mut self, staged: StagedEpoch, plan: Duration) -> Result<()> {
        let watch = Stopwatch::start();
        self.refuse_if_overtaken().await?;
        let (epoch, clock_us, range) = (staged.epoch, staged.clock_us, staged.range.clone());
        self.ranges.push(EpochRange { epoch, clock_us, range });
        self.roll_segments().await?;
        self.keep_states(&staged).await?;
        self.versions.keep(&self.checkpoint, &self.parts.plugins, staged.clock_us).await?;
        let alerts = self.keep_notifications(&staged).await?;
        let notifications = self.notifications.waiting().into_iter().chain(alerts.clone()).collect();
        let record = EpochRecord {
            pipeline: self.identity.id.clone(),
            lane: self.checkpoint.lane().clone(),
            epoch: staged.epoch,
            attempt: self.attempt.clone(),
            clock_us: staged.clock_us,
            source: SourceState {
                identity: self.parts.source.identity(),
                range: staged.range.clone(),
                segments: self.segments.clone(),
            },
            tables: staged.tables.clone(),
            plugins: staged.plugins.clone(),
            versions: self.versions.steps().clone(),
            schema: self.kept.as_ref().map(|kept| kept.version),
            event_time: staged.event_time.clone(),
            steps: self.steps.clone(),
            notifications,
        };
        let prepared = self.checkpoint.prepare(&record).await?;
        self.versions.recorded();
        self.next = self.next.next();
        let took = Durations { plan, prepare: watch.elapsed(), commit: Duration::ZERO };
        let checkpoint = Arc::clone(&self.checkpoint);
        let tables: Vec<Arc<Table>> = all_tables(&self.parts).cloned().collect();
        let task = tokio::spawn(async move {
            let watch = Stopwatch::start();
            commit(prepared, &record, &checkpoint, &tables.iter().collect::<Vec<_>>()).await?;
            let took = watch.elapsed();
            tidy_up(&record, &checkpoint, &tables).await;
            Ok(took)
        });
        self.committing = Some(Committing { task, staged, alerts, took });
        Ok(())
    }

    /// Wait for the commit that is under way, and tell of it.
    pub(super) async fn finish_commit(&mut self, report: &mut dyn Report) -> Result<()> {
        let Some(Committing { task, staged, alerts, mut took }) = self.committing.take() else { return Ok(()) };
        took.commit = task.await.map_err(|panic| Error::bug("a commit panicked").because(panic))??;
        self.seen.summary.epochs += 1;
        self.seen.summary.counts.merge(&staged.counts);
        self.parts.source.committed(staged.epoch, staged.clock_us, &staged.range);
        if let (Some(segment), Some(batch)) = (&alerts, &staged.notifications) {
            self.notifications.publish(staged.epoch, segment, batch);
        }
        let notifications = self.notifications.progress();
        let swaps = self.control.take_events();
        report.epoch(&Progress::new(&self.identity, &staged, took, notifications, swaps));
        Ok(())
    }

    /// A host that slept through its own succession finds it in the tables.
    async fn refuse_if_overtaken(&self) -> Result<()> {
        for table in all_tables(&self.parts) {
            let name = &table.settings().name;
            let committed = committed_epoch(table, &self.checkpoint.application_id(name)).await?;
            if is_overtaken(self.next, committed) {
                return Err(fenced(name, self.next));
            }
        }
        Ok(())
    }

    /// Move the ranges that only records hold into a state segment, from time to
    /// time, and merge segments that have become alike in size.
    async fn roll_segments(&mut self) -> Result<()> {
        let files = |range: &EpochRange| match &range.range {
            SourceRange::Files(files) => files.len(),
            SourceRange::Offsets(_) => 0,
        };
        let full = self.ranges.iter().map(files).sum::<usize>() >= FILES_PER_SEGMENT;
        let is_due = full || self.ranges.len() >= EPOCHS_PER_SEGMENT || self.parts.source.has_unrecorded();
        if !is_due {
            return Ok(());
        }
        let Some(&EpochRange { epoch: through, .. }) = self.ranges.last() else { return Ok(()) };
        let Some((bytes, entries)) = self.parts.source.segment(&self.ranges)? else {
            // The latest range says it all.
            self.ranges.drain(..self.ranges.len() - 1);
            return Ok(());
        };
        let place = (self.next, &self.attempt);
        let change = (through, bytes, entries);
        let source = &self.parts.source;
        let merge = |parts: &[Bytes], entries| source.merge(parts, entries);
        append_segment(&self.checkpoint, &mut self.segments, "source", place, change, merge).await?;
        self.ranges.clear();
        Ok(())
    }

    /// Write what an epoch changed in the states of steps.
    async fn keep_states(&mut self, staged: &StagedEpoch) -> Result<()> {
        let place = (staged.epoch, &self.attempt);
        for delta in &staged.deltas {
            let Some(state) = self.steps.get_mut(&delta.step) else { continue };
            if delta.is_whole {
                state.segments.clear();
            }
            let change = (staged.epoch, delta.bytes.clone(), delta.entries);
            let merge = |parts: &[Bytes], entries| Ok((parts.concat().into(), entries));
            append_segment(&self.checkpoint, &mut state.segments, &delta.step, place, change, merge).await?;
            let kept = state.segments.iter().map(|segment| segment.entries).sum();
            self.parts.duties.set_kept(&delta.step, kept);
        }
        Ok(())
    }

    /// Write what somebody is to be notified of.
    async fn keep_notifications(&self, staged: &StagedEpoch) -> Result<Option<Segment>> {
        let Some(batch) = &staged.notifications else { return Ok(None) };
        let place = (staged.epoch, &self.attempt);
        let written = self.checkpoint.write_segment(NOTIFY, place, staged.epoch, (batch.encode(), batch.entries()));
        written.await.map(Some)
    }
}

/// The epoch before this one.
fn before(epoch: Epoch) -> Option<Epoch> {
    epoch.number().checked_sub(1).and_then(Epoch::new)
}

/// Put a change behind the segments of a step, merged with those before it that
/// are alike in size.
async fn append_segment(
    checkpoint: &Checkpoint,
    segments: &mut Vec<Segment>,
    step: &str,
    place: (Epoch, &AttemptId),
    (through, bytes, mut entries): (Epoch, Bytes, u64),
    merge: impl Fn(&[Bytes], u64) -> Result<(Bytes, u64)>,
) -> Result<()> {
    let mut parts = vec![bytes];
    while let Some(last) = segments.pop_if(|last| last.entries <= entries * MERGE_AT_RATIO) {
        match checkpoint.read_segment(&last).await {
            Ok(older) => parts.push(older),
            Err(error) => return Err(fenced_if_overtaken(checkpoint, before(place.0), error).await),
        }
        entries += last.entries;
    }
    parts.reverse();
    let merged = match parts.as_slice() {
        [bytes] => (bytes.clone(), entries),
        parts => merge(parts, entries)?,
    };
    segments.push(checkpoint.write_segment(step, place, through, merged).await?);
    Ok(())
}
