//! Orders: what they change, and what they leave alone.

use std::sync::Arc;

use postrider_core::{DeliveryStatus, EmailStatus, ObjectId};

use super::Harness;
use super::fixtures::*;
use crate::records::*;
use crate::traits::Store;

/// One e-mail whose deliveries have all statuses: queued, deferred, sent, failed, held, cancelled, and one that is sent
/// right now.
async fn one_of_each(store: &Arc<dyn Store>, node: NodeId) -> ObjectId {
    let recipients: Vec<_> = (0..7).map(|n| format!("r{n}@d{n}.example")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    let id = accept(store, claimed_email(1, &recipients, node)).await;
    let only = |name| Selection { recipient_domain: Some(domain(name)), ..of(id) };
    store.release(node, vec![delivery(id, 4), delivery(id, 5)]).await.unwrap();
    store.order(only("d4.example"), Order::Hold, at(2)).await.unwrap();
    store.order(only("d5.example"), Order::Cancel, at(2)).await.unwrap();
    settle(store, node, delivery(id, 1), 3, Next::Retry { at: at(500) }).await;
    settle(store, node, delivery(id, 2), 3, Next::Sent).await;
    settle(store, node, delivery(id, 3), 3, Next::Failed).await;
    store.release(node, vec![delivery(id, 0)]).await.unwrap();
    id
}

fn of(id: ObjectId) -> Selection {
    Selection { emails: vec![id], ..Selection::default() }
}

async fn statuses(store: &Arc<dyn Store>, id: ObjectId) -> Vec<EmailStatus> {
    detail(store, id).await.deliveries.iter().map(|delivery| delivery.status).collect()
}

pub(super) async fn orders_change_what_they_apply_to(harness: &dyn Harness) {
    use EmailStatus::{Cancelled, Deferred, Failed, Held, Queued, Sending, Sent};
    let (store, node) = open_with_node(harness).await;
    let before = [Queued, Deferred, Sent, Failed, Held, Cancelled, Sending];
    let cases = [
        (Order::Retry, [Queued, Deferred, Sent, Queued, Held, Queued, Sending], (4, 0, 1)),
        (Order::Hold, [Held, Held, Sent, Failed, Held, Cancelled, Sending], (2, 1, 0)),
        (Order::Release, [Queued, Deferred, Sent, Failed, Queued, Cancelled, Sending], (1, 0, 0)),
        (Order::Cancel, [Cancelled, Cancelled, Sent, Failed, Cancelled, Cancelled, Sending], (3, 1, 0)),
    ];
    for everywhere in [false, true] {
        for (order, after, (changed, recalled, sending)) in cases {
            let id = one_of_each(&store, node).await;
            assert_eq!(statuses(&store, id).await, before);
            let selection = if everywhere { Selection::default() } else { of(id) };
            let ordered = store.order(selection, order, at(4)).await.unwrap();
            assert_eq!(statuses(&store, id).await, after, "{order:?}");
            assert_eq!(ordered, Ordered { changed, recalled, sending, scheduled: 0 }, "{order:?}");
            let shown = detail(&store, id).await.email;
            assert_eq!((shown.status, shown.updated_at), (Sending, at(4)));
            assert!(store.delete(id).await.unwrap());
        }
    }
}

/// What an order does to one delivery that a node holds.
const RECALLED: Ordered = Ordered { changed: 0, recalled: 1, sending: 0, scheduled: 0 };
/// And when it takes back what another did to it.
const CHANGED: Ordered = Ordered { changed: 1, recalled: 0, sending: 0, scheduled: 0 };

pub(super) async fn orders_on_what_is_claimed_stand_when_the_claim_ends(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let other = accept(&store, claimed_email(1, &["other@one.example"], node)).await;
    for (order, status) in [(Order::Hold, EmailStatus::Held), (Order::Cancel, EmailStatus::Cancelled)] {
        for is_tried in [true, false] {
            let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
            assert_eq!(store.order(of(id), order, at(2)).await.unwrap(), RECALLED);
            assert_eq!(store.recalled(node).await.unwrap(), [delivery(id, 0)]);
            let shown = detail(&store, id).await;
            assert_eq!((shown.email.status, shown.deliveries[0].status), (EmailStatus::Sending, EmailStatus::Sending));
            assert_eq!(shown.deliveries[0].ordered.map(DeliveryStatus::as_str), Some(status.as_str()));
            let stats = store.queue_stats(at(2)).await.unwrap();
            assert_eq!((stats.sending, stats.queued, stats.held, stats.cancelled), (2, 0, 0, 0));
            assert_eq!(stats.domains[0].queued, 1, "it waits no more");
            if is_tried {
                assert_eq!(settle(&store, node, delivery(id, 0), 3, Next::Retry { at: at(9) }).await, 1);
            } else {
                store.release(node, vec![delivery(id, 0)]).await.unwrap();
            }
            assert!(store.recalled(node).await.unwrap().is_empty());
            let shown = detail(&store, id).await;
            assert_eq!((shown.email.status, shown.deliveries[0].ordered), (status, None));
            assert_eq!(shown.attempts.len(), usize::from(is_tried), "what was tried is on record");
            assert_eq!(shown.email.next_attempt_at, None);
            assert!(claim_all(&store, node, 100).await.is_empty());
            assert_eq!(listed(&store, EmailFilter { status: Some(status), ..EmailFilter::default() }).await, [id]);
            assert!(store.delete(id).await.unwrap());
        }
    }
    assert_eq!(settle(&store, node, delivery(other, 0), 3, Next::Sent).await, 1, "it was not meant");
}

pub(super) async fn what_is_sent_or_failed_stays_so_whatever_was_ordered(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    for order in [Order::Hold, Order::Cancel] {
        for (next, status) in [(Next::Sent, EmailStatus::Sent), (Next::Failed, EmailStatus::Failed)] {
            let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
            assert_eq!(store.order(of(id), order, at(2)).await.unwrap(), RECALLED);
            assert_eq!(settle(&store, node, delivery(id, 0), 3, next).await, 1);
            assert_eq!(detail(&store, id).await.email.status, status);
            assert!(store.recalled(node).await.unwrap().is_empty());
            let everything = store.order(Selection::default(), Order::Release, at(4)).await.unwrap();
            assert_eq!(everything, Ordered::default(), "nothing is held any more");
            assert_eq!(listed(&store, EmailFilter { status: Some(status), ..EmailFilter::default() }).await, [id]);
            store.delete(id).await.unwrap();
        }
    }
    let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    let ordered = store.order(of(id), Order::Retry, at(2)).await.unwrap();
    assert_eq!(ordered, Ordered { sending: 1, ..Ordered::default() }, "it is being tried");
    assert_eq!(settle(&store, node, delivery(id, 0), 3, Next::Sent).await, 1);
    assert_eq!(store.order(of(id), Order::Retry, at(4)).await.unwrap(), Ordered::default(), "what is sent is sent");
}

pub(super) async fn orders_on_what_is_claimed_follow_each_other(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let (hold, release, cancel, retry) = (Order::Hold, Order::Release, Order::Cancel, Order::Retry);
    let nothing = Ordered::default();
    let cases: [(&[(Order, Ordered)], EmailStatus); 6] = [
        (&[(hold, RECALLED), (release, CHANGED)], EmailStatus::Deferred),
        (&[(hold, RECALLED), (hold, nothing), (retry, nothing)], EmailStatus::Held),
        (&[(hold, RECALLED), (cancel, RECALLED), (release, nothing)], EmailStatus::Cancelled),
        (&[(cancel, RECALLED), (hold, nothing), (cancel, nothing)], EmailStatus::Cancelled),
        (&[(cancel, RECALLED), (retry, CHANGED), (hold, RECALLED)], EmailStatus::Held),
        (&[(cancel, RECALLED), (retry, CHANGED)], EmailStatus::Deferred),
    ];
    for everywhere in [false, true] {
        for (orders, status) in cases {
            let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
            for &(order, expected) in orders {
                let selection = if everywhere { Selection::default() } else { of(id) };
                assert_eq!(store.order(selection, order, at(2)).await.unwrap(), expected, "{order:?} of {orders:?}");
                assert!(claim_all(&store, node, 100).await.is_empty(), "it is the node's still");
            }
            assert_eq!(settle(&store, node, delivery(id, 0), 3, Next::Retry { at: at(9) }).await, 1, "and its alone");
            assert_eq!(detail(&store, id).await.email.status, status, "{orders:?}");
            store.delete(id).await.unwrap();
        }
    }
    // Given back instead, it is due again.
    let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    store.order(of(id), Order::Hold, at(2)).await.unwrap();
    store.order(of(id), Order::Release, at(3)).await.unwrap();
    store.release(node, vec![delivery(id, 0)]).await.unwrap();
    assert_eq!(claim_all(&store, node, 4).await, [delivery(id, 0)]);
}

pub(super) async fn orders_outlive_the_node_that_holds_what_they_are_for(harness: &dyn Harness) {
    let store = harness.open().await;
    for leaves in [true, false] {
        let node = register(&store, 0).await;
        let id = accept(&store, claimed_email(1, &["a@one.example", "b@one.example", "c@one.example"], node)).await;
        let part = Selection { recipient_domain: Some(domain("one.example")), ..of(id) };
        assert_eq!(store.order(part, Order::Hold, at(2)).await.unwrap().recalled, 3);
        assert_eq!(settle(&store, node, delivery(id, 1), 3, Next::Sent).await, 1);
        if leaves {
            store.leave(node).await.unwrap();
        }
        // Long after, so that the other is gone in every engine.
        let next = register(&store, 1_000).await;
        eventually_held(&store, id).await;
        assert!(claim_all(&store, next, 1_001).await.is_empty());
        assert_eq!(store.queue_stats(at(1_001)).await.unwrap().held, 1);
        assert_eq!(store.order(of(id), Order::Release, at(1_002)).await.unwrap().changed, 2);
        assert_eq!(claim_all(&store, next, 1_003).await, [delivery(id, 0), delivery(id, 2)]);
        store.leave(next).await.unwrap();
        store.delete(id).await.unwrap();
    }
}

/// A renewal need not wait for what it gives back.
async fn eventually_held(store: &Arc<dyn Store>, id: ObjectId) {
    for _ in 0..100 {
        if detail(store, id).await.email.status == EmailStatus::Held {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it is not held: {:?}", statuses(store, id).await);
}

pub(super) async fn a_retry_starts_expiry_again(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    settle(&store, node, delivery(id, 0), 2, Next::Failed).await;
    assert_eq!(store.order(of(id), Order::Retry, at(700)).await.unwrap().changed, 1);
    let claimed = store.claim(request(node, 700, 1)).await.unwrap();
    let [email] = &claimed.emails[..] else { panic!("it is due: {claimed:?}") };
    assert_eq!((email.created_at, email.deliveries[0].queued_at), (at(1), at(700)));
    assert_eq!(email.deliveries[0].attempts, 1, "its history stays");
    let again = settlement(delivery(id, 0), 2, 701, Next::Retry { at: at(800) });
    store.settle(node, Settle { settlements: vec![again], ..Settle::default() }).await.unwrap();
    let claimed = store.claim(request(node, 800, 1)).await.unwrap();
    assert_eq!(claimed.emails[0].deliveries[0].queued_at, at(700), "it holds for later attempts");
    assert_eq!(detail(&store, id).await.attempts.len(), 2);
}

pub(super) async fn a_retry_makes_due(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    settle(&store, node, delivery(id, 0), 2, Next::Retry { at: at(5_000) }).await;
    let old = accept(&store, email(5, &["b@one.example"])).await;
    assert_eq!(store.order(Selection::default(), Order::Retry, at(100)).await.unwrap().changed, 2);
    assert_eq!(detail(&store, id).await.email.status, EmailStatus::Deferred);
    let claimed = claim_all(&store, node, 100).await;
    assert_eq!(claimed, [delivery(old, 0), delivery(id, 0)], "what was due longer keeps its place");
}

pub(super) async fn a_retry_sends_nothing_before_its_time(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut later = email(5, &["a@one.example"]);
    later.deliveries[0].due_at = at(1_000);
    let later = accept(&store, later).await;
    let left_alone = Ordered { scheduled: 1, ..Ordered::default() };
    assert_eq!(store.order(of(later), Order::Retry, at(6)).await.unwrap(), left_alone);
    assert_eq!(store.order(Selection::default(), Order::Retry, at(7)).await.unwrap(), left_alone);
    // Cancelled and started again, it waits for the same time.
    store.order(of(later), Order::Cancel, at(8)).await.unwrap();
    assert_eq!(store.order(of(later), Order::Retry, at(9)).await.unwrap().changed, 1);
    assert_eq!(detail(&store, later).await.email.next_attempt_at, Some(at(1_000)));
    assert!(claim_all(&store, node, 999).await.is_empty());
    // Its time has come and it was tried: like any other.
    assert_eq!(claim_all(&store, node, 1_000).await, [delivery(later, 0)]);
    settle(&store, node, delivery(later, 0), 1_001, Next::Retry { at: at(5_000) }).await;
    assert_eq!(store.order(of(later), Order::Retry, at(1_100)).await.unwrap().changed, 1);
    assert_eq!(claim_all(&store, node, 1_100).await, [delivery(later, 0)]);
}

pub(super) async fn a_hold_keeps_until_released(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, email(1, &["a@one.example"])).await;
    store.order(of(id), Order::Hold, at(2)).await.unwrap();
    assert!(claim_all(&store, node, 100_000).await.is_empty());
    assert_eq!(detail(&store, id).await.email.next_attempt_at, None);
    store.order(of(id), Order::Retry, at(3)).await.unwrap();
    assert!(claim_all(&store, node, 100_000).await.is_empty(), "a retry does not release");
    store.order(of(id), Order::Release, at(4)).await.unwrap();
    assert_eq!(detail(&store, id).await.email.next_attempt_at, Some(at(4)));
    assert!(claim_all(&store, node, 3).await.is_empty());
    let claimed = store.claim(request(node, 4, 10)).await.unwrap();
    assert_eq!(
        (claimed.emails[0].id, claimed.emails[0].deliveries[0].queued_at),
        (id, at(4)),
        "its expiry counts anew"
    );
    // What is not to be sent before a time is not, also if it was held.
    let mut later = email(5, &["a@one.example"]);
    later.deliveries[0].due_at = at(1_000);
    let later = accept(&store, later).await;
    store.order(of(later), Order::Hold, at(6)).await.unwrap();
    store.order(of(later), Order::Release, at(7)).await.unwrap();
    assert_eq!(detail(&store, later).await.email.next_attempt_at, Some(at(1_000)));
    assert!(claim_all(&store, node, 999).await.is_empty());
    let claimed = store.claim(request(node, 1_000, 10)).await.unwrap();
    assert_eq!((claimed.emails[0].id, claimed.emails[0].deliveries[0].queued_at), (later, at(1_000)));
}

pub(super) async fn selections_restrict(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut other = email(1, &["a@one.example", "a@two.example"]);
    other.envelope.reverse_path = postrider_core::ReversePath::NULL;
    let other = accept(&store, other).await;
    let mut tagged = claimed_email(2, &["b@one.example", "b@two.example"], node);
    tagged.instructions.add_tag("News").unwrap();
    let id = accept(&store, tagged).await;
    settle(&store, node, delivery(id, 0), 3, Next::Retry { at: at(100) }).await;
    store.release(node, vec![delivery(id, 1)]).await.unwrap();
    let one = Selection { recipient_domain: Some(domain("one.example")), ..Selection::default() };
    let cases = [
        (Selection::default(), 4),
        (of(id), 2),
        (Selection { emails: vec![id, other, id], ..Selection::default() }, 4),
        (Selection { emails: vec![ObjectId::new(at(0))], ..Selection::default() }, 0),
        (one.clone(), 2),
        (Selection { emails: vec![id], ..one.clone() }, 1),
        (Selection { recipient_domain: Some(domain("example")), ..Selection::default() }, 0),
        (Selection { sender: Some("SENDER@example.COM".into()), ..Selection::default() }, 2),
        (Selection { sender: Some(String::new()), ..Selection::default() }, 2),
        (Selection { sender: Some("sender".into()), ..Selection::default() }, 0),
        (Selection { sender: Some(String::new()), ..of(id) }, 0),
        (Selection { tag: Some("News".into()), ..Selection::default() }, 2),
        (Selection { tag: Some("News".into()), ..one.clone() }, 1),
        (Selection { tag: Some("news".into()), ..Selection::default() }, 0),
        (Selection { tag: Some("News".into()), ..of(other) }, 0),
        (Selection { tag: Some("News".into()), ..of(id) }, 2),
        (Selection { status: Some(DeliveryStatus::Deferred), ..Selection::default() }, 1),
        (Selection { status: Some(DeliveryStatus::Queued), ..one }, 1),
        (Selection { status: Some(DeliveryStatus::Sent), ..Selection::default() }, 0),
    ];
    for (selection, changed) in cases {
        let ordered = store.order(selection.clone(), Order::Retry, at(4)).await.unwrap();
        assert_eq!(ordered.changed, changed, "{selection:?}");
    }
}

pub(super) async fn large_orders_reach_everything(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let recipients: Vec<_> = (0..700).map(|n| format!("r{n}@d{}.example", n % 9)).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    for n in 0..2 {
        accept(&store, email(n, &recipients)).await;
    }
    let all = Selection::default;
    assert_eq!(store.order(all(), Order::Hold, at(5)).await.unwrap().changed, 1_400);
    assert!(claim_all(&store, node, 10).await.is_empty());
    assert_eq!(store.queue_stats(at(5)).await.unwrap().held, 2);
    assert_eq!(store.order(all(), Order::Release, at(6)).await.unwrap().changed, 1_400);
    assert_eq!(claim_all(&store, node, 10).await.len(), 1_400);
}
