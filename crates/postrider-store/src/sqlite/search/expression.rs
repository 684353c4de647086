//! What a query asks of the index.

use postrider_core::query::{AddressPattern, Condition, Term, Words};

/// An expression of FTS5, and what may be concluded from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sqlite) struct Expression {
    /// Whom it finds is what is looked for; otherwise, whom it does not find.
    pub(in crate::sqlite) is_wanted: bool,
    pub(in crate::sqlite) text: String,
}

impl Expression {
    /// Finds all that match, and more where not all terms can be asked of the index; `None` if it leads to nothing.
    pub(in crate::sqlite) fn leading(terms: &[Term]) -> Option<Self> {
        Self::of(terms, |_| true).filter(|expression| expression.is_wanted)
    }

    /// Decides about the words in any column, which no row tells; `None` if none are looked for.
    pub(in crate::sqlite) fn deciding(terms: &[Term]) -> Option<Self> {
        Self::of(terms, |condition| matches!(condition, Condition::Text(_)))
    }

    fn of(terms: &[Term], is_meant: impl Fn(&Condition) -> bool) -> Option<Self> {
        let meant = terms.iter().filter(|term| is_meant(&term.condition));
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for term in meant {
            match (phrase(&term.condition), term.is_negated) {
                (Some(phrase), false) => wanted.push(phrase),
                // Of all else the index knows only whom it may be true of.
                (Some(phrase), true) if matches!(term.condition, Condition::Text(_)) => unwanted.push(phrase),
                _ => {}
            }
        }
        let unwanted = (!unwanted.is_empty()).then(|| unwanted.join(" OR "));
        match (wanted.is_empty(), unwanted) {
            (false, None) => Some(Self { is_wanted: true, text: wanted.join(" AND ") }),
            (false, Some(unwanted)) => {
                Some(Self { is_wanted: true, text: format!("({}) NOT ({unwanted})", wanted.join(" AND ")) })
            }
            (true, Some(unwanted)) => Some(Self { is_wanted: false, text: unwanted }),
            (true, None) => None,
        }
    }
}

/// What is found of all e-mails that a condition is true of.
fn phrase(condition: &Condition) -> Option<String> {
    match condition {
        Condition::Text(words) => Some(quoted(words)),
        Condition::Subject(words) => Some(format!("subject : {}", quoted(words))),
        Condition::Sender(AddressPattern::Whole(key)) => whole("sender", key),
        Condition::Recipient(AddressPattern::Whole(key)) => whole("recipients", key),
        Condition::Domain(domain) => whole("{sender recipients}", domain.as_str()),
        Condition::MessageId(id) => whole("message_id", id),
        _ => None,
    }
}

/// A domain in Unicode has another spelling: then the rows must be asked.
fn whole(column: &str, text: &str) -> Option<String> {
    let words = Words::of(text).filter(|_| !text.contains("xn--"))?;
    Some(format!("{column} : {}", quoted(&words)))
}

/// Words have letters, digits and what belongs to these, and so no quotes.
fn quoted(words: &Words) -> String {
    format!("\"{}\"", words.as_slice().join(" "))
}

#[cfg(test)]
mod tests {
    use postrider_core::Timestamp;
    use postrider_core::query::Query;

    use super::*;

    #[test]
    fn what_the_index_knows_is_asked_of_it() {
        let terms = |query: &str| Query::parse(query).unwrap().at(Timestamp::from_millis(0));
        let leading = |query: &str| Expression::leading(&terms(query)).map(|expression| expression.text);
        let cases = [
            ("invoice \"Two words\"", Some("\"invoice\" AND \"two words\"")),
            ("invoice -paid -\"as agreed\"", Some("(\"invoice\") NOT (\"paid\" OR \"as agreed\")")),
            ("from:ann@example.org -subject:re", Some("sender : \"ann example org\"")),
            ("domain:example.org", Some("{sender recipients} : \"example org\"")),
            ("domain:xn--bcher-kva.example", None),
            ("from:ann@", None),
            ("-invoice", None),
            ("status:sent larger:1", None),
        ];
        for (query, expected) in cases {
            assert_eq!(leading(query).as_deref(), expected, "{query}");
        }
        let deciding = |query: &str| Expression::deciding(&terms(query));
        let wanted = |is_wanted, text: &str| Some(Expression { is_wanted, text: text.to_owned() });
        assert_eq!(deciding("subject:a b -c"), wanted(true, "(\"b\") NOT (\"c\")"));
        assert_eq!(deciding("-a -b"), wanted(false, "\"a\" OR \"b\""));
        assert_eq!(deciding("subject:a"), None);
    }
}
