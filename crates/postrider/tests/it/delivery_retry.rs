//! Retries: back-off, expiry, and that what was acknowledged is never sent again.

use std::time::Duration;

use postrider_core::{Category, EmailStatus, Outcome};
use postrider_testkit::{Answer, Gate, Script, Site, mail};

const LATER: &str = "451 4.3.0 Later";

fn message() -> Vec<u8> {
    mail::plain("a@client.test", "b@example.org", "tried")
}

#[tokio::test]
async fn a_deferred_delivery_is_tried_again_with_growing_waits() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().first(3, "MAIL", LATER)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    for (attempt, wait_seconds) in [(1, 60.0), (2, 120.0), (3, 240.0)] {
        let detail = postrider.wait_for_deferred(id, attempt).await;
        let (_, last) = detail.attempts.last().unwrap();
        let wait = detail.email.next_attempt_at.unwrap().since(last.started_at).as_secs_f64();
        assert!((wait_seconds * 0.9 - 1.0..=wait_seconds * 1.1 + 1.0).contains(&wait), "attempt {attempt}: {wait} s");
        assert!(detail.email.last_error.as_deref().unwrap().contains("Later"));
        postrider.advance_to_next_attempt(id).await;
    }
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(detail.email.attempts, 4);
    assert_eq!(detail.attempts.iter().map(|(_, attempt)| attempt.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn nothing_is_tried_before_its_time() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().on("MAIL", LATER)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    postrider.wait_for_deferred(id, 1).await;
    postrider.pass(Duration::from_secs(50)).await;
    assert_eq!(postrider.email(id).await.email.attempts, 1);
    assert_eq!(mx.connections(), 1);
}

#[tokio::test]
async fn a_back_off_outlives_a_restart() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().first(1, "MAIL", LATER)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    let next = postrider.wait_for_deferred(id, 1).await.email.next_attempt_at;
    let postrider = postrider.restart().await;
    assert_eq!(postrider.email(id).await.email.next_attempt_at, next);
    postrider.advance_to_next_attempt(id).await;
    assert_eq!(postrider.wait_for_status(id, EmailStatus::Sent).await.email.attempts, 2);
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn a_delivery_expires_and_the_sender_hears_of_it() {
    let site = Site::new()
        .await
        .set("RETRY_FIRST_SECONDS", "10")
        .set("RETRY_MAX_SECONDS", "10")
        .set("RETRY_EXPIRE_SECONDS", "25");
    let mx = site.mx("example.org", Script::new().on("MAIL", LATER)).await;
    let sender = site.mx("client.test", Script::new()).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    let _time = postrider.clock().run();
    let detail = postrider.wait_for_status(id, EmailStatus::Failed).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Expired));
    assert!(detail.email.attempts >= 2, "{detail:?}");
    let (_, last) = detail.attempts.last().unwrap();
    // The clock runs, also while the attempt is made and its outcome is on its way to the store.
    let age = last.started_at.since(detail.email.created_at);
    assert!(age >= Duration::from_secs(20), "given up after {age:?}");
    assert!(mx.messages().is_empty());
    let report = sender.wait_for_messages(1).await.remove(0);
    assert_eq!((report.sender.as_str(), report.addresses()), ("", vec!["a@client.test"]));
    assert!(report.text().contains("Action: failed"), "{}", report.text());
}

/// The other side may or may not have it: only a second attempt makes sure.
#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_again() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().first(1, ".", Answer::Close)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Connection));
    postrider.advance_to_next_attempt(id).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((mx.all_messages().len(), mx.messages().len()), (2, 1));
}

#[tokio::test]
async fn a_message_that_was_acknowledged_is_never_sent_again() {
    let site = Site::new().await;
    // The connection breaks right behind the acknowledgement, which is no reason to doubt it.
    let mx = site.mx("example.org", Script::new().on(".", Answer::ReplyThenClose("250 2.0.0 Taken".into()))).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    postrider.pass(Duration::from_secs(600)).await;
    let postrider = postrider.restart().await;
    postrider.pass(Duration::from_secs(60)).await;
    assert_eq!((mx.all_messages().len(), mx.connections()), (1, 1));
    assert_eq!(postrider.email(id).await.email.attempts, 1);
}

#[tokio::test]
async fn a_host_that_falls_silent_is_given_up_for_now() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().first(1, "CONNECT", Answer::Silence)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    mx.wait_for_connections(1).await;
    postrider.clock().wait_for_sleeper(Duration::from_secs(250), Duration::from_secs(300)).await;
    postrider.pass(Duration::from_secs(301)).await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Timeout));
    postrider.advance_to_next_attempt(id).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
}

/// A slow answer is waited for: ten minutes after the end of data (RFC 5321 section 4.5.3.2.6).
#[tokio::test]
async fn a_slow_answer_to_the_end_of_data_is_waited_for() {
    let site = Site::new().await;
    let gate = Gate::new();
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 At last"))).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    mx.wait_for_line("C: <data>", 1).await;
    postrider.pass(Duration::from_secs(590)).await;
    gate.open();
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((detail.email.attempts, mx.all_messages().len()), (1, 1));
}

#[tokio::test]
async fn every_attempt_is_kept() {
    let site = Site::new().await;
    let script =
        Script::new().starttls(postrider_testkit::StartTls::Working).first(1, "RCPT", "450 4.2.1 Busy mailbox");
    let mx = site.mx("example.org", script).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    postrider.wait_for_deferred(id, 1).await;
    postrider.advance_to_next_attempt(id).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    let [(_, first), (_, second)] = &detail.attempts[..] else { panic!("{:?}", detail.attempts) };
    assert!(matches!(&first.outcome, Outcome::Deferred { reply: Some(reply), .. } if reply.code == 450), "{first:?}");
    assert!(matches!(&second.outcome, Outcome::Delivered { reply } if reply.code == 250), "{second:?}");
    for attempt in [first, second] {
        assert_eq!(attempt.mx.as_deref(), Some("mx.example.org"));
        assert_eq!(attempt.mx_ip, Some(mx.address().ip()));
        assert!(attempt.source_ip.is_some_and(|ip| ip.is_loopback()));
        let tls = attempt.tls.as_ref().unwrap();
        assert_eq!((tls.version.as_str(), tls.cipher.starts_with("TLS13_")), ("TLSv1.3", true), "{tls:?}");
        assert!(attempt.exchanges.iter().any(|exchange| exchange.command == "RCPT"), "{attempt:?}");
    }
    assert!(second.started_at.since(first.started_at) >= Duration::from_secs(54));
}
