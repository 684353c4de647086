//! Users, domains and aliases as JSON.

use postrider_core::mailbox::MailboxName;
use postrider_core::{Address, Domain, Timestamp};
use postrider_store::directory::Ways;
use postrider_store::{AliasRecord, DomainRecord, MailboxRecord, Quota, Usage, User};
use serde::Serialize;

use super::Pagination;

/// A user as lists show it. Nothing of the password is in it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    pub address: Address,
    pub quota: Quota,
    /// Whether the user may log in. Mail for one who may not is taken and kept all the same.
    pub enabled: bool,
    pub created_at: Timestamp,
    /// When the password was set, or the quota, or when the user was disabled or enabled.
    pub updated_at: Timestamp,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        let User { address, quota, is_enabled, created_at, updated_at, .. } = user;
        Self {
            address: address.clone(),
            quota: *quota,
            enabled: *is_enabled,
            created_at: *created_at,
            updated_at: *updated_at,
        }
    }
}

/// One user with what there is to know.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserDetailView {
    #[serde(flatten)]
    pub user: UserView,
    /// Whether mail to the address is kept here.
    pub receives_mail: bool,
    pub usage: Usage,
    pub aliases: Vec<Address>,
    pub catch_all_of: Vec<Domain>,
    pub mailboxes: Vec<MailboxView>,
}

impl UserDetailView {
    pub fn new(user: &User, receives_mail: bool, usage: Usage, ways: Ways, mailboxes: &[MailboxRecord]) -> Self {
        Self {
            user: user.into(),
            receives_mail,
            usage,
            aliases: ways.aliases,
            catch_all_of: ways.catch_alls,
            mailboxes: mailboxes.iter().map(MailboxView::from).collect(),
        }
    }
}

/// A mailbox in numbers.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailboxView {
    pub name: MailboxName,
    pub messages: u64,
    pub unseen: u64,
    /// Of the raw messages.
    pub bytes: u64,
}

impl From<&MailboxRecord> for MailboxView {
    fn from(mailbox: &MailboxRecord) -> Self {
        let counts = &mailbox.counts;
        Self { name: mailbox.name.clone(), messages: counts.messages, unseen: counts.unseen, bytes: counts.bytes }
    }
}

/// A domain whose mail is kept here.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainView {
    pub name: Domain,
    /// Whether `ALLOWED_DOMAINS` has it.
    pub in_settings: bool,
    /// Whether the directory has it.
    pub in_directory: bool,
    /// The user who gets what is for no other.
    pub catch_all: Option<Address>,
}

impl DomainView {
    /// All local domains by name: those of the settings, and those of the directory.
    pub fn all(configured: &[Domain], records: &[DomainRecord]) -> Vec<Self> {
        let mut all: Vec<Self> = records.iter().map(|record| Self::of_record(configured, record)).collect();
        for name in configured {
            if all.iter().all(|known| known.name != *name) {
                all.push(Self { name: name.clone(), in_settings: true, in_directory: false, catch_all: None });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn of_record(configured: &[Domain], record: &DomainRecord) -> Self {
        Self {
            name: record.name.clone(),
            in_settings: configured.contains(&record.name),
            in_directory: true,
            catch_all: record.catch_all.clone(),
        }
    }
}

/// One domain with who is there.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct DomainDetailView {
    #[serde(flatten)]
    pub domain: DomainView,
    pub users: Vec<Address>,
    pub aliases: Vec<Address>,
}

/// A page of the users.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UserPageView {
    users: Vec<UserView>,
    pagination: Pagination,
}

impl UserPageView {
    /// Of all users.
    pub fn new(users: Vec<UserView>, page: u64, limit: u64) -> Self {
        let (users, pagination) = Pagination::cut(users, page, limit);
        Self { users, pagination }
    }
}

/// A page of the aliases.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AliasPageView {
    aliases: Vec<AliasRecord>,
    pagination: Pagination,
}

impl AliasPageView {
    /// Of all aliases.
    pub fn new(aliases: Vec<AliasRecord>, page: u64, limit: u64) -> Self {
        let (aliases, pagination) = Pagination::cut(aliases, page, limit);
        Self { aliases, pagination }
    }
}

/// A page of the domains.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DomainPageView {
    domains: Vec<DomainView>,
    pagination: Pagination,
}

impl DomainPageView {
    /// Of all domains.
    pub fn new(domains: Vec<DomainView>, page: u64, limit: u64) -> Self {
        let (domains, pagination) = Pagination::cut(domains, page, limit);
        Self { domains, pagination }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_of_settings_and_directory_are_one_list() {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let record = |text: &str| DomainRecord {
            name: domain(text),
            catch_all: None,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        };
        let all = DomainView::all(&[domain("c.test"), domain("a.test")], &[record("b.test"), record("c.test")]);
        let shown: Vec<_> = all.iter().map(|view| (view.name.as_str(), view.in_settings, view.in_directory)).collect();
        assert_eq!(shown, [("a.test", true, false), ("b.test", false, true), ("c.test", true, true)]);
    }
}
