//! APPEND and REPLACE: one message or many, of parts that URLs name, and what is refused before it is sent.

use postrider_core::{Address, Timestamp};
use postrider_store::Quota;
use postrider_testkit::{ImapClient, Site, TestPostrider};

use crate::imap_support::{PASSWORD, USER, another, append_all, fetched, inbox, literal, plain, plains};

async fn set_quota(postrider: &TestPostrider, quota: Quota) {
    let address = Address::parse(USER).unwrap();
    assert!(postrider.store().set_quota(&address, quota, Timestamp::default()).await.unwrap());
}

#[tokio::test]
async fn a_message_with_flags_and_date() {
    let (postrider, mut client) = inbox(&[]).await;
    let mut other = another(&postrider).await;
    let reply = client.append("INBOX (\\Seen $Forwarded) \" 1-Feb-2024 10:00:00 +0130\"", &plain(1)).await;
    assert!(reply.tagged.starts_with("OK [APPENDUID ") && reply.tagged.contains(" 1] "), "{}", reply.text());
    assert!(reply.lines().contains(&"* 1 EXISTS".to_owned()), "{}", reply.text());
    assert!(other.demand("NOOP").await.lines().contains(&"* 1 EXISTS".to_owned()));
    let reply = client.demand("FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])").await;
    assert!(fetched(&reply)[0].contains("FLAGS (\\Seen $Forwarded \\Recent)"), "{}", reply.text());
    assert!(fetched(&reply)[0].contains("INTERNALDATE \" 1-Feb-2024 08:30:00 +0000\""), "{}", reply.text());
    assert_eq!(literal(&reply), plain(1));
    // Whatever its lines end with, it stays as it came.
    let bare = b"Subject: bare\nX: \xff\n\ntext\n";
    assert!(client.append("Drafts", bare).await.is_ok());
    client.demand("SELECT Drafts").await;
    let reply = client.demand("FETCH 1 (BODY.PEEK[] ENVELOPE)").await;
    assert_eq!(literal(&reply), bare);
    assert!(reply.text().contains("ENVELOPE (NIL \"bare\" "), "{}", reply.text());
}

#[tokio::test]
async fn many_messages_or_none() {
    let (postrider, mut client) = inbox(&[]).await;
    let reply = append_all(&mut client, "INBOX", &plains(3)).await;
    assert!(reply.tagged.contains(" 1:3] "), "{}", reply.text());
    let total: usize = plains(3).iter().map(Vec::len).sum();
    set_quota(&postrider, Quota { bytes: Some(total as u64 + 300), messages: None }).await;
    let reply = append_all(&mut client, "INBOX", &plains(3)).await;
    assert!(reply.tagged.starts_with("NO [OVERQUOTA]"), "{}", reply.text());
    assert_eq!(
        client.demand("STATUS INBOX (MESSAGES UIDNEXT)").await.lines(),
        ["* STATUS INBOX (MESSAGES 3 UIDNEXT 4)"]
    );
    assert!(append_all(&mut client, "INBOX", &plains(1)).await.is_ok());
}

/// A client that asks before it sends is told at once.
#[tokio::test]
async fn what_is_refused_before_it_is_sent() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "example.org").set("MAX_EMAIL_SIZE", "100000");
    let postrider = site.start().await;
    postrider.add_user(USER, PASSWORD).await;
    let mut client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    assert!(client.append("Nowhere", &plain(1)).await.tagged.starts_with("NO [TRYCREATE]"));
    assert!(client.append("INBOX", &vec![b'a'; 100_001]).await.tagged.starts_with("NO [TOOBIG]"));
    assert!(client.append("INBOX", &vec![b'a'; 100_000]).await.is_ok());
    set_quota(&postrider, Quota { bytes: Some(100_010), messages: None }).await;
    assert!(client.append("INBOX", &plain(1)).await.tagged.starts_with("NO [OVERQUOTA]"));
    client.demand("STATUS INBOX (MESSAGES)").await;
    // One that does not ask is told after it has sent, and understood all the same.
    let reply = append_all(&mut client, "Nowhere", &plains(2)).await;
    assert!(reply.tagged.starts_with("NO [TRYCREATE]"), "{}", reply.text());
    assert!(client.demand("CAPABILITY").await.text().contains("APPENDLIMIT=100000"));
}

#[tokio::test]
async fn messages_made_of_others() {
    let (_postrider, mut client) = inbox(&plains(2)).await;
    let uid_validity = client.demand("STATUS INBOX (UIDVALIDITY)").await.lines()[0].clone();
    let uid_validity = uid_validity.trim_end_matches(')').rsplit(' ').next().unwrap().to_owned();
    let reply = client
        .command(&format!(
            "APPEND Drafts (\\Draft) CATENATE (URL \"/INBOX;UIDVALIDITY={uid_validity}/;UID=1/;SECTION=HEADER\" TEXT {{6+}}\r\nHello! \
             URL \";UID=2/;SECTION=TEXT\" URL \"imap://bob%40example.org@postrider.test/INBOX/;UID=1/;SECTION=TEXT/;PARTIAL=0.4\")"
        ))
        .await;
    assert!(reply.tagged.starts_with("OK [APPENDUID "), "{}", reply.text());
    for url in [
        "/INBOX;UIDVALIDITY=1234567/;UID=1",
        "/INBOX/;UID=77",
        "/Nowhere/;UID=1",
        "imap://ann@x/INBOX/;UID=1",
        "nonsense",
    ] {
        let reply = client.command(&format!("APPEND Drafts CATENATE (TEXT {{1+}}\r\na URL \"{url}\")")).await;
        assert!(reply.tagged.starts_with(&format!("NO [BADURL {url}]")), "{}", reply.text());
    }
    client.demand("SELECT Drafts").await;
    let first = String::from_utf8(plain(1)).unwrap();
    let header = &first[..first.find("\r\n\r\n").unwrap() + 4];
    let reply = client.demand("FETCH 1:* (BODY.PEEK[] FLAGS)").await;
    assert_eq!(String::from_utf8(literal(&reply)).unwrap(), format!("{header}Hello!Text 2.\r\nText"));
    assert_eq!(fetched(&reply).len(), 1);
    assert!(fetched(&reply)[0].contains("FLAGS (\\Draft"), "{}", reply.text());
}

#[tokio::test]
async fn binary_and_utf8() {
    let (_postrider, mut client) = inbox(&[]).await;
    for (tag, mark, message, answer) in [
        // NUL could be told to nobody who does not ask for BINARY.
        ("b1", "~", &b"Subject: binary\r\n\r\n\x00\x01\xff\r\n"[..], "NO [UNKNOWN-CTE]"),
        ("b2", "~", b"Subject: text\r\n\r\n\xff\xfe\r\n", "OK [APPENDUID "),
        ("b3", "", b"Subject: nul\r\n\r\n\x00\r\n", "BAD"),
    ] {
        client.send_bytes(format!("{tag} APPEND INBOX {mark}{{{}+}}\r\n", message.len()).as_bytes()).await;
        client.send_bytes(message).await;
        client.send_bytes(b"\r\n").await;
        let reply = client.answer(tag).await;
        assert!(reply.tagged.starts_with(answer), "{tag}: {}", reply.text());
    }
    client.demand("ENABLE UTF8=ACCEPT").await;
    let message = "Subject: Gr\u{fc}\u{df}e\r\n\r\n\u{263a}\r\n";
    client.send_bytes(format!("b4 APPEND INBOX UTF8 (~{{{}+}}\r\n{message})\r\n", message.len()).as_bytes()).await;
    assert!(client.answer("b4").await.is_ok());
    assert_eq!(literal(&client.demand("FETCH 2 BODY.PEEK[]").await), message.as_bytes());
}

#[tokio::test]
async fn a_draft_is_replaced() {
    let (postrider, mut client) = inbox(&plains(3)).await;
    let mut other = another(&postrider).await;
    let message = plain(9);
    for (command, reply) in [
        (format!("REPLACE 4 INBOX {{{}+}}", message.len()), "BAD"),
        (format!("UID REPLACE 77 INBOX {{{}+}}", message.len()), "NO [NONEXISTENT]"),
        (format!("REPLACE 1 Nowhere {{{}+}}", message.len()), "NO [TRYCREATE]"),
    ] {
        client.send_bytes(format!("r0 {command}\r\n").as_bytes()).await;
        client.send_bytes(&message).await;
        client.send_bytes(b"\r\n").await;
        let answer = client.answer("r0").await;
        assert!(answer.tagged.starts_with(reply), "{command}: {}", answer.text());
    }
    client.send_bytes(format!("r1 REPLACE 2 INBOX (\\Draft) {{{}+}}\r\n", message.len()).as_bytes()).await;
    client.send_bytes(&message).await;
    client.send_bytes(b"\r\n").await;
    let reply = client.answer("r1").await;
    let lines = reply.lines();
    assert!(reply.is_ok() && lines[0].starts_with("* OK [APPENDUID ") && lines[0].contains(" 4] "), "{}", reply.text());
    assert!(lines.contains(&"* 2 EXPUNGE".to_owned()), "{}", reply.text());
    let told = other.demand("NOOP").await.lines();
    assert!(told.contains(&"* 2 EXPUNGE".to_owned()) && told.contains(&"* 3 EXISTS".to_owned()), "{told:?}");
    assert_eq!(
        fetched(&client.demand("FETCH 1:* UID").await),
        ["1 FETCH (UID 1)", "2 FETCH (UID 3)", "3 FETCH (UID 4)"]
    );
    assert_eq!(literal(&client.demand("UID FETCH 4 BODY.PEEK[]").await), message);
    // Into another mailbox.
    client.send_bytes(format!("r2 UID REPLACE 4 Sent {{{}+}}\r\n", message.len()).as_bytes()).await;
    client.send_bytes(&message).await;
    client.send_bytes(b"\r\n").await;
    let reply = client.answer("r2").await;
    assert!(reply.lines().contains(&"* 3 EXPUNGE".to_owned()), "{}", reply.text());
    assert!(client.demand("STATUS Sent (MESSAGES)").await.text().contains("MESSAGES 1)"));
    client.demand("EXAMINE INBOX").await;
    client.send_bytes(format!("r3 REPLACE 1 Sent {{{}+}}\r\n", message.len()).as_bytes()).await;
    client.send_bytes(&message).await;
    client.send_bytes(b"\r\n").await;
    assert!(client.answer("r3").await.tagged.starts_with("NO [NOPERM]"));
}
