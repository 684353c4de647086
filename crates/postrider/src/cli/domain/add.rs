//! `postrider domain add`

use clap::Args;
use postrider_core::{Address, Domain, Timestamp};
use postrider_store::{DomainRecord, Store, directory};
use postrider_web::view::TxtRecordView;
use serde_json::json;

use super::dkim;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    /// The domain
    pub(super) name: Domain,
    /// The user who gets what is for nobody else
    #[arg(long, value_name = "ADDRESS")]
    pub(super) catch_all: Option<Address>,
}

pub(super) async fn run(
    store: &dyn Store,
    configured: &[Domain],
    args: &AddArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let AddArgs { name, catch_all } = args;
    let now = Timestamp::system();
    // The user is looked for first: a domain without the catch-all that was asked for would take mail that it should not.
    let catch_all = match catch_all {
        Some(address) => Some(directory::user_address(store, configured, address).await?),
        None => None,
    };
    let domain = DomainRecord { name: name.clone(), catch_all, created_at: now, updated_at: now };
    store.add_domain(domain.clone()).await?;
    let keys = dkim::ensure(store, name, now).await?;
    let records = keys.signing(now).map(|pair| pair.records(name)).unwrap_or_default();
    if output.is_json() {
        let records: Vec<_> = records.into_iter().map(|(name, value)| TxtRecordView::new(name, value)).collect();
        return output.json(&json!({ "name": name, "catchAll": domain.catch_all, "dkimRecords": records }));
    }
    output.line(format!("Mail for {name} is kept here now. A running server knows it within a second."))?;
    if let Some(user) = &domain.catch_all {
        output.line(format!("{user} gets what is for nobody else."))?;
    }
    output.line("Its mail to other hosts is signed (DKIM). For that to count, publish these DNS records:")?;
    for (name, value) in &records {
        output.line(format!("\n{}", dkim::zone_line(name, value)))?;
    }
    Ok(())
}
