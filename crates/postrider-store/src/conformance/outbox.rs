//! The outbox: events, and who is told of them.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::ObjectId;

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;
use crate::traits::Store;

const ONE: EndpointId = ObjectId::from_bytes([1; 12]);
const OTHER: EndpointId = ObjectId::from_bytes([2; 12]);

const LOCK: Duration = Duration::from_secs(60);

fn event(kind: EventKind, seconds: i64, endpoints: &[EndpointId]) -> NewEvent {
    let calls = endpoints.iter().map(|&endpoint| NewCall { id: ObjectId::new(at(seconds)), endpoint, url: None });
    NewEvent {
        id: ObjectId::new(at(seconds)),
        kind,
        at: at(seconds),
        calls: calls.collect(),
        data: format!("{{\"at\":{seconds}}}"),
    }
}

/// An e-mail of which these endpoints are told that it came.
fn told_email(seconds: i64, endpoints: &[EndpointId]) -> NewEmail {
    NewEmail { events: vec![event(EventKind::Accepted, seconds, endpoints)], ..email(seconds, &["a@one.example"]) }
}

fn ask(seconds: i64, endpoints: &[(EndpointId, usize)]) -> CallClaimRequest {
    CallClaimRequest { now: at(seconds), lock: LOCK, endpoints: endpoints.to_vec() }
}

/// The times of the events of what is claimed, of the first endpoint.
async fn claimed_at(store: &Arc<dyn Store>, seconds: i64) -> Vec<i64> {
    let claimed = store.claim_calls(ask(seconds, &[(ONE, 10)])).await.unwrap();
    claimed.iter().map(|call| (call.at.as_millis() - at(0).as_millis()) / 1000).collect()
}

async fn waiting(store: &Arc<dyn Store>) -> Vec<CallRecord> {
    let filter = CallFilter { state: Some(CallState::Waiting), ..CallFilter::default() };
    let mut calls = store.calls(&filter, 1, 100).await.unwrap().calls;
    calls.reverse();
    calls
}

fn tried(id: CallId, seconds: i64, next: CallNext) -> CallSettlement {
    let attempt = CallAttempt {
        at: at(seconds),
        duration_ms: 12,
        url: (seconds % 2 == 0).then(|| "https://hooks.example/now".to_owned()),
        status: Some(if next == CallNext::Delivered { 204 } else { 500 }),
        error: (next != CallNext::Delivered).then(|| "not \u{e4}".to_owned()),
        body: Some("{}".to_owned()),
    };
    CallSettlement { id, attempt, next }
}

async fn settle_call(store: &Arc<dyn Store>, id: CallId, seconds: i64, next: CallNext) {
    assert_eq!(store.settle_calls(vec![tried(id, seconds, next)]).await.unwrap(), 1);
}

pub(super) async fn events_come_with_what_they_tell_of(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let start = store.events(None, 10).await.unwrap();
    assert!(start.events.is_empty());
    let mut new = claimed_email(1, &["a@one.example", "b@one.example"], node);
    new.events = vec![event(EventKind::Accepted, 1, &[ONE]), event(EventKind::Received, 1, &[])];
    let expected: Vec<_> = new.events.iter().map(|event| (event.id, event.kind, at(1), new.id, None)).collect();
    let again = NewEmail { events: vec![event(EventKind::Accepted, 2, &[ONE])], ..new.clone() };
    let id = accept(&store, new).await;
    assert!(matches!(store.accept(again).await, Err(StoreError::Exists(_))));
    let settle = |number, kind| {
        let mut settlement = settlement(delivery(id, number), 1, 3, Next::Sent);
        settlement.event = Some(event(kind, 3, &[ONE, OTHER]));
        Settle { settlements: vec![settlement], ..Settle::default() }
    };
    assert_eq!(store.settle(node, settle(1, EventKind::Delivered)).await.unwrap(), 1);
    assert_eq!(store.settle(node, settle(1, EventKind::Failed)).await.unwrap(), 0, "it is settled already");
    let page = store.events(Some(&start.cursor), 10).await.unwrap();
    let told: Vec<_> =
        page.events.iter().map(|event| (event.id, event.kind, event.at, event.email, event.delivery)).collect();
    assert_eq!(told[..2], expected);
    assert_eq!((told.len(), told[2].1, told[2].3, told[2].4), (3, EventKind::Delivered, id, Some(1)));
    assert_eq!(waiting(&store).await.len(), 3, "one call of the first, two of the last");
}

pub(super) async fn a_call_may_say_where_it_goes(harness: &dyn Harness) {
    let (store, other) = (harness.open().await, harness.open_other().await);
    let mut new = told_email(1, &[ONE, ONE]);
    let url = Some("https://app.example/hook?\u{e4}=1".to_owned());
    new.events[0].calls[1].url.clone_from(&url);
    accept(&store, new).await;
    let urls: Vec<_> = waiting(&store).await.into_iter().map(|call| call.url).collect();
    assert_eq!(urls, [None, url.clone()]);
    let exported = store.export_calls(None, 10).await.unwrap();
    assert_eq!(other.import_calls(exported.clone()).await.unwrap(), 2);
    assert_eq!(other.export_calls(None, 10).await.unwrap(), exported);
    for expected in [None, url] {
        let claimed = store.claim_calls(ask(2, &[(ONE, 10)])).await.unwrap();
        assert_eq!((claimed.len(), &claimed[0].url), (1, &expected));
        settle_call(&store, claimed[0].id, 2, CallNext::Delivered).await;
    }
}

pub(super) async fn events_are_followed_from_a_cursor(harness: &dyn Harness) {
    let store = harness.open().await;
    accept(&store, told_email(1, &[])).await;
    let mut cursor = store.events(None, 10).await.unwrap().cursor;
    let mut expected = Vec::new();
    for n in 2..9 {
        let new = told_email(n, &[]);
        expected.push(new.events[0].id);
        accept(&store, new).await;
    }
    let (mut followed, start) = (Vec::new(), cursor.clone());
    for _ in 0..5 {
        let page = store.events(Some(&cursor), 3).await.unwrap();
        assert!(page.events.len() <= 3);
        followed.extend(page.events.iter().map(|event| event.id));
        if let Some(last) = page.events.last() {
            assert_eq!(page.cursor, last.cursor);
        }
        cursor = page.cursor;
    }
    assert_eq!(followed, expected);
    store.close().await.unwrap();
    let store = harness.open().await;
    let page = store.events(Some(&start), 100).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.id).collect::<Vec<_>>(), expected, "also after a restart");
    // What is behind all that has happened would wait in silence for what was promised to somebody else.
    let beyond = (page.cursor.parse::<u64>().unwrap() + 1).to_string();
    for cursor in ["nonsense", "-1", &beyond, "9223372036854775807"] {
        assert!(matches!(store.events(Some(cursor), 1).await, Err(StoreError::Limit(_))), "{cursor}");
    }
    let page = store.events(Some(&page.cursor), 1).await.unwrap();
    assert!(page.events.is_empty());
}

pub(super) async fn calls_about_one_email_are_made_in_order(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut new = claimed_email(1, &["a@one.example"], node);
    new.events = vec![event(EventKind::Accepted, 1, &[ONE])];
    let id = accept(&store, new).await;
    let mut deferred = settlement(delivery(id, 0), 1, 2, Next::Retry { at: at(50) });
    deferred.event = Some(event(EventKind::Deferred, 2, &[ONE]));
    store.settle(node, Settle { settlements: vec![deferred], ..Settle::default() }).await.unwrap();
    accept(&store, told_email(3, &[ONE])).await;
    assert_eq!(claimed_at(&store, 10).await, [1, 3], "the first of each e-mail");
    assert!(claimed_at(&store, 10).await.is_empty());
    let calls = waiting(&store).await;
    assert_eq!((calls[0].kind, calls[0].email, calls[0].event), (EventKind::Accepted, id, calls[0].event));
    settle_call(&store, calls[0].id, 11, CallNext::Delivered).await;
    assert_eq!(claimed_at(&store, 12).await, [2]);
}

pub(super) async fn a_call_that_failed_comes_back_when_due(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut new = claimed_email(1, &["a@one.example"], node);
    new.events = vec![event(EventKind::Accepted, 1, &[ONE])];
    let id = accept(&store, new).await;
    let first = store.claim_calls(ask(2, &[(ONE, 10)])).await.unwrap().remove(0);
    assert_eq!((first.tries, first.data.as_str(), first.email), (0, "{\"at\":1}", id));
    settle_call(&store, first.id, 2, CallNext::Retry { at: at(30) }).await;
    // What comes later about the same e-mail waits behind it.
    let mut sent = settlement(delivery(id, 0), 1, 5, Next::Sent);
    sent.event = Some(event(EventKind::Delivered, 5, &[ONE]));
    store.settle(node, Settle { settlements: vec![sent], ..Settle::default() }).await.unwrap();
    assert!(claimed_at(&store, 29).await.is_empty());
    let again = store.claim_calls(ask(30, &[(ONE, 10)])).await.unwrap();
    assert_eq!((again.len(), again[0].id, again[0].tries), (1, first.id, 1));
    settle_call(&store, first.id, 31, CallNext::GivenUp).await;
    assert_eq!(store.settle_calls(vec![tried(first.id, 32, CallNext::Delivered)]).await.unwrap(), 0, "it is over");
    assert_eq!(claimed_at(&store, 32).await, [5]);
    let given_up = CallFilter { state: Some(CallState::GivenUp), ..CallFilter::default() };
    let page = store.calls(&given_up, 1, 10).await.unwrap();
    let attempts: Vec<_> = page.calls[0].attempts.iter().map(|attempt| (attempt.at, attempt.status)).collect();
    assert_eq!((page.total, attempts), (1, vec![(at(2), Some(500)), (at(31), Some(500))]));
    assert_eq!(page.calls[0].attempts[0], tried(first.id, 2, CallNext::GivenUp).attempt);
    assert_eq!(page.calls[0].due_at, None);
}

pub(super) async fn calls_are_locked_while_they_are_made(harness: &dyn Harness) {
    let store = harness.open().await;
    for n in 0..20 {
        accept(&store, told_email(n, &[ONE])).await;
    }
    let claims = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.claim_calls(ask(30, &[(ONE, 7)])).await.unwrap() })
    });
    let mut ids = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        ids.extend(claim.await.unwrap().into_iter().map(|call| call.id));
    }
    let claimed = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), claimed, "nobody gets what another has");
    while !store.claim_calls(ask(30, &[(ONE, 7)])).await.unwrap().is_empty() {}
    assert!(store.claim_calls(ask(89, &[(ONE, 100)])).await.unwrap().is_empty());
    assert_eq!(store.claim_calls(ask(91, &[(ONE, 100)])).await.unwrap().len(), 20, "whoever had them is gone");
}

pub(super) async fn endpoints_have_their_own_limits(harness: &dyn Harness) {
    let store = harness.open().await;
    for n in 0..10 {
        accept(&store, told_email(n, &[ONE, OTHER])).await;
    }
    let claimed = store.claim_calls(ask(20, &[(ONE, 3), (OTHER, 5)])).await.unwrap();
    let count = |endpoint| claimed.iter().filter(|call| call.endpoint == endpoint).count();
    assert_eq!((count(ONE), count(OTHER)), (3, 5));
    assert!(store.claim_calls(ask(20, &[(ONE, 0)])).await.unwrap().is_empty());
    assert!(store.claim_calls(ask(20, &[])).await.unwrap().is_empty());
    assert_eq!(store.drop_calls(OTHER).await.unwrap(), 10);
    assert!(store.claim_calls(ask(1_000, &[(OTHER, 10)])).await.unwrap().is_empty());
    assert_eq!(store.claim_calls(ask(1_000, &[(ONE, 100)])).await.unwrap().len(), 10);
}

pub(super) async fn calls_are_listed_and_replayed(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut emails = Vec::new();
    for n in 0..6 {
        emails.push(accept(&store, told_email(n, &[if n < 4 { ONE } else { OTHER }])).await);
    }
    let calls = waiting(&store).await;
    for (n, call) in (0..).zip(&calls[..4]) {
        let next = if n < 2 { CallNext::Delivered } else { CallNext::GivenUp };
        settle_call(&store, call.id, 20 + n, next).await;
    }
    let all = CallFilter::default;
    let cases = [
        (all(), vec![5, 4, 3, 2, 1, 0]),
        (CallFilter { endpoint: Some(ONE), ..all() }, vec![3, 2, 1, 0]),
        (CallFilter { state: Some(CallState::Delivered), ..all() }, vec![1, 0]),
        (CallFilter { state: Some(CallState::GivenUp), endpoint: Some(OTHER), ..all() }, vec![]),
        (CallFilter { email: Some(emails[2]), ..all() }, vec![2]),
        (CallFilter { kind: Some(EventKind::Failed), ..all() }, vec![]),
        (CallFilter { from: Some(at(1)), to: Some(at(3)), ..all() }, vec![2, 1]),
        (CallFilter { ids: vec![calls[5].id, calls[0].id, ObjectId::default()], ..all() }, vec![5, 0]),
    ];
    for (filter, expected) in cases {
        let page = store.calls(&filter, 1, 100).await.unwrap();
        let found: Vec<_> = page.calls.iter().map(|call| calls.iter().position(|c| c.id == call.id).unwrap()).collect();
        assert_eq!((found, page.total as usize), (expected.clone(), expected.len()), "{filter:?}");
    }
    let page = store.calls(&all(), 2, 4).await.unwrap();
    assert_eq!((page.calls.len(), page.total), (2, 6));
    let given_up = CallFilter { state: Some(CallState::GivenUp), ..all() };
    assert_eq!(store.replay_calls(&given_up, at(40)).await.unwrap(), 2);
    let again = store.claim_calls(ask(40, &[(ONE, 10)])).await.unwrap();
    assert_eq!(
        again.iter().map(|call| (call.id, call.tries)).collect::<Vec<_>>(),
        [(calls[2].id, 0), (calls[3].id, 0)]
    );
    let one = CallFilter { ids: vec![calls[2].id], ..all() };
    assert_eq!(store.calls(&one, 1, 1).await.unwrap().calls[0].attempts.len(), 1, "what was is kept");
}

pub(super) async fn calls_outlive_their_email(harness: &dyn Harness) {
    let store = harness.open().await;
    let id = accept(&store, told_email(1, &[ONE])).await;
    accept(&store, told_email(2, &[OTHER])).await;
    assert!(store.delete(id).await.unwrap());
    store.close().await.unwrap();
    let store = harness.open().await;
    let claimed = store.claim_calls(ask(3, &[(ONE, 1)])).await.unwrap();
    assert_eq!((claimed[0].email, claimed[0].data.as_str()), (id, "{\"at\":1}"));
    settle_call(&store, claimed[0].id, 4, CallNext::Retry { at: at(9) }).await;
    let mut exported: Vec<CallRecord> = Vec::new();
    loop {
        let some = store.export_calls(exported.last().map(|call| call.id), 1).await.unwrap();
        if some.is_empty() {
            break;
        }
        exported.extend(some);
    }
    let other = harness.open_other().await;
    assert_eq!(other.import_calls(exported.clone()).await.unwrap(), 2);
    assert_eq!(other.import_calls(exported.clone()).await.unwrap(), 0);
    assert_eq!(other.export_calls(None, 10).await.unwrap(), exported);
    assert_eq!(other.claim_calls(ask(10, &[(ONE, 9), (OTHER, 9)])).await.unwrap().len(), 2);
}

pub(super) async fn what_is_old_is_forgotten(harness: &dyn Harness) {
    let store = harness.open().await;
    let start = store.events(None, 1).await.unwrap().cursor;
    for n in 0..9 {
        accept(&store, told_email(n, &[ONE])).await;
    }
    let calls = waiting(&store).await;
    for (n, call) in calls.iter().enumerate().filter(|(n, _)| n % 3 > 0) {
        let next = if n % 3 == 1 { CallNext::Delivered } else { CallNext::GivenUp };
        settle_call(&store, call.id, 20, next).await;
    }
    let sweep = OutboxSweep { events_before: at(6), delivered_before: at(5), given_up_before: at(3), count: 2 };
    let mut swept = 0;
    loop {
        match store.sweep_outbox(sweep).await.unwrap() {
            0 => break,
            count => swept += count,
        }
    }
    assert_eq!(swept, 6 + 2 + 1, "six events, two calls that were delivered, one that was given up");
    let left = store.events(Some(&start), 100).await.unwrap().events;
    assert_eq!(left.iter().map(|event| event.at).collect::<Vec<_>>(), [at(6), at(7), at(8)]);
    let left = store.calls(&CallFilter::default(), 1, 100).await.unwrap().calls;
    let mut left: Vec<_> = left.iter().map(|call| call.at).collect();
    left.sort();
    assert_eq!(left, [0, 3, 5, 6, 7, 8].map(at), "what waits is never forgotten");
}
