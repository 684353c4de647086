//! The directory of users.

use postrider_core::ObjectId;

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::{Quota, ScramKeys, User};

pub(super) async fn users_are_found_without_regard_to_case(harness: &dyn Harness) {
    let store = harness.open().await;
    for text in ["Zoe@example.org", "adam@example.org", "m\u{fc}@b\u{fc}cher.example"] {
        store.add_user(user(text)).await.unwrap();
    }
    for text in ["zoe@example.org", "ZOE@EXAMPLE.ORG", "Zoe@Example.org"] {
        assert_eq!(store.user(&address(text)).await.unwrap(), Some(user("Zoe@example.org")));
    }
    let found = store.user(&address("M\u{fc}@xn--bcher-kva.example")).await.unwrap();
    assert_eq!(found, Some(user("m\u{fc}@b\u{fc}cher.example")));
    assert_eq!(store.user(&address("zo@example.org")).await.unwrap(), None);
    let all: Vec<_> = store.users().await.unwrap().iter().map(|user| user.address.to_string()).collect();
    assert_eq!(all, ["adam@example.org", "m\u{fc}@b\u{fc}cher.example", "Zoe@example.org"]);
}

pub(super) async fn a_user_is_added_once(harness: &dyn Harness) {
    let store = harness.open().await;
    store.add_user(user("a@example.org")).await.unwrap();
    assert!(matches!(store.add_user(user("A@Example.org")).await, Err(StoreError::Exists(_))));
    assert_eq!(store.users().await.unwrap(), [user("a@example.org")]);
}

pub(super) async fn passwords_are_replaced(harness: &dyn Harness) {
    let store = harness.open().await;
    store.add_user(user("a@example.org")).await.unwrap();
    let scram = ScramKeys { salt: vec![9], iterations: 8192, stored_key: [3; 32], server_key: [4; 32] };
    let unknown = store.set_password(&address("b@example.org"), "hash".into(), scram.clone(), at(2)).await;
    assert!(!unknown.unwrap());
    assert!(store.set_password(&address("A@example.org"), "hash".into(), scram.clone(), at(2)).await.unwrap());
    let expected = User { password_hash: "hash".into(), scram, updated_at: at(2), ..user("a@example.org") };
    assert_eq!(store.user(&address("a@example.org")).await.unwrap(), Some(expected));
}

pub(super) async fn users_are_disabled_and_enabled(harness: &dyn Harness) {
    let store = harness.open().await;
    store.add_user(user("a@example.org")).await.unwrap();
    store
        .add_user(User { is_enabled: false, id: ObjectId::from_bytes([8; 12]), ..user("b@example.org") })
        .await
        .unwrap();
    assert!(!store.user(&address("b@example.org")).await.unwrap().unwrap().is_enabled, "as it was added");
    assert!(!store.set_enabled(&address("c@example.org"), false, at(2)).await.unwrap());
    assert!(store.set_enabled(&address("A@example.org"), false, at(2)).await.unwrap());
    let disabled = User { is_enabled: false, updated_at: at(2), ..user("a@example.org") };
    assert_eq!(store.user(&address("a@example.org")).await.unwrap(), Some(disabled.clone()));
    let all: Vec<_> = store.users().await.unwrap().iter().map(|user| user.is_enabled).collect();
    assert_eq!(all, [false, false]);
    // What else is changed leaves it as it is.
    let quota = Quota { bytes: Some(7), messages: None };
    assert!(store.set_quota(&address("a@example.org"), quota, at(3)).await.unwrap());
    let scram = disabled.scram.clone();
    assert!(store.set_password(&address("a@example.org"), "hash".into(), scram, at(4)).await.unwrap());
    assert!(!store.user(&address("a@example.org")).await.unwrap().unwrap().is_enabled);
    assert!(store.set_enabled(&address("a@example.org"), true, at(5)).await.unwrap());
    assert!(store.user(&address("a@example.org")).await.unwrap().unwrap().is_enabled);
}

pub(super) async fn users_are_removed(harness: &dyn Harness) {
    let store = harness.open().await;
    store.add_user(user("a@example.org")).await.unwrap();
    assert!(!store.remove_user(&address("b@example.org")).await.unwrap());
    assert!(store.remove_user(&address("A@example.org")).await.unwrap());
    assert!(!store.remove_user(&address("a@example.org")).await.unwrap());
    assert_eq!(store.users().await.unwrap(), []);
    store.add_user(user("a@example.org")).await.unwrap();
}
