//! What the tests stand on: time that stands still, a small Internet on loopback, Postriders started in it, and a MongoDB
//! server with a network in front of it that fails on demand.
//!
//! The kit uses public interfaces only, and speaks SMTP by its own code, so that it is an independent judge.

mod acme;
mod browser;
mod client;
mod clock;
mod deflate;
mod dns;
mod http;
mod http_service;
mod imap;
mod loopback;
pub mod mail;
mod mongo;
mod mx;
mod nodes;
mod postrider;
mod process;
mod proxy;
mod scram;
mod scrub;
mod site;
mod store;
mod stream;
mod tls;
mod wait;

pub use acme::{AcmeFault, AcmeServer};
pub use browser::{Browser, Scheme};
pub use client::{ClientReply, LineClient, stuffed};
pub use clock::{ManualClock, RunningClock};
pub use dns::{Asked, DNS_PORT, DnsServer, Failure, Transport, Zone};
pub use hickory_proto::rr::RecordType;
pub use http::{HttpRequest, HttpResponse};
pub use http_service::{HttpAnswer, HttpReceived, HttpService};
pub use imap::{ImapClient, ImapReply};
pub use loopback::LoopbackIp;
pub use mongo::{MongoDatabase, MongoServer};
pub use mx::{
    Answer, Command, ConnectionRecord, Gate, ReceivedMessage, ReceivedRecipient, Script, ScriptedMx, StartTls,
    without_trace,
};
pub use postrider::TestPostrider;
pub use process::{CommandOutput, PostriderProcess, run_command};
pub use proxy::{ProxyMode, TcpProxy};
pub use scrub::scrub;
pub use site::{Site, ports};
pub use store::StoreFaults;
pub use tls::{certificate_pem, servers_association, servers_certificate_pem};
pub use wait::{GUARD_SECONDS, eventually, eventually_within};
