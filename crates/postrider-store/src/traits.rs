//! The Store traits: the contract that every engine keeps and every other room relies on.
//!
//! For all methods: a success that changed something is durable, as the engine's documentation says what durable is; an
//! error means that nothing was changed. Under overload a method answers [`StoreError::Overloaded`] at once instead of
//! queueing without bound. Methods may be called from any number of tasks; what one call has returned, every later call
//! on any node sees. A call that is dropped before it ends is done wholly or not at all; claims that it would have
//! brought are given back.

use std::fmt;

use async_trait::async_trait;
use postrider_core::{Address, ObjectId, Timestamp};
use tokio::sync::broadcast;

use crate::error::StoreError;
use crate::records::*;

type Result<T> = std::result::Result<T, StoreError>;

/// All of the store.
#[async_trait]
pub trait Store: Emails + Queue + Directory + Transfer + Send + Sync + fmt::Debug {
    /// Asks the engine whether it can read and write now.
    async fn health(&self) -> Result<StoreHealth>;

    /// What others change, heard within a second: the other nodes on the same database and the command lines beside them.
    /// What this store's own callers change may be told too. A change says where to look, never what is there, and one
    /// may stand for many; a node that dies may take its last ones with it. A receiver that lagged looks everywhere.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Waits until all that was handed over is written, then closes. Later calls answer [`StoreError::Unavailable`].
    async fn close(&self) -> Result<()>;
}

/// E-mails: accepting, finding, reading, deleting.
#[async_trait]
pub trait Emails: Send + Sync {
    /// Stores a message with its deliveries, all or nothing. Returns when it is durable: only then may it be
    /// acknowledged. Calls that wait together share one commit.
    ///
    /// [`StoreError::Exists`] if the id is taken.
    async fn accept(&self, email: NewEmail) -> Result<()>;

    /// One page of the e-mails that match, newest first. `page` counts from 1; past the last page the list is empty.
    async fn list(&self, filter: &EmailFilter, page: u64, limit: u64) -> Result<EmailPage>;

    async fn email(&self, id: ObjectId) -> Result<Option<EmailDetail>>;

    /// The message, byte for byte as it was accepted.
    async fn raw(&self, id: ObjectId) -> Result<Option<RawMessage>>;

    /// Deletes an e-mail with its deliveries, attempts and message; `false` if there is none. An e-mail that a node is
    /// sending at this moment is deleted too: the node's settlement then finds nothing to settle.
    async fn delete(&self, id: ObjectId) -> Result<bool>;
}

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
    /// Returns how many were recorded. Calls that wait together share one commit.
    async fn settle(&self, node: NodeId, settle: Settle) -> Result<usize>;

    /// Gives claimed deliveries back untried: they are due again at once.
    async fn release(&self, node: NodeId, deliveries: Vec<DeliveryId>) -> Result<()>;

    /// Gives back all that a node holds and forgets the node.
    async fn leave(&self, node: NodeId) -> Result<()>;

    /// Carries out an order on all deliveries of a selection but those that a node is sending now. A large order is
    /// carried out in parts: after an error, or if the call is dropped, some of them are done, and the same order given
    /// again does the rest.
    async fn order(&self, selection: Selection, order: Order, now: Timestamp) -> Result<Ordered>;

    async fn queue_stats(&self, now: Timestamp) -> Result<QueueStats>;
}

/// Moving everything from one store to another, while nobody uses either.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// E-mails whole, in an order of the engine's own, from behind `after` on: up to `count`, fewer where they are large,
    /// none when all were exported. Claims are left out.
    async fn export(&self, after: Option<ObjectId>, count: usize) -> Result<Vec<StoredEmail>>;

    /// Stores e-mails as they are, all or nothing, but for those whose id is there already. Returns how many are new.
    async fn import(&self, emails: Vec<StoredEmail>) -> Result<usize>;
}

/// The directory: who is known here.
#[async_trait]
pub trait Directory: Send + Sync {
    /// [`StoreError::Exists`] if there is a user of that address.
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
    async fn remove_user(&self, address: &Address) -> Result<bool>;
}
