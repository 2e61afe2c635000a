//! Reading a table for people.
