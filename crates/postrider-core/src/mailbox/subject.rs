//! Base subjects (RFC 5256 section 2.1): what is left of a subject when replies and mailing lists have not touched it.

/// A subject without the marks of replies, forwards and mailing lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaseSubject {
    pub text: String,
    /// Whether such a mark of a reply or a forward stood there.
    pub is_reply_or_forward: bool,
}

impl BaseSubject {
    /// Of a decoded subject. Reads each byte a bounded number of times, whatever was written.
    pub fn of(subject: &str) -> Self {
        // Step 1: decoded it is already; each run of blanks becomes one.
        let joined = joined_blanks(subject);
        let mut text = joined.as_str();
        let mut is_reply_or_forward = false;
        loop {
            // Step 2.
            text = text.trim_end_matches(' ');
            while let Some(start) = strip_suffix_ignoring_case(text, "(fwd)") {
                text = start.trim_end_matches(' ');
                is_reply_or_forward = true;
            }
            // Steps 3 to 5.
            loop {
                text = text.trim_start_matches(' ');
                let blobs = skip_blobs(text);
                if let Some(rest) = skip_reply_mark(blobs.rest) {
                    text = rest;
                    is_reply_or_forward = true;
                } else if blobs.without_last_if_empty.len() < text.len() {
                    // As long as no mark follows the blobs, removing one of them does not bring one.
                    text = blobs.without_last_if_empty;
                } else {
                    break;
                }
            }
            // Step 6.
            match strip_prefix_ignoring_case(text, "[fwd:").and_then(|rest| rest.strip_suffix(']')) {
                Some(inner) => {
                    text = inner;
                    is_reply_or_forward = true;
                }
                None => break,
            }
        }
        Self { text: text.to_owned(), is_reply_or_forward }
    }
}

fn joined_blanks(subject: &str) -> String {
    let mut joined = String::with_capacity(subject.len());
    for c in subject.chars() {
        let c = if matches!(c, '\t' | '\r' | '\n') { ' ' } else { c };
        if c != ' ' || !joined.ends_with(' ') {
            joined.push(c);
        }
    }
    joined
}

struct Blobs<'a> {
    /// Behind all blobs that the text starts with.
    rest: &'a str,
    /// The same, but with the last blob if nothing is behind it: step 4 leaves a base that is not empty.
    without_last_if_empty: &'a str,
}

/// `*subj-blob`: `[...]` with the blanks behind each.
fn skip_blobs(text: &str) -> Blobs<'_> {
    let (mut rest, mut before_last) = (text, text);
    while let Some(after) = skip_blob(rest) {
        before_last = rest;
        rest = after;
    }
    let without_last_if_empty = if rest.is_empty() { before_last } else { rest };
    Blobs { rest, without_last_if_empty }
}

fn skip_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    let rest = inner[end..].strip_prefix(']')?;
    Some(rest.trim_start_matches(' '))
}

/// `subj-refwd`: `Re:`, `Fw:`, `Fwd:`, also as `Re [list]:`.
fn skip_reply_mark(text: &str) -> Option<&str> {
    let rest = strip_prefix_ignoring_case(text, "re")
        .or_else(|| strip_prefix_ignoring_case(text, "fwd"))
        .or_else(|| strip_prefix_ignoring_case(text, "fw"))?
        .trim_start_matches(' ');
    skip_blob(rest).unwrap_or(rest).strip_prefix(':')
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn strip_suffix_ignoring_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    text.get(at..)?.eq_ignore_ascii_case(suffix).then(|| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_subjects() {
        for (subject, base, is_reply_or_forward) in [
            ("Hello", "Hello", false),
            ("Re: Hello", "Hello", true),
            ("RE:re :  FWD: Fw:Hello \t world (fwd) (FWD) ", "Hello world", true),
            ("[list] Re: [other] Hello", "Hello", true),
            ("Re [2]: Hello", "Hello", true),
            ("[a][b] Hello", "Hello", false),
            ("[a] [b]", "[b]", false),
            ("[b]", "[b]", false),
            ("Re: [b]", "[b]", true),
            ("[fwd: Re: Hello (fwd)]", "Hello", true),
            ("[Fwd: [fwd: x]]", "x", true),
            ("Re: ", "", true),
            ("", "", false),
            ("Regards: x", "Regards: x", false),
            ("[open Hello", "[open Hello", false),
            ("Gr\u{fc}\u{df}e (fwd)", "Gr\u{fc}\u{df}e", true),
        ] {
            assert_eq!(
                BaseSubject::of(subject),
                BaseSubject { text: base.to_owned(), is_reply_or_forward },
                "{subject:?}"
            );
        }
    }
}
