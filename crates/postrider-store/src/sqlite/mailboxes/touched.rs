//! The mailboxes that one transaction touches: the row of each is read once, changed in memory and written once, before
//! the commit, however many messages come into it.
//!
//! So is the row of entries at a mailbox's end. Whoever reads or changes entries in the database writes it first
//! ([`Touched::settle`]).

use std::collections::{HashMap, HashSet};
use std::ops::{Index, IndexMut};

use postrider_core::Timestamp;
use postrider_core::mailbox::{Flags, Keyword, NamedFlags, UidSet};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::entries::{self, Chunk, Stored};
use super::read;
use crate::error::StoreError;
use crate::records::*;
use crate::sqlite::failure::Failure;

/// Expunged UIDs of one mailbox that are remembered before the oldest are forgotten.
const EXPUNGED_MAX: u64 = 2 * MailboxDelta::EXPUNGED_KEPT;

/// Which of the touched mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sqlite) struct Slot(usize);

/// A mailbox as this transaction has it.
#[derive(Debug)]
pub(in crate::sqlite) struct Mailbox {
    pub(super) number: i64,
    pub(super) id: MailboxId,
    pub(super) user: UserId,
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) modseq: Modseq,
    pub(super) keywords: Vec<Keyword>,
    pub(super) counts: MailboxCounts,
    expunged_since: Modseq,
    expunged_kept: u64,
    is_changed: bool,
    tail: Option<Chunk>,
}

#[derive(Debug)]
pub(in crate::sqlite) struct Touched<'c> {
    connection: &'c Connection,
    mailboxes: Vec<Mailbox>,
    slots: HashMap<MailboxId, Slot>,
    inboxes: HashMap<UserId, Option<(Slot, Quota)>>,
    usages: HashMap<UserId, Usage>,
    told: HashSet<MailboxChange>,
}

impl Index<Slot> for Touched<'_> {
    type Output = Mailbox;

    fn index(&self, slot: Slot) -> &Mailbox {
        &self.mailboxes[slot.0]
    }
}

impl IndexMut<Slot> for Touched<'_> {
    fn index_mut(&mut self, slot: Slot) -> &mut Mailbox {
        &mut self.mailboxes[slot.0]
    }
}

impl<'c> Touched<'c> {
    pub(in crate::sqlite) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            mailboxes: Vec::new(),
            slots: HashMap::new(),
            inboxes: HashMap::new(),
            usages: HashMap::new(),
            told: HashSet::new(),
        }
    }

    pub(super) fn find(&mut self, id: MailboxId) -> Result<Option<Slot>, StoreError> {
        if let Some(slot) = self.slots.get(&id) {
            return Ok(Some(*slot));
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT number, id, user, uid_validity, uid_next, modseq, keywords, messages, unseen, deleted, bytes,
                 deleted_bytes, expunged_since, expunged_kept
             FROM mailboxes WHERE id = ?1",
        )?;
        let mut rows = statement.query([id.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        self.mailboxes.push(mailbox(row)?);
        let slot = Slot(self.mailboxes.len() - 1);
        self.slots.insert(id, slot);
        Ok(Some(slot))
    }

    /// As [`Touched::find`], for a mailbox without which nothing is done.
    pub(super) fn existing(&mut self, id: MailboxId) -> Result<Slot, Failure> {
        self.find(id)?.ok_or_else(|| Failure::Refused(StoreError::Missing(format!("mailbox {id}"))))
    }

    /// A user's INBOX, and how much the user may keep; `None` for a user who is not there.
    pub(in crate::sqlite) fn inbox(&mut self, user: UserId) -> Result<Option<(Slot, Quota)>, StoreError> {
        if let Some(inbox) = self.inboxes.get(&user) {
            return Ok(*inbox);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT m.id, u.quota_bytes, u.quota_messages FROM users AS u JOIN mailboxes AS m ON m.user = u.id
             WHERE u.id = ?1 AND m.name = 'INBOX'",
        )?;
        let found: Option<(_, Quota)> = statement
            .query_row([user.as_bytes()], |row| Ok((MailboxId::from_bytes(row.get(0)?), read::quota(row, 1)?)))
            .optional()?;
        let inbox = match found {
            Some((id, quota)) => self.find(id)?.map(|slot| (slot, quota)),
            None => None,
        };
        self.inboxes.insert(user, inbox);
        Ok(inbox)
    }

    /// A user's quota.
    pub(super) fn quota(&mut self, user: UserId) -> Result<Quota, StoreError> {
        Ok(self.inbox(user)?.map_or_else(Quota::default, |(_, quota)| quota))
    }

    /// Whether a user may keep so much more, beside what is there but for `less`.
    pub(in crate::sqlite) fn has_room(
        &mut self,
        user: UserId,
        quota: Quota,
        more: Usage,
        less: Usage,
    ) -> Result<bool, StoreError> {
        if quota == Quota::default() {
            return Ok(true);
        }
        let usage = self.usage(user)?;
        let bytes = usage.bytes.saturating_sub(less.bytes);
        let messages = usage.messages.saturating_sub(less.messages);
        Ok(quota.has_room(Usage { bytes, messages }, more))
    }

    fn usage(&mut self, user: UserId) -> Result<Usage, StoreError> {
        if let Some(usage) = self.usages.get(&user) {
            return Ok(*usage);
        }
        self.write_rows()?;
        let usage = read::usage(self.connection, user)?;
        self.usages.insert(user, usage);
        Ok(usage)
    }

    /// What names, quotas and sums were known: something of it is others now.
    pub(in crate::sqlite) fn forget_users(&mut self) {
        self.inboxes.clear();
        self.usages.clear();
    }

    /// Writes this mailbox; from now on the database alone knows it.
    pub(super) fn write(&mut self, slot: Slot) -> rusqlite::Result<()> {
        self.settle(slot)?;
        self.write_rows()?;
        self.forget(slot);
        Ok(())
    }

    /// The row of this mailbox is gone, or written in another way.
    pub(super) fn forget(&mut self, slot: Slot) {
        let mailbox = &mut self[slot];
        (mailbox.is_changed, mailbox.tail) = (false, None);
        let id = mailbox.id;
        self.slots.remove(&id);
        self.forget_users();
    }

    /// The number of a change to this mailbox's entries.
    pub(in crate::sqlite) fn next_modseq(&mut self, slot: Slot) -> Modseq {
        let mailbox = &mut self[slot];
        mailbox.modseq += 1;
        mailbox.is_changed = true;
        let modseq = mailbox.modseq;
        let change = MailboxChange::Messages { user: mailbox.user, mailbox: mailbox.id };
        self.tell(change);
        modseq
    }

    /// Puts a message at the end of a mailbox. Returns its UID.
    pub(in crate::sqlite) fn add(&mut self, slot: Slot, stored: Stored) -> Result<u32, Failure> {
        let connection = self.connection;
        let mailbox = &mut self[slot];
        let uid = mailbox.uid_next;
        if uid == u32::MAX {
            return Err(Failure::Undo(StoreError::Limit("the mailbox has no UIDs left".into())));
        }
        let key = entries::key(mailbox.number, uid);
        if mailbox.tail.as_ref().is_none_or(|tail| tail.key != key) {
            if let Some(tail) = mailbox.tail.take() {
                tail.write(connection)?;
            }
            mailbox.tail = Chunk::read(connection, key)?;
        }
        let entry = Entry { uid, ..stored.entry };
        mailbox.tail.get_or_insert_with(|| Chunk::new(key)).push(&Stored { entry, ..stored });
        mailbox.uid_next += 1;
        self.count(slot, &entry, 1);
        Ok(uid)
    }

    /// An entry came (`1`) or went (`-1`).
    pub(super) fn count(&mut self, slot: Slot, entry: &Entry, sign: i64) {
        let mailbox = &mut self[slot];
        mailbox.is_changed = true;
        let size = i64::from(entry.size) * sign;
        add(&mut mailbox.counts.messages, sign);
        add(&mut mailbox.counts.bytes, size);
        mailbox.count_flags(entry, sign);
        let user = mailbox.user;
        if let Some(usage) = self.usages.get_mut(&user) {
            add(&mut usage.messages, sign);
            add(&mut usage.bytes, size);
        }
    }

    /// Flags as bits of this mailbox, which gets the keywords that it does not have yet.
    pub(super) fn flags(&mut self, slot: Slot, named: &NamedFlags) -> Result<Flags, Failure> {
        let mailbox = &mut self[slot];
        let new = named.keywords.iter().enumerate().filter(|(n, keyword)| {
            !mailbox.keywords.contains(keyword) && !named.keywords.iter().take(*n).any(|before| before == *keyword)
        });
        let new: Vec<Keyword> = new.map(|(_, keyword)| keyword.clone()).collect();
        if mailbox.keywords.len() + new.len() > Flags::KEYWORDS_MAX {
            let error = format!("a mailbox has {} keywords at most", Flags::KEYWORDS_MAX);
            return Err(Failure::Refused(StoreError::Limit(error)));
        }
        if !new.is_empty() {
            mailbox.keywords.extend(new);
            mailbox.is_changed = true;
        }
        Ok(named.known(&mailbox.keywords))
    }

    /// Entries in the database are as in memory from now on, until the next is added.
    pub(super) fn settle(&mut self, slot: Slot) -> rusqlite::Result<()> {
        match self[slot].tail.take() {
            Some(tail) => tail.write(self.connection),
            None => Ok(()),
        }
    }

    /// Remembers what was expunged by a change, and forgets what is oldest where that is much.
    pub(super) fn remember_expunged(&mut self, slot: Slot, modseq: Modseq, uids: &UidSet) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mailbox = &mut self[slot];
        mailbox.is_changed = true;
        mailbox.expunged_kept += uids.len();
        insert_expunged(connection, mailbox.number, modseq, uids)?;
        if mailbox.expunged_kept <= EXPUNGED_MAX {
            return Ok(());
        }
        let mut statement =
            connection.prepare_cached("SELECT modseq, count FROM expunged WHERE mailbox = ?1 ORDER BY modseq")?;
        let mut rows = statement.query([mailbox.number])?;
        while let Some(row) = rows.next()? {
            let (modseq, count) = (row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64);
            if mailbox.expunged_kept.saturating_sub(count) < MailboxDelta::EXPUNGED_KEPT {
                break;
            }
            mailbox.expunged_kept -= count;
            mailbox.expunged_since = modseq;
        }
        connection
            .prepare_cached("DELETE FROM expunged WHERE mailbox = ?1 AND modseq <= ?2")?
            .execute((mailbox.number, mailbox.expunged_since as i64))?;
        Ok(())
    }

    /// Once this is committed, whoever listens hears of it.
    pub(in crate::sqlite) fn tell(&mut self, change: MailboxChange) {
        self.told.insert(change);
    }

    /// Writes what was changed. Returns what is to be told after the commit.
    pub(in crate::sqlite) fn finish(mut self) -> rusqlite::Result<Vec<MailboxChange>> {
        for slot in (0..self.mailboxes.len()).map(Slot) {
            self.settle(slot)?;
        }
        self.write_rows()?;
        Ok(self.told.into_iter().collect())
    }

    fn write_rows(&mut self) -> rusqlite::Result<()> {
        for mailbox in self.mailboxes.iter_mut().filter(|mailbox| mailbox.is_changed) {
            let counts = mailbox.counts;
            self.connection
                .prepare_cached(
                    "UPDATE mailboxes SET uid_next = ?2, modseq = ?3, keywords = ?4, messages = ?5, unseen = ?6, deleted = ?7,
                         bytes = ?8, deleted_bytes = ?9, expunged_since = ?10, expunged_kept = ?11
                     WHERE number = ?1",
                )?
                .execute(params![
                    mailbox.number,
                    mailbox.uid_next,
                    mailbox.modseq as i64,
                    read::keywords_text(&mailbox.keywords),
                    counts.messages as i64,
                    counts.unseen as i64,
                    counts.deleted as i64,
                    counts.bytes as i64,
                    counts.deleted_bytes as i64,
                    mailbox.expunged_since as i64,
                    mailbox.expunged_kept as i64,
                ])?;
            mailbox.is_changed = false;
        }
        Ok(())
    }
}

impl Mailbox {
    /// What an entry's flags add to the counts, or take from them.
    pub(super) fn count_flags(&mut self, entry: &Entry, sign: i64) {
        if !entry.flags.contains(Flags::SEEN) {
            add(&mut self.counts.unseen, sign);
        }
        if entry.flags.contains(Flags::DELETED) {
            add(&mut self.counts.deleted, sign);
            add(&mut self.counts.deleted_bytes, i64::from(entry.size) * sign);
        }
    }
}

pub(super) fn insert_expunged(
    connection: &Connection,
    mailbox: i64,
    modseq: Modseq,
    uids: &UidSet,
) -> rusqlite::Result<()> {
    let bytes: Vec<u8> =
        uids.ranges().iter().flat_map(|(first, last)| [first.to_be_bytes(), last.to_be_bytes()].concat()).collect();
    connection.prepare_cached("INSERT OR REPLACE INTO expunged VALUES (?1, ?2, ?3, ?4)")?.execute((
        mailbox,
        modseq as i64,
        uids.len() as i64,
        bytes,
    ))?;
    Ok(())
}

/// A message as it comes into a mailbox, before it has a UID there.
pub(in crate::sqlite) fn arrival(
    (email, seq): (postrider_core::ObjectId, i64),
    size: u32,
    flags: Flags,
    modseq: Modseq,
    (internal_date, saved_at): (Timestamp, Timestamp),
) -> Stored {
    Stored { entry: Entry { uid: 0, modseq, flags, email, size, internal_date, saved_at }, seq }
}

fn add(count: &mut u64, change: i64) {
    *count = count.saturating_add_signed(change);
}

fn mailbox(row: &Row<'_>) -> Result<Mailbox, StoreError> {
    let count = |column| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(column)? as u64) };
    Ok(Mailbox {
        number: row.get(0)?,
        id: MailboxId::from_bytes(row.get(1)?),
        user: UserId::from_bytes(row.get(2)?),
        uid_validity: row.get(3)?,
        uid_next: row.get(4)?,
        modseq: count(5)?,
        keywords: read::keywords(row, 6)?,
        counts: MailboxCounts {
            messages: count(7)?,
            unseen: count(8)?,
            deleted: count(9)?,
            bytes: count(10)?,
            deleted_bytes: count(11)?,
        },
        expunged_since: count(12)?,
        expunged_kept: count(13)?,
        is_changed: false,
        tail: None,
    })
}
