//! Reports of other servers: notifications of failed deliveries (RFC 3464, also the kinds that came before it) and complaints of
//! recipients (RFC 5965), read as far as they can be told from other mail.
//!
//! Nothing in a report is true because it says so: whoever acts on it compares it with what was sent.

use crate::address::Address;
use crate::bounce::{Classification, classify};
use crate::id::ObjectId;
use crate::mime::{Fields, Part, Structure};

/// Recipients of one report; what it says of more is left out.
pub const RECIPIENTS_MAX: usize = 100;

/// E-mails that a report may mean.
pub const CANDIDATES_MAX: usize = 5;

/// Bytes of a part that are read.
const PART_BYTES_MAX: usize = 64 << 10;

/// Characters of the words that are kept.
const TEXT_CHARS_MAX: usize = 500;

/// A message that tells of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingReport {
    pub kind: IncomingKind,
    pub recipients: Vec<IncomingRecipient>,
    pub original: Original,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncomingKind {
    /// Of deliveries that failed, or are late.
    Delivery,
    /// Of a recipient who did not want it.
    Complaint,
}

/// What a report says of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingRecipient {
    /// All addresses by which it is named; none where the report names nobody.
    pub addresses: Vec<Address>,
    /// Whether it was given up; else it is late.
    pub is_failed: bool,
    /// The enhanced status code (RFC 3463).
    pub status: Option<String>,
    pub text: String,
    pub classification: Classification,
}

/// What a report shows of the message that it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Original {
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// Ids of ours that stand in its trace fields and its Message-ID.
    pub candidates: Vec<ObjectId>,
    /// Return paths that it, or the report, names.
    pub return_paths: Vec<Address>,
}

impl IncomingReport {
    /// Reads a message; `None` for one that is no report. `is_bounce`: it came to a return path of ours, so that words alone make
    /// it one.
    pub fn parse(raw: &[u8], is_bounce: bool) -> Option<Self> {
        let structure = Structure::parse(raw);
        let root = Fields::new(raw.get(structure.root().header.clone())?);
        let mut original = Original::default();
        let (mut deliveries, mut complaint) = (Vec::new(), None);
        for part in structure.parts() {
            let kind = part.content_type(raw);
            match (&*kind.main, &*kind.subtype) {
                ("message", "delivery-status" | "global-delivery-status") => {
                    deliveries.extend(delivery_status(&body(part, raw)));
                }
                ("message", "feedback-report") => complaint = Some(feedback(&body(part, raw), &mut original)),
                ("message", "rfc822" | "global") | ("text", "rfc822-headers") | ("message", "global-headers") => {
                    original.read(&body(part, raw));
                }
                _ => {}
            }
        }
        if let Some(recipients) = complaint {
            return Some(Self { kind: IncomingKind::Complaint, recipients, original });
        }
        if deliveries.is_empty() {
            deliveries = before_rfc_3464(raw, &structure, root, is_bounce)?;
            original.read(&first_text(raw, &structure));
        }
        deliveries.truncate(RECIPIENTS_MAX);
        Some(Self { kind: IncomingKind::Delivery, recipients: deliveries, original })
    }
}

impl Original {
    /// Reads the header of a returned message, or of what may be one.
    fn read(&mut self, bytes: &[u8]) {
        for field in Fields::new(bytes) {
            let value = text_of(field.limited_value());
            if field.is("Message-ID") && self.message_id.is_none() {
                let message_id = value.trim_matches(['<', '>', ' ']).to_owned();
                self.add_candidate(message_id.split('@').next().unwrap_or_default());
                self.message_id = Some(message_id);
            } else if field.is("Received") {
                let mut words = value.split([' ', ';']);
                while let Some(word) = words.next() {
                    if word.eq_ignore_ascii_case("id") {
                        self.add_candidate(words.next().unwrap_or_default());
                    }
                }
            } else if field.is("Return-Path") {
                self.return_paths.extend(address(&value).filter(|_| self.return_paths.len() < CANDIDATES_MAX));
            }
        }
    }

    fn add_candidate(&mut self, text: &str) {
        if let Ok(id) = text.parse::<ObjectId>()
            && self.candidates.len() < CANDIDATES_MAX
            && !self.candidates.contains(&id)
        {
            self.candidates.push(id);
        }
    }
}

/// The recipients of a `message/delivery-status` (RFC 3464 section 2.3): groups of fields behind empty lines.
fn delivery_status(body: &[u8]) -> Vec<IncomingRecipient> {
    let mut recipients = Vec::new();
    for group in groups(body) {
        let (mut addresses, mut action, mut status, mut text) = (Vec::new(), None, None, String::new());
        for field in Fields::new(group) {
            let value = text_of(field.limited_value());
            if field.is("Final-Recipient") || field.is("Original-Recipient") {
                addresses.extend(address(typed(&value)));
            } else if field.is("Action") {
                action = Some(value.to_ascii_lowercase());
            } else if field.is("Status") {
                status = value.split([' ', '(']).next().map(str::to_owned);
            } else if field.is("Diagnostic-Code") {
                text = typed(&value).to_owned();
            }
        }
        let is_failed = match action.as_deref() {
            Some("failed") => true,
            Some("delayed") => false,
            // Successes are no news, and what has no action is the group about the message.
            _ => continue,
        };
        recipients.push(recipient(addresses, is_failed, status, text));
        if recipients.len() >= RECIPIENTS_MAX {
            break;
        }
    }
    recipients
}

/// A `message/feedback-report` (RFC 5965 section 3).
fn feedback(body: &[u8], original: &mut Original) -> Vec<IncomingRecipient> {
    let (mut addresses, mut kind) = (Vec::new(), String::new());
    for field in Fields::new(body) {
        let value = text_of(field.limited_value());
        if field.is("Original-Rcpt-To") && addresses.len() < RECIPIENTS_MAX {
            addresses.extend(address(&value));
        } else if field.is("Original-Mail-From") {
            original.return_paths.extend(address(&value));
        } else if field.is("Feedback-Type") {
            kind = value.to_ascii_lowercase();
        }
    }
    if kind == "not-spam" {
        return Vec::new();
    }
    let text = format!("feedback report: {kind}");
    let named = addresses.into_iter().map(|address| vec![address]);
    let mut recipients: Vec<_> = named.map(|addresses| recipient(addresses, true, None, text.clone())).collect();
    if recipients.is_empty() {
        recipients.push(recipient(Vec::new(), true, None, text));
    }
    recipients
}

/// Notifications without a part for programs: those that name whom they are about in a field of their header (Exim, Gmail), and on a
/// return path of ours those that only say it in words.
fn before_rfc_3464(
    raw: &[u8],
    structure: &Structure,
    header: Fields<'_>,
    is_bounce: bool,
) -> Option<Vec<IncomingRecipient>> {
    let (mut failed, mut is_from_mailer, mut is_automatic_answer) = (Vec::new(), false, false);
    for field in header {
        let value = text_of(field.limited_value());
        if field.is("X-Failed-Recipients") {
            failed.extend(value.split(',').filter_map(address).take(RECIPIENTS_MAX));
        } else if field.is("From") {
            let lower = value.to_ascii_lowercase();
            is_from_mailer |= lower.contains("mailer-daemon") || lower.contains("postmaster");
        } else if field.is("Auto-Submitted") {
            // RFC 3834 section 5: a person is away.
            is_automatic_answer |= value.to_ascii_lowercase().starts_with("auto-replied");
        }
    }
    let words = text_of(&first_text(raw, structure));
    if !failed.is_empty() {
        let one = |address| recipient(vec![address], true, status_in(&words), words.clone());
        return Some(failed.into_iter().map(one).collect());
    }
    (is_bounce && is_from_mailer && !is_automatic_answer)
        .then(|| vec![recipient(Vec::new(), true, status_in(&words), words)])
}

fn recipient(addresses: Vec<Address>, is_failed: bool, status: Option<String>, text: String) -> IncomingRecipient {
    let code = text.split(|c: char| !c.is_ascii_digit()).find(|word| word.len() == 3);
    let code = code.and_then(|word| word.parse::<u16>().ok()).filter(|code| (400..600).contains(code));
    let classification = classify(code, status.as_deref(), &text);
    let status = status.filter(|status| super::rules::status_parts(status).is_some());
    let text = text.chars().take(TEXT_CHARS_MAX).collect();
    IncomingRecipient { addresses, is_failed, status, text, classification }
}

/// The first enhanced status code of an error in a text.
fn status_in(words: &str) -> Option<String> {
    let mut tokens = words.split(|c: char| !(c.is_ascii_digit() || c == '.')).map(|word| word.trim_matches('.'));
    let is_status = |word: &&str| {
        word.split('.').count() == 3 && matches!(super::rules::status_parts(word), Some([4 | 5, 0..=7, _]))
    };
    tokens.find(is_status).map(str::to_owned)
}

/// Groups of fields, which empty lines divide.
fn groups(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let end = crate::mime::header_end(rest).clamp(1, rest.len());
        let (group, behind) = rest.split_at(end);
        rest = behind;
        Some(group)
    })
}

/// The first part that is plain text.
fn first_text(raw: &[u8], structure: &Structure) -> Vec<u8> {
    let is_text = |part: &&Part| part.content_type(raw).is("text", "plain");
    structure.parts().iter().find(is_text).map(|part| body(part, raw)).unwrap_or_default()
}

/// The start of a part's body, decoded where that can be done.
fn body(part: &Part, raw: &[u8]) -> Vec<u8> {
    let mut bytes = match part.decoded(raw) {
        Ok(decoded) => decoded.into_owned(),
        Err(_) => raw.get(part.body.clone()).unwrap_or_default().to_vec(),
    };
    bytes.truncate(PART_BYTES_MAX);
    bytes
}

/// A field's value as one line.
fn text_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands behind the type: `rfc822; ann@example.org`.
fn typed(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, value)| value).trim()
}

fn address(text: &str) -> Option<Address> {
    Address::parse(text.trim_matches([' ', '<', '>', '"'])).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::Category;

    const ID: &str = "65f0a1b2c3d4e5f601234567";

    fn dsn(fields: &str) -> String {
        format!(
            "From: MAILER-DAEMON@mx.example.net\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; mx.example.net\r\nArrival-Date: x\r\n\r\n{fields}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
             Return-Path: <bounce+x@us.example>\r\nReceived: from a by us.example with ESMTP id {ID}\r\n for <ann@example.net>; x\r\n\
             Message-ID: <one@us.example>\r\n\r\nGood day.\r\n--b--\r\n"
        )
    }

    #[test]
    fn a_notification_of_failure() {
        let text = dsn(
            "Final-Recipient: rfc822; Ann@example.net\r\nOriginal-Recipient: rfc822;a@example.org\r\nAction: failed\r\n\
             Status: 5.1.1 (bad destination mailbox)\r\nDiagnostic-Code: smtp; 550 5.1.1 <ann@example.net>:\r\n User unknown\r\n\r\n\
             Final-Recipient: rfc822; bob@example.net\r\nAction: delayed\r\nStatus: 4.2.2\r\n\r\n\
             Final-Recipient: rfc822; carl@example.net\r\nAction: relayed\r\nStatus: 2.0.0\r\n",
        );
        let report = IncomingReport::parse(text.as_bytes(), false).unwrap();
        assert_eq!((report.kind, report.recipients.len()), (IncomingKind::Delivery, 2));
        let [failed, late] = &report.recipients[..] else { panic!("two") };
        let addresses: Vec<_> = failed.addresses.iter().map(Address::as_str).collect();
        assert_eq!(addresses, ["Ann@example.net", "a@example.org"]);
        assert_eq!((failed.is_failed, failed.status.as_deref()), (true, Some("5.1.1")));
        assert_eq!(failed.text, "550 5.1.1 <ann@example.net>: User unknown");
        assert!(failed.classification.is_hard_bounce);
        assert_eq!((late.is_failed, late.classification.category), (false, Category::Quota));
        assert!(!late.classification.is_hard_bounce);
        assert_eq!(report.original.message_id.as_deref(), Some("one@us.example"));
        assert_eq!(report.original.candidates, [ID.parse().unwrap()]);
        assert_eq!(report.original.return_paths[0].as_str(), "bounce+x@us.example");
    }

    #[test]
    fn a_complaint() {
        let text = format!(
            "From: feedback@example.net\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
             Feedback-Type: abuse\r\nVersion: 1\r\nOriginal-Rcpt-To: <ann@example.net>\r\nOriginal-Mail-From: <b@us.example>\r\n\
             \r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{ID}@us.example>\r\n\r\n--b--\r\n"
        );
        let report = IncomingReport::parse(text.as_bytes(), false).unwrap();
        assert_eq!(report.kind, IncomingKind::Complaint);
        assert_eq!(report.recipients[0].addresses[0].as_str(), "ann@example.net");
        assert_eq!(report.original.candidates, [ID.parse().unwrap()]);
        let approval = text.replace("Feedback-Type: abuse", "Feedback-Type: not-spam");
        assert_eq!(IncomingReport::parse(approval.as_bytes(), false).unwrap().recipients, []);
        let redacted = text.replace("Original-Rcpt-To: <ann@example.net>\r\n", "");
        assert_eq!(IncomingReport::parse(redacted.as_bytes(), false).unwrap().recipients[0].addresses, []);
    }

    #[test]
    fn older_notifications() {
        let exim = "X-Failed-Recipients: ann@example.net, bob@example.net\r\nAuto-Submitted: auto-replied\r\n\
             From: Mail Delivery System <Mailer-Daemon@mx.example>\r\n\r\n\
             A message that you sent could not be delivered.\r\n  ann@example.net\r\n    SMTP error from remote mail server after RCPT \
             TO:<ann@example.net>:\r\n    550 5.1.1 User unknown\r\n";
        let report = IncomingReport::parse(exim.as_bytes(), false).unwrap();
        assert_eq!(report.recipients.len(), 2);
        assert!(report.recipients[0].classification.is_hard_bounce);
        let words = "From: MAILER-DAEMON@mx.example\r\n\r\nYour message was not delivered: 552 mailbox full\r\n";
        assert_eq!(IncomingReport::parse(words.as_bytes(), false), None, "anybody can write this");
        let report = IncomingReport::parse(words.as_bytes(), true).unwrap();
        assert_eq!(report.recipients[0].classification.category, Category::Quota);
    }

    #[test]
    fn other_mail_is_no_report() {
        for text in
            ["", "Subject: x\r\n\r\nundeliverable 550 5.1.1 user unknown\r\n", "Content-Type: multipart/report\r\n\r\n"]
        {
            assert_eq!(IncomingReport::parse(text.as_bytes(), false), None, "{text}");
        }
        let away = "From: postmaster@example.net\r\nAuto-Submitted: auto-replied (vacation)\r\n\r\nI am away. 550 user unknown\r\n";
        assert_eq!(IncomingReport::parse(away.as_bytes(), true), None);
        let person = "From: ann@example.net\r\n\r\nuser unknown\r\n";
        assert_eq!(IncomingReport::parse(person.as_bytes(), true), None);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let many = "Final-Recipient: rfc822; a@example.net\r\nAction: failed\r\nStatus: 5.0.0\r\n\r\n".repeat(700);
        let report = IncomingReport::parse(dsn(&many).as_bytes(), false).unwrap();
        assert_eq!(report.recipients.len(), RECIPIENTS_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(fields in ".{0,200}", noise in proptest::collection::vec(any::<u8>(), 0..200), is_bounce: bool) {
            let _ = IncomingReport::parse(&noise, is_bounce);
            let mut text = dsn(&fields).into_bytes();
            text.extend(noise);
            if let Some(report) = IncomingReport::parse(&text, is_bounce) {
                prop_assert!(report.recipients.len() <= RECIPIENTS_MAX);
                prop_assert!(report.original.candidates.len() <= CANDIDATES_MAX);
            }
        }
    }
}
