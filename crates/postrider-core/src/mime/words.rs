//! Header values as people read them: encoded words (RFC 2047) and charsets, to UTF-8.
//!
//! Whatever comes becomes text. What is no encoded word stays as it is written.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::transfer::{decode_base64, hex_digit};

/// Text in that charset as UTF-8. An unknown charset is read as UTF-8 where the bytes are that, as Windows-1252 otherwise.
pub(crate) fn decode_charset<'a>(charset: &[u8], text: &'a [u8]) -> Cow<'a, str> {
    if text.is_ascii() && !is_stateful(charset) {
        return String::from_utf8_lossy(text);
    }
    let is = |name: &str| charset.eq_ignore_ascii_case(name.as_bytes());
    let is_utf8 = charset.is_empty() || is("utf-8") || is("utf8") || is("us-ascii");
    if is_utf8 && let Ok(text) = std::str::from_utf8(text) {
        return text.into();
    }
    let known = if is_utf8 || charset.is_empty() { None } else { charset_decoder(charset) };
    match known {
        Some(decoder) => decoder(text).into(),
        None => match std::str::from_utf8(text) {
            Ok(text) => text.into(),
            // What was cut off or mistyped in otherwise good UTF-8 costs a character; all else is old 8-bit text.
            Err(_) if is("utf-8") || is("utf8") => String::from_utf8_lossy(text),
            Err(_) => match charset_decoder(b"windows-1252") {
                Some(decoder) => decoder(text).into(),
                None => String::from_utf8_lossy(text),
            },
        },
    }
}

/// A header value in UTF-8, without folds and outer blanks.
pub(crate) fn decode_words(value: &[u8]) -> Cow<'_, str> {
    let value = value.trim_ascii();
    let has_word = memmem::find(value, b"=?").is_some();
    if !has_word && memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        return decode_charset(b"", value);
    }
    let mut text = String::with_capacity(value.len());
    decode_words_into(&super::header::unfold(value), &mut text);
    text.into()
}

/// As [`decode_words`], appended.
pub(crate) fn decode_words_into(value: &[u8], out: &mut String) {
    let mut rest = value;
    let mut run = Run::default();
    // Behind the last end no word ends: who writes many beginnings would have each of them looked for an end.
    let mut ends = memmem::rfind(value, b"?=").map_or(0, |at| at + 2);
    while ends > 0 {
        let Some(at) = memmem::find(&rest[..ends], b"=?") else { break };
        let length_before = rest.len();
        let before = &rest[..at];
        match Word::parse(&rest[at..]) {
            Some((word, length)) => {
                // RFC 2047 section 6.2: blanks between two encoded words are not shown.
                if run.is_empty() || !before.iter().all(u8::is_ascii_whitespace) {
                    run.flush(out);
                    push_plain(before, out);
                }
                run.push(word, out);
                rest = &rest[at + length..];
            }
            None => {
                run.flush(out);
                push_plain(&rest[..at + 2], out);
                rest = &rest[at + 2..];
            }
        }
        ends = ends.saturating_sub(length_before - rest.len());
    }
    run.flush(out);
    push_plain(rest, out);
}

/// Encoded words of one charset that follow on each other: their bytes are joined first, because programs cut characters
/// in two.
#[derive(Default)]
struct Run<'a> {
    charset: &'a [u8],
    bytes: Vec<u8>,
}

impl<'a> Run<'a> {
    fn is_empty(&self) -> bool {
        self.charset.is_empty()
    }

    fn push(&mut self, word: Word<'a>, out: &mut String) {
        if !word.charset.eq_ignore_ascii_case(self.charset) {
            self.flush(out);
            self.charset = word.charset;
        }
        if word.is_base64 {
            self.bytes.append(&mut decode_base64(word.text));
        } else {
            decode_q(word.text, &mut self.bytes);
        }
    }

    fn flush(&mut self, out: &mut String) {
        if !self.is_empty() {
            push_clean(&decode_charset(self.charset, &self.bytes), out);
            self.bytes.clear();
            self.charset = &[];
        }
    }
}

struct Word<'a> {
    charset: &'a [u8],
    is_base64: bool,
    text: &'a [u8],
}

impl<'a> Word<'a> {
    /// The encoded word at the start of `bytes`, and its length.
    fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        const CHARSET_BYTES_MAX: usize = 64;
        let rest = bytes.strip_prefix(b"=?")?;
        let charset_end = memchr(b'?', &rest[..rest.len().min(CHARSET_BYTES_MAX)])?;
        let charset = &rest[..charset_end];
        // RFC 2231 section 5: `charset*language`.
        let charset = &charset[..memchr(b'*', charset).unwrap_or(charset.len())];
        if charset.is_empty() || charset.iter().any(|b| !b.is_ascii_graphic()) {
            return None;
        }
        let (encoding, text) = match &rest[charset_end + 1..] {
            [encoding, b'?', text @ ..] => (encoding, text),
            _ => return None,
        };
        let is_base64 = match encoding {
            b'B' | b'b' => true,
            b'Q' | b'q' => false,
            _ => return None,
        };
        let end = memmem::find(text, b"?=")?;
        let length = bytes.len() - text.len() + end + 2;
        Some((Self { charset, is_base64, text: &text[..end] }, length))
    }
}

/// The length of the encoded word at the start of `bytes`; one of more than 1 KiB is none.
pub(crate) fn word_length(bytes: &[u8]) -> Option<usize> {
    const WORD_BYTES_MAX: usize = 1 << 10;
    Word::parse(&bytes[..bytes.len().min(WORD_BYTES_MAX)]).map(|(_, length)| length)
}

/// The Q encoding (RFC 2047 section 4.2).
fn decode_q(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'_' => out.push(b' '),
            b'=' => match tail {
                [high, low, tail @ ..] if hex_digit(*high).is_some() && hex_digit(*low).is_some() => {
                    out.push(hex_digit(*high).unwrap_or_default() << 4 | hex_digit(*low).unwrap_or_default());
                    rest = tail;
                }
                _ => out.push(byte),
            },
            _ => out.push(byte),
        }
    }
}

fn push_plain(bytes: &[u8], out: &mut String) {
    push_clean(&decode_charset(b"", bytes), out);
}

/// Folds go, other control characters become blanks.
fn push_clean(text: &str, out: &mut String) {
    if text.bytes().all(|b| b >= b' ' && b != 127) {
        out.push_str(text);
    } else {
        out.extend(text.chars().filter(|c| !matches!(c, '\r' | '\n')).map(|c| if c.is_control() { ' ' } else { c }));
    }
}

/// Charsets in which bytes below 128 are not ASCII.
fn is_stateful(charset: &[u8]) -> bool {
    let starts = |start: &str| charset.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start.as_bytes()));
    starts("iso-2022") || starts("utf-7") || starts("utf-16") || starts("hz")
}

fn charset_decoder(charset: &[u8]) -> Option<fn(&[u8]) -> String> {
    if charset.is_empty() {
        return None;
    }
    mail_parser::decoders::charsets::map::charset_decoder(charset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words() {
        for (value, text) in [
            (&b" plain\r\n folded "[..], "plain folded"),
            (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?UTF-8?Q?_an_alle?= !", "Gr\u{fc}\u{df}e an alle !"),
            (b"=?utf-8?B?w7w=?=\r\n =?iso-8859-1?Q?=FC?=", "\u{fc}\u{fc}"),
            (b"cut =?utf-8?Q?=C3?= =?utf-8?Q?=BC?= in two", "cut \u{fc} in two"),
            (b"=?iso-8859-1*de?Q?=E4?=", "\u{e4}"),
            (b"=? =?utf-8?q?a?=", "=? a"),
            (b"no =? word =?utf-8?X?a?= =?utf-8?q?open", "no =? word =?utf-8?X?a?= =?utf-8?q?open"),
            ("roh: \u{fc}".as_bytes(), "roh: \u{fc}"),
            (b"latin: \xfc", "latin: \u{fc}"),
            (b"=?x-nobody?Q?=C3=BC?=", "\u{fc}"),
            (b"=?utf-8?Q?a=0D=0Ab=07?=", "ab "),
            (b"", ""),
        ] {
            assert_eq!(decode_words(value), text, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn charsets() {
        assert_eq!(decode_charset(b"koi8-r", b"\xf0\xd2\xc9"), "\u{41f}\u{440}\u{438}");
        assert_eq!(decode_charset(b"utf-8", b"a\xffb"), "a\u{fffd}b");
        assert_eq!(decode_charset(b"us-ascii", b"\xfc"), "\u{fc}");
        assert_eq!(decode_charset(b"utf-7", b"+APw-"), "\u{fc}");
    }
}
