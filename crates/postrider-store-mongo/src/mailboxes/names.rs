//! Which mailboxes a user has, what they are called, and to which names the user is subscribed.
//!
//! Whatever changes how many there are of something writes the user's account in the same transaction: so two such changes
//! are in each other's way, and what one has looked at is still so when it commits.

use std::collections::BTreeSet;

use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::mailbox::{MailboxName, SpecialUse};
use postrider_core::{ObjectId, Timestamp};
use postrider_store::{CopyMessages, MAILBOXES_PER_USER_MAX, MailboxChange, RenameMailbox, StoreError, UserId};

use super::documents::{AccountDocument, MailboxDocument, entry_range};
use super::edit::transfer;
use super::ledger::{Ledger, Written, find};
use crate::codes::{date, id, oid};
use crate::counters::{Additions, Stripe, update_all};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::files::collect;
use crate::schema::{ACCOUNTS, ENTRIES, MAILBOXES, SUBSCRIPTIONS};

type Result<T> = std::result::Result<T, StoreError>;

/// A mailbox as it begins.
pub(crate) fn new_mailbox(
    user: oid::ObjectId,
    name: &MailboxName,
    special_use: Option<SpecialUse>,
    uid_validity: i64,
    now: DateTime,
) -> MailboxDocument {
    MailboxDocument {
        id: oid(ObjectId::new(crate::codes::timestamp(now))),
        user,
        name: name.as_str().to_owned(),
        special_use: special_use.map(|special_use| special_use.as_str().to_owned()),
        uid_validity,
        uid_next: 1,
        highest_modseq: 1,
        recent_from: 1,
        keywords: Vec::new(),
        messages: 0,
        unseen: 0,
        deleted: 0,
        bytes: 0,
        deleted_bytes: 0,
        expunged_kept: 0,
        expunged_since: 0,
        annotations: 0,
        created_at: now,
    }
}

/// The next UIDVALIDITY: by the time, so that a user who comes again after having been removed does not get those of before,
/// which mail programs may remember.
pub(crate) fn uid_validity(next: i64, now: Timestamp) -> i64 {
    next.max(now.as_millis() / 1000).clamp(1, i64::from(u32::MAX) - 1)
}

/// The key of a subscription: all of a user's stand together.
fn subscription_key(user: oid::ObjectId, name: &str) -> String {
    format!("{user}:{name}")
}

pub(crate) fn subscription(user: oid::ObjectId, name: &str) -> Document {
    doc! { "_id": subscription_key(user, name), "name": name }
}

/// The keys of all that begins with this id.
pub(crate) fn key_range(of: oid::ObjectId) -> Document {
    // A semicolon follows the colon in ASCII.
    doc! { "$gte": format!("{of}:"), "$lt": format!("{of};") }
}

/// The account of a user, for a transaction that changes it.
pub(crate) async fn account(
    engine: &Engine,
    session: &mut ClientSession,
    user: oid::ObjectId,
) -> std::result::Result<AccountDocument, Failure> {
    let accounts = engine.collection::<AccountDocument>(ACCOUNTS);
    let found = accounts.find_one(doc! { "_id": user }).session(session).await?;
    found.ok_or_else(|| Failure::Refused(StoreError::Missing(format!("user {user}"))))
}

pub(crate) async fn update_account(
    engine: &Engine,
    session: &mut ClientSession,
    user: oid::ObjectId,
    update: Document,
) -> std::result::Result<(), Failure> {
    update_all(engine, session, ACCOUNTS, vec![doc! { "q": { "_id": user }, "u": update }]).await.map(drop)
}

pub(crate) fn check_count(count: i64, of: &str) -> Result<()> {
    if usize::try_from(count).is_ok_and(|count| count > MAILBOXES_PER_USER_MAX) {
        return Err(StoreError::Limit(format!("a user has {MAILBOXES_PER_USER_MAX} {of} at most")));
    }
    Ok(())
}

/// A mailbox and its name.
struct Named {
    id: oid::ObjectId,
    name: String,
}

async fn names(
    engine: &Engine,
    session: &mut ClientSession,
    user: oid::ObjectId,
) -> std::result::Result<Vec<Named>, Failure> {
    let wanted = doc! { "name": 1 };
    let mailboxes = engine.collection::<Document>(MAILBOXES);
    let mut cursor = mailboxes.find(doc! { "user": user }).projection(wanted).session(&mut *session).await?;
    let mut names = Vec::new();
    while let Some(mailbox) = cursor.next(&mut *session).await {
        let mailbox = mailbox?;
        let (Ok(id), Ok(name)) = (mailbox.get_object_id("_id"), mailbox.get_str("name")) else { continue };
        names.push(Named { id, name: name.to_owned() });
    }
    Ok(names)
}

pub(crate) async fn rename(engine: &Engine, rename: RenameMailbox) -> Result<()> {
    let user = rename.user;
    let concerned: BTreeSet<_> = engine.courtesy.with_kin(oid(user)).collect();
    let _turn = engine.courtesy.turn(concerned).await;
    // As an INBOX is renamed its messages go elsewhere.
    let entries = if rename.from.is_inbox() { u64::MAX } else { 0 };
    let mut work = Rename { rename };
    let written = engine.transaction_for(entries, &mut work).await.map_err(Failure::into_error)?;
    written.finish(engine).await;
    engine.notices.tell_mailboxes([MailboxChange::Mailboxes { user }]);
    Ok(())
}

struct Rename {
    rename: RenameMailbox,
}

impl Work for Rename {
    type Output = Written;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Written, Failure> {
        let RenameMailbox { user, from, to, now } = &self.rename;
        let account = account(engine, session, oid(*user)).await?;
        let names = names(engine, session, account.user).await?;
        let mut additions = Additions::default();
        let written = if from.is_inbox() {
            empty_inbox(engine, session, &account, &names, to, *now, &mut additions).await?
        } else {
            let moves = moves(&names, from, to)?;
            // The account is written too, so that nobody makes a mailbox of one of these names meanwhile.
            update_account(engine, session, account.user, doc! { "$inc": { "renames": 1_i64 } }).await?;
            let update = |(mailbox, name): (oid::ObjectId, MailboxName)| {
                doc! { "q": { "_id": mailbox }, "u": { "$set": { "name": name.as_str() } } }
            };
            update_all(engine, session, MAILBOXES, moves.into_iter().map(update).collect()).await?;
            Written::default()
        };
        additions.write(engine, session, stripe).await?;
        Ok(written)
    }
}

/// The mailboxes that get other names, in an order in which no name is taken twice at any moment.
fn moves(names: &[Named], from: &MailboxName, to: &MailboxName) -> Result<Vec<(oid::ObjectId, MailboxName)>> {
    let (mut moves, mut others) = (Vec::new(), BTreeSet::new());
    for Named { id, name } in names {
        let name =
            MailboxName::parse(name).map_err(|error| crate::failure::corrupt(format!("mailbox {id}: {error}")))?;
        if name == *from || name.is_below(from) {
            moves.push((*id, name));
        } else {
            others.insert(name);
        }
    }
    if moves.is_empty() {
        return Err(StoreError::Missing(format!("mailbox {from}")));
    }
    // Upwards: a name that another of them still has is one of a level below, which has moved up by then.
    moves.sort_by(|(_, a), (_, b)| a.cmp(b));
    for (_, name) in &mut moves {
        *name = name.moved(from, to).map_err(|error| StoreError::Limit(error.to_string()))?;
        if others.contains(name) {
            return Err(StoreError::Exists(format!("mailbox {name}")));
        }
    }
    Ok(moves)
}

/// Moves all of an INBOX into a new mailbox (RFC 9051 section 6.3.6).
async fn empty_inbox(
    engine: &Engine,
    session: &mut ClientSession,
    account: &AccountDocument,
    names: &[Named],
    to: &MailboxName,
    now: Timestamp,
    additions: &mut Additions,
) -> std::result::Result<Written, Failure> {
    if names.iter().any(|known| known.name == to.as_str()) {
        return Err(StoreError::Exists(format!("mailbox {to}")).into());
    }
    check_count(account.mailboxes + 1, "mailboxes")?;
    let Some(inbox) = names.iter().find(|known| known.name == MailboxName::INBOX).map(|known| known.id) else {
        return Err(StoreError::Missing("mailbox INBOX".into()).into());
    };
    let uid_validity = uid_validity(account.uid_validity_next, now);
    let mailbox = new_mailbox(account.user, to, None, uid_validity, date(now));
    let update = doc! { "$inc": { "mailboxes": 1_i64 }, "$set": { "uidValidityNext": uid_validity + 1 } };
    update_account(engine, session, account.user, update).await?;
    engine.collection::<MailboxDocument>(MAILBOXES).insert_one(&mailbox).session(&mut *session).await?;
    let mut ledger = Ledger::default();
    ledger.load(engine, session, [inbox, mailbox.id]).await?;
    let filter = doc! { "_id": entry_range(inbox, 0, u32::MAX) };
    let mut entries: Vec<super::EntryDocument> = find(engine, session, ENTRIES, filter).await?;
    entries.sort_unstable_by_key(super::EntryDocument::uid);
    let copy = CopyMessages { from: id(inbox), uids: Default::default(), to: id(mailbox.id), moves: true, now };
    transfer(&mut ledger, &entries, inbox, mailbox.id, &copy)?;
    ledger.write(engine, session, additions).await
}

pub(crate) async fn subscriptions(engine: &Engine, user: UserId) -> Result<Vec<MailboxName>> {
    let subscriptions = engine.collection::<Document>(SUBSCRIPTIONS);
    let found = engine.call(collect(subscriptions.find(doc! { "_id": key_range(oid(user)) }))).await?;
    let parse = |text: &str| MailboxName::parse(text).map_err(crate::failure::corrupt);
    let mut names = found
        .iter()
        .filter_map(|subscription| subscription.get_str("name").ok())
        .map(parse)
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

pub(crate) async fn subscribe(engine: &Engine, user: UserId, name: &MailboxName, is_subscribed: bool) -> Result<()> {
    let mut work = Subscribe { user: oid(user), name, is_subscribed };
    if engine.transaction(&mut work).await.map_err(Failure::into_error)? {
        engine.notices.tell_mailboxes([MailboxChange::Mailboxes { user }]);
    }
    Ok(())
}

struct Subscribe<'a> {
    user: oid::ObjectId,
    name: &'a MailboxName,
    is_subscribed: bool,
}

impl Work for Subscribe<'_> {
    /// Whether it was not so already.
    type Output = bool;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<bool, Failure> {
        let account = account(engine, session, self.user).await?;
        let subscriptions = engine.collection::<Document>(SUBSCRIPTIONS);
        let document = subscription(self.user, self.name.as_str());
        let filter = doc! { "_id": subscription_key(self.user, self.name.as_str()) };
        let known = subscriptions.find_one(filter.clone()).session(&mut *session).await?;
        if known.is_some() == self.is_subscribed {
            return Ok(false);
        }
        if self.is_subscribed {
            check_count(account.subscriptions + 1, "subscriptions")?;
            subscriptions.insert_one(document).session(&mut *session).await?;
        } else {
            subscriptions.delete_one(filter).session(&mut *session).await?;
        }
        let change = if self.is_subscribed { 1_i64 } else { -1 };
        update_account(engine, session, self.user, doc! { "$inc": { "subscriptions": change } }).await?;
        Additions::default().write(engine, session, stripe).await?;
        Ok(true)
    }
}
