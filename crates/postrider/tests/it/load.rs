//! Load: clients that hand in messages without rest, and what must hold of these whatever dies meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postrider_core::{EmailStatus, ObjectId};
use postrider_store::{EmailFilter, EmailRecord, Store};
use postrider_testkit::{LineClient, ReceivedMessage, ScriptedMx, mail, without_trace};
use tokio::task::JoinHandle;

/// How long a client waits for a reply before it thinks the server dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a client leaves a server alone that takes no connection or no message.
const PAUSE: Duration = Duration::from_millis(10);

/// The domain that is sent to, and the one that is kept here.
pub(crate) const AWAY: &str = "example.org";
pub(crate) const HERE: &str = "local.test";

/// What was acknowledged with 250: the id that was given, and the message.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    acknowledged: Mutex<BTreeMap<String, Vec<u8>>>,
    numbers: AtomicUsize,
}

impl Ledger {
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Every acknowledged message is in the store, byte for byte but for trace fields.
    pub(crate) async fn check_store(&self, store: &dyn Store) {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let there = records(store, None).await;
        for (id, message) in &acknowledged {
            let id: ObjectId = id.parse().unwrap();
            assert!(there.contains_key(&id), "{id} was acknowledged and is lost");
            let raw = store.raw(id).await.unwrap().unwrap().raw;
            assert!(without_trace(&raw) == message, "{id} was changed: {}", raw.escape_ascii());
        }
    }

    /// Every acknowledged message for the world came out, byte for byte but for trace fields.
    pub(crate) fn check_delivered(&self, mx: &ScriptedMx) {
        let came_out: BTreeMap<_, _> =
            mx.messages().into_iter().map(|message| (token(&message.data), message)).collect();
        for (id, message) in self.acknowledged.lock().unwrap().iter().filter(|(_, message)| is_for_the_world(message)) {
            let token = token(message);
            let received = came_out.get(&token).unwrap_or_else(|| panic!("{id} ({token}) did not come out"));
            assert!(received.without_trace() == message, "{id} was changed: {}", received.text());
        }
    }
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients at each server, each with so much rest between messages.
    pub(crate) fn start(
        ledger: &Arc<Ledger>,
        servers: &[SocketAddr],
        clients_per_server: usize,
        rest: Duration,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = servers.iter().flat_map(|&server| std::iter::repeat_n(server, clients_per_server));
        let clients =
            clients.map(|server| tokio::spawn(send_until(server, stop.clone(), ledger.clone(), rest))).collect();
        Self { stop, clients }
    }

    pub(crate) async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

/// Hands in messages until told to stop: every other one for here, every other one for the world.
async fn send_until(server: SocketAddr, stop: Arc<AtomicBool>, ledger: Arc<Ledger>, rest: Duration) {
    while !stop.load(Ordering::SeqCst) {
        if let Some(mut client) = connect(server).await {
            while !stop.load(Ordering::SeqCst) && send_one(&mut client, &ledger).await.is_some() {
                tokio::time::sleep(rest).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn connect(server: SocketAddr) -> Option<LineClient> {
    let mut client = patiently(LineClient::connect(server)).await?.ok()?;
    patiently(client.try_reply()).await??;
    client.send("EHLO client.test").await;
    patiently(client.try_reply()).await??;
    Some(client)
}

/// `None` where it was not acknowledged, for whatever reason.
async fn send_one(client: &mut LineClient, ledger: &Ledger) -> Option<()> {
    let number = ledger.numbers.fetch_add(1, Ordering::SeqCst);
    let recipient = format!("b@{}", if number.is_multiple_of(2) { AWAY } else { HERE });
    let mut message = mail::plain("", &recipient, &format!("number-{number}-"));
    message.extend(format!("{number} ").repeat(number % 900).into_bytes());
    message.extend_from_slice(b"\r\n");
    client.send_batch(&["MAIL FROM:<>", &format!("RCPT TO:<{recipient}>"), "DATA"]).await;
    for expected in [250, 250, 354] {
        patiently(client.try_reply()).await?.filter(|reply| reply.code == expected)?;
    }
    client.send_quietly(&[message.as_slice(), b".\r\n"].concat()).await.ok()?;
    let reply = patiently(client.try_reply()).await?.filter(|reply| reply.code == 250)?;
    let id = reply.id().expect("an acknowledgement names the id");
    ledger.acknowledged.lock().unwrap().insert(id, message);
    Some(())
}

async fn patiently<T>(answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, answer).await.ok()
}

/// How often each message for the world may come out.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// How often each had come out when it was first seen settled.
    settled: BTreeMap<ObjectId, usize>,
    /// How often each may be sent once more, because it was in flight where something died.
    allowed: BTreeMap<String, usize>,
}

impl Repeats {
    /// What is settled as sent came out at least once, and since it was first seen settled, not once more.
    pub(crate) async fn check_settled(&mut self, store: &dyn Store, mx: &ScriptedMx) {
        let sent = records(store, Some(EmailStatus::Sent)).await;
        // Read after the store: what came out in between may be what was settled.
        let came_out = came_out(&mx.all_messages());
        for (id, email) in sent {
            let count = came_out.get(&email.subject.unwrap_or_default()).copied().unwrap_or_default();
            assert!(count > 0, "{id} is settled as sent, and did not come out");
            let before = *self.settled.entry(id).or_insert(count);
            assert_eq!(count, before, "{id} was sent again after it was settled");
        }
    }

    pub(crate) fn settled_count(&self) -> usize {
        self.settled.len()
    }

    /// What is settled as sent at this moment.
    pub(crate) async fn settled_now(store: &dyn Store) -> BTreeSet<String> {
        records(store, Some(EmailStatus::Sent)).await.into_values().filter_map(|email| email.subject).collect()
    }

    /// The node of this name died, or was cut off, when only this much was settled: whatever else came from it may be sent
    /// once more. Returns how much that is.
    pub(crate) fn allow_in_flight(&mut self, mx: &ScriptedMx, node: &str, settled: &BTreeSet<String>) -> usize {
        let by_node = mx.all_messages().into_iter().filter(|message| message.helo == node);
        let in_flight: BTreeSet<_> =
            by_node.map(|message| token(&message.data)).filter(|token| !settled.contains(token)).collect();
        let count = in_flight.len();
        for token in in_flight {
            *self.allowed.entry(token).or_default() += 1;
        }
        count
    }

    /// No message came out more often than that. Returns how many repeats there were.
    pub(crate) fn check(&self, mx: &ScriptedMx) -> usize {
        let came_out = came_out(&mx.all_messages());
        for (token, &count) in &came_out {
            let allowed = 1 + self.allowed.get(token).copied().unwrap_or_default();
            assert!(count <= allowed, "{token} came out {count} times, where {allowed} are explained");
        }
        came_out.values().map(|count| count - 1).sum()
    }
}

fn came_out(messages: &[ReceivedMessage]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in messages {
        *counts.entry(token(&message.data)).or_default() += 1;
    }
    counts
}

/// All e-mails, or those of one status.
pub(crate) async fn records(store: &dyn Store, status: Option<EmailStatus>) -> BTreeMap<ObjectId, EmailRecord> {
    let filter = EmailFilter { status, ..EmailFilter::default() };
    let mut all = BTreeMap::new();
    for page in 1.. {
        let emails = store.list(&filter, page, 1000).await.unwrap().emails;
        if emails.is_empty() {
            break;
        }
        all.extend(emails.into_iter().map(|email| (email.id, email)));
    }
    all
}

/// Waits until nothing waits for delivery any more.
pub(crate) async fn drained(store: &dyn Store, limit: Duration) {
    postrider_testkit::eventually_within(limit, "the queue to drain", async || {
        let stats = store.queue_stats(postrider_core::Timestamp::system()).await.ok()?;
        (stats.queued + stats.sending + stats.deferred == 0).then_some(())
    })
    .await;
}

/// The subject, which marks a message.
pub(crate) fn token(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.split("Subject: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default().to_owned()
}

fn is_for_the_world(message: &[u8]) -> bool {
    String::from_utf8_lossy(message).contains(&format!("To: <b@{AWAY}>"))
}

/// Random enough to hit every instant in time, and the same in every run.
pub(crate) fn random(step: usize) -> u64 {
    let mut state = (step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 31;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^ (state >> 29)
}
