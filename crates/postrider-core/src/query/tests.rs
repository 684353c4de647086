//! What the language reads, and what it says of what it cannot read.

use crate::{Direction, Domain, EmailStatus, Timestamp};
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn one(text: &str) -> Condition {
    let terms = Query::parse(text).unwrap().at(NOW);
    assert_eq!(terms.len(), 1, "{text}");
    assert!(!terms[0].is_negated, "{text}");
    terms[0].condition.clone()
}

fn words(text: &str) -> Words {
    Words::of(text).unwrap()
}

#[test]
fn every_key_is_read() {
    let address = |text: &str| AddressPattern::of(text);
    let cases = [
        ("status:deferred", Condition::Status(vec![EmailStatus::Deferred])),
        ("status:queued,held", Condition::Status(vec![EmailStatus::Queued, EmailStatus::Held])),
        ("direction:inbound", Condition::Direction(Direction::Inbound)),
        ("sender:Ann@", Condition::Sender(AddressPattern::Part("ann@".into()))),
        ("from:Ann@Example.org", Condition::Sender(AddressPattern::Whole("ann@example.org".into()))),
        ("from:<>", Condition::Sender(AddressPattern::Whole(String::new()))),
        ("recipient:b", Condition::Recipient(address("b"))),
        ("TO:a@b\u{fc}cher.example", Condition::Recipient(AddressPattern::Whole("a@xn--bcher-kva.example".into()))),
        ("domain:Example.ORG", Condition::Domain(Domain::parse("example.org").unwrap())),
        ("tag:News", Condition::Tag("News".into())),
        ("tag:\"a \\\"b\\\\\"", Condition::Tag("a \"b\\".into())),
        ("subject:\"Your invoice\"", Condition::Subject(words("your invoice"))),
        ("id:65a1b2c3d4e5f60718293a4b", Condition::Id("65a1b2c3d4e5f60718293a4b".parse().unwrap())),
        ("messageid:<a@b>", Condition::MessageId("a@b".into())),
        ("message-id:a@b", Condition::MessageId("a@b".into())),
        ("older:1h", Condition::Before(NOW - Duration::from_secs(3_600))),
        ("newer:2w", Condition::From(NOW - Duration::from_secs(14 * 86_400))),
        ("after:2026-11-22", Condition::From(Timestamp::parse_rfc3339("2026-11-22").unwrap())),
        ("before:2026-11-22T13:39:40Z", Condition::Before(Timestamp::parse_rfc3339("2026-11-22T13:39:40Z").unwrap())),
        ("larger:1M", Condition::Larger(1 << 20)),
        ("smaller:20k", Condition::Smaller(20 << 10)),
        ("smaller:7", Condition::Smaller(7)),
        ("has:attachment", Condition::HasAttachment),
        ("error:\"Mailbox full\"", Condition::Error("mailbox full".into())),
        ("sourceip:192.0.2.7", Condition::SourceIp("192.0.2.7".parse().unwrap())),
        ("Invoice", Condition::Text(words("invoice"))),
        ("\"two words\"", Condition::Text(words("two words"))),
        ("foo-bar", Condition::Text(words("foo bar"))),
        ("10:30", Condition::Text(words("10 30"))),
        ("\"Re: that\"", Condition::Text(words("re that"))),
    ];
    for (text, expected) in cases {
        assert_eq!(one(text), expected, "{text}");
        let query = Query::parse(text).unwrap();
        assert_eq!(Query::parse(&query.to_string()), Ok(query.clone()), "{text} is written {query}");
    }
    for key in KEYS {
        let is_tested = |name: &str| cases_have(name);
        assert!(is_tested(key.name) || key.aliases.iter().any(|alias| is_tested(alias)), "{}", key.name);
    }
}

/// Whether [`every_key_is_read`] has a case of that key.
fn cases_have(name: &str) -> bool {
    include_str!("tests.rs").to_ascii_lowercase().contains(&format!("(\"{name}:"))
}

#[test]
fn terms_stand_one_after_the_other() {
    let query = Query::parse("  status:deferred -domain:gmail.com\tolder:1h \"invoice\" -x ").unwrap();
    let terms = query.at(NOW);
    let negated: Vec<bool> = terms.iter().map(|term| term.is_negated).collect();
    assert_eq!(negated, [false, true, false, false, true]);
    assert_eq!(query.to_string(), "status:deferred -domain:gmail.com older:1h invoice -x");
    assert!(Query::parse(" \t").unwrap().is_empty());
    assert_eq!(Query::parse("\"-x\"").unwrap().at(NOW)[0].condition, Condition::Text(words("x")));
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("status:sendin", 8, "\"sendin\" is none of received, queued, "),
        ("a status:", 10, "behind status: there must be `deferred`"),
        ("foo:bar", 1, "there is no key foo; there are status, "),
        ("é -foo:bar", 4, "there is no key foo"),
        ("domain:a..b", 8, "is no domain"),
        ("older:1y", 7, "is no time like 30m"),
        ("older:h", 7, "is no time like 30m"),
        ("older:99999999999999999999d", 7, "is no time like 30m"),
        ("older:9999999d", 7, "a hundred years"),
        ("before:tomorrow", 8, "is no date like"),
        ("larger:1T", 8, "is no size like"),
        ("larger:9999999999G", 8, "is no size like"),
        ("has:virus", 5, "is not attachment"),
        ("sourceip:1.2.3", 10, "is no IP address"),
        ("id:xyz", 4, "24 hex digits"),
        ("messageid:<>", 11, "is missing"),
        ("subject:---", 9, "no letter and no digit"),
        ("a & b", 3, "no letter and no digit"),
        ("a -", 4, "here must be a word"),
        ("a \"b", 3, "is not closed"),
        ("\"a\"b", 4, "there must be a blank"),
        ("\"a\\n\"", 3, "behind a backslash"),
        ("\"a\\", 3, "behind a backslash"),
        ("\"\"", 1, "here must be a word"),
    ];
    for (text, position, reason) in cases {
        let error = Query::parse(text).expect_err(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.reason.contains(reason), "{text}: {error}");
    }
    assert!(Query::parse(&"a ".repeat(QUERY_TERMS_MAX)).is_ok());
    assert!(Query::parse(&"a ".repeat(QUERY_TERMS_MAX + 1)).unwrap_err().reason.contains("more than 32 terms"));
    assert!(Query::parse(&"a".repeat(QUERY_BYTES_MAX + 1)).unwrap_err().reason.contains("longer than 512"));
}

#[test]
fn addresses_are_meant_whole_or_in_part() {
    let matches = |pattern: &str, address: &str| AddressPattern::of(pattern).matches(address);
    assert!(matches("ann@example.org", "Ann@EXAMPLE.org"));
    assert!(!matches("ann@example.org", "joann@example.org"));
    assert!(matches("ann@b\u{fc}cher.example", "ann@xn--bcher-kva.example"));
    assert!(matches("ann@xn--bcher-kva.example", "ann@b\u{fc}cher.example"));
    assert!(matches("ann@exam", "joann@example.org"));
    assert!(matches("EXAMPLE", "a@example.org"));
    assert!(matches("<>", ""));
    assert!(!matches("<>", "a@b.example"));
    assert!(!matches("a", ""));
}

proptest! {
    #[test]
    fn nothing_panics_and_what_is_printed_is_read_again(text in "\\PC{0,80}") {
        if let Ok(query) = Query::parse(&text) {
            prop_assert_eq!(Query::parse(&query.to_string()), Ok(query));
        }
    }

    #[test]
    fn terms_are_printed_and_read_again(parts in prop::collection::vec(term(), 0..8)) {
        let text = parts.join(" ");
        let query = Query::parse(&text);
        if let Ok(query) = query {
            prop_assert_eq!(Query::parse(&query.to_string()), Ok(query));
        }
    }

    #[test]
    fn words_are_their_own_words(text in "\\PC{0,80}") {
        if let Some(words) = Words::of(&text) {
            prop_assert_eq!(Words::of(&words.as_slice().join(" ")), Some(words.clone()));
            prop_assert!(words.are_in(&text));
        }
    }
}

/// Something like a term.
fn term() -> impl Strategy<Value = String> {
    let keys: Vec<&'static str> = KEYS.iter().map(|key| key.name).collect();
    let value = prop_oneof![
        "[a-zA-Z0-9.@<>-]{1,12}",
        "\"[^\"\\\\]{1,12}\"",
        "[0-9]{1,4}[smhdwKMG]?",
        Just("deferred".to_owned()),
        Just("2026-11-22".to_owned()),
    ];
    (prop::bool::ANY, prop::option::of(prop::sample::select(keys)), value).prop_map(|(is_negated, key, value)| {
        let sign = if is_negated { "-" } else { "" };
        key.map_or(format!("{sign}{value}"), |key| format!("{sign}{key}:{value}"))
    })
}
