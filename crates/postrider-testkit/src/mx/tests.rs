//! The scripted MX and the line-script client against each other.

use std::net::SocketAddr;

use super::*;
use crate::{LineClient, LoopbackIp, ports};

/// A server, and the address that is its own.
async fn server(script: Script) -> (ScriptedMx, LoopbackIp) {
    let ip = LoopbackIp::claim();
    let mx = ScriptedMx::start(SocketAddr::new(ip.ip(), ports::DELIVERY), script).await.unwrap();
    (mx, ip)
}

#[tokio::test]
async fn takes_a_message_and_remembers_it() {
    let (mx, _ip) = server(Script::new().split_replies(3)).await;
    let mut client = LineClient::hello(mx.address()).await;
    client.demand("MAIL FROM:<a@client.test> SIZE=10 BODY=8BITMIME", 250).await;
    client.demand("RCPT TO:<b@example.org> NOTIFY=NEVER", 250).await;
    let reply = client.send_data(b"Subject: dots\r\n\r\n.\r\n..two\r\n").await;
    assert_eq!(reply.code, 250);
    assert_eq!((mx.connections_open_of("client.test"), mx.connections_open_of("other.test")), (1, 0));
    client.demand("QUIT", 221).await;
    client.expect_end().await;
    mx.wait_for_ended(1).await;
    assert_eq!(mx.connections_open_of("client.test"), 0);

    let messages = mx.wait_for_messages(1).await;
    assert_eq!(&messages[0].data[..], b"Subject: dots\r\n\r\n.\r\n..two\r\n");
    assert_eq!(messages[0].sender, "a@client.test");
    assert_eq!(messages[0].parameters, ["SIZE=10", "BODY=8BITMIME"]);
    assert_eq!(messages[0].recipients[0].parameters, ["NOTIFY=NEVER"]);
    assert_eq!(
        mx.transcript(1).lines().skip(1).filter(|line| !line.starts_with("S: 250-")).collect::<Vec<_>>().join("\n"),
        "C: EHLO client.test\nS: 250 DSN\nC: MAIL FROM:<a@client.test> SIZE=10 BODY=8BITMIME\nS: 250 2.1.0 Ok\n\
         C: RCPT TO:<b@example.org> NOTIFY=NEVER\nS: 250 2.1.5 Ok\nC: DATA\nS: 354 Go ahead\nC: <data>\n\
         S: 250 2.0.0 Taken\nC: QUIT\nS: 221 2.0.0 Bye"
    );
}

#[tokio::test]
async fn an_empty_message_ends_at_once() {
    let (mx, _ip) = server(Script::new()).await;
    let mut client = LineClient::hello(mx.address()).await;
    client.demand("MAIL FROM:<>", 250).await;
    client.demand("RCPT TO:<b@example.org>", 250).await;
    client.demand("DATA", 354).await;
    client.demand(".", 250).await;
    assert!(mx.wait_for_messages(1).await[0].data.is_empty());
}

#[tokio::test]
async fn rules_answer_before_the_default_does() {
    let script = Script::new()
        .on_recipient("bad@example.org", "550 5.1.1 No such user")
        .first(1, "MAIL", "451 4.3.0 Later")
        .on(".", "452-4.3.1 Full\n452 4.3.1 Really");
    let (mx, _ip) = server(script).await;
    let mut client = LineClient::hello(mx.address()).await;
    client.demand("MAIL FROM:<a@client.test>", 451).await;
    client.demand("MAIL FROM:<a@client.test>", 250).await;
    client.demand("RCPT TO:<bad@example.org>", 550).await;
    client.demand("RCPT TO:<good@example.org>", 250).await;
    let reply = client.send_data(b"x\r\n").await;
    assert_eq!(reply.lines, ["452-4.3.1 Full", "452 4.3.1 Really"]);
    assert_eq!((mx.messages().len(), mx.all_messages().len()), (0, 1));
    assert_eq!(mx.all_messages()[0].addresses(), ["good@example.org"]);
}

#[tokio::test]
async fn starttls_and_auth() {
    let (mx, _ip) = server(Script::new().starttls(StartTls::Working).credentials("user", "pass word")).await;
    let mut client = LineClient::hello(mx.address()).await;
    client.starttls().await;
    let hello = client.command("EHLO client.test").await;
    assert!(!hello.text().contains("STARTTLS"));
    client.demand("MAIL FROM:<a@client.test>", 530).await;
    assert_eq!(client.auth_plain("user", "wrong").await.code, 535);
    assert_eq!(client.auth_login("user", "pass word").await.code, 235);
    client.send_mail("a@client.test", &["b@example.org"], b"x\r\n").await;
    let message = &mx.wait_for_messages(1).await[0];
    assert_eq!((message.tls, message.user.as_deref()), (true, Some("user")));
}

#[tokio::test]
async fn a_lost_answer_leaves_the_message_unacknowledged() {
    let (mx, _ip) = server(Script::new().first(1, ".", Answer::Close)).await;
    let mut client = LineClient::hello(mx.address()).await;
    client.demand("MAIL FROM:<a@client.test>", 250).await;
    client.demand("RCPT TO:<b@example.org>", 250).await;
    client.demand("DATA", 354).await;
    client.send_raw(b"x\r\n.\r\n").await;
    client.expect_end().await;
    mx.wait_for_ended(1).await;
    assert!(mx.messages().is_empty() && !mx.all_messages()[0].acknowledged);
}

#[tokio::test]
async fn a_gate_holds_an_answer_back() {
    let gate = Gate::new();
    let (mx, _ip) = server(Script::new().on("NOOP", Answer::after(&gate, "250 Now"))).await;
    let mut client = LineClient::hello(mx.address()).await;
    client.send("NOOP").await;
    mx.wait_for_line("C: NOOP", 1).await;
    assert!(!mx.transcript(1).contains("250 Now"));
    gate.open();
    client.expect(250).await;
}

#[tokio::test]
async fn a_broken_handshake_breaks() {
    let (mx, _ip) = server(Script::new().starttls(StartTls::BrokenHandshake)).await;
    let mut client = LineClient::hello(mx.address()).await;
    client.demand("STARTTLS", 220).await;
    assert!(client.handshake().await.is_err());
}

#[tokio::test]
async fn violations_are_seen() {
    let (mx, _ip) = server(Script::new().capabilities(&[])).await;
    let mut client = LineClient::hello(mx.address()).await;
    client.send_batch(&["MAIL FROM:<a@client.test>", "RCPT TO:<b@example.org>"]).await;
    client.expect(250).await;
    client.expect(250).await;
    client.send_data("Subject: 8\r\n\r\nGrüße\r\n".as_bytes()).await;
    client.send_raw(b"NOOP\n").await;
    client.expect(250).await;
    let violations = mx.take_violations().join("\n");
    for expected in ["pipelined behind MAIL", "8-bit data without 8BITMIME", "without CRLF"] {
        assert!(violations.contains(expected), "{expected} was not seen: {violations}");
    }
}

#[tokio::test]
async fn a_script_is_played_with_wildcards() {
    let (mx, _ip) = server(Script::new()).await;
    let mut client = LineClient::connect(mx.address()).await.unwrap();
    client
        .play(
            r"
            S: 220 *
            C: EHLO client.test
            S: 250
            C: MAIL FROM:<a@client.test>
            C: RCPT TO:<b@example.org>
            C: DATA
            S: 250 2.1.0 *
            S: 250 2.1.5 Ok
            S: 354 *
            R: x\r\n.\r\n
            S: 250
            C: QUIT
            S: 221
            S: <close>
            ",
        )
        .await;
    assert_eq!(&mx.wait_for_messages(1).await[0].data[..], b"x\r\n");
}
