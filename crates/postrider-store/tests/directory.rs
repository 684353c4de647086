//! The directory's logic on a store.

// What fails in a helper of a test is a failed test too, though clippy does not take helpers for tests.
#![allow(clippy::unwrap_used)]

use postrider_core::{Address, Domain, ObjectId, Timestamp};
use postrider_store::directory::{self, ALIAS_TARGETS_MAX, DirectoryError};
use postrider_store::{DomainRecord, Quota, ScramKeys, SqliteOptions, SqliteStore, Store, StoreError, User};

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

#[tokio::test]
async fn changes_that_make_no_sense_are_refused_and_say_why() {
    let (_folder, store) = store().await;
    let store = store.as_ref();
    let configured = [domain("local.test")];
    let add = async |alias: &str, targets: &[&str]| {
        let targets: Vec<Address> = targets.iter().copied().map(address).collect();
        directory::add_alias(store, &configured, &address(alias), &targets, NOW).await
    };
    let alias = add("Sales@LOCAL.test", &["ANN@local.test", "bob@local.test", "ann@local.test"]).await.unwrap();
    assert_eq!(alias.address.as_str(), "Sales@local.test");
    assert_eq!(alias.targets, [address("ann@local.test"), address("bob@local.test")], "as the users are spelled, once");
    for (alias, targets, expected) in [
        ("x@elsewhere.test", &["ann@local.test"][..], DirectoryError::NotLocal(domain("elsewhere.test"))),
        ("x@local.test", &[], DirectoryError::NoTargets),
        ("x@local.test", &["ann@elsewhere.test"], DirectoryError::Elsewhere(address("ann@elsewhere.test"))),
        ("x@local.test", &["nobody@local.test"], DirectoryError::NoUser(address("nobody@local.test"))),
        ("x@local.test", &["sales@local.test"], DirectoryError::IsAlias(address("sales@local.test"))),
    ] {
        assert_eq!(add(alias, targets).await, Err(expected), "{alias}");
    }
    for taken in ["sales@local.test", "ann@local.test"] {
        let refused = add(taken, &["ann@local.test"]).await;
        assert!(matches!(refused, Err(DirectoryError::Store(StoreError::Exists(_)))), "{refused:?}");
    }
    let many: Vec<String> = (0..=ALIAS_TARGETS_MAX).map(|n| format!("u{n}@local.test")).collect();
    for user in &many {
        add_user(store, user).await;
    }
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(add("all@local.test", &many).await, Err(DirectoryError::TooManyTargets));
    assert!(add("all@local.test", &many[1..]).await.is_ok());
}

#[tokio::test]
async fn a_catch_all_is_a_user_and_its_domain_comes_into_the_directory() {
    let (_folder, store) = store().await;
    let store = store.as_ref();
    let configured = [domain("local.test")];
    let set = async |name: &str, user: Option<&str>| {
        let user = user.map(address);
        directory::set_catch_all(store, &configured, &domain(name), user.as_ref(), NOW).await
    };
    assert_eq!(
        set("local.test", Some("nobody@local.test")).await,
        Err(DirectoryError::NoUser(address("nobody@local.test")))
    );
    assert_eq!(set("elsewhere.test", None).await, Err(DirectoryError::NoDomain(domain("elsewhere.test"))));
    assert!(store.domains().await.unwrap().is_empty());
    set("local.test", Some("ann@local.test")).await.unwrap();
    assert_eq!(reached(store, "anybody@local.test").await, ["ann@local.test"]);
    assert_eq!(directory::ways_to(store, &address("ANN@local.test")).await.unwrap().catch_alls, configured);
    set("local.test", None).await.unwrap();
    assert!(reached(store, "anybody@local.test").await.is_empty());
}

#[tokio::test]
async fn who_is_gone_is_reached_no_more() {
    let (_folder, store) = store().await;
    let store = store.as_ref();
    let configured = [domain("local.test")];
    let targets = [address("ann@local.test"), address("bob@local.test")];
    directory::add_alias(store, &configured, &address("sales@local.test"), &targets, NOW).await.unwrap();
    let record = DomainRecord {
        name: domain("local.test"),
        catch_all: Some(address("bob@local.test")),
        created_at: NOW,
        updated_at: NOW,
    };
    store.add_domain(record).await.unwrap();
    assert!(store.remove_user(&address("ann@local.test")).await.unwrap());
    assert_eq!(reached(store, "sales@local.test").await, ["bob@local.test"]);
    assert_eq!(reached(store, "ann@local.test").await, ["bob@local.test"], "the catch-all has what was ann's");
    assert!(store.remove_user(&address("bob@local.test")).await.unwrap());
    assert!(reached(store, "sales@local.test").await.is_empty());
    assert!(reached(store, "ann@local.test").await.is_empty());
    let change = directory::set_alias_targets(store, &configured, &address("none@local.test"), &targets, NOW).await;
    assert_eq!(change, Err(DirectoryError::NoAlias(address("none@local.test"))));
}

/// With the users ann and bob.
async fn store() -> (tempfile::TempDir, Box<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
    for user in ["ann@local.test", "bob@local.test"] {
        add_user(&store, user).await;
    }
    (folder, Box::new(store))
}

async fn add_user(store: &dyn Store, user: &str) {
    let user = User {
        id: ObjectId::new(NOW),
        address: address(user),
        password_hash: String::new(),
        scram: ScramKeys { salt: Vec::new(), iterations: 1, stored_key: [0; 32], server_key: [0; 32] },
        quota: Quota::default(),
        is_enabled: true,
        created_at: NOW,
        updated_at: NOW,
    };
    store.add_user(user).await.unwrap();
}

/// The addresses of the users whom an address reaches.
async fn reached(store: &dyn Store, text: &str) -> Vec<String> {
    let reached = directory::resolve(store, &address(text)).await.unwrap();
    let users = store.users().await.unwrap();
    let address_of = |id| users.iter().find(|user| user.id == id).map(|user| user.address.as_str().to_owned());
    reached.iter().filter_map(|reached| address_of(reached.user)).collect()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}
