//! Who a plugin is, for records, tables and reports.

use serde::{Deserialize, Serialize};

use super::{Digest, Epoch};

/// The plugin that stood in one step of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginIdentity {
    /// The step of the pipeline, for example `parser` or `transform.clean`.
    pub step: String,
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// The digest of the component.
    pub sha256: Digest,
}

/// Which version of a plugin a step has, and which it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepVersion {
    /// The first epoch of the version that the step has.
    pub since: Epoch,
    /// The component that the pipeline file names, if another one stands in its
    /// place; it does as long as the file names that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<Digest>,
    /// The versions that were replaced, each once, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<ReplacedVersion>,
}

/// A version that another one has replaced, and that the checkpoint keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacedVersion {
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// The digest of the component.
    pub sha256: Digest,
    /// The first epoch that it had no part in.
    pub until: Epoch,
    /// When it was replaced: microseconds since 1970-01-01T00:00:00Z.
    pub until_us: i64,
    /// Whether it was rolled back because it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}
