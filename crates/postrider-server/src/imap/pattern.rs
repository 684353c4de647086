//! Patterns of LIST and LSUB: `*` stands for any text, `%` for any text without the hierarchy delimiter (RFC 9051 section
//! 6.3.9). It knows no store.

use postrider_core::mailbox::MailboxName;

/// Patterns of one LIST together with its reference, so that time for each name has a bound.
pub(super) const PATTERNS_MAX: usize = 100;

/// One pattern, ready to be held against many names.
///
/// All places in the pattern that a text may have come to are followed at once, a bit for each: the time for a name is its
/// length times a 64th of the pattern's, whatever wildcards are in there.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Symbols of the pattern. Wildcards that stand beside each other are one.
    len: usize,
    /// A bit for each symbol: whether it is `*`, or `%`.
    stars: Vec<u64>,
    percents: Vec<u64>,
    /// Whether it is this byte; for the bytes that are in the pattern.
    bytes: Vec<(u8, Vec<u64>)>,
}

const SEPARATOR: u8 = MailboxName::SEPARATOR as u8;

impl Pattern {
    /// The pattern of a command. INBOX is found in any case (RFC 9051 section 5.1).
    pub(super) fn new(reference: &str, pattern: &str) -> Self {
        let mut text = format!("{reference}{pattern}");
        let first = text.find(MailboxName::SEPARATOR).unwrap_or(text.len());
        if text[..first].eq_ignore_ascii_case(MailboxName::INBOX) {
            text[..first].make_ascii_uppercase();
        }
        let mut symbols = text.into_bytes();
        symbols.dedup_by(|next, last| {
            let are_wildcards = matches!((*next, *last), (b'*' | b'%', b'*' | b'%'));
            if are_wildcards && *next == b'*' {
                *last = b'*';
            }
            are_wildcards
        });
        let bits = |wanted: u8| {
            let mut bits = vec![0; symbols.len() / 64 + 1];
            let places = symbols.iter().enumerate().filter(|(_, symbol)| **symbol == wanted);
            places.for_each(|(place, _)| bits[place / 64] |= 1 << (place % 64));
            bits
        };
        let mut different = symbols.clone();
        different.retain(|byte| !matches!(byte, b'*' | b'%'));
        different.sort_unstable();
        different.dedup();
        let bytes = different.into_iter().map(|byte| (byte, bits(byte))).collect();
        Self { len: symbols.len(), stars: bits(b'*'), percents: bits(b'%'), bytes }
    }

    pub(super) fn matcher(&self) -> Matcher<'_> {
        let mut matcher = Matcher { pattern: self, places: vec![0; self.stars.len()] };
        matcher.restart();
        matcher
    }
}

/// A pattern held against one text, byte by byte.
#[derive(Debug)]
pub(super) struct Matcher<'p> {
    pattern: &'p Pattern,
    /// A bit for each symbol that may come next, and one for the end.
    places: Vec<u64>,
}

impl Matcher<'_> {
    /// Begins with another text.
    pub(super) fn restart(&mut self) {
        self.places.fill(0);
        self.places[0] = 1;
        self.pass_wildcards();
    }

    pub(super) fn step(&mut self, byte: u8) {
        let Pattern { stars, percents, bytes, .. } = self.pattern;
        let known = bytes.binary_search_by_key(&byte, |(byte, _)| *byte).ok().and_then(|found| bytes.get(found));
        let mut carry = 0;
        for (word, places) in self.places.iter_mut().enumerate() {
            let stays = *places & if byte == SEPARATOR { stars[word] } else { stars[word] | percents[word] };
            let moved = *places & known.map_or(0, |(_, bits)| bits[word]);
            *places = stays | moved << 1 | carry;
            carry = moved >> 63;
        }
        self.pass_wildcards();
    }

    /// A wildcard may stand for nothing.
    fn pass_wildcards(&mut self) {
        let mut carry = 0;
        for (word, places) in self.places.iter_mut().enumerate() {
            let wildcards = self.pattern.stars[word] | self.pattern.percents[word];
            *places |= carry;
            let passed = *places & wildcards;
            *places |= passed << 1;
            carry = passed >> 63;
        }
    }

    /// Whether the text so far is what the pattern means.
    pub(super) fn is_match(&self) -> bool {
        let end = self.pattern.len;
        self.places[end / 64] & 1 << (end % 64) != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Pattern {
        fn matches(&self, name: &str) -> bool {
            let mut matcher = self.matcher();
            name.bytes().for_each(|byte| matcher.step(byte));
            matcher.is_match()
        }
    }

    #[test]
    fn wildcards() {
        for (pattern, yes, no) in [
            ("*", &["a", "a/b", ""][..], &[][..]),
            ("%", &["a", ""], &["a/b"]),
            ("a/%", &["a/b", "a/"], &["a", "a/b/c"]),
            ("%/%", &["a/b"], &["a", "a/b/c"]),
            ("a%*b", &["ab", "a/x/b"], &["a", "b"]),
            ("*b", &["b", "a/b", "bb"], &["ba"]),
            ("iNbOx", &["INBOX"], &["inbox"]),
            ("inbox/%", &["INBOX/a"], &["INBOX", "inbox/a"]),
            ("", &[""], &["a"]),
        ] {
            let pattern = Pattern::new("", pattern);
            for name in yes {
                assert!(pattern.matches(name), "{name}");
            }
            for name in no {
                assert!(!pattern.matches(name), "{name}");
            }
        }
        assert!(Pattern::new("a/", "%").matches("a/b"));
    }

    /// Backtracking would take longer than the universe.
    #[test]
    fn many_wildcards_take_no_time() {
        let pattern = Pattern::new("", &"*a".repeat(400));
        assert!(!pattern.matches(&("a".repeat(399) + &"b".repeat(600))));
        assert!(pattern.matches(&"a".repeat(1_000)));
    }

    /// What the words mean, without a thought for time.
    fn means(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|n| means(rest, &name[n..])),
            Some((b'%', rest)) => {
                let end = name.iter().position(|b| *b == b'/').unwrap_or(name.len());
                (0..=end).any(|n| means(rest, &name[n..]))
            }
            Some((byte, rest)) => name.first() == Some(byte) && means(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_it_means(pattern in "[ab/*%]{0,9}", name in "[ab/]{0,9}", times in 1usize..30) {
            prop_assert_eq!(Pattern::new("", &pattern).matches(&name), means(pattern.as_bytes(), name.as_bytes()));
            // Over the words' bounds.
            let (long, text) = ("a".repeat(times * 5) + &pattern, "a".repeat(times * 5) + &name);
            prop_assert_eq!(Pattern::new("", &long).matches(&text), means(long.as_bytes(), text.as_bytes()));
        }
    }
}
