//! The values of Content-Type and Content-Disposition: a word or two, and parameters (RFC 2045 section 5.1, RFC 2183).
//!
//! Names come in lower case. Values come without quotes and folds and are otherwise as written, RFC 2231 pieces included:
//! IMAP shows them so, and its clients put them together.

use std::borrow::Cow;

/// Parameters of one field that are read.
const PARAMETERS_MAX: usize = 64;

/// The bytes of a value that are read.
const VALUE_BYTES_MAX: usize = 16 << 10;

/// A Content-Type field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType<'a> {
    /// In lower case, as `subtype`.
    pub main: Cow<'a, str>,
    pub subtype: Cow<'a, str>,
    pub parameters: Parameters<'a>,
}

impl<'a> ContentType<'a> {
    /// `None` for what is no content type: RFC 2045 section 5.2 takes such a part for plain text in ASCII.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut scanner = Scanner::new(value);
        let main = scanner.token()?;
        scanner.skip_blanks();
        if !scanner.take(b'/') {
            return None;
        }
        scanner.skip_blanks();
        let subtype = scanner.token()?;
        Some(Self { main, subtype, parameters: Parameters::parse(scanner) })
    }

    /// What a part without a field is.
    pub fn plain_text() -> Self {
        Self { main: "text".into(), subtype: "plain".into(), parameters: Parameters::default() }
    }

    pub fn is(&self, main: &str, subtype: &str) -> bool {
        self.main == main && self.subtype == subtype
    }
}

/// A Content-Disposition field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition<'a> {
    /// In lower case: `attachment`, `inline` or another.
    pub kind: Cow<'a, str>,
    pub parameters: Parameters<'a>,
}

impl<'a> Disposition<'a> {
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut scanner = Scanner::new(value);
        let kind = scanner.token()?;
        Some(Self { kind, parameters: Parameters::parse(scanner) })
    }
}

/// Names in lower case, and values, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters<'a>(pub Vec<(Cow<'a, str>, Cow<'a, [u8]>)>);

impl<'a> Parameters<'a> {
    /// The first of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn parse(mut scanner: Scanner<'a>) -> Self {
        let mut list = Vec::new();
        while list.len() < PARAMETERS_MAX && scanner.skip_to_parameter() {
            let Some(name) = scanner.token() else { continue };
            scanner.skip_blanks();
            if scanner.take(b'=') {
                scanner.skip_blanks();
                list.push((name, scanner.value()));
            }
        }
        Self(list)
    }
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn new(value: &'a [u8]) -> Self {
        let mut scanner = Self { rest: &value[..value.len().min(VALUE_BYTES_MAX)] };
        scanner.skip_blanks();
        scanner
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, tail)) if first == byte => {
                self.rest = tail;
                true
            }
            _ => false,
        }
    }

    /// Blanks, folds and comments.
    fn skip_blanks(&mut self) {
        let mut depth = 0usize;
        while let Some((&byte, tail)) = self.rest.split_first() {
            match byte {
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b'\\' if depth > 0 => {
                    self.rest = tail.get(1..).unwrap_or_default();
                    continue;
                }
                _ if depth > 0 || byte <= b' ' => {}
                _ => break,
            }
            self.rest = tail;
        }
    }

    /// Behind the next `;`. Programs forget it between parameters on lines of their own: there a blank does, too.
    fn skip_to_parameter(&mut self) -> bool {
        let before = self.rest.len();
        self.skip_blanks();
        let mut was_separated = self.rest.len() < before;
        while self.take(b';') {
            self.skip_blanks();
            was_separated = true;
        }
        if !was_separated && !self.rest.is_empty() {
            // Whatever stands behind a value: up to the next parameter.
            let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
            return self.take(b';') && {
                self.skip_blanks();
                !self.rest.is_empty()
            };
        }
        !self.rest.is_empty()
    }

    /// A token (RFC 2045 section 5.1) in lower case. `None` leaves one byte behind, so that a loop comes to its end.
    fn token(&mut self) -> Option<Cow<'a, str>> {
        let is_end = |&b: &u8| b <= b' ' || b >= 127 || b"()<>@,;:\\\"/[]?=".contains(&b);
        let end = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
        if end == 0 {
            self.rest = self.rest.get(1..).unwrap_or_default();
            return None;
        }
        let (token, tail) = self.rest.split_at(end);
        self.rest = tail;
        // Printable ASCII only, as `is_end` sees to.
        let text = std::str::from_utf8(token).unwrap_or_default();
        Some(if token.iter().any(u8::is_ascii_uppercase) { text.to_ascii_lowercase().into() } else { text.into() })
    }

    /// A parameter's value: a quoted string, or everything up to `;`, as programs write file names with blanks.
    fn value(&mut self) -> Cow<'a, [u8]> {
        if self.take(b'"') {
            return self.quoted();
        }
        let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
        let mut value = &self.rest[..end];
        // The next parameter on a line of its own, its `;` forgotten.
        if let Some(fold) = memchr::memchr(b'\n', value)
            && memchr::memchr(b'=', &value[fold..]).is_some()
        {
            value = &value[..fold];
        }
        self.rest = &self.rest[value.len()..];
        // A comment behind the value (RFC 2045 section 5.1 shows one).
        if let Some(comment) = value.windows(2).position(|pair| pair == b" (")
            && value.trim_ascii_end().ends_with(b")")
        {
            value = &value[..comment];
        }
        super::header::unfold(value)
    }

    /// The rest of a quoted string, whose opening quote was taken; to the end where it is never closed.
    fn quoted(&mut self) -> Cow<'a, [u8]> {
        let Some(end) = memchr::memchr2(b'"', b'\\', self.rest) else {
            return super::header::unfold(std::mem::take(&mut self.rest));
        };
        if self.rest[end] == b'"' {
            let value = &self.rest[..end];
            self.rest = &self.rest[end + 1..];
            return without_folds(value);
        }
        let mut value = Vec::with_capacity(self.rest.len().min(256));
        while let Some((&byte, tail)) = self.rest.split_first() {
            self.rest = tail;
            match byte {
                b'"' => break,
                b'\\' => {
                    if let Some((&escaped, tail)) = tail.split_first() {
                        // Windows paths and the like: only what needs it is escaped.
                        if !matches!(escaped, b'"' | b'\\') {
                            value.push(b'\\');
                        }
                        value.push(escaped);
                        self.rest = tail;
                    }
                }
                b'\r' | b'\n' | 0 => {}
                _ => value.push(byte),
            }
        }
        value.into()
    }
}

fn without_folds(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        return value.into();
    }
    value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n' | 0)).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<(String, Vec<(String, String)>)> {
        let kind = ContentType::parse(value.as_bytes())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let list = kind.parameters.0.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Some((format!("{}/{}", kind.main, kind.subtype), list))
    }

    #[test]
    fn content_types() {
        for (value, kind, parameters) in [
            (" text/plain", "text/plain", &[][..]),
            (" Text/HTML; Charset=UTF-8", "text/html", &[("charset", "UTF-8")][..]),
            (" (c) text / plain (c (d)); charset=us-ascii (Plain)", "text/plain", &[("charset", "us-ascii")]),
            (" a/b;\r\n\tname=\"x; \\\"y\\\"\r\n z\"; c = d ;", "a/b", &[("name", "x; \"y\" z"), ("c", "d")]),
            (" a/b; name=two words.txt; c=d", "a/b", &[("name", "two words.txt"), ("c", "d")]),
            (" a/b; name*0*=utf-8''x%20; name*1=y", "a/b", &[("name*0*", "utf-8''x%20"), ("name*1", "y")]),
            (" a/b; name=x\r\n c=d", "a/b", &[("name", "x"), ("c", "d")]),
            (" a/b; name=\"x\" c=d", "a/b", &[("name", "x"), ("c", "d")]),
            (" a/b; name=\"x\"y; =; ;;c=\"d", "a/b", &[("name", "x"), ("c", "d")]),
            (" a/b; name=\"C:\\x\\y\"", "a/b", &[("name", "C:\\x\\y")]),
        ] {
            let parameters: Vec<(String, String)> =
                parameters.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            assert_eq!(read(value), Some((kind.to_owned(), parameters)), "{value}");
        }
        for value in ["", "text", "/plain", "text/", "\"text\"/plain", ";"] {
            assert_eq!(read(value), None, "{value}");
        }
        assert_eq!(read(&format!("a/b{}", ";c=d".repeat(500))).map(|(_, list)| list.len()), Some(PARAMETERS_MAX));
    }

    #[test]
    fn dispositions() {
        let disposition = Disposition::parse(b" Attachment; filename=\"a.pdf\"").expect("it is one");
        assert_eq!(disposition.kind, "attachment");
        assert_eq!(disposition.parameters.get("filename"), Some(&b"a.pdf"[..]));
        assert_eq!(Disposition::parse(b" ;x"), None);
    }
}
