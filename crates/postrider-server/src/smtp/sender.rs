//! As whom a logged-in user sends (RFC 6409 section 6.1), by `SENDER_CHECK`.

use postrider_config::SenderCheck;
use postrider_core::trace::HeaderScan;
use postrider_core::{Address, dkim};
use postrider_store::directory::{lookup_key, ways_to};
use postrider_store::{StoreError, UserId};
use postrider_wire::smtp::reply::Reply;
use tracing::info;

use super::Context;
use super::policy::store_failed;
use crate::directory::Home;
use crate::outage::in_time;

/// Whether the user may send as this address.
pub(super) async fn check(context: &Context, user: &str, sender: &Address) -> Result<(), Reply> {
    if context.sender_check == SenderCheck::Off {
        return Ok(());
    }
    match may_send_as(context, user, sender).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            info!(user, %sender, "refused: the user may not send as this address");
            Err(Reply::SENDER_NOT_ALLOWED)
        }
        Err(error) => Err(store_failed(context, "an address of a user could not be looked up", &error)),
    }
}

/// Whether the user may send as the authors of a message: one From field, whose addresses can all be read. A message without
/// that field has nobody else's name in it. The same goes for whom it calls its sender.
pub(super) async fn check_authors(
    context: &Context,
    user: &str,
    message: &[u8],
    scan: HeaderScan,
) -> Result<(), Reply> {
    if context.sender_check == SenderCheck::Off {
        return Ok(());
    }
    let named = dkim::senders(message, scan).ok_or(Reply::SENDER_NOT_ALLOWED)?;
    for address in named {
        check(context, user, &address).await?;
    }
    Ok(())
}

async fn may_send_as(context: &Context, user: &str, sender: &Address) -> Result<bool, StoreError> {
    let Ok(user) = Address::parse(user) else { return Ok(false) };
    if lookup_key(&user) == lookup_key(sender) {
        return Ok(true);
    }
    if context.sender_check == SenderCheck::Domain && user.domain() == sender.domain() {
        return Ok(true);
    }
    let of_sender = reached(context, sender).await?;
    if reached(context, &user).await?.first().is_some_and(|id| of_sender.contains(id)) {
        return Ok(true);
    }
    if context.sender_check == SenderCheck::Address {
        return Ok(false);
    }
    let looking = ways_to(context.store.as_ref(), &user);
    let ways = in_time(context.clock.as_ref(), context.limits.store_timeout, looking).await?;
    let domain = sender.domain();
    Ok(ways.aliases.iter().any(|alias| alias.domain() == domain) || ways.catch_alls.contains(&domain))
}

/// Who gets the mail of an address here.
async fn reached(context: &Context, address: &Address) -> Result<Vec<UserId>, StoreError> {
    match context.recipients.home(address).await? {
        Home::Here(users) => Ok(users.iter().map(|reached| reached.user).collect()),
        Home::Elsewhere => Ok(Vec::new()),
    }
}
