//! Text of strangers whose characters are shown in another order than they are written: what does that, made visible. Knows
//! neither pages nor the API.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether it starts or ends an embedding, an override or an isolate (Unicode Standard Annex 9, sections 2.1 to 2.5). Marks,
/// which ordinary Arabic and Hebrew have, turn nothing round.
pub(crate) fn turns(character: char) -> bool {
    matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The text with such characters by their names, so that `[U+202E]gpj.exe` is not read as a picture.
pub(crate) fn in_order(text: &str) -> Cow<'_, str> {
    if !text.contains(turns) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if turns(character) {
            let _ = write!(shown, "[U+{:04X}]", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_turns_text_round_is_named() {
        for character in
            ['\u{202A}', '\u{202B}', '\u{202C}', '\u{202D}', '\u{202E}', '\u{2066}', '\u{2067}', '\u{2069}']
        {
            assert_eq!(in_order(&format!("a{character}b")), format!("a[U+{:04X}]b", u32::from(character)));
        }
        for text in ["\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200F}!", "\u{645}\u{631}\u{62d}\u{628}\u{627}", "Größe", ""] {
            assert_eq!(in_order(text), text);
        }
    }
}
