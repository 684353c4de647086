//! The server's side of IMAP, tested through whole sessions.

mod login;
mod pieces;
mod responses;
mod script;
mod sessions;
mod syntax;
