//! How the queue uses connections: one transaction for many recipients, reuse, limits.

use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_testkit::{Answer, Gate, Script, Site, StoreFaults, eventually, mail};

fn message(n: usize) -> Vec<u8> {
    mail::plain("a@client.test", "b@example.org", &format!("number {n}"))
}

#[tokio::test]
async fn one_transaction_serves_all_recipients_that_share_the_mx_set() {
    let site = Site::new().await;
    let mx = site.host("shared.test", Script::new()).await;
    for domain in ["one.test", "two.test", "three.test"] {
        site.zone().mx(domain, 10, "shared.test");
    }
    let postrider = site.start().await;
    let id =
        postrider.send("a@client.test", &["a@one.test", "b@two.test", "c@three.test", "d@one.test"], &message(1)).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(detail.deliveries.len(), 4);
    let messages = mx.messages();
    assert_eq!(messages.len(), 1);
    let mut addresses = messages[0].addresses();
    addresses.sort();
    assert_eq!(addresses, ["a@one.test", "b@two.test", "c@three.test", "d@one.test"]);
}

#[tokio::test]
async fn recipients_of_different_mx_sets_go_their_own_ways() {
    let site = Site::new().await;
    let left = site.mx("left.test", Script::new()).await;
    let right = site.mx("right.test", Script::new()).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["a@left.test", "b@right.test"], &message(1)).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(left.messages()[0].addresses(), ["a@left.test"]);
    assert_eq!(right.messages()[0].addresses(), ["b@right.test"]);
}

#[tokio::test]
async fn a_connection_carries_further_mail() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    for n in 0..5 {
        let id = postrider.send("a@client.test", &["b@example.org"], &message(n)).await;
        postrider.wait_for_status(id, EmailStatus::Sent).await;
    }
    assert_eq!((mx.messages().len(), mx.connections()), (5, 1));
}

#[tokio::test]
async fn an_idle_connection_is_ended_politely() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message(1)).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    postrider.clock().wait_for_sleeper(Duration::from_secs(2), Duration::from_secs(10)).await;
    postrider.pass(Duration::from_secs(60)).await;
    mx.wait_for_ended(1).await;
    assert!(mx.transcript(1).ends_with("C: QUIT\nS: 221 2.0.0 Bye"), "{}", mx.transcript(1));
}

/// The other side may end an idle connection at any time: that costs no attempt.
#[tokio::test]
async fn a_connection_that_died_while_idle_costs_no_attempt() {
    let site = Site::new().await;
    let script = Script::new().on(".", Answer::ReplyThenClose("250 2.0.0 Taken".into()));
    let mx = site.mx("example.org", script).await;
    let postrider = site.start().await;
    for n in 0..3 {
        let id = postrider.send("a@client.test", &["b@example.org"], &message(n)).await;
        let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
        assert_eq!(detail.email.attempts, 1);
    }
    assert_eq!(mx.connections(), 3);
}

#[tokio::test]
async fn a_domain_gets_no_more_connections_than_the_limit() {
    let site = Site::new().await.set("QUEUE_CONCURRENCY_PER_DOMAIN", "2");
    let gate = Gate::new();
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Taken"))).await;
    let postrider = site.start().await;
    for n in 0..8 {
        postrider.send("a@client.test", &["b@example.org"], &message(n)).await;
    }
    mx.wait_for_line("C: <data>", 2).await;
    postrider.pass(Duration::from_secs(5)).await;
    assert_eq!(mx.transactions_open_peak(), 2);
    gate.open();
    mx.wait_for_messages(8).await;
    assert_eq!((mx.transactions_open_peak(), mx.connections_open_peak()), (2, 2));
}

#[tokio::test]
async fn all_domains_together_get_no_more_than_the_limit() {
    let site = Site::new().await.set("QUEUE_CONCURRENCY", "3").set("QUEUE_CONCURRENCY_PER_DOMAIN", "2");
    let gate = Gate::new();
    let mut hosts = Vec::new();
    for n in 0..6 {
        let script = Script::new().on(".", Answer::after(&gate, "250 2.0.0 Taken"));
        hosts.push(site.mx(&format!("d{n}.test"), script).await);
    }
    let postrider = site.start().await;
    for n in 0..6 {
        postrider.send("a@client.test", &[&format!("b@d{n}.test")], &message(n)).await;
    }
    let open = || hosts.iter().map(|mx| mx.all_messages().len()).sum::<usize>();
    eventually("three transactions", async || (open() == 3).then_some(())).await;
    postrider.pass(Duration::from_secs(5)).await;
    assert_eq!(open(), 3);
    gate.open();
    eventually("all six messages", async || {
        (hosts.iter().map(|mx| mx.messages().len()).sum::<usize>() == 6).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_domain_does_not_hold_up_the_others() {
    let site = Site::new().await.set("QUEUE_CONCURRENCY", "4").set("QUEUE_CONCURRENCY_PER_DOMAIN", "1");
    let slow = site.mx("slow.test", Script::new().on("CONNECT", Answer::Silence)).await;
    let quick = site.mx("quick.test", Script::new()).await;
    let postrider = site.start().await;
    for n in 0..20 {
        postrider.send("a@client.test", &["b@slow.test"], &message(n)).await;
    }
    let id = postrider.send("a@client.test", &["b@quick.test"], &message(20)).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((slow.messages().len(), quick.messages().len()), (0, 1));
}

/// A machine that slept for longer than its lease must not go on as if it still held what it held: but nothing is lost.
#[tokio::test]
async fn mail_outlives_a_lease_that_lapsed() {
    let site = Site::new().await.limit(|limits| limits.lease = Duration::from_secs(30));
    let mx = site.mx("example.org", Script::new().first(1, "MAIL", Answer::Silence)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message(1)).await;
    mx.wait_for_line("C: MAIL", 1).await;
    postrider.clock().leap(Duration::from_secs(3600)).await;
    let _time = postrider.clock().run();
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn a_full_queue_drains_after_a_restart() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().on("MAIL", "451 4.3.0 Later")).await;
    let postrider = site.start().await;
    for n in 0..30 {
        postrider.send("a@client.test", &["b@example.org"], &message(n)).await;
    }
    eventually("all to be deferred", async || {
        postrider.emails().await.iter().all(|email| email.status == EmailStatus::Deferred).then_some(())
    })
    .await;
    mx.set_script(Script::new());
    let postrider = postrider.restart().await;
    let _time = postrider.clock().run();
    mx.wait_for_messages(30).await;
    eventually("all to be sent", async || {
        postrider.emails().await.iter().all(|email| email.status == EmailStatus::Sent).then_some(())
    })
    .await;
    assert_eq!(mx.messages().len(), 30);
}

/// What was answered 250 is never sent again, however long it takes until that can be written down.
#[tokio::test]
async fn an_outcome_that_cannot_be_recorded_outlives_the_lease() {
    let faults = StoreFaults::new();
    let site = Site::new().await.with_store_faults(&faults).limit(|limits| limits.lease = Duration::from_secs(30));
    let gate = Gate::new();
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Kept"))).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message(1)).await;
    mx.wait_for_line("C: DATA", 1).await;

    faults.set_failing(true);
    gate.open();
    mx.wait_for_messages(1).await;
    for _ in 0..30 {
        postrider.clock().advance(Duration::from_secs(3)).await;
    }
    faults.set_failing(false);
    let _time = postrider.clock().run();
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(mx.messages().len(), 1);
}

/// A node that shares the store with others drops what it is sending before they may take it over, and goes on under a new
/// lease.
#[tokio::test]
async fn a_node_whose_lease_lapses_stops_in_mid_sending() {
    let faults = StoreFaults::of_shared_store();
    let site = Site::new().await.with_store_faults(&faults).limit(|limits| limits.lease = Duration::from_secs(30));
    let mx = site.mx("example.org", Script::new().first(1, "DATA", Answer::Silence)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message(1)).await;
    mx.wait_for_line("C: DATA", 1).await;

    faults.set_failing(true);
    // The other side would be waited for for two minutes; the lease ends before.
    for _ in 0..10 {
        postrider.clock().advance(Duration::from_secs(3)).await;
    }
    mx.wait_for_ended(1).await;
    assert_eq!(mx.messages().len(), 0);
    faults.set_failing(false);
    let _time = postrider.clock().run();
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((mx.connections(), mx.messages().len()), (2, 1));
    let detail = postrider.email(id).await;
    assert_eq!(detail.attempts.len(), 1, "an attempt that was cut off by ourselves is none");
}
