//! `postrider dns`: every DNS record that a domain needs, each compared with what DNS says.

mod senders;

use std::net::IpAddr;
use std::sync::Arc;

use anstyle::Style;
use clap::Args;
use postrider_config::{Profile, Settings};
use postrider_core::{Domain, ResolveError, Resolver, Timestamp};
use postrider_server::dkim::{Publication, published};
use postrider_server::dns::DnsResolver;
use postrider_server::published_policy;
use postrider_store::Store;
use postrider_store::dkim::{DkimKeys, DkimState};
use serde::Serialize;
use serde_json::json;

use crate::cli::context;
use crate::cli::domain::dkim::zone_line;
use crate::cli::failure::Failure;
use crate::cli::output::{BAD, GOOD, Output, WAITING, printable};
use senders::{reverse, senders, spf};

/// Where policies of MTA-STS are fetched.
const HTTPS_PORT: u16 = 443;

#[derive(Debug, Args)]
pub(super) struct DnsArgs {
    /// The domain
    name: Domain,
}

/// A record that should be there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// What it is for: `MX`, `SPF`, `DKIM`, `DMARC`, `MTA-STS`, `TLS-RPT`, `PTR`.
    purpose: &'static str,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    value: String,
    state: State,
    /// What DNS has in its place; empty where it has nothing.
    found: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Present,
    Wrong,
    Missing,
    /// DNS did not answer.
    Unknown,
}

pub(super) fn run(args: &DnsArgs, output: &mut Output) -> Result<(), Failure> {
    let settings = context::load(Profile::Serve)?.settings;
    context::with_new_store(async |store| show(store, &settings, &args.name, output).await)
}

async fn show(store: &dyn Store, settings: &Settings, name: &Domain, output: &mut Output) -> Result<(), Failure> {
    if !settings.allowed_domains.contains(name) && store.domain(name).await?.is_none() {
        return Err(Failure::NotFound(format!("there is no domain {name}")));
    }
    let resolver = DnsResolver::new(&settings.dns_servers).map_err(Failure::Failed)?;
    let resolver: Arc<dyn Resolver> = Arc::new(resolver);
    let keys = DkimKeys::find(store, name).await?;
    let records = records(&resolver, settings, name, keys.as_ref()).await;
    let is_whole = records.iter().all(|record| record.state == State::Present);
    if output.is_json() {
        output.json(&json!({ "domain": name, "records": records }))?;
    } else {
        for record in &records {
            print(record, output)?;
        }
        if keys.is_none() {
            output.line(format!("The domain has no DKIM keys; this makes them: postrider domain dkim {name}"))?;
        }
    }
    if is_whole && keys.is_some() { Ok(()) } else { Err(Failure::Reported) }
}

fn print(record: &Record, output: &mut Output) -> Result<(), Failure> {
    let (style, word): (Style, _) = match record.state {
        State::Present => (GOOD, "present"),
        State::Wrong => (BAD, "wrong"),
        State::Missing => (BAD, "missing"),
        State::Unknown => (WAITING, "unknown"),
    };
    let line = match record.kind {
        "TXT" => zone_line(&record.name, &record.value),
        "HTTPS" => format!("{} {}", record.name, record.value.replace('\n', "; ")),
        kind => format!("{}. IN {kind} {}", record.name, record.value),
    };
    output.line(format!("{style}{word:<8}{style:#} {:<8} {}", record.purpose, printable(&line)))?;
    for found in record.found.iter().filter(|_| record.state != State::Present) {
        output.line(format!("                  found: {}", printable(found)))?;
    }
    Ok(())
}

async fn records(
    resolver: &Arc<dyn Resolver>,
    settings: &Settings,
    name: &Domain,
    keys: Option<&DkimKeys>,
) -> Vec<Record> {
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
    for (state, pair) in keys.map(|keys| keys.pairs(Timestamp::system())).unwrap_or_default() {
        // Records of keys that sign no more may go at any time.
        if state == DkimState::Retired {
            continue;
        }
        let publications = published(resolver, name, pair).await;
        records.extend(pair.records(name).into_iter().zip(publications).map(|((name, value), publication)| {
            let (state, found) = match publication {
                Publication::Published => (State::Present, Vec::new()),
                Publication::Wrong(found) => (State::Wrong, vec![found]),
                Publication::Missing => (State::Missing, Vec::new()),
                Publication::Unknown(error) => (State::Unknown, vec![error]),
            };
            Record { purpose: "DKIM", name, kind: "TXT", value, state, found }
        }));
    }
    let dmarc = format!("v=DMARC1; p=none; rua=mailto:postmaster@{name}");
    records.push(text(resolver, "DMARC", format!("_dmarc.{name}"), dmarc, "v=DMARC1").await);
    // Any id does; another than before tells that the policy has changed (RFC 8461 section 3.1).
    let id = Timestamp::system().to_rfc3339().chars().take(10).filter(char::is_ascii_digit).collect::<String>();
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
async fn mx(resolver: &dyn Resolver, name: &Domain, hostname: &str, own: &[IpAddr]) -> Record {
    let value = format!("10 {hostname}.");
    let record = |state, found| Record { purpose: "MX", name: name.to_string(), kind: "MX", value, state, found };
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
    record(if is_here { State::Present } else { State::Wrong }, found)
}

/// The policy file that the record of MTA-STS speaks of (RFC 8461 section 3.2): whether it can be had, and names this host.
async fn policy(resolver: &Arc<dyn Resolver>, settings: &Settings, name: &Domain, record: State) -> Record {
    let hostname = settings.mail_hostname.as_str();
    let value = format!("version: STSv1\nmode: enforce\nmx: {hostname}\nmax_age: 604800");
    let (state, found) = match record {
        State::Present => {
            let extra_ca_file = settings.tls_extra_ca_file.as_deref();
            match published_policy(resolver.clone(), name, extra_ca_file, HTTPS_PORT).await {
                Ok(policy) if policy.allows(hostname) => (State::Present, policy.lines),
                Ok(policy) => (State::Wrong, policy.lines),
                Err(error) => (State::Wrong, vec![error]),
            }
        }
        // Nobody asks for it.
        state => (state, Vec::new()),
    };
    let name = format!("https://mta-sts.{name}/.well-known/mta-sts.txt");
    Record { purpose: "MTA-STS", name, kind: "HTTPS", value, state, found }
}

/// A TXT record that begins with a version. What the domain says there is its owner's choice: it is present if there is
/// exactly one, and wrong if there are several, which receivers take for none.
async fn text(resolver: &dyn Resolver, purpose: &'static str, name: String, value: String, version: &str) -> Record {
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
                0 => State::Missing,
                1 => State::Present,
                _ => State::Wrong,
            };
            (state, found)
        }
        Err(error) => (state_of(&error), said(&error)),
    };
    Record { purpose, name, kind: "TXT", value, state, found }
}

fn state_of(error: &ResolveError) -> State {
    match error {
        ResolveError::NoSuchDomain | ResolveError::NoRecords => State::Missing,
        ResolveError::Temporary(_) => State::Unknown,
    }
}

/// What DNS said in place of an answer.
fn said(error: &ResolveError) -> Vec<String> {
    match error {
        ResolveError::NoSuchDomain | ResolveError::NoRecords => Vec::new(),
        ResolveError::Temporary(error) => vec![error.clone()],
    }
}
