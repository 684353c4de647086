//! What replies and status codes of other servers mean, by the rules in `rules.txt`. It knows no socket and no store.

pub mod report;
mod rules;

use serde::{Deserialize, Serialize};

use crate::delivery::{Category, Reply, statuses};
use crate::id::ObjectId;
use crate::time::Timestamp;

statuses! {
    /// What a report that came back is about.
    FeedbackKind {
        /// A delivery failed after another server had accepted it.
        Bounce = "bounce",
        /// It is late there.
        Delay = "delay",
        /// The recipient reported the message as unwanted (RFC 5965).
        Complaint = "complaint",
    }
}

/// What a report said of a delivery, after that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Feedback {
    pub kind: FeedbackKind,
    pub received_at: Timestamp,
    /// The report, as an e-mail.
    pub report: ObjectId,
    /// Why it failed; absent of complaints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The enhanced status code (RFC 3463), where it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The report's own words, cut.
    pub text: String,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification {
    pub category: Category,
    /// The mailbox is not there, for good: mail to it is refused whatever it is and whoever sends it.
    pub is_hard_bounce: bool,
}

/// Characters of a text that are looked at.
const TEXT_CHARS_MAX: usize = 2_000;

/// Reads what is known of a refusal: the reply's code, the enhanced status code (RFC 3463), the words. Each may be missing.
pub fn classify(code: Option<u16>, status: Option<&str>, text: &str) -> Classification {
    let class = status.and_then(|status| status.bytes().next());
    let is_permanent = match code {
        Some(code) => code >= 500,
        None => class == Some(b'5'),
    };
    let lower: String = text.chars().take(TEXT_CHARS_MAX).map(|c| c.to_ascii_lowercase()).collect();
    let words = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    match rules::find(code, status.and_then(rules::status_parts), &words) {
        Some((category, is_hard)) => Classification { category, is_hard_bounce: is_hard && is_permanent },
        None => {
            let category = if is_permanent { Category::Other } else { Category::Temporary };
            Classification { category, is_hard_bounce: false }
        }
    }
}

/// As [`classify`], of a reply.
pub fn classify_reply(reply: &Reply) -> Classification {
    classify(Some(reply.code), reply.enhanced_code.as_deref(), &reply.text)
}

#[cfg(test)]
mod tests;
