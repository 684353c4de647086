//! `postrider domain dkim`, and the keys that `domain add` makes.

use std::time::Duration;

use clap::Args;
use postrider::administration::{self, dkim::views};
use postrider_config::Settings;
use postrider_core::{Domain, Resolver, Timestamp};
use postrider_server::dkim::{Publication, published};
use postrider_server::dns::DnsResolver;
use postrider_store::Store;
use postrider_store::dkim::{self, DkimKeys, DkimPair, DkimState, OLD_RECORDS_STAY};
use postrider_web::view::DkimView;
use serde_json::Value;

use super::no_such_domain;
use crate::cli::audit::record;
use crate::cli::failure::Failure;
use crate::cli::output::{BAD, GOOD, Output, WAITING, printable};

/// Of one TXT record's strings (RFC 1035 section 3.3.14).
const STRING_BYTES_MAX: usize = 255;

#[derive(Debug, Args)]
pub(in crate::cli) struct DkimArgs {
    /// The domain
    name: Domain,
    /// Make new keys, which take over once their records are found in DNS
    #[arg(long)]
    rotate: bool,
    /// Let the new keys take over after this many hours, published or not
    #[arg(long, value_name = "HOURS", requires = "rotate", value_parser = clap::value_parser!(u64).range(0..=8760))]
    sign_after: Option<u64>,
}

pub(super) async fn run(
    store: &dyn Store,
    settings: &Settings,
    args: &DkimArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let DkimArgs { name, rotate, sign_after } = args;
    if !settings.allowed_domains.contains(name) && store.domain(name).await?.is_none() {
        return Err(no_such_domain(name));
    }
    let now = Timestamp::system();
    let has_keys = DkimKeys::find(store, name).await?.is_some();
    let mut keys = if has_keys && *rotate {
        let signs_from = sign_after.map(|hours| now + Duration::from_secs(hours * 3600));
        add_pair(store, name, signs_from, now).await?
    } else {
        ensure(store, name, now).await?
    };
    let resolver = DnsResolver::new(&settings.dns_servers).map_err(Failure::Failed)?;
    administration::dkim::activate_published(store, &resolver, &mut keys, now).await.map_err(failure)?;
    show(&resolver, &keys, now, output).await
}

/// The domain's keys, made now if it has none.
pub(super) async fn ensure(store: &dyn Store, name: &Domain, now: Timestamp) -> Result<DkimKeys, Failure> {
    match DkimKeys::find(store, name).await? {
        Some(keys) => Ok(keys),
        None => add_pair(store, name, None, now).await,
    }
}

async fn add_pair(
    store: &dyn Store,
    name: &Domain,
    signs_from: Option<Timestamp>,
    now: Timestamp,
) -> Result<DkimKeys, Failure> {
    let pairs = administration::dkim::generate().map_err(|error| Failure::Failed(error.to_string()))?;
    let made = async { dkim::add_pair(store, name, signs_from, now, |stem| pairs.under(stem)).await.map_err(failure) };
    record(store, "dkim-keys.rotate", name, Value::Null, made).await
}

fn failure(error: dkim::DkimError) -> Failure {
    match error {
        dkim::DkimError::Store(error) => error.into(),
        error => Failure::Conflict(error.to_string()),
    }
}

async fn show(resolver: &dyn Resolver, keys: &DkimKeys, now: Timestamp, output: &mut Output) -> Result<(), Failure> {
    let mut shown = Vec::new();
    for (state, pair) in keys.pairs(now) {
        let publications = published(resolver, &keys.domain, pair).await;
        if output.is_json() {
            shown.extend(views(&keys.domain, state, pair, &publications));
            continue;
        }
        output.line(headline(state, pair))?;
        for ((name, value), publication) in pair.records(&keys.domain).iter().zip(&publications) {
            output.line(format!("\n{}", zone_line(name, value)))?;
            output.line(format!("  {}", in_dns(publication)))?;
        }
        output.line("")?;
    }
    if output.is_json() {
        return output.json(&DkimView { domain: keys.domain.clone(), keys: shown });
    }
    advise(keys, now, output)
}

fn headline(state: DkimState, pair: &DkimPair) -> String {
    let made = pair.created_at.to_rfc3339().chars().take("2026-11-26".len()).collect::<String>();
    let (style, what) = match (state, pair.signs_from) {
        (DkimState::Signing, _) => (GOOD, "sign what is sent now".to_owned()),
        (DkimState::Retired, _) => (WAITING, "sign no more; mail that is under way still refers to them".to_owned()),
        (DkimState::Waiting, Some(from)) => {
            (WAITING, format!("will sign once they are published, and from {from} on in any case"))
        }
        (DkimState::Waiting, None) => (WAITING, "will sign once they are published".to_owned()),
    };
    format!("{style}Keys of {made}: {what}{style:#}")
}

fn in_dns(publication: &Publication) -> String {
    match publication {
        Publication::Published => format!("{GOOD}published{GOOD:#}"),
        Publication::Wrong(text) => format!("{BAD}wrong in DNS:{BAD:#} {}", printable(text)),
        Publication::Missing => format!("{BAD}not in DNS{BAD:#}"),
        Publication::Unknown(error) => format!("{WAITING}DNS did not answer:{WAITING:#} {}", printable(error)),
    }
}

/// The record as zone files have it.
pub(in crate::cli) fn zone_line(name: &str, value: &str) -> String {
    let strings: Vec<String> = value
        .as_bytes()
        .chunks(STRING_BYTES_MAX)
        .map(|string| format!("\"{}\"", String::from_utf8_lossy(string).replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{name}. IN TXT {}", strings.join(" "))
}

/// What is to be done, and when.
fn advise(keys: &DkimKeys, now: Timestamp, output: &mut Output) -> Result<(), Failure> {
    let domain = &keys.domain;
    let date = |at: Timestamp| at.to_rfc3339().chars().take("2026-11-26".len()).collect::<String>();
    let pairs = keys.pairs(now);
    match pairs.as_slice() {
        [(DkimState::Signing, _), (DkimState::Waiting, _)] => {
            output.line("Publish the records of the new keys, and leave the old ones. A running server looks for them every ten")?;
            output.line("minutes, and so does this command; the old keys sign until then.")
        }
        [(DkimState::Retired, _), (DkimState::Signing, pair)] => {
            let until = date(pair.signs_from.unwrap_or(now) + OLD_RECORDS_STAY);
            output.line(format!("Leave the records of the old keys in DNS until {until}, then remove them."))
        }
        _ => output.line(format!(
            "Publish records that are missing. Once in a while, replace the keys: postrider domain dkim {domain} --rotate"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_records_are_several_strings() {
        let line = zone_line("s._domainkey.x.test", &"a".repeat(300));
        assert_eq!(line, format!("s._domainkey.x.test. IN TXT \"{}\" \"{}\"", "a".repeat(255), "a".repeat(45)));
    }
}
