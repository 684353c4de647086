//! Requests that came with a key: known by it, in the same commit as their e-mails.

use std::time::Duration;

use postrider_core::submission::RequestPart;

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;
use crate::traits::Store;

fn part(key: u8, number: u32) -> RequestPart {
    RequestPart { key: [key; 32], number, fingerprint: [key ^ 0xff; 32] }
}

fn asked(seconds: i64, part: RequestPart) -> NewEmail {
    let answer = format!("{{\"second\": {seconds}}}");
    NewEmail { request: Some(NewRequest { part, answer }), ..email(seconds, &["a@one.example"]) }
}

fn record(seconds: i64, part: RequestPart) -> RequestRecord {
    RequestRecord { part, at: at(seconds), answer: format!("{{\"second\": {seconds}}}") }
}

async fn emails(store: &dyn Store) -> u64 {
    store.list(&EmailFilter::default(), 1, 1).await.unwrap().total
}

pub(super) async fn a_request_is_carried_out_once(harness: &dyn Harness) {
    let store = harness.open().await;
    assert_eq!(store.request([1; 32]).await.unwrap(), []);
    for (seconds, part) in [(1, part(1, 0)), (2, part(1, 11)), (3, part(1, 2)), (4, part(2, 0))] {
        store.accept(asked(seconds, part)).await.unwrap();
    }
    let known = [record(1, part(1, 0)), record(3, part(1, 2)), record(2, part(1, 11))];
    assert_eq!(store.request([1; 32]).await.unwrap(), known);
    let again = RequestPart { fingerprint: [7; 32], ..part(1, 2) };
    assert!(matches!(store.accept(asked(5, again)).await, Err(StoreError::Exists(_))));
    assert_eq!(store.request([1; 32]).await.unwrap(), known);
    assert_eq!(emails(store.as_ref()).await, 4, "what came again was not stored");
    // An id that is taken leaves nothing of the request either.
    let taken = asked(6, part(3, 0));
    store.accept(NewEmail { request: None, ..taken.clone() }).await.unwrap();
    assert!(store.accept(taken).await.is_err());
    assert_eq!(store.request([3; 32]).await.unwrap(), []);
    store.close().await.unwrap();
    assert_eq!(harness.open().await.request([1; 32]).await.unwrap(), known);
}

/// However often it comes at the same time, on whatever node, beside whatever else.
pub(super) async fn requests_that_come_together_are_carried_out_once(harness: &dyn Harness) {
    let stores = [harness.open().await, harness.open_beside().await];
    let accepting: Vec<_> = (0..40)
        .map(|n| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move { store.accept(asked(n as i64, part((n % 4) as u8, 0))).await })
        })
        .collect();
    let mut accepted = 0;
    for accepting in accepting {
        match accepting.await.unwrap() {
            Ok(_) => accepted += 1,
            Err(error) => assert!(matches!(error, StoreError::Exists(_)), "{error}"),
        }
    }
    assert_eq!((accepted, emails(stores[0].as_ref()).await), (4, 4));
}

/// What nobody takes in is not carried out.
pub(super) async fn a_request_whose_filings_are_refused_may_come_again(harness: &dyn Harness) {
    let store = harness.open().await;
    let nobody = UserId::from_bytes([9; 12]);
    let request = Some(NewRequest { part: part(1, 0), answer: "{}".to_owned() });
    let refused = store.accept(NewEmail { request, ..filed_email(1, &[nobody]) }).await.unwrap();
    assert_eq!(refused.refused.len(), 1);
    assert_eq!(store.request([1; 32]).await.unwrap(), []);
    store.accept(asked(2, part(1, 0))).await.unwrap();
}

pub(super) async fn old_requests_are_forgotten(harness: &dyn Harness) {
    let store = harness.open().await;
    for number in 0..5 {
        store.accept(asked(i64::from(number), part(1, number))).await.unwrap();
    }
    assert_eq!(store.sweep_requests(at(3), 2).await.unwrap(), 2);
    assert_eq!(store.sweep_requests(at(3), 2).await.unwrap(), 1);
    assert_eq!(store.sweep_requests(at(3), 2).await.unwrap(), 0);
    let kept = store.request([1; 32]).await.unwrap();
    assert_eq!(kept, [record(3, part(1, 3)), record(4, part(1, 4))]);
    // What is not known any more is swept, at that very instant.
    let last = at(3) + REQUEST_KEPT;
    assert!(kept[0].is_known(last) && !kept[0].is_known(last + Duration::from_millis(1)));
    assert_eq!(store.sweep_requests(last - REQUEST_KEPT, 2).await.unwrap(), 0);
    assert_eq!(store.sweep_requests(last + Duration::from_millis(1) - REQUEST_KEPT, 1).await.unwrap(), 1);
    store.accept(asked(9, part(1, 0))).await.unwrap();
}

pub(super) async fn requests_move_to_another_store(harness: &dyn Harness) {
    let (store, other) = (harness.open().await, harness.open_other().await);
    for (seconds, part) in [(1, part(200, 1)), (2, part(200, 0)), (3, part(3, 12)), (4, part(3, 2))] {
        store.accept(asked(seconds, part)).await.unwrap();
    }
    let first = store.export_requests(None, 3).await.unwrap();
    assert_eq!(first, [record(4, part(3, 2)), record(3, part(3, 12)), record(2, part(200, 0))]);
    let rest = store.export_requests(first.last().map(RequestRecord::place), 3).await.unwrap();
    assert_eq!(rest, [record(1, part(200, 1))]);
    assert_eq!(store.export_requests(rest.last().map(RequestRecord::place), 3).await.unwrap(), []);
    assert_eq!(other.import_requests(first.clone()).await.unwrap(), 3);
    let overlapping = [&first[2..], &rest[..]].concat();
    assert_eq!(other.import_requests(overlapping).await.unwrap(), 1);
    assert_eq!(other.request([200; 32]).await.unwrap(), [record(2, part(200, 0)), record(1, part(200, 1))]);
}
