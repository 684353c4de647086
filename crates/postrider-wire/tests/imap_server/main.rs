//! The server's side of IMAP, tested through whole sessions.

mod login;
mod pieces;
mod properties;
mod responses;
mod scram;
mod script;
mod sessions;
mod syntax;
