//! The JSON shape of a token.

use postrider_core::{Domain, ObjectId, Timestamp};
use postrider_store::tokens::{Scope, Token, TokenSettings, TokenText};
use serde::Serialize;

/// A token. Its text is shown once, when it is made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    pub id: ObjectId,
    pub name: String,
    /// What it is good for; `admin` is good for everything.
    pub scopes: Vec<Scope>,
    /// It sends only from addresses at these domains; empty: from any.
    pub domains: Vec<Domain>,
    pub expires_at: Option<Timestamp>,
    /// Whether that time has come.
    pub expired: bool,
    /// Requests a minute on each node; `null`: as `API_RATE_LIMIT_PER_MINUTE` says.
    pub requests_per_minute: Option<u32>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// To the minute; `null` where it was never used.
    pub last_used_at: Option<Timestamp>,
    /// What is sent as bearer token: only when it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl TokenView {
    pub fn new(token: Token, last_used_at: Option<Timestamp>, now: Timestamp) -> Self {
        let expired = token.has_expired(now);
        let TokenSettings { name, scopes, domains, expires_at, requests_per_minute } = token.settings;
        Self {
            id: token.id,
            name,
            scopes,
            domains,
            expires_at,
            expired,
            requests_per_minute,
            created_at: token.created_at,
            updated_at: token.updated_at,
            last_used_at,
            token: None,
        }
    }

    /// Of one that was just made.
    pub fn with_text(token: Token, text: TokenText, now: Timestamp) -> Self {
        Self { token: Some(text.0), ..Self::new(token, None, now) }
    }
}
