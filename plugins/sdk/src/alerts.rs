//! A builder of alerts.

use crate::Alerts;
use crate::build::BytesBuilder;

/// Appends alerts; rows must not decrease.
#[derive(Clone, Debug, Default)]
pub struct AlertsBuilder {
    rows: Vec<u32>,
    kind: BytesBuilder,
    severity: BytesBuilder,
    message: BytesBuilder,
}

impl AlertsBuilder {
    /// Append an alert.
    pub fn push(&mut self, row: u32, kind: &str, severity: &str, message: &str) {
        self.push_with(row, kind, severity, |to| to.push_str(message));
    }

    /// Append an alert whose message `write` appends to a text, which saves the
    /// allocation of one. It must not remove anything.
    pub fn push_with(&mut self, row: u32, kind: &str, severity: &str, write: impl FnOnce(&mut Message<'_>)) {
        self.rows.push(row);
        self.kind.push(kind.as_bytes());
        self.severity.push(severity.as_bytes());
        self.message.push_with(|to| write(&mut Message(to)));
    }

    /// The number of alerts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no alert.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The alerts.
    #[must_use]
    pub fn finish(self) -> Alerts {
        Alerts {
            rows: self.rows,
            kind: self.kind.into_var_bytes(),
            severity: self.severity.into_var_bytes(),
            message: self.message.into_var_bytes(),
        }
    }
}

/// The message of an alert while it is written; takes `write!`.
#[derive(Debug)]
pub struct Message<'a>(&'a mut Vec<u8>);

impl Message<'_> {
    /// Append text.
    pub fn push_str(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }
}

impl std::fmt::Write for Message<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn alerts_have_one_entry_in_every_list() {
        let mut alerts = AlertsBuilder::default();
        alerts.push(3, "HOT", "WARNING", "it is hot");
        alerts.push_with(3, "WET", "CRITICAL", |message| {
            let _ = write!(message, "{}%", 99);
        });
        let alerts = alerts.finish();
        assert_eq!(alerts.rows, [3, 3]);
        assert_eq!(alerts.kind.iter().collect::<Vec<_>>(), [b"HOT", b"WET"]);
        assert_eq!(alerts.severity.get(1), b"CRITICAL");
        assert_eq!(alerts.message.iter().collect::<Vec<_>>(), [b"it is hot".as_slice(), b"99%"]);
    }
}
