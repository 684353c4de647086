//! Nodes beside each other: who is there, how they share limits, and what they hear of each other.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::ObjectId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Harness;
use super::fixtures::*;

use crate::records::*;
use crate::traits::Store;

/// Much longer than a change may take, which is a second: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

async fn renew(store: &Arc<dyn Store>, node: NodeId, seconds: i64, keeps_to: u64) -> Option<Membership> {
    store.renew(Renewal { keeps_to, ..Renewal::new(node, at(seconds), LEASE) }).await.unwrap()
}

/// Two nodes in the order of their ids.
fn two_nodes() -> (NodeId, NodeId) {
    (ObjectId::new(at(0)), ObjectId::new(at(1)))
}

pub(super) async fn nodes_are_listed_while_their_leases_hold(harness: &dyn Harness) {
    let store = harness.open().await;
    assert!(store.nodes(at(0)).await.unwrap().is_empty());
    let (first, second) = two_nodes();
    let renewal = |node, seconds, host: &str| Renewal { host: host.into(), ..Renewal::new(node, at(seconds), LEASE) };
    let record = |id, host: &str, seconds| NodeRecord { id, host: host.into(), lease_until: at(seconds) + LEASE };
    store.renew(renewal(first, 0, "one.example")).await.unwrap();
    assert_eq!(store.nodes(at(59)).await.unwrap(), [record(first, "one.example", 0)]);
    store.renew(renewal(first, 5, "one.example")).await.unwrap();
    assert_eq!(store.nodes(at(64)).await.unwrap(), [record(first, "one.example", 5)]);
    assert!(store.nodes(at(66)).await.unwrap().is_empty(), "its lease has lapsed, though nobody has told it so");
    store.renew(renewal(second, 10, "two.example")).await.unwrap();
    let mut listed = store.nodes(at(20)).await.unwrap();
    listed.sort_by_key(|node| node.id);
    if harness.is_single_process() {
        assert_eq!(listed, [record(second, "two.example", 10)]);
    } else {
        assert_eq!(listed, [record(first, "one.example", 5), record(second, "two.example", 10)]);
    }
    store.leave(first).await.unwrap();
    store.leave(second).await.unwrap();
    assert!(store.nodes(at(20)).await.unwrap().is_empty());
}

pub(super) async fn a_node_alone_has_all_to_itself(harness: &dyn Harness) {
    let store = harness.open().await;
    let node = ObjectId::new(at(0));
    let first = renew(&store, node, 0, 0).await.unwrap();
    let then = renew(&store, node, 1, first.fingerprint).await.unwrap();
    assert_eq!((then.nodes, then.position, then.fingerprint), (1, 0, first.fingerprint));
    assert!(then.is_agreed && first.fingerprint != 0);
    assert_eq!(then.share(7, "one.example"), 7);
}

pub(super) async fn nodes_agree_before_they_share(harness: &dyn Harness) {
    if harness.is_single_process() {
        return;
    }
    let (one, two) = (harness.open().await, harness.open_beside().await);
    let (first, second) = two_nodes();
    let alone = renew(&one, first, 0, 0).await.unwrap().fingerprint;
    assert!(renew(&one, first, 1, alone).await.unwrap().is_agreed);
    let joined = renew(&two, second, 2, 0).await.unwrap();
    assert_eq!((joined.nodes, joined.position, joined.is_agreed), (2, 1, false));
    assert_ne!(joined.fingerprint, alone);
    let both = joined.fingerprint;
    let expected = |position, is_agreed| Some(Membership { nodes: 2, position, fingerprint: both, is_agreed });
    assert_eq!(renew(&one, first, 3, alone).await, expected(0, false), "it has just learnt of the other");
    assert_eq!(renew(&two, second, 4, both).await, expected(1, false), "the first keeps to all yet");
    assert_eq!(renew(&one, first, 5, both).await, expected(0, true));
    assert_eq!(renew(&two, second, 6, both).await, expected(1, true));
    two.leave(second).await.unwrap();
    let left = renew(&one, first, 7, both).await.unwrap();
    assert_eq!((left.nodes, left.position), (1, 0));
    assert_ne!(left.fingerprint, both);
    assert!(renew(&one, first, 8, left.fingerprint).await.unwrap().is_agreed);
}

pub(super) async fn a_lapsed_node_shares_no_more(harness: &dyn Harness) {
    if harness.is_single_process() {
        return;
    }
    let (one, two) = (harness.open().await, harness.open_beside().await);
    let (first, second) = two_nodes();
    let alone = renew(&one, first, 0, 0).await.unwrap();
    assert_eq!(renew(&two, second, 1, 0).await.unwrap().nodes, 2);
    assert_eq!(renew(&one, first, 50, alone.fingerprint).await.unwrap().nodes, 2, "the other's lease holds yet");
    let left = renew(&one, first, 62, alone.fingerprint).await.unwrap();
    assert_eq!((left.nodes, left.position), (1, 0));
    assert!(renew(&one, first, 63, left.fingerprint).await.unwrap().is_agreed);
    assert_eq!(renew(&two, second, 63, 0).await, None, "it goes on under another id");
}

pub(super) async fn a_node_that_lost_its_registration_holds_nothing(harness: &dyn Harness) {
    let store = harness.open().await;
    let old = register(&store, 0).await;
    let id = accept(&store, claimed_email(1, &["a@one.example"], old)).await;
    // Long after, so that the old node is gone in every engine.
    let new = register(&store, 1_000).await;
    assert_eq!(renew(&store, old, 1_001, 0).await, None);
    assert_eq!(renew(&store, old, 1_002, 0).await, None, "and stays so");
    assert!(claim_all(&store, old, 1_002).await.is_empty());
    assert_eq!(settle(&store, old, delivery(id, 0), 1_002, Next::Sent).await, 0);
    assert_eq!(claim_all(&store, new, 1_003).await, [delivery(id, 0)]);
    // A node that left of itself may come again.
    store.leave(new).await.unwrap();
    assert!(renew(&store, new, 1_004, 0).await.is_some());
}

pub(super) async fn changes_are_heard_through_another_store(harness: &dyn Harness) {
    let (store, other) = (harness.open().await, harness.open_beside().await);
    let mut heard = other.changes();
    let id = accept(&store, email(1, &["a@one.example"])).await;
    hear(&mut heard, Change::Queue, "an e-mail without a claim").await;
    store.add_user(user("a@example.org")).await.unwrap();
    hear(&mut heard, Change::Directory, "a user").await;
    let selection = Selection { emails: vec![id], ..Selection::default() };
    store.order(selection.clone(), Order::Hold, at(2)).await.unwrap();
    store.order(selection, Order::Release, at(3)).await.unwrap();
    hear(&mut heard, Change::Queue, "an order").await;
    let node = register(&store, 4).await;
    hear(&mut heard, Change::Nodes, "a node that came").await;
    assert_eq!(claim_all(&store, node, 5).await, [delivery(id, 0)]);
    let selection = Selection { emails: vec![id], ..Selection::default() };
    let mut own = store.changes();
    store.order(selection.clone(), Order::Hold, at(5)).await.unwrap();
    let is_heard = std::iter::from_fn(|| own.try_recv().ok()).any(|change| change == Change::Orders);
    assert!(is_heard, "what the caller's own process holds it hears of at once");
    hear(&mut heard, Change::Orders, "an order on what is claimed").await;
    store.order(selection, Order::Release, at(5)).await.unwrap();
    store.release(node, vec![delivery(id, 0)]).await.unwrap();
    hear(&mut heard, Change::Queue, "a claim that was given back").await;
    assert!(store.remove_user(&address("a@example.org")).await.unwrap());
    hear(&mut heard, Change::Directory, "a user removed").await;
    assert_eq!(claim_all(&store, node, 6).await, [delivery(id, 0)]);
    store.leave(node).await.unwrap();
    hear(&mut heard, Change::Queue, "a node that left its claims").await;
}

/// Waits until the change is told, or that some were missed; and forgets what else was told.
async fn hear(heard: &mut Receiver<Change>, expected: Change, what: &str) {
    let listening = async {
        loop {
            match heard.recv().await {
                Ok(change) if change == expected => return,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => panic!("nothing is told any more"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.unwrap_or_else(|_| panic!("{what} was not heard of"));
    while heard.try_recv().is_ok() {}
}
