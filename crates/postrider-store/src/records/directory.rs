//! Who is known here: users, domains, aliases.

use postrider_core::{Address, Domain, ObjectId, Timestamp};
use serde::Serialize;

/// A user, for good: one of the same address that comes later is another.
pub type UserId = ObjectId;

/// A user who may log in and has mailboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// The domain in lower case; the local part as `user add` was given it. Looked up without regard to ASCII case.
    pub address: Address,
    /// argon2id in PHC form.
    pub password_hash: String,
    pub scram: ScramKeys,
    pub quota: Quota,
    /// Whether the user may log in. Mail for one who may not is taken and kept all the same.
    pub is_enabled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Keys for SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677): they prove a password without being one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

/// How much a user may keep; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    pub bytes: Option<u64>,
    pub messages: Option<u64>,
}

/// How much a user keeps: all messages in all mailboxes, each copy counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Of the raw messages.
    pub bytes: u64,
    pub messages: u64,
}

impl Quota {
    /// Whether so much more may be kept beside what is there.
    pub fn has_room(&self, usage: Usage, more: Usage) -> bool {
        let fits = |max: Option<u64>, used: u64, more: u64| max.is_none_or(|max| used.saturating_add(more) <= max);
        fits(self.bytes, usage.bytes, more.bytes) && fits(self.messages, usage.messages, more.messages)
    }
}

/// A domain whose mail is kept here, beside those of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainRecord {
    pub name: Domain,
    /// The user who gets what is for no other.
    pub catch_all: Option<Address>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// An address whose mail goes to users of other addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AliasRecord {
    /// Looked up as users' addresses are.
    pub address: Address,
    /// Users' addresses, at least one. A user who is gone since gets nothing.
    pub targets: Vec<Address>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A small value that a part of the program keeps under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    pub key: String,
    pub value: String,
    /// 1 for the first value.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_full_when_it_is_reached() {
        let quota = Quota { bytes: Some(100), messages: Some(2) };
        let usage = |bytes, messages| Usage { bytes, messages };
        assert!(quota.has_room(usage(60, 1), usage(40, 1)));
        assert!(!quota.has_room(usage(60, 1), usage(41, 1)));
        assert!(!quota.has_room(usage(0, 2), usage(1, 1)));
        assert!(Quota::default().has_room(usage(u64::MAX, u64::MAX), usage(u64::MAX, 1)));
    }
}
