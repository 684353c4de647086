//! SMTP sessions: who may do what ([`policy`]), the session itself ([`session`]), and taking a message ([`accept`]).

mod accept;
mod filings;
mod instructions;
pub(crate) mod policy;
mod sender;
mod service;
mod session;
mod submit;
mod taken_out;
mod verified;

use std::sync::Arc;

use postrider_config::SenderCheck;
use postrider_core::Clock;
use postrider_store::Store;
use tokio::sync::watch;

use crate::bounces::matching::Bounces;
use crate::directory::Recipients;
use crate::dkim::Signers;
use crate::limits::Limits;
use crate::memory::MemoryBudget;
use crate::policy::source::Sources;
use crate::queue::Queue;
use crate::stats::Stats;
use crate::tls::ServerTls;
use crate::users::Logins;
use crate::verify::{ClientChecks, Obedience, Verifier};
use crate::webhook::Webhooks;

pub(crate) use service::Service;
pub(crate) use submit::Submissions;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) logins: Logins,
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) limits: Limits,
    pub(crate) memory: MemoryBudget,
    pub(crate) stats: Arc<Stats>,
    pub(crate) hostname: String,
    pub(crate) recipients: Arc<Recipients>,
    pub(crate) bounces: Bounces,
    pub(crate) signers: Arc<Signers>,
    pub(crate) webhooks: Arc<Webhooks>,
    /// `None`: mail from the world is not verified.
    pub(crate) verifier: Option<Verifier>,
    pub(crate) dmarc: Obedience,
    pub(crate) client_checks: ClientChecks,
    pub(crate) sender_check: SenderCheck,
    pub(crate) rejects_unknown_recipients: bool,
    /// True once the server is shutting down.
    pub(crate) draining: watch::Receiver<bool>,
}
