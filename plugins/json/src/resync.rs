//! Where to go on behind malformed text, if that can be told.
//!
//! A broken element is cut out of its surroundings only where its brackets and
//! strings still balance, or where the next line stands for itself. Anything
//! else would guess, and a guess could make rows of what were nested values.

/// How often a message may be scanned to go on behind its faults. Text that is
/// nothing but faults would take the square of its length otherwise.
const SCANS_MAX: usize = 16;

/// Finds where to go on, within one message.
pub(crate) struct Resync {
    /// Bytes that may still be looked at.
    left: usize,
}

impl Resync {
    /// For a message of this length.
    pub(crate) fn new(length: usize) -> Self {
        Self { left: length.saturating_mul(SCANS_MAX) }
    }

    /// The end of the broken element of an array that starts at `start`; behind it
    /// the array goes on.
    pub(crate) fn in_array(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        let end = self.scan(bytes, start, |rest| unit(rest, 0))?;
        match after_space(bytes, end) {
            Some(b',' | b']') => Some(end),
            _ => None,
        }
    }

    /// The end of the broken value at `start`, which stands in no array.
    pub(crate) fn at_root(&mut self, bytes: &[u8], start: usize, fault: usize) -> Option<usize> {
        if let Some(end) = self.at_line(bytes, start, fault) {
            return Some(end);
        }
        if !matches!(bytes.get(start), Some(b'{' | b'[')) {
            return None;
        }
        let end = self.scan(bytes, start, |rest| unit(rest, 0))?;
        match after_space(bytes, end) {
            None | Some(b'{' | b'[') => Some(end),
            Some(_) => None,
        }
    }

    /// The end of the line at which `start` is, if the fault shows before the next
    /// line, and that line starts with a bracket and is balanced by itself: then
    /// the message has one value a line, and this line was cut or damaged.
    pub(crate) fn at_line(&mut self, bytes: &[u8], start: usize, fault: usize) -> Option<usize> {
        let end = self.scan(bytes, start, line_end)?;
        let next = end + bytes[end..].iter().position(|byte| !matches!(byte, b'\n' | b'\r'))?;
        if fault > next || !matches!(bytes[next], b'{' | b'[') {
            return None;
        }
        let line_end = self.scan(bytes, next, |rest| line_end(rest).or(Some(rest.len())))?;
        let line = bytes[next..line_end].trim_ascii_end();
        if unit(line, 0) == Some(line.len()) { Some(end) } else { None }
    }

    /// Look for an end from `start` on, as far as the message may still be scanned.
    fn scan(&mut self, bytes: &[u8], start: usize, find: impl FnOnce(&[u8]) -> Option<usize>) -> Option<usize> {
        let rest = bytes.get(start..)?;
        if rest.len() > self.left {
            return None;
        }
        let found = find(rest);
        self.left -= found.unwrap_or(rest.len());
        found.map(|end| start + end)
    }
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// How deep brackets are followed.
const BRACKETS_MAX: usize = 1024;

/// The end of the unit that starts at `start`: behind the bracket that closes
/// its first one, or in front of the comma or bracket that ends a scalar.
fn unit(bytes: &[u8], start: usize) -> Option<usize> {
    let mut open = Vec::new();
    let mut at = start;
    loop {
        match *bytes.get(at)? {
            b'"' => at = string_end(bytes, at)?,
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            byte @ (b'}' | b']') => match open.pop() {
                Some(expected) if expected != byte => return None,
                Some(_) if open.is_empty() => return Some(at + 1),
                Some(_) => {}
                None => return if at > start { Some(at) } else { None },
            },
            b',' if open.is_empty() => return if at > start { Some(at) } else { None },
            _ => {}
        }
        if open.len() > BRACKETS_MAX {
            return None;
        }
        at += 1;
    }
}

/// The closing quote of the string that opens at `at`. No string spans lines;
/// one that seems to was never closed.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += 1;
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 1,
            b'\n' => return None,
            _ => {}
        }
    }
}

fn after_space(bytes: &[u8], at: usize) -> Option<u8> {
    bytes[at..].iter().copied().find(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
}
