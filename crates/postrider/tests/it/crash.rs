//! Crashes on SQLite: the server is killed at random instants under load, again and again. What was acknowledged is there
//! byte for byte, and no delivery that was settled is sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postrider_core::{EmailStatus, ObjectId};
use postrider_store::sqlite::SqliteOptions;
use postrider_store::{EmailFilter, Emails, Queue, SqliteStore, Store};
use postrider_testkit::{LineClient, Script, ScriptedMx, Site, mail, without_trace};

use crate::support::binary;

const ROUNDS: usize = 30;
const SENDERS: usize = 6;
/// The server lives this long in a round, at most, once it listens.
const LIFE_MILLISECONDS_MAX: u64 = 400;

/// What was acknowledged with 250: the id that was given, and the message.
type Acknowledged = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_and_nothing_settled_is_sent_again() {
    if !Site::is_on_sqlite() {
        return;
    }
    // No wait is longer than the rounds, so that all is tried in them.
    let site = Site::new()
        .await
        .set("ALLOWED_DOMAINS", "local.test")
        .set("RETRY_FIRST_SECONDS", "1")
        .set("RETRY_MAX_SECONDS", "2")
        .set("LOG_LEVEL", "warn");
    let mx = site.mx("example.org", Script::new()).await;
    let acknowledged = Acknowledged::default();
    let numbers = Arc::new(AtomicUsize::new(0));
    let mut settled = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut process = site.process(binary(), &["serve"]);
        process.wait_until_listening(site.smtp()).await;
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| tokio::spawn(send_until(site.smtp(), stop.clone(), numbers.clone(), acknowledged.clone())))
            .collect();
        tokio::time::sleep(Duration::from_millis(random(round) % LIFE_MILLISECONDS_MAX)).await;
        process.kill();
        stop.store(true, Ordering::SeqCst);
        for sender in senders {
            sender.await.unwrap();
        }
        check_settled(&site, &mx, &mut settled).await;
    }
    let process = &mut site.process(binary(), &["serve"]);
    process.wait_until_listening(site.smtp()).await;
    let store = open(&site).await;
    postrider_testkit::eventually_within(Duration::from_secs(60), "the queue to drain", async || {
        let stats = store.queue_stats(postrider_core::Timestamp::system()).await.ok()?;
        (stats.queued + stats.sending + stats.deferred == 0).then_some(())
    })
    .await;
    process.signal("TERM");
    assert_eq!(process.wait().await.code(), Some(0), "{}", process.output());
    check_settled(&site, &mx, &mut settled).await;
    assert!(settled.len() > ROUNDS, "only {} deliveries were settled", settled.len());
    check_acknowledged(&store, &acknowledged).await;
}

/// Hands in messages until told to stop: every other one for here, every other one for the world.
async fn send_until(
    server: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    numbers: Arc<AtomicUsize>,
    acknowledged: Acknowledged,
) {
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut client) = LineClient::connect(server).await else { continue };
        let Some(_) = client.try_reply().await else { continue };
        client.send("EHLO client.test").await;
        let Some(_) = client.try_reply().await else { continue };
        while !stop.load(Ordering::SeqCst) {
            let number = numbers.fetch_add(1, Ordering::SeqCst);
            let recipient = if number.is_multiple_of(2) { "b@example.org" } else { "c@local.test" };
            let mut message = mail::plain("", recipient, &format!("number-{number}-"));
            message.extend(format!("{number} ").repeat(number % 900).into_bytes());
            message.extend_from_slice(b"\r\n");
            client.send_batch(&["MAIL FROM:<>", &format!("RCPT TO:<{recipient}>"), "DATA"]).await;
            let mut codes = Vec::new();
            for _ in 0..3 {
                codes.extend(client.try_reply().await.map(|reply| reply.code));
            }
            if codes != [250, 250, 354] {
                break;
            }
            let _ = client.send_quietly(&[message.as_slice(), b".\r\n"].concat()).await;
            let Some(reply) = client.try_reply().await.filter(|reply| reply.code == 250) else { break };
            let id = reply.id().expect("an acknowledgement names the id");
            acknowledged.lock().unwrap().insert(id, message);
        }
    }
}

/// While the server is dead: what is settled as sent came out at least once, and since it was first seen settled, not
/// once more.
async fn check_settled(site: &Site, mx: &ScriptedMx, settled: &mut BTreeMap<ObjectId, usize>) {
    let store = open(site).await;
    let mut came_out: BTreeMap<String, usize> = BTreeMap::new();
    for message in mx.all_messages() {
        *came_out.entry(token(&message.data)).or_default() += 1;
    }
    for id in all_ids(&store, Some(EmailStatus::Sent)).await {
        let raw = store.raw(id).await.unwrap().unwrap().raw;
        let count = came_out.get(&token(&raw)).copied().unwrap_or_default();
        assert!(count > 0, "{id} is settled as sent, and did not come out");
        let before = *settled.entry(id).or_insert(count);
        assert_eq!(count, before, "{id} was sent again after it was settled");
    }
}

/// Every acknowledged message is there, byte for byte but for trace fields, and no other has a part missing.
async fn check_acknowledged(store: &SqliteStore, acknowledged: &Acknowledged) {
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert!(acknowledged.len() > ROUNDS, "only {} messages were acknowledged", acknowledged.len());
    let there: BTreeSet<_> = all_ids(store, None).await.into_iter().map(|id| id.to_string()).collect();
    for (id, message) in &acknowledged {
        assert!(there.contains(id), "{id} was acknowledged and is lost");
        let raw = store.raw(id.parse().unwrap()).await.unwrap().unwrap().raw;
        assert!(without_trace(&raw) == message, "{id} was changed: {}", raw.escape_ascii());
    }
}

async fn open(site: &Site) -> SqliteStore {
    SqliteStore::open_shared(SqliteOptions::new(site.data_dir())).expect("the store opens beside a server")
}

async fn all_ids(store: &dyn Store, status: Option<EmailStatus>) -> Vec<ObjectId> {
    let filter = EmailFilter { status, ..EmailFilter::default() };
    let mut ids = Vec::new();
    for page in 1.. {
        let emails = store.list(&filter, page, 1000).await.unwrap().emails;
        if emails.is_empty() {
            break;
        }
        ids.extend(emails.into_iter().map(|email| email.id));
    }
    ids
}

/// The number that marks a message.
fn token(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.split("Subject: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default().to_owned()
}

/// Random enough to hit every instant in time, and the same in every run.
fn random(round: usize) -> u64 {
    let mut state = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 31;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^ (state >> 29)
}
