//! `postrider alias list`

use postrider_store::Store;

use super::listed;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::{Cell, Table};

pub(super) async fn run(store: &dyn Store, output: &mut Output) -> Result<(), Failure> {
    let aliases = store.aliases().await?;
    if output.is_json() {
        return output.json(&aliases);
    }
    let mut table = Table::new(&["ALIAS", "ADDED", "USERS"]);
    for alias in &aliases {
        table.row([
            Cell::text(alias.address.as_str()),
            Cell::text(alias.created_at.to_string()),
            Cell::text(listed(&alias.targets)),
        ]);
    }
    output.table(&table)
}
