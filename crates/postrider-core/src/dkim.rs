//! What a DKIM signature is made over (RFC 6376): which fields, and how field and body look when they are hashed.
//!
//! Relaxed canonicalization only, which outlives what mail servers do to white space. Hashing and keys are no matter of this
//! room: what is to be hashed is written to whoever asks.

use mail_parser::parsers::MessageStream;
use mail_parser::{Address as Addresses, HeaderValue};

use crate::address::{Address, Domain};
use crate::mime::{Fields, header_end};
use crate::trace::HeaderScan;

/// A header section with more fields to sign than this is not signed.
pub const SIGNED_FIELDS_MAX: usize = 100;

/// The fields that are signed where a message has them (RFC 6376 section 5.4.1, and what mail programs go by today), in lower
/// case. Trace fields are not: they change on the way.
const SIGNED_FIELDS: [&str; 29] = [
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "content-id",
    "content-description",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-message-id",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-subscribe",
    "list-post",
    "feedback-id",
];

/// The fields of a header section that are signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignedFields {
    /// Their names in the order of the `h=` tag, the last field of a message first (RFC 6376 section 5.4.2), and From once
    /// more than it is there: so no other can be added (section 8.15).
    pub names: Vec<&'static str>,
    /// All of them in relaxed form, in that order.
    pub relaxed: Vec<u8>,
}

impl SignedFields {
    /// Looks a header section through that comes in pieces of whole fields. `None` where it has too many to sign.
    pub fn of(pieces: &[&[u8]]) -> Option<Self> {
        let mut found: Vec<(&'static str, &[u8])> = Vec::new();
        for field in pieces.iter().flat_map(|piece| Fields::new(piece)) {
            if let Some(signed) = SIGNED_FIELDS.iter().find(|signed| field.is(signed)) {
                found.push((signed, field.value));
            }
        }
        if found.len() > SIGNED_FIELDS_MAX {
            return None;
        }
        let mut signed = Self { names: Vec::with_capacity(found.len() + 1), relaxed: Vec::with_capacity(1024) };
        for (name, value) in found.into_iter().rev() {
            signed.names.push(name);
            relax_field(name.as_bytes(), value, &mut signed.relaxed);
            signed.relaxed.extend_from_slice(b"\r\n");
        }
        signed.names.push("from");
        Some(signed)
    }
}

/// Appends a field in relaxed form, without its line end (RFC 6376 section 3.4.2).
pub fn relax_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut is_spaced = false;
    for &byte in value {
        match byte {
            b' ' | b'\t' => is_spaced = true,
            b'\r' | b'\n' => {}
            _ => {
                if is_spaced && out.len() > start {
                    out.push(b' ');
                }
                is_spaced = false;
                out.push(byte);
            }
        }
    }
}

/// Writes a body in relaxed form, in pieces (RFC 6376 section 3.4.4): white space at the ends of lines and empty lines at the
/// end are left out, and white space within lines becomes one space.
pub fn relax_body(body: &[u8], mut write: impl FnMut(&[u8])) {
    // What is as it should be goes out in one piece with what comes before it.
    let mut piece_start = 0;
    let mut at = 0;
    let mut end = body.len();
    // Lines at the end that are empty, or white space alone, count for nothing.
    while let Some(&last) = body[..end].last() {
        if !matches!(last, b'\r' | b'\n' | b' ' | b'\t') {
            break;
        }
        end -= 1;
    }
    if end == 0 {
        return;
    }
    while at < end {
        let Some(found) = body[at..end].iter().position(|&byte| byte == b' ' || byte == b'\t') else { break };
        let start = at + found;
        let run = body[start..end].iter().position(|&byte| byte != b' ' && byte != b'\t');
        let behind = run.map_or(end, |length| start + length);
        let ends_line = body[behind..end].starts_with(b"\r\n");
        if ends_line {
            write(&body[piece_start..start]);
            piece_start = behind;
        } else if behind - start > 1 || body[start] == b'\t' {
            write(&body[piece_start..start]);
            write(b" ");
            piece_start = behind;
        }
        at = behind;
    }
    write(&body[piece_start..end]);
    write(b"\r\n");
}

/// The domain of the address in a From field, which `field` begins with; `None` where it has none, or addresses of several
/// domains: whoever signed would vouch for only one of them.
pub fn author_domain(field: &[u8]) -> Option<Domain> {
    let mut domains = authors(field)?.into_iter().map(|author| author.domain());
    let domain = domains.next()?;
    domains.all(|other| other == domain).then_some(domain)
}

/// The addresses in a From field, which `field` begins with; `None` where one of them cannot be read, or it has none at all.
pub fn authors(field: &[u8]) -> Option<Vec<Address>> {
    // With its line end, which the parser takes for the end.
    let line = Fields::new(field).next()?.line;
    let value = line.get(memchr::memchr(b':', line)? + 1..)?;
    let HeaderValue::Address(addresses) = MessageStream::new(value).parse_address() else { return None };
    let mailboxes: Vec<_> = match &addresses {
        Addresses::List(list) => list.iter().collect(),
        Addresses::Group(groups) => groups.iter().flat_map(|group| &group.addresses).collect(),
    };
    let named: Option<Vec<Address>> =
        mailboxes.into_iter().map(|mailbox| Address::parse(mailbox.address.as_deref()?).ok()).collect();
    // Programs show the name of an empty group as if it were somebody.
    named.filter(|named| !named.is_empty())
}

/// Fields beside From that say who sends a message, or sends it again (RFC 5322 sections 3.6.2 and 3.6.6). They may come more than
/// once.
const SENDER_FIELDS: &[&str] = &["Sender", "Resent-From", "Resent-Sender"];

/// All whom a message says that it is from; `None` where that cannot be told, for it has several From fields or addresses that cannot
/// be read. A message without the field names no author.
pub fn senders(message: &[u8], scan: HeaderScan) -> Option<Vec<Address>> {
    let mut named = Vec::new();
    if scan.from_fields > 0 {
        named.extend(authors(message.get(scan.from_at..).filter(|_| scan.from_fields == 1)?)?);
    }
    let fields = Fields::new(&message[..header_end(message)]);
    for field in fields.filter(|field| SENDER_FIELDS.iter().any(|name| field.is(name))) {
        named.extend(authors(field.line)?);
    }
    Some(named)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn relaxed(body: &str) -> String {
        let mut out = Vec::new();
        relax_body(body.as_bytes(), |piece| out.extend_from_slice(piece));
        String::from_utf8(out).unwrap()
    }

    /// RFC 6376 section 3.4.5.
    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(relaxed(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
        let mut field = Vec::new();
        relax_field(b"A", b" X\r\n", &mut field);
        field.push(b'/');
        relax_field(b"B", b" Y\t\r\n\tZ  \r\n", &mut field);
        assert_eq!(field, b"a:X/b:Y Z");
    }

    #[test]
    fn bodies() {
        for (body, expected) in [
            ("", ""),
            ("\r\n\r\n", ""),
            (" \t\r\n", ""),
            ("a", "a\r\n"),
            ("a\r\n \r\n\r\n", "a\r\n"),
            ("\r\n\r\na\r\n", "\r\n\r\na\r\n"),
            ("a  b\tc\r\n", "a b c\r\n"),
            ("\ta \r\n\r\n b", " a\r\n\r\n b\r\n"),
        ] {
            assert_eq!(relaxed(body), expected, "{body:?}");
        }
    }

    /// A slow and plain reading of the same section.
    fn relaxed_line_by_line(body: &str) -> String {
        let mut lines: Vec<String> = Vec::new();
        for line in body.split("\r\n") {
            let mut words = String::new();
            for c in line.trim_end_matches([' ', '\t']).chars() {
                match c {
                    ' ' | '\t' if words.ends_with(' ') => {}
                    '\t' => words.push(' '),
                    c => words.push(c),
                }
            }
            lines.push(words);
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.iter().map(|line| format!("{line}\r\n")).collect()
    }

    proptest! {
        #[test]
        fn any_body_is_relaxed_as_line_by_line(words in prop::collection::vec(
            prop_oneof![Just(" "), Just("\t"), Just("\r\n"), Just("a"), Just("bc")], 0..40)) {
            let body = words.concat();
            prop_assert_eq!(relaxed(&body), relaxed_line_by_line(&body));
        }

        #[test]
        fn any_header_is_looked_through(header in prop::collection::vec(any::<u8>(), 0..200)) {
            SignedFields::of(&[&header]);
            author_domain(&header);
        }
    }

    #[test]
    fn fields_are_signed_from_the_last_on_and_from_once_more() {
        let header = b"From: a@x.test\r\nX-Other: 1\r\nTo: b\r\n c\r\nTO : d\r\n\r\nSubject: body\r\n";
        let signed = SignedFields::of(&[b"Date: now\r\n", header]).unwrap();
        assert_eq!(signed.names, ["to", "to", "from", "date", "from"]);
        assert_eq!(signed.relaxed, b"to:d\r\nto:b c\r\nfrom:a@x.test\r\ndate:now\r\n");
        assert_eq!(SignedFields::of(&[&b"To: x\r\n".repeat(SIGNED_FIELDS_MAX + 1)]), None);
    }

    #[test]
    fn authors() {
        let domain = |field: &str| author_domain(field.as_bytes()).map(|domain| domain.to_string());
        assert_eq!(
            domain("From: \"A, B\" <a@News.Example.ORG>\r\nTo: x@y.test\r\n").as_deref(),
            Some("news.example.org")
        );
        assert_eq!(domain("from:\r\n a@x.test\r\n").as_deref(), Some("x.test"));
        assert_eq!(domain("From: a@x.test, b@x.test\r\n").as_deref(), Some("x.test"));
        for field in
            ["From: a@x.test, b@y.test\r\n", "From: \"ceo@x.test\":;\r\n", "From: nobody\r\n", "From:\r\n", "From", ""]
        {
            assert_eq!(domain(field), None, "{field}");
        }
    }
}
