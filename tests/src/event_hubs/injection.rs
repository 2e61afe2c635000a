//! How faults are injected, and how they are done to what they hit.

use std::sync::Arc;
use std::time::Duration;

use super::broker::{Broker, Link};
use super::faults::{Fault, FaultId, Fired, Moment, Role, Target, Thief, When};
use super::mailbox::{Command, Mailbox};
use super::partition::Partition;

impl Broker {
    /// Let something go wrong. Faults that stay are forgotten by [`Broker::clear`].
    pub fn inject(&self, target: Target, when: When, fault: Fault) -> FaultId {
        let id = FaultId(self.next_id());
        if self.rules.add(id, target.clone(), when, fault.clone()) {
            self.perform(Fired { id, fault }, &target, None);
        }
        id
    }

    /// Forget a fault: it happens no more, its thief leaves, what is frozen thaws, what is slow is fast.
    pub fn clear(&self, id: FaultId) {
        self.undo(Some(id));
    }

    /// Forget all faults.
    pub fn clear_faults(&self) {
        self.undo(None);
    }

    /// How often a fault happened.
    pub fn fired(&self, id: FaultId) -> u64 {
        self.rules.fired(id)
    }

    fn undo(&self, id: Option<FaultId>) {
        for (id, target, fault) in self.rules.clear(id) {
            match fault {
                Fault::Freeze(..) => self.all_connections().iter().for_each(|mailbox| mailbox.send(Command::Thaw)),
                Fault::Slow(_) => self.set_slow(&target, None),
                Fault::Steal(_) => {
                    self.partitions_of(&Target::all()).iter().for_each(|partition| partition.log().detach(id.0));
                }
                Fault::Drop(_)
                | Fault::Detach(_)
                | Fault::Close(_)
                | Fault::RefuseAttach(_)
                | Fault::RejectSend(_)
                | Fault::RefuseManagement(_)
                | Fault::RefuseToken(_)
                | Fault::Duplicate(_)
                | Fault::LoseAcknowledgement(_)
                | Fault::Trim(_)
                | Fault::ExpireToken
                | Fault::AddPartition
                | Fault::SkipSequenceNumbers(_) => {}
            }
        }
        self.changes.happened();
    }

    /// Do a fault to one link, or else to all that the target meets.
    pub(super) fn perform(&self, fired: Fired, target: &Target, link: Option<u64>) {
        self.say(|| format!("fault {}: {:?}", fired.id.0, fired.fault));
        let links = self.hit(target, link);
        // A fault that waited for a link is about the partition of that link.
        let narrowed = match (link, links.first()) {
            (Some(_), Some((_, link))) => {
                Target { hub: Some(link.hub.to_string()), partition: link.partition, role: None }
            }
            _ => target.clone(),
        };
        match fired.fault {
            Fault::Drop(cut) => self.to_connections(target, link, &links, &Command::Cut(cut)),
            Fault::Close(condition) => self.to_connections(target, link, &links, &Command::Close(condition)),
            Fault::Freeze(Moment::Now, time) => self.to_connections(target, link, &links, &Command::Freeze(time)),
            Fault::ExpireToken => self.to_connections(target, link, &links, &Command::ExpireToken),
            Fault::Detach(condition) => {
                for (id, link) in links {
                    link.mailbox.send(Command::Detach(id, condition.clone()));
                }
            }
            Fault::Duplicate(count) => {
                for (id, link) in links.into_iter().filter(|(_, link)| link.role == Role::Receiver) {
                    link.mailbox.send(Command::Duplicate(id, count));
                }
            }
            Fault::Steal(thief) => self.steal(&narrowed, fired.id, thief),
            Fault::Slow(delay) => self.set_slow(&narrowed, Some(delay)),
            Fault::Trim(before) => {
                self.partitions_of(&narrowed).iter().for_each(|partition| partition.log().trim(before));
            }
            Fault::SkipSequenceNumbers(count) => {
                self.partitions_of(&narrowed).iter().for_each(|partition| partition.log().skip_sequence_numbers(count));
            }
            Fault::AddPartition => {
                let hubs = self.hubs().into_iter().filter(|name| narrowed.hub.as_ref().is_none_or(|hub| hub == name));
                for hub in hubs {
                    self.add_partition(&hub);
                }
            }
            Fault::RefuseAttach(_)
            | Fault::RejectSend(_)
            | Fault::RefuseManagement(_)
            | Fault::RefuseToken(_)
            | Fault::LoseAcknowledgement(_)
            | Fault::Freeze(Moment::Attach | Moment::PutToken | Moment::Management | Moment::Send, _) => {
                unreachable!("the connection does what concerns its events")
            }
        }
        self.changes.happened();
    }

    fn hit(&self, target: &Target, link: Option<u64>) -> Vec<(u64, Link)> {
        let links = self.links();
        let hit =
            links.iter().filter(|(id, found)| link.map_or_else(|| target.meets(&found.place()), |link| link == **id));
        hit.map(|(id, link)| (*id, link.clone())).collect()
    }

    /// To each connection of the links once; to all connections if everybody is meant.
    fn to_connections(&self, target: &Target, link: Option<u64>, links: &[(u64, Link)], command: &Command) {
        if link.is_none() && *target == Target::all() {
            self.all_connections().iter().for_each(|mailbox| mailbox.send(command.clone()));
            return;
        }
        let mut done = Vec::new();
        for (_, link) in links {
            if !done.contains(&link.connection) {
                done.push(link.connection);
                link.mailbox.send(command.clone());
            }
        }
    }

    fn all_connections(&self) -> Vec<Arc<Mailbox>> {
        self.connections().values().cloned().collect()
    }

    fn partitions_of(&self, target: &Target) -> Vec<Arc<Partition>> {
        let hubs: Vec<_> =
            self.hubs.read().expect("invariant: nothing panics with this lock").values().cloned().collect();
        let partitions = hubs.iter().flat_map(|hub| hub.all());
        let meant = |partition: &Arc<Partition>| {
            target.hub.as_deref().is_none_or(|hub| hub == &*partition.hub)
                && target.partition.is_none_or(|id| id == partition.id)
        };
        partitions.filter(meant).collect()
    }

    fn steal(&self, target: &Target, id: FaultId, thief: Thief) {
        for partition in self.partitions_of(target) {
            let mut log = partition.log();
            let mut groups: Vec<_> = log.receivers().map(|attached| attached.receiver.group.clone()).collect();
            groups.sort();
            groups.dedup();
            let stays = (thief == Thief::Stays).then_some(id.0);
            groups.iter().for_each(|group| log.steal(group, stays));
        }
    }

    fn set_slow(&self, target: &Target, delay: Option<Duration>) {
        for partition in self.partitions_of(target) {
            partition.log().slow = delay;
        }
    }
}
