//! Who is notified of alerts: validated configuration → destinations, and the
//! outbox of a run.
//!
//! Nothing here fails or holds up a run once it has begun.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::run::{Shutdown, stopped};
use crate::checkpoint::{Checkpoint, EpochRecord};
use crate::config::{NotifyConfig, Pipeline};
use crate::env::Env;
use crate::model::{Digest, Epoch, Segment};
use crate::sink::notify::{Batch, Bounds, Destination, EventHubSettings, NotifySettings, Outbox, WebhookSettings};
use crate::{Error, ErrorKind, Result};

/// The step under which the checkpoint keeps alerts that wait.
pub(super) const NOTIFY: &str = "notify";
/// How long the end of a run waits for alerts to be sent,
const FINISH: Duration = Duration::from_secs(10);
/// and how long when it was asked to stop, or failed.
const STOP: Duration = Duration::from_secs(1);
/// How many digits of a digest tell the places of a rule apart.
const NAME_DIGITS: usize = 8;

/// What became of the alerts of a run, over all who are notified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notified {
    /// Alerts that were sent.
    pub delivered: u64,
    /// Alerts that were refused, and skipped.
    pub refused: u64,
    /// Alerts that were dropped, because too many waited.
    pub dropped: u64,
    /// Attempts at a request that failed.
    pub failed_attempts: u64,
    /// Alerts that wait for the next run.
    pub waiting: u64,
}

impl Notified {
    /// Add what became of the alerts of a run that went on from this one.
    pub(super) fn merge(&mut self, later: Self) {
        self.delivered += later.delivered;
        self.refused += later.refused;
        self.dropped += later.dropped;
        self.failed_attempts += later.failed_attempts;
        self.waiting = later.waiting;
    }
}

/// What became of the alerts for one place, since the epoch before.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationProgress {
    /// Who is notified: the rule, the kind of place, and which of them.
    pub destination: String,
    /// The alerts that were sent.
    pub num_delivered: u64,
    /// The alerts that were refused, and skipped.
    pub num_refused: u64,
    /// The alerts that were dropped, because too many waited.
    pub num_dropped: u64,
    /// The attempts at a request that failed.
    pub num_failed_attempts: u64,
    /// The alerts that wait now.
    pub num_waiting: u64,
}

/// The notifications of a run.
pub(super) struct Notifications {
    outbox: Outbox,
    notified: Notified,
}

impl Notifications {
    /// Open the outbox, and go on with what waited when the last run ended;
    /// `record` is the newest, and committed.
    ///
    /// # Errors
    /// Config if a webhook cannot be called from here at all; Corrupt if what waits
    /// is damaged; Unavailable if the store fails.
    pub(super) async fn open(
        pipeline: &Pipeline,
        checkpoint: &Checkpoint,
        record: Option<&EpochRecord>,
        env: &Env,
    ) -> Result<Self> {
        let destinations = destinations(pipeline, env)?;
        let storage = env.storage(&pipeline.checkpoint)?;
        let outbox = Outbox::open(destinations, Bounds::default(), checkpoint.lane(), storage, env).await?;
        let waiting = record.into_iter().flat_map(|record| &record.notifications);
        let waiting: Vec<(Epoch, Segment)> = waiting.map(|segment| (segment.through, segment.clone())).collect();
        outbox.restore(&waiting).await?;
        Ok(Self { outbox, notified: Notified::default() })
    }

    /// What the record of the next epoch names besides its own alerts; all that is
    /// committed must be published.
    pub(super) fn waiting(&self) -> Vec<Segment> {
        self.outbox.pending().into_iter().map(|(_, segment)| segment).collect()
    }

    /// Send the alerts of an epoch that is committed.
    pub(super) fn publish(&self, epoch: Epoch, segment: &Segment, batch: &Batch) {
        self.outbox.publish(epoch, segment, batch);
    }

    /// What became of alerts since this was last asked.
    pub(super) fn progress(&mut self) -> Vec<NotificationProgress> {
        self.notified.waiting = 0;
        let progress = self.outbox.stats().into_iter().map(|stats| {
            let notified = &mut self.notified;
            notified.delivered += stats.delivered;
            notified.refused += stats.refused;
            notified.dropped += stats.dropped;
            notified.failed_attempts += stats.failed_attempts;
            notified.waiting += stats.waiting;
            NotificationProgress {
                destination: stats.destination,
                num_delivered: stats.delivered,
                num_refused: stats.refused,
                num_dropped: stats.dropped,
                num_failed_attempts: stats.failed_attempts,
                num_waiting: stats.waiting,
            }
        });
        progress.collect()
    }

    /// Send what waits, as long as there is patience, and say what became of all
    /// alerts.
    pub(super) async fn finish(&mut self, patience: Patience, shutdown: &mut Shutdown) -> Notified {
        let is_asked_to_stop = async {
            match patience {
                Patience::Long => stopped(shutdown).await,
                Patience::Short | Patience::None => {}
            }
        };
        let is_done = tokio::select! {
            biased;
            () = is_asked_to_stop => false,
            () = self.outbox.finish(FINISH) => true,
        };
        if !is_done && patience != Patience::None {
            self.outbox.finish(STOP).await;
        }
        self.progress();
        self.notified
    }
}

/// How long the end of a run waits for alerts to be sent. What is not sent then
/// waits for the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// A while, unless it is asked to stop.
    Long,
    /// A moment: somebody waits for the end, or has to mend something.
    Short,
    /// Not at all: the store that holds them fails, or another host sends them.
    None,
}

impl Patience {
    /// The patience of a run that ended like this.
    pub(super) fn after<T>(result: &Result<T>, is_interrupted: bool) -> Self {
        match result.as_ref().map_err(Error::kind) {
            Ok(_) if !is_interrupted => Self::Long,
            Err(ErrorKind::Unavailable | ErrorKind::Fenced) => Self::None,
            Ok(_) | Err(_) => Self::Short,
        }
    }
}

fn destinations(pipeline: &Pipeline, env: &Env) -> Result<Vec<Destination>> {
    let mut destinations = Vec::new();
    for rule in &pipeline.rules {
        for config in &rule.notify {
            let notifier = settings(config).notifier(&pipeline.name, Arc::clone(&env.clock))?;
            destinations.push(Destination { name: name(&rule.name, config), rule: rule.name.clone(), notifier });
        }
    }
    Ok(destinations)
}

fn settings(config: &NotifyConfig) -> NotifySettings {
    match config {
        NotifyConfig::Webhook(webhook) => NotifySettings::Webhook(WebhookSettings {
            url: webhook.url.clone(),
            secret: webhook.secret.clone(),
            batch: webhook.batch,
            timeout: webhook.timeout,
        }),
        NotifyConfig::EventHub(config) => NotifySettings::EventHub(Box::new(EventHubSettings {
            hub: config.hub.clone(),
            partition_key: config.partition_key.clone(),
            batch: config.batch,
            timeout: config.timeout,
        })),
        NotifyConfig::File(path) => NotifySettings::File { path: path.clone() },
        NotifyConfig::Stdout => NotifySettings::Stdout,
    }
}

/// What a destination is called. Its cursor has this name, so that it depends on
/// the place and not on where in the file it stands: in another order it would
/// have the cursor of another place, and skip alerts.
fn name(rule: &str, config: &NotifyConfig) -> String {
    let digits = |place: &[u8]| Digest::of(place).to_string()[..NAME_DIGITS].to_owned();
    match config {
        NotifyConfig::Webhook(webhook) => format!("rule.{rule}.webhook-{}", digits(webhook.url.as_str().as_bytes())),
        NotifyConfig::EventHub(config) => format!("rule.{rule}.event-hub-{}", digits(config.place().as_bytes())),
        NotifyConfig::File(path) => format!("rule.{rule}.file-{}", digits(path.as_os_str().as_encoded_bytes())),
        NotifyConfig::Stdout => format!("rule.{rule}.stdout"),
    }
}
