//! Time: how long another server may keep us, and how long an attempt is said to have taken.

use std::net::SocketAddr;
use std::time::Duration;

use postrider_core::{Attempt, Category, EmailStatus};
use postrider_store::EmailDetail;
use postrider_testkit::{Answer, Gate, Script, Site, TestPostrider, mail, ports};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The one MX of example.org, as a bare socket.
async fn world() -> (TestPostrider, TcpListener) {
    let site = Site::new().await;
    let ip = site.claim_ip();
    site.zone().mx("example.org", 10, "mx.test").address("mx.test", ip);
    let listener = TcpListener::bind(SocketAddr::new(ip, ports::DELIVERY)).await.unwrap();
    (site.start().await, listener)
}

fn message() -> Vec<u8> {
    mail::plain("", "b@example.org", "timed")
}

fn last_attempt(detail: &EmailDetail) -> &Attempt {
    &detail.attempts.last().unwrap().1
}

/// Answers a command.
async fn answer(peer: &mut BufReader<TcpStream>, command: &str, reply: &str) {
    let mut line = String::new();
    peer.read_line(&mut line).await.unwrap();
    assert!(line.starts_with(command), "{line:?} is not {command}");
    peer.write_all(reply.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_reply_that_comes_byte_by_byte_is_not_waited_for_for_ever() {
    let (postrider, listener) = world().await;
    let id = postrider.send("", &["b@example.org"], &message()).await;
    let (mut peer, _) = listener.accept().await.unwrap();
    postrider.clock().wait_for_sleeper(Duration::from_secs(250), Duration::from_secs(300)).await;
    for _ in 0..11 {
        // Fails at last, when nobody listens any more.
        let _ = peer.write_all(b"2").await;
        postrider.pass(Duration::from_secs(29)).await;
    }
    let detail = postrider.wait_for_deferred(id, 1).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Timeout));
    let took = last_attempt(&detail).duration.as_secs();
    assert!((299..=320).contains(&took), "{took} s");
}

/// Every reply comes in time, but there is one for each of many recipients.
#[tokio::test]
async fn an_attempt_ends_after_an_hour() {
    let (postrider, listener) = world().await;
    let recipients: Vec<String> = (0..30).map(|number| format!("b{number}@example.org")).collect();
    let names: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let id = postrider.send("", &names, &message()).await;
    let (peer, _) = listener.accept().await.unwrap();
    let mut peer = BufReader::new(peer);
    peer.write_all(b"220 mx.test\r\n").await.unwrap();
    answer(&mut peer, "EHLO", "250 mx.test\r\n").await;
    let mut line = String::new();
    while peer.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
        postrider.clock().leap(Duration::from_secs(280)).await;
        let _ = peer.write_all(b"250 yes\r\n").await;
        line.clear();
    }
    let detail = postrider.wait_for_deferred(id, 1).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Timeout));
    let took = last_attempt(&detail).duration.as_secs();
    assert!((3600..=3900).contains(&took), "{took} s");
}

#[tokio::test]
async fn an_attempt_begins_with_connecting() {
    let site = Site::new().await;
    let gate = Gate::new();
    let mx = site.mx("example.org", Script::new().on("CONNECT", Answer::after(&gate, "220 At last"))).await;
    let postrider = site.start().await;
    let id = postrider.send("", &["b@example.org"], &message()).await;
    mx.wait_for_connections(1).await;
    postrider.clock().wait_for_sleeper(Duration::from_secs(250), Duration::from_secs(300)).await;
    postrider.clock().leap(Duration::from_secs(60)).await;
    gate.open();
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    let took = last_attempt(&detail).duration.as_secs();
    assert!((60..=70).contains(&took), "{took} s");

    // The next message on the same connection was not there then.
    let id = postrider.send("", &["b@example.org"], &message()).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(mx.connections(), 1);
    assert!(last_attempt(&detail).duration < Duration::from_secs(30), "{detail:?}");
}

/// What a server says while it is still being sent to is heard, or all of the message would be sent again and again.
#[tokio::test]
async fn a_refusal_in_the_middle_of_the_message_is_heard() {
    let (postrider, listener) = world().await;
    let id = postrider.send("", &["b@example.org"], &mail::big_attachment(7_000_000)).await;
    let (peer, _) = listener.accept().await.unwrap();
    let mut peer = BufReader::new(peer);
    peer.write_all(b"220 mx.test\r\n").await.unwrap();
    for (command, reply) in
        [("EHLO", "250 mx.test\r\n"), ("MAIL", "250 yes\r\n"), ("RCPT", "250 yes\r\n"), ("DATA", "354 go ahead\r\n")]
    {
        answer(&mut peer, command, reply).await;
    }
    peer.read_exact(&mut vec![0; 100_000]).await.unwrap();
    peer.write_all(b"552 5.3.4 Too large for us\r\n").await.unwrap();
    drop(peer);
    let detail = postrider.wait_for_status(id, EmailStatus::Failed).await;
    let reply = detail.deliveries[0].last_response.as_ref().unwrap();
    assert_eq!((reply.code, reply.text.as_str()), (552, "Too large for us"));
    assert_eq!(detail.email.attempts, 1);
}
