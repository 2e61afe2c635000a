//! One connection for receiving, with a deadline on every exchange.

use std::sync::Once;
use std::time::{Duration, UNIX_EPOCH};

use azure_messaging_eventhubs::models::AmqpTransport;
use azure_messaging_eventhubs::{
    ConsumerClient, EventHubsError, EventReceiver, OpenReceiverOptions, ProducerClient, RetryOptions, StartLocation,
    StartPosition,
};
use futures::{Stream, StreamExt as _};

use super::{Credential, HubSettings, Message, Producer, Transport, Trouble, TroubleKind, credential};
use crate::env;
use crate::model::PartitionId;

/// What weir calls one connection, so that whoever is displaced by it can tell who
/// it is: names of containers and links must differ between connections.
fn connection_name() -> String {
    let id = env::unique_name();
    format!("weir-{}-{}", env::host_name(), &id[..id.len().min(NAME_DIGITS)])
}

/// How many digits tell the connections of a host apart.
const NAME_DIGITS: usize = 12;

/// The client builds a TLS connector for plain connections, too, and panics if
/// two cryptography providers are compiled in and none is chosen.
fn choose_cryptography() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        // Chosen already by whoever embeds this library: fine as well.
        let _chosen = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

/// The client repeats nothing: see the module's page.
fn no_retries() -> RetryOptions {
    RetryOptions { max_retries: 0, ..RetryOptions::default() }
}

/// Wait for an exchange at most so long.
pub(super) async fn within<T>(
    timeout: Duration,
    doing: &str,
    exchange: impl Future<Output = Result<T, EventHubsError>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(timeout, exchange).await {
        Ok(done) => done.map_err(|error| Trouble::of(&error)),
        Err(_) => Err(Trouble::gone(format!("no answer within {} while {doing}", humantime::format_duration(timeout)))),
    }
}

impl HubSettings {
    /// Open a connection for receiving within a consumer group. Every exchange
    /// over it may take as long as `timeout`.
    ///
    /// # Errors
    /// What goes wrong; nothing is tried twice.
    pub async fn connect(&self, consumer_group: &str, timeout: Duration) -> Result<Connection, Trouble> {
        choose_cryptography();
        let name = connection_name();
        let mut builder = ConsumerClient::builder()
            .with_application_id(name.clone())
            .with_instance_id(name)
            .with_consumer_group(consumer_group.to_owned())
            .with_retry_options(no_retries())
            .with_transport(self.amqp_transport());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_custom_endpoint(endpoint.to_string());
        }
        let opening = async {
            match &self.credential {
                Credential::ConnectionString(text) => {
                    builder.open_with_connection_string(text.reveal(), Some(&self.event_hub)).await
                }
                Credential::Entra(identity) => {
                    builder.open(&self.namespace, self.event_hub.clone(), credential::of(identity)?).await
                }
            }
        };
        let client = within(timeout, &format!("connecting to the {self}"), opening).await?;
        Ok(Connection { client, timeout })
    }

    /// Open a connection for sending. Every exchange over it may take as long as
    /// `timeout`.
    ///
    /// # Errors
    /// What goes wrong; nothing is tried twice.
    pub async fn producer(&self, timeout: Duration) -> Result<Producer, Trouble> {
        let hub = self.clone();
        Producer::start(timeout, move || async move { hub.open_for_sending(timeout).await }).await
    }

    async fn open_for_sending(&self, timeout: Duration) -> Result<ProducerClient, Trouble> {
        choose_cryptography();
        let mut builder = ProducerClient::builder()
            .with_application_id(connection_name())
            .with_retry_options(no_retries())
            .with_transport(self.amqp_transport());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_custom_endpoint(endpoint.to_string());
        }
        let opening = async {
            match &self.credential {
                Credential::ConnectionString(text) => {
                    builder.open_with_connection_string(text.reveal(), Some(&self.event_hub)).await
                }
                Credential::Entra(identity) => {
                    builder.open(&self.namespace, &self.event_hub, credential::of(identity)?).await
                }
            }
        };
        within(timeout, &format!("connecting to the {self}"), opening).await
    }

    fn amqp_transport(&self) -> AmqpTransport {
        match self.transport {
            Transport::Amqp => AmqpTransport::Tcp,
            Transport::WebSocket => AmqpTransport::WebSocket,
        }
    }
}

/// A connection for receiving.
pub struct Connection {
    client: ConsumerClient,
    timeout: Duration,
}

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// The sequence number of the first message that is still there; that of the
    /// next message, if there is none.
    pub begin: u64,
    /// The sequence number behind the last message.
    pub end: u64,
    /// The offset of the last message; means nothing where there never was one.
    pub last_offset: String,
    /// When the last message came, in microseconds since 1970-01-01T00:00:00Z.
    pub last_enqueued_us: Option<i64>,
}

impl PartitionState {
    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.begin >= self.end
    }
}

/// Where a receiver begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// At the first message that is still there.
    Earliest,
    /// At the message with this sequence number, or behind it.
    SequenceNumber {
        /// The sequence number.
        number: u64,
        /// Whether that message is the first one.
        inclusive: bool,
    },
    /// At the message with this offset, or behind it.
    Offset {
        /// The offset, which means something to the service only.
        offset: String,
        /// Whether that message is the first one.
        inclusive: bool,
    },
    /// At the first message that came at this time or later.
    EnqueuedTime {
        /// Microseconds since 1970-01-01T00:00:00Z, of which the service
        /// understands milliseconds.
        time_us: i64,
        /// Whether a message that came at this very time counts.
        inclusive: bool,
    },
}

/// How a partition is received.
#[derive(Debug, Clone)]
pub struct ReceiverSettings {
    /// The partition.
    pub partition: PartitionId,
    /// Where to begin.
    pub position: Position,
    /// How many messages may be under way.
    pub prefetch: u32,
    /// Who holds the partition: of two receivers with a level the later one has
    /// it, unless its level is lower. None shares it.
    pub owner_level: Option<i64>,
}

impl Connection {
    /// The partitions of the event hub.
    ///
    /// # Errors
    /// What goes wrong.
    pub async fn partitions(&self) -> Result<Vec<PartitionId>, Trouble> {
        let asking = self.client.get_eventhub_properties();
        let properties = within(self.timeout, "asking for the partitions", asking).await?;
        Ok(properties.partition_ids.into_iter().map(PartitionId).collect())
    }

    /// What a partition holds now.
    ///
    /// # Errors
    /// What goes wrong.
    pub async fn state(&self, partition: &PartitionId) -> Result<PartitionState, Trouble> {
        let asking = self.client.get_partition_properties(&partition.0);
        let properties = within(self.timeout, &format!("asking for partition {partition}"), asking).await?;
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        // The last number of a partition that never had a message is -1.
        let end = number(properties.last_enqueued_sequence_number.saturating_add(1));
        let begin = if properties.is_empty { end } else { number(properties.beginning_sequence_number) };
        let last_enqueued_us = properties.last_enqueued_time_utc.map(env::micros_of);
        Ok(PartitionState { begin, end, last_offset: properties.last_enqueued_offset, last_enqueued_us })
    }

    /// A receiver of a partition; attached when its stream is first polled.
    ///
    /// # Errors
    /// What goes wrong.
    pub async fn receiver(&self, settings: &ReceiverSettings) -> Result<Receiver, Trouble> {
        let ReceiverSettings { partition, position, prefetch, owner_level } = settings;
        let options = OpenReceiverOptions {
            owner_level: *owner_level,
            prefetch: Some(*prefetch),
            start_position: Some(start_position(position)?),
            receive_timeout: None,
        };
        let opening = self.client.open_receiver_on_partition(partition.0.clone(), Some(options));
        let receiver = within(self.timeout, &format!("opening partition {partition}"), opening).await?;
        Ok(Receiver(receiver))
    }

    /// Say goodbye, so that the service lets go of the connection at once. A
    /// connection that does not answer is left alone.
    pub async fn close(self) {
        let _said = within(self.timeout.min(GOODBYE), "closing", self.client.close()).await;
    }
}

/// How long a goodbye may take.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);

fn start_position(position: &Position) -> Result<StartPosition, Trouble> {
    let too_large = |_| Trouble::new(TroubleKind::Refused, "the sequence number has more than 63 bits");
    Ok(match position {
        Position::Earliest => StartPosition { location: StartLocation::Earliest, inclusive: false },
        Position::SequenceNumber { number, inclusive } => {
            let number = i64::try_from(*number).map_err(too_large)?;
            StartPosition { location: StartLocation::SequenceNumber(number), inclusive: *inclusive }
        }
        Position::Offset { offset, inclusive } => {
            StartPosition { location: StartLocation::Offset(offset.clone()), inclusive: *inclusive }
        }
        Position::EnqueuedTime { time_us, inclusive } => {
            // The client panics for times before 1970.
            let since = Duration::from_micros(u64::try_from(*time_us).unwrap_or(0));
            StartPosition { location: StartLocation::EnqueuedTime(UNIX_EPOCH + since), inclusive: *inclusive }
        }
    })
}

/// A receiver of one partition.
pub struct Receiver(EventReceiver);

impl Receiver {
    /// The messages of the partition as they come. After an error the stream is
    /// of no use: what comes next may be out of order.
    pub fn messages(&self) -> impl Stream<Item = Result<Message, Trouble>> + Send + Unpin + '_ {
        self.0.stream_events().map(|event| event.map(Message::new).map_err(|error| Trouble::of(&error)))
    }
}
