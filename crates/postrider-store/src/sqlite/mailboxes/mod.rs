//! Mailboxes on SQLite.
//!
//! Entries stand in rows of their own, 160 to a row ([`entries`]); what a mailbox is, and its counts, in one row that each
//! transaction reads and writes once ([`touched`]).

pub(super) mod append;
mod copy;
mod entries;
mod expunge;
mod flags;
mod metadata;
pub(super) mod names;
pub(super) mod read;
pub(super) mod removal;
pub(super) mod touched;
pub(super) mod transfer;

use async_trait::async_trait;
use bytes::Bytes;
use postrider_core::ObjectId;
use postrider_core::mailbox::{MailboxName, UidSet};

use super::checkpoint::ROWS_BYTES;
use super::{Result, SqliteStore, record};
use crate::error::StoreError;
use crate::records::*;
use crate::traits::Mailboxes;

#[async_trait]
impl Mailboxes for SqliteStore {
    async fn mailboxes(&self, user: UserId) -> Result<Vec<MailboxRecord>> {
        let found = self.read(move |connection| read::all(connection, user)).await?;
        Ok(found.into_iter().map(|found| found.record).collect())
    }

    async fn mailbox(&self, user: UserId, name: &MailboxName) -> Result<Option<MailboxRecord>> {
        let name = name.clone();
        let found = self.read_small(move |connection| read::by_name(connection, user, &name)).await?;
        Ok(found.map(|found| found.record))
    }

    async fn create_mailbox(&self, new: NewMailbox) -> Result<MailboxRecord> {
        self.writer.write(ROWS_BYTES, move |batch| names::create(batch, &new)).await
    }

    async fn delete_mailbox(&self, mailbox: MailboxId) -> Result<bool> {
        let is_deleted = self.writer.write(ROWS_BYTES, move |batch| names::delete(batch, mailbox)).await?;
        if is_deleted {
            removal::purge(&self.writer).await?;
        }
        Ok(is_deleted)
    }

    async fn rename_mailbox(&self, rename: RenameMailbox) -> Result<()> {
        self.writer.write(ROWS_BYTES, move |batch| names::rename(batch, &rename)).await
    }

    async fn subscriptions(&self, user: UserId) -> Result<Vec<MailboxName>> {
        self.read(move |connection| names::subscriptions(connection, user)).await
    }

    async fn subscribe(&self, user: UserId, name: &MailboxName, is_subscribed: bool) -> Result<()> {
        let name = name.clone();
        self.writer.write(ROWS_BYTES, move |batch| names::subscribe(batch, user, &name, is_subscribed)).await
    }

    async fn open_mailbox(&self, mailbox: MailboxId) -> Result<Option<OpenMailbox>> {
        self.read(move |connection| read::open(connection, mailbox)).await
    }

    async fn mailbox_delta(&self, mailbox: MailboxId, since: Modseq) -> Result<Option<MailboxDelta>> {
        match self.readers.try_read_small(|connection| read::delta_small(connection, mailbox, since))? {
            Some(delta) => Ok(delta),
            None => self.read(move |connection| read::delta(connection, mailbox, since)).await,
        }
    }

    async fn take_recent(&self, mailbox: MailboxId) -> Result<u32> {
        let missing = || StoreError::Missing(format!("mailbox {mailbox}"));
        let (from, is_any) =
            self.read_small(move |connection| read::recent(connection, mailbox)).await?.ok_or_else(missing)?;
        if !is_any {
            return Ok(from);
        }
        let taken = self.writer.write(ROWS_BYTES, move |batch| {
            let Some(slot) = batch.mailboxes.find(mailbox)? else { return Ok(None) };
            let connection = batch.connection;
            let (number, next) = (batch.mailboxes[slot].number, batch.mailboxes[slot].uid_next);
            let from = connection
                .prepare_cached("SELECT recent_from FROM mailboxes WHERE number = ?1")?
                .query_row([number], |row| row.get(0))?;
            connection
                .prepare_cached("UPDATE mailboxes SET recent_from = ?2 WHERE number = ?1")?
                .execute((number, next))?;
            Ok(Some(from))
        });
        taken.await?.ok_or_else(missing)
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let append = append::prepare(append).await?;
        self.writer.write(append.bytes(), move |batch| append::append(batch, &append)).await
    }

    async fn copy_messages(&self, copy: CopyMessages) -> Result<Copied> {
        self.writer.write(ROWS_BYTES, move |batch| copy::copy(batch, &copy)).await
    }

    async fn store_flags(&self, store: StoreFlags) -> Result<FlagsStored> {
        self.writer.write(ROWS_BYTES, move |batch| flags::store(batch, &store)).await
    }

    async fn expunge(&self, mailbox: MailboxId, uids: Option<UidSet>) -> Result<Expunged> {
        let expunged = self.writer.write(ROWS_BYTES, move |batch| {
            let slot = batch.mailboxes.existing(mailbox)?;
            expunge::expunge(batch, slot, expunge::Which::Deleted(uids.as_ref()), None)
        });
        expunged.await
    }

    async fn digests(&self, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
        let emails = emails.to_vec();
        self.read(move |connection| read::digests(connection, &emails)).await
    }

    async fn messages(&self, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
        if let [email] = emails
            && let Some(message) = self.readers.try_read_small(|connection| record::stored_small(connection, *email))?
        {
            return Ok(vec![message.map(|message| message.raw)]);
        }
        let emails = emails.to_vec();
        self.read(move |connection| read::messages(connection, &emails)).await
    }

    async fn metadata(&self, user: UserId, mailbox: Option<MailboxId>) -> Result<Vec<MetadataEntry>> {
        self.read_small(move |connection| metadata::get(connection, user, mailbox)).await
    }

    async fn set_metadata(
        &self,
        user: UserId,
        mailbox: Option<MailboxId>,
        entries: Vec<(String, Option<Bytes>)>,
    ) -> Result<()> {
        let bytes = ROWS_BYTES + entries.iter().filter_map(|(_, value)| value.as_ref()).map(Bytes::len).sum::<usize>();
        self.writer.write(bytes, move |batch| metadata::set(batch, user, mailbox, &entries)).await
    }

    async fn usage(&self, user: UserId) -> Result<Usage> {
        self.read_small(move |connection| read::usage(connection, user)).await
    }
}
