//! The grammar of records (RFC 7208 section 12).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Directive, MacroString, Mechanism, Prefixes, Qualifier, SpfRecord, SpfRecordError};

/// The version with which a record begins, in any case.
const VERSION: &str = "v=spf1";

/// What stands behind the version of an SPF record; `None` for a text that is none (section 4.5).
pub(super) fn terms(text: &str) -> Option<&str> {
    let (version, terms) = text.split_at_checked(VERSION.len())?;
    let is_record = version.eq_ignore_ascii_case(VERSION) && (terms.is_empty() || terms.starts_with(' '));
    is_record.then_some(terms)
}

pub(super) fn record(terms: &str) -> Result<SpfRecord, SpfRecordError> {
    let mut record = SpfRecord { directives: Vec::new(), redirect: None };
    let mut has_explanation = false;
    // Spaces alone stand between terms, no other white space.
    for term in terms.split(' ').filter(|term| !term.is_empty()) {
        let understood = match modifier(term) {
            Some(("redirect", value)) => match MacroString::domain(value) {
                Some(domain) if record.redirect.is_none() => {
                    record.redirect = Some(domain);
                    true
                }
                _ => false,
            },
            // Only whoever refuses mail because of SPF has use for an explanation.
            Some(("exp", value)) => {
                let is_first = !has_explanation;
                has_explanation = true;
                is_first && MacroString::domain(value).is_some()
            }
            Some((_, value)) => MacroString::parse(value).is_some(),
            None => directive(term).map(|directive| record.directives.push(directive)).is_some(),
        };
        if !understood {
            return Err(SpfRecordError::Term(term.to_owned()));
        }
    }
    Ok(record)
}

/// A modifier: a name in the one case in which modifiers are compared here, and what stands behind its `=`.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let known = ["redirect", "exp"].into_iter().find(|known| known.eq_ignore_ascii_case(name));
    is_name.then(|| (known.unwrap_or(name), value))
}

fn directive(term: &str) -> Option<Directive> {
    let (qualifier, term) = match term.split_at_checked(1)? {
        ("+", term) => (Qualifier::Pass, term),
        ("-", term) => (Qualifier::Fail, term),
        ("~", term) => (Qualifier::SoftFail, term),
        ("?", term) => (Qualifier::Neutral, term),
        _ => (Qualifier::Pass, term),
    };
    let end = term.find([':', '/']).unwrap_or(term.len());
    let (name, rest) = term.split_at_checked(end)?;
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(MacroString::domain(rest.strip_prefix(':')?)?),
        "exists" => Mechanism::Exists(MacroString::domain(rest.strip_prefix(':')?)?),
        "a" => {
            let (name, prefixes) = target(rest)?;
            Mechanism::A { name, prefixes }
        }
        "mx" => {
            let (name, prefixes) = target(rest)?;
            Mechanism::Mx { name, prefixes }
        }
        "ptr" => Mechanism::Ptr { name: name_of(rest)? },
        "ip4" => {
            let (network, prefix) = network(rest.strip_prefix(':')?, 32)?;
            Mechanism::Ip4 { network: network.parse::<Ipv4Addr>().ok()?, prefix }
        }
        "ip6" => {
            let (network, prefix) = network(rest.strip_prefix(':')?, 128)?;
            Mechanism::Ip6 { network: network.parse::<Ipv6Addr>().ok()?, prefix }
        }
        _ => return None,
    };
    Some(Directive { qualifier, mechanism })
}

/// The name and the lengths of prefixes behind `a` and `mx`. A name may have slashes in it, so lengths are looked for from the
/// end: `/N`, `//M`, or `/N//M`.
fn target(text: &str) -> Option<(Option<MacroString>, Prefixes)> {
    let mut prefixes = Prefixes { v4: 32, v6: 128 };
    let mut name = text;
    if let Some((before, length)) = text.rsplit_once("//").filter(|(_, length)| is_number(length)) {
        prefixes.v6 = prefix(length, 128)?;
        name = before;
    }
    if let Some((before, length)) = name.rsplit_once('/').filter(|(_, length)| is_number(length)) {
        prefixes.v4 = prefix(length, 32)?;
        name = before;
    }
    Some((name_of(name)?, prefixes))
}

/// Nothing, or a colon and a name.
fn name_of(text: &str) -> Option<Option<MacroString>> {
    if text.is_empty() {
        return Some(None);
    }
    MacroString::domain(text.strip_prefix(':')?).map(Some)
}

fn network(text: &str, prefix_max: u8) -> Option<(&str, u8)> {
    match text.split_once('/') {
        Some((network, length)) => Some((network, prefix(length, prefix_max)?)),
        None => Some((text, prefix_max)),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A length without zeros in front of it.
fn prefix(text: &str, max: u8) -> Option<u8> {
    let is_written_so = is_number(text) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|length| is_written_so && *length <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<SpfRecord>, SpfRecordError> {
        SpfRecord::find([text])
    }

    #[test]
    fn a_record_is_told_from_other_texts() {
        for text in
            ["", "v=spf", "v=spf10", "v=spf1a -all", "v=spf1\t-all", " v=spf1 -all", "spf1 -all", "v=spf2.0/pra"]
        {
            assert_eq!(parsed(text), Ok(None), "{text}");
        }
        for text in ["v=spf1", "V=SPF1", "v=spf1 ", "v=spf1    -all   "] {
            assert!(matches!(parsed(text), Ok(Some(_))), "{text}");
        }
        assert_eq!(SpfRecord::find(["v=spf1", "other", "v=spf1"]), Err(SpfRecordError::Several));
        assert!(matches!(SpfRecord::find(["v=spf10", "v=spf1", "v=spf1x"]), Ok(Some(_))));
    }

    #[test]
    fn terms_are_read() {
        let record =
            parsed("v=spf1 a MX:mx.test/24//64 -Ip4:192.0.2.0/24 ~ip6:2001:DB8:: ?exists:%{i}.test All").unwrap();
        let record = record.unwrap();
        let [a, mx, ip4, ip6, exists, all] = &record.directives[..] else { panic!("{record:?}") };
        let whole = Prefixes { v4: 32, v6: 128 };
        assert_eq!(a.mechanism, Mechanism::A { name: None, prefixes: whole });
        let Mechanism::Mx { name: Some(_), prefixes } = &mx.mechanism else { panic!("{mx:?}") };
        assert_eq!(*prefixes, Prefixes { v4: 24, v6: 64 });
        assert_eq!(ip4.mechanism, Mechanism::Ip4 { network: Ipv4Addr::new(192, 0, 2, 0), prefix: 24 });
        assert!(matches!(ip6.mechanism, Mechanism::Ip6 { prefix: 128, .. }));
        assert!(matches!(exists.mechanism, Mechanism::Exists(_)));
        let qualifiers = [a, ip4, ip6, exists, all].map(|directive| directive.qualifier);
        let expected = [Qualifier::Pass, Qualifier::Fail, Qualifier::SoftFail, Qualifier::Neutral, Qualifier::Pass];
        assert_eq!(qualifiers, expected);
    }

    #[test]
    fn what_the_grammar_does_not_have_is_refused() {
        let wrong = [
            "all.",
            "all:x.test",
            "all/8",
            "al",
            "-",
            "--all",
            "+-all",
            "include",
            "include:",
            "include/24",
            "include:x.test/24",
            "exists",
            "exists:",
            "exists:x.test/24",
            "a:",
            "a/",
            "a/33",
            "a/024",
            "a//129",
            "a/-1",
            "a/24/64",
            "a//64/24",
            "a:x.test/",
            "a:x.test//",
            "a:x",
            "a:x.test:80",
            "a:x.test-",
            "a:x.1",
            "mx:",
            "mx//",
            "mx/33",
            "ptr:",
            "ptr/24",
            "ptr:x.test/24",
            "ip4",
            "ip4:",
            "ip4:192.0.2",
            "ip4:192.0.2.1/",
            "ip4:192.0.2.1/33",
            "ip4:192.0.2.01",
            "ip4:192.0.2.256",
            "ip4:192.0.2.1/08",
            "ip4:2001:db8::",
            "ip4/24",
            "ip6",
            "ip6:",
            "ip6:1",
            "ip6:2001:db8::/129",
            "ip6:192.0.2.1",
            "redirect:x.test",
            "redirect=",
            "redirect=x.test/8",
            "exp=",
            "exp:x.test",
            "exp=x",
            "unknown",
            "unknown:x.test",
            "1x=y",
            "x/y=z",
            "x:y=z",
            "x=%",
            "x=%{",
            "x=%{q}",
            "a:%{c}.test",
            "a:%{s0}.test",
            "a:%{i}x",
            "ip4:192.0.2.1\tall",
            "a:\u{e9}.test",
            "\u{fffd}all",
            "=x",
        ];
        for term in wrong {
            let text = format!("v=spf1 {term} -all");
            assert_eq!(parsed(&text), Err(SpfRecordError::Term(term.to_owned())), "{term}");
        }
        for twice in ["redirect=x.test redirect=y.test", "exp=x.test exp=x.test"] {
            assert!(parsed(&format!("v=spf1 {twice}")).is_err(), "{twice}");
        }
        let right = [
            "a/0",
            "a//0",
            "a/32//128",
            "a//64",
            "a:x.test/24",
            "a:x.test//64",
            "a:x.test.",
            "a:museum.x-y",
            "a:a/b.test/24",
            "mx:x:80.test",
            "a:%{d}",
            "a:_x.%{d2r.-}",
            "ptr",
            "ptr:x.test",
            "ip6:::1",
            "ip6:::ffff:192.0.2.1/96",
            "ip4:0.0.0.0/0",
            "exists:%{ir}.%{v}.x.test",
            "include:%{d}",
            "a:%%%_%-.test",
            "x.y-z_1=",
            "x=a:b/c",
            "REDIRECT=x.test",
            "Exp=x.test",
            "x=%{s}",
            "a:foo!@#$^&*().test",
            "a:x-.test1",
            "a:.test",
            "a:x..test",
            "a:1.test1a",
        ];
        for term in right {
            assert!(parsed(&format!("v=spf1 {term} -all")).is_ok(), "{term}");
        }
    }
}
