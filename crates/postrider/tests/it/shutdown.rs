//! Shutting down: nothing new is begun, what is in hand is finished or given back, and the exit code says so.

use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_testkit::{Answer, Gate, LineClient, Script, Site, mail};

use crate::support::binary;

fn message() -> Vec<u8> {
    mail::plain("a@client.test", "b@example.org", "last")
}

#[tokio::test]
async fn sessions_end_with_421() {
    let postrider = Site::new().await.start().await;
    let mut idle = postrider.client().await;
    let mut in_transaction = postrider.client().await;
    in_transaction.demand("MAIL FROM:<a@client.test>", 250).await;
    let (smtp, shutdown) = (postrider.smtp(), tokio::spawn(postrider.shut_down()));
    for client in [&mut idle, &mut in_transaction] {
        client.expect(421).await;
        client.expect_end().await;
    }
    shutdown.await.unwrap();
    assert!(LineClient::connect(smtp).await.is_err());
}

#[tokio::test]
async fn a_message_on_its_way_in_is_taken() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let mut client = postrider.client().await;
    client.demand("MAIL FROM:<a@client.test>", 250).await;
    client.demand("RCPT TO:<b@local.test>", 250).await;
    client.demand("DATA", 354).await;
    client.send_raw(b"Subject: begun\r\n").await;
    let mut idle = postrider.client().await;
    let shutdown = tokio::spawn(postrider.shut_down());
    idle.expect(421).await;
    client.send_raw(b"\r\nand ended\r\n.\r\n").await;
    let reply = client.expect(250).await;
    client.expect(421).await;
    client.expect_end().await;
    let postrider = shutdown.await.unwrap().start().await;
    postrider.email(postrider.accepted(&reply).await).await;
}

/// Between two chunks the message may never come to its end.
#[tokio::test]
async fn a_message_between_two_chunks_is_not_waited_for() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let mut client = postrider.client().await;
    client.demand("MAIL FROM:<a@client.test>", 250).await;
    client.demand("RCPT TO:<b@local.test>", 250).await;
    client.send_raw(b"BDAT 6\r\nabcd\r\n").await;
    client.expect(250).await;
    let shutdown = tokio::spawn(postrider.shut_down());
    client.expect(421).await;
    client.expect_end().await;
    shutdown.await.unwrap();
}

/// No time passes here: what waited for the handshake's time-out would wait for ever.
#[tokio::test]
async fn a_handshake_is_not_waited_for() {
    let postrider = Site::new().await.start().await;
    let mut behind_starttls = postrider.client().await;
    behind_starttls.demand("STARTTLS", 220).await;
    let mut from_the_start = LineClient::connect(postrider.submissions()).await.unwrap();
    postrider_testkit::eventually("both sessions", async || {
        (postrider.app().control().smtp_stats().sessions_open == 2).then_some(())
    })
    .await;
    let shutdown = tokio::spawn(postrider.shut_down());
    assert_eq!(behind_starttls.rest().await, b"");
    assert_eq!(from_the_start.rest().await, b"");
    shutdown.await.unwrap();
}

#[tokio::test]
async fn a_delivery_in_flight_is_finished() {
    let site = Site::new().await;
    let gate = Gate::new();
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Taken"))).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    mx.wait_for_line("C: <data>", 1).await;
    let shutdown = tokio::spawn(postrider.shut_down());
    tokio::task::yield_now().await;
    assert!(!shutdown.is_finished());
    gate.open();
    let postrider = shutdown.await.unwrap().start().await;
    assert_eq!(postrider.email(id).await.email.status, EmailStatus::Sent);
    postrider.pass(Duration::from_secs(30)).await;
    assert_eq!(mx.all_messages().len(), 1);
}

#[tokio::test]
async fn a_delivery_that_does_not_end_is_given_back() {
    let site = Site::new().await.set("SHUTDOWN_TIMEOUT_SECONDS", "5");
    let mx = site.mx("example.org", Script::new().on("MAIL", Answer::Silence)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    mx.wait_for_line("C: MAIL", 1).await;
    let clock = postrider.clock().clone();
    let shutdown = tokio::spawn(postrider.shut_down());
    clock.wait_for_sleeper(Duration::from_secs(1), Duration::from_secs(5)).await;
    clock.advance(Duration::from_secs(6)).await;
    let site = shutdown.await.unwrap();
    mx.set_script(Script::new());
    let postrider = site.start().await;
    postrider.pass(Duration::from_secs(70)).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn a_signal_ends_the_process_well() {
    for signal in ["TERM", "INT"] {
        let site = Site::new().await;
        let mut process = site.process(binary(), &["serve"]);
        process.wait_until_listening(site.smtp()).await;
        let mut client = LineClient::hello(site.smtp()).await;
        process.signal(signal);
        client.expect(421).await;
        assert_eq!(process.wait().await.code(), Some(0), "{}", process.output());
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let site = Site::new().await;
    let gate = Gate::new();
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Taken"))).await;
    let mut process = site.process(binary(), &[]);
    process.wait_until_listening(site.smtp()).await;
    let mut client = LineClient::hello(site.smtp()).await;
    assert_eq!(client.send_mail("a@client.test", &["b@example.org"], &message()).await.code, 250);
    mx.wait_for_line("C: <data>", 1).await;
    process.signal("TERM");
    client.expect(421).await;
    assert!(!process.has_ended(), "a delivery is under way: {}", process.output());
    process.signal("TERM");
    // The shutdown alone would take 30 seconds, which is longer than the test waits.
    let ended = tokio::time::timeout(Duration::from_secs(10), process.wait()).await;
    assert_ne!(ended.expect("it ends at once").code(), Some(0));
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_does_not_start() {
    if !Site::is_on_sqlite() {
        return;
    }
    let site = Site::new().await;
    let mut process = site.process(binary(), &["serve"]);
    process.wait_until_listening(site.smtp()).await;
    let other = site.claim_ip().to_string();
    let mut environment = site.environment().clone();
    environment.insert("SMTP_HOST".to_owned(), other.clone());
    environment.insert("API_HOST".to_owned(), other);
    let second = Site::new().await;
    let mut refused = postrider_testkit::PostriderProcess::start(binary(), &["serve"], &environment, second.folder());
    assert_eq!(refused.wait().await.code(), Some(1), "{}", refused.output());
    assert!(!process.has_ended());
}

#[tokio::test]
async fn wrong_settings_stop_the_start_with_a_line_each() {
    let site = Site::new().await.set("SMTP_PORT", "many").set("SMTP_PROT", "25").set("RETRY_FACTOR", "0.5");
    let output = site.command(binary(), &["serve"], "").await;
    assert_eq!(output.code, 2, "{output:?}");
    for name in ["SMTP_PORT", "SMTP_PROT", "RETRY_FACTOR"] {
        assert!(output.stderr.lines().any(|line| line.contains(name)), "{name}: {}", output.stderr);
    }
}
