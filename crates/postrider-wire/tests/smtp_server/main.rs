//! The server's side of SMTP, tested through whole sessions.

mod lmtp;
mod scram;
mod script;
mod sessions;
mod smuggling;
