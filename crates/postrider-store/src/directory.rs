//! The directory at work: which users an address means, and changes that make sense. The command line, the API and the
//! server all come here, so that they agree.
//!
//! It knows no protocol and no setting; whoever calls says which domains are local by the settings.

use std::fmt;

use postrider_core::{Address, Domain, Timestamp};

use crate::error::StoreError;
use crate::records::{AliasRecord, DomainRecord, Quota, User, UserId};
use crate::traits::Store;

/// Users that one alias leads to.
pub const ALIAS_TARGETS_MAX: usize = 100;

/// Between the local part that a user or an alias has and what its owner may write behind (RFC 5233).
const DETAIL_SEPARATOR: char = '+';

/// A user whom mail to an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    pub user: UserId,
    pub quota: Quota,
}

impl From<User> for Reached {
    fn from(user: User) -> Self {
        Self { user: user.id, quota: user.quota }
    }
}

/// Why the directory was not changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Nobody would get mail for it.
    #[error("{0} is not a domain of this server")]
    NotLocal(Domain),
    #[error("{0} is not of this server: mail is handed on to users here only, not to other servers")]
    Elsewhere(Address),
    #[error("{0} is an alias itself: name the users that it leads to")]
    IsAlias(Address),
    /// It would be the address of just this name.
    #[error("{0} is no pattern: for all addresses of {1} that nobody has, give the domain a catch-all")]
    IsPattern(Address, Domain),
    #[error("there is no user {0}")]
    NoUser(Address),
    #[error("there is no alias {0}")]
    NoAlias(Address),
    #[error("there is no domain {0}")]
    NoDomain(Domain),
    #[error("{0} still has {1}: remove these first, or their mail would be sent to other servers")]
    InUse(Domain, String),
    #[error("mail for {1} reaches {0}: have it go elsewhere first, or ask for these to be removed with the user")]
    LedTo(Address, Ways),
    #[error("an alias leads to one user at least")]
    NoTargets,
    #[error("an alias leads to {ALIAS_TARGETS_MAX} users at most")]
    TooManyTargets,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An address as it is looked up: without the case of ASCII letters, and with one spelling of the domain.
pub fn lookup_key(address: &Address) -> String {
    format!("{}@{}", address.local_part().to_ascii_lowercase(), address.domain())
}

/// The users whom mail to an address reaches, each once; none if nobody has it. Whether its domain is local is not asked.
///
/// The first of these decides: a user of that address, an alias of it, either without what stands behind a `+`, the
/// domain's catch-all. An alias whose users are all gone reaches nobody.
pub async fn resolve(store: &dyn Store, address: &Address) -> Result<Vec<Reached>, StoreError> {
    for address in [Some(address.clone()), without_detail(address)].into_iter().flatten() {
        if let Some(user) = store.user(&address).await? {
            return Ok(vec![user.into()]);
        }
        if let Some(alias) = store.alias(&address).await? {
            return targets_reached(store, &alias).await;
        }
    }
    let catch_all = store.domain(&address.domain()).await?.and_then(|domain| domain.catch_all);
    let Some(catch_all) = catch_all else { return Ok(Vec::new()) };
    Ok(store.user(&catch_all).await?.map(Reached::from).into_iter().collect())
}

async fn targets_reached(store: &dyn Store, alias: &AliasRecord) -> Result<Vec<Reached>, StoreError> {
    let mut reached: Vec<Reached> = Vec::with_capacity(alias.targets.len());
    for target in &alias.targets {
        let user = store.user(target).await?.map(Reached::from);
        reached.extend(user.filter(|user| reached.iter().all(|known| known.user != user.user)));
    }
    Ok(reached)
}

/// `ann@example.org` of `ann+lists@example.org`. A quoted local part is whole as it is.
fn without_detail(address: &Address) -> Option<Address> {
    let (user, _) = address.local_part().split_once(DETAIL_SEPARATOR)?;
    if user.is_empty() || user.starts_with('"') {
        return None;
    }
    Address::parse(&format!("{user}@{}", address.domain_text())).ok()
}

/// Whether mail for a domain is kept here: by the settings (`configured`), or because the directory has it.
pub async fn is_local(store: &dyn Store, configured: &[Domain], domain: &Domain) -> Result<bool, StoreError> {
    Ok(configured.contains(domain) || store.domain(domain).await?.is_some())
}

/// Adds an alias of a local domain, for users who are there.
///
/// [`StoreError::Exists`] if there is a user or an alias of that address; [`DirectoryError::IsPattern`] for `*`, by which other mail
/// servers mean all addresses.
pub async fn add_alias(
    store: &dyn Store,
    configured: &[Domain],
    address: &Address,
    targets: &[Address],
    now: Timestamp,
) -> Result<AliasRecord, DirectoryError> {
    if !is_local(store, configured, &address.domain()).await? {
        return Err(DirectoryError::NotLocal(address.domain()));
    }
    if address.local_part() == "*" {
        return Err(DirectoryError::IsPattern(address.clone(), address.domain()));
    }
    let targets = checked_targets(store, configured, targets).await?;
    let alias = AliasRecord { address: spelled(address), targets, created_at: now, updated_at: now };
    store.add_alias(alias.clone()).await?;
    Ok(alias)
}

/// Gives an alias other targets.
pub async fn set_alias_targets(
    store: &dyn Store,
    configured: &[Domain],
    address: &Address,
    targets: &[Address],
    now: Timestamp,
) -> Result<AliasRecord, DirectoryError> {
    let no_alias = || DirectoryError::NoAlias(address.clone());
    let alias = store.alias(address).await?.ok_or_else(no_alias)?;
    let targets = checked_targets(store, configured, targets).await?;
    if !store.set_alias_targets(address, targets.clone(), now).await? {
        return Err(no_alias());
    }
    Ok(AliasRecord { targets, updated_at: now, ..alias })
}

/// Removes a domain; `false` if there is none. `stays`: it is local all the same, by the settings.
pub async fn remove_domain(store: &dyn Store, name: &Domain, stays: bool) -> Result<bool, DirectoryError> {
    if !stays && store.domain(name).await?.is_some() {
        let users = store.users().await?.into_iter().map(|user| user.address);
        let aliases = store.aliases().await?.into_iter().map(|alias| alias.address);
        let left: Vec<Address> = users.chain(aliases).filter(|address| address.domain() == *name).collect();
        if let Some(first) = left.first() {
            let others = left.len() - 1;
            let who = if others == 0 { first.to_string() } else { format!("{first} and {others} more") };
            return Err(DirectoryError::InUse(name.clone(), who));
        }
    }
    Ok(store.remove_domain(name).await?)
}

/// Decides who gets what is for nobody else at a domain: a user, or nobody. A domain that is local by the settings alone
/// comes into the directory with it.
pub async fn set_catch_all(
    store: &dyn Store,
    configured: &[Domain],
    name: &Domain,
    catch_all: Option<&Address>,
    now: Timestamp,
) -> Result<(), DirectoryError> {
    let catch_all = match catch_all {
        Some(address) => Some(user_address(store, configured, address).await?),
        None => None,
    };
    if store.set_catch_all(name, catch_all.clone(), now).await? {
        return Ok(());
    }
    if !configured.contains(name) {
        return Err(DirectoryError::NoDomain(name.clone()));
    }
    let domain = DomainRecord { name: name.clone(), catch_all, created_at: now, updated_at: now };
    Ok(store.add_domain(domain).await?)
}

/// What leads to a user: aliases with this target, and domains with this catch-all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    pub aliases: Vec<Address>,
    pub catch_alls: Vec<Domain>,
}

/// How many of each are named in an error.
const WAYS_NAMED_MAX: usize = 5;

impl Ways {
    pub fn is_empty(&self) -> bool {
        self.aliases.is_empty() && self.catch_alls.is_empty()
    }
}

/// `a@example.org, b@example.org and 7 more, and for nobody else at example.org`
impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aliases = named(&self.aliases);
        let catch_alls = named(&self.catch_alls);
        match (aliases, catch_alls) {
            (Some(aliases), Some(domains)) => write!(f, "{aliases}, and for nobody else at {domains},"),
            (Some(aliases), None) => f.write_str(&aliases),
            (None, Some(domains)) => write!(f, "nobody else at {domains}"),
            (None, None) => f.write_str("no other address"),
        }
    }
}

fn named<T: fmt::Display>(all: &[T]) -> Option<String> {
    let names: Vec<String> = all.iter().take(WAYS_NAMED_MAX).map(T::to_string).collect();
    let others = all.len() - names.len();
    match names.is_empty() {
        true => None,
        false if others > 0 => Some(format!("{} and {others} more", names.join(", "))),
        false => Some(names.join(", ")),
    }
}

/// Removes a user with all mailboxes. What led there: `None` if there was no such user.
///
/// Where other addresses lead to the user, nothing is changed ([`DirectoryError::LedTo`]), unless `with_ways`: then aliases lead to
/// their other users, those that have none are removed, and catch-alls are no more. That is done first: whatever ends it there, the
/// same call goes on with it.
pub async fn remove_user(
    store: &dyn Store,
    address: &Address,
    with_ways: bool,
    now: Timestamp,
) -> Result<Option<Ways>, DirectoryError> {
    if store.user(address).await?.is_none() {
        return Ok(None);
    }
    let ways = ways_to(store, address).await?;
    if !ways.is_empty() && !with_ways {
        return Err(DirectoryError::LedTo(address.clone(), ways));
    }
    let key = lookup_key(address);
    for alias in &ways.aliases {
        let Some(record) = store.alias(alias).await? else { continue };
        let others: Vec<Address> = record.targets.into_iter().filter(|target| lookup_key(target) != key).collect();
        if others.is_empty() {
            store.remove_alias(alias).await?;
        } else {
            store.set_alias_targets(alias, others, now).await?;
        }
    }
    for domain in &ways.catch_alls {
        store.set_catch_all(domain, None, now).await?;
    }
    Ok(store.remove_user(address).await?.then_some(ways))
}

/// All ways to a user but the user's own address.
pub async fn ways_to(store: &dyn Store, user: &Address) -> Result<Ways, StoreError> {
    let key = lookup_key(user);
    let is_user = |address: &Address| lookup_key(address) == key;
    let leads_there = |alias: &AliasRecord| alias.targets.iter().any(is_user);
    Ok(Ways {
        aliases: store.aliases().await?.into_iter().filter(leads_there).map(|alias| alias.address).collect(),
        catch_alls: store
            .domains()
            .await?
            .into_iter()
            .filter(|domain| domain.catch_all.as_ref().is_some_and(is_user))
            .map(|domain| domain.name)
            .collect(),
    })
}

async fn checked_targets(
    store: &dyn Store,
    configured: &[Domain],
    targets: &[Address],
) -> Result<Vec<Address>, DirectoryError> {
    if targets.is_empty() {
        return Err(DirectoryError::NoTargets);
    }
    let mut checked: Vec<Address> = Vec::new();
    for target in targets {
        let user = user_address(store, configured, target).await?;
        if !checked.contains(&user) {
            checked.push(user);
        }
        if checked.len() > ALIAS_TARGETS_MAX {
            return Err(DirectoryError::TooManyTargets);
        }
    }
    Ok(checked)
}

/// The address of a user, as the user has it; the error says why there is no such user.
pub async fn user_address(
    store: &dyn Store,
    configured: &[Domain],
    address: &Address,
) -> Result<Address, DirectoryError> {
    if let Some(user) = store.user(address).await? {
        return Ok(user.address);
    }
    Err(if store.alias(address).await?.is_some() {
        DirectoryError::IsAlias(address.clone())
    } else if is_local(store, configured, &address.domain()).await? {
        DirectoryError::NoUser(address.clone())
    } else {
        DirectoryError::Elsewhere(address.clone())
    })
}

/// The domain in lower case, the local part as it was given.
fn spelled(address: &Address) -> Address {
    let text = format!("{}@{}", address.local_part(), address.domain_text().to_ascii_lowercase());
    Address::parse(&text).unwrap_or_else(|_| address.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn the_detail_is_what_stands_behind_the_first_plus() {
        for (text, expected) in [
            ("ann+lists@Example.org", Some("ann@Example.org")),
            ("ann+a+b@example.org", Some("ann@example.org")),
            ("ann+@example.org", Some("ann@example.org")),
            ("ann@example.org", None),
            ("+ann@example.org", None),
            ("\"ann+lists\"@example.org", None),
            ("ann.+x@example.org", None),
        ] {
            assert_eq!(without_detail(&address(text)), expected.map(address), "{text}");
        }
    }

    #[test]
    fn an_address_is_looked_up_in_one_spelling() {
        for text in ["Ann@B\u{fc}cher.example", "ann@XN--bcher-kva.example"] {
            assert_eq!(lookup_key(&address(text)), "ann@xn--bcher-kva.example");
        }
    }
}
