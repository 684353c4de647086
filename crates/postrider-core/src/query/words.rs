//! Words, as texts are searched by them: the same for what is indexed and for what is looked for.
//!
//! A word is a run of letters and digits, in lower case. In scripts that put no blanks between words each character is one,
//! so that a word in them is found as characters one after the other.

use std::str::CharIndices;

/// A longer word counts by its beginning, in bytes.
const WORD_BYTES_MAX: usize = 64;

/// Words one after the other; there is one at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// The words of a text; `None` if it has neither a letter nor a digit.
    pub fn of(text: &str) -> Option<Self> {
        let words: Vec<String> = WordsOf::new(text).collect();
        (!words.is_empty()).then_some(Self(words))
    }

    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Whether a text has these words in it, one after the other.
    pub fn are_in(&self, text: &str) -> bool {
        let words: Vec<String> = WordsOf::new(text).collect();
        words.windows(self.0.len()).any(|window| window == self.0)
    }
}

/// The words of a text, in order.
#[derive(Debug, Clone)]
pub struct WordsOf<'t> {
    text: &'t str,
    characters: CharIndices<'t>,
}

impl<'t> WordsOf<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, characters: text.char_indices() }
    }
}

impl Iterator for WordsOf<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let (start, first) = self.characters.find(|&(_, c)| c.is_alphanumeric())?;
        if is_alone(first) {
            return Some(folded(&self.text[start..start + first.len_utf8()]));
        }
        let mut end = start + first.len_utf8();
        loop {
            let mut ahead = self.characters.clone();
            match ahead.next() {
                Some((at, c)) if is_within(c) => {
                    end = at + c.len_utf8();
                    self.characters = ahead;
                }
                _ => break,
            }
        }
        Some(folded(&self.text[start..end]))
    }
}

fn is_within(c: char) -> bool {
    c.is_alphanumeric() && !is_alone(c)
}

fn folded(word: &str) -> String {
    let mut folded = if word.is_ascii() { word.to_ascii_lowercase() } else { word.to_lowercase() };
    folded.truncate(folded.floor_char_boundary(WORD_BYTES_MAX));
    folded
}

/// Whether a word is one character of a script without blanks: others follow it without anything between.
pub fn stands_alone(word: &str) -> bool {
    word.chars().next().is_some_and(is_alone)
}

/// Characters of scripts without blanks: Thai to Khmer, Han and what Japanese has beside it.
fn is_alone(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        WordsOf::new(text).collect()
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        assert_eq!(
            of("Your 100% Invoice_7, na\u{ef}ve-GR\u{dc}SSE!"),
            ["your", "100", "invoice", "7", "naïve", "grüsse"]
        );
        assert_eq!(of("a.b@Example.org"), ["a", "b", "example", "org"]);
        assert_eq!(of("請求書 No. 5"), ["請", "求", "書", "no", "5"]);
        assert_eq!(of("abc請def"), ["abc", "請", "def"]);
        assert_eq!(of(" -- \u{1f600} "), [""; 0]);
        assert_eq!(of(&"x".repeat(100)), ["x".repeat(64)]);
        assert_eq!(of(&"é".repeat(100))[0].len(), 64);
        assert_eq!(of("\u{130}"), ["i\u{307}"], "whatever case folding makes of it is one word");
    }

    #[test]
    fn phrases_are_words_one_after_the_other() {
        let words = Words::of("Invoice 7").unwrap();
        assert!(words.are_in("your INVOICE, 7!"));
        assert!(!words.are_in("7 invoice"));
        assert!(!words.are_in("invoices 7"));
        assert_eq!(Words::of("&-"), None);
    }
}
