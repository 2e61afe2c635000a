//! One alert, and the name by which receivers recognise it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{Digest, Epoch, Lane};

/// How many hexadecimal digits of the digest make an id: 128 bits.
const ID_DIGITS: usize = 32;

/// What one alert is called, whenever and however often it is sent.
///
/// It is the first 32 hexadecimal digits of the SHA-256 digest of the compact
/// JSON array `[pipeline id, lane, rule, epoch, index]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AlertId(String);

impl AlertId {
    /// The id of the alert that is number `index`, from 0, of those that `rule`
    /// raised in `epoch` of this lane of the pipeline with this identifier.
    pub fn of(pipeline: &str, lane: &Lane, rule: &str, epoch: Epoch, index: u64) -> Self {
        let words = serde_json::json!([pipeline, lane.as_str(), rule, epoch.number(), index]).to_string();
        let mut digits = Digest::of(words.as_bytes()).to_string();
        digits.truncate(ID_DIGITS);
        Self(digits)
    }

    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a rule raised about one row. This is also its durable and its sent form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// What it is called.
    pub id: AlertId,
    /// The rule that raised it.
    pub rule: String,
    /// What kind of alert, for example `HIGH_TEMPERATURE`.
    pub kind: String,
    /// How bad, for example `WARNING`.
    pub severity: String,
    /// What happened, for people.
    pub message: String,
    /// The event time of the row (RFC 3339), where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The epoch that raised it.
    pub epoch: Epoch,
    /// The columns of the row.
    pub row: Map<String, Value>,
}

impl Alert {
    /// The alert as a line of JSON, with its end.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("invariant: texts, numbers and JSON values are JSON");
        line.push(b'\n');
        line
    }
}
