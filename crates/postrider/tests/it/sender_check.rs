//! As whom logged-in users may send (`SENDER_CHECK`), in the envelope and in the message.

use postrider_core::{Address, Domain};
use postrider_store::{DomainRecord, directory};
use postrider_testkit::{LineClient, TestPostrider, mail};

use crate::support::site_of_strangers;

/// Ann's mailbox is at `local.test`. An alias at `shop.test` leads to her, and the catch-all of `caught.test`.
async fn world(check: &str) -> TestPostrider {
    let site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test,shop.test").set("SENDER_CHECK", check);
    let postrider = site.start().await;
    for user in ["ann@local.test", "bob@local.test", "cat@shop.test"] {
        postrider.add_user(user, "password").await;
    }
    let address = |text: &str| text.parse::<Address>().unwrap();
    let (store, now) = (postrider.store(), postrider.now());
    let configured: [Domain; 2] = ["local.test".parse().unwrap(), "shop.test".parse().unwrap()];
    let targets = [address("ann@local.test"), address("bob@local.test")];
    directory::add_alias(store.as_ref(), &configured, &address("sales@shop.test"), &targets, now).await.unwrap();
    for (name, catch_all) in [("caught.test", Some("ann@local.test")), ("other.test", None)] {
        let (name, catch_all) = (name.parse().unwrap(), catch_all.map(address));
        store.add_domain(DomainRecord { name, catch_all, created_at: now, updated_at: now }).await.unwrap();
    }
    postrider
}

async fn ann(postrider: &TestPostrider) -> LineClient {
    let mut client = LineClient::hello(postrider.submission()).await;
    client.starttls().await;
    client.demand("EHLO client.test", 250).await;
    assert_eq!(client.auth_plain("Ann@local.test", "password").await.code, 235);
    client
}

#[tokio::test]
async fn users_send_as_who_they_are() {
    // As the sender, and as the author, under `off`, `domain` and `address`.
    let cases = [
        ("ann@local.test", [true, true, true]),
        ("ANN@Local.Test", [true, true, true]),
        ("ann+lists@local.test", [true, true, true]),
        ("sales@shop.test", [true, true, true]),
        ("anybody@caught.test", [true, true, true]),
        ("bob@local.test", [true, true, false]),
        ("noreply@local.test", [true, true, false]),
        ("cat@shop.test", [true, true, false]),
        ("any@other.test", [true, false, false]),
        ("any@elsewhere.test", [true, false, false]),
    ];
    for (n, check) in ["off", "domain", "address"].into_iter().enumerate() {
        let postrider = world(check).await;
        for (address, may_send) in cases {
            let expected = if may_send[n] { 250 } else { 550 };
            let mut client = ann(&postrider).await;
            let reply = client.command(&format!("MAIL FROM:<{address}>")).await;
            assert_eq!(reply.code, expected, "{check}: MAIL FROM {address}");
            client.demand("RSET", 250).await;
            let message = mail::plain(address, "bob@local.test", "as an author");
            let reply = client.send_mail("ann@local.test", &["bob@local.test"], &message).await;
            assert_eq!(reply.code, expected, "{check}: From {address}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn every_author_counts() {
    let postrider = world("address").await;
    let mut client = ann(&postrider).await;
    for (fields, code) in [
        ("From: ann@local.test, sales@shop.test", 250),
        ("From: ann@local.test, bob@local.test", 550),
        ("From: team: ann@local.test, bob@local.test;", 550),
        ("From: ann@local.test\r\nFrom: bob@local.test", 550),
        ("From: \"ann@local.test\" <bob@local.test>", 550),
        ("From: nobody", 550),
        ("Subject: no author", 250),
        ("From: ann@local.test\r\nSender: sales@shop.test", 250),
        ("From: ann@local.test\r\nSender: bob@local.test", 550),
        ("Sender: bob@local.test", 550),
        ("From: ann@local.test\r\nSender: nobody", 550),
        ("From: ann@local.test\r\nResent-From: ann@local.test", 250),
        ("From: ann@local.test\r\nresent-from: bob@local.test", 550),
        ("From: ann@local.test\r\nResent-Sender: ann@local.test\r\nResent-Sender: bob@local.test", 550),
    ] {
        let message = format!("{fields}\r\nTo: bob@local.test\r\n\r\nText\r\n");
        let reply = client.send_mail("ann@local.test", &["bob@local.test"], message.as_bytes()).await;
        assert_eq!(reply.code, code, "{fields}: {reply:?}");
    }
    // What a mail program answers by itself has no sender.
    client.demand("MAIL FROM:<>", 250).await;
}

/// Hosts of trusted networks send for many.
#[tokio::test]
async fn only_who_logged_in_is_asked() {
    let site = site_of_strangers().await.set("TRUSTED_NETWORKS", "127.0.0.0/8").set("SENDER_CHECK", "address");
    let postrider = site.set("ALLOWED_DOMAINS", "local.test").start().await;
    postrider.send("any@elsewhere.test", &["bob@local.test"], &mail::plain("x@y.test", "bob@local.test", "any")).await;
}
