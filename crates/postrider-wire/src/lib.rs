//! Bytes and their meaning: mail protocols as state machines that see no socket, no clock and no disk.
//!
//! Whoever drives a machine feeds it what was read, writes what it wants written, and decides what it asks. Nothing here
//! imports another room of Postrider.

pub mod imap;
pub mod sasl;
pub mod smtp;
