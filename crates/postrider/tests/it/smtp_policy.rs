//! Who may send what where: the policies of the four listeners. No default lets a stranger relay.

use insta::assert_snapshot;
use postrider_core::EmailStatus;
use postrider_testkit::{LineClient, Script, Site, mail};

use crate::support::{site_of_strangers, try_recipient};

#[tokio::test]
async fn a_stranger_relays_on_no_listener() {
    let postrider = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let mut transcripts = String::new();
    for server in [postrider.smtp(), postrider.smtp_mx(), postrider.submission()] {
        let mut client = LineClient::hello(server).await;
        let code = try_recipient(&mut client, "someone@local.test", "victim@example.org").await;
        assert!(code >= 500, "{}", client.transcript());
        client.command("DATA").await;
        transcripts.push_str(&format!("-- port {}\n{}\n", server.port(), client.transcript()));
    }
    let mut client = LineClient::connect_tls(postrider.submissions()).await.unwrap();
    client.expect(220).await;
    client.command("EHLO client.test").await;
    let code = try_recipient(&mut client, "someone@local.test", "victim@example.org").await;
    assert!(code >= 500, "{}", client.transcript());
    transcripts.push_str(&format!("-- port {}\n{}\n", postrider.submissions().port(), client.transcript()));
    assert_snapshot!(transcripts);
    assert!(postrider.emails().await.is_empty());
}

/// Tricks by which a domain that is not ours is made to look like one.
#[tokio::test]
async fn a_stranger_relays_by_no_trick() {
    let postrider = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    for forward_path in [
        "<victim%example.org@local.test.example.org>",
        "<@local.test:victim@example.org>",
        "<@local.test,@example.org:victim@example.org>",
        "<\"victim@local.test\"@example.org>",
        "<victim@example.org@local.test@example.org>",
        "<victim@sub.local.test>",
        "<victim@local.test.>x",
        "<victim@[127.0.0.1]>",
        "<victim>",
    ] {
        let mut client = LineClient::hello(postrider.smtp_mx()).await;
        client.demand("MAIL FROM:<a@example.net>", 250).await;
        let reply = client.command(&format!("RCPT TO:{forward_path}")).await;
        assert!(reply.code >= 500, "{forward_path}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_trusted_network_relays_without_auth() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    for server in [postrider.smtp(), postrider.smtp_mx()] {
        let mut client = LineClient::hello(server).await;
        let message = mail::plain("a@client.test", "b@example.org", "relayed");
        let reply = client.send_mail("a@client.test", &["b@example.org"], &message).await;
        postrider.wait_for_status(postrider.accepted(&reply).await, EmailStatus::Sent).await;
    }
    assert_eq!(mx.messages().len(), 2);
}

#[tokio::test]
async fn submission_demands_auth_of_everybody() {
    let postrider = Site::new().await.start().await;
    let mut clear = LineClient::hello(postrider.submission()).await;
    let clear_code = try_recipient(&mut clear, "a@client.test", "b@example.org").await;
    let mut encrypted = LineClient::connect_tls(postrider.submissions()).await.unwrap();
    encrypted.expect(220).await;
    encrypted.command("EHLO client.test").await;
    let encrypted_code = try_recipient(&mut encrypted, "a@client.test", "b@example.org").await;
    assert_eq!((clear_code, encrypted_code), (530, 530));
}

#[tokio::test]
async fn the_mx_port_takes_mail_for_local_domains_from_anybody() {
    let postrider = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test, other.test").start().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let message = mail::plain("a@example.net", "b@local.test", "kept");
    let reply = client.send_mail("a@example.net", &["b@local.test", "c@OTHER.test"], &message).await;
    let detail = postrider.email(postrider.accepted(&reply).await).await;
    assert_eq!(detail.email.status, EmailStatus::Received);
    assert_eq!(detail.email.recipients, ["b@local.test", "c@OTHER.test"]);
    assert!(detail.deliveries.is_empty());
}

#[tokio::test]
async fn the_postmaster_is_always_reached() {
    let site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").set("UNKNOWN_RECIPIENTS", "reject");
    let postrider = site.start().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<>", 250).await;
    client.demand("RCPT TO:<postmaster>", 250).await;
    client.demand("RCPT TO:<Postmaster@local.test>", 250).await;
}

#[tokio::test]
async fn unknown_recipients_are_refused_where_that_is_asked_for() {
    let site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").set("UNKNOWN_RECIPIENTS", "reject");
    let postrider = site.start().await;
    postrider.add_user("known@local.test", "a long password").await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    client.demand("RCPT TO:<known@local.test>", 250).await;
    client.demand("RCPT TO:<KNOWN@Local.test>", 250).await;
    let refused = client.demand("RCPT TO:<unknown@local.test>", 550).await;
    assert!(refused.text().contains("5.1.1"), "{}", refused.text());
}

#[tokio::test]
async fn mail_for_both_here_and_elsewhere_is_kept_and_sent() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test");
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let message = mail::plain("a@client.test", "b@example.org", "both");
    let id = postrider.send("a@client.test", &["b@example.org", "c@local.test"], &message).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(detail.email.recipients.len(), 2);
    assert_eq!(detail.deliveries.len(), 1);
    assert_eq!(mx.messages()[0].addresses(), ["b@example.org"]);
}

/// Or anyone could make this server write to anyone.
#[tokio::test]
async fn a_stranger_on_the_mx_port_gets_no_notice_of_success() {
    let postrider = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    assert!(!client.demand("EHLO client.test", 250).await.text().contains("DSN"));
    client.demand("MAIL FROM:<victim@example.org>", 250).await;
    client.demand("RCPT TO:<b@local.test> NOTIFY=SUCCESS", 555).await;
}

#[tokio::test]
async fn every_listener_says_what_it_can() {
    let postrider = Site::new().await.start().await;
    let mut transcripts = String::new();
    for server in [postrider.smtp(), postrider.smtp_mx(), postrider.submission()] {
        let mut client = LineClient::hello(server).await;
        client.starttls().await;
        client.demand("EHLO client.test", 250).await;
        transcripts.push_str(&format!("-- port {}\n{}\n", server.port(), client.transcript()));
    }
    let mut client = LineClient::connect_tls(postrider.submissions()).await.unwrap();
    client.expect(220).await;
    client.demand("EHLO client.test", 250).await;
    client.demand("HELO client.test", 250).await;
    transcripts.push_str(&format!("-- port {}\n{}\n", postrider.submissions().port(), client.transcript()));
    assert_snapshot!(transcripts);
}
