//! What the checks are made of: e-mails, attempts, and shorthands for calls that must succeed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::mailbox::{Flags, MailboxName, NamedFlags, UidSet};
use postrider_core::source::{SourceDecision, SourceOrigin};
use postrider_core::{
    Address, Attempt, AuthenticationResult, Category, Direction, Domain, Envelope, Instructions, Message, ObjectId,
    Outcome, Priority, Recipient, Reply, ReversePath, Timestamp, TlsAuthentication, TlsInfo,
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
        instructions: Instructions::default(),
        authentication: Vec::new(),
        events: Vec::new(),
        request: None,
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

/// An e-mail for these users alone, put into their INBOXes whatever their quotas.
pub(super) fn filed_email(seconds: i64, users: &[UserId]) -> NewEmail {
    let mut new = email(seconds, &[]);
    let filing = |user: &UserId| Filing { user: *user, special_use: None, enforces_quota: false };
    new.kept = vec![Recipient::new(address("kept@example.org"))];
    new.filed = Some(Filed {
        digest: digest_of(&new.message.raw),
        filings: users.iter().map(filing).collect(),
        stays_on_record: false,
    });
    new
}

/// All that a sender can ask.
pub(super) fn instructions() -> Instructions {
    let mut instructions = Instructions {
        priority: Priority::new(-3).unwrap(),
        expires_at: Some(at(9_000)),
        waives_tls: true,
        ..Instructions::default()
    };
    instructions.add_tag("b\u{fc}cher").unwrap();
    instructions.add_tag("a $.tag").unwrap();
    instructions.add_metadata("order.id", "17").unwrap();
    instructions
}

pub(super) fn authentication() -> Vec<AuthenticationResult> {
    let properties = [("header.d".to_owned(), "example.org".to_owned())].into();
    let dkim = AuthenticationResult {
        method: "dkim".into(),
        result: "fail".into(),
        properties,
        reason: Some("changed".into()),
    };
    let spf = AuthenticationResult { method: "spf".into(), result: "none".into(), properties: [].into(), reason: None };
    vec![dkim, spf]
}

/// An e-mail to be sent with this priority.
pub(super) fn urgent(seconds: i64, recipients: &[&str], priority: i8) -> NewEmail {
    let mut new = email(seconds, recipients);
    new.instructions.priority = Priority::new(priority).unwrap();
    new
}

/// Stands for a digest: the store never looks into one.
pub(super) fn digest_of(raw: &Bytes) -> Bytes {
    [b"digest of ", &raw[..]].concat().into()
}

pub(super) fn user(text: &str) -> User {
    User {
        id: user_id(text),
        quota: Quota::default(),
        address: address(text),
        password_hash: format!("$argon2id$ of {text}"),
        scram: ScramKeys { salt: vec![0, 255, 7], iterations: 4096, stored_key: [1; 32], server_key: [2; 32] },
        is_enabled: true,
        created_at: at(1),
        updated_at: at(1),
    }
}

/// An id that is the same for the same address.
fn user_id(text: &str) -> UserId {
    let mut id = [0; 12];
    text.to_ascii_lowercase().bytes().enumerate().for_each(|(n, byte)| id[n % 12] ^= byte.rotate_left(n as u32 / 12));
    UserId::from_bytes(id)
}

/// Adds a user of this address.
pub(super) async fn add_user(store: &Arc<dyn Store>, text: &str) -> UserId {
    let user = user(text);
    let id = user.id;
    store.add_user(user).await.unwrap();
    id
}

pub(super) fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

pub(super) async fn mailbox(store: &Arc<dyn Store>, user: UserId, text: &str) -> MailboxRecord {
    store.mailbox(user, &name(text)).await.unwrap().unwrap_or_else(|| panic!("no mailbox {text}"))
}

pub(super) async fn create(store: &Arc<dyn Store>, user: UserId, text: &str) -> MailboxRecord {
    let new = NewMailbox { user, name: name(text), special_use: None, now: at(2) };
    store.create_mailbox(new).await.unwrap()
}

/// A mailbox as it is, after checks of what is always true of one.
pub(super) async fn open(store: &Arc<dyn Store>, id: MailboxId) -> OpenMailbox {
    let opened = store.open_mailbox(id).await.unwrap().unwrap_or_else(|| panic!("no mailbox {id}"));
    let OpenMailbox { record, entries } = &opened;
    assert!(entries.windows(2).all(|pair| pair[0].uid < pair[1].uid), "entries are by UID");
    assert!(entries.iter().all(|entry| entry.uid > 0 && entry.uid < record.uid_next), "UIDs are below uid_next");
    assert!(entries.iter().all(|entry| entry.modseq > 0 && entry.modseq <= record.highest_modseq), "{entries:?}");
    let keywords = (0..record.keywords.len()).fold(Flags::SYSTEM, |all, number| all | Flags::keyword(number));
    assert!(entries.iter().all(|entry| keywords.contains(entry.flags)), "flags have names");
    assert_eq!(record.counts, counts(entries), "counts are true");
    opened
}

fn counts(entries: &[Entry]) -> MailboxCounts {
    let count = |condition: fn(&Entry) -> bool| entries.iter().filter(|entry| condition(entry)).count() as u64;
    let deleted = entries.iter().filter(|entry| entry.flags.contains(Flags::DELETED));
    MailboxCounts {
        messages: entries.len() as u64,
        unseen: count(|entry| !entry.flags.contains(Flags::SEEN)),
        deleted: deleted.clone().count() as u64,
        bytes: entries.iter().map(|entry| u64::from(entry.size)).sum(),
        deleted_bytes: deleted.map(|entry| u64::from(entry.size)).sum(),
    }
}

pub(super) async fn entries(store: &Arc<dyn Store>, id: MailboxId) -> Vec<Entry> {
    open(store, id).await.entries
}

pub(super) async fn uids(store: &Arc<dyn Store>, id: MailboxId) -> Vec<u32> {
    entries(store, id).await.iter().map(|entry| entry.uid).collect()
}

pub(super) async fn delta(store: &Arc<dyn Store>, id: MailboxId, since: Modseq) -> MailboxDelta {
    store.mailbox_delta(id, since).await.unwrap().unwrap()
}

/// What a mailbox that was known becomes by what happened since: the delta is all of it.
pub(super) fn applied(known: &OpenMailbox, delta: &MailboxDelta) -> OpenMailbox {
    let mut entries: std::collections::BTreeMap<u32, Entry> =
        known.entries.iter().map(|entry| (entry.uid, *entry)).collect();
    entries.retain(|uid, _| !delta.expunged.contains(*uid));
    entries.extend(delta.changed.iter().map(|entry| (entry.uid, *entry)));
    OpenMailbox { record: delta.record.clone(), entries: entries.into_values().collect() }
}

/// Flags by name: system flags as IMAP writes them.
pub(super) fn named(texts: &[&str]) -> NamedFlags {
    let mut named = NamedFlags::default();
    for text in texts {
        match *text {
            "\\Seen" => named.system |= Flags::SEEN,
            "\\Answered" => named.system |= Flags::ANSWERED,
            "\\Flagged" => named.system |= Flags::FLAGGED,
            "\\Deleted" => named.system |= Flags::DELETED,
            "\\Draft" => named.system |= Flags::DRAFT,
            keyword => named.keywords.push(keyword.parse().unwrap()),
        }
    }
    named
}

pub(super) fn set(ranges: &[(u32, u32)]) -> UidSet {
    UidSet::from_ranges(ranges.iter().copied())
}

pub(super) fn append_message(seconds: i64, text: &str, flags: &[&str]) -> AppendMessage {
    let raw = Bytes::from(format!("Subject: {text}\r\n\r\nPut here by its user.\r\n"));
    AppendMessage {
        id: ObjectId::new(at(seconds)),
        digest: digest_of(&raw),
        message: Message::parse(raw, 0),
        flags: named(flags),
        internal_date: at(seconds - 1_000),
    }
}

/// Appends one message. Returns its UID.
pub(super) async fn append(store: &Arc<dyn Store>, mailbox: MailboxId, text: &str, flags: &[&str]) -> u32 {
    let messages = vec![append_message(50, text, flags)];
    let appended = store.append(Append { mailbox, messages, replaces: None, now: at(50) }).await.unwrap();
    appended.uids[0]
}

pub(super) async fn store_flags(
    store: &Arc<dyn Store>,
    mailbox: MailboxId,
    uids: UidSet,
    operation: FlagsOperation,
    flags: &[&str],
) -> FlagsStored {
    let change = StoreFlags { mailbox, uids, operation, flags: named(flags), unchanged_since: None };
    store.store_flags(change).await.unwrap()
}

pub(super) async fn copy(
    store: &Arc<dyn Store>,
    (from, to): (MailboxId, MailboxId),
    uids: UidSet,
    moves: bool,
) -> Copied {
    store.copy_messages(CopyMessages { from, uids, to, moves, now: at(60) }).await.unwrap()
}

/// Whether the store still has a message, and its digest with it.
pub(super) async fn is_kept(store: &Arc<dyn Store>, email: ObjectId) -> bool {
    let message = store.messages(&[email]).await.unwrap().remove(0);
    let digest = store.digests(&[email]).await.unwrap().remove(0);
    assert_eq!(digest, message.as_ref().map(digest_of));
    message.is_some()
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
        ip_selection: Some(SourceDecision {
            ip: Some("192.0.2.1".parse().unwrap()),
            origin: SourceOrigin::Stale,
            latency: Duration::from_millis(12),
            error: Some("the service did not answer".to_owned()),
        }),
        tls: Some(TlsInfo {
            version: "TLSv1.3".into(),
            cipher: "TLS13_AES_128_GCM_SHA256".into(),
            authentication: Some(TlsAuthentication::Dane),
        }),
        exchanges: Vec::new(),
        outcome,
    }
}

pub(super) fn settlement(id: DeliveryId, number: u32, seconds: i64, next: Next) -> Settlement {
    Settlement { id, attempt: attempt(number, seconds, next), next, delay_notified: false, event: None }
}

/// Settles one delivery as its first attempt.
pub(super) async fn settle(store: &Arc<dyn Store>, node: NodeId, id: DeliveryId, seconds: i64, next: Next) -> usize {
    let settle = Settle { settlements: vec![settlement(id, 1, seconds, next)], ..Settle::default() };
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

/// Waits until a change is told that is one of those expected.
pub(super) async fn wait_for(
    heard: &mut tokio::sync::broadcast::Receiver<MailboxChange>,
    is_expected: impl Fn(MailboxChange) -> bool,
) {
    let wait = async { while !is_expected(heard.recv().await.unwrap()) {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("the change is told");
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
