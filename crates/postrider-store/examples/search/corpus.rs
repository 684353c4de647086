//! E-mails to be found, and how it is measured that they are: the same for all engines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postrider_core::query::Query;
use postrider_core::{
    Address, Attempt, Category, DeliveryStatus, Direction, Envelope, Instructions, Message, ObjectId, Outcome,
    Recipient, ReversePath, Timestamp,
};
use postrider_store::*;

/// E-mails of a store, unless told otherwise.
pub(crate) const EMAILS: u64 = 1_000_000;

/// E-mails that are imported together.
pub(crate) const IMPORT_EMAILS: u64 = 500;

const WORDS: u64 = 20_000;
const TEXT_WORDS: u64 = 60;

/// A list is measured so many times, or for so long.
const ROUNDS: usize = 21;
const MEASURE_MAX: Duration = Duration::from_secs(10);

/// From one e-mail to the next, in milliseconds: a million is a month.
const INTERVAL_MS: u64 = 2_592;

const DAY: Duration = Duration::from_secs(86_400);

/// Prints a table of how long lists take, and statistics.
pub(crate) async fn measure_all(store: &Arc<dyn Store>, count: u64) {
    println!("| what | median | longest | found |\n|---|---|---|---|");
    for page in [1, 1_000] {
        measure(&format!("page {page}"), || find(store, "", ListStart::Page(page))).await;
    }
    let mut cursor = find(store, "", ListStart::Page(1)).await.next;
    for _ in 0..100 {
        cursor = find(store, "", ListStart::After(cursor.unwrap())).await.next;
    }
    measure("a page by cursor", || find(store, "", ListStart::After(cursor.unwrap()))).await;
    for queries in [FILTERS, BY_WORDS, LOOKED_THROUGH] {
        measure_queries(store, count, queries).await;
    }
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        store.queue_stats(Timestamp::system()).await.unwrap();
        times.push(started.elapsed());
    }
    print("queue statistics", times, "");
}

/// Prints rows of how long these queries take. The e-mail in the middle is the one that is looked for.
pub(crate) async fn measure_queries(store: &Arc<dyn Store>, count: u64, queries: &[&str]) {
    for query in queries {
        let query = query.replace("500000", &(count / 2).to_string());
        measure(&format!("`{query}`"), || find(store, &query, ListStart::Page(1))).await;
    }
}

/// What columns and their indexes lead to.
const FILTERS: &[&str] = &[
    "status:sent",
    "status:deferred",
    "status:failed",
    "status:deferred domain:large.example older:1h",
    "tag:news",
    "newer:1d",
    "before:2020-01-01",
    "error:greylisted",
];

/// What words lead to.
pub(crate) const BY_WORDS: &[&str] = &[
    "domain:large.example",
    "domain:d77.example",
    "sender:sender7@example.com",
    "recipient:user77@d77.example",
    "messageid:500000@search.example",
    "subject:w3",
    "unique500000",
    "w0",
    "w0 w1",
    "\"w0 w1\"",
    "w7 unique500000",
    "status:deferred w0",
    "w0 -w1",
];

/// What nothing leads to.
const LOOKED_THROUGH: &[&str] = &["-w0", "recipient:77@d77", "larger:10M", "direction:inbound"];

/// A page of what a query finds.
pub(crate) async fn find(store: &Arc<dyn Store>, query: &str, start: ListStart) -> EmailPage {
    let terms = Query::parse(query).unwrap().at(Timestamp::system());
    let filter = EmailFilter { terms, ..EmailFilter::default() };
    store.find(ListRequest { start, ..ListRequest::newest(filter, 20) }).await.unwrap()
}

async fn measure<F: Future<Output = EmailPage>>(name: &str, ask: impl Fn() -> F) {
    let (mut times, mut found) = (Vec::new(), EmailPage::default());
    let all = Instant::now();
    while times.len() < ROUNDS && (times.is_empty() || all.elapsed() < MEASURE_MAX) {
        let started = Instant::now();
        found = ask().await;
        times.push(started.elapsed());
    }
    let at_least = if found.total_is_at_least { "at least " } else { "" };
    let incomplete = if found.is_incomplete { ", not all looked at" } else { "" };
    print(name, times, &format!("{at_least}{}{incomplete}", found.total));
}

fn print(name: &str, mut times: Vec<Duration>, found: &str) {
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("| {name} | {:.1} ms | {:.1} ms | {found} |", ms(times[times.len() / 2]), ms(times[times.len() - 1]));
}

/// Number `n` of so many: the last is of now. `many_wait`: every tenth does.
pub(crate) fn email(n: u64, count: u64, many_wait: bool) -> StoredEmail {
    let at = Timestamp::system() - Duration::from_millis((count - n) * INTERVAL_MS);
    let mut random = Random(n + 1);
    let domain = match n % 10 {
        0..3 => "large.example".to_owned(),
        _ => format!("d{}.example", random.below(10_000)),
    };
    let mut raw = format!(
        "From: sender{}@example.com\r\nSubject: {} {} {n}\r\nMessage-ID: <{n}@search.example>\r\n\r\nunique{n}",
        n % 1_000,
        random.word(),
        random.word(),
    );
    for _ in 0..TEXT_WORDS {
        raw.push(' ');
        raw.push_str(&random.word());
    }
    raw.push_str("\r\n");
    let (status, outcome) = match n % 100 {
        _ if many_wait && n % 10 == 4 => (DeliveryStatus::Deferred, Some("greylisted")),
        11 => (DeliveryStatus::Failed, Some("no such user")),
        // What waits is mostly of lately.
        12 if n > count - count / 20 => (DeliveryStatus::Deferred, Some("greylisted")),
        13 if n > count - count / 50 => (DeliveryStatus::Queued, None),
        _ => (DeliveryStatus::Sent, None),
    };
    let mut instructions = Instructions::default();
    if n % 50 == 3 {
        instructions.add_tag("news").unwrap();
    }
    let recipient = Recipient::new(Address::parse(&format!("user{}@{domain}", random.below(100))).unwrap());
    let delivery = StoredDelivery {
        recipient,
        status,
        due_at: if many_wait { Timestamp::system() + DAY } else { at },
        queued_at: None,
        delay_notified: false,
        attempts: outcome.map(|text| attempt(at, text)).into_iter().collect(),
        feedback: Vec::new(),
    };
    let sender = Address::parse(&format!("sender{}@example.com", n % 1_000)).unwrap();
    StoredEmail {
        id: ObjectId::new(at),
        created_at: at,
        updated_at: at,
        direction: Direction::Outbound,
        envelope: Envelope { reverse_path: ReversePath(Some(sender)), ..Envelope::default() },
        instructions,
        authentication: Vec::new(),
        message: Message::parse(raw.into(), 0),
        kept: Vec::new(),
        source_ip: None,
        deliveries: vec![delivery],
        hold: EmailHold::RECORD,
        digest: None,
    }
}

fn attempt(at: Timestamp, text: &str) -> Attempt {
    Attempt {
        number: 1,
        started_at: at,
        duration: Duration::from_millis(12),
        mx: Some("mx.example.com".into()),
        mx_ip: Some("192.0.2.25".parse().unwrap()),
        source_ip: Some("192.0.2.1".parse().unwrap()),
        ip_selection: None,
        tls: None,
        exchanges: Vec::new(),
        outcome: Outcome::Deferred { category: Category::Policy, reply: None, reason: text.into() },
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// The lower its number, the more often: as in languages. `w0` is in most texts.
    fn word(&mut self) -> String {
        let bound = 1 + self.below(WORDS);
        let bound = 1 + self.below(bound);
        format!("w{}", self.below(bound))
    }
}

/// The memory that this process has.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
