//! Windows: which of them hold an instant.

use std::fmt;

use crate::model::{EventTime, Span};

/// A window: `start` inclusive, `end` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first instant.
    pub start: EventTime,
    /// The instant behind the last one.
    pub end: EventTime,
}

/// How event time is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// Windows of `size` that begin each `slide`, aligned to 1970-01-01T00:00:00Z
    /// plus `offset`. With `slide` = `size` they tumble; `slide` is not larger.
    Aligned {
        /// How long a window is.
        size: Span,
        /// From the start of one to the start of the next.
        slide: Span,
        /// By how much they are shifted; its magnitude is less than `slide`.
        offset: Span,
    },
    /// Windows that grow with their rows: a row no further than `gap` from
    /// another is in the same one. They end `gap` after their last row.
    Session {
        /// The longest silence within a window.
        gap: Span,
    },
}

/// The starts of the aligned windows that hold an instant, latest first.
pub(super) fn starts(time: i64, size: i64, slide: i64, offset: i64) -> impl Iterator<Item = i64> {
    let latest = time - (time - offset).rem_euclid(slide);
    std::iter::successors(Some(latest), move |start| Some(start - slide)).take_while(move |start| start + size > time)
}

impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aligned { size, slide, offset } => {
                match size == slide {
                    true => write!(f, "tumbling, size {size}")?,
                    false => write!(f, "sliding, size {size}, slide {slide}")?,
                }
                if offset.0 == 0 { Ok(()) } else { write!(f, ", offset {offset}") }
            }
            Self::Session { gap } => write!(f, "session, gap {gap}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn check(time: i64, size: i64, slide: i64, offset: i64, expected: &[i64]) {
        let found: Vec<i64> = starts(time, size, slide, offset).collect();
        assert_eq!(found, expected, "{time} in {size}/{slide}/{offset}");
    }

    #[test]
    fn instant_is_in_the_windows_that_hold_it() {
        check(0, 5, 5, 0, &[0]);
        check(4, 5, 5, 0, &[0]);
        check(5, 5, 5, 0, &[5]);
        check(-1, 5, 5, 0, &[-5]);
        check(7, 5, 5, 2, &[7]);
        check(6, 5, 5, 2, &[2]);
        check(6, 5, 5, -1, &[4]);
        // Size 10 min, slide 4 min at 10:07: [10:04, 10:14) and [10:00, 10:10).
        let hour = 600 * MINUTE;
        check(hour + 7 * MINUTE, 10 * MINUTE, 4 * MINUTE, 0, &[hour + 4 * MINUTE, hour]);
    }
}
