//! `postrider dns`: every DNS record that a domain needs, each compared with what DNS says.

use std::net::IpAddr;

use anstyle::Style;
use clap::Args;
use postrider_config::{Profile, Settings};
use postrider_core::{Domain, ResolveError, Resolver, Timestamp};
use postrider_server::dkim::{Publication, published};
use postrider_server::dns::DnsResolver;
use postrider_store::Store;
use postrider_store::dkim::{DkimKeys, DkimState};
use serde::Serialize;
use serde_json::json;

use crate::cli::context;
use crate::cli::domain::dkim::zone_line;
use crate::cli::failure::Failure;
use crate::cli::output::{BAD, GOOD, Output, WAITING, printable};

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
        kind => format!("{}. IN {kind} {}", record.name, record.value),
    };
    output.line(format!("{style}{word:<8}{style:#} {:<8} {}", record.purpose, printable(&line)))?;
    for found in record.found.iter().filter(|_| record.state != State::Present) {
        output.line(format!("                  found: {}", printable(found)))?;
    }
    Ok(())
}

async fn records(resolver: &dyn Resolver, settings: &Settings, name: &Domain, keys: Option<&DkimKeys>) -> Vec<Record> {
    let hostname = settings.mail_hostname.as_str();
    let own = resolver.addresses(hostname).await;
    let mut records = vec![mx(resolver, name, hostname, own.as_deref().unwrap_or_default()).await];
    records.push(text(resolver, "SPF", name.to_string(), spf_value(name, hostname), "v=spf1").await);
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
    records.push(text(resolver, "MTA-STS", format!("_mta-sts.{name}"), sts, "v=STSv1").await);
    let report = format!("v=TLSRPTv1; rua=mailto:postmaster@{name}");
    records.push(text(resolver, "TLS-RPT", format!("_smtp._tls.{name}"), report, "v=TLSRPTv1").await);
    records.extend(reverse(resolver, hostname, own).await);
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

/// What the domain should say of who sends for it: its MX, and this host where that is another.
fn spf_value(name: &Domain, hostname: &str) -> String {
    if name.as_str() == hostname { "v=spf1 a mx -all".to_owned() } else { format!("v=spf1 mx a:{hostname} -all") }
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

/// The PTR record of each address of this host: other servers distrust one that does not lead back (RFC 8601 section 3).
async fn reverse(resolver: &dyn Resolver, hostname: &str, own: Result<Vec<IpAddr>, ResolveError>) -> Vec<Record> {
    let record = |name: String, state, found| Record {
        purpose: "PTR",
        name,
        kind: "PTR",
        value: format!("{hostname}."),
        state,
        found,
    };
    let addresses = match own {
        Ok(addresses) => addresses,
        Err(error) => return vec![record(format!("the address of {hostname}"), state_of(&error), said(&error))],
    };
    let mut records = Vec::new();
    for address in addresses {
        let (state, found) = match resolver.names(address).await {
            Ok(names) if names.iter().any(|name| name.eq_ignore_ascii_case(hostname)) => (State::Present, names),
            Ok(names) if names.is_empty() => (State::Missing, names),
            Ok(names) => (State::Wrong, names),
            Err(error) => (state_of(&error), said(&error)),
        };
        records.push(record(reverse_name(address), state, found));
    }
    records
}

/// Where an address's PTR record stands (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names() {
        assert_eq!(reverse_name([192, 0, 2, 7].into()), "7.2.0.192.in-addr.arpa");
        let name = reverse_name("2001:db8::1".parse().unwrap());
        assert_eq!(name, format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23)));
    }
}
