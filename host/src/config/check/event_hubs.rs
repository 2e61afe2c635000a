//! Event hubs: how to reach one, and how it is read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::super::file::join;
use super::super::raw::event_hubs as raw;
use super::super::texts;
use super::{Check, MIB, bytes};
use crate::event_hubs::{Credential, HubSettings, Identity, Position, StringProblem, Transport};
use crate::model::PartitionId;
use crate::source::event_hubs::{EventHubsSettings, OnDataLoss, StartAt};

/// The consumer group that every event hub has.
const DEFAULT_GROUP: &str = "$Default";
const PREFETCH: u32 = 5000;
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_OUTAGE: Duration = Duration::from_secs(600);
/// The buffer of messages that wait, in MiB.
const BUFFER_MIB: u64 = 64;
const START_FORMS: &str = "allowed: \"earliest\", \"latest\", { sequence_number = 100 }, { offset = \"4294967296\" }, \
                           { enqueued_time = \"2025-10-05T18:40:10Z\" }; a table may have `inclusive = false`";

/// The keys that say how an event hub is reached; a source and a notification
/// have the same ones.
pub(super) struct Way {
    pub(super) event_hub: Option<String>,
    pub(super) connection_string: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) credential: Option<raw::Credential>,
    pub(super) client_id: Option<String>,
    pub(super) transport: Option<raw::Transport>,
    pub(super) endpoint: Option<String>,
}

/// Whether it can name a consumer group: it becomes part of an address.
fn is_group(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-$".contains(c))
}

impl Check<'_> {
    /// An event hub that is read.
    pub(super) fn event_hubs(&mut self, raw: raw::EventHubs) -> Option<EventHubsSettings> {
        let path = "source.event_hubs";
        let at = |key: &str| join(path, key);
        let hub = self.hub(
            path,
            Way {
                event_hub: raw.event_hub,
                connection_string: raw.connection_string,
                namespace: raw.namespace,
                credential: raw.credential,
                client_id: raw.client_id,
                transport: raw.transport,
                endpoint: raw.endpoint,
            },
        );
        let consumer_group = raw.consumer_group.unwrap_or_else(|| DEFAULT_GROUP.to_owned());
        let consumer_group = Some(consumer_group)
            .filter(|group| is_group(group) || self.refuse(&at("consumer_group"), "that cannot name a consumer group"));
        let start = raw.start.and_then(|start| self.start(&at("start"), start));
        let partition_starts = self.partition_starts(&at("partition_start"), raw.partition_start);
        let owner_level = match raw.owner_level {
            None if self.file.has(&at("owner_level")) => None,
            None => Some(Some(0)),
            Some(Value::String(none)) if none == "none" => Some(None),
            Some(level) => match level.as_i64().filter(|level| *level >= 0) {
                Some(level) => Some(Some(level)),
                None => {
                    let remedy = "write a number from 0 on, or \"none\" to share the partitions".to_owned();
                    self.wrong(&at("owner_level"), "that is no owner level", Some(remedy));
                    None
                }
            },
        };
        let timeout = self.text(&at("timeout"), raw.timeout, "a duration", TIMEOUT, texts::duration);
        let max_outage = self.text(&at("max_outage"), raw.max_outage, "a duration", MAX_OUTAGE, texts::duration);
        let buffer_bytes = self.size(&at("buffer"), raw.buffer, BUFFER_MIB * MIB, MIB..=1 << 40);
        Some(EventHubsSettings {
            hub: hub?,
            consumer_group: consumer_group?,
            start: start?,
            partition_starts: partition_starts?,
            owner_level: owner_level?,
            prefetch: raw.prefetch.unwrap_or(PREFETCH),
            on_data_loss: match raw.on_data_loss.unwrap_or(raw::OnDataLoss::Fail) {
                raw::OnDataLoss::Fail => OnDataLoss::Fail,
                raw::OnDataLoss::Continue => OnDataLoss::Continue,
            },
            timeout: timeout?,
            max_outage: max_outage?,
            buffer_bytes: bytes(buffer_bytes?),
        })
    }

    /// Which event hub it is and how it is reached. No message repeats any of a
    /// connection string.
    pub(super) fn hub(&mut self, path: &str, way: Way) -> Option<HubSettings> {
        let at = |key: &str| join(path, key);
        let endpoint = self.endpoint(&at("endpoint"), way.endpoint);
        let transport = match way.transport.unwrap_or(raw::Transport::Amqp) {
            raw::Transport::Amqp => Transport::Amqp,
            raw::Transport::Websocket => Transport::WebSocket,
        };
        if let Some(Some(url)) = &endpoint
            && !matches!(
                (transport, url.scheme()),
                (Transport::Amqp, "amqp" | "amqps") | (Transport::WebSocket, "amqps" | "wss")
            )
        {
            let message = format!("the scheme `{}` does not fit the transport", url.scheme());
            let remedy = "use `amqp` or `amqps` with `transport = \"amqp\"`, and `wss` with \"websocket\"".to_owned();
            self.wrong(&at("endpoint"), message, Some(remedy));
        }
        for key in ["credential", "client_id"] {
            if self.file.has(&at("connection_string")) && self.file.has(&at(key)) {
                let remedy = "use `namespace` instead of `connection_string`, or leave it out".to_owned();
                self.wrong(&at(key), "a connection string brings its own credential", Some(remedy));
            }
        }
        if way.client_id.is_some() && way.credential != Some(raw::Credential::ManagedIdentity) {
            let remedy = "add `credential = \"managed-identity\"`, or leave it out".to_owned();
            self.wrong(&at("client_id"), "only a managed identity has a client id here", Some(remedy));
        }
        match (way.connection_string, way.namespace) {
            (Some(text), None) => {
                let hub = self.hub_of_string(path, &text, way.event_hub, transport, endpoint.clone().flatten());
                endpoint.and(hub)
            }
            (None, Some(namespace)) => {
                let credential = Credential::Entra(match way.credential.unwrap_or(raw::Credential::DeveloperTools) {
                    raw::Credential::DeveloperTools => Identity::DeveloperTools,
                    raw::Credential::ManagedIdentity => Identity::ManagedIdentity { client_id: way.client_id },
                    raw::Credential::WorkloadIdentity => Identity::WorkloadIdentity,
                    raw::Credential::Environment => Identity::Environment,
                });
                let namespace = self.namespace(&at("namespace"), &namespace);
                let event_hub = self.event_hub(path, way.event_hub);
                Some(HubSettings {
                    namespace: namespace?,
                    event_hub: event_hub?,
                    credential,
                    transport,
                    endpoint: endpoint?,
                })
            }
            (Some(_), Some(_)) => {
                let remedy = "keep one of them: a connection string names the namespace itself".to_owned();
                self.wrong(&at("namespace"), "there is a connection string, too", Some(remedy));
                None
            }
            (None, None) => {
                let is_there = self.file.has(&at("connection_string")) || self.file.has(&at("namespace"));
                if !is_there {
                    let remedy = "add `connection_string = \"${EVENT_HUBS_CONNECTION_STRING}\"`, or `namespace = \
                                  \"NAME.servicebus.windows.net\"` for an identity of Microsoft Entra ID";
                    self.wrong(path, "it is not said how the event hub is reached", Some(remedy.to_owned()));
                }
                None
            }
        }
    }

    fn hub_of_string(
        &mut self,
        path: &str,
        text: &str,
        event_hub: Option<String>,
        transport: Transport,
        endpoint: Option<Url>,
    ) -> Option<HubSettings> {
        let event_hub = match event_hub {
            Some(name) => Some(self.event_hub(path, Some(name))?),
            None if self.file.has(&join(path, "event_hub")) => return None,
            None => None,
        };
        let problem = match HubSettings::of_connection_string(text, event_hub, transport, endpoint) {
            Ok(hub) => return Some(hub),
            Err(problem) => problem,
        };
        let (at, remedy) = match &problem {
            StringProblem::Malformed(_) => (
                join(path, "connection_string"),
                "copy the primary connection string of an access policy of the namespace, such as \
                 \"Endpoint=sb://NAME.servicebus.windows.net/;SharedAccessKeyName=…;SharedAccessKey=…\"",
            ),
            StringProblem::OtherHub => {
                (join(path, "event_hub"), "leave out `event_hub`, or use a connection string of the namespace")
            }
            StringProblem::NoHub => (path.to_owned(), "add `event_hub = \"NAME\"`"),
        };
        self.wrong(&at, problem.to_string(), Some(remedy.to_owned()));
        None
    }

    fn event_hub(&mut self, path: &str, name: Option<String>) -> Option<String> {
        let at = join(path, "event_hub");
        let remedy = || Some("add `event_hub = \"NAME\"`".to_owned());
        match name {
            Some(name) if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)) => {
                Some(name)
            }
            Some(_) => {
                self.wrong(&at, "that cannot name an event hub", Some("use letters, digits, `.`, `_`, `-`".to_owned()));
                None
            }
            None if self.file.has(&at) => None,
            None => {
                self.wrong(path, "it is not said which event hub", remedy());
                None
            }
        }
    }

    fn namespace(&mut self, path: &str, text: &str) -> Option<String> {
        // As it is shown in some places of the portal.
        let host = text.trim().trim_start_matches("sb://").trim_end_matches('/');
        let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
        if is_host {
            return Some(host.to_owned());
        }
        let message = format!("{} is not the host of a namespace", self.unless_secret(path, text));
        self.wrong(path, message, Some("write \"NAME.servicebus.windows.net\"".to_owned()));
        None
    }

    /// A value as it may be shown: a connection string in the wrong place may not.
    fn unless_secret(&self, path: &str, text: &str) -> String {
        if text.contains('=') { "the value".to_owned() } else { self.file.shown(path, text) }
    }

    fn endpoint(&mut self, path: &str, text: Option<String>) -> Option<Option<Url>> {
        let Some(text) = text else { return (!self.file.has(path)).then_some(None) };
        let url = Url::parse(text.trim());
        if let Ok(url) = url
            && matches!(url.scheme(), "amqp" | "amqps" | "wss")
            && url.host_str().is_some_and(|host| !host.is_empty())
        {
            return Some(Some(url));
        }
        let message = format!("{} is not an endpoint", self.unless_secret(path, &text));
        let remedy = "write \"amqp://HOST:PORT\" (without TLS), \"amqps://HOST:PORT\", or \"wss://HOST:PORT\" for \
                      `transport = \"websocket\"`";
        let remedy = remedy.to_owned();
        self.wrong(path, message, Some(remedy));
        None
    }

    fn partition_starts(
        &mut self,
        path: &str,
        raw: Option<BTreeMap<String, Option<Value>>>,
    ) -> Option<BTreeMap<PartitionId, StartAt>> {
        let Some(raw) = raw else { return (!self.file.has(path)).then(BTreeMap::new) };
        let count = raw.len();
        let mut starts = BTreeMap::new();
        for (partition, start) in raw {
            let at = join(path, &partition);
            starts.extend(start.and_then(|start| self.start(&at, start)).map(|start| (PartitionId(partition), start)));
        }
        (starts.len() == count).then_some(starts)
    }

    /// Where a partition begins. `-1` and `@latest` are how connectors for other
    /// engines spell it.
    fn start(&mut self, path: &str, raw: Value) -> Option<StartAt> {
        let forms = Some(START_FORMS.to_owned());
        let table = match raw {
            Value::String(text) => {
                let start = match text.as_str() {
                    "earliest" | "-1" => Some(StartAt::At(Position::Earliest)),
                    "latest" | "@latest" => Some(StartAt::Latest),
                    "@earliest" => {
                        tracing::warn!("`{path} = \"@earliest\"` is taken as \"earliest\"; connectors spell it \"-1\"");
                        Some(StartAt::At(Position::Earliest))
                    }
                    _ => None,
                };
                if start.is_none() {
                    let message = format!("{} is not a position", self.file.shown(path, &text));
                    self.wrong(path, message, forms);
                }
                return start;
            }
            table => table,
        };
        let table = match serde_json::from_value::<raw::StartAt>(table) {
            Ok(table) => table,
            Err(error) => {
                self.wrong(path, format!("that is not a position: {error}"), forms);
                return None;
            }
        };
        let raw::StartAt { sequence_number, offset, enqueued_time, inclusive } = table;
        let inclusive = inclusive.unwrap_or(true);
        match (sequence_number, offset, enqueued_time) {
            (Some(number), None, None) => Some(StartAt::At(Position::SequenceNumber { number, inclusive })),
            (None, Some(offset), None) => {
                let offset = match offset {
                    raw::OffsetText::Text(text) => text,
                    raw::OffsetText::Number(number) => number.to_string(),
                };
                match offset.as_str() {
                    "-1" => Some(StartAt::At(Position::Earliest)),
                    "@latest" => Some(StartAt::Latest),
                    text if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '\'') => {
                        Some(StartAt::At(Position::Offset { offset, inclusive }))
                    }
                    _ => {
                        self.wrong(path, "that is not an offset", forms);
                        None
                    }
                }
            }
            (None, None, Some(text)) => {
                let at = join(path, "enqueued_time");
                let time = self.text(&at, Some(text), "a time", 0, texts::time_us)?;
                Some(StartAt::At(Position::EnqueuedTime { time_us: time, inclusive }))
            }
            _ => {
                self.wrong(path, "a position is exactly one of them", forms);
                None
            }
        }
    }
}
