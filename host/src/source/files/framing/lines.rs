//! One message a line.
//!
//! The line feed belongs to the message that it ends, so that lines lie back to
//! back; an empty line is a message too. The last line needs no line feed.

use super::{BYTE_ORDER_MARK, Frame};

/// Whether a byte-order mark at the start is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Skipped,
    Kept,
}

/// Finds lines.
#[derive(Debug)]
pub(in crate::source::files) struct LineFramer {
    mark: Mark,
    /// How many bytes of a byte-order mark were seen.
    marked: usize,
    position: u64,
    start: u64,
}

impl LineFramer {
    /// Lines of JSON; a byte-order mark is skipped.
    pub(super) fn json() -> Self {
        Self { mark: Mark::Skipped, marked: 0, position: 0, start: 0 }
    }

    /// Lines of text; every byte is delivered.
    pub(super) fn text() -> Self {
        Self { mark: Mark::Kept, marked: 0, position: 0, start: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn keep_from(&self) -> u64 {
        self.start
    }

    pub(super) fn push(&mut self, block: &[u8], frames: &mut Vec<Frame>) {
        if self.mark == Mark::Skipped && self.position < BYTE_ORDER_MARK.len() as u64 {
            self.look_for_mark(block);
        }
        for feed in memchr::memchr_iter(b'\n', block) {
            let end = self.position + feed as u64 + 1;
            frames.push(Frame { start: self.start, end });
            self.start = end;
        }
        self.position += block.len() as u64;
    }

    pub(super) fn finish(&mut self, frames: &mut Vec<Frame>) {
        if self.start < self.position {
            frames.push(Frame { start: self.start, end: self.position });
            self.start = self.position;
        }
    }

    fn look_for_mark(&mut self, block: &[u8]) {
        for byte in block {
            if BYTE_ORDER_MARK.get(self.marked) != Some(byte) {
                // Neither this nor any later byte can complete a mark.
                self.mark = Mark::Kept;
                return;
            }
            self.marked += 1;
            if self.marked == BYTE_ORDER_MARK.len() {
                self.start = BYTE_ORDER_MARK.len() as u64;
                self.mark = Mark::Kept;
                return;
            }
        }
    }
}
