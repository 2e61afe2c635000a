//! One object of a message: keys found by guessing, values put into the row.

use crate::cursor::{Cursor, DEPTH_LIMIT, Result};
use crate::plan::{Object, Target};
use crate::rows::{self, Cells, Context};
use crate::unfit::Step;

/// Read the object at the cursor into the current row of `cells`. `depth` is
/// the number of values around it. Recurses only as deep as the paths and the
/// types of the columns are.
pub(crate) fn read(
    cursor: &mut Cursor<'_>,
    object: &mut Object,
    cells: &mut Cells,
    context: &mut Context,
    depth: u32,
) -> Result<()> {
    if depth >= DEPTH_LIMIT {
        return cursor.malformed("nested too deep, the limit is 128 levels");
    }
    cursor.apart(|cursor| values(cursor, object, cells, context, depth))
}

#[inline(always)]
fn values(
    cursor: &mut Cursor<'_>,
    object: &mut Object,
    cells: &mut Cells,
    context: &mut Context,
    depth: u32,
) -> Result<()> {
    let mut next = 0;
    loop {
        // Somewhere before the key, with nothing but punctuation and white space between.
        let key_at = cursor.at;
        let target = match object.guess(&cursor.bytes[cursor.at..], &mut next) {
            Some((target, length)) => {
                cursor.at += length;
                // There may be more white space than last time.
                cursor.space();
                target
            }
            None => match cursor.apart(|cursor| unknown(cursor, object, next))? {
                Some((target, after)) => {
                    next = after;
                    target
                }
                None => return Ok(()),
            },
        };
        match target {
            Target::Column(column) => {
                if !rows::usual(cursor, cells, column) {
                    let step = Step { key_at, target };
                    cursor.apart(|cursor| rows::any_value(cursor, cells, column, context, step, depth + 1))?;
                }
            }
            Target::Ignored => cursor.apart(|cursor| ignored(cursor, context, key_at, depth + 1))?,
            Target::Field(field) => {
                let step = Step { key_at, target };
                cursor.apart(|cursor| shared(cursor, object, field, cells, context, step, depth + 1))?;
            }
        }
        if cursor.peek() == Some(b'}') {
            cursor.at += 1;
            return Ok(());
        }
    }
}

/// Skip a value that nothing wants.
#[inline(always)]
fn ignored(cursor: &mut Cursor<'_>, context: &mut Context, key_at: usize, depth: u32) -> Result<()> {
    let start = cursor.at;
    cursor.value(depth)?;
    if context.keeps_ignored {
        context.unfit.surplus(Step { key_at, target: Target::Ignored }, start, cursor.at);
    }
    Ok(())
}

/// Read what was not guessed, from the opening brace or the end of a value up
/// to the next value: a key, which is remembered, and the next place in the
/// order; or none if the object ends.
#[inline(never)]
fn unknown(cursor: &mut Cursor<'_>, object: &mut Object, mut next: usize) -> Result<Option<(Target, usize)>> {
    let start = cursor.at;
    if next == 0 {
        cursor.at += 1;
        cursor.space();
        if cursor.peek() == Some(b'}') {
            cursor.at += 1;
            return Ok(None);
        }
    } else {
        cursor.space();
        match cursor.peek() {
            Some(b',') => cursor.at += 1,
            Some(b'}') => {
                cursor.at += 1;
                return Ok(None);
            }
            _ => return cursor.malformed("expected a comma or a closing brace"),
        }
    }
    let key = cursor.key()?;
    cursor.space();
    let text = &cursor.bytes[key.start..key.end];
    if key.escaped {
        next = next.max(1);
        let mut unescaped = Vec::new();
        let known = crate::text::unescape(text, &mut unescaped);
        let target = if known { object.find(&unescaped) } else { Target::Ignored };
        return Ok(Some((target, next)));
    }
    let target = object.find(text);
    object.learn(&cursor.bytes[start..cursor.at], target, &mut next);
    Ok(Some((target, next)))
}

/// Read a value that several columns want, or that has wanted values inside.
#[inline(never)]
fn shared(
    cursor: &mut Cursor<'_>,
    object: &mut Object,
    field: usize,
    cells: &mut Cells,
    context: &mut Context,
    step: Step,
    depth: u32,
) -> Result<()> {
    let field = &mut object.fields[field];
    let start = cursor.at;
    if let Some(inside) = &mut field.inside {
        if field.seen_in == context.element {
            // The key came twice, and the last one wins with all that is inside.
            field.columns_inside.iter().for_each(|column| cells.clear(*column));
            context.unfit.repeated(step);
        }
        field.seen_in = context.element;
        if cursor.peek() == Some(b'{') {
            // A column that takes the whole value has what no other asks for.
            let keeps_ignored = context.keeps_ignored;
            context.keeps_ignored &= field.columns.is_empty();
            context.unfit.enter(step);
            read(cursor, inside, cells, context, depth)?;
            context.unfit.leave();
            context.keeps_ignored = keeps_ignored;
        } else {
            cursor.value(depth)?;
            if &cursor.bytes[start..cursor.at] != b"null" {
                context.unfit.column(field.columns_inside[0]);
                context.unfit.mismatch(step, start, cursor.at, "an object around it");
            }
        }
    }
    for column in &field.columns {
        cursor.at = start;
        if !rows::usual(cursor, cells, *column) {
            rows::any_value(cursor, cells, *column, context, step, depth)?;
        }
    }
    Ok(())
}
