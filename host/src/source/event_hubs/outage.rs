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
/// How often in a row a credential or a request may be refused that was never
/// accepted,
const FIRST_REFUSALS: u32 = 3;
/// and for how long one that was: roles, keys and brokers change.
const REFUSED: Duration = Duration::from_secs(120);
/// Before a connection is opened again that worked until now.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// The trouble that one connection has, from the last contact on.
pub(super) struct Outage {
    settings: Arc<EventHubsSettings>,
    clock: Arc<dyn Clock>,
    incidents: Arc<Incidents>,
    /// The partition that is received; none for questions about all.
    partition: Option<PartitionId>,
    had_contact: bool,
    /// Since when there is trouble, and how often it was waited since.
    since: Option<Instant>,
    attempts: u32,
    /// The same for refusals.
    refused_since: Option<Instant>,
    refusals: u32,
}

impl Outage {
    /// No trouble so far.
    pub(super) fn new(
        settings: Arc<EventHubsSettings>,
        clock: Arc<dyn Clock>,
        incidents: Arc<Incidents>,
        partition: Option<PartitionId>,
    ) -> Self {
        Self {
            settings,
            clock,
            incidents,
            partition,
            had_contact: false,
            since: None,
            attempts: 0,
            refused_since: None,
            refusals: 0,
        }
    }

    /// The service did what it was asked for.
    pub(super) fn contact(&mut self) {
        if self.attempts > 0 {
            tracing::info!("the {} answers again", self.object());
        }
        self.had_contact = true;
        self.since = None;
        self.attempts = 0;
        self.refused_since = None;
        self.refusals = 0;
    }

    /// Whether the last thing that was asked for was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.refusals > 0
    }

    /// Wait as this trouble asks for.
    ///
    /// # Errors
    /// When to wait is of no use: somebody else has the partition; nothing answers
    /// for too long; what is asked for is refused again and again.
    pub(super) async fn wait(&mut self, trouble: &Trouble) -> Result<(), Error> {
        let now = self.clock.monotonic();
        let silent = now.saturating_duration_since(*self.since.get_or_insert(now));
        let (kind, asked) = match trouble.kind {
            TroubleKind::Gone => (IncidentKind::Disconnected, None),
            TroubleKind::Busy { retry_after } => (IncidentKind::Throttled, retry_after),
            TroubleKind::Stolen => return Err(trouble.about(self.object())),
            TroubleKind::Denied | TroubleKind::Missing | TroubleKind::Refused => {
                self.refusals += 1;
                let refused = now.saturating_duration_since(*self.refused_since.get_or_insert(now));
                let is_over = if self.had_contact {
                    refused >= REFUSED.min(self.settings.max_outage)
                } else {
                    self.refusals >= FIRST_REFUSALS
                };
                if is_over {
                    return Err(trouble.about(self.object()));
                }
                (IncidentKind::Refused, None)
            }
        };
        self.incidents.note(kind, self.partition.as_ref(), 1, trouble.text.as_str());
        let patience = self.patience();
        if silent >= patience {
            let silent = humantime::format_duration(Duration::from_secs(silent.as_secs()));
            return Err(trouble.about(self.object()).during(format_args!("gave up after {silent}")));
        }
        let pause = self.pause(asked);
        if self.attempts == 0 {
            tracing::warn!("the {} is tried again: {trouble}", self.object());
        } else {
            tracing::debug!("the {} is tried again in {pause:?}: {trouble}", self.object());
        }
        self.attempts += 1;
        self.clock.back_off(pause.min(patience.saturating_sub(silent) + SHORT_WAIT)).await;
        Ok(())
    }

    /// How long trouble may last. That a partition is there, the event hub has said.
    fn patience(&self) -> Duration {
        let most = self.settings.max_outage;
        if self.had_contact || self.partition.is_some() { most } else { most.min(FIRST_CONTACT) }
    }

    fn pause(&self, asked: Option<Duration>) -> Duration {
        if self.attempts == 0 && asked.is_none() && self.had_contact {
            return SHORT_WAIT;
        }
        let name = self.partition.as_ref().map_or("*", |partition| partition.0.as_str());
        back_off(&self.settings.hub.event_hub, name, self.attempts.max(1), asked)
    }

    fn object(&self) -> String {
        let hub = &self.settings.hub;
        match &self.partition {
            Some(partition) => format!("partition {partition} of the {hub}"),
            None => hub.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::future::BoxFuture;

    use super::*;
    use crate::ErrorKind;
    use crate::source::event_hubs::tests::settings;

    /// A clock that jumps over every wait, and remembers how long it was.
    struct Jumping(Instant, Mutex<Duration>);

    impl Clock for Jumping {
        fn now_us(&self) -> i64 {
            0
        }

        fn monotonic(&self) -> Instant {
            self.0 + *self.1.lock().unwrap()
        }

        fn back_off(&self, time: Duration) -> BoxFuture<'static, ()> {
            *self.1.lock().unwrap() += time;
            Box::pin(std::future::ready(()))
        }
    }

    impl Jumping {
        fn pass(&self, time: Duration) {
            *self.1.lock().unwrap() += time;
        }
    }

    fn outage(partition: Option<&str>) -> (Outage, Arc<Jumping>) {
        let clock = Arc::new(Jumping(crate::env::SystemClock.monotonic(), Mutex::default()));
        let partition = partition.map(|name| PartitionId(name.to_owned()));
        (Outage::new(Arc::new(settings()), Arc::clone(&clock) as _, Arc::default(), partition), clock)
    }

    /// How long this trouble is waited for, and the kind of error at its end.
    async fn lasts(outage: &mut Outage, clock: &Jumping, trouble: &Trouble) -> (Duration, ErrorKind) {
        let start = clock.monotonic();
        loop {
            if let Err(error) = outage.wait(trouble).await {
                return (clock.monotonic() - start, error.kind());
            }
        }
    }

    fn trouble(kind: TroubleKind) -> Trouble {
        Trouble { kind, text: "oh".to_owned() }
    }

    #[tokio::test]
    async fn regression_long_time_without_trouble_does_not_shorten_an_outage() {
        let (mut outage, clock) = outage(Some("0"));
        outage.contact();
        clock.pass(Duration::from_secs(86_400));
        let (lasted, kind) = lasts(&mut outage, &clock, &trouble(TroubleKind::Gone)).await;
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(lasted >= settings().max_outage && lasted < settings().max_outage * 2, "{lasted:?}");
    }

    #[tokio::test]
    async fn service_that_was_never_there_is_tried_for_a_minute() {
        let (mut outage, clock) = outage(None);
        let (lasted, kind) = lasts(&mut outage, &clock, &trouble(TroubleKind::Gone)).await;
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(lasted >= FIRST_CONTACT && lasted < FIRST_CONTACT * 2, "{lasted:?}");
    }

    #[tokio::test]
    async fn refusal_ends_a_run_soon_at_its_start_and_later_only_after_a_while() {
        let (mut at_start, clock) = outage(Some("0"));
        let (lasted, kind) = lasts(&mut at_start, &clock, &trouble(TroubleKind::Denied)).await;
        assert_eq!(kind, ErrorKind::Config);
        assert!(lasted < Duration::from_secs(5), "{lasted:?}");
        let (mut later, clock) = outage(Some("0"));
        later.contact();
        let (lasted, kind) = lasts(&mut later, &clock, &trouble(TroubleKind::Denied)).await;
        assert_eq!(kind, ErrorKind::Config);
        assert!(lasted >= REFUSED, "{lasted:?}");
    }

    #[tokio::test]
    async fn busy_service_is_left_alone_as_long_as_it_asks_and_a_rival_is_not_fought() {
        let (mut outage, clock) = outage(Some("0"));
        outage.contact();
        let start = clock.monotonic();
        let asked = Duration::from_secs(4);
        outage.wait(&trouble(TroubleKind::Busy { retry_after: Some(asked) })).await.unwrap();
        assert!(clock.monotonic() - start >= asked);
        let error = outage.wait(&trouble(TroubleKind::Stolen)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
    }
}
