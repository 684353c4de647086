//! The JSON shape of the audit log.

use std::net::IpAddr;

use postrider_core::{ObjectId, Timestamp};
use postrider_store::{AuditEntry, AuditOutcome, AuditPage};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Pagination;

/// A page of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditPageView {
    pub entries: Vec<AuditEntryView>,
    pagination: Pagination,
}

/// Somebody set about a change.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntryView {
    pub id: ObjectId,
    pub at: Timestamp,
    /// `API_TOKEN`, `local`, `command line`, or a token's name at that time.
    pub actor: String,
    /// The token's id.
    pub token: Option<ObjectId>,
    /// Whom the request came from; `null` for the command line.
    #[schema(value_type = Option<String>)]
    pub peer: Option<IpAddr>,
    /// A noun and a verb: `user.add`.
    pub action: String,
    /// What was to be changed; empty where that is not one thing.
    pub target: String,
    /// `null`: it is under way, or nobody lived to say.
    pub outcome: Option<AuditOutcome>,
    /// What it was `before` and is `after`, where that is small, and no secret.
    #[schema(value_type = Option<Object>)]
    pub details: Option<Box<RawValue>>,
}

impl AuditPageView {
    /// What [`postrider_store::AuditLog::audit_entries`] answered.
    pub fn new(found: AuditPage, page: u64, limit: u64) -> Self {
        let pagination = Pagination::new(page, limit, found.total);
        Self { entries: found.entries.into_iter().map(AuditEntryView::from).collect(), pagination }
    }
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, at, actor, peer, action, target, outcome, details } = entry;
        let details = details.and_then(|details| RawValue::from_string(details).ok());
        Self { id, at, actor: actor.name, token: actor.token, peer, action, target, outcome, details }
    }
}
