//! Errors as AMQP tells them.

use super::frame::{ERROR, REJECTED};
use super::value::Value;

/// An error condition with its description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The name, for example `amqp:link:stolen`.
    pub name: String,
    /// What a person reads.
    pub description: String,
}

impl Condition {
    /// Any condition.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { name: name.into(), description: description.into() }
    }

    /// `com.microsoft:server-busy`, which asks to wait four seconds.
    pub fn server_busy() -> Self {
        let text = "The request was terminated because the entity is being throttled. Error code : 50009. \
                    Please wait 4 seconds and try again.";
        Self::new("com.microsoft:server-busy", text)
    }

    /// `amqp:internal-error`.
    pub fn internal_error() -> Self {
        Self::new("amqp:internal-error", "The service was unable to process the request; please retry the operation.")
    }

    /// `com.microsoft:timeout`.
    pub fn timeout() -> Self {
        Self::new("com.microsoft:timeout", "The operation did not complete within the allotted time.")
    }

    /// `amqp:link:detach-forced`.
    pub fn detach_forced() -> Self {
        let text = "The link is force detached. Code: consumer(link1). Details: AmqpMessageConsumer.IdleTimerExpired: \
                    Idle timeout: 00:30:00.";
        Self::new("amqp:link:detach-forced", text)
    }

    /// `amqp:connection:forced`.
    pub fn connection_forced() -> Self {
        let text = "The connection was closed by container because it did not have any active links in the past \
                    300000 milliseconds.";
        Self::new("amqp:connection:forced", text)
    }

    /// `amqp:unauthorized-access`.
    pub fn unauthorized() -> Self {
        Self::new("amqp:unauthorized-access", "Unauthorized access. 'Listen' or 'Send' claim(s) are required.")
    }

    /// `amqp:unauthorized-access` for a token that is over.
    pub fn expired_token() -> Self {
        Self::new("amqp:unauthorized-access", "ExpiredToken: The token is expired. Please renew the token.")
    }

    /// `com.microsoft:auth-failed`.
    pub fn auth_failed() -> Self {
        Self::new("com.microsoft:auth-failed", "InvalidSignature: The token has an invalid signature.")
    }

    /// `amqp:link:stolen`.
    pub fn stolen(description: impl Into<String>) -> Self {
        Self::new("amqp:link:stolen", description)
    }

    /// `amqp:not-found` for a name.
    pub fn not_found(entity: &str) -> Self {
        Self::new("amqp:not-found", format!("The messaging entity '{entity}' could not be found."))
    }

    /// `amqp:link:message-size-exceeded`.
    pub(super) fn too_large(limit_bytes: u64) -> Self {
        let text =
            format!("The received message exceeds the limit ({limit_bytes} bytes) currently allowed on the link.");
        Self::new("amqp:link:message-size-exceeded", text)
    }

    /// The condition as AMQP's type error.
    pub(super) fn to_value(&self) -> Value {
        let name = Value::symbol(self.name.as_str());
        Value::described(ERROR, vec![name, Value::string(self.description.as_str()), Value::Null])
    }

    /// The outcome that rejects a message.
    pub(super) fn to_rejected(&self) -> Value {
        Value::described(REJECTED, vec![self.to_value()])
    }

    /// The number that `$management` says for it.
    pub(super) fn status_code(&self) -> i32 {
        match self.name.as_str() {
            "amqp:unauthorized-access" | "com.microsoft:auth-failed" => 401,
            "amqp:not-found" => 404,
            "com.microsoft:timeout" => 408,
            "com.microsoft:server-busy" => 503,
            _ => 500,
        }
    }
}
