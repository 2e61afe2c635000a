//! Files that an epoch planned and could not read as they were listed.
//!
//! They are left for a later look, and the epoch does not count them. A file that
//! is listed and cannot be read time and again is unreadable: otherwise it would
//! make epochs without rows for ever.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::source::{IncidentKind, Incidents};

/// How often a file is left before it counts as unreadable.
const MAX_LEFT: u32 = 5;
/// Of so many files it is remembered how often they were left.
const MAX_REMEMBERED: usize = 10_000;

/// Why a file is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is gone.
    Vanished,
    /// Another version is there now.
    Changed,
}

/// The files that were left, and how often.
#[derive(Debug, Default)]
pub(super) struct Left {
    files: Mutex<Files>,
    pub(super) incidents: Incidents,
}

#[derive(Debug, Default)]
struct Files {
    /// Since they were last asked for.
    now: HashSet<String>,
    times: HashMap<String, u32>,
}

impl Left {
    /// Leave a file.
    ///
    /// Fails with the reason why it is unreadable if it was left too often.
    pub(super) fn note(&self, path: &str, why: Why) -> Result<(), String> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.times.len() >= MAX_REMEMBERED {
            files.times.clear();
        }
        let times = files.times.entry(path.to_owned()).or_default();
        *times += 1;
        let (kind, what) = match why {
            Why::Vanished => (IncidentKind::FileVanished, "is gone since it was listed"),
            Why::Changed => (IncidentKind::FileChanged, "has changed since it was listed"),
        };
        if *times > MAX_LEFT {
            files.times.remove(path);
            return Err(format!("the file {what}, {MAX_LEFT} times in a row"));
        }
        files.now.insert(path.to_owned());
        tracing::warn!(file = path, "the file {what}: it is left for a later look");
        self.incidents.note(kind, None, 1, path);
        Ok(())
    }

    /// A file was read.
    pub(super) fn was_read(&self, path: &str) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if !files.times.is_empty() {
            files.times.remove(path);
        }
    }

    /// The files that were left since the last time.
    pub(super) fn take(&self) -> HashSet<String> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut files.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_left_a_few_times_and_then_unreadable() {
        let left = Left::default();
        for _ in 0..MAX_LEFT {
            left.note("a", Why::Vanished).unwrap();
            assert_eq!(left.take().len(), 1);
        }
        assert!(left.note("a", Why::Vanished).unwrap_err().contains("5 times"));
        assert!(left.take().is_empty());
        left.note("b", Why::Changed).unwrap();
        let incidents = left.incidents.take();
        let counted: Vec<_> = incidents.iter().map(|incident| (incident.kind, incident.count)).collect();
        assert_eq!(counted, [(IncidentKind::FileVanished, 5), (IncidentKind::FileChanged, 1)]);
    }
}
