//! The MongoDB engine: the suite of all engines, and what only this one promises.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

mod documents;
mod mailboxes;
mod nodes;
mod outage;
mod queries;
mod words;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mongodb::bson::Document;
use mongodb::{Client, Collection};
use postrider_core::{Address, Direction, Envelope, Message, ObjectId, Recipient, ReversePath, Timestamp};
use postrider_store::conformance::Harness;
use postrider_store::*;
use postrider_store_mongo::{LeaseClock, MongoOptions, MongoStore};
use postrider_testkit::{MongoDatabase, MongoServer};
use tokio::sync::OnceCell;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const LEASE: Duration = Duration::from_secs(60);

/// A database of its own on the server that all tests share.
#[derive(Debug, Default)]
struct Mongo {
    database: OnceCell<MongoDatabase>,
    other: OnceCell<MongoDatabase>,
}

impl Mongo {
    async fn url(&self) -> &str {
        fresh(&self.database).await
    }

    async fn store(&self) -> MongoStore {
        MongoStore::open(options(self.url().await)).await.unwrap()
    }

    /// A store, and every command that it sends to the server.
    async fn observed(&self) -> (MongoStore, Arc<Mutex<Vec<Document>>>) {
        let seen: Arc<Mutex<Vec<Document>>> = Arc::default();
        let observer = seen.clone();
        let options = MongoOptions {
            command_observer: Some(Arc::new(move |command| observer.lock().unwrap().push(command.clone()))),
            ..options(self.url().await)
        };
        (MongoStore::open(options).await.unwrap(), seen)
    }

    /// The collection as another program sees it.
    async fn collection(&self, name: &str) -> Collection<Document> {
        let client = Client::with_uri_str(self.url().await).await.unwrap();
        client.default_database().unwrap().collection(name)
    }
}

async fn fresh(database: &OnceCell<MongoDatabase>) -> &str {
    database.get_or_init(async || MongoServer::shared().await.database()).await.url()
}

/// Options with which a test brings its own time.
fn options(url: &str) -> MongoOptions {
    MongoOptions { lease_clock: LeaseClock::Callers, ..MongoOptions::new(url) }
}

#[async_trait]
impl Harness for Mongo {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }

    async fn open_other(&self) -> Arc<dyn Store> {
        Arc::new(MongoStore::open(options(fresh(&self.other).await)).await.unwrap())
    }

    fn is_single_process(&self) -> bool {
        false
    }
}

mod conformance {
    use super::Mongo;

    postrider_store::conformance_suite!(Mongo::default());
}

fn email(raw: impl Into<Bytes>, recipients: &[&str]) -> NewEmail {
    let delivery = |text: &&str| NewDelivery {
        recipient: Recipient::new(Address::parse(text).unwrap()),
        claimed_by: None,
        due_at: NOW,
    };
    NewEmail {
        id: ObjectId::new(NOW),
        created_at: NOW,
        direction: if recipients.is_empty() { Direction::Inbound } else { Direction::Outbound },
        envelope: Envelope {
            reverse_path: ReversePath(Some(Address::parse("Ann@example.org").unwrap())),
            ..Envelope::default()
        },
        instructions: Default::default(),
        authentication: Vec::new(),
        events: Vec::new(),
        request: None,
        message: Message::parse(raw.into(), 0),
        kept: Vec::new(),
        deliveries: recipients.iter().map(delivery).collect(),
        filed: None,
    }
}

fn small(recipients: &[&str]) -> NewEmail {
    email("Subject: small\r\n\r\nText.\r\n", recipients)
}

async fn register(store: &MongoStore) -> NodeId {
    let node = ObjectId::new(NOW);
    store.renew(Renewal::new(node, NOW, LEASE)).await.unwrap().unwrap();
    node
}

fn request(node: NodeId, limit: usize) -> ClaimRequest {
    ClaimRequest { node, now: NOW + Duration::from_secs(10), limit, per_domain_max: usize::MAX, held: Vec::new() }
}

fn ids(claimed: &Claimed) -> Vec<DeliveryId> {
    let ids = claimed.emails.iter().flat_map(|email| {
        email.deliveries.iter().map(|delivery| DeliveryId { email: email.id, number: delivery.number })
    });
    ids.collect()
}

fn sent(id: DeliveryId) -> Settle {
    settled(id, Next::Sent)
}

fn settled(id: DeliveryId, next: Next) -> Settle {
    use postrider_core::{Attempt, Category, Outcome, Reply};
    let reply = |code, text: &str| Reply { code, enhanced_code: None, text: text.into() };
    let attempt = Attempt {
        number: 1,
        started_at: NOW,
        duration: Duration::ZERO,
        mx: None,
        mx_ip: None,
        source_ip: None,
        ip_selection: None,
        tls: None,
        exchanges: Vec::new(),
        outcome: match next {
            Next::Sent => Outcome::Delivered { reply: reply(250, "ok") },
            Next::Retry { .. } => Outcome::Deferred {
                category: Category::Temporary,
                reply: Some(reply(451, "later")),
                reason: "later".into(),
            },
            Next::Failed => {
                Outcome::Failed { category: Category::Other, reply: Some(reply(550, "no")), reason: "no".into() }
            }
        },
    };
    let settlement = Settlement { id, attempt, next, delay_notified: false, event: None };
    Settle { settlements: vec![settlement], ..Settle::default() }
}
