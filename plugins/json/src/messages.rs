//! Messages: which elements they have, and what becomes of each.
//!
//! Every element of a message is accounted for, as a row or within a
//! rejection. An array at the root is a sequence of elements, and so are
//! several values one behind the other.

use weir_plugin::{Error, Messages, Parsed, Rejection, Span};

use crate::config::Config;
use crate::cursor::{Cursor, Malformed};
use crate::plan::Object;
use crate::resync::Resync;
use crate::rows::{Mismatch, Rows};
use crate::{object, text};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// More rejections than this from one message are put together in one.
const REJECTIONS_PER_MESSAGE_MAX: u32 = 10_000;

/// Whether the message goes on at the cursor.
enum Next {
    GoOn,
    Stop,
}

/// Turns messages into rows, for the whole life of an instance.
#[derive(Debug)]
pub struct Parser {
    config: Config,
    plan: Object,
    /// All elements so far.
    elements: u64,
    /// The size of the last chunk and what it gave, to size the next columns.
    last: Extent,
}

#[derive(Debug, Default)]
struct Extent {
    chunk_bytes: usize,
    rows: usize,
    text_bytes: Vec<usize>,
}

impl Parser {
    pub(crate) fn new(config: Config) -> Self {
        Self { plan: Object::new(&config.columns), config, elements: 0, last: Extent::default() }
    }

    /// Parse one chunk.
    ///
    /// # Errors
    /// The chunk has more bytes than offsets can count.
    pub fn parse(&mut self, chunk: &Messages) -> Result<Parsed, Error> {
        let chunk_bytes = chunk.payload.data.len();
        if i32::try_from(chunk_bytes).is_err() {
            return Err(Error::new(format!("a chunk of {chunk_bytes} bytes; at most 2147483647 are possible")));
        }
        let guess = |last: usize| {
            let expected = last as u128 * chunk_bytes as u128 / self.last.chunk_bytes.max(1) as u128;
            // A sixteenth more than last time, but no column outgrows its chunk.
            usize::try_from(expected + expected / 16).map_or(chunk_bytes, |guess| guess.min(chunk_bytes))
        };
        let rows_guess = guess(self.last.rows);
        let text_guess: Vec<usize> = self.last.text_bytes.iter().map(|bytes| guess(*bytes)).collect();
        let mut reader = Reader {
            config: &self.config,
            plan: &mut self.plan,
            rows: Rows::new(&self.config, rows_guess, &text_guess),
            origins: Vec::with_capacity(rows_guess),
            rejected: Vec::new(),
            elements: &mut self.elements,
            message: 0,
            element: 0,
            rejections: 0,
            resync: Resync::new(0),
        };
        for payload in chunk.payloads() {
            reader.message(payload);
            reader.message += 1;
        }
        let Reader { rows, origins, rejected, .. } = reader;
        self.last = Extent { chunk_bytes, rows: rows.len(), text_bytes: rows.text_bytes() };
        Ok(Parsed { rows: rows.finish(), origins, rejected })
    }
}

/// The state of one call.
struct Reader<'a> {
    config: &'a Config,
    plan: &'a mut Object,
    rows: Rows<'a>,
    origins: Vec<u32>,
    rejected: Vec<Rejection>,
    elements: &'a mut u64,
    /// The current message, and in it the current element and the number of rejections.
    message: u32,
    element: u32,
    rejections: u32,
    resync: Resync,
}

impl Reader<'_> {
    fn message(&mut self, payload: &[u8]) {
        self.element = 0;
        self.rejections = 0;
        self.resync = Resync::new(payload.len());
        let mut cursor = Cursor::new(payload);
        if payload.starts_with(BYTE_ORDER_MARK) {
            cursor.at = BYTE_ORDER_MARK.len();
        }
        loop {
            cursor.space();
            let next = match cursor.peek() {
                None => Next::Stop,
                Some(b'[') => self.array(&mut cursor),
                Some(_) => self.lone(&mut cursor),
            };
            if matches!(next, Next::Stop) {
                return;
            }
        }
    }

    /// An element that stands in no array.
    fn lone(&mut self, cursor: &mut Cursor<'_>) -> Next {
        let start = cursor.at;
        match self.element(cursor, 0) {
            Ok(()) => self.bounded(cursor),
            Err(fault) => {
                let end = self.resync.at_root(cursor.bytes, start, fault.at);
                self.give_up(cursor, start, fault, end)
            }
        }
    }

    fn array(&mut self, cursor: &mut Cursor<'_>) -> Next {
        let open = cursor.at;
        cursor.at += 1;
        cursor.space();
        if cursor.peek() == Some(b']') {
            cursor.at += 1;
            return Next::GoOn;
        }
        loop {
            cursor.space();
            let start = cursor.at;
            if let Err(fault) = self.element(cursor, 1) {
                match self.resync.in_array(cursor.bytes, start) {
                    Some(end) => {
                        if let Next::Stop = self.give_up(cursor, start, fault, Some(end)) {
                            return Next::Stop;
                        }
                    }
                    None => return self.leave_array(cursor, open, start, fault),
                }
            }
            cursor.space();
            match cursor.peek() {
                Some(b',') => cursor.at += 1,
                Some(b']') => {
                    cursor.at += 1;
                    return self.bounded(cursor);
                }
                _ => {
                    let what = "expected a comma or a closing bracket";
                    let what = if cursor.peek().is_none() { "the text ends too early" } else { what };
                    return self.leave_array(cursor, open, cursor.at, Malformed { at: cursor.at, what });
                }
            }
            if let Next::Stop = self.bounded(cursor) {
                return Next::Stop;
            }
        }
    }

    /// Nothing more can be told of this array. The next line can only be
    /// trusted if the array did not span lines so far.
    fn leave_array(&mut self, cursor: &mut Cursor<'_>, open: usize, start: usize, fault: Malformed) -> Next {
        let one_line = !cursor.bytes[open..start].contains(&b'\n');
        let end = if one_line { self.resync.at_line(cursor.bytes, start, fault.at) } else { None };
        self.give_up(cursor, start, fault, end)
    }

    /// Reject from `start` to `end`, or to the end of the message.
    #[cold]
    fn give_up(&mut self, cursor: &mut Cursor<'_>, start: usize, fault: Malformed, end: Option<usize>) -> Next {
        let length = cursor.bytes.len();
        let reason = format!("element {}: malformed JSON at byte {}: {}", self.element, fault.at, fault.what);
        // What is missing at the end has no bytes; the last one stands for it.
        let start = start.min(length.saturating_sub(1));
        self.reject(start, end.unwrap_or(length), reason);
        match end {
            Some(end) => {
                cursor.at = end;
                self.bounded(cursor)
            }
            None => Next::Stop,
        }
    }

    /// Read one element, which becomes a row or a rejection, or is malformed.
    #[inline]
    fn element(&mut self, cursor: &mut Cursor<'_>, depth: u32) -> Result<(), Malformed> {
        let start = cursor.at;
        if cursor.peek() != Some(b'{') {
            cursor.value(depth)?;
            self.reject_other(start, &cursor.bytes[start..cursor.at]);
            return Ok(());
        }
        *self.elements += 1;
        if let Err(fault) = object::read(cursor, self.plan, &mut self.rows, *self.elements, depth) {
            self.rows.take_back();
            return Err(fault);
        }
        match self.rows.commit() {
            Ok(()) => {
                self.origins.push(self.message);
                self.element += 1;
            }
            Err(mismatch) => self.reject_mismatch(start, cursor, mismatch),
        }
        Ok(())
    }

    #[cold]
    fn reject_other(&mut self, start: usize, found: &[u8]) {
        let reason =
            format!("element {}: found {} at byte {start}, expected an object", self.element, text::shortened(found));
        self.reject(start, start + found.len(), reason);
    }

    #[cold]
    fn reject_mismatch(&mut self, start: usize, cursor: &Cursor<'_>, mismatch: Mismatch) {
        let reason = format!(
            "element {}, column {}: found {} at byte {}, expected {}",
            self.element,
            self.config.columns[mismatch.column].name,
            text::shortened(&cursor.bytes[mismatch.start..mismatch.end]),
            mismatch.start,
            mismatch.expected
        );
        self.reject(start, cursor.at, reason);
    }

    fn reject(&mut self, start: usize, end: usize, reason: String) {
        let narrow = |at: usize| u32::try_from(at).expect("invariant: a chunk has fewer than 2^31 bytes");
        let span = Some(Span { start: narrow(start), end: narrow(end) });
        self.rejected.push(Rejection { input: self.message, element: Some(self.element), span, reason });
        self.element += 1;
        self.rejections += 1;
    }

    /// Go on unless the message gave too many rejections; then the rest is one.
    #[inline]
    fn bounded(&mut self, cursor: &mut Cursor<'_>) -> Next {
        if self.rejections < REJECTIONS_PER_MESSAGE_MAX {
            return Next::GoOn;
        }
        cursor.space();
        if cursor.at < cursor.bytes.len() {
            let reason = format!(
                "element {} and all behind it: {REJECTIONS_PER_MESSAGE_MAX} elements of this message were rejected before",
                self.element
            );
            self.reject(cursor.at, cursor.bytes.len(), reason);
        }
        Next::Stop
    }
}
