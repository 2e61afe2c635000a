//! A place in one message, and the strict grammar of JSON around it.
//!
//! Every method either moves the cursor behind what it names or says where the
//! text is malformed. Nothing recurses, so nesting cannot exhaust the stack.

use weir_values::number::Number;
use weir_values::wide::{self, BLOCK};

/// How deep values may be nested, the root included.
pub(crate) const DEPTH_LIMIT: u32 = 128;

/// Text that is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// The byte of the message where it shows.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) what: &'static str,
}

pub(crate) type Result<T> = core::result::Result<T, Malformed>;

/// A string, without its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether there is an escape sequence in it.
    pub(crate) escaped: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Call what is not inlined on a copy: a cursor that is never lent out can
    /// stay in registers.
    #[inline(always)]
    pub(crate) fn apart<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let mut copy = self.clone();
        let result = call(&mut copy);
        self.at = copy.at;
        result
    }

    /// The next byte, none at the end.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Skip white space.
    #[inline(always)]
    pub(crate) fn space(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.apart(Self::space_run);
        }
    }

    #[inline(never)]
    fn space_run(&mut self) {
        while let Some(block) = self.bytes[self.at..].first_chunk::<BLOCK>() {
            let skipped = wide::first_non_space(block);
            self.at += skipped;
            if skipped < BLOCK {
                return;
            }
        }
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// A fault at the cursor.
    #[cold]
    pub(crate) fn malformed<T>(&self, what: &'static str) -> Result<T> {
        let what = if self.at >= self.bytes.len() { "the text ends too early" } else { what };
        Err(Malformed { at: self.at, what })
    }

    /// Expect `literal`, of which only the first byte has been seen.
    #[inline]
    pub(crate) fn literal(&mut self, literal: &'static [u8]) -> Result<()> {
        if self.bytes[self.at..].starts_with(literal) {
            self.at += literal.len();
            return Ok(());
        }
        self.malformed("expected a value")
    }

    /// The string at the cursor if all of it is plain ASCII and whole blocks
    /// can be read up to its end: what most strings look like. The cursor
    /// stays where it is.
    #[inline(always)]
    pub(crate) fn plain_string(&self) -> Option<Text> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let mut at = start;
        loop {
            let block = self.bytes.get(at..)?.first_chunk::<BLOCK>()?;
            let stop = wide::first_string_stop(block);
            at += stop;
            if stop < BLOCK {
                return if block[stop] == b'"' { Some(Text { start, end: at, escaped: false }) } else { None };
            }
        }
    }

    /// Expect a string; the cursor is at its opening quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Text> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            let stop = match self.bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
                Some(block) => wide::first_string_stop(block),
                None => 0,
            };
            at += stop;
            if stop == BLOCK {
                continue;
            }
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Text { start, end: at, escaped });
                }
                Some(b' '..=b'[' | b']'..=0x7f) => at += 1,
                _ => at += self.unusual(at, &mut escaped)?,
            }
        }
    }

    /// The length of an escape sequence or of a character that is not ASCII.
    fn unusual(&mut self, at: usize, escaped: &mut bool) -> Result<usize> {
        self.at = at;
        match &self.bytes[at..] {
            [] => self.malformed("unterminated string"),
            [b'\\', rest @ ..] => {
                *escaped = true;
                match rest {
                    [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Ok(2),
                    [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => Ok(6),
                    [] => {
                        self.at += 1;
                        self.malformed("unterminated string")
                    }
                    _ => self.malformed("invalid escape sequence"),
                }
            }
            [byte, ..] if *byte < 0x20 => self.malformed("control character in a string"),
            rest => match utf8_length(rest) {
                Some(length) => Ok(length),
                None => self.malformed("invalid UTF-8"),
            },
        }
    }

    /// Expect a number; the cursor is at its first byte.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Number> {
        match Number::read(self.bytes, self.at) {
            Ok(number) => {
                self.at = number.end;
                Ok(number)
            }
            Err(fault) => {
                self.at = fault.at;
                self.malformed(fault.what)
            }
        }
    }

    /// The number at the cursor if it is like most; the cursor stays where it is.
    #[inline(always)]
    pub(crate) fn short_number(&self) -> Option<Number> {
        Number::short(self.bytes, self.at)
    }

    /// Expect a key and its colon; the cursor may be at white space before it.
    pub(crate) fn key(&mut self) -> Result<Text> {
        self.space();
        if self.peek() != Some(b'"') {
            return self.malformed("expected a key in quotes");
        }
        let key = self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return self.malformed("expected a colon");
        }
        self.at += 1;
        Ok(key)
    }

    /// Expect any value and skip it. `depth` is the number of values around it.
    pub(crate) fn value(&mut self, depth: u32) -> Result<()> {
        // One bit for each open value, 1 for an object.
        let mut open: u128 = 0;
        let mut level = depth;
        loop {
            self.space();
            match self.peek() {
                Some(b'"') => drop(self.string()?),
                Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(byte @ (b'{' | b'[')) => {
                    if level >= DEPTH_LIMIT {
                        return self.malformed("nested too deep, the limit is 128 levels");
                    }
                    level += 1;
                    self.at += 1;
                    self.space();
                    let object = byte == b'{';
                    open = open << 1 | u128::from(object);
                    // 2 behind the opening bracket is the closing one, in ASCII.
                    if self.peek() != Some(byte + 2) {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                    self.at += 1;
                    open >>= 1;
                    level -= 1;
                }
                _ => return self.malformed("expected a value"),
            }
            loop {
                if level == depth {
                    return Ok(());
                }
                self.space();
                let object = open & 1 == 1;
                match (self.peek(), object) {
                    (Some(b','), _) => {
                        self.at += 1;
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        open >>= 1;
                        level -= 1;
                    }
                    (_, true) => return self.malformed("expected a comma or a closing brace"),
                    (_, false) => return self.malformed("expected a comma or a closing bracket"),
                }
            }
        }
    }
}

/// The length of the first character, which is not ASCII; none if it is not
/// well-formed (Unicode 16, table 3-7).
fn utf8_length(bytes: &[u8]) -> Option<usize> {
    const fn follows(byte: u8) -> bool {
        byte & 0xc0 == 0x80
    }
    match *bytes {
        [0xc2..=0xdf, b, ..] if follows(b) => Some(2),
        [0xe0, 0xa0..=0xbf, c, ..] | [0xed, 0x80..=0x9f, c, ..] if follows(c) => Some(3),
        [0xe1..=0xec | 0xee..=0xef, b, c, ..] if follows(b) && follows(c) => Some(3),
        [0xf0, 0x90..=0xbf, c, d, ..] | [0xf4, 0x80..=0x8f, c, d, ..] if follows(c) && follows(d) => Some(4),
        [0xf1..=0xf3, b, c, d, ..] if follows(b) && follows(c) && follows(d) => Some(4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Skip one value; `Err` is where the fault is.
    #[track_caller]
    fn check(text: &[u8], expected: core::result::Result<usize, usize>) {
        let mut cursor = Cursor::new(text);
        let found = cursor.value(0).map(|()| cursor.at).map_err(|fault| fault.at);
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn a_value_ends_where_it_ends() {
        check(b"{\"a\" : [1, {}, [], \"x\\u00e9\", null] } rest", Ok(37));
        check(b" true", Ok(5));
        check(b"1,2", Ok(1));
        check("\"a long string with \u{e4}\u{20ac}\u{1f600} and \\\" in it\"".as_bytes(), Ok(43));
    }

    #[test]
    fn malformed_text_is_named_by_its_byte() {
        check(b"{\"a\":1,}", Err(7));
        check(b"[1,]", Err(3));
        check(b"[1 2]", Err(3));
        check(b"{\"a\" 1}", Err(5));
        check(b"{a:1}", Err(1));
        check(b"[1}", Err(2));
        check(b"tru", Err(0));
        check(b"NaN", Err(0));
        check(b"\"a\nb\"", Err(2));
        check(b"\"a\\x\"", Err(2));
        check(b"\"a\\u12g4\"", Err(2));
        check(b"\"open", Err(5));
        check(b"\"a\xff\"", Err(2));
        check(b"\"a\xed\xa0\x80\"", Err(2));
        check(b"", Err(0));
        check(b"[", Err(1));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        check(&nested(128), Ok(256));
        check(&nested(129), Err(128));
        check(&b"[".repeat(1_000_000), Err(128));
    }

    #[test]
    fn utf8_is_judged_as_the_standard_library_does() {
        for first in 0x80..=0xff_u8 {
            for second in (0..=0xff_u8).step_by(3).chain([0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf]) {
                let tail = [first, second, 0x80, 0xbf];
                let expected = (2..=4)
                    .find(|length| std::str::from_utf8(&tail[..*length]).is_ok_and(|text| text.chars().count() == 1));
                assert_eq!(utf8_length(&tail), expected, "{tail:02x?}");
            }
        }
    }
}
