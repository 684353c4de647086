//! Digests of messages, whole and damaged.

use super::*;

const MESSAGE: &[u8] = b"Received: from x\r\nReturn-Path: <>\r\nDate: Thu, 26 Nov 2026 00:30:00 +0100\r\n\
    From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nTo: Team: a@x.org,\r\n \"B, C\" <b@x.org>;\r\n\
    Subject: Re: [list]\r\n =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <\"c\"@x.org>\r\n\
    In-Reply-To: <b@x.org>\r\nReferences: <a@x.org>\r\n\t<b@x.org>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nHello\r\nworld\r\n--x\r\n\
    Content-Type: application/pdf; name=\"a b.pdf\"\r\nContent-Disposition: attachment; filename=a.pdf\r\n\
    Content-Transfer-Encoding: base64\r\nContent-ID: <1>\r\n\r\nJVBERg==\r\n--x--\r\n";

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it is UTF-8")
}

#[test]
fn what_imap_shows() {
    let digest = Digest::of(MESSAGE);
    assert_eq!(
        text(digest.envelope()),
        "(\"Thu, 26 Nov 2026 00:30:00 +0100\" \"Re: [list] =?utf-8?q?Gr=C3=BC=C3=9Fe?=\" \
         ((\"=?utf-8?q?J=C3=B6rg?=\" NIL \"joerg\" \"example.org\")) \
         ((\"=?utf-8?q?J=C3=B6rg?=\" NIL \"joerg\" \"example.org\")) \
         ((\"=?utf-8?q?J=C3=B6rg?=\" NIL \"joerg\" \"example.org\")) \
         ((NIL NIL \"Team\" NIL)(NIL NIL \"a\" \"x.org\")(\"B, C\" NIL \"b\" \"x.org\")(NIL NIL NIL NIL)) \
         NIL NIL \"<b@x.org>\" \"<\\\"c\\\"@x.org>\")"
    );
    assert_eq!(
        text(digest.body_structure()),
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 12 1 NIL NIL NIL NIL)\
         (\"application\" \"pdf\" (\"name\" \"a b.pdf\") \"<1>\" NIL \"base64\" 8 NIL \
         (\"attachment\" (\"filename\" \"a.pdf\")) NIL NIL) \"mixed\" (\"boundary\" \"x\") NIL NIL NIL)"
    );
    assert_eq!(
        text(digest.body()),
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 12 1)\
         (\"application\" \"pdf\" (\"name\" \"a b.pdf\") \"<1>\" NIL \"base64\" 8) \"mixed\")"
    );
    assert_eq!(digest.header_bytes() as usize, crate::mime::header_end(MESSAGE));
}

#[test]
fn header_fields_are_those_of_the_message() {
    let digest = Digest::of(MESSAGE);
    let names = ["SUBJECT", "Date", "x-priority"];
    let header = &MESSAGE[..digest.header_bytes() as usize];
    assert_eq!(digest.header_fields(&names), Some(crate::mime::select_fields(header, &names, false)));
    assert_eq!(digest.header_fields(&["Subject", "Received"]), None);
    assert_eq!(digest.header_fields(&["", "Subject"]), None);
    let long = format!("To: {}\r\n\r\n", "somebody@mail.example.org,\r\n ".repeat(5_000));
    let digest = Digest::of(long.as_bytes());
    assert!(!digest.header_is_complete());
    assert_eq!(digest.header_fields(&["To"]), None);
    assert_eq!(digest.to().len(), SEARCH_TEXT_BYTES_MAX);
}

#[test]
fn what_searches_sorting_and_threading_see() {
    let digest = Digest::of(MESSAGE);
    assert_eq!(digest.subject(), "Re: [list] Gr\u{fc}\u{df}e");
    assert_eq!(digest.from(), "J\u{f6}rg <joerg@example.org>");
    assert_eq!(digest.to(), "Team:, <a@x.org>, B, C <b@x.org>, ;");
    assert_eq!((digest.cc(), digest.bcc()), ("", ""));
    assert_eq!(digest.sent_at().map(Timestamp::to_rfc3339).as_deref(), Some("2026-11-25T23:30:00.000Z"));
    assert_eq!(digest.sent_day(), CalendarDay::from_date(2026, 11, 26));
    assert_eq!(digest.message_id(), "c@x.org");
    assert_eq!(digest.in_reply_to(), "b@x.org");
    assert_eq!(digest.references().collect::<Vec<_>>(), ["a@x.org", "b@x.org"]);
    assert_eq!(digest.preview(), "Hello world");
    assert!(digest.has_attachment());
    assert!(digest.is_reply_or_forward());
    assert_eq!(text(digest.subject_key()), "GRU\u{308}SSE");
    assert_eq!((text(digest.from_key()), text(digest.to_key())), ("JOERG", "TEAM"));
    assert_eq!(text(digest.display_from_key()), "JO\u{308}RG");
    assert_eq!(Digest::of(b"Date: soon\r\n\r\n").sent_at(), None);
}

#[test]
fn a_conversation_shares_its_thread() {
    let id = |header: &str| Digest::of(header.as_bytes()).thread_id().map(str::to_owned);
    let first = id("Message-ID: <a@x.org>\r\n\r\n");
    assert_eq!(first.as_ref().map(String::len), Some(33));
    assert_eq!(Digest::of(MESSAGE).thread_id(), first.as_deref());
    assert_eq!(id("In-Reply-To: <a@x.org>\r\nMessage-ID: <d@x.org>\r\n\r\n"), first);
    assert_ne!(id("Message-ID: <b@x.org>\r\n\r\n"), first);
    assert_eq!(id("Subject: x\r\n\r\n"), None);
}

#[test]
fn references_are_bounded() {
    let ids: String = (0..300).map(|i| format!(" <{i}@x>")).collect();
    let digest = Digest::of(format!("References:{ids}\r\n\r\n").as_bytes());
    let kept: Vec<&str> = digest.references().collect();
    assert_eq!((kept.len(), kept[0], kept[1], kept[99]), (REFERENCES_MAX, "0@x", "201@x", "299@x"));
}

#[test]
fn damaged_digests_are_refused() {
    let digest = Digest::of(MESSAGE);
    assert_eq!(Digest::decode(digest.as_bytes().clone()), Ok(digest.clone()));
    for end in 0..digest.as_bytes().len() {
        assert_eq!(Digest::decode(digest.as_bytes().slice(..end)), Err(DigestError));
    }
    for at in 0..TEXTS_AT {
        let mut bytes = digest.as_bytes().to_vec();
        bytes[at] ^= 0x80;
        if let Ok(damaged) = Digest::decode(bytes.into()) {
            let _ = (damaged.envelope(), damaged.subject(), damaged.sent_at(), damaged.header_fields(&["To"]));
        }
    }
}

#[test]
fn what_one_sender_writes_makes_no_endless_digest() {
    const DIGEST_BYTES_MAX: usize = 1 << 20;
    let fields = ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"];
    let header: String = fields.iter().map(|name| format!("{name}: a,b,c\r\n").repeat(5_000)).collect();
    let long = "Subject: ".to_owned() + &"x".repeat(2 << 20) + "\r\n";
    let part = format!("--x\r\n\r\nFrom: {}\r\n\r\n\r\n", "a,".repeat(2_000));
    let digest = "Content-Type: multipart/digest; boundary=x\r\n\r\n".to_owned() + &part.repeat(900);
    for message in [header + &long + "\r\n", long + "\r\n", digest] {
        let digest = Digest::of(message.as_bytes());
        assert!(digest.as_bytes().len() < DIGEST_BYTES_MAX, "{}", digest.as_bytes().len());
    }
}
