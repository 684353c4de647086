//! Time: sending a little now and then gains a client nothing, and neither a peer that does not read nor a store that does
//! not answer holds a session for ever.

use std::time::Duration;

use postrider_testkit::{LineClient, Site, TestPostrider, eventually, mail};

use crate::support::site_of_strangers;

async fn strangers_mx() -> TestPostrider {
    site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").start().await
}

/// Sends a byte and then nothing for a while, again and again.
async fn trickle(postrider: &TestPostrider, client: &mut LineClient, times: usize, pause: Duration) {
    let received = || postrider.app().control().smtp_stats().bytes_received;
    for _ in 0..times {
        let before = received();
        client.send_raw(b"x").await;
        eventually("the byte to arrive", async || (received() > before).then_some(())).await;
        postrider.clock().advance(pause).await;
    }
}

/// RFC 5321 section 4.5.3.2.7 has five minutes for a command; they are for all of it.
#[tokio::test]
async fn a_command_must_be_whole_in_five_minutes() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    trickle(&postrider, &mut client, 2, Duration::from_secs(200)).await;
    client.expect(421).await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_message_must_be_whole_in_an_hour() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    client.demand("RCPT TO:<b@local.test>", 250).await;
    client.demand("DATA", 354).await;
    // 3 minutes without a byte would end it sooner.
    trickle(&postrider, &mut client, 21, Duration::from_secs(170)).await;
    assert_eq!(postrider.app().control().smtp_stats().sessions_open, 1);
    trickle(&postrider, &mut client, 1, Duration::from_secs(170)).await;
    client.expect(421).await;
    client.expect_end().await;
    assert!(postrider.emails().await.is_empty());
}

#[tokio::test]
async fn a_peer_that_does_not_read_does_not_hold_its_session() {
    let write_timeout = Duration::from_secs(77);
    let site = site_of_strangers().await.limit(|limits| limits.write_timeout = write_timeout);
    let postrider = site.start().await;
    let mut client = LineClient::connect_tls(postrider.submissions()).await.unwrap();
    // Asks on and on until nothing more is read, for nothing more can be answered.
    let flood = tokio::spawn(async move {
        let questions = b"EHLO client.test\r\n".repeat(500);
        while client.send_quietly(&questions).await.is_ok() {}
        client
    });
    postrider.clock().wait_for_sleeper(write_timeout, write_timeout).await;
    let _time = postrider.clock().run();
    eventually("the session to end", async || {
        (postrider.app().control().smtp_stats().sessions_open == 0).then_some(())
    })
    .await;
    flood.abort();
}

/// The client is told to come again, and what it sent counts as held in memory for as long as it is.
#[tokio::test]
async fn a_store_that_does_not_answer_is_not_waited_for_for_ever() {
    if !Site::is_on_sqlite() {
        return;
    }
    let store_timeout = Duration::from_secs(77);
    let site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test");
    let postrider = site.limit(|limits| limits.store_timeout = store_timeout).start().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    client.demand("RCPT TO:<b@local.test>", 250).await;
    client.demand("DATA", 354).await;
    let held_bytes = || postrider.app().control().smtp_stats().memory_bytes;
    let lock = rusqlite::Connection::open(postrider.data_dir().join("postrider.db")).unwrap();
    lock.busy_timeout(Duration::from_secs(5)).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();

    let message = mail::big_attachment(100_000);
    client.send_quietly(&postrider_testkit::stuffed(&message)).await.unwrap();
    postrider.clock().wait_for_sleeper(store_timeout, store_timeout).await;
    assert!(held_bytes() >= message.len() as u64, "{} bytes are said to be held", held_bytes());
    postrider.clock().advance(store_timeout).await;
    client.expect(451).await;
    drop(lock);
    eventually("the memory to be free", async || (held_bytes() == 0).then_some(())).await;
    client.demand("NOOP", 250).await;
}
