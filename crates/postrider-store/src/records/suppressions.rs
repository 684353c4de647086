//! The suppression list's records.

use postrider_core::{Address, ObjectId, SuppressionReason, Timestamp};
use serde::Serialize;

/// An address that nothing is sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suppression {
    /// Looked up as users' addresses are.
    pub address: Address,
    pub reason: SuppressionReason,
    /// The e-mail that bounced, or was complained of. It may be deleted since.
    pub email: Option<ObjectId>,
    /// What the other side said, or the operator noted.
    pub text: Option<String>,
    pub created_at: Timestamp,
}

impl Suppression {
    /// The characters of [`Suppression::text`]; the rest is cut off.
    pub const TEXT_CHARS_MAX: usize = 500;

    /// With what is too long cut.
    pub fn new(
        address: Address,
        reason: SuppressionReason,
        email: Option<ObjectId>,
        text: Option<&str>,
        created_at: Timestamp,
    ) -> Self {
        let text = text.map(|text| text.chars().take(Self::TEXT_CHARS_MAX).collect());
        Self { address, reason, email, text, created_at }
    }
}

/// Which suppressions a list shows. Unset fields do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SuppressionFilter {
    /// A part of the address, without regard to the case of ASCII.
    pub query: Option<String>,
    pub reason: Option<SuppressionReason>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionPage {
    pub suppressions: Vec<Suppression>,
    /// How many match the filter in all.
    pub total: u64,
}
