//! Parameters of MAIL and RCPT as a grammar (RFC 5321 section 4.1.1.11), and xtext (RFC 3461 section 4). Which ones there
//! are is known by the commands.

use super::Session;
use crate::smtp::reply::Reply;

/// A parameter: `KEYWORD` or `KEYWORD=value`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter<'a> {
    pub(super) keyword: &'a str,
    pub(super) value: Option<&'a str>,
}

impl<'a> Parameter<'a> {
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.keyword.eq_ignore_ascii_case(keyword)
    }

    /// Whether it is one of RFC 3461's.
    pub(super) fn is_of_dsn(&self) -> bool {
        ["RET", "ENVID", "NOTIFY", "ORCPT"].into_iter().any(|keyword| self.is(keyword))
    }

    /// Whether it is one of RFC 4865's.
    pub(super) fn is_hold(&self) -> bool {
        self.is("HOLDFOR") || self.is("HOLDUNTIL")
    }

    /// The value, which must be there.
    pub(super) fn required_value(&self) -> Result<&'a str, Reply> {
        self.value.ok_or(Reply::BAD_PARAMETER_VALUE)
    }
}

/// The parameters in what stands behind a path. They belong to extensions: after HELO there are none, nor those of an
/// extension that is not offered.
pub(super) fn parse<'a>(text: &'a str, session: &Session) -> Result<Vec<Parameter<'a>>, Reply> {
    let parameters = text.split(' ').filter(|word| !word.is_empty()).map(parameter).collect::<Result<Vec<_>, _>>()?;
    let is_refused = |parameter: &Parameter<'_>| {
        !session.is_extended()
            || (parameter.is_of_dsn() && !session.config.dsn)
            || (parameter.is_hold() && session.future_release.is_none())
            || (parameter.is("MT-PRIORITY") && !session.config.priorities)
            || (parameter.is("REQUIRETLS") && session.tls.is_none())
    };
    if parameters.iter().any(is_refused) {
        return Err(Reply::UNKNOWN_PARAMETER);
    }
    for (i, parameter) in parameters.iter().enumerate() {
        if parameters[..i].iter().any(|earlier| earlier.is(parameter.keyword)) {
            return Err(Reply::DUPLICATE_PARAMETER);
        }
    }
    Ok(parameters)
}

fn parameter(word: &str) -> Result<Parameter<'_>, Reply> {
    let (keyword, value) = match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    };
    let keyword_holds = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
        && keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let value_holds =
        value.is_none_or(|value| !value.is_empty() && !value.contains('=') && !value.chars().any(char::is_control));
    if keyword_holds && value_holds { Ok(Parameter { keyword, value }) } else { Err(Reply::BAD_SYNTAX) }
}

/// Whether a text is xtext: printable ASCII without space, `+` and `=`, but for `+` with two upper-case hexadecimal digits.
pub(super) fn is_xtext(text: &str) -> bool {
    let is_plain = |b: u8| (b'!'..=b'~').contains(&b) && b != b'+' && b != b'=';
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'A'..=b'F');
    let mut parts = text.as_bytes().split(|&b| b == b'+');
    parts.next().is_some_and(|first| first.iter().copied().all(is_plain))
        && parts.all(|part| match part {
            [a, b, rest @ ..] => is_hex(*a) && is_hex(*b) && rest.iter().copied().all(is_plain),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext() {
        for text in ["", "a", "+2B", "a+3Db", "QQ314159", "<>"] {
            assert!(is_xtext(text), "{text}");
        }
        for text in ["+", "+2", "+2b", "a=b", "a b", "ä", "+GG", "a\u{7f}"] {
            assert!(!is_xtext(text), "{text}");
        }
    }
}
