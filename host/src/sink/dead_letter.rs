//! Dead letters: what could not become a row, as rows of a table of its own.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Array, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;

use crate::model::{Epoch, PluginIdentity};
use crate::{Error, Result};

/// The name of the table.
pub const TABLE_NAME: &str = "dead_letters";

/// One message, or part of one, that was rejected.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The step of the pipeline that rejected it.
    pub step: String,
    /// Where it came from: the partition or the file.
    pub place: String,
    /// Its offset in the partition, or its position in the file.
    pub position: u64,
    /// Which element of the message, from 0, where the message has several.
    pub element: Option<u32>,
    /// The first byte of the offending part in the message, and the one behind its last.
    pub span: Option<(u64, u64)>,
    /// Why it was rejected, in words.
    pub reason: String,
    /// The plugin that rejected it, if it was one.
    pub plugin: Option<PluginIdentity>,
    /// The bytes of the message, where they are kept.
    pub raw: Option<Bytes>,
}

/// The columns of the table.
pub fn schema() -> SchemaRef {
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        field("epoch", DataType::Int64),
        field("rejected_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("step", DataType::Utf8),
        field("source_place", DataType::Utf8),
        field("position", DataType::Int64),
        field("element", DataType::Int64),
        field("span_start", DataType::Int64),
        field("span_end", DataType::Int64),
        field("reason", DataType::Utf8),
        field("plugin", DataType::Utf8),
        field("plugin_version", DataType::Utf8),
        field("plugin_sha256", DataType::Utf8),
        field("raw", DataType::Binary),
    ]))
}

/// The rows for these letters, in their order. `rejected_at_us` is the clock of
/// the epoch, in microseconds since 1970-01-01T00:00:00Z.
///
/// # Errors
/// Bug if the columns do not make a batch.
pub fn rows(letters: &[DeadLetter], epoch: Epoch, rejected_at_us: i64) -> Result<RecordBatch> {
    let (mut position, mut element) = (Int64Builder::new(), Int64Builder::new());
    let (mut span_start, mut span_end) = (Int64Builder::new(), Int64Builder::new());
    let mut texts: [StringBuilder; 6] = Default::default();
    let [step, place, reason, plugin, version, sha256] = &mut texts;
    let mut raw = BinaryBuilder::new();
    for letter in letters {
        step.append_value(&letter.step);
        place.append_value(&letter.place);
        position.append_value(whole(letter.position));
        element.append_option(letter.element.map(i64::from));
        span_start.append_option(letter.span.map(|(start, _)| whole(start)));
        span_end.append_option(letter.span.map(|(_, end)| whole(end)));
        reason.append_value(&letter.reason);
        let identity = letter.plugin.as_ref();
        plugin.append_option(identity.map(|identity| &identity.name));
        version.append_option(identity.map(|identity| &identity.version));
        sha256.append_option(identity.map(|identity| identity.sha256.to_string()));
        raw.append_option(letter.raw.as_ref());
    }
    let count = letters.len();
    let [mut step, mut place, mut reason, mut plugin, mut version, mut sha256] = texts;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![epoch.transaction_version(); count])),
        Arc::new(TimestampMicrosecondArray::from(vec![rejected_at_us; count]).with_timezone("UTC")),
        Arc::new(step.finish()),
        Arc::new(place.finish()),
        Arc::new(position.finish()),
        Arc::new(element.finish()),
        Arc::new(span_start.finish()),
        Arc::new(span_end.finish()),
        Arc::new(reason.finish()),
        Arc::new(plugin.finish()),
        Arc::new(version.finish()),
        Arc::new(sha256.finish()),
        Arc::new(raw.finish()),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|error| Error::bug("dead letters make no batch").because(error))
}

/// Positions beyond the largest bigint do not occur; they would stand at it.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use arrow::util::pretty::pretty_format_batches;

    fn letter() -> DeadLetter {
        DeadLetter {
            step: "parser".to_owned(),
            place: "0".to_owned(),
            position: 41,
            element: None,
            span: None,
            reason: "not JSON".to_owned(),
            plugin: None,
            raw: None,
        }
    }

    #[test]
    fn every_part_of_a_letter_has_its_column() {
        let plugin = PluginIdentity {
            step: "parser".to_owned(),
            name: "json".to_owned(),
            version: "1.2.3".to_owned(),
            sha256: Digest::of(b"component"),
        };
        let full = DeadLetter {
            element: Some(3),
            span: Some((10, 20)),
            plugin: Some(plugin),
            raw: Some(Bytes::from_static(b"{")),
            ..letter()
        };
        let batch = rows(&[letter(), full], Epoch::FIRST, 1_000_000).expect("rows");
        let text = pretty_format_batches(&[batch]).expect("printable").to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
        let bare = ["0", "1970-01-01T00:00:01Z", "parser", "0", "41", "", "", "", "not JSON", "", "", "", ""];
        assert_eq!(lines[3][1..14], bare);
        let sha256 = Digest::of(b"component").to_string();
        let full = ["0", "1970-01-01T00:00:01Z", "parser", "0", "41", "3", "10", "20", "not JSON", "json", "1.2.3"];
        assert_eq!(lines[4][1..12], full);
        assert_eq!(lines[4][12..14], [sha256.as_str(), "7b"]);
    }

    #[test]
    fn no_letters_make_no_rows() {
        assert_eq!(rows(&[], Epoch::FIRST, 0).expect("rows").num_rows(), 0);
    }
}
