//! LMTP: who is served, and what each recipient is told.

use insta::assert_snapshot;
use postrider_testkit::{LineClient, Site, StoreFaults, TestPostrider, mail};

use crate::support::{inbox, site_of_strangers};

#[tokio::test]
async fn a_delivery() {
    let postrider = world().await;
    let mut client = lhlo(&postrider).await;
    client.demand("MAIL FROM:<a@sender.test> BODY=8BITMIME", 250).await;
    for recipient in ["ann@local.test", "nobody@local.test", "bob@elsewhere.test", "Bob@LOCAL.test", "ann@local.test"] {
        client.command(&format!("RCPT TO:<{recipient}>")).await;
    }
    client.demand("DATA", 354).await;
    client.send_raw(b"Subject: hello\r\n\r\nHello.\r\n.\r\n").await;
    // One for each recipient that was accepted, also for one that is named twice (RFC 2033 section 4.2).
    for _ in 0..3 {
        client.expect(250).await;
    }
    client.demand("NOOP", 250).await;
    client.demand("EHLO client.test", 500).await;
    client.demand("QUIT", 221).await;
    assert_snapshot!(client.transcript());
    assert_eq!(postrider.emails().await.len(), 1, "one message serves all its recipients");
}

#[tokio::test]
async fn the_message_says_how_it_came() {
    let postrider = world().await;
    for (client, protocol) in [(lhlo(&postrider).await, "with LMTP id"), (lhlo_tls(&postrider).await, "with LMTPS id")]
    {
        let mut client = client;
        let message = mail::plain("a@sender.test", "ann@local.test", "kept");
        let reply = client.send_mail("a@sender.test", &["ann@local.test"], &message).await;
        let id = postrider.accepted(&reply).await;
        let raw = postrider.store().raw(id).await.unwrap().unwrap().raw;
        let text = String::from_utf8_lossy(&raw);
        assert!(text.starts_with("Return-Path: <a@sender.test>\r\nReceived: from client.test"), "{text}");
        assert!(text.contains(protocol), "{text}");
        assert!(raw.ends_with(&message), "what was sent stays as it is");
    }
}

#[tokio::test]
async fn strangers_are_told_why_they_are_not_served() {
    let postrider = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let mut clear = LineClient::connect(postrider.lmtp()).await.unwrap();
    let mut encrypted = LineClient::connect_tls(postrider.lmtps()).await.unwrap();
    for client in [&mut clear, &mut encrypted] {
        let reply = client.expect(554).await;
        assert!(reply.text().contains("TRUSTED_NETWORKS"), "{}", reply.text());
        client.expect_end().await;
    }
}

#[tokio::test]
async fn it_never_relays_and_knows_its_users() {
    for unknown in ["store", "reject"] {
        let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test").set("UNKNOWN_RECIPIENTS", unknown);
        let postrider = site.start().await;
        postrider.add_user("ann@local.test", "password").await;
        let mut client = lhlo(&postrider).await;
        client.demand("MAIL FROM:<a@sender.test>", 250).await;
        for (recipient, reply) in [
            ("b@elsewhere.test", "550 5.7.1"),
            ("ann@sub.local.test", "550 5.7.1"),
            ("nobody@local.test", "550 5.1.1"),
            // There is no mailbox of that name, and nothing else to deliver to.
            ("postmaster", "550 5.1.1"),
            ("postmaster@local.test", "550 5.1.1"),
            ("ann@local.test", "250 2.1.5"),
        ] {
            let answer = client.command(&format!("RCPT TO:<{recipient}>")).await;
            assert!(answer.text().starts_with(reply), "{recipient} with {unknown}: {}", answer.text());
        }
        client.demand("RSET", 250).await;
        client.demand("DATA", 503).await;
    }
}

#[tokio::test]
async fn a_message_may_come_in_chunks() {
    let postrider = world().await;
    let mut client = lhlo(&postrider).await;
    client.demand("MAIL FROM:<a@sender.test>", 250).await;
    client.demand("RCPT TO:<ann@local.test>", 250).await;
    client.demand("RCPT TO:<bob@local.test>", 250).await;
    client.send_raw(b"BDAT 17\r\nSubject: chunks\r\nBDAT 9 LAST\r\n\r\nText.\r\n").await;
    // One for the first chunk, and one for each recipient behind the last (RFC 2033 section 4.3).
    for _ in 0..3 {
        client.expect(250).await;
    }
    client.demand("NOOP", 250).await;
    for user in ["ann@local.test", "bob@local.test"] {
        let entry = inbox(&postrider, user).await[0];
        let raw = postrider.store().messages(&[entry.email]).await.unwrap()[0].clone().unwrap();
        assert!(raw.ends_with(b"\r\nSubject: chunks\r\n\r\nText.\r\n"), "{}", raw.escape_ascii());
    }
}

#[tokio::test]
async fn what_is_refused_as_a_whole_is_refused_to_each() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test").set("MAX_EMAIL_SIZE", "2000");
    let postrider = site.start().await;
    postrider.add_user("ann@local.test", "password").await;
    postrider.add_user("bob@local.test", "password").await;
    let mut client = lhlo(&postrider).await;
    let mut large = mail::plain("a@sender.test", "ann@local.test", "large");
    large.extend_from_slice(&b"0123456789 0123456789\r\n".repeat(100));
    let looping = "Received: from x by y; Fri, 02 Jan 2026 03:04:05 +0000\r\n".repeat(30).into_bytes();
    for (message, reply) in [(large, "552 5.3.4"), (b"a\0b\r\n".to_vec(), "550 5.6.0"), (looping, "250 2.0.0")] {
        let first = client.send_mail("a@sender.test", &["ann@local.test", "bob@local.test"], &message).await;
        let second = client.reply().await;
        assert!(first.text().starts_with(reply) && second.text().starts_with(reply), "{first:?} {second:?}");
    }
    assert_eq!(inbox(&postrider, "ann@local.test").await.len(), 1);
}

/// A store that does not take the message is a failure for now, of each recipient.
#[tokio::test]
async fn an_outage_puts_each_recipient_off() {
    let faults = StoreFaults::new();
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test").with_store_faults(&faults);
    let postrider = site.start().await;
    postrider.add_user("ann@local.test", "password").await;
    let mut client = lhlo(&postrider).await;
    client.demand("MAIL FROM:<a@sender.test>", 250).await;
    client.demand("RCPT TO:<ann@local.test>", 250).await;
    client.demand("RCPT TO:<ann@local.test>", 250).await;
    faults.set_failing(true);
    let first = client.send_data(b"Subject: x\r\n\r\n").await;
    assert_eq!((first.code, client.reply().await.code), (451, 451));
    faults.set_failing(false);
    let reply = client.send_mail("a@sender.test", &["ann@local.test"], b"Subject: x\r\n\r\n").await;
    assert_eq!(reply.code, 250);
    assert_eq!(inbox(&postrider, "ann@local.test").await.len(), 1);
}

async fn world() -> TestPostrider {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    postrider.add_user("ann@local.test", "password").await;
    postrider.add_user("bob@local.test", "password").await;
    postrider
}

async fn lhlo(postrider: &TestPostrider) -> LineClient {
    greeted(LineClient::connect(postrider.lmtp()).await.unwrap()).await
}

async fn lhlo_tls(postrider: &TestPostrider) -> LineClient {
    greeted(LineClient::connect_tls(postrider.lmtps()).await.unwrap()).await
}

async fn greeted(mut client: LineClient) -> LineClient {
    client.expect(220).await;
    client.demand("LHLO client.test", 250).await;
    client
}
