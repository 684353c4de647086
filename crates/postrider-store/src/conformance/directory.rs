//! Domains and aliases.

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::{AliasRecord, Change, DomainRecord};

fn domain_record(text: &str, catch_all: Option<&str>) -> DomainRecord {
    DomainRecord { name: domain(text), catch_all: catch_all.map(address), created_at: at(1), updated_at: at(1) }
}

fn alias(text: &str, targets: &[&str]) -> AliasRecord {
    let targets = targets.iter().map(|text| address(text)).collect();
    AliasRecord { address: address(text), targets, created_at: at(1), updated_at: at(1) }
}

pub(super) async fn domains_are_kept(harness: &dyn Harness) {
    let store = harness.open().await;
    let (one, two) =
        (domain_record("two.example", None), domain_record("B\u{fc}cher.example", Some("Ann@example.org")));
    for record in [&one, &two] {
        store.add_domain(record.clone()).await.unwrap();
        assert!(matches!(store.add_domain(record.clone()).await, Err(StoreError::Exists(_))));
    }
    assert_eq!(store.domain(&domain("xn--bcher-kva.example")).await.unwrap().as_ref(), Some(&two));
    assert_eq!(store.domain(&domain("example")).await.unwrap(), None);
    assert_eq!(store.domains().await.unwrap(), [one, two.clone()], "by name");
    let set = async |text: &str, catch_all: Option<&str>| {
        store.set_catch_all(&domain(text), catch_all.map(address), at(2)).await.unwrap()
    };
    assert!(!set("three.example", None).await);
    assert!(set("two.example", Some("bob@example.org")).await);
    assert!(set("b\u{fc}cher.example", None).await);
    let changed = |record: DomainRecord| DomainRecord { updated_at: at(2), ..record };
    let one = changed(domain_record("two.example", Some("bob@example.org")));
    assert_eq!(store.domains().await.unwrap(), [one.clone(), changed(DomainRecord { catch_all: None, ..two })]);
    assert!(store.remove_domain(&domain("xn--bcher-kva.example")).await.unwrap());
    assert!(!store.remove_domain(&domain("xn--bcher-kva.example")).await.unwrap());
    assert_eq!(store.domains().await.unwrap(), [one]);
}

pub(super) async fn aliases_are_kept(harness: &dyn Harness) {
    let store = harness.open().await;
    let sales = alias("Sales@example.org", &["ann@example.org", "bob@example.org"]);
    let info = alias("info@example.org", &["ann@example.org"]);
    store.add_alias(sales.clone()).await.unwrap();
    store.add_alias(info.clone()).await.unwrap();
    assert_eq!(store.alias(&address("sALES@EXAMPLE.org")).await.unwrap().as_ref(), Some(&sales));
    assert_eq!(store.alias(&address("sale@example.org")).await.unwrap(), None);
    assert_eq!(store.aliases().await.unwrap(), [info.clone(), sales], "by address");
    let targets = vec![address("carl@example.org")];
    assert!(!store.set_alias_targets(&address("x@example.org"), targets.clone(), at(2)).await.unwrap());
    assert!(store.set_alias_targets(&address("SALES@example.org"), targets.clone(), at(2)).await.unwrap());
    let changed = AliasRecord { targets, updated_at: at(2), ..alias("Sales@example.org", &[]) };
    assert_eq!(store.alias(&address("sales@example.org")).await.unwrap(), Some(changed));
    assert!(store.remove_alias(&address("SALES@example.org")).await.unwrap());
    assert!(!store.remove_alias(&address("sales@example.org")).await.unwrap());
    assert_eq!(store.aliases().await.unwrap(), [info]);
}

pub(super) async fn an_address_is_of_a_user_or_an_alias(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "Ann@example.org").await;
    store.add_alias(alias("sales@example.org", &["ann@example.org"])).await.unwrap();
    let taken = |result| matches!(result, Err(StoreError::Exists(_)));
    assert!(taken(store.add_alias(alias("ann@EXAMPLE.org", &["bob@example.org"])).await));
    assert!(taken(store.add_alias(alias("SALES@example.org", &["bob@example.org"])).await));
    assert!(taken(store.add_user(user("Sales@example.org")).await));
    assert_eq!(store.users().await.unwrap().len(), 1);
    assert_eq!(
        store.mailboxes(user("Sales@example.org").id).await.unwrap(),
        [],
        "nothing of the refused user is there"
    );
    // An alias stays when its users go.
    assert!(store.remove_user(&address("ann@example.org")).await.unwrap());
    assert_eq!(store.mailboxes(ann).await.unwrap(), []);
    assert_eq!(
        store.alias(&address("sales@example.org")).await.unwrap(),
        Some(alias("sales@example.org", &["ann@example.org"]))
    );
    store.remove_alias(&address("sales@example.org")).await.unwrap();
    store.add_user(user("Sales@example.org")).await.unwrap();
}

pub(super) async fn changes_of_the_directory_are_told(harness: &dyn Harness) {
    let store = harness.open().await;
    let beside = harness.open_beside().await;
    let mut heard = beside.changes();
    let mut told = async |what: &str| {
        let wait = async { while heard.recv().await.unwrap() != Change::Directory {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}"));
        // What another process did may be told as all there is.
        while heard.try_recv().is_ok() {}
    };
    store.add_domain(domain_record("one.example", None)).await.unwrap();
    told("a domain came").await;
    store.set_catch_all(&domain("one.example"), Some(address("a@one.example")), at(2)).await.unwrap();
    told("its catch-all").await;
    store.add_alias(alias("b@one.example", &["a@one.example"])).await.unwrap();
    told("an alias came").await;
    store.add_user(user("a@one.example")).await.unwrap();
    told("a user came").await;
    store.set_enabled(&address("a@one.example"), false, at(3)).await.unwrap();
    told("a user was disabled").await;
    store.remove_domain(&domain("one.example")).await.unwrap();
    told("a domain went").await;
    beside.close().await.unwrap();
}
