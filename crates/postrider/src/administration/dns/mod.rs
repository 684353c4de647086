//! Which DNS records a domain needs, and whether DNS has them.

mod senders;

use std::net::IpAddr;
use std::sync::Arc;

use postrider_config::Settings;
use postrider_core::{Domain, ResolveError, Resolver, Timestamp};
use postrider_server::dkim::{Publication, published};
use postrider_server::published_policy;
use postrider_store::dkim::{DkimKeys, DkimState};
use postrider_web::view::{DnsRecordView, DnsState};

use self::senders::{reverse, senders, spf};

/// Where policies of MTA-STS are fetched.
const HTTPS_PORT: u16 = 443;

/// Every record that a domain needs, each compared with what DNS says.
pub async fn records(
    resolver: &Arc<dyn Resolver>,
    settings: &Settings,
    name: &Domain,
    keys: Option<&DkimKeys>,
    now: Timestamp,
) -> Vec<DnsRecordView> {
    let world = resolver;
    let resolver = world.as_ref();
    let hostname = settings.mail_hostname.as_str();
    let own = resolver.addresses(hostname).await;
    let own_addresses = own.as_deref().unwrap_or_default();
    let senders = senders(settings, own_addresses);
    let mut records = Vec::new();
    // What comes back comes to the other, and return paths are what SPF is about.
    let returns = settings.bounce_domain.as_ref().filter(|returns| *returns != name);
    for name in [Some(name), returns].into_iter().flatten() {
        records.push(mx(resolver, name, hostname, own_addresses).await);
        records.push(spf(resolver, name, hostname, &senders).await);
    }
    for (state, pair) in keys.map(|keys| keys.pairs(now)).unwrap_or_default() {
        // Records of keys that sign no more may go at any time.
        if state == DkimState::Retired {
            continue;
        }
        let publications = published(resolver, name, pair).await;
        records.extend(pair.records(name).into_iter().zip(publications).map(|((name, value), publication)| {
            let (state, found) = match publication {
                Publication::Published => (DnsState::Present, Vec::new()),
                Publication::Wrong(found) => (DnsState::Wrong, vec![found]),
                Publication::Missing => (DnsState::Missing, Vec::new()),
                Publication::Unknown(error) => (DnsState::Unknown, vec![error]),
            };
            DnsRecordView { purpose: "DKIM", name, kind: "TXT", value, state, found }
        }));
    }
    let dmarc = format!("v=DMARC1; p=none; rua=mailto:postmaster@{name}");
    records.push(text(resolver, "DMARC", format!("_dmarc.{name}"), dmarc, "v=DMARC1").await);
    // Any id does; another than before tells that the policy has changed (RFC 8461 section 3.1).
    let id = now.to_rfc3339().chars().take(10).filter(char::is_ascii_digit).collect::<String>();
    let sts = format!("v=STSv1; id={id}");
    let sts = text(resolver, "MTA-STS", format!("_mta-sts.{name}"), sts, "v=STSv1").await;
    let policy = policy(world, settings, name, sts.state).await;
    records.extend([sts, policy]);
    let report = format!("v=TLSRPTv1; rua=mailto:postmaster@{name}");
    records.push(text(resolver, "TLS-RPT", format!("_smtp._tls.{name}"), report, "v=TLSRPTv1").await);
    records.extend(reverse(resolver, hostname, &own, &senders).await);
    records
}

/// Whether mail for the domain comes here: by this host's name, or by one of its addresses.
async fn mx(resolver: &dyn Resolver, name: &Domain, hostname: &str, own: &[IpAddr]) -> DnsRecordView {
    let value = format!("10 {hostname}.");
    let record =
        |state, found| DnsRecordView { purpose: "MX", name: name.to_string(), kind: "MX", value, state, found };
    let exchanges = match resolver.mx(name.as_str()).await {
        Ok(exchanges) => exchanges,
        Err(error) => return record(state_of(&error), said(&error)),
    };
    let mut is_here = false;
    for mx in &exchanges {
        let addresses = resolver.addresses(&mx.exchange).await.unwrap_or_default();
        is_here |= mx.exchange.eq_ignore_ascii_case(hostname) || addresses.iter().any(|address| own.contains(address));
    }
    let found = exchanges.iter().map(|mx| format!("{} {}.", mx.preference, mx.exchange)).collect();
    record(if is_here { DnsState::Present } else { DnsState::Wrong }, found)
}

/// The policy file that the record of MTA-STS speaks of (RFC 8461 section 3.2): whether it can be had, and names this host.
async fn policy(resolver: &Arc<dyn Resolver>, settings: &Settings, name: &Domain, record: DnsState) -> DnsRecordView {
    let hostname = settings.mail_hostname.as_str();
    let value = format!("version: STSv1\nmode: enforce\nmx: {hostname}\nmax_age: 604800");
    let (state, found) = match record {
        DnsState::Present => {
            let extra_ca_file = settings.tls_extra_ca_file.as_deref();
            match published_policy(resolver.clone(), name, extra_ca_file, HTTPS_PORT).await {
                Ok(policy) if policy.allows(hostname) => (DnsState::Present, policy.lines),
                Ok(policy) => (DnsState::Wrong, policy.lines),
                Err(error) => (DnsState::Wrong, vec![error]),
            }
        }
        // Nobody asks for it.
        state => (state, Vec::new()),
    };
    let name = format!("https://mta-sts.{name}/.well-known/mta-sts.txt");
    DnsRecordView { purpose: "MTA-STS", name, kind: "HTTPS", value, state, found }
}

/// A TXT record that begins with a version. What the domain says there is its owner's choice: it is present if there is
/// exactly one, and wrong if there are several, which receivers take for none.
async fn text(
    resolver: &dyn Resolver,
    purpose: &'static str,
    name: String,
    value: String,
    version: &str,
) -> DnsRecordView {
    let is_of_version = |text: &String| {
        let rest = text
            .get(..version.len())
            .filter(|start| start.eq_ignore_ascii_case(version))
            .map(|_| &text[version.len()..]);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ';']))
    };
    let (state, found) = match resolver.texts(&name).await {
        Ok(texts) => {
            let found: Vec<String> = texts.into_iter().filter(is_of_version).collect();
            let state = match found.len() {
                0 => DnsState::Missing,
                1 => DnsState::Present,
                _ => DnsState::Wrong,
            };
            (state, found)
        }
        Err(error) => (state_of(&error), said(&error)),
    };
    DnsRecordView { purpose, name, kind: "TXT", value, state, found }
}

fn state_of(error: &ResolveError) -> DnsState {
    match error {
        ResolveError::NoSuchDomain | ResolveError::NoRecords => DnsState::Missing,
        ResolveError::Temporary(_) => DnsState::Unknown,
    }
}

/// What DNS said in place of an answer.
fn said(error: &ResolveError) -> Vec<String> {
    match error {
        ResolveError::NoSuchDomain | ResolveError::NoRecords => Vec::new(),
        ResolveError::Temporary(error) => vec![error.clone()],
    }
}
