//! How weir talks to Azure Event Hubs: where, as whom, through which client.
//!
//! Source, sink and command line share it. It wraps the official client, so that
//! its types stop here, and is built around what that client does not do:
//!
//! - Every wait has a deadline of its own: the client sets no idle timeout, and a
//!   connection that is dropped during an exchange can hang for more than a minute.
//! - The client never retries. After its own reconnect it would silently start
//!   over at the position that a receiver was opened with; so a connection that
//!   fails is given up, and whoever holds it opens a new one where it stands.
//! - One connection a receiver: a link that is detached resets all links of its
//!   connection.
//! - It loses what comes between looking and listening, unless all tasks of a
//!   connection share one thread: so each connection has one of its own, see [`Solitary`](solitary::Solitary).
//!
//! Never: a key, a signature or a token gets into an error, a log or a record.

mod client;
mod connection_string;
mod credential;
mod message;
mod producer;
mod settings;
mod solitary;
mod trouble;

pub use client::{Connection, PartitionState, Position, ReceiverSettings};
pub use connection_string::ConnectionString;
pub use message::{Body, Message};
pub use producer::{Outgoing, Producer, Sent};
pub use settings::{Credential, HubSettings, Identity, Secret, StringProblem, Transport};
pub use solitary::{Answer, Inquiry};
pub use trouble::{Trouble, TroubleKind};
