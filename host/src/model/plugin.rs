//! Who a plugin is, for records, tables and reports.

use serde::{Deserialize, Serialize};

use super::Digest;

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
