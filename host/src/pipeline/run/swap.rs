//! Other versions of plugins, between two epochs of a run.

use std::sync::Arc;

use futures::FutureExt as _;

use super::Run;
use crate::env::Stopwatch;
use crate::model::{PluginIdentity, StepState};
use crate::pipeline::build::Plugged;
use crate::pipeline::commit::all_tables;
use crate::pipeline::epoch::Stages;
use crate::pipeline::progress::{Counts, Report};
use crate::pipeline::swap::{
    Answer, Ask, Candidate, Differences, Ground, Next, OnProbation, PluginStanding, Request, Shadow, Standing,
    SwapEvent, SwapOutcome, Tried, Verdict, event,
};
use crate::plugin::CallStats;
use crate::{Error, Result};

impl Run<'_> {
    /// Do what was asked for, or is ready; waits for nothing.
    pub(super) async fn attend(&mut self, report: &mut dyn Report) -> Result<()> {
        while let Some(next) = self.control.next(self.trial.is_some()).now_or_never() {
            self.answer(next, report).await?;
        }
        Ok(())
    }

    /// Do what comes next.
    pub(super) async fn answer(&mut self, next: Next, report: &mut dyn Report) -> Result<()> {
        let finished = match next {
            Next::Asked(request) => {
                self.begin(request, report);
                return Ok(());
            }
            Next::Made(finished) => finished,
        };
        match self.control.decide(finished, &self.parts.plugins, &mut self.versions, self.next) {
            Verdict::Ready(candidate, answer) if candidate.shadow > 0 => {
                let states = (&self.steps, self.checkpoint.as_ref());
                match Shadow::start(*candidate, &self.parts.duties, states).await {
                    Ok(shadow) => {
                        self.parts.shadow = Some(shadow);
                        self.trial = Some(answer);
                        self.tell_standing();
                    }
                    Err((candidate, error)) => drop(self.refuse(&candidate, error, answer, report)),
                }
                Ok(())
            }
            Verdict::Ready(candidate, answer) => self.take_over(*candidate, None, answer, report).await,
            Verdict::Over(events) => {
                self.tell(events, report);
                Ok(())
            }
        }
    }

    /// Begin what is asked for, unless whoever asked has gone. A rollback ends a trial,
    /// and that is all where a version of its step is on trial and no other is named.
    fn begin(&mut self, request: Request, report: &mut dyn Report) {
        if request.is_abandoned() {
            return;
        }
        let Request { ask, answer } = request;
        if let Ask::RollBack { step, to: None } = &ask
            && self.parts.shadow.as_ref().is_some_and(|shadow| shadow.standing(step).is_some())
        {
            drop(answer.send(Ok(self.end_trial(report))));
            return;
        }
        match self.control.order(ask, &self.versions) {
            Ok(order) => {
                self.end_trial(report);
                let ground = self.ground();
                self.control.begin(order, answer, ground);
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Let what is on trial not take over, if something is.
    fn end_trial(&mut self, report: &mut dyn Report) -> Vec<SwapEvent> {
        let (Some(shadow), Some(answer)) = (self.parts.shadow.take(), self.trial.take()) else { return Vec::new() };
        let ended = Error::unavailable("a rollback ended its trial");
        self.refuse(&shadow.into_candidate(), ended, answer, report)
    }

    /// An epoch with these costs is prepared: whoever is on trial may take over now.
    pub(super) async fn after_trial(&mut self, stats: &[CallStats], report: &mut dyn Report) -> Result<()> {
        let (Some(shadow), Some(answer)) = (self.parts.shadow.take(), self.trial.take()) else { return Ok(()) };
        match shadow.prepared(stats) {
            Tried::Goes(shadow) => {
                (self.parts.shadow, self.trial) = (Some(*shadow), Some(answer));
                self.tell_standing();
            }
            Tried::Passed(candidate, found) => self.take_over(*candidate, Some(found), answer, report).await?,
            Tried::Failed(candidate, error) => {
                self.refuse(&candidate, error.during("it failed on trial"), answer, report);
            }
        }
        Ok(())
    }

    /// Let versions that were ready not take over.
    fn refuse(
        &mut self,
        candidate: &Candidate,
        error: Error,
        answer: Answer,
        report: &mut dyn Report,
    ) -> Vec<SwapEvent> {
        self.refuse_changes(&self.changes(candidate), candidate.ready_ms, error, answer, report)
    }

    fn refuse_changes(
        &mut self,
        changes: &[OnProbation],
        ready_ms: u64,
        error: Error,
        answer: Answer,
        report: &mut dyn Report,
    ) -> Vec<SwapEvent> {
        let refused = |on: &OnProbation| SwapEvent {
            reason: Some(error.to_string()),
            ready_ms: Some(ready_ms),
            ..event(SwapOutcome::Refused, &on.old, Some(on.new.clone()), self.next)
        };
        let events: Vec<SwapEvent> = changes.iter().map(refused).collect();
        self.control.refused(changes, &mut self.versions);
        self.tell(events.clone(), report);
        drop(answer.send(Err(error)));
        events
    }

    /// Let versions take over now, between two epochs.
    async fn take_over(
        &mut self,
        candidate: Candidate,
        trial: Option<Differences>,
        answer: Answer,
        report: &mut dyn Report,
    ) -> Result<()> {
        let watch = Stopwatch::start();
        let (changes, ready_ms) = (self.changes(&candidate), candidate.ready_ms);
        if let Err(error) = self.parts.duties.replace(candidate.stateful, &candidate.running).await {
            self.refuse_changes(&changes, ready_ms, error, answer, report);
            return Ok(());
        }
        let (mut tables, schemas): (Vec<_>, Vec<_>) = candidate.tables.into_iter().unzip();
        self.parts.dead_letters = tables.pop().ok_or_else(|| Error::bug("a pipeline without a dead-letter table"))?;
        (self.parts.tables, self.parts.schemas) = (tables, schemas);
        (self.parts.workers, self.parts.plugins) = (candidate.workers, candidate.plugins);
        for plan in &self.parts.duties.plans {
            let Some(identity) = &plan.identity else { continue };
            let first = || StepState { identity: identity.clone(), segments: Vec::new() };
            self.steps.entry(plan.name.clone()).or_insert_with(first).identity = identity.clone();
        }
        self.pipeline = Arc::clone(&candidate.running);
        // What became dead letters before says nothing about the new version.
        self.unjudged = Counts::default();
        let now = (self.next, self.env.clock.now_us());
        for on in &changes {
            self.versions.replace(&on.old, on.new.sha256, now);
        }
        self.versions.decided();
        self.versions.also_kept(candidate.kept);
        let pause_us = u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX);
        let took_over = |on: &OnProbation| SwapEvent {
            ready_ms: Some(ready_ms),
            pause_us: Some(pause_us),
            trial: trial.clone(),
            ..event(SwapOutcome::TookOver, &on.old, Some(on.new.clone()), self.next)
        };
        let events: Vec<SwapEvent> = changes.iter().map(took_over).collect();
        let reading = (candidate.running, candidate.named, candidate.file);
        let probation = (candidate.policies, candidate.probation);
        self.control.took_over(reading, candidate.places, probation, (self.next, changes), &mut self.versions);
        self.tell(events.clone(), report);
        drop(answer.send(Ok(events)));
        Ok(())
    }

    /// The plugins that a candidate changes, with what they change from.
    fn changes(&self, candidate: &Candidate) -> Vec<OnProbation> {
        let mut changes = Vec::new();
        for (old, new) in self.parts.plugins.iter().zip(&candidate.plugins) {
            let step = &old.identity.step;
            if !candidate.changed.contains(step) {
                continue;
            }
            let in_place_of = candidate.places.get(step).copied().flatten();
            let plan = self.parts.duties.plans.iter().find(|plan| plan.name == *step);
            let restorable = plan.filter(|plan| plan.identity.is_some()).map(|plan| plan.restorable.clone());
            let (old, new) = (old.identity.clone(), new.identity.clone());
            changes.push(OnProbation { old, new, restorable, is_named: in_place_of.is_none() });
        }
        changes
    }

    /// What a candidate is made on.
    fn ground(&self) -> Ground {
        let tables = all_tables(&self.parts).cloned().zip(self.parts.schemas.iter().cloned()).collect();
        let on_probation = self.control.on_probation().map_or(&[][..], |(steps, _)| steps);
        Ground {
            running: Arc::clone(&self.control.running),
            named: Arc::clone(&self.control.named),
            file: Arc::clone(&self.control.file),
            env: self.env.clone(),
            footing: self.parts.footing.clone(),
            message_fields: self.parts.message_fields.clone(),
            kept: self.kept.clone(),
            tables,
            plugins: self.parts.plugins.clone(),
            on_probation: on_probation.iter().map(|on| on.new.step.clone()).collect(),
            steps: self.steps.clone(),
            places: self.control.places.clone(),
            checkpoint: Arc::clone(&self.checkpoint),
            components: self.versions.kept(),
        }
    }

    /// Go back to what ran before the versions on probation, if that can be.
    pub(super) fn roll_back(&mut self, reason: &str, report: &mut dyn Report) -> bool {
        let steps = &self.steps;
        let state_version = |step: &str| steps.get(step).map(|state| state.identity.state_version);
        match self.control.roll_back(reason, self.next, state_version) {
            Ok(events) => {
                self.tell(events, report);
                true
            }
            Err(why) => {
                tracing::error!("no way back from a version on probation: {why}");
                false
            }
        }
    }

    /// What plugins on probation did wrong in an epoch, if anything.
    pub(super) fn blame(&self, staged: &Result<Stages>) -> Option<String> {
        let (steps, _) = self.control.on_probation()?;
        let staged = match staged {
            Ok(Stages::Epoch(staged)) => staged,
            Ok(Stages::NewColumns(_)) => return None,
            Err(error) => return self.control.blames(error).then(|| error.to_string()),
        };
        let is_on = |plugin: &PluginIdentity| steps.iter().any(|on| on.new.step == plugin.step);
        let mut all = staged.plugins.iter().zip(&staged.stats);
        let (_, stats) = all.find(|(plugin, stats)| is_on(plugin) && stats.failures > 0)?;
        Some(format!("{} of its calls failed in epoch {}", stats.failures, staged.epoch))
    }

    /// Tell what happened, now and with the next progress, and where the run stands.
    pub(super) fn tell(&mut self, events: Vec<SwapEvent>, report: &mut dyn Report) {
        for event in events {
            match event.outcome {
                SwapOutcome::TookOver | SwapOutcome::Trusted => tracing::info!("{}", event.line()),
                SwapOutcome::Refused | SwapOutcome::RolledBack => tracing::warn!("{}", event.line()),
            }
            report.swap(&event);
            self.control.note(event);
        }
        self.tell_standing();
    }

    pub(super) fn tell_standing(&self) {
        let plugin = |plugged: &Plugged| {
            let identity = plugged.identity.clone();
            let version = self.versions.steps().get(&identity.step);
            let on_probation = self.control.on_probation();
            let left = on_probation.filter(|(steps, _)| steps.iter().any(|on| on.new.step == identity.step));
            PluginStanding {
                role: role_of(&identity.step),
                since_epoch: version.map_or(0, |version| version.since.number()),
                in_place_of: version.and_then(|version| version.in_place_of),
                probation_left: left.map(|(_, left)| left),
                trial: self.parts.shadow.as_ref().and_then(|shadow| shadow.standing(&identity.step)),
                replaced: version.map_or_else(Vec::new, |version| version.replaced.clone()),
                identity,
            }
        };
        let plugins = self.parts.plugins.iter().map(plugin).collect();
        self.control.tell(Standing { is_ready: true, next_epoch: self.next.number(), plugins });
    }
}

/// The role of a plugin in a step.
fn role_of(step: &str) -> &'static str {
    match step.split_once('.').map_or(step, |(kind, _)| kind) {
        "transform" => "transform",
        "window" => "aggregator",
        "rule" => "rule",
        _ => "parser",
    }
}
