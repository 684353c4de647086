//! Claims: who gets what, in which order, and when a claim ends.

use std::collections::{BTreeSet, HashMap};

use postrider_core::{Category, EmailStatus, Notify, ObjectId};

use super::Harness;
use super::fixtures::*;
use crate::records::*;

pub(super) async fn claims_come_in_the_order_of_due_time(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut expected = Vec::new();
    for seconds in [30, 10, 50, 20, 40] {
        expected.push((seconds, accept(&store, email(seconds, &["a@one.example"])).await));
    }
    expected.sort();
    let claimed = claim(&store, request(node, 100, 2)).await;
    assert_eq!(claimed, [delivery(expected[0].1, 0), delivery(expected[1].1, 0)]);
    let rest: Vec<_> = expected[2..].iter().map(|(_, id)| delivery(*id, 0)).collect();
    assert_eq!(claim_all(&store, node, 100).await, rest);
}

pub(super) async fn the_more_urgent_is_claimed_first(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut ids = Vec::new();
    for (seconds, priority) in [(1, -9), (2, 0), (3, 9), (4, 0), (5, 4), (200, 9)] {
        ids.push(accept(&store, urgent(seconds, &["a@one.example"], priority)).await);
    }
    accept(&store, urgent(300, &["a@two.example"], 9)).await;
    let two = accept(&store, email(6, &["b@two.example"])).await;
    let expected: Vec<_> = [2, 4, 1, 3, 0].into_iter().map(|n| delivery(ids[n], 0)).collect();
    // What is urgent and not due hides nothing that is due, and each domain has its turn.
    let claimed = claim(&store, request(node, 100, 4)).await;
    let of_one = |claimed: &[DeliveryId]| claimed.iter().filter(|id| id.email != two).copied().collect::<Vec<_>>();
    assert_eq!(of_one(&claimed), expected[..3]);
    assert!(claimed.contains(&delivery(two, 0)));
    assert_eq!(claim_all(&store, node, 100).await, expected[3..]);
    store.release(node, vec![expected[0], expected[4]]).await.unwrap();
    settle(&store, node, expected[2], 101, Next::Retry { at: at(150) }).await;
    let again = claim_all(&store, node, 250).await;
    assert_eq!(again, [expected[0], delivery(ids[5], 0), expected[2], expected[4]], "also what was tried before");
}

pub(super) async fn the_most_urgent_of_very_many_is_claimed_first(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let many: Vec<String> = (0..500).map(|n| format!("r{n}@d{}.example", n % 3)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for seconds in 0..6 {
        accept(&store, email(seconds, &many)).await;
    }
    let last = accept(&store, urgent(50, &["a@d0.example", "b@d1.example"], 1)).await;
    let claimed = claim(&store, request(node, 100, 9)).await;
    assert_eq!(claimed.len(), 9);
    assert!(claimed.contains(&delivery(last, 0)) && claimed.contains(&delivery(last, 1)), "{claimed:?}");
}

pub(super) async fn what_is_not_due_is_not_claimed(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, email(50, &["a@one.example"])).await;
    assert!(claim_all(&store, node, 49).await.is_empty());
    assert_eq!(claim_all(&store, node, 50).await, [delivery(id, 0)]);
    let mut later = email(60, &["a@one.example"]);
    later.deliveries[0].due_at = at(70);
    let later = accept(&store, later).await;
    assert!(claim_all(&store, node, 69).await.is_empty());
    let claimed = store.claim(request(node, 70, 10)).await.unwrap();
    assert_eq!((claimed.emails[0].id, claimed.emails[0].deliveries[0].queued_at), (later, at(70)));
}

pub(super) async fn claims_carry_what_sending_takes(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut new = email(1, &["a@one.example", "b@one.example"]);
    new.deliveries[1].recipient.notify = Some(Notify { success: true, failure: false, delay: true });
    new.deliveries[1].recipient.original_recipient = Some("rfc822;b+2Bx@one.example".into());
    new.envelope.envelope_id = Some("e1".into());
    new.envelope.require_tls = true;
    new.instructions = instructions();
    new.message =
        postrider_core::Message::parse("Return-Path: <>\r\nMessage-ID: <x@y>\r\nSubject: z\r\n\r\n\u{e4}".into(), 17);
    let expected = new.clone();
    accept(&store, new).await;
    let claimed = store.claim(request(node, 2, 10)).await.unwrap();
    let [email] = &claimed.emails[..] else { panic!("one e-mail, not {claimed:?}") };
    assert_eq!((email.id, email.created_at, &email.envelope), (expected.id, at(1), &expected.envelope));
    assert_eq!(email.instructions, instructions());
    assert_eq!((email.message_id.as_deref(), email.subject.as_deref()), (Some("x@y"), Some("z")));
    assert_eq!(email.size, expected.message.raw.len() as u64 - 17, "without the Return-Path field");
    assert!(email.is_8bit);
    for (n, claimed) in email.deliveries.iter().enumerate() {
        let fresh = ClaimedDelivery {
            number: n as u32,
            recipient: expected.deliveries[n].recipient.clone(),
            queued_at: at(1),
            attempts: 0,
            last_category: None,
            delay_notified: false,
        };
        assert_eq!(*claimed, fresh);
    }
    let mut deferred = settlement(delivery(email.id, 1), 1, 3, Next::Retry { at: at(10) });
    deferred.delay_notified = true;
    store.settle(node, Settle { settlements: vec![deferred], ..Settle::default() }).await.unwrap();
    let claimed = store.claim(request(node, 10, 10)).await.unwrap();
    let again = &claimed.emails[0].deliveries[0];
    assert_eq!((again.number, again.attempts, again.delay_notified), (1, 1, true));
    assert_eq!((again.last_category, again.queued_at), (Some(Category::Temporary), at(1)));
    assert_eq!(again.recipient, expected.deliveries[1].recipient);
}

pub(super) async fn no_delivery_is_claimed_twice(harness: &dyn Harness) {
    let store = harness.open().await;
    let node = register(&store, 0).await;
    let mut expected = BTreeSet::new();
    for n in 0..60 {
        let domain = format!("a@d{}.example", n % 7);
        let id = accept(&store, email(n, &[&domain, "b@common.example"])).await;
        expected.extend([delivery(id, 0), delivery(id, 1)]);
    }
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut got = Vec::new();
                loop {
                    let claimed = store.claim(request(node, 100, 7)).await.unwrap();
                    got.extend(ids(&claimed));
                    if !claimed.more {
                        return got;
                    }
                }
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for task in tasks {
        claimed.extend(task.await.unwrap());
    }
    assert_eq!(claimed.len(), expected.len(), "each once");
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), expected);
}

pub(super) async fn claims_keep_to_limits(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    for n in 0..20 {
        accept(&store, email(n, &["a@one.example", "a@two.example"])).await;
    }
    let ask = |limit, per_domain_max, held: &[(&str, usize)]| ClaimRequest {
        per_domain_max,
        held: held.iter().map(|(name, count)| (domain(name), *count)).collect(),
        ..request(node, 100, limit)
    };
    assert!(claim(&store, ask(0, 5, &[])).await.is_empty());
    assert!(claim(&store, ask(10, 0, &[])).await.is_empty());
    assert_eq!(claim(&store, ask(3, 5, &[])).await.len(), 3);
    let by_domain = |claimed: Vec<DeliveryId>| {
        let count = |number| claimed.iter().filter(|id| id.number == number).count();
        (count(0), count(1))
    };
    assert_eq!(by_domain(claim(&store, ask(100, 5, &[("one.example", 3)])).await), (2, 5));
    assert_eq!(by_domain(claim(&store, ask(100, 5, &[("one.example", 5), ("two.example", 9)])).await), (0, 0));
}

pub(super) async fn domains_take_turns(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    // The oldest mail is all for one domain.
    for n in 0..50 {
        accept(&store, email(n, &["a@busy.example"])).await;
    }
    for n in 0..4 {
        accept(&store, email(60 + n, &["a@alone.example", "a@zero.example"])).await;
    }
    let mut got: HashMap<String, usize> = HashMap::new();
    for _ in 0..2 {
        for email in store.claim(request(node, 100, 6)).await.unwrap().emails {
            for delivery in email.deliveries {
                *got.entry(delivery.recipient.address.domain().to_string()).or_default() += 1;
            }
        }
    }
    assert!(got.len() == 3 && got.values().all(|&count| count >= 2), "{got:?}");
    // What the others cannot use, the busy one gets.
    let rest = claim(&store, request(node, 100, 30)).await;
    assert_eq!(rest.len(), 30);
}

pub(super) async fn domains_with_one_delivery_each_are_all_served(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    for n in 0..40 {
        accept(&store, email(n, &[&format!("a@d{n}.example")])).await;
        accept(&store, email(n, &[&format!("b@d{n}.example")])).await;
    }
    let mut served = BTreeSet::new();
    for _ in 0..6 {
        for email in store.claim(request(node, 100, 7)).await.unwrap().emails {
            served.extend(email.deliveries.iter().map(|delivery| delivery.recipient.address.domain().to_string()));
        }
    }
    assert_eq!(served.len(), 40, "after as many claims as there are domains, each had its turn");
}

pub(super) async fn more_tells_whether_something_is_left(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    for n in 0..4 {
        accept(&store, email(n, &["a@one.example"])).await;
    }
    accept(&store, email(500, &["a@later.example"])).await;
    assert!(store.claim(request(node, 100, 3)).await.unwrap().more);
    assert!(!store.claim(request(node, 100, 1)).await.unwrap().more);
    assert!(!store.claim(request(node, 100, 1)).await.unwrap().more);
    for n in 0..4 {
        accept(&store, email(n, &["a@one.example"])).await;
    }
    let limited = ClaimRequest { per_domain_max: 2, ..request(node, 100, 10) };
    assert!(!store.claim(limited).await.unwrap().more, "a higher limit would not give more");
}

pub(super) async fn what_is_accepted_with_a_claim_is_held(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut new = claimed_email(1, &["a@one.example", "b@one.example"], node);
    new.deliveries[1].claimed_by = None;
    let id = accept(&store, new).await;
    assert_eq!(detail(&store, id).await.email.status, EmailStatus::Sending);
    assert_eq!(claim_all(&store, node, 100).await, [delivery(id, 1)]);
    assert_eq!(settle(&store, node, delivery(id, 0), 2, Next::Sent).await, 1);
}

pub(super) async fn released_deliveries_are_due_again(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example", "b@one.example"], node)).await;
    store.release(node, vec![delivery(id, 1), delivery(id, 7), delivery(ObjectId::new(at(0)), 0)]).await.unwrap();
    assert_eq!(claim_all(&store, node, 2).await, [delivery(id, 1)]);
    let attempts: Vec<_> = detail(&store, id).await.deliveries.iter().map(|d| d.attempts).collect();
    assert_eq!(attempts, [0, 0], "it counts as untried");
}

pub(super) async fn only_the_holder_releases(harness: &dyn Harness) {
    let store = harness.open().await;
    let old = register(&store, 0).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], old)).await;
    // Long after, so that the old node is gone in every engine.
    let new = register(&store, 1000).await;
    assert_eq!(claim_all(&store, new, 1000).await, [delivery(id, 0)]);
    store.release(old, vec![delivery(id, 0)]).await.unwrap();
    store.leave(old).await.unwrap();
    assert!(claim_all(&store, new, 1000).await.is_empty(), "the new node still holds it");
    assert_eq!(settle(&store, new, delivery(id, 0), 1001, Next::Sent).await, 1);
}

pub(super) async fn a_node_that_leaves_gives_all_back(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example", "b@two.example"], node)).await;
    store.leave(node).await.unwrap();
    assert_eq!(settle(&store, node, delivery(id, 0), 2, Next::Sent).await, 0);
    let next = register(&store, 2).await;
    assert_eq!(claim_all(&store, next, 2).await.len(), 2);
}

pub(super) async fn an_unknown_node_holds_nothing(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let unknown = ObjectId::new(at(0));
    let id = accept(&store, claimed_email(1, &["a@one.example"], unknown)).await;
    assert!(claim_all(&store, unknown, 5).await.is_empty());
    store.renew(Renewal::new(node, at(5), LEASE)).await.unwrap();
    assert_eq!(claim_all(&store, node, 5).await, [delivery(id, 0)]);
}

pub(super) async fn a_lapsed_lease_loses_its_claims(harness: &dyn Harness) {
    let store = harness.open().await;
    let old = register(&store, 0).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], old)).await;
    let new = register(&store, 61).await;
    assert_eq!(claim_all(&store, new, 61).await, [delivery(id, 0)]);
    assert_eq!(settle(&store, old, delivery(id, 0), 62, Next::Sent).await, 0, "the old one comes too late");
    let detail = detail(&store, id).await;
    assert_eq!(detail.email.status, EmailStatus::Sending);
    assert!(detail.attempts.is_empty());
    assert_eq!(settle(&store, new, delivery(id, 0), 63, Next::Sent).await, 1);
}

pub(super) async fn a_lease_that_holds_keeps_its_claims(harness: &dyn Harness) {
    let store = harness.open().await;
    let first = register(&store, 0).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], first)).await;
    store.renew(Renewal::new(first, at(50), LEASE)).await.unwrap();
    store.renew(Renewal::new(first, at(100), LEASE)).await.unwrap();
    assert!(claim_all(&store, first, 100).await.is_empty(), "renewing does not give up what is held");
    let second = register(&store, 110).await;
    if harness.is_single_process() {
        // Only one process can send: the first is gone, whatever its lease says.
        assert_eq!(claim_all(&store, second, 110).await, [delivery(id, 0)]);
        assert_eq!(settle(&store, first, delivery(id, 0), 111, Next::Sent).await, 0);
    } else {
        assert!(claim_all(&store, second, 110).await.is_empty());
        assert_eq!(settle(&store, first, delivery(id, 0), 111, Next::Sent).await, 1);
    }
}

pub(super) async fn a_dropped_claim_is_given_back(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, email(1, &["a@one.example"])).await;
    let mut got = Vec::new();
    for n in 0..50 {
        let asking = store.clone();
        let task = tokio::spawn(async move { asking.claim(request(node, 100, 10)).await });
        for _ in 0..n % 5 {
            tokio::task::yield_now().await;
        }
        task.abort();
        if let Ok(claimed) = task.await {
            let claimed = ids(&claimed.unwrap());
            store.release(node, claimed).await.unwrap();
        }
    }
    // What a dropped call gives back may take a few writes to arrive.
    for n in 0..50 {
        accept(&store, email(n, &[])).await;
        got.extend(claim_all(&store, node, 100).await);
        if !got.is_empty() {
            break;
        }
    }
    assert_eq!(got, [delivery(id, 0)]);
}
