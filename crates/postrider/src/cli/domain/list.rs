//! `postrider domain list`

use postrider_core::{Address, Domain};
use postrider_store::Store;
use postrider_web::view::directory::DomainView;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::{Cell, Table};

pub(super) async fn run(store: &dyn Store, configured: &[Domain], output: &mut Output) -> Result<(), Failure> {
    let domains = DomainView::all(configured, &store.domains().await?);
    if output.is_json() {
        return output.json(&domains);
    }
    let mut table = Table::new(&["DOMAIN", "FROM", "CATCH-ALL"]);
    for domain in &domains {
        table.row([
            Cell::text(domain.name.as_str()),
            Cell::text(origin(domain)),
            Cell::text(domain.catch_all.as_ref().map_or("", Address::as_str)),
        ]);
    }
    output.table(&table)
}

/// Where it comes from that the domain is local.
pub(super) fn origin(domain: &DomainView) -> &'static str {
    match (domain.in_settings, domain.in_directory) {
        (true, true) => "ALLOWED_DOMAINS and domain add",
        (true, false) => "ALLOWED_DOMAINS",
        (false, _) => "domain add",
    }
}
