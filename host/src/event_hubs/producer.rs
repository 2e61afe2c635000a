//! Sending to an event hub, in batches.

use std::time::Duration;

use azure_core_amqp::message::{AmqpMessageBody, AmqpMessageProperties};
use azure_messaging_eventhubs::models::AmqpMessage;
use azure_messaging_eventhubs::{EventDataBatch, EventDataBatchOptions, ProducerClient};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::client::{GOODBYE, within};
use super::{Trouble, TroubleKind};
use crate::env;

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
///
/// The client loses what comes while it is about to wait for it: news of credit
/// (`SenderFlowState::consume` of fe2o3-amqp 0.16.2 listens after it has looked), and
/// the answer to a message that is not noted as sent yet
/// (`send_payload_with_transfer`). Where its tasks share one thread nothing can come
/// in between; elsewhere a send may hang until its deadline.
pub struct Producer {
    orders: mpsc::Sender<Order>,
    timeout: Duration,
}

/// What the thread is asked to do, and where it says what came of it.
enum Order {
    Send(Vec<Outgoing>, oneshot::Sender<Sent>),
    Close(oneshot::Sender<()>),
}

impl Producer {
    /// A connection that `open` opens.
    ///
    /// # Errors
    /// What goes wrong with that.
    pub(super) async fn start<F: Future<Output = Result<ProducerClient, Trouble>>>(
        timeout: Duration,
        open: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Self, Trouble> {
        let (orders, inbox) = mpsc::channel(1);
        let (opened, told) = oneshot::channel();
        let thread = env::solitary("weir-send", move || async move {
            match open().await {
                Ok(client) => {
                    // Without a listener nobody gives orders either.
                    let _unwanted = opened.send(Ok(()));
                    Sending { client, timeout }.run(inbox).await;
                }
                Err(trouble) => drop(opened.send(Err(trouble))),
            }
        });
        thread.map_err(|error| Trouble::gone(error.to_string()))?;
        told.await.map_err(|_| ended())??;
        Ok(Self { orders, timeout })
    }

    /// Send messages in their order, neighbours with the same key in one batch.
    /// Nothing is tried twice.
    pub async fn send(&self, messages: &[Outgoing]) -> Sent {
        let (sent, told) = oneshot::channel();
        let ordered = self.orders.send(Order::Send(messages.to_vec(), sent)).await;
        let lost = || Sent { messages: 0, trouble: Some(ended()) };
        if ordered.is_err() {
            return lost();
        }
        told.await.unwrap_or_else(|_| lost())
    }

    /// Say goodbye. A connection that does not answer is left alone.
    pub async fn close(self) {
        let (closed, told) = oneshot::channel();
        if self.orders.send(Order::Close(closed)).await.is_ok() {
            let _said = tokio::time::timeout(self.timeout.min(GOODBYE), told).await;
        }
    }
}

fn ended() -> Trouble {
    Trouble::gone("the thread that sends ended")
}

/// What the thread works with.
struct Sending {
    client: ProducerClient,
    timeout: Duration,
}

impl Sending {
    async fn run(self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                // Whoever does not wait any more does not want to know.
                Order::Send(messages, sent) => drop(sent.send(self.send(&messages).await)),
                Order::Close(closed) => {
                    let _said = within(self.timeout.min(GOODBYE), "closing", self.client.close()).await;
                    let _unwanted = closed.send(());
                    return;
                }
            }
        }
    }

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
