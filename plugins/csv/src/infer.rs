//! The schema of a sample.

use weir_plugin::infer::Sample;
use weir_plugin::{Messages, Problem, Schema};
use weir_values::timestamp::Dates;

use crate::config::InferenceConfig;
use crate::header;
use crate::messages::Starts;
use crate::record;
use crate::resync::Resync;
use crate::value;

/// The schema that fits all records of a sample. With headers these say which
/// columns there are, and what a record has beyond them is no column.
pub(crate) fn infer(config: &InferenceConfig, sample: &Messages) -> Result<Schema, Vec<Problem>> {
    let mut reader = Reader { config, seen: Sample::new(config.case), dates: Dates::default(), names: Vec::new() };
    let starts = Starts::new(sample, &config.dialect).map_err(|error| vec![Problem::new("", error.message)])?;
    for (message, payload) in (0..).zip(sample.payloads()) {
        reader.message(message, payload, &starts);
    }
    reader.seen.schema()
}

struct Reader<'a> {
    config: &'a InferenceConfig,
    seen: Sample,
    dates: Dates,
    names: Vec<String>,
}

impl Reader<'_> {
    /// What cannot be read is skipped, as are files without a header that should have one.
    fn message(&mut self, message: u32, payload: &[u8], starts: &Starts<'_>) {
        let dialect = &self.config.dialect;
        if dialect.header {
            let header = starts.header(message).unwrap_or_default();
            let Ok(names) = header::names(header, dialect, self.config.case) else {
                return;
            };
            names.iter().for_each(|name| self.seen.column(name, |_| {}));
            self.names = names;
        }
        let Ok(start) = starts.first_record(message, payload, dialect) else {
            return;
        };
        let mut resync = Resync::new(payload.len());
        let mut fields = Vec::new();
        let mut scratch = Vec::new();
        let mut at = record::skip_blank_lines(payload, start);
        while at < payload.len() {
            let end = match record::read(payload, at, dialect, &mut fields) {
                Ok(end) => {
                    if std::str::from_utf8(&payload[at..end]).is_ok() {
                        self.record(payload, &fields, &mut scratch);
                    }
                    end
                }
                Err(_) => {
                    let expected = dialect.header.then_some(self.names.len());
                    resync.next_record(payload, at, expected, dialect).unwrap_or(payload.len())
                }
            };
            at = record::skip_blank_lines(payload, end);
        }
    }

    fn record(&mut self, payload: &[u8], fields: &[record::Field], scratch: &mut Vec<u8>) {
        let dialect = &self.config.dialect;
        if !dialect.header {
            for next in self.names.len()..fields.len() {
                self.names.push(header::by_place(next));
            }
        }
        for (name, field) in self.names.iter().zip(fields) {
            let dates = &mut self.dates;
            self.seen.column(name, |seen| {
                if !field.is_null(payload, dialect) {
                    value::see(field.text(payload, dialect, scratch), seen, dates);
                }
            });
        }
    }
}
