//! What SEARCH compares: a needle in text, in header fields and in bodies, whatever charset and encoding they came in
//! (RFC 3501 section 6.4.4, RFC 9051 section 6.4.4.1).
//!
//! Case is disregarded, for all of Unicode by simple case mapping; accents are not. A needle in ASCII meets ASCII only: the
//! Kelvin sign is no `k`. Bodies that are ASCII or UTF-8 as they stand are searched where they lie, without a copy.

use std::borrow::Cow;

use memchr::{memchr_iter, memchr2_iter, memmem};

use super::header::{Field, Fields};
use super::structure::{Part, PartKind, Structure};
use super::transfer::TransferEncoding;
use super::words::{decode_charset, decode_words};

/// A text to be found, made ready once for many searches.
#[derive(Debug, Clone)]
pub struct Needle {
    /// In lower case.
    folded: String,
    method: Method,
}

#[derive(Debug, Clone)]
enum Method {
    /// Everything contains nothing.
    Empty,
    /// ASCII; with its longest word where it has several: what lacks that word need not be unfolded.
    Ascii { whole: AsciiNeedle, longest_word: Option<AsciiNeedle> },
    /// Anything else: found in the folded text.
    Unicode(Box<memmem::Finder<'static>>),
}

impl Needle {
    pub fn new(text: &str) -> Self {
        let folded = fold(text);
        let method = if folded.is_empty() {
            Method::Empty
        } else if folded.is_ascii() {
            let longest_word = if folded.contains(char::is_whitespace) {
                folded.split_ascii_whitespace().max_by_key(|word| word.len()).map(AsciiNeedle::new)
            } else {
                None
            };
            Method::Ascii { whole: AsciiNeedle::new(&folded), longest_word }
        } else {
            Method::Unicode(Box::new(memmem::Finder::new(folded.as_bytes()).into_owned()))
        };
        Self { folded, method }
    }

    /// Whether decoded text contains it, such as those of a [`crate::mailbox::Digest`].
    pub fn matches(&self, text: &str) -> bool {
        match &self.method {
            Method::Empty => true,
            Method::Ascii { whole, .. } => whole.is_in(text.as_bytes()),
            // Nothing in ASCII folds to what is not.
            Method::Unicode(_) if text.is_ascii() => false,
            Method::Unicode(finder) => finder.find(fold(text).as_bytes()).is_some(),
        }
    }

    /// Whether a field of that name contains it, decoded; for the empty needle, whether there is one.
    pub fn matches_field(&self, section: &[u8], name: &str) -> bool {
        Fields::new(section).any(|field| field.is(name) && self.is_in_value(field.value))
    }

    /// Whether any line of a header section contains it, decoded: `Name: value`.
    pub fn matches_header(&self, section: &[u8]) -> bool {
        matches!(self.method, Method::Empty) || Fields::new(section).any(|field| self.is_in_field(&field))
    }

    /// Whether the message's text contains it: SEARCH BODY. Parts that are no text are passed over, but not their headers;
    /// messages within are text.
    pub fn matches_body(&self, raw: &[u8], structure: &Structure) -> bool {
        if matches!(self.method, Method::Empty) {
            return true;
        }
        structure.parts().iter().enumerate().any(|(i, part)| {
            (i > 0 && self.matches_header(raw.get(part.header.clone()).unwrap_or_default()))
                || matches!(part.kind, PartKind::Text | PartKind::Other) && self.is_in_part(raw, part)
        })
    }

    /// Whether header or text contains it: SEARCH TEXT.
    pub fn matches_message(&self, raw: &[u8], structure: &Structure) -> bool {
        let header = raw.get(structure.root().header.clone()).unwrap_or_default();
        self.matches_header(header) || self.matches_body(raw, structure)
    }

    fn is_in_part(&self, raw: &[u8], part: &Part) -> bool {
        let content_type = part.content_type(raw);
        // Reports on deliveries and the like are made to be read.
        if !matches!(&*content_type.main, "text" | "message") {
            return false;
        }
        let charset = content_type.parameters.get("charset").unwrap_or_default();
        let body = raw.get(part.body.clone()).unwrap_or_default();
        let body = match part.encoding {
            TransferEncoding::Identity => Cow::Borrowed(body),
            // Nobody knows what it says.
            TransferEncoding::Unknown => return false,
            encoding => encoding.decode(body).unwrap_or_default(),
        };
        if let Method::Ascii { whole, .. } = &self.method
            && extends_ascii(charset)
        {
            return whole.is_in(&body);
        }
        self.matches(&decode_charset(charset, &body))
    }

    fn is_in_field(&self, field: &Field<'_>) -> bool {
        let has_words = memmem::find(field.value, b"=?").is_some();
        match &self.method {
            Method::Ascii { whole, longest_word } if !has_words => {
                let is_folded = || memchr::memchr(b'\n', field.value).is_some();
                match longest_word {
                    Some(word) if is_folded() && !word.is_in(field.line) => return false,
                    Some(_) if is_folded() => {}
                    _ => return whole.is_in(field.line),
                }
            }
            Method::Unicode(_) if !has_words && field.line.is_ascii() => return false,
            _ => {}
        }
        // The name, the value, or what lies across: only a needle with a colon can.
        if self.folded.contains(':') {
            let name = String::from_utf8_lossy(field.name);
            return self.matches(&format!("{name}: {}", decode_words(field.value)));
        }
        self.matches(&decode_words(field.name)) || self.is_in_value(field.value)
    }

    fn is_in_value(&self, value: &[u8]) -> bool {
        self.matches(&decode_words(value))
    }
}

/// Where its rarest byte stands, in both cases, the rest is compared.
#[derive(Debug, Clone)]
struct AsciiNeedle {
    lower_case: Box<[u8]>,
    rarest_at: usize,
    rarest: u8,
}

impl AsciiNeedle {
    fn new(folded: &str) -> Self {
        let rarest = folded.bytes().enumerate().min_by_key(|&(_, byte)| frequency(byte));
        let (rarest_at, rarest) = rarest.unwrap_or_default();
        Self { lower_case: folded.as_bytes().into(), rarest_at, rarest }
    }

    /// Whether bytes of which those below 128 are ASCII contain it.
    fn is_in(&self, haystack: &[u8]) -> bool {
        let is_at = |at: usize| {
            let Some(start) = at.checked_sub(self.rarest_at) else { return false };
            let text = haystack.get(start..start + self.lower_case.len());
            text.is_some_and(|text| text.eq_ignore_ascii_case(&self.lower_case))
        };
        let (lower, upper) = (self.rarest, self.rarest.to_ascii_uppercase());
        if lower == upper {
            memchr_iter(lower, haystack).any(is_at)
        } else {
            memchr2_iter(lower, upper, haystack).any(is_at)
        }
    }
}

/// Simple case mapping: each character that has one lower case of one character becomes that.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lower = |c: char| {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            // The final sigma is a sigma.
            (Some('\u{3c2}'), None) => '\u{3c3}',
            (Some(single), None) => single,
            _ => c,
        }
    };
    text.chars().map(lower).collect()
}

/// Whether a byte below 128 is always that ASCII character: not so where shifts or pairs of bytes give it another meaning.
fn extends_ascii(charset: &[u8]) -> bool {
    let starts = |start: &str| charset.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start.as_bytes()));
    charset.is_empty()
        || ["utf-8", "utf8", "us-ascii", "ascii", "ansi", "iso-8859", "iso8859", "windows-12", "koi8", "latin", "cp125"]
            .into_iter()
            .any(starts)
}

/// How often a byte stands in mail, roughly; the rarer the quicker the search.
fn frequency(byte: u8) -> u8 {
    const LETTERS: &[u8] = b"etaoinsrhldcumfpgwybvkxjqz";
    match byte {
        b' ' => 255,
        b'a'..=b'z' => 200 - 5 * LETTERS.iter().position(|&letter| letter == byte).unwrap_or(25) as u8,
        b'0'..=b'9' | b'-' | b'=' | b'.' | b'/' | b'<' | b'>' | b'\n' | b'\r' => 100,
        _ => 50,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(needle: &str, message: &str) -> (bool, bool) {
        let (raw, needle) = (message.as_bytes(), Needle::new(needle));
        let structure = Structure::parse(raw);
        (needle.matches_message(raw, &structure), needle.matches_body(raw, &structure))
    }

    #[test]
    fn text() {
        for (needle, text, is_found) in [
            ("", "", true),
            ("hello", "say HeLLo", true),
            ("HELLO", "hell", false),
            ("ello", "hellhello", true),
            ("42-", "at 42- ", true),
            ("\u{dc}BER", "das \u{fc}ber alles", true),
            ("\u{fc}", "u", false),
            ("\u{41f}\u{420}\u{418}", "\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}", true),
            ("\u{3a3}\u{391}\u{3a3}", "\u{3c3}\u{3b1}\u{3c2}", true),
            ("a", "\u{212b}", false),
        ] {
            assert_eq!(Needle::new(needle).matches(text), is_found, "{needle} {text}");
        }
    }

    #[test]
    fn header_fields() {
        let section = b"Subject: one\r\n two\r\nX-Note: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Empty:\r\n\r\n";
        for (needle, name, is_found) in [
            ("one two", "subject", true),
            ("GR\u{dc}\u{df}E", "x-note", true),
            ("gr", "X-Note", true),
            ("utf", "X-Note", false),
            ("", "X-Empty", true),
            ("", "X-None", false),
        ] {
            assert_eq!(Needle::new(needle).matches_field(section, name), is_found, "{needle} {name}");
        }
        for (needle, is_found) in [
            ("subject: one two", true),
            ("one two", true),
            ("one  two", false),
            ("onetwo", false),
            ("two three", false),
            ("x-empty", true),
            ("x-note: gr\u{fc}", true),
            ("utf-8", false),
            ("X:", false),
        ] {
            assert_eq!(Needle::new(needle).matches_header(section), is_found, "{needle}");
        }
    }

    #[test]
    fn bodies_are_decoded() {
        let message = "Subject: head\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=\r\n=C3=9Fe\r\n\
            --x\r\nContent-Type: text/html; charset=koi8-r\r\nContent-Transfer-Encoding: base64\r\n\r\n8NLJ18XU\r\n\
            --x\r\nContent-Type: application/pdf; name=Report.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVu\r\n\
            --x\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n\
            --x\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?Inn=C3=A9r?=\r\n\r\ninside\r\n--x--\r\n";
        for (needle, is_found) in [
            ("gr\u{fc}\u{df}E", (true, true)),
            ("\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}", (true, true)),
            ("head", (true, false)),
            ("hidden", (false, false)),
            ("action: failed", (true, true)),
            ("report.pdf", (true, true)),
            ("INN\u{c9}R", (true, true)),
            ("Inside", (true, true)),
            ("", (true, true)),
        ] {
            assert_eq!(is_in(needle, message), is_found, "{needle}");
        }
        let japanese = "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\u{1b}$B%O%m\u{1b}(B";
        assert_eq!(is_in("%o", japanese), (false, false));
        assert_eq!(is_in("\u{30cf}\u{30ed}", japanese), (true, true));
    }
}
