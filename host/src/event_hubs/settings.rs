//! Where an event hub is, and as whom it is asked.

use std::fmt;

use url::Url;

use super::ConnectionString;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keep a text from being printed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever needs it to connect.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// An event hub and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// The fully qualified namespace, for example `factory.servicebus.windows.net`.
    pub namespace: String,
    /// The name of the event hub.
    pub event_hub: String,
    /// As whom.
    pub credential: Credential,
    /// Over what.
    pub transport: Transport,
    /// Where to connect to instead of the namespace's own address: a local server
    /// or a proxy. The scheme `amqp` is AMQP without TLS.
    pub endpoint: Option<Url>,
}

/// Why a connection string does not say which event hub it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringProblem {
    /// It is no connection string, for this reason.
    Malformed(String),
    /// It is for another event hub than the one that is named.
    OtherHub,
    /// Neither it nor anybody else names the event hub.
    NoHub,
}

impl fmt::Display for StringProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "that is not a connection string: {why}"),
            Self::OtherHub => f.write_str("the connection string is for another event hub (`EntityPath`)"),
            Self::NoHub => f.write_str("it is not said which event hub"),
        }
    }
}

impl HubSettings {
    /// The event hub of a connection string. `event_hub` names it, unless the
    /// string does; `endpoint` goes before what the string says.
    ///
    /// # Errors
    /// What is wrong, without repeating any of the string.
    pub fn of_connection_string(
        text: &str,
        event_hub: Option<String>,
        transport: Transport,
        endpoint: Option<Url>,
    ) -> Result<Self, StringProblem> {
        let parsed = ConnectionString::parse(text).map_err(StringProblem::Malformed)?;
        let event_hub = match (event_hub, parsed.event_hub) {
            (Some(named), Some(other)) if named != other => return Err(StringProblem::OtherHub),
            (named, other) => named.or(other).ok_or(StringProblem::NoHub)?,
        };
        Ok(Self {
            namespace: parsed.namespace,
            event_hub,
            credential: Credential::ConnectionString(parsed.text),
            transport,
            endpoint: endpoint.or(parsed.endpoint),
        })
    }
}

impl fmt::Display for HubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event hub {} of {}", self.event_hub, self.namespace)
    }
}

/// As whom an event hub is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A shared access key or signature, in a connection string.
    ConnectionString(Secret),
    /// An identity of Microsoft Entra ID.
    Entra(Identity),
}

/// Who an identity of Microsoft Entra ID is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Who is signed in to the Azure CLI or the Azure Developer CLI.
    DeveloperTools,
    /// The identity of the machine; the one with this client id, if it has several.
    ManagedIdentity {
        /// The client id of a user-assigned identity.
        client_id: Option<String>,
    },
    /// The federated identity of a pod (`AZURE_FEDERATED_TOKEN_FILE` and so on).
    WorkloadIdentity,
    /// A service principal: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET`.
    Environment,
}

/// Over what AMQP goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, port 5671.
    Amqp,
    /// WebSockets, port 443, for networks that block the ports of AMQP.
    WebSocket,
}
