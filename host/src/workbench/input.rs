//! What a trial runs over: messages for a parser, rows for the other roles.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::source::files::{FileFormat, frames};
use crate::{Error, Result};

/// The column of an aggregator's input that the host adds.
pub(super) const EVENT_TIME: &str = "event.time";
/// The event time of the first row where an input has none, and from one to the next.
const SECOND_US: i64 = 1_000_000;

/// What a trial runs over.
#[derive(Debug, Clone)]
pub enum Input {
    /// For a parser.
    Messages(Messages),
    /// For the other roles.
    Rows(Rows),
}

/// Messages, and what is known of each besides its bytes.
#[derive(Debug, Clone)]
pub struct Messages {
    /// The bytes, one message behind the other.
    pub payload: Vec<u8>,
    /// Message i is `payload[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<i32>,
    /// One row for each message.
    pub fields: RecordBatch,
    /// Who knows these fields.
    pub fields_from: FieldsFrom,
    /// The schema that the host keeps for the source, where it does.
    pub stored: Option<SchemaRef>,
}

/// Who knows the fields of messages, which says what to do about one that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldsFrom {
    /// Whoever writes a case.
    #[default]
    Case,
    /// The host, which knows no others here.
    Host,
}

/// Rows, and which of their columns make the groups.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The rows, in the contract's types.
    pub rows: RecordBatch,
    /// The columns whose values make a group.
    pub key: Vec<String>,
}

impl Default for Messages {
    fn default() -> Self {
        let (fields, fields_from) = (no_fields(0), FieldsFrom::default());
        Self { payload: Vec::new(), offsets: vec![0], fields, fields_from, stored: None }
    }
}

impl Messages {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Add a message.
    ///
    /// # Errors
    /// Data if all together have more than 2 GiB.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.payload.extend_from_slice(bytes);
        let end = i32::try_from(self.payload.len())
            .map_err(|_| Error::data("the input has more than 2 GiB: take a part of it"))?;
        self.offsets.push(end);
        self.fields = no_fields(self.len());
        Ok(())
    }

    /// The messages of each chunk, as a pipeline cuts them: a chunk has at most so
    /// many bytes, or one message. At least one chunk, which may be empty.
    pub(super) fn chunks(&self, chunk_bytes: usize) -> Vec<Range<usize>> {
        let (mut chunks, mut start) = (Vec::new(), 0);
        for message in 0..self.len() {
            let bytes = self.offsets[message + 1].abs_diff(self.offsets[start]) as usize;
            if bytes > chunk_bytes && message > start {
                chunks.push(start..message);
                start = message;
            }
        }
        chunks.push(start..self.len());
        chunks
    }

    /// The bytes of these messages, and where each of them starts and ends in those.
    pub(super) fn part(&self, range: &Range<usize>) -> (&[u8], Vec<i32>) {
        let offsets = &self.offsets[range.start..=range.end];
        let (start, end) = (self.offsets[range.start], self.offsets[range.end]);
        (&self.payload[start as usize..end as usize], offsets.iter().map(|offset| offset - start).collect())
    }

    /// The bytes of each.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.offsets.windows(2).map(|bounds| &self.payload[bounds[0] as usize..bounds[1] as usize])
    }
}

/// As many rows, without columns.
pub(super) fn no_fields(messages: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(messages));
    let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options);
    empty.unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())))
}

/// One message for each line: the text of a JSON string, the bytes of
/// `{"base64": "…"}`, any other JSON value as it is written, without the white
/// space between its parts.
///
/// # Errors
/// Data, naming the line that is no message.
pub fn messages_of_lines(text: &str, place: &str) -> Result<Messages> {
    let mut messages = Messages::default();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |why: String| {
            let form = "write a JSON string for text, {\"base64\": \"…\"} for bytes, or the JSON that is the message";
            Error::data(format!("{place}:{}: this is no message: {form}", index + 1)).because(why)
        };
        let value: Value = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        match (&value, value.as_object().and_then(base64)) {
            (Value::String(text), _) => messages.push(text.as_bytes())?,
            (_, Some(digits)) => {
                messages.push(&STANDARD.decode(digits).map_err(|error| wrong(error.to_string()))?)?;
            }
            _ => messages.push(compact(line).as_bytes())?,
        }
    }
    Ok(messages)
}

/// The digits of an object that stands for bytes.
fn base64(object: &Map<String, Value>) -> Option<&str> {
    object.get("base64").filter(|_| object.len() == 1)?.as_str()
}

/// JSON without the white space outside of strings; numbers stay as they are written.
fn compact(json: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(json.len()), false, false);
    for letter in json.chars() {
        if in_string || !letter.is_ascii_whitespace() {
            out.push(letter);
        }
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    out
}

/// The messages of a file, as a pipeline with this format takes them; returns where
/// in the file each begins.
///
/// # Errors
/// Data if the file is larger than 2 GiB.
pub fn messages_of_bytes(bytes: &[u8], format: FileFormat, into: &mut Messages) -> Result<Vec<i64>> {
    let mut positions = Vec::new();
    for range in frames(bytes, format) {
        positions.push(i64::try_from(range.start).unwrap_or(i64::MAX));
        into.push(&bytes[range])?;
    }
    Ok(positions)
}

impl Rows {
    /// Rows as an aggregator sees them: with the event time as the last column.
    /// Where there is none, row i is i seconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// Config if another column is the last one, or an event time is missing.
    pub(super) fn with_event_time(&self) -> Result<Self> {
        let schema = self.rows.schema();
        let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let (mut fields, mut columns) = (schema.fields().to_vec(), self.rows.columns().to_vec());
        match schema.index_of(EVENT_TIME) {
            Err(_) => {
                let count = i64::try_from(self.rows.num_rows()).unwrap_or(i64::MAX);
                let times = TimestampMicrosecondArray::from_iter_values((0..count).map(|row| row * SECOND_US));
                columns.push(Arc::new(times.with_timezone("UTC")));
                fields.push(Arc::new(Field::new(EVENT_TIME, kind, false)));
            }
            Ok(index) if index + 1 == fields.len() && *fields[index].data_type() == kind => {
                if let Some(row) = (0..self.rows.num_rows()).find(|row| columns[index].is_null(*row)) {
                    return Err(Error::config(format!(
                        "row {row} has no `{EVENT_TIME}`, which no row of an aggregator lacks: give it one"
                    )));
                }
                fields[index] = Arc::new(Field::new(EVENT_TIME, kind, false));
            }
            Ok(_) => {
                let last = "make it the last column, a timestamp, or leave it out";
                return Err(Error::config(format!("`{EVENT_TIME}` is not where weir puts it: {last}")));
            }
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Error::bug("rows do not take an event time").because(error))?;
        Ok(Self { rows, key: self.key.clone() })
    }
}

/// The message fields of these names, those without values being null.
///
/// # Errors
/// Config, naming the field that is not known.
pub(super) fn pick_fields(messages: &Messages, names: &[String]) -> Result<RecordBatch> {
    let (fields, messages, from) = (&messages.fields, messages.len(), messages.fields_from);
    let mut picked: Vec<(String, ArrayRef)> = Vec::new();
    for name in names {
        let Some(column) = fields.column_by_name(name) else {
            let remedy = match from {
                FieldsFrom::Case => {
                    "list it under `fields` in case.toml, such as `fields = [\"file_path string\"]`, with its values \
                     in fields.jsonl"
                        .to_owned()
                }
                FieldsFrom::Host => {
                    let schema = fields.schema();
                    let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                    format!("known here are {}: try it in a case, which gives its own `fields`", known.join(", "))
                }
            };
            return Err(Error::config(format!("the parser asks for the message field `{name}`: {remedy}")));
        };
        let column = match column.len() == messages {
            true => Arc::clone(column),
            false => new_null_array(column.data_type(), messages),
        };
        picked.push((name.clone(), column));
    }
    if picked.is_empty() {
        return Ok(no_fields(messages));
    }
    RecordBatch::try_from_iter_with_nullable(picked.into_iter().map(|(name, column)| (name, column, true)))
        .map_err(|error| Error::bug("message fields do not fit together").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_for_messages() {
        let text =
            "\"a\\nb\"\n\n{\"base64\": \"AAE=\"}\n{ \"x\" : 1.50, \"y z\": \" \\\" \" }\n[1, 2]\n{\"base64\":1}\n";
        let messages = messages_of_lines(text, "input.jsonl").unwrap();
        let found: Vec<&[u8]> = messages.iter().collect();
        let expected: [&[u8]; 5] = [b"a\nb", b"\0\x01", br#"{"x":1.50,"y z":" \" "}"#, b"[1,2]", br#"{"base64":1}"#];
        assert_eq!(found, expected);
        assert_eq!(messages.fields.num_rows(), 5);
    }

    #[test]
    fn chunks_end_before_they_are_too_large() {
        let check = |lengths: &[usize], expected: &[(usize, usize)]| {
            let mut messages = Messages::default();
            lengths.iter().for_each(|length| messages.push(&vec![b'x'; *length]).unwrap());
            let chunks = messages.chunks(10);
            let found: Vec<(usize, usize)> = chunks.iter().map(|range| (range.start, range.end)).collect();
            assert_eq!(found, expected, "{lengths:?}");
            for range in &chunks {
                let (payload, offsets) = messages.part(range);
                assert_eq!((offsets.len(), offsets[0]), (range.len() + 1, 0));
                assert_eq!(offsets[range.len()] as usize, payload.len());
                assert_eq!(payload.len(), lengths[range.clone()].iter().sum::<usize>());
            }
        };
        check(&[], &[(0, 0)]);
        check(&[3, 7, 0], &[(0, 3)]);
        check(&[3, 8, 2, 1], &[(0, 1), (1, 3), (3, 4)]);
        check(&[4, 25, 30, 4, 6], &[(0, 1), (1, 2), (2, 3), (3, 5)]);
    }

    #[test]
    fn the_hint_for_a_missing_field_is_for_whoever_gives_them() {
        let mut messages = messages_of_lines("1\n", "input.jsonl").unwrap();
        let names = ["header".to_owned()];
        let hint = |messages: &Messages| pick_fields(messages, &names).unwrap_err().to_string();
        assert!(hint(&messages).contains("list it under `fields`"));
        let path: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a.txt"]));
        messages.fields = RecordBatch::try_from_iter([("file_path", path)]).unwrap();
        messages.fields_from = FieldsFrom::Host;
        assert!(hint(&messages).contains("known here are file_path"));
    }

    #[test]
    fn a_line_that_is_no_message_is_named() {
        for line in ["nonsense", "{\"base64\": \"?\"}", "{} {}"] {
            let error = messages_of_lines(&format!("1\n{line}"), "input.jsonl").unwrap_err().to_string();
            assert!(error.starts_with("input.jsonl:2: "), "{error}");
        }
    }
}
