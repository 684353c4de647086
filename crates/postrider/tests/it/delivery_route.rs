//! Which host takes the mail: MX records and what stands in for them (RFC 5321 section 5.1, RFC 7505).

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use postrider_core::{Category, EmailStatus};
use postrider_store::EmailDetail;
use postrider_testkit::{Answer, Failure, RecordType, Script, ScriptedMx, Site, TestPostrider, mail, ports};

async fn send(postrider: &TestPostrider, recipient: &str) -> postrider_core::ObjectId {
    let message = mail::plain("a@client.test", recipient, "routed");
    postrider.send("a@client.test", &[recipient], &message).await
}

async fn sent(postrider: &TestPostrider, recipient: &str) -> EmailDetail {
    postrider.wait_for_status(send(postrider, recipient).await, EmailStatus::Sent).await
}

async fn failed(postrider: &TestPostrider, recipient: &str) -> EmailDetail {
    postrider.wait_for_status(send(postrider, recipient).await, EmailStatus::Failed).await
}

#[tokio::test]
async fn the_best_preference_is_tried_first() {
    let site = Site::new().await;
    site.zone().mx("example.org", 20, "second.test").mx("example.org", 10, "first.test").mx(
        "example.org",
        30,
        "third.test",
    );
    let first = site.host("first.test", Script::new()).await;
    let second = site.host("second.test", Script::new()).await;
    let postrider = site.start().await;
    sent(&postrider, "b@example.org").await;
    assert_eq!((first.messages().len(), second.connections()), (1, 0));
}

#[tokio::test]
async fn the_next_preference_takes_over_where_the_best_does_not_answer() {
    let site = Site::new().await;
    site.zone().mx("example.org", 10, "dead.test").mx("example.org", 20, "nameless.test").mx(
        "example.org",
        30,
        "busy.test",
    );
    site.zone().mx("example.org", 40, "alive.test").address("dead.test", site.claim_ip());
    let busy =
        site.host("busy.test", Script::new().on("CONNECT", Answer::ReplyThenClose("421 4.3.2 Busy".into()))).await;
    let alive = site.host("alive.test", Script::new()).await;
    let postrider = site.start().await;
    let detail = sent(&postrider, "b@example.org").await;
    assert_eq!((busy.connections(), alive.messages().len()), (1, 1));
    assert_eq!(detail.deliveries[0].mx.as_deref(), Some("alive.test"));
    assert_eq!(detail.deliveries[0].mx_ip, Some(alive.address().ip()));
}

#[tokio::test]
async fn every_address_of_a_host_is_tried() {
    let site = Site::new().await;
    for _ in 0..3 {
        site.zone().address("mx.example.org", site.claim_ip());
    }
    let alive = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    sent(&postrider, "b@example.org").await;
    assert_eq!(alive.messages().len(), 1);
}

#[tokio::test]
async fn equals_are_taken_in_random_order() {
    let site = Site::new().await;
    // A connection serves one message, so that each finds its own way.
    let script = || Script::new().on(".", Answer::ReplyThenClose("250 2.0.0 Taken".into()));
    site.zone().mx("example.org", 10, "left.test").mx("example.org", 10, "right.test");
    let hosts = [site.host("left.test", script()).await, site.host("right.test", script()).await];
    let postrider = site.start().await;
    // With a fair coin, all of 30 fall to one side once in 500 million runs.
    for _ in 0..30 {
        sent(&postrider, "b@example.org").await;
        if hosts.iter().all(|host| !host.messages().is_empty()) {
            return;
        }
    }
    panic!("30 messages took the same of two equal hosts");
}

#[tokio::test]
async fn a_domain_without_mx_is_its_own_host() {
    let site = Site::new().await;
    let host = site.host("example.org", Script::new()).await;
    let postrider = site.start().await;
    sent(&postrider, "b@example.org").await;
    assert_eq!(host.messages().len(), 1);
}

#[tokio::test]
async fn an_alias_is_followed() {
    let site = Site::new().await;
    site.zone().cname("alias.test", "example.org");
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    sent(&postrider, "b@alias.test").await;
    assert_eq!(mx.messages()[0].addresses(), ["b@alias.test"]);
}

#[tokio::test]
async fn an_address_literal_needs_no_names() {
    let site = Site::new().await;
    let host = site.host("unused.test", Script::new()).await;
    let recipient = format!("b@[{}]", host.address().ip());
    let postrider = site.start().await;
    sent(&postrider, &recipient).await;
    assert_eq!(host.messages()[0].addresses(), [recipient]);
    assert!(postrider.zone().asked().is_empty());
}

#[tokio::test]
async fn a_host_with_an_ipv6_address_is_reached() {
    // ::1 is the only IPv6 address that every machine has, so the port must be the test's own.
    let port = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let site = Site::new().await.set("DELIVERY_PORT", &port.to_string());
    site.zone().mx("example.org", 10, "six.test").aaaa("six.test", Ipv6Addr::LOCALHOST);
    let mx = ScriptedMx::start(SocketAddr::from((Ipv6Addr::LOCALHOST, port)), Script::new()).await.unwrap();
    let postrider = site.start().await;
    let detail = sent(&postrider, "b@example.org").await;
    assert_eq!(mx.messages().len(), 1);
    assert_eq!(detail.deliveries[0].mx_ip, Some(Ipv6Addr::LOCALHOST.into()));
}

#[tokio::test]
async fn a_null_mx_is_a_failure_for_good() {
    let site = Site::new().await;
    site.zone().null_mx("example.org").address("example.org", site.claim_ip());
    let postrider = site.start().await;
    let detail = failed(&postrider, "b@example.org").await;
    assert_eq!(detail.deliveries[0].category, Some(Category::BadDomain));
    assert!(detail.deliveries[0].last_error.as_deref().unwrap().contains("5.1.10"), "{detail:?}");
    assert_eq!(detail.email.attempts, 1);
}

#[tokio::test]
async fn a_domain_that_does_not_exist_is_a_failure_for_good() {
    let postrider = Site::new().await.start().await;
    let detail = failed(&postrider, "b@nowhere.test").await;
    assert_eq!(detail.deliveries[0].category, Some(Category::BadDomain));
    assert_eq!(detail.email.attempts, 1);
}

#[tokio::test]
async fn a_domain_without_mx_and_address_is_a_failure_for_good() {
    let site = Site::new().await;
    site.zone().txt("example.org", "nothing to see");
    let postrider = site.start().await;
    assert_eq!(failed(&postrider, "b@example.org").await.deliveries[0].category, Some(Category::BadDomain));
}

#[tokio::test]
async fn a_name_server_that_fails_is_asked_again_later() {
    let site = Site::new().await;
    site.zone().fail("example.org", Failure::ServFail);
    let postrider = site.start().await;
    let id = send(&postrider, "b@example.org").await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Dns));

    postrider.zone().clear("example.org");
    let mx = postrider.mx("example.org", Script::new()).await;
    postrider.advance_to_next_attempt(id).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn an_mx_host_that_cannot_be_resolved_now_is_asked_for_later() {
    let site = Site::new().await;
    site.zone().mx("example.org", 10, "mx.example.org").fail("mx.example.org", Failure::ServFail);
    let postrider = site.start().await;
    let id = send(&postrider, "b@example.org").await;
    assert_eq!(postrider.wait_for_deferred(id, 1).await.deliveries[0].category, Some(Category::Dns));
}

/// The resolver waits in real time, so this test takes as long as it gives a silent server.
#[tokio::test]
async fn a_silent_name_server_is_a_failure_for_now() {
    let site = Site::new().await;
    site.zone().fail("example.org", Failure::Silent);
    let postrider = site.start().await;
    let id = send(&postrider, "b@example.org").await;
    assert_eq!(postrider.wait_for_deferred(id, 1).await.deliveries[0].category, Some(Category::Dns));
    assert!(postrider.zone().count("example.org", RecordType::MX) >= 2, "one lost packet is no failure");
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let site = Site::new().await;
    site.zone().truncate("example.org");
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    sent(&postrider, "b@example.org").await;
    assert_eq!(mx.messages().len(), 1);
    let asked = postrider.zone().asked();
    let transports: Vec<_> = asked.iter().filter(|a| a.record_type == RecordType::MX).map(|a| a.transport).collect();
    assert_eq!(transports, [postrider_testkit::Transport::Udp, postrider_testkit::Transport::Tcp]);
}

#[tokio::test]
async fn mail_does_not_come_back_to_where_it_is() {
    let site = Site::new().await;
    site.zone().mx("example.org", 10, "postrider.test").mx("example.org", 20, "worse.test");
    let worse = site.host("worse.test", Script::new()).await;
    let postrider = site.start().await;
    let detail = failed(&postrider, "b@example.org").await;
    assert!(detail.deliveries[0].last_error.as_deref().unwrap().contains("5.4.6"), "{detail:?}");
    assert_eq!(worse.connections(), 0);
}

#[tokio::test]
async fn mail_to_our_own_name_does_not_come_back() {
    let site = Site::new().await;
    let ip = site.ip();
    site.zone().address("postrider.test", ip);
    let postrider = site.start().await;
    let detail = failed(&postrider, "root@postrider.test").await;
    assert!(detail.deliveries[0].last_error.as_deref().unwrap().contains("5.4.6"), "{detail:?}");
}

/// However our listener is named: by address, or as a host that others stand behind.
#[tokio::test]
async fn mail_to_our_own_listener_does_not_come_back() {
    let site = Site::new().await.set("SMTP_MX_PORT", &ports::DELIVERY.to_string());
    let ip = site.ip();
    site.zone().mx("example.org", 10, "also-us.test").mx("example.org", 20, "worse.test").address("also-us.test", ip);
    let worse = site.host("worse.test", Script::new()).await;
    let postrider = site.start().await;
    for recipient in [format!("b@[{ip}]"), "b@example.org".to_owned()] {
        let message = mail::plain("", &recipient, "round and round");
        let id = postrider.send("", &[&recipient], &message).await;
        let detail = postrider.wait_for_status(id, EmailStatus::Failed).await;
        assert!(detail.deliveries[0].last_error.as_deref().unwrap().contains("5.4.6"), "{detail:?}");
        assert_eq!(detail.email.attempts, 1);
    }
    assert_eq!(postrider.emails().await.len(), 2);
    assert_eq!(worse.connections(), 0);
}

/// A machine without a way to some addresses (IPv6, mostly) must come to those that it can reach.
#[tokio::test]
async fn addresses_without_a_way_there_do_not_count() {
    let site = Site::new().await;
    site.zone().mx("example.org", 10, "unreachable.test").mx("example.org", 20, "alive.test");
    for last in 1..=6 {
        // No TCP connection leaves this machine for a multicast address.
        site.zone().address("unreachable.test", [224, 0, 0, last].into());
    }
    let alive = site.host("alive.test", Script::new()).await;
    let postrider = site.start().await;
    sent(&postrider, "b@example.org").await;
    assert_eq!(alive.messages().len(), 1);
}

#[tokio::test]
async fn after_five_dead_addresses_no_further_name_is_asked_for() {
    let site = Site::new().await;
    site.zone().mx("example.org", 10, "dead.test").mx("example.org", 20, "next.test");
    for _ in 0..5 {
        site.zone().address("dead.test", site.claim_ip());
    }
    let postrider = site.start().await;
    let id = send(&postrider, "b@example.org").await;
    postrider.wait_for_deferred(id, 1).await;
    assert_eq!(postrider.zone().count("next.test", RecordType::A), 0);
}

#[tokio::test]
async fn the_ports_of_all_are_as_the_setting_says() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new()).await;
    assert_eq!(mx.address().port(), ports::DELIVERY);
    let postrider = site.start().await;
    let detail = sent(&postrider, "b@example.org").await;
    let sources: BTreeSet<_> = detail.deliveries.iter().filter_map(|delivery| delivery.source_ip).collect();
    assert!(sources.iter().all(|ip| ip.is_loopback()) && sources.len() == 1, "{sources:?}");
}
