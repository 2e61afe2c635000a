//! One record after the other: fields, quotes and line ends (RFC 4180).
//!
//! A quote counts where a field begins; elsewhere it is text. A line ends with a
//! line feed, also behind a carriage return; at the end of the text both may be
//! missing.

use weir_values::wide::{self, BLOCK};

use crate::config::Dialect;

/// A field, by its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its text, without the quotes around it.
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) quoted: bool,
    /// Whether there are escaped characters in it.
    pub(crate) escaped: bool,
}

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The byte where it shows.
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// Where records end, from `start` on, that have nothing in them.
pub(crate) fn skip_blank_lines(bytes: &[u8], mut start: usize) -> usize {
    loop {
        match &bytes[start..] {
            [b'\n', ..] | [b'\r'] => start += 1,
            [b'\r', b'\n', ..] => start += 2,
            _ => return start,
        }
    }
}

/// Read the record at `start` into `fields`; returns the byte behind its line end.
pub(crate) fn read(bytes: &[u8], start: usize, dialect: &Dialect, fields: &mut Vec<Field>) -> Result<usize, Fault> {
    fields.clear();
    let mut at = start;
    loop {
        let (field, end) =
            if bytes.get(at) == Some(&dialect.quote) { quoted(bytes, at, dialect)? } else { plain(bytes, at, dialect) };
        fields.push(field);
        match &bytes[end..] {
            [] => return Ok(end),
            [b'\n', ..] | [b'\r'] => return Ok(end + 1),
            [b'\r', b'\n', ..] => return Ok(end + 2),
            // The delimiter.
            _ => at = end + 1,
        }
    }
}

/// The field without quotes at `start`, and where it ends.
#[inline]
fn plain(bytes: &[u8], start: usize, dialect: &Dialect) -> (Field, usize) {
    let end = first_of(bytes, start, [dialect.delimiter, b'\n', b'\n']).unwrap_or(bytes.len());
    let line_ends = bytes.get(end) != Some(&dialect.delimiter);
    let end = if line_ends && end > start && bytes[end - 1] == b'\r' { end - 1 } else { end };
    (Field { start, end, quoted: false, escaped: false }, end)
}

/// The field that opens with a quote at `start`, and where the next delimiter or
/// the line end is.
fn quoted(bytes: &[u8], start: usize, dialect: &Dialect) -> Result<(Field, usize), Fault> {
    let escape = dialect.escape.unwrap_or(dialect.quote);
    let mut escaped = false;
    let mut at = start + 1;
    loop {
        let Some(found) = first_of(bytes, at, [dialect.quote, escape, escape]) else {
            return Err(Fault { at: start, what: "this quote is never closed" });
        };
        let next = bytes.get(found + 1);
        if bytes[found] != dialect.quote {
            // The escape stands for itself in front of anything but these two.
            let escapes = next.is_some_and(|next| *next == dialect.quote || *next == escape);
            escaped |= escapes;
            at = found + 1 + usize::from(escapes);
        } else if next == Some(&dialect.quote) {
            escaped = true;
            at = found + 2;
        } else {
            let field = Field { start: start + 1, end: found, quoted: true, escaped };
            return match &bytes[found + 1..] {
                [] | [b'\n', ..] | [b'\r'] | [b'\r', b'\n', ..] => Ok((field, found + 1)),
                [byte, ..] if *byte == dialect.delimiter => Ok((field, found + 1)),
                _ => Err(Fault { at: found + 1, what: "expected a delimiter or the end of the line behind a quote" }),
            };
        }
    }
}

/// The place of the first of these bytes from `start` on.
#[inline]
fn first_of(bytes: &[u8], start: usize, wanted: [u8; 3]) -> Option<usize> {
    let mut at = start;
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        let found = wide::first_of(block, wanted);
        at += found;
        if found < BLOCK {
            return Some(at);
        }
    }
    bytes.get(at..)?.iter().position(|byte| wanted.contains(byte)).map(|found| at + found)
}

impl Field {
    /// What the field says; `scratch` takes it where it has to be unescaped.
    #[inline]
    pub(crate) fn text<'s, 'b: 's>(&self, bytes: &'b [u8], dialect: &Dialect, scratch: &'s mut Vec<u8>) -> &'s [u8] {
        let inside = &bytes[self.start..self.end];
        if !self.escaped {
            return inside;
        }
        scratch.clear();
        let escape = dialect.escape.unwrap_or(dialect.quote);
        let mut rest = inside.iter().copied().peekable();
        while let Some(byte) = rest.next() {
            let opens = byte == escape || byte == dialect.quote;
            match rest.peek() {
                Some(next) if opens && (*next == dialect.quote || (byte == escape && *next == escape)) => {
                    scratch.push(*next);
                    rest.next();
                }
                _ => scratch.push(byte),
            }
        }
        scratch
    }

    /// Whether the field has no value.
    #[inline]
    pub(crate) fn is_null(&self, bytes: &[u8], dialect: &Dialect) -> bool {
        !self.quoted && bytes[self.start..self.end] == *dialect.null
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn dialect() -> Dialect {
        Dialect { header: true, delimiter: b',', quote: b'"', escape: None, null: Box::default() }
    }

    /// All records of a text, fields as they read, or the byte of the fault.
    fn records(text: &[u8], dialect: &Dialect) -> Result<Vec<Vec<String>>, usize> {
        let mut records = Vec::new();
        let mut fields = Vec::new();
        let mut at = skip_blank_lines(text, 0);
        while at < text.len() {
            at = read(text, at, dialect, &mut fields).map_err(|fault| fault.at)?;
            let shown = |field: &Field| {
                let mut scratch = Vec::new();
                String::from_utf8_lossy(field.text(text, dialect, &mut scratch)).into_owned()
            };
            records.push(fields.iter().map(shown).collect());
            at = skip_blank_lines(text, at);
        }
        Ok(records)
    }

    #[track_caller]
    fn check(dialect: &Dialect, text: &str, expected: Result<&[&[&str]], usize>) {
        let expected: Result<Vec<Vec<String>>, usize> = expected.map(|records| {
            records.iter().map(|record| record.iter().map(|field| (*field).to_owned()).collect()).collect()
        });
        assert_eq!(records(text.as_bytes(), dialect), expected, "{text:?}");
    }

    #[test]
    fn records_end_with_their_lines() {
        let check = |text, expected| check(&dialect(), text, Ok(expected));
        check("a,b\nc,d\n", &[&["a", "b"], &["c", "d"]]);
        check("a,b\r\nc,d\r\n", &[&["a", "b"], &["c", "d"]]);
        check("a,b\nc,d", &[&["a", "b"], &["c", "d"]]);
        check("\n\r\na\n\n\r\n\nb\r", &[&["a"], &["b"]]);
        check("a,\n,b\n,\n", &[&["a", ""], &["", "b"], &["", ""]]);
        check("a\rb,c\n", &[&["a\rb", "c"]]);
        check(
            "a field of more than sixteen bytes,and another one of them\n",
            &[&["a field of more than sixteen bytes", "and another one of them"]],
        );
        check("", &[]);
    }

    #[test]
    fn quotes_hold_what_would_end_a_field() {
        let check = |text, expected| check(&dialect(), text, expected);
        check("\"a,b\",\"c\nd\r\n\"\n\"\"\n", Ok(&[&["a,b", "c\nd\r\n"], &[""]]));
        check("\"say \"\"hi\"\"\",\"\"\"\"\n", Ok(&[&["say \"hi\"", "\""]]));
        check("a\"b,c\"\n", Ok(&[&["a\"b", "c\""]]));
        check(" \"a\n", Ok(&[&[" \"a"]]));
        check("x\n\"open,\n", Err(2));
        check("\"a\"b,c\n", Err(3));
        check("\"a\" ,c\n", Err(3));
    }

    #[test]
    fn other_dialects_are_read() {
        let dialect = Dialect { delimiter: b';', quote: b'\'', escape: Some(b'\\'), ..dialect() };
        check(&dialect, "a,b;'c;d'\n", Ok(&[&["a,b", "c;d"]]));
        check(&dialect, r"'it\'s';'a\\';'\n';'d''q'", Ok(&[&["it's", r"a\", r"\n", "d'q"]]));
        check(&dialect, r"\;'\\\''", Ok(&[&[r"\", r"\'"]]));
        check(&dialect, r"'open\'", Err(0));
    }

    proptest! {
        /// Whatever the texts are, quoted they come back.
        #[test]
        fn written_records_read_back(
            rows in prop::collection::vec(prop::collection::vec("[a,\"\\\\;\n\r ]{0,24}", 1..5), 0..5),
            backslash in any::<bool>(),
        ) {
            let dialect = Dialect { escape: backslash.then_some(b'\\'), ..dialect() };
            let mut text = String::new();
            for row in &rows {
                let quoted = row.iter().map(|field| {
                    let inside = if backslash { field.replace('\\', "\\\\").replace('"', "\\\"") } else { field.replace('"', "\"\"") };
                    format!("\"{inside}\"")
                });
                text.push_str(&quoted.collect::<Vec<_>>().join(","));
                text.push_str("\r\n");
            }
            prop_assert_eq!(records(text.as_bytes(), &dialect), Ok(rows));
        }

        /// What is read without a fault is what the crate `csv` reads.
        #[test]
        fn records_agree_with_the_crate_csv(
            pieces in prop::collection::vec(prop::sample::select(vec!["a", "bc", " ", ",", "\"", "\"\"", "\n", "\r\n"]), 0..40),
        ) {
            let text = pieces.concat();
            let mut oracle = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let expected: Vec<Vec<String>> = oracle.records()
                .map(|record| record.expect("UTF-8").iter().map(str::to_owned).collect())
                .collect();
            if let Ok(found) = records(text.as_bytes(), &dialect()) {
                prop_assert_eq!(found, expected, "{:?}", text);
            }
        }

        #[test]
        fn any_text_is_read_to_its_end_or_has_a_fault(text in "[a,\"\n\r]{0,40}") {
            if let Err(at) = records(text.as_bytes(), &dialect()) {
                prop_assert!(at < text.len());
            }
        }
    }
}
