//! Who is notified of alerts, word for word.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::event_hubs::{Credential, Transport};

/// Somebody who is notified of the alerts of a rule: exactly one of `webhook`,
/// `event_hub`, `file` and `stdout`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Notify {
    /// The URL (`http` or `https`) that alerts are posted to, as JSON.
    #[schemars(extend("examples" = ["https://example.com/hooks/alerts"]))]
    pub(in crate::config) webhook: Option<String>,
    /// The key that requests to the webhook are signed with (HMAC-SHA256).
    #[schemars(extend("examples" = ["${HOOK_SECRET}"]))]
    pub(in crate::config) secret: Option<String>,
    /// The name of the event hub that alerts are sent to, a message of JSON each.
    #[schemars(extend("examples" = ["alerts"]))]
    pub(in crate::config) event_hub: Option<String>,
    /// The connection string of the namespace or the event hub: from the
    /// environment or a file, as `${NAME}` or `${file:PATH}`.
    #[schemars(extend("examples" = ["${EVENT_HUBS_CONNECTION_STRING}"]))]
    pub(in crate::config) connection_string: Option<String>,
    /// The namespace, for an identity of Microsoft Entra ID instead of a
    /// connection string.
    #[schemars(extend("examples" = ["factory.servicebus.windows.net"]))]
    pub(in crate::config) namespace: Option<String>,
    /// Which identity of Microsoft Entra ID, with `namespace`.
    #[schemars(extend("default" = "developer-tools"))]
    pub(in crate::config) credential: Option<Credential>,
    /// The client id of a user-assigned managed identity.
    pub(in crate::config) client_id: Option<String>,
    /// Over what AMQP goes.
    #[schemars(extend("default" = "amqp"))]
    pub(in crate::config) transport: Option<Transport>,
    /// Where to connect to instead: a local server or a proxy.
    #[schemars(extend("examples" = ["amqp://localhost:5672"]))]
    pub(in crate::config) endpoint: Option<String>,
    /// The columns of the row that choose the partition of the event hub: those of
    /// the rule's `key` by default.
    #[schemars(extend("examples" = [["deviceId"]]))]
    pub(in crate::config) partition_key: Option<Vec<Option<String>>>,
    /// How many alerts one request holds at most.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 100))]
    pub(in crate::config) batch: Option<u64>,
    /// How long the webhook or the event hub may take to answer.
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
