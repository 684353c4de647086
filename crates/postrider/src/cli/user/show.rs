//! `postrider user show`

use postrider_core::{Address, Domain};
use postrider_store::{Store, directory};
use postrider_web::view::directory::UserDetailView;

use super::no_such_user;
use crate::cli::directory::{bytes_used, messages_used};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, sized};
use crate::cli::table::{Cell, Table};

pub(super) async fn run(
    store: &dyn Store,
    configured: &[Domain],
    address: &Address,
    output: &mut Output,
) -> Result<(), Failure> {
    let user = store.user(address).await?.ok_or_else(|| no_such_user(address))?;
    let receives_mail = directory::is_local(store, configured, &address.domain()).await?;
    let usage = store.usage(user.id).await?;
    let ways = directory::ways_to(store, address).await?;
    let mailboxes = store.mailboxes(user.id).await?;
    let view = UserDetailView::new(&user, receives_mail, usage, ways, &mailboxes);
    if output.is_json() {
        return output.json(&view);
    }
    output.field("Address", user.address.as_str())?;
    output.field("Added", user.created_at.to_string())?;
    output.field("Changed", user.updated_at.to_string())?;
    output.field("May log in", if user.is_enabled { "yes" } else { "no: disabled" })?;
    output.field("Gets mail", if receives_mail { "yes" } else { "no: the domain is not of this server" })?;
    output.field("Bytes", bytes_used(usage, user.quota))?;
    output.field("Messages", messages_used(usage, user.quota))?;
    for alias in &view.aliases {
        output.field("Alias", alias.as_str())?;
    }
    for domain in &view.catch_all_of {
        output.field("Catch-all of", domain.as_str())?;
    }
    output.line("")?;
    let mut table = Table::new(&["MAILBOX", "MESSAGES", "UNSEEN", "SIZE"]);
    for mailbox in &view.mailboxes {
        table.row([
            Cell::text(mailbox.name.as_str()),
            Cell::number(mailbox.messages),
            Cell::number(mailbox.unseen),
            Cell::number(sized(mailbox.bytes)),
        ]);
    }
    output.table(&table)
}
