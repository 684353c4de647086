//! Finding e-mails by parts of their texts: one string for each e-mail, and expressions that search it.
//!
//! The string stands in an index, so that a search reads the index and not the messages. Everything in it is in lower case
//! (of ASCII), and its sections are divided by control characters, which neither addresses nor decoded fields contain:
//! domains, each between `\x02`; `\x01`; sender, `\n`, each recipient with `\n`; `\x01`; subject; `\x01`; Message-ID.

use mongodb::bson::{Document, doc};
use postrider_core::query::{AddressPattern, Words, stands_alone};
use postrider_core::{Address, Domain, Summary};

/// The string of an e-mail.
pub(crate) fn text(sender: Option<&Address>, recipients: &[&Address], summary: &Summary) -> String {
    let mut domains: Vec<Domain> = sender.into_iter().chain(recipients.iter().copied()).map(Address::domain).collect();
    domains.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    domains.dedup();
    let mut text = String::new();
    for domain in domains {
        text.extend(["\x02", domain.as_str()]);
    }
    text.push_str("\x02\x01");
    text.push_str(&lower(sender.map_or("", Address::as_str)));
    text.push('\n');
    for recipient in recipients {
        text.push_str(&lower(recipient.as_str()));
        text.push('\n');
    }
    for field in [&summary.subject, &summary.message_id] {
        text.push('\x01');
        text.push_str(&lower(field.as_deref().unwrap_or_default()));
    }
    text
}

/// Whose sender is so.
pub(crate) fn sender(pattern: &AddressPattern) -> Document {
    matching(&match pattern {
        AddressPattern::Whole(key) => format!("^[^\\x01]*\\x01{}\\n", literal(key)),
        AddressPattern::Part(part) => format!("^[^\\x01]*\\x01[^\\n]*{}", literal(part)),
    })
}

/// One of whose recipients is so.
pub(crate) fn recipient(pattern: &AddressPattern) -> Document {
    matching(&match pattern {
        // No recipient is empty.
        AddressPattern::Whole(key) if key.is_empty() => NOTHING.to_owned(),
        AddressPattern::Whole(key) => format!("^[^\\x01]*\\x01[^\\x01]*\\n{}\\n", literal(key)),
        AddressPattern::Part(part) => format!("^[^\\x01]*\\x01[^\\n]*\\n[^\\x01]*{}", literal(part)),
    })
}

/// That are from or to an address of this domain.
pub(crate) fn domain(domain: &Domain) -> Document {
    matching(&format!("\\x02{}\\x02", literal(domain.as_str())))
}

/// That may have this Message-ID: upper and lower case are the same here.
pub(crate) fn message_id(id: &str) -> Document {
    matching(&format!("\\x01{}$", literal(id)))
}

/// That have these words in the subject.
pub(crate) fn subject(words: &Words) -> Document {
    matching(&format!("^[^\\x01]*\\x01[^\\x01]*\\x01[^\\x01]*?{}", phrase(words)))
}

/// That have these words in subject, an address, the Message-ID or the text. Texts are in the documents alone.
pub(crate) fn words(words: &Words) -> Document {
    let told = matching(&format!("\\x01[^\\x02]*?{}", phrase(words)));
    doc! { "$or": [told, doc! { "text": { "$regex": phrase_between(words, "[^\\p{L}\\p{N}]") } }] }
}

fn matching(pattern: &str) -> Document {
    doc! { "search": { "$regex": pattern } }
}

/// Words one after the other, within one address or field.
fn phrase(words: &Words) -> String {
    phrase_between(words, "[^\\p{L}\\p{N}\\x01\\n]")
}

/// Words with such characters between them. Case is folded as in words, which are beyond ASCII too.
fn phrase_between(words: &Words, gap: &str) -> String {
    const WITHIN: &str = "[\\p{L}\\p{N}]";
    let words = words.as_slice();
    let alone = |word: Option<&String>| word.is_some_and(|word| stands_alone(word));
    let mut pattern = String::from("(?i)");
    if !alone(words.first()) {
        pattern.push_str(&format!("(?<!{WITHIN})"));
    }
    let mut before: Option<&String> = None;
    for word in words {
        if before.is_some() {
            pattern.push_str(gap);
            // In scripts without blanks nothing need be between them.
            pattern.push(if alone(before) || stands_alone(word) { '*' } else { '+' });
        }
        pattern.push_str(&literal(word));
        before = Some(word);
    }
    if !alone(words.last()) {
        pattern.push_str(&format!("(?!{WITHIN})"));
    }
    pattern
}

/// An expression that nothing matches.
const NOTHING: &str = "[^\\s\\S]";

/// An expression that matches just this text, but for the case of ASCII.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for character in lower(text).chars() {
        if character.is_control() {
            // No text that is searched has one: nothing must match.
            return NOTHING.into();
        }
        if character.is_ascii() && !character.is_ascii_alphanumeric() {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_escaped_and_in_lower_case() {
        assert_eq!(literal("A.b+C@x"), "a\\.b\\+c\\@x");
        assert_eq!(literal("Grüße"), "grüße");
        assert_eq!(literal("a\x01b"), "[^\\s\\S]");
    }

    #[test]
    fn the_text_has_its_sections() {
        let address = |text: &str| Address::parse(text).unwrap();
        let (sender, recipient) = (address("Ann@Example.org"), address("bob@bücher.example"));
        let summary = Summary { subject: Some("Hello".into()), message_id: Some("A.1@x".into()), ..Summary::default() };
        assert_eq!(
            text(Some(&sender), &[&recipient], &summary),
            "\x02example.org\x02xn--bcher-kva.example\x02\x01ann@example.org\nbob@bücher.example\n\x01hello\x01a.1@x"
        );
        assert_eq!(text(None, &[], &Summary::default()), "\x02\x01\n\x01\x01");
    }
}
