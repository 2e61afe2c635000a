//! Makes other versions of plugins ready, beside the stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::Bytes;

use super::versions::digest_of;
use crate::checkpoint::Checkpoint;
use crate::config::{Pipeline, PipelineFile, PluginConfig, PluginReference, Problem};
use crate::env::{self, Env, Stopwatch};
use crate::model::{Digest, StepState};
use crate::pipeline::build::{Footing, Plugged, Policies, Wiring, component_source};
use crate::pipeline::kept::KeptSchema;
use crate::pipeline::recovery::refuse_other_state;
use crate::pipeline::run::try_to_wire;
use crate::pipeline::wire::Stateful;
use crate::pipeline::workers::{Steps, Workers};
use crate::plugin::{self, FailurePolicy, OnFailure};
use crate::sink::delta::Table;
use crate::{Error, Result};

/// What is to change.
pub(in crate::pipeline) struct Order {
    /// The plugins that are to have their steps.
    pub(super) changes: Vec<Change>,
    /// The pipeline file, if it was read anew.
    pub(super) reading: Option<(Arc<Pipeline>, Arc<PipelineFile>)>,
    /// Whether it was asked for because a file has changed.
    pub(super) is_unasked: bool,
}

/// Another plugin for a step.
pub(super) struct Change {
    pub(super) config: PluginConfig,
    /// The digest that the component must have, besides the one in the file.
    pub(super) sha256: Option<Digest>,
    /// Whether it is what the pipeline file names.
    pub(super) is_named: bool,
    /// The component, if the checkpoint has it.
    pub(super) kept: Option<Digest>,
    /// For how many epochs it is on trial.
    pub(super) shadow: u32,
    /// For how many epochs it goes back if it fails.
    pub(super) probation: u32,
}

/// What runs.
pub(in crate::pipeline) struct Ground {
    pub(in crate::pipeline) running: Arc<Pipeline>,
    pub(in crate::pipeline) named: Arc<Pipeline>,
    pub(in crate::pipeline) file: Arc<PipelineFile>,
    pub(in crate::pipeline) env: Env,
    pub(in crate::pipeline) footing: Footing,
    pub(in crate::pipeline) message_fields: Vec<String>,
    pub(in crate::pipeline) kept: Option<KeptSchema>,
    /// With the schemas that are needed of them, the dead letters last.
    pub(in crate::pipeline) tables: Vec<(Arc<Table>, Schema)>,
    pub(in crate::pipeline) plugins: Vec<Plugged>,
    /// The steps with a version on probation.
    pub(in crate::pipeline) on_probation: Vec<String>,
    pub(in crate::pipeline) steps: BTreeMap<String, StepState>,
    /// What the file names where something else runs.
    pub(in crate::pipeline) places: BTreeMap<String, Digest>,
    pub(in crate::pipeline) checkpoint: Arc<Checkpoint>,
    /// The components that it is known to keep.
    pub(in crate::pipeline) components: BTreeSet<Digest>,
}

/// Versions that can take over.
pub(in crate::pipeline) struct Candidate {
    pub(in crate::pipeline) running: Arc<Pipeline>,
    pub(in crate::pipeline) named: Arc<Pipeline>,
    pub(in crate::pipeline) file: Arc<PipelineFile>,
    /// The steps that get another component, configuration or limits.
    pub(in crate::pipeline) changed: BTreeSet<String>,
    /// The steps that were asked for, and what the file names where that is something
    /// else than what they have then.
    pub(in crate::pipeline) places: BTreeMap<String, Option<Digest>>,
    pub(in crate::pipeline) steps: Steps,
    pub(in crate::pipeline) workers: Workers,
    pub(in crate::pipeline) stateful: Stateful,
    /// The same for a trial, if there is to be one.
    pub(super) rehearsal: Option<Stateful>,
    pub(in crate::pipeline) tables: Vec<(Arc<Table>, Schema)>,
    pub(in crate::pipeline) plugins: Vec<Plugged>,
    /// The components that the checkpoint keeps since it was made ready.
    pub(in crate::pipeline) kept: Vec<Digest>,
    /// What happens if the steps that change fail.
    pub(in crate::pipeline) policies: Policies,
    pub(in crate::pipeline) shadow: u32,
    pub(in crate::pipeline) probation: u32,
    pub(in crate::pipeline) ready_ms: u64,
}

/// What came of making versions ready.
pub(super) enum Made {
    /// They can take over.
    Ready(Box<Candidate>),
    /// They are what runs already, and the file names it in these steps.
    Same { steps: Vec<String>, running: Arc<Pipeline>, named: Arc<Pipeline>, file: Arc<PipelineFile> },
    /// They cannot take over: why, and for each change the digest, if it is known.
    Refused(Error, BTreeMap<String, Option<Digest>>),
}

/// Load, compile, wire and warm up.
pub(super) async fn make(order: Order, ground: Ground) -> Made {
    let watch = Stopwatch::start();
    let mut digests: BTreeMap<String, Option<Digest>> =
        order.changes.iter().map(|change| (change.config.step.clone(), None)).collect();
    match ready(order, ground, &mut digests).await {
        Ok(Made::Ready(mut candidate)) => {
            candidate.ready_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
            Made::Ready(candidate)
        }
        Ok(made) => made,
        Err(error) => Made::Refused(error, digests),
    }
}

/// Versions that can take over; the steps that have what the file names already, if
/// nothing changes.
async fn ready(order: Order, ground: Ground, digests: &mut BTreeMap<String, Option<Digest>>) -> Result<Made> {
    let (named, file) = order.reading.unwrap_or_else(|| (Arc::clone(&ground.named), Arc::clone(&ground.file)));
    let mut running = ground.running.as_ref().clone();
    let mut policies = Policies::of(&running);
    for step in &ground.on_probation {
        policies.others.insert(step.clone(), FailurePolicy::new(OnFailure::Fail));
    }
    let mut places = BTreeMap::new();
    let (mut changed, mut same) = (BTreeSet::new(), Vec::new());
    // Those that change together are tried and trusted together.
    let (mut shadow, mut probation) = (0, 0);
    let is_sent = order.changes.iter().any(|change| !change.is_named);
    let looked_at = look_at(order.changes, &ground, digests).await?;
    // A reload that changes nothing else tries again what was refused or rolled back.
    let tries_again = !order.is_unasked && looked_at.iter().all(|change| change.is_kept_out || change.is_running);
    for LookedAt { change, name, component, digest, is_kept_out, is_running } in looked_at {
        let Change { mut config, is_named, shadow: tried_for, probation: watched_for, .. } = change;
        if is_kept_out && !tries_again {
            continue;
        }
        let step = config.step.clone();
        let slot = running.plugin_mut(&step).ok_or_else(|| unknown_step(&ground.running, &step))?;
        let file_names = match named.plugins().find(|plugin| plugin.step == step) {
            Some(plugin) if !is_named && digest_of(plugin).await != Some(digest) => {
                // What the file named until now; what it names since then is still to be looked at.
                let plugged = ground.plugins.iter().find(|plugin| plugin.identity.step == step);
                ground.places.get(&step).copied().or(plugged.map(|plugged| plugged.identity.sha256))
            }
            _ => None,
        };
        places.insert(step.clone(), file_names);
        if is_running {
            slot.swap = config.swap;
            slot.sha256 = config.sha256;
            same.extend(is_named.then_some(step));
            continue;
        }
        // A file may change again while it is looked at: what counts was read once.
        config.reference = PluginReference::Bytes(name, component);
        (shadow, probation) = (tried_for.max(shadow), watched_for.max(probation));
        changed.insert(step);
        *slot = config;
    }
    if shadow > 0 || probation > 0 {
        let fails = |step: &String| (step.clone(), FailurePolicy::new(OnFailure::Fail));
        policies.others.extend(changed.iter().map(fails));
    }
    if changed.is_empty() {
        return Ok(Made::Same { steps: same, running: Arc::new(running), named, file });
    }
    let wired = async || {
        let (footing, kept) = (&ground.footing, ground.kept.as_ref());
        let wired = try_to_wire(&running, &file, footing, &ground.message_fields, &policies, kept).await?;
        // What was sent is wrong, and not the file.
        wired.map_err(
            |problems| if is_sent { problems_of_what_was_sent(&problems) } else { file.problems(problems).into() },
        )
    };
    let rehearsal = if shadow > 0 { Some(wired().await?.stateful) } else { None };
    let wired = wired().await?;
    if let Some(new) = wired.message_fields.get(ground.message_fields.len()) {
        digests.values_mut().for_each(|digest| *digest = None);
        return Err(Error::config(format!(
            "it asks for the message field `{new}`, which the source was not told to bring when it started: \
             stop the pipeline and start it with the new version"
        )));
    }
    refuse_other_states(&wired, &ground.steps)?;
    let Wiring { steps, stateful, tables: wanted, plugins, .. } = wired;
    let mut tables = Vec::with_capacity(wanted.len());
    for (settings, schema) in wanted {
        let open = ground.tables.iter().find(|(table, _)| table.settings().name == settings.name);
        let table = match open.filter(|(_, needed)| *needed == schema) {
            Some((table, _)) => Arc::clone(table),
            None => Arc::new(Table::open_or_create(settings, &schema, &ground.env).await?),
        };
        tables.push((table, schema));
    }
    let mut workers = Workers::start(&steps, running.threads)?;
    workers.warmed().await?;
    // A rollback needs them, also if no epoch is made of them before the next swap.
    let changing = ground.plugins.iter().chain(&plugins).filter(|plugin| changed.contains(&plugin.identity.step));
    let mut newly_kept = Vec::new();
    for Plugged { identity, component } in changing {
        if !ground.components.contains(&identity.sha256) {
            ground.checkpoint.keep_component(identity.sha256, component.clone()).await?;
            newly_kept.push(identity.sha256);
        }
    }
    Ok(Made::Ready(Box::new(Candidate {
        running: Arc::new(running),
        named,
        file,
        changed,
        places,
        steps,
        workers,
        stateful,
        rehearsal,
        tables,
        plugins,
        kept: newly_kept,
        policies,
        shadow,
        probation,
        ready_ms: 0,
    })))
}

/// The problems as a sentence: places in the pipeline file say nothing about them.
fn problems_of_what_was_sent(problems: &[Problem]) -> Error {
    let sentence = |Problem { path, message, remedy, .. }: &Problem| {
        let remedy = remedy.as_ref().map_or_else(String::new, |remedy| format!(" ({remedy})"));
        format!("{path}: {message}{remedy}")
    };
    Error::config(problems.iter().map(sentence).collect::<Vec<_>>().join("; "))
}

/// A change whose component was read.
struct LookedAt {
    change: Change,
    name: String,
    component: Bytes,
    digest: Digest,
    /// The file names what it named when another version took its place.
    is_kept_out: bool,
    /// It runs already, with the same configuration and limits.
    is_running: bool,
}

async fn look_at(
    changes: Vec<Change>,
    ground: &Ground,
    digests: &mut BTreeMap<String, Option<Digest>>,
) -> Result<Vec<LookedAt>> {
    let reads_as = |config: &PluginConfig, pipeline: &Pipeline| {
        let before = pipeline.plugins().find(|plugin| plugin.step == config.step);
        before.is_some_and(|before| before.config == config.config && before.limits == config.limits)
    };
    let mut looked_at = Vec::with_capacity(changes.len());
    for change in changes {
        let Change { config, sha256, is_named, kept, .. } = &change;
        let step = &config.step;
        let source = component_source(config);
        let name = kept.map_or_else(|| source.name(), |digest| digest.short());
        let component = match *kept {
            Some(digest) => ground.checkpoint.component(digest).await?,
            None => env::blocking(move || source.read()).await?,
        };
        let digest = Digest::of(&component);
        if let Some(announced) = sha256.filter(|announced| *announced != digest) {
            digests.insert(step.clone(), Some(digest));
            return Err(Error::config(format!(
                "the component for {step} has the digest {digest}, but {announced} was announced: send it again"
            )));
        }
        // Where the file contradicts itself, nothing is said against the component.
        plugin::refuse_another(&component_source(config), digest, config.sha256)?;
        digests.insert(step.clone(), Some(digest));
        let plugged = ground.plugins.iter().find(|plugin| plugin.identity.step == *step);
        let plugged = plugged.ok_or_else(|| Error::bug("a step without a plugin"))?;
        let is_kept_out = *is_named && ground.places.get(step) == Some(&digest) && reads_as(config, &ground.named);
        let is_running = plugged.identity.sha256 == digest && reads_as(config, &ground.running);
        looked_at.push(LookedAt { change, name, component, digest, is_kept_out, is_running });
    }
    Ok(looked_at)
}

/// State that is kept must be of use to the new versions.
fn refuse_other_states(wired: &Wiring, kept: &BTreeMap<String, StepState>) -> Result<()> {
    for plan in &wired.stateful.plans {
        refuse_other_state(plan, kept)?;
        if plan.identity.is_none() && kept.contains_key(&plan.name) {
            return Err(Error::config(format!(
                "{} keeps state, and the new version would keep none: give it a step of its own",
                plan.name
            )));
        }
    }
    Ok(())
}

/// There is no such step.
pub(super) fn unknown_step(pipeline: &Pipeline, step: &str) -> Error {
    let steps: Vec<&str> = pipeline.plugins().map(|plugin| plugin.step.as_str()).collect();
    Error::config(format!("there is no step `{step}` with a plugin: the steps are {}", steps.join(", ")))
}
