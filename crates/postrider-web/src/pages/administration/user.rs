//! `GET /users/{address}`: one user, with mailboxes and the ways that mail takes there.

use askama::Template;
use axum::extract::State;
use postrider_core::{Address as MailAddress, Domain};
use postrider_store::User;
use postrider_store::directory::{is_local, ways_to};

use super::users::{PLACE, bytes_used, messages_used};
use super::{address_of, listed};
use crate::AppState;
use crate::extract::AddressInPath;
use crate::pages::address::Address;
use crate::pages::format::{Counted, Grouped, Size, When};
use crate::pages::frame::{Frame, Page, Visit};
use crate::problem::Problem;

#[derive(Template)]
#[template(path = "administration/user.html")]
pub(in crate::pages) struct UserPage {
    frame: Frame,
    user: User,
    receives_mail: bool,
    added: When,
    changed: When,
    bytes: String,
    messages: String,
    quota_bytes: String,
    quota_messages: String,
    aliases: Vec<(MailAddress, Address)>,
    catch_alls: Vec<Domain>,
    mailboxes: Vec<Mailbox>,
    /// What a removal says that it takes along.
    removal: String,
}

struct Mailbox {
    name: String,
    messages: Grouped,
    unseen: Grouped,
    bytes: Size,
}

pub(in crate::pages) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    AddressInPath(address): AddressInPath,
) -> Result<Page<UserPage>, Problem> {
    let store = state.store.as_ref();
    let gone =
        || Problem::not_found(format!("There is no user {address}: the list of users has those that there are."));
    let user = store.user(&address).await?.ok_or_else(gone)?;
    let configured = state.administration.configured_domains();
    let receives_mail = is_local(store, configured, &user.address.domain()).await?;
    let usage = store.usage(user.id).await?;
    let ways = ways_to(store, &user.address).await?;
    let mailboxes = store.mailboxes(user.id).await?;
    let kept = Counted(usage.messages, "message", "messages");
    let removal = if ways.is_empty() {
        format!("Remove {} with {kept}, for good?", user.address)
    } else {
        format!(
            "Remove {} with {kept}, for good? Mail for {} then reaches its other users only, or nobody.",
            user.address,
            listed_ways(&ways.aliases, &ways.catch_alls)
        )
    };
    let limit = |limit: Option<u64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
    Ok(Page(UserPage {
        frame: visit.frame(user.address.to_string(), PLACE),
        receives_mail,
        added: When::new(user.created_at, visit.now),
        changed: When::new(user.updated_at, visit.now),
        bytes: bytes_used(usage, user.quota),
        messages: messages_used(usage, user.quota),
        quota_bytes: limit(user.quota.bytes),
        quota_messages: limit(user.quota.messages),
        aliases: ways.aliases.into_iter().map(|alias| (alias.clone(), alias_address(&alias))).collect(),
        catch_alls: ways.catch_alls,
        mailboxes: mailboxes
            .iter()
            .map(|mailbox| Mailbox {
                name: mailbox.name.to_string(),
                messages: Grouped(mailbox.counts.messages),
                unseen: Grouped(mailbox.counts.unseen),
                bytes: Size(mailbox.counts.bytes),
            })
            .collect(),
        removal,
        user,
    }))
}

fn listed_ways(aliases: &[MailAddress], catch_alls: &[Domain]) -> String {
    let domains = catch_alls.iter().map(|domain| format!("anybody else at {domain}"));
    let all: Vec<String> = aliases.iter().map(MailAddress::to_string).chain(domains).collect();
    listed(&all)
}

/// Where an alias is found.
fn alias_address(alias: &MailAddress) -> Address {
    Address::new("/users/aliases").with("q", alias.as_str())
}

/// Where a user is found.
pub(super) fn user_address(user: &MailAddress) -> Address {
    address_of(PLACE, user.as_str())
}
