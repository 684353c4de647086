//! The suppression list.

use postrider_core::SuppressionReason::{self, Complaint, HardBounce, Manual};
use postrider_core::bounce::{Feedback, FeedbackKind};

use super::Harness;
use super::fixtures::*;
use crate::records::*;
use crate::traits::FEEDBACK_PER_DELIVERY_MAX;

fn suppression(text: &str, reason: SuppressionReason, seconds: i64) -> Suppression {
    Suppression::new(address(text), reason, None, None, at(seconds))
}

pub(super) async fn addresses_are_listed_once(harness: &dyn Harness) {
    let store = harness.open().await;
    let email = accept(&store, email(1, &["Ann@one.example"])).await;
    let bounced =
        Suppression::new(address("Ann@one.example"), HardBounce, Some(email), Some("550 5.1.1 no \u{e4}"), at(2));
    let listed = suppression("B\u{e4}r@b\u{fc}cher.example", Manual, 3);
    assert_eq!(store.suppress(Vec::new()).await, Ok(0));
    assert_eq!(store.suppress(vec![bounced.clone(), listed.clone()]).await, Ok(2));
    let again = [suppression("aNN@ONE.example", Complaint, 4), suppression("c@one.example", Complaint, 4)];
    assert_eq!(store.suppress(again.to_vec()).await, Ok(1), "the first reason stays");
    let asked = ["x@one.example", "ANN@One.Example", "ann@two.example", "b\u{e4}r@xn--bcher-kva.example"];
    let found = store.suppressed(&asked.map(address)).await.unwrap();
    assert_eq!(found, [None, Some(bounced.clone()), None, Some(listed)]);
    assert_eq!(store.suppressed(&[]).await.unwrap(), []);
    assert!(store.unsuppress(&address("ann@one.example")).await.unwrap());
    assert!(!store.unsuppress(&address("ann@one.example")).await.unwrap());
    assert_eq!(store.suppressed(&[address("ann@one.example")]).await.unwrap(), [None]);
    store.close().await.unwrap();
    let store = harness.open().await;
    assert_eq!(store.suppressions(&SuppressionFilter::default(), 1, 10).await.unwrap().total, 2);
}

pub(super) async fn suppressions_come_in_pages(harness: &dyn Harness) {
    let store = harness.open().await;
    let all: Vec<_> = (0..7)
        .map(|n| suppression(&format!("user{n}@one.example"), if n < 3 { HardBounce } else { Complaint }, 10 + n / 2))
        .collect();
    store.suppress(all.clone()).await.unwrap();
    let page = async |query: Option<&str>, reason, page, limit| {
        let filter = SuppressionFilter { query: query.map(str::to_owned), reason };
        let found = store.suppressions(&filter, page, limit).await.unwrap();
        let names: Vec<_> = found.suppressions.iter().map(|one| one.address.local_part().to_owned()).collect();
        (names.join(" "), found.total)
    };
    assert_eq!(page(None, None, 1, 3).await, ("user6 user5 user4".to_owned(), 7));
    assert_eq!(page(None, None, 3, 3).await, ("user0".to_owned(), 7));
    assert_eq!(page(None, None, 4, 3).await, (String::new(), 7));
    assert_eq!(page(None, None, 1, 0).await, (String::new(), 7));
    assert_eq!(page(Some("USER2@one"), None, 1, 10).await, ("user2".to_owned(), 1));
    assert_eq!(page(Some("r%"), None, 1, 10).await, (String::new(), 0), "it is text, no pattern");
    assert_eq!(page(Some("$user"), None, 1, 10).await, (String::new(), 0));
    assert_eq!(page(Some("example"), Some(HardBounce), 1, 2).await, ("user2 user1".to_owned(), 3));
    let filter = SuppressionFilter { query: Some("user4".into()), reason: None };
    assert_eq!(store.suppressions(&filter, 1, 10).await.unwrap().suppressions, [all[4].clone()]);
}

pub(super) async fn suppressions_come_with_their_settlements_only(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let id = accept(&store, claimed_email(1, &["a@one.example", "b@one.example"], node)).await;
    let settle = |number, text: &str| Settle {
        settlements: vec![settlement(delivery(id, number), 1, 2, Next::Failed)],
        suppressions: vec![suppression(text, HardBounce, 2)],
        ..Settle::default()
    };
    assert_eq!(store.settle(node, settle(0, "a@one.example")).await.unwrap(), 1);
    assert_eq!(store.settle(node, settle(0, "c@one.example")).await.unwrap(), 0);
    assert_eq!(store.settle(node, settle(1, "A@one.example")).await.unwrap(), 1, "one that is listed is no error");
    let listed = store.suppressions(&SuppressionFilter::default(), 1, 10).await.unwrap().suppressions;
    assert_eq!(listed, [suppression("a@one.example", HardBounce, 2)]);
}

pub(super) async fn feedback_is_kept_with_its_delivery(harness: &dyn Harness) {
    let store = harness.open().await;
    let id = accept(&store, email(1, &["a@one.example", "b@one.example"])).await;
    let feedback = |n: i64| Feedback {
        kind: FeedbackKind::Bounce,
        received_at: at(10 + n),
        report: id,
        category: Some(postrider_core::Category::BadMailbox),
        status: Some("5.1.1".to_owned()),
        text: format!("no \u{e4} {n}"),
    };
    assert_eq!(
        store.note_feedback(id, vec![(0, feedback(1)), (7, feedback(2))]).await,
        Ok(1),
        "there is no delivery 7"
    );
    assert_eq!(store.note_feedback(id, vec![(1, feedback(3)), (0, feedback(4))]).await, Ok(2));
    let nobody = postrider_core::ObjectId::from_bytes([9; 12]);
    assert_eq!(store.note_feedback(nobody, vec![(0, feedback(1))]).await, Ok(0));
    let noted = async || detail(&store, id).await.deliveries.into_iter().map(|one| one.feedback).collect::<Vec<_>>();
    assert_eq!(noted().await, [vec![feedback(1), feedback(4)], vec![feedback(3)]]);
    let exported = store.export(None, 10).await.unwrap();
    assert_eq!(exported[0].deliveries[0].feedback, [feedback(1), feedback(4)]);
    for n in 2..FEEDBACK_PER_DELIVERY_MAX {
        assert_eq!(store.note_feedback(id, vec![(0, feedback(n as i64))]).await, Ok(1));
    }
    assert_eq!(store.note_feedback(id, vec![(0, feedback(0))]).await, Ok(0));
    let exported = store.export(None, 10).await.unwrap();
    assert!(store.delete(id).await.unwrap());
    assert_eq!(store.import(exported).await, Ok(1));
    let kept = noted().await;
    assert_eq!((kept[0].len(), &kept[1]), (FEEDBACK_PER_DELIVERY_MAX, &vec![feedback(3)]));
}

pub(super) async fn changes_of_the_list_are_told(harness: &dyn Harness) {
    let store = harness.open().await;
    let beside = harness.open_beside().await;
    let mut heard = beside.changes();
    let mut own = store.changes();
    let mut told = async |what: &str| {
        let wait = async { while heard.recv().await.unwrap() != Change::Suppressions {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}"));
        // What another process did may be told as all there is.
        while heard.try_recv().is_ok() {}
    };
    store.suppress(vec![suppression("a@one.example", Manual, 1)]).await.unwrap();
    let is_heard = std::iter::from_fn(|| own.try_recv().ok()).any(|change| change == Change::Suppressions);
    assert!(is_heard, "this process hears it before the call returns");
    told("an address came").await;
    store.unsuppress(&address("a@one.example")).await.unwrap();
    told("an address went").await;
    beside.close().await.unwrap();
}
