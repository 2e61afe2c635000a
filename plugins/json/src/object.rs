//! One object of a message: keys found by guessing, values put into the row.

use crate::cursor::{Cursor, DEPTH_LIMIT, Result};
use crate::plan::{IGNORED, Object};
use crate::rows::Rows;

/// Read the object at the cursor into the current row. `element` tells this
/// object from all others of the instance, `depth` is the number of values
/// around it. Recurses only as deep as the paths of the columns are long.
pub(crate) fn read(
    cursor: &mut Cursor<'_>,
    object: &mut Object,
    rows: &mut Rows<'_>,
    element: u64,
    depth: u32,
) -> Result<()> {
    if depth >= DEPTH_LIMIT {
        return cursor.malformed("nested too deep, the limit is 128 levels");
    }
    cursor.at += 1;
    cursor.space();
    if cursor.peek() == Some(b'}') {
        cursor.at += 1;
        return Ok(());
    }
    let mut next = 0;
    loop {
        let field = match object.guess(&cursor.bytes[cursor.at..], &mut next) {
            Some((field, length)) => {
                cursor.at += length;
                field
            }
            None => key(cursor, object, &mut next)?,
        };
        cursor.space();
        match object.fields.get(field) {
            None => cursor.value(depth + 1)?,
            Some(found) => match (found.columns.as_slice(), &found.inside) {
                ([column], None) => rows.value(cursor, *column, depth + 1)?,
                _ => shared(cursor, object, field, rows, element, depth + 1)?,
            },
        }
        cursor.space();
        match cursor.peek() {
            Some(b',') => cursor.at += 1,
            Some(b'}') => {
                cursor.at += 1;
                return Ok(());
            }
            _ => return cursor.malformed("expected a comma or a closing brace"),
        }
        cursor.space();
    }
}

/// Read a key that was not guessed, and remember it.
#[cold]
fn key(cursor: &mut Cursor<'_>, object: &mut Object, next: &mut usize) -> Result<usize> {
    let start = cursor.at;
    let key = cursor.key()?;
    let text = &cursor.bytes[key.start..key.end];
    if key.escaped {
        let mut unescaped = Vec::new();
        let known = crate::text::unescape(text, &mut unescaped);
        return Ok(if known { object.find(&unescaped) } else { IGNORED });
    }
    let field = object.find(text);
    // With white space before the colon the text is no guess.
    if cursor.at == key.end + 2 {
        object.learn(&cursor.bytes[start..cursor.at], field, next);
    }
    Ok(field)
}

/// Read a value that several columns want, or that has wanted values inside.
fn shared(
    cursor: &mut Cursor<'_>,
    object: &mut Object,
    field: usize,
    rows: &mut Rows<'_>,
    element: u64,
    depth: u32,
) -> Result<()> {
    let field = &mut object.fields[field];
    let start = cursor.at;
    if let Some(inside) = &mut field.inside {
        if field.seen_in == element {
            // The key came twice, and the last one wins with all that is inside.
            field.columns_inside.iter().for_each(|column| rows.clear(*column));
        }
        field.seen_in = element;
        if cursor.peek() == Some(b'{') {
            read(cursor, inside, rows, element, depth)?;
        } else {
            cursor.value(depth)?;
            if &cursor.bytes[start..cursor.at] != b"null" {
                rows.mismatch(field.columns_inside[0], start, cursor.at, "an object around it");
            }
        }
    }
    for column in &field.columns {
        cursor.at = start;
        rows.value(cursor, *column, depth)?;
    }
    Ok(())
}
