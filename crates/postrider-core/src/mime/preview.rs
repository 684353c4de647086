//! The beginning of a message's text, as lists show it (RFC 8970).

use std::borrow::Cow;

use super::structure::{Part, PartKind, Structure};
use super::words::decode_charset;

/// RFC 8970 section 3.1.
pub const PREVIEW_CHARACTERS_MAX: usize = 200;

/// How much of a body is read for it, encoded. HTML starts with styles.
const PLAIN_BYTES_MAX: usize = 4 << 10;
const HTML_BYTES_MAX: usize = 64 << 10;

/// The first 200 characters of the message's first text, each run of blanks as one. Empty where it has no text.
pub(crate) fn preview(raw: &[u8], structure: &Structure) -> String {
    let mut text = String::new();
    for wants_html in [false, true] {
        let parts = structure.parts().iter().filter(|part| part.kind == PartKind::Text);
        for part in parts.take(8) {
            let content_type = part.content_type(raw);
            if (content_type.subtype == "html") != wants_html || is_attachment(part, raw) {
                continue;
            }
            let bytes_max = if wants_html { HTML_BYTES_MAX } else { PLAIN_BYTES_MAX };
            let body = &raw[part.body.clone()];
            let Ok(decoded) = part.encoding.decode(&body[..body.len().min(bytes_max)]) else { continue };
            let decoded = decode_charset(
                content_type.parameters.get("charset").unwrap_or_default(),
                without_cut_character(&decoded),
            );
            let decoded = if wants_html { Cow::Owned(html_text(&decoded)) } else { decoded };
            shorten(&decoded, &mut text);
            if !text.is_empty() {
                return text;
            }
        }
    }
    text
}

/// UTF-8 that was cut within a character, up to there: it would not be known for UTF-8.
fn without_cut_character(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

fn is_attachment(part: &Part, raw: &[u8]) -> bool {
    part.disposition(raw).is_some_and(|disposition| disposition.kind == "attachment")
}

/// Appends the beginning, blanks joined. What fills the preview of newsletters without being seen is no character.
fn shorten(text: &str, out: &mut String) {
    let mut count = 0;
    let mut has_gap = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            has_gap = true;
            continue;
        }
        if matches!(c, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{fffd}') {
            continue;
        }
        let wants_gap = has_gap && count > 0;
        if count + usize::from(wants_gap) >= PREVIEW_CHARACTERS_MAX {
            return;
        }
        if wants_gap {
            out.push(' ');
            count += 1;
        }
        out.push(c);
        count += 1;
        has_gap = false;
    }
}

/// The text of HTML, as far as a preview needs it: without tags, comments, styles and scripts, common entities resolved.
fn html_text(html: &str) -> String {
    // Characters of which some are blanks that will be joined.
    const ENOUGH_BYTES: usize = 4 * 4 * PREVIEW_CHARACTERS_MAX;
    let mut text = String::new();
    let mut rest = html;
    while text.len() < ENOUGH_BYTES
        && let Some(at) = memchr::memchr2(b'<', b'&', rest.as_bytes())
    {
        text.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if rest.as_bytes()[at] == b'&' {
            rest = push_entity(tail, &mut text);
            continue;
        }
        let skipped = hidden_end(tail).or_else(|| tail.find('>').map(|end| end + 1)).unwrap_or(tail.len());
        // Bold letters within a word do not break it.
        if !is_inline(tail) {
            text.push(' ');
        }
        rest = &tail[skipped..];
    }
    if text.len() < ENOUGH_BYTES {
        text.push_str(rest);
    }
    text
}

/// Behind a comment, or an element whose content is not shown, that starts behind this `<`.
fn hidden_end(tail: &str) -> Option<usize> {
    if tail.starts_with("!--") {
        return Some(tail.find("-->").map_or(tail.len(), |end| end + 3));
    }
    let name = ["style", "script", "title", "template"].into_iter().find(|name| starts_with_tag(tail, name))?;
    let bytes = tail.as_bytes();
    let end = memchr::memmem::find_iter(bytes, b"</").find(|end| starts_with_tag(&tail[end + 2..], name));
    let Some(end) = end else { return Some(tail.len()) };
    Some(memchr::memchr(b'>', &bytes[end..]).map_or(tail.len(), |close| end + close + 1))
}

fn starts_with_tag(tail: &str, name: &str) -> bool {
    let bytes = tail.as_bytes();
    bytes.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
        && !bytes.get(name.len()).is_some_and(u8::is_ascii_alphanumeric)
}

fn is_inline(tail: &str) -> bool {
    let tail = tail.strip_prefix('/').unwrap_or(tail);
    ["a", "b", "i", "u", "em", "strong", "span", "font", "small"].into_iter().any(|name| starts_with_tag(tail, name))
}

/// Appends what the entity stands for that starts behind this `&`; returns what follows it.
fn push_entity<'a>(tail: &'a str, out: &mut String) -> &'a str {
    const ENTITY_BYTES_MAX: usize = 10;
    let end = tail.bytes().take(ENTITY_BYTES_MAX).position(|b| b == b';');
    let Some(end) = end else {
        out.push('&');
        return tail;
    };
    let name = &tail[..end];
    let number = name.strip_prefix('#').and_then(|digits| match digits.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    });
    let character = match name {
        "nbsp" => Some(' '),
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "zwnj" => Some('\u{200c}'),
        "shy" => Some('\u{ad}'),
        "auml" => Some('\u{e4}'),
        "ouml" => Some('\u{f6}'),
        "uuml" => Some('\u{fc}'),
        "Auml" => Some('\u{c4}'),
        "Ouml" => Some('\u{d6}'),
        "Uuml" => Some('\u{dc}'),
        "szlig" => Some('\u{df}'),
        "eacute" => Some('\u{e9}'),
        "egrave" => Some('\u{e8}'),
        "agrave" => Some('\u{e0}'),
        "ccedil" => Some('\u{e7}'),
        "copy" => Some('\u{a9}'),
        "euro" => Some('\u{20ac}'),
        "ndash" => Some('\u{2013}'),
        "mdash" => Some('\u{2014}'),
        "lsquo" => Some('\u{2018}'),
        "rsquo" => Some('\u{2019}'),
        "ldquo" => Some('\u{201c}'),
        "rdquo" => Some('\u{201d}'),
        "hellip" => Some('\u{2026}'),
        _ => number.and_then(char::from_u32),
    };
    match character {
        Some(character) => {
            out.push(character);
            &tail[end + 1..]
        }
        None => {
            out.push('&');
            tail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> String {
        preview(message.as_bytes(), &Structure::parse(message.as_bytes()))
    }

    #[test]
    fn the_first_text_is_shown() {
        assert_eq!(of("Subject: a\r\n\r\n  Hello,\r\n\r\n\tworld \r\n"), "Hello, world");
        assert_eq!(of("Content-Type: image/png\r\n\r\nabc"), "");
        let parts = "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Disposition: attachment\r\n\r\nno\r\n\
            --x\r\nContent-Type: text/html\r\n\r\n<b>no</b>\r\n--x\r\nContent-Transfer-Encoding: base64\r\n\r\neWVz\r\n--x--";
        assert_eq!(of(parts), "yes");
        let long = format!("\r\n{}", "\u{fc} ".repeat(3_000));
        assert_eq!(of(&long).chars().count(), PREVIEW_CHARACTERS_MAX - 1);
    }

    #[test]
    fn html_is_shown_as_text() {
        let html = "Content-Type: text/html; charset=utf-8\r\n\r\n<html><head><title>T</title><STYLE a=b>p { x: <y> }</sTyle >\
            <!-- <p>no</p> --></head><body><p>W<b>or</b>d &amp; &#x41;&#66;&nbsp;&bogus; &</p><br>end<script>no";
        assert_eq!(of(html), "Word & AB &bogus; & end");
    }
}
