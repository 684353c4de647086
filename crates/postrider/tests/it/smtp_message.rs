//! What becomes of a message that is taken: its bytes, its trace fields, its record.

use insta::assert_snapshot;
use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{LineClient, Script, Site, TestPostrider, mail, scrub, without_trace};

use crate::support::site_of_strangers;

async fn keeper() -> TestPostrider {
    site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").start().await
}

async fn raw(postrider: &TestPostrider, id: ObjectId) -> Vec<u8> {
    postrider.store().raw(id).await.unwrap().unwrap().raw.to_vec()
}

#[tokio::test]
async fn a_kept_message_carries_return_path_and_received() {
    let postrider = keeper().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let message = mail::plain("a@example.net", "b@local.test", "traced");
    let reply = client.send_mail("a@example.net", &["b@local.test"], &message).await;
    let kept = raw(&postrider, postrider.accepted(&reply).await).await;
    assert_snapshot!("trace_fields_of_a_kept_message", scrub(&String::from_utf8(kept).unwrap()).replace('\r', ""));
}

#[tokio::test]
async fn a_relayed_message_carries_received_alone() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let message = mail::plain("a@client.test", "b@example.org", "traced");
    let id = postrider.send("a@client.test", &["b@example.org"], &message).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let received = mx.messages()[0].clone();
    assert_eq!(received.without_trace(), message);
    assert_snapshot!("trace_fields_of_a_relayed_message", scrub(&received.text()).replace('\r', ""));
}

#[tokio::test]
async fn many_recipients_do_not_learn_of_each_other() {
    let postrider = keeper().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let message = mail::plain("a@example.net", "b@local.test", "traced");
    let reply = client.send_mail("a@example.net", &["b@local.test", "secret@local.test"], &message).await;
    let kept = String::from_utf8(raw(&postrider, postrider.accepted(&reply).await).await).unwrap();
    assert!(!kept.contains("secret"), "{kept}");
}

/// RFC 6409 section 8: a submission server completes what the client left out; a relay does not.
#[tokio::test]
async fn date_and_message_id_are_added_on_submission_alone() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    postrider.add_user("user@local.test", "a long password").await;
    let bare = b"From: <user@local.test>\r\nSubject: bare\r\n\r\nx\r\n";

    let mut client = LineClient::hello(postrider.submission()).await;
    client.starttls().await;
    client.demand("EHLO client.test", 250).await;
    assert_eq!(client.auth_plain("user@local.test", "a long password").await.code, 235);
    let reply = client.send_mail("user@local.test", &["b@local.test"], bare).await;
    let submitted = raw(&postrider, postrider.accepted(&reply).await).await;
    let submitted = String::from_utf8(submitted).unwrap();
    assert!(submitted.contains("\r\nDate: ") && submitted.contains("\r\nMessage-ID: <"), "{submitted}");
    assert!(submitted.ends_with("\r\n\r\nx\r\n"), "{submitted}");

    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let reply = client.send_mail("a@example.net", &["b@local.test"], bare).await;
    let relayed = raw(&postrider, postrider.accepted(&reply).await).await;
    assert_eq!(without_trace(&relayed), bare);
}

#[tokio::test]
async fn a_complete_message_is_not_changed_on_submission() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let message = mail::plain("a@client.test", "b@local.test", "complete");
    let id = postrider.send("a@client.test", &["b@local.test"], &message).await;
    assert_eq!(without_trace(&raw(&postrider, id).await), message);
}

/// RFC 5321 section 6.3.
#[tokio::test]
async fn a_message_that_goes_in_circles_is_refused() {
    let postrider = keeper().await;
    let message = [b"Received: from a by b; now\r\n".repeat(101).as_slice(), b"Subject: loop\r\n\r\nx\r\n"].concat();
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let reply = client.send_mail("a@example.net", &["b@local.test"], &message).await;
    assert_eq!(reply.code, 554, "{}", reply.text());
    assert!(reply.text().contains("5.4.6"), "{}", reply.text());
    assert!(postrider.emails().await.is_empty());
}

#[tokio::test]
async fn chunks_make_a_message() {
    let postrider = keeper().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client
        .play(
            r"
            C: MAIL FROM:<a@example.net> BODY=8BITMIME
            C: RCPT TO:<b@local.test>
            S: 250
            S: 250
            R: BDAT 19\r\nSubject: chunked\r\n\r
            R: BDAT 12\r\n\n.\r\n..\r\nend\r
            R: BDAT 1 LAST\r\n\n
            S: 250
            S: 250
            ",
        )
        .await;
    let reply = client.expect(250).await;
    let kept = raw(&postrider, postrider.accepted(&reply).await).await;
    assert_eq!(without_trace(&kept).escape_ascii().to_string(), "Subject: chunked\\r\\n\\r\\n.\\r\\n..\\r\\nend\\r\\n");
}

#[tokio::test]
async fn every_shape_of_message_is_kept_byte_for_byte() {
    let postrider = keeper().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let mut shapes = mail::shapes();
    shapes.push(mail::Shape {
        name: "big",
        message: mail::big_attachment(3 << 20),
        is_8bit: false,
        has_short_lines: true,
    });
    for shape in shapes {
        let reply = client.send_mail("a@example.net", &["b@local.test"], &shape.message).await;
        let kept = raw(&postrider, postrider.accepted(&reply).await).await;
        assert!(without_trace(&kept) == shape.message, "{}: {}", shape.name, kept.escape_ascii());
    }
}

#[tokio::test]
async fn an_acknowledged_message_outlives_a_restart() {
    let postrider = keeper().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let message = mail::plain("a@example.net", "b@local.test", "lasting");
    let reply = client.send_mail("a@example.net", &["b@local.test"], &message).await;
    let id = postrider.accepted(&reply).await;
    let before = raw(&postrider, id).await;
    drop(client);
    let postrider = postrider.restart().await;
    assert_eq!(raw(&postrider, id).await, before);
}

/// RFC 6531 section 3.5.
#[tokio::test]
async fn utf8_addresses_need_smtputf8() {
    let postrider = keeper().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let refused = client.demand("MAIL FROM:<jörg@example.net>", 553).await;
    assert!(refused.text().contains("5.6.7"), "{}", refused.text());
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    client.demand("RCPT TO:<jörg@local.test>", 553).await;
    client.demand("RSET", 250).await;
    client.demand("MAIL FROM:<jörg@example.net> SMTPUTF8 BODY=8BITMIME", 250).await;
    client.demand("RCPT TO:<用户@local.test>", 250).await;
    let reply = client.send_data("Subject: Grüße\r\n\r\nx\r\n".as_bytes()).await;
    let detail = postrider.email(postrider.accepted(&reply).await).await;
    assert_eq!(
        (detail.email.sender.as_str(), &detail.email.recipients[..]),
        ("jörg@example.net", &["用户@local.test".to_owned()][..])
    );
    assert_eq!(detail.email.subject.as_deref(), Some("Grüße"));
}

#[tokio::test]
async fn small_commands_are_answered_as_the_standard_says() {
    let postrider = keeper().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    for command in [
        "NOOP something",
        "HELP",
        "VRFY postmaster",
        "EXPN list",
        "RSET",
        "ETRN x",
        "MAIL FROM:<a@example.net> X=1",
        "MAIL a@example.net",
        "RCPT TO:<b@local.test>",
        "DATA",
        "QUIT",
    ] {
        client.command(command).await;
    }
    client.expect_end().await;
    assert_snapshot!(client.transcript());
}

#[tokio::test]
async fn a_pipelined_batch_is_answered_in_order() {
    let postrider = keeper().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client
        .play(
            r"
            C: MAIL FROM:<a@example.net>
            C: RCPT TO:<b@local.test>
            C: RCPT TO:<victim@example.org>
            C: RCPT TO:<c@local.test>
            C: DATA
            S: 250 *
            S: 250 *
            S: 550 *
            S: 250 *
            S: 354 *
            R: Subject: x\r\n\r\nx\r\n.\r\nMAIL FROM:<a@example.net>\r\nRSET\r\nQUIT\r\n
            S: 250 *
            S: 250 *
            S: 250 *
            S: 221 *
            S: <close>
            ",
        )
        .await;
    assert_eq!(postrider.emails().await[0].recipients, ["b@local.test", "c@local.test"]);
}
