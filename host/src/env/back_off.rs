//! How long to wait before something is tried again.

use std::time::Duration;

use crate::model::Digest;

/// The longest wait after the first attempt.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait after any attempt.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that the other side may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The wait after attempt number `attempts`, from 1, at what has this name with
/// the other side that has that name: it doubles from attempt to attempt, and is
/// not shorter than what the other side asked for.
///
/// It lies between half of the bound and the bound, where the names say: many
/// that fail together do not come back together, and a test sees the same waits
/// each time.
pub fn back_off(destination: &str, of: &str, attempts: u32, asked: Option<Duration>) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let half = FIRST.saturating_mul(1 << doublings).min(LONGEST) / 2;
    let seed = Digest::of(format!("{destination}/{of}/{attempts}").as_bytes()).to_string();
    let share = u32::from_str_radix(&seed[..4], 16).expect("invariant: a digest is written in hexadecimal digits");
    let jittered = half + half * share / 0xFFFF;
    asked.map_or(jittered, |asked| jittered.max(asked.min(LONGEST_ASKED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_repeat_exactly() {
        let mut bound = FIRST;
        for attempts in 1..100 {
            let first = back_off("d", "5f", attempts, None);
            assert!(first >= bound / 2 && first <= bound, "attempt {attempts} waits {first:?}");
            assert_eq!(first, back_off("d", "5f", attempts, None));
            bound = (bound * 2).min(LONGEST);
        }
        assert_ne!(back_off("d", "5f", 9, None), back_off("e", "5f", 9, None));
    }

    #[test]
    fn what_the_other_side_asks_for_is_a_lower_bound_with_a_bound() {
        assert_eq!(back_off("d", "5f", 1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(back_off("d", "5f", 1, Some(Duration::MAX)), LONGEST_ASKED);
        assert_eq!(back_off("d", "5f", 1, Some(Duration::ZERO)), back_off("d", "5f", 1, None));
    }
}
