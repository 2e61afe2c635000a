//! A chunk of messages, as a parser sees it.

use crate::Messages;

impl Messages {
    /// The number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// The body of every message, in order.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.payload.iter()
    }
}
