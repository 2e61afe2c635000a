//! The addresses of Event Hubs' nodes.

use super::value::Value;

/// A node that answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// `$cbs`, which takes tokens.
    Cbs,
    /// `$management`, which tells the properties of hubs and partitions.
    Management,
}

/// What a link is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Node(Node),
    /// A partition as a consumer group reads it.
    Group {
        hub: String,
        group: String,
        partition: String,
    },
    /// A hub, or a partition of it, as it is sent to.
    Hub {
        hub: String,
        partition: Option<String>,
        publisher: Option<String>,
    },
}

impl Address {
    /// Read the address of a source or target, with or without scheme and host.
    pub(super) fn of(terminus: &Value) -> Option<Self> {
        Self::read(terminus.field(0).as_str()?)
    }

    pub(super) fn read(address: &str) -> Option<Self> {
        let path = match address.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?.1,
            None => address,
        };
        let path = path.split('?').next().unwrap_or_default();
        let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let is = |segment: &str, name: &str| segment.eq_ignore_ascii_case(name);
        Some(match segments[..] {
            ["$cbs"] => Self::Node(Node::Cbs),
            [.., "$management"] => Self::Node(Node::Management),
            [hub] => Self::Hub { hub: decoded(hub), partition: None, publisher: None },
            [hub, kind, partition] if is(kind, "Partitions") => {
                Self::Hub { hub: decoded(hub), partition: Some(decoded(partition)), publisher: None }
            }
            [hub, kind, publisher] if is(kind, "Publishers") => {
                Self::Hub { hub: decoded(hub), partition: None, publisher: Some(decoded(publisher)) }
            }
            [hub, groups, group, kind, partition] if is(groups, "ConsumerGroups") && is(kind, "Partitions") => {
                Self::Group { hub: decoded(hub), group: decoded(group), partition: decoded(partition) }
            }
            _ => return None,
        })
    }
}

/// Without the percent encoding of URLs.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = rest.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_host() {
        let group = Address::Group { hub: "telemetry".into(), group: "$Default".into(), partition: "0".into() };
        let hub = |partition: Option<&str>, publisher: Option<&str>| Address::Hub {
            hub: "telemetry".into(),
            partition: partition.map(str::to_owned),
            publisher: publisher.map(str::to_owned),
        };
        for (text, expected) in [
            ("$cbs", Some(Address::Node(Node::Cbs))),
            ("$management", Some(Address::Node(Node::Management))),
            ("telemetry/$management", Some(Address::Node(Node::Management))),
            ("amqps://127.0.0.1:5672/telemetry/ConsumerGroups/$Default/Partitions/0", Some(group.clone())),
            ("telemetry/ConsumerGroups/%24Default/Partitions/0", Some(group)),
            ("telemetry", Some(hub(None, None))),
            ("amqps://host/telemetry/Partitions/3", Some(hub(Some("3"), None))),
            ("telemetry/Publishers/sensor%201", Some(hub(None, Some("sensor 1")))),
            ("", None),
            ("a/b/c/d", None),
        ] {
            assert_eq!(Address::read(text), expected, "{text}");
        }
    }
}
