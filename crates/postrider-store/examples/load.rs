//! Measures the SQLite engine: `cargo run --release -p postrider-store --example load [FOLDER]`.
//!
//! Processor time is that of the whole process, so it counts what the caller does for a message as well as the writer.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use postrider_core::query::Query;
use postrider_core::{
    Address, Attempt, Direction, Envelope, Message, ObjectId, Outcome, Recipient, Reply, ReversePath, Timestamp,
};
use postrider_store::*;

const ACCEPTORS: usize = 64;
const MESSAGES: usize = 32_000;
const MESSAGE_BYTES: usize = 8_192;
const QUEUED: usize = 100_000;

#[tokio::main]
async fn main() {
    let folder = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("postrider-load"), PathBuf::from);
    let _ = std::fs::remove_dir_all(&folder);
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::new(&folder)).unwrap());
    println!("idle: {} KiB resident", resident_kib());
    let node = ObjectId::new(Timestamp::system());
    store.renew(Renewal::new(node, Timestamp::system(), Duration::from_secs(60))).await.unwrap();

    let accepted = measure("accept, claimed, 8 KiB", MESSAGES, accept_all(&store, MESSAGES, Some(node))).await;
    let deliveries = accepted.iter().map(|&email| DeliveryId { email, number: 0 }).collect();
    measure("settle, one each", MESSAGES, settle_all(&store, node, deliveries)).await;
    let accepted = measure("accept, queued, 8 KiB", QUEUED, accept_all(&store, QUEUED, None)).await;
    measure("raw", accepted.len(), read_all(&store, accepted)).await;
    println!("{QUEUED} queued: {} KiB resident", resident_kib());
    latencies(&store).await;
    println!("after lists: {} KiB resident", resident_kib());
    let claimed = measure("claim, 200 a call", 20_000, claim_all(&store, node, 20_000)).await;
    latencies(&store).await;
    measure("settle, one each", claimed.len(), settle_all(&store, node, claimed)).await;
    let hold = async { store.order(Selection::default(), Order::Hold, Timestamp::system()).await.unwrap() };
    measure("order, hold all", QUEUED - 20_000, hold).await;
    many_domains(&store, node).await;
    println!("in the end: {} KiB resident", resident_kib());
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len() >> 20);
    println!("database {} MiB, log {} MiB", size("postrider.db"), size("postrider.db-wal"));
    store.close().await.unwrap();
    drop(store);
    let started = Instant::now();
    let store = SqliteStore::open(SqliteOptions::new(&folder)).unwrap();
    println!("open again: {:?}", started.elapsed());
    drop(store);
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn accept_all(store: &Arc<dyn Store>, count: usize, node: Option<NodeId>) -> Vec<ObjectId> {
    let tasks = (0..ACCEPTORS).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            let raw = message(task as u64);
            let message = Message::parse(raw, 0);
            for n in 0..count / ACCEPTORS {
                let new = email(message.clone(), n % 500, node);
                ids.push(new.id);
                store.accept(new).await.unwrap();
            }
            ids
        })
    });
    let mut ids = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        ids.extend(task.await.unwrap());
    }
    ids
}

async fn settle_all(store: &Arc<dyn Store>, node: NodeId, deliveries: Vec<DeliveryId>) {
    let parts: Vec<Vec<_>> = deliveries.chunks(deliveries.len().div_ceil(ACCEPTORS)).map(<[_]>::to_vec).collect();
    let tasks = parts.into_iter().map(|part| {
        let store = store.clone();
        tokio::spawn(async move {
            for id in part {
                let settlement =
                    Settlement { id, attempt: attempt(), next: Next::Sent, delay_notified: false, event: None };
                let settle = Settle { settlements: vec![settlement], ..Settle::default() };
                assert_eq!(store.settle(node, settle).await.unwrap(), 1);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn read_all(store: &Arc<dyn Store>, ids: Vec<ObjectId>) {
    let parts: Vec<Vec<_>> = ids.chunks(ids.len().div_ceil(ACCEPTORS)).map(<[_]>::to_vec).collect();
    let tasks = parts.into_iter().map(|part| {
        let store = store.clone();
        tokio::spawn(async move {
            for id in part {
                store.raw(id).await.unwrap().unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn claim_all(store: &Arc<dyn Store>, node: NodeId, count: usize) -> Vec<DeliveryId> {
    let mut claimed = Vec::new();
    while claimed.len() < count {
        let request = ClaimRequest { node, now: Timestamp::system(), limit: 200, per_domain_max: 20, held: Vec::new() };
        for email in store.claim(request).await.unwrap().emails {
            claimed.extend(email.deliveries.iter().map(|d| DeliveryId { email: email.id, number: d.number }));
        }
    }
    claimed
}

async fn latencies(store: &Arc<dyn Store>) {
    let filter = EmailFilter::default;
    let status = |status| EmailFilter { status: Some(status), ..filter() };
    let lists = [
        ("list", filter(), 1),
        ("list, last page", filter(), 6_600),
        ("list, queued", status(postrider_core::EmailStatus::Queued), 1),
        ("list, sending", status(postrider_core::EmailStatus::Sending), 1),
        ("list, sent", status(postrider_core::EmailStatus::Sent), 1),
        (
            "list, words",
            EmailFilter { terms: Query::parse("load nowhere").unwrap().at(Timestamp::system()), ..filter() },
            1,
        ),
        ("list, domain", EmailFilter { domain: Some("d7.example".parse().unwrap()), ..filter() }, 1),
    ];
    for (name, filter, page) in lists {
        let started = Instant::now();
        let total = store.list(&filter, page, 20).await.unwrap().total;
        println!("{name}: {:?} ({total} match)", started.elapsed());
    }
    let started = Instant::now();
    let stats = store.queue_stats(Timestamp::system()).await.unwrap();
    println!("queue_stats: {:?} ({} queued, {} sending)", started.elapsed(), stats.queued, stats.sending);
}

/// A delivery to each of very many domains, none of them due.
async fn many_domains(store: &Arc<dyn Store>, node: NodeId) {
    let later = Timestamp::system() + Duration::from_secs(3_600);
    for part in 0..100 {
        let mut new = email(Message::parse(message(part), 0), 0, None);
        let delivery = |n| NewDelivery {
            recipient: Recipient::new(Address::parse(&format!("user@{part}-{n}.example")).unwrap()),
            claimed_by: None,
            due_at: later,
        };
        new.deliveries = (0..1_000).map(delivery).collect();
        store.accept(new).await.unwrap();
    }
    for _ in 0..6 {
        let request = ClaimRequest { node, now: Timestamp::system(), limit: 200, per_domain_max: 20, held: Vec::new() };
        let started = Instant::now();
        let claimed = store.claim(request).await.unwrap();
        println!("claim, 100000 domains not due: {:?} (more: {})", started.elapsed(), claimed.more);
    }
    let started = Instant::now();
    store.queue_stats(Timestamp::system()).await.unwrap();
    println!("queue_stats, 100000 domains: {:?}", started.elapsed());
}

async fn measure<T>(name: &str, count: usize, work: impl Future<Output = T>) -> T {
    let (started, cpu) = (Instant::now(), cpu_time());
    let result = work.await;
    let (wall, cpu) = (started.elapsed(), cpu_time() - cpu);
    let (each, rate) = (cpu.as_secs_f64() * 1e6 / count as f64, count as f64 / wall.as_secs_f64());
    println!("{name}: {rate:.0}/s, {each:.1} us of processor time each");
    result
}

/// Half words, half noise in base64, as mail with attachments is.
fn message(seed: u64) -> Bytes {
    let mut text = format!("Subject: Load {seed}\r\nMessage-ID: <{seed}@load.example>\r\n\r\n");
    let mut state = seed + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    const WORDS: &[&str] = &["the ", "message ", "of ", "a ", "server ", "delivers ", "quickly ", "and ", "well "];
    while text.len() < MESSAGE_BYTES / 2 {
        text.push_str(WORDS[next() % WORDS.len()]);
    }
    while text.len() < MESSAGE_BYTES {
        text.push((b'A' + (next() % 58) as u8) as char);
    }
    text.into()
}

fn email(message: Message, domain: usize, node: Option<NodeId>) -> NewEmail {
    let now = Timestamp::system();
    let recipient = Recipient::new(Address::parse(&format!("user@d{domain}.example")).unwrap());
    NewEmail {
        filed: None,
        id: ObjectId::new(now),
        created_at: now,
        direction: Direction::Outbound,
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
        deliveries: vec![NewDelivery { recipient, claimed_by: node, due_at: now }],
    }
}

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        started_at: Timestamp::system(),
        duration: Duration::from_millis(12),
        mx: Some("mx.example.com".into()),
        mx_ip: Some("192.0.2.25".parse().unwrap()),
        source_ip: Some("192.0.2.1".parse().unwrap()),
        ip_selection: None,
        tls: None,
        exchanges: Vec::new(),
        outcome: Outcome::Delivered { reply: Reply { code: 250, enhanced_code: None, text: "ok".into() } },
    }
}

/// User and system time of this process: fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
