//! A server that cannot be reached, and what is left over from then.

use std::time::Instant;

use mongodb::bson::doc;
use postrider_testkit::{ProxyMode, TcpProxy, eventually};

use super::*;

const PATIENCE: Duration = Duration::from_millis(700);

/// A store whose network fails on demand, and a clear view of its database.
pub(super) struct Cut {
    server: MongoServer,
    database: MongoDatabase,
    pub(super) proxy: TcpProxy,
    pub(super) store: MongoStore,
}

impl Cut {
    pub(super) async fn start() -> Option<Self> {
        let server = MongoServer::start_own().await?;
        let database = server.database();
        let proxy = TcpProxy::start(server.address()).await;
        let url = database.url_through(proxy.address());
        let store = MongoStore::open(MongoOptions { answer_timeout: PATIENCE, ..options(&url) }).await.unwrap();
        Some(Self { server, database, proxy, store })
    }

    async fn deliveries(&self) -> Collection<Document> {
        self.database().await.collection("deliveries")
    }

    /// As another program sees it.
    pub(super) async fn database(&self) -> mongodb::Database {
        Client::with_uri_str(self.database.url()).await.unwrap().default_database().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_answer_is_unavailable_in_time_and_comes_back() {
    let Some(cut) = Cut::start().await else { return };
    let node = register(&cut.store).await;
    cut.store.accept(small(&["a@one.example"])).await.unwrap();
    cut.proxy.set(ProxyMode::Drop).await;
    let started = Instant::now();
    let accept = cut.store.accept(small(&["b@one.example"]));
    let (accept, claim, stats, health, renew) = tokio::join!(
        accept,
        cut.store.claim(request(node, 10)),
        cut.store.queue_stats(NOW),
        cut.store.health(),
        cut.store.renew(Renewal::new(node, NOW, LEASE)),
    );
    let errors = [accept.err(), claim.err(), stats.err(), health.err(), renew.err()];
    assert!(errors.iter().all(|error| matches!(error, Some(StoreError::Unavailable(_)))), "{errors:?}");
    assert!(started.elapsed() < PATIENCE * 20, "{:?}", started.elapsed());
    cut.proxy.set(ProxyMode::Pass).await;
    eventually("the store to work again", async || cut.store.health().await.ok()).await;
    cut.store.accept(small(&["c@one.example"])).await.unwrap();
    assert!(cut.store.queue_stats(NOW).await.unwrap().total >= 2);
    drop(cut.server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_nobody_heard_of_are_given_back() {
    let Some(cut) = Cut::start().await else { return };
    let node = register(&cut.store).await;
    let count = 6;
    for n in 0..count {
        cut.store.accept(small(&[&format!("a{n}@one.example")])).await.unwrap();
    }
    let deliveries = cut.deliveries().await;
    // Requests arrive, answers do not: claims and acceptances come into effect without anyone's knowing.
    for _ in 0..4 {
        cut.proxy.set(ProxyMode::HalfClose).await;
        let mut claimed = small(&["b@two.example"]);
        claimed.deliveries[0].claimed_by = Some(node);
        let _ = tokio::join!(cut.store.claim(request(node, 2)), cut.store.accept(claimed));
        cut.proxy.set(ProxyMode::Pass).await;
        eventually("the store to work again", async || cut.store.health().await.ok()).await;
    }
    // The node lives all the time, and holds nothing that it knows of.
    eventually("every claim to be given back", async || {
        let owned = deliveries.count_documents(doc! { "owner": { "$exists": true } }).await.unwrap();
        (owned == 0).then_some(())
    })
    .await;
    assert!(ids(&cut.store.claim(request(node, 100)).await.unwrap()).len() >= count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_acknowledged_survives_its_death() {
    let Some(mut cut) = Cut::start().await else { return };
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let accepts = (0..40).map(|_| small(&["a@one.example"])).map(|new| {
            let (id, store) = (new.id, &cut.store);
            async move { store.accept(new).await.is_ok().then_some(id) }
        });
        acknowledged.extend(futures_util::future::join_all(accepts).await.into_iter().flatten());
        cut.server.kill();
        cut.server.restart().await;
        eventually("the store to work again", async || cut.store.health().await.ok()).await;
        assert!(acknowledged.len() >= 40 * (round + 1), "the server was alive");
    }
    for id in acknowledged {
        assert!(cut.store.raw(id).await.unwrap().is_some(), "{id}");
    }
}

/// The server died after it had committed, and before it could say so: what is tried again must not take its own work for
/// another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_recognized() {
    const ROUNDS: u32 = 8;
    let Some(mut server) = MongoServer::start_own().await else { return };
    let database = server.database();
    let store = Arc::new(MongoStore::open(options(database.url())).await.unwrap());
    let mut taken = Vec::new();
    for round in 0..ROUNDS {
        let until = Instant::now() + Duration::from_secs(1);
        let accepting = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                while Instant::now() < until {
                    let new = small(&[]);
                    let id = new.id;
                    match store.accept(new).await {
                        Ok(_) => taken.push(id),
                        Err(error) => assert!(!matches!(error, StoreError::Exists(_)), "{error}"),
                    }
                }
                taken
            })
        });
        let accepting: Vec<_> = accepting.collect();
        tokio::time::sleep(Duration::from_millis(u64::from(150 + 31 * round))).await;
        server.restart().await;
        for accepting in accepting {
            taken.extend(accepting.await.unwrap());
        }
    }
    for id in &taken {
        assert!(store.raw(*id).await.unwrap().is_some(), "{id}");
    }
    let stats = store.queue_stats(NOW).await.unwrap();
    assert!(stats.received >= taken.len() as u64, "{stats:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let options = MongoOptions {
        answer_timeout: Duration::from_millis(300),
        ..MongoOptions::new("mongodb://ann:secret@127.0.0.1:1/mail")
    };
    let error = MongoStore::open(options).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1") && !error.contains("secret"), "{error}");
    let error = MongoStore::open(MongoOptions::new("mongodb://")).await.unwrap_err().to_string();
    assert!(error.contains("MONGODB_URL"), "{error}");
}
