//! What can go wrong with an event hub, which is to say what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use azure_core_amqp::error::{AmqpErrorCondition, AmqpErrorKind};
use azure_core_amqp::{AmqpDescribedError, AmqpError};
use azure_messaging_eventhubs::EventHubsError;
use azure_messaging_eventhubs::error::ErrorKind as ClientErrorKind;

use crate::{Error, ErrorKind};

/// What the service says when a token has run out; a new connection brings a new one.
const EXPIRED: [&str; 2] = ["expiredtoken", "token is expired"];

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// The connection is gone, or nothing answers: open another one.
    Gone,
    /// The service asks to be left alone for a while.
    Busy {
        /// For how long, if it says so.
        retry_after: Option<Duration>,
    },
    /// Somebody else took the partition.
    Stolen,
    /// The credential is not accepted, or may not do this.
    Denied,
    /// There is no such event hub, consumer group or partition.
    Missing,
    /// The service does not accept what it was asked for, such as a position.
    Refused,
}

/// What went wrong with an event hub. Its text never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What to do about it.
    pub kind: TroubleKind,
    /// What happened, for people.
    pub text: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Trouble {}

impl Trouble {
    pub(super) fn new(kind: TroubleKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// A connection that is as good as gone.
    pub fn gone(text: impl Into<String>) -> Self {
        Self::new(TroubleKind::Gone, text)
    }

    /// The trouble as an error about this object.
    pub fn about(&self, object: impl fmt::Display) -> Error {
        let (kind, remedy) = match self.kind {
            TroubleKind::Gone => (ErrorKind::Unavailable, "cannot be reached"),
            TroubleKind::Busy { .. } => (ErrorKind::Unavailable, "is busy"),
            TroubleKind::Stolen => (ErrorKind::Fenced, "was taken over by another receiver"),
            TroubleKind::Denied => {
                (ErrorKind::Config, "does not accept the credential: check the key or the role of the identity")
            }
            TroubleKind::Missing => (
                ErrorKind::Config,
                "is not there: check the names of the namespace, the event hub and the consumer group",
            ),
            TroubleKind::Refused => (ErrorKind::Config, "does not accept what it is asked for"),
        };
        Error::new(kind, format!("the {object} {remedy}")).because(self.clone())
    }

    /// What the client's error means.
    pub(super) fn of(error: &EventHubsError) -> Self {
        if let Some(described) = condition(error) {
            return Self::of_condition(described);
        }
        if let Some((status, description)) = status(error) {
            return Self::of_status(status, description);
        }
        if is_credential(error) {
            return Self::new(TroubleKind::Denied, text_of(error));
        }
        Self::gone(text_of(error))
    }

    /// What the status means with which the service answers a question.
    fn of_status(status: u16, description: &str) -> Self {
        let kind = match status {
            401 | 403 if is_expired(description) => TroubleKind::Gone,
            401 | 403 => TroubleKind::Denied,
            404 | 410 => TroubleKind::Missing,
            429 | 503 => TroubleKind::Busy { retry_after: asked_wait(description) },
            400..=499 => TroubleKind::Refused,
            _ => TroubleKind::Gone,
        };
        Self::new(kind, format!("the service answered with status {status}: {description}"))
    }

    /// What a condition that the service names means.
    pub(super) fn of_condition(described: &AmqpDescribedError) -> Self {
        let description = described.description.as_deref().unwrap_or_default();
        let name = described.condition.as_ref();
        let kind = match &described.condition {
            AmqpErrorCondition::LinkStolen => TroubleKind::Stolen,
            AmqpErrorCondition::ServerBusyError | AmqpErrorCondition::ResourceLimitExceeded => {
                TroubleKind::Busy { retry_after: asked_wait(description) }
            }
            AmqpErrorCondition::UnauthorizedAccess if is_expired(description) => TroubleKind::Gone,
            AmqpErrorCondition::UnauthorizedAccess | AmqpErrorCondition::PublisherRevokedError => TroubleKind::Denied,
            AmqpErrorCondition::NotFound | AmqpErrorCondition::ResourceDeleted => TroubleKind::Missing,
            AmqpErrorCondition::ArgumentError
            | AmqpErrorCondition::ArgumentOutOfRangeError
            | AmqpErrorCondition::InvalidField
            | AmqpErrorCondition::NotAllowed
            | AmqpErrorCondition::NotImplemented
            | AmqpErrorCondition::EntityDisabledError
            | AmqpErrorCondition::LinkPayloadSizeExceeded => TroubleKind::Refused,
            _ if name.ends_with("auth-failed") => TroubleKind::Denied,
            // Everything else passes, or another connection shows that it does not.
            _ => TroubleKind::Gone,
        };
        let text = if description.is_empty() { name.to_owned() } else { format!("{name}: {description}") };
        Self::new(kind, text)
    }
}

fn is_expired(description: &str) -> bool {
    let description = description.to_ascii_lowercase();
    EXPIRED.iter().any(|words| description.contains(words))
}

/// An error and what caused it, from the outside in.
fn chain(error: &EventHubsError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: Option<&(dyn StdError + 'static)> = match &error.kind {
        ClientErrorKind::AmqpError(amqp) => Some(amqp),
        ClientErrorKind::AzureCore(azure) => Some(azure),
        _ => error.source(),
    };
    std::iter::successors(first, |&error| error.source())
}

/// The condition that the service named, if it did.
fn condition(error: &EventHubsError) -> Option<&AmqpDescribedError> {
    if let ClientErrorKind::ConsumerDisconnected(Some(described)) | ClientErrorKind::SendRejected(Some(described)) =
        &error.kind
    {
        return Some(described);
    }
    chain(error).filter_map(<dyn StdError>::downcast_ref::<AmqpError>).find_map(|amqp| match amqp.kind() {
        AmqpErrorKind::AmqpDescribedError(described) => Some(described),
        _ => None,
    })
}

/// The status with which the service answered a question, if it did.
fn status(error: &EventHubsError) -> Option<(u16, &str)> {
    chain(error).filter_map(<dyn StdError>::downcast_ref::<AmqpError>).find_map(|amqp| match amqp.kind() {
        AmqpErrorKind::ManagementStatusCode(code, text) => {
            Some((u16::from(*code), text.as_deref().unwrap_or_default()))
        }
        _ => None,
    })
}

/// Whether no token could be had.
fn is_credential(error: &EventHubsError) -> bool {
    let mut causes = chain(error).filter_map(<dyn StdError>::downcast_ref::<azure_core::Error>);
    causes.any(|azure| matches!(azure.kind(), azure_core::error::ErrorKind::Credential))
}

/// The innermost cause says most: the layers around it only name themselves.
fn text_of(error: &EventHubsError) -> String {
    let texts = chain(error).map(ToString::to_string).filter(|text| !text.is_empty());
    texts.last().unwrap_or_else(|| error.to_string())
}

/// How long a busy service asks for: `… Please wait 4 seconds and try again. …`
fn asked_wait(description: &str) -> Option<Duration> {
    let (_, rest) = description.split_once("wait ")?;
    let (number, unit) = rest.split_once(' ')?;
    let number: u64 = number.parse().ok()?;
    match unit {
        _ if unit.starts_with("second") => Some(Duration::from_secs(number)),
        _ if unit.starts_with("minute") => Some(Duration::from_secs(number.saturating_mul(60))),
        _ if unit.starts_with("millisecond") => Some(Duration::from_millis(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(condition: &str, description: &str, kind: TroubleKind) {
        let condition = AmqpErrorCondition::from(azure_core_amqp::AmqpSymbol::from(condition));
        let described = AmqpDescribedError::new(condition, Some(description.to_owned()), Default::default());
        let error = AmqpError::from(AmqpErrorKind::AmqpDescribedError(described));
        // The client wraps what fails while a link is attached.
        let wrapped = azure_core::Error::with_error(azure_core::error::ErrorKind::Other, error, "around");
        let trouble = Trouble::of(&EventHubsError::from(wrapped));
        assert_eq!(trouble.kind, kind, "{trouble}");
        assert!(trouble.text.contains(description), "{trouble}");
    }

    #[test]
    fn statuses_say_what_to_do() {
        let check = |status, description: &str, kind| assert_eq!(Trouble::of_status(status, description).kind, kind);
        check(401, "ExpiredToken: The token is expired.", TroubleKind::Gone);
        check(401, "Unauthorized access", TroubleKind::Denied);
        check(404, "The messaging entity could not be found", TroubleKind::Missing);
        let asked = Some(Duration::from_secs(4));
        check(503, "Please wait 4 seconds and try again.", TroubleKind::Busy { retry_after: asked });
        check(500, "", TroubleKind::Gone);
    }

    #[test]
    fn conditions_say_what_to_do() {
        check("amqp:link:stolen", "New receiver 'x' with higher epoch of '1' is created", TroubleKind::Stolen);
        check(
            "com.microsoft:server-busy",
            "The request was terminated. Please wait 4 seconds and try again.",
            TroubleKind::Busy { retry_after: Some(Duration::from_secs(4)) },
        );
        check("com.microsoft:server-busy", "too much", TroubleKind::Busy { retry_after: None });
        check("amqp:unauthorized-access", "ExpiredToken: The token is expired", TroubleKind::Gone);
        check("amqp:unauthorized-access", "'Listen' claim(s) are required", TroubleKind::Denied);
        check("com.microsoft:auth-failed", "InvalidSignature", TroubleKind::Denied);
        check("amqp:not-found", "The messaging entity could not be found", TroubleKind::Missing);
        check("com.microsoft:argument-out-of-range", "The supplied offset is invalid", TroubleKind::Refused);
        check("amqp:internal-error", "oh", TroubleKind::Gone);
        check("amqp:link:detach-forced", "moved", TroubleKind::Gone);
    }
}
