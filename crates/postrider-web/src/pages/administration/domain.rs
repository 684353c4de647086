//! `GET /domains/{domain}` and `.../dns`: one domain, who is there, the records that it needs in DNS, and the keys that sign its mail.

use askama::Template;
use axum::extract::State;
use postrider_core::{Address as MailAddress, Domain};
use postrider_store::dkim::{DkimKeys, DkimState};

use super::domains::PLACE;
use super::user::user_address;
use crate::AppState;
use crate::extract::DomainInPath;
use crate::pages::address::Address;
use crate::pages::format::{Counted, Grouped, When};
use crate::pages::frame::{Frame, Page, Visit};
use crate::problem::Problem;
use crate::view::directory::DomainView;
use crate::view::{DkimKeyView, DnsRecordView, DnsState};

/// Users, and aliases, that are named.
const NAMED_MAX: usize = 50;

#[derive(Template)]
#[template(path = "administration/domain.html")]
pub(in crate::pages) struct DomainPage {
    frame: Frame,
    domain: DomainView,
    catch_all: String,
    users: Vec<(MailAddress, Address)>,
    users_total: Grouped,
    aliases: Vec<MailAddress>,
    aliases_total: Grouped,
}

pub(in crate::pages) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    DomainInPath(name): DomainInPath,
) -> Result<Page<DomainPage>, Problem> {
    let domain = find(&state, &name).await?;
    let lives_there = |address: &MailAddress| address.domain() == name;
    let users = state.store.users().await?.into_iter().map(|user| user.address).filter(lives_there);
    let mut users: Vec<_> = users.map(|user| (user.clone(), user_address(&user))).collect();
    let aliases = state.store.aliases().await?.into_iter().map(|alias| alias.address);
    let mut aliases: Vec<_> = aliases.filter(lives_there).collect();
    let (users_total, aliases_total) = (Grouped(users.len() as u64), Grouped(aliases.len() as u64));
    users.truncate(NAMED_MAX);
    aliases.truncate(NAMED_MAX);
    Ok(Page(DomainPage {
        frame: visit.frame(domain.name.to_string(), PLACE),
        catch_all: domain.catch_all.as_ref().map(MailAddress::to_string).unwrap_or_default(),
        domain,
        users,
        users_total,
        aliases,
        aliases_total,
    }))
}

#[derive(Template)]
#[template(path = "administration/dns.html")]
pub(in crate::pages) struct DnsPage {
    frame: Frame,
    name: Domain,
    records: Vec<Record>,
    keys: Vec<Key>,
    /// Records that are not as they should be.
    troubles: Counted,
}

struct Record(DnsRecordView);

impl Record {
    fn state(&self) -> &'static str {
        match self.0.state {
            DnsState::Present => "as it should be",
            DnsState::Wrong => "another",
            DnsState::Missing => "missing",
            DnsState::Unknown => "DNS did not answer",
        }
    }

    fn class(&self) -> &'static str {
        match self.0.state {
            DnsState::Present => "good",
            DnsState::Wrong | DnsState::Missing => "bad",
            DnsState::Unknown => "wait",
        }
    }
}

struct Key {
    key: DkimKeyView,
    made: When,
    signs_from: Option<When>,
}

impl Key {
    fn state(&self) -> &'static str {
        match self.key.state {
            DkimState::Signing => "signing",
            DkimState::Waiting => "waiting",
            DkimState::Retired => "retired",
        }
    }

    fn published(&self) -> &'static str {
        match self.key.published {
            Some(true) => "yes",
            Some(false) => "no",
            None => "DNS did not answer",
        }
    }
}

/// Asks DNS, so it takes as long as that does; the page of the domain itself does not.
pub(in crate::pages) async fn dns(
    State(state): State<AppState>,
    visit: Visit,
    DomainInPath(name): DomainInPath,
) -> Result<Page<DnsPage>, Problem> {
    let name = find(&state, &name).await?.name;
    let keys = match DkimKeys::find(state.store.as_ref(), &name).await? {
        Some(keys) => state.administration.show_dkim_keys(keys).await?,
        None => Vec::new(),
    };
    let records = state.administration.dns_records(&name).await?;
    let key = |key: DkimKeyView| Key {
        made: When::new(key.created_at, visit.now),
        signs_from: key.signs_from.map(|at| When::new(at, visit.now)),
        key,
    };
    let is_trouble = |record: &&DnsRecordView| matches!(record.state, DnsState::Wrong | DnsState::Missing);
    let troubles = Counted(records.iter().filter(is_trouble).count() as u64, "record is", "records are");
    Ok(Page(DnsPage {
        frame: visit.frame(format!("DNS of {name}"), PLACE),
        troubles,
        name,
        records: records.into_iter().map(Record).collect(),
        keys: keys.into_iter().map(key).collect(),
    }))
}

async fn find(state: &AppState, name: &Domain) -> Result<DomainView, Problem> {
    let record = state.store.domain(name).await?;
    let all = DomainView::all(state.administration.configured_domains(), record.as_slice());
    let gone =
        || Problem::not_found(format!("Mail for {name} is not kept here: the list of domains has those that is."));
    all.into_iter().find(|domain| domain.name == *name).ok_or_else(gone)
}
