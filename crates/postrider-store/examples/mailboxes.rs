//! Measures mailboxes on the SQLite engine: `cargo run --release -p postrider-store --example mailboxes [FOLDER]`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use postrider_core::mailbox::{Flags, MailboxName, NamedFlags, UidSet};
use postrider_core::{Address, Direction, Envelope, Message, ObjectId, ReversePath, Timestamp};
use postrider_store::*;

const ACCEPTORS: usize = 64;
const FILED: usize = 20_000;
const MESSAGES: usize = 10_000;
const MESSAGE_BYTES: usize = 8_192;
const DIGEST_BYTES: usize = 2_048;
const DIGESTS_CHUNK: usize = 500;
const MESSAGES_CHUNK: usize = 100;

/// Each is measured so often; the middle one is shown.
const TIMES: usize = 10;

#[tokio::main]
async fn main() {
    let folder = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("postrider-load"), PathBuf::from);
    let _ = std::fs::remove_dir_all(&folder);
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::new(&folder)).unwrap());
    let users: Vec<UserId> = [1, 2, 3, 4].map(|n| ObjectId::from_bytes([n; 12])).into();
    for (n, id) in users.iter().enumerate() {
        store.add_user(user(*id, n)).await.unwrap();
    }
    for (what, acceptors, to) in [
        ("filed, 64 at once, one INBOX", ACCEPTORS, &users[..1]),
        ("filed, 16 at once, one INBOX", 16, &users[1..2]),
        ("filed, 64 at once, to 3 users each", ACCEPTORS, &users[1..]),
    ] {
        let (started, cpu) = (Instant::now(), cpu_time());
        let count = if to.len() == 1 && acceptors == ACCEPTORS { MESSAGES } else { FILED };
        file(&store, count, acceptors, to).await;
        let seconds = started.elapsed().as_secs_f64();
        let each = (cpu_time() - cpu) / count as u32;
        println!("{what}: {:.0}/s, {each:?} of processor time each", count as f64 / seconds);
    }
    let inbox = store.mailbox(users[0], &MailboxName::inbox()).await.unwrap().unwrap().id;
    let ids: Vec<ObjectId> =
        store.open_mailbox(inbox).await.unwrap().unwrap().entries.iter().map(|entry| entry.email).collect();
    measure("open_mailbox of 10,000", async |_| {
        assert_eq!(store.open_mailbox(inbox).await.unwrap().unwrap().entries.len(), MESSAGES);
    })
    .await;
    measure("mailbox_delta after nothing", async |_| {
        store.mailbox_delta(inbox, MESSAGES as u64).await.unwrap().unwrap();
    })
    .await;
    let sets: [(&str, UidSet); 2] = [
        ("store_flags 1:*", UidSet::range(1, u32::MAX)),
        ("store_flags on every second", (1..=MESSAGES as u32).filter(|uid| uid % 2 == 0).collect()),
    ];
    for (what, uids) in &sets {
        measure(what, async |n| {
            let operation = if n % 2 == 0 { FlagsOperation::Add } else { FlagsOperation::Remove };
            let flags = NamedFlags::from(Flags::FLAGGED);
            let change = StoreFlags { mailbox: inbox, uids: uids.clone(), operation, flags, unchanged_since: None };
            let stored = store.store_flags(change).await.unwrap();
            assert_eq!(stored.changed.len(), uids.len().min(MESSAGES as u64));
        })
        .await;
    }
    measure("store_flags on one", async |n| {
        let operation = if n % 2 == 0 { FlagsOperation::Add } else { FlagsOperation::Remove };
        let (uids, flags) = (UidSet::range(5_000, 5_000), NamedFlags::from(Flags::FLAGGED));
        let change = StoreFlags { mailbox: inbox, uids, operation, flags, unchanged_since: None };
        store.store_flags(change).await.unwrap();
    })
    .await;
    measure("delta after one", async |_| {
        store
            .mailbox_delta(inbox, store.open_mailbox(inbox).await.unwrap().unwrap().record.highest_modseq - 1)
            .await
            .unwrap();
    })
    .await;
    read(&store, &ids).await;
    copies(&store, users[0], inbox).await;
    store.close().await.unwrap();
    drop(store);
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn read(store: &Arc<dyn Store>, ids: &[ObjectId]) {
    measure("digests of 10,000, 500 a call", async |_| {
        for part in ids.chunks(DIGESTS_CHUNK) {
            assert!(store.digests(part).await.unwrap().iter().all(Option::is_some));
        }
    })
    .await;
    measure("messages of 10,000, 100 a call", async |_| {
        for part in ids.chunks(MESSAGES_CHUNK) {
            assert!(store.messages(part).await.unwrap().iter().all(Option::is_some));
        }
    })
    .await;
    measure("the same, two calls at once", async |_| {
        let halves = ids.chunks(ids.len() / 2).map(|half| {
            let (store, half) = (store.clone(), half.to_vec());
            tokio::spawn(async move {
                for part in half.chunks(MESSAGES_CHUNK) {
                    assert!(store.messages(part).await.unwrap().iter().all(Option::is_some));
                }
            })
        });
        for half in halves.collect::<Vec<_>>() {
            half.await.unwrap();
        }
    })
    .await;
    measure("messages of 1,000, one a call", async |_| {
        for id in &ids[..1_000] {
            store.messages(&[*id]).await.unwrap();
        }
    })
    .await;
}

async fn copies(store: &Arc<dyn Store>, user: UserId, inbox: MailboxId) {
    let now = Timestamp::system();
    let name = "copies".parse().unwrap();
    let to = store.create_mailbox(NewMailbox { user, name, special_use: None, now }).await.unwrap().id;
    let all = || UidSet::range(1, u32::MAX);
    let started = Instant::now();
    store.copy_messages(CopyMessages { from: inbox, uids: all(), to, moves: false, now }).await.unwrap();
    println!("copy of 10,000: {:?}", started.elapsed());
    let name = "moved".parse().unwrap();
    let moved = store.create_mailbox(NewMailbox { user, name, special_use: None, now }).await.unwrap().id;
    let started = Instant::now();
    store.copy_messages(CopyMessages { from: to, uids: all(), to: moved, moves: true, now }).await.unwrap();
    println!("move of 10,000: {:?}", started.elapsed());
    let started = Instant::now();
    store.delete_mailbox(moved).await.unwrap();
    println!("delete a mailbox of 10,000 copies: {:?}", started.elapsed());
    let flags = NamedFlags::from(Flags::DELETED);
    let operation = FlagsOperation::Add;
    let change = StoreFlags { mailbox: inbox, uids: all(), operation, flags, unchanged_since: None };
    store.store_flags(change).await.unwrap();
    let started = Instant::now();
    assert_eq!(store.expunge(inbox, None).await.unwrap().uids.len(), MESSAGES as u64);
    println!("expunge of 10,000, with their messages: {:?}", started.elapsed());
}

async fn file(store: &Arc<dyn Store>, count: usize, acceptors: usize, users: &[UserId]) {
    let tasks = (0..acceptors).map(|task| {
        let (store, users) = (store.clone(), users.to_vec());
        let count = count / acceptors + usize::from(task < count % acceptors);
        tokio::spawn(async move {
            let message = Message::parse(message(task as u64), 0);
            for _ in 0..count {
                store.accept(email(message.clone(), &users)).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn measure(what: &str, mut once: impl AsyncFnMut(usize)) {
    let mut times: Vec<Duration> = Vec::new();
    let cpu = cpu_time();
    for n in 0..TIMES {
        let started = Instant::now();
        once(n).await;
        times.push(started.elapsed());
    }
    times.sort();
    let cpu = (cpu_time() - cpu) / TIMES as u32;
    println!("{what}: {:?} (fastest {:?}), {cpu:?} of processor time", times[TIMES / 2], times[0]);
}

fn user(id: UserId, n: usize) -> User {
    let now = Timestamp::system();
    User {
        id,
        address: Address::parse(&format!("user{n}@example.org")).unwrap(),
        password_hash: String::new(),
        scram: ScramKeys { salt: Vec::new(), iterations: 1, stored_key: [0; 32], server_key: [0; 32] },
        quota: Quota { bytes: Some(1 << 40), messages: None },
        is_enabled: true,
        created_at: now,
        updated_at: now,
    }
}

fn email(message: Message, users: &[UserId]) -> NewEmail {
    let now = Timestamp::system();
    let filings = users.iter().map(|&user| Filing { user, special_use: None, enforces_quota: true }).collect();
    NewEmail {
        id: ObjectId::new(now),
        created_at: now,
        direction: Direction::Inbound,
        envelope: Envelope {
            reverse_path: ReversePath(Some(Address::parse("sender@example.com").unwrap())),
            ..Envelope::default()
        },
        instructions: Default::default(),
        authentication: Vec::new(),
        events: Vec::new(),
        request: None,
        message,
        kept: Vec::new(),
        deliveries: Vec::new(),
        filed: Some(Filed { digest: Bytes::from(vec![b'd'; DIGEST_BYTES]), filings, stays_on_record: false }),
    }
}

/// Text of words in an order that looks random, which halves when it is compressed, as mail does.
fn message(seed: u64) -> Bytes {
    let mut state = seed;
    let mut text = String::from("Subject: measured\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n");
    while text.len() < MESSAGE_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = state >> 40;
        text.push_str(&format!("{word:06x}"));
        text.push_str(if word.is_multiple_of(10) { "\r\n" } else { " " });
    }
    text.truncate(MESSAGE_BYTES);
    text.into()
}

/// User and system time of this process: fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
