//! Address fields (RFC 5322 section 3.4, and the obsolete and broken forms that are in use), as ENVELOPE takes them apart.
//!
//! Reads each byte once. Every string of a list stands in one buffer, so that a field costs no allocation of its own.

use std::ops::Range;

use super::header::FIELD_BYTES_MAX;
use super::words;

/// Addresses that are read of all fields of one name.
pub const ADDRESSES_MAX: usize = 1_000;

/// The addresses of one or more fields, in order.
#[derive(Debug, Default)]
pub(crate) struct AddressList {
    text: Vec<u8>,
    entries: Vec<Entry>,
}

/// A line of the list: ranges of its buffer.
#[derive(Debug, Clone)]
enum Entry {
    Mailbox {
        name: Option<Range<usize>>,
        route: Option<Range<usize>>,
        local: Range<usize>,
        domain: Option<Range<usize>>,
    },
    GroupStart(Range<usize>),
    GroupEnd,
}

/// One address or the border of a group; strings without quotes, folds and comments, encoded words as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Mailbox {
        name: Option<&'a [u8]>,
        /// An obsolete source route (RFC 5322 section 4.4), with its `@`.
        route: Option<&'a [u8]>,
        local: &'a [u8],
        domain: Option<&'a [u8]>,
    },
    GroupStart(&'a [u8]),
    GroupEnd,
}

impl AddressList {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let text = |range: &Range<usize>| &self.text[range.clone()];
        self.entries.iter().map(move |entry| match entry {
            Entry::Mailbox { name, route, local, domain } => Item::Mailbox {
                name: name.as_ref().map(text),
                route: route.as_ref().map(text),
                local: text(local),
                domain: domain.as_ref().map(text),
            },
            Entry::GroupStart(name) => Item::GroupStart(text(name)),
            Entry::GroupEnd => Item::GroupEnd,
        })
    }

    /// Appends the addresses of a field's value.
    pub(crate) fn read(&mut self, value: &[u8]) {
        if self.entries.len() >= ADDRESSES_MAX {
            return;
        }
        let rest = &value[..value.len().min(FIELD_BYTES_MAX)];
        Reader { list: self, rest, phrase: Vec::new(), spec: Spec::default(), is_in_group: false }.run();
    }
}

struct Reader<'a, 'l> {
    list: &'l mut AddressList,
    rest: &'a [u8],
    /// The words before `<` or `:`, with one blank where blanks stood.
    phrase: Vec<u8>,
    /// The same words as an address without angle brackets.
    spec: Spec,
    is_in_group: bool,
}

/// An address being read: words without blanks between.
#[derive(Default)]
struct Spec {
    text: Vec<u8>,
    /// Where the last `@` outside of quotes stands.
    at: Option<usize>,
    /// How much of the phrase stood before its first word.
    phrase_before: usize,
    comment: Option<Vec<u8>>,
    /// The source route and the address of angle brackets.
    angle: Option<(Vec<u8>, Vec<u8>, Option<usize>)>,
}

impl Reader<'_, '_> {
    fn run(mut self) {
        let mut had_blank = false;
        while let Some((&byte, tail)) = self.rest.split_first() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | 0 => {
                    had_blank = true;
                    self.rest = tail;
                    continue;
                }
                b'(' => {
                    let comment = self.comment();
                    self.spec.comment = Some(comment);
                    had_blank = true;
                    continue;
                }
                b',' => {
                    self.rest = tail;
                    self.finish();
                }
                b';' => {
                    self.rest = tail;
                    self.finish();
                    self.end_group();
                }
                b':' => {
                    self.rest = tail;
                    if !self.is_in_group && self.spec.at.is_none() && self.spec.angle.is_none() {
                        self.start_group();
                    }
                }
                b'<' => {
                    self.rest = tail;
                    let angle = self.angle();
                    if self.spec.angle.is_none() {
                        self.spec.angle = Some(angle);
                    }
                }
                b'>' | b')' => self.rest = tail,
                _ => self.word(had_blank),
            }
            had_blank = false;
            if self.list.entries.len() >= ADDRESSES_MAX {
                break;
            }
        }
        self.finish();
        self.end_group();
    }

    /// An atom, a quoted string or an encoded word. Always takes a byte at least.
    fn word(&mut self, had_blank: bool) {
        let mut word = Vec::new();
        let is_quoted = self.rest[0] == b'"';
        if is_quoted {
            self.quoted(&mut word);
        } else if let Some(length) = words::word_length(self.rest) {
            word.extend(self.rest[..length].iter().filter(|b| !matches!(b, b'\r' | b'\n' | 0)));
            self.rest = &self.rest[length..];
        } else {
            self.atom(&mut word);
        }
        if self.spec.angle.is_some() {
            return;
        }
        // In `John Doe john@example.org` the last word is the address.
        let goes_on = word.first().is_some_and(|b| matches!(b, b'.' | b'@'))
            || matches!(self.spec.text.last(), None | Some(b'.' | b'@'))
            || !had_blank;
        if !goes_on {
            self.spec.text.clear();
            self.spec.at = None;
            self.spec.phrase_before = self.phrase.len();
        }
        if had_blank && !self.phrase.is_empty() {
            self.phrase.push(b' ');
        }
        if !is_quoted && let Some(at) = memchr::memrchr(b'@', &word) {
            self.spec.at = Some(self.spec.text.len() + at);
        }
        self.phrase.extend_from_slice(&word);
        self.spec.text.append(&mut word);
    }

    /// The address in angle brackets, whose opening one was taken: source route, address, where its `@` is.
    fn angle(&mut self) -> (Vec<u8>, Vec<u8>, Option<usize>) {
        let (mut route, mut text, mut at) = (Vec::new(), Vec::new(), None);
        while let Some((&byte, tail)) = self.rest.split_first() {
            match byte {
                b'>' => {
                    self.rest = tail;
                    break;
                }
                b' ' | b'\t' | b'\r' | b'\n' | 0 | b'<' => self.rest = tail,
                b'(' => drop(self.comment()),
                b'"' => self.quoted(&mut text),
                b':' if text.first() == Some(&b'@') && route.is_empty() => {
                    self.rest = tail;
                    (route, at) = (std::mem::take(&mut text), None);
                }
                b'@' => {
                    at = Some(text.len());
                    text.push(byte);
                    self.rest = tail;
                }
                // Never closed, and another address follows.
                b',' if at.is_some_and(|at| at > 0) => break,
                _ => {
                    text.push(byte);
                    self.rest = tail;
                }
            }
        }
        (route, text, at)
    }

    fn finish(&mut self) {
        let mut spec = std::mem::take(&mut self.spec);
        let mut phrase = std::mem::take(&mut self.phrase);
        let (route, text, at) = match spec.angle.take() {
            Some(angle) => angle,
            None if spec.at.is_some() => {
                phrase.truncate(spec.phrase_before);
                (Vec::new(), spec.text, spec.at)
            }
            // Several words are a name without an address, one is an address of this host.
            None if phrase.contains(&b' ') => Default::default(),
            None => (Vec::new(), std::mem::take(&mut phrase), None),
        };
        // A comment alone is no address.
        if phrase.trim_ascii().is_empty() && text.is_empty() {
            return;
        }
        let name = if phrase.is_empty() { spec.comment.unwrap_or_default() } else { phrase };
        let (local, domain) = match at {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (&text[..], None),
        };
        let some = |bytes: &[u8], list: &mut AddressList| (!bytes.is_empty()).then(|| list.keep(bytes));
        let entry = Entry::Mailbox {
            name: some(name.trim_ascii(), self.list),
            route: some(&route, self.list),
            local: self.list.keep(local),
            domain: domain.map(|domain| self.list.keep(domain)),
        };
        self.list.entries.push(entry);
    }

    fn start_group(&mut self) {
        self.spec = Spec::default();
        let name = std::mem::take(&mut self.phrase);
        let name = self.list.keep(&name);
        self.list.entries.push(Entry::GroupStart(name));
        self.is_in_group = true;
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.is_in_group) {
            self.list.entries.push(Entry::GroupEnd);
        }
    }

    /// A comment with those within it; its text without the outer parentheses.
    fn comment(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut depth = 0usize;
        while let Some((&byte, tail)) = self.rest.split_first() {
            self.rest = tail;
            match byte {
                b'(' => {
                    depth += 1;
                    if depth == 1 {
                        continue;
                    }
                }
                b')' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                b'\\' => {
                    if let Some((&escaped, tail)) = tail.split_first() {
                        text.push(escaped);
                        self.rest = tail;
                    }
                    continue;
                }
                b'\r' | b'\n' | 0 => continue,
                _ => {}
            }
            text.push(byte);
        }
        text.trim_ascii().to_vec()
    }

    fn quoted(&mut self, out: &mut Vec<u8>) {
        self.rest = &self.rest[1..];
        while let Some((&byte, tail)) = self.rest.split_first() {
            self.rest = tail;
            match byte {
                b'"' => break,
                b'\\' => {
                    if let Some((&escaped, tail)) = tail.split_first() {
                        out.push(escaped);
                        self.rest = tail;
                    }
                }
                b'\r' | b'\n' | 0 => {}
                _ => out.push(byte),
            }
        }
    }

    /// Up to the next special, a domain literal whole.
    fn atom(&mut self, out: &mut Vec<u8>) {
        let start = self.rest;
        let mut is_literal = false;
        let end = start.iter().position(|&byte| {
            match byte {
                b'[' => is_literal = true,
                b']' => is_literal = false,
                _ => {}
            }
            byte <= b' ' || (!is_literal && b"()<>,;:\"".contains(&byte))
        });
        // A special that has no business here is a word of its own.
        let end = end.unwrap_or(start.len()).max(1);
        out.extend_from_slice(&start[..end]);
        self.rest = &start[end..];
    }
}

impl AddressList {
    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        start..self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name|route|local|domain`, `-` for what is not there.
    fn read(value: &str) -> Vec<String> {
        let mut list = AddressList::default();
        list.read(value.as_bytes());
        let text = |bytes: Option<&[u8]>| bytes.map_or("-".to_owned(), |b| String::from_utf8_lossy(b).into_owned());
        let line = |item: Item<'_>| match item {
            Item::Mailbox { name, route, local, domain } => {
                format!("{}|{}|{}|{}", text(name), text(route), text(Some(local)), text(domain))
            }
            Item::GroupStart(name) => format!("{}:", text(Some(name))),
            Item::GroupEnd => ";".to_owned(),
        };
        list.items().map(line).collect()
    }

    #[test]
    fn addresses() {
        for (value, items) in [
            (" a@example.org", &["-|-|a|example.org"][..]),
            (" \"Doe, J. \\\"x\\\"\" <j@x.org>, B <b@x.org>\r\n", &["Doe, J. \"x\"|-|j|x.org", "B|-|b|x.org"]),
            (" John  Q.\r\n Doe <j@x.org>", &["John Q. Doe|-|j|x.org"]),
            (" j@x.org (John (Q) Doe)", &["John (Q) Doe|-|j|x.org"]),
            (" j . d @ x . org", &["-|-|j.d|x.org"]),
            (" \"j d\"@x.org, <\"a@b\"@x.org>", &["-|-|j d|x.org", "-|-|a@b|x.org"]),
            (" Team: a@x.org, B <b@x.org>; , c@x.org", &["Team:", "-|-|a|x.org", "B|-|b|x.org", ";", "-|-|c|x.org"]),
            (" undisclosed-recipients:;", &["undisclosed-recipients:", ";"]),
            (" Team: a@x.org", &["Team:", "-|-|a|x.org", ";"]),
            (" <@a.org,@b.org:j@x.org>", &["-|@a.org,@b.org|j|x.org"]),
            (" j@[IPv6:::1], <k@[127.0.0.1]>", &["-|-|j|[IPv6:::1]", "-|-|k|[127.0.0.1]"]),
            (" =?utf-8?Q?Doe,_J=2E?= <j@x.org>", &["=?utf-8?Q?Doe,_J=2E?=|-|j|x.org"]),
            (" John Doe j@x.org", &["John Doe|-|j|x.org"]),
            (" j@x.org <j@x.org>", &["j@x.org|-|j|x.org"]),
            (" root, Some Body", &["-|-|root|-", "Some Body|-||-"]),
            (" (nobody), \"A \" <a@x.org>", &["A|-|a|x.org"]),
            (" Some Body <>", &["Some Body|-||-"]),
            (" A <a@x.org, B <b@x.org>", &["A|-|a|x.org", "B|-|b|x.org"]),
            (" , <>,;\"\"", &[]),
            (" a;b@x.org", &["-|-|a|-", "-|-|b|x.org"]),
        ] {
            assert_eq!(read(value), items, "{value}");
        }
        let mut list = AddressList::default();
        for _ in 0..3 {
            list.read("a,".repeat(5_000).as_bytes());
            assert_eq!(list.items().count(), ADDRESSES_MAX);
        }
    }
}
