//! The schema of a sample.
//!
//! Each element is first checked as a whole, so that malformed ones leave no
//! trace, and then walked through.

use weir_plugin::infer::{Sample, Seen};
use weir_plugin::{Messages, NameCase, Problem, Schema};
use weir_values::timestamp::Dates;

use crate::cursor::{Cursor, Malformed, Result};
use crate::elements::{self, Elements};
use crate::rows::unescaped;

/// Values that are nested deeper are not looked into: no schema has them, and
/// whoever is around them is deep enough to say so.
const DEPTH_MAX: u32 = 40;

/// The schema that fits all elements of a sample.
pub(crate) fn infer(case: NameCase, sample: &Messages) -> core::result::Result<Schema, Vec<Problem>> {
    let mut reader = Reader { sample: Sample::new(case), scratch: Scratch::default() };
    for payload in sample.payloads() {
        elements::read(payload, &mut reader);
    }
    reader.sample.schema()
}

struct Reader {
    sample: Sample,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    dates: Dates,
    text: Vec<u8>,
}

impl Elements for Reader {
    fn element(&mut self, cursor: &mut Cursor<'_>, depth: u32) -> Result<()> {
        let mut inside = cursor.clone();
        cursor.value(depth)?;
        if inside.peek() == Some(b'{') {
            let Self { sample, scratch } = self;
            members(&mut inside, scratch, depth, |cursor, scratch, name| {
                let mut read = Ok(());
                sample.column(name, |seen| read = value(cursor, scratch, seen, depth + 1));
                read
            })?;
        }
        Ok(())
    }

    fn malformed(&mut self, _start: usize, _end: usize, _fault: Malformed) {}

    fn goes_on(&mut self, _cursor: &mut Cursor<'_>) -> bool {
        true
    }
}

/// Hand each member of the object at the cursor to `member`, with its name, the
/// cursor at its value. What it leaves there is skipped, as are names that are no text.
fn members(
    cursor: &mut Cursor<'_>,
    scratch: &mut Scratch,
    depth: u32,
    mut member: impl FnMut(&mut Cursor<'_>, &mut Scratch, &str) -> Result<()>,
) -> Result<()> {
    cursor.at += 1;
    cursor.space();
    while cursor.peek() != Some(b'}') {
        let key = cursor.key()?;
        cursor.space();
        let start = cursor.at;
        let mut unescaped = Vec::new();
        let key_bytes = &cursor.bytes[key.start..key.end];
        let name = if !key.escaped {
            Some(key_bytes)
        } else if crate::text::unescape(key_bytes, &mut unescaped) {
            Some(unescaped.as_slice())
        } else {
            None
        };
        if let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) {
            member(cursor, scratch, name)?;
        }
        if cursor.at == start {
            cursor.value(depth + 1)?;
        }
        cursor.space();
        if cursor.peek() == Some(b',') {
            cursor.at += 1;
        }
    }
    cursor.at += 1;
    Ok(())
}

/// Say what the value at the cursor is. Recurses as deep as values are nested,
/// up to the limit.
fn value(cursor: &mut Cursor<'_>, scratch: &mut Scratch, seen: &mut Seen, depth: u32) -> Result<()> {
    match cursor.peek() {
        Some(b'{' | b'[') if depth >= DEPTH_MAX => {
            cursor.value(depth)?;
            seen.text();
        }
        Some(b'"') => match unescaped(cursor, &mut scratch.text)? {
            Some(text) if scratch.dates.is_full(text) => seen.timestamp(),
            _ => seen.text(),
        },
        Some(b'-' | b'0'..=b'9') => {
            let number = cursor.number()?;
            if number.bigint().is_some() {
                seen.bigint();
            } else if number.double(cursor.bytes).is_some() {
                seen.double();
            } else {
                seen.text();
            }
        }
        Some(b't' | b'f') => {
            cursor.value(depth)?;
            seen.boolean();
        }
        Some(b'{') => {
            let mut read = Ok(());
            seen.structure(|fields| {
                read = members(cursor, scratch, depth, |cursor, scratch, name| {
                    let mut read = Ok(());
                    fields.field(name, |seen| read = value(cursor, scratch, seen, depth + 1));
                    read
                });
            });
            read?;
        }
        Some(b'[') => {
            let mut read = Ok(());
            seen.list(|element| read = elements_of(cursor, scratch, element, depth));
            read?;
        }
        // Null says nothing.
        _ => cursor.value(depth)?,
    }
    Ok(())
}

/// Say what the elements of the list at the cursor are.
fn elements_of(cursor: &mut Cursor<'_>, scratch: &mut Scratch, seen: &mut Seen, depth: u32) -> Result<()> {
    cursor.at += 1;
    cursor.space();
    while cursor.peek() != Some(b']') {
        value(cursor, scratch, seen, depth + 1)?;
        cursor.space();
        if cursor.peek() == Some(b',') {
            cursor.at += 1;
            cursor.space();
        }
    }
    cursor.at += 1;
    Ok(())
}
