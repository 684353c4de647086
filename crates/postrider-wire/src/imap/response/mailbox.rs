//! Responses about mailboxes and the server (RFC 9051 sections 7.2 to 7.4; RFC 2342, 2971, 5161, 5464, 9208).

use bytes::BytesMut;

use super::text::{Dialect, astring, list as parenthesized, mailbox_name, nstring, number, quoted, string};
use crate::imap::command::StatusItem;

/// `* CAPABILITY IMAP4rev1 ...`
pub fn capability(out: &mut BytesMut, capabilities: &str) {
    out.extend_from_slice(b"* CAPABILITY ");
    out.extend_from_slice(capabilities.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `* ENABLED CONDSTORE`
pub fn enabled<'a>(out: &mut BytesMut, names: impl IntoIterator<Item = &'a str>) {
    out.extend_from_slice(b"* ENABLED");
    for name in names {
        out.extend_from_slice(b" ");
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// `* ID ("name" "Postrider")`; NIL without fields.
pub fn id<'a>(out: &mut BytesMut, fields: impl IntoIterator<Item = (&'a str, &'a str)>) {
    out.extend_from_slice(b"* ID ");
    let mut fields = fields.into_iter().peekable();
    if fields.peek().is_none() {
        out.extend_from_slice(b"NIL\r\n");
        return;
    }
    parenthesized(out, fields, |out, (name, value)| {
        string(out, name.as_bytes(), Dialect::default());
        out.extend_from_slice(b" ");
        string(out, value.as_bytes(), Dialect::default());
    });
    out.extend_from_slice(b"\r\n");
}

/// `* 3 EXISTS`
pub fn exists(out: &mut BytesMut, messages: u32) {
    counted(out, messages, b" EXISTS\r\n");
}

/// `* 0 RECENT`, which IMAP4rev2 no longer has.
pub fn recent(out: &mut BytesMut, messages: u32) {
    counted(out, messages, b" RECENT\r\n");
}

/// `* FLAGS (\Answered ...)`
pub fn flags<T: AsRef<str>>(out: &mut BytesMut, flags: impl IntoIterator<Item = T>) {
    out.extend_from_slice(b"* FLAGS ");
    parenthesized(out, flags, |out, flag| out.extend_from_slice(flag.as_ref().as_bytes()));
    out.extend_from_slice(b"\r\n");
}

/// One LIST response.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListLine<'a> {
    /// With their backslashes: `\HasChildren`, `\Noselect`, `\Subscribed`, `\Sent` ...
    pub attributes: &'a [&'a str],
    /// In UTF-8.
    pub name: &'a str,
    /// `None`: NIL, a flat name.
    pub delimiter: Option<char>,
    /// CHILDINFO ("SUBSCRIBED"): something below is subscribed (RFC 5258 section 4).
    pub child_info_subscribed: bool,
    /// OLDNAME (RFC 9051 section 6.3.9.7): what the mailbox was called, or was asked for as.
    pub old_name: Option<&'a str>,
}

/// `* LIST (\HasNoChildren) "/" INBOX`
pub fn list(out: &mut BytesMut, line: &ListLine<'_>, dialect: Dialect) {
    list_as(out, b"* LIST ", line, dialect);
    let mut items: [Option<(&str, &str)>; 2] = [None; 2];
    if line.child_info_subscribed {
        items[0] = Some(("CHILDINFO", ""));
    }
    items[1] = line.old_name.map(|name| ("OLDNAME", name));
    if items.iter().any(Option::is_some) {
        out.extend_from_slice(b" ");
        parenthesized(out, items.into_iter().flatten(), |out, (item, name)| {
            quoted(out, item.as_bytes());
            out.extend_from_slice(b" ");
            match item {
                "OLDNAME" => parenthesized(out, [name], |out, name| mailbox_name(out, name, dialect)),
                _ => out.extend_from_slice(b"(\"SUBSCRIBED\")"),
            }
        });
    }
    out.extend_from_slice(b"\r\n");
}

/// `* LSUB () "/" INBOX` (RFC 3501 section 7.2.3).
pub fn lsub(out: &mut BytesMut, line: &ListLine<'_>, dialect: Dialect) {
    list_as(out, b"* LSUB ", line, dialect);
    out.extend_from_slice(b"\r\n");
}

/// What STATUS says of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusValue<'a> {
    Number(u64),
    /// MAILBOXID.
    Id(&'a str),
    /// APPENDLIMIT where there is none.
    Nil,
}

/// `* STATUS INBOX (MESSAGES 3)`
pub fn status<'a>(
    out: &mut BytesMut,
    name: &str,
    values: impl IntoIterator<Item = (StatusItem, StatusValue<'a>)>,
    dialect: Dialect,
) {
    out.extend_from_slice(b"* STATUS ");
    mailbox_name(out, name, dialect);
    out.extend_from_slice(b" ");
    parenthesized(out, values, |out, (item, value)| {
        out.extend_from_slice(item.name().as_bytes());
        out.extend_from_slice(b" ");
        match value {
            StatusValue::Number(value) => number(out, value),
            StatusValue::Id(id) => parenthesized(out, [id], |out, id| out.extend_from_slice(id.as_bytes())),
            StatusValue::Nil => out.extend_from_slice(b"NIL"),
        }
    });
    out.extend_from_slice(b"\r\n");
}

/// `* NAMESPACE (("" "/")) NIL NIL`: one personal namespace, none of others'.
pub fn namespace(out: &mut BytesMut, prefix: &str, delimiter: char, dialect: Dialect) {
    out.extend_from_slice(b"* NAMESPACE ((");
    string(out, prefix.as_bytes(), dialect);
    out.extend_from_slice(b" ");
    delimiter_or_nil(out, Some(delimiter));
    out.extend_from_slice(b")) NIL NIL\r\n");
}

/// `* QUOTA root (STORAGE 10 512)`: resource, usage, limit (RFC 9208 section 4.2.1).
pub fn quota<'a>(
    out: &mut BytesMut,
    root: &str,
    resources: impl IntoIterator<Item = (&'a str, u64, u64)>,
    dialect: Dialect,
) {
    out.extend_from_slice(b"* QUOTA ");
    quota_root_name(out, root, dialect);
    out.extend_from_slice(b" ");
    parenthesized(out, resources, |out, (name, usage, limit)| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b" ");
        number(out, usage);
        out.extend_from_slice(b" ");
        number(out, limit);
    });
    out.extend_from_slice(b"\r\n");
}

/// `* QUOTAROOT INBOX root`
pub fn quota_root<'a>(out: &mut BytesMut, name: &str, roots: impl IntoIterator<Item = &'a str>, dialect: Dialect) {
    out.extend_from_slice(b"* QUOTAROOT ");
    mailbox_name(out, name, dialect);
    for root in roots {
        out.extend_from_slice(b" ");
        quota_root_name(out, root, dialect);
    }
    out.extend_from_slice(b"\r\n");
}

/// `* METADATA INBOX (/private/comment "x")`: entries and their values (RFC 5464 section 4.4.1). An empty name: the
/// server's.
pub fn metadata<'a>(
    out: &mut BytesMut,
    name: &str,
    entries: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    dialect: Dialect,
) {
    out.extend_from_slice(b"* METADATA ");
    mailbox_name(out, name, dialect);
    out.extend_from_slice(b" ");
    parenthesized(out, entries, |out, (entry, value)| {
        astring(out, entry, dialect);
        out.extend_from_slice(b" ");
        if value.is_some_and(|bytes| memchr::memchr(0, bytes).is_some()) {
            out.extend_from_slice(b"~");
        }
        nstring(out, value, dialect);
    });
    out.extend_from_slice(b"\r\n");
}

/// `* METADATA INBOX /private/comment`: what was changed by others (section 4.4.2).
pub fn metadata_changed<'a>(
    out: &mut BytesMut,
    name: &str,
    entries: impl IntoIterator<Item = &'a str>,
    dialect: Dialect,
) {
    out.extend_from_slice(b"* METADATA ");
    mailbox_name(out, name, dialect);
    for entry in entries {
        out.extend_from_slice(b" ");
        astring(out, entry, dialect);
    }
    out.extend_from_slice(b"\r\n");
}

fn list_as(out: &mut BytesMut, name: &[u8], line: &ListLine<'_>, dialect: Dialect) {
    out.extend_from_slice(name);
    parenthesized(out, line.attributes, |out, attribute: &&str| out.extend_from_slice(attribute.as_bytes()));
    out.extend_from_slice(b" ");
    delimiter_or_nil(out, line.delimiter);
    out.extend_from_slice(b" ");
    mailbox_name(out, line.name, dialect);
}

fn delimiter_or_nil(out: &mut BytesMut, delimiter: Option<char>) {
    match delimiter {
        Some(delimiter) => quoted(out, delimiter.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// An empty root is written as `""`.
fn quota_root_name(out: &mut BytesMut, root: &str, dialect: Dialect) {
    astring(out, root, dialect);
}

fn counted(out: &mut BytesMut, messages: u32, rest: &[u8]) {
    out.extend_from_slice(b"* ");
    number(out, u64::from(messages));
    out.extend_from_slice(rest);
}
