//! The running server: listeners and their sessions, the queue, delivery.
//!
//! Sockets, tasks and TLS live in this room and nowhere else. What bytes mean is `postrider-wire`'s business, what is
//! kept is the store's; here the two are driven and the decisions are taken.

mod acme;
mod bounces;
pub mod clock;
pub mod collector;
pub mod dkim;
pub mod dns;
pub mod tls;
pub mod users;

mod control;
mod deliver;
mod directory;
mod dnssec;
mod generations;
mod handshake;
mod hearing;
mod history;
mod http;
mod imap;
mod limits;
mod listen;
mod login;
mod memory;
mod outage;
mod parse;
mod policy;
mod queue;
mod requests;
mod server;
mod simulator;
mod smtp;
mod stats;
mod stream;
mod tls_reports;
mod verify;
mod webhook;

pub use dnssec::{DnssecFailure, passes_dnssec};
pub use limits::Limits;
pub use policy::mta_sts::{PublishedPolicy, published_policy};
pub use server::{Server, StartError, check_shaping_file};
pub use verify::Verifier;
pub use verify::spf::{Client as SpfClient, check as check_spf};

/// A random number in 0..1, for jitter and for the order among equals.
pub(crate) fn random_fraction() -> f64 {
    // Without randomness from the system the middle does as well: nothing here is a secret.
    getrandom::u32().map_or(0.5, |n| f64::from(n) / (f64::from(u32::MAX) + 1.0))
}
