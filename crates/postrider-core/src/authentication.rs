//! What was found out about who a message is from, as it is kept with it (RFC 8601 section 2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one method found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationResult {
    /// As the field Authentication-Results names it: `spf`, `dkim`, `arc`, `dmarc`, `iprev`.
    pub method: String,
    /// `pass`, `fail`, `none`, `temperror` and so on (RFC 8601 section 2.7).
    pub result: String,
    /// What it was found of, by names as `smtp.mailfrom` and `header.d`. The peer chose the values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
