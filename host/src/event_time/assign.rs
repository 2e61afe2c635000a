//! Rows into groups, which are opened where need be; rows that are too late.

use arrow::array::BooleanArray;
use arrow::buffer::NullBuffer;

use super::groups::{Groups, Lifetime};
use super::is_event_time;
use super::keys::KeyRows;
use super::window::{Window, WindowKind, starts};
use crate::model::EventTime;

/// A row that came after its window was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateRow {
    /// The row.
    pub row: u32,
    /// The window.
    pub window: Window,
}

/// Groups that became one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// The group that goes on.
    pub into: u32,
    /// The group that ends in it.
    pub source: u32,
}

/// The groups of some rows. What is merged is merged before the rows are folded.
#[derive(Debug, Default)]
pub struct Assigned {
    /// The rows that are in a group, once for each group.
    pub rows: Vec<u32>,
    /// The group of each of them.
    pub groups: Vec<u32>,
    /// The rows that came too late for a window.
    pub late: Vec<LateRow>,
    /// The groups that have a state and became one.
    pub merges: Vec<Merge>,
}

impl Groups {
    /// The groups of the rows that belong to this shard, opened where need be.
    ///
    /// `times[i]` is the event time of row i, valid where `valid` says so; rows that
    /// `first` denies are left out. A row without event time is in no window; for a
    /// group without a window it counts as of no time. A window that ends at the
    /// watermark or before it is closed.
    pub fn assign(
        &mut self,
        keys: &KeyRows,
        (times, valid, first): (&[i64], Option<&NullBuffer>, Option<&BooleanArray>),
        (shard, shards): (usize, usize),
        watermark: Option<EventTime>,
    ) -> Assigned {
        let closed = watermark.map_or(i64::MIN, |watermark| watermark.0);
        let mut assigned = Assigned::default();
        assigned.rows.reserve(keys.len());
        assigned.groups.reserve(keys.len());
        // Rows of one window come together.
        let mut latest = (0, 0);
        for (row, time) in times.iter().copied().enumerate() {
            if shards > 1 && keys.shard(row, shards) != shard {
                continue;
            }
            if first.is_some_and(|first| !first.value(row)) {
                continue;
            }
            let time = valid.is_none_or(|valid| valid.is_valid(row)).then_some(time);
            let time = time.filter(|time| is_event_time(*time));
            let number = u32::try_from(row).expect("invariant: a chunk has less than 2^32 rows");
            match (self.lifetime, time) {
                (Lifetime::Window(_), None) => {}
                (Lifetime::Window(WindowKind::Aligned { size, slide, offset }), Some(time)) if size == slide => {
                    if !(latest.0..latest.1).contains(&time) {
                        let start = time - (time - offset.0).rem_euclid(size.0);
                        latest = (start, start + size.0);
                    }
                    self.aligned(keys, row, number, latest, closed, &mut assigned);
                }
                (Lifetime::Window(WindowKind::Aligned { size, slide, offset }), Some(time)) => {
                    for start in starts(time, size.0, slide.0, offset.0) {
                        self.aligned(keys, row, number, (start, start + size.0), closed, &mut assigned);
                    }
                }
                (Lifetime::Window(WindowKind::Session { gap }), Some(time)) => {
                    self.session(keys.get(row), number, (time, gap.0), closed, &mut assigned);
                }
                (Lifetime::Key { forget_after }, time) => {
                    let (bytes, hash) = keys.get(row);
                    let end = match (forget_after, time) {
                        (Some(after), Some(time)) => time.saturating_add(after.0).max(closed.saturating_add(1)),
                        (Some(_), None) => closed.saturating_add(1),
                        (None, _) => i64::MAX,
                    };
                    let slot = self.open_key(bytes, hash, end);
                    let group = &mut self.slots[slot as usize];
                    if group.end == i64::MAX && end < i64::MAX {
                        // Kept by a run that forgot nothing.
                        group.end = end;
                        self.by_end.entry(end).or_default().push(slot);
                    }
                    group.end = group.end.max(end);
                    assigned.rows.push(number);
                    assigned.groups.push(slot);
                    self.touch(slot);
                }
            }
        }
        self.settle_sessions(&mut assigned);
        for slot in &assigned.groups {
            self.slots[*slot as usize].has_state = true;
        }
        assigned
    }

    fn aligned(
        &mut self,
        keys: &KeyRows,
        row: usize,
        number: u32,
        (start, end): (i64, i64),
        closed: i64,
        assigned: &mut Assigned,
    ) {
        if end <= closed {
            let window = Window { start: EventTime(start), end: EventTime(end) };
            assigned.late.push(LateRow { row: number, window });
            return;
        }
        let (bytes, hash) = keys.get(row);
        let slot = self.open_window(bytes, hash, start, end);
        assigned.rows.push(number);
        assigned.groups.push(slot);
        self.touch(slot);
    }
}
