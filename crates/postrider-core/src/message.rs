//! A message: its bytes as they are kept, and what a parse of them says.

use bytes::Bytes;
use mail_parser::{HeaderValue, MessageParser, MimeHeaders};
use serde::{Deserialize, Serialize};

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
        let Some(parsed) = MessageParser::default().parse(raw) else {
            return Self { is_8bit: !raw.is_ascii(), ..Self::default() };
        };
        Self {
            message_id: parsed.message_id().map(clean),
            subject: parsed.subject().map(clean),
            attachments: attachments(&parsed),
            is_8bit: !raw.is_ascii(),
        }
    }
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        let Some(parsed) = MessageParser::default().parse(raw) else { return Self::default() };
        let has_html =
            parsed.html_body.iter().any(|&id| parsed.part(id).is_some_and(|part| part.is_content_type("text", "html")));
        Self {
            text: parsed.body_text(0).map(|text| text.into_owned()),
            html: has_html.then(|| parsed.body_html(0).map(|html| html.into_owned())).flatten(),
            headers: parsed
                .headers()
                .iter()
                .map(|header| (header.name().to_owned(), header_text(&parsed, header)))
                .collect(),
            attachments: attachments(&parsed),
        }
    }

    /// The decoded content of attachment number `n`, counted from 0 as [`Content::attachments`] lists them.
    pub fn attachment(raw: &[u8], n: usize) -> Option<(Attachment, Vec<u8>)> {
        let parsed = MessageParser::default().parse(raw)?;
        let part = parsed.attachment(u32::try_from(n).ok()?)?;
        Some((describe(part), part.contents().to_vec()))
    }
}

fn attachments(parsed: &mail_parser::Message<'_>) -> Vec<Attachment> {
    parsed.attachments().map(describe).collect()
}

fn describe(part: &mail_parser::MessagePart<'_>) -> Attachment {
    let content_type = match part.content_type() {
        Some(kind) => format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_ascii_lowercase(),
        None if part.is_message() => "message/rfc822".to_owned(),
        None => "application/octet-stream".to_owned(),
    };
    Attachment {
        filename: part.attachment_name().map(clean),
        content_type,
        size: part.contents().len() as u64,
        content_id: part.content_id().map(clean),
    }
}

/// A field's value as text: decoded where the parser understood it as text, otherwise as written.
fn header_text(parsed: &mail_parser::Message<'_>, header: &mail_parser::Header<'_>) -> String {
    if let HeaderValue::Text(text) = header.value() {
        return clean(text);
    }
    let range = header.offset_start() as usize..header.offset_end() as usize;
    let bytes = parsed.raw_message().get(range).unwrap_or_default();
    let unfolded: String = String::from_utf8_lossy(bytes).chars().filter(|&c| c != '\r' && c != '\n').collect();
    unfolded.trim().to_owned()
}

/// Text for lists and JSON: without control characters, which a peer may have put there to fool a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
