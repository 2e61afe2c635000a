//! What to do when an event hub gives trouble: wait and try again, or give up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::settings::EventHubsSettings;
use crate::Error;
use crate::env::{Clock, back_off};
use crate::event_hubs::{Trouble, TroubleKind};
use crate::model::PartitionId;
use crate::source::{IncidentKind, Incidents};

/// For how long the service is tried that was never reached: names and addresses
/// may be wrong.
const FIRST_CONTACT: Duration = Duration::from_secs(60);
/// How often a credential or a request may be refused in a row: roles and keys
/// take a while to spread.
const MAX_REFUSALS: u32 = 3;
/// Before a connection is opened again that worked until now.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// The trouble that one connection has, from the last contact on.
pub(super) struct Outage {
    settings: Arc<EventHubsSettings>,
    clock: Arc<dyn Clock>,
    incidents: Arc<Incidents>,
    /// The partition that is received; none for questions about all.
    partition: Option<PartitionId>,
    last_contact: Instant,
    had_contact: bool,
    attempts: u32,
    refusals: u32,
}

impl Outage {
    /// No trouble so far. `had_contact`: whether the service is known to be there.
    pub(super) fn new(
        settings: Arc<EventHubsSettings>,
        clock: Arc<dyn Clock>,
        incidents: Arc<Incidents>,
        partition: Option<PartitionId>,
        had_contact: bool,
    ) -> Self {
        let last_contact = clock.monotonic();
        Self { settings, clock, incidents, partition, last_contact, had_contact, attempts: 0, refusals: 0 }
    }

    /// The service has answered.
    pub(super) fn contact(&mut self) {
        if self.attempts > 0 {
            tracing::info!("the {} answers again", self.object());
        }
        self.last_contact = self.clock.monotonic();
        self.had_contact = true;
        self.attempts = 0;
        self.refusals = 0;
    }

    /// Wait as this trouble asks for.
    ///
    /// # Errors
    /// When to wait is of no use: somebody else has the partition; nothing answers
    /// for too long; what is asked for is refused again and again.
    pub(super) async fn wait(&mut self, trouble: &Trouble) -> Result<(), Error> {
        let (kind, asked) = match trouble.kind {
            TroubleKind::Gone => (IncidentKind::Disconnected, None),
            TroubleKind::Busy { retry_after } => (IncidentKind::Throttled, retry_after),
            TroubleKind::Stolen => return Err(trouble.about(self.object())),
            TroubleKind::Denied | TroubleKind::Missing | TroubleKind::Refused => {
                self.refusals += 1;
                if self.refusals >= MAX_REFUSALS {
                    return Err(trouble.about(self.object()));
                }
                (IncidentKind::Refused, None)
            }
        };
        self.incidents.note(kind, self.partition.as_ref(), 1, trouble.text.as_str());
        let patience = self.settings.max_outage;
        let patience = if self.had_contact { patience } else { patience.min(FIRST_CONTACT) };
        let silent = self.clock.monotonic().saturating_duration_since(self.last_contact);
        if silent >= patience {
            let silent = humantime::format_duration(Duration::from_secs(silent.as_secs()));
            return Err(trouble.about(self.object()).during(format_args!("gave up after {silent}")));
        }
        let pause = if self.attempts == 0 && asked.is_none() && self.had_contact {
            SHORT_WAIT
        } else {
            let name = self.partition.as_ref().map_or("*", |partition| partition.0.as_str());
            back_off(&self.settings.hub.event_hub, name, self.attempts.max(1), asked)
        };
        if self.attempts == 0 {
            tracing::warn!("the {} is tried again: {trouble}", self.object());
        } else {
            tracing::debug!("the {} is tried again in {pause:?}: {trouble}", self.object());
        }
        self.attempts += 1;
        self.clock.back_off(pause.min(patience.saturating_sub(silent) + SHORT_WAIT)).await;
        Ok(())
    }

    fn object(&self) -> String {
        let hub = &self.settings.hub;
        match &self.partition {
            Some(partition) => format!("partition {partition} of the {hub}"),
            None => hub.to_string(),
        }
    }
}
