//! The stream, wired and run.
