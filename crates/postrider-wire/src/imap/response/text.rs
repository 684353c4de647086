//! The words of responses: numbers, strings, names, dates (RFC 9051 section 9).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bytes::BytesMut;

use crate::imap::date::DateTime;

/// What a client has enabled, as far as it changes how things are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dialect {
    /// ENABLE UTF8=ACCEPT (RFC 6855).
    pub utf8_accept: bool,
    /// ENABLE IMAP4rev2.
    pub rev2: bool,
}

impl Dialect {
    /// Names of mailboxes are UTF-8 instead of modified UTF-7, and quoted strings may hold UTF-8 (RFC 6855 section 3,
    /// RFC 9051 section 5.1 and appendix A).
    pub const fn is_utf8(self) -> bool {
        self.utf8_accept || self.rev2
    }
}

/// Bytes of a quoted string. What is longer is sent as a literal: clients have small buffers for lines.
const QUOTED_BYTES_MAX: usize = 1024;

pub fn number(out: &mut BytesMut, value: u64) {
    let mut digits = [0u8; 20];
    let (mut first, mut rest) = (digits.len(), value);
    loop {
        first -= 1;
        // A remainder by ten fits.
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// `{n}` and the bytes. They must not hold NUL, or it must be [`literal8`].
pub fn literal(out: &mut BytesMut, bytes: &[u8]) {
    literal_head(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// `{n}` and the end of the line: as many bytes must follow.
pub fn literal_head(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"{");
    number(out, length);
    out.extend_from_slice(b"}\r\n");
}

/// `~{n}` and the bytes, whatever they are (RFC 3516).
pub fn literal8(out: &mut BytesMut, bytes: &[u8]) {
    out.extend_from_slice(b"~");
    literal(out, bytes);
}

/// A string: quoted if it can be, else a literal.
pub fn string(out: &mut BytesMut, bytes: &[u8], dialect: Dialect) {
    let is_quotable = |b: &u8| !matches!(b, b'\r' | b'\n' | 0) && (b.is_ascii() || dialect.is_utf8());
    if bytes.len() > QUOTED_BYTES_MAX
        || !bytes.iter().all(is_quotable)
        || (!bytes.is_ascii() && std::str::from_utf8(bytes).is_err())
    {
        return literal(out, bytes);
    }
    quoted(out, bytes);
}

/// A string, or NIL.
pub fn nstring(out: &mut BytesMut, bytes: Option<&[u8]>, dialect: Dialect) {
    match bytes {
        Some(bytes) => string(out, bytes, dialect),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// An atom if it can be, else a string.
pub fn astring(out: &mut BytesMut, text: &str, dialect: Dialect) {
    if !text.is_empty() && text.bytes().all(is_astring_char) && !text.eq_ignore_ascii_case("NIL") {
        out.extend_from_slice(text.as_bytes());
    } else {
        string(out, text.as_bytes(), dialect);
    }
}

/// A mailbox's name: UTF-8 where the client has that enabled, modified UTF-7 otherwise.
pub fn mailbox_name(out: &mut BytesMut, name: &str, dialect: Dialect) {
    if dialect.is_utf8() || name.bytes().all(|b| b.is_ascii() && b != b'&') {
        return astring(out, name, dialect);
    }
    let mut encoded = String::with_capacity(name.len() + 8);
    crate::imap::utf7::encode(name, &mut encoded);
    astring(out, &encoded, dialect);
}

/// `"26-Nov-2026 09:58:03 +0100"`.
pub fn date_time(out: &mut BytesMut, at: DateTime) {
    let date = at.local_date();
    let seconds = at.local_seconds().rem_euclid(86_400).unsigned_abs();
    let zone = u64::from(at.zone_minutes.unsigned_abs());
    out.extend_from_slice(b"\"");
    two_digits(out, u64::from(date.day), b' ');
    out.extend_from_slice(b"-");
    out.extend_from_slice(date.month_name().as_bytes());
    out.extend_from_slice(b"-");
    two_digits(out, u64::from(date.year / 100), b'0');
    two_digits(out, u64::from(date.year % 100), b'0');
    out.extend_from_slice(b" ");
    two_digits(out, seconds / 3600, b'0');
    out.extend_from_slice(b":");
    two_digits(out, seconds / 60 % 60, b'0');
    out.extend_from_slice(b":");
    two_digits(out, seconds % 60, b'0');
    out.extend_from_slice(if at.zone_minutes < 0 { b" -" } else { b" +" });
    two_digits(out, zone / 60, b'0');
    two_digits(out, zone % 60, b'0');
    out.extend_from_slice(b"\"");
}

pub(crate) fn quoted(out: &mut BytesMut, bytes: &[u8]) {
    out.extend_from_slice(b"\"");
    let mut rest = bytes;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        out.extend_from_slice(b"\\");
        out.extend_from_slice(&special[..1]);
        rest = &special[1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\"");
}

/// Writes a list in parentheses with a space between.
pub(crate) fn list<T>(out: &mut BytesMut, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut BytesMut, T)) {
    out.extend_from_slice(b"(");
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b" ");
        }
        write(out, item);
    }
    out.extend_from_slice(b")");
}

/// Base64 without padding of UTF-16, as modified UTF-7 has it, with `,` for `/`.
pub(crate) fn utf7_base64(units: &[u8]) -> String {
    BASE64.encode(units).replace('/', ",")
}

/// `ASTRING-CHAR` (RFC 9051 section 9), but for `]`, which some clients cannot read in an atom.
fn is_astring_char(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

fn two_digits(out: &mut BytesMut, value: u64, pad: u8) {
    let tens = (value / 10 % 10) as u8;
    out.extend_from_slice(&[if tens == 0 { pad } else { b'0' + tens }, b'0' + (value % 10) as u8]);
}
