//! Fields: written folded, from text that nobody can break out of.

use std::fmt::Write as _;

use super::status::is_status;
use super::{LINE_BYTES_MAX, Report, ReportKind, ReportedRecipient};
use crate::address::Address;

/// Lines are folded before they are longer (RFC 5322 section 2.1.1).
const FOLD_COLUMN: usize = 78;

/// Bytes of a field's value; what is longer is cut.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Appends a field. Control characters become spaces, runs of spaces one; lines are folded at spaces, and a word that is
/// too long for any line is broken.
pub(super) fn put_field(out: &mut Vec<u8>, name: &str, value: &str) {
    let value = one_line(value);
    let value = &value[..value.floor_char_boundary(VALUE_BYTES_MAX.min(value.len()))];
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut column = name.len() + 1;
    for word in value.split(' ').flat_map(pieces) {
        // The first word stays on the field's line: a line of nothing but its name is read badly by some.
        if column + 1 + word.len() > FOLD_COLUMN && column > name.len() + 1 {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.push(b' ');
        out.extend_from_slice(word.as_bytes());
        column += 1 + word.len();
    }
    out.extend_from_slice(b"\r\n");
}

/// The fields about the message as a whole (RFC 3464 section 2.2).
pub(super) fn put_message_fields(report: &Report<'_>, is_global: bool, out: &mut Vec<u8>) {
    if let Some(envelope_id) = &report.envelope.envelope_id {
        put_field(out, "Original-Envelope-Id", &for_programs(&decode_xtext(envelope_id), is_global));
    }
    put_field(out, "Reporting-MTA", &format!("dns; {}", host_name(report.reporting_mta)));
    put_field(out, "Arrival-Date", &report.arrived_at.to_rfc5322());
}

/// The fields about one recipient (RFC 3464 section 2.3).
pub(super) fn put_recipient_fields(
    kind: ReportKind,
    reported: &ReportedRecipient<'_>,
    is_global: bool,
    out: &mut Vec<u8>,
) {
    if let Some(original) = reported.recipient.original_recipient.as_deref().and_then(original_recipient) {
        put_field(out, "Original-Recipient", &for_programs(&original, is_global));
    }
    put_field(out, "Final-Recipient", &final_recipient(&reported.recipient.address));
    put_field(out, "Action", kind.action());
    put_field(out, "Status", status(kind, &reported.status));
    if let Some(host) = reported.remote_mta {
        put_field(out, "Remote-MTA", &format!("dns; {}", host_name(host)));
    }
    if let Some(reply) = reported.diagnostic {
        put_field(out, "Diagnostic-Code", &for_programs(&format!("smtp; {reply}"), is_global));
    }
    put_field(out, "Last-Attempt-Date", &reported.last_attempt_at.to_rfc5322());
    if let Some(until) = reported.will_retry_until.filter(|_| kind == ReportKind::Delayed) {
        put_field(out, "Will-Retry-Until", &until.to_rfc5322());
    }
}

/// Text without control characters, and with single spaces only.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// A host's name or address literal; what is neither is not repeated.
pub(super) fn host_name(text: &str) -> &str {
    let holds = |b: u8| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b);
    if !text.is_empty() && text.len() <= 255 && text.bytes().all(holds) { text } else { "unknown" }
}

/// RFC 3464 section 2.1.2 has ASCII only; what is above is shown to people in the text part.
fn for_programs(text: &str, is_global: bool) -> String {
    if is_global { text.to_owned() } else { text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect() }
}

fn final_recipient(address: &Address) -> String {
    if address.needs_smtputf8() {
        format!("utf-8; {address}")
    } else {
        format!("rfc822; {}", address.to_ascii_domain())
    }
}

/// ORCPT decoded: type and address (RFC 3464 section 2.3.1).
fn original_recipient(orcpt: &str) -> Option<String> {
    let (kind, address) = orcpt.split_once(';')?;
    let is_atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_atom.then(|| format!("{kind}; {}", decode_xtext(address)))
}

fn status(kind: ReportKind, given: &str) -> &str {
    match kind {
        _ if is_status(given) => given,
        ReportKind::Failed => "5.0.0",
        ReportKind::Delayed => "4.0.0",
        ReportKind::Relayed | ReportKind::Delivered => "2.0.0",
    }
}

/// xtext (RFC 3461 section 4) and utf-8-addr-xtext (RFC 6533 section 3) decoded. What is not well formed stays as it is.
fn decode_xtext(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['+', '\\']) {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some(byte) = escaped_byte(rest) {
            bytes.push(byte);
            rest = &rest[3..];
        } else if let Some((character, len)) = escaped_char(rest) {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[len..];
        } else {
            bytes.push(rest.as_bytes()[0]);
            rest = &rest[1..];
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `+2B`
fn escaped_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('+')?.get(..2)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// `\x{E4}`, and how long it is.
fn escaped_char(text: &str) -> Option<(char, usize)> {
    let digits = text.strip_prefix("\\x{")?.split_once('}')?.0;
    let is_short = (2..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let character = is_short.then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32))??;
    Some((character, digits.len() + 4))
}

/// Cuts a word into pieces that fit a line.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    const PIECE_BYTES_MAX: usize = LINE_BYTES_MAX - 100;
    let mut rest = Some(word);
    std::iter::from_fn(move || {
        let word = rest.take()?;
        if word.len() <= PIECE_BYTES_MAX {
            return Some(word);
        }
        let (piece, after) = word.split_at(word.floor_char_boundary(PIECE_BYTES_MAX));
        rest = Some(after);
        Some(piece)
    })
}

/// Wraps text for people: appends it in lines that begin with `indent`, at most 76 columns where words allow.
pub(super) fn wrap(text: &str, indent: &str, out: &mut String) {
    const COLUMNS: usize = 76;
    let line = one_line(text);
    let mut column = 0;
    for word in line.split(' ').flat_map(pieces) {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > COLUMNS {
            out.push_str("\r\n");
            column = 0;
        }
        if column == 0 {
            let _ = write!(out, "{indent}{word}");
            column = indent.len() + width;
        } else {
            let _ = write!(out, " {word}");
            column += 1 + width;
        }
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext() {
        assert_eq!(decode_xtext("a+2Bb+3Dc"), "a+b=c");
        assert_eq!(decode_xtext("a+b+2"), "a+b+2");
        assert_eq!(decode_xtext("+C3+A4"), "ä");
        assert_eq!(decode_xtext("a\\x{E4}\\x{1F600}\\x{}\\x{D800}\\"), "aä😀\\x{}\\x{D800}\\");
        assert_eq!(decode_xtext("+ä+äb"), "+ä+äb");
        assert_eq!(original_recipient("rfc822;a+40b").as_deref(), Some("rfc822; a@b"));
        assert_eq!(original_recipient("rfc 822;a"), None);
        assert_eq!(original_recipient("none"), None);
    }

    #[test]
    fn fields_fold_and_hold() {
        let mut out = Vec::new();
        put_field(
            &mut out,
            "Diagnostic-Code",
            &format!("smtp; 550 a\r\nBcc: x\0 {} {}", "word ".repeat(20), "x".repeat(2000)),
        );
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("Diagnostic-Code: smtp; 550 a Bcc: x word"));
        assert!(text.lines().skip(1).all(|line| line.starts_with(' ') && !line.trim().is_empty()), "{text}");
        assert!(text.lines().all(|line| line.len() <= LINE_BYTES_MAX));
        let mut out = Vec::new();
        put_field(&mut out, "X", "");
        assert_eq!(out, b"X: \r\n");
    }
}
