//! Content-Transfer-Encoding (RFC 2045 section 6): what a body was before it was made fit for transport.
//!
//! Decoders take whatever comes: bytes that no encoder writes are passed over or kept, never an error.

use std::borrow::Cow;

use thiserror::Error;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransferEncoding {
    /// 7bit, 8bit, binary: as it is. Also where there is no field.
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
    /// A name that nobody knows: the bytes mean nothing to this server.
    Unknown,
}

/// The body's encoding has a name that this server does not know (RFC 3516 section 4.3: `UNKNOWN-CTE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the content transfer encoding is unknown")]
pub struct UnknownEncoding;

impl TransferEncoding {
    /// Reads a field's value. Comments and what stands behind the name are passed over.
    pub fn parse(value: &[u8]) -> Self {
        let name = Self::name(value);
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if name.is_empty() || is("7bit") || is("8bit") || is("binary") {
            Self::Identity
        } else if is("base64") {
            Self::Base64
        } else if is("quoted-printable") {
            Self::QuotedPrintable
        } else {
            Self::Unknown
        }
    }

    /// The name in a field's value; empty where there is none.
    pub(crate) fn name(value: &[u8]) -> &[u8] {
        let value = value.trim_ascii();
        let end = value.iter().position(|b| b.is_ascii_whitespace() || matches!(b, b';' | b'(')).unwrap_or(value.len());
        let name = &value[..end];
        if name.iter().all(|&b| b.is_ascii_graphic() && !b"\"/:<>@,[]?=\\".contains(&b)) { name } else { &[] }
    }

    /// The decoded body; borrowed where it is what it was.
    pub fn decode(self, body: &[u8]) -> Result<Cow<'_, [u8]>, UnknownEncoding> {
        match self {
            Self::Identity => Ok(body.into()),
            Self::Base64 => Ok(decode_base64(body).into()),
            Self::QuotedPrintable => Ok(decode_quoted_printable(body)),
            Self::Unknown => Err(UnknownEncoding),
        }
    }
}

const NOT_BASE64: u8 = 255;

const BASE64: [u8; 256] = {
    let mut table = [NOT_BASE64; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut i = 0;
    while i < alphabet.len() {
        table[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    table
};

/// RFC 2045 section 6.8. What is not in the alphabet is passed over. A `=` ends a run; what follows is the next one, as
/// programs write it that join encoded pieces.
pub(crate) fn decode_base64(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 3);
    let mut rest = body;
    let (mut bits, mut count) = (0u32, 0u8);
    loop {
        // Whole groups of four, as nearly all of a body is.
        while count == 0
            && let Some((&[a, b, c, d], tail)) = rest.split_first_chunk()
        {
            let [a, b, c, d] = [BASE64[a as usize], BASE64[b as usize], BASE64[c as usize], BASE64[d as usize]];
            if a | b | c | d == NOT_BASE64 {
                break;
            }
            let group = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
            out.extend_from_slice(&group.to_be_bytes()[1..]);
            rest = tail;
        }
        let Some((&byte, tail)) = rest.split_first() else { break };
        rest = tail;
        let value = BASE64[byte as usize];
        if value != NOT_BASE64 {
            bits = bits << 6 | u32::from(value);
            count += 1;
            if count == 4 {
                out.extend_from_slice(&bits.to_be_bytes()[1..]);
                (bits, count) = (0, 0);
            }
        } else if byte == b'=' {
            flush_base64(&mut out, bits, count);
            (bits, count) = (0, 0);
        }
    }
    flush_base64(&mut out, bits, count);
    out
}

/// The last one or two bytes of a run of base64.
fn flush_base64(out: &mut Vec<u8>, bits: u32, count: u8) {
    match count {
        2 => out.push((bits >> 4) as u8),
        3 => out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => {}
    }
}

/// RFC 2045 section 6.7. Blanks at the end of a line go; a `=` that is no escape stays.
pub(crate) fn decode_quoted_printable(body: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'=', body).is_none() {
        return body.into();
    }
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = memchr::memchr2(b'=', b'\n', rest) {
        let before = &rest[..at];
        if rest[at] == b'\n' {
            let (line, line_end): (_, &[u8]) = match before.strip_suffix(b"\r") {
                Some(line) => (line, b"\r\n"),
                None => (before, b"\n"),
            };
            out.extend_from_slice(without_blanks(line));
            out.extend_from_slice(line_end);
            rest = &rest[at + 1..];
            continue;
        }
        out.extend_from_slice(before);
        rest = &rest[at + 1..];
        if let [high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            out.push(high << 4 | low);
            rest = tail;
            continue;
        }
        // A soft line break, also with blanks between `=` and the line end.
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        match &rest[blanks..] {
            [b'\r', b'\n', tail @ ..] | [b'\n', tail @ ..] => rest = tail,
            [] => rest = &[],
            _ => out.push(b'='),
        }
    }
    out.extend_from_slice(rest);
    out.into()
}

fn without_blanks(mut line: &[u8]) -> &[u8] {
    while let [start @ .., b' ' | b'\t'] = line {
        line = start;
    }
    line
}

pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (value, encoding) in [
            (&b" BASE64 \r\n"[..], TransferEncoding::Base64),
            (b"quoted-printable; x", TransferEncoding::QuotedPrintable),
            (b"8bit (as it is)", TransferEncoding::Identity),
            (b"", TransferEncoding::Identity),
            (b"text/html", TransferEncoding::Identity),
            (b"x-uuencode", TransferEncoding::Unknown),
        ] {
            assert_eq!(TransferEncoding::parse(value), encoding);
        }
        assert_eq!(TransferEncoding::Unknown.decode(b"a"), Err(UnknownEncoding));
    }

    #[test]
    fn base64() {
        for (body, decoded) in [
            (&b"JVBERg=="[..], &b"%PDF"[..]),
            (b"SGVs\r\nbG8g\r\nd29y\r\nbGQ=\r\n", b"Hello world"),
            (b"S G V s b G 8", b"Hello"),
            (b"YQ==YmM=", b"abc"),
            (b"YQ", b"a"),
            (b"Y", b""),
            (b"!!!", b""),
            (b"", b""),
        ] {
            assert_eq!(decode_base64(body), decoded, "{body:?}");
        }
    }

    #[test]
    fn quoted_printable() {
        for (body, decoded) in [
            (&b"Gr=C3=BC=c3=9fe"[..], "Gr\u{fc}\u{df}e".as_bytes()),
            (b"one =\r\ntwo=\nthree= \t\r\nfour", b"one twothreefour"),
            (b"blanks  \t\r\nat the = end \nof=20lines=", b"blanks\r\nat the = end\nof lines"),
            (b"kept=20 \r\n=09\n", b"kept \r\n\t\n"),
            (b"=ZZ=4", b"=ZZ=4"),
            (b"plain", b"plain"),
        ] {
            assert_eq!(decode_quoted_printable(body), decoded, "{body:?}");
        }
    }
}
