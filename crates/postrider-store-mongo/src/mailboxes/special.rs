//! The mailboxes for a use that new mail goes to, made where a user has none.

use std::collections::{BTreeMap, HashMap};

use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::mailbox::{MailboxName, SpecialUse};

use super::documents::MailboxDocument;
use super::ledger::{Ledger, find};
use super::names::{check_count, new_mailbox, subscription, uid_validity, update_account};
use crate::codes;
use crate::email::PreparedEmail;
use crate::engine::Engine;
use crate::failure::{Failure, corrupt};
use crate::schema::{MAILBOXES, SUBSCRIPTIONS};

/// The mailbox of a user for a use.
pub(crate) type Found = HashMap<(oid::ObjectId, SpecialUse), oid::ObjectId>;

/// Reads into the ledger the mailboxes that filings ask for ([`postrider_store::Filing::special_use`]), and makes those that
/// are missing. The users' accounts are loaded. One that a user can have no more is left out.
pub(crate) async fn load(
    engine: &Engine,
    session: &mut ClientSession,
    emails: &[&PreparedEmail],
    ledger: &mut Ledger,
) -> Result<Found, Failure> {
    let mut wanted: BTreeMap<(oid::ObjectId, SpecialUse), DateTime> = BTreeMap::new();
    for email in emails {
        for filing in &email.filings {
            let Some(special_use) = filing.special_use else { continue };
            wanted.entry((codes::oid(filing.user), special_use)).or_insert(email.created_at);
        }
    }
    if wanted.is_empty() {
        return Ok(Found::new());
    }
    let users: Vec<_> = wanted.keys().map(|(user, _)| *user).collect();
    let names: Vec<&str> = wanted.keys().map(|(_, special_use)| special_use.as_str()).collect();
    let either = vec![doc! { "specialUse": { "$in": &names } }, doc! { "name": { "$in": &names } }];
    let known: Vec<MailboxDocument> =
        find(engine, session, MAILBOXES, doc! { "user": { "$in": users }, "$or": either }).await?;
    let mut found = Found::new();
    for (key, now) in wanted {
        let (user, special_use) = (key.0, key.1.as_str());
        let of_user = || known.iter().filter(|mailbox| mailbox.user == user);
        let for_use = of_user().find(|mailbox| mailbox.special_use.as_deref() == Some(special_use));
        match for_use.or_else(|| of_user().find(|mailbox| mailbox.name == special_use)) {
            Some(mailbox) => {
                found.insert(key, mailbox.id);
                ledger.hold(vec![mailbox.clone()]);
            }
            None => found.extend(make(engine, session, key, now, ledger).await?.map(|mailbox| (key, mailbox))),
        }
    }
    Ok(found)
}

/// Makes a mailbox, to which its user is subscribed. `None` for a user who is gone, or has as many as may be.
async fn make(
    engine: &Engine,
    session: &mut ClientSession,
    (user, special_use): (oid::ObjectId, SpecialUse),
    now: DateTime,
    ledger: &mut Ledger,
) -> Result<Option<oid::ObjectId>, Failure> {
    let Some(mut account) = ledger.account(user).cloned() else { return Ok(None) };
    if check_count(account.mailboxes + 1, "mailboxes").is_err() {
        return Ok(None);
    }
    let name = MailboxName::parse(special_use.as_str()).map_err(corrupt)?;
    let uid_validity = uid_validity(account.uid_validity_next, codes::timestamp(now));
    let mailbox = new_mailbox(user, &name, Some(special_use), uid_validity, now);
    engine.collection::<MailboxDocument>(MAILBOXES).insert_one(&mailbox).session(&mut *session).await?;
    account.mailboxes += 1;
    account.uid_validity_next = uid_validity + 1;
    // One subscription too many is no reason to file it elsewhere.
    if check_count(account.subscriptions + 1, "subscriptions").is_ok() {
        let subscriptions = engine.collection::<Document>(SUBSCRIPTIONS);
        let document = subscription(user, name.as_str());
        let filter = doc! { "_id": document.get("_id") };
        if subscriptions.find_one(filter).session(&mut *session).await?.is_none() {
            subscriptions.insert_one(document).session(&mut *session).await?;
            account.subscriptions += 1;
        }
    }
    // The account is written as well: whoever counts on what it says is in the way of this transaction.
    let set = doc! {
        "mailboxes": account.mailboxes,
        "subscriptions": account.subscriptions,
        "uidValidityNext": account.uid_validity_next,
    };
    update_account(engine, session, user, doc! { "$set": set }).await?;
    let id = mailbox.id;
    ledger.made(account, mailbox);
    Ok(Some(id))
}
