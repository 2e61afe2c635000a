//! Sessions: windows that grow with their rows, and grow together.

use std::collections::HashMap;

use super::assign::{Assigned, LateRow, Merge};
use super::groups::{Groups, Slot};
use super::keys::KeyId;
use super::window::Window;
use crate::model::EventTime;

/// The open sessions of each key, and those that became one in this chunk.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// By key, in the order of their starts.
    of_key: HashMap<KeyId, Vec<u32>, ahash::RandomState>,
    /// Sessions that ended in an earlier one in this chunk.
    absorbed: HashMap<u32, u32>,
}

impl Sessions {
    /// File an open session.
    pub(super) fn insert(&mut self, key: KeyId, slot: u32, slots: &[Slot]) {
        let sessions = self.of_key.entry(key).or_default();
        let start = slots[slot as usize].start;
        let index = sessions.partition_point(|other| slots[*other as usize].start < start);
        sessions.insert(index, slot);
    }

    /// Take a session out.
    pub(super) fn remove(&mut self, key: KeyId, slot: u32) {
        if let Some(sessions) = self.of_key.get_mut(&key) {
            sessions.retain(|other| *other != slot);
            if sessions.is_empty() {
                self.of_key.remove(&key);
            }
        }
    }

    /// The sessions that a row at `time` touches, earliest first: at most two,
    /// because others would have become one.
    fn touched(&self, key: KeyId, (time, gap): (i64, i64), slots: &[Slot]) -> (Option<u32>, Option<u32>) {
        let sessions = self.of_key.get(&key).map_or(&[][..], Vec::as_slice);
        let first = sessions.partition_point(|slot| slots[*slot as usize].end < time);
        let mut touched = sessions[first..].iter().copied().filter(|slot| slots[*slot as usize].start <= time + gap);
        (touched.next(), touched.next())
    }

    /// Where a session of this chunk ended.
    fn last_of(&self, mut slot: u32) -> u32 {
        while let Some(into) = self.absorbed.get(&slot) {
            slot = *into;
        }
        slot
    }
}

impl Groups {
    /// Put a row into the session that it touches, or into a new one.
    pub(super) fn session(
        &mut self,
        (bytes, hash): (&[u8], u64),
        row: u32,
        (time, gap): (i64, i64),
        closed: i64,
        assigned: &mut Assigned,
    ) {
        let known = self.keys.find(bytes, hash);
        let touched = known.map_or((None, None), |key| self.sessions.touched(key, (time, gap), &self.slots));
        let slot = match touched {
            (None, _) => {
                // Alone it would make a window that is closed.
                if time + gap <= closed {
                    let window = Window { start: EventTime(time), end: EventTime(time + gap) };
                    assigned.late.push(LateRow { row, window });
                    return;
                }
                let key = self.keys.find_or_insert(bytes, hash);
                let slot = self.open(key, time, time + gap);
                self.sessions.insert(key, slot, &self.slots);
                slot
            }
            (Some(slot), second) => {
                if let Some(second) = second {
                    self.absorb(slot, second);
                }
                let session = &mut self.slots[slot as usize];
                session.start = session.start.min(time);
                session.end = session.end.max(time + gap);
                slot
            }
        };
        assigned.rows.push(row);
        assigned.groups.push(slot);
        self.touch(slot);
    }

    /// End a session in the one before it.
    fn absorb(&mut self, into: u32, source: u32) {
        let end = self.slots[source as usize].end;
        let session = &mut self.slots[into as usize];
        session.end = session.end.max(end);
        let key = session.key;
        self.sessions.remove(key, source);
        self.sessions.absorbed.insert(source, into);
        // It holds its key until the chunk is done.
    }

    /// Send the rows of sessions that ended in others to those, and close them.
    pub(super) fn settle_sessions(&mut self, assigned: &mut Assigned) {
        if self.sessions.absorbed.is_empty() {
            return;
        }
        for slot in &mut assigned.groups {
            *slot = self.sessions.last_of(*slot);
        }
        let mut sources: Vec<u32> = self.sessions.absorbed.keys().copied().collect();
        sources.sort_unstable_by_key(|slot| (self.slots[*slot as usize].start, *slot));
        for source in sources {
            // A plugin that never saw it has nothing to merge.
            if self.slots[source as usize].has_state {
                let into = self.sessions.last_of(source);
                assigned.merges.push(Merge { into, source });
                self.slots[into as usize].has_state = true;
                self.touch(into);
            }
            self.close(source);
        }
        self.sessions.absorbed.clear();
    }
}
