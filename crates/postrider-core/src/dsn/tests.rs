//! Notifications as snapshots, and read back.

use mail_parser::{Message, MimeHeaders, PartType};
use proptest::prelude::*;

use super::*;
use crate::address::{Address, ReversePath};
use crate::delivery::{Category, Outcome};

const ORIGINAL: &[u8] = b"Received: from client.example ([192.0.2.1])\r\n\tby mail.example.org with ESMTP\r\n\
    From: sender@example.org\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= from here\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_354_780_000 + seconds * 1000)
}

fn envelope(sender: &str) -> Envelope {
    Envelope { reverse_path: ReversePath::parse(sender).unwrap(), ..Envelope::default() }
}

fn recipient(address: &str) -> Recipient {
    Recipient::new(Address::parse(address).unwrap())
}

fn reported<'a>(recipient: &'a Recipient, diagnostic: Option<&'a Reply>) -> ReportedRecipient<'a> {
    ReportedRecipient {
        recipient,
        status: "5.1.1".into(),
        remote_mta: diagnostic.map(|_| "mx.example.net"),
        diagnostic,
        reason: None,
        last_attempt_at: at(60),
        will_retry_until: None,
    }
}

fn report<'a>(envelope: &'a Envelope, recipients: &'a [ReportedRecipient<'a>], original: &'a [u8]) -> Report<'a> {
    Report {
        kind: ReportKind::Failed,
        reporting_mta: "mail.example.org",
        envelope,
        arrived_at: at(0),
        now: at(61),
        id: ObjectId::from_bytes([7; 12]),
        recipients,
        original,
    }
}

fn unknown_user() -> Reply {
    Reply {
        code: 550,
        enhanced_code: Some("5.1.1".into()),
        text: "No such user here,\nplease see https://example.net/help for all that can be said about this".into(),
    }
}

/// The parts of a notification, after checks that hold for every one.
fn read_back(raw: &[u8]) -> Message<'_> {
    assert!(raw.ends_with(b"--\r\n"));
    for line in raw.split_inclusive(|&b| b == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() <= LINE_BYTES_MAX + 2, "{:?}", String::from_utf8_lossy(line));
        assert!(!line[..line.len() - 2].contains(&b'\r'));
    }
    let message = MessageParser::default().parse(raw).unwrap();
    let report = message.content_type().unwrap();
    assert_eq!((report.ctype(), report.subtype()), ("multipart", Some("report")));
    assert_eq!(report.attribute("report-type"), Some("delivery-status"));
    let PartType::Multipart(parts) = &message.parts[0].body else { panic!("not a multipart") };
    assert_eq!(parts.len(), 3);
    message
}

fn part<'a>(message: &'a Message<'_>, n: usize) -> &'a mail_parser::MessagePart<'a> {
    let PartType::Multipart(parts) = &message.parts[0].body else { panic!("not a multipart") };
    message.part(parts[n]).unwrap()
}

/// The groups of fields in the part for programs, unfolded.
fn status_groups(message: &Message<'_>) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(part(message, 1).contents()).replace("\r\n ", " ");
    text.trim_end().split("\r\n\r\n").map(|group| group.lines().map(str::to_owned).collect()).collect()
}

#[test]
fn a_failure() {
    let mut envelope = envelope("sender@example.org");
    envelope.envelope_id = Some("QQ+2B314".into());
    let reply = unknown_user();
    let mut known = recipient("b@example.net");
    known.original_recipient = Some("rfc822;info+2Bb@example.com".into());
    let lost = recipient("c@nowhere.example");
    let mut second = reported(&lost, None);
    second.status = "5.1.2".into();
    second.reason = Some("the domain does not exist");
    let recipients = [reported(&known, Some(&reply)), second];
    let raw = compose(&report(&envelope, &recipients, ORIGINAL));
    let message = read_back(&raw);
    assert_eq!(message.message_id(), Some("070707070707070707070707@mail.example.org"));
    assert_eq!(message.in_reply_to().as_text(), Some("1@example.org"));
    assert!(part(&message, 0).text_contents().unwrap().contains("Subject: Grüße from here"));
    assert!(part(&message, 2).contents().starts_with(b"Received: from client.example"));
    insta::assert_snapshot!(String::from_utf8(raw.clone()).unwrap().replace('\r', ""));
}

#[test]
fn a_delay() {
    let envelope = envelope("sender@example.org");
    let slow = recipient("b@example.net");
    let mut one = reported(&slow, None);
    one.status = "4.4.1".into();
    one.reason = Some("no connection to mx.example.net: connection refused");
    one.will_retry_until = Some(at(432_000));
    let recipients = [one];
    let raw = compose(&Report { kind: ReportKind::Delayed, ..report(&envelope, &recipients, b"Subject: x\r\n\r\n") });
    read_back(&raw);
    insta::assert_snapshot!(String::from_utf8(raw.clone()).unwrap().replace('\r', ""));
}

#[test]
fn a_reason_stands_beside_a_reply_but_does_not_repeat_it() {
    let envelope = envelope("sender@example.org");
    let one = recipient("b@example.net");
    let reply = Reply { code: 452, enhanced_code: Some("4.2.2".into()), text: "mailbox\nfull".into() };
    let text = |reason: &str| {
        let recipients = [ReportedRecipient { reason: Some(reason), ..reported(&one, Some(&reply)) }];
        let raw = compose(&report(&envelope, &recipients, ORIGINAL));
        let message = read_back(&raw);
        String::from_utf8(part(&message, 0).contents().to_vec()).unwrap()
    };
    assert_eq!(text(&reply.to_string()).matches("full").count(), 1);
    assert!(text("tried for 5 days").contains("    tried for 5 days\r\n    mx.example.net answered:\r\n"));
}

#[test]
fn successes() {
    let envelope = Envelope { dsn_return: Some(DsnReturn::Full), ..envelope("sender@example.org") };
    let reached = recipient("b@example.net");
    let recipients = [ReportedRecipient { status: "nonsense".into(), ..reported(&reached, None) }];
    for (kind, action) in [(ReportKind::Relayed, "relayed"), (ReportKind::Delivered, "delivered")] {
        let raw = compose(&Report { kind, ..report(&envelope, &recipients, ORIGINAL) });
        let message = read_back(&raw);
        let groups = status_groups(&message);
        assert_eq!(groups[1][1..3], [format!("Action: {action}"), "Status: 2.0.0".to_owned()]);
        // RET is about failures.
        assert!(!part(&message, 2).contents().ends_with(b"Hello\r\n"));
    }
}

#[test]
fn utf8_addresses_take_the_global_types() {
    let envelope = Envelope { smtputf8: true, ..envelope("jürgen@example.org") };
    let mut one = recipient("用户@例え.jp");
    one.original_recipient = Some("utf-8;\\x{7528}\\x{6237}@example.jp".into());
    let reply = Reply { code: 550, enhanced_code: None, text: "用户 unknown".into() };
    let recipients = [reported(&one, Some(&reply))];
    let original = "Subject: Grüße\r\nTo: 用户@例え.jp\r\n\r\nä\r\n".as_bytes();
    let with_headers = report(&envelope, &recipients, original);
    assert!(with_headers.needs_smtputf8());
    let raw = compose(&with_headers);
    read_back(&raw);
    insta::assert_snapshot!(String::from_utf8(raw.clone()).unwrap().replace('\r', ""));
    let whole = Envelope { dsn_return: Some(DsnReturn::Full), ..envelope.clone() };
    let raw = String::from_utf8(compose(&report(&whole, &recipients, original))).unwrap();
    assert!(raw.contains("Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: Grüße"));
}

#[test]
fn an_ascii_sender_gets_an_ascii_report() {
    let envelope = envelope("sender@bücher.example");
    let one = recipient("b@bücher.example");
    let reply = Reply { code: 550, enhanced_code: None, text: "Postfach unbekannt: größe".into() };
    let recipients = [reported(&one, Some(&reply))];
    // Raw bytes in the header, which nobody asked SMTPUTF8 for.
    let raw = compose(&report(&envelope, &recipients, b"Subject: Gr\xfc\xdfe\r\nX: y\r\n\r\nbody\r\n"));
    assert!(raw.is_ascii());
    let message = read_back(&raw);
    assert!(part(&message, 0).text_contents().unwrap().contains("größe"));
    assert_eq!(part(&message, 2).contents(), "Subject: Gr\u{fffd}\u{fffd}e\r\nX: y\r\n".as_bytes());
    let groups = status_groups(&message);
    assert_eq!(groups[1][0], "Final-Recipient: rfc822; b@xn--bcher-kva.example");
    assert!(groups[1].contains(&"Diagnostic-Code: smtp; 550 Postfach unbekannt: gr??e".to_owned()));
}

#[test]
fn how_much_comes_back() {
    let full = Envelope { dsn_return: Some(DsnReturn::Full), ..envelope("sender@example.org") };
    let headers = Envelope { dsn_return: Some(DsnReturn::Headers), ..full.clone() };
    let one = recipient("b@example.net");
    let recipients = [reported(&one, None)];
    let third = |envelope: &Envelope, original: &[u8]| {
        let raw = compose(&report(envelope, &recipients, original));
        let message = read_back(&raw);
        let part = part(&message, 2);
        let kind = part.content_type().unwrap();
        (format!("{}/{}", kind.ctype(), kind.subtype().unwrap()), raw.len())
    };
    assert_eq!(third(&full, ORIGINAL).0, "message/rfc822");
    assert_eq!(third(&full, "Subject: x\r\n\r\nä\r\n".as_bytes()).0, "message/rfc822");
    assert_eq!(third(&headers, ORIGINAL).0, "text/rfc822-headers");
    let large = [ORIGINAL, &b"0123456789\r\n".repeat(RETURNED_MESSAGE_BYTES_MAX / 12)].concat();
    assert_eq!(third(&full, &large).0, "text/rfc822-headers");
    let long_line = [ORIGINAL, &b"x".repeat(999), b"\r\n"].concat();
    assert_eq!(third(&full, &long_line).0, "text/rfc822-headers");
    let bare = [ORIGINAL, b"a\nb\r\n"].concat();
    assert_eq!(third(&full, &bare).0, "text/rfc822-headers");
    let long_header = [b"X: y\r\n".repeat(RETURNED_HEADER_BYTES_MAX), b"\r\n".to_vec()].concat();
    assert!((60_000..70_000).contains(&third(&headers, &long_header).1));
    assert_eq!(third(&headers, b"").0, "text/rfc822-headers");
}

#[test]
fn the_boundary_stands_nowhere_else() {
    let envelope = Envelope { dsn_return: Some(DsnReturn::Full), ..envelope("sender@example.org") };
    let one = recipient("b@example.net");
    let recipients = [reported(&one, None)];
    let original = b"Subject: x\r\n\r\n--=_070707070707070707070707_0--\r\n--=_070707070707070707070707_1\r\n";
    let raw = compose(&report(&envelope, &recipients, original));
    let message = read_back(&raw);
    assert_eq!(message.content_type().unwrap().attribute("boundary"), Some("=_070707070707070707070707_2"));
}

#[test]
fn statuses_of_outcomes() {
    let reply =
        |code, enhanced: Option<&str>| Reply { code, enhanced_code: enhanced.map(Into::into), text: String::new() };
    let failed = |category, reply| status_of(&Outcome::Failed { category, reply, reason: String::new() });
    let deferred = |category, reply| status_of(&Outcome::Deferred { category, reply, reason: String::new() });
    assert_eq!(failed(Category::BadMailbox, Some(reply(550, Some("5.7.26")))), "5.7.26");
    assert_eq!(failed(Category::BadMailbox, Some(reply(550, Some("4.7.26")))), "5.1.1");
    assert_eq!(failed(Category::BadDomain, None), "5.1.2");
    assert_eq!(failed(Category::Expired, None), "4.4.7");
    assert_eq!(failed(Category::Expired, Some(reply(452, Some("4.2.2")))), "4.2.2");
    assert_eq!(deferred(Category::Connection, None), "4.4.1");
    assert_eq!(deferred(Category::Temporary, Some(reply(450, Some("4.2.0\r\nX: y")))), "4.3.0");
    assert_eq!(status_of(&Outcome::Delivered { reply: reply(250, Some("2.1.5")) }), "2.1.5");
    assert_eq!(status_of(&Outcome::Delivered { reply: reply(250, None) }), "2.0.0");
    assert_eq!(status_of(&refused_here(Category::Quota, "5.3.4", "too large")), "5.3.4");
    assert_eq!(status_of(&refused_here(Category::Quota, "4.3.4", "of another class")), "5.2.2");
}

proptest! {
    /// Whatever peers, senders and records hold: three parts, the fields that belong there, no other.
    #[test]
    fn nobody_can_write_into_a_report(
        text in "(\\PC|[\r\n\t \0-]|\r\n\r\n|\r\nAction: |--=_){0,200}",
        host in "\\PC{0,20}|mx\r\nBcc: x",
        status in "[0-9.]{0,9}|5.1.1\r\nX: y",
        orcpt in "(rfc822;)?(\\PC|\\+0D\\+0A|\\+[0-9A-F]{2}){0,30}",
        original in prop::collection::vec(any::<u8>(), 0..300),
        message_id in "\\PC{0,30}",
        whole in any::<bool>(),
        utf8 in any::<bool>(),
    ) {
        let envelope = Envelope {
            dsn_return: whole.then_some(DsnReturn::Full),
            envelope_id: Some(orcpt.clone()),
            smtputf8: utf8,
            ..envelope("sender@example.org")
        };
        let mut one = recipient("b@example.net");
        one.original_recipient = Some(orcpt);
        let reply = Reply { code: 550, enhanced_code: Some(text.clone()), text: text.clone() };
        let recipients = [ReportedRecipient {
            status, remote_mta: Some(&host), reason: Some(&text), ..reported(&one, Some(&reply))
        }];
        let original = [format!("Subject: {text}\r\nMessage-ID: <{message_id}>\r\n").as_bytes(), &original].concat();
        let raw = compose(&Report { reporting_mta: &host, ..report(&envelope, &recipients, &original) });
        let message = read_back(&raw);
        let names: Vec<&str> = message.headers().iter().map(|header| header.name()).collect();
        let replies = ["In-Reply-To", "References"];
        let expected = [
            "Date", "From", "To", "Subject", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "MIME-Version",
            "Content-Type",
        ];
        let has_replies = names.contains(&"References");
        let expected: Vec<&str> =
            expected.into_iter().filter(|name| has_replies || !replies.contains(name)).collect();
        prop_assert_eq!(names, expected);
        let groups = status_groups(&message);
        prop_assert_eq!(groups.len(), 2, "{:?}", groups);
        prop_assert_eq!(groups[1].iter().filter(|field| field.starts_with("Action:")).count(), 1);
        for field in groups.iter().flatten() {
            let name = field.split(':').next().unwrap_or_default();
            prop_assert!([
                "Original-Envelope-Id", "Reporting-MTA", "Arrival-Date", "Original-Recipient", "Final-Recipient",
                "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date",
            ].contains(&name), "{:?}", field);
        }
    }
}
