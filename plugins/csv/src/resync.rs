//! Where to go on behind a record that cannot be read, if that can be told.
//!
//! A later line is only trusted if a record with as many fields as expected
//! begins there; anything else could make rows of what was inside of quotes.

use crate::config::Dialect;
use crate::record::{self, Field};

/// How often a message may be scanned to go on behind its faults. Text that is
/// nothing but faults would take the square of its length otherwise.
const SCANS_MAX: usize = 16;

/// Finds where to go on, within one message.
pub(crate) struct Resync {
    /// Bytes that may still be looked at.
    left: usize,
}

impl Resync {
    /// For a message of this length.
    pub(crate) fn new(length: usize) -> Self {
        Self { left: length.saturating_mul(SCANS_MAX) }
    }

    /// The start of the next line behind the broken record at `start` where a
    /// record of `expected` fields begins, or of any number if none is expected.
    pub(crate) fn next_record(
        &mut self,
        bytes: &[u8],
        start: usize,
        expected: Option<usize>,
        dialect: &Dialect,
    ) -> Option<usize> {
        let mut fields: Vec<Field> = Vec::new();
        let mut at = start;
        loop {
            at += bytes[at..].iter().position(|byte| *byte == b'\n')? + 1;
            at = record::skip_blank_lines(bytes, at);
            if at >= bytes.len() {
                return None;
            }
            let found = record::read(bytes, at, dialect, &mut fields);
            // A fault may have been looked for up to the end.
            let looked_at = found.map_or(bytes.len(), |end| end) - at;
            self.left = self.left.checked_sub(looked_at)?;
            if found.is_ok() && expected.is_none_or(|expected| fields.len() == expected) {
                return Some(at);
            }
        }
    }
}
