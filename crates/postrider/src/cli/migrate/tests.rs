//! Moving between two stores: wholly, after an interruption, and what is found where they are not the same.

use std::time::Duration;

use postrider_core::mailbox::{Flags, MailboxName, NamedFlags, UidSet};
use postrider_core::{Address, Direction, Envelope, Message, ObjectId, Recipient, ReversePath, SuppressionReason};
use postrider_store::{
    AliasRecord, AuditActor, AuditConclusion, AuditEntry, AuditFilter, AuditOutcome, CopyMessages, DomainRecord,
    EmailFilter, Filed, Filing, FlagsOperation, NewDelivery, NewEmail, NewMailbox, Order, Quota, Renewal, ScramKeys,
    Selection, SqliteOptions, SqliteStore, StoreFlags, Suppression, User,
};
use postrider_testkit::StoreFaults;

use super::*;

const EMAILS: usize = 2 * EXPORT_EMAILS + 50;

/// Two stores, each in a folder of its own.
struct House {
    _folder: tempfile::TempDir,
    source: Arc<dyn Store>,
    target: Arc<dyn Store>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str| -> Arc<dyn Store> {
            Arc::new(SqliteStore::open(SqliteOptions::new(folder.path().join(name))).unwrap())
        };
        Self { source: store("source"), target: store("target"), _folder: folder }
    }

    async fn filled(emails: usize) -> Self {
        let house = Self::new();
        for n in 0..emails {
            house.source.accept(email(n)).await.unwrap();
        }
        house.source.add_user(user("ann@example.org", 1)).await.unwrap();
        house.source.add_user(user("Bob@example.org", 2)).await.unwrap();
        house
    }

    async fn migrate(&self, target: &dyn Store) -> Result<(Copied, Differences), Failure> {
        let sides = Sides { from: "the source".into(), to: "the target".into() };
        move_all(self.source.as_ref(), target, &sides, &mut Progress::new()).await
    }
}

fn email(n: usize) -> NewEmail {
    let now = Timestamp::system();
    let recipient = Recipient::new(Address::parse(&format!("r{n}@example.net")).unwrap());
    NewEmail {
        filed: None,
        id: ObjectId::new(now),
        created_at: now,
        direction: Direction::Outbound,
        envelope: Envelope { reverse_path: ReversePath::NULL, ..Envelope::default() },
        instructions: Default::default(),
        authentication: Vec::new(),
        events: Vec::new(),
        request: None,
        message: Message::parse(format!("Subject: {n}\r\n\r\nText {n}\r\n").into(), 0),
        kept: Vec::new(),
        deliveries: vec![NewDelivery { recipient, claimed_by: None, due_at: now }],
    }
}

fn user(address: &str, key: u8) -> User {
    User {
        id: ObjectId::from_bytes([key; 12]),
        quota: Quota::default(),
        address: Address::parse(address).unwrap(),
        password_hash: format!("hash of {address}"),
        scram: ScramKeys { salt: vec![key], iterations: 4096, stored_key: [key; 32], server_key: [key; 32] },
        is_enabled: true,
        created_at: Timestamp::from_millis(1),
        updated_at: Timestamp::from_millis(2),
    }
}

async fn ids(store: &dyn Store) -> Vec<ObjectId> {
    let page = store.list(&EmailFilter::default(), 1, 10_000).await.unwrap();
    page.emails.iter().map(|email| email.id).collect()
}

#[tokio::test]
async fn everything_moves_and_the_source_stays() {
    let house = House::filled(EMAILS).await;
    let before = house.source.queue_stats(Timestamp::system()).await.unwrap();
    let (copied, differences) = house.migrate(house.target.as_ref()).await.unwrap();
    assert!(differences.is_none(), "{differences}");
    let total = EMAILS as u64;
    assert_eq!((copied.emails.total, copied.emails.moved), (total, total));
    assert_eq!((copied.users.total, copied.users.moved), (2, 2));
    assert_eq!(copied.statuses.get("queued"), Some(&total));
    assert_eq!(ids(house.target.as_ref()).await, ids(house.source.as_ref()).await);
    assert_eq!(house.target.users().await.unwrap(), house.source.users().await.unwrap());
    let after = house.source.queue_stats(Timestamp::system()).await.unwrap();
    assert_eq!((after.queued, after.total), (before.queued, before.total));
}

#[tokio::test]
async fn an_interrupted_move_goes_on() {
    let house = House::filled(EMAILS).await;
    let faults = StoreFaults::new();
    let target = faults.between(house.target.clone());
    // The nodes, two calls for each user, the first part of the e-mails.
    faults.fail_after(1 + 2 * 2 + 1);
    let failure = house.migrate(target.as_ref()).await.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert_eq!(ids(house.target.as_ref()).await.len(), EXPORT_EMAILS);
    faults.set_failing(false);
    let (copied, differences) = house.migrate(target.as_ref()).await.unwrap();
    assert!(differences.is_none(), "{differences}");
    assert_eq!(copied.emails.moved, (EMAILS - EXPORT_EMAILS) as u64);
    assert_eq!((copied.users.total, copied.users.moved), (2, 0));
    let (again, differences) = house.migrate(target.as_ref()).await.unwrap();
    assert!(differences.is_none() && again.emails.moved == 0 && again.emails.total == EMAILS as u64);
}

#[tokio::test]
async fn what_is_not_the_same_is_named() {
    let house = House::filled(3).await;
    house.migrate(house.target.as_ref()).await.unwrap();
    let mut inventory =
        copy::emails(house.source.as_ref(), house.target.as_ref(), &mut Progress::new()).await.unwrap().1;
    let (source, target) = (house.source.as_ref(), house.target.as_ref());
    let ids = ids(source).await;
    let held = Selection { emails: vec![ids[0]], ..Selection::default() };
    target.order(held, Order::Hold, Timestamp::system()).await.unwrap();
    target.delete(ids[1]).await.unwrap();
    let unknown = email(9);
    let unknown_id = unknown.id;
    target.accept(unknown).await.unwrap();
    let ann = Address::parse("ann@example.org").unwrap();
    target.set_password(&ann, "other".into(), user("x@y.example", 7).scram, Timestamp::system()).await.unwrap();
    target.add_user(user("carl@example.org", 3)).await.unwrap();
    source.accept(email(10)).await.unwrap();
    let differences = verify::compare(source, target, &mut inventory, &mut Progress::new()).await.unwrap();
    assert!(!differences.is_none());
    let text = differences.to_string();
    for expected in [
        format!("e-mails missing in the target: 1 ({})", ids[1]),
        format!("e-mails that differ: 1 ({})", ids[0]),
        format!("e-mails in the target only: 1 ({unknown_id})"),
        "users that differ: 2 (ann@example.org, carl@example.org)".to_owned(),
        "e-mails: the source counts 4, but 3 could be read".to_owned(),
        "queued e-mails: the target counts 2, the source has 3".to_owned(),
        "held e-mails: the target counts 1, the source has 0".to_owned(),
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected} is not in\n{text}");
    }
}

/// Puts mail into mailboxes, and a domain and an alias into the directory.
async fn fill_mailboxes(store: &dyn Store) {
    let ann = ObjectId::from_bytes([1; 12]);
    let now = Timestamp::system();
    for n in 0..2 * EXPORT_ENTRIES + 10 {
        let filings = vec![Filing { user: ann, special_use: None, enforces_quota: false }];
        let filed = Filed { digest: "digest".into(), filings, stays_on_record: n % 7 == 0 };
        let mut new = NewEmail { filed: Some(filed), ..email(n) };
        (new.direction, new.deliveries) = (Direction::Inbound, Vec::new());
        store.accept(new).await.unwrap();
    }
    let inbox = store.mailbox(ann, &MailboxName::inbox()).await.unwrap().unwrap();
    let work = NewMailbox { user: ann, name: "work".parse().unwrap(), special_use: None, now };
    let work = store.create_mailbox(work).await.unwrap();
    let copy = CopyMessages { from: inbox.id, uids: UidSet::range(5, 300), to: work.id, moves: true, now };
    store.copy_messages(copy).await.unwrap();
    let flags = NamedFlags { system: Flags::DELETED, keywords: vec!["later".parse().unwrap()] };
    let (uids, operation) = (UidSet::range(1, 50), FlagsOperation::Add);
    store.store_flags(StoreFlags { mailbox: work.id, uids, operation, flags, unchanged_since: None }).await.unwrap();
    store.expunge(work.id, Some(UidSet::range(1, 20))).await.unwrap();
    store.set_metadata(ann, Some(work.id), vec![("/private/comment".into(), Some("work".into()))]).await.unwrap();
    let name = "here.example".parse().unwrap();
    let domain = DomainRecord { name, catch_all: None, created_at: now, updated_at: now };
    store.add_domain(domain).await.unwrap();
    let address = Address::parse("sales@example.org").unwrap();
    let targets = vec![Address::parse("ann@example.org").unwrap()];
    store.add_alias(AliasRecord { address, targets, created_at: now, updated_at: now }).await.unwrap();
    store.put_note("a", "1".to_owned(), 0).await.unwrap();
    store.put_note("a", "2".to_owned(), 1).await.unwrap();
    let gone = Address::parse("gone@there.example").unwrap();
    let suppression = Suppression::new(gone, SuppressionReason::Manual, None, None, now);
    store.suppress(vec![suppression]).await.unwrap();
    let actor = AuditActor { name: "command line".to_owned(), token: None };
    store.audit(vec![AuditEntry::begun(actor, None, "user.add", "ann@example.org", now)]).await.unwrap();
}

#[tokio::test]
async fn mailboxes_move_with_all_that_is_in_them() {
    let house = House::filled(3).await;
    fill_mailboxes(house.source.as_ref()).await;
    let entries = 2 * EXPORT_ENTRIES as u64 + 10 - 20;
    let faults = StoreFaults::new();
    let target = faults.between(house.target.clone());
    // Somewhere among the entries.
    faults.fail_after(24);
    house.migrate(target.as_ref()).await.unwrap_err();
    faults.set_failing(false);
    let (copied, differences) = house.migrate(target.as_ref()).await.unwrap();
    assert!(differences.is_none(), "{differences}");
    assert_eq!(copied.messages.total, entries);
    assert!(copied.messages.moved > 0);
    assert_eq!(
        (copied.domains.total, copied.aliases.total, copied.notes.total, copied.suppressions.moved, copied.audit.total),
        (1, 1, 1, 0, 1)
    );
    let ann = ObjectId::from_bytes([1; 12]);
    let (there, stored) = (house.target.mailboxes(ann).await.unwrap(), house.source.mailboxes(ann).await.unwrap());
    assert_eq!(there, stored);
    for record in stored {
        let here = house.source.open_mailbox(record.id).await.unwrap();
        assert_eq!(house.target.open_mailbox(record.id).await.unwrap(), here);
    }
    let (again, differences) = house.migrate(target.as_ref()).await.unwrap();
    assert!(differences.is_none(), "{differences}");
    assert_eq!((again.messages.total, again.messages.moved), (entries, 0));
    // What is not the same is named.
    let inbox = house.target.mailbox(ann, &MailboxName::inbox()).await.unwrap().unwrap().id;
    let flags = NamedFlags { system: Flags::SEEN, keywords: Vec::new() };
    let (uids, operation) = (UidSet::range(1, 1), FlagsOperation::Add);
    house
        .target
        .store_flags(StoreFlags { mailbox: inbox, uids, operation, flags, unchanged_since: None })
        .await
        .unwrap();
    house.target.remove_domain(&"here.example".parse().unwrap()).await.unwrap();
    house.target.put_note("a", "3".to_owned(), 1).await.unwrap();
    let entry = house.target.audit_entries(&AuditFilter::default(), 1, 1).await.unwrap().entries[0].id;
    let conclusion = AuditConclusion::new(AuditOutcome::Done, None, None);
    house.target.conclude_audit(entry, conclusion).await.unwrap();
    house.target.unsuppress(&Address::parse("gone@there.example").unwrap()).await.unwrap();
    let mut inventory =
        copy::emails(house.source.as_ref(), house.target.as_ref(), &mut Progress::new()).await.unwrap().1;
    let (source, target) = (house.source.as_ref(), house.target.as_ref());
    let differences = verify::compare(source, target, &mut inventory, &mut Progress::new()).await.unwrap().to_string();
    assert!(differences.contains("INBOX of ann@example.org"), "{differences}");
    assert!(differences.contains("domains that differ: 1 (here.example)"), "{differences}");
    assert!(differences.contains("notes that differ: 1 (a)"), "{differences}");
    assert!(differences.contains(&format!("entries of the audit log that differ: 1 ({entry})")), "{differences}");
    assert!(differences.contains("suppressed addresses that differ: 1 (gone@there.example)"), "{differences}");
}

#[tokio::test]
async fn where_a_server_runs_nothing_moves() {
    let house = House::filled(1).await;
    let now = Timestamp::system();
    let renewal = |lease| Renewal { host: "mx1.example".into(), ..Renewal::new(ObjectId::new(now), now, lease) };
    for (store, shown) in [(&house.source, "the source"), (&house.target, "the target")] {
        let renewal = renewal(Duration::from_secs(3600));
        let node = renewal.node;
        store.renew(renewal).await.unwrap();
        let failure = house.migrate(house.target.as_ref()).await.unwrap_err();
        assert_eq!(failure.exit_code(), 4);
        let message = failure.message().unwrap();
        assert!(message.contains("mx1.example") && message.contains(shown), "{message}");
        assert!(ids(house.target.as_ref()).await.is_empty());
        store.leave(node).await.unwrap();
    }
    // One that died long ago is in nobody's way.
    house
        .source
        .renew(Renewal::new(ObjectId::new(now), now - Duration::from_secs(60), Duration::from_secs(30)))
        .await
        .unwrap();
    assert!(house.migrate(house.target.as_ref()).await.unwrap().1.is_none());
}

#[tokio::test]
async fn a_server_that_starts_meanwhile_is_noticed() {
    let house = House::filled(EMAILS).await;
    let start = async {
        while house.target.queue_stats(Timestamp::system()).await.unwrap().total == 0 {}
        let now = Timestamp::system();
        house.source.renew(Renewal::new(ObjectId::new(now), now, Duration::from_secs(3600))).await.unwrap();
    };
    let (moved, ()) = tokio::join!(house.migrate(house.target.as_ref()), start);
    assert_eq!(moved.unwrap_err().exit_code(), 4);
}

#[test]
fn a_summary_is_json() {
    let summary = Summary {
        from: EngineName::Sqlite,
        to: EngineName::Mongodb,
        copied: Copied {
            emails: copy::Counts { total: 3, moved: 1 },
            users: copy::Counts::default(),
            domains: copy::Counts::default(),
            notes: copy::Counts::default(),
            webhooks: copy::Counts::default(),
            requests: copy::Counts::default(),
            aliases: copy::Counts::default(),
            suppressions: copy::Counts::default(),
            audit: copy::Counts::default(),
            messages: copy::Counts::default(),
            statuses: [("sent", 3)].into(),
        },
        is_verified: true,
        differences: Differences::default(),
    };
    let shown = serde_json::to_value(&summary).unwrap();
    assert_eq!(shown["from"], "sqlite");
    assert_eq!(shown["emails"], serde_json::json!({ "total": 3, "moved": 1 }));
    assert_eq!(shown["statuses"]["sent"], 3);
    assert_eq!(shown["isVerified"], true);
    assert_eq!(shown["differences"]["missing"]["count"], 0);
}
