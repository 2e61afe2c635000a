//! Messages: what becomes of each of their records.
//!
//! Every record of a message becomes a row or is within a rejection. A record
//! with fewer fields than the header has nulls in the rest; what it has more is
//! rescued under the names `_c<place>`, and without a rescue left out, as in
//! Spark's permissive mode.

use weir_plugin::{Error, Messages, Parsed, Rejection, Span, Texts};
use weir_values::cells::{Builder, Group};
use weir_values::rescue::{self, FilePaths};
use weir_values::settings::OnMismatch;
use weir_values::sizing::Sizing;
use weir_values::text::shortened;
use weir_values::timestamp::Dates;

use crate::config::{Config, Dialect};
use crate::header::{self, Fields, Wanted};
use crate::record::{self, Fault, Field};
use crate::resync::Resync;
use crate::value;

/// More rejections than this from one message are put together in one.
const REJECTIONS_PER_MESSAGE_MAX: u32 = 10_000;

/// The columns of the rows; nothing in them has fields of its own.
type Cells = Group<()>;

/// Turns messages into rows, for the whole life of an instance.
#[derive(Debug)]
pub struct Parser {
    config: Config,
    wanted: Wanted,
    fields: Fields,
    cells: Cells,
    dates: Dates,
    sizing: Sizing,
}

impl Parser {
    pub(crate) fn new(config: Config) -> Self {
        let settings = &config.settings;
        Self {
            wanted: Wanted::new(&settings.columns, settings.case),
            fields: Fields::default(),
            cells: Cells::new(settings.columns.iter().map(|column| &column.kind), &|_| ()),
            dates: Dates::default(),
            sizing: Sizing::default(),
            config,
        }
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
        let starts = Starts::new(chunk, &self.config.dialect)?;
        let file_paths = FilePaths::new(chunk, self.config.file_path_at())?;
        let rows = self.sizing.reserve(chunk_bytes, &mut self.cells);
        let mut reader = Reader {
            parser: self,
            origins: Vec::with_capacity(rows),
            rejected: Vec::new(),
            message: 0,
            element: 0,
            rejections: 0,
            file_path: None,
            record: Vec::new(),
            unfit: Vec::new(),
            scratch: Vec::new(),
        };
        for payload in chunk.payloads() {
            reader.file_path = file_paths.get(reader.message);
            reader.message(payload, &starts);
            reader.message += 1;
        }
        let Reader { origins, rejected, .. } = reader;
        self.sizing.learn(chunk_bytes, &self.cells);
        let rows = u32::try_from(self.cells.rows).map_err(|_| Error::new("more than 4294967295 rows"))?;
        let rows = weir_plugin::Batch { rows, columns: self.cells.take() };
        Ok(Parsed { rows, origins, rejected })
    }
}

/// Where the messages of a chunk stand in their files, where that matters.
pub(crate) struct Starts<'a>(Option<(Texts<'a>, weir_plugin::Numbers<'a, i64>)>);

impl<'a> Starts<'a> {
    /// From the message fields `header` and `position`.
    ///
    /// # Errors
    /// One of them is missing or of another type.
    pub(crate) fn new(chunk: &'a Messages, dialect: &Dialect) -> Result<Self, Error> {
        if !dialect.header {
            return Ok(Self(None));
        }
        match chunk.fields.columns.as_slice() {
            [header, position, ..] => Ok(Self(Some((header.text()?, position.int64()?)))),
            _ => Err(Error::new("the messages have no fields header and position")),
        }
    }

    /// The header of a message, where there are headers and the file has one.
    pub(crate) fn header(&self, message: u32) -> Option<&'a [u8]> {
        self.0.as_ref().and_then(|(headers, _)| headers.bytes(message as usize))
    }

    /// The first byte of a message that belongs to a record of values.
    pub(crate) fn first_record(&self, message: u32, payload: &[u8], dialect: &Dialect) -> Result<usize, Fault> {
        let at = payload.len() - header::without_mark(payload).len();
        match &self.0 {
            Some((_, positions)) if positions.get(message as usize) == Some(0) => {
                let header = record::skip_blank_lines(payload, at);
                if header == payload.len() {
                    Ok(header)
                } else {
                    record::read(payload, header, dialect, &mut Vec::new())
                }
            }
            _ => Ok(at),
        }
    }
}

/// The state of one call.
struct Reader<'a> {
    parser: &'a mut Parser,
    origins: Vec<u32>,
    rejected: Vec<Rejection>,
    /// The current message, and in it the current record and the number of rejections.
    message: u32,
    element: u32,
    rejections: u32,
    file_path: Option<&'a [u8]>,
    /// The fields of the current record.
    record: Vec<Field>,
    /// Those of them that are to be rescued, by place.
    unfit: Vec<usize>,
    scratch: Vec<u8>,
}

/// A value that is not of its column's type.
struct Mismatch {
    column: usize,
    field: Field,
}

impl Reader<'_> {
    fn message(&mut self, payload: &[u8], starts: &Starts<'_>) {
        self.element = 0;
        self.rejections = 0;
        let dialect = &self.parser.config.dialect;
        if dialect.header {
            let header = starts.header(self.message);
            let Some(header) = header.filter(|header| !header::without_mark(header).is_empty()) else {
                if !payload.trim_ascii().is_empty() {
                    self.reject(
                        None,
                        "the file has no header; set header = false if its first record has values".into(),
                    );
                }
                return;
            };
            if let Err(fault) = self.parser.fields.take_over(header, dialect, &self.parser.wanted) {
                self.reject(None, format!("the header cannot be read: {} (byte {} of it)", fault.what, fault.at));
                return;
            }
        }
        let dialect = &self.parser.config.dialect;
        match starts.first_record(self.message, payload, dialect) {
            Ok(start) => self.records(payload, start),
            Err(fault) => self.reject(None, format!("the header cannot be read: {} at byte {}", fault.what, fault.at)),
        }
    }

    fn records(&mut self, payload: &[u8], start: usize) {
        let is_text = std::str::from_utf8(payload).is_ok();
        let mut resync = Resync::new(payload.len());
        let mut at = record::skip_blank_lines(payload, start);
        while at < payload.len() {
            if self.rejections == REJECTIONS_PER_MESSAGE_MAX {
                let reason = format!(
                    "record {} and all behind it: {REJECTIONS_PER_MESSAGE_MAX} records of this message were rejected before",
                    self.element
                );
                return self.reject(Some((at, payload.len())), reason);
            }
            let dialect = &self.parser.config.dialect;
            let end = match record::read(payload, at, dialect, &mut self.record) {
                Ok(end) => {
                    self.record(payload, at, end, is_text);
                    end
                }
                Err(fault) => {
                    let expected = self.expected_fields();
                    let next = resync.next_record(payload, at, expected, &self.parser.config.dialect);
                    let reason = format!("record {}: {} at byte {}", self.element, fault.what, fault.at);
                    let end = next.unwrap_or(payload.len());
                    self.reject(Some((at, end_of_text(payload, at, end))), reason);
                    end
                }
            };
            at = record::skip_blank_lines(payload, end);
        }
    }

    /// How many fields a record should have.
    fn expected_fields(&self) -> Option<usize> {
        self.parser.config.dialect.header.then_some(self.parser.fields.named())
    }

    /// The record that was read becomes a row or a rejection.
    fn record(&mut self, payload: &[u8], start: usize, end: usize, is_text: bool) {
        if !is_text && let Err(fault) = std::str::from_utf8(&payload[start..end]) {
            let reason = format!("record {}: invalid UTF-8 at byte {}", self.element, start + fault.valid_up_to());
            return self.reject(Some((start, end_of_text(payload, start, end))), reason);
        }
        match self.fill(payload) {
            Ok(()) => {
                self.rescue(payload);
                self.parser.cells.commit();
                self.origins.push(self.message);
                self.element += 1;
            }
            Err(Mismatch { column, field }) => {
                self.parser.cells.take_back();
                let column = &self.parser.config.settings.columns[column];
                let reason = format!(
                    "record {}, column {}: found {} at byte {}, expected {}",
                    self.element,
                    column.name,
                    shortened(&payload[field.start..field.end]),
                    field.start,
                    column.kind.name()
                );
                self.reject(Some((start, end_of_text(payload, start, end))), reason);
            }
        }
    }

    /// Put the fields of the record into the columns of the current row.
    fn fill(&mut self, payload: &[u8]) -> Result<(), Mismatch> {
        let Parser { config, wanted, fields, cells, dates, .. } = &mut *self.parser;
        let on_mismatch = config.settings.on_mismatch;
        for (index, field) in self.record.iter().enumerate() {
            let columns = fields.get(index, wanted).columns.as_slice();
            if field.is_null(payload, &config.dialect) {
                // What is missing becomes null with the row; a null that nobody wants is no loss.
                continue;
            }
            let mut fits = !columns.is_empty();
            for column in columns {
                let cell = &mut cells.cells[*column];
                if cell.written != cells.rows {
                    // A name in the header looks like that of a place, and was first.
                    fits = false;
                    continue;
                }
                let fitting = if field.escaped {
                    let text = field.text(payload, &config.dialect, &mut self.scratch);
                    value::append(text, 0, text.len(), &mut cell.builder, dates)
                } else {
                    value::append(payload, field.start, field.end, &mut cell.builder, dates)
                };
                if !fitting {
                    if on_mismatch == OnMismatch::Reject {
                        return Err(Mismatch { column: *column, field: *field });
                    }
                    fits = false;
                    cell.builder.push_null();
                }
                cell.written += 1;
                cells.filled += 1;
            }
            if !fits && on_mismatch == OnMismatch::Rescue {
                self.unfit.push(index);
            }
        }
        Ok(())
    }

    /// Put what did not fit into its column.
    #[inline]
    fn rescue(&mut self, payload: &[u8]) {
        if !self.unfit.is_empty() {
            self.write_rescued(payload);
        }
    }

    #[cold]
    fn write_rescued(&mut self, payload: &[u8]) {
        let Parser { config, wanted, fields, cells, .. } = &mut *self.parser;
        let column = config.settings.rescued.expect("invariant: something is noted only if it can be rescued");
        let cell = &mut cells.cells[column];
        let Builder::String(builder) = &mut cell.builder else {
            unreachable!("the settings see to it that only text takes the rescued");
        };
        let (unfit, record, scratch) = (&mut self.unfit, &self.record, &mut self.scratch);
        // The name of the path is taken.
        unfit.retain(|index| fields.get(*index, wanted).name.as_bytes() != rescue::FILE_PATH_KEY);
        if !unfit.is_empty() {
            builder.push_with(|out| {
                out.push(b'{');
                for index in unfit.iter() {
                    rescue::separate(out);
                    rescue::quote(fields.get(*index, wanted).name.as_bytes(), out);
                    out.push(b':');
                    rescue::quote(record[*index].text(payload, &config.dialect, scratch), out);
                }
                rescue::end(self.file_path, out);
            });
            cell.written += 1;
            cells.filled += 1;
        }
        unfit.clear();
    }

    fn reject(&mut self, span: Option<(usize, usize)>, reason: String) {
        let narrow = |at: usize| u32::try_from(at).expect("invariant: a chunk has fewer than 2^31 bytes");
        let element = span.map(|_| self.element);
        let span = span.map(|(start, end)| Span { start: narrow(start), end: narrow(end) });
        self.rejected.push(Rejection { input: self.message, element, span, reason });
        self.element += 1;
        self.rejections += 1;
    }
}

/// The end of what stands from `start` to `end` without its line ends; never empty.
fn end_of_text(payload: &[u8], start: usize, end: usize) -> usize {
    let text = payload[start..end].iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
    text.map_or(end, |last| start + last + 1)
}
