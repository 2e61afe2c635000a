//! Plugins: which component, which digest, which limits.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::raw;
use super::super::shape::nearest;
use super::super::texts;
use super::super::validated::{PluginConfig, PluginReference, SwapSettings};
use super::{Check, KIB, MAX_OFFSET, MIB, bytes};
use crate::env::Location;
use crate::model::Digest;
use crate::plugin::{Grants, Limits};

/// The most that 32-bit linear memory can hold.
const MAX_MEMORY_BYTES: u64 = 4 << 30;
/// Epochs in which a new version may go back, if nobody says otherwise.
const PROBATION: u32 = 10;

impl Check<'_> {
    /// The parser; there is none where files have columns.
    pub(super) fn parser(
        &mut self,
        raw: Option<raw::Plugin>,
        has_columns: bool,
        chunk_bytes: Option<u64>,
    ) -> Option<PluginConfig> {
        match (raw, has_columns) {
            (Some(_), true) => {
                let remedy = "leave `[parser]` out".to_owned();
                self.wrong("parser", "files of Parquet have columns, so there is nothing to parse", Some(remedy));
                None
            }
            (Some(raw), false) => self.plugin("parser", "parser".to_owned(), raw, chunk_bytes),
            (None, true) => None,
            (None, false) => {
                // A section that nobody knows may have been meant.
                let is_unclear = self.problems.iter().any(|problem| !problem.path.contains('.'));
                if !self.file.has("parser") && !is_unclear {
                    let remedy = "add `[parser]` with a `plugin`, such as \"builtin:json\"".to_owned();
                    self.wrong("parser", "there is no parser", Some(remedy));
                }
                None
            }
        }
    }

    /// The transforms, or as many of them as are right.
    pub(super) fn transforms(
        &mut self,
        raw: Vec<Option<raw::Transform>>,
        chunk_bytes: Option<u64>,
    ) -> Vec<PluginConfig> {
        let mut names = BTreeSet::new();
        let mut transforms = Vec::new();
        for (index, transform) in raw.into_iter().enumerate() {
            let Some(transform) = transform else { continue };
            let path = format!("transform.{index}");
            let raw::Transform { name, plugin, sha256, config, limits, grants, watch, shadow, probation } = transform;
            let name = name.filter(|name| self.transform_name(&format!("{path}.name"), name, &mut names));
            let step = format!("transform.{}", name.as_deref().unwrap_or_default());
            let plugin = raw::Plugin { plugin, sha256, config, limits, grants, watch, shadow, probation };
            let plugin = self.plugin(&path, step, plugin, chunk_bytes);
            if name.is_some() {
                transforms.extend(plugin);
            }
        }
        transforms
    }

    fn transform_name(&mut self, path: &str, name: &str, names: &mut BTreeSet<String>) -> bool {
        if !texts::is_name(name) {
            let message = format!("{} cannot name a transform", self.file.shown(path, name));
            let remedy = "use letters, digits, `_` and `-`, with a letter or `_` first".to_owned();
            self.wrong(path, message, Some(remedy));
            return false;
        }
        if !names.insert(name.to_owned()) {
            let message = format!("another transform has the name {}", self.file.shown(path, name));
            self.wrong(path, message, Some("give each transform its own name".to_owned()));
            return false;
        }
        true
    }

    pub(super) fn plugin(
        &mut self,
        path: &str,
        step: String,
        raw: raw::Plugin,
        chunk_bytes: Option<u64>,
    ) -> Option<PluginConfig> {
        let reference = raw.plugin.and_then(|text| self.reference(&format!("{path}.plugin"), &text));
        let parse = |text: &str| {
            let digest = text.trim().parse::<Digest>().map(Some);
            digest.map_err(|_| "write 64 hexadecimal digits, as `sha256sum` prints them".to_owned())
        };
        let sha256 = self.text(&format!("{path}.sha256"), raw.sha256, "a SHA-256 digest", None, parse);
        let limits = self.limits(&format!("{path}.limits"), raw.limits.unwrap_or_default(), chunk_bytes);
        let swap = self.swap(path, raw.watch, raw.shadow, raw.probation);
        let grants = Grants { wasi: raw.grants.unwrap_or_default().contains(&Some(raw::Grant::Wasi)) };
        Some(PluginConfig {
            step,
            path: path.to_owned(),
            reference: reference?,
            sha256: sha256?,
            config: Value::Object(raw.config.unwrap_or_default()),
            limits: Limits { grants, ..limits? },
            swap: swap?,
        })
    }

    fn swap(
        &mut self,
        path: &str,
        watch: Option<bool>,
        shadow: Option<String>,
        probation: Option<String>,
    ) -> Option<SwapSettings> {
        let mut epochs = |key: &str, text, default| {
            self.text(&format!("{path}.{key}"), text, "a number of epochs", default, texts::epochs)
        };
        let (shadow, probation) = (epochs("shadow", shadow, 0), epochs("probation", probation, PROBATION));
        Some(SwapSettings { watch: watch.unwrap_or(false), shadow: shadow?, probation: probation? })
    }

    fn reference(&mut self, path: &str, text: &str) -> Option<PluginReference> {
        let shown = self.file.shown(path, text);
        if let Some(name) = text.strip_prefix("builtin:") {
            if self.builtins.is_empty() || self.builtins.contains(&name) {
                return Some(PluginReference::Builtin(name.to_owned()));
            }
            let known = self.builtins.iter().map(|name| format!("\"builtin:{name}\"")).collect::<Vec<_>>().join(", ");
            let remedy = match nearest(name, self.builtins.iter().copied()) {
                Some(nearest) if !self.file.is_interpolated(path) => {
                    format!("did you mean \"builtin:{nearest}\"? weir comes with {known}")
                }
                _ => format!("weir comes with {known}; for a plugin of your own, write the path of its component"),
            };
            self.wrong(path, format!("{shown} is no plugin that weir comes with"), Some(remedy));
            return None;
        }
        let remedy = "write \"builtin:NAME\" or the path of a component, relative to this file".to_owned();
        // A scheme that nobody knows is more likely than a file name with a colon.
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        match Location::parse(text, self.base) {
            Ok(Location::Local(component)) if self.surroundings.is_file(&component) => {
                Some(PluginReference::File(component))
            }
            Ok(Location::Local(_)) if scheme.is_none() => {
                self.wrong(path, format!("there is no component {shown}"), Some(remedy));
                None
            }
            _ => {
                self.wrong(path, format!("{shown} names no plugin"), Some(remedy));
                None
            }
        }
    }

    fn limits(&mut self, path: &str, raw: raw::Limits, chunk_bytes: Option<u64>) -> Option<Limits> {
        let at = |key: &str| format!("{path}.{key}");
        let memory = self.size(&at("memory"), raw.memory, 64 * MIB, 64 * KIB..=MAX_MEMORY_BYTES);
        let result = self.size(&at("result"), raw.result, 64 * MIB, KIB..=MAX_OFFSET);
        let half = Duration::from_millis(500);
        let deadline = self.text(&at("deadline"), raw.deadline, "a duration", half, texts::duration);
        if let (Some(memory), Some(chunk)) = (memory, chunk_bytes)
            && chunk >= memory
        {
            let message = format!("the memory ({memory} bytes) cannot hold a chunk ({chunk} bytes)");
            let remedy = "raise `memory` or lower `pipeline.chunk`".to_owned();
            self.wrong(&at("memory"), message, Some(remedy));
        }
        Some(Limits {
            memory_bytes: bytes(memory?),
            deadline: deadline?,
            result_bytes: bytes(result?),
            rows: bytes(raw.rows.unwrap_or(4 << 20)),
            grants: Grants::default(),
        })
    }
}
