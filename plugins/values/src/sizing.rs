//! How large the columns of a chunk will be, judged by the chunk before.

use crate::cells::Group;

/// The size of the last chunk and what it gave.
#[derive(Debug, Default)]
pub struct Sizing {
    chunk_bytes: usize,
    rows: usize,
    text_bytes: Vec<usize>,
}

impl Sizing {
    /// Make room in `group` for the rows of a chunk. Returns their number as expected.
    pub fn reserve<P>(&self, chunk_bytes: usize, group: &mut Group<P>) -> usize {
        let guess = |last: usize| {
            let expected = last as u128 * chunk_bytes as u128 / self.chunk_bytes.max(1) as u128;
            // A sixteenth more than last time, but no column outgrows its chunk.
            usize::try_from(expected + expected / 16).map_or(chunk_bytes, |guess| guess.min(chunk_bytes))
        };
        let rows = guess(self.rows);
        let text_bytes: Vec<usize> = self.text_bytes.iter().map(|bytes| guess(*bytes)).collect();
        group.reserve(rows, &text_bytes);
        rows
    }

    /// Remember what a chunk gave.
    pub fn learn<P>(&mut self, chunk_bytes: usize, group: &Group<P>) {
        *self = Self { chunk_bytes, rows: group.rows, text_bytes: group.text_bytes() };
    }
}
