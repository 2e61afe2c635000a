//! Groups: a key in a window, and the slot under which a plugin knows it; when
//! they are due, and what became of them.

use std::collections::{BTreeMap, HashMap};

use ahash::RandomState;

use super::MAX_TIME_US;
use super::keys::{KeyId, KeyRows, KeyTable};
use super::sessions::Sessions;
use super::window::{Window, WindowKind};
use crate::model::{EventTime, Span};

/// How long a group lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as its window is open.
    Window(WindowKind),
    /// One for each key, until the watermark is so far behind its last row; for
    /// ever without an end.
    Key {
        /// How long a group is remembered.
        forget_after: Option<Span>,
    },
}

/// The start of a group that has no window.
const NO_START: i64 = -MAX_TIME_US;

/// One open group.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// Its key, for [`super::KeyColumns::columns`].
    pub key: &'a [u8],
    /// Its window; for a group without one, from long ago until it is forgotten.
    pub window: Window,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) key: KeyId,
    pub(super) start: i64,
    pub(super) end: i64,
    /// The start under which the durable state knows the group.
    durable: Option<i64>,
    changed: bool,
    is_open: bool,
    /// Whether a plugin has seen the slot since it was given out.
    pub(super) has_state: bool,
}

/// What became of the groups in an epoch, for the durable state.
#[derive(Debug, Default)]
pub struct Changed {
    /// Groups that are there no more, by key and the start that was durable.
    pub removed: Vec<(Box<[u8]>, EventTime)>,
    /// The slots of the groups that are new or changed.
    pub updated: Vec<u32>,
}

/// The open groups of one shard of a step.
#[derive(Debug)]
pub struct Groups {
    pub(super) lifetime: Lifetime,
    pub(super) keys: KeyTable,
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
    /// Released in this epoch; free in the next one.
    resting: Vec<u32>,
    by_window: HashMap<(KeyId, i64), u32, RandomState>,
    /// The latest group of each key, which is mostly the next one, too.
    recent: Vec<Option<(i64, u32)>>,
    pub(super) sessions: Sessions,
    /// Slots by the end that they had when they were put here.
    pub(super) by_end: BTreeMap<i64, Vec<u32>>,
    changed: Vec<u32>,
    removed: Vec<(Box<[u8]>, EventTime)>,
    open: usize,
}

impl Groups {
    /// No groups yet.
    pub fn new(lifetime: Lifetime) -> Self {
        Self {
            lifetime,
            keys: KeyTable::default(),
            slots: Vec::new(),
            free: Vec::new(),
            resting: Vec::new(),
            by_window: HashMap::default(),
            recent: Vec::new(),
            sessions: Sessions::default(),
            by_end: BTreeMap::new(),
            changed: Vec::new(),
            removed: Vec::new(),
            open: 0,
        }
    }

    /// No groups, of the same lifetime.
    #[must_use]
    pub fn empty(&self) -> Self {
        Self::new(self.lifetime)
    }

    /// How many groups are open.
    pub fn len(&self) -> usize {
        self.open
    }

    /// Whether no group is open.
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// The group of a key that begins at `start`.
    pub(super) fn open_window(&mut self, bytes: &[u8], hash: u64, start: i64, end: i64) -> u32 {
        let key = self.keys.find_or_insert(bytes, hash);
        let index = key as usize;
        if index >= self.recent.len() {
            self.recent.resize(index + 1, None);
        }
        if let Some((recent, slot)) = self.recent[index]
            && recent == start
        {
            return slot;
        }
        let slot = match self.by_window.get(&(key, start)) {
            Some(slot) => *slot,
            None => {
                let slot = self.open(key, start, end);
                self.by_window.insert((key, start), slot);
                slot
            }
        };
        self.recent[index] = Some((start, slot));
        slot
    }

    /// The one group of a key.
    pub(super) fn open_key(&mut self, bytes: &[u8], hash: u64, end: i64) -> u32 {
        self.open_window(bytes, hash, NO_START, end)
    }

    /// Give a slot out.
    pub(super) fn open(&mut self, key: KeyId, start: i64, end: i64) -> u32 {
        self.keys.hold(key);
        let group = Slot { key, start, end, durable: None, changed: false, is_open: true, has_state: false };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = group;
                slot
            }
            None => {
                self.slots.push(group);
                u32::try_from(self.slots.len() - 1).expect("invariant: memory ends before 2^32 groups")
            }
        };
        self.by_end.entry(end).or_default().push(slot);
        self.open += 1;
        slot
    }

    /// Note that a group was changed.
    pub(super) fn touch(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.slots[slot as usize].changed, true) {
            self.changed.push(slot);
        }
    }

    /// A group that was kept by an earlier run.
    pub fn restore(&mut self, keys: &KeyRows, row: usize, window: Window) -> u32 {
        let (bytes, hash) = keys.get(row);
        let (start, end) = (window.start.0, window.end.0);
        let end = match self.lifetime {
            // A run that forgets nothing forgets nothing that another would have.
            Lifetime::Key { forget_after: None } => i64::MAX,
            Lifetime::Key { .. } | Lifetime::Window(_) => end,
        };
        let slot = match self.lifetime {
            Lifetime::Window(WindowKind::Session { .. }) => {
                let key = self.keys.find_or_insert(bytes, hash);
                let slot = self.open(key, start, end);
                self.sessions.insert(key, slot, &self.slots);
                slot
            }
            Lifetime::Window(WindowKind::Aligned { .. }) | Lifetime::Key { .. } => {
                self.open_window(bytes, hash, start, end)
            }
        };
        let group = &mut self.slots[slot as usize];
        group.durable = Some(start);
        group.has_state = true;
        slot
    }

    /// An open group.
    pub fn group(&self, slot: u32) -> Group<'_> {
        let group = &self.slots[slot as usize];
        let window = Window { start: EventTime(group.start), end: EventTime(group.end) };
        Group { key: self.keys.bytes(group.key), window }
    }

    /// The groups that end at this watermark or before it, by end and start.
    /// They stay open until they are released.
    pub fn due(&mut self, watermark: EventTime) -> Vec<u32> {
        let later = self.by_end.split_off(&watermark.0.saturating_add(1));
        let candidates = std::mem::replace(&mut self.by_end, later);
        let mut due = Vec::new();
        for slot in candidates.into_values().flatten() {
            let group = &self.slots[slot as usize];
            if !group.is_open {
                continue;
            }
            if group.end <= watermark.0 {
                due.push(slot);
            } else {
                // It has grown, or the slot has another group now.
                self.by_end.entry(group.end).or_default().push(slot);
            }
        }
        due.sort_unstable_by_key(|slot| {
            let group = &self.slots[*slot as usize];
            (group.end, group.start, *slot)
        });
        // A slot that was used again stands here for each of its uses.
        due.dedup();
        due
    }

    /// Whether a group may end at this watermark or before it.
    pub fn is_due(&self, watermark: EventTime) -> bool {
        self.by_end.first_key_value().is_some_and(|(end, _)| *end <= watermark.0)
    }

    /// The latest end of the open groups that end and have begun by this instant.
    pub fn latest_end(&self, begun_by: EventTime) -> Option<EventTime> {
        let ends = |slot: &&Slot| slot.is_open && slot.end < i64::MAX && slot.start <= begun_by.0;
        self.slots.iter().filter(ends).map(|slot| slot.end).max().map(EventTime)
    }

    /// The groups that are open, by slot.
    pub fn open_groups(&self) -> impl Iterator<Item = u32> {
        let open = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_open);
        open.map(|(slot, _)| u32::try_from(slot).unwrap_or(u32::MAX))
    }

    /// The groups that were changed in this epoch and are open.
    pub fn changed_groups(&self) -> impl Iterator<Item = u32> {
        self.changed.iter().copied().filter(|slot| {
            let group = &self.slots[*slot as usize];
            group.is_open && group.changed
        })
    }

    /// End a group. Its slot rests until the end of the epoch.
    pub fn release(&mut self, slot: u32) {
        let group = self.slots[slot as usize];
        let index = group.key as usize;
        if let Lifetime::Window(WindowKind::Session { .. }) = self.lifetime {
            self.sessions.remove(group.key, slot);
        } else {
            self.by_window.remove(&(group.key, group.start));
            if self.recent[index].is_some_and(|(start, _)| start == group.start) {
                self.recent[index] = None;
            }
        }
        self.close(slot);
    }

    /// Take a slot back, whatever it was filed under.
    pub(super) fn close(&mut self, slot: u32) {
        let group = self.slots[slot as usize];
        if let Some(start) = group.durable {
            self.removed.push((self.keys.bytes(group.key).into(), EventTime(start)));
        }
        self.keys.let_go(group.key);
        let group = &mut self.slots[slot as usize];
        (group.is_open, group.changed) = (false, false);
        self.open -= 1;
        self.resting.push(slot);
    }

    /// What the epoch has changed, for the durable state, which must hold it from
    /// now on. Slots that rest can be given out again.
    pub fn end_epoch(&mut self) -> Changed {
        let mut removed = std::mem::take(&mut self.removed);
        let mut updated = Vec::new();
        for slot in std::mem::take(&mut self.changed) {
            let group = &mut self.slots[slot as usize];
            if !std::mem::take(&mut group.changed) {
                continue;
            }
            if let Some(before) = group.durable.replace(group.start)
                && before != group.start
            {
                removed.push((self.keys.bytes(group.key).into(), EventTime(before)));
            }
            updated.push(slot);
        }
        self.free.append(&mut self.resting);
        Changed { removed, updated }
    }
}

#[cfg(test)]
mod tests;
