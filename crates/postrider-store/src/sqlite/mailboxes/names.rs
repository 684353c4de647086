//! Which mailboxes users have, how they are called, and to which users are subscribed.

use postrider_core::mailbox::{MailboxName, SpecialUse};
use postrider_core::{ObjectId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::touched::Slot;
use super::{copy, read, removal};
use crate::error::StoreError;
use crate::records::*;
use crate::sqlite::batch::Batch;
use crate::sqlite::failure::{Failure, corrupt};
use crate::traits::MAILBOXES_PER_USER_MAX;

/// Gives a new user the mailboxes that each has from the start.
pub(in crate::sqlite) fn add_first(batch: &mut Batch<'_>, user: UserId, now: Timestamp) -> Result<(), Failure> {
    insert(batch, user, &MailboxName::inbox(), None, now)?;
    subscribe(batch, user, &MailboxName::inbox(), true)?;
    for special_use in SpecialUse::ALL {
        let name = MailboxName::parse(special_use.as_str()).map_err(corrupt)?;
        insert(batch, user, &name, Some(special_use), now)?;
        subscribe(batch, user, &name, true)?;
    }
    Ok(())
}

pub(super) fn create(batch: &mut Batch<'_>, new: &NewMailbox) -> Result<MailboxRecord, Failure> {
    let connection = batch.connection;
    require_user(connection, new.user)?;
    if read::by_name(connection, new.user, &new.name)?.is_some() {
        return Err(Failure::Refused(StoreError::Exists(format!("mailbox {}", new.name))));
    }
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM mailboxes WHERE user = ?1")?
        .query_row([new.user.as_bytes()], |row| row.get(0))?;
    refuse_more(count, "mailboxes")?;
    if let Some(special_use) = new.special_use {
        let is_there = connection
            .prepare_cached("SELECT 1 FROM mailboxes WHERE user = ?1 AND special_use = ?2")?
            .exists((new.user.as_bytes(), special_use.as_str()))?;
        if is_there {
            return Err(Failure::Refused(StoreError::Exists(format!("a mailbox for {special_use}"))));
        }
    }
    insert(batch, new.user, &new.name, new.special_use, new.now)
}

/// Where mail of that use goes ([`Filing::special_use`]); `None` where the user can have no mailbox for it.
pub(super) fn of_use(
    batch: &mut Batch<'_>,
    user: UserId,
    special_use: SpecialUse,
    now: Timestamp,
) -> Result<Option<Slot>, Failure> {
    let known: Option<[u8; 12]> = batch
        .connection
        .prepare_cached(
            "SELECT id FROM mailboxes WHERE user = ?1 AND (special_use = ?2 OR name = ?2)
             ORDER BY special_use IS ?2 DESC LIMIT 1",
        )?
        .query_row((user.as_bytes(), special_use.as_str()), |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(batch.mailboxes.find(MailboxId::from_bytes(id))?);
    }
    let name = MailboxName::parse(special_use.as_str()).map_err(corrupt)?;
    match create(batch, &NewMailbox { user, name: name.clone(), special_use: Some(special_use), now }) {
        Ok(made) => {
            // One subscription too many is no reason to file it elsewhere.
            match subscribe(batch, user, &name, true) {
                Ok(()) | Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failure),
            }
            Ok(batch.mailboxes.find(made.id)?)
        }
        Err(Failure::Refused(StoreError::Limit(_))) => Ok(None),
        Err(failure) => Err(failure.undoing()),
    }
}

fn insert(
    batch: &mut Batch<'_>,
    user: UserId,
    name: &MailboxName,
    special_use: Option<SpecialUse>,
    now: Timestamp,
) -> Result<MailboxRecord, Failure> {
    // The time, so that not even a user of the same address who comes later has it again; and ever greater.
    let seconds = u32::try_from(now.as_millis() / 1000).unwrap_or(1);
    let uid_validity: u32 = batch
        .connection
        .prepare_cached(
            "UPDATE users SET uid_validity_next = max(uid_validity_next, ?2) + 1 WHERE id = ?1
             RETURNING uid_validity_next - 1",
        )?
        .query_row((user.as_bytes(), seconds.max(1)), |row| row.get(0))?;
    let record = MailboxRecord {
        id: ObjectId::new(now),
        user,
        name: name.clone(),
        special_use,
        uid_validity,
        uid_next: 1,
        recent_from: 1,
        highest_modseq: 1,
        keywords: Vec::new(),
        counts: MailboxCounts::default(),
        created_at: now,
    };
    batch
        .connection
        .prepare_cached(
            "INSERT INTO mailboxes (id, user, name, special_use, uid_validity, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            record.id.as_bytes(),
            user.as_bytes(),
            name.as_str(),
            special_use.map(SpecialUse::as_str),
            uid_validity,
            now.as_millis(),
        ))?;
    batch.mailboxes.tell(MailboxChange::Mailboxes { user });
    Ok(record)
}

/// Takes a mailbox from its user; its entries go in parts ([`removal`]).
pub(super) fn delete(batch: &mut Batch<'_>, id: MailboxId) -> Result<bool, Failure> {
    let Some(slot) = batch.mailboxes.find(id)? else { return Ok(false) };
    let user = batch.mailboxes[slot].user;
    removal::detach(batch, slot)?;
    batch.mailboxes.tell(MailboxChange::Mailboxes { user });
    Ok(true)
}

pub(super) fn rename(batch: &mut Batch<'_>, rename: &RenameMailbox) -> Result<(), Failure> {
    let RenameMailbox { user, from, to, now } = rename;
    if from.is_inbox() {
        return move_inbox(batch, *user, to, *now);
    }
    let connection = batch.connection;
    let moved = below(connection, *user, from)?;
    if moved.is_empty() {
        return Err(Failure::Refused(StoreError::Missing(format!("mailbox {from}"))));
    }
    let mut renamed = Vec::with_capacity(moved.len());
    for (number, name) in &moved {
        let new = name.moved(from, to).map_err(|error| Failure::Refused(StoreError::Limit(error.to_string())))?;
        let taken = read::by_name(connection, *user, &new)?;
        if taken.is_some_and(|taken| moved.iter().all(|(number, _)| *number != taken.number)) {
            return Err(Failure::Refused(StoreError::Exists(format!("mailbox {new}"))));
        }
        renamed.push((*number, new));
    }
    // First out of the way: one may get the name that another has until now.
    let mut statement = connection.prepare_cached("UPDATE mailboxes SET name = ?2 WHERE number = ?1")?;
    for (number, _) in &renamed {
        statement.execute((number, format!("//{number}")))?;
    }
    for (number, name) in &renamed {
        statement.execute((number, name.as_str()))?;
    }
    batch.mailboxes.tell(MailboxChange::Mailboxes { user: *user });
    Ok(())
}

/// INBOX stays, and so do those below it; its messages go to a new mailbox.
fn move_inbox(batch: &mut Batch<'_>, user: UserId, to: &MailboxName, now: Timestamp) -> Result<(), Failure> {
    let Some((inbox, _)) = batch.mailboxes.inbox(user)? else {
        return Err(Failure::Refused(StoreError::Missing("INBOX of that user".into())));
    };
    let new = create(batch, &NewMailbox { user, name: to.clone(), special_use: None, now })?;
    let slot = batch.mailboxes.existing(new.id).map_err(Failure::undoing)?;
    copy::copy_all(batch, (inbox, slot), None, true, now).map_err(Failure::undoing)?;
    Ok(())
}

/// A mailbox and those below it, by name.
fn below(connection: &Connection, user: UserId, name: &MailboxName) -> Result<Vec<(i64, MailboxName)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, name FROM mailboxes WHERE user = ?1 AND (name = ?2 OR name > ?2 || '/' AND name < ?2 || '0')
         ORDER BY name",
    )?;
    let mut rows = statement.query((user.as_bytes(), name.as_str()))?;
    let mut below = Vec::new();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        below.push((row.get(0)?, MailboxName::parse(name).map_err(corrupt)?));
    }
    Ok(below)
}

pub(super) fn subscriptions(connection: &Connection, user: UserId) -> Result<Vec<MailboxName>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT name FROM subscriptions WHERE user = ?1 ORDER BY name")?;
    let mut rows = statement.query([user.as_bytes()])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        names.push(MailboxName::parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?).map_err(corrupt)?);
    }
    Ok(names)
}

pub(super) fn subscribe(
    batch: &mut Batch<'_>,
    user: UserId,
    name: &MailboxName,
    is_subscribed: bool,
) -> Result<(), Failure> {
    let connection = batch.connection;
    require_user(connection, user)?;
    let key = (user.as_bytes(), name.as_str());
    let is_there =
        connection.prepare_cached("SELECT 1 FROM subscriptions WHERE user = ?1 AND name = ?2")?.exists(key)?;
    if is_there == is_subscribed {
        return Ok(());
    }
    if is_subscribed {
        let count: i64 = connection
            .prepare_cached("SELECT count(*) FROM subscriptions WHERE user = ?1")?
            .query_row([user.as_bytes()], |row| row.get(0))?;
        refuse_more(count, "subscriptions")?;
        connection.prepare_cached("INSERT INTO subscriptions VALUES (?1, ?2)")?.execute(key)?;
    } else {
        connection.prepare_cached("DELETE FROM subscriptions WHERE user = ?1 AND name = ?2")?.execute(key)?;
    }
    batch.mailboxes.tell(MailboxChange::Mailboxes { user });
    Ok(())
}

pub(super) fn require_user(connection: &Connection, user: UserId) -> Result<(), Failure> {
    let is_there = connection
        .prepare_cached("SELECT 1 FROM users WHERE id = ?1")?
        .query_row([user.as_bytes()], |_| Ok(()))
        .optional()?;
    is_there.ok_or_else(|| Failure::Refused(StoreError::Missing(format!("user {user}"))))
}

fn refuse_more(count: i64, what: &str) -> Result<(), Failure> {
    if usize::try_from(count).is_ok_and(|count| count < MAILBOXES_PER_USER_MAX) {
        return Ok(());
    }
    Err(Failure::Refused(StoreError::Limit(format!("a user has {MAILBOXES_PER_USER_MAX} {what} at most"))))
}
