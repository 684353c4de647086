//! Messages that users put into their mailboxes: those that wait together are written together.

use std::collections::BTreeSet;
use std::sync::Arc;

use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::mailbox::NamedFlags;
use postrider_core::{Direction, Envelope, Instructions};
use postrider_store::{Append, AppendMessage, Appended, EmailHold, StoreError, StoredEmail, Usage};

use super::documents::{EntryDocument, entry_key, positive};
use super::ledger::{Ledger, NewEntry, Written, find};
use crate::accept::insert;
use crate::codes::{self, date};
use crate::counters::{Additions, Stripe};
use crate::email::{PreparedEmail, prepare_stored};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::schema::ENTRIES;
use crate::writer::Batch;

type Result<T> = std::result::Result<T, StoreError>;

/// An append ready to be written.
#[derive(Debug)]
pub(crate) struct PreparedAppend {
    mailbox: oid::ObjectId,
    replaces: Option<(oid::ObjectId, u32)>,
    now: DateTime,
    messages: Vec<PreparedMessage>,
}

#[derive(Debug)]
struct PreparedMessage {
    email: PreparedEmail,
    flags: NamedFlags,
    internal_date: DateTime,
}

/// Turns messages into documents, and stores what does not fit into them.
pub(crate) async fn prepare(engine: &Engine, append: Append) -> Result<PreparedAppend> {
    let Append { mailbox, messages, replaces, now } = append;
    let mut prepared = Vec::with_capacity(messages.len());
    for AppendMessage { id, message, digest, flags, internal_date } in messages {
        let email = StoredEmail {
            id,
            created_at: now,
            updated_at: now,
            direction: Direction::Inbound,
            envelope: Envelope::default(),
            instructions: Instructions::default(),
            authentication: Vec::new(),
            message,
            kept: Vec::new(),
            source_ip: None,
            deliveries: Vec::new(),
            hold: EmailHold { is_listed: false, stays_on_record: false },
            digest: Some(digest),
        };
        let email = prepare_stored(email).await?;
        engine.files.put(codes::oid(id), &email.files).await?;
        prepared.push(PreparedMessage { email, flags, internal_date: date(internal_date) });
    }
    Ok(PreparedAppend {
        mailbox: codes::oid(mailbox),
        replaces: replaces.map(|(mailbox, uid)| (codes::oid(mailbox), uid)),
        now: date(now),
        messages: prepared,
    })
}

impl PreparedAppend {
    fn usage(&self) -> Usage {
        let bytes = self.messages.iter().map(|message| u64::try_from(message.email.size).unwrap_or(0));
        Usage { bytes: bytes.sum(), messages: self.messages.len() as u64 }
    }

    fn mailboxes(&self) -> impl Iterator<Item = oid::ObjectId> {
        [self.mailbox].into_iter().chain(self.replaces.map(|(mailbox, _)| mailbox))
    }

    fn files(&self) -> impl Iterator<Item = oid::ObjectId> {
        self.messages.iter().flat_map(|message| message.email.files.iter().map(|file| file.id))
    }
}

impl Batch for PreparedAppend {
    type Answer = Result<Appended>;

    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.email.bytes()).sum()
    }

    async fn write(engine: &Arc<Engine>, batch: &[Self]) -> std::result::Result<Vec<Result<Appended>>, Failure> {
        let mailboxes = batch.iter().flat_map(Self::mailboxes);
        let concerned: BTreeSet<_> = mailboxes.flat_map(|mailbox| engine.courtesy.with_kin(mailbox)).collect();
        let _turn = engine.courtesy.turn(concerned).await;
        let (appended, written) = engine.transaction_of(batch.len(), &mut Write { batch }).await?;
        written.finish(engine).await;
        Ok(appended)
    }

    fn doubt(_: &Arc<Engine>, _: &[Self]) {
        // Nobody holds anything by it: whether it was written, the mailbox tells.
    }
}

struct Write<'a> {
    batch: &'a [PreparedAppend],
}

impl Work for Write<'_> {
    type Output = (Vec<Result<Appended>>, Written);

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let (mut ledger, mut additions) = (Ledger::default(), Additions::default());
        let mailboxes: BTreeSet<_> = self.batch.iter().flat_map(PreparedAppend::mailboxes).collect();
        ledger.load(engine, session, mailboxes.iter().copied()).await?;
        let users: BTreeSet<_> = mailboxes.iter().filter_map(|id| Some(ledger.mailbox(*id).ok()?.user)).collect();
        ledger.load_accounts(engine, session, &users.into_iter().collect::<Vec<_>>()).await?;
        let mut replaced = replaced(engine, session, self.batch).await?;
        let mut appended = Vec::with_capacity(self.batch.len());
        let (mut emails, mut files) = (Vec::new(), Vec::new());
        for append in self.batch {
            let entered = enter(append, &mut ledger, &mut replaced);
            match &entered {
                Ok(_) => emails.extend(append.messages.iter().map(|message| &message.email)),
                Err(_) => files.extend(append.files()),
            }
            if let Ok(mailbox) = ledger.mailbox(append.mailbox) {
                engine.courtesy.know(mailbox.id, mailbox.user);
            }
            appended.push(entered);
        }
        insert(engine, session, &emails, &mut ledger, &mut additions).await?;
        let mut written = ledger.write(engine, session, &mut additions).await?;
        written.files.extend(files);
        additions.write(engine, session, stripe).await?;
        Ok((appended, written))
    }
}

/// The entries that are replaced, as far as they are there.
async fn replaced(
    engine: &Engine,
    session: &mut ClientSession,
    batch: &[PreparedAppend],
) -> std::result::Result<Vec<EntryDocument>, Failure> {
    let keys = batch.iter().filter_map(|append| append.replaces).map(|(mailbox, uid)| entry_key(mailbox, uid));
    let keys: Vec<_> = keys.collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let filter: Document = doc! { "_id": { "$in": keys } };
    find(engine, session, ENTRIES, filter).await
}

/// Enters an append into the ledger, wholly or not at all.
fn enter(append: &PreparedAppend, ledger: &mut Ledger, replaced: &mut Vec<EntryDocument>) -> Result<Appended> {
    let mailbox = ledger.mailbox(append.mailbox)?;
    let (user, uid_validity) = (mailbox.user, mailbox.uid_validity);
    ledger.check_uids(append.mailbox, append.messages.len())?;
    // Two may want to replace the same.
    let replaced_key = append.replaces.map(|(mailbox, uid)| entry_key(mailbox, uid));
    let place = replaced.iter().position(|entry| Some(&entry.key) == replaced_key.as_ref());
    let place = place.filter(|_| append.replaces.is_some_and(|(mailbox, _)| ledger.is_of(mailbox, user)));
    let less = place
        .and_then(|place| replaced.get(place))
        .map_or(Usage::default(), |entry| Usage { bytes: positive(entry.size), messages: 1 });
    if !ledger.has_room_without(user, less, append.usage()) {
        return Err(StoreError::OverQuota);
    }
    let flags = ledger.learn(append.mailbox, append.messages.iter().map(|message| &message.flags))?;
    let mut uids = Vec::with_capacity(append.messages.len());
    for (message, flags) in append.messages.iter().zip(flags) {
        let entry = NewEntry {
            email: codes::oid(message.email.id),
            size: message.email.size,
            flags,
            internal_date: message.internal_date,
            saved_at: append.now,
        };
        uids.push(ledger.add(append.mailbox, entry)?);
    }
    if let Some(place) = place {
        ledger.remove(&replaced.swap_remove(place))?;
    }
    Ok(Appended { uid_validity: u32::try_from(uid_validity).unwrap_or(0), uids })
}
