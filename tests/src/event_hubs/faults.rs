//! What goes wrong on command: faults, when they happen, and whom they hit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::condition::Condition;

/// What goes wrong.
///
/// Some faults concern an event: an attach, a send, a request, a token. They
/// happen at the next such event that the target names, or at every one. All others
/// happen at once to what there is, or to the link that made the delivery or the
/// attach which the fault waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Reset the TCP connection.
    Drop(Cut),
    /// An artificial receiver with a higher owner level takes the place of receivers.
    Steal(Thief),
    /// Detach links.
    Detach(Condition),
    /// Close connections.
    Close(Condition),
    /// Refuse an attach.
    RefuseAttach(Condition),
    /// Reject a sent message, which is not stored.
    RejectSend(Condition),
    /// Refuse a request to `$management`.
    RefuseManagement(Condition),
    /// Refuse a token.
    RefuseToken(Condition),
    /// Send the last messages of receivers again, this many.
    Duplicate(usize),
    /// Store a sent message and do not say so.
    LoseAcknowledgement(Loss),
    /// Write nothing more to the connection, but read it; for a time, or until the fault is cleared.
    Freeze(Moment, Option<Duration>),
    /// Wait between two deliveries, until the fault is cleared.
    Slow(Duration),
    /// Forget the messages before this sequence number.
    Trim(i64),
    /// Detach links because of their token, and refuse to attach until there is a new one.
    ExpireToken,
    /// Add a partition to hubs.
    AddPartition,
    /// Leave this many sequence numbers out.
    SkipSequenceNumbers(i64),
}

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// After a whole frame.
    BetweenFrames,
    /// After half of a transfer.
    WithinFrame,
}

/// What an artificial receiver does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thief {
    /// It stays until the fault is cleared.
    Stays,
    /// It goes away at once.
    Leaves,
}

/// How an acknowledgement is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It is not sent.
    Silent,
    /// The connection is reset instead.
    Dropped,
}

/// The moment from which nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At once.
    Now,
    /// When a link would be answered.
    Attach,
    /// When a token would be answered.
    PutToken,
    /// When `$management` would answer.
    Management,
    /// When a sent message was stored and would be acknowledged.
    Send,
}

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Now, or at the next event that the fault concerns.
    Now,
    /// After this many more deliveries to receivers, or from senders if the target names those.
    AfterDeliveries(u64),
    /// Each time after this many more deliveries.
    EveryDeliveries(u64),
    /// At the attach that follows this many others.
    AfterAttaches(u64),
    /// At every event that the fault concerns; faults that concern none, at every attach.
    EveryTime,
}

/// The side of a client's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It receives.
    Receiver,
    /// It sends.
    Sender,
}

/// Whom a fault hits; what it does not name, it does not ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The hub.
    pub hub: Option<String>,
    /// The partition.
    pub partition: Option<usize>,
    /// The side of the client's link.
    pub role: Option<Role>,
}

impl Target {
    /// Everybody.
    pub fn all() -> Self {
        Self::default()
    }

    /// All partitions of a hub.
    pub fn hub(name: &str) -> Self {
        Self { hub: Some(name.to_owned()), ..Self::default() }
    }

    /// One partition of it.
    pub fn partition(self, partition: usize) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// Only receivers.
    pub fn receivers(self) -> Self {
        Self { role: Some(Role::Receiver), ..self }
    }

    /// Only senders.
    pub fn senders(self) -> Self {
        Self { role: Some(Role::Sender), ..self }
    }

    /// Whether this link or event is meant. What has no hub or partition is meant by
    /// targets that name none.
    pub(super) fn meets(&self, place: &Where<'_>) -> bool {
        let hub = self.hub.as_deref().is_none_or(|hub| place.hub == Some(hub));
        let partition = self.partition.is_none_or(|partition| place.partition == Some(partition));
        hub && partition && self.role.is_none_or(|role| place.role == Some(role))
    }
}

/// Where something happens.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Where<'a> {
    pub(super) hub: Option<&'a str>,
    pub(super) partition: Option<usize>,
    pub(super) role: Option<Role>,
}

/// What a fault can concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Attach,
    Send,
    Management,
    PutToken,
}

/// A fault that was injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Next,
    Every,
    Attaches(u64),
    /// `due`: enough were delivered, and the event that the fault concerns comes next.
    Deliveries {
        left: u64,
        again: Option<u64>,
        due: bool,
    },
    Over,
}

struct Rule {
    id: FaultId,
    target: Target,
    fault: Fault,
    waiting: Waiting,
    fired: u64,
}

/// A fault that happens now.
#[derive(Debug, Clone)]
pub(super) struct Fired {
    pub(super) id: FaultId,
    pub(super) fault: Fault,
}

/// All faults that were injected and not cleared.
#[derive(Default)]
pub(super) struct Rules {
    rules: Mutex<Vec<Rule>>,
    /// Rules that count deliveries, so that those are fast if there are none.
    counting: AtomicUsize,
}

impl Fault {
    /// The event that it concerns.
    pub(super) fn event(&self) -> Option<Event> {
        match self {
            Self::RefuseAttach(_) | Self::Freeze(Moment::Attach, _) => Some(Event::Attach),
            Self::RejectSend(_) | Self::LoseAcknowledgement(_) | Self::Freeze(Moment::Send, _) => Some(Event::Send),
            Self::RefuseManagement(_) | Self::Freeze(Moment::Management, _) => Some(Event::Management),
            Self::RefuseToken(_) | Self::Freeze(Moment::PutToken, _) => Some(Event::PutToken),
            Self::Drop(_)
            | Self::Steal(_)
            | Self::Detach(_)
            | Self::Close(_)
            | Self::Duplicate(_)
            | Self::Freeze(Moment::Now, _)
            | Self::Slow(_)
            | Self::Trim(_)
            | Self::ExpireToken
            | Self::AddPartition
            | Self::SkipSequenceNumbers(_) => None,
        }
    }
}

impl Rules {
    fn lock(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("invariant: nothing panics with this lock")
    }

    /// Remember a fault; true if it happens at once.
    pub(super) fn add(&self, id: FaultId, target: Target, when: When, fault: Fault) -> bool {
        let mut rules = self.lock();
        let now = when == When::Now && fault.event().is_none();
        let waiting = match when {
            When::Now if now => Waiting::Over,
            When::Now => Waiting::Next,
            When::EveryTime => Waiting::Every,
            When::AfterAttaches(count) => Waiting::Attaches(count),
            When::AfterDeliveries(left) => Waiting::Deliveries { left, again: None, due: false },
            When::EveryDeliveries(count) => {
                Waiting::Deliveries { left: count.max(1), again: Some(count.max(1)), due: false }
            }
        };
        rules.push(Rule { id, target, fault, waiting, fired: u64::from(now) });
        self.recount(&rules);
        now
    }

    fn recount(&self, rules: &[Rule]) {
        let counting = rules.iter().filter(|rule| matches!(rule.waiting, Waiting::Deliveries { .. })).count();
        self.counting.store(counting, Ordering::Release);
    }

    /// Forget one fault, or all; returns what was forgotten.
    pub(super) fn clear(&self, id: Option<FaultId>) -> Vec<(FaultId, Target, Fault)> {
        let mut rules = self.lock();
        let cleared = rules.extract_if(.., |rule| id.is_none_or(|id| rule.id == id));
        let cleared = cleared.map(|rule| (rule.id, rule.target, rule.fault)).collect();
        self.recount(&rules);
        cleared
    }

    /// How often a fault happened.
    pub(super) fn fired(&self, id: FaultId) -> u64 {
        self.lock().iter().find(|rule| rule.id == id).map_or(0, |rule| rule.fired)
    }

    /// The faults that happen at this event.
    pub(super) fn at(&self, event: Event, place: &Where<'_>) -> Vec<Fired> {
        let mut fired = Vec::new();
        for rule in self.lock().iter_mut().filter(|rule| rule.target.meets(place)) {
            let concerns = rule.fault.event() == Some(event);
            let happens = match &mut rule.waiting {
                Waiting::Attaches(left) if event == Event::Attach && *left > 0 => {
                    *left -= 1;
                    false
                }
                Waiting::Attaches(_) if event == Event::Attach => {
                    let now = concerns || rule.fault.event().is_none();
                    rule.waiting = if now { Waiting::Over } else { Waiting::Next };
                    now
                }
                Waiting::Next if concerns => {
                    rule.waiting = Waiting::Over;
                    true
                }
                Waiting::Every => concerns || (event == Event::Attach && rule.fault.event().is_none()),
                Waiting::Deliveries { due, .. } if concerns => std::mem::take(due),
                Waiting::Attaches(_) | Waiting::Next | Waiting::Deliveries { .. } | Waiting::Over => false,
            };
            if happens {
                rule.fired += 1;
                fired.push(Fired { id: rule.id, fault: rule.fault.clone() });
            }
        }
        fired
    }

    /// How many deliveries there may be before the next fault.
    pub(super) fn allowance(&self, place: &Where<'_>) -> u64 {
        if self.counting.load(Ordering::Acquire) == 0 {
            return u64::MAX;
        }
        let rules = self.lock();
        let left = rules.iter().filter(|rule| meets_deliveries(rule, place)).filter_map(|rule| match rule.waiting {
            Waiting::Deliveries { left, .. } => Some(left),
            Waiting::Next | Waiting::Every | Waiting::Attaches(_) | Waiting::Over => None,
        });
        left.min().unwrap_or(u64::MAX)
    }

    /// There were deliveries; the faults that happen after them.
    pub(super) fn delivered(&self, place: &Where<'_>, count: u64) -> Vec<Fired> {
        let mut fired = Vec::new();
        if self.counting.load(Ordering::Acquire) == 0 {
            return fired;
        }
        let mut rules = self.lock();
        for rule in rules.iter_mut().filter(|rule| meets_deliveries(rule, place)) {
            let Waiting::Deliveries { left, again, due } = &mut rule.waiting else { continue };
            *left = left.saturating_sub(count);
            if *left > 0 {
                continue;
            }
            let concerns_event = rule.fault.event().is_some();
            match again {
                Some(again) => {
                    *left = *again;
                    *due = concerns_event;
                }
                None => rule.waiting = if concerns_event { Waiting::Next } else { Waiting::Over },
            }
            if !concerns_event {
                rule.fired += 1;
                fired.push(Fired { id: rule.id, fault: rule.fault.clone() });
            }
        }
        self.recount(&rules);
        fired
    }
}

/// Deliveries are those to receivers unless the target or the fault is about senders.
fn meets_deliveries(rule: &Rule, place: &Where<'_>) -> bool {
    let usual = if rule.fault.event() == Some(Event::Send) { Role::Sender } else { Role::Receiver };
    let role = rule.target.role.unwrap_or(usual);
    place.role == Some(role) && rule.target.meets(place)
}
