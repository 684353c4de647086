//! The Authentication-Results field (RFC 8601): what was found written down, and what others write in this host's
//! name.

use std::fmt::Write as _;

use postrider_core::AuthenticationResult;
use postrider_core::mime::Field;

/// The methods that the field has words for. Others stand in the record alone.
const METHODS: [&str; 5] = ["spf", "dkim", "arc", "dmarc", "iprev"];

/// The field, folded, with its line end.
pub(crate) fn field(hostname: &str, results: &[AuthenticationResult]) -> String {
    let mut field = format!("Authentication-Results: {hostname}");
    let known = results.iter().filter(|found| METHODS.contains(&found.method.as_str()));
    for AuthenticationResult { method, result, properties, .. } in known {
        let _ = write!(field, ";\r\n\t{method}={result}");
        // A property without a type is one of ours.
        for (name, text) in properties.iter().filter(|(name, _)| name.contains('.')) {
            let _ = write!(field, " {name}={}", value(text));
        }
    }
    field.push_str("\r\n");
    field
}

/// A value that a peer chose, so that it can be taken for nothing else.
fn value(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c) || !c.is_ascii() && !c.is_control();
    let plain: String = text.chars().take(255).map(|c| if is_plain(c) { c } else { '?' }).collect();
    if plain.is_empty() { "?".to_owned() } else { plain }
}

/// Whether a field claims to be this host's.
pub(crate) fn is_forged(field: &Field<'_>, hostname: &str) -> bool {
    if !field.is("Authentication-Results") {
        return false;
    }
    // Behind white space and comments, perhaps quoted. Whatever is in doubt is taken for a forgery: it is of no use to anyone.
    let text = String::from_utf8_lossy(field.value).to_ascii_lowercase();
    let id = text.split(';').next().unwrap_or_default();
    let words = id.split(|c: char| c.is_ascii_whitespace() || "()\"".contains(c));
    words.into_iter().any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(hostname))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_write_into_the_field() {
        let result = |method: &str, properties: &[(&str, &str)]| AuthenticationResult {
            method: method.to_owned(),
            result: "pass".to_owned(),
            properties: properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            reason: Some("x\r\ny".to_owned()),
        };
        let results = [
            result("spf", &[("smtp.helo", "x; dmarc=pass\r\nA: b")]),
            result("ehlo", &[("smtp.helo", "x")]),
            result("dmarc", &[("header.from", "a (b); c"), ("disposition", "none"), ("policy.dmarc", "")]),
        ];
        assert_eq!(
            field("mx.shop.test", &results),
            "Authentication-Results: mx.shop.test;\r\n\tspf=pass smtp.helo=x??dmarc?pass??A:?b;\r\n\
             \tdmarc=pass header.from=a??b???c policy.dmarc=?\r\n"
        );
    }
}
