//! FETCH: every item, sections of messages, what becomes seen, and what has changed or is gone.

use insta::assert_snapshot;
use postrider_testkit::scrub;

use crate::imap_support::{another, append_all, fetched, inbox, literal, plain, plains};

/// A text and its HTML, a message within, and an attachment.
const RICH: &str = "From: \"Ann Example\" <ann@example.com>\r\nTo: Bob <bob@example.org>, carol@example.org\r\n\
    Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Thu, 26 Nov 2026 10:00:00 +0100\r\nMessage-ID: <rich@example.com>\r\n\
    X-Other: yes\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"outer\"\r\n\r\n--outer\r\n\
    Content-Type: multipart/alternative; boundary=inner\r\n\r\n--inner\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe aus\r\n\
    --inner\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n--inner--\r\n--outer\r\n\
    Content-Type: message/rfc822\r\n\r\nSubject: within\r\nFrom: eve@example.net\r\n\r\nThe one within.\r\n--outer\r\n\
    Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC/w==\r\n--outer\r\n\
    Content-Type: application/x-own\r\nContent-Transfer-Encoding: x-own\r\n\r\n????\r\n--outer--\r\n";

fn rich() -> Vec<u8> {
    RICH.as_bytes().to_vec()
}

#[tokio::test]
async fn everything_but_the_message() {
    let (_postrider, mut client) = inbox(&[rich()]).await;
    let items = "UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE MODSEQ EMAILID THREADID PREVIEW (LAZY) \
        BODY.PEEK[HEADER.FIELDS (SUBJECT Message-ID)]";
    let reply = client.demand(&format!("FETCH 1 ({items})")).await;
    assert_snapshot!("fetch_everything", scrub(&reply.text()));
    for (name, items) in [
        ("ALL", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE"),
        ("FAST", "FLAGS INTERNALDATE RFC822.SIZE"),
        ("FULL", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY"),
    ] {
        let (one, other) =
            (client.demand(&format!("FETCH * {name}")).await, client.demand(&format!("FETCH 1 ({items})")).await);
        assert_eq!(one.untagged, other.untagged, "{name}");
    }
    let reply = client.demand("UID FETCH 1:* (SAVEDATE)").await;
    assert!(fetched(&reply)[0].starts_with("1 FETCH (UID 1 SAVEDATE \""), "{}", reply.text());
}

#[tokio::test]
async fn sections_are_the_message_s_own_bytes() {
    let (_postrider, mut client) = inbox(&[rich()]).await;
    let header_end = RICH.find("\r\n\r\n").unwrap() + 4;
    for (section, expected) in [
        ("", RICH),
        ("HEADER", &RICH[..header_end]),
        ("TEXT", &RICH[header_end..]),
        ("HEADER.FIELDS (\"subject\" X-Other)", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Other: yes\r\n\r\n"),
        ("HEADER.FIELDS (X-NONE)", "\r\n"),
        (
            "HEADER.FIELDS.NOT (From To Date Message-ID MIME-Version Content-Type X-Other)",
            "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n",
        ),
        ("1.1", "Gr=C3=BC=C3=9Fe aus"),
        ("1.2.MIME", "Content-Type: text/html\r\n\r\n"),
        ("2", "Subject: within\r\nFrom: eve@example.net\r\n\r\nThe one within."),
        ("2.HEADER", "Subject: within\r\nFrom: eve@example.net\r\n\r\n"),
        ("2.HEADER.FIELDS (From)", "From: eve@example.net\r\n\r\n"),
        ("2.TEXT", "The one within."),
        ("2.1", "The one within."),
        ("3", "AAEC/w=="),
    ] {
        let reply = client.demand(&format!("FETCH 1 BODY.PEEK[{section}]")).await;
        assert_eq!(String::from_utf8_lossy(&literal(&reply)), expected, "{section}");
        assert!(
            fetched(&reply)[0].starts_with(&format!("1 FETCH (BODY[{}", &section[..section.len().min(13)])),
            "{}",
            reply.text()
        );
        let reply = client.demand(&format!("FETCH 1 BODY.PEEK[{section}]<2.3>")).await;
        let expected = &expected.as_bytes()[2.min(expected.len())..5.min(expected.len())];
        assert_eq!(literal(&reply), expected, "a part of {section}");
        assert!(fetched(&reply)[0].contains("]<2> {"), "{}", reply.text());
    }
    for section in ["7", "1.1.1", "3.HEADER", "3.TEXT", "1.9.MIME"] {
        let reply = client.demand(&format!("FETCH 1 BODY.PEEK[{section}]")).await;
        assert_eq!(fetched(&reply), [format!("1 FETCH (BODY[{section}] NIL)")]);
    }
    let reply = client.demand("FETCH 1 (RFC822.HEADER RFC822.SIZE)").await;
    assert_eq!(String::from_utf8_lossy(&literal(&reply)), RICH[..header_end]);
    assert!(reply.text().contains(&format!("RFC822.SIZE {})", RICH.len())));
}

#[tokio::test]
async fn parts_without_their_encoding() {
    let (_postrider, mut client) = inbox(&[rich()]).await;
    let reply = client.demand("FETCH 1 (BINARY.SIZE[1.1] BINARY.PEEK[1.1] BINARY.SIZE[3])").await;
    assert_eq!(String::from_utf8_lossy(&literal(&reply)), "Gr\u{fc}\u{df}e aus");
    assert!(reply.text().contains("BINARY.SIZE[1.1] 11 BINARY[1.1] {11}\r\n"), "{}", reply.text());
    assert!(reply.text().contains("BINARY.SIZE[3] 4"), "{}", reply.text());
    let reply = client.demand("FETCH 1 BINARY.PEEK[3]").await;
    assert!(
        reply.untagged[0].ends_with(b"BINARY[3] ~{4}\r\n\0\x01\x02\xff)"),
        "NUL makes it a literal8: {}",
        reply.text()
    );
    assert_eq!(literal(&client.demand("FETCH 1 BINARY.PEEK[3]<1.2>").await), b"\x01\x02");
    let reply = client.command("FETCH 1 (UID BINARY.PEEK[4])").await;
    assert!(reply.tagged.starts_with("NO [UNKNOWN-CTE]"), "{}", reply.text());
    let reply = client.demand("FETCH 1 BINARY[1.1]").await;
    assert!(fetched(&reply)[0].ends_with("FLAGS (\\Seen \\Recent))"), "{}", reply.text());
}

#[tokio::test]
async fn what_is_read_is_seen_and_what_is_peeked_at_is_not() {
    let (postrider, mut client) = inbox(&plains(4)).await;
    let mut other = another(&postrider).await;
    client.demand("FETCH 1:4 (BODY.PEEK[] RFC822.HEADER ENVELOPE)").await;
    assert_eq!(other.demand("NOOP").await.untagged.len(), 0, "nothing has changed");
    for (number, item) in [(1, "BODY[TEXT]"), (2, "RFC822"), (3, "RFC822.TEXT"), (4, "BODY[HEADER.FIELDS (To)]")] {
        let reply = client.demand(&format!("FETCH {number} {item}")).await;
        assert_eq!(fetched(&reply).len(), 1, "the flags come with the text: {}", reply.text());
        assert!(fetched(&reply)[0].ends_with(" FLAGS (\\Seen \\Recent))"), "{}", reply.text());
        let told = other.demand("NOOP").await;
        assert_eq!(fetched(&told), [format!("{number} FETCH (UID {number} FLAGS (\\Seen))")]);
        let again = client.demand(&format!("FETCH {number} {item}")).await;
        assert!(!fetched(&again)[0].contains("FLAGS"), "they have not changed again: {}", again.text());
    }
    // RFC 7162: with the modseq, where these are wanted; and whatever else was changed meanwhile.
    append_all(&mut other, "INBOX", &plains(1)).await;
    other.demand("STORE 5 +FLAGS (\\Flagged)").await;
    client.demand("ENABLE CONDSTORE").await;
    client.demand("NOOP").await;
    other.demand("STORE 5 +FLAGS (later)").await;
    let reply = client.demand("FETCH 5 BODY[]").await;
    let lines = fetched(&reply);
    assert!(lines[0].contains("FLAGS (\\Flagged \\Seen") && lines[0].contains("MODSEQ ("), "{}", reply.text());
    assert!(lines[1].contains("\\Seen later"), "what another did is told as well: {}", reply.text());

    let mut reader = another(&postrider).await;
    append_all(&mut other, "INBOX", &plains(1)).await;
    reader.demand("EXAMINE INBOX").await;
    let reply = reader.demand("FETCH 6 BODY[]").await;
    assert!(!fetched(&reply)[0].contains("FLAGS"), "{}", reply.text());
    assert!(reader.demand("FETCH 6 FLAGS").await.text().contains("FLAGS ()"));
}

#[tokio::test]
async fn many_messages_come_in_order() {
    let (_postrider, mut client) = inbox(&plains(400)).await;
    for command in ["FETCH 1:* (UID BODY.PEEK[])", "FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])"] {
        let reply = client.demand(command).await;
        let lines = fetched(&reply);
        assert_eq!(lines.len(), 400);
        for (index, line) in lines.iter().enumerate() {
            let number = index + 1;
            assert!(line.starts_with(&format!("{number} FETCH (UID {number} BODY[")), "{line}");
            assert!(line.contains(&format!("Subject: Message {number}\r\n")), "{line}");
        }
    }
    let reply = client.demand("FETCH 399:*,2,7:3 UID").await;
    let numbers: Vec<String> = fetched(&reply).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(numbers, ["2", "3", "4", "5", "6", "7", "399", "400"]);
    let reply = client.demand("FETCH 1:* BODY[]").await;
    assert!(fetched(&reply).iter().all(|line| line.ends_with("FLAGS (\\Seen \\Recent))")));
    assert_eq!(client.demand("STATUS INBOX (UNSEEN)").await.lines(), ["* STATUS INBOX (UNSEEN 0)"]);
}

#[tokio::test]
async fn a_large_message_whole_and_in_pieces() {
    let mut large = plain(1);
    large.extend((0..20_000).flat_map(|line| format!("Line {line} of a long text.\r\n").into_bytes()));
    let (_postrider, mut client) = inbox(&[large.clone(), plain(2)]).await;
    let reply = client.demand("FETCH 1:2 (BODY.PEEK[] UID)").await;
    assert_eq!(literal(&reply), large);
    assert!(fetched(&reply)[1].ends_with("Text 2.\r\n UID 2)"), "{}", fetched(&reply)[1]);
    let mut pieces = Vec::new();
    while pieces.len() < large.len() {
        let reply = client.demand(&format!("UID FETCH 1 BODY.PEEK[]<{}.100000>", pieces.len())).await;
        pieces.extend(literal(&reply));
    }
    assert_eq!(pieces, large);
    assert_eq!(literal(&client.demand("FETCH 1 BODY.PEEK[]<9000000.5>").await), b"");
    assert_eq!(literal(&client.demand("FETCH 2 BODY.PEEK[]").await), plain(2), "not the one that was open");
}

#[tokio::test]
async fn only_what_has_changed_since() {
    let (postrider, mut client) = inbox(&plains(5)).await;
    let mut other = another(&postrider).await;
    client.demand("ENABLE QRESYNC").await;
    let reply = client.demand("STATUS INBOX (HIGHESTMODSEQ)").await;
    let line = reply.lines()[0].clone();
    let modseq: u64 = line.trim_end_matches(')').rsplit(' ').next().unwrap().parse().unwrap();
    other.demand("STORE 2 +FLAGS (\\Answered)").await;
    other.demand("STORE 4 +FLAGS (\\Deleted)").await;
    other.demand("EXPUNGE").await;
    client.demand("NOOP").await;
    let reply = client.demand(&format!("UID FETCH 1:* FLAGS (CHANGEDSINCE {modseq})")).await;
    assert_eq!(fetched(&reply).len(), 1, "{}", reply.text());
    assert!(fetched(&reply)[0].starts_with("2 FETCH ("), "{}", reply.text());
    assert!(fetched(&reply)[0].contains("MODSEQ (") && fetched(&reply)[0].contains("UID 2"), "{}", reply.text());
    let reply = client.demand(&format!("UID FETCH 1:* FLAGS (CHANGEDSINCE {modseq} VANISHED)")).await;
    assert_eq!(reply.lines()[0], "* VANISHED (EARLIER) 4");
    let reply = client.demand(&format!("UID FETCH 1:3 FLAGS (CHANGEDSINCE {modseq} VANISHED)")).await;
    assert!(!reply.text().contains("VANISHED"), "{}", reply.text());
    let reply = other.command("UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)").await;
    assert!(reply.tagged.starts_with("BAD"), "{}", reply.tagged);
}

#[tokio::test]
async fn messages_that_are_gone_meanwhile() {
    let (postrider, mut client) = inbox(&plains(3)).await;
    let mut other = another(&postrider).await;
    other.demand("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    other.demand("EXPUNGE").await;
    // RFC 3501 section 7.4.1: no expunge is told with FETCH, and numbers stay.
    for item in ["BODY.PEEK[]", "ENVELOPE"] {
        let reply = client.command(&format!("FETCH 1:3 {item}")).await;
        assert!(reply.tagged.starts_with("NO [EXPUNGEISSUED]"), "{}", reply.text());
        let numbers: Vec<String> =
            fetched(&reply).iter().filter(|line| line.contains(&item[..4])).map(|line| line[..1].to_owned()).collect();
        assert_eq!(numbers, ["1", "3"]);
        assert!(!reply.text().contains("EXPUNGE\n"), "{}", reply.text());
    }
    assert!(client.demand("FETCH 3 BODY.PEEK[]").await.text().contains("Message 3"));
    // With UIDs they may be told (RFC 9051 section 7.5.1).
    let reply = client.command("UID FETCH 2:3 ENVELOPE").await;
    assert!(reply.tagged.starts_with("OK [EXPUNGEISSUED]"), "{}", reply.text());
    assert_eq!(reply.lines().last().map(String::as_str), Some("* 2 EXPUNGE"));
    assert!(client.demand("FETCH 2 BODY.PEEK[]").await.text().contains("Message 3"));
}

#[tokio::test]
async fn what_cannot_be_fetched() {
    let (_postrider, mut client) = inbox(&plains(1)).await;
    for command in
        ["FETCH 2 FLAGS", "FETCH 1:2 FLAGS", "FETCH 1 NONSENSE", "FETCH 1 BODY[", "FETCH 0 FLAGS", "FETCH 1 ()"]
    {
        assert!(client.command(command).await.tagged.starts_with("BAD"), "{command}");
    }
    assert_eq!(client.demand("UID FETCH 2 FLAGS").await.untagged.len(), 0, "UIDs that are not there are no error");
    client.demand("UNSELECT").await;
    assert!(client.command("FETCH 1 FLAGS").await.tagged.starts_with("BAD"));
}
