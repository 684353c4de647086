//! Atoms, numbers, strings (RFC 9051 section 9).

use std::borrow::Cow;

use bytes::Bytes;

use super::{Parsed, Parser};

/// Bytes of a tag; it comes back with every answer.
const TAG_BYTES_MAX: usize = 256;

impl<'a> Parser<'a> {
    /// `tag`: what may stand in an atom or as `]`, without `+`.
    pub(in crate::imap) fn tag(&mut self) -> Parsed<&'a str> {
        let start = self.position;
        let tag = self.while_bytes(|b| is_astring_char(b) && b != b'+');
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX || !matches!(self.peek(), None | Some(b' ')) {
            self.position = start;
            return self.expected("a tag");
        }
        Ok(tag)
    }

    /// A name made of letters, digits and what some names have between: commands, keys, options.
    pub(in crate::imap) fn word(&mut self, what: &'static str) -> Parsed<&'a str> {
        let word = self.while_bytes(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'=' | b'_'));
        if word.is_empty() { self.expected(what) } else { Ok(word) }
    }

    pub(super) fn atom(&mut self, what: &'static str) -> Parsed<&'a str> {
        let atom = self.while_bytes(is_atom_char);
        if atom.is_empty() { self.expected(what) } else { Ok(atom) }
    }

    /// Takes the word if it stands there whole, in any case.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let stands = rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
            && !rest.get(word.len()).is_some_and(|&b| is_astring_char(b));
        self.position += if stands { word.len() } else { 0 };
        stands
    }

    /// Takes the word with the space behind it, if both stand there.
    pub(super) fn take_word_and_space(&mut self, word: &str) -> bool {
        let start = self.position;
        let stands = self.take_word(word) && self.take(b' ');
        if !stands {
            self.position = start;
        }
        stands
    }

    pub(super) fn number64(&mut self, what: &'static str) -> Parsed<u64> {
        let start = self.position;
        let digits = self.while_bytes(|b| b.is_ascii_digit());
        // `number64` has 63 bits.
        match digits.parse::<u64>() {
            Ok(number) if i64::try_from(number).is_ok() => Ok(number),
            _ => {
                self.position = start;
                self.expected(what)
            }
        }
    }

    pub(super) fn number(&mut self, what: &'static str) -> Parsed<u32> {
        let start = self.position;
        match self.while_bytes(|b| b.is_ascii_digit()).parse() {
            Ok(number) => Ok(number),
            Err(_) => {
                self.position = start;
                self.expected(what)
            }
        }
    }

    pub(super) fn nonzero(&mut self, what: &'static str) -> Parsed<u32> {
        let start = self.position;
        match self.number(what)? {
            0 => {
                self.position = start;
                self.expected(what)
            }
            number => Ok(number),
        }
    }

    /// `astring` as text.
    pub(super) fn astring(&mut self, what: &'static str) -> Parsed<Cow<'a, str>> {
        let start = self.position;
        let bytes = self.astring_bytes(is_astring_char, what)?;
        self.text_of(bytes, start)
    }

    /// `list-mailbox`: an `astring` that may have wildcards.
    pub(super) fn list_mailbox_text(&mut self) -> Parsed<Cow<'a, str>> {
        let start = self.position;
        let bytes = self.astring_bytes(|b| is_astring_char(b) || matches!(b, b'%' | b'*'), "a pattern")?;
        self.text_of(bytes, start)
    }

    /// `string` as text.
    pub(super) fn string(&mut self, what: &'static str) -> Parsed<Cow<'a, str>> {
        let start = self.position;
        match self.string_bytes()? {
            Some(bytes) => self.text_of(bytes, start),
            None => self.expected(what),
        }
    }

    /// `nstring` as text.
    pub(super) fn nstring(&mut self, what: &'static str) -> Parsed<Option<Cow<'a, str>>> {
        if self.take_word("NIL") { Ok(None) } else { self.string(what).map(Some) }
    }

    /// `nstring / literal8`.
    pub(super) fn nstring8(&mut self, what: &'static str) -> Parsed<Option<Bytes>> {
        if self.take_word("NIL") {
            return Ok(None);
        }
        if self.rest().starts_with(b"~{") {
            self.position += 1;
            return self.text_literal().map(Some);
        }
        match self.string_bytes()? {
            Some(Cow::Borrowed(bytes)) => Ok(Some(Bytes::copy_from_slice(bytes))),
            Some(Cow::Owned(bytes)) => Ok(Some(bytes.into())),
            None => self.expected(what),
        }
    }

    fn astring_bytes(&mut self, is_char: impl Fn(u8) -> bool, what: &'static str) -> Parsed<Cow<'a, [u8]>> {
        if let Some(bytes) = self.string_bytes()? {
            return Ok(bytes);
        }
        let text = self.while_bytes(is_char);
        if text.is_empty() { self.expected(what) } else { Ok(Cow::Borrowed(text.as_bytes())) }
    }

    /// A quoted string or literal, without NUL. `None`: neither stands there.
    fn string_bytes(&mut self) -> Parsed<Option<Cow<'a, [u8]>>> {
        match self.peek() {
            Some(b'"') => self.quoted().map(Some),
            Some(b'{') => {
                let start = self.position;
                let literals = self.literals;
                self.text_literal()?;
                let bytes = literals.get(self.literals_taken - 1).map_or(&[][..], |literal| literal);
                if memchr::memchr(0, bytes).is_some() {
                    self.position = start;
                    return self.expected("a string without NUL");
                }
                Ok(Some(Cow::Borrowed(bytes)))
            }
            _ => Ok(None),
        }
    }

    /// Section 4.3: only `"` and `\` may stand behind a backslash.
    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.require(b'"', "a quoted string")?;
        let mut whole = Vec::new();
        loop {
            let rest = self.rest();
            let length = rest.iter().position(|b| matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0)).unwrap_or(rest.len());
            let (plain, behind) = rest.split_at(length);
            self.position += length;
            match behind {
                [b'"', ..] => {
                    self.position += 1;
                    if whole.is_empty() {
                        return Ok(Cow::Borrowed(plain));
                    }
                    whole.extend_from_slice(plain);
                    return Ok(Cow::Owned(whole));
                }
                [b'\\', escaped @ (b'"' | b'\\'), ..] => {
                    self.position += 2;
                    whole.extend_from_slice(plain);
                    whole.push(*escaped);
                }
                [b'\\', ..] => return self.expected("\\\" or \\\\ within quotes"),
                _ => return self.expected("the end of a quoted string"),
            }
        }
    }

    /// Strings are UTF-8, whether that was enabled or not: what is US-ASCII is also that, and clients that send anything
    /// else have no way to say what it is.
    fn text_of(&self, bytes: Cow<'a, [u8]>, start: usize) -> Parsed<Cow<'a, str>> {
        let text = match bytes {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        text.ok_or(super::Fault::Expected("UTF-8", start))
    }

    /// ASCII that `is_char` lets through.
    fn while_bytes(&mut self, is_char: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.iter().position(|&b| !b.is_ascii() || !is_char(b)).unwrap_or(rest.len());
        self.position += length;
        std::str::from_utf8(&rest[..length]).unwrap_or_default()
    }
}

/// `ATOM-CHAR`
fn is_atom_char(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// `ASTRING-CHAR`
fn is_astring_char(b: u8) -> bool {
    is_atom_char(b) || b == b']'
}
