//! `postrider dns`: every DNS record that a domain needs, each compared with what DNS says.

use std::sync::Arc;

use anstyle::Style;
use clap::Args;
use postrider::administration::dns;
use postrider_config::{Profile, Settings};
use postrider_core::{Domain, Resolver, Timestamp};
use postrider_server::dns::DnsResolver;
use postrider_store::Store;
use postrider_store::dkim::DkimKeys;
use postrider_web::view::{DnsRecordView, DnsState, DnsView};

use crate::cli::context;
use crate::cli::domain::dkim::zone_line;
use crate::cli::failure::Failure;
use crate::cli::output::{BAD, GOOD, Output, WAITING, printable};

#[derive(Debug, Args)]
pub(super) struct DnsArgs {
    /// The domain
    name: Domain,
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
    let records = dns::records(&resolver, settings, name, keys.as_ref(), Timestamp::system()).await;
    let is_whole = records.iter().all(|record| record.state == DnsState::Present);
    if output.is_json() {
        output.json(&DnsView { domain: name.clone(), records })?;
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

fn print(record: &DnsRecordView, output: &mut Output) -> Result<(), Failure> {
    let (style, word): (Style, _) = match record.state {
        DnsState::Present => (GOOD, "present"),
        DnsState::Wrong => (BAD, "wrong"),
        DnsState::Missing => (BAD, "missing"),
        DnsState::Unknown => (WAITING, "unknown"),
    };
    let line = match record.kind {
        "TXT" => zone_line(&record.name, &record.value),
        "HTTPS" => format!("{} {}", record.name, record.value.replace('\n', "; ")),
        kind => format!("{}. IN {kind} {}", record.name, record.value),
    };
    output.line(format!("{style}{word:<8}{style:#} {:<8} {}", record.purpose, printable(&line)))?;
    for found in record.found.iter().filter(|_| record.state != DnsState::Present) {
        output.line(format!("                  found: {}", printable(found)))?;
    }
    Ok(())
}
