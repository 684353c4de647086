//! Making mailboxes: those that wait together are made together.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use mongodb::ClientSession;
use mongodb::bson::{doc, oid};
use postrider_core::mailbox::SpecialUse;
use postrider_store::{MailboxChange, NewMailbox, StoreError};

use super::documents::{AccountDocument, MailboxDocument};
use super::ledger::find;
use super::names::{check_count, new_mailbox, uid_validity};
use crate::codes::{date, oid};
use crate::counters::{Additions, Stripe, update_all};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::schema::{ACCOUNTS, MAILBOXES};
use crate::writer::Batch;

type Result<T> = std::result::Result<T, StoreError>;

/// What a mailbox takes to be written, in bytes.
const MAILBOX_BYTES: usize = 1_024;

impl Batch for NewMailbox {
    type Answer = Result<MailboxDocument>;

    fn bytes(&self) -> usize {
        MAILBOX_BYTES
    }

    async fn write(engine: &Arc<Engine>, batch: &[Self]) -> std::result::Result<Vec<Self::Answer>, Failure> {
        let users: BTreeSet<_> = batch.iter().map(|new| oid(new.user)).collect();
        let _turn = engine.courtesy.turn(users).await;
        let created = engine.transaction_of(batch.len(), &mut Create { batch }).await?;
        let made = batch.iter().zip(&created).filter(|(_, created)| created.is_ok());
        engine.notices.tell_mailboxes(made.map(|(new, _)| MailboxChange::Mailboxes { user: new.user }));
        Ok(created)
    }

    fn doubt(_: &Arc<Engine>, _: &[Self]) {
        // Nobody holds anything by it: whether it was made, its name tells.
    }
}

struct Create<'a> {
    batch: &'a [NewMailbox],
}

/// What users have, and what is made for them.
struct Plan {
    accounts: BTreeMap<oid::ObjectId, AccountDocument>,
    names: HashSet<(oid::ObjectId, String)>,
    uses: HashSet<(oid::ObjectId, String)>,
    made: Vec<MailboxDocument>,
}

impl Work for Create<'_> {
    type Output = Vec<Result<MailboxDocument>>;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let mut plan = Plan::read(engine, session, self.batch).await?;
        let created = self.batch.iter().map(|new| plan.enter(new)).collect();
        if plan.made.is_empty() {
            return Ok(created);
        }
        // The accounts are written as well: whoever counts on what they say is in the way of this transaction.
        let users: BTreeSet<_> = plan.made.iter().map(|mailbox| mailbox.user).collect();
        let accounts = users.iter().filter_map(|user| plan.accounts.get(user));
        let update = |account: &AccountDocument| {
            let set = doc! { "mailboxes": account.mailboxes, "uidValidityNext": account.uid_validity_next };
            doc! { "q": { "_id": account.user }, "u": { "$set": set } }
        };
        update_all(engine, session, ACCOUNTS, accounts.map(update).collect()).await?;
        let mailboxes = engine.collection::<MailboxDocument>(MAILBOXES);
        mailboxes.insert_many(&plan.made).session(&mut *session).await?;
        Additions::default().write(engine, session, stripe).await?;
        Ok(created)
    }
}

impl Plan {
    async fn read(
        engine: &Engine,
        session: &mut ClientSession,
        batch: &[NewMailbox],
    ) -> std::result::Result<Self, Failure> {
        let users: BTreeSet<_> = batch.iter().map(|new| oid(new.user)).collect();
        let users: Vec<_> = users.into_iter().collect();
        let accounts: Vec<AccountDocument> = find(engine, session, ACCOUNTS, doc! { "_id": { "$in": &users } }).await?;
        let names: Vec<&str> = batch.iter().map(|new| new.name.as_str()).collect();
        let filter = doc! { "user": { "$in": &users }, "name": { "$in": names } };
        let known: Vec<MailboxDocument> = find(engine, session, MAILBOXES, filter).await?;
        let uses: Vec<&str> = batch.iter().filter_map(|new| new.special_use).map(SpecialUse::as_str).collect();
        let used: Vec<MailboxDocument> = if uses.is_empty() {
            Vec::new()
        } else {
            let filter = doc! { "user": { "$in": &users }, "specialUse": { "$in": uses } };
            find(engine, session, MAILBOXES, filter).await?
        };
        Ok(Self {
            accounts: accounts.into_iter().map(|account| (account.user, account)).collect(),
            names: known.into_iter().map(|mailbox| (mailbox.user, mailbox.name)).collect(),
            uses: used.into_iter().filter_map(|mailbox| Some((mailbox.user, mailbox.special_use?))).collect(),
            made: Vec::new(),
        })
    }

    fn enter(&mut self, new: &NewMailbox) -> Result<MailboxDocument> {
        let NewMailbox { user, name, special_use, now } = new;
        let id = oid(*user);
        let account = self.accounts.get_mut(&id).ok_or_else(|| StoreError::Missing(format!("user {user}")))?;
        let named = (id, name.as_str().to_owned());
        if self.names.contains(&named) {
            return Err(StoreError::Exists(format!("mailbox {name}")));
        }
        let used = special_use.map(|special_use| (id, special_use.as_str().to_owned()));
        if used.as_ref().is_some_and(|used| self.uses.contains(used)) {
            return Err(StoreError::Exists("a mailbox for that use".into()));
        }
        check_count(account.mailboxes + 1, "mailboxes")?;
        let uid_validity = uid_validity(account.uid_validity_next, *now);
        account.mailboxes += 1;
        account.uid_validity_next = uid_validity + 1;
        self.names.insert(named);
        self.uses.extend(used);
        let mailbox = new_mailbox(id, name, *special_use, uid_validity, date(*now));
        self.made.push(mailbox.clone());
        Ok(mailbox)
    }
}
