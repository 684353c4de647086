//! A message of the JSON that says what is to be in it (RFC 5322, RFC 2045 to 2047, RFC 2387).
//!
//! Nothing that it is given can end a line of the header section: what has a line end or another control character where a
//! field stands is refused. Date, Message-ID and trace fields are added by whoever takes the message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_builder::encoders::Base64Encoder;
use mail_builder::headers::address::{Address as AddressField, EmailAddress};
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::headers::{Header, HeaderType};
use mail_builder::mime::{BodyPart, MimePart};
use postrider_core::instructions::FIELD_PREFIX;
use postrider_core::{Address, ReversePath, Submission};

use super::body::{AttachmentBody, EmailBody, FIELDS_MAX, Party, wrong};
use crate::problem::Problem;

/// Of a subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 8_000;

/// Of a field of `headers`, in bytes; and of a piece without white space in it, which no line end can part.
const FIELD_NAME_BYTES_MAX: usize = 76;
const FIELD_VALUE_BYTES_MAX: usize = 10_000;
const FIELD_WORD_BYTES_MAX: usize = 900;

const FILENAME_BYTES_MAX: usize = 500;
const CONTENT_ID_BYTES_MAX: usize = 200;
const CONTENT_TYPE_BYTES_MAX: usize = 200;

/// Fields that are made of other members, or by whoever takes the message.
const OWN_FIELDS: &[&str] = &[
    "From",
    "Sender",
    "To",
    "Cc",
    "Bcc",
    "Reply-To",
    "Subject",
    "Date",
    "MIME-Version",
    "Return-Path",
    "Received",
    "DKIM-Signature",
    "Authentication-Results",
    "Delivered-To",
];

/// Makes the message, and says to whom it goes.
pub(super) fn compose(email: EmailBody<'_>) -> Result<Submission, Problem> {
    let instructions = email.instructions()?;
    let from = email.from.read("from")?;
    let (to, cc, bcc) = (email.to.read("to")?, email.cc.read("cc")?, email.bcc.read("bcc")?);
    let reply_to = email.reply_to.read("replyTo")?;
    let recipients: Vec<Address> = [&to, &cc, &bcc].into_iter().flatten().map(|party| party.address.clone()).collect();
    if recipients.is_empty() {
        return Err(wrong("to", &"it is for nobody: give to, cc or bcc"));
    }
    let mut message = Vec::with_capacity(1024);
    put(&mut message, "From", &mailboxes(std::slice::from_ref(&from)));
    if to.is_empty() && cc.is_empty() {
        let nobody = AddressField::new_group(Some("undisclosed-recipients"), Vec::new());
        put(&mut message, "To", &HeaderType::Address(nobody));
    }
    for (name, parties) in [("To", &to), ("Cc", &cc), ("Reply-To", &reply_to)] {
        if !parties.is_empty() {
            put(&mut message, name, &mailboxes(parties));
        }
    }
    if let Some(subject) = &email.subject {
        check_text("subject", subject, SUBJECT_BYTES_MAX)?;
        put(&mut message, "Subject", &Text::new(subject.as_str()).into());
    }
    if email.headers.0.len() > FIELDS_MAX {
        return Err(wrong("headers", &format!("there are more than {FIELDS_MAX}")));
    }
    for (name, value) in &email.headers.0 {
        put_field(&mut message, name, value)?;
    }
    message.extend_from_slice(b"MIME-Version: 1.0\r\n");
    let not_before = email.not_before;
    content(email)?.write_part(&mut message);
    Ok(Submission {
        reverse_path: ReversePath(Some(from.address)),
        recipients,
        message: message.into(),
        instructions,
        not_before,
        require_tls: false,
        is_resent: false,
        sender_domains: Vec::new(),
        request: None,
    })
}

fn put(message: &mut Vec<u8>, name: &str, value: &HeaderType<'_>) {
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(b": ");
    value.write_header(message, name.len() + 2);
}

fn mailboxes(parties: &[Party]) -> HeaderType<'_> {
    let mailbox = |party: &'_ Party| {
        let Party { name, address } = party;
        // A server without SMTPUTF8 can take what has its domain in ASCII.
        let email = if address.needs_smtputf8() { address.to_string() } else { address.to_ascii_domain() };
        AddressField::Address(EmailAddress { name: name.clone().map(Into::into), email: email.into() })
    };
    HeaderType::Address(AddressField::new_list(parties.iter().map(mailbox).collect()))
}

/// One of the fields that the sender adds.
fn put_field(message: &mut Vec<u8>, name: &str, value: &str) -> Result<(), Problem> {
    let member = format!("headers.{}", name.escape_debug());
    // RFC 5322 section 2.2.
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if !is_name || name.len() > FIELD_NAME_BYTES_MAX {
        let why = format!("a field's name has up to {FIELD_NAME_BYTES_MAX} printable ASCII characters, no colon");
        return Err(wrong(&member, &why));
    }
    let starts_with = |start: &str| name.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start));
    if starts_with(FIELD_PREFIX) {
        return Err(wrong(&member, &"say it by a member of its own: tags, metadata, priority, notBefore, expiresAt"));
    }
    if starts_with("Content-") || OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(wrong(&member, &"this field is made here, of the other members; it cannot be given"));
    }
    check_text(&member, value, FIELD_VALUE_BYTES_MAX)?;
    if value.is_ascii() && value.split([' ', '\t']).any(|word| word.len() > FIELD_WORD_BYTES_MAX) {
        let why = format!("a line of it would be too long: put white space in after {FIELD_WORD_BYTES_MAX} characters");
        return Err(wrong(&member, &why));
    }
    if name.eq_ignore_ascii_case("Message-ID") && !is_message_id(value) {
        return Err(wrong(&member, &"a Message-ID is <text@domain>, in ASCII"));
    }
    let value = if value.is_ascii() { Raw::new(value).into() } else { Text::new(value).into() };
    put(message, name, &value);
    Ok(())
}

/// RFC 5322 section 3.6.4, without comments and quotes.
fn is_message_id(value: &str) -> bool {
    let inner = value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap_or_default();
    let is_clean = inner.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>(),;:\"\\".contains(&byte));
    is_clean
        && inner
            .split_once('@')
            .is_some_and(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains('@'))
}

/// Texts of the header section end no line and are no longer than they may be.
fn check_text(member: &str, text: &str, bytes_max: usize) -> Result<(), Problem> {
    if text.len() > bytes_max {
        return Err(wrong(member, &format!("it is longer than {bytes_max} bytes")));
    }
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(wrong(member, &"it has a line end or another control character"));
    }
    Ok(())
}

/// Text and HTML as alternatives, the HTML with what it shows, all of it with the files that go with it.
fn content(email: EmailBody<'_>) -> Result<MimePart<'static>, Problem> {
    for (member, text) in [("text", &email.text), ("html", &email.html)] {
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(wrong(member, &"it has a NUL character"));
        }
    }
    let has_html = email.html.is_some();
    let (mut shown, mut attached) = (Vec::new(), Vec::new());
    for (n, attachment) in email.attachments.0.iter().enumerate() {
        let is_shown = has_html && attachment.content_id.is_some();
        let part = attachment_part(attachment, is_shown, &format!("attachments[{n}]"))?;
        if is_shown { &mut shown } else { &mut attached }.push(part);
    }
    let html = email.html.map(|html| MimePart::new("text/html", BodyPart::Text(html.into())));
    let html = html.map(|html| {
        if shown.is_empty() {
            return html;
        }
        // RFC 2387: the type is that of the part that the others belong to.
        let related = ContentType::new("multipart/related").attribute("type", "text/html");
        MimePart::new(related, [vec![html], shown].concat())
    });
    let text = email.text.map(|text| MimePart::new("text/plain", BodyPart::Text(text.into())));
    let body = match (text, html) {
        (Some(text), Some(html)) => Some(MimePart::new("multipart/alternative", vec![text, html])),
        (text, html) => text.or(html),
    };
    match (body, attached.is_empty()) {
        (Some(body), true) => Ok(body),
        (None, true) => Err(wrong("text", &"there is no content: give text, html or attachments; text may be empty")),
        (body, false) => Ok(MimePart::new("multipart/mixed", body.into_iter().chain(attached).collect::<Vec<_>>())),
    }
}

fn attachment_part(
    attachment: &AttachmentBody<'_>,
    is_shown: bool,
    member: &str,
) -> Result<MimePart<'static>, Problem> {
    let content = decode(&attachment.content)
        .ok_or_else(|| wrong(&format!("{member}.content"), &"it is not base64 (RFC 4648 section 4)"))?;
    let said_type = attachment.content_type.as_deref().unwrap_or("application/octet-stream");
    let content_type = content_type(said_type).ok_or_else(|| {
        let why = "it is no type/subtype that a file can have, with parameters as ; name=value";
        wrong(&format!("{member}.contentType"), &why)
    })?;
    let is_message = content_type.c_type.eq_ignore_ascii_case("message/rfc822");
    let mut part = if is_message {
        // RFC 2046 section 5.2.1: no other encoding is allowed.
        let content = with_crlf(&content);
        let encoding = if content.is_ascii() { "7bit" } else { "8bit" };
        MimePart::new(content_type, BodyPart::Binary(content.into())).transfer_encoding(encoding)
    } else {
        let mut encoded = Vec::with_capacity(content.len() / 3 * 4 + content.len() / 28 + 8);
        Base64Encoder::new().wrap_lines().encode_into(&content, &mut encoded);
        MimePart::new(content_type, BodyPart::Binary(encoded.into())).transfer_encoding("base64")
    };
    let mut disposition = ContentType::new(if is_shown { "inline" } else { "attachment" });
    if let Some(filename) = &attachment.filename {
        let member = format!("{member}.filename");
        check_text(&member, filename, FILENAME_BYTES_MAX)?;
        disposition = disposition.attribute("filename", filename.clone());
    }
    part = part.header("Content-Disposition", disposition);
    if let Some(id) = &attachment.content_id {
        let id = id.trim_start_matches('<').trim_end_matches('>');
        let holds = id.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>".contains(&byte));
        if id.is_empty() || id.len() > CONTENT_ID_BYTES_MAX || !holds {
            let why = format!("it has 1 to {CONTENT_ID_BYTES_MAX} printable ASCII characters, no white space");
            return Err(wrong(&format!("{member}.contentId"), &why));
        }
        part = part.cid(id.to_owned());
    }
    Ok(part)
}

/// Base64 with line ends in it is what many libraries make for mail.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if !text.contains(|c: char| c.is_ascii_whitespace()) {
        return BASE64.decode(text).ok();
    }
    let text: String = text.split_ascii_whitespace().collect();
    BASE64.decode(text).ok()
}

/// Reads `type/subtype; name=value` (RFC 2045 section 5.1).
fn content_type(text: &str) -> Option<ContentType<'static>> {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
    };
    if text.len() > CONTENT_TYPE_BYTES_MAX {
        return None;
    }
    let mut pieces = text.split(';');
    let (main, sub) = pieces.next()?.trim().split_once('/')?;
    let is_composite = main.eq_ignore_ascii_case("multipart")
        || (main.eq_ignore_ascii_case("message") && !sub.eq_ignore_ascii_case("rfc822"));
    if !is_token(main) || !is_token(sub) || is_composite {
        return None;
    }
    let mut content_type = ContentType::new(format!("{main}/{sub}").to_ascii_lowercase());
    for parameter in pieces.map(str::trim).filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        if !is_token(name) || value.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
            return None;
        }
        content_type = content_type.attribute(name.to_owned(), value.to_owned());
    }
    Some(content_type)
}

/// With CRLF for every line end.
fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 32);
    let mut bytes = content.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' | b'\n' => {
                if byte == b'\r' && bytes.peek() == Some(&b'\n') {
                    bytes.next();
                }
                out.extend_from_slice(b"\r\n");
            }
            byte => out.push(byte),
        }
    }
    out
}
