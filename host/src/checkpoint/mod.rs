//! Durable records of the epoch protocol.
