//! The audit log's records.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use postrider_core::{ObjectId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::tokens::TokenId;

/// Names an entry.
pub type AuditId = ObjectId;

/// Somebody set about a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub id: AuditId,
    pub at: Timestamp,
    pub actor: AuditActor,
    /// Whom the request came from; `None` for the command line.
    pub peer: Option<IpAddr>,
    /// A noun and a verb with a dot between: `user.add`.
    pub action: String,
    /// What was to be changed; empty where that is not one thing.
    pub target: String,
    /// `None`: it is under way, or nobody lived to say.
    pub outcome: Option<AuditOutcome>,
    /// JSON: what it was before and after, where that is small. No secrets.
    pub details: Option<String>,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditActor {
    /// `API_TOKEN`, `local`, `command line`, or a token's name at that time.
    pub name: String,
    pub token: Option<TokenId>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    Done,
    /// The request was wrong, or the state did not allow it: nothing was changed.
    Refused,
    /// It broke off: look whether something was changed.
    Failed,
}

impl AuditOutcome {
    pub const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for AuditOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AuditOutcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|outcome| outcome.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of done, refused, failed"))
    }
}

impl AuditEntry {
    /// The characters of [`AuditEntry::target`]; the rest is cut off.
    pub const TARGET_CHARS_MAX: usize = 320;
    /// The bytes of [`AuditEntry::details`]; what is longer is left out.
    pub const DETAILS_BYTES_MAX: usize = 4_096;

    /// Of a change that is about to be made.
    pub fn begun(actor: AuditActor, peer: Option<IpAddr>, action: &str, target: &str, now: Timestamp) -> Self {
        Self {
            id: ObjectId::new(now),
            at: now,
            actor,
            peer,
            action: action.to_owned(),
            target: target.chars().take(Self::TARGET_CHARS_MAX).collect(),
            outcome: None,
            details: None,
        }
    }
}

/// How what an entry tells of ended, and what is known of it only then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConclusion {
    pub outcome: AuditOutcome,
    /// In place of the entry's, if there is one.
    pub target: Option<String>,
    pub details: Option<String>,
}

impl AuditConclusion {
    /// With what is too long cut or left out.
    pub fn new(outcome: AuditOutcome, target: Option<&str>, details: Option<String>) -> Self {
        Self {
            outcome,
            target: target.map(|target| target.chars().take(AuditEntry::TARGET_CHARS_MAX).collect()),
            details: details.filter(|details| details.len() <= AuditEntry::DETAILS_BYTES_MAX),
        }
    }
}

/// Which entries a list shows. Unset fields do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// A part of the actor's name without regard to the case of ASCII, or the id of a token.
    pub actor: Option<String>,
    /// The action, or its noun.
    pub action: Option<String>,
    /// A part of the target, without regard to the case of ASCII.
    pub target: Option<String>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Up to this time, which is not in it.
    pub to: Option<Timestamp>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// How many match the filter in all.
    pub total: u64,
}
