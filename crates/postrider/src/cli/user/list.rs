//! `postrider user list`

use postrider_store::Store;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::{Cell, Table};

pub(super) async fn run(store: &dyn Store, output: &mut Output) -> Result<(), Failure> {
    let users = store.users().await?;
    if output.is_json() {
        let users: Vec<_> = users
            .iter()
            .map(|user| json!({ "address": user.address, "createdAt": user.created_at, "updatedAt": user.updated_at }))
            .collect();
        return output.json(&users);
    }
    let mut table = Table::new(&["ADDRESS", "ADDED", "PASSWORD SET"]);
    for user in &users {
        table.row([
            Cell::text(user.address.as_str()),
            Cell::text(user.created_at.to_string()),
            Cell::text(user.updated_at.to_string()),
        ]);
    }
    output.table(&table)
}
