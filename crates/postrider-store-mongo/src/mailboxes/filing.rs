//! Putting new e-mails into mailboxes, in the transaction that stores them.

use std::collections::{BTreeSet, HashMap};

use mongodb::ClientSession;
use mongodb::bson::oid;
use postrider_core::mailbox::Flags;
use postrider_store::{Accepted, FilingRefusal, Usage};

use super::ledger::{Ledger, NewEntry};
use super::special;
use crate::codes;
use crate::email::PreparedEmail;
use crate::engine::Engine;
use crate::failure::Failure;

/// What is changed besides when these are filed, as far as it is known.
pub(crate) fn concerned<'a>(
    engine: &Engine,
    emails: impl IntoIterator<Item = &'a PreparedEmail>,
) -> BTreeSet<oid::ObjectId> {
    let users = emails.into_iter().flat_map(|email| &email.filings).map(|filing| codes::oid(filing.user));
    users.flat_map(|user| engine.courtesy.with_kin(user)).collect()
}

/// Enters e-mails into the ledger, in their order. Answers which filings are refused.
pub(crate) async fn file(
    engine: &Engine,
    session: &mut ClientSession,
    emails: &[&PreparedEmail],
    ledger: &mut Ledger,
) -> Result<Vec<Accepted>, Failure> {
    let users: BTreeSet<_> =
        emails.iter().flat_map(|email| &email.filings).map(|filing| codes::oid(filing.user)).collect();
    let inboxes = if users.is_empty() {
        HashMap::new()
    } else {
        let users: Vec<_> = users.into_iter().collect();
        ledger.load_accounts(engine, session, &users).await?;
        ledger.load_inboxes(engine, session, &users).await?
    };
    inboxes.iter().for_each(|(user, inbox)| engine.courtesy.know(*user, *inbox));
    let others = special::load(engine, session, emails, ledger).await?;
    emails.iter().map(|email| file_one(email, &inboxes, &others, ledger)).collect()
}

fn file_one(
    email: &PreparedEmail,
    inboxes: &HashMap<oid::ObjectId, oid::ObjectId>,
    others: &special::Found,
    ledger: &mut Ledger,
) -> Result<Accepted, Failure> {
    let mut accepted = Accepted::default();
    let entry = NewEntry {
        email: codes::oid(email.id),
        size: email.size,
        flags: Flags::NONE,
        internal_date: email.created_at,
        saved_at: email.created_at,
    };
    let more = Usage { bytes: u64::try_from(email.size).unwrap_or(0), messages: 1 };
    for (index, filing) in email.filings.iter().enumerate() {
        let user = codes::oid(filing.user);
        let Some(&inbox) = inboxes.get(&user).filter(|_| ledger.has_account(user)) else {
            accepted.refused.insert(index, FilingRefusal::NoUser);
            continue;
        };
        if filing.enforces_quota && !ledger.has_room(user, more) {
            accepted.refused.insert(index, FilingRefusal::OverQuota);
            continue;
        }
        let other = filing.special_use.and_then(|special_use| others.get(&(user, special_use)));
        ledger.add(*other.unwrap_or(&inbox), entry).map_err(Failure::Refused)?;
    }
    Ok(accepted)
}
