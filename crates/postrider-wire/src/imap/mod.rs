//! IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051), the server's side: commands as values, a machine that makes them of
//! bytes, and writers of responses. No sockets, no clock, no mailboxes.

pub mod command;
pub mod date;
pub mod flag;
mod parse;
pub mod response;
pub mod sequence;
pub mod server;
mod utf7;
