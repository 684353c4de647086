//! Who gets what: users, aliases, what stands behind a plus, the catch-all, quotas; by LMTP and by SMTP.

use postrider_core::{Address, Domain};
use postrider_store::{AliasRecord, DomainRecord, Quota, directory};
use postrider_testkit::{LineClient, Script, Site, TestPostrider, eventually, mail};

use crate::support::{inbox, site_of_strangers, try_recipient};

/// Two users at `local.test`, which is of the settings; `other.test` is of the directory.
async fn world(site: Site) -> TestPostrider {
    let postrider = site.set("ALLOWED_DOMAINS", "local.test").start().await;
    for user in ["ann@local.test", "bob@local.test", "cat@other.test"] {
        postrider.add_user(user, "password").await;
    }
    add_domain(&postrider, "other.test", None).await;
    postrider
}

#[tokio::test]
async fn an_address_reaches_users() {
    let postrider = world(Site::new().await).await;
    add_alias(&postrider, "sales@local.test", &["ann@local.test", "bob@local.test"]).await;
    add_alias(&postrider, "Bob+Team@local.test", &["cat@other.test"]).await;
    add_domain(&postrider, "caught.test", Some("ann@local.test")).await;
    add_alias(&postrider, "not@caught.test", &["bob@local.test"]).await;
    for (recipient, ann, bob, cat) in [
        ("ANN@local.TEST", 1, 0, 0),
        ("ann+lists@local.test", 1, 0, 0),
        ("bob+team@local.test", 0, 0, 1),
        ("bob+more+team@local.test", 0, 1, 0),
        ("SALES@local.test", 1, 1, 0),
        ("sales+autumn@local.test", 1, 1, 0),
        ("cat@other.test", 0, 0, 1),
        ("anybody@caught.test", 1, 0, 0),
        ("anybody+x@caught.test", 1, 0, 0),
        ("not@caught.test", 0, 1, 0),
    ] {
        for port in [postrider.lmtp(), postrider.smtp(), postrider.smtp_mx()] {
            let before = counts(&postrider).await;
            deliver(&postrider, port.port(), &[recipient]).await;
            let after = counts(&postrider).await;
            let came: Vec<usize> = after.iter().zip(before).map(|(after, before)| after - before).collect();
            assert_eq!(came, [ann, bob, cat], "{recipient} on port {}", port.port());
        }
    }
}

#[tokio::test]
async fn a_user_reached_twice_gets_one_copy_and_all_share_one_message() {
    let postrider = world(Site::new().await).await;
    add_alias(&postrider, "sales@local.test", &["ann@local.test", "bob@local.test"]).await;
    for port in [postrider.lmtp(), postrider.smtp()] {
        deliver(&postrider, port.port(), &["ann@local.test", "sales@local.test", "ann+x@local.test"]).await;
    }
    assert_eq!(counts(&postrider).await, [2, 2, 0]);
    let (ann, bob) = (inbox(&postrider, "ann@local.test").await, inbox(&postrider, "bob@local.test").await);
    let emails = |entries: &[postrider_store::Entry]| entries.iter().map(|entry| entry.email).collect::<Vec<_>>();
    assert_eq!(emails(&ann), emails(&bob));
    assert_eq!(postrider.emails().await.len(), 2);
}

#[tokio::test]
async fn what_is_filed_can_be_read_back_with_its_digest() {
    let postrider = world(Site::new().await).await;
    let message = deliver(&postrider, postrider.lmtp().port(), &["ann@local.test"]).await;
    let entry = inbox(&postrider, "ann@local.test").await[0];
    let store = postrider.store();
    let raw = store.messages(&[entry.email]).await.unwrap()[0].clone().unwrap();
    assert!(raw.ends_with(&message));
    assert_eq!(entry.size as usize, raw.len());
    let digest = store.digests(&[entry.email]).await.unwrap()[0].clone().unwrap();
    assert_eq!(&digest, postrider_core::mailbox::Digest::of(&raw).as_bytes());
}

#[tokio::test]
async fn the_directory_is_heard_of_while_the_server_runs() {
    let postrider = world(Site::new().await).await;
    let codes = async |recipient: &str| {
        let mut client = lhlo(&postrider).await;
        let lmtp = try_recipient(&mut client, "a@sender.test", recipient).await;
        let mut client = LineClient::hello(postrider.smtp_mx()).await;
        (lmtp, try_recipient(&mut client, "a@sender.test", recipient).await)
    };
    assert_eq!(codes("new@local.test").await, (550, 250));
    assert_eq!(codes("x@late.test").await, (550, 250), "a trusted client relays what is not local");
    postrider.add_user("new@local.test", "password").await;
    add_domain(&postrider, "late.test", Some("new@local.test")).await;
    let heard = async || {
        let all = (codes("new@local.test").await, codes("x@late.test").await);
        (all == ((250, 250), (250, 250))).then_some(())
    };
    eventually("the server to hear of it", heard).await;
    let store = postrider.store();
    assert!(store.remove_user(&address("new@local.test")).await.unwrap());
    assert!(store.remove_domain(&"late.test".parse().unwrap()).await.unwrap());
    let forgotten = async || {
        let all = (codes("new@local.test").await, codes("x@late.test").await);
        (all == ((550, 250), (550, 250))).then_some(())
    };
    eventually("the server to forget it", forgotten).await;
}

#[tokio::test]
async fn a_domain_of_the_directory_is_as_local_as_one_of_the_settings() {
    let postrider = world(site_of_strangers().await).await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    assert_eq!(try_recipient(&mut client, "a@sender.test", "cat@other.test").await, 250);
    client.demand("RCPT TO:<anybody@other.test>", 250).await;
    client.demand("RCPT TO:<a@elsewhere.test>", 550).await;
}

#[tokio::test]
async fn unknown_recipients_of_smtp_stay_on_record_alone() {
    let postrider = world(Site::new().await).await;
    deliver(&postrider, postrider.smtp().port(), &["nobody@local.test", "ann@local.test"]).await;
    assert_eq!(counts(&postrider).await, [1, 0, 0]);
    let emails = postrider.emails().await;
    assert_eq!(emails.len(), 1);
    assert_eq!(emails[0].recipients, ["nobody@local.test", "ann@local.test"]);
}

#[tokio::test]
async fn lmtp_tells_each_recipient_of_its_own_quota() {
    let postrider = world(Site::new().await).await;
    add_alias(&postrider, "sales@local.test", &["ann@local.test", "bob@local.test"]).await;
    set_quota(&postrider, "bob@local.test", Quota { bytes: None, messages: Some(1) }).await;
    let codes = async |recipients: &[&str]| deliver_by_lmtp(&postrider, recipients).await;
    assert_eq!(codes(&["ann@local.test", "bob@local.test"]).await, [250, 250]);
    assert_eq!(codes(&["bob@local.test", "cat@other.test", "ann@local.test"]).await, [552, 250, 250]);
    // The sender learns that not all of an alias have it.
    assert_eq!(codes(&["sales@local.test", "ann@local.test"]).await, [552, 250]);
    let listed = postrider.emails().await.len();
    assert_eq!(codes(&["bob@local.test", "bob+x@local.test"]).await, [552, 552]);
    assert_eq!(postrider.emails().await.len(), listed, "what nobody has is not kept");
    assert_eq!(counts(&postrider).await, [3, 1, 1]);
    set_quota(&postrider, "bob@local.test", Quota::default()).await;
    assert_eq!(codes(&["bob@local.test"]).await, [250]);
    // By bytes: with what this server puts on top, a message is larger than it came.
    set_quota(&postrider, "cat@other.test", Quota { bytes: Some(2_500), messages: None }).await;
    let mut client = lhlo(&postrider).await;
    let mut message = mail::plain("a@sender.test", "cat@other.test", "large");
    message.extend_from_slice(&b"0123456789 0123456789\r\n".repeat(100));
    client.demand("MAIL FROM:<a@sender.test>", 250).await;
    client.demand("RCPT TO:<cat@other.test>", 250).await;
    let reply = client.send_data(&message).await;
    assert_eq!(reply.text(), "552 5.2.2 Mailbox is full");
}

#[tokio::test]
async fn smtp_refuses_full_mailboxes_at_rcpt() {
    let postrider = world(Site::new().await).await;
    add_alias(&postrider, "sales@local.test", &["ann@local.test", "bob@local.test"]).await;
    set_quota(&postrider, "bob@local.test", Quota { bytes: Some(2_000), messages: Some(1) }).await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@sender.test> SIZE=3000", 250).await;
    let reply = client.demand("RCPT TO:<bob@local.test>", 552).await;
    assert_eq!(reply.text(), "552 5.2.2 Mailbox is full");
    client.demand("RCPT TO:<sales@local.test>", 250).await;
    client.demand("RSET", 250).await;
    deliver(&postrider, postrider.smtp_mx().port(), &["bob@local.test"]).await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    assert_eq!(try_recipient(&mut client, "a@sender.test", "bob@local.test").await, 552);
    // Once it is taken, it is delivered: an alias that reaches one with room reaches all.
    deliver(&postrider, postrider.smtp_mx().port(), &["sales@local.test"]).await;
    assert_eq!(counts(&postrider).await, [1, 2, 0]);
}

#[tokio::test]
async fn postmaster_is_an_address_like_others_where_somebody_has_it() {
    let postrider = world(Site::new().await).await;
    add_alias(&postrider, "postmaster@local.test", &["ann@local.test"]).await;
    for recipient in ["postmaster", "Postmaster@local.test"] {
        assert_eq!(deliver_by_lmtp(&postrider, &[recipient]).await, [250]);
    }
    assert_eq!(counts(&postrider).await, [2, 0, 0]);
}

#[tokio::test]
async fn notifications_to_users_are_in_their_mailboxes() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().on_recipient("never@example.org", "550 5.1.1 Never")).await;
    let postrider = world(site).await;
    // However full: it is news of the user's own mail.
    set_quota(&postrider, "ann@local.test", Quota { bytes: None, messages: Some(0) }).await;
    let message = mail::plain("ann@local.test", "never@example.org", "refused");
    postrider.send("ann+x@local.test", &["never@example.org"], &message).await;
    let report = eventually("the report", async || inbox(&postrider, "ann@local.test").await.first().copied()).await;
    let raw = postrider.store().messages(&[report.email]).await.unwrap()[0].clone().unwrap();
    let text = String::from_utf8_lossy(&raw);
    assert!(text.starts_with("Return-Path: <>\r\n") && text.contains("550 5.1.1 Never"), "{text}");
    assert_eq!(mx.messages().len(), 0);

    let mut client = postrider.client().await;
    client.demand("MAIL FROM:<bob@local.test>", 250).await;
    client.demand("RCPT TO:<cat@other.test> NOTIFY=SUCCESS", 250).await;
    assert_eq!(client.send_data(&mail::plain("bob@local.test", "cat@other.test", "told")).await.code, 250);
    eventually("the notice", async || (counts(&postrider).await == [1, 1, 1]).then_some(())).await;
}

async fn deliver(postrider: &TestPostrider, port: u16, recipients: &[&str]) -> Vec<u8> {
    let message = mail::plain("a@sender.test", recipients[0], "delivered");
    if port == postrider.lmtp().port() {
        let codes = deliver_by_lmtp(postrider, recipients).await;
        assert!(codes.iter().all(|&code| code == 250), "{recipients:?}: {codes:?}");
    } else {
        let mut client = LineClient::hello(std::net::SocketAddr::new(postrider.ip(), port)).await;
        let reply = client.send_mail("a@sender.test", recipients, &message).await;
        postrider.accepted(&reply).await;
    }
    message
}

/// The code that each recipient got.
async fn deliver_by_lmtp(postrider: &TestPostrider, recipients: &[&str]) -> Vec<u16> {
    let mut client = lhlo(postrider).await;
    let message = mail::plain("a@sender.test", recipients[0], "delivered");
    let mut codes = vec![client.send_mail("a@sender.test", recipients, &message).await.code];
    for _ in 1..recipients.len() {
        codes.push(client.reply().await.code);
    }
    codes
}

async fn lhlo(postrider: &TestPostrider) -> LineClient {
    let mut client = LineClient::connect(postrider.lmtp()).await.unwrap();
    client.expect(220).await;
    client.demand("LHLO client.test", 250).await;
    client
}

/// Messages in the INBOX of each user of [`world`].
async fn counts(postrider: &TestPostrider) -> [usize; 3] {
    let count = async |user| inbox(postrider, user).await.len();
    [count("ann@local.test").await, count("bob@local.test").await, count("cat@other.test").await]
}

async fn add_alias(postrider: &TestPostrider, alias: &str, targets: &[&str]) {
    let targets: Vec<Address> = targets.iter().copied().map(address).collect();
    let configured = ["local.test".parse().unwrap()];
    let now = postrider.now();
    let added: AliasRecord =
        directory::add_alias(postrider.store().as_ref(), &configured, &address(alias), &targets, now).await.unwrap();
    assert_eq!(added.targets, targets);
}

async fn add_domain(postrider: &TestPostrider, name: &str, catch_all: Option<&str>) {
    let name: Domain = name.parse().unwrap();
    let now = postrider.now();
    let domain = DomainRecord { name, catch_all: catch_all.map(address), created_at: now, updated_at: now };
    postrider.store().add_domain(domain).await.unwrap();
}

async fn set_quota(postrider: &TestPostrider, user: &str, quota: Quota) {
    assert!(postrider.store().set_quota(&address(user), quota, postrider.now()).await.unwrap());
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}
