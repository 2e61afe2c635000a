//! Messages: what becomes of each of their elements.
//!
//! Every element of a message becomes a row or is within a rejection.

use weir_plugin::{Error, Messages, Parsed, Rejection, Span};
use weir_values::rescue::FilePaths;
use weir_values::settings::Settings;
use weir_values::sizing::Sizing;
use weir_values::text;

use crate::cursor::{Cursor, Malformed};
use crate::elements::{self, Elements};
use crate::plan::Object;
use crate::rows::{Mismatch, Rows};

/// More rejections than this from one message are put together in one.
const REJECTIONS_PER_MESSAGE_MAX: u32 = 10_000;

/// Turns messages into rows, for the whole life of an instance.
#[derive(Debug)]
pub struct Parser {
    settings: Settings,
    plan: Object,
    rows: Rows,
    sizing: Sizing,
}

impl Parser {
    pub(crate) fn new(settings: Settings) -> Self {
        let plan = Object::new(&settings.columns, settings.case);
        Self { plan, rows: Rows::new(&settings), settings, sizing: Sizing::default() }
    }

    /// Parse one chunk.
    ///
    /// # Errors
    /// The chunk has more bytes than offsets can count, or lacks a message field.
    pub fn parse(&mut self, chunk: &Messages) -> Result<Parsed, Error> {
        let chunk_bytes = chunk.payload.data.len();
        if i32::try_from(chunk_bytes).is_err() {
            return Err(Error::new(format!("a chunk of {chunk_bytes} bytes; at most 2147483647 are possible")));
        }
        let file_paths = FilePaths::new(chunk, self.settings.rescued.map(|_| 0))?;
        let rows_guess = self.sizing.reserve(chunk_bytes, &mut self.rows.cells);
        let mut reader = Reader {
            settings: &self.settings,
            plan: &mut self.plan,
            rows: &mut self.rows,
            file_paths,
            origins: Vec::with_capacity(rows_guess),
            rejected: Vec::new(),
            message: 0,
            element: 0,
            rejections: 0,
        };
        for payload in chunk.payloads() {
            reader.element = 0;
            reader.rejections = 0;
            elements::read(payload, &mut reader);
            reader.message += 1;
        }
        let Reader { origins, rejected, .. } = reader;
        self.sizing.learn(chunk_bytes, &self.rows.cells);
        Ok(Parsed { rows: self.rows.take(), origins, rejected })
    }
}

/// The state of one call.
struct Reader<'a> {
    settings: &'a Settings,
    plan: &'a mut Object,
    rows: &'a mut Rows,
    file_paths: FilePaths<'a>,
    origins: Vec<u32>,
    rejected: Vec<Rejection>,
    /// The current message, and in it the current element and the number of rejections.
    message: u32,
    element: u32,
    rejections: u32,
}

impl Elements for Reader<'_> {
    /// Read one element, which becomes a row or a rejection, or is malformed.
    #[inline]
    fn element(&mut self, cursor: &mut Cursor<'_>, depth: u32) -> crate::cursor::Result<()> {
        let start = cursor.at;
        if cursor.peek() != Some(b'{') {
            cursor.value(depth)?;
            self.reject_other(start, &cursor.bytes[start..cursor.at]);
            return Ok(());
        }
        if let Err(fault) = self.rows.read(cursor, self.plan, depth) {
            self.rows.take_back();
            return Err(fault);
        }
        match self.rows.commit(cursor.bytes, self.file_paths.get(self.message)) {
            Ok(()) => {
                self.origins.push(self.message);
                self.element += 1;
            }
            Err(mismatch) => self.reject_mismatch(start, cursor, mismatch),
        }
        Ok(())
    }

    #[cold]
    fn malformed(&mut self, start: usize, end: usize, fault: Malformed) {
        let reason = format!("element {}: malformed JSON at byte {}: {}", self.element, fault.at, fault.what);
        self.reject(start, end, reason);
    }

    /// Go on unless the message gave too many rejections; then the rest is one.
    #[inline]
    fn goes_on(&mut self, cursor: &mut Cursor<'_>) -> bool {
        if self.rejections < REJECTIONS_PER_MESSAGE_MAX {
            return true;
        }
        cursor.space();
        if cursor.at < cursor.bytes.len() {
            let reason = format!(
                "element {} and all behind it: {REJECTIONS_PER_MESSAGE_MAX} elements of this message were rejected before",
                self.element
            );
            self.reject(cursor.at, cursor.bytes.len(), reason);
        }
        false
    }
}

impl Reader<'_> {
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
            self.settings.columns[mismatch.column].name,
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
}
