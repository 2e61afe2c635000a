//! What an endpoint is started with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::partition::AtEnd;

/// The largest message that Event Hubs takes on its standard tier.
const MAX_MESSAGE_BYTES: u64 = 1_048_576;

/// A shared access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its secret.
    pub secret: String,
}

/// Is told each event in one line.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// What an endpoint is started with.
#[derive(Clone)]
pub struct Settings {
    /// The hubs with their numbers of partitions.
    pub hubs: Vec<(String, usize)>,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// With a key, links need a token that is signed with it, or one of Entra ID. Without, nothing is checked.
    pub key: Option<Key>,
    /// The sequence number of the first message of each partition.
    pub first_sequence: i64,
    /// The largest message, with everything around its body.
    pub max_message_bytes: u64,
    /// What the endpoint asks clients for; it does not disconnect those that do not comply.
    pub idle_timeout: Duration,
    /// Whether a receiver may begin, inclusively, just after the last message.
    pub at_end: AtEnd,
    /// Is told what happens.
    pub log: Option<Log>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hubs, port, first_sequence, .. } = self;
        write!(out, "Settings {{ hubs: {hubs:?}, port: {port}, first_sequence: {first_sequence}, .. }}")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hubs: Vec::new(),
            port: 0,
            key: None,
            first_sequence: 0,
            max_message_bytes: MAX_MESSAGE_BYTES,
            idle_timeout: Duration::from_secs(240),
            at_end: AtEnd::Refused,
            log: None,
        }
    }
}

impl Settings {
    /// One hub.
    pub fn hub(name: &str, partitions: usize) -> Self {
        Self::default().and_hub(name, partitions)
    }

    /// One more hub.
    pub fn and_hub(mut self, name: &str, partitions: usize) -> Self {
        assert!(partitions > 0, "a hub has a partition");
        self.hubs.push((name.to_owned(), partitions));
        self
    }

    /// With a key that tokens must be signed with.
    pub fn with_key(self, name: &str, secret: &str) -> Self {
        Self { key: Some(Key { name: name.to_owned(), secret: secret.to_owned() }), ..self }
    }

    /// With this sequence number for the first message of each partition.
    pub fn with_first_sequence(self, first_sequence: i64) -> Self {
        Self { first_sequence, ..self }
    }
}
