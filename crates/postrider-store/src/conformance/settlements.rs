//! Settlements: what ends a claim, and what comes with it.

use postrider_core::{EmailStatus, ObjectId, Outcome};

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;

pub(super) async fn a_settlement_ends_the_claim(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    assert_eq!(settle(&store, node, delivery(id, 0), 4, Next::Failed).await, 1);
    assert_eq!(settle(&store, node, delivery(id, 0), 5, Next::Sent).await, 0, "a claim is settled once");
    let detail = detail(&store, id).await;
    let expected = attempt(1, 4, Next::Failed);
    assert_eq!(detail.attempts, [(0, expected.clone())]);
    let (record, delivered) = (&detail.email, &detail.deliveries[0]);
    assert_eq!((record.status, record.attempts, record.next_attempt_at), (EmailStatus::Failed, 1, None));
    assert_eq!(record.last_error, expected.outcome.error());
    assert_eq!((record.source_ip, record.updated_at), (expected.source_ip, at(4)));
    assert_eq!((delivered.status, delivered.attempts, delivered.next_attempt_at), (EmailStatus::Failed, 1, None));
    assert_eq!(delivered.last_response.as_ref(), expected.outcome.reply());
    assert_eq!(delivered.last_error, expected.outcome.error());
    assert_eq!(delivered.category, expected.outcome.category());
    assert_eq!(
        (&delivered.mx, delivered.mx_ip, delivered.source_ip),
        (&expected.mx, expected.mx_ip, expected.source_ip)
    );
    assert_eq!(delivered.tls, expected.tls);
    assert!(claim_all(&store, node, 10_000).await.is_empty());
}

pub(super) async fn a_deferred_delivery_comes_back_when_due(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    settle(&store, node, delivery(id, 0), 2, Next::Retry { at: at(60) }).await;
    let shown = detail(&store, id).await;
    assert_eq!((shown.email.status, shown.email.next_attempt_at), (EmailStatus::Deferred, Some(at(60))));
    assert_eq!(shown.deliveries[0].next_attempt_at, Some(at(60)));
    assert!(claim_all(&store, node, 59).await.is_empty());
    assert_eq!(claim_all(&store, node, 60).await, [delivery(id, 0)]);
    let shown = detail(&store, id).await;
    assert_eq!((shown.email.status, shown.email.next_attempt_at), (EmailStatus::Sending, None));
    assert_eq!(shown.deliveries[0].next_attempt_at, None);
    let sent = Settle { settlements: vec![settlement(delivery(id, 0), 2, 61, Next::Sent)], ..Settle::default() };
    store.settle(node, sent).await.unwrap();
    let shown = detail(&store, id).await;
    assert_eq!((shown.email.status, shown.email.attempts, shown.email.last_error), (EmailStatus::Sent, 2, None));
}

pub(super) async fn only_the_holder_settles(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, email(1, &["a@one.example"])).await;
    assert_eq!(settle(&store, node, delivery(id, 0), 2, Next::Sent).await, 0, "it was never claimed");
    assert_eq!(claim_all(&store, node, 2).await, [delivery(id, 0)]);
    assert_eq!(settle(&store, ObjectId::new(at(0)), delivery(id, 0), 3, Next::Sent).await, 0);
    assert_eq!(settle(&store, node, delivery(id, 1), 3, Next::Sent).await, 0, "there is no such recipient");
    let shown = detail(&store, id).await;
    assert_eq!(shown.email.status, EmailStatus::Sending);
    assert!(shown.attempts.is_empty());
}

pub(super) async fn a_deleted_email_has_nothing_to_settle(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    assert!(store.delete(id).await.unwrap());
    let report = email(3, &["sender@example.com"]);
    let settle = Settle {
        settlements: vec![settlement(delivery(id, 0), 1, 2, Next::Failed)],
        notifications: vec![report],
        ..Settle::default()
    };
    assert_eq!(store.settle(node, settle).await.unwrap(), 0);
    let stats = store.queue_stats(at(3)).await.unwrap();
    assert_eq!((stats.total, stats.sending, stats.failed_last_minute), (0, 0, 0));
}

pub(super) async fn notifications_come_with_their_settlements_only(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example", "b@one.example"], node)).await;
    let report = |seconds| email(seconds, &["sender@example.com"]);
    let (first, second) = (report(2), report(3));
    let (first_id, second_id) = (first.id, second.id);
    let failed = |number| settlement(delivery(id, number), 1, 2, Next::Failed);
    let both = Settle { settlements: vec![failed(0), failed(9)], notifications: vec![first], ..Settle::default() };
    assert_eq!(store.settle(node, both).await.unwrap(), 1);
    assert!(store.raw(first_id).await.unwrap().is_some());
    let none = Settle { settlements: vec![failed(0)], notifications: vec![second], ..Settle::default() };
    assert_eq!(store.settle(node, none).await.unwrap(), 0);
    assert_eq!(store.raw(second_id).await.unwrap(), None);
    assert_eq!(claim_all(&store, node, 10).await, [delivery(first_id, 0)], "a notification is delivered as all mail");
}

pub(super) async fn a_refused_notification_undoes_its_settlements(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    let taken = email(1, &[]);
    accept(&store, taken.clone()).await;
    let settle = Settle {
        settlements: vec![settlement(delivery(id, 0), 1, 2, Next::Failed)],
        notifications: vec![taken],
        ..Settle::default()
    };
    assert!(matches!(store.settle(node, settle.clone()).await, Err(StoreError::Exists(_))));
    let shown = detail(&store, id).await;
    assert_eq!(shown.email.status, EmailStatus::Sending, "the claim is as it was");
    assert!(shown.attempts.is_empty());
    assert_eq!(store.queue_stats(at(3)).await.unwrap().failed_last_minute, 0);
    assert_eq!(store.settle(node, Settle { notifications: Vec::new(), ..settle }).await.unwrap(), 1);
}

pub(super) async fn an_email_has_the_status_of_its_deliveries(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example", "b@one.example", "c@one.example"], node)).await;
    let status = async || detail(&store, id).await.email.status;
    settle(&store, node, delivery(id, 0), 2, Next::Sent).await;
    assert_eq!(status().await, EmailStatus::Sending);
    store.release(node, vec![delivery(id, 2)]).await.unwrap();
    settle(&store, node, delivery(id, 1), 3, Next::Failed).await;
    assert_eq!(status().await, EmailStatus::Queued);
    assert_eq!(claim_all(&store, node, 5).await, [delivery(id, 2)]);
    settle(&store, node, delivery(id, 2), 6, Next::Retry { at: at(10) }).await;
    assert_eq!(status().await, EmailStatus::Deferred);
    assert_eq!(claim_all(&store, node, 10).await, [delivery(id, 2)]);
    settle(&store, node, delivery(id, 2), 11, Next::Sent).await;
    assert_eq!(status().await, EmailStatus::Failed);
}

pub(super) async fn attempts_are_kept_in_order(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, email(0, &["a@one.example", "b@one.example"])).await;
    let mut expected = Vec::new();
    for number in 1..=12u32 {
        let seconds = i64::from(number) * 10;
        let claimed = claim_all(&store, node, seconds).await;
        assert_eq!(claimed.len(), 2);
        let next = Next::Retry { at: at(seconds + 10) };
        let settlements = claimed.iter().map(|&id| settlement(id, number, seconds, next)).collect();
        assert_eq!(store.settle(node, Settle { settlements, ..Settle::default() }).await.unwrap(), 2);
        expected.extend([(0, attempt(number, seconds, next)), (1, attempt(number, seconds, next))]);
    }
    expected.sort_by_key(|(delivery, attempt)| (*delivery, attempt.number));
    let shown = detail(&store, id).await;
    assert_eq!(shown.attempts, expected);
    assert_eq!(shown.email.attempts, 12);
    assert!(shown.attempts.iter().all(|(_, attempt)| matches!(attempt.outcome, Outcome::Deferred { .. })));
}

pub(super) async fn an_email_shows_the_trouble_of_any_of_its_deliveries(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let recipients = ["a@one.example", "b@one.example", "c@one.example"];
    let id = accept(&store, claimed_email(1, &recipients, node)).await;
    let last_error = async || {
        let shown = detail(&store, id).await.email;
        let listed = store.list(&EmailFilter::default(), 1, 10).await.unwrap().emails;
        assert_eq!(listed, std::slice::from_ref(&shown));
        shown.last_error
    };
    assert_eq!(last_error().await, None, "nothing was tried");
    let mut one_each = Settle::default();
    for (number, next) in [(0, Next::Retry { at: at(10) }), (1, Next::Sent)] {
        one_each.settlements.push(settlement(delivery(id, number), 1, 2, next));
    }
    store.settle(node, one_each).await.unwrap();
    let (deferred, failed) = (attempt(1, 2, Next::Retry { at: at(10) }), attempt(1, 3, Next::Failed));
    assert_eq!(last_error().await, deferred.outcome.error(), "the success of another does not hide it");
    settle(&store, node, delivery(id, 2), 3, Next::Failed).await;
    assert_eq!(last_error().await, failed.outcome.error(), "the latest of two in trouble");
    claim_all(&store, node, 10).await;
    assert_eq!(last_error().await, failed.outcome.error());
    let again = Settle {
        settlements: vec![settlement(delivery(id, 0), 2, 11, Next::Retry { at: at(20) })],
        ..Settle::default()
    };
    store.settle(node, again).await.unwrap();
    assert_eq!(last_error().await, deferred.outcome.error());
    claim_all(&store, node, 20).await;
    let sent = Settle { settlements: vec![settlement(delivery(id, 0), 3, 21, Next::Sent)], ..Settle::default() };
    store.settle(node, sent).await.unwrap();
    assert_eq!(last_error().await, failed.outcome.error(), "one is still in trouble");
}
