//! The audit log.

use postrider_core::ObjectId;

use super::Harness;
use super::fixtures::*;
use crate::records::*;

fn entry(name: &str, action: &str, target: &str, seconds: i64) -> AuditEntry {
    let actor = AuditActor { name: name.to_owned(), token: None };
    AuditEntry::begun(actor, None, action, target, at(seconds))
}

pub(super) async fn what_somebody_did_is_known_and_how_it_ended(harness: &dyn Harness) {
    let store = harness.open().await;
    let token = ObjectId::new(at(7));
    let mut by_token = entry("Shop", "user.add", "Ann@one.example", 1);
    by_token.actor.token = Some(token);
    by_token.peer = Some("2001:db8::7".parse().unwrap());
    let by_hand = entry("command line", "domain.remove", "one.example", 2);
    assert_eq!(store.audit(vec![by_token.clone()]).await, Ok(1));
    assert_eq!(store.audit(vec![by_token.clone(), by_hand.clone()]).await, Ok(1), "each is there once");
    assert_eq!(store.audit(vec![by_token.clone()]).await, Ok(0));
    assert_eq!(store.audit(Vec::new()).await, Ok(0));

    let done = AuditConclusion::new(AuditOutcome::Done, Some("ann@one.example"), Some("{\"a\":1}".to_owned()));
    assert_eq!(store.conclude_audit(by_token.id, done).await, Ok(true));
    let failed = AuditConclusion::new(AuditOutcome::Failed, None, None);
    assert_eq!(store.conclude_audit(ObjectId::new(at(9)), failed).await, Ok(false));
    store.close().await.unwrap();

    let store = harness.open().await;
    by_token.outcome = Some(AuditOutcome::Done);
    by_token.target = "ann@one.example".to_owned();
    by_token.details = Some("{\"a\":1}".to_owned());
    let all = store.audit_entries(&AuditFilter::default(), 1, 10).await.unwrap();
    assert_eq!(all, AuditPage { entries: vec![by_hand, by_token], total: 2 });
}

pub(super) async fn the_log_comes_in_pages_and_by_filter(harness: &dyn Harness) {
    let store = harness.open().await;
    let token = ObjectId::new(at(7));
    let mut entries: Vec<AuditEntry> = (0..6)
        .map(|n| {
            let (name, action) =
                [("Shop", "user.add"), ("API_TOKEN", "user.remove"), ("command line", "users.x")][n % 3];
            entry(name, action, &format!("user{n}@one.example"), n as i64)
        })
        .collect();
    entries[0].actor.token = Some(token);
    store.audit(entries).await.unwrap();
    let found = async |filter: AuditFilter, page, limit| {
        let found = store.audit_entries(&filter, page, limit).await.unwrap();
        let numbers: Vec<_> = found.entries.iter().map(|entry| entry.target[4..5].to_owned()).collect();
        (numbers.join(" "), found.total)
    };
    let none = AuditFilter::default;
    assert_eq!(found(none(), 1, 4).await, ("5 4 3 2".to_owned(), 6));
    assert_eq!(found(none(), 2, 4).await, ("1 0".to_owned(), 6));
    assert_eq!(found(none(), 3, 4).await, (String::new(), 6));
    assert_eq!(found(none(), 1, 0).await, (String::new(), 6));
    let actor = |text: &str| AuditFilter { actor: Some(text.to_owned()), ..none() };
    assert_eq!(found(actor("SHOP"), 1, 9).await.0, "3 0");
    assert_eq!(found(actor(&token.to_string()), 1, 9).await.0, "0");
    assert_eq!(found(actor("$actor"), 1, 9).await.0, "");
    let action = |text: &str| AuditFilter { action: Some(text.to_owned()), ..none() };
    assert_eq!(found(action("user"), 1, 9).await.0, "4 3 1 0", "all that is done to users, and no more");
    assert_eq!(found(action("user.add"), 1, 9).await.0, "3 0");
    assert_eq!(found(action("user."), 1, 9).await.0, "");
    let target = AuditFilter { target: Some("USER4".to_owned()), ..none() };
    assert_eq!(found(target, 1, 9).await.0, "4");
    let time = AuditFilter { from: Some(at(2)), to: Some(at(4)), ..none() };
    assert_eq!(found(time, 1, 9).await, ("3 2".to_owned(), 2));
}

pub(super) async fn old_entries_are_forgotten(harness: &dyn Harness) {
    let store = harness.open().await;
    store.audit((0..5).map(|n| entry("a", "user.add", "x", n)).collect()).await.unwrap();
    assert_eq!(store.sweep_audit(at(3), 2).await, Ok(2));
    assert_eq!(store.sweep_audit(at(3), 2).await, Ok(1));
    assert_eq!(store.sweep_audit(at(3), 2).await, Ok(0));
    let left = store.audit_entries(&AuditFilter::default(), 1, 9).await.unwrap();
    assert_eq!(left.entries.iter().map(|entry| entry.at).collect::<Vec<_>>(), [at(4), at(3)]);
}
