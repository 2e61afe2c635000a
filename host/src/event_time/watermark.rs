//! The watermark: how far event time has come, over all partitions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::{EventTime, EventTimeState, PartitionId, Span};

/// How the event times of partitions make one watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The slowest partition that is not idle decides.
    Min,
    /// The fastest partition decides, as in Spark.
    Max,
}

/// What the pipeline says about event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTimeSettings {
    /// The column of the rows that holds it.
    pub column: String,
    /// How long rows are waited for.
    pub delay: Span,
    /// How the partitions are combined.
    pub policy: Policy,
    /// A partition that has been silent for so long does not hold the others up.
    pub idle_timeout: Duration,
    /// How far ahead of the host's clock a row may move the watermark.
    pub max_future_skew: Span,
}

/// What a chunk says about the event time of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The partition.
    pub partition: PartitionId,
    /// The greatest event time that may move the watermark, if any did.
    pub max: Option<EventTime>,
}

#[derive(Debug, Clone, Copy)]
struct Partition {
    max: Option<EventTime>,
    heard: Instant,
}

/// The watermark and what it follows from.
#[derive(Debug, Clone)]
pub struct Watermarks {
    settings: EventTimeSettings,
    watermark: Option<EventTime>,
    partitions: BTreeMap<PartitionId, Partition>,
}

impl Watermarks {
    /// Where a run goes on; a partition counts as heard of now.
    pub fn new(settings: EventTimeSettings, state: &EventTimeState, now: Instant) -> Self {
        let known = |(id, max): (&PartitionId, &EventTime)| (id.clone(), Partition { max: Some(*max), heard: now });
        Self { settings, watermark: state.watermark, partitions: state.partitions.iter().map(known).collect() }
    }

    /// The greatest event time that may move the watermark at this time of the
    /// clock, in microseconds.
    pub fn limit(&self, clock_us: i64) -> i64 {
        clock_us.saturating_add(self.settings.max_future_skew.0)
    }

    /// The watermark in force; none while nothing is late.
    pub fn current(&self) -> Option<EventTime> {
        self.watermark
    }

    /// What the epoch's record says.
    pub fn state(&self) -> EventTimeState {
        let known = |(id, partition): (&PartitionId, &Partition)| Some((id.clone(), partition.max?));
        EventTimeState { watermark: self.watermark, partitions: self.partitions.iter().filter_map(known).collect() }
    }

    /// Know a partition of which nothing was read: while it has unread messages,
    /// nobody can say how far its event time has come.
    pub fn know(&mut self, partition: &PartitionId, now: Instant) {
        if !self.partitions.contains_key(partition) {
            self.partitions.insert(partition.clone(), Partition { max: None, heard: now });
        }
    }

    /// Take in what a chunk says.
    pub fn observe(&mut self, observed: &Observed, now: Instant) {
        let known = self.partitions.entry(observed.partition.clone()).or_insert(Partition { max: None, heard: now });
        known.heard = now;
        known.max = known.max.max(observed.max);
    }

    /// The watermark that would be in force now.
    ///
    /// A partition with unread messages is never idle; one that never had an
    /// event time and has nothing unread does not count.
    pub fn due(&self, now: Instant, unread: impl Fn(&PartitionId) -> bool) -> Option<EventTime> {
        let counts = |id: &PartitionId, partition: &Partition| {
            let silent = now.saturating_duration_since(partition.heard);
            unread(id) || (partition.max.is_some() && silent < self.settings.idle_timeout)
        };
        let maxima = self.partitions.iter().filter(|(id, partition)| counts(id, partition)).map(|(_, p)| p.max);
        let reached = match self.settings.policy {
            // One that counts and has no event time yet holds all others up.
            Policy::Min => maxima.collect::<Option<Vec<_>>>().and_then(|maxima| maxima.into_iter().min()),
            Policy::Max => self.partitions.values().filter_map(|partition| partition.max).max(),
        };
        let reached = reached.map(|max| EventTime(max.0.saturating_sub(self.settings.delay.0)));
        self.watermark.max(reached)
    }

    /// Let the watermark that is due take effect.
    pub fn advance(&mut self, now: Instant, unread: impl Fn(&PartitionId) -> bool) {
        self.watermark = self.due(now, unread);
    }

    /// Move the watermark to this instant at least, to close what is open.
    pub fn advance_to(&mut self, time: EventTime) {
        self.watermark = self.watermark.max(Some(time));
    }

    /// How long until the next partition becomes idle, if one can.
    pub fn next_idle(&self, now: Instant) -> Option<Duration> {
        let left = |partition: &Partition| {
            self.settings.idle_timeout.checked_sub(now.saturating_duration_since(partition.heard))
        };
        self.partitions.values().filter_map(left).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn partition(name: &str) -> PartitionId {
        PartitionId(name.to_owned())
    }

    /// Observes (partition, event time, seconds), then says what is due at so
    /// many seconds, with a delay of 10 and an idle timeout of 60 seconds.
    fn check(policy: Policy, observed: &[(&str, i64, u32)], unread: &[&str], at: u32, expected: Option<i64>) {
        let start = crate::env::Clock::monotonic(&crate::env::SystemClock);
        let settings = EventTimeSettings {
            column: "time".into(),
            delay: Span(10),
            policy,
            idle_timeout: 60 * SECOND,
            max_future_skew: Span(0),
        };
        let mut watermarks = Watermarks::new(settings, &EventTimeState::default(), start);
        for (name, time, second) in observed {
            let observed = Observed { partition: partition(name), max: Some(EventTime(*time)) };
            watermarks.observe(&observed, start + *second * SECOND);
        }
        let due = watermarks.due(start + at * SECOND, |id| unread.contains(&id.0.as_str()));
        assert_eq!(due.map(|time| time.0), expected, "{policy:?} {observed:?} {unread:?} at {at}");
    }

    #[test]
    fn slowest_partition_that_is_not_idle_decides() {
        check(Policy::Min, &[], &[], 0, None);
        check(Policy::Min, &[("0", 100, 0)], &[], 1, Some(90));
        check(Policy::Min, &[("0", 100, 0), ("1", 50, 0)], &[], 1, Some(40));
        check(Policy::Min, &[("0", 100, 0), ("0", 80, 0)], &[], 1, Some(90));
        // Partition 1 is idle after a minute, unless it has unread messages.
        check(Policy::Min, &[("0", 100, 70), ("1", 50, 0)], &[], 71, Some(90));
        check(Policy::Min, &[("0", 100, 70), ("1", 50, 0)], &["1"], 71, Some(40));
        // With all idle the watermark stays where it is.
        check(Policy::Min, &[("0", 100, 0)], &[], 100, None);
    }

    #[test]
    fn fastest_partition_decides_as_in_spark() {
        check(Policy::Max, &[("0", 100, 0), ("1", 50, 0)], &[], 1, Some(90));
        check(Policy::Max, &[("0", 100, 0)], &[], 100, Some(90));
    }

    #[test]
    fn watermark_never_goes_back_and_survives_a_restart() {
        let start = crate::env::Clock::monotonic(&crate::env::SystemClock);
        let settings = EventTimeSettings {
            column: "time".into(),
            delay: Span(0),
            policy: Policy::Min,
            idle_timeout: SECOND,
            max_future_skew: Span(0),
        };
        let state = EventTimeState { watermark: Some(EventTime(100)), partitions: BTreeMap::new() };
        let mut watermarks = Watermarks::new(settings, &state, start);
        watermarks.observe(&Observed { partition: partition("0"), max: Some(EventTime(50)) }, start);
        watermarks.advance(start, |_| false);
        assert_eq!(watermarks.current(), Some(EventTime(100)));
        watermarks.advance_to(EventTime(120));
        assert_eq!(watermarks.state().watermark, Some(EventTime(120)));
        assert_eq!(watermarks.state().partitions[&partition("0")], EventTime(50));
    }

    fn settings(policy: Policy, delay: i64) -> EventTimeSettings {
        EventTimeSettings {
            column: "time".into(),
            delay: Span(delay),
            policy,
            idle_timeout: 60 * SECOND,
            max_future_skew: Span(0),
        }
    }

    #[test]
    fn partition_that_was_never_read_holds_the_watermark_while_it_has_messages() {
        let start = crate::env::Clock::monotonic(&crate::env::SystemClock);
        let mut watermarks = Watermarks::new(settings(Policy::Min, 0), &EventTimeState::default(), start);
        watermarks.observe(&Observed { partition: partition("0"), max: Some(EventTime(50)) }, start);
        watermarks.know(&partition("1"), start);
        watermarks.know(&partition("0"), start + 59 * SECOND);
        assert_eq!(watermarks.due(start, |id| id.0 == "1"), None);
        assert_eq!(watermarks.due(start, |_| false), Some(EventTime(50)));
        assert_eq!(watermarks.due(start + 60 * SECOND, |_| false), None, "to know of 0 is not to hear of it");
        assert_eq!(watermarks.state().partitions.len(), 1, "only event times are kept");
    }

    #[test]
    fn extreme_times_and_delays_never_overflow() {
        let start = crate::env::Clock::monotonic(&crate::env::SystemClock);
        for policy in [Policy::Min, Policy::Max] {
            for delay in [0, i64::MAX] {
                for time in [i64::MIN, -1, i64::MAX] {
                    let mut watermarks = Watermarks::new(settings(policy, delay), &EventTimeState::default(), start);
                    watermarks.observe(&Observed { partition: partition("0"), max: Some(EventTime(time)) }, start);
                    watermarks.advance(start, |_| false);
                    assert_eq!(watermarks.current(), Some(EventTime(time.saturating_sub(delay))));
                }
            }
        }
    }

    #[test]
    fn next_partition_to_become_idle_is_known() {
        let start = crate::env::Clock::monotonic(&crate::env::SystemClock);
        let mut watermarks = Watermarks::new(settings(Policy::Min, 0), &EventTimeState::default(), start);
        assert_eq!(watermarks.next_idle(start), None);
        for (name, second) in [("0", 10), ("1", 30)] {
            watermarks.observe(&Observed { partition: partition(name), max: None }, start + second * SECOND);
        }
        assert_eq!(watermarks.next_idle(start + 40 * SECOND), Some(30 * SECOND));
        assert_eq!(watermarks.next_idle(start + 80 * SECOND), Some(10 * SECOND));
        assert_eq!(watermarks.next_idle(start + 91 * SECOND), None);
    }
}
