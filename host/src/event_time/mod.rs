//! Event time: watermarks, windows, groups, late rows.
//!
//! The room decides which rows belong together and when a group is complete; it
//! never asks a plugin, a store or a clock. What a group *is worth* is a
//! plugin's business, and the pipeline brings the two together by slot numbers.
//!
//! Invariants:
//! - the watermark never goes back;
//! - a row is in every window that holds its event time and is not closed, and
//!   is reported as late for every other;
//! - a group has one slot from its first row until it is released, and a slot is
//!   given out again only after [`Groups::end_epoch`];
//! - the outcome does not depend on how rows are cut into chunks.
//!
//! | file | job |
//! |---|---|
//! | `watermark` | the watermark over the partitions of the source |
//! | `window` | which windows hold an instant |
//! | `keys` | key columns → small numbers |
//! | `assign` | rows → groups; which rows are late |
//! | `groups` | key and window → slot; what is due; what changed |
//! | `sessions` | windows that grow with their rows |
//! | `deduplicate` | the first row of its kind |
//! | `changes` | what changed in an epoch, as durable bytes |

mod assign;
mod changes;
mod deduplicate;
mod groups;
mod keys;
mod sessions;
mod watermark;
mod window;

pub use assign::{Assigned, LateRow, Merge};
pub use changes::{Kept, StateColumns};
pub use deduplicate::{DeduplicateSettings, Deduplicator};
pub use groups::{Changed, Group, Groups, Lifetime};
pub use keys::{KeyColumns, KeyRows};
pub use watermark::{EventTimeSettings, Observed, Policy, Watermarks};
pub use window::{Window, WindowKind};

/// The name under which plugins see the event time of a row.
pub const EVENT_TIME_COLUMN: &str = "event.time";

/// An instant beyond these bounds is no event time: sums with it would overflow.
const MAX_TIME_US: i64 = 1 << 61;

/// Whether so many microseconds from 1970 are an event time.
pub fn is_event_time(time_us: i64) -> bool {
    (-MAX_TIME_US..MAX_TIME_US).contains(&time_us)
}
