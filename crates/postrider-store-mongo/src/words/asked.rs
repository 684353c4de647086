//! What a query asks of the words.

use postrider_core::query::{AddressPattern, Condition, Term, Words};

/// Words that all e-mails have, and words that none has, of those that are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// One at least, each once.
    pub(crate) words: Vec<String>,
    pub(crate) without: Vec<String>,
}

impl Asked {
    /// `None` if no words lead to what is looked for.
    pub(crate) fn of(terms: &[Term]) -> Option<Self> {
        let mut asked = Self::default();
        for term in terms {
            let Some(words) = words(&term.condition) else { continue };
            let into = match (&term.condition, term.is_negated) {
                (_, false) => &mut asked.words,
                (condition, true) if is_decided(condition) => &mut asked.without,
                _ => continue,
            };
            for word in words.as_slice() {
                if !into.contains(word) {
                    into.push(word.clone());
                }
            }
        }
        (!asked.words.is_empty()).then_some(asked)
    }
}

/// Whether a condition is true of just those e-mails that have its words. Of words one after the other, or in one field, the
/// index does not know.
pub(crate) fn is_decided(condition: &Condition) -> bool {
    matches!(condition, Condition::Text(words) if words.as_slice().len() == 1)
}

/// The words that all e-mails have of which a condition is true.
fn words(condition: &Condition) -> Option<Words> {
    let of = |text: &str| Words::of(text).filter(|_| !text.contains("xn--"));
    match condition {
        Condition::Text(words) | Condition::Subject(words) => Some(words.clone()),
        // A domain in Unicode has another spelling.
        Condition::Sender(AddressPattern::Whole(key)) | Condition::Recipient(AddressPattern::Whole(key)) => of(key),
        Condition::Domain(domain) => of(domain.as_str()),
        Condition::MessageId(id) => Words::of(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use postrider_core::Timestamp;
    use postrider_core::query::Query;

    use super::*;

    #[test]
    fn what_all_that_match_have_is_asked_of_the_words() {
        let asked = |query: &str| {
            let terms = Query::parse(query).unwrap().at(Timestamp::from_millis(0));
            Asked::of(&terms).map(|asked| (asked.words.join(" "), asked.without.join(" ")))
        };
        let cases = [
            ("invoice \"Two words\"", Some(("invoice two words", ""))),
            ("invoice -paid -\"as agreed\"", Some(("invoice", "paid"))),
            ("from:ann@example.org -subject:re", Some(("ann example org", ""))),
            ("domain:example.org example", Some(("example org", ""))),
            ("domain:xn--bcher-kva.example", None),
            ("from:ann@ to:<>", None),
            ("-invoice", None),
            ("status:sent larger:1", None),
            ("messageid:a.1@host", Some(("a 1 host", ""))),
        ];
        for (query, expected) in cases {
            assert_eq!(asked(query), expected.map(|(words, without)| (words.into(), without.into())), "{query}");
        }
    }
}
