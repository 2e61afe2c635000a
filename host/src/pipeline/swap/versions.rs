//! Since when a step has which version, what that replaced, and what is kept of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::try_join_all;

use crate::Result;
use crate::checkpoint::{Checkpoint, EpochRecord};
use crate::config::{Pipeline, PluginConfig, PluginReference};
use crate::env;
use crate::model::{Digest, Epoch, PluginIdentity, ReplacedVersion, StepVersion};
use crate::pipeline::build::{Plugged, component_source};

/// Replaced versions of a step that are kept.
const MAX_REPLACED: usize = 16;

/// The versions of all steps of a run.
pub(in crate::pipeline) struct Versions {
    steps: BTreeMap<String, StepVersion>,
    /// The components that the checkpoint keeps; none as long as nobody has looked.
    kept: Option<BTreeSet<Digest>>,
    /// Components that the last record does not name any more.
    expired: Vec<Digest>,
    /// Whether the newest record says what was decided.
    is_recorded: bool,
    keep_for: Duration,
}

impl Versions {
    /// The versions behind a record, of which `next` is the next epoch; `places` are
    /// the components that the pipeline file names where others stand in for them, and
    /// `failed` those that were rolled back.
    pub(in crate::pipeline) fn behind(
        record: Option<&EpochRecord>,
        plugins: &[Plugged],
        (places, failed): (&BTreeMap<String, Digest>, &BTreeSet<Digest>),
        keep_for: Duration,
    ) -> Self {
        let next = record.map_or(Epoch::FIRST, |record| record.epoch.next());
        let (kept, expired) = (None, Vec::new());
        let mut versions = Self { steps: BTreeMap::new(), kept, expired, is_recorded: true, keep_for };
        for Plugged { identity, .. } in plugins {
            let step = &identity.step;
            let before = record.and_then(|record| {
                Some((record.plugins.iter().find(|plugin| plugin.step == *step)?, record.versions.get(step)?, record))
            });
            let first = StepVersion { since: next, in_place_of: None, replaced: Vec::new() };
            let mut version = before.map_or(first, |(_, version, _)| version.clone());
            let in_place_of = places.get(step).copied();
            versions.is_recorded &= in_place_of == version.in_place_of;
            version.in_place_of = in_place_of;
            versions.steps.insert(step.clone(), version);
            if let Some((plugin, _, record)) = before.filter(|(plugin, ..)| plugin.sha256 != identity.sha256) {
                // What the file names needs no record: a restart finds it there again.
                versions.replace(plugin, identity.sha256, (next, record.clock_us));
            }
        }
        for replaced in versions.steps.values_mut().flat_map(|version| &mut version.replaced) {
            replaced.failed |= failed.contains(&replaced.sha256);
        }
        versions
    }

    /// A version was replaced by the one with this digest.
    pub(in crate::pipeline) fn replace(&mut self, old: &PluginIdentity, by: Digest, (from, now_us): (Epoch, i64)) {
        let Some(version) = self.steps.get_mut(&old.step) else { return };
        version.since = from;
        version.replaced.retain(|replaced| replaced.sha256 != by && replaced.sha256 != old.sha256);
        if old.sha256 != by {
            let replaced = ReplacedVersion {
                name: old.name.clone(),
                version: old.version.clone(),
                sha256: old.sha256,
                until: from,
                until_us: now_us,
                failed: false,
            };
            version.replaced.insert(0, replaced);
            let most = MAX_REPLACED.min(version.replaced.len());
            self.expired.extend(version.replaced.drain(most..).map(|replaced| replaced.sha256));
        }
    }

    /// Another component than this, which the pipeline file names, has the step.
    pub(in crate::pipeline) fn set_place(&mut self, step: &str, in_place_of: Option<Digest>) {
        if let Some(version) = self.steps.get_mut(step) {
            self.is_recorded &= version.in_place_of == in_place_of;
            version.in_place_of = in_place_of;
        }
    }

    /// The components that the checkpoint is known to keep.
    pub(in crate::pipeline) fn kept(&self) -> BTreeSet<Digest> {
        self.kept.clone().unwrap_or_default()
    }

    /// The checkpoint keeps these components, too.
    pub(in crate::pipeline) fn also_kept(&mut self, components: Vec<Digest>) {
        if let Some(kept) = &mut self.kept {
            kept.extend(components);
        }
    }

    /// Whether the newest record says what was decided; otherwise a restart would not
    /// know of it.
    pub(in crate::pipeline) fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    /// Something was decided that no record says.
    pub(in crate::pipeline) fn decided(&mut self) {
        self.is_recorded = false;
    }

    /// They are in a record now.
    pub(in crate::pipeline) fn recorded(&mut self) {
        self.is_recorded = true;
    }

    /// The versions, by step.
    pub(in crate::pipeline) fn steps(&self) -> &BTreeMap<String, StepVersion> {
        &self.steps
    }

    /// Let the checkpoint keep the components of the plugins, and no longer those that
    /// were replaced too long ago.
    ///
    /// # Errors
    /// As [`Checkpoint::components`].
    pub(in crate::pipeline) async fn keep(
        &mut self,
        checkpoint: &Checkpoint,
        plugins: &[Plugged],
        now_us: i64,
    ) -> Result<()> {
        let mut kept = match self.kept.take() {
            Some(kept) => kept,
            None => checkpoint.components().await?,
        };
        let missing = plugins.iter().filter(|plugin| !kept.contains(&plugin.identity.sha256));
        let missing: BTreeMap<Digest, _> = missing.map(|plugin| (plugin.identity.sha256, &plugin.component)).collect();
        kept.extend(missing.keys());
        try_join_all(missing.into_iter().map(|(digest, bytes)| checkpoint.keep_component(digest, bytes.clone())))
            .await?;
        let is_needed = |digest: &Digest| {
            let mut replaced = self.steps.values().flat_map(|version| &version.replaced);
            plugins.iter().any(|plugin| plugin.identity.sha256 == *digest)
                || replaced.any(|replaced| replaced.sha256 == *digest)
        };
        // The record before this one may still name what expires now.
        let gone: Vec<Digest> = self.expired.drain(..).filter(|digest| !is_needed(digest)).collect();
        try_join_all(gone.iter().map(|digest| checkpoint.drop_component(*digest))).await?;
        kept.retain(|digest| !gone.contains(digest));
        let oldest_us = now_us.saturating_sub(i64::try_from(self.keep_for.as_micros()).unwrap_or(i64::MAX));
        for version in self.steps.values_mut() {
            let expired = version.replaced.extract_if(.., |replaced| replaced.until_us < oldest_us);
            self.expired.extend(expired.map(|replaced| replaced.sha256));
        }
        self.kept = Some(kept);
        Ok(())
    }
}

/// The pipeline as it is to run: where another version stands in for what the file
/// names, and the file still names that, the one that the record says; and what the
/// file names there.
///
/// # Errors
/// Corrupt if such a component is missing or damaged; Unavailable if the store fails.
pub(in crate::pipeline) async fn in_force(
    named: &Pipeline,
    checkpoint: Option<&Checkpoint>,
    record: Option<&EpochRecord>,
) -> Result<(Pipeline, BTreeMap<String, Digest>)> {
    let (mut pipeline, mut places) = (named.clone(), BTreeMap::new());
    let (Some(checkpoint), Some(record)) = (checkpoint, record) else { return Ok((pipeline, places)) };
    for (step, version) in &record.versions {
        let (Some(in_place_of), Some(plugin)) = (version.in_place_of, pipeline.plugin_mut(step)) else { continue };
        let Some(identity) = record.plugins.iter().find(|plugin| plugin.step == *step) else { continue };
        if digest_of(plugin).await != Some(in_place_of) {
            continue;
        }
        tracing::warn!(
            "{step} runs {} {} ({}), which has taken the place of what the pipeline file names ({})",
            identity.name,
            identity.version,
            identity.sha256.short(),
            in_place_of.short()
        );
        let bytes = checkpoint.component(identity.sha256).await?;
        plugin.reference = PluginReference::Bytes(identity.sha256.short(), bytes);
        // A pin is about what the file names.
        plugin.sha256 = None;
        places.insert(step.clone(), in_place_of);
    }
    Ok((pipeline, places))
}

/// The digest of the component that a file names; none if it cannot be read, which is
/// told when it is to be used.
pub(in crate::pipeline) async fn digest_of(plugin: &PluginConfig) -> Option<Digest> {
    let source = component_source(plugin);
    env::blocking(move || Ok(Digest::of(&source.read()?))).await.ok()
}
