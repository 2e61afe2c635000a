//! Alerts to a webhook: a POST of JSON, signed.
//!
//! A request has the body `{"pipeline": NAME, "alerts": […]}` and the headers
//!
//! - `weir-delivery`: the id of its first alert, the same at each attempt;
//! - `weir-timestamp`: seconds since 1970-01-01T00:00:00Z at this attempt;
//! - `weir-signature`, where there is a secret: `v1=` and in hexadecimal digits
//!   the HMAC-SHA256 (RFC 2104) under the secret of the timestamp, a full stop,
//!   and the body.
//!
//! Redirects are not followed: they would carry alerts to where nobody sent
//! them. Of an answer only the status and `retry-after` count. A proxy is taken
//! from the environment (`HTTPS_PROXY` and so on), as for object stores.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Serialize;
use sha2::Sha256;
use url::Url;

use super::settings::origin;
use super::{Alert, NotSent, Notifier, RequestLimits, WebhookSettings};
use crate::Error;
use crate::env::Clock;

/// The size of a body.
const MAX_BODY_BYTES: usize = 1 << 20;
/// What is read of an answer, so that its connection can be used again.
const MAX_ANSWER_BYTES: usize = 4 << 10;
const MICROS_PER_SECOND: i64 = 1_000_000;

#[derive(Serialize)]
struct Body<'a> {
    pipeline: &'a str,
    alerts: &'a [Alert],
}

impl Body<'_> {
    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: a text and alerts are JSON")
    }
}

/// A webhook that can be called.
pub(super) struct Webhook {
    client: Client,
    url: Url,
    /// The key, ready to sign with.
    key: Option<Hmac<Sha256>>,
    pipeline: String,
    limits: RequestLimits,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// A webhook for the alerts of this pipeline.
    ///
    /// # Errors
    /// Config if the system has no certificates to check the webhook's with.
    pub(super) fn new(settings: &WebhookSettings, pipeline: &str, clock: Arc<dyn Clock>) -> crate::Result<Self> {
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(settings.timeout)
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|error| {
            Error::config(format!("cannot prepare calls of the webhook {}", origin(&settings.url)))
                .because(error.without_url())
        })?;
        let key = settings
            .secret
            .as_ref()
            .map(|secret| Hmac::new_from_slice(secret.as_bytes()).expect("invariant: HMAC takes a key of any length"));
        let around = Body { pipeline, alerts: &[] }.encode().len();
        let limits = RequestLimits { alerts: settings.batch.max(1), bytes: MAX_BODY_BYTES.saturating_sub(around) };
        Ok(Self { client, url: settings.url.clone(), key, pipeline: pipeline.to_owned(), limits, clock })
    }

    fn signature(&self, timestamp: &str, body: &[u8]) -> Option<String> {
        let mut mac = self.key.clone()?;
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        let mut text = "v1=".to_owned();
        for byte in mac.finalize().into_bytes() {
            write!(text, "{byte:02x}").expect("invariant: a text can grow");
        }
        Some(text)
    }

    fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), NotSent> {
        if status.is_success() {
            return Ok(());
        }
        let answered = format!("the webhook {} answered {}", origin(&self.url), status.as_u16());
        let is_passing =
            matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
        if is_passing || status.is_server_error() {
            let retry_after = retry_after(headers, self.clock.now_us());
            return Err(NotSent::Unavailable { error: Error::unavailable(answered), retry_after });
        }
        Err(NotSent::Refused(Error::config(format!("{answered}: check its address and its credentials"))))
    }
}

#[async_trait]
impl Notifier for Webhook {
    fn limits(&self) -> RequestLimits {
        self.limits
    }

    async fn send(&self, alerts: &[Alert]) -> Result<(), NotSent> {
        let body = Body { pipeline: &self.pipeline, alerts }.encode();
        let timestamp = self.clock.now_us().div_euclid(MICROS_PER_SECOND).to_string();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("weir-timestamp", &timestamp);
        if let Some(first) = alerts.first() {
            request = request.header("weir-delivery", first.id.as_str());
        }
        if let Some(signature) = self.signature(&timestamp, &body) {
            request = request.header("weir-signature", signature);
        }
        match request.body(body).send().await {
            Ok(answer) => {
                let judged = self.judge(answer.status(), answer.headers());
                read_out(answer).await;
                judged
            }
            Err(error) => {
                let is_refused = error.is_builder();
                let context = format!("cannot reach the webhook {}", origin(&self.url));
                let error = Error::unavailable(context).because(error.without_url());
                Err(if is_refused {
                    NotSent::Refused(error)
                } else {
                    NotSent::Unavailable { error, retry_after: None }
                })
            }
        }
    }
}

/// Read an answer to its end, unless it is long; what it says does not matter.
async fn read_out(mut answer: Response) {
    let mut read_bytes = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read_bytes += chunk.len();
        if read_bytes > MAX_ANSWER_BYTES {
            return;
        }
    }
}

/// What `retry-after` asks for (RFC 9110, section 10.2.3): seconds or a date.
fn retry_after(headers: &HeaderMap, now_us: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    let wait_us = date.timestamp_micros().saturating_sub(now_us);
    Some(Duration::from_micros(u64::try_from(wait_us).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |text: &str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            let now_us = 784_111_777 * MICROS_PER_SECOND;
            assert_eq!(retry_after(&headers, now_us), expected.map(Duration::from_secs), "{text}");
        };
        check("120", Some(120));
        check("Sun, 06 Nov 1994 08:49:47 GMT", Some(10));
        check("Sun, 06 Nov 1994 08:49:27 GMT", Some(0));
        check("-3", None);
        check("soon", None);
    }
}
