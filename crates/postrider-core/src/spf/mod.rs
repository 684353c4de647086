//! What an SPF record says (RFC 7208): its grammar, to the letter, and what its macros stand for.
//!
//! Asks nobody anything: who evaluates a record looks names up.

mod expand;
mod parse;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use expand::{MacroString, Values};

/// A record whose every term is well formed (section 4.6: what is broken anywhere breaks all of it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfRecord {
    /// In their order, the first that matches decides (section 4.6.2).
    pub directives: Vec<Directive>,
    /// Whose record decides if none of them matches (section 6.1).
    pub redirect: Option<MacroString>,
}

/// A mechanism, and the result where it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    pub qualifier: Qualifier,
    pub mechanism: Mechanism,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// What a directive compares the client with (section 5). A name that is left out is the domain whose record it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    All,
    Include(MacroString),
    A { name: Option<MacroString>, prefixes: Prefixes },
    Mx { name: Option<MacroString>, prefixes: Prefixes },
    Ptr { name: Option<MacroString> },
    Ip4 { network: Ipv4Addr, prefix: u8 },
    Ip6 { network: Ipv6Addr, prefix: u8 },
    Exists(MacroString),
}

/// How many bits of an address are compared, by its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    pub v4: u8,
    pub v6: u8,
}

/// What comes of looking at a client by a domain's record (section 2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpfResult {
    None,
    Neutral,
    Pass,
    Fail,
    SoftFail,
    TempError,
    PermError,
}

impl SpfResult {
    /// As Authentication-Results has it (RFC 8601 section 2.7.2).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl From<Qualifier> for SpfResult {
    fn from(qualifier: Qualifier) -> Self {
        match qualifier {
            Qualifier::Pass => Self::Pass,
            Qualifier::Fail => Self::Fail,
            Qualifier::SoftFail => Self::SoftFail,
            Qualifier::Neutral => Self::Neutral,
        }
    }
}

/// The text is no SPF record, or a domain has several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpfRecordError {
    #[error("there is more than one record")]
    Several,
    #[error("{0:?} cannot be understood")]
    Term(String),
}

impl SpfRecord {
    /// The record among the TXT records of a domain; `None` where there is none (sections 4.5 and 4.6).
    pub fn find<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Option<Self>, SpfRecordError> {
        let mut records = texts.into_iter().filter_map(parse::terms);
        let Some(terms) = records.next() else { return Ok(None) };
        if records.next().is_some() {
            return Err(SpfRecordError::Several);
        }
        parse::record(terms).map(Some)
    }
}

impl Mechanism {
    /// Whether looking at it takes questions to the DNS, which are counted (section 4.6.4).
    pub fn asks(&self) -> bool {
        !matches!(self, Self::All | Self::Ip4 { .. } | Self::Ip6 { .. })
    }
}

/// Whether the first bits of two addresses are the same; never of two families.
pub fn is_in_network(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let (bits, differing) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (32, (address.to_bits() ^ network.to_bits()).leading_zeros()),
        (IpAddr::V6(address), IpAddr::V6(network)) => (128, (address.to_bits() ^ network.to_bits()).leading_zeros()),
        _ => return false,
    };
    differing >= u32::from(prefix).min(bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a record says and whoever sends: there is an answer, and a name that can be asked for is short enough.
        #[test]
        fn any_record_is_read_or_refused(
            text in "(v=spf1 )?([-+~?]?(a|mx|ptr|include|exists|ip4|ip6|all|redirect|exp|x)[:=/]?[ -~\\u{e9}]{0,12} ?){0,4}",
            local_part in "\\PC{0,20}",
            helo in "\\PC{0,300}",
            ip in any::<IpAddr>(),
        ) {
            let values = Values {
                local_part: &local_part,
                sender_domain: "sender.test",
                domain: "record.test",
                ip,
                helo: &helo,
                validated_name: None,
            };
            if let Ok(Some(record)) = SpfRecord::find([text.as_str()]) {
                for directive in &record.directives {
                    if let Mechanism::Include(name) | Mechanism::Exists(name) = &directive.mechanism
                        && let Some(name) = name.expand(&values)
                    {
                        prop_assert!(name.len() <= 253);
                    }
                }
            }
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (address, network, prefix, is_in) in [
            ("192.0.2.1", "192.0.2.1", 32, true),
            ("192.0.2.1", "192.0.2.0", 32, false),
            ("192.0.2.255", "192.0.2.0", 24, true),
            ("192.0.3.0", "192.0.2.0", 24, false),
            ("192.0.3.0", "192.0.2.0", 23, true),
            ("203.0.113.9", "192.0.2.0", 0, true),
            ("2001:db8::1", "2001:db8::1", 128, true),
            ("2001:db8::1", "2001:db8::", 128, false),
            ("2001:db8:ffff::1", "2001:db8::", 32, true),
            ("2001:db9::1", "2001:db8::", 32, false),
            ("2001:db8::1", "192.0.2.0", 0, false),
        ] {
            assert_eq!(is_in_network(ip(address), ip(network), prefix), is_in, "{address} in {network}/{prefix}");
        }
    }
}
