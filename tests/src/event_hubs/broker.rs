//! The event hubs themselves: what tests put in and look at, without any network.
//!
//! Locks are taken in the order links, hubs, partition, rules; nothing waits with one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::changes::Changes;
use super::faults::{Rules, Where};
use super::mailbox::Mailbox;
use super::message::{Message, Stored};
use super::partition::{AtEnd, Partition, PartitionProperties, Receiver};
use super::routing::partition_of;
use super::settings::Settings;

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that are open.
    pub open_connections: u64,
    /// Links of receivers and senders to hubs that were attached, and not refused.
    pub attaches: u64,
    /// Attaches that were refused.
    pub refusals: u64,
    /// Messages that were written to receivers.
    pub deliveries: u64,
    /// Messages that were stored for senders.
    pub sends: u64,
    /// Tokens that were accepted.
    pub tokens: u64,
    /// Answers of `$management`.
    pub requests: u64,
}

#[derive(Default)]
pub(super) struct Count {
    pub(super) connections: AtomicU64,
    pub(super) attaches: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) deliveries: AtomicU64,
    pub(super) sends: AtomicU64,
    pub(super) tokens: AtomicU64,
    pub(super) requests: AtomicU64,
}

/// An event hub.
pub(super) struct Hub {
    pub(super) name: Arc<str>,
    pub(super) created_ms: i64,
    pub(super) partitions: RwLock<Vec<Arc<Partition>>>,
    turn: AtomicUsize,
}

/// A link of a client to a hub.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) connection: u64,
    pub(super) hub: Arc<str>,
    pub(super) partition: Option<usize>,
    pub(super) role: super::faults::Role,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Link {
    pub(super) fn place(&self) -> Where<'_> {
        Where { hub: Some(&self.hub), partition: self.partition, role: Some(self.role) }
    }
}

/// The event hubs of an endpoint.
pub struct Broker {
    pub(super) settings: Settings,
    pub(super) hubs: RwLock<BTreeMap<String, Arc<Hub>>>,
    pub(super) links: Mutex<BTreeMap<u64, Link>>,
    pub(super) connections: Mutex<BTreeMap<u64, Arc<Mailbox>>>,
    pub(super) rules: Rules,
    pub(super) count: Count,
    pub(super) changes: Changes,
    ids: AtomicU64,
}

impl Broker {
    pub(super) fn new(settings: Settings) -> Self {
        let hubs = settings.hubs.iter().map(|(name, partitions)| {
            let hub = Hub {
                name: name.as_str().into(),
                created_ms: now_ms(),
                partitions: RwLock::new(Vec::new()),
                turn: AtomicUsize::new(0),
            };
            (0..*partitions).for_each(|_| hub.add_partition(settings.first_sequence));
            (name.clone(), Arc::new(hub))
        });
        Self {
            hubs: RwLock::new(hubs.collect()),
            links: Mutex::default(),
            connections: Mutex::default(),
            rules: Rules::default(),
            count: Count::default(),
            changes: Changes::default(),
            ids: AtomicU64::new(1),
            settings,
        }
    }

    /// Store a message without partition key.
    ///
    /// # Panics
    /// This and all other methods, if there is no such hub or partition.
    #[track_caller]
    pub fn append(&self, hub: &str, partition: usize, body: impl Into<Bytes>) {
        self.append_messages(hub, partition, [Message::new(body)]);
    }

    /// Store messages without partition key; this is fast for many. Returns how many there were.
    #[track_caller]
    pub fn append_many(&self, hub: &str, partition: usize, bodies: impl IntoIterator<Item = Bytes>) -> usize {
        self.append_messages(hub, partition, bodies.into_iter().map(Message::new))
    }

    /// Store messages. Returns how many there were.
    #[track_caller]
    pub fn append_messages(&self, hub: &str, partition: usize, messages: impl IntoIterator<Item = Message>) -> usize {
        let count = self.known(hub, partition).append(messages.into_iter(), now_ms());
        self.changes.happened();
        count
    }

    /// What `$management` would say of a partition.
    #[track_caller]
    pub fn partition_properties(&self, hub: &str, partition: usize) -> PartitionProperties {
        self.known(hub, partition).log().properties()
    }

    /// All messages of a partition that were not trimmed.
    #[track_caller]
    pub fn messages(&self, hub: &str, partition: usize) -> Vec<Stored> {
        self.known(hub, partition).log().stored()
    }

    /// Forget the messages before a sequence number.
    #[track_caller]
    pub fn trim(&self, hub: &str, partition: usize, before_sequence: i64) {
        self.known(hub, partition).log().trim(before_sequence);
        self.changes.happened();
    }

    /// Leave this many sequence numbers out before the next message.
    #[track_caller]
    pub fn skip_sequence_numbers(&self, hub: &str, partition: usize, count: i64) {
        self.known(hub, partition).log().skip_sequence_numbers(count);
    }

    /// Add an empty partition. Returns its number.
    #[track_caller]
    pub fn add_partition(&self, hub: &str) -> usize {
        let hub = self.hub(hub).unwrap_or_else(|| panic!("there is no hub {hub:?}"));
        hub.add_partition(self.settings.first_sequence);
        self.changes.happened();
        hub.count() - 1
    }

    /// The number of partitions of a hub.
    #[track_caller]
    pub fn partitions(&self, hub: &str) -> usize {
        self.hub(hub).unwrap_or_else(|| panic!("there is no hub {hub:?}")).count()
    }

    /// The names of the hubs.
    pub fn hubs(&self) -> Vec<String> {
        self.hubs.read().expect("invariant: nothing panics with this lock").keys().cloned().collect()
    }

    /// The receivers that are attached to a hub, by partition; artificial ones are among them.
    #[track_caller]
    pub fn receivers(&self, hub: &str) -> Vec<Receiver> {
        let hub = self.hub(hub).unwrap_or_else(|| panic!("there is no hub {hub:?}"));
        let of = |partition: Arc<Partition>| -> Vec<Receiver> {
            partition.log().receivers().map(|attached| attached.receiver.clone()).collect()
        };
        hub.all().into_iter().flat_map(of).collect()
    }

    /// The number of senders that are attached to a hub or a partition of it.
    pub fn senders(&self, hub: &str) -> usize {
        let sends = |link: &&Link| link.role == super::faults::Role::Sender && &*link.hub == hub;
        self.links().values().filter(sends).count()
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let get = |count: &AtomicU64| count.load(Ordering::Acquire);
        Counters {
            connections: get(&self.count.connections),
            open_connections: self.connections().len() as u64,
            attaches: get(&self.count.attaches),
            refusals: get(&self.count.refusals),
            deliveries: get(&self.count.deliveries),
            sends: get(&self.count.sends),
            tokens: get(&self.count.tokens),
            requests: get(&self.count.requests),
        }
    }

    /// Wait until something is so; it is asked after each change.
    ///
    /// # Panics
    /// If it is not so within the limit.
    pub async fn wait_until(&self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) {
        let wait = async {
            let mut changes = self.changes.subscribe();
            while !holds(self) {
                changes.changed().await.expect("invariant: the broker lives");
            }
        };
        if tokio::time::timeout(limit, wait).await.is_err() {
            panic!("it did not come to that within {limit:?}: {:?}", self.counters());
        }
    }

    /// As [`Broker::wait_until`], for tests that are not asynchronous.
    ///
    /// # Panics
    /// If it is not so within the limit.
    #[track_caller]
    pub fn wait_until_blocking(&self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) {
        let mut waiter = self.changes.waiter(limit);
        while !holds(self) {
            assert!(waiter.wait(), "it did not come to that within {limit:?}: {:?}", self.counters());
        }
    }

    pub(super) fn hub(&self, name: &str) -> Option<Arc<Hub>> {
        self.hubs.read().expect("invariant: nothing panics with this lock").get(name).cloned()
    }

    #[track_caller]
    fn known(&self, hub: &str, partition: usize) -> Arc<Partition> {
        let found = self.hub(hub).and_then(|hub| hub.partition(partition));
        found.unwrap_or_else(|| panic!("there is no partition {hub}/{partition}"))
    }

    pub(super) fn links(&self) -> MutexGuard<'_, BTreeMap<u64, Link>> {
        self.links.lock().expect("invariant: nothing panics with this lock")
    }

    pub(super) fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Mailbox>>> {
        self.connections.lock().expect("invariant: nothing panics with this lock")
    }

    /// A number for a link, a connection or a fault.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn at_end(&self) -> AtEnd {
        self.settings.at_end
    }

    /// Tell whoever watches what happened.
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if let Some(log) = &self.settings.log {
            log(&what());
        }
    }

    /// Messages were written to receivers.
    pub(super) fn delivered(&self, count: u64) {
        if count > 0 {
            self.count.deliveries.fetch_add(count, Ordering::AcqRel);
            self.changes.happened();
        }
    }

    /// A connection ended, and its links with it.
    pub(super) fn disconnected(&self, connection: u64) {
        self.connections().remove(&connection);
        let links: Vec<_> = self.links().extract_if(.., |_, link| link.connection == connection).collect();
        for (id, link) in links {
            self.release(id, &link);
        }
        self.changes.happened();
    }

    /// A link ended.
    pub(super) fn detached(&self, id: u64) {
        let link = self.links().remove(&id);
        if let Some(link) = link {
            self.release(id, &link);
            self.changes.happened();
        }
    }

    fn release(&self, id: u64, link: &Link) {
        let partition = link.partition.and_then(|partition| self.hub(&link.hub)?.partition(partition));
        if let Some(partition) = partition {
            partition.log().detach(id);
        }
    }
}

impl Hub {
    pub(super) fn add_partition(&self, first_sequence: i64) {
        let mut partitions = self.partitions.write().expect("invariant: nothing panics with this lock");
        let id = partitions.len();
        partitions.push(Arc::new(Partition::new(Arc::clone(&self.name), id, first_sequence)));
    }

    pub(super) fn partition(&self, id: usize) -> Option<Arc<Partition>> {
        self.partitions.read().expect("invariant: nothing panics with this lock").get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().expect("invariant: nothing panics with this lock").clone()
    }

    pub(super) fn count(&self) -> usize {
        self.partitions.read().expect("invariant: nothing panics with this lock").len()
    }

    /// The partition for what was sent to the hub: that of its key, else the next in turn.
    pub(super) fn route(&self, key: Option<&str>) -> Arc<Partition> {
        let partitions = self.all();
        let index = match key {
            Some(key) => partition_of(key, partitions.len()),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % partitions.len(),
        };
        Arc::clone(&partitions[index])
    }
}

pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("invariant: it is after 1970");
    now.as_millis() as i64
}
