//! What whoever hands an e-mail in is told of it.

use postrider_core::submission::{RecipientStatus, SubmittedRecipient};
use postrider_core::{EmailStatus, ObjectId, Submitted};
use serde::Serialize;

/// An e-mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Submitted)]
pub struct SubmittedView {
    pub id: ObjectId,
    message_id: Option<String>,
    status: EmailStatus,
    recipients: Vec<RecipientView>,
}

/// What became of a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SubmittedRecipient)]
pub struct RecipientView {
    address: String,
    status: RecipientStatus,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<Submitted> for SubmittedView {
    fn from(submitted: Submitted) -> Self {
        let Submitted { id, message_id, status, recipients } = submitted;
        Self { id, message_id, status, recipients: recipients.into_iter().map(RecipientView::from).collect() }
    }
}

impl From<SubmittedRecipient> for RecipientView {
    fn from(recipient: SubmittedRecipient) -> Self {
        let SubmittedRecipient { address, status, error } = recipient;
        Self { address: address.to_string(), status, error: error.map(|reply| reply.to_string()) }
    }
}
