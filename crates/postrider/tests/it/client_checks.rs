//! The host that brings mail from the world: its name in reverse DNS, what it says in EHLO, and what is kept of both.
//!
//! Of loopback the resolver knows by itself that 127.0.0.1 is `localhost`, and that no other address is.

use std::net::Ipv4Addr;

use postrider_testkit::{Failure, LineClient, TestPostrider, mail};

use crate::support::{site_of_strangers, try_recipient};

const NAMED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const NAMELESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

async fn world(settings: &[(&str, &str)]) -> TestPostrider {
    let mut site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test");
    for (name, value) in settings {
        site.change(name, value);
    }
    let postrider = site.start().await;
    postrider.zone().a("client.test", NAMED).mx("mail.test", 10, "mx.mail.test").fail("broken.test", Failure::ServFail);
    postrider
}

async fn client(postrider: &TestPostrider, ip: Ipv4Addr, helo: &str) -> LineClient {
    let mut client = LineClient::connect_from(ip.into(), postrider.smtp_mx()).await.unwrap();
    client.expect(220).await;
    client.demand(&format!("EHLO {helo}"), 250).await;
    client
}

#[tokio::test]
async fn a_client_without_a_name_is_refused_if_that_is_asked_for() {
    let postrider = world(&[("CHECK_REVERSE_DNS", "reject")]).await;
    let mut named = client(&postrider, NAMED, "anything").await;
    assert_eq!(try_recipient(&mut named, "a@x.test", "b@local.test").await, 250);
    let mut nameless = client(&postrider, NAMELESS, "client.test").await;
    nameless.demand("MAIL FROM:<a@x.test>", 250).await;
    let refused = nameless.command("RCPT TO:<b@local.test>").await;
    assert!(refused.code == 550 && refused.text().contains("5.7.25"), "{refused:?}");
    // Whoever is refused can ask why.
    nameless.demand("RCPT TO:<postmaster@local.test>", 250).await;
    nameless.demand("RCPT TO:<Postmaster>", 250).await;
    for settings in [
        &[("CHECK_REVERSE_DNS", "record")][..],
        &[],
        &[("CHECK_REVERSE_DNS", "reject"), ("TRUSTED_NETWORKS", "127.0.0.0/8")],
    ] {
        let postrider = world(settings).await;
        let mut nameless = client(&postrider, NAMELESS, "client.test").await;
        assert_eq!(try_recipient(&mut nameless, "a@x.test", "b@local.test").await, 250, "{settings:?}");
    }
}

#[tokio::test]
async fn a_client_says_who_it_is() {
    let postrider = world(&[("CHECK_EHLO", "reject"), ("CHECK_REVERSE_DNS", "off")]).await;
    for (helo, code) in [
        ("client.test", 250),
        ("mail.test", 250),
        ("[127.0.0.77]", 250),
        ("[127.0.0.1]", 550),
        ("client", 550),
        ("nowhere.test", 550),
        ("postrider.test", 550),
        ("broken.test", 451),
    ] {
        let mut client = client(&postrider, NAMELESS, helo).await;
        assert_eq!(try_recipient(&mut client, "a@x.test", "b@local.test").await, code, "{helo}");
    }
    // Another name is looked at anew.
    let mut client = client(&postrider, NAMELESS, "nowhere.test").await;
    assert_eq!(try_recipient(&mut client, "a@x.test", "b@local.test").await, 550);
    client.demand("EHLO client.test", 250).await;
    assert_eq!(try_recipient(&mut client, "a@x.test", "b@local.test").await, 250);
}

#[tokio::test]
async fn what_was_found_stands_in_the_field_and_in_the_record() {
    let postrider = world(&[("CHECK_EHLO", "record")]).await;
    postrider.zone().txt("x.test", "v=spf1 -all").txt("_dmarc.x.test", "v=DMARC1; p=reject");
    let mut nameless = client(&postrider, NAMELESS, "nowhere.test").await;
    let message = mail::plain("a@x.test", "b@local.test", "found");
    let reply = nameless.send_mail("a@x.test", &["b@local.test"], &message).await;
    let id = postrider.accepted(&reply).await;
    let raw = postrider.store().raw(id).await.unwrap().unwrap().raw;
    let text = String::from_utf8_lossy(&raw).replace("\r\n\t", " ");
    let field = text.lines().find(|line| line.starts_with("Authentication-Results:"));
    assert_eq!(
        field,
        Some(
            "Authentication-Results: postrider.test; spf=fail smtp.mailfrom=x.test; dkim=none; dmarc=fail \
             header.from=x.test policy.dmarc=reject; iprev=fail policy.iprev=127.0.0.77"
        )
    );
    let shown = postrider.get(&format!("/api/emails/{id}")).await.json();
    let expected = serde_json::json!([
        { "method": "spf", "result": "fail", "properties": { "smtp.mailfrom": "x.test" } },
        { "method": "dkim", "result": "none" },
        { "method": "dmarc", "result": "fail", "properties": {
            "disposition": "quarantine", "header.from": "x.test", "policy.dmarc": "reject" } },
        { "method": "iprev", "result": "fail", "properties": { "policy.iprev": "127.0.0.77" },
            "reason": "no name of the address knows it" },
        { "method": "ehlo", "result": "fail", "properties": { "smtp.helo": "nowhere.test" },
            "reason": "no host has that name" },
    ]);
    assert_eq!(shown["authentication"], expected, "{shown:#}");
}
