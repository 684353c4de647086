//! The order of messages (RFC 5256 section 3, RFC 5957).

/// A text made comparable byte by byte without regard to case, in the spirit of i;unicode-casemap (RFC 5051): upper case. Accents
/// are not taken apart.
pub fn collation_key(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_uppercase() } else { text.chars().flat_map(char::to_uppercase).collect() }
}
