//! Faults as lines of text, for the binary.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::condition::Condition;
use super::faults::{Cut, Fault, FaultId, Loss, Moment, Target, Thief, When};
use super::server::LocalHubs;

/// What `help` prints.
const HELP: &str = "\
TARGET is *, HUB or HUB/PARTITION; receivers: or senders: before it names one side.
CONDITION is server-busy, internal-error, timeout, detach-forced, connection-forced, unauthorized,
auth-failed, stolen or a whole name such as amqp:not-found.

drop TARGET [within-frame]          reset the TCP connections
steal TARGET [leaves]               a receiver with a higher owner level takes the place of receivers
detach TARGET CONDITION             detach links
close TARGET CONDITION              close connections
busy TARGET                         refuse an attach: server busy
refuse TARGET CONDITION             refuse an attach
reject TARGET CONDITION             reject a sent message
refuse-management TARGET CONDITION  refuse a request to $management
refuse-token TARGET CONDITION       refuse a token
lose-ack TARGET [drop]              store a sent message and do not say so, or drop the connection
freeze TARGET [SECONDS] [attach|token|management|send]
                                    write nothing more, at once or from that answer on
duplicate TARGET COUNT              send the last messages again
slow TARGET MILLISECONDS            wait between deliveries
trim TARGET SEQUENCE                forget the messages before
skip TARGET COUNT                   leave sequence numbers out
expire-token TARGET                 detach links until there is a new token
add-partition HUB                   add a partition

All of these may end with a time: after N deliveries, every N deliveries, after N attaches, always.

clear [ID]                          forget a fault, or all of them
append HUB/PARTITION COUNT BYTES    store messages
outage | restore                    end all connections and refuse new ones | listen again
status                              what there is and who is attached
help                                this text";

/// A line that was understood.
#[derive(Debug, PartialEq)]
enum Order {
    Inject(Target, When, Fault),
    Clear(Option<FaultId>),
    Append { hub: String, partition: usize, count: usize, bytes: usize },
    Outage,
    Restore,
    Status,
    Help,
}

impl LocalHubs {
    /// Obey a line of text and return what there is to say; `help` lists what is understood.
    ///
    /// # Errors
    /// If the line is not understood, or names what there is not; the text says which.
    pub fn obey(&self, line: &str) -> Result<String, String> {
        Ok(match parse(line)? {
            Order::Help => HELP.to_owned(),
            Order::Status => self.status(),
            Order::Clear(Some(id)) => {
                self.clear(id);
                format!("fault {} is forgotten", id.0)
            }
            Order::Clear(None) => {
                self.clear_faults();
                "all faults are forgotten".to_owned()
            }
            Order::Outage => {
                self.shut_down_listener();
                "nobody listens".to_owned()
            }
            Order::Restore => {
                self.listen_again();
                format!("listening at {}", self.origin())
            }
            Order::Append { hub, partition, count, bytes } => {
                self.check_target(&Target::hub(&hub).partition(partition))?;
                let body = Bytes::from(vec![b'x'; bytes]);
                self.append_many(&hub, partition, std::iter::repeat_n(body, count));
                format!("{count} messages of {bytes} bytes")
            }
            Order::Inject(target, when, fault) => {
                self.check_target(&target)?;
                format!("fault {}", self.inject(target, when, fault).0)
            }
        })
    }

    /// What there is does not say who is meant by a wrong name.
    fn check_target(&self, target: &Target) -> Result<(), String> {
        let Some(hub) = &target.hub else { return Ok(()) };
        let hubs = self.hubs();
        if !hubs.contains(hub) {
            return Err(format!("there is no hub {hub:?}; there are: {}", hubs.join(", ")));
        }
        match target.partition {
            Some(partition) if partition >= self.partitions(hub) => {
                Err(format!("hub {hub:?} has no partition {partition}; it has {}", self.partitions(hub)))
            }
            _ => Ok(()),
        }
    }

    fn status(&self) -> String {
        let mut text = String::new();
        for hub in self.hubs() {
            for partition in 0..self.partitions(&hub) {
                let properties = self.partition_properties(&hub, partition);
                let begin = properties.begin_sequence_number;
                let end = properties.last_enqueued_sequence_number;
                let _infallible = writeln!(text, "{hub}/{partition}: sequence numbers {begin} to {end}");
            }
            for receiver in self.receivers(&hub) {
                let level = receiver.level.map_or("no owner level".to_owned(), |level| format!("owner level {level}"));
                let start = receiver.start.as_deref().unwrap_or("no selector");
                let (name, group, partition) = (&receiver.name, &receiver.group, receiver.partition);
                let _infallible = writeln!(text, "{hub}/{partition}: receiver {name} of {group}, {level}, {start}");
            }
            let _infallible = writeln!(text, "{hub}: {} senders", self.senders(&hub));
        }
        let _infallible = write!(text, "{:?}", self.counters());
        text
    }
}

fn parse(line: &str) -> Result<Order, String> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let when = take_when(&mut words)?;
    let (verb, rest) = words.split_first().ok_or("a command is missing; help lists them")?;
    match (*verb, rest) {
        ("help", []) => return Ok(Order::Help),
        ("status", []) => return Ok(Order::Status),
        ("outage", []) => return Ok(Order::Outage),
        ("restore", []) => return Ok(Order::Restore),
        ("clear", []) => return Ok(Order::Clear(None)),
        ("clear", [id]) => return Ok(Order::Clear(Some(FaultId(number(id)?)))),
        ("append", [place, count, bytes]) => {
            let Target { hub: Some(hub), partition: Some(partition), role: None } = target(place)? else {
                return Err(format!("append needs HUB/PARTITION, not {place:?}"));
            };
            return Ok(Order::Append { hub, partition, count: number(count)?, bytes: number(bytes)? });
        }
        _ => {}
    }
    let (place, arguments) =
        rest.split_first().ok_or_else(|| format!("{verb:?} is not understood, or lacks a target"))?;
    let fault = fault(verb, arguments)?;
    Ok(Order::Inject(target(place)?, when, fault))
}

fn fault(verb: &str, arguments: &[&str]) -> Result<Fault, String> {
    Ok(match (verb, arguments) {
        ("drop", []) => Fault::Drop(Cut::BetweenFrames),
        ("drop", ["within-frame"]) => Fault::Drop(Cut::WithinFrame),
        ("steal", []) => Fault::Steal(Thief::Stays),
        ("steal", ["leaves"]) => Fault::Steal(Thief::Leaves),
        ("detach", [name]) => Fault::Detach(condition(name)?),
        ("close", [name]) => Fault::Close(condition(name)?),
        ("busy", []) => Fault::RefuseAttach(Condition::server_busy()),
        ("refuse", [name]) => Fault::RefuseAttach(condition(name)?),
        ("reject", [name]) => Fault::RejectSend(condition(name)?),
        ("refuse-management", [name]) => Fault::RefuseManagement(condition(name)?),
        ("refuse-token", [name]) => Fault::RefuseToken(condition(name)?),
        ("lose-ack", []) => Fault::LoseAcknowledgement(Loss::Silent),
        ("lose-ack", ["drop"]) => Fault::LoseAcknowledgement(Loss::Dropped),
        ("freeze", arguments) => freeze(arguments)?,
        ("duplicate", [count]) => Fault::Duplicate(number(count)?),
        ("slow", [milliseconds]) => Fault::Slow(Duration::from_millis(number(milliseconds)?)),
        ("trim", [before]) => Fault::Trim(number(before)?),
        ("skip", [count]) => Fault::SkipSequenceNumbers(number(count)?),
        ("expire-token", []) => Fault::ExpireToken,
        ("add-partition", []) => Fault::AddPartition,
        _ => return Err(format!("{verb:?} with {arguments:?} is not understood; help lists what is")),
    })
}

fn freeze(arguments: &[&str]) -> Result<Fault, String> {
    let mut time = None;
    let mut moment = Moment::Now;
    for argument in arguments {
        match *argument {
            "attach" => moment = Moment::Attach,
            "token" => moment = Moment::PutToken,
            "management" => moment = Moment::Management,
            "send" => moment = Moment::Send,
            seconds => time = Some(Duration::from_secs(number(seconds)?)),
        }
    }
    Ok(Fault::Freeze(moment, time))
}

/// The time at the end of a line, which is now if there is none.
fn take_when(words: &mut Vec<&str>) -> Result<When, String> {
    let (when, length) = match words[..] {
        [.., "always"] => (When::EveryTime, 1),
        [.., "after", count, "deliveries"] => (When::AfterDeliveries(number(count)?), 3),
        [.., "every", count, "deliveries"] => (When::EveryDeliveries(number(count)?), 3),
        [.., "after", count, "attaches"] => (When::AfterAttaches(number(count)?), 3),
        _ => (When::Now, 0),
    };
    words.truncate(words.len() - length);
    Ok(when)
}

fn target(text: &str) -> Result<Target, String> {
    let (side, place) = match text.split_once(':') {
        Some(("receivers", place)) => (Target::all().receivers(), place),
        Some(("senders", place)) => (Target::all().senders(), place),
        Some((side, _)) => return Err(format!("{side:?} is no side; there are receivers: and senders:")),
        None => (Target::all(), text),
    };
    Ok(match place.split_once('/') {
        _ if place == "*" => side,
        Some((hub, partition)) => Target { hub: Some(hub.to_owned()), partition: Some(number(partition)?), ..side },
        None => Target { hub: Some(place.to_owned()), ..side },
    })
}

fn condition(name: &str) -> Result<Condition, String> {
    Ok(match name {
        "server-busy" => Condition::server_busy(),
        "internal-error" => Condition::internal_error(),
        "timeout" => Condition::timeout(),
        "detach-forced" => Condition::detach_forced(),
        "connection-forced" => Condition::connection_forced(),
        "unauthorized" => Condition::unauthorized(),
        "auth-failed" => Condition::auth_failed(),
        "stolen" => Condition::stolen("New receiver with a higher epoch is created."),
        name if name.contains(':') => Condition::new(name, "The service was told to say so."),
        _ => return Err(format!("{name:?} is no condition; help lists them")),
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number, or too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inject(target: Target, when: When, fault: Fault) -> Result<Order, String> {
        Ok(Order::Inject(target, when, fault))
    }

    #[test]
    fn lines_become_faults() {
        let first = Target::hub("telemetry").partition(0);
        for (line, expected) in [
            ("drop telemetry/0", inject(first.clone(), When::Now, Fault::Drop(Cut::BetweenFrames))),
            (
                "drop receivers:telemetry within-frame after 20 deliveries",
                inject(Target::hub("telemetry").receivers(), When::AfterDeliveries(20), Fault::Drop(Cut::WithinFrame)),
            ),
            ("busy * always", inject(Target::all(), When::EveryTime, Fault::RefuseAttach(Condition::server_busy()))),
            (
                "freeze telemetry/0 5 token after 2 attaches",
                inject(
                    first.clone(),
                    When::AfterAttaches(2),
                    Fault::Freeze(Moment::PutToken, Some(Duration::from_secs(5))),
                ),
            ),
            ("trim telemetry/0 500", inject(first, When::Now, Fault::Trim(500))),
            ("add-partition telemetry", inject(Target::hub("telemetry"), When::Now, Fault::AddPartition)),
            ("clear 7", Ok(Order::Clear(Some(FaultId(7))))),
            ("status", Ok(Order::Status)),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_named() {
        for (line, expected) in [
            ("", "a command is missing; help lists them"),
            ("jump telemetry", "\"jump\" with [] is not understood; help lists what is"),
            ("drop", "\"drop\" is not understood, or lacks a target"),
            ("drop telemetry/x", "\"x\" is not a number, or too large"),
            ("detach telemetry nonsense", "\"nonsense\" is no condition; help lists them"),
            ("drop readers:telemetry", "\"readers\" is no side; there are receivers: and senders:"),
            ("append telemetry 1 1", "append needs HUB/PARTITION, not \"telemetry\""),
        ] {
            assert_eq!(parse(line), Err(expected.to_owned()), "{line}");
        }
    }
}
