//! Flags of a message in a mailbox (RFC 9051 section 2.3.2): system flags, and keywords by their number in the mailbox.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of flags. The system flags have bits of their own; bit `Flags::KEYWORD_FIRST + n` is keyword number `n` of the
/// mailbox that the message is in, so a set with keywords means something only beside that mailbox's list of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u64);

impl Flags {
    pub const NONE: Self = Self(0);
    pub const SEEN: Self = Self(1);
    pub const ANSWERED: Self = Self(2);
    pub const FLAGGED: Self = Self(4);
    pub const DELETED: Self = Self(8);
    pub const DRAFT: Self = Self(16);

    /// All system flags.
    pub const SYSTEM: Self = Self(31);

    /// The bit of a mailbox's first keyword. Those between it and the system flags are kept free.
    pub const KEYWORD_FIRST: u32 = 8;

    /// Keywords of one mailbox.
    pub const KEYWORDS_MAX: usize = (u64::BITS - Self::KEYWORD_FIRST) as usize;

    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The flag of keyword number `number`; none for a number that no mailbox has.
    pub fn keyword(number: usize) -> Self {
        if number < Self::KEYWORDS_MAX { Self(1 << (number as u32 + Self::KEYWORD_FIRST)) } else { Self::NONE }
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The numbers of the keywords that are set, upwards.
    pub fn keywords(self) -> impl Iterator<Item = usize> {
        let mut bits = self.0 >> Self::KEYWORD_FIRST;
        std::iter::from_fn(move || {
            let number = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(number)
        })
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Flags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Flags {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#x})", self.0)
    }
}

/// A keyword (RFC 9051 section 2.3.2): an atom that does not begin with a backslash. Equal without regard to ASCII case;
/// shown as it was first written.
#[derive(Debug, Clone)]
pub struct Keyword(Box<str>);

/// The text is no keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a keyword is 1 to {} ASCII characters without spaces, quotes, braces, parentheses, % * ] and backslashes",
    Keyword::BYTES_MAX
)]
pub struct KeywordError;

impl Keyword {
    pub const BYTES_MAX: usize = 128;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Keyword {
    type Err = KeywordError;

    fn from_str(text: &str) -> Result<Self, KeywordError> {
        let is_atom = text.bytes().all(|b| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b));
        if text.is_empty() || text.len() > Self::BYTES_MAX || !is_atom {
            return Err(KeywordError);
        }
        Ok(Self(text.into()))
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Keyword {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Keyword {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Flags by name, as a client gives them before anybody knows their numbers in a mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedFlags {
    /// System flags alone.
    pub system: Flags,
    pub keywords: Vec<Keyword>,
}

impl NamedFlags {
    /// These flags with the numbers of a mailbox that has these keywords in this order; the keywords that it does not have
    /// are left out.
    pub fn known(&self, keywords: &[Keyword]) -> Flags {
        let numbers = self.keywords.iter().filter_map(|keyword| keywords.iter().position(|known| known == keyword));
        numbers.map(Flags::keyword).fold(self.system & Flags::SYSTEM, Flags::bitor)
    }

    /// These flags without the keywords for which a mailbox that has these has no room any more.
    pub fn fitting(mut self, keywords: &[Keyword]) -> Self {
        let mut room = Flags::KEYWORDS_MAX.saturating_sub(keywords.len());
        self.keywords.retain(|keyword| {
            let is_new = !keywords.contains(keyword);
            let fits = !is_new || room > 0;
            room -= usize::from(is_new && fits);
            fits
        });
        self
    }

    /// The names of flags with the numbers of a mailbox that has these keywords in this order.
    pub fn of(flags: Flags, keywords: &[Keyword]) -> Self {
        let named = flags.keywords().filter_map(|number| keywords.get(number).cloned());
        Self { system: flags & Flags::SYSTEM, keywords: named.collect() }
    }
}

impl From<Flags> for NamedFlags {
    fn from(system: Flags) -> Self {
        Self { system: system & Flags::SYSTEM, keywords: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_have_bits_of_their_own() {
        let flags = Flags::SEEN | Flags::keyword(0) | Flags::keyword(Flags::KEYWORDS_MAX - 1);
        assert_eq!(flags.keywords().collect::<Vec<_>>(), [0, Flags::KEYWORDS_MAX - 1]);
        assert!(!Flags::SYSTEM.intersects(Flags::keyword(0)));
        assert_eq!(Flags::keyword(Flags::KEYWORDS_MAX), Flags::NONE);
    }

    #[test]
    fn names_and_numbers_are_the_same_flags() {
        let known: Vec<Keyword> = ["$Forwarded", "work"].map(|text| text.parse().unwrap()).into();
        let named =
            NamedFlags { system: Flags::SEEN, keywords: vec!["WORK".parse().unwrap(), "unknown".parse().unwrap()] };
        let flags = named.known(&known);
        assert_eq!(flags, Flags::SEEN | Flags::keyword(1));
        assert_eq!(NamedFlags::of(flags, &known).keywords, [known[1].clone()]);
    }

    #[test]
    fn what_a_mailbox_has_no_room_for_is_left_out() {
        let keywords = |count: usize| (0..count).map(|n| format!("k{n}").parse().unwrap()).collect::<Vec<Keyword>>();
        let named =
            NamedFlags { system: Flags::SEEN, keywords: ["a", "k1", "b", "c"].map(|k| k.parse().unwrap()).into() };
        let names = |named: NamedFlags| named.keywords.iter().map(Keyword::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(names(named.clone().fitting(&keywords(2))), "a k1 b c");
        assert_eq!(names(named.clone().fitting(&keywords(Flags::KEYWORDS_MAX - 2))), "a k1 b");
        assert_eq!(names(named.fitting(&keywords(Flags::KEYWORDS_MAX))), "k1");
    }

    #[test]
    fn keywords_are_atoms() {
        for text in ["", "a b", "\\Seen", "a(b", "a]", "a*", "caf\u{e9}", "a\"b", &"a".repeat(129)] {
            assert_eq!(text.parse::<Keyword>(), Err(KeywordError), "{text:?}");
        }
        assert_eq!("$MDNSent".parse::<Keyword>().unwrap(), "$mdnsent".parse().unwrap());
    }
}
