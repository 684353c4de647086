//! What was answered with success is there after the store was opened again.

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;
use postrider_core::EmailStatus;

pub(super) async fn what_was_accepted_survives_reopening(harness: &dyn Harness) {
    let store = harness.open().await;
    let new = email(1, &["a@one.example", "b@two.example"]);
    let raw = new.message.raw.clone();
    let id = accept(&store, new).await;
    let before = detail(&store, id).await;
    store.close().await.unwrap();
    drop(store);
    let (store, node) = open_with_node(harness).await;
    assert_eq!(detail(&store, id).await, before);
    assert_eq!(store.raw(id).await.unwrap().unwrap().raw, raw);
    assert_eq!(claim_all(&store, node, 2).await.len(), 2, "what waits goes on after a restart");
}

pub(super) async fn what_was_settled_survives_reopening(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    assert_eq!(settle(&store, node, delivery(id, 0), 2, Next::Sent).await, 1);
    let before = detail(&store, id).await;
    store.close().await.unwrap();
    drop(store);
    let (store, node) = open_with_node(harness).await;
    assert_eq!(detail(&store, id).await, before);
    assert_eq!(before.email.status, EmailStatus::Sent);
    assert!(claim_all(&store, node, 1000).await.is_empty(), "what is settled is never sent again");
}

pub(super) async fn a_closed_store_answers_unavailable(harness: &dyn Harness) {
    let store = harness.open().await;
    store.close().await.unwrap();
    let unavailable = |error: StoreError| matches!(error, StoreError::Unavailable(_));
    assert!(unavailable(store.accept(email(1, &["a@one.example"])).await.unwrap_err()));
    assert!(unavailable(store.queue_stats(at(1)).await.unwrap_err()));
    assert!(unavailable(store.users().await.unwrap_err()));
    assert!(unavailable(store.health().await.unwrap_err()));
    store.close().await.unwrap();
}

pub(super) async fn a_dropped_store_keeps_what_it_acknowledged(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(accept(&store, email(n, &["a@one.example"])).await);
    }
    drop(store);
    let store = harness.open().await;
    ids.reverse();
    assert_eq!(listed(&store, EmailFilter::default()).await, ids);
}

pub(super) async fn health_tells_of_a_store_that_works(harness: &dyn Harness) {
    let store = harness.open().await;
    let health = store.health().await.unwrap();
    assert!(!health.engine.is_empty());
}
