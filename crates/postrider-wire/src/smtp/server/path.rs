//! Paths of MAIL and RCPT (RFC 5321 section 4.1.2): finding their end, and what may not be in them at all. Whether what is
//! left is an address is for the domain to say.

use crate::smtp::reply::Reply;

/// Of what stands between the angle brackets, without a source route: a local part, `@` and a domain at their longest (RFC
/// 5321 section 4.5.3.1).
pub(super) const PATH_BYTES_MAX: usize = 64 + 1 + 255;

/// Takes `FROM:` or `TO:`, in any case, and the path behind it apart; returns the path's inside and the rest of the line.
/// `None` if there is no such path.
///
/// Spaces behind the colon are against the standard and common; they can mean nothing else.
pub(super) fn split_path<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (word, rest) = argument.split_at_checked(keyword.len())?;
    if !word.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let rest = rest.trim_start_matches(' ').strip_prefix('<')?;
    let end = path_end(rest)?;
    let (path, rest) = (&rest[..end], &rest[end + 1..]);
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let mailbox = without_source_route(path)?;
    (mailbox.len() <= PATH_BYTES_MAX).then_some((mailbox, rest))
}

/// Whether a path that is not empty has a local part and a domain.
pub(super) fn has_domain(path: &str) -> bool {
    local_part_end(path).is_some_and(|at| at > 0 && at + 1 < path.len())
}

/// A path that is not ASCII needs SMTPUTF8 (RFC 6531 section 3.3).
pub(super) fn check_utf8(path: &str, smtputf8: bool) -> Result<(), Reply> {
    if smtputf8 || path.is_ascii() { Ok(()) } else { Err(Reply::ADDRESS_NEEDS_SMTPUTF8) }
}

/// Where the `>` stands that ends the path: not one in a quoted local part. `None` also if a character is in the path
/// that can be in none: a control character, or outside of quotes a space or `<`.
fn path_end(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let mut quoted = false;
    while let Some((at, c)) = chars.next() {
        match c {
            '>' if !quoted => return Some(at),
            '<' | ' ' if !quoted => return None,
            '"' => quoted = !quoted,
            '\\' if quoted => {
                chars.next().filter(|(_, escaped)| !escaped.is_control())?;
            }
            c if c.is_control() => return None,
            _ => {}
        }
    }
    None
}

/// Section 4.1.1.3 and appendix C: `@a,@b:user@c` goes to `user@c`, and the route is ignored.
fn without_source_route(path: &str) -> Option<&str> {
    if !path.starts_with('@') {
        return Some(path);
    }
    let (route, mailbox) = path.split_once(':')?;
    let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']');
    let holds = route
        .split(',')
        .all(|hop| hop.strip_prefix('@').is_some_and(|host| !host.is_empty() && host.chars().all(is_host)));
    (holds && !mailbox.is_empty()).then_some(mailbox)
}

/// Where the `@` stands that ends the local part.
fn local_part_end(path: &str) -> Option<usize> {
    let Some(quoted) = path.strip_prefix('"') else { return path.find('@') };
    let mut escaped = false;
    let end = quoted.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    // The opening quote is not in `quoted`.
    path[end + 2..].starts_with('@').then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_path() {
        for (argument, path, rest) in [
            ("FROM:<>", "", ""),
            ("from: <a@b> SIZE=1", "a@b", " SIZE=1"),
            ("FROM:<@x,@y.z:a@b>", "a@b", ""),
            (r#"FROM:<"a b>\"@"@c> BODY=7BIT"#, r#""a b>\"@"@c"#, " BODY=7BIT"),
            ("FROM:<a@[IPv6:::1]>", "a@[IPv6:::1]", ""),
            ("FROM:<ä@ö>", "ä@ö", ""),
        ] {
            assert_eq!(split_path(argument, "FROM:"), Some((path, rest)), "{argument}");
        }
    }

    #[test]
    fn refuses_what_is_no_path() {
        let long = format!("FROM:<{}@b>", "a".repeat(PATH_BYTES_MAX));
        for argument in [
            "",
            "FROM",
            "FROM:",
            "TO:<a@b>",
            "FROM:a@b",
            "FROM:<a@b",
            "FROM:<a@b>SIZE=1",
            "FROM:<a b@c>",
            "FROM:<<a@b>>",
            "FROM:<a\t@b>",
            "FROM:<a\u{85}@b>",
            "FROM:<\"a\\\u{7f}\"@b>",
            "FROM:<\"a@b>",
            "FROM:<@x>",
            "FROM:<@x:>",
            "FROM:<@:a@b>",
            "FROM:<@x,y:a@b>",
            &long,
        ] {
            assert_eq!(split_path(argument, "FROM:"), None, "{argument}");
        }
    }

    #[test]
    fn a_domain_follows_the_local_part() {
        for path in ["a@b", r#""@"@b"#, r#""\"@"@b"#] {
            assert!(has_domain(path), "{path}");
        }
        for path in ["a", "@b", "a@", r#""a@b""#, r#""a"b@c"#, r#""a"#] {
            assert!(!has_domain(path), "{path}");
        }
    }
}
