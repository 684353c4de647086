//! The queue by recipient domain as JSON.

use postrider_core::queue::DomainLine;
use postrider_core::{Domain, Timestamp};
use postrider_store::{QueueDomain, QueueDomainPage};
use serde::Serialize;

use super::Pagination;

/// A page of the queue by recipient domain.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct QueueDomainPageView {
    domains: Vec<QueueDomainView>,
    pagination: Pagination,
}

/// What waits for one domain. Each delivery counts once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueueDomainView {
    domain: Domain,
    queued: u64,
    deferred: u64,
    /// Taken on by a server: in line, or being sent.
    sending: u64,
    held: u64,
    /// When the oldest e-mail of all these was accepted.
    oldest_at: Option<Timestamp>,
    /// The earliest of those that no server has taken on.
    next_attempt_at: Option<Timestamp>,
    last_error: Option<String>,
    /// What the asked server has taken on.
    #[serde(flatten)]
    line: DomainLine,
}

impl QueueDomainPageView {
    /// What [`postrider_store::Queue::queue_domains`] answered when asked for `page` with `limit` domains a page, and what a server
    /// says of these, in their order.
    pub fn new(found: QueueDomainPage, lines: Vec<DomainLine>, page: u64, limit: u64) -> Self {
        let domains = found.domains.into_iter().zip(lines).map(|(found, line)| QueueDomainView::new(found, line));
        Self { pagination: Pagination::new(page, limit, found.total), domains: domains.collect() }
    }
}

impl QueueDomainView {
    fn new(found: QueueDomain, line: DomainLine) -> Self {
        let QueueDomain { domain, queued, deferred, sending, held, oldest_at, next_attempt_at, last_error } = found;
        Self { domain, queued, deferred, sending, held, oldest_at, next_attempt_at, last_error, line }
    }
}
