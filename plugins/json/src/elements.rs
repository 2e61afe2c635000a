//! The elements of a message, and where it goes on behind malformed ones.
//!
//! Every element of a message is accounted for: it is read, or it is within what
//! is called malformed. An array at the root is a sequence of elements, and so
//! are several values one behind the other.

use crate::cursor::{Cursor, Malformed, Result};
use crate::resync::Resync;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Takes what a message consists of.
pub(crate) trait Elements {
    /// Read the element at the cursor; `depth` is the number of values around it.
    fn element(&mut self, cursor: &mut Cursor<'_>, depth: u32) -> Result<()>;

    /// From `start` to `end` no element could be read; never empty.
    fn malformed(&mut self, start: usize, end: usize, fault: Malformed);

    /// Whether the message goes on at the cursor.
    fn goes_on(&mut self, cursor: &mut Cursor<'_>) -> bool;
}

/// Hand all elements of a message to `elements`.
#[inline]
pub(crate) fn read(message: &[u8], elements: &mut impl Elements) {
    let mut cursor = Cursor::new(message);
    if message.starts_with(BYTE_ORDER_MARK) {
        cursor.at = BYTE_ORDER_MARK.len();
    }
    let mut reader = Reader { elements, resync: Resync::new(message.len()) };
    loop {
        cursor.space();
        let next = match cursor.peek() {
            None => Next::Stop,
            Some(b'[') => reader.array(&mut cursor),
            Some(_) => reader.lone(&mut cursor),
        };
        if matches!(next, Next::Stop) {
            return;
        }
    }
}

/// Whether the message goes on at the cursor.
enum Next {
    GoOn,
    Stop,
}

struct Reader<'a, E> {
    elements: &'a mut E,
    resync: Resync,
}

impl<E: Elements> Reader<'_, E> {
    /// An element that stands in no array.
    fn lone(&mut self, cursor: &mut Cursor<'_>) -> Next {
        let start = cursor.at;
        match self.elements.element(cursor, 0) {
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
            if let Err(fault) = self.elements.element(cursor, 1) {
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

    /// Nothing could be read from `start` to `end`, or to the end of the message.
    #[cold]
    fn give_up(&mut self, cursor: &mut Cursor<'_>, start: usize, fault: Malformed, end: Option<usize>) -> Next {
        let length = cursor.bytes.len();
        // What is missing at the end has no bytes; the last one stands for it.
        let start = start.min(length.saturating_sub(1));
        self.elements.malformed(start, end.unwrap_or(length), fault);
        match end {
            Some(end) => {
                cursor.at = end;
                self.bounded(cursor)
            }
            None => Next::Stop,
        }
    }

    #[inline]
    fn bounded(&mut self, cursor: &mut Cursor<'_>) -> Next {
        if self.elements.goes_on(cursor) { Next::GoOn } else { Next::Stop }
    }
}
