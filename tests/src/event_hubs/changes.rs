//! That something happened, for tests that wait for a state.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Tells tasks and threads of changes.
pub(super) struct Changes {
    count: Mutex<u64>,
    changed: Condvar,
    watch: watch::Sender<()>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { count: Mutex::new(0), changed: Condvar::new(), watch: watch::Sender::new(()) }
    }
}

impl Changes {
    /// Something happened.
    pub(super) fn happened(&self) {
        *self.count.lock().expect("invariant: nothing panics with this lock") += 1;
        self.changed.notify_all();
        self.watch.send_replace(());
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.watch.subscribe()
    }

    pub(super) fn waiter(&self, limit: Duration) -> Waiter<'_> {
        let seen = *self.count.lock().expect("invariant: nothing panics with this lock");
        Waiter { changes: self, seen, deadline: Instant::now() + limit }
    }
}

/// A thread that waits, and what it has seen.
pub(super) struct Waiter<'a> {
    changes: &'a Changes,
    seen: u64,
    deadline: Instant,
}

impl Waiter<'_> {
    /// Wait for a change that was not seen; false if there is none before the deadline.
    pub(super) fn wait(&mut self) -> bool {
        let count = self.changes.count.lock().expect("invariant: nothing panics with this lock");
        let left = self.deadline.saturating_duration_since(Instant::now());
        let waited = self.changes.changed.wait_timeout_while(count, left, |count| *count == self.seen);
        let (count, result) = waited.expect("invariant: nothing panics with this lock");
        self.seen = *count;
        !result.timed_out()
    }
}
