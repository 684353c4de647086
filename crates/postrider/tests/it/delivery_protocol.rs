//! How the mail is handed over: what is used of what the other side offers, and what stands in for what it lacks.

use insta::assert_snapshot;
use postrider_core::{Category, EmailStatus};
use postrider_testkit::{Answer, Script, ScriptedMx, Site, StartTls, TestPostrider, mail};

const UTF8_MESSAGE: &str = "From: <a@client.test>\r\nTo: <用户@example.org>\r\nSubject: Grüße\r\n\
    Date: Fri, 02 Jan 2026 03:04:05 +0000\r\nMessage-ID: <utf8@client.test>\r\n\r\nx\r\n";

async fn world(script: Script) -> (TestPostrider, ScriptedMx) {
    let site = Site::new().await;
    let mx = site.mx("example.org", script).await;
    (site.start().await, mx)
}

fn message() -> Vec<u8> {
    mail::plain("a@client.test", "b@example.org", "handed")
}

fn eight_bit() -> Vec<u8> {
    mail::shapes().into_iter().find(|shape| shape.name == "8bit").unwrap().message
}

/// Sends one message and waits until its connection is given up; gives the transcript.
async fn session(script: Script) -> String {
    let (postrider, mx) = world(script).await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let _time = postrider.clock().run();
    mx.wait_for_ended(1).await;
    assert_eq!(mx.connections(), 1);
    mx.transcript(1)
}

#[tokio::test]
async fn a_session_with_all_extensions() {
    assert_snapshot!(session(Script::new()).await);
}

#[tokio::test]
async fn a_session_with_none() {
    assert_snapshot!(session(Script::new().capabilities(&[])).await);
}

#[tokio::test]
async fn a_session_with_a_server_that_knows_no_ehlo() {
    assert_snapshot!(session(Script::new().helo_only()).await);
}

#[tokio::test]
async fn a_session_with_starttls() {
    assert_snapshot!(session(Script::new().starttls(StartTls::Working)).await);
}

#[tokio::test]
async fn a_session_where_starttls_is_offered_and_refused() {
    let script = Script::new().starttls(StartTls::Working).on("STARTTLS", "454 4.7.0 Not now");
    assert_snapshot!(session(script).await);
}

#[tokio::test]
async fn replies_in_odd_packets_are_read() {
    session(Script::new().split_replies(1).starttls(StartTls::Working)).await;
    session(Script::new().on("CONNECT", "220-a\n220-b\n220 c").split_replies(2)).await;
}

#[tokio::test]
async fn a_large_message_goes_whole_through_tls() {
    let (postrider, mx) = world(Script::new().starttls(StartTls::Working)).await;
    let large = mail::big_attachment(3_000_000);
    let id = postrider.send("a@client.test", &["b@example.org"], &large).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let received = &mx.messages()[0];
    assert!(received.tls);
    assert!(received.without_trace() == large, "{} of {} bytes", received.without_trace().len(), large.len());
}

/// What came in clear behind the answer to STARTTLS could be anybody's: it answers nothing that is asked under TLS.
#[tokio::test]
async fn a_reply_injected_before_tls_is_dropped() {
    let injected = "220 2.0.0 Go ahead\n250-mx.test\n250 INJECTED";
    let (postrider, mx) = world(Script::new().starttls(StartTls::Working).on("STARTTLS", injected)).await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    let _time = postrider.clock().run();
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    let under_tls = detail.attempts.iter().filter(|(_, attempt)| attempt.tls.is_some());
    for exchange in under_tls.flat_map(|(_, attempt)| &attempt.exchanges) {
        assert!(!exchange.reply.text.contains("INJECTED"), "{exchange:?}");
    }
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn a_broken_handshake_makes_the_next_attempt_clear() {
    let (postrider, mx) = world(Script::new().starttls(StartTls::BrokenHandshake)).await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Tls));
    postrider.advance_to_next_attempt(id).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(detail.deliveries[0].tls, None);
    assert!(!mx.messages()[0].tls);
}

/// Nor is a host that could not be reached at all a reason to try TLS again.
#[tokio::test]
async fn a_broken_handshake_counts_although_the_next_host_is_dead() {
    let site = Site::new().await;
    site.zone().mx("example.org", 10, "first.test").mx("example.org", 20, "dead.test");
    site.zone().address("dead.test", site.claim_ip());
    let first = site.host("first.test", Script::new().starttls(StartTls::BrokenHandshake)).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    assert_eq!(postrider.wait_for_deferred(id, 1).await.deliveries[0].category, Some(Category::Tls));
    postrider.advance_to_next_attempt(id).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert!(!first.messages()[0].tls);
}

#[tokio::test]
async fn eight_bits_go_as_they_are_where_they_may() {
    let (postrider, mx) = world(Script::new()).await;
    let id = postrider.send("a@client.test", &["b@example.org"], &eight_bit()).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let received = &mx.messages()[0];
    assert!(received.parameters.iter().any(|parameter| parameter == "BODY=8BITMIME"), "{:?}", received.parameters);
    assert_eq!(received.without_trace(), eight_bit());
}

#[tokio::test]
async fn eight_bits_become_quoted_printable_where_they_may_not() {
    let (postrider, mx) = world(Script::new().without("8BITMIME")).await;
    let id = postrider.send("a@client.test", &["b@example.org"], &eight_bit()).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let received = &mx.messages()[0];
    assert!(received.data.is_ascii());
    let text = received.text();
    assert!(text.contains("Content-Transfer-Encoding: quoted-printable"), "{text}");
    let content = postrider_core::Content::parse(&received.data);
    assert_eq!(content.text.unwrap().trim_end(), "Grüße aus Köln, 你好, 🦀.");
}

#[tokio::test]
async fn eight_bits_that_cannot_be_converted_are_not_sent_where_they_may_not() {
    let (postrider, mx) = world(Script::new().without("8BITMIME")).await;
    let body = "Content-Type: message/partial; number=1; total=1; id=x\r\n\r\nGrüße\r\n";
    let partial = format!("From: <a@client.test>\r\nSubject: partial\r\nMIME-Version: 1.0\r\n{body}");
    let id = postrider.send("", &["b@example.org"], partial.as_bytes()).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Failed).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Content));
    assert!(detail.deliveries[0].last_error.as_deref().unwrap().starts_with("5.6.3 "), "{detail:?}");
    assert!(mx.all_messages().is_empty());

    // No conversion helps a header; it goes as it is.
    let header = "From: <a@client.test>\r\nSubject: Grüße\r\n\r\nplain\r\n";
    let id = postrider.send("", &["b@example.org"], header.as_bytes()).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert!(mx.messages()[0].text().contains("Subject: Grüße"));
}

async fn send_utf8(postrider: &TestPostrider) -> postrider_core::ObjectId {
    let mut client = postrider.client().await;
    client.demand("MAIL FROM:<a@client.test> SMTPUTF8 BODY=8BITMIME", 250).await;
    client.demand("RCPT TO:<用户@example.org>", 250).await;
    let reply = client.send_data(UTF8_MESSAGE.as_bytes()).await;
    postrider.accepted(&reply).await
}

#[tokio::test]
async fn utf8_addresses_go_where_they_are_understood() {
    let (postrider, mx) = world(Script::new()).await;
    postrider.wait_for_status(send_utf8(&postrider).await, EmailStatus::Sent).await;
    let received = &mx.messages()[0];
    assert_eq!(received.addresses(), ["用户@example.org"]);
    assert!(received.parameters.iter().any(|parameter| parameter == "SMTPUTF8"), "{:?}", received.parameters);
}

#[tokio::test]
async fn utf8_addresses_fail_for_good_where_they_are_not() {
    let (postrider, mx) = world(Script::new().without("SMTPUTF8")).await;
    let detail = postrider.wait_for_status(send_utf8(&postrider).await, EmailStatus::Failed).await;
    assert!(detail.deliveries[0].last_error.as_deref().unwrap().contains("SMTPUTF8"), "{detail:?}");
    assert!(mx.all_messages().is_empty());
}

#[tokio::test]
async fn dsn_parameters_are_passed_on_where_they_are_understood() {
    for understood in [true, false] {
        let (postrider, mx) = world(if understood { Script::new() } else { Script::new().without("DSN") }).await;
        let mut client = postrider.client().await;
        client.demand("MAIL FROM:<a@client.test> RET=HDRS ENVID=order+2B17", 250).await;
        client.demand("RCPT TO:<b@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+40example.org", 250).await;
        let reply = client.send_data(&message()).await;
        postrider.wait_for_status(postrider.accepted(&reply).await, EmailStatus::Sent).await;
        let received = &mx.messages()[0];
        let of_mail: Vec<_> =
            received.parameters.iter().filter(|p| p.starts_with("RET") || p.starts_with("ENVID")).collect();
        let of_rcpt = &received.recipients[0].parameters;
        if understood {
            assert_eq!(of_mail, ["RET=HDRS", "ENVID=order+2B17"]);
            assert_eq!(*of_rcpt, ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;c+40example.org"]);
        } else {
            assert!(of_mail.is_empty() && of_rcpt.is_empty(), "{of_mail:?} {of_rcpt:?}");
        }
    }
}

#[tokio::test]
async fn a_message_larger_than_the_server_takes_is_not_sent() {
    let (postrider, mx) = world(Script::new().capabilities(&["PIPELINING", "SIZE 100"])).await;
    let id = postrider.send("a@client.test", &["b@example.org"], &mail::big_attachment(2000)).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Failed).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Quota));
    // The decision was ours: nobody said it.
    assert_eq!(detail.deliveries[0].last_response, None);
    assert!(mx.all_messages().is_empty());
}

#[tokio::test]
async fn every_shape_of_message_leaves_byte_for_byte() {
    let (postrider, mx) = world(Script::new()).await;
    let shapes = mail::shapes();
    for (count, shape) in shapes.iter().enumerate() {
        postrider.send("a@client.test", &["b@example.org"], &shape.message).await;
        let received = mx.wait_for_messages(count + 1).await.remove(count);
        // What a client left out is added on submission, on top of what it sent.
        assert!(received.data.ends_with(&shape.message), "{}: {}", shape.name, received.data.escape_ascii());
    }
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_tried_again_later() {
    for nonsense in ["hello?", "25", "999 what", "250-never ends\n354 in another code"] {
        let (postrider, _mx) = world(Script::new().on("MAIL", Answer::ReplyThenClose(nonsense.into()))).await;
        let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
        postrider.wait_for_deferred(id, 1).await;
    }
}
