//! Pure decisions of the epoch protocol.
