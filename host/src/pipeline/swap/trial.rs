//! Runs a version beside the one that it is to replace: on the same chunks, with states
//! of its own, and without effect.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;

use super::candidate::Candidate;
use super::comparison::{Comparison, Differences};
use super::request::TrialStanding;
use crate::checkpoint::Checkpoint;
use crate::model::{Epoch, Lane, PartitionId, PluginIdentity, SourceRange};
use crate::pipeline::epoch::too_many_dead_letters;
use crate::pipeline::flow::{End, Flow, Moment, Outlet};
use crate::pipeline::progress::Counts;
use crate::pipeline::recovery::restore_states;
use crate::pipeline::steps::Duties;
use crate::pipeline::workers::{Processed, Workers};
use crate::plugin::CallStats;
use crate::sink::dead_letter::DeadLetter;
use crate::source::Chunk;
use crate::{Error, Result};

/// A version on trial.
pub(in crate::pipeline) struct Shadow {
    candidate: Candidate,
    workers: Workers,
    duties: Duties,
    comparison: Arc<Comparison>,
    flow: Option<Flow<Compared>>,
    left: u32,
    inside_us: [u64; 2],
    /// What became dead letters so far, and was too little to judge.
    unjudged: Counts,
    failed: Option<Error>,
}

/// How a trial ended.
pub(in crate::pipeline) enum Tried {
    /// It goes on.
    Goes(Box<Shadow>),
    /// The version may take over.
    Passed(Box<Candidate>, Differences),
    /// The version may not take over.
    Failed(Box<Candidate>, Error),
}

/// What the version gives is compared and forgotten.
struct Compared(Arc<Comparison>);

impl Outlet for Compared {
    async fn rows(&mut self, table: usize, rows: RecordBatch, moment: Moment) -> Result<()> {
        self.0.new_rows(table, &rows, moment);
        Ok(())
    }

    async fn letters(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        self.0.new_letters(&letters);
        Ok(())
    }
}

impl Shadow {
    /// Begin a trial between two epochs, with the states that the running steps have.
    ///
    /// # Errors
    /// Plugin if the version does not take them.
    pub(in crate::pipeline) async fn start(
        mut candidate: Candidate,
        running: &Duties,
        (steps, checkpoint): (&std::collections::BTreeMap<String, crate::model::StepState>, &Checkpoint),
    ) -> std::result::Result<Self, (Box<Candidate>, Error)> {
        let started = async {
            let stateful = candidate.rehearsal.take().ok_or_else(|| Error::bug("a trial without steps"))?;
            let mut duties = stateful.start(&candidate.running)?;
            duties.watermarks.clone_from(&running.watermarks);
            restore_states(checkpoint, steps, &mut duties).await?;
            let workers = Workers::start(&candidate.steps, candidate.running.threads)?;
            Ok((duties, workers))
        };
        match started.await {
            Err(error) => Err((Box::new(candidate), error)),
            Ok((duties, workers)) => {
                let names = candidate.tables.iter().map(|(table, _)| table.settings().name.clone());
                let comparison = Arc::new(Comparison::new(names));
                let left = candidate.shadow;
                Ok(Self {
                    candidate,
                    workers,
                    duties,
                    comparison,
                    flow: None,
                    left,
                    inside_us: [0, 0],
                    unjudged: Counts::default(),
                    failed: None,
                })
            }
        }
    }

    /// Where what the running version gives is to be compared.
    pub(in crate::pipeline) fn comparison(&self) -> Arc<Comparison> {
        Arc::clone(&self.comparison)
    }

    /// Begin an epoch.
    pub(in crate::pipeline) async fn begin(
        &mut self,
        ((pipeline, lane), epoch, clock_us): ((&str, &Lane), Epoch, i64),
        range: &SourceRange,
        now: Instant,
    ) {
        self.flow = Some(Flow::new(Compared(Arc::clone(&self.comparison)), self.candidate.plugins.len(), now));
        let begun = self.duties.begin((pipeline, lane), epoch, clock_us).await;
        self.duties.hear_of(range, now);
        self.note(begun);
    }

    /// Take in the chunks of the epoch.
    pub(in crate::pipeline) async fn run(&mut self, chunks: mpsc::Receiver<Chunk>, clock_us: i64) {
        let Some(mut flow) = self.flow.take().filter(|_| self.failed.is_none()) else { return };
        let duties = &mut self.duties;
        let run = self.workers.run(chunks, clock_us, async |processed: Processed| flow.chunk(processed, duties).await);
        let ran = run.await;
        self.flow = Some(flow);
        self.note(ran);
    }

    /// End the epoch as the running version does.
    pub(in crate::pipeline) async fn end(&mut self, end: End, unread: impl Fn(&PartitionId) -> bool) {
        let Some(mut flow) = self.flow.take().filter(|_| self.failed.is_none()) else { return };
        let ended = flow.end(&mut self.duties, end, unread).await;
        self.duties.take_notifications();
        self.inside_us[1] += self.inside(&flow.stats);
        self.note(ended.map(drop));
        let judged = self.judged(&flow);
        self.note(judged);
        self.comparison.end_epoch();
    }

    /// What would let it go back on probation lets it not take over.
    fn judged(&mut self, flow: &Flow<Compared>) -> Result<()> {
        let failures: u64 = self.changing(&flow.stats).map(|stats| stats.failures).sum();
        if failures > 0 {
            return Err(Error::plugin(format!("{failures} of its calls failed")));
        }
        let max_ratio = self.candidate.running.max_dead_letter_ratio;
        too_many_dead_letters(&flow.counts, &mut self.unjudged, max_ratio)
            .map_or(Ok(()), |too_many| Err(Error::data(too_many)))
    }

    /// An epoch with these costs of the running versions is prepared: what comes now.
    pub(in crate::pipeline) fn prepared(mut self, stats: &[CallStats]) -> Tried {
        self.inside_us[0] += self.inside(stats);
        if let Some(error) = self.failed {
            return Tried::Failed(Box::new(self.candidate), error);
        }
        self.left -= 1;
        match self.left {
            0 => Tried::Passed(Box::new(self.candidate), self.comparison.found(self.inside_us)),
            _ => Tried::Goes(Box::new(self)),
        }
    }

    /// End the trial before it is over.
    pub(in crate::pipeline) fn into_candidate(self) -> Candidate {
        self.candidate
    }

    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    /// The time within the plugins that change.
    fn inside(&self, stats: &[CallStats]) -> u64 {
        let inside = self.changing(stats).map(|stats| stats.inside.as_micros());
        u64::try_from(inside.sum::<u128>()).unwrap_or(u64::MAX)
    }

    /// What the plugins that change cost.
    fn changing<'a>(&'a self, stats: &'a [CallStats]) -> impl Iterator<Item = &'a CallStats> {
        let all = self.candidate.plugins.iter().zip(stats);
        all.filter(|(plugin, _)| self.changes(&plugin.identity.step)).map(|(_, stats)| stats)
    }

    fn changes(&self, step: &str) -> bool {
        self.candidate.changed.contains(step)
    }

    /// What stands on trial for a step, if something does.
    pub(in crate::pipeline) fn standing(&self, step: &str) -> Option<TrialStanding> {
        let plugged = self.candidate.plugins.iter().find(|plugin| plugin.identity.step == step)?;
        let PluginIdentity { name, version, sha256, .. } = plugged.identity.clone();
        self.changes(step).then_some(TrialStanding { name, version, sha256, left: self.left })
    }
}
