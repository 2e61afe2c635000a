//! Sending to an event hub, in batches.

use std::time::Duration;

use azure_core_amqp::message::{AmqpMessageBody, AmqpMessageProperties};
use azure_messaging_eventhubs::models::AmqpMessage;
use azure_messaging_eventhubs::{EventDataBatch, EventDataBatchOptions, ProducerClient};
use bytes::Bytes;
use futures::FutureExt as _;

use super::client::{GOODBYE, within};
use super::solitary::{Client, Solitary};
use super::{Trouble, TroubleKind};

/// A message that is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The body.
    pub body: Bytes,
    /// The key that chooses the partition; the service deals messages without one
    /// in turn.
    pub partition_key: Option<String>,
    /// What receivers recognise it by; a random one if it has none.
    pub id: Option<String>,
    /// The media type of the body.
    pub content_type: Option<&'static str>,
    /// What is said about it (its application properties).
    pub properties: Vec<(&'static str, String)>,
}

impl Outgoing {
    fn message(&self) -> AmqpMessage {
        let mut builder = AmqpMessage::builder().with_body(AmqpMessageBody::Binary(vec![self.body.to_vec()]));
        if self.id.is_some() || self.content_type.is_some() {
            builder = builder.with_properties(AmqpMessageProperties {
                message_id: self.id.clone().map(Into::into),
                content_type: self.content_type.map(Into::into),
                ..AmqpMessageProperties::default()
            });
        }
        for (name, value) in &self.properties {
            builder = builder.add_application_property((*name).to_owned(), value.as_str());
        }
        builder.build()
    }
}

/// How far sending came.
#[derive(Debug)]
pub struct Sent {
    /// How many of the messages, from the first on, the service has for certain.
    pub messages: usize,
    /// Why not more; the message behind these may have arrived.
    pub trouble: Option<Trouble>,
}

/// A connection for sending, on a thread of its own.
pub struct Producer(Solitary<Sending>);

impl Producer {
    /// A connection that `open` opens, every exchange over which may take as long as
    /// `timeout`.
    ///
    /// # Errors
    /// What goes wrong with that.
    pub(super) async fn start<F: Future<Output = Result<ProducerClient, Trouble>> + Send>(
        timeout: Duration,
        open: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Self, Trouble> {
        let open = move || async move { Ok(Sending { client: open().await?, timeout }) };
        Solitary::start("weir-send", open).await.map(Self)
    }

    /// Send messages in their order, neighbours with the same key in one batch.
    /// Nothing is tried twice.
    pub async fn send(&self, messages: &[Outgoing]) -> Sent {
        let messages = messages.to_vec();
        let sent = self.0.ask(move |sending| async move { Ok(sending.send(&messages).await) }.boxed()).await;
        sent.unwrap_or_else(|trouble| Sent { messages: 0, trouble: Some(trouble) })
    }

    /// Say goodbye. A connection that does not answer is left alone.
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// What the thread works with.
struct Sending {
    client: ProducerClient,
    timeout: Duration,
}

impl Client for Sending {
    async fn close(self) {
        let _said = within(self.timeout.min(GOODBYE), "closing", self.client.close()).await;
    }
}

impl Sending {
    async fn send(&self, messages: &[Outgoing]) -> Sent {
        let mut sent = 0;
        while sent < messages.len() {
            match self.send_batch(&messages[sent..]).await {
                Ok(count) => sent += count,
                Err(trouble) => return Sent { messages: sent, trouble: Some(trouble) },
            }
        }
        Sent { messages: sent, trouble: None }
    }

    /// Send as many of the first messages as go together; at least one.
    async fn send_batch(&self, messages: &[Outgoing]) -> Result<usize, Trouble> {
        let Some(first) = messages.first() else { return Ok(0) };
        let options = EventDataBatchOptions { partition_key: first.partition_key.clone(), ..Default::default() };
        let batch = within(self.timeout, "preparing to send", self.client.create_batch(Some(options))).await?;
        let mut count = 0;
        for message in messages.iter().take_while(|message| message.partition_key == first.partition_key) {
            if !add(&batch, message)? {
                break;
            }
            count += 1;
        }
        if count == 0 {
            let bytes = first.body.len();
            let text = format!("the message of {bytes} bytes is larger than the service takes");
            return Err(Trouble::new(TroubleKind::Refused, text));
        }
        within(self.timeout, "sending", self.client.send_batch(batch, None)).await?;
        Ok(count)
    }
}

fn add(batch: &EventDataBatch<'_>, message: &Outgoing) -> Result<bool, Trouble> {
    batch.try_add_amqp_message(message.message(), None).map_err(|error| Trouble::of(&error))
}
