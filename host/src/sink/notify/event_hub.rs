//! Alerts to an event hub, a message of JSON each.
//!
//! The id of a message is the id of its alert, the same however often it is sent,
//! so that receivers can tell what came twice. Alerts with the same key are in one
//! partition, in their order.

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::{Alert, EventHubSettings, NotSent, Notifier, RequestLimits};
use crate::event_hubs::{Outgoing, Producer, Trouble, TroubleKind};
use crate::model::Digest;

/// The bytes of a request; the service takes batches of 1 MiB, of which each
/// message has a little for itself.
const MAX_REQUEST_BYTES: usize = 768 << 10;

/// The longest partition key that the service takes.
const MAX_KEY_BYTES: usize = 128;

/// Sends to an event hub; connects when there is something to send.
pub(super) struct EventHubNotifier {
    settings: EventHubSettings,
    pipeline: String,
    producer: Mutex<Option<Producer>>,
}

impl EventHubNotifier {
    /// Send the alerts of the pipeline with this name.
    pub(super) fn new(settings: EventHubSettings, pipeline: &str) -> Self {
        Self { settings, pipeline: pipeline.to_owned(), producer: Mutex::new(None) }
    }

    fn outgoing(&self, alert: &Alert) -> Outgoing {
        let mut body = alert.line();
        body.pop();
        Outgoing {
            body: body.into(),
            partition_key: key(&self.settings.partition_key, &alert.row),
            id: Some(alert.id.to_string()),
            content_type: Some("application/json"),
            properties: vec![
                ("pipeline", self.pipeline.clone()),
                ("rule", alert.rule.clone()),
                ("kind", alert.kind.clone()),
                ("severity", alert.severity.clone()),
            ],
        }
    }

    fn not_sent(&self, trouble: &Trouble) -> NotSent {
        let error = trouble.about(&self.settings.hub);
        match trouble.kind {
            TroubleKind::Busy { retry_after } => NotSent::Unavailable { error, retry_after },
            // Keys and roles are mended, and alerts wait until then.
            TroubleKind::Gone | TroubleKind::Stolen | TroubleKind::Denied | TroubleKind::Missing => {
                NotSent::Unavailable { error, retry_after: None }
            }
            TroubleKind::Refused => NotSent::Refused(error),
        }
    }
}

#[async_trait]
impl Notifier for EventHubNotifier {
    fn limits(&self) -> RequestLimits {
        RequestLimits { alerts: self.settings.batch.max(1), bytes: MAX_REQUEST_BYTES }
    }

    async fn send(&self, alerts: &[Alert]) -> Result<(), NotSent> {
        let mut messages: Vec<Outgoing> = alerts.iter().map(|alert| self.outgoing(alert)).collect();
        // One batch has one key. Only the order within a key means anything.
        messages.sort_by(|one, other| one.partition_key.cmp(&other.partition_key));
        let mut held = self.producer.lock().await;
        // Taken out, so that a request which is given up leaves no doubtful connection.
        let producer = match held.take() {
            Some(producer) => producer,
            None => {
                let opened = self.settings.hub.producer(self.settings.timeout).await;
                opened.map_err(|trouble| self.not_sent(&trouble))?
            }
        };
        match producer.send(&messages).await.trouble {
            None => {
                *held = Some(producer);
                Ok(())
            }
            Some(trouble) => {
                producer.close().await;
                Err(self.not_sent(&trouble))
            }
        }
    }
}

/// The values of the key columns: one as text, several as a JSON array; the digest
/// of what is too long for a key.
fn key(columns: &[String], row: &Map<String, Value>) -> Option<String> {
    let key = values(columns, row)?;
    Some(if key.len() > MAX_KEY_BYTES { Digest::of(key.as_bytes()).to_string() } else { key })
}

fn values(columns: &[String], row: &Map<String, Value>) -> Option<String> {
    let value = |column: &String| row.get(column).cloned().unwrap_or(Value::Null);
    match columns {
        [] => None,
        [only] => Some(match value(only) {
            Value::String(text) => text,
            other => other.to_string(),
        }),
        several => Some(Value::Array(several.iter().map(value).collect()).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_the_value_of_a_column_or_an_array_of_several() {
        let row = serde_json::json!({ "device": "a", "site": 7 });
        let row = row.as_object().unwrap();
        let check = |columns: &[&str], expected: Option<&str>| {
            let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
            assert_eq!(key(&columns, row).as_deref(), expected, "{columns:?}");
        };
        check(&[], None);
        check(&["device"], Some("a"));
        check(&["site"], Some("7"));
        check(&["device", "site", "gone"], Some("[\"a\",7,null]"));
    }
}
