//! Mailboxes and the messages in them.
//!
//! A message is stored once, as an e-mail; mailboxes hold entries that refer to it. Whatever changes a mailbox raises its
//! modseq (RFC 7162) in the same commit, so that modseqs are seen in the order in which they were given.

use std::collections::BTreeMap;

use bytes::Bytes;
use postrider_core::mailbox::{Flags, Keyword, MailboxName, NamedFlags, SpecialUse, UidSet};
use postrider_core::{Message, ObjectId, Timestamp};

use super::UserId;

/// A mailbox, for good: one of the same name that comes later is another.
pub type MailboxId = ObjectId;

/// Changes to a mailbox are numbered by this: from 1, one for each commit that changes it (RFC 7162).
pub type Modseq = u64;

/// A mailbox as it stands, but for its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxRecord {
    pub id: MailboxId,
    pub user: UserId,
    pub name: MailboxName,
    pub special_use: Option<SpecialUse>,
    /// Greater than that of any mailbox that the user had before, so that it is never used twice for one name.
    pub uid_validity: u32,
    /// Greater than any UID that was ever given.
    pub uid_next: u32,
    /// Messages from this UID on are recent for nobody yet ([`super::super::Mailboxes::take_recent`]).
    pub recent_from: u32,
    /// Of the last change; 1 for a new mailbox.
    pub highest_modseq: Modseq,
    /// What the bits of [`Flags`] from [`Flags::KEYWORD_FIRST`] on mean. It only grows, up to [`Flags::KEYWORDS_MAX`].
    pub keywords: Vec<Keyword>,
    pub counts: MailboxCounts,
    pub created_at: Timestamp,
}

/// The entries of a mailbox in numbers, kept up to date in the same commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailboxCounts {
    pub messages: u64,
    /// Without [`Flags::SEEN`].
    pub unseen: u64,
    /// With [`Flags::DELETED`].
    pub deleted: u64,
    /// Of the raw messages.
    pub bytes: u64,
    /// Those of `bytes` that an expunge would free.
    pub deleted_bytes: u64,
}

/// A message in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub uid: u32,
    /// Of its last change.
    pub modseq: Modseq,
    pub flags: Flags,
    /// The stored message: the same for all copies.
    pub email: ObjectId,
    /// Of the raw message, in bytes.
    pub size: u32,
    pub internal_date: Timestamp,
    /// When it came into this mailbox (RFC 8514).
    pub saved_at: Timestamp,
}

/// A mailbox with all its entries, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenMailbox {
    pub record: MailboxRecord,
    /// By UID.
    pub entries: Vec<Entry>,
}

/// What happened to a mailbox since a modseq, up to [`MailboxRecord::highest_modseq`] of `record`: all of it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxDelta {
    pub record: MailboxRecord,
    /// Entries that came or were changed since, by UID.
    pub changed: Vec<Entry>,
    /// What was expunged since. Also UIDs that came after that modseq.
    pub expunged: UidSet,
    /// Whether `expunged` is all: where the modseq is older than what is remembered it may not be, and whoever needs to know
    /// compares with the entries. At least [`MailboxDelta::EXPUNGED_KEPT`] UIDs are remembered for each mailbox.
    pub is_complete: bool,
}

impl MailboxDelta {
    /// Expunged UIDs that are remembered for each mailbox, at least.
    pub const EXPUNGED_KEPT: u64 = 20_000;
}

/// A mailbox to be made.
#[derive(Debug, Clone)]
pub struct NewMailbox {
    pub user: UserId,
    pub name: MailboxName,
    pub special_use: Option<SpecialUse>,
    pub now: Timestamp,
}

/// A mailbox to be renamed, with all below it. Renaming `INBOX` moves its messages into a new mailbox of that name and leaves
/// those below it where they are (RFC 9051 section 6.3.6).
#[derive(Debug, Clone)]
pub struct RenameMailbox {
    pub user: UserId,
    pub from: MailboxName,
    pub to: MailboxName,
    pub now: Timestamp,
}

/// In whose mailboxes a new e-mail is put.
#[derive(Debug, Clone)]
pub struct Filed {
    /// [`postrider_core::mailbox::Digest`] of the message, encoded.
    pub digest: Bytes,
    pub filings: Vec<Filing>,
    /// Whether the e-mail stays on record whatever becomes of its filings: because it is also delivered elsewhere, or kept
    /// for a recipient who has no mailbox. If not it goes when no mailbox has it any more, and is not stored at all if no
    /// filing succeeds.
    pub stays_on_record: bool,
}

/// One user's copy of a new e-mail. It has no flags, and its internal date is the acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filing {
    pub user: UserId,
    /// The use of the mailbox that it goes to: the one that the user has for it, else the one that is called so. Where there is
    /// neither it is made in the same commit, and subscribed to. INBOX if `None`, and where the user can have no more mailboxes.
    pub special_use: Option<SpecialUse>,
    /// Whether it is refused where it would pass the user's quota.
    pub enforces_quota: bool,
}

/// What became of an e-mail that was handed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The filings that were not done, by their index. Where all were refused and nothing else holds the e-mail, nothing was
    /// stored.
    pub refused: BTreeMap<usize, FilingRefusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilingRefusal {
    OverQuota,
    /// There is no such user any more.
    NoUser,
}

/// What keeps a stored e-mail. Beside this, every entry of a mailbox that refers to it does; what nothing keeps is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmailHold {
    /// Whether lists and counts show it. Not so what was put into a mailbox by its user, and what was deleted from the record
    /// while mailboxes have it.
    pub is_listed: bool,
    /// See [`Filed::stays_on_record`].
    pub stays_on_record: bool,
}

impl EmailHold {
    /// Of an e-mail that is in no mailbox.
    pub const RECORD: Self = Self { is_listed: true, stays_on_record: true };
}

/// Messages that a user puts into a mailbox, all or none (RFC 3502).
#[derive(Debug, Clone)]
pub struct Append {
    pub mailbox: MailboxId,
    pub messages: Vec<AppendMessage>,
    /// The message that they replace: expunged in the same commit, whatever its flags (RFC 8508). It is left out if it is not
    /// there.
    pub replaces: Option<(MailboxId, u32)>,
    pub now: Timestamp,
}

#[derive(Debug, Clone)]
pub struct AppendMessage {
    /// Of the e-mail that it is stored as: not listed, and gone with its last entry.
    pub id: ObjectId,
    pub message: Message,
    /// As [`Filed::digest`].
    pub digest: Bytes,
    pub flags: NamedFlags,
    pub internal_date: Timestamp,
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    pub uid_validity: u32,
    /// In the order of the messages.
    pub uids: Vec<u32>,
}

/// Messages that are copied or moved to another mailbox of the same user.
#[derive(Debug, Clone)]
pub struct CopyMessages {
    pub from: MailboxId,
    /// Those that are not there are left out.
    pub uids: UidSet,
    pub to: MailboxId,
    /// Whether they are expunged from where they were, in the same commit. A move asks for no quota.
    pub moves: bool,
    pub now: Timestamp,
}

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Of the mailbox that they were copied to.
    pub uid_validity: u32,
    /// The UID that each had, and the one that its copy has; upwards.
    pub uids: Vec<(u32, u32)>,
}

/// A change of flags.
#[derive(Debug, Clone)]
pub struct StoreFlags {
    pub mailbox: MailboxId,
    /// Those that are not there are left out.
    pub uids: UidSet,
    pub operation: FlagsOperation,
    /// Keywords that the mailbox does not have yet are added to it, unless they are to be removed.
    pub flags: NamedFlags,
    /// Entries that were changed after this are left alone (RFC 7162 section 3.1.3).
    pub unchanged_since: Option<Modseq>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagsOperation {
    Replace,
    Add,
    Remove,
}

impl FlagsOperation {
    /// What the operation makes of the flags that an entry has.
    pub fn apply(self, old: Flags, flags: Flags) -> Flags {
        match self {
            Self::Replace => flags,
            Self::Add => old | flags,
            Self::Remove => old & !flags,
        }
    }
}

/// What a change of flags did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagsStored {
    /// Those whose flags are others now, all with the same modseq: the mailbox's highest. An entry that had them already keeps
    /// its modseq.
    pub changed: UidSet,
    /// Those that were left alone because of [`StoreFlags::unchanged_since`].
    pub conflicted: UidSet,
    /// The mailbox's highest modseq just before and just after this commit, and its keywords: who knows the mailbox as it was
    /// at `modseq_before` knows with them what it is now, without reading it again.
    pub modseq_before: Modseq,
    pub modseq: Modseq,
    /// What `flags` are as bits.
    pub flags: Flags,
    pub keywords: Vec<Keyword>,
}

/// What an expunge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expunged {
    pub uids: UidSet,
    /// As of [`FlagsStored`]. Unchanged if nothing was expunged.
    pub modseq_before: Modseq,
    pub modseq: Modseq,
}

/// An annotation of a mailbox, or of all of a user's mail (RFC 5464), with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataEntry {
    /// In lower case: `/private/comment`.
    pub name: String,
    pub value: Bytes,
}

/// What changed about mailboxes: where others should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MailboxChange {
    /// Entries or flags in this mailbox; or it is gone.
    Messages { user: UserId, mailbox: MailboxId },
    /// Which mailboxes a user has, how they are called, to which the user is subscribed, what is noted of them.
    Mailboxes { user: UserId },
    /// Another process changed something.
    Anything,
}

/// A mailbox as a store keeps it, for another store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMailbox {
    pub record: MailboxRecord,
    /// What is remembered of expunged UIDs, by modseq upwards, and since when that is all.
    pub expunged: Vec<(Modseq, UidSet)>,
    pub expunged_since: Modseq,
    pub metadata: Vec<MetadataEntry>,
}

/// What a user has beside the record of the directory, for another store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredMailboxes {
    pub mailboxes: Vec<StoredMailbox>,
    pub subscriptions: Vec<MailboxName>,
    /// Of all of the user's mail.
    pub metadata: Vec<MetadataEntry>,
    /// Greater than the UIDVALIDITY of every mailbox that the user ever had.
    pub uid_validity_next: u32,
}
