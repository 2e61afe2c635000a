//! Event hubs, word for word: as a source, and how to reach one.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Size;

/// An Azure event hub, or anything that speaks its protocol.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct EventHubs {
    /// The name of the event hub. May be left out if the connection string names
    /// one (`EntityPath`).
    #[schemars(extend("examples" = ["telemetry"]))]
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
    /// Where to connect to instead: a local server or a proxy. `amqp://` is without
    /// TLS.
    #[schemars(extend("examples" = ["amqp://localhost:5672"]))]
    pub(in crate::config) endpoint: Option<String>,
    /// The consumer group; each pipeline should have its own.
    #[schemars(extend("default" = "$Default", "examples" = ["weir"]))]
    pub(in crate::config) consumer_group: Option<String>,
    /// Where partitions begin at the first start: `earliest`, `latest`, or a table
    /// with one of `sequence_number`, `offset`, `enqueued_time`, and `inclusive`.
    /// Afterwards the checkpoint decides.
    #[schemars(required, extend("type" = ["string", "object"], "examples" = [
        "earliest", "latest", { "enqueued_time": "2025-10-05T18:40:10Z" }, { "sequence_number": 100, "inclusive": false },
    ]))]
    pub(in crate::config) start: Option<Value>,
    /// Where these partitions begin instead.
    #[schemars(extend("additionalProperties" = { "type": ["string", "object"] }, "examples" = [{ "0": "latest" }]))]
    pub(in crate::config) partition_start: Option<BTreeMap<String, Option<Value>>>,
    /// The level with which this pipeline holds its partitions against other
    /// receivers of the consumer group; `none` shares them.
    #[schemars(extend("type" = ["integer", "string"], "default" = 0))]
    pub(in crate::config) owner_level: Option<Value>,
    /// How many messages of a partition may be under way; fewer where messages are
    /// large.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 5000))]
    pub(in crate::config) prefetch: Option<u32>,
    /// How many bytes of messages may wait to be read, over all partitions.
    #[schemars(extend("default" = "64MiB"))]
    pub(in crate::config) buffer: Option<Size>,
    /// What happens when messages have expired before they were read.
    #[schemars(extend("default" = "fail"))]
    pub(in crate::config) on_data_loss: Option<OnDataLoss>,
    /// How long an answer may take, and for how long a partition with unread
    /// messages may be silent.
    #[schemars(extend("default" = "30s"))]
    pub(in crate::config) timeout: Option<String>,
    /// For how long the service may be out of reach before the run gives up.
    #[schemars(extend("default" = "10m"))]
    pub(in crate::config) max_outage: Option<String>,
}

impl fmt::Debug for EventHubs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A connection string is a secret.
        f.debug_struct("EventHubs").field("event_hub", &self.event_hub).finish_non_exhaustive()
    }
}

/// Which identity of Microsoft Entra ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Credential {
    /// Who is signed in to the Azure CLI or the Azure Developer CLI.
    DeveloperTools,
    /// The managed identity of the machine.
    ManagedIdentity,
    /// The workload identity of the pod.
    WorkloadIdentity,
    /// A service principal, from `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
    /// `AZURE_CLIENT_SECRET`.
    Environment,
}

/// Over what AMQP goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Transport {
    /// TCP, port 5671.
    Amqp,
    /// WebSockets, port 443.
    Websocket,
}

/// What happens when messages have expired before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum OnDataLoss {
    /// The pipeline stops and names the partition and the range.
    Fail,
    /// It goes on from the earliest message, and counts what was lost.
    Continue,
}

/// Where a partition begins, as a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct StartAt {
    /// At this sequence number,
    pub(in crate::config) sequence_number: Option<u64>,
    /// at this offset,
    pub(in crate::config) offset: Option<OffsetText>,
    /// or at this time.
    pub(in crate::config) enqueued_time: Option<String>,
    /// Whether the message at that very position is the first one: yes by default.
    pub(in crate::config) inclusive: Option<bool>,
}

/// An offset: a text, which usually is a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum OffsetText {
    /// As the service writes it.
    Text(String),
    /// As people write it.
    Number(i64),
}
