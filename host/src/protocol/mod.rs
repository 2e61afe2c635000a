//! Pure decisions of the epoch protocol.

pub mod commit;
