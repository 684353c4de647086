//! What the checks are made of: e-mails, attempts, and shorthands for calls that must succeed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::{
    Address, Attempt, Category, Direction, Domain, Envelope, Message, ObjectId, Outcome, Recipient, Reply, ReversePath,
    Timestamp, TlsInfo,
};

use super::Harness;
use crate::records::*;
use crate::traits::Store;

/// The lease that the checks' nodes take.
pub(super) const LEASE: Duration = Duration::from_secs(60);

/// The checks' time: so many seconds after an arbitrary moment.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

pub(super) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// An e-mail accepted at that second, for these recipients elsewhere, each due at once.
pub(super) fn email(seconds: i64, recipients: &[&str]) -> NewEmail {
    let created_at = at(seconds);
    let raw = Bytes::from(format!("Subject: mail of {seconds}\r\n\r\nText of {}.\r\n", recipients.join(", ")));
    NewEmail {
        id: ObjectId::new(created_at),
        created_at,
        direction: if recipients.is_empty() { Direction::Inbound } else { Direction::Outbound },
        envelope: Envelope { reverse_path: ReversePath(Some(address("sender@example.com"))), ..Envelope::default() },
        message: Message::parse(raw, 0),
        kept: Vec::new(),
        deliveries: recipients
            .iter()
            .map(|text| NewDelivery { recipient: Recipient::new(address(text)), claimed_by: None, due_at: created_at })
            .collect(),
        filed: None,
    }
}

/// The same, claimed by a node from the start.
pub(super) fn claimed_email(seconds: i64, recipients: &[&str], node: NodeId) -> NewEmail {
    let mut email = email(seconds, recipients);
    email.deliveries.iter_mut().for_each(|delivery| delivery.claimed_by = Some(node));
    email
}

pub(super) async fn accept(store: &Arc<dyn Store>, email: NewEmail) -> ObjectId {
    let id = email.id;
    store.accept(email).await.unwrap();
    id
}

/// Opens the store with a registered node.
pub(super) async fn open_with_node(harness: &dyn Harness) -> (Arc<dyn Store>, NodeId) {
    let store = harness.open().await;
    let node = register(&store, 0).await;
    (store, node)
}

pub(super) async fn register(store: &Arc<dyn Store>, seconds: i64) -> NodeId {
    let node = ObjectId::new(at(seconds));
    store.renew(Renewal::new(node, at(seconds), LEASE)).await.unwrap();
    node
}

/// Claims whatever is due at that second.
pub(super) async fn claim_all(store: &Arc<dyn Store>, node: NodeId, seconds: i64) -> Vec<DeliveryId> {
    claim(store, request(node, seconds, 10_000)).await
}

pub(super) async fn claim(store: &Arc<dyn Store>, request: ClaimRequest) -> Vec<DeliveryId> {
    ids(&store.claim(request).await.unwrap())
}

pub(super) fn request(node: NodeId, seconds: i64, limit: usize) -> ClaimRequest {
    ClaimRequest { node, now: at(seconds), limit, per_domain_max: usize::MAX, held: Vec::new() }
}

/// Claimed deliveries in the order in which they came.
pub(super) fn ids(claimed: &Claimed) -> Vec<DeliveryId> {
    let ids = claimed.emails.iter().flat_map(|email| {
        email.deliveries.iter().map(|delivery| DeliveryId { email: email.id, number: delivery.number })
    });
    ids.collect()
}

pub(super) fn delivery(email: ObjectId, number: u32) -> DeliveryId {
    DeliveryId { email, number }
}

pub(super) fn reply(code: u16, text: &str) -> Reply {
    Reply { code, enhanced_code: Some(format!("{}.0.0", code / 100)), text: text.into() }
}

/// What an attempt that ended at that second says.
pub(super) fn attempt(number: u32, seconds: i64, next: Next) -> Attempt {
    let outcome = match next {
        Next::Sent => Outcome::Delivered { reply: reply(250, "ok") },
        Next::Retry { .. } => Outcome::Deferred {
            category: Category::Temporary,
            reply: Some(reply(451, "later")),
            reason: "the other side said later".into(),
        },
        Next::Failed => {
            Outcome::Failed { category: Category::BadMailbox, reply: Some(reply(550, "no")), reason: "refused".into() }
        }
    };
    Attempt {
        number,
        started_at: at(seconds) - Duration::from_millis(250),
        duration: Duration::from_millis(250),
        mx: Some("mx.example.org".into()),
        mx_ip: Some("192.0.2.25".parse().unwrap()),
        source_ip: Some("192.0.2.1".parse().unwrap()),
        tls: Some(TlsInfo { version: "TLSv1.3".into(), cipher: "TLS13_AES_128_GCM_SHA256".into() }),
        exchanges: Vec::new(),
        outcome,
    }
}

pub(super) fn settlement(id: DeliveryId, number: u32, seconds: i64, next: Next) -> Settlement {
    Settlement { id, attempt: attempt(number, seconds, next), next, delay_notified: false }
}

/// Settles one delivery as its first attempt.
pub(super) async fn settle(store: &Arc<dyn Store>, node: NodeId, id: DeliveryId, seconds: i64, next: Next) -> usize {
    let settle = Settle { settlements: vec![settlement(id, 1, seconds, next)], notifications: Vec::new() };
    store.settle(node, settle).await.unwrap()
}

pub(super) async fn detail(store: &Arc<dyn Store>, id: ObjectId) -> EmailDetail {
    store.email(id).await.unwrap().unwrap_or_else(|| panic!("no e-mail {id}"))
}

/// All that matches a filter, as ids.
pub(super) async fn listed(store: &Arc<dyn Store>, filter: EmailFilter) -> Vec<ObjectId> {
    let page = store.list(&filter, 1, 1_000).await.unwrap();
    assert_eq!(page.total, page.emails.len() as u64, "the total of {filter:?}");
    page.emails.into_iter().map(|email| email.id).collect()
}

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
