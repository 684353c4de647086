//! The rules of `rules.txt`, read once.

use std::sync::LazyLock;

use crate::delivery::Category;

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rules = parse(include_str!("rules.txt"));
    // A part of the program, which a test reads too.
    rules.unwrap_or_else(|line| unreachable!("rules.txt is wrong: {line}"))
});

/// One line.
#[derive(Debug, PartialEq)]
struct Rule {
    category: Category,
    is_hard: bool,
    /// Three characters, digits or `?`; `None`: any code, or none.
    code: Option<&'static str>,
    /// Numbers, or `None` for any; `None`: any status, or none.
    status: Option<[Option<u16>; 3]>,
    /// In this order.
    text: Vec<&'static str>,
}

/// The category of the first rule that fits, and whether it tells of a hard bounce. `text` is in lower case.
pub(super) fn find(code: Option<u16>, status: Option<[u16; 3]>, text: &str) -> Option<(Category, bool)> {
    let code = code.map(|code| code.to_string());
    let rule = RULES.iter().find(|rule| rule.fits(code.as_deref(), status, text))?;
    Some((rule.category, rule.is_hard))
}

/// The three numbers of an enhanced status code (RFC 3463 section 2).
pub(super) fn status_parts(text: &str) -> Option<[u16; 3]> {
    let mut parts = text.splitn(3, '.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

impl Rule {
    fn fits(&self, code: Option<&str>, status: Option<[u16; 3]>, text: &str) -> bool {
        let fits_code = self.code.is_none_or(|pattern| {
            code.is_some_and(|code| {
                code.len() == pattern.len() && pattern.bytes().zip(code.bytes()).all(|(p, c)| p == b'?' || p == c)
            })
        });
        let fits_status = self.status.is_none_or(|pattern| {
            let fits = |(p, number): (&Option<u16>, &u16)| p.is_none_or(|p| p == *number);
            status.is_some_and(|status| pattern.iter().zip(&status).all(fits))
        });
        fits_code && fits_status && self.fits_text(text)
    }

    fn fits_text(&self, text: &str) -> bool {
        let mut rest = text;
        self.text.iter().all(|piece| match rest.split_once(piece) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    }
}

/// The rules, or the first line that is none.
fn parse(text: &'static str) -> Result<Vec<Rule>, &'static str> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| rule(line).ok_or(line)).collect()
}

fn rule(line: &'static str) -> Option<Rule> {
    let (category, rest) = line.split_once(' ')?;
    let (code, rest) = rest.trim_start().split_once(' ')?;
    let (status, text) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
    let is_code = |code: &str| code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit() || b == b'?');
    Some(Rule {
        category: category.trim_end_matches('!').parse().ok()?,
        is_hard: category.ends_with('!'),
        code: match code {
            "*" => None,
            code => Some(code).filter(|code| is_code(code)),
        },
        status: match status {
            "*" => None,
            status => Some(status_pattern(status)?),
        },
        text: text.split("...").map(str::trim).filter(|piece| !piece.is_empty()).collect(),
    })
}

fn status_pattern(text: &str) -> Option<[Option<u16>; 3]> {
    let number = |part: &str| if part == "?" { Some(None) } else { part.parse().ok().map(Some) };
    let mut parts = text.splitn(3, '.').map(number);
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_rule() {
        let rules = parse(include_str!("rules.txt")).unwrap();
        assert!(rules.len() > 100);
        for rule in &rules {
            assert!(!rule.is_hard || rule.category == Category::BadMailbox, "{rule:?}");
            assert!(rule.text.iter().all(|piece| *piece == piece.to_ascii_lowercase()), "{rule:?}");
            // One that asks for nothing would hide all that follow.
            assert!(rule.code.is_some() || rule.status.is_some() || !rule.text.is_empty(), "{rule:?}");
        }
        let text = include_str!("rules.txt");
        let codes =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_whitespace().nth(1));
        assert_eq!(codes.filter(|code| *code != "*").count(), rules.iter().filter(|rule| rule.code.is_some()).count());
    }

    #[test]
    fn what_is_no_rule_is_found() {
        for line in ["bad * *", "policy *", "policy * 5.7", "policy * x.7.1", ""] {
            assert!(parse(line).map_or(true, |rules| rules.is_empty()), "{line}");
        }
    }

    #[test]
    fn pieces_stand_in_their_order() {
        let rule = rule("quota 5?? ?.2.2 exceeded ... quota").unwrap();
        assert!(rule.fits(Some("552"), Some([5, 2, 2]), "has exceeded the quota"));
        assert!(!rule.fits(Some("552"), Some([5, 2, 2]), "quota exceeded"));
        assert!(!rule.fits(Some("452"), Some([5, 2, 2]), "exceeded the quota"));
        assert!(!rule.fits(Some("552"), None, "exceeded the quota"));
        assert!(!rule.fits(None, Some([5, 2, 2]), "exceeded the quota"));
    }
}
