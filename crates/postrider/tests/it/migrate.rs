//! `postrider migrate`: from the embedded database to MongoDB and back, the program run as people run it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::{
    Address, Attempt, Category, Direction, Envelope, Message, Notify, ObjectId, Outcome, Recipient, Reply, ReversePath,
    Timestamp, TlsAuthentication, TlsInfo,
};
use postrider_store::{
    DeliveryId, EmailFilter, NewDelivery, NewEmail, Next, NodeId, Order, Quota, Renewal, ScramKeys, Selection, Settle,
    Settlement, SqliteOptions, SqliteStore, Store, User,
};
use postrider_store_mongo::MongoOptions;
use postrider_testkit::{CommandOutput, MongoDatabase, MongoServer, PostriderProcess, eventually, run_command};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::binary;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Larger than a document of MongoDB may be.
const LARGE_BYTES: usize = 17 << 20;

/// Messages of an ordinary size.
const SMALL_EMAILS: usize = 300;

/// Two embedded databases and a MongoDB between them.
struct House {
    folder: TempDir,
    database: MongoDatabase,
}

impl House {
    async fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: MongoServer::shared().await.database() }
    }

    fn open(&self, name: &str) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(SqliteOptions::new(self.folder.path().join(name))).unwrap())
    }

    async fn open_mongodb(&self) -> Arc<dyn Store> {
        postrider_store_mongo::open(MongoOptions::new(self.database.url())).await.unwrap()
    }

    /// The settings, with `DATA_DIR` set to this folder.
    fn environment(&self, name: &str) -> BTreeMap<String, String> {
        let data_dir = self.folder.path().join(name).to_string_lossy().into_owned();
        let url = self.database.url().to_owned();
        BTreeMap::from([("DATA_DIR".to_owned(), data_dir), ("MONGODB_URL".to_owned(), url)])
    }

    async fn migrate(&self, name: &str, from: &str, to: &str) -> CommandOutput {
        let arguments = ["migrate", "--from", from, "--to", to, "--json"];
        run_command(binary(), &arguments, &self.environment(name), self.folder.path(), "").await
    }

    async fn migrate_well(&self, name: &str, from: &str, to: &str) -> Value {
        let output = self.migrate(name, from, to).await;
        assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
    }
}

fn email(n: i64, recipients: &[&str]) -> NewEmail {
    let created_at = NOW + Duration::from_secs(n.unsigned_abs());
    let recipient = |text: &&str| Recipient::new(Address::parse(text).unwrap());
    let delivery = |recipient| NewDelivery { recipient, claimed_by: None, due_at: created_at };
    NewEmail {
        filed: None,
        id: ObjectId::new(created_at),
        created_at,
        direction: if recipients.is_empty() { Direction::Inbound } else { Direction::Outbound },
        envelope: Envelope { reverse_path: ReversePath::parse("ann@example.com").unwrap(), ..Envelope::default() },
        instructions: Default::default(),
        authentication: Vec::new(),
        events: Vec::new(),
        request: None,
        message: Message::parse(format!("Subject: mail {n}\r\n\r\nText {n}\r\n").into(), 0),
        kept: Vec::new(),
        deliveries: recipients.iter().map(recipient).map(delivery).collect(),
    }
}

fn settlement(id: DeliveryId, number: u32, next: Next) -> Settlement {
    let reply = |code: u16| Reply { code, enhanced_code: Some(format!("{}.1.1", code / 100)), text: "so it is".into() };
    let outcome = match next {
        Next::Sent => Outcome::Delivered { reply: reply(250) },
        Next::Retry { .. } => {
            Outcome::Deferred { category: Category::Connection, reply: None, reason: "nobody answers".into() }
        }
        Next::Failed => {
            Outcome::Failed { category: Category::BadMailbox, reply: Some(reply(550)), reason: "refused".into() }
        }
    };
    let attempt = Attempt {
        number,
        started_at: NOW + Duration::from_millis(u64::from(number) * 1_001),
        duration: Duration::from_millis(123),
        mx: Some("mx.example.org".into()),
        mx_ip: Some("192.0.2.25".parse().unwrap()),
        source_ip: Some("2001:db8::1".parse().unwrap()),
        ip_selection: None,
        tls: Some(TlsInfo {
            version: "TLSv1.3".into(),
            cipher: "TLS13_AES_128_GCM_SHA256".into(),
            authentication: Some(TlsAuthentication::Dane),
        }),
        exchanges: Vec::new(),
        outcome,
    };
    Settlement { id, attempt, next, delay_notified: matches!(next, Next::Retry { .. }), event: None }
}

/// Bytes that no compression makes smaller, and that are no text.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

async fn order(store: &dyn Store, id: ObjectId, order: Order) {
    let selection = Selection { emails: vec![id], ..Selection::default() };
    assert!(store.order(selection, order, NOW).await.unwrap().changed > 0);
}

/// Mail in every state, and users.
async fn fill(store: &dyn Store) {
    let node: NodeId = ObjectId::new(NOW);
    store.renew(Renewal::new(node, NOW, Duration::from_secs(60))).await.unwrap();
    for n in 0..SMALL_EMAILS as i64 {
        store.accept(email(n, &["bob@example.org", "carl@example.net"][..(n % 3) as usize])).await.unwrap();
    }
    for (n, raw) in [(1_000, noise(LARGE_BYTES)), (1_001, noise(2_000)), (1_002, Vec::new())] {
        let mut new = email(n, &["large@example.org"]);
        new.message = Message::parse(raw.into(), 0);
        new.deliveries[0].recipient.notify = Some(Notify { success: true, failure: true, delay: false });
        store.accept(new).await.unwrap();
    }
    let retry = Next::Retry { at: NOW + Duration::from_secs(900) };
    for nexts in [&[Next::Sent][..], &[Next::Failed], &[retry], &[retry, Next::Sent, Next::Failed]] {
        let addresses: Vec<String> = (0..nexts.len()).map(|n| format!("r{n}@d{n}.example")).collect();
        let mut new = email(2_000, &addresses.iter().map(String::as_str).collect::<Vec<_>>());
        new.deliveries.iter_mut().for_each(|delivery| delivery.claimed_by = Some(node));
        let id = new.id;
        store.accept(new).await.unwrap();
        let settlements = (0..).zip(nexts).map(|(number, &next)| settlement(DeliveryId { email: id, number }, 1, next));
        let settle = Settle { settlements: settlements.collect(), ..Settle::default() };
        assert_eq!(store.settle(node, settle).await.unwrap(), nexts.len());
        if nexts == [Next::Failed] {
            order(store, id, Order::Retry).await;
        }
    }
    for done in [Order::Hold, Order::Cancel] {
        let new = email(3_000, &["x@example.org"]);
        let id = new.id;
        store.accept(new).await.unwrap();
        order(store, id, done).await;
    }
    for name in ["ann@example.org", "B\u{f6}b@b\u{fc}cher.example"] {
        let scram = ScramKeys { salt: vec![0, 255], iterations: 4096, stored_key: [1; 32], server_key: [2; 32] };
        let address = Address::parse(name).unwrap();
        let user = User {
            id: ObjectId::new(NOW),
            quota: Quota::default(),
            address,
            password_hash: format!("$of {name}"),
            scram,
            is_enabled: true,
            created_at: NOW,
            updated_at: NOW,
        };
        store.add_user(user).await.unwrap();
    }
    store.leave(node).await.unwrap();
}

async fn assert_same(one: &dyn Store, other: &dyn Store) {
    let page = one.list(&EmailFilter::default(), 1, 10_000).await.unwrap();
    assert_eq!(other.list(&EmailFilter::default(), 1, 10_000).await.unwrap(), page);
    for email in &page.emails {
        assert_eq!(other.email(email.id).await.unwrap(), one.email(email.id).await.unwrap());
        assert!(other.raw(email.id).await.unwrap() == one.raw(email.id).await.unwrap(), "{}", email.id);
    }
    assert_eq!(other.users().await.unwrap(), one.users().await.unwrap());
    assert_eq!(other.queue_stats(NOW).await.unwrap().domains, one.queue_stats(NOW).await.unwrap().domains);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_to_mongodb_and_back() {
    let house = House::new().await;
    let first = house.open("first");
    fill(first.as_ref()).await;
    let total = first.queue_stats(NOW).await.unwrap().total;
    first.close().await.unwrap();
    drop(first);

    let there = house.migrate_well("first", "sqlite", "mongodb").await;
    assert_eq!(there["emails"], json!({ "total": total, "moved": total }));
    assert_eq!(there["users"], json!({ "total": 2, "moved": 2 }));
    assert_eq!((&there["isVerified"], &there["statuses"]["held"]), (&json!(true), &json!(1)));
    let again = house.migrate_well("first", "sqlite", "mongodb").await;
    assert_eq!(again["emails"], json!({ "total": total, "moved": 0 }));

    let back = house.migrate_well("second", "mongodb", "sqlite").await;
    assert_eq!(back["emails"], json!({ "total": total, "moved": total }));
    assert_eq!(back["statuses"], there["statuses"]);
    let (first, second) = (house.open("first"), house.open("second"));
    assert_same(first.as_ref(), second.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_killed_goes_on() {
    let house = House::new().await;
    let source = house.open("first");
    fill(source.as_ref()).await;
    let total = source.queue_stats(NOW).await.unwrap().total;
    source.close().await.unwrap();
    let target = house.open_mongodb().await;
    let arguments = ["migrate", "--from", "sqlite", "--to", "mongodb"];
    let mut process = PostriderProcess::start(binary(), &arguments, &house.environment("first"), house.folder.path());
    eventually("the first e-mails to be there", async || {
        (target.queue_stats(NOW).await.unwrap().total > 0).then_some(())
    })
    .await;
    process.kill();
    let summary = house.migrate_well("first", "sqlite", "mongodb").await;
    assert_eq!(summary["emails"]["total"], json!(total));
    assert!(summary["emails"]["moved"].as_u64().unwrap() < total, "what was there was left out");
    assert_eq!(target.queue_stats(NOW).await.unwrap().total, total);
    target.close().await.unwrap();
}

/// A server that has the database is in the way, and so is a target that has something else already.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_or_differs_is_refused() {
    let house = House::new().await;
    for name in ["first", "second"] {
        let store = house.open(name);
        store.accept(email(1, &["bob@example.org"])).await.unwrap();
        store.close().await.unwrap();
    }
    house.migrate_well("first", "sqlite", "mongodb").await;
    let other = house.migrate("second", "sqlite", "mongodb").await;
    assert_eq!(other.code, 1, "{}", other.stdout);
    assert!(other.stderr.contains("e-mails in the target only: 1"), "{}", other.stderr);
    let summary: Value = serde_json::from_str(&other.stdout).unwrap();
    assert_eq!((&summary["isVerified"], &summary["differences"]["unknown"]["count"]), (&json!(false), &json!(1)));

    let server = house.open_mongodb().await;
    let renewal = Renewal::new(ObjectId::new(Timestamp::system()), Timestamp::system(), Duration::from_secs(60));
    let node = renewal.node;
    server.renew(Renewal { host: "mx7.example".into(), ..renewal }).await.unwrap();
    let refused = house.migrate("first", "sqlite", "mongodb").await;
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("mx7.example"), "{}", refused.stderr);
    assert!(refused.stdout.is_empty());
    server.leave(node).await.unwrap();
    server.close().await.unwrap();
}
