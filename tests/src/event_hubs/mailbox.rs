//! How the rest of the endpoint speaks to the task of a connection.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;

use super::condition::Condition;
use super::faults::Cut;

/// What a connection is told to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// Detach one link.
    Detach(u64, Condition),
    /// Close the connection with an error.
    Close(Condition),
    /// Reset the connection.
    Cut(Cut),
    /// Write nothing for a time, or until [`Command::Thaw`].
    Freeze(Option<Duration>),
    /// Write again.
    Thaw,
    /// Send the last messages of a link again.
    Duplicate(u64, usize),
    /// Forget the token: detach all links of hubs, and attach none until there is a new one.
    ExpireToken,
}

/// The commands of one connection, in order.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    notify: Notify,
}

impl Mailbox {
    pub(super) fn send(&self, command: Command) {
        self.commands.lock().expect("invariant: nothing panics with this lock").push_back(command);
        self.notify.notify_one();
    }

    /// Let the connection look for messages.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    pub(super) fn take(&self) -> Option<Command> {
        self.commands.lock().expect("invariant: nothing panics with this lock").pop_front()
    }

    /// Whether there is a command.
    pub(super) fn is_waiting(&self) -> bool {
        !self.commands.lock().expect("invariant: nothing panics with this lock").is_empty()
    }

    /// Wait until there was a command or a call of [`Mailbox::wake`] since the last return.
    pub(super) async fn changed(&self) {
        self.notify.notified().await;
    }
}
