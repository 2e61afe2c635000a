//! The rows being made: values go from the text straight into columns.

use weir_plugin::Batch;
use weir_plugin::build::BytesBuilder;
use weir_values::cells::{Builder, Group, Lists};
use weir_values::settings::{OnMismatch, Settings};
use weir_values::timestamp::{Dates, Format};
use weir_values::{text as values, wide};

use crate::cursor::{Cursor, DEPTH_LIMIT, Result};
use crate::plan::{Object, Target};
use crate::unfit::{InList, Step, Unfits};
use crate::{object, text};

/// The columns of rows or of structs; structs know their keys.
pub(crate) type Cells = Group<Object>;

/// What reading values needs besides the columns.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) unfit: Unfits,
    /// Whether keys that nothing wants are noted.
    pub(crate) keeps_ignored: bool,
    /// Tells the current element from all others of the instance.
    pub(crate) element: u64,
    dates: Dates,
    scratch: Vec<u8>,
}

/// What was found where a value was expected.
enum Found {
    Value,
    Null,
    Mismatch,
    /// A value, and in it keys that the column lacks.
    Surplus,
}

/// A row that cannot be, because of a value that is not of its column's type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mismatch {
    pub(crate) column: usize,
    /// The bytes of the value.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// What was expected.
    pub(crate) expected: &'static str,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) cells: Cells,
    context: Context,
    rescued: Option<usize>,
}

impl Rows {
    pub(crate) fn new(settings: &Settings) -> Self {
        let case = settings.case;
        let kinds = settings.columns.iter().map(|column| &column.kind);
        let context = Context {
            unfit: Unfits::new(settings.on_mismatch != OnMismatch::Null),
            keeps_ignored: settings.rescued.is_some(),
            element: 0,
            dates: Dates::default(),
            scratch: Vec::new(),
        };
        Self { cells: Cells::new(kinds, &|fields| Object::of_struct(fields, case)), context, rescued: settings.rescued }
    }

    /// Read the object at the cursor into the current row.
    #[inline]
    pub(crate) fn read(&mut self, cursor: &mut Cursor<'_>, plan: &mut Object, depth: u32) -> Result<()> {
        self.context.element += 1;
        object::read(cursor, plan, &mut self.cells, &mut self.context, depth)
    }

    /// End the current row, which came from `bytes`. If a value did not fit and
    /// is not to be left out, the row is taken back.
    #[inline]
    pub(crate) fn commit(&mut self, bytes: &[u8], file_path: Option<&[u8]>) -> core::result::Result<(), Mismatch> {
        if !self.context.unfit.is_empty() {
            self.settle(bytes, file_path)?;
        } else if let Some(column) = self.rescued {
            // Here and not with all that is missing: in most rows nothing else is.
            let cells = &mut self.cells.cells[column];
            cells.builder.push_null();
            cells.written += 1;
            self.cells.filled += 1;
        }
        self.cells.commit();
        Ok(())
    }

    /// Reject or rescue what did not fit.
    #[cold]
    fn settle(&mut self, bytes: &[u8], file_path: Option<&[u8]>) -> core::result::Result<(), Mismatch> {
        let unfit = &self.context.unfit;
        match self.rescued {
            Some(column) => {
                let cells = &mut self.cells.cells[column];
                let Builder::String(builder) = &mut cells.builder else {
                    unreachable!("the settings see to it that only text takes the rescued");
                };
                let rows = builder.len();
                if builder.push_with(|out| unfit.write(bytes, file_path, out)) {
                    cells.written += 1;
                    self.cells.filled += 1;
                } else {
                    builder.truncate(rows);
                }
            }
            None => {
                if let Some(first) = unfit.first_mismatch() {
                    let expected = first.expected.unwrap_or_default();
                    let mismatch = Mismatch { column: first.column, start: first.start, end: first.end, expected };
                    self.take_back();
                    return Err(mismatch);
                }
            }
        }
        self.context.unfit.clear();
        Ok(())
    }

    /// Forget the current row.
    #[cold]
    pub(crate) fn take_back(&mut self) {
        self.cells.take_back();
        self.context.unfit.clear();
        self.context.keeps_ignored = self.rescued.is_some();
    }

    /// All committed rows. None is left.
    pub(crate) fn take(&mut self) -> Batch {
        let rows = u32::try_from(self.cells.rows).expect("invariant: a chunk has fewer than 2^32 bytes, so fewer rows");
        Batch { rows, columns: self.cells.take() }
    }
}

/// Read the value at the cursor into a column of the current row if it is the
/// first of its column and like most of its kind; false, with nothing done, if
/// it is not.
#[inline(always)]
pub(crate) fn usual(cursor: &mut Cursor<'_>, group: &mut Cells, column: usize) -> bool {
    let cells = &mut group.cells[column];
    if cells.written != group.rows || !usual_value(cursor, &mut cells.builder) {
        return false;
    }
    cells.written += 1;
    group.filled += 1;
    true
}

/// Append the value at the cursor if it is like most of its kind.
#[inline(always)]
fn usual_value(cursor: &mut Cursor<'_>, builder: &mut Builder<Object>) -> bool {
    match builder {
        Builder::String(builder) => {
            let Some(text) = cursor.plain_string() else {
                return false;
            };
            builder.push_with(|out| wide::append(out, cursor.bytes, text.start, text.end));
            cursor.at = text.end + 1;
        }
        Builder::Double(builder) => {
            let Some(number) = cursor.short_number() else {
                return false;
            };
            let Some(value) = number.short_double() else {
                return false;
            };
            builder.push(value);
            cursor.at = number.end;
        }
        Builder::Bigint(builder) => {
            let Some(number) = cursor.short_number() else {
                return false;
            };
            let Some(value) = number.bigint() else {
                return false;
            };
            builder.push(value);
            cursor.at = number.end;
        }
        _ => return false,
    }
    true
}

/// Read the value at the cursor into a column of the current row. If the column
/// has one already, a key came twice, and the last one wins.
#[inline(never)]
pub(crate) fn any_value(
    cursor: &mut Cursor<'_>,
    group: &mut Cells,
    column: usize,
    context: &mut Context,
    step: Step,
    depth: u32,
) -> Result<()> {
    if group.cells[column].written != group.rows {
        group.clear(column);
        context.unfit.repeated(step);
    }
    context.unfit.column(column);
    let start = cursor.at;
    let cells = &mut group.cells[column];
    let found = append(cursor, &mut cells.builder, context, step, depth)?;
    cells.written += 1;
    group.filled += 1;
    match found {
        Found::Value | Found::Null => {}
        Found::Mismatch => context.unfit.mismatch(step, start, cursor.at, cells.builder.name()),
        Found::Surplus => context.unfit.surplus(step, start, cursor.at),
    }
    Ok(())
}

/// Append the value at the cursor; a null where it is none of the column.
fn append(
    cursor: &mut Cursor<'_>,
    builder: &mut Builder<Object>,
    context: &mut Context,
    step: Step,
    depth: u32,
) -> Result<Found> {
    let start = cursor.at;
    let found = match builder {
        Builder::String(builder) => match cursor.peek() {
            Some(b'"') => string(cursor, builder)?,
            Some(b'n') => other(cursor, depth)?,
            _ => {
                // Whatever it is, its JSON is the text.
                cursor.value(depth)?;
                builder.push_with(|out| wide::append(out, cursor.bytes, start, cursor.at));
                Found::Value
            }
        },
        Builder::Double(builder) => match cursor.peek() {
            Some(b'-' | b'0'..=b'9') => match cursor.number()?.double(cursor.bytes) {
                Some(value) => {
                    builder.push(value);
                    Found::Value
                }
                None => Found::Mismatch,
            },
            _ => other(cursor, depth)?,
        },
        Builder::Bigint(builder) => match cursor.peek() {
            Some(b'-' | b'0'..=b'9') => match cursor.number()?.bigint() {
                Some(value) => {
                    builder.push(value);
                    Found::Value
                }
                None => Found::Mismatch,
            },
            _ => other(cursor, depth)?,
        },
        Builder::Boolean(builder) => match cursor.peek() {
            Some(b't') => {
                cursor.literal(b"true")?;
                builder.push(true);
                Found::Value
            }
            Some(b'f') => {
                cursor.literal(b"false")?;
                builder.push(false);
                Found::Value
            }
            _ => other(cursor, depth)?,
        },
        Builder::Binary(builder) => match cursor.peek() {
            Some(b'"') => binary(cursor, builder, &mut context.scratch)?,
            _ => other(cursor, depth)?,
        },
        Builder::Timestamp(builder, format) => {
            match timestamp(cursor, format, &mut context.dates, &mut context.scratch, depth)? {
                Ok(value) => {
                    builder.push(value);
                    Found::Value
                }
                Err(found) => found,
            }
        }
        Builder::List(inner) => match cursor.peek() {
            Some(b'[') => list(cursor, inner, context, depth)?,
            _ => other(cursor, depth)?,
        },
        Builder::Struct(inner) => match cursor.peek() {
            Some(b'{') => {
                context.unfit.enter_struct(step);
                object::read(cursor, &mut inner.plan, &mut inner.group, context, depth)?;
                context.unfit.leave_struct();
                inner.group.commit();
                inner.structs.push();
                Found::Value
            }
            _ => other(cursor, depth)?,
        },
    };
    if matches!(found, Found::Null | Found::Mismatch) {
        builder.push_null();
    }
    Ok(found)
}

/// Append the list at the cursor. If an element does not fit, nothing is
/// appended: what would stay could not be told from what was there.
fn list(cursor: &mut Cursor<'_>, inner: &mut Lists<Object>, context: &mut Context, depth: u32) -> Result<Found> {
    if depth >= DEPTH_LIMIT {
        return cursor.malformed("nested too deep, the limit is 128 levels");
    }
    let mark = context.unfit.enter_list();
    let mut in_list = InList::default();
    let mut length = 0;
    cursor.at += 1;
    cursor.space();
    if cursor.peek() == Some(b']') {
        cursor.at += 1;
    } else {
        loop {
            cursor.space();
            if !usual_value(cursor, &mut inner.elements) {
                let step = Step { key_at: cursor.at, target: Target::Ignored };
                match append(cursor, &mut inner.elements, context, step, depth + 1)? {
                    Found::Value | Found::Null => {}
                    Found::Mismatch => in_list.mismatches = true,
                    Found::Surplus => in_list.surplus = true,
                }
                context.unfit.end_element(mark, &mut in_list);
            }
            length += 1;
            cursor.space();
            match cursor.peek() {
                Some(b',') => cursor.at += 1,
                Some(b']') => {
                    cursor.at += 1;
                    break;
                }
                _ => return cursor.malformed("expected a comma or a closing bracket"),
            }
        }
    }
    context.unfit.leave_list();
    if in_list.mismatches {
        inner.elements.truncate(inner.lists.elements());
        return Ok(Found::Mismatch);
    }
    inner.lists.push(length);
    Ok(if in_list.surplus { Found::Surplus } else { Found::Value })
}

#[inline]
fn string(cursor: &mut Cursor<'_>, builder: &mut BytesBuilder) -> Result<Found> {
    let found = cursor.string()?;
    let bytes = cursor.bytes;
    if !found.escaped {
        builder.push_with(|out| wide::append(out, bytes, found.start, found.end));
        return Ok(Found::Value);
    }
    let rows = builder.len();
    if builder.push_with(|out| text::unescape(&bytes[found.start..found.end], out)) {
        return Ok(Found::Value);
    }
    builder.truncate(rows);
    Ok(Found::Mismatch)
}

fn binary(cursor: &mut Cursor<'_>, builder: &mut BytesBuilder, scratch: &mut Vec<u8>) -> Result<Found> {
    let Some(inside) = unescaped(cursor, scratch)? else {
        return Ok(Found::Mismatch);
    };
    let rows = builder.len();
    if builder.push_with(|out| values::base64(inside, out)) {
        return Ok(Found::Value);
    }
    builder.truncate(rows);
    Ok(Found::Mismatch)
}

#[inline]
fn timestamp(
    cursor: &mut Cursor<'_>,
    format: &Format,
    dates: &mut Dates,
    scratch: &mut Vec<u8>,
    depth: u32,
) -> Result<core::result::Result<i64, Found>> {
    let instant = match (cursor.peek(), format) {
        (Some(b'"'), _) => unescaped(cursor, scratch)?.and_then(|inside| dates.text(inside, format)),
        (Some(b'-' | b'0'..=b'9'), Format::Epoch { shift }) => cursor.number()?.scaled(*shift),
        _ => return other(cursor, depth).map(Err),
    };
    Ok(instant.ok_or(Found::Mismatch))
}

/// The inside of the string at the cursor; none if it is no text.
#[inline]
pub(crate) fn unescaped<'s, 'b: 's>(cursor: &mut Cursor<'b>, scratch: &'s mut Vec<u8>) -> Result<Option<&'s [u8]>> {
    let found = cursor.string()?;
    let inside = &cursor.bytes[found.start..found.end];
    if !found.escaped {
        return Ok(Some(inside));
    }
    scratch.clear();
    Ok(if text::unescape(inside, scratch) { Some(scratch) } else { None })
}

/// A value of none of the types that the column takes: null, or a mismatch.
fn other(cursor: &mut Cursor<'_>, depth: u32) -> Result<Found> {
    if cursor.peek() == Some(b'n') {
        cursor.literal(b"null")?;
        return Ok(Found::Null);
    }
    cursor.value(depth)?;
    Ok(Found::Mismatch)
}
