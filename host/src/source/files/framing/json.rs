//! One message a root value of JSON; the elements of a root array that is too
//! long for one message are messages of their own.
//!
//! Tracks strings, escapes and nesting, nothing else: whether a value is valid
//! is the parser's to say. Rubbish stays a message, so that no byte is lost.
//!
//! Broken input is isolated where JSON (RFC 8259) leaves no doubt: a line feed
//! cannot stand in a string, so it ends one; and a line that begins as its root
//! value began, where no value may stand, begins a new root value. So a record
//! cut short spoils neither the lines behind it nor the rest of the file.
//!
//! White space before a root value belongs to its message, up to
//! [`MAX_INDENT_BYTES`], so that messages lie back to back.

use super::scan::{self, BLOCK_BYTES};
use super::{BYTE_ORDER_MARK, Frame, Pushed};

/// More white space than this before a root value is not part of its message.
pub(in crate::source::files) const MAX_INDENT_BYTES: u64 = 64;

/// What the messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Values at the root.
    Root,
    /// Elements of the root array that is open.
    Elements,
}

/// Finds root values, and elements of long root arrays.
#[derive(Debug)]
pub(in crate::source::files) struct JsonFramer {
    split_bytes: u64,
    position: u64,
    mode: Mode,
    /// How many arrays and objects are open.
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// At the root: in a run that is neither a string nor a container.
    in_run: bool,
    /// Whether the byte before was a line feed.
    line_start: bool,
    /// How many bytes of a byte-order mark were seen.
    marked: usize,
    /// The byte that the open root value began with.
    root_kind: u8,
    /// The last byte that is not white space, outside of strings, and its end.
    significant: u8,
    significant_end: u64,
    /// Where the message before ended.
    message_start: u64,
    /// Where the open root value began.
    value_start: Option<u64>,
    /// Where the open element began.
    element_start: Option<u64>,
}

impl JsonFramer {
    /// A framer that splits root arrays longer than `split_bytes`.
    pub(super) fn new(split_bytes: u64) -> Self {
        Self {
            split_bytes,
            position: 0,
            mode: Mode::Root,
            depth: 0,
            in_string: false,
            escaped: false,
            in_run: false,
            line_start: false,
            marked: 0,
            root_kind: 0,
            significant: 0,
            significant_end: 0,
            message_start: 0,
            value_start: None,
            element_start: None,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn keep_from(&self) -> u64 {
        match self.mode {
            Mode::Root => self.with_indent(self.value_start.unwrap_or(self.position)),
            Mode::Elements => self.element_start.unwrap_or(self.position),
        }
    }

    pub(super) fn push(&mut self, block: &[u8], frames: &mut Vec<Frame>) -> Pushed {
        let mut rest = block;
        while !rest.is_empty() {
            if let Some((head, tail)) = rest.split_first_chunk::<BLOCK_BYTES>()
                && self.skip(head)
            {
                rest = tail;
            } else {
                let (head, tail) = rest.split_at(rest.len().min(BLOCK_BYTES));
                for &byte in head {
                    if self.step(byte, frames) == Pushed::Rewound {
                        return Pushed::Rewound;
                    }
                }
                rest = tail;
            }
            if self.is_too_long(self.position) {
                return self.rewind();
            }
        }
        Pushed::All
    }

    pub(super) fn finish(&mut self, frames: &mut Vec<Frame>) {
        match self.mode {
            Mode::Root => self.end_value(self.position, frames),
            Mode::Elements => {
                if self.in_string {
                    self.significant_end = self.position;
                }
                self.end_element(self.position, frames);
            }
        }
    }

    /// Take a whole block if nothing in it can end a message; says whether.
    #[inline]
    fn skip(&mut self, block: &[u8; BLOCK_BYTES]) -> bool {
        // The level that must not be reached: there, messages end.
        let level = match self.mode {
            Mode::Root => 0,
            Mode::Elements => 1,
        };
        if self.depth <= level {
            return false;
        }
        let masks = scan::masks(block);
        let (escaped, escapes_next) = if masks.backslash == 0 && !self.escaped {
            (0, false)
        } else {
            scan::escaped(masks.backslash, self.escaped)
        };
        let carried = if self.in_string { u64::MAX } else { 0 };
        let strings = scan::running_parity(masks.quote & !escaped) ^ carried;
        if strings & masks.line_feed != 0 {
            return false;
        }
        let (open, close) = (masks.open & !strings, masks.close & !strings);
        let line_starts = (masks.line_feed << 1) | u64::from(self.line_start);
        // A backslash outside of strings is rubbish that the slow path defines.
        if open & line_starts != 0 || masks.backslash & !strings != 0 {
            return false;
        }
        let lowest = self.depth.saturating_sub(u64::from(close.count_ones()));
        if lowest <= level {
            return false;
        }
        self.depth = lowest + u64::from(open.count_ones());
        self.in_string = strings >> 63 == 1;
        self.escaped = escapes_next;
        self.line_start = block[BLOCK_BYTES - 1] == b'\n';
        if !self.in_string
            && let Some(last) = block.iter().rposition(|&byte| !is_space(byte))
        {
            self.significant = block[last];
            self.significant_end = self.position + last as u64 + 1;
        }
        self.position += BLOCK_BYTES as u64;
        true
    }

    fn step(&mut self, byte: u8, frames: &mut Vec<Frame>) -> Pushed {
        let at = self.position;
        self.position = at + 1;
        let line_start = std::mem::replace(&mut self.line_start, byte == b'\n');
        if self.in_string {
            return self.step_in_string(byte, at, frames);
        }
        if is_space(byte) {
            if self.in_run {
                self.end_value(at, frames);
            }
            return Pushed::All;
        }
        if self.depth > 0 && line_start && self.begins_anew(byte) {
            if self.is_too_long(at) {
                return self.rewind();
            }
            self.end_root(at, at, frames);
        }
        if self.depth == 0 {
            self.step_at_root(byte, at, frames);
        } else if self.step_in_container(byte, at, frames) == Pushed::Rewound {
            return Pushed::Rewound;
        }
        self.significant = byte;
        self.significant_end = at + 1;
        Pushed::All
    }

    fn step_in_string(&mut self, byte: u8, at: u64, frames: &mut Vec<Frame>) -> Pushed {
        let was_escaped = std::mem::replace(&mut self.escaped, false);
        match byte {
            b'\n' => self.significant_end = at,
            _ if was_escaped => return Pushed::All,
            b'"' => self.significant_end = at + 1,
            b'\\' => {
                self.escaped = true;
                return Pushed::All;
            }
            _ => return Pushed::All,
        }
        self.in_string = false;
        self.significant = b'"';
        if self.depth == 0 {
            self.end_value(self.significant_end, frames);
        }
        Pushed::All
    }

    fn step_at_root(&mut self, byte: u8, at: u64, frames: &mut Vec<Frame>) {
        match byte {
            b'"' | b'[' | b'{' => {
                self.end_value(at, frames);
                self.in_string = byte == b'"';
                self.depth = u64::from(byte != b'"');
            }
            _ if self.in_run => {}
            _ => self.in_run = true,
        }
        if self.value_start.is_none() {
            self.value_start = Some(at);
            self.root_kind = byte;
        }
        if at == self.marked as u64 && BYTE_ORDER_MARK.get(self.marked) == Some(&byte) {
            self.marked += 1;
            if self.marked == BYTE_ORDER_MARK.len() {
                self.in_run = false;
                self.value_start = None;
                self.message_start = self.position;
            }
        }
    }

    fn step_in_container(&mut self, byte: u8, at: u64, frames: &mut Vec<Frame>) -> Pushed {
        let between_elements = self.mode == Mode::Elements && self.depth == 1;
        match byte {
            b',' if between_elements => {
                self.end_element(at, frames);
                return Pushed::All;
            }
            // Only its own kind closes the root value; the other is rubbish in it.
            b']' | b'}' if self.depth > 1 || byte == closing(self.root_kind) => {
                self.depth -= 1;
                if self.depth == 0 {
                    if self.is_too_long(self.position) {
                        return self.rewind();
                    }
                    self.end_root(at, self.position, frames);
                }
                return Pushed::All;
            }
            _ => {}
        }
        if between_elements && self.element_start.is_none() {
            self.element_start = Some(at);
        }
        match byte {
            b'"' => self.in_string = true,
            b'[' | b'{' => self.depth += 1,
            _ => {}
        }
        Pushed::All
    }

    /// Whether this byte, the first of a line and inside the root value, can
    /// only be the start of another root value.
    fn begins_anew(&self, byte: u8) -> bool {
        byte == self.root_kind && !matches!(self.significant, b',' | b'[' | b':')
    }

    /// Whether the open root array, if it reaches to `end`, must be split.
    fn is_too_long(&self, end: u64) -> bool {
        self.mode == Mode::Root
            && self.root_kind == b'['
            && self.value_start.is_some_and(|start| end - start > self.split_bytes)
    }

    /// Go back into the root array and look for its elements.
    fn rewind(&mut self) -> Pushed {
        let start = self.value_start.unwrap_or(self.message_start);
        self.mode = Mode::Elements;
        self.position = start + 1;
        self.depth = 1;
        self.in_string = false;
        self.escaped = false;
        self.line_start = false;
        self.significant = b'[';
        self.significant_end = self.position;
        self.element_start = None;
        Pushed::Rewound
    }

    /// The container at the root ends before `end`, what is in it before `at`.
    fn end_root(&mut self, at: u64, end: u64, frames: &mut Vec<Frame>) {
        match self.mode {
            Mode::Root => self.end_value(end, frames),
            Mode::Elements => {
                self.end_element(at, frames);
                self.mode = Mode::Root;
                self.value_start = None;
                self.message_start = end;
            }
        }
        self.depth = 0;
    }

    /// The value at the root, if there is one, ends before `end`.
    fn end_value(&mut self, end: u64, frames: &mut Vec<Frame>) {
        self.in_run = false;
        if let Some(start) = self.value_start {
            frames.push(Frame { start: self.with_indent(start), end });
            self.value_start = None;
            self.message_start = end;
        }
    }

    /// The element, if there is one, ends before the separator at `at`.
    ///
    /// Much white space behind it counts as part of it, so that whether an
    /// element is too long can be told before its separator is seen.
    fn end_element(&mut self, at: u64, frames: &mut Vec<Frame>) {
        if let Some(start) = self.element_start.take() {
            let is_much = at - self.significant_end > MAX_INDENT_BYTES;
            frames.push(Frame { start, end: if is_much { at } else { self.significant_end } });
        }
    }

    fn with_indent(&self, start: u64) -> u64 {
        self.message_start.max(start.saturating_sub(MAX_INDENT_BYTES))
    }
}

/// What closes a container that this byte opens.
fn closing(open: u8) -> u8 {
    if open == b'[' { b']' } else { b'}' }
}

/// White space of JSON (RFC 8259, section 2).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
