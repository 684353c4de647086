//! SMTP (RFC 5321) and its extensions: the server's side in [`server`], the client's in [`client`], what both share here.

pub mod client;
pub mod envelope;
pub mod reply;
pub mod server;
pub mod text;
