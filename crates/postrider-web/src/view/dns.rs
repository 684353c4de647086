//! The JSON shapes of what a domain needs in DNS: its records, and the keys that sign its mail.

use postrider_core::{Domain, Timestamp};
use postrider_store::dkim::DkimState;
use serde::Serialize;

/// Every DNS record that a domain needs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DnsView {
    pub domain: Domain,
    pub records: Vec<DnsRecordView>,
}

/// A record that should be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsRecordView {
    /// What it is for: `MX`, `SPF`, `DKIM`, `DMARC`, `MTA-STS`, `TLS-RPT`, `PTR`.
    pub purpose: &'static str,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub value: String,
    pub state: DnsState,
    /// What DNS has in its place; empty where it has nothing.
    pub found: Vec<String>,
}

/// What DNS says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DnsState {
    Present,
    Wrong,
    Missing,
    /// DNS did not answer.
    Unknown,
}

/// The keys that sign a domain's mail.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DkimView {
    pub domain: Domain,
    /// The oldest first, two for each time that keys were made; empty where nothing is signed.
    pub keys: Vec<DkimKeyView>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DkimKeyView {
    pub selector: String,
    /// `ed25519` or `rsa`.
    pub algorithm: &'static str,
    pub state: DkimState,
    pub created_at: Timestamp,
    /// `null`: once its record is found in DNS.
    pub signs_from: Option<Timestamp>,
    pub record: TxtRecordView,
    /// `null` where DNS did not answer.
    pub published: Option<bool>,
    /// What DNS has in its place; `null` where it has nothing, or the right one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// A TXT record to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TxtRecordView {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub value: String,
}

impl TxtRecordView {
    pub fn new(name: String, value: String) -> Self {
        Self { name, kind: "TXT", value }
    }
}
