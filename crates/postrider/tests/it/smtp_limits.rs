//! Limits: on lines, recipients, sizes, errors, sessions and time. Each has a clear answer, and the server goes on.

use std::time::Duration;

use postrider_testkit::{LineClient, TestPostrider, mail};

use crate::support::site_of_strangers;

async fn strangers_mx() -> TestPostrider {
    site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").set("MAX_EMAIL_SIZE", "1048576").start().await
}

#[tokio::test]
async fn ten_thousand_recipients_are_not_taken() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    let batch: String = (0..10_000).map(|n| format!("RCPT TO:<user{n}@local.test>\r\n")).collect();
    let _ = client.send_quietly(batch.as_bytes()).await;
    let mut accepted = 0;
    for _ in 0..10_000 {
        match client.try_reply().await {
            Some(reply) if reply.code == 250 => accepted += 1,
            // RFC 5321 section 4.5.3.1.10: too many recipients is 452, and no reason to lose the others.
            Some(reply) if reply.code == 452 => {}
            Some(reply) if reply.code == 421 => break,
            Some(reply) => panic!("{}", reply.text()),
            None => break,
        }
    }
    assert_eq!(accepted, 1000);
    assert_eq!(LineClient::hello(postrider.smtp_mx()).await.command("NOOP").await.code, 250);
}

#[tokio::test]
async fn an_oversize_command_line_is_refused() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let reply = client.command(&format!("NOOP {}", "x".repeat(100_000))).await;
    assert_eq!(reply.code, 500, "{}", reply.text());
    client.demand("NOOP", 250).await;
}

#[tokio::test]
async fn a_command_line_without_end_takes_no_memory() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    for _ in 0..64 {
        if client.send_quietly(&vec![b'x'; 64 * 1024]).await.is_err() {
            break;
        }
    }
    let _ = client.send_quietly(b"\r\nQUIT\r\n").await;
    let answered = client.rest().await;
    let text = String::from_utf8_lossy(&answered);
    assert!(text.starts_with("500 ") || text.starts_with("421 "), "{text}");
}

#[tokio::test]
async fn an_oversize_text_line_is_refused() {
    let postrider = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let line = vec![b'x'; (1 << 20) + 1];
    let message = [b"Subject: long\r\n\r\n", line.as_slice(), b"\r\n"].concat();
    let reply = client.send_mail("a@example.net", &["b@local.test"], &message).await;
    assert_eq!(reply.code / 100, 5, "{}", reply.text());
    client.demand("NOOP", 250).await;
    assert!(postrider.emails().await.is_empty());
}

#[tokio::test]
async fn a_message_too_large_is_refused_when_announced_and_when_sent() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@example.net> SIZE=1048577", 552).await;
    // Who does not announce it is told at the end of data, and is read to there.
    let message = mail::big_attachment(1_000_000);
    let reply = client.send_mail("a@example.net", &["b@local.test"], &message).await;
    assert_eq!(reply.code, 552, "{}", reply.text());
    let reply = client.send_mail("a@example.net", &["b@local.test"], &mail::plain("a@b", "c@d", "small")).await;
    assert_eq!(reply.code, 250);
    assert_eq!(postrider.emails().await.len(), 1);
}

#[tokio::test]
async fn a_chunk_too_large_is_refused() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    client.demand("RCPT TO:<b@local.test>", 250).await;
    let chunk = vec![b'x'; 1_200_000];
    client.send_quietly(format!("BDAT {} LAST\r\n", chunk.len()).as_bytes()).await.unwrap();
    let _ = client.send_quietly(&chunk).await;
    client.expect(552).await;
    client.demand("RSET", 250).await;
    client.demand("BDAT 99999999999999999999999 LAST", 501).await;
}

#[tokio::test]
async fn too_many_errors_end_the_session() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let mut errors = 0;
    loop {
        match client.command("NONSENSE").await.code {
            500 => errors += 1,
            421 => break,
            other => panic!("{other}: {}", client.transcript()),
        }
        assert!(errors <= 100, "nobody stopped a hundred errors");
    }
    client.expect_end().await;
}

#[tokio::test]
async fn an_idle_session_ends_after_five_minutes() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let idle_since = postrider.now();
    let _time = postrider.clock().run();
    client.expect(421).await;
    // RFC 5321 section 4.5.3.2.7.
    assert!(postrider.now().since(idle_since) >= Duration::from_secs(300));
    client.expect_end().await;
}

#[tokio::test]
async fn a_session_that_stalls_in_data_ends_and_leaves_nothing() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    client.demand("RCPT TO:<b@local.test>", 250).await;
    client.demand("DATA", 354).await;
    client.send_raw(b"Subject: never finished\r\n").await;
    let _time = postrider.clock().run();
    let rest = String::from_utf8(client.rest().await).unwrap();
    assert!(rest.is_empty() || rest.starts_with("421 "), "{rest}");
    assert!(postrider.emails().await.is_empty());
}

#[tokio::test]
async fn a_handshake_that_stalls_ends() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::connect(postrider.submissions()).await.unwrap();
    let _time = postrider.clock().run();
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_hangs_up_in_data_leaves_nothing() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    client.demand("RCPT TO:<b@local.test>", 250).await;
    client.demand("DATA", 354).await;
    client.send_raw(b"Subject: half\r\n\r\nand then\r\n").await;
    drop(client);
    postrider_testkit::eventually("the session to end", async || {
        (postrider.app().control().smtp_stats().sessions_open == 0).then_some(())
    })
    .await;
    assert!(postrider.emails().await.is_empty());
    assert_eq!(postrider.app().control().smtp_stats().memory_bytes, 0);
}

#[tokio::test]
async fn one_address_has_a_hundred_sessions_at_most() {
    let postrider = strangers_mx().await;
    let mut sessions = Vec::new();
    for _ in 0..100 {
        let mut client = LineClient::connect(postrider.smtp_mx()).await.unwrap();
        client.expect(220).await;
        sessions.push(client);
    }
    let mut refused = LineClient::connect(postrider.smtp_mx()).await.unwrap();
    refused.expect(421).await;
    refused.expect_end().await;
    // Another address is not made to suffer for it.
    let elsewhere = postrider.claim_ip();
    LineClient::connect_from(elsewhere, postrider.smtp_mx()).await.unwrap().expect(220).await;
    // And a place is free again when a session ends.
    sessions.pop().unwrap().demand("QUIT", 221).await;
    postrider_testkit::eventually("a place to be free", async || {
        let mut client = LineClient::connect(postrider.smtp_mx()).await.unwrap();
        (client.reply().await.code == 220).then_some(())
    })
    .await;
}

#[tokio::test]
async fn all_addresses_together_have_a_limit_too() {
    let site = site_of_strangers().await.limit(|limits| limits.sessions_max = 3);
    let postrider = site.start().await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let ip = postrider.claim_ip();
        let mut client = LineClient::connect_from(ip, postrider.smtp_mx()).await.unwrap();
        client.expect(220).await;
        sessions.push(client);
    }
    let ip = postrider.claim_ip();
    let mut refused = LineClient::connect_from(ip, postrider.smtp_mx()).await.unwrap();
    refused.expect(421).await;
    refused.expect_end().await;
}

/// Messages on their way in share a budget of memory; past it they are answered 452, and the server lives.
#[tokio::test]
async fn memory_is_shared_out_and_not_exceeded() {
    const BUDGET_BYTES: usize = 4 << 20;
    let site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test");
    let postrider = site.limit(|limits| limits.memory_bytes_max = BUDGET_BYTES).start().await;
    let line = [vec![b'x'; 998], b"\r\n".to_vec()].concat();
    let mut holders = Vec::new();
    let mut codes = Vec::new();
    for _ in 0..6 {
        let mut client = LineClient::hello(postrider.smtp_mx()).await;
        client.demand("MAIL FROM:<a@example.net>", 250).await;
        client.demand("RCPT TO:<b@local.test>", 250).await;
        match client.command("DATA").await.code {
            354 => {
                client.send_quietly(&line.repeat(1500)).await.unwrap();
                holders.push(client);
            }
            code => codes.push(code),
        }
    }
    for client in &mut holders {
        client.send_raw(b".\r\n").await;
        codes.push(client.reply().await.code);
    }
    assert!(codes.contains(&250) && codes.contains(&452), "{codes:?}");
    assert!(codes.iter().all(|code| [250, 452].contains(code)), "{codes:?}");
    let taken = codes.iter().filter(|&&code| code == 250).count();
    assert_eq!(postrider.emails().await.len(), taken);

    // What was held is given back: the next message finds room.
    for client in &mut holders {
        client.demand("QUIT", 221).await;
    }
    let reply = LineClient::hello(postrider.smtp_mx())
        .await
        .send_mail("a@example.net", &["b@local.test"], &line.repeat(1500))
        .await;
    assert_eq!(reply.code, 250, "{}", reply.text());
}
