//! Many nodes: leases by the server's clock, claims without strife, and hearing of each other.

use std::collections::HashSet;
use std::time::Instant;

use postrider_testkit::{GUARD_SECONDS, eventually};

use super::*;

/// A lease that lapses while a test waits.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn leases_lapse_by_the_servers_clock() {
    let mongo = Mongo::default();
    let open = async || MongoStore::open(MongoOptions::new(mongo.url().await)).await.unwrap();
    let (one, two) = (open().await, open().await);
    let (first, second) = (ObjectId::new(NOW), ObjectId::new(NOW));
    // What the nodes think of the time is years off, each in its own way.
    let renew = async |store: &MongoStore, node, now, lease| store.renew(Renewal::new(node, now, lease)).await.unwrap();
    let wrong = Timestamp::from_millis(1_000);
    renew(&one, first, NOW, SHORT).await.unwrap();
    let mut new = small(&["a@one.example"]);
    new.deliveries[0].claimed_by = Some(first);
    let id = DeliveryId { email: new.id, number: 0 };
    one.accept(new).await.unwrap();
    assert_eq!(renew(&two, second, wrong, LEASE).await.unwrap().nodes, 2);
    assert!(two.claim(request(second, 10)).await.unwrap().emails.is_empty());
    let membership = eventually("the lease to lapse", async || {
        renew(&two, second, wrong, LEASE).await.filter(|membership| membership.nodes == 1)
    });
    assert_eq!(membership.await.position, 0);
    assert_eq!(ids(&two.claim(request(second, 10)).await.unwrap()), [id]);
    assert_eq!(renew(&one, first, NOW, SHORT).await, None, "it hears that it is gone");
    assert_eq!(one.settle(first, sent(id)).await.unwrap(), 0);
    assert_eq!(two.settle(second, sent(id)).await.unwrap(), 1);
    // A node that is too late for its own lease is given nothing that it accepts.
    let third = ObjectId::new(NOW);
    renew(&one, third, NOW, Duration::ZERO).await;
    let mut new = small(&["b@one.example"]);
    new.deliveries[0].claimed_by = Some(third);
    one.accept(new).await.unwrap();
    assert_eq!(two.claim(request(second, 10)).await.unwrap().emails.len(), 1);
}

#[tokio::test]
async fn what_is_owned_by_nobody_who_is_registered_goes_on() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    store.accept(small(&["a@one.example"])).await.unwrap();
    // As a claim does that comes in the last moment of a node that is forgotten just then.
    let deliveries = mongo.collection("deliveries").await;
    let claim = mongodb::bson::doc! {
        "$set": { "owner": mongodb::bson::oid::ObjectId::new() }, "$unset": { "readyAt": "" },
    };
    deliveries.update_one(mongodb::bson::doc! {}, claim).await.unwrap();
    let node = register(&store).await;
    assert_eq!(store.claim(request(node, 10)).await.unwrap().emails.len(), 1);
}

/// The server keeps it open for a minute, and nothing that it changed can be changed before.
#[tokio::test]
async fn a_transaction_that_a_node_left_open_holds_up_nothing_else() {
    use mongodb::bson::doc;
    const DELIVERIES: usize = 20;
    let mongo = Mongo::default();
    let (dead, alive) = (mongo.store().await, mongo.store().await);
    let node = register(&dead).await;
    for _ in 0..DELIVERIES {
        let mut new = small(&["a@one.example"]);
        new.deliveries[0].claimed_by = Some(node);
        dead.accept(new).await.unwrap();
    }
    let client = Client::with_uri_str(mongo.url().await).await.unwrap();
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let deliveries = client.default_database().unwrap().collection::<Document>("deliveries");
    let settle = doc! { "$unset": { "owner": "" } };
    deliveries.update_one(doc! {}, settle).session(&mut session).await.unwrap();

    let later = NOW + LEASE * 2;
    let second = ObjectId::new(later);
    let started = Instant::now();
    let membership = alive.renew(Renewal::new(second, later, LEASE)).await.unwrap().unwrap();
    assert_eq!(membership.nodes, 1);
    let claim = ClaimRequest { now: later + Duration::from_secs(10), ..request(second, 100) };
    assert_eq!(ids(&alive.claim(claim.clone()).await.unwrap()).len(), DELIVERIES - 1);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    session.abort_transaction().await.unwrap();
    alive.renew(Renewal::new(second, later, LEASE)).await.unwrap().unwrap();
    assert_eq!(ids(&alive.claim(claim).await.unwrap()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_seldom_want_the_same() {
    const DELIVERIES: usize = 600;
    let mongo = Mongo::default();
    let stores = [mongo.store().await, mongo.store().await, mongo.store().await];
    let mut nodes = Vec::new();
    for store in &stores {
        nodes.push(register(store).await);
    }
    // Now each knows of the others.
    for (store, &node) in stores.iter().zip(&nodes) {
        assert_eq!(store.renew(Renewal::new(node, NOW, LEASE)).await.unwrap().unwrap().nodes, 3);
    }
    let accepts = (0..DELIVERIES).map(|n| stores[0].accept(small(&[&format!("a@d{}.example", n % 5)])));
    for result in futures_util::future::join_all(accepts).await {
        result.unwrap();
    }
    let claims = stores.iter().zip(&nodes).map(async |(store, &node)| {
        let mut claimed = Vec::new();
        loop {
            let got = ids(&store.claim(request(node, 40)).await.unwrap());
            if got.is_empty() {
                return claimed;
            }
            claimed.extend(got);
        }
    });
    let claimed = futures_util::future::join_all(claims).await;
    let all: HashSet<_> = claimed.iter().flatten().collect();
    assert_eq!(claimed.iter().map(Vec::len).sum::<usize>(), DELIVERIES, "each once");
    assert_eq!(all.len(), DELIVERIES);
    assert!(claimed.iter().all(|claimed| claimed.len() > DELIVERIES / 10), "each node gets its part");
    let conflicts: u64 = stores.iter().map(MongoStore::claim_conflicts).sum();
    assert!(conflicts <= DELIVERIES as u64 / 5, "{conflicts} conflicts for {DELIVERIES} claims");
}

#[tokio::test]
async fn more_domains_than_one_claim_looks_at_come_all() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let node = register(&store).await;
    let recipients: Vec<String> = (0..2_300).map(|n| format!("a@d{n}.example")).collect();
    store.accept(small(&recipients.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
    let first = store.claim(request(node, 10_000)).await.unwrap();
    assert!(first.more && ids(&first).len() < recipients.len());
    let second = store.claim(request(node, 10_000)).await.unwrap();
    assert!(!second.more);
    assert_eq!(ids(&first).len() + ids(&second).len(), recipients.len());
}

#[tokio::test]
async fn without_change_streams_changes_are_asked_for() {
    let mongo = Mongo::default();
    let polling = MongoOptions { polls_for_changes: true, ..options(mongo.url().await) };
    let (store, other) = (mongo.store().await, MongoStore::open(polling).await.unwrap());
    let mut heard = other.changes();
    // At first it looks everywhere.
    for _ in Change::ALL {
        heard.recv().await.unwrap();
    }
    store.accept(small(&["a@one.example"])).await.unwrap();
    let guard = Duration::from_secs(GUARD_SECONDS);
    assert_eq!(tokio::time::timeout(guard, heard.recv()).await.unwrap().unwrap(), Change::Queue);
}

#[tokio::test]
async fn a_closed_store_has_told_what_it_changed() {
    let mongo = Mongo::default();
    let listening = mongo.store().await;
    let mut heard = listening.changes();
    for _ in Change::ALL {
        heard.recv().await.unwrap();
    }
    // As a command line does: it ends right after its order.
    let started = Instant::now();
    let command = mongo.store().await;
    command.accept(small(&["a@one.example"])).await.unwrap();
    command.close().await.unwrap();
    let guard = Duration::from_secs(GUARD_SECONDS);
    assert_eq!(tokio::time::timeout(guard, heard.recv()).await.unwrap().unwrap(), Change::Queue);
    assert!(started.elapsed() < guard);
}
