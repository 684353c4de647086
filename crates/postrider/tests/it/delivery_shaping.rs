//! How much a destination is sent at once, and how fast: by what is known of it, and by what it says.

use std::time::Duration;

use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{Answer, Script, Site, TestPostrider, eventually, mail};

/// A site with lines for destinations.
async fn site(lines: &str) -> Site {
    let site = Site::new().await;
    let file = site.folder().join("shaping.txt");
    std::fs::write(&file, lines).unwrap();
    let path = file.to_string_lossy().into_owned();
    site.set("SHAPING_FILE", &path)
}

async fn send(postrider: &TestPostrider, recipient: &str) -> ObjectId {
    postrider.send("a@client.test", &[recipient], &mail::plain("a@client.test", recipient, "shaped")).await
}

#[tokio::test]
async fn connections_and_messages_on_them_are_limited_by_destination() {
    let site = site("mx.few.test 1 3 -\n.many.test 4 - -  # more than the setting\n").await;
    let few = site.mx("few.test", Script::new()).await;
    let postrider = site.set("QUEUE_CONCURRENCY_PER_DOMAIN", "2").start().await;
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(send(&postrider, "b@few.test").await);
    }
    for id in ids {
        postrider.wait_for_status(id, EmailStatus::Sent).await;
    }
    assert_eq!((few.connections(), few.connections_open_peak()), (3, 1));
}

#[tokio::test]
async fn messages_per_minute_are_kept_to() {
    let site = site("mx.slow.test - - 6\n").await;
    let (slow, other) = (site.mx("slow.test", Script::new()).await, site.mx("other.test", Script::new()).await);
    let postrider = site.start().await;
    for _ in 0..3 {
        send(&postrider, "b@slow.test").await;
    }
    slow.wait_for_messages(1).await;
    let id = send(&postrider, "b@other.test").await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((slow.messages().len(), other.messages().len()), (1, 1), "one waits, and is in nobody's way");
    for count in 2..=3 {
        postrider.clock().leap(Duration::from_secs(9)).await;
        assert_eq!(slow.messages().len(), count - 1);
        eventually("the next message", async || {
            postrider.clock().leap(Duration::from_millis(200)).await;
            (slow.messages().len() == count).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn who_says_that_it_is_too_much_is_left_alone_for_a_while() {
    let site = Site::new().await;
    let too_many = Answer::ReplyThenClose("421 4.7.0 Too many connections from your address".into());
    let mx = site.mx("busy.test", Script::new().on("CONNECT", too_many)).await;
    let postrider = site.set("RETRY_FIRST_SECONDS", "1").start().await;
    let id = send(&postrider, "b@busy.test").await;
    postrider.wait_for_deferred(id, 1).await;
    mx.set_script(Script::new());
    let tried = mx.connections();
    // Its next attempt is due before the pause is over, and so is that of other mail.
    let other = send(&postrider, "c@busy.test").await;
    postrider.pass(Duration::from_secs(10)).await;
    assert_eq!(mx.connections(), tried);
    postrider.pass(Duration::from_secs(10)).await;
    for id in [id, other] {
        postrider.wait_for_status(id, EmailStatus::Sent).await;
    }
}

#[tokio::test]
async fn destinations_that_do_not_answer_are_in_nobodys_way() {
    let site = Site::new().await.set("QUEUE_CONCURRENCY", "2");
    let mut silent = Vec::new();
    for number in 0..4 {
        silent.push(site.mx(&format!("silent{number}.test"), Script::new().on("CONNECT", Answer::Silence)).await);
    }
    let mx = site.mx("alive.test", Script::new()).await;
    let postrider = site.start().await;
    for number in 0..4 {
        send(&postrider, &format!("b@silent{number}.test")).await;
    }
    for host in &silent {
        host.wait_for_connections(1).await;
    }
    for _ in 0..5 {
        let id = send(&postrider, "b@alive.test").await;
        postrider.wait_for_status(id, EmailStatus::Sent).await;
    }
    assert_eq!(mx.messages().len(), 5);
}

#[tokio::test]
async fn a_line_that_makes_no_sense_stops_the_start() {
    let site = site("mx.example 1 2\n").await;
    let output = site.command(crate::support::binary(), &["serve"], "").await;
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains("shaping.txt: line 1: 3 columns instead of 4"), "{}", output.stderr);
}
