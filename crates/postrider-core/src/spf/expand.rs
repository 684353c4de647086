//! Macros (RFC 7208 section 7): their grammar, and the names that come of them.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Longer names are cut on the left (section 7.3), in bytes.
const NAME_BYTES_MAX: usize = 253;

/// Characters between which a value can be split.
const DELIMITERS: &str = ".-+,/_=";

/// A text with macros in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacroString(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Macro(Macro),
}

/// A value, and what is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Macro {
    /// In lower case.
    letter: char,
    /// Whether it was written in upper case: then what is no plain character is written as in a URL.
    is_escaped: bool,
    /// How many parts from the right are kept.
    parts: Option<usize>,
    is_reversed: bool,
    delimiters: String,
}

/// What macros stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'v> {
    /// Who sends, as an address; its local part may be anything.
    pub local_part: &'v str,
    pub sender_domain: &'v str,
    /// Whose record it is.
    pub domain: &'v str,
    /// The client; one of IPv4 as such.
    pub ip: IpAddr,
    pub helo: &'v str,
    /// A name of the client that is known to be its own, if it was looked up ([`MacroString::needs_validated_name`]).
    pub validated_name: Option<&'v str>,
}

impl MacroString {
    /// A name to look up: it ends with a macro, or with a label that a top-level domain can have (section 7.1).
    pub(super) fn domain(text: &str) -> Option<Self> {
        let parsed = Self::parse(text)?;
        match parsed.0.last()? {
            Part::Macro(_) => Some(parsed),
            // `%%`, `%_` and `%-` are macros too, and end a name as well as the others.
            Part::Literal(_) if ["%%", "%_", "%-"].iter().any(|end| text.ends_with(end)) => Some(parsed),
            Part::Literal(end) => {
                let (_, label) = end.strip_suffix('.').unwrap_or(end).rsplit_once('.')?;
                let has_right_characters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
                let is_toplabel = has_right_characters
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().any(|byte| !byte.is_ascii_digit());
                is_toplabel.then_some(parsed)
            }
        }
    }

    /// Any text; `None` where the grammar has no such one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            if c != '%' {
                if !c.is_ascii_graphic() {
                    return None;
                }
                literal.push(c);
                continue;
            }
            let kind = rest.chars().next()?;
            rest = &rest[kind.len_utf8()..];
            match kind {
                '%' => literal.push('%'),
                '_' => literal.push(' '),
                '-' => literal.push_str("%20"),
                '{' => {
                    let (inside, behind) = rest.split_once('}')?;
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Macro(Macro::parse(inside)?));
                    rest = behind;
                }
                _ => return None,
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Some(Self(parts))
    }

    /// Whether it has a macro for the client's own name, which takes questions to find.
    pub fn needs_validated_name(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Macro(Macro { letter: 'p', .. })))
    }

    /// The name that it stands for, without a final dot. `None` where it asks for a local part that no name can have in it
    /// (RFC 8616 section 4).
    pub fn expand(&self, values: &Values<'_>) -> Option<String> {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => name.push_str(literal),
                Part::Macro(Macro { letter: 's' | 'l', .. }) if !values.local_part.is_ascii() => return None,
                Part::Macro(part) => part.expand(values, &mut name),
            }
        }
        if name.ends_with('.') {
            name.pop();
        }
        while name.len() > NAME_BYTES_MAX {
            name = name.split_once('.').map_or_else(String::new, |(_, rest)| rest.to_owned());
        }
        Some(name)
    }
}

impl Macro {
    fn parse(inside: &str) -> Option<Self> {
        let mut characters = inside.chars();
        let letter = characters.next().filter(char::is_ascii_alphabetic)?;
        // What stands for the time and for this host is for explanations alone (section 7.2).
        if !"slodiphv".contains(letter.to_ascii_lowercase()) {
            return None;
        }
        let rest = characters.as_str();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, rest) = rest.split_at_checked(digits)?;
        let parts = match digits {
            "" => None,
            digits => Some(digits.parse::<usize>().unwrap_or(usize::MAX)),
        };
        let delimiters = rest.strip_prefix(['r', 'R']);
        let is_reversed = delimiters.is_some();
        let delimiters = delimiters.unwrap_or(rest);
        if parts == Some(0) || !delimiters.chars().all(|c| DELIMITERS.contains(c)) {
            return None;
        }
        Some(Self {
            letter: letter.to_ascii_lowercase(),
            is_escaped: letter.is_ascii_uppercase(),
            parts,
            is_reversed,
            delimiters: if delimiters.is_empty() { ".".to_owned() } else { delimiters.to_owned() },
        })
    }

    fn expand(&self, values: &Values<'_>, name: &mut String) {
        let value = match self.letter {
            's' => format!("{}@{}", values.local_part, values.sender_domain),
            'l' => values.local_part.to_owned(),
            'o' => values.sender_domain.to_owned(),
            'd' => values.domain.to_owned(),
            'i' => dotted(values.ip),
            'p' => values.validated_name.unwrap_or("unknown").to_owned(),
            'h' => values.helo.to_owned(),
            'v' if values.ip.is_ipv4() => "in-addr".to_owned(),
            _ => "ip6".to_owned(),
        };
        let mut parts: Vec<&str> = value.split(|c| self.delimiters.contains(c)).collect();
        if self.is_reversed {
            parts.reverse();
        }
        let kept = parts.len().saturating_sub(self.parts.unwrap_or(usize::MAX));
        let transformed = parts.get(kept..).unwrap_or_default().join(".");
        if !self.is_escaped {
            name.push_str(&transformed);
            return;
        }
        for byte in transformed.bytes() {
            // The characters that RFC 3986 section 2.3 has unreserved.
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                name.push(char::from(byte));
            } else {
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
}

/// An address with dots alone: of IPv6 each of its 32 hexadecimal digits for itself (section 7.3).
fn dotted(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let digits: Vec<String> = ip
                .octets()
                .iter()
                .flat_map(|octet| [octet >> 4, octet & 15])
                .map(|digit| format!("{digit:x}"))
                .collect();
            digits.join(".")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'static> = Values {
        local_part: "strong-bad",
        sender_domain: "email.example.com",
        domain: "email.example.com",
        ip: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3)),
        helo: "mx.example.com",
        validated_name: None,
    };

    fn expand(text: &str, values: &Values<'_>) -> String {
        MacroString::parse(text).unwrap_or_else(|| panic!("{text} is refused")).expand(values).unwrap()
    }

    /// The examples of RFC 7208 section 7.4.
    #[test]
    fn the_examples_of_the_rfc() {
        for (text, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ] {
            assert_eq!(expand(text, &VALUES), expected, "{text}");
        }
        let values = Values { ip: "2001:db8::cb01".parse().unwrap(), ..VALUES };
        assert_eq!(
            expand("%{ir}.%{v}._spf.%{d2}", &values),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn what_the_rfc_shows_no_example_of() {
        let values = Values { local_part: "a+b=c/d_e", ..VALUES };
        for (text, expected) in [
            ("%%.%_.%-x", "%. .%20x"),
            ("%{p}.%{h1}", "unknown.com"),
            ("%{l2r+-=}", "b.a"),
            ("%{L}", "a%2Bb%3Dc%2Fd_e"),
            ("%{S}", "a%2Bb%3Dc%2Fd_e%40email.example.com"),
            ("%{L+}", "a.b%3Dc%2Fd_e"),
            ("%{D99999999999999999999999}", "email.example.com"),
            ("%{d}.", "email.example.com"),
        ] {
            assert_eq!(expand(text, &values), expected, "{text}");
        }
        let values = Values { validated_name: Some("mx.example.com"), ..VALUES };
        assert_eq!(expand("%{p2}", &values), "example.com");
        let values = Values { local_part: "j\u{f6}rg", ..VALUES };
        assert_eq!(MacroString::parse("%{l}.test").unwrap().expand(&values), None);
        assert_eq!(expand("%{o}.test", &values), "email.example.com.test");
    }

    #[test]
    fn names_are_cut_on_the_left() {
        let long = "abcdefghi.".repeat(26) + "test";
        let name = expand(&format!("x.{long}"), &VALUES);
        assert_eq!(name, "abcdefghi.".repeat(24) + "test");
        assert_eq!(expand(&"x".repeat(300), &VALUES), "");
    }
}
