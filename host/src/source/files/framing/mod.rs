//! Framing: where one message ends and the next begins in the bytes of a file.
//!
//! Pure and streaming: a framer is pushed every byte of a file once, in blocks of
//! any size, and answers with the spans of messages as absolute positions. It
//! holds no bytes and judges none: whoever pushes keeps the bytes from
//! [`Framer::keep_from`] on.
//!
//! Invariants:
//! - the spans do not depend on where the blocks end;
//! - spans ascend and do not overlap; between them lie only separators (white
//!   space, a byte-order mark, and the commas and brackets of a split array).

mod csv;
mod json;
mod lines;
mod scan;

pub(super) use csv::CsvFramer;
pub(super) use json::{JsonFramer, MAX_INDENT_BYTES};
pub(super) use lines::LineFramer;

use std::ops::Range;

use super::settings::FileFormat;

/// Blocks of records are no longer than this, unless a single record is.
pub(super) const MAX_BLOCK_BYTES: u64 = 64 << 10;

/// The byte-order mark of UTF-8 (Unicode Standard, section 23.8).
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// A message: the bytes `start..end` of the decompressed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// The position of its first byte.
    pub(super) start: u64,
    /// The position behind its last byte.
    pub(super) end: u64,
}

/// How a push ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "after a rewind, bytes must be pushed again"]
pub(super) enum Pushed {
    /// The block is taken.
    All,
    /// Push again from [`Framer::position`] on, which is not before
    /// [`Framer::keep_from`] was.
    Rewound,
}

/// The framer of one file.
#[derive(Debug)]
pub(super) enum Framer {
    /// One message a line.
    Lines(LineFramer),
    /// One message a root value, or an element of a long root array.
    Json(JsonFramer),
    /// One message a block of records.
    Csv(CsvFramer),
    /// The file is one message; holds the position.
    Whole(u64),
}

/// What a framer is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    pub(super) format: FileFormat,
    /// What may have line ends in it, in CSV.
    pub(super) csv_quote: Option<u8>,
    /// Root arrays of JSON that are longer are split.
    pub(super) split_bytes: u64,
    /// Blocks of CSV are no longer, unless a single record is.
    pub(super) block_bytes: u64,
}

impl Framer {
    /// The framer of a file.
    pub(super) fn new(framing: Framing) -> Self {
        match framing.format {
            FileFormat::Json => Self::Json(JsonFramer::new(framing.split_bytes)),
            FileFormat::JsonLines => Self::Lines(LineFramer::json()),
            FileFormat::Csv => Self::Csv(CsvFramer::new(framing.csv_quote, framing.block_bytes)),
            FileFormat::Text => Self::Lines(LineFramer::text()),
            // Rows of Parquet are not framed at all.
            FileFormat::Binary | FileFormat::Parquet => Self::Whole(0),
        }
    }

    /// Where the first record of the file ended, if that means anything.
    pub(super) fn header_end(&self) -> Option<u64> {
        match self {
            Self::Csv(csv) => csv.header_end(),
            Self::Lines(_) | Self::Json(_) | Self::Whole(_) => None,
        }
    }

    /// The position of the byte to push next.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.position(),
            Self::Json(json) => json.position(),
            Self::Csv(csv) => csv.position(),
            Self::Whole(position) => *position,
        }
    }

    /// The first byte that a coming span or rewind may need.
    pub(super) fn keep_from(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.keep_from(),
            Self::Json(json) => json.keep_from(),
            Self::Csv(csv) => csv.keep_from(),
            Self::Whole(_) => 0,
        }
    }

    /// Take the bytes at [`Framer::position`] and say which messages ended.
    pub(super) fn push(&mut self, block: &[u8], frames: &mut Vec<Frame>) -> Pushed {
        match self {
            Self::Lines(lines) => lines.push(block, frames),
            Self::Json(json) => return json.push(block, frames),
            Self::Csv(csv) => csv.push(block, frames),
            Self::Whole(position) => *position += block.len() as u64,
        }
        Pushed::All
    }

    /// The file ends here: what is left is a message.
    pub(super) fn finish(&mut self, frames: &mut Vec<Frame>) {
        match self {
            Self::Lines(lines) => lines.finish(frames),
            Self::Json(json) => json.finish(frames),
            Self::Csv(csv) => csv.finish(frames),
            Self::Whole(0) => {}
            Self::Whole(end) => frames.push(Frame { start: 0, end: *end }),
        }
    }
}

/// The messages of a whole file in this format, as ranges of its bytes.
pub fn frames(bytes: &[u8], format: FileFormat) -> Vec<Range<usize>> {
    let framing = Framing { format, csv_quote: Some(b'"'), split_bytes: u64::MAX, block_bytes: MAX_BLOCK_BYTES };
    let (mut framer, mut frames) = (Framer::new(framing), Vec::new());
    loop {
        let from = usize::try_from(framer.position()).unwrap_or(usize::MAX).min(bytes.len());
        if framer.push(&bytes[from..], &mut frames) == Pushed::All {
            break;
        }
    }
    framer.finish(&mut frames);
    let index = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
    frames.iter().map(|frame| index(frame.start)..index(frame.end)).collect()
}

#[cfg(test)]
mod tests;
