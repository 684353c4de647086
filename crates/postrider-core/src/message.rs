//! A message: its bytes as they are kept, and what a parse of them says.

mod opening;

use bytes::Bytes;
use mail_parser::parsers::MessageStream;
use mail_parser::{HeaderName, HeaderValue, MimeHeaders};
use serde::{Deserialize, Serialize};

use self::opening::open;

/// What is kept beside a message is short, whatever a peer has written: these are the lengths of which no honest one comes near,
/// in bytes. The message itself has all of it.
const SUBJECT_BYTES_MAX: usize = 8 << 10;
const MESSAGE_ID_BYTES_MAX: usize = 1 << 10;
const NAME_BYTES_MAX: usize = 1 << 10;

/// Attachments that are listed.
const ATTACHMENTS_MAX: usize = 1_000;

/// A message as it is kept: the bytes, and their summary.
#[derive(Debug, Clone)]
pub struct Message {
    /// With the trace fields that this host put on top.
    pub raw: Bytes,
    /// How many bytes at the start of `raw` are the Return-Path field, which only a final delivery carries (RFC 5321
    /// section 4.4): what is sent on to another host starts behind them.
    pub return_path_bytes: u32,
    pub summary: Summary,
}

impl Message {
    /// Parses `raw`, once. Broken MIME is no error: the summary says what could be understood.
    pub fn parse(raw: Bytes, return_path_bytes: u32) -> Self {
        let summary = Summary::parse(&raw);
        Self { raw, return_path_bytes, summary }
    }
}

/// What lists show of a message, and what delivery must know of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// Decoded; `None` where there is no such field.
    pub subject: Option<String>,
    pub attachments: Vec<Attachment>,
    /// Whether any byte is above 127: such a message needs 8BITMIME or a conversion.
    pub is_8bit: bool,
}

impl Summary {
    pub fn parse(raw: &[u8]) -> Self {
        let is_8bit = !raw.is_ascii();
        let opened = open(raw, |parsed, whole| Self {
            message_id: parsed.message_id().map(|text| limited(clean(text), MESSAGE_ID_BYTES_MAX)),
            subject: parsed.subject().map(|text| limited(clean(text), SUBJECT_BYTES_MAX)),
            attachments: attachments(whole),
            is_8bit,
        });
        opened.unwrap_or_else(|| Self { is_8bit, ..Self::default() })
    }
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    pub filename: Option<String>,
    /// `type/subtype` in lower case.
    pub content_type: String,
    /// Bytes, decoded.
    pub size: u64,
    /// Without angle brackets.
    pub content_id: Option<String>,
}

/// A message opened to be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// The text body, or the HTML body as text where there is no other.
    pub text: Option<String>,
    /// The HTML body; `None` where the message has none of its own.
    pub html: Option<String>,
    /// All fields in order: name, and value unfolded and decoded.
    pub headers: Vec<(String, String)>,
    pub attachments: Vec<Attachment>,
}

impl Content {
    pub fn parse(raw: &[u8]) -> Self {
        let opened = open(raw, |parsed, whole| Self {
            text: text_body(whole),
            html: html_body(whole),
            headers: parsed
                .headers()
                .iter()
                .map(|header| (header.name().to_owned(), header_text(parsed, header)))
                .collect(),
            attachments: attachments(whole),
        });
        opened.unwrap_or_default()
    }

    /// The decoded content of attachment number `n`, counted from 0 as [`Content::attachments`] lists them.
    pub fn attachment(raw: &[u8], n: usize) -> Option<(Attachment, Vec<u8>)> {
        let n = u32::try_from(n).ok()?;
        open(raw, |_, whole| whole.attachment(n).map(|part| (describe(part), part.contents().to_vec()))).flatten()
    }
}

/// How much of the text of a message is searched, in bytes.
pub const SEARCHED_TEXT_BYTES_MAX: usize = 64 << 10;

/// How much of a message is looked through for its text, in bytes.
pub const SEARCHED_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The decoded contents of a message, for a store that keeps them apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bodies {
    /// As [`Content::text`].
    pub text: Option<String>,
    /// As [`Content::html`].
    pub html: Option<String>,
    /// In the order of [`Summary::attachments`].
    pub attachments: Vec<Vec<u8>>,
}

impl Bodies {
    pub fn parse(raw: &[u8]) -> Self {
        let opened = open(raw, |_, whole| Self {
            text: text_body(whole),
            html: html_body(whole),
            attachments: whole.attachments().take(ATTACHMENTS_MAX).map(|part| part.contents().to_vec()).collect(),
        });
        opened.unwrap_or_default()
    }
}

/// The text by which a message is found: its plain text, or its HTML as text, up to [`SEARCHED_TEXT_BYTES_MAX`]. What stands behind
/// the first [`SEARCHED_MESSAGE_BYTES_MAX`] is not looked at.
pub fn searched_text(raw: &[u8]) -> Option<String> {
    let head = raw.get(..SEARCHED_MESSAGE_BYTES_MAX).unwrap_or(raw);
    let mut text = open(head, |_, whole| text_body(whole)).flatten()?;
    text.truncate(text.floor_char_boundary(SEARCHED_TEXT_BYTES_MAX));
    Some(text)
}

fn text_body(parsed: &mail_parser::Message<'_>) -> Option<String> {
    parsed.body_text(0).map(|text| text.into_owned())
}

fn html_body(parsed: &mail_parser::Message<'_>) -> Option<String> {
    let has_html =
        parsed.html_body.iter().any(|&id| parsed.part(id).is_some_and(|part| part.is_content_type("text", "html")));
    if has_html { parsed.body_html(0).map(|html| html.into_owned()) } else { None }
}

fn attachments(parsed: &mail_parser::Message<'_>) -> Vec<Attachment> {
    parsed.attachments().take(ATTACHMENTS_MAX).map(describe).collect()
}

fn describe(part: &mail_parser::MessagePart<'_>) -> Attachment {
    let content_type = match part.content_type() {
        Some(kind) => format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_ascii_lowercase(),
        None if part.is_message() => "message/rfc822".to_owned(),
        None => "application/octet-stream".to_owned(),
    };
    Attachment {
        filename: part.attachment_name().map(|text| limited(clean(text), NAME_BYTES_MAX)),
        content_type,
        size: part.contents().len() as u64,
        content_id: part.content_id().map(|text| limited(clean(text), NAME_BYTES_MAX)),
    }
}

/// A field's value as text: decoded where it is free text, otherwise as written, unfolded.
fn header_text(parsed: &mail_parser::Message<'_>, header: &mail_parser::Header<'_>) -> String {
    let range = header.offset_start() as usize..header.offset_end() as usize;
    let bytes = parsed.raw_message().get(range).unwrap_or_default();
    let is_free_text = matches!(
        header.name,
        HeaderName::Subject | HeaderName::Comments | HeaderName::ContentDescription | HeaderName::Other(_)
    );
    if is_free_text && let HeaderValue::Text(text) = MessageStream::new(bytes).parse_unstructured() {
        return clean(&text);
    }
    let unfolded: String = String::from_utf8_lossy(bytes).chars().filter(|&c| c != '\r' && c != '\n').collect();
    unfolded.trim().to_owned()
}

/// The beginning of a text that is too long for lists.
fn limited(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// Text for lists and JSON: without control characters, which a peer may have put there to fool a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Message-ID: <a.b@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n folded\r\n\
        X-Note: =?utf-8?q?=C3=A9?=\r\nTo: \"A\" <a@example.org>,\r\n b@example.org\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nHello\r\n--x\r\n\
        Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--x--\r\n";

    #[test]
    fn a_summary_says_what_lists_show() {
        let summary = Summary::parse(MESSAGE);
        assert_eq!(summary.message_id.as_deref(), Some("a.b@example.org"));
        assert_eq!(summary.subject.as_deref(), Some("Gr\u{fc}\u{df}e folded"));
        assert_eq!(summary.attachments.len(), 1);
        assert_eq!(summary.attachments[0].content_type, "application/pdf");
        assert_eq!(summary.attachments[0].size, 4);
        assert!(!summary.is_8bit);
    }

    #[test]
    fn headers_are_shown_as_they_were_written_but_for_free_text() {
        let content = Content::parse(MESSAGE);
        let value = |name: &str| content.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("Message-ID"), Some("<a.b@example.org>"));
        assert_eq!(value("Subject"), Some("Gr\u{fc}\u{df}e folded"));
        assert_eq!(value("X-Note"), Some("\u{e9}"));
        assert_eq!(value("To"), Some("\"A\" <a@example.org>, b@example.org"));
        assert_eq!(content.text.as_deref().map(str::trim), Some("Hello"));
        assert_eq!(content.html, None);
        assert_eq!(Content::attachment(MESSAGE, 0).map(|(_, bytes)| bytes), Some(b"%PDF".to_vec()));
        assert_eq!(Content::attachment(MESSAGE, 1), None);
        let bodies = Bodies::parse(MESSAGE);
        assert_eq!((&bodies.text, &bodies.html), (&content.text, &content.html));
        assert_eq!(bodies.attachments, [b"%PDF".to_vec()]);
    }

    #[test]
    fn what_is_kept_beside_a_message_is_short() {
        let part = format!("--x\r\nContent-Disposition: attachment; filename=\"{}\"\r\n\r\na\r\n", "n".repeat(5_000));
        let fields = format!("Subject: {}\r\nMessage-ID: <{}@x>\r\n", "é".repeat(20_000), "i".repeat(9_000));
        let raw = format!(
            "{fields}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n{}--x--\r\n",
            part.repeat(1_200)
        );
        let summary = Summary::parse(raw.as_bytes());
        assert_eq!(summary.subject.map(|text| text.len()), Some(SUBJECT_BYTES_MAX));
        assert_eq!(summary.message_id.map(|text| text.len()), Some(MESSAGE_ID_BYTES_MAX));
        assert_eq!(summary.attachments.len(), ATTACHMENTS_MAX);
        let name = summary.attachments[0].filename.as_ref().map(String::len);
        assert_eq!(name, Some(NAME_BYTES_MAX));
        assert_eq!(Bodies::parse(raw.as_bytes()).attachments.len(), ATTACHMENTS_MAX);
    }

    #[test]
    fn anything_parses() {
        for raw in
            [&b""[..], b"\r\n", b"no header at all\r\n", b"\xff\xfe\x00", b"Content-Type: multipart/mixed\r\n\r\n--"]
        {
            Summary::parse(raw);
            Content::parse(raw);
        }
    }
}
