//! Notifications: the alerts of rules, sent to people as well as to a table.
//!
//! The alerts of an epoch are a [`Batch`]. The pipeline writes it beside the
//! checkpoint before it prepares the epoch, and names it in the epoch's record;
//! when the epoch is committed it hands the batch to the [`Outbox`], which has a
//! queue and a task for each [`Destination`]. So who is notified of an alert
//! finds it in the table, too.
//!
//! Never: a destination that fails, hangs or refuses neither fails a pipeline
//! nor holds it up; and neither URLs nor secrets get into logs and errors.
//!
//! Invariants:
//! - An alert is sent at least once or counted as refused or dropped. What is
//!   sent again has the same [`AlertId`].
//! - A destination gets its alerts in the order of their epochs, and of their
//!   indices within an epoch.
//! - What waits for a destination is bounded ([`Bounds`]); beyond that the
//!   oldest batches are dropped for this destination, and counted.
//! - The cursor of a destination, `<lane>/notify/<destination>.json`, stands
//!   behind what is settled; after a crash at most one request is sent again.

mod alert;
mod batch;
mod delivery;
mod event_hub;
mod local;
mod outbox;
mod queue;
mod settings;
#[cfg(test)]
mod tests;
mod webhook;

use std::time::Duration;

use async_trait::async_trait;

pub use alert::{Alert, AlertId};
pub use batch::{Batch, Bounds, Load, decode};
pub use outbox::{Destination, DestinationStats, Outbox};
pub use settings::{EventHubSettings, NotifySettings, WebhookSettings};

use crate::Error;

/// A way to send alerts.
///
/// The outbox calls it for one request at a time, in order, and repeats a
/// request that was not sent; a notifier itself tries once and keeps nothing.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// What one request may hold.
    fn limits(&self) -> RequestLimits;

    /// Send these alerts, of which there is at least one, as one request.
    ///
    /// # Errors
    /// Whether to try again; some of the alerts may have arrived.
    async fn send(&self, alerts: &[Alert]) -> Result<(), NotSent>;
}

/// What one request may hold; an alert larger than that goes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// How many alerts, at least one.
    pub alerts: usize,
    /// The bytes of the alerts, each as a line of JSON.
    pub bytes: usize,
}

/// Why a request was not sent, which is to say what to do about it.
#[derive(Debug)]
pub enum NotSent {
    /// The other side did not answer or has trouble: try until it works.
    Unavailable {
        /// What happened.
        error: Error,
        /// How long the other side asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The other side does not want this request: try a few times, then skip it.
    Refused(Error),
}

impl NotSent {
    /// What happened.
    pub fn error(&self) -> &Error {
        match self {
            Self::Unavailable { error, .. } | Self::Refused(error) => error,
        }
    }
}
