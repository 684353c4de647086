//! Messages that come into mailboxes: those that are delivered, and those that their users put there.

use bytes::Bytes;
use postrider_core::mailbox::{Flags, NamedFlags};
use postrider_core::{Direction, EmailStatus, Envelope, Instructions, ObjectId, Timestamp};

use super::expunge::{self, Which};
use super::names;
use super::touched::{Slot, arrival};
use crate::error::StoreError;
use crate::records::*;
use crate::sqlite::accept::{EmailParts, EmailRow, HOLD_NONE};
use crate::sqlite::batch::Batch;
use crate::sqlite::checkpoint::ROWS_BYTES;
use crate::sqlite::failure::Failure;
use postrider_core::mailbox::UidSet;

/// Messages as their rows will be.
#[derive(Debug)]
pub(super) struct PreparedAppend {
    mailbox: MailboxId,
    messages: Vec<PreparedMessage>,
    replaces: Option<(MailboxId, u32)>,
    now: Timestamp,
}

#[derive(Debug)]
struct PreparedMessage {
    email: EmailRow,
    digest: Bytes,
    flags: NamedFlags,
    internal_date: Timestamp,
}

pub(super) async fn prepare(append: Append) -> Result<PreparedAppend, StoreError> {
    let mut messages = Vec::with_capacity(append.messages.len());
    for AppendMessage { id, message, digest, flags, internal_date } in append.messages {
        let parts = EmailParts {
            id,
            created_at: append.now,
            updated_at: append.now,
            direction: Direction::Inbound,
            status: EmailStatus::Received,
            envelope: &Envelope::default(),
            instructions: &Instructions::default(),
            authentication: &[],
            message,
            kept: &[],
            recipients: Vec::new(),
            source_ip: None,
            hold: HOLD_NONE,
        };
        let email = EmailRow::prepare(parts).await?;
        messages.push(PreparedMessage { email, digest, flags, internal_date });
    }
    Ok(PreparedAppend { mailbox: append.mailbox, messages, replaces: append.replaces, now: append.now })
}

impl PreparedAppend {
    /// About how much is written for it.
    pub(super) fn bytes(&self) -> usize {
        let messages = self.messages.iter().map(|message| message.email.bytes() + message.digest.len());
        ROWS_BYTES + messages.sum::<usize>()
    }
}

pub(super) fn append(batch: &mut Batch<'_>, append: &PreparedAppend) -> Result<Appended, Failure> {
    let slot = batch.mailboxes.existing(append.mailbox)?;
    let user = batch.mailboxes[slot].user;
    let replaced = match append.replaces {
        Some((mailbox, uid)) => batch.mailboxes.find(mailbox)?.map(|slot| (slot, UidSet::range(uid, uid))),
        None => None,
    };
    let less = match &replaced {
        Some((from, uids)) if batch.mailboxes[*from].user == user => expunge::usage_of(batch, *from, uids)?,
        _ => Usage::default(),
    };
    let bytes = append.messages.iter().map(|message| u64::from(message.email.size())).sum();
    let more = Usage { bytes, messages: append.messages.len() as u64 };
    let quota = batch.mailboxes.quota(user)?;
    if !batch.mailboxes.has_room(user, quota, more, less)? {
        return Err(Failure::Refused(StoreError::OverQuota));
    }
    let uid_validity = batch.mailboxes[slot].uid_validity;
    if append.messages.is_empty() && replaced.is_none() {
        return Ok(Appended { uid_validity, uids: Vec::new() });
    }
    let modseq = batch.mailboxes.next_modseq(slot);
    let uids = put_all(batch, slot, modseq, append).map_err(Failure::undoing)?;
    if let Some((from, uids)) = replaced {
        let modseq = (from == slot).then_some(modseq);
        expunge::expunge(batch, from, Which::All(&uids), modseq).map_err(Failure::undoing)?;
    }
    Ok(Appended { uid_validity, uids })
}

fn put_all(batch: &mut Batch<'_>, slot: Slot, modseq: Modseq, append: &PreparedAppend) -> Result<Vec<u32>, Failure> {
    let mut uids = Vec::with_capacity(append.messages.len());
    for message in &append.messages {
        let flags = batch.mailboxes.flags(slot, &message.flags)?;
        let Some(seq) = message.email.insert(batch, 1)? else {
            return Err(Failure::Refused(StoreError::Exists(format!("e-mail {}", message.email.id()))));
        };
        insert_digest(batch, (message.email.id(), seq), &message.digest)?;
        let dates = (message.internal_date, append.now);
        let stored = arrival((message.email.id(), seq), message.email.size(), flags, modseq, dates);
        uids.push(batch.mailboxes.add(slot, stored)?);
    }
    Ok(uids)
}

/// To which mailboxes a new e-mail of this size goes, and which filings are refused.
pub(in crate::sqlite) fn choose(
    batch: &mut Batch<'_>,
    filings: &[Filing],
    (size, now): (u32, Timestamp),
) -> Result<(Vec<Slot>, Accepted), Failure> {
    let (mut slots, mut accepted) = (Vec::with_capacity(filings.len()), Accepted::default());
    for (n, filing) in filings.iter().enumerate() {
        let Some((inbox, quota)) = batch.mailboxes.inbox(filing.user)? else {
            accepted.refused.insert(n, FilingRefusal::NoUser);
            continue;
        };
        // A user may get more than one copy.
        let copies = slots.iter().filter(|other| batch.mailboxes[**other].user == filing.user);
        let messages = 1 + copies.count() as u64;
        let more = Usage { bytes: messages * u64::from(size), messages };
        if filing.enforces_quota && !batch.mailboxes.has_room(filing.user, quota, more, Usage::default())? {
            accepted.refused.insert(n, FilingRefusal::OverQuota);
            continue;
        }
        let slot = match filing.special_use {
            Some(special_use) => names::of_use(batch, filing.user, special_use, now)?.unwrap_or(inbox),
            None => inbox,
        };
        slots.push(slot);
    }
    Ok((slots, accepted))
}

/// Puts a new e-mail into mailboxes.
pub(in crate::sqlite) fn file(
    batch: &mut Batch<'_>,
    email: (ObjectId, i64),
    (size, created_at): (u32, Timestamp),
    slots: &[Slot],
) -> Result<(), Failure> {
    for &slot in slots {
        let modseq = batch.mailboxes.next_modseq(slot);
        let stored = arrival(email, size, Flags::NONE, modseq, (created_at, created_at));
        batch.mailboxes.add(slot, stored)?;
    }
    Ok(())
}

pub(in crate::sqlite) fn insert_digest(
    batch: &Batch<'_>,
    (id, seq): (ObjectId, i64),
    digest: &Bytes,
) -> rusqlite::Result<()> {
    let content: &[u8] = digest;
    batch.connection.prepare_cached("INSERT OR REPLACE INTO digests VALUES (?1, ?2, ?3)")?.execute((
        seq,
        id.as_bytes(),
        content,
    ))?;
    Ok(())
}
