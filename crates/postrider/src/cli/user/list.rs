//! `postrider user list`

use postrider_store::Store;
use postrider_web::view::directory::UserView;

use crate::cli::directory;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::{Cell, Table};

pub(super) async fn run(store: &dyn Store, output: &mut Output) -> Result<(), Failure> {
    let users = store.users().await?;
    if output.is_json() {
        return output.json(&users.iter().map(UserView::from).collect::<Vec<_>>());
    }
    let mut table = Table::new(&["ADDRESS", "ADDED", "CHANGED", "LOG-IN", "QUOTA"]);
    for user in &users {
        table.row([
            Cell::text(user.address.as_str()),
            Cell::text(user.created_at.to_string()),
            Cell::text(user.updated_at.to_string()),
            Cell::text(if user.is_enabled { "yes" } else { "disabled" }),
            Cell::text(directory::quota(user.quota)),
        ]);
    }
    output.table(&table)
}
