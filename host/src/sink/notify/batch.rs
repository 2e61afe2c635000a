//! The alerts of one epoch as one object: lines of JSON.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Alert;
use crate::{Error, Result};

/// How many alerts of one rule, and bytes of them, may wait.
///
/// The same bounds hold for a rule in the batch of one epoch and for the queue of
/// a destination, so that any batch fits into an empty queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many alerts.
    pub alerts: u64,
    /// Their bytes as lines of JSON.
    pub bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { alerts: 10_000, bytes: 16 << 20 }
    }
}

/// What a batch has of one rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// How many alerts.
    pub alerts: u64,
    /// Their bytes as lines of JSON.
    pub bytes: u64,
    /// How many more there were, beyond the bounds.
    pub dropped: u64,
}

/// The alerts of one epoch that are to be sent, bounded for each rule.
///
/// Beyond the bounds it only counts: the first alerts of an epoch are sent, all
/// of them are in the table.
#[derive(Debug)]
pub struct Batch {
    bounds: Bounds,
    lines: Vec<u8>,
    loads: BTreeMap<String, Load>,
}

impl Batch {
    /// An empty batch.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, lines: Vec::new(), loads: BTreeMap::new() }
    }

    /// Add an alert behind those that are there. Only alerts of rules that
    /// notify somebody belong here.
    pub fn push(&mut self, alert: &Alert) {
        let load = self.loads.entry(alert.rule.clone()).or_default();
        // Once one is left out all later ones are: what is sent has no gap.
        if load.dropped > 0 || load.alerts >= self.bounds.alerts {
            load.dropped += 1;
            return;
        }
        let line = alert.line();
        let bytes = load.bytes + line.len() as u64;
        if bytes > self.bounds.bytes {
            load.dropped += 1;
            return;
        }
        load.alerts += 1;
        load.bytes = bytes;
        self.lines.extend_from_slice(&line);
    }

    /// How many more alerts of a rule it takes at most: what comes behind these
    /// need not be put together.
    pub fn room(&self, rule: &str) -> u64 {
        let load = self.loads.get(rule).copied().unwrap_or_default();
        if load.dropped > 0 { 0 } else { self.bounds.alerts.saturating_sub(load.alerts) }
    }

    /// Count alerts of a rule for which there is no room.
    pub fn leave_out(&mut self, rule: &str, alerts: u64) {
        if alerts > 0 {
            self.loads.entry(rule.to_owned()).or_default().dropped += alerts;
        }
    }

    /// Whether there is nothing to send and nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.loads.is_empty()
    }

    /// How many alerts the object holds.
    pub fn entries(&self) -> u64 {
        self.loads.values().map(|load| load.alerts).sum()
    }

    /// What there is of each rule.
    pub fn loads(&self) -> &BTreeMap<String, Load> {
        &self.loads
    }

    /// The object.
    pub fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.lines)
    }
}

/// The alerts in an object; `name` is the object, for messages.
///
/// # Errors
/// Corrupt if a line is not an alert.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Vec<Alert>> {
    lines(bytes).map(|line| alert(name, line)).collect()
}

/// The lines of one rule in an object, each with its end.
///
/// # Errors
/// Corrupt if a line is not an alert.
pub(super) fn lines_of(rule: &str, name: &str, bytes: &[u8]) -> Result<Vec<Bytes>> {
    let mut found = Vec::new();
    for line in lines(bytes) {
        if alert(name, line)?.rule == rule {
            found.push(Bytes::copy_from_slice(line));
        }
    }
    Ok(found)
}

/// What an object has of each rule.
///
/// # Errors
/// Corrupt if a line is not an alert.
pub(super) fn loads_of(name: &str, bytes: &[u8]) -> Result<BTreeMap<String, Load>> {
    let mut loads: BTreeMap<String, Load> = BTreeMap::new();
    for line in lines(bytes) {
        let load = loads.entry(alert(name, line)?.rule).or_default();
        load.alerts += 1;
        load.bytes += line.len() as u64;
    }
    Ok(loads)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

fn alert(name: &str, line: &[u8]) -> Result<Alert> {
    serde_json::from_slice(line).map_err(|error| {
        Error::corrupt(format!("the notifications `{name}` are damaged: restore the object from a copy")).because(error)
    })
}
