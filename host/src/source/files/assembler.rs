//! From the bytes of files to chunks of messages.
//!
//! Files are read straight into the buffer that becomes a chunk's payload:
//!
//! ```text
//! | messages that are framed | held: read, but not framed yet | room |
//! 0                          framed                            len
//! ```
//!
//! Where messages lie back to back nothing is moved but the end of a chunk's
//! buffer that belongs to the next chunk. Several files share a chunk; what is
//! held at any time belongs to one file.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;

use super::fields::{FieldPlan, FileFacts, Run};
use super::framing::{Frame, Framer, Pushed};
use crate::Result;
use crate::source::{Chunk, ChunkBounds, ChunkSender, Place, Positions, Unreadable};

/// The longest message that `i32` offsets leave room for.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// How a step ended: break if the receiver of chunks is gone.
pub(super) type Flow = Result<ControlFlow<()>>;

/// Go on, or stop because nobody listens any more.
macro_rules! go_on {
    ($flow:expr) => {
        if $flow?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    };
}
pub(super) use go_on;

/// The beginning of a message that is too long.
#[derive(Debug)]
struct Cut {
    start: u64,
    raw: Vec<u8>,
}

/// Builds chunks out of files, one file after the other.
pub(super) struct Assembler {
    bounds: ChunkBounds,
    fields: FieldPlan,
    out: ChunkSender,
    buffer: Vec<u8>,
    framed: usize,
    /// Where the held bytes start: in the buffer, and in the file.
    held: usize,
    held_position: u64,
    cut: Option<Cut>,
    frames: Vec<Frame>,
    offsets: Vec<i32>,
    places: Vec<Place>,
    runs: Vec<Run>,
    positions: Vec<i64>,
    unreadable: Vec<Unreadable>,
    unreadable_bytes: usize,
    /// Where the last message of the file ended, to see whether the next one
    /// follows it.
    last_end: Option<u64>,
}

impl Assembler {
    pub(super) fn new(bounds: ChunkBounds, fields: FieldPlan, out: ChunkSender) -> Self {
        let bounds = ChunkBounds {
            chunk_bytes: bounds.chunk_bytes.clamp(1, MAX_MESSAGE_BYTES),
            max_message_bytes: bounds.max_message_bytes.clamp(1, MAX_MESSAGE_BYTES),
        };
        Self {
            bounds,
            fields,
            out,
            buffer: Vec::new(),
            framed: 0,
            held: 0,
            held_position: 0,
            cut: None,
            frames: Vec::new(),
            offsets: vec![0],
            places: Vec::new(),
            runs: Vec::new(),
            positions: Vec::new(),
            unreadable: Vec::new(),
            unreadable_bytes: 0,
            last_end: None,
        }
    }

    /// Root arrays longer than this are split.
    pub(super) fn split_bytes(&self) -> u64 {
        // A root value is held with the white space before it, and a split goes
        // back to its start: it must come before a message is cut.
        let uncut = self.bounds.max_message_bytes as u64;
        (self.bounds.chunk_bytes as u64).min(uncut.saturating_sub(super::framing::MAX_INDENT_BYTES)).max(1)
    }

    /// Blocks of CSV are no longer than this, unless a single record is.
    pub(super) fn block_bytes(&self) -> u64 {
        let bounds = [self.bounds.chunk_bytes as u64, self.bounds.max_message_bytes as u64];
        bounds.into_iter().fold(super::framing::MAX_BLOCK_BYTES, u64::min)
    }

    /// Begin a file; the one before must be finished or failed.
    pub(super) fn begin(&mut self) {
        self.held = self.framed;
        self.held_position = 0;
        self.last_end = None;
    }

    /// Read the file to its end and deliver its messages.
    ///
    /// The inner result is the reader's: after an error, what was read before it
    /// is delivered, and the rest waits for [`Assembler::fail`].
    pub(super) fn read(
        &mut self,
        file: &Arc<FileFacts>,
        framer: &mut Framer,
        input: &mut dyn Read,
    ) -> Result<ControlFlow<(), std::io::Result<()>>> {
        loop {
            let room = match self.room()? {
                ControlFlow::Continue(room) => room,
                ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
            };
            if self.buffer.capacity() < self.buffer.len() + room {
                self.buffer.reserve(room);
            }
            let read = input.take(room as u64).read_to_end(&mut self.buffer);
            let ended = !matches!(&read, Ok(bytes) if *bytes > 0);
            loop {
                let from = self.index(framer.position());
                match framer.push(&self.buffer[from..], &mut self.frames) {
                    Pushed::All => break,
                    Pushed::Rewound => {}
                }
            }
            if self.take_frames(file, framer)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.let_go(framer);
            if ended {
                return Ok(ControlFlow::Continue(read.map(|_| ())));
            }
        }
    }

    /// The file ended as it should.
    pub(super) fn finish(&mut self, file: &Arc<FileFacts>, framer: &mut Framer) -> Flow {
        framer.finish(&mut self.frames);
        go_on!(self.take_frames(file, framer));
        // What is left are separators.
        self.cut = None;
        self.buffer.truncate(self.framed);
        Ok(ControlFlow::Continue(()))
    }

    /// The file ended before its time, or could not be read at all: what is
    /// held of it is unreadable.
    pub(super) fn fail(&mut self, file: &Arc<FileFacts>, reason: String) -> Flow {
        let (position, mut raw) = match self.cut.take() {
            Some(cut) => (cut.start, cut.raw),
            None => (self.held_position, self.buffer.split_off(self.held)),
        };
        raw.truncate(self.bounds.max_message_bytes);
        self.buffer.truncate(self.framed);
        self.reject(file, position, reason, raw)
    }

    /// Deliver rows that have columns already; the first of them is row `first_row`
    /// of the file.
    pub(super) fn rows(&mut self, file: &Arc<FileFacts>, first_row: u64, rows: RecordBatch) -> Flow {
        let count = rows.num_rows();
        let end = first_row + count as u64;
        let positions = match self.fields.wants_positions() {
            true => (first_row..end).map(|row| i64::try_from(row).unwrap_or(i64::MAX)).collect(),
            false => Vec::new(),
        };
        let run = Run { file: Arc::clone(file), messages: count };
        let place = Place {
            first_message: 0,
            name: Arc::clone(&file.path),
            positions: Positions::Consecutive { first: first_row },
        };
        let chunk = Chunk {
            payload: Bytes::new(),
            offsets: vec![0; count + 1],
            fields: self.fields.build(&[run], positions)?,
            places: vec![place],
            unreadable: std::mem::take(&mut self.unreadable),
            rows: Some(rows),
        };
        self.unreadable_bytes = 0;
        Ok(match self.out.blocking_send(chunk) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_unwanted) => ControlFlow::Break(()),
        })
    }

    /// Deliver what is gathered.
    pub(super) fn flush(&mut self) -> Flow {
        self.cut_chunk(self.framed)
    }

    /// How many bytes to read next; makes room for them.
    fn room(&mut self) -> Result<ControlFlow<(), usize>> {
        let chunk_bytes = self.bounds.chunk_bytes;
        if self.buffer.len() >= chunk_bytes && self.framed > 0 && self.cut_chunk(self.framed)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let left = chunk_bytes.saturating_sub(self.buffer.len());
        // A message that is longer than a chunk grows the buffer step by step.
        Ok(ControlFlow::Continue(if left > 0 { left } else { chunk_bytes.div_ceil(4) }))
    }

    /// Where a position of the file lies in the buffer.
    fn index(&self, position: u64) -> usize {
        // What is held is in memory, so the distance fits.
        self.held + usize::try_from(position.saturating_sub(self.held_position)).unwrap_or(0)
    }

    fn take_frames(&mut self, file: &Arc<FileFacts>, framer: &Framer) -> Flow {
        let mut frames = std::mem::take(&mut self.frames);
        if self.fields.wants_headers()
            && let Some(first) = frames.first().filter(|frame| frame.start == 0)
            && first.end <= self.bounds.max_message_bytes as u64
            && let Some(end) = framer.header_end()
        {
            file.set_header(&self.buffer[self.index(0)..self.index(end)]);
        }
        for frame in frames.drain(..) {
            go_on!(self.take_frame(file, frame));
        }
        self.frames = frames;
        self.close_gap();
        Ok(ControlFlow::Continue(()))
    }

    fn take_frame(&mut self, file: &Arc<FileFacts>, frame: Frame) -> Flow {
        let bytes = frame.end - frame.start;
        if bytes > self.bounds.max_message_bytes as u64 {
            let kept = self.bounds.max_message_bytes;
            let raw = match self.cut.take() {
                Some(cut) => cut.raw,
                None => {
                    let from = self.index(frame.start);
                    self.buffer[from..from + kept].to_vec()
                }
            };
            // White space behind it may have gone with the rest of it.
            let end = frame.end.max(self.held_position);
            self.held = self.index(end);
            self.held_position = end;
            let reason = format!(
                "the message of {bytes} bytes is longer than the bound of {kept} bytes; its first {kept} bytes are kept"
            );
            return self.reject(file, frame.start, reason, raw);
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut from = self.index(frame.start);
        if self.framed > 0 && self.framed + bytes > self.bounds.chunk_bytes {
            self.held_position = frame.start;
            go_on!(self.cut_chunk(from));
            from = self.held;
        }
        if from != self.framed {
            self.buffer.copy_within(from..from + bytes, self.framed);
        }
        self.held = from + bytes;
        self.held_position = frame.end;
        self.framed += bytes;
        self.note_message(file, frame);
        Ok(ControlFlow::Continue(()))
    }

    fn note_message(&mut self, file: &Arc<FileFacts>, frame: Frame) {
        let message = self.offsets.len() - 1;
        // The bounds keep a chunk far below the limit of the type.
        self.offsets.push(i32::try_from(self.framed).unwrap_or(i32::MAX));
        if self.fields.wants_positions() {
            self.positions.push(i64::try_from(frame.start).unwrap_or(i64::MAX));
        }
        let follows = self.last_end.replace(frame.end) == Some(frame.start);
        match self.runs.last_mut().filter(|run| Arc::ptr_eq(&run.file, file)) {
            Some(run) => {
                run.messages += 1;
                match self.places.last_mut().map(|place| &mut place.positions) {
                    Some(Positions::Each(positions)) => return positions.push(frame.start),
                    Some(Positions::Bytes { .. }) if follows => return,
                    _ => {}
                }
                let positions = Positions::Each(vec![frame.start]);
                self.places.push(Place { first_message: message, name: Arc::clone(&file.path), positions });
            }
            None => {
                self.runs.push(Run { file: Arc::clone(file), messages: 1 });
                let positions = Positions::Bytes { first: frame.start };
                self.places.push(Place { first_message: message, name: Arc::clone(&file.path), positions });
            }
        }
    }

    /// Move the held bytes up to the framed ones.
    fn close_gap(&mut self) {
        if self.held != self.framed {
            let held = self.held.min(self.buffer.len())..;
            let bytes = self.buffer.len() - held.start;
            self.buffer.copy_within(held, self.framed);
            self.buffer.truncate(self.framed + bytes);
            self.held = self.framed;
        }
    }

    /// Let go of separators, and of the rest of a message that is too long.
    fn let_go(&mut self, framer: &Framer) {
        let keep_from = framer.keep_from();
        if self.cut.as_ref().is_some_and(|cut| cut.start != keep_from) {
            self.cut = None;
        }
        // White space at the end may not belong to the message.
        let open = (framer.position() - keep_from).saturating_sub(super::framing::MAX_INDENT_BYTES);
        if self.cut.is_none() && open > self.bounds.max_message_bytes as u64 {
            let from = self.index(keep_from);
            let raw = self.buffer[from..from + self.bounds.max_message_bytes].to_vec();
            self.cut = Some(Cut { start: keep_from, raw });
        }
        let keep_from = if self.cut.is_some() { framer.position() } else { keep_from };
        if keep_from > self.held_position {
            self.held = self.index(keep_from);
            self.held_position = keep_from;
            self.close_gap();
        }
    }

    fn reject(&mut self, file: &Arc<FileFacts>, position: u64, reason: String, raw: Vec<u8>) -> Flow {
        self.unreadable_bytes += raw.len() + reason.len() + file.path.len();
        self.unreadable.push(Unreadable { place: file.path.to_string(), position, reason, raw: Bytes::from(raw) });
        if self.unreadable_bytes > self.bounds.chunk_bytes {
            let held = self.held.min(self.buffer.len());
            return self.cut_chunk(held);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Deliver the framed messages; the bytes from `held` on go to the next chunk.
    fn cut_chunk(&mut self, held: usize) -> Flow {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        if offsets.len() == 1 && self.unreadable.is_empty() {
            self.buffer.drain(..held);
        } else {
            let mut next = Vec::with_capacity((self.buffer.len() - held).max(self.bounds.chunk_bytes));
            next.extend_from_slice(&self.buffer[held..]);
            let mut payload = std::mem::replace(&mut self.buffer, next);
            payload.truncate(self.framed);
            if payload.len() < payload.capacity() / 2 {
                payload.shrink_to_fit();
            }
            let fields = self.fields.build(&std::mem::take(&mut self.runs), std::mem::take(&mut self.positions))?;
            let chunk = Chunk {
                payload: Bytes::from(payload),
                offsets,
                fields,
                places: std::mem::take(&mut self.places),
                unreadable: std::mem::take(&mut self.unreadable),
                rows: None,
            };
            self.unreadable_bytes = 0;
            if self.out.blocking_send(chunk).is_err() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.framed = 0;
        self.held = 0;
        Ok(ControlFlow::Continue(()))
    }
}
