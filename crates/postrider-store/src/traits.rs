//! The Store traits: the contract that every engine keeps and every other room relies on.
//!
//! For all methods: a success that changed something is durable, as the engine's documentation says what durable is; an
//! error means that nothing was changed. Under overload a method answers [`StoreError::Overloaded`] at once instead of
//! queueing without bound. Methods may be called from any number of tasks; what one call has returned, every later call
//! on any node sees. A call that is dropped before it ends is done wholly or not at all; claims that it would have
//! brought are given back.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use postrider_core::bounce::Feedback;
use postrider_core::history::Step;
use postrider_core::mailbox::{MailboxName, UidSet};
use postrider_core::submission::RequestKey;
use postrider_core::{Address, Domain, ObjectId, Timestamp};
use tokio::sync::broadcast;

use crate::error::StoreError;
use crate::records::*;

type Result<T> = std::result::Result<T, StoreError>;

/// All of the store.
#[async_trait]
pub trait Store:
    Emails
    + Queue
    + Outbox
    + Requests
    + Mailboxes
    + Directory
    + Suppressions
    + Notes
    + AuditLog
    + History
    + Transfer
    + Send
    + Sync
    + fmt::Debug
{
    /// Asks the engine whether it can read and write now.
    async fn health(&self) -> Result<StoreHealth>;

    /// What others change, heard within a second: the other nodes on the same database and the command lines beside them.
    /// What this store's own callers change may be told too; in the directory it is, before the call returns. A change says
    /// where to look, never what is there, and one may stand for many; a node that dies may take its last ones with it. A
    /// receiver that lagged looks everywhere.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// What happens in mailboxes: at once what this process does, within a second what others do. As with [`Store::changes`] a
    /// change says where to look, one may stand for many, and a receiver that lagged looks everywhere.
    fn mailbox_changes(&self) -> broadcast::Receiver<MailboxChange>;

    /// Waits until all that was handed over is written, then closes. Later calls answer [`StoreError::Unavailable`].
    async fn close(&self) -> Result<()>;
}

/// E-mails: accepting, finding, reading, deleting.
#[async_trait]
pub trait Emails: Send + Sync {
    /// Stores a message with its deliveries and its entries in mailboxes, all or nothing but for filings that are refused.
    /// Returns when it is durable: only then may it be acknowledged. Calls that wait together share one commit.
    ///
    /// [`StoreError::Exists`] if the id is taken, or the part of the request was carried out.
    async fn accept(&self, email: NewEmail) -> Result<Accepted>;

    /// One page of a list of e-mails. Past the last page it is empty. What was accepted is found at once, but by the words of
    /// its text only when these are indexed, within a second as a rule; the page says if some are not
    /// ([`EmailPage::is_incomplete`]).
    async fn find(&self, request: ListRequest) -> Result<EmailPage>;

    /// One page of the e-mails that match, newest first. `page` counts from 1.
    async fn list(&self, filter: &EmailFilter, page: u64, limit: u64) -> Result<EmailPage> {
        self.find(ListRequest { start: ListStart::Page(page), ..ListRequest::newest(filter.clone(), limit) }).await
    }

    /// `None` also for one that is not listed ([`EmailHold`]).
    async fn email(&self, id: ObjectId) -> Result<Option<EmailDetail>>;

    /// The message, byte for byte as it was accepted. `None` as with [`Emails::email`]; for mailboxes there is
    /// [`Mailboxes::messages`].
    async fn raw(&self, id: ObjectId) -> Result<Option<RawMessage>>;

    /// Notes what a report said of deliveries of an e-mail, by their numbers. Left out is what would be more than
    /// [`FEEDBACK_PER_DELIVERY_MAX`] of one delivery, and what is of none that is there. Returns how much was noted.
    async fn note_feedback(&self, email: ObjectId, feedback: Vec<(u32, Feedback)>) -> Result<usize>;

    /// Deletes an e-mail with its deliveries and attempts; `false` if there is none that is listed. Its message goes too,
    /// unless it is in a mailbox: then it is only listed no more. An e-mail that a node is sending at this moment is deleted
    /// too: the node's settlement then finds nothing to settle.
    async fn delete(&self, id: ObjectId) -> Result<bool>;
}

/// What is noted of reports about one delivery.
pub const FEEDBACK_PER_DELIVERY_MAX: usize = 20;

/// The queue: waiting deliveries, claimed by nodes.
///
/// A claim gives a delivery to one node for as long as that node's lease on life ([`Queue::renew`]) holds. Claims need no
/// renewal one by one: a node lives or dies with all of them. A claim ends when the delivery is settled or released, or
/// when the node's lease has lapsed; then any node may claim it again. A node that could not renew must stop sending
/// before its lease lapses. A node that has not registered, or has lost its registration, holds nothing and is given
/// nothing.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Registers a node, or prolongs its lease to `lease` from now. Nodes whose lease has lapsed lose their claims here. An
    /// engine that only one process can use at a time drops every other node's claims at once.
    ///
    /// `None`: this store had registered the node, and the registration is lost, with all claims. The node goes on under
    /// another id.
    async fn renew(&self, renewal: Renewal) -> Result<Option<Membership>>;

    /// The nodes whose leases hold.
    async fn nodes(&self, now: Timestamp) -> Result<Vec<NodeRecord>>;

    /// Whether only one process can send from this store at a time, and this is it: nobody can take its claims over while
    /// it lives, whatever has become of its lease.
    fn is_exclusive(&self) -> bool;

    /// Claims due deliveries, for each recipient domain the one due longest first, taking turns among domains so that
    /// none starves. A delivery is due when it is queued or deferred, its time has come and nobody holds it.
    ///
    /// Where very many domains wait for later, one call may look at a part of them only, and the next goes on from there:
    /// then [`Claimed::more`] is set until all were looked at, also if nothing was found. Call again at once if something
    /// was, and otherwise shortly.
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed>;

    /// Ends claims with what came of them, all in one commit, the notifications included. A settlement whose delivery
    /// the node does not hold any more is left out, and so are the notifications if none of the settlements was recorded.
    /// What is to be tried again is held or cancelled instead where that was ordered meanwhile ([`Queue::order`]).
    /// Returns how many were recorded. Calls that wait together share one commit.
    async fn settle(&self, node: NodeId, settle: Settle) -> Result<usize>;

    /// Gives claimed deliveries back untried: they are due again at once, or else held or cancelled, as was ordered.
    async fn release(&self, node: NodeId, deliveries: Vec<DeliveryId>) -> Result<()>;

    /// Gives back all that a node holds and forgets the node.
    async fn leave(&self, node: NodeId) -> Result<()>;

    /// Carries out an order on all deliveries of a selection. A large order is carried out in parts: after an error, or if
    /// the call is dropped, some of them are done, and the same order given again does the rest.
    ///
    /// A delivery that a node holds is held or cancelled in the store at once, while the claim stays: from then on the end of
    /// the claim, however it comes, leaves it so, unless it was sent or failed for good. The node is told
    /// ([`Change::Orders`]), and gives back what is in no transaction yet. The next order finds it as the one before left it:
    /// [`Order::Release`] takes back a hold, and [`Order::Retry`] a cancellation, whether or not the node has let go by
    /// then; what is held can be cancelled, and what is cancelled cannot be held. A retry of what a node is at changes nothing.
    async fn order(&self, selection: Selection, order: Order, now: Timestamp) -> Result<Ordered>;

    /// What the node holds and is not to send any more, because it was held or cancelled meanwhile.
    async fn recalled(&self, node: NodeId) -> Result<Vec<DeliveryId>>;

    async fn queue_stats(&self, now: Timestamp) -> Result<QueueStats>;

    /// One page of the recipient domains with deliveries that wait, are being sent or are held: those with the most first, equals
    /// by name. `page` counts from 1; past the last page there are none. It looks through all that waits to these domains: it
    /// is for people, not for a loop.
    async fn queue_domains(&self, filter: &QueueDomainFilter, page: u64, limit: u64) -> Result<QueueDomainPage>;
}

/// The outbox: what happened, and who is still to be told of it.
///
/// Events are written in the commit of what they tell of ([`NewEmail::events`], [`Settlement::event`]), and so are their calls. A
/// call leaves the outbox only when its endpoint took it, or when it was given up. Calls to one endpoint about one e-mail are
/// made one after the other, in the order in which their events were written.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Gives calls that are due to the caller, of each endpoint those due longest first, and only the first of those about the
    /// same e-mail. Nobody else gets them until they are settled, or the time is over for which they were asked.
    async fn claim_calls(&self, request: CallClaimRequest) -> Result<Vec<ClaimedCall>>;

    /// Records how tries ended. A call that is over already, or gone, is left as it is. Returns how many were recorded.
    async fn settle_calls(&self, settlements: Vec<CallSettlement>) -> Result<usize>;

    /// One page of the calls that match, those that came last first. `page` counts from 1.
    async fn calls(&self, filter: &CallFilter, page: u64, limit: u64) -> Result<CallPage>;

    /// Makes calls that are over anew, now, and those that wait at once. Returns how many. Many are done in parts, as
    /// [`Queue::order`] does.
    async fn replay_calls(&self, filter: &CallFilter, now: Timestamp) -> Result<u64>;

    /// Forgets the calls to an endpoint that still wait. Returns how many.
    async fn drop_calls(&self, endpoint: EndpointId) -> Result<u64>;

    /// Up to `limit` events behind a cursor, in the order in which they came; without one, those that will come from now on. A
    /// cursor whose event was forgotten goes on with the oldest that is there. [`StoreError::Limit`] of a cursor that this
    /// store can have given to nobody. What several nodes write at the same moment may come twice, with the same id, and never
    /// not at all.
    async fn events(&self, after: Option<&str>, limit: usize) -> Result<EventPage>;

    /// Forgets what is old. Returns how much; asked again while that is not 0.
    async fn sweep_outbox(&self, sweep: OutboxSweep) -> Result<u64>;
}

/// Requests that came with a key: what became of them is written in the commit of their e-mails ([`NewEmail::request`]), so that
/// none of them is carried out twice, whatever dies, and whoever sends one again is told the same.
#[async_trait]
pub trait Requests: Send + Sync {
    /// The parts of a request that were carried out, by number.
    async fn request(&self, key: RequestKey) -> Result<Vec<RequestRecord>>;

    /// Forgets up to `count` parts that were carried out before then. Returns how many; asked again while that is not 0.
    async fn sweep_requests(&self, before: Timestamp, count: usize) -> Result<u64>;
}

/// Moving everything from one store to another, while nobody uses either.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// E-mails whole, in an order of the engine's own, from behind `after` on: up to `count`, fewer where they are large,
    /// none when all were exported. Claims are left out.
    async fn export(&self, after: Option<ObjectId>, count: usize) -> Result<Vec<StoredEmail>>;

    /// Stores e-mails as they are, all or nothing, but for those whose id is there already. Returns how many are new.
    /// Those that only mailboxes keep stay until these have come.
    async fn import(&self, emails: Vec<StoredEmail>) -> Result<usize>;

    /// Calls by id, from behind `after` on: up to `count`.
    async fn export_calls(&self, after: Option<CallId>, count: usize) -> Result<Vec<CallRecord>>;

    /// Stores calls as they are, all or nothing, but for those whose id is there already. Returns how many are new.
    async fn import_calls(&self, calls: Vec<CallRecord>) -> Result<usize>;

    /// Parts of requests by key and number, from behind `after` on: up to `count`.
    async fn export_requests(&self, after: Option<(RequestKey, u32)>, count: usize) -> Result<Vec<RequestRecord>>;

    /// Stores parts of requests as they are, all or nothing, but for those that are there already. Returns how many are new.
    async fn import_requests(&self, requests: Vec<RequestRecord>) -> Result<usize>;

    /// A user's mailboxes without their entries; users themselves are of the [`Directory`].
    async fn export_mailboxes(&self, user: UserId) -> Result<StoredMailboxes>;

    /// Makes these the user's mailboxes, in place of those that each new user has. For a user who is there, and whose
    /// mailboxes are these already or have no entries.
    async fn import_mailboxes(&self, user: UserId, mailboxes: StoredMailboxes) -> Result<()>;

    /// Entries of a mailbox by UID, from behind `after` on: up to `count`.
    async fn export_entries(&self, mailbox: MailboxId, after: u32, count: usize) -> Result<Vec<Entry>>;

    /// Stores entries as they are, all or nothing, but for those whose UID is there already. Their e-mails are there. The
    /// mailbox's counts follow; its UIDs and modseqs are those that were imported. Returns how many are new.
    async fn import_entries(&self, mailbox: MailboxId, entries: Vec<Entry>) -> Result<usize>;
}

/// Mailboxes: what users keep, and how they order it.
///
/// Every change of a mailbox's entries takes its next modseq in the same commit, and UIDs are given in the same way: who has
/// read a mailbox up to a modseq has seen all that was given a lower one, on whatever node. Neither is ever given twice, whatever
/// dies. Counts ([`MailboxCounts`]) are true at every moment. All changes of one call are one commit.
///
/// A message is stored once, however many entries refer to it. It goes in the commit that takes its last entry away, unless it
/// is on record besides ([`EmailHold`]).
///
/// Where a call names a mailbox that is not there it answers [`StoreError::Missing`], unless it says otherwise.
#[async_trait]
pub trait Mailboxes: Send + Sync {
    /// All mailboxes of a user, by name as bytes sort. Each user has INBOX and one of each
    /// [`postrider_core::mailbox::SpecialUse`] from the start. Empty for a user who is not there.
    async fn mailboxes(&self, user: UserId) -> Result<Vec<MailboxRecord>>;

    async fn mailbox(&self, user: UserId, name: &MailboxName) -> Result<Option<MailboxRecord>>;

    /// Makes a mailbox. Those above it need not be there and are not made: a name without a mailbox is only a level.
    ///
    /// [`StoreError::Exists`] if there is one of that name, or one for that special use; [`StoreError::Limit`] where the user
    /// has [`MAILBOXES_PER_USER_MAX`]; [`StoreError::Missing`] if there is no such user.
    async fn create_mailbox(&self, new: NewMailbox) -> Result<MailboxRecord>;

    /// Deletes a mailbox with all its entries; `false` if there is none. Those below it stay.
    async fn delete_mailbox(&self, mailbox: MailboxId) -> Result<bool>;

    /// Renames a mailbox and all below it, subscriptions excepted. They keep their ids, entries and UIDVALIDITY.
    ///
    /// [`StoreError::Missing`] if there is none of that name and none below; [`StoreError::Exists`] if one would get a name
    /// that is taken; [`StoreError::Limit`] if a name would be too long. To move a mailbox below itself is for the caller to
    /// refuse.
    async fn rename_mailbox(&self, rename: RenameMailbox) -> Result<()>;

    /// The names that a user is subscribed to, by name, whether there are such mailboxes or not.
    async fn subscriptions(&self, user: UserId) -> Result<Vec<MailboxName>>;

    /// Subscribes to a name, or ends that. Names that are so already are no error. [`StoreError::Limit`] as for mailboxes.
    async fn subscribe(&self, user: UserId, name: &MailboxName, is_subscribed: bool) -> Result<()>;

    /// A mailbox with all its entries, at one moment.
    async fn open_mailbox(&self, mailbox: MailboxId) -> Result<Option<OpenMailbox>>;

    /// What happened since a modseq, at one moment; `None` if the mailbox is gone.
    async fn mailbox_delta(&self, mailbox: MailboxId, since: Modseq) -> Result<Option<MailboxDelta>>;

    /// The first UID that no call of this has answered for yet: messages from it on are recent for the session that asks (RFC
    /// 3501 section 2.3.2), and for no other. It writes only if there are any.
    async fn take_recent(&self, mailbox: MailboxId) -> Result<u32>;

    /// Puts messages into a mailbox. Calls that wait together share one commit.
    ///
    /// [`StoreError::OverQuota`]; [`StoreError::Limit`] where the mailbox would get more than
    /// [`postrider_core::mailbox::Flags::KEYWORDS_MAX`] keywords.
    async fn append(&self, append: Append) -> Result<Appended>;

    /// Copies or moves messages: their flags, keywords and internal dates stay. The order of UIDs stays, too. Keywords that the
    /// mailbox has no more room for are left out: a message can always be filed.
    ///
    /// [`StoreError::OverQuota`].
    async fn copy_messages(&self, copy: CopyMessages) -> Result<Copied>;

    /// Changes flags. [`StoreError::Limit`] as of [`Mailboxes::append`].
    async fn store_flags(&self, store: StoreFlags) -> Result<FlagsStored>;

    /// Takes away the entries that have [`postrider_core::mailbox::Flags::DELETED`], of these UIDs only if there are any
    /// given.
    async fn expunge(&self, mailbox: MailboxId, uids: Option<UidSet>) -> Result<Expunged>;

    /// The digests of stored messages, in the order of the ids; `None` for those that are gone. For a few hundred at a time.
    async fn digests(&self, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>>;

    /// Stored messages, byte for byte, as [`Mailboxes::digests`]. For as many as the caller wants to hold in memory.
    async fn messages(&self, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>>;

    /// What is noted of a mailbox, or with `None` of all of a user's mail, by name.
    async fn metadata(&self, user: UserId, mailbox: Option<MailboxId>) -> Result<Vec<MetadataEntry>>;

    /// Notes or, where there is no value, forgets entries, all or none. [`StoreError::Limit`] where there would be more than
    /// [`METADATA_ENTRIES_MAX`].
    async fn set_metadata(
        &self,
        user: UserId,
        mailbox: Option<MailboxId>,
        entries: Vec<(String, Option<Bytes>)>,
    ) -> Result<()>;

    async fn usage(&self, user: UserId) -> Result<Usage>;
}

/// Mailboxes of one user, and subscriptions.
pub const MAILBOXES_PER_USER_MAX: usize = 10_000;

/// Annotations of one mailbox.
pub const METADATA_ENTRIES_MAX: usize = 1_000;

/// The directory: who is known here.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Adds a user with the mailboxes that each has from the start. They are subscribed to.
    ///
    /// [`StoreError::Exists`] if there is a user or an alias of that address.
    async fn add_user(&self, user: User) -> Result<()>;

    /// Finds a user without regard to the case of ASCII letters.
    async fn user(&self, address: &Address) -> Result<Option<User>>;

    /// All users by address.
    async fn users(&self) -> Result<Vec<User>>;

    /// Replaces hash and keys; `false` if there is no such user.
    async fn set_password(
        &self,
        address: &Address,
        password_hash: String,
        scram: ScramKeys,
        now: Timestamp,
    ) -> Result<bool>;

    /// `false` if there is no such user.
    async fn set_quota(&self, address: &Address, quota: Quota, now: Timestamp) -> Result<bool>;

    /// Lets a user log in from now on, or not any more; `false` if there is no such user.
    async fn set_enabled(&self, address: &Address, is_enabled: bool, now: Timestamp) -> Result<bool>;

    /// Removes a user with all mailboxes; `false` if there is none. From the first commit on the user is gone; many messages
    /// go in parts, and those that a crash leaves over go by and by.
    async fn remove_user(&self, address: &Address) -> Result<bool>;

    /// [`StoreError::Exists`] if it is there.
    async fn add_domain(&self, domain: DomainRecord) -> Result<()>;

    async fn domain(&self, name: &Domain) -> Result<Option<DomainRecord>>;

    /// All domains by name.
    async fn domains(&self) -> Result<Vec<DomainRecord>>;

    /// `false` if there is no such domain.
    async fn set_catch_all(&self, name: &Domain, catch_all: Option<Address>, now: Timestamp) -> Result<bool>;

    /// `false` if there is no such domain. Its users and aliases stay.
    async fn remove_domain(&self, name: &Domain) -> Result<bool>;

    /// [`StoreError::Exists`] if there is a user or an alias of that address.
    async fn add_alias(&self, alias: AliasRecord) -> Result<()>;

    /// Replaces the targets; `false` if there is no such alias.
    async fn set_alias_targets(&self, address: &Address, targets: Vec<Address>, now: Timestamp) -> Result<bool>;

    /// Finds an alias as users are found.
    async fn alias(&self, address: &Address) -> Result<Option<AliasRecord>>;

    /// All aliases by address.
    async fn aliases(&self) -> Result<Vec<AliasRecord>>;

    /// `false` if there is no such alias.
    async fn remove_alias(&self, address: &Address) -> Result<bool>;
}

/// The suppression list: addresses that nothing is sent to, each once. They are looked up as users' addresses are.
#[async_trait]
pub trait Suppressions: Send + Sync {
    /// Lists addresses, all or none; those that are listed already stay as they are. Returns how many are new.
    async fn suppress(&self, suppressions: Vec<Suppression>) -> Result<usize>;

    /// For each of the addresses, in their order, why it is listed; `None` where it is not. For a few hundred at a time.
    async fn suppressed(&self, addresses: &[Address]) -> Result<Vec<Option<Suppression>>>;

    /// One page of those that match, listed last first. `page` counts from 1; past the last page there are none.
    async fn suppressions(&self, filter: &SuppressionFilter, page: u64, limit: u64) -> Result<SuppressionPage>;

    /// Takes an address off the list; `false` if it is not there.
    async fn unsuppress(&self, address: &Address) -> Result<bool>;
}

/// The bytes of a note's value, at most.
pub const NOTE_BYTES_MAX: usize = 256 << 10;

/// Notes: small values that parts of the program keep under names of their own, and that hold for all nodes. A note has a
/// version, which each change raises: who changes what it has read says which version that was, and is refused where another
/// was faster.
#[async_trait]
pub trait Notes: Send + Sync {
    async fn note(&self, key: &str) -> Result<Option<Note>>;

    /// All notes whose keys begin so, by key as bytes sort.
    async fn notes(&self, prefix: &str) -> Result<Vec<Note>>;

    /// Writes a note that is of this version still; 0 for one that is not there. `false` where it is of another.
    ///
    /// [`StoreError::Limit`] where the value has more than [`NOTE_BYTES_MAX`].
    async fn put_note(&self, key: &str, value: String, version: u64) -> Result<bool>;

    /// Takes a note away, whatever its version. `false` if there is none.
    async fn remove_note(&self, key: &str) -> Result<bool>;
}

/// The audit log: who changed what. An entry is written before the change, and concluded behind it: one without an outcome tells
/// of a change that is under way, or of which nobody lived to say whether it was made.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Writes entries, all or none; those whose id is there stay as they are. Returns how many are new.
    async fn audit(&self, entries: Vec<AuditEntry>) -> Result<usize>;

    /// Says how what an entry tells of ended; `false` if there is no such entry.
    async fn conclude_audit(&self, id: AuditId, conclusion: AuditConclusion) -> Result<bool>;

    /// One page of those that match, the newest first. `page` counts from 1; past the last page there are none. A filter looks
    /// through all entries of its time.
    async fn audit_entries(&self, filter: &AuditFilter, page: u64, limit: u64) -> Result<AuditPage>;

    /// Forgets up to `count` entries that are older, and not fewer where there are as many. Returns how many.
    async fn sweep_audit(&self, before: Timestamp, count: usize) -> Result<u64>;
}

/// The history: what was done when. Whoever counts hands in, again and again, all that it has counted of a span so far: what is
/// handed in twice counts once, and no two write the same. What this tells is for people who look: it is no part of any e-mail.
#[async_trait]
pub trait History: Send + Sync {
    /// Writes parts; those that are there are replaced. After an error some of them may have been written: hand them in again.
    async fn put_history(&self, traffic: Vec<TrafficPart>, addresses: Vec<AddressPart>) -> Result<()>;

    /// What was done in each span of this length that begins from `from` on and before `to`, all parts added up, by time. Spans of
    /// which there are no parts are left out.
    async fn history(&self, step: Step, from: Timestamp, to: Timestamp) -> Result<Vec<TrafficSpan>>;

    /// What was sent from each address in the hours that begin from `from` on and before `to`, by address.
    async fn address_history(&self, from: Timestamp, to: Timestamp) -> Result<Vec<AddressHistory>>;

    /// Forgets up to `count` parts of traffic and as many of addresses whose spans begin before that, and not fewer where there are as
    /// many. Returns how many.
    async fn sweep_history(&self, before: Timestamp, count: usize) -> Result<u64>;
}
