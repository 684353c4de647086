//! What mail programs say when they open an account for the first time, as transcripts.

use postrider_testkit::{ImapClient, Site, TestPostrider};

const USER: &str = "bob@example.org";
const PASSWORD: &str = "a long password";

/// A message with a text, its HTML, and an attachment.
const RICH: &[u8] = b"From: \"Ann Example\" <ann@example.com>\r\nTo: Bob <bob@example.org>, carol@example.org\r\n\
    Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Thu, 26 Nov 2026 10:00:00 +0100\r\nMessage-ID: <rich@example.com>\r\n\
    References: <plain@example.com>\r\nIn-Reply-To: <plain@example.com>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=\"outer\"\r\n\r\n--outer\r\n\
    Content-Type: multipart/alternative; boundary=inner\r\n\r\n--inner\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe aus\r\n\
    --inner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello</p>\r\n--inner--\r\n--outer\r\n\
    Content-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQ=\r\n--outer--\r\n";

const PLAIN: &[u8] = b"From: ann@example.com\r\nTo: bob@example.org\r\nSubject: Plain\r\n\
    Date: Wed, 25 Nov 2026 10:00:00 +0100\r\nMessage-ID: <plain@example.com>\r\n\r\nHello, Bob.\r\n";

async fn opening() -> (TestPostrider, ImapClient) {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    let mut client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    let date = "\"26-Nov-2026 10:00:00 +0000\"";
    for (flags, message) in [("(\\Seen)", PLAIN), ("()", RICH)] {
        let reply = client.append(&format!("INBOX {flags} {date}"), message).await;
        assert!(reply.is_ok(), "{}", reply.text());
    }
    client.demand("LOGOUT").await;
    let client = ImapClient::connect(postrider.imap()).await;
    (postrider, client)
}

/// Says everything; what is answered is in the transcript, and OK.
async fn say(client: &mut ImapClient, commands: &[&str]) {
    for command in commands {
        client.demand(command).await;
    }
}

async fn end(mut client: ImapClient) -> String {
    let tag = client.idle().await;
    assert!(client.done(&tag).await.is_ok());
    client.demand("LOGOUT").await;
    client.transcript()
}

#[tokio::test]
async fn thunderbird_opens() {
    let (_postrider, mut client) = opening().await;
    say(
        &mut client,
        &[
            "capability",
            // "\0bob@example.org\0a long password"
            "authenticate PLAIN AGJvYkBleGFtcGxlLm9yZwBhIGxvbmcgcGFzc3dvcmQ=",
            "capability",
            "ID (\"name\" \"Thunderbird\" \"version\" \"140.5.0\")",
            "namespace",
            "list (subscribed) \"\" \"*\" return (special-use)",
            "list \"\" \"INBOX\"",
            "create \"Entw&APw-rfe\"",
            "subscribe \"Entw&APw-rfe\"",
            "list \"\" \"Entw&APw-rfe\"",
            "status \"Sent\" (UIDNEXT MESSAGES UNSEEN RECENT)",
            "select \"INBOX\" (CONDSTORE)",
            "getquotaroot \"INBOX\"",
            "UID fetch 1:* (FLAGS)",
            "UID fetch 1:2 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority \
             X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])",
            "UID fetch 2 (UID RFC822.SIZE BODY.PEEK[])",
            "UID fetch 2 (BODYSTRUCTURE)",
            "UID fetch 2 (BODY.PEEK[HEADER] BODY.PEEK[1.1.MIME] BODY.PEEK[1.1] BODY.PEEK[2.MIME])",
            "uid store 2 +Flags (\\Seen)",
            "noop",
        ],
    )
    .await;
    insta::assert_snapshot!(end(client).await);
}

#[tokio::test]
async fn apple_mail_opens() {
    let (_postrider, mut client) = opening().await;
    say(
        &mut client,
        &[
            "CAPABILITY",
            "LOGIN \"bob@example.org\" \"a long password\"",
            "CAPABILITY",
            "ID (\"name\" \"Mac OS X Mail\" \"version\" \"16.0 (3826.200.121)\" \"os\" \"Mac OS X\" \"os-version\" \"15.2 \
             (24C101)\" \"vendor\" \"Apple Inc.\")",
            "ENABLE CONDSTORE",
            "NAMESPACE",
            "LIST \"\" \"\"",
            "LIST \"\" \"*\" RETURN (SPECIAL-USE)",
            "LSUB \"\" \"*\"",
            "STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)",
            "SELECT INBOX (CONDSTORE)",
            "FETCH 1:2 (FLAGS UID)",
            "UID FETCH 1:2 (INTERNALDATE UID RFC822.SIZE FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (date subject from to cc \
             message-id in-reply-to references content-type x-priority x-uniform-type-identifier \
             x-universally-unique-identifier list-id list-unsubscribe)])",
            "UID FETCH 2 (BODYSTRUCTURE BODY.PEEK[HEADER])",
            "UID FETCH 2 (BODY.PEEK[1.2]<0.8> BODY.PEEK[2])",
            "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
            "UID STORE 2 +FLAGS.SILENT (\\Seen)",
            "UID MOVE 1 Archive",
            "UID SEARCH RETURN (ALL) SINCE 1-Jan-2026",
            "CHECK",
        ],
    )
    .await;
    insta::assert_snapshot!(end(client).await);
}

/// As phones do: everything new since they were here last in one round.
#[tokio::test]
async fn a_phone_comes_back() {
    let (postrider, mut client) = opening().await;
    say(&mut client, &["LOGIN bob@example.org {15+}\r\na long password", "ENABLE QRESYNC"]).await;
    let reply = client.demand("SELECT INBOX").await;
    let code = |name: &str| {
        let text = reply.text();
        let from = text.find(name).unwrap_or_else(|| panic!("no {name} in {text}")) + name.len() + 1;
        text[from..].split(']').next().unwrap().to_owned()
    };
    let (validity, modseq) = (code("UIDVALIDITY"), code("HIGHESTMODSEQ"));
    client.demand("CLOSE").await;
    let mut other = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    say(&mut other, &["SELECT INBOX", "STORE 2 +FLAGS (\\Flagged)", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE"]).await;
    assert!(other.append("INBOX () \"26-Nov-2026 11:00:00 +0000\"", PLAIN).await.is_ok());
    let reply = client.demand(&format!("SELECT INBOX (QRESYNC ({validity} {modseq} 1:2))")).await;
    let lines = reply.lines();
    assert!(lines.contains(&"* VANISHED (EARLIER) 1".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("* 1 FETCH (UID 2 FLAGS (\\Flagged")), "{lines:?}");
    client.demand("UID FETCH 3:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await;
}
