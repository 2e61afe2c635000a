//! Event Hubs on this machine: real AMQP 1.0 over plain TCP, with faults on command.
//!
//! ```text
//! LocalHubs ── server ── connection ── protocol ── attach, intake, nodes ── broker ── partition
//!                             │                                               │
//!                         delivery (receivers' turns)              injection, faults
//! ```
//!
//! `value`, `frame` and `message` are the encoding; `selector`, `address`, `tokens`
//! and `routing` are what Event Hubs adds to AMQP. A connection belongs to its task;
//! the broker reaches it through its mailbox only.
//!
//! Absent on purpose: TLS, WebSockets, capture, geo-replication, schema registry,
//! transactions, idempotent producers, limits of throughput.

mod address;
mod attach;
mod broker;
mod changes;
mod commands;
mod condition;
mod connection;
mod delivery;
mod faults;
mod frame;
mod injection;
mod intake;
mod link;
mod mailbox;
mod message;
mod nodes;
mod partition;
mod protocol;
mod routing;
mod selector;
mod server;
mod settings;
mod tokens;
mod value;

pub use broker::{Broker, Counters};
pub use condition::Condition;
pub use faults::{Cut, Fault, FaultId, Loss, Moment, Role, Target, Thief, When};
pub use message::{Message, Place, Stored};
pub use partition::{AtEnd, PartitionProperties, Receiver};
pub use server::LocalHubs;
pub use settings::{Key, Log, Settings};
pub use value::Value;

#[cfg(test)]
mod tests;
