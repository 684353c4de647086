//! The records: what goes into the store and what comes out.

mod audit;
mod directory;
mod history;
mod lists;
mod mailboxes;
mod outbox;
mod requests;
mod suppressions;

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::bounce::Feedback;
use postrider_core::{
    Attachment, Attempt, AuthenticationResult, Category, DeliveryStatus, Direction, Domain, EmailStatus, Envelope,
    Instructions, Message, ObjectId, Recipient, Reply, Timestamp, TlsInfo,
};
use serde::{Deserialize, Serialize};

pub use audit::*;
pub use directory::*;
pub use history::*;
pub use lists::*;
pub use mailboxes::*;
pub use outbox::*;
pub use requests::*;
pub use suppressions::*;

/// A running Postrider, as the store knows it: a new id at each start.
pub type NodeId = ObjectId;

/// What a node says when it registers, or prolongs its lease.
#[derive(Debug, Clone)]
pub struct Renewal {
    pub node: NodeId,
    /// Its host, for people who look.
    pub host: String,
    /// The node's time. An engine that nodes on several machines share goes by its own.
    pub now: Timestamp,
    pub lease: Duration,
    /// The [`Membership::fingerprint`] of the nodes whose shares of the limits it keeps to; 0 before it knows any.
    pub keeps_to: u64,
}

impl Renewal {
    /// Of a node that keeps to nothing yet, on a host that is nobody's business.
    pub fn new(node: NodeId, now: Timestamp, lease: Duration) -> Self {
        Self { node, host: String::new(), now, lease, keeps_to: 0 }
    }
}

/// A node's place among all that share the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// Nodes whose leases hold, this one included.
    pub nodes: u32,
    /// This one's place among them in the order of ids, from 0.
    pub position: u32,
    /// Differs where the nodes are others.
    pub fingerprint: u64,
    /// Whether all of them keep to their shares as these nodes. Until then a node may use no more than its share of the
    /// membership before and of this one, whichever is less: then the limit holds at every moment of a change.
    pub is_agreed: bool,
}

impl Membership {
    /// Of a node that shares with nobody.
    pub const ALONE: Self = Self { nodes: 1, position: 0, fingerprint: 1, is_agreed: true };

    /// This node's part of a limit that holds for all nodes together. The parts add up to the limit; `key` (of the
    /// destination) decides who gets what does not divide.
    pub fn share(&self, limit: usize, key: &str) -> usize {
        let nodes = self.nodes.max(1) as usize;
        // FNV-1a: the same on every node, whatever it was built with.
        let hash = key
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        // The last bytes of a key change the low half most.
        let turn = (self.position as usize + ((hash ^ (hash >> 32)) as u32) as usize) % nodes;
        limit / nodes + usize::from(turn < limit % nodes)
    }
}

/// A node, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    pub id: NodeId,
    pub host: String,
    pub lease_until: Timestamp,
}

/// What changed: where others should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Deliveries that nobody holds may be due.
    Queue,
    /// A node came, went, or keeps to other shares.
    Nodes,
    /// Users were added, changed or removed.
    Directory,
    /// Addresses were put on the suppression list, or taken off it.
    Suppressions,
    /// Orders were given on deliveries that nodes hold: [`crate::Queue::recalled`] tells which.
    Orders,
}

impl Change {
    pub const ALL: [Self; 5] = [Self::Queue, Self::Nodes, Self::Directory, Self::Suppressions, Self::Orders];
}

/// An e-mail as a store keeps it, for another store.
#[derive(Debug, Clone)]
pub struct StoredEmail {
    pub id: ObjectId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub direction: Direction,
    pub envelope: Envelope,
    pub instructions: Instructions,
    pub authentication: Vec<AuthenticationResult>,
    pub message: Message,
    pub kept: Vec<Recipient>,
    /// The address that the last attempt left from.
    pub source_ip: Option<IpAddr>,
    /// In the order of their numbers.
    pub deliveries: Vec<StoredDelivery>,
    /// See [`EmailHold`].
    pub hold: EmailHold,
    /// As [`Filed::digest`]; `None` for one that was never filed.
    pub digest: Option<Bytes>,
}

/// One delivery of a [`StoredEmail`].
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDelivery {
    pub recipient: Recipient,
    pub status: DeliveryStatus,
    pub due_at: Timestamp,
    /// See [`ClaimedDelivery::queued_at`]; `None` for the acceptance.
    pub queued_at: Option<Timestamp>,
    pub delay_notified: bool,
    /// All of them, in order.
    pub attempts: Vec<Attempt>,
    /// What came back, in order.
    pub feedback: Vec<Feedback>,
}

/// An e-mail on its way into the store.
#[derive(Debug, Clone)]
pub struct NewEmail {
    /// Lists are in the order of ids.
    pub id: ObjectId,
    /// Acceptance: at most a day before or after the id was made.
    pub created_at: Timestamp,
    pub direction: Direction,
    pub envelope: Envelope,
    /// What the sender asks of us.
    pub instructions: Instructions,
    /// What was found out about who it is from; empty where nobody looked.
    pub authentication: Vec<AuthenticationResult>,
    pub message: Message,
    /// Recipients kept here: nothing is delivered elsewhere for them.
    pub kept: Vec<Recipient>,
    /// Recipients delivered elsewhere, each with its own delivery. The index in this list is the delivery's number.
    pub deliveries: Vec<NewDelivery>,
    /// In whose mailboxes it is put, in the same commit; `None`: in nobody's.
    pub filed: Option<Filed>,
    /// What is told of its coming, written if it is stored.
    pub events: Vec<NewEvent>,
    /// The request that brings it, where that has a key; written if it is stored.
    pub request: Option<NewRequest>,
}

/// One delivery of a [`NewEmail`].
#[derive(Debug, Clone)]
pub struct NewDelivery {
    pub recipient: Recipient,
    /// The node that begins with it at once, without claiming it in a second step; `None` leaves it to the queue, and so
    /// does a node that is not registered.
    pub claimed_by: Option<NodeId>,
    /// Not tried before, and its expiry counts from here. The acceptance time for a delivery that is due at once.
    pub due_at: Timestamp,
}

/// Which delivery: the e-mail's id and the number of its recipient, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    pub email: ObjectId,
    pub number: u32,
}

/// What a node asks of the queue.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    pub node: NodeId,
    pub now: Timestamp,
    /// Deliveries at most.
    pub limit: usize,
    /// Deliveries at most that this node will hold for one recipient domain, those of `held` included.
    pub per_domain_max: usize,
    /// What this node holds already, by recipient domain: nothing need be here that is zero.
    pub held: Vec<(Domain, usize)>,
}

/// What a claim gave.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    pub emails: Vec<ClaimedEmail>,
    /// Whether due deliveries were left that this node could claim now if `limit` were higher, or may have been, because
    /// not all domains were looked at.
    pub more: bool,
}

/// Claimed deliveries of one e-mail, with what sending them takes. The raw message is read apart, when it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedEmail {
    pub id: ObjectId,
    pub created_at: Timestamp,
    pub envelope: Envelope,
    pub instructions: Instructions,
    pub message_id: Option<String>,
    pub subject: Option<String>,
    /// Of the raw message, in bytes, without the Return-Path field.
    pub size: u64,
    pub is_8bit: bool,
    pub deliveries: Vec<ClaimedDelivery>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedDelivery {
    pub number: u32,
    pub recipient: Recipient,
    /// What its expiry counts from: the acceptance, the time before which it was not to be tried, or the last
    /// [`Order::Retry`] that started it again.
    pub queued_at: Timestamp,
    /// Attempts made before this claim.
    pub attempts: u32,
    /// Why the last attempt failed; after [`Category::Tls`] the next may go without encryption.
    pub last_category: Option<Category>,
    /// Whether the sender was told of the delay.
    pub delay_notified: bool,
}

/// The result of a claimed delivery, handed back with the claim.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub id: DeliveryId,
    pub attempt: Attempt,
    pub next: Next,
    /// Set when this settlement's notification tells the sender of a delay.
    pub delay_notified: bool,
    /// What is told of it, written if it is recorded.
    pub event: Option<NewEvent>,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Sent,
    Retry { at: Timestamp },
    Failed,
}

/// Settlements that go into one commit together with what they cause: notifications (DSNs) and suppressions.
#[derive(Debug, Clone, Default)]
pub struct Settle {
    pub settlements: Vec<Settlement>,
    /// E-mails that are accepted if, and only if, the settlements are recorded.
    pub notifications: Vec<NewEmail>,
    /// Addresses that are listed under the same condition, as [`crate::Suppressions::suppress`] does it.
    pub suppressions: Vec<Suppression>,
}

/// Which deliveries an order is for. Empty fields do not restrict; no field set means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub emails: Vec<ObjectId>,
    pub recipient_domain: Option<Domain>,
    /// The whole address, without regard to ASCII case; empty for the null reverse-path.
    pub sender: Option<String>,
    /// One of [`Instructions::tags`], as it was given.
    pub tag: Option<String>,
    pub status: Option<DeliveryStatus>,
}

/// What an order does to deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Try now: queued and deferred ones become due, failed and cancelled ones start again as queued, their expiry
    /// counted from now ([`ClaimedDelivery::queued_at`]). Held and sent ones stay. What is not to be sent before a time is not
    /// sent before it for this: until then it stays as it is, and what was cancelled waits for that time again.
    Retry,
    /// Queued and deferred ones wait until released.
    Hold,
    /// Held ones are queued, due now or when their time has come, and their expiry counts from then.
    Release,
    /// Queued, deferred and held ones are given up, without a notification.
    Cancel,
}

/// What an order did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Ordered {
    /// Deliveries that the order was carried out on, also where they were as ordered already.
    pub changed: u64,
    /// Deliveries that are held or cancelled as soon as the nodes let go that have taken them on: within a second or so, but
    /// for those in a transaction. Of these, what is sent or fails for good stays so.
    pub recalled: u64,
    /// Deliveries that there was nothing to order of: a node is at them, and they were to be tried now.
    pub sending: u64,
    /// Deliveries that were to be tried now and stay as they are: they are not to be sent before a time that has not come.
    pub scheduled: u64,
}

impl Ordered {
    /// Adds what another order did.
    pub fn add(&mut self, other: Self) {
        self.changed += other.changed;
        self.recalled += other.recalled;
        self.sending += other.sending;
        self.scheduled += other.scheduled;
    }

    /// Whether it did, or will do, nothing.
    pub fn is_nothing(&self) -> bool {
        self.changed == 0 && self.recalled == 0
    }
}

/// An e-mail as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmailRecord {
    pub id: ObjectId,
    /// Without angle brackets.
    pub message_id: Option<String>,
    pub direction: Direction,
    /// Empty for the null reverse-path.
    pub sender: String,
    /// Kept ones and delivered ones, as the envelope named them.
    pub recipients: Vec<String>,
    pub subject: Option<String>,
    pub status: EmailStatus,
    /// Of the raw message, in bytes.
    pub size: u64,
    /// The most that any of its deliveries has had.
    pub attempts: u32,
    /// The earliest of its waiting deliveries that no node is sending now.
    pub next_attempt_at: Option<Timestamp>,
    /// Of the last attempt among the deliveries that are not sent, so that one recipient's success does not hide another's
    /// trouble; `None` when none of these was attempted.
    pub last_error: Option<String>,
    /// The address that the last attempt left from.
    pub source_ip: Option<IpAddr>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub attachments: Vec<Attachment>,
    /// [`Instructions::tags`].
    pub tags: Vec<String>,
}

/// One e-mail with all that is kept of it but the message itself.
#[derive(Debug, Clone, PartialEq)]
pub struct EmailDetail {
    pub email: EmailRecord,
    pub envelope: Envelope,
    pub instructions: Instructions,
    pub authentication: Vec<AuthenticationResult>,
    pub deliveries: Vec<DeliveryRecord>,
    /// In order of delivery number and attempt number.
    pub attempts: Vec<(u32, Attempt)>,
}

/// One delivery as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRecord {
    #[serde(skip)]
    pub number: u32,
    pub recipient: String,
    /// [`EmailStatus`], because a claim shows here as `sending`.
    pub status: EmailStatus,
    /// While it is `sending`: what an order makes of it once the node lets go of it, unless it is sent or fails for good.
    pub ordered: Option<DeliveryStatus>,
    /// While it is `sending`: the node that has taken it on.
    #[serde(skip)]
    pub node: Option<NodeId>,
    pub attempts: u32,
    /// `None` unless it is waiting and no node is sending it now.
    pub next_attempt_at: Option<Timestamp>,
    pub last_response: Option<Reply>,
    /// As [`postrider_core::Outcome::error`] puts it: also for failures without a reply.
    pub last_error: Option<String>,
    pub category: Option<Category>,
    pub mx: Option<String>,
    pub mx_ip: Option<IpAddr>,
    pub source_ip: Option<IpAddr>,
    pub tls: Option<TlsInfo>,
    /// What came back after it was sent, in order.
    pub feedback: Vec<Feedback>,
}

/// The queue in numbers. Each e-mail counts once, under its status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStats {
    pub queued: u64,
    pub sending: u64,
    pub deferred: u64,
    pub sent: u64,
    pub failed: u64,
    pub held: u64,
    pub cancelled: u64,
    pub received: u64,
    pub total: u64,
    /// Age of the oldest e-mail that is queued, sending or deferred; `None` when there is none.
    pub oldest_queued_seconds: Option<u64>,
    /// Deliveries sent, and failed for good, in the last 60 seconds (to within 10).
    pub sent_last_minute: u64,
    pub failed_last_minute: u64,
    /// Recipient domains with deliveries that are not final, most first; at most [`QueueStats::DOMAINS_MAX`].
    pub domains: Vec<DomainStats>,
}

impl QueueStats {
    pub const DOMAINS_MAX: usize = 100;
}

/// Waiting deliveries of one recipient domain, those that a node is sending now included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainStats {
    pub domain: Domain,
    pub queued: u64,
    pub deferred: u64,
    /// Of the delivery to this domain that was deferred last.
    pub last_error: Option<String>,
}

/// Which domains a page of the queue shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueDomainFilter {
    /// How the domain's name begins, without regard to ASCII case.
    pub prefix: Option<String>,
}

/// Deliveries of one recipient domain that are not final. Each counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDomain {
    pub domain: Domain,
    /// Of these two, those that no node has taken on.
    pub queued: u64,
    pub deferred: u64,
    /// Taken on by a node, whatever an order makes of it afterwards.
    pub sending: u64,
    pub held: u64,
    /// When the oldest e-mail of all these was accepted.
    pub oldest_at: Option<Timestamp>,
    /// The earliest of those that wait and no node has taken on.
    pub next_attempt_at: Option<Timestamp>,
    /// Of the delivery to this domain that was deferred last, where any is deferred.
    pub last_error: Option<String>,
}

/// A page of the queue by domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDomainPage {
    pub domains: Vec<QueueDomain>,
    /// How many match the filter in all.
    pub total: u64,
}

/// A message read from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    pub raw: Bytes,
    pub return_path_bytes: u32,
}

impl RawMessage {
    /// What another host is sent: without the Return-Path field.
    pub fn relayed(&self) -> Bytes {
        self.raw.slice((self.return_path_bytes as usize).min(self.raw.len())..)
    }
}

/// How the store fares.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreHealth {
    /// `sqlite` or `mongodb`.
    pub engine: &'static str,
    /// What is stored, in bytes, as far as the engine can tell.
    pub size_bytes: Option<u64>,
    /// What the disk that it is on has left, where that is this machine's.
    pub free_bytes: Option<u64>,
    /// How long a small read took.
    #[serde(skip)]
    pub latency: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(nodes: u32) -> impl Iterator<Item = Membership> {
        (0..nodes).map(move |position| Membership { nodes, position, ..Membership::ALONE })
    }

    #[test]
    fn shares_add_up_to_the_limit() {
        for nodes in 1..=20 {
            for limit in 0..=50 {
                for key in ["", "one.example", "two.example", "b\u{fc}cher.example"] {
                    let shares: Vec<usize> = members(nodes).map(|member| member.share(limit, key)).collect();
                    assert_eq!(shares.iter().sum::<usize>(), limit, "{nodes} nodes, {key}");
                    let least = limit / nodes as usize;
                    assert!(shares.iter().all(|&share| share == least || share == least + 1), "{shares:?}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_divide_goes_around() {
        for nodes in [2, 3, 7] {
            // Of one for each destination, every node gets some: about as many as its neighbour.
            let keys: Vec<String> = (0..1_000).map(|n| format!("d{n}.example")).collect();
            let got: Vec<usize> =
                members(nodes).map(|member| keys.iter().map(|key| member.share(1, key)).sum()).collect();
            let fair = keys.len() / nodes as usize;
            assert!(got.iter().all(|&count| count > fair * 3 / 4 && count < fair * 5 / 4), "{got:?}");
        }
    }

    #[test]
    fn shares_are_the_same_on_every_build() {
        let shares: Vec<usize> = members(3).map(|member| member.share(4, "one.example")).collect();
        assert_eq!(shares, [1, 1, 2]);
    }
}
