//! What the pipeline says about who is notified.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::Notifier;
use super::event_hub::EventHubNotifier;
use super::local::{FileNotifier, StdoutNotifier};
use super::webhook::Webhook;
use crate::Result;
use crate::env::Clock;
use crate::event_hubs::HubSettings;

/// The alerts of one request, unless the pipeline says otherwise.
const REQUEST_ALERTS: usize = 100;
/// How long a webhook may take to answer, unless the pipeline says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One way to notify people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifySettings {
    /// A POST of JSON.
    Webhook(WebhookSettings),
    /// Messages of JSON to an event hub.
    EventHub(Box<EventHubSettings>),
    /// Lines of JSON at the end of a file.
    File {
        /// The file; it and its folder are made when there is something to write.
        path: PathBuf,
    },
    /// Lines of JSON on the standard output.
    Stdout,
}

impl NotifySettings {
    /// The notifier for the alerts of the pipeline with this name.
    ///
    /// # Errors
    /// Config if the system has no certificates to check a webhook's with.
    pub fn notifier(&self, pipeline: &str, clock: Arc<dyn Clock>) -> Result<Box<dyn Notifier>> {
        Ok(match self {
            Self::Webhook(settings) => Box::new(Webhook::new(settings, pipeline, clock)?),
            Self::EventHub(settings) => Box::new(EventHubNotifier::new((**settings).clone(), pipeline)),
            Self::File { path } => Box::new(FileNotifier::new(path.clone())),
            Self::Stdout => Box::new(StdoutNotifier),
        })
    }
}

/// An event hub that alerts are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHubSettings {
    /// The event hub and the way to it.
    pub hub: HubSettings,
    /// The columns of a row whose values choose the partition.
    pub partition_key: Vec<String>,
    /// How many alerts a request holds at most, at least one.
    pub batch: usize,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A webhook.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where to; `http` or `https`. May hold secrets in any part behind the host.
    pub url: Url,
    /// The key to sign requests with.
    pub secret: Option<String>,
    /// How many alerts a request holds at most, at least one.
    pub batch: usize,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl WebhookSettings {
    /// A webhook without a signature, with everything else as it is by default.
    pub fn new(url: Url) -> Self {
        Self { url, secret: None, batch: REQUEST_ALERTS, timeout: TIMEOUT }
    }
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("url", &origin(&self.url))
            .field("secret", &self.secret.as_ref().map(|_| "redacted"))
            .field("batch", &self.batch)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// What may be said of a URL: the scheme, the host and the port.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
