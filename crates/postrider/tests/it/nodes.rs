//! Many nodes on one store: how they share its limits and its mail, and how they come, go and sleep.

use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_store::{Order, Selection};
use postrider_testkit::{
    Answer, Gate, ManualClock, Script, ScriptedMx, Site, StoreFaults, TestPostrider, eventually, mail,
};

/// Long, for the clocks of tests leap while a store takes real time.
const LEASE: Duration = Duration::from_secs(300);

fn message(n: usize) -> Vec<u8> {
    mail::plain("a@client.test", "b@example.org", &format!("number {n}"))
}

async fn site() -> Site {
    Site::new().await.with_store_faults(&StoreFaults::of_nodes()).limit(|limits| limits.lease = LEASE)
}

async fn site_with_limit(per_domain: &str) -> Site {
    site().await.set("QUEUE_CONCURRENCY_PER_DOMAIN", per_domain)
}

/// One more node, with a name of its own.
async fn one_more(first: &TestPostrider, name: &str) -> TestPostrider {
    let limit = first.environment().get("QUEUE_CONCURRENCY_PER_DOMAIN").cloned().unwrap_or("20".to_owned());
    let site = first.beside().await.set("MAIL_HOSTNAME", name).set("QUEUE_CONCURRENCY_PER_DOMAIN", &limit);
    site.start_on(first.clock()).await
}

/// A server that takes its time with each message until the gate opens.
async fn slow_mx(site: &Site, gate: &Gate) -> ScriptedMx {
    site.mx("example.org", Script::new().on(".", Answer::after(gate, "250 2.0.0 Taken"))).await
}

async fn send_many(postrider: &TestPostrider, count: usize) {
    for n in 0..count {
        postrider.send("a@client.test", &["b@example.org"], &message(n)).await;
    }
}

/// Waits until all nodes know of each other and keep to their shares.
async fn agreed(nodes: &[&TestPostrider]) {
    let is_agreed = |node: &&TestPostrider| {
        let membership = node.faults().membership();
        membership.is_some_and(|membership| membership.is_agreed && membership.nodes as usize == nodes.len())
    };
    eventually("the nodes to agree", async || {
        nodes[0].clock().advance(Duration::from_secs(1)).await;
        nodes.iter().all(is_agreed).then_some(())
    })
    .await;
}

fn names(mx: &ScriptedMx) -> Vec<String> {
    let mut names: Vec<String> = mx.messages().into_iter().map(|message| message.helo).collect();
    names.sort();
    names.dedup();
    names
}

/// Waits until so many messages have come and wait for their answer, and lets time pass in which no more may come.
async fn only(mx: &ScriptedMx, clock: &ManualClock, count: usize) {
    mx.wait_for_line("C: <data>", count).await;
    for _ in 0..10 {
        clock.advance(Duration::from_secs(1)).await;
    }
    assert_eq!((mx.all_messages().len(), mx.transactions_open_peak()), (count, count));
}

#[tokio::test]
async fn two_nodes_keep_the_limit_of_a_destination_between_them() {
    let site = site_with_limit("4").await;
    let gate = Gate::new();
    let mx = slow_mx(&site, &gate).await;
    let first = site.start().await;
    let second = one_more(&first, "second.test").await;
    agreed(&[&first, &second]).await;
    send_many(&first, 8).await;
    send_many(&second, 8).await;
    only(&mx, first.clock(), 4).await;
    gate.open();
    let _time = first.clock().run();
    mx.wait_for_messages(16).await;
    assert_eq!((mx.transactions_open_peak(), mx.connections_open_peak()), (4, 4));
    assert_eq!(names(&mx), ["postrider.test", "second.test"], "both send");
}

#[tokio::test]
async fn a_node_that_comes_waits_until_the_others_have_made_room() {
    let site = site_with_limit("4").await;
    let gate = Gate::new();
    let mx = slow_mx(&site, &gate).await;
    let first = site.start().await;
    send_many(&first, 8).await;
    only(&mx, first.clock(), 4).await;
    let second = one_more(&first, "second.test").await;
    send_many(&second, 8).await;
    only(&mx, first.clock(), 4).await;
    gate.open();
    let _time = first.clock().run();
    mx.wait_for_messages(16).await;
    assert_eq!(names(&mx), ["postrider.test"], "who held them all");
    eventually("the second to send, too", async || {
        let id = second.send("a@client.test", &["b@example.org"], &message(16)).await;
        second.wait_for_status(id, EmailStatus::Sent).await;
        (names(&mx) == ["postrider.test", "second.test"]).then_some(())
    })
    .await;
    assert_eq!((mx.transactions_open_peak(), mx.connections_open_peak()), (4, 4));
}

#[tokio::test]
async fn connections_that_are_kept_for_more_mail_count() {
    let site = site_with_limit("4").await.limit(|limits| limits.connection_idle = Duration::from_secs(24 * 3600));
    let gate = Gate::new();
    let mx = slow_mx(&site, &gate).await;
    let first = site.start().await;
    send_many(&first, 4).await;
    only(&mx, first.clock(), 4).await;
    gate.open();
    mx.wait_for_messages(4).await;
    let second = one_more(&first, "second.test").await;
    agreed(&[&first, &second]).await;
    mx.wait_for_ended(2).await;
    assert_eq!(mx.connections(), 4, "the first still has its share of them");
    send_many(&second, 4).await;
    let _time = first.clock().run();
    mx.wait_for_messages(8).await;
    assert_eq!(mx.connections_open_peak(), 4);
}

#[tokio::test]
async fn what_a_node_leaves_the_others_send() {
    let site = site_with_limit("4").await;
    let gate = Gate::new();
    let mx = slow_mx(&site, &gate).await;
    let first = site.start().await;
    let second = one_more(&first, "second.test").await;
    agreed(&[&first, &second]).await;
    send_many(&second, 8).await;
    mx.wait_for_line("C: <data>", 2).await;
    let _time = first.clock().run();
    let leaving = second.shut_down();
    tokio::join!(leaving, async { gate.open() });
    mx.wait_for_messages(8).await;
    agreed(&[&first]).await;
    assert!(mx.transactions_open_peak() <= 4);
}

#[tokio::test]
async fn what_a_dead_node_held_goes_on_when_its_lease_has_lapsed() {
    let site = site().await;
    let mx = site.mx("example.org", Script::new().first(1, "DATA", Answer::Silence)).await;
    let first = site.start().await;
    let second = one_more(&first, "second.test").await;
    agreed(&[&first, &second]).await;
    let id = second.send("a@client.test", &["b@example.org"], &message(1)).await;
    mx.wait_for_line("C: DATA", 1).await;
    second.faults().set_failing(true);
    let _time = first.clock().run();
    let detail = first.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(names(&mx), ["postrider.test"]);
    assert_eq!((mx.messages().len(), detail.attempts.len()), (1, 1));
}

async fn eight_hosts(site: &Site) -> Vec<ScriptedMx> {
    let mut hosts = Vec::new();
    for n in 0..8 {
        hosts.push(site.mx(&format!("domain{n}.example"), Script::new()).await);
    }
    hosts
}

/// There is one place for each destination, and two nodes: each has the place at some, and leaves the others alone.
#[tokio::test]
async fn with_fewer_places_than_nodes_each_has_some() {
    let site = site_with_limit("1").await;
    let hosts = eight_hosts(&site).await;
    let first = site.start().await;
    let second = one_more(&first, "second.test").await;
    agreed(&[&first, &second]).await;
    for n in 0..8 {
        for postrider in [&first, &second] {
            postrider.send("a@client.test", &[&format!("b@domain{n}.example")], &message(n)).await;
        }
    }
    eventually("all to be sent", async || {
        first.clock().advance(Duration::from_secs(1)).await;
        hosts.iter().all(|mx| mx.messages().len() == 2).then_some(())
    })
    .await;
    for mx in &hosts {
        assert_eq!(mx.connections_open_peak(), 1);
        assert_eq!(names(mx).len(), 1, "one node has the place");
    }
    let mut all: Vec<String> = hosts.iter().flat_map(names).collect();
    all.sort();
    all.dedup();
    assert_eq!(all, ["postrider.test", "second.test"], "each has some");
}

#[tokio::test]
async fn what_is_for_another_node_to_send_is_not_claimed_and_given_back_in_circles() {
    let site = site_with_limit("1").await;
    let hosts = eight_hosts(&site).await;
    let first = site.start().await;
    let second = one_more(&first, "second.test").await;
    agreed(&[&first, &second]).await;
    second.faults().set_failing(true);
    for n in 0..8 {
        first.send("a@client.test", &[&format!("b@domain{n}.example")], &message(n)).await;
    }
    let (claims, began_at) = (first.faults().claims(), first.now());
    for _ in 0..200 {
        first.clock().advance(Duration::from_millis(100)).await;
    }
    let sent = || hosts.iter().filter(|mx| !mx.messages().is_empty()).count();
    assert!((1..8).contains(&sent()), "some are the other's: {}", sent());
    let (claims, seconds) = (first.faults().claims() - claims, first.now().since(began_at).as_secs() as usize);
    assert!(claims <= seconds + 15, "{claims} claims in {seconds} seconds");
    assert!(first.faults().releases() <= 16, "{} times given back", first.faults().releases());
    // When the other is gone they are not.
    let _time = first.clock().run();
    eventually("all to be sent", async || (sent() == 8).then_some(())).await;
}

#[tokio::test]
async fn a_node_whose_registration_is_lost_goes_on_at_once_under_another_id() {
    let site = site().await;
    let mx = site.mx("example.org", Script::new().first(1, "DATA", Answer::Silence)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message(1)).await;
    mx.wait_for_line("C: DATA", 1).await;
    let before = postrider.store().nodes(postrider.now()).await.unwrap();
    postrider.faults().forget_node();
    let is_forgotten = async || {
        postrider.clock().advance(Duration::from_secs(1)).await;
        (!postrider.faults().is_to_forget_node()).then_some(())
    };
    eventually("the next renewal", is_forgotten).await;
    mx.wait_for_ended(1).await;
    // No time passes until then.
    let after = eventually("the next registration", async || {
        let nodes = postrider.store().nodes(postrider.now()).await.unwrap();
        nodes.first().map(|node| node.id)
    });
    assert_ne!(before[0].id, after.await);
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(postrider.email(id).await.attempts.len(), 1, "what was cut off is no attempt");
}

/// A process that was stopped for longer than its lease goes on wherever it was. Whatever it does next, it does not send
/// what another node may be sending by now.
#[tokio::test]
async fn a_node_that_was_stopped_does_not_send_what_it_had_in_hand() {
    // Shorter than what a reply may take.
    let lease = Duration::from_secs(30);
    for stage in ["CONNECT", "EHLO", "MAIL", "DATA"] {
        let site = site().await.limit(|limits| limits.lease = lease);
        let gate = Gate::new();
        let reply = match stage {
            "CONNECT" => "220 mx.test",
            "EHLO" => "250 mx.test",
            "DATA" => "354 Go ahead",
            _ => "250 2.0.0 Yes",
        };
        let mx = site.mx("example.org", Script::new().first(1, stage, Answer::after(&gate, reply))).await;
        let postrider = site.start().await;
        let id = postrider.send("a@client.test", &["b@example.org"], &message(1)).await;
        if stage == "CONNECT" {
            mx.wait_for_connections(1).await;
        } else {
            mx.wait_for_line(&format!("C: {stage}"), 1).await;
        }
        // Nobody has noticed yet but who looks at the clock.
        postrider.clock().skip(lease);
        gate.open();
        mx.wait_for_ended(1).await;
        assert_eq!(mx.all_messages().len(), 0, "stopped after {stage}");
        let _time = postrider.clock().run();
        postrider.wait_for_status(id, EmailStatus::Sent).await;
        assert_eq!((mx.connections(), mx.messages().len()), (2, 1), "stopped after {stage}");
        assert_eq!(postrider.email(id).await.attempts.len(), 1, "stopped after {stage}");
    }
}

/// What another node, or a command line, does is heard of, not only found at the next look.
#[tokio::test]
async fn what_others_put_into_the_queue_is_heard_of() {
    // What an engine tells, and how soon, is for the suite of all engines to prove.
    if !Site::is_on_sqlite() {
        return;
    }
    let site = site().await.limit(|limits| limits.queue_poll = Duration::from_secs(30 * 24 * 3600));
    let mx = site.mx("example.org", Script::new().first(1, "MAIL", "451 4.3.0 Later")).await;
    let first = site.start().await;
    let id = first.send("a@client.test", &["b@example.org"], &message(1)).await;
    first.wait_for_deferred(id, 1).await;
    let beside = first.store_beside().await;
    beside.order(Selection::default(), Order::Retry, first.now()).await.unwrap();
    first.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(mx.messages().len(), 1);
}
