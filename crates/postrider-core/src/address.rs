//! Addresses of the envelope (RFC 5321 section 4.1.2, RFC 6531): what does not parse does not exist.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A mailbox `local-part@domain`, kept as it was written.
///
/// The local part is a dot-string or a quoted-string, the domain a domain name or an address literal (RFC 5321 section
/// 4.1.2); UTF-8 may stand in both (RFC 6531). Addresses are equal when their text is, but for the case of the domain.
#[derive(Clone)]
pub struct Address {
    text: Box<str>,
    at: usize,
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("an address needs a local part, @ and a domain")]
    Shape,
    #[error("the local part is longer than {} bytes", Address::LOCAL_PART_BYTES_MAX)]
    LocalPartTooLong,
    #[error("the local part has a character that is not allowed there")]
    LocalPart,
    #[error("the domain is longer than {} bytes", Domain::BYTES_MAX)]
    DomainTooLong,
    #[error("the domain is not a valid name")]
    Domain,
}

impl Address {
    /// RFC 5321 section 4.5.3.1.1.
    pub const LOCAL_PART_BYTES_MAX: usize = 64;

    /// Reads an address without angle brackets.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = local_part_end(text)?;
        let (local, domain) = (&text[..at], text.get(at + 1..).ok_or(AddressError::Shape)?);
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::Shape);
        }
        if local.len() > Self::LOCAL_PART_BYTES_MAX {
            return Err(AddressError::LocalPartTooLong);
        }
        check_domain(domain)?;
        Ok(Self { text: text.into(), at })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part as written, with its quotes if it has them.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// The domain as written.
    pub fn domain_text(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The domain as names are compared and looked up.
    pub fn domain(&self) -> Domain {
        Domain::normalised(self.domain_text())
    }

    /// Whether the address can be sent only to a server that knows SMTPUTF8 (RFC 6531 section 3.3): a domain can be
    /// written in ASCII instead, a local part cannot.
    pub fn needs_smtputf8(&self) -> bool {
        !self.local_part().is_ascii()
    }

    /// The address with its domain in ASCII (A-labels), for servers without SMTPUTF8.
    pub fn to_ascii_domain(&self) -> String {
        if self.text.is_ascii() {
            return self.text.to_string();
        }
        format!("{}@{}", self.local_part(), self.domain())
    }
}

/// Where the `@` stands that ends the local part.
fn local_part_end(text: &str) -> Result<usize, AddressError> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        let at = bytes.iter().position(|&b| b == b'@').ok_or(AddressError::Shape)?;
        let atoms_hold = text[..at].split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext));
        return if atoms_hold || at == 0 { Ok(at) } else { Err(AddressError::LocalPart) };
    }
    let mut i = 1;
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'"' => return if bytes.get(i + 1) == Some(&b'@') { Ok(i + 1) } else { Err(AddressError::LocalPart) },
            // quoted-pairSMTP: a backslash and one printable character.
            b'\\' if bytes.get(i + 1).is_some_and(|b| (32..=126).contains(b)) => i += 2,
            b'\\' => return Err(AddressError::LocalPart),
            32..=126 | 128.. => i += 1,
            _ => return Err(AddressError::LocalPart),
        }
    }
    Err(AddressError::LocalPart)
}

/// atext of RFC 5322 section 3.2.3, and UTF-8 as RFC 6532 adds it.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 128 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > Domain::BYTES_MAX {
        return Err(AddressError::DomainTooLong);
    }
    if domain.starts_with('[') {
        return literal_ip(domain).map(|_| ()).ok_or(AddressError::Domain);
    }
    let label_holds = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            // The underscore is no letter of host names, but real domains carry it.
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b >= 128)
    };
    if !domain.split('.').all(label_holds) {
        return Err(AddressError::Domain);
    }
    if !domain.is_ascii() {
        // The mapping to ASCII makes `>`, `@` or a space of their fullwidth kin, and long labels of short ones: what goes
        // out in the end must be a name too.
        let ascii = idna::domain_to_ascii(domain).map_err(|_| AddressError::Domain)?;
        return if ascii.is_ascii() { check_domain(&ascii) } else { Err(AddressError::Domain) };
    }
    Ok(())
}

/// The address of an address literal: `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3).
fn literal_ip(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse().ok().map(IpAddr::V6),
        _ => inner.parse().ok().map(IpAddr::V4),
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.local_part() == other.local_part() && self.domain_text().eq_ignore_ascii_case(other.domain_text())
    }
}

impl Eq for Address {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A domain as names are compared, looked up and grouped: lower case, A-labels (RFC 5890), no final dot; or an address
/// literal in brackets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// RFC 5321 section 4.5.3.1.2.
    pub const BYTES_MAX: usize = 255;

    /// Reads a domain name, in any case, with or without a final dot, in ASCII or Unicode.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        check_domain(text)?;
        Ok(Self::normalised(text))
    }

    /// Reads the name of a host, as it stands in EHLO: letters, digits and hyphens, no address literal (RFC 5321 section 4.1.2).
    pub fn host_name(text: &str) -> Option<Self> {
        let domain = Self::parse(text).ok()?;
        (domain.literal().is_none() && !domain.as_str().contains('_')).then_some(domain)
    }

    fn normalised(text: &str) -> Self {
        if text.is_ascii() {
            return Self(text.to_ascii_lowercase().into());
        }
        Self(idna::domain_to_ascii(text).unwrap_or_else(|_| text.to_lowercase()).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, if this is an address literal.
    pub fn literal(&self) -> Option<IpAddr> {
        literal_ip(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Domain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// Who hears of a failure (RFC 5321 section 4.4): an address, or nobody, written `<>`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReversePath(pub Option<Address>);

impl ReversePath {
    pub const NULL: Self = Self(None);

    /// Reads what stands between the angle brackets; the empty text is the null reverse-path.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() { Ok(Self::NULL) } else { Address::parse(text).map(|address| Self(Some(address))) }
    }

    /// The address, or the empty text.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", Address::as_str)
    }

    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for ReversePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ReversePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_what_the_standards_allow() {
        for text in [
            "a@b",
            "first.last+tag@example.org",
            "!#$%&'*+-/=?^_`{|}~@example.org",
            r#""a b"@example.org"#,
            r#""a@b\"c\\"@example.org"#,
            "a@[192.0.2.1]",
            "a@[IPv6:2001:db8::1]",
            "用户@例え.jp",
            "a@_dmarc.example.org",
        ] {
            let address = Address::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(address.as_str(), text);
        }
    }

    #[test]
    fn refuses_the_rest() {
        let long_local = format!("{}@example.org", "a".repeat(65));
        let long_label = format!("a@{}.org", "b".repeat(64));
        for text in [
            "",
            "a",
            "@b",
            "a@",
            "a b@c",
            ".a@c",
            "a.@c",
            "a..b@c",
            "a@b@c",
            "a@-b",
            "a@b-",
            "a@b..c",
            "a@.c",
            "a@b c",
            "<a@b>",
            "a@b\r\n",
            "a\0@b",
            r#""a@b"#,
            r#""a"b@c"#,
            "a@[1.2.3]",
            "a@[IPv6:zz]",
            "a@b\n",
            // Fullwidth `>`, `@` and space, which become ASCII in the domain's normal form.
            "a@b\u{ff1e}c",
            "a@b\u{ff20}c",
            "a@b\u{3000}c",
            &long_local,
            &long_label,
        ] {
            assert!(Address::parse(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn domains_compare_without_case_and_in_ascii() {
        assert_eq!(Address::parse("a@EXAMPLE.org").unwrap(), Address::parse("a@example.ORG").unwrap());
        assert_ne!(Address::parse("A@example.org").unwrap(), Address::parse("a@example.org").unwrap());
        assert_eq!(Domain::parse("BÜCHER.example.").unwrap().as_str(), "xn--bcher-kva.example");
        assert_eq!(Address::parse("a@bücher.example").unwrap().to_ascii_domain(), "a@xn--bcher-kva.example");
        assert_eq!(Domain::parse("[192.0.2.1]").unwrap().literal(), Some("192.0.2.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn nothing_that_parses_can_break_a_command_line(text in "\\PC*|[\\x00-\\x7f]*") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert!(!address.as_str().bytes().any(|b| b < 32 || b == 127));
                prop_assert_eq!(format!("{}@{}", address.local_part(), address.domain_text()), text);
            }
        }
    }
}
