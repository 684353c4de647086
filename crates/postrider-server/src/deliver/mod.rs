//! Delivery: from a recipient's domain to an outcome. Which host takes the mail ([`route`]), the connection to it
//! ([`connect`]), the transaction ([`transaction`]), and the notifications that follow ([`report`]).
//!
//! Nothing here knows the queue: a delivery is a function of a message, a route and perhaps a connection, and ends in
//! attempts to be settled.

pub(crate) mod connect;
pub(crate) mod report;
pub(crate) mod route;
pub(crate) mod transaction;

use std::sync::Arc;

use postrider_core::{Clock, Resolver};
use rustls::ClientConfig;

use crate::limits::Limits;

/// What every delivery needs.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) limits: Limits,
    /// Our name, in EHLO and in reports.
    pub(crate) hostname: String,
    pub(crate) opportunistic_tls: Arc<ClientConfig>,
    pub(crate) verifying_tls: Arc<ClientConfig>,
}
