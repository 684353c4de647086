//! Delivery status notifications: telling a sender what became of a message (RFC 3464, RFC 6522; RFC 6533 where UTF-8
//! addresses take part).
//!
//! Composes the message and nothing else: whether one is due, and how it travels, is decided elsewhere. What other hosts
//! said is quoted so that it can add no field, no part and no line of its own.

mod fields;
mod status;
mod text;

#[cfg(test)]
mod tests;

use mail_builder::encoders::QuotedPrintableEncoder;
use mail_parser::MessageParser;
use memchr::memmem;

use self::fields::{one_line, put_field};
pub use self::status::{refused_here, status_of};
use crate::convert::lines_are_plain;
use crate::delivery::Reply;
use crate::envelope::{DsnReturn, Envelope, Recipient};
use crate::id::ObjectId;
use crate::time::Timestamp;
use crate::trace::header_end;

/// A message up to this many bytes is brought back whole where the sender asked for that; of a larger one, the header.
pub const RETURNED_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Of a longer header section, the first fields are brought back.
pub const RETURNED_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Without the line end (RFC 5322 section 2.1.1).
const LINE_BYTES_MAX: usize = 998;

/// What the notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// Given up.
    Failed,
    /// Not delivered yet, and tried again.
    Delayed,
    /// Handed to a server that does not promise notifications (RFC 3461 section 5.2.2).
    Relayed,
    /// Put into a mailbox.
    Delivered,
}

/// All that a notification tells. All recipients share its kind.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    pub kind: ReportKind,
    /// This host's name.
    pub reporting_mta: &'a str,
    /// Of the message reported on; its reverse-path is who is told. No notification may be sent to a null reverse-path
    /// (RFC 5321 section 4.5.5).
    pub envelope: &'a Envelope,
    /// When the message was accepted here.
    pub arrived_at: Timestamp,
    pub now: Timestamp,
    /// Of the notification: its Message-ID is `<id@reporting_mta>`.
    pub id: ObjectId,
    /// At least one.
    pub recipients: &'a [ReportedRecipient<'a>],
    /// The message reported on.
    pub original: &'a [u8],
}

/// What became of the message for one recipient.
#[derive(Debug, Clone)]
pub struct ReportedRecipient<'a> {
    pub recipient: &'a Recipient,
    /// An enhanced status code (RFC 3463), as [`status_of`] finds it. Anything else is replaced by the kind's general one.
    pub status: String,
    /// The host that said what `diagnostic` repeats (RFC 3464 section 2.3.5). `None` where the decision was ours.
    pub remote_mta: Option<&'a str>,
    /// What it said last.
    pub diagnostic: Option<&'a Reply>,
    /// In our words, what stood in the way. Shown unless the `diagnostic` says the same.
    pub reason: Option<&'a str>,
    pub last_attempt_at: Timestamp,
    /// For [`ReportKind::Delayed`]: when the delivery is given up.
    pub will_retry_until: Option<Timestamp>,
}

impl Report<'_> {
    /// Whether the notification can be sent only with SMTPUTF8: it uses the types of RFC 6533 and raw UTF-8 then.
    ///
    /// So it is where an address cannot be written in ASCII, or where the message itself came by SMTPUTF8 and has UTF-8 in
    /// its header.
    pub fn needs_smtputf8(&self) -> bool {
        let header = &self.original[..header_end(self.original)];
        self.envelope.reverse_path.0.as_ref().is_some_and(|address| address.needs_smtputf8())
            || self.recipients.iter().any(|reported| reported.recipient.address.needs_smtputf8())
            || (self.envelope.smtputf8 && !header.is_ascii() && std::str::from_utf8(header).is_ok())
    }
}

impl ReportKind {
    /// The Action field (RFC 3464 section 2.3.3).
    const fn action(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Relayed => "relayed",
            Self::Delivered => "delivered",
        }
    }

    const fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Your message could not be delivered",
            Self::Delayed => "Your message is delayed",
            Self::Relayed => "Your message was passed on",
            Self::Delivered => "Your message was delivered",
        }
    }
}

/// Composes the notification: a `multipart/report` of a text for people, a part for programs, and the message reported on
/// or its header. Lines end with CRLF and have at most 998 bytes.
pub fn compose(report: &Report<'_>) -> Vec<u8> {
    let is_global = report.needs_smtputf8();
    let parts = [text_part(report), status_part(report, is_global), original_part(report, is_global)];
    let boundary = boundary(report.id, &parts);
    let mut out = Vec::with_capacity(2048 + parts.iter().map(Vec::len).sum::<usize>());
    put_header(report, is_global, &boundary, &mut out);
    for part in &parts {
        out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

fn put_header(report: &Report<'_>, is_global: bool, boundary: &str, out: &mut Vec<u8>) {
    let host = fields::host_name(report.reporting_mta);
    let to = match &report.envelope.reverse_path.0 {
        Some(address) if is_global => format!("<{address}>"),
        Some(address) => format!("<{}>", address.to_ascii_domain()),
        None => "undisclosed-recipients:;".to_owned(),
    };
    put_field(out, "Date", &report.now.to_rfc5322());
    put_field(out, "From", &format!("\"Mail Delivery System\" <MAILER-DAEMON@{host}>"));
    put_field(out, "To", &to);
    put_field(out, "Subject", report.kind.subject());
    put_field(out, "Message-ID", &format!("<{}@{host}>", report.id));
    if let Some(message_id) = original_message_id(report.original) {
        put_field(out, "In-Reply-To", &format!("<{message_id}>"));
        put_field(out, "References", &format!("<{message_id}>"));
    }
    // RFC 3834 section 5: so that no automatic responder answers this.
    put_field(out, "Auto-Submitted", "auto-replied");
    put_field(out, "MIME-Version", "1.0");
    let kind = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
    put_field(out, "Content-Type", &kind);
}

/// The part for people.
fn text_part(report: &Report<'_>) -> Vec<u8> {
    let text = text::explain(report);
    let mut part = Vec::with_capacity(text.len() + 256);
    put_field(&mut part, "Content-Description", "Notification");
    put_field(&mut part, "Content-Type", "text/plain; charset=utf-8");
    if text.is_ascii() {
        part.extend_from_slice(b"\r\n");
        part.extend_from_slice(text.as_bytes());
    } else {
        put_quoted_printable(&mut part, text.as_bytes());
    }
    part
}

/// The part for programs (RFC 3464 section 2).
fn status_part(report: &Report<'_>, is_global: bool) -> Vec<u8> {
    let mut part = Vec::with_capacity(512 * report.recipients.len());
    let kind = if is_global { "message/global-delivery-status" } else { "message/delivery-status" };
    put_field(&mut part, "Content-Description", "Delivery report");
    put_field(&mut part, "Content-Type", kind);
    let head_end = part.len();
    part.extend_from_slice(b"\r\n");
    fields::put_message_fields(report, is_global, &mut part);
    for reported in report.recipients {
        part.extend_from_slice(b"\r\n");
        fields::put_recipient_fields(report.kind, reported, is_global, &mut part);
    }
    if !part.is_ascii() {
        let _ = part.splice(head_end..head_end, *b"Content-Transfer-Encoding: 8bit\r\n");
    }
    part
}

/// The message reported on, or its header.
fn original_part(report: &Report<'_>, is_global: bool) -> Vec<u8> {
    let original = report.original;
    // RFC 3461 section 4.3: RET asks for the whole message only with a failure.
    // RFC 8689 section 5: of what is to be protected no more goes back than has to.
    let wants_all = report.kind == ReportKind::Failed
        && report.envelope.dsn_return == Some(DsnReturn::Full)
        && !report.envelope.require_tls;
    let mut part = Vec::with_capacity(original.len().min(RETURNED_MESSAGE_BYTES_MAX) + 256);
    if wants_all && original.len() <= RETURNED_MESSAGE_BYTES_MAX && is_sendable(original) {
        let kind = if is_global { "message/global" } else { "message/rfc822" };
        put_field(&mut part, "Content-Description", "Your message");
        put_field(&mut part, "Content-Type", kind);
        put_as_it_is(&mut part, original);
        return part;
    }
    let header = returned_header(original);
    put_field(&mut part, "Content-Description", "Header of your message");
    if header.is_ascii() && is_sendable(header) {
        put_field(&mut part, "Content-Type", "text/rfc822-headers");
        put_as_it_is(&mut part, header);
    } else if is_global && std::str::from_utf8(header).is_ok() && is_sendable(header) {
        put_field(&mut part, "Content-Type", "message/global-headers");
        put_as_it_is(&mut part, header);
    } else {
        // RFC 6522 section 4: broken headers may be encoded.
        put_field(&mut part, "Content-Type", "text/rfc822-headers");
        put_quoted_printable(&mut part, header);
    }
    part
}

fn put_as_it_is(part: &mut Vec<u8>, content: &[u8]) {
    if !content.is_ascii() {
        put_field(part, "Content-Transfer-Encoding", "8bit");
    }
    part.extend_from_slice(b"\r\n");
    part.extend_from_slice(content);
}

fn put_quoted_printable(part: &mut Vec<u8>, content: &[u8]) {
    put_field(part, "Content-Transfer-Encoding", "quoted-printable");
    part.extend_from_slice(b"\r\n");
    // What cannot stand in a line has no meaning in a header either.
    let clean: Vec<u8> = content.iter().copied().filter(|b| !matches!(b, 0 | b'\r')).collect();
    QuotedPrintableEncoder::new().preserve_line_breaks().encode_into(&clean, part);
}

/// The header section without the empty line behind it, cut after the last line that is wanted.
fn returned_header(original: &[u8]) -> &[u8] {
    let header = &original[..header_end(original)];
    let header = header.strip_suffix(b"\r\n").unwrap_or(header);
    match header.get(..RETURNED_HEADER_BYTES_MAX) {
        Some(start) => &start[..memchr::memrchr(b'\n', start).map_or(0, |at| at + 1)],
        None => header,
    }
}

/// Whether these bytes may stand in a message as they are: short lines that end with CRLF, no NUL.
fn is_sendable(content: &[u8]) -> bool {
    content.split(|&b| b == b'\n').all(|line| line.len() <= LINE_BYTES_MAX + 1) && lines_are_plain(content)
}

/// Without angle brackets, if it can be repeated as it is.
fn original_message_id(original: &[u8]) -> Option<String> {
    let parsed = MessageParser::default().parse_headers(&original[..header_end(original)])?;
    let message_id = parsed.message_id()?;
    let is_sound = (1..=500).contains(&message_id.len())
        && message_id.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>');
    is_sound.then(|| message_id.to_owned())
}

/// A boundary that stands in none of the parts.
fn boundary(id: ObjectId, parts: &[Vec<u8>]) -> String {
    let mut number = 0u64;
    loop {
        let boundary = format!("=_{id}_{number}");
        if parts.iter().all(|part| memmem::find(part, boundary.as_bytes()).is_none()) {
            return boundary;
        }
        number += 1;
    }
}

/// Text of others as one line (see [`one_line`]), cut to `chars_max`.
fn excerpt(text: &str, chars_max: usize) -> String {
    let line = one_line(text);
    match line.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}
