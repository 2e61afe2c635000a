//! The state of swapping in a run: what was asked, what is made ready, who is on
//! probation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::candidate::{Candidate, Change, Ground, Made, Order, make, unknown_step};
use super::request::{Ask, Request, Standing, Swap, SwapEvent, SwapOutcome, Swaps};
use super::versions::Versions;
use super::watcher::{watch_components, watched};
use crate::config::{Pipeline, PipelineFile, PluginConfig, PluginReference};
use crate::env::{self, Task};
use crate::model::{Digest, Epoch, PluginIdentity};
use crate::pipeline::build::{Plugged, Policies, component_source, on_failure};
use crate::plugin::ComponentSource;
use crate::{Error, ErrorKind, Result};

/// A trial or probation that is asked for takes at most so many epochs.
const MAX_EPOCHS: u32 = 100_000;
/// Events that wait to be told with an epoch, while none is committed.
const MAX_EVENTS: usize = 100;

/// The way to whoever asked.
pub(in crate::pipeline) type Answer = oneshot::Sender<Result<Vec<SwapEvent>>>;

/// The state of swapping in a run.
pub(in crate::pipeline) struct Control {
    swaps: Swaps,
    /// Looks whether components change; ends when it is replaced.
    watcher: Task,
    making: Option<Making>,
    probation: Option<Probation>,
    /// What was rolled back in this run.
    failed: BTreeSet<Digest>,
    /// What happened since somebody was told.
    events: Vec<SwapEvent>,
    /// The pipeline as it runs; its components are those that were read once.
    pub(in crate::pipeline) running: Arc<Pipeline>,
    /// The pipeline as its file says.
    pub(in crate::pipeline) named: Arc<Pipeline>,
    pub(in crate::pipeline) file: Arc<PipelineFile>,
    /// What the file names where something else runs, by step.
    pub(in crate::pipeline) places: BTreeMap<String, Digest>,
    pub(in crate::pipeline) policies: Policies,
}

/// Versions that are made ready.
struct Making {
    /// The steps, and whether the file names what they are to have.
    steps: Vec<(String, bool)>,
    may_be_same: bool,
    is_rollback: bool,
    answer: Answer,
    task: JoinHandle<Made>,
}

/// Versions that go back if they fail.
struct Probation {
    left: u32,
    since: Epoch,
    /// What ran before.
    running: Arc<Pipeline>,
    places: BTreeMap<String, Digest>,
    steps: Vec<OnProbation>,
}

/// A version that goes back if it fails.
pub(in crate::pipeline) struct OnProbation {
    pub(in crate::pipeline) old: PluginIdentity,
    pub(in crate::pipeline) new: PluginIdentity,
    /// The versions of state that the old one reads.
    pub(in crate::pipeline) restorable: Option<Vec<u32>>,
    /// Whether the pipeline file names the new one.
    pub(in crate::pipeline) is_named: bool,
}

/// What is next for a run to do.
pub(in crate::pipeline) enum Next {
    /// Somebody asks.
    Asked(Request),
    /// Versions are ready, or not.
    Made(Finished),
}

/// What came of making versions ready.
pub(in crate::pipeline) struct Finished {
    made: Made,
    steps: Vec<(String, bool)>,
    may_be_same: bool,
    pub(in crate::pipeline) answer: Answer,
}

/// What a run does with it.
pub(in crate::pipeline) enum Verdict {
    /// Let it take over, on trial first if it says so.
    Ready(Box<Candidate>, Answer),
    /// Tell of these.
    Over(Vec<SwapEvent>),
}

impl Control {
    pub(in crate::pipeline) fn new(
        swaps: Swaps,
        named: &Pipeline,
        file: &PipelineFile,
        (running, places): (Pipeline, BTreeMap<String, Digest>),
    ) -> Self {
        let policies = Policies::of(&running);
        Self {
            watcher: env::task(watch_components(swaps.sender.clone(), watched(named))),
            swaps,
            making: None,
            probation: None,
            failed: BTreeSet::new(),
            events: Vec::new(),
            running: Arc::new(running),
            named: Arc::new(named.clone()),
            file: Arc::new(file.clone()),
            places,
            policies,
        }
    }

    /// An error of a start, which may come from components that the pipeline file does
    /// not name.
    pub(in crate::pipeline) fn with_stand_ins(&self, error: Error) -> Error {
        if self.places.is_empty() {
            return error;
        }
        let steps: Vec<&str> = self.places.keys().map(String::as_str).collect();
        error.during(format!(
            "an earlier version runs in {}, because the one that the pipeline file names was refused or taken back \
             (restore the configuration, or name another component)",
            steps.join(", ")
        ))
    }

    /// What the file names where something else runs, and what was rolled back.
    pub(in crate::pipeline) fn kept_out(&self) -> (&BTreeMap<String, Digest>, &BTreeSet<Digest>) {
        (&self.places, &self.failed)
    }

    /// From now on these components run, whatever becomes of the files that they
    /// were read from.
    pub(in crate::pipeline) fn pin(&mut self, plugins: &[Plugged]) {
        let mut running = self.running.as_ref().clone();
        for Plugged { identity, component } in plugins {
            if let Some(plugin) = running.plugin_mut(&identity.step)
                && !matches!(plugin.reference, PluginReference::Bytes(..))
            {
                plugin.reference = PluginReference::Bytes(component_source(plugin).name(), component.clone());
            }
        }
        self.running = Arc::new(running);
    }

    /// What is next to do; waits for it. While something is made ready or on trial,
    /// only a rollback is, unless another one is made ready. May be dropped and called
    /// again.
    pub(in crate::pipeline) async fn next(&mut self, is_on_trial: bool) -> Next {
        let Self { making, swaps, .. } = self;
        if is_on_trial {
            return Next::Asked(swaps.next_rollback().await);
        }
        if let Some(under_way) = making {
            let made = tokio::select! {
                biased;
                made = &mut under_way.task => made,
                rollback = swaps.next_rollback(), if !under_way.is_rollback => {
                    return Next::Asked(rollback);
                }
            };
            // It is there: nobody else takes it.
            if let Some(Making { steps, may_be_same, answer, .. }) = making.take() {
                let broken =
                    |panic| Made::Refused(Error::bug("making a plugin ready panicked").because(panic), BTreeMap::new());
                return Next::Made(Finished { made: made.unwrap_or_else(broken), steps, may_be_same, answer });
            }
        }
        Next::Asked(swaps.next().await)
    }

    /// Begin to make ready what is ordered. What is being made ready is called off.
    pub(in crate::pipeline) fn begin(&mut self, order: Order, answer: Answer, ground: Ground) {
        self.call_off("a rollback went before it: ask again");
        let steps = order.changes.iter().map(|change| (change.config.step.clone(), change.is_named)).collect();
        // A file that is read again may say what it said before.
        let may_be_same = order.is_unasked || order.reading.is_some();
        let is_rollback = order.changes.iter().any(|change| change.kept.is_some());
        let task = tokio::spawn(make(order, ground));
        self.making = Some(Making { steps, may_be_same, is_rollback, answer, task });
    }

    fn call_off(&mut self, why: &str) {
        if let Some(making) = self.making.take() {
            making.task.abort();
            drop(making.answer.send(Err(Error::unavailable(why))));
        }
    }

    /// What has to be done about what is asked for.
    ///
    /// # Errors
    /// Config if it cannot be done.
    pub(in crate::pipeline) fn order(&self, ask: Ask, versions: &Versions) -> Result<Order> {
        let plugin = |step: &str| {
            let found = self.running.plugins().find(|plugin| plugin.step == step);
            found.cloned().ok_or_else(|| unknown_step(&self.running, step))
        };
        match ask {
            Ask::Swap(Swap { step, component, sha256, shadow, probation, is_named }) => {
                let mut config = plugin(&step)?;
                config.reference = reference(component);
                if !is_named {
                    config.sha256 = None;
                }
                if let Some(epochs) = [shadow, probation].into_iter().flatten().find(|epochs| *epochs > MAX_EPOCHS) {
                    let most = format!("a trial and a probation take at most {MAX_EPOCHS} epochs, and not {epochs}");
                    return Err(Error::config(most));
                }
                let (shadow, probation) =
                    (shadow.unwrap_or(config.swap.shadow), probation.unwrap_or(config.swap.probation));
                let changes = vec![Change { config, sha256, is_named, kept: None, shadow, probation }];
                Ok(Order { changes, reading: None, is_unasked: is_named })
            }
            Ask::RollBack { step, to } => {
                let mut config = plugin(&step)?;
                // A pin is about what the file names.
                config.sha256 = None;
                let replaced = versions.steps().get(&step).map_or(&[][..], |version| &version.replaced);
                let found = match to {
                    Some(to) => replaced.iter().find(|replaced| replaced.sha256 == to),
                    None => replaced.iter().find(|replaced| !replaced.failed),
                };
                let found = found.ok_or_else(|| {
                    let known: Vec<String> = replaced.iter().map(|replaced| replaced.sha256.short()).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    Error::config(format!("{step} has no such earlier version: those that are kept are {known}"))
                })?;
                let (probation, kept) = (config.swap.probation, Some(found.sha256));
                let changes = vec![Change { config, sha256: None, is_named: false, kept, shadow: 0, probation }];
                Ok(Order { changes, reading: None, is_unasked: false })
            }
            Ask::Reload(reading) => self.reload(*reading),
        }
    }

    fn reload(&self, (pipeline, file): (Pipeline, PipelineFile)) -> Result<Order> {
        let steps = |pipeline: &Pipeline| pipeline.plugins().map(|plugin| plugin.step.clone()).collect::<Vec<_>>();
        if steps(&pipeline) != steps(&self.named) {
            return Err(Error::config(
                "the pipeline file has other steps than the pipeline that runs: stop it and start it again",
            ));
        }
        let rest = |pipeline: &Pipeline| {
            let mut pipeline = pipeline.clone();
            for step in steps(&pipeline) {
                if let (Some(slot), Some(same)) =
                    (pipeline.plugin_mut(&step), self.named.plugins().find(|plugin| plugin.step == step))
                {
                    *slot = same.clone();
                }
            }
            format!("{pipeline:?}")
        };
        if rest(&pipeline) != rest(&self.named) {
            tracing::warn!("the pipeline file has other changes than of plugins: they take effect at the next start");
        }
        let change = |config: &PluginConfig| Change {
            config: config.clone(),
            sha256: None,
            is_named: true,
            kept: None,
            shadow: config.swap.shadow,
            probation: config.swap.probation,
        };
        let changes = pipeline.plugins().map(change).collect();
        let reading = Some((Arc::new(pipeline), Arc::new(file)));
        Ok(Order { changes, reading, is_unasked: false })
    }

    /// What to do about versions that are ready, or not.
    pub(in crate::pipeline) fn decide(
        &mut self,
        finished: Finished,
        plugins: &[Plugged],
        versions: &mut Versions,
        next: Epoch,
    ) -> Verdict {
        let Finished { made, steps, may_be_same, answer } = finished;
        match made {
            Made::Ready(candidate) => Verdict::Ready(candidate, answer),
            Made::Same { steps, running, named, file } => {
                for step in steps {
                    self.set_place(&step, None, versions);
                }
                self.running = running;
                self.read_anew(named, file);
                let same = Error::config("that is what runs already: nothing was changed");
                drop(answer.send(if may_be_same { Ok(Vec::new()) } else { Err(same) }));
                Verdict::Over(Vec::new())
            }
            Made::Refused(error, digests) => {
                let mut events = Vec::new();
                // What it may be elsewhere does not speak against it.
                let is_to_blame = !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Bug);
                for (step, is_named) in steps {
                    let digest = digests.get(&step).copied().flatten();
                    let Some(plugged) = plugins.iter().find(|plugin| plugin.identity.step == step) else { continue };
                    if is_named && is_to_blame && digest.is_some_and(|digest| digest != plugged.identity.sha256) {
                        self.set_place(&step, digest, versions);
                    }
                    let mut event = event(SwapOutcome::Refused, &plugged.identity, None, next);
                    (event.sha256, event.reason) = (digest, Some(error.to_string()));
                    events.push(event);
                }
                drop(answer.send(Err(error)));
                Verdict::Over(events)
            }
        }
    }

    /// Another component than this, which the file names, has the step.
    fn set_place(&mut self, step: &str, in_place_of: Option<Digest>, versions: &mut Versions) {
        versions.set_place(step, in_place_of);
        match in_place_of {
            Some(digest) => self.places.insert(step.to_owned(), digest),
            None => self.places.remove(step),
        };
    }

    /// Versions that were ready cannot take over.
    pub(in crate::pipeline) fn refused(&mut self, changes: &[OnProbation], versions: &mut Versions) {
        for on in changes.iter().filter(|on| on.is_named) {
            self.set_place(&on.old.step, Some(on.new.sha256), versions);
        }
    }

    /// A candidate has taken over with this epoch.
    pub(in crate::pipeline) fn took_over(
        &mut self,
        (running, named, file): (Arc<Pipeline>, Arc<Pipeline>, Arc<PipelineFile>),
        places: BTreeMap<String, Option<Digest>>,
        (policies, probation): (Policies, u32),
        (since, steps): (Epoch, Vec<OnProbation>),
        versions: &mut Versions,
    ) {
        let before = (std::mem::replace(&mut self.running, running), self.places.clone());
        self.policies = policies;
        self.read_anew(named, file);
        for (step, in_place_of) in places {
            self.set_place(&step, in_place_of, versions);
        }
        self.probation = match (self.probation.take(), probation) {
            (Some(earlier), left) => self.joined(earlier, left, steps),
            (None, 0) => None,
            (None, left) => {
                let (running, places) = before;
                Some(Probation { left, since, running, places, steps })
            }
        };
        let is_over =
            |step: &String| self.probation.as_ref().is_none_or(|all| all.steps.iter().all(|on| on.new.step != *step));
        for policy in self.policies.others.extract_if(.., |step, _| is_over(step)).map(|(_, policy)| policy) {
            policy.set(on_failure(self.policies.on_error));
        }
    }

    /// An earlier probation goes on when other versions take over: all that are on it
    /// go back together. With nothing left of their own, the others are trusted.
    fn joined(&self, mut earlier: Probation, left: u32, steps: Vec<OnProbation>) -> Option<Probation> {
        earlier.left = earlier.left.max(left);
        for mut on in steps {
            let step = on.old.step.clone();
            let at = earlier.steps.iter().position(|before| before.old.step == step);
            let before = at.map(|at| earlier.steps.remove(at));
            if left > 0 {
                if let Some(before) = before {
                    (on.old, on.restorable) = (before.old, before.restorable);
                }
                if on.old.sha256 != on.new.sha256 {
                    earlier.steps.push(on);
                }
                continue;
            }
            let mut running = earlier.running.as_ref().clone();
            if let (Some(slot), Some(now)) =
                (running.plugin_mut(&step), self.running.plugins().find(|plugin| plugin.step == step))
            {
                *slot = now.clone();
            }
            earlier.running = Arc::new(running);
            match self.places.get(&step) {
                Some(place) => earlier.places.insert(step, *place),
                None => earlier.places.remove(&step),
            };
        }
        (!earlier.steps.is_empty()).then_some(earlier)
    }

    /// This is what the pipeline file says now.
    fn read_anew(&mut self, named: Arc<Pipeline>, file: Arc<PipelineFile>) {
        if !Arc::ptr_eq(&self.named, &named) {
            self.watcher = env::task(watch_components(self.swaps.sender.clone(), watched(&named)));
        }
        (self.named, self.file) = (named, file);
    }

    /// From now on failures of all versions are what the pipeline says.
    fn trust(&mut self) {
        self.probation = None;
        for policy in std::mem::take(&mut self.policies.others).into_values() {
            policy.set(on_failure(self.policies.on_error));
        }
    }

    /// An epoch is prepared; who has done enough of them is trusted.
    pub(in crate::pipeline) fn prepared(&mut self, next: Epoch) -> Vec<SwapEvent> {
        let Some(probation) = &mut self.probation else { return Vec::new() };
        probation.left -= 1;
        if probation.left > 0 {
            return Vec::new();
        }
        let trusted = |on: &OnProbation| event(SwapOutcome::Trusted, &on.old, Some(on.new.clone()), next);
        let events = probation.steps.iter().map(trusted).collect();
        for on in &probation.steps {
            self.failed.remove(&on.new.sha256);
        }
        self.trust();
        events
    }

    /// The versions on probation, and how many epochs they have left.
    pub(in crate::pipeline) fn on_probation(&self) -> Option<(&[OnProbation], u32)> {
        self.probation.as_ref().map(|probation| (probation.steps.as_slice(), probation.left))
    }

    /// Whether this error is a reason for versions on probation to go back.
    pub(in crate::pipeline) fn blames(&self, error: &Error) -> bool {
        self.probation.is_some() && matches!(error.kind(), ErrorKind::Plugin | ErrorKind::Data)
    }

    /// Go back to what ran before the versions on probation; `state_version` says in
    /// which version a step keeps state.
    ///
    /// # Errors
    /// Why that cannot be; then they are on probation no longer.
    pub(in crate::pipeline) fn roll_back(
        &mut self,
        reason: &str,
        next: Epoch,
        state_version: impl Fn(&str) -> Option<u32>,
    ) -> std::result::Result<Vec<SwapEvent>, String> {
        let Some(probation) = self.probation.take() else { return Err("nothing is on probation".to_owned()) };
        if next > probation.since {
            let unreadable = probation.steps.iter().find_map(|on| {
                let (version, restorable) = (state_version(&on.old.step)?, on.restorable.as_ref()?);
                (!restorable.contains(&version)).then(|| {
                    format!(
                        "{} {} reads state of the versions {restorable:?} only, and it is of version {version} now",
                        on.old.name, on.old.version
                    )
                })
            });
            if let Some(unreadable) = unreadable {
                self.trust();
                return Err(unreadable);
            }
        }
        self.trust();
        (self.running, self.places) = (probation.running, probation.places);
        let mut events = Vec::new();
        for on in probation.steps {
            self.failed.insert(on.new.sha256);
            if on.is_named {
                self.places.insert(on.old.step.clone(), on.new.sha256);
            }
            let mut event = event(SwapOutcome::RolledBack, &on.old, Some(on.new), next);
            event.reason = Some(reason.to_owned());
            events.push(event);
        }
        Ok(events)
    }

    /// What is made ready, or on trial, was made for something that runs no more.
    pub(in crate::pipeline) fn forget_what_is_ready(&mut self, trial: Option<Answer>) {
        let why = "the pipeline was wired anew meanwhile: ask again";
        self.call_off(why);
        if let Some(answer) = trial {
            drop(answer.send(Err(Error::unavailable(why))));
        }
    }

    /// Note what happened, for who is told next.
    pub(in crate::pipeline) fn note(&mut self, event: SwapEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.remove(0);
        }
        self.events.push(event);
    }

    /// What happened since this was asked last.
    pub(in crate::pipeline) fn take_events(&mut self) -> Vec<SwapEvent> {
        std::mem::take(&mut self.events)
    }

    /// Tell where the run stands.
    pub(in crate::pipeline) fn tell(&self, standing: Standing) {
        self.swaps.standing.send_replace(standing);
    }
}

fn reference(component: ComponentSource) -> PluginReference {
    match component {
        ComponentSource::Builtin(name) => PluginReference::Builtin(name),
        ComponentSource::File(path) => PluginReference::File(path),
        ComponentSource::Bytes(name, bytes) => PluginReference::Bytes(name, bytes),
    }
}

/// An event without more to say.
pub(in crate::pipeline) fn event(
    outcome: SwapOutcome,
    from: &PluginIdentity,
    to: Option<PluginIdentity>,
    epoch: Epoch,
) -> SwapEvent {
    SwapEvent {
        step: from.step.clone(),
        outcome,
        from: from.clone(),
        sha256: to.as_ref().map(|to| to.sha256),
        to,
        epoch,
        reason: None,
        pause_us: None,
        ready_ms: None,
        trial: None,
    }
}
