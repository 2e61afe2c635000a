//! Slots, ends and extremes of groups.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::super::assign::Assigned;
use super::super::keys::KeyColumns;
use super::*;

const ALIGNED: WindowKind = WindowKind::Aligned { size: Span(10), slide: Span(5), offset: Span(0) };
const TUMBLING: WindowKind = WindowKind::Aligned { size: Span(10), slide: Span(10), offset: Span(-3) };
const SESSION: WindowKind = WindowKind::Session { gap: Span(5) };

/// Groups by a number.
struct Numbered {
    columns: KeyColumns,
    groups: Groups,
}

impl Numbered {
    fn new(lifetime: Lifetime) -> Self {
        let columns = KeyColumns::new(&["id".to_owned()], &Self::schema()).unwrap();
        Self { columns, groups: Groups::new(lifetime) }
    }

    fn schema() -> Schema {
        Schema::new(vec![Field::new("id", DataType::Int64, true)])
    }

    fn keys(&self, ids: &[i64]) -> KeyRows {
        let rows = RecordBatch::try_new(Arc::new(Self::schema()), vec![Arc::new(Int64Array::from(ids.to_vec()))]);
        self.columns.rows(&rows.unwrap()).unwrap()
    }

    /// Assign rows, given as id and time.
    fn assign(&mut self, rows: &[(i64, i64)], watermark: Option<i64>) -> Assigned {
        let (ids, times): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
        let keys = self.keys(&ids);
        self.groups.assign(&keys, (&times, None, None), (0, 1), watermark.map(EventTime))
    }

    /// Release what is due, and say start and end of it, in order.
    fn close(&mut self, watermark: i64) -> Vec<(i64, i64)> {
        let due = self.groups.due(EventTime(watermark));
        let window = |slot: &u32| self.groups.group(*slot).window;
        let windows = due.iter().map(|slot| (window(slot).start.0, window(slot).end.0)).collect();
        due.into_iter().for_each(|slot| self.groups.release(slot));
        windows
    }

    fn removed(&mut self) -> Vec<i64> {
        self.groups.end_epoch().removed.iter().map(|(_, start)| start.0).collect()
    }
}

#[test]
fn slot_is_given_out_again_only_in_the_next_epoch() {
    let mut groups = Numbered::new(Lifetime::Window(TUMBLING));
    let first = groups.assign(&[(1, 0)], None).groups[0];
    assert_eq!(groups.close(7), [(-3, 7)]);
    let second = groups.assign(&[(2, 10)], None).groups[0];
    assert_ne!(first, second, "the plugin may be made anew from what it had at the start of the epoch");
    groups.groups.end_epoch();
    assert_eq!(groups.assign(&[(3, 20)], None).groups, [first]);
    assert_eq!(groups.groups.len(), 2);
}

#[test]
fn due_groups_come_once_in_the_order_of_their_ends() {
    let mut groups = Numbered::new(Lifetime::Window(SESSION));
    groups.assign(&[(3, 20), (1, 8), (2, 0), (2, 4), (1, 30)], None);
    assert_eq!(groups.close(5), [], "the session of 2 has grown");
    assert!(groups.groups.is_due(EventTime(9)));
    assert_eq!(groups.close(25), [(0, 9), (8, 13), (20, 25)]);
    groups.groups.end_epoch();
    // The slots have other groups now, and stand under their old ends as well.
    groups.assign(&[(4, 26), (5, 27), (6, 28)], Some(25));
    assert_eq!(groups.close(40), [(26, 31), (27, 32), (28, 33), (30, 35)]);
    assert!(groups.groups.is_empty() && !groups.groups.is_due(EventTime(i64::MAX)));
}

#[test]
fn group_that_came_and_went_in_one_epoch_leaves_no_trace() {
    let mut groups = Numbered::new(Lifetime::Window(ALIGNED));
    groups.assign(&[(1, 7)], None);
    assert_eq!(groups.close(15), [(0, 10), (5, 15)]);
    let changed = groups.groups.end_epoch();
    assert!(changed.removed.is_empty() && changed.updated.is_empty());
}

#[test]
fn session_that_begins_earlier_now_replaces_what_was_kept_of_it() {
    let mut groups = Numbered::new(Lifetime::Window(SESSION));
    groups.assign(&[(1, 10), (1, 20)], None);
    assert!(groups.removed().is_empty());
    let assigned = groups.assign(&[(1, 15), (1, 6)], None);
    assert_eq!(assigned.merges.len(), 1);
    let mut removed = groups.removed();
    removed.sort_unstable();
    assert_eq!(removed, [10, 20], "what began at 10 begins at 6, and 20 is a part of it");
    assert_eq!(groups.close(25), [(6, 25)]);
    assert_eq!(groups.removed(), [6]);
}

#[test]
fn sessions_merge_over_a_row_between_them_whatever_its_chunk() {
    for cut in 0..4 {
        let mut groups = Numbered::new(Lifetime::Window(SESSION));
        let rows = [(1, 0), (1, 10), (1, 5), (1, 15)];
        groups.assign(&rows[..cut], None);
        groups.assign(&rows[cut..], None);
        assert_eq!(groups.groups.len(), 1, "cut at {cut}");
        assert_eq!(groups.close(20), [(0, 20)], "a row at exactly last + gap is in the session");
    }
}

#[test]
fn late_rows_are_those_whose_window_ends_at_the_watermark() {
    let mut groups = Numbered::new(Lifetime::Window(ALIGNED));
    let late = |assigned: &Assigned| -> Vec<(u32, i64)> {
        let mut late: Vec<_> = assigned.late.iter().map(|late| (late.row, late.window.end.0)).collect();
        late.sort_unstable();
        late
    };
    let assigned = groups.assign(&[(1, 4), (1, 5), (1, 9)], Some(10));
    assert_eq!(late(&assigned), [(0, 5), (0, 10), (1, 10), (2, 10)]);
    assert_eq!((assigned.rows, assigned.groups.len()), (vec![1, 2], 2), "they are in [5, 15) all the same");
    let mut sessions = Numbered::new(Lifetime::Window(SESSION));
    sessions.assign(&[(1, 8)], Some(10));
    let assigned = sessions.assign(&[(1, 5), (1, 2), (2, 5), (1, -4)], Some(10));
    // What touches an open session is not late, and opens it to the next.
    assert_eq!(late(&assigned), [(2, 10), (3, 1)]);
    assert_eq!(sessions.close(13), [(2, 13)]);
}

#[test]
fn extreme_times_are_in_no_window_and_never_overflow() {
    let times = [i64::MIN, -MAX_TIME_US - 1, -MAX_TIME_US, -1, 0, MAX_TIME_US - 1, MAX_TIME_US, i64::MAX];
    let watermarks = [None, Some(i64::MIN), Some(-1), Some(i64::MAX - 1), Some(i64::MAX)];
    let spans = [None, Some(Span(1)), Some(Span(i64::MAX))];
    let keyed = spans.map(|forget_after| Lifetime::Key { forget_after });
    for lifetime in [ALIGNED, TUMBLING, SESSION].map(Lifetime::Window).into_iter().chain(keyed) {
        for watermark in watermarks {
            let mut groups = Numbered::new(lifetime);
            let rows: Vec<(i64, i64)> = times.iter().map(|time| (1, *time)).collect();
            let assigned = groups.assign(&rows, watermark);
            let seen = |row: u32| assigned.rows.contains(&row) || assigned.late.iter().any(|late| late.row == row);
            let is_window = matches!(lifetime, Lifetime::Window(_));
            for (row, time) in (0..).zip(times) {
                assert_eq!(seen(row), !is_window || super::super::is_event_time(time), "{time} in {lifetime:?}");
            }
            groups.groups.latest_end(EventTime(i64::MAX));
            for end in watermarks.into_iter().flatten() {
                groups.close(end);
            }
            groups.groups.end_epoch();
            assert!(!is_window || groups.groups.is_empty(), "{lifetime:?} at {watermark:?}");
        }
    }
}
