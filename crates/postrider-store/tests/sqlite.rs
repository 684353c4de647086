//! The SQLite engine: the suite of all engines, and what only this one promises.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postrider_core::{Address, Direction, Envelope, Message, ObjectId, Recipient, ReversePath, Timestamp};
use postrider_store::conformance::Harness;
use postrider_store::*;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::broadcast;

/// A store in a temporary folder.
#[derive(Debug)]
struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(SqliteOptions::new(self.path())).unwrap())
    }

    async fn open_beside(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open_shared(SqliteOptions::new(self.path())).unwrap())
    }

    async fn open_other(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(SqliteOptions::new(self.path().join("other"))).unwrap())
    }

    fn is_single_process(&self) -> bool {
        true
    }
}

mod conformance {
    use super::Sqlite;

    postrider_store::conformance_suite!(Sqlite::new());
}

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn email(raw: Bytes) -> NewEmail {
    let recipient = Recipient::new(Address::parse("a@one.example").unwrap());
    NewEmail {
        id: ObjectId::new(NOW),
        created_at: NOW,
        direction: Direction::Outbound,
        envelope: Envelope { reverse_path: ReversePath::NULL, ..Envelope::default() },
        instructions: Default::default(),
        authentication: Vec::new(),
        events: Vec::new(),
        request: None,
        message: Message::parse(raw, 0),
        kept: Vec::new(),
        deliveries: vec![NewDelivery { recipient, claimed_by: None, due_at: NOW }],
        filed: None,
    }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Bytes {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn small() -> NewEmail {
    email(Bytes::from_static(b"Subject: small\r\n\r\n"))
}

/// A connection of another program.
fn beside(folder: &Path) -> Connection {
    Connection::open(folder.join("postrider.db")).unwrap()
}

#[tokio::test]
async fn a_second_server_is_told_what_to_do() {
    let folder = Sqlite::new();
    let first = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
    let error = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable(text) if text.contains("another Postrider is running")),
        "{error}"
    );
    first.close().await.unwrap();
    SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
}

#[tokio::test]
async fn a_command_line_works_beside_the_server() {
    let folder = Sqlite::new();
    let server = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
    let node = ObjectId::new(NOW);
    server.renew(Renewal::new(node, NOW, Duration::from_secs(60))).await.unwrap();
    let mut claimed = small();
    claimed.deliveries[0].claimed_by = Some(node);
    let claimed_id = DeliveryId { email: claimed.id, number: 0 };
    server.accept(claimed).await.unwrap();
    server.accept(small()).await.unwrap();
    let shared = SqliteStore::open_shared(SqliteOptions::new(folder.path())).unwrap();
    let ordered = shared.order(Selection::default(), Order::Hold, NOW).await.unwrap();
    assert_eq!(ordered, Ordered { changed: 1, recalled: 1, sending: 0, scheduled: 0 });
    assert_eq!(server.queue_stats(NOW).await.unwrap(), shared.queue_stats(NOW).await.unwrap());
    // Should a command line ever register, it takes nothing away while the server lives.
    shared.renew(Renewal::new(ObjectId::new(NOW), NOW, Duration::from_secs(1))).await.unwrap();
    shared.close().await.unwrap();
    assert_eq!(server.queue_stats(NOW).await.unwrap().sending, 1);
    server.release(node, vec![claimed_id]).await.unwrap();
    let request = ClaimRequest { node, now: NOW, limit: 10, per_domain_max: 10, held: Vec::new() };
    assert!(server.claim(request).await.unwrap().emails.is_empty(), "both are held, also the one that was taken on");
}

#[tokio::test]
async fn a_command_line_can_come_before_the_first_server() {
    let folder = Sqlite::new();
    let path = folder.path().join("made").join("by the way");
    let shared = SqliteStore::open_shared(SqliteOptions::new(&path)).unwrap();
    assert!(shared.users().await.unwrap().is_empty());
    // It holds no lock.
    let server = SqliteStore::open(SqliteOptions::new(&path)).unwrap();
    server.accept(small()).await.unwrap();
    assert_eq!(shared.queue_stats(NOW).await.unwrap().total, 1);
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "mail is for its owner's eyes");
    }
}

#[tokio::test]
async fn a_starting_server_waits_a_moment_for_the_lock() {
    let folder = Sqlite::new();
    let held = std::fs::File::create(folder.path().join("postrider.lock")).unwrap();
    held.lock().unwrap();
    let options = SqliteOptions::new(folder.path());
    let starting = std::thread::spawn(move || SqliteStore::open(options).map(drop));
    std::thread::sleep(Duration::from_millis(100));
    drop(held);
    starting.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_command_line_needs_the_lock_for_the_first_opening_only() {
    let folder = Sqlite::new();
    let options = || SqliteOptions::new(folder.path());
    assert!(!options().exists());
    let held = std::fs::File::create(folder.path().join("postrider.lock")).unwrap();
    held.lock().unwrap();
    // Whoever holds the lock has not made the tables yet.
    assert!(matches!(SqliteStore::open_shared(options()), Err(StoreError::Unavailable(_))));
    drop(held);
    drop(SqliteStore::open_shared(options()).unwrap());
    assert!(options().exists());
    // A lock file that cannot be opened is none of its business then.
    let lock = folder.path().join("postrider.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    SqliteStore::open_shared(options()).unwrap();
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    let folder = Sqlite::new();
    SqliteStore::open(SqliteOptions::new(folder.path())).unwrap().close().await.unwrap();
    let version: i64 = beside(folder.path()).pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    beside(folder.path()).pragma_update(None, "user_version", 1_000).unwrap();
    for error in [
        SqliteStore::open(SqliteOptions::new(folder.path())).unwrap_err(),
        SqliteStore::open_shared(SqliteOptions::new(folder.path())).unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("schema version 1000")), "{error}");
    }
    beside(folder.path()).pragma_update(None, "user_version", version).unwrap();
    SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
}

#[tokio::test]
async fn what_is_no_database_is_said_to_be_none() {
    let folder = Sqlite::new();
    std::fs::write(folder.path().join("postrider.db"), vec![b'x'; 10_000]).unwrap();
    let error = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("postrider.db")), "{error}");
}

#[tokio::test]
async fn a_full_store_refuses_and_recovers() {
    let folder = Sqlite::new();
    let options = SqliteOptions { size_bytes_max: Some(2 << 20), ..SqliteOptions::new(folder.path()) };
    let store = SqliteStore::open(options).unwrap();
    let mut stored = Vec::new();
    let refused = loop {
        let new = email(noise(100_000));
        let id = new.id;
        match store.accept(new).await {
            Ok(_) => stored.push(id),
            Err(error) => break (id, error),
        }
        assert!(stored.len() < 100, "the limit does not hold");
    };
    assert!(matches!(refused.1, StoreError::Full(_)), "{:?}", refused.1);
    assert_eq!(store.email(refused.0).await.unwrap(), None, "nothing of it is there");
    assert!(store.raw(stored[0]).await.unwrap().is_some(), "the rest can be read");
    assert_eq!(store.queue_stats(NOW).await.unwrap().total, stored.len() as u64);
    assert!(store.delete(stored[0]).await.unwrap());
    store.accept(email(noise(90_000))).await.unwrap();
}

#[tokio::test]
async fn one_that_cannot_be_written_does_not_harm_the_others() {
    let folder = Sqlite::new();
    let options = SqliteOptions { size_bytes_max: Some(4 << 20), ..SqliteOptions::new(folder.path()) };
    let store = Arc::new(SqliteStore::open(options).unwrap());
    // While another program holds the database, all of these gather into one batch.
    let other = beside(folder.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut tasks = Vec::new();
    for n in 0..40 {
        let new = if n % 10 == 5 { email(noise(8 << 20)) } else { small() };
        let (id, store) = (new.id, store.clone());
        tasks.push((n % 10 == 5, id, tokio::spawn(async move { store.accept(new).await })));
    }
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    other.execute_batch("ROLLBACK").unwrap();
    for (is_large, id, task) in tasks {
        let result = task.await.unwrap();
        assert_eq!(matches!(result, Err(StoreError::Full(_))), is_large, "{result:?}");
        assert_eq!(store.raw(id).await.unwrap().is_some(), !is_large);
    }
    assert_eq!(store.queue_stats(NOW).await.unwrap().queued, 36);
}

#[tokio::test]
async fn more_than_may_wait_is_refused_at_once() {
    let folder = Sqlite::new();
    let options = SqliteOptions { waiting_max: 10, ..SqliteOptions::new(folder.path()) };
    let store = SqliteStore::open(options).unwrap();
    let other = beside(folder.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // More than the writer takes into one transaction, which waits for the other program, and than may wait behind it.
    let (mut waiting, mut refused) = (Vec::new(), 0);
    for _ in 0..2_000 {
        let mut call = Box::pin(store.accept(small()));
        match std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            Poll::Ready(answer) => {
                assert_eq!(answer, Err(StoreError::Overloaded));
                refused += 1;
            }
            Poll::Pending => waiting.push(call),
        }
    }
    assert!(waiting.len() >= 10 && refused > 0, "{} wait, {refused} were refused", waiting.len());
    other.execute_batch("ROLLBACK").unwrap();
    let stored = waiting.len() as u64;
    for call in waiting {
        assert_eq!(call.await, Ok(Accepted::default()));
    }
    assert_eq!(store.queue_stats(NOW).await.unwrap().queued, stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_bounded_under_constant_load() {
    let folder = Sqlite::new();
    let store = Arc::new(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
    let raw = noise(256 << 10);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, raw) = (store.clone(), raw.clone());
            tokio::spawn(async move {
                for _ in 0..64 {
                    store.accept(email(raw.clone())).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let length = |name| std::fs::metadata(folder.path().join(name)).unwrap().len() >> 20;
    let log = length("postrider.db-wal");
    assert!(log <= 80, "after 128 MiB of messages the log has {log} MiB");
    store.close().await.unwrap();
    assert!(length("postrider.db") >= 128);
    let log = std::fs::metadata(folder.path().join("postrider.db-wal")).map_or(0, |file| file.len());
    assert_eq!(log, 0, "closing leaves no log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_read_while_all_readers_are_busy() {
    let folder = Sqlite::new();
    let options = SqliteOptions { readers: 1, ..SqliteOptions::new(folder.path()) };
    let store = Arc::new(SqliteStore::open(options).unwrap());
    let (small, large) = (small(), email(noise(1 << 20)));
    let messages = [(small.id, small.message.raw.clone()), (large.id, large.message.raw.clone())];
    store.accept(small).await.unwrap();
    store.accept(large).await.unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let (store, (id, raw)) = (store.clone(), messages[n % 2].clone());
            tokio::spawn(async move { assert!(store.raw(id).await.unwrap().unwrap().raw == raw) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    store.close().await.unwrap();
    assert!(matches!(store.raw(messages[0].0).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn counters_of_domains_where_nothing_waits_go() {
    let folder = Sqlite::new();
    let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
    let counters = || -> (i64, i64) {
        let sql = "SELECT count(*), coalesce(sum(queued), 0) FROM domain_counters";
        beside(folder.path()).query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    store.accept(small()).await.unwrap();
    assert_eq!(counters(), (1, 1));
    store.order(Selection::default(), Order::Cancel, NOW).await.unwrap();
    assert!(store.queue_stats(NOW).await.unwrap().domains.is_empty());
    store.renew(Renewal::new(ObjectId::new(NOW), NOW, Duration::from_secs(60))).await.unwrap();
    assert_eq!(counters(), (0, 0));
}

/// What was told since the last time.
fn told(heard: &mut broadcast::Receiver<Change>) -> Vec<Change> {
    std::iter::from_fn(|| heard.try_recv().ok()).collect()
}

#[tokio::test]
async fn what_its_own_callers_change_is_told_at_once() {
    let folder = Sqlite::new();
    let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
    let mut heard = store.changes();
    let node = ObjectId::new(NOW);
    let lease = Duration::from_secs(60);
    store.renew(Renewal::new(node, NOW, lease)).await.unwrap();
    assert_eq!(told(&mut heard), [Change::Nodes]);
    store.renew(Renewal::new(node, NOW, lease)).await.unwrap();
    let mut claimed = small();
    claimed.deliveries[0].claimed_by = Some(node);
    let id = DeliveryId { email: claimed.id, number: 0 };
    store.accept(claimed).await.unwrap();
    assert_eq!(told(&mut heard), [], "nothing that others could do something about");
    store.release(node, vec![id]).await.unwrap();
    assert_eq!(told(&mut heard), [Change::Queue]);
    store.accept(small()).await.unwrap();
    assert_eq!(told(&mut heard), [Change::Queue]);
    store.order(Selection::default(), Order::Hold, NOW).await.unwrap();
    assert_eq!(told(&mut heard), []);
    store.order(Selection::default(), Order::Release, NOW).await.unwrap();
    assert_eq!(told(&mut heard), [Change::Queue]);
    let request = ClaimRequest { node, now: NOW, limit: 10, per_domain_max: 10, held: Vec::new() };
    assert_eq!(store.claim(request).await.unwrap().emails.len(), 2);
    assert_eq!(told(&mut heard), []);
    store.renew(Renewal::new(ObjectId::new(NOW), NOW, lease)).await.unwrap();
    assert_eq!(told(&mut heard), [Change::Nodes, Change::Queue], "one came, and what another held is free");
}

#[tokio::test]
async fn nothing_is_told_behind_the_end_of_the_store() {
    let folder = Sqlite::new();
    let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
    let mut heard = store.changes();
    drop(store);
    assert_eq!(heard.try_recv(), Err(broadcast::error::TryRecvError::Closed));
    // Its thread has ended too: the lock is free.
    SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
}

#[tokio::test]
async fn indexes_carry_the_queue() {
    let folder = Sqlite::new();
    let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
    store.accept(small()).await.unwrap();
    let rows = |index: &str, condition: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM deliveries INDEXED BY {index} WHERE {condition}");
        beside(folder.path()).query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    let claimable = || rows("deliveries_claimable", "owner IS NULL AND status <= 1");
    assert_eq!(claimable(), 1);
    store.order(Selection::default(), Order::Hold, NOW).await.unwrap();
    assert_eq!((claimable(), rows("deliveries_resting", "status BETWEEN 2 AND 4")), (0, 1));
    let checked: String = beside(folder.path()).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok");
}

fn user(id: UserId) -> User {
    User {
        id,
        address: Address::parse("ann@example.org").unwrap(),
        password_hash: String::new(),
        scram: ScramKeys { salt: Vec::new(), iterations: 1, stored_key: [0; 32], server_key: [0; 32] },
        quota: Quota::default(),
        is_enabled: true,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// One that is in a user's INBOX, and nowhere else.
fn filed(user: UserId) -> NewEmail {
    let filings = vec![Filing { user, special_use: None, enforces_quota: false }];
    let filed = Filed { digest: Bytes::from_static(b"digest"), filings, stays_on_record: false };
    NewEmail { deliveries: Vec::new(), filed: Some(filed), ..small() }
}

#[tokio::test]
async fn what_a_crash_left_of_a_mailbox_goes_when_the_store_is_opened() {
    let folder = Sqlite::new();
    let ann = ObjectId::from_bytes([1; 12]);
    let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
    store.add_user(user(ann)).await.unwrap();
    let emails: Vec<NewEmail> = (0..3_000).map(|_| filed(ann)).collect();
    let ids: Vec<ObjectId> = emails.iter().map(|email| email.id).collect();
    let calls: Vec<_> = emails.into_iter().map(|email| store.accept(email)).collect();
    for call in calls {
        call.await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    // As after the first of the commits that delete it.
    let beside = beside(folder.path());
    let inbox = "SELECT number FROM mailboxes WHERE name = 'INBOX'";
    beside
        .execute_batch(&format!("INSERT INTO removed_mailboxes {inbox}; DELETE FROM mailboxes WHERE name = 'INBOX'"))
        .unwrap();
    let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
    // Others write meanwhile.
    while store.messages(&ids[2_999..]).await.unwrap() != [None] {
        store.health().await.unwrap();
    }
    store.health().await.unwrap();
    assert!(store.messages(&ids).await.unwrap().iter().all(Option::is_none));
    for table in ["entries", "emails", "blobs", "digests", "removed_mailboxes"] {
        let rows: i64 = beside.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    assert_eq!(store.queue_stats(NOW).await.unwrap(), QueueStats::default());
}

#[tokio::test]
async fn what_is_filed_at_once_writes_a_mailbox_once() {
    let folder = Sqlite::new();
    let ann = ObjectId::from_bytes([1; 12]);
    let store = Arc::new(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
    store.add_user(user(ann)).await.unwrap();
    let inbox = store.mailbox(ann, &"INBOX".parse().unwrap()).await.unwrap().unwrap().id;
    let mut heard = store.mailbox_changes();
    store.health().await.unwrap();
    let beside = beside(folder.path());
    beside.execute_batch("BEGIN IMMEDIATE").unwrap();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.accept(filed(ann)).await })
        })
        .collect();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    beside.execute_batch("ROLLBACK").unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let opened = store.open_mailbox(inbox).await.unwrap().unwrap();
    assert_eq!(opened.entries.iter().map(|entry| entry.uid).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    let told: Vec<MailboxChange> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
    assert!(told.contains(&MailboxChange::Messages { user: ann, mailbox: inbox }));
    assert!(told.len() < 10, "{} changes of one mailbox were told for a few commits", told.len());
}

/// How many e-mails a query finds, and whether some may be missing.
async fn found(store: &SqliteStore, query: &str) -> (u64, bool) {
    let terms = postrider_core::query::Query::parse(query).unwrap().at(NOW);
    let filter = EmailFilter { terms, ..EmailFilter::default() };
    let page = store.find(ListRequest::newest(filter, 100)).await.unwrap();
    assert_eq!(page.total, page.emails.len() as u64);
    (page.total, page.is_incomplete)
}

/// As [`found`], when the index is whole.
async fn found_at_last(store: &SqliteStore, query: &str) -> u64 {
    loop {
        if let (count, false) = found(store, query).await {
            return count;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const INDEX: &str = "postrider-search.db";

#[tokio::test]
async fn an_index_that_is_lost_or_damaged_or_of_another_time_is_built_anew() {
    let sqlite = Sqlite::new();
    let open = || SqliteStore::open(SqliteOptions::new(sqlite.path())).unwrap();
    let index = sqlite.path().join(INDEX);
    let words = async |store: &SqliteStore| {
        let counts = [found_at_last(store, "word").await, found_at_last(store, "other").await];
        store.close().await.unwrap();
        counts
    };
    let store = open();
    store.accept(email("Subject: s\r\n\r\none word\r\n".into())).await.unwrap();
    assert_eq!(words(&store).await, [1, 0]);
    drop(store);
    let earlier = std::fs::read(&index).unwrap();

    // So much is indexed since that the notes of it are taken away.
    let store = open();
    let last = {
        let mut last = None;
        for n in 0..1_100 {
            let new = email("Subject: s\r\n\r\nother\r\n".into());
            let id = new.id;
            store.accept(new).await.unwrap();
            if n < 20 {
                last = Some(id);
            } else {
                assert!(store.delete(id).await.unwrap());
            }
        }
        last.unwrap()
    };
    assert_eq!(words(&store).await, [1, 20]);
    drop(store);
    let logged = Connection::open(sqlite.path().join("postrider.db")).unwrap();
    let count = |sql: &str| -> i64 { logged.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert!(count("SELECT count(*) FROM index_log") < 1_200, "they are taken away");
    std::fs::write(&index, &earlier).unwrap();
    let store = open();
    assert_eq!(words(&store).await, [1, 20], "an older one");
    drop(store);

    std::fs::remove_file(&index).unwrap();
    let store = open();
    assert_eq!(words(&store).await, [1, 20], "none");
    drop(store);

    std::fs::write(&index, [0x5a; 40_000]).unwrap();
    let store = open();
    assert_eq!(words(&store).await, [1, 20], "a damaged one");
    drop(store);

    // The database is of before, the index is not.
    let later = std::fs::read(&index).unwrap();
    logged.execute("DELETE FROM index_log", []).unwrap();
    drop(logged);
    std::fs::write(&index, later).unwrap();
    let store = open();
    assert_eq!(found_at_last(&store, "other").await, 20, "a newer one");
    assert!(store.delete(last).await.unwrap());
    assert_eq!(words(&store).await, [1, 19]);
}

#[tokio::test]
async fn what_is_not_indexed_yet_is_found_by_what_lists_show() {
    let sqlite = Sqlite::new();
    // Nobody indexes beside a server that does not run.
    drop(SqliteStore::open(SqliteOptions::new(sqlite.path())).unwrap());
    let store = SqliteStore::open_shared(SqliteOptions::new(sqlite.path())).unwrap();
    store.accept(email("Subject: invoice\r\n\r\nhidden words\r\n".into())).await.unwrap();
    assert_eq!(found(&store, "invoice").await, (1, true));
    assert_eq!(found(&store, "hidden").await, (0, true));
    // Its text may have them.
    assert_eq!(found(&store, "-elsewhere").await, (0, true));
    assert_eq!(found(&store, "subject:invoice domain:one.example").await, (1, false));
    drop(store);
    let store = SqliteStore::open(SqliteOptions::new(sqlite.path())).unwrap();
    assert_eq!(found_at_last(&store, "hidden").await, 1, "the server goes on where it was");
    assert_eq!(found(&store, "-elsewhere").await, (1, false));
}
