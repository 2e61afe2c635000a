//! Blocks of whole records of CSV (RFC 4180).
//!
//! A record ends with a line feed that is not in quotes; a message is as many
//! records as fit into a block, at least one, byte for byte as they are in the
//! file. Which field ends where is the parser's to say, and so the delimiter is
//! not known here: a quote opens a field unless a letter, a digit or a space
//! stands before it, as in `5" pipe`, where it is a character like any other.

use super::Frame;

/// Finds blocks of records.
#[derive(Debug)]
pub(in crate::source::files) struct CsvFramer {
    quote: Option<u8>,
    block_bytes: u64,
    position: u64,
    /// Where the block began that is open.
    start: u64,
    /// Where the last record of the open block ended.
    record_end: u64,
    /// Where the first record of the file ended.
    header_end: Option<u64>,
    in_quotes: bool,
    /// The byte before; a line feed at the start of the file.
    before: u8,
}

impl CsvFramer {
    /// Blocks of up to `block_bytes` of records with this quote, if any.
    pub(super) fn new(quote: Option<u8>, block_bytes: u64) -> Self {
        Self {
            quote,
            block_bytes,
            position: 0,
            start: 0,
            record_end: 0,
            header_end: None,
            in_quotes: false,
            before: b'\n',
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn keep_from(&self) -> u64 {
        self.start
    }

    /// Where the first record of the file ended, with its line end.
    pub(super) fn header_end(&self) -> Option<u64> {
        self.header_end
    }

    pub(super) fn push(&mut self, block: &[u8], frames: &mut Vec<Frame>) {
        match self.quote {
            Some(quote) => {
                for at in memchr::memchr2_iter(b'\n', quote, block) {
                    if block[at] != b'\n' {
                        self.quote_at(at, block);
                    } else if !self.in_quotes {
                        self.record_ended(self.position + at as u64 + 1, frames);
                    }
                }
            }
            None => {
                for at in memchr::memchr_iter(b'\n', block) {
                    self.record_ended(self.position + at as u64 + 1, frames);
                }
            }
        }
        self.before = block.last().copied().unwrap_or(self.before);
        self.position += block.len() as u64;
        // The open record does not fit behind those before it.
        if self.position - self.start > self.block_bytes {
            self.end_block(frames);
        }
    }

    pub(super) fn finish(&mut self, frames: &mut Vec<Frame>) {
        if self.position > self.record_end {
            self.record_ended(self.position, frames);
        }
        self.end_block(frames);
    }

    /// A second quote in quotes closes and opens again, and stands for itself.
    fn quote_at(&mut self, at: usize, block: &[u8]) {
        let before = at.checked_sub(1).map_or(self.before, |before| block[before]);
        let is_literal = before.is_ascii_alphanumeric() || before == b' ' || !before.is_ascii();
        self.in_quotes = !self.in_quotes && !is_literal;
    }

    fn record_ended(&mut self, end: u64, frames: &mut Vec<Frame>) {
        self.header_end.get_or_insert(end);
        if end - self.start > self.block_bytes {
            self.end_block(frames);
        }
        self.record_end = end;
        if end - self.start >= self.block_bytes {
            self.end_block(frames);
        }
    }

    /// The records of the open block, if it has any, are a message.
    fn end_block(&mut self, frames: &mut Vec<Frame>) {
        if self.record_end > self.start {
            frames.push(Frame { start: self.start, end: self.record_end });
            self.start = self.record_end;
        }
    }
}
