//! Mailboxes: the part of the contract that users' mail programs live on.
//!
//! The way of every change of entries: it is gathered in a [`Ledger`] and written in one transaction, which also writes the
//! documents of the mailboxes and, where the sizes change, of the account.

mod append;
mod create;
mod documents;
mod edit;
pub(crate) mod filing;
mod ledger;
mod metadata;
mod names;
mod read;
pub(crate) mod removals;
mod special;
mod transfer;

use async_trait::async_trait;
use bytes::Bytes;
use postrider_core::ObjectId;
use postrider_core::mailbox::{MailboxName, UidSet};
use postrider_store::*;

pub(crate) use self::append::PreparedAppend;
pub(crate) use self::documents::{AccountDocument, DigestDocument, EntryDocument, MailboxDocument, QuotaDocument};
pub(crate) use self::ledger::{Ledger, Written, insert_digests};
pub(crate) use self::names::{key_range, new_mailbox, subscription, uid_validity};
pub(crate) use self::transfer::{export, export_entries, import, import_entries};
use crate::MongoStore;

type Result<T> = std::result::Result<T, StoreError>;

#[async_trait]
impl Mailboxes for MongoStore {
    async fn mailboxes(&self, user: UserId) -> Result<Vec<MailboxRecord>> {
        read::mailboxes(&self.engine, user).await
    }

    async fn mailbox(&self, user: UserId, name: &MailboxName) -> Result<Option<MailboxRecord>> {
        read::mailbox(&self.engine, user, name).await
    }

    async fn create_mailbox(&self, new: NewMailbox) -> Result<MailboxRecord> {
        self.check_open()?;
        self.creates.write(new).await??.record()
    }

    async fn delete_mailbox(&self, mailbox: MailboxId) -> Result<bool> {
        removals::delete(&self.engine, mailbox).await
    }

    async fn rename_mailbox(&self, rename: RenameMailbox) -> Result<()> {
        names::rename(&self.engine, rename).await
    }

    async fn subscriptions(&self, user: UserId) -> Result<Vec<MailboxName>> {
        names::subscriptions(&self.engine, user).await
    }

    async fn subscribe(&self, user: UserId, name: &MailboxName, is_subscribed: bool) -> Result<()> {
        names::subscribe(&self.engine, user, name, is_subscribed).await
    }

    async fn open_mailbox(&self, mailbox: MailboxId) -> Result<Option<OpenMailbox>> {
        read::open(&self.engine, mailbox).await
    }

    async fn mailbox_delta(&self, mailbox: MailboxId, since: Modseq) -> Result<Option<MailboxDelta>> {
        read::delta(&self.engine, mailbox, since).await
    }

    async fn take_recent(&self, mailbox: MailboxId) -> Result<u32> {
        read::take_recent(&self.engine, mailbox).await
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        self.check_open()?;
        let append = append::prepare(&self.engine, append).await?;
        self.appends.write(append).await?
    }

    async fn copy_messages(&self, copy: CopyMessages) -> Result<Copied> {
        edit::copy(&self.engine, copy).await
    }

    async fn store_flags(&self, store: StoreFlags) -> Result<FlagsStored> {
        edit::store_flags(&self.engine, store).await
    }

    async fn expunge(&self, mailbox: MailboxId, uids: Option<UidSet>) -> Result<Expunged> {
        edit::expunge(&self.engine, mailbox, uids).await
    }

    async fn digests(&self, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
        read::digests(&self.engine, emails).await
    }

    async fn messages(&self, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
        read::messages(&self.engine, emails).await
    }

    async fn metadata(&self, user: UserId, mailbox: Option<MailboxId>) -> Result<Vec<MetadataEntry>> {
        metadata::metadata(&self.engine, user, mailbox).await
    }

    async fn set_metadata(
        &self,
        user: UserId,
        mailbox: Option<MailboxId>,
        entries: Vec<(String, Option<Bytes>)>,
    ) -> Result<()> {
        metadata::set(&self.engine, user, mailbox, entries).await
    }

    async fn usage(&self, user: UserId) -> Result<Usage> {
        read::usage(&self.engine, user).await
    }
}
