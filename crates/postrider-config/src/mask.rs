//! How values are shown: secrets masked, everything on one short line.

/// What stands where a secret stood.
pub(crate) const MASK: &str = "***";

/// A value in an error message is cut after this many characters.
const SHOWN_CHARS_MAX: usize = 80;

/// How much of a value may be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    Public,
    /// Nothing of it.
    Secret,
    /// A URL: all but the password and the query, which may hold a token.
    Url,
}

/// The value as it may be shown, on one line. The empty value has nothing to hide.
pub(crate) fn masked(value: &str, secrecy: Secrecy) -> String {
    match secrecy {
        _ if value.is_empty() => String::new(),
        Secrecy::Public => value.to_owned(),
        Secrecy::Secret => MASK.to_owned(),
        Secrecy::Url => masked_url(value),
    }
}

/// The value for an error message: masked, in quotes, control characters escaped, shortened.
pub(crate) fn quoted(value: &str, secrecy: Secrecy) -> String {
    let shown = masked(value, secrecy);
    if shown.chars().count() <= SHOWN_CHARS_MAX {
        return format!("{shown:?}");
    }
    let head: String = shown.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{head:?}...")
}

/// Masks by the text alone, because a URL that does not parse may hold a password too. A password with an unescaped `@`,
/// `/` or `?` is masked whole: everything up to the last `@` counts as user and password.
fn masked_url(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return MASK.to_owned() };
    let (user_info, host) = match rest.rsplit_once('@') {
        Some((user_info, host)) => (Some(user_info), host),
        None => (None, rest),
    };
    let host = match host.split_once('?') {
        Some((host, _)) => format!("{host}?{MASK}"),
        None => host.to_owned(),
    };
    match user_info {
        None => format!("{scheme}://{host}"),
        Some(user_info) => match user_info.split_once(':') {
            // A lone user part may be a token.
            None => format!("{scheme}://{MASK}@{host}"),
            Some((user, _)) => format!("{scheme}://{user}:{MASK}@{host}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_masked_however_they_are_written() {
        for (value, shown) in [
            ("smtp://relay.example:587", "smtp://relay.example:587"),
            ("smtp://ann:secret@relay.example", "smtp://ann:***@relay.example"),
            ("smtp://ann:se:cret@relay.example", "smtp://ann:***@relay.example"),
            ("smtp://ann:s@e/c?ret@relay.example", "smtp://ann:***@relay.example"),
            ("smtp://:secret@relay.example", "smtp://:***@relay.example"),
            ("https://token@hook.example/x", "https://***@hook.example/x"),
            ("https://hook.example/x?token=secret", "https://hook.example/x?***"),
            ("mongodb://ann:secret@a:27017,b:27017/mail?tls=true", "mongodb://ann:***@a:27017,b:27017/mail?***"),
            ("ann:secret@relay.example", "***"),
        ] {
            assert_eq!(masked(value, Secrecy::Url), shown);
        }
    }

    #[test]
    fn a_shown_value_is_one_short_line() {
        assert_eq!(quoted("a\nb\u{1b}", Secrecy::Public), r#""a\nb\u{1b}""#);
        assert_eq!(quoted(&"x".repeat(500), Secrecy::Public).len(), SHOWN_CHARS_MAX + 5);
        assert_eq!(quoted("hunter2", Secrecy::Secret), r#""***""#);
        assert_eq!(masked("", Secrecy::Secret), "");
    }
}
