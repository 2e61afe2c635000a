//! Who is notified of alerts, word for word.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// Somebody who is notified of the alerts of a rule: exactly one of `webhook`,
/// `file` and `stdout`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Notify {
    /// The URL (`http` or `https`) that alerts are posted to, as JSON.
    #[schemars(extend("examples" = ["https://example.com/hooks/alerts"]))]
    pub(in crate::config) webhook: Option<String>,
    /// The key that requests to the webhook are signed with (HMAC-SHA256).
    #[schemars(extend("examples" = ["${HOOK_SECRET}"]))]
    pub(in crate::config) secret: Option<String>,
    /// How many alerts one request to the webhook holds at most.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 100))]
    pub(in crate::config) batch: Option<u64>,
    /// How long the webhook may take to answer.
    #[schemars(extend("default" = "10s"))]
    pub(in crate::config) timeout: Option<String>,
    /// The local file that alerts are appended to, a line of JSON each.
    #[schemars(extend("examples" = ["data/alerts.jsonl"]))]
    pub(in crate::config) file: Option<String>,
    /// Whether alerts are written to the standard output, a line of JSON each.
    pub(in crate::config) stdout: Option<bool>,
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs and keys are secrets.
        f.debug_struct("Notify").finish_non_exhaustive()
    }
}
