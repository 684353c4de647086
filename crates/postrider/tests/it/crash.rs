//! Crashes on SQLite: the server is killed at random instants under load, again and again. What was acknowledged is there
//! byte for byte, no delivery that was settled is sent again, and of all that happened applications were told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_store::sqlite::SqliteOptions;
use postrider_store::{EmailFilter, Emails as _, SqliteStore};
use postrider_testkit::{HttpAnswer, HttpService, Script, Site};

use crate::load::{self, Ledger, Load, Repeats};
use crate::support::binary;

const ROUNDS: usize = 30;
const CLIENTS: usize = 6;
/// What the server calls itself.
const NAME: &str = "postrider.test";
/// The server lives this long in a round, at most, once it listens.
const LIFE_MILLISECONDS_MAX: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_and_nothing_settled_is_sent_again() {
    if !Site::is_on_sqlite() {
        return;
    }
    // No wait is longer than the rounds, so that all is tried in them.
    let site = Site::new()
        .await
        .set("ALLOWED_DOMAINS", load::HERE)
        .set("RETRY_FIRST_SECONDS", "1")
        .set("RETRY_MAX_SECONDS", "2")
        .set("LOG_LEVEL", "warn");
    let hook = HttpService::start(site.claim_ip(), |_| HttpAnswer::new(204, "")).await;
    let site = site
        .set("WEBHOOK_ENABLED", "true")
        .set("WEBHOOK_SECRET", "not that anybody looks")
        .set("WEBHOOK_SUCCESS_URL", &hook.url("/"))
        .set("WEBHOOK_RECEIVED_URL", &hook.url("/"));
    let mx = site.mx(load::AWAY, Script::new()).await;
    let ledger = Arc::new(Ledger::default());
    let mut repeats = Repeats::default();
    for round in 0..ROUNDS {
        let mut process = site.process(binary(), &["serve"]);
        process.wait_until_listening(site.smtp()).await;
        let load = Load::start(&ledger, &[site.smtp()], CLIENTS, Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(load::random(round) % LIFE_MILLISECONDS_MAX)).await;
        process.kill();
        load.end().await;
        let ended = async || (mx.connections_open_of(NAME) == 0).then_some(());
        postrider_testkit::eventually("its connections to end", ended).await;
        let store = open(&site);
        repeats.check_settled(&store, &mx).await;
        repeats.allow_in_flight(&mx, NAME, &Repeats::settled_now(&store).await);
    }
    let process = &mut site.process(binary(), &["serve"]);
    process.wait_until_listening(site.smtp()).await;
    let store = open(&site);
    load::drained(&store, Duration::from_secs(60)).await;
    everybody_was_told(&store, &hook).await;
    process.signal("TERM");
    assert_eq!(process.wait().await.code(), Some(0), "{}", process.output());
    repeats.check_settled(&store, &mx).await;
    assert!(repeats.settled_count() > ROUNDS, "only {} deliveries were settled", repeats.settled_count());
    assert!(ledger.count() > ROUNDS, "only {} messages were acknowledged", ledger.count());
    repeats.check(&mx);
    ledger.check_store(&store).await;
    ledger.check_delivered(&mx);
}

/// Of each e-mail that was sent or received there was a call, at least one.
async fn everybody_was_told(store: &SqliteStore, hook: &HttpService) {
    let mut expected = BTreeSet::new();
    for page in 1.. {
        let found = store.list(&EmailFilter::default(), page, 1_000).await.unwrap().emails;
        if found.is_empty() {
            break;
        }
        for email in found {
            match email.status {
                EmailStatus::Sent => drop(expected.insert(("email.delivered".to_owned(), email.id.to_string()))),
                EmailStatus::Received => drop(expected.insert(("email.received".to_owned(), email.id.to_string()))),
                _ => {}
            }
        }
    }
    assert!(expected.len() > ROUNDS);
    postrider_testkit::eventually("a call for each", async || {
        let told: BTreeSet<(String, String)> = hook
            .requests()
            .iter()
            .map(|call| {
                let told = call.json();
                let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                (text(&told["type"]), text(&told["data"]["id"]))
            })
            .collect();
        expected.is_subset(&told).then_some(())
    })
    .await;
}

fn open(site: &Site) -> SqliteStore {
    SqliteStore::open_shared(SqliteOptions::new(site.data_dir())).expect("the store opens beside a server")
}
