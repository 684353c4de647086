//! The Authentication-Results field (RFC 8601): what was found written down, and what others wrote in this host's name taken
//! out.

use std::fmt::Write as _;

use bytes::BytesMut;
use postrider_core::AuthenticationResult;
use postrider_core::mime::{Field, Fields};
use postrider_core::trace;

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

/// Takes out of a message's header the fields that claim to be this host's (RFC 8601 section 5). The first `trace_bytes` are our
/// own.
pub(crate) fn without_forged(raw: BytesMut, trace_bytes: usize, hostname: &str) -> BytesMut {
    let header_end = trace_bytes + trace::header_end(&raw[trace_bytes..]);
    let header = &raw[trace_bytes..header_end];
    let forged: Vec<(usize, usize)> = Fields::new(header)
        .filter(|field| is_forged(field, hostname))
        .map(|field| (trace_bytes + field.start, trace_bytes + field.start + field.line.len()))
        .collect();
    if forged.is_empty() {
        return raw;
    }
    let mut kept = BytesMut::with_capacity(raw.len());
    let mut from = 0;
    for (start, end) in forged {
        kept.extend_from_slice(&raw[from..start]);
        from = end;
    }
    kept.extend_from_slice(&raw[from..]);
    kept
}

fn is_forged(field: &Field<'_>, hostname: &str) -> bool {
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
    fn what_others_say_in_our_name_is_taken_out() {
        let message = b"Received: ours\r\nFrom: a@x.test\r\nAuthentication-Results: MX.Shop.test;\r\n spf=pass\r\n\
            authentication-results : (c) \"mx.shop.test\" 1; dkim=pass\r\nAuthentication-Results: other.test; spf=fail\r\n\
            Subject: s\r\n\r\nAuthentication-Results: mx.shop.test; body\r\n";
        let kept = without_forged(BytesMut::from(&message[..]), 16, "mx.shop.test");
        assert_eq!(
            String::from_utf8_lossy(&kept),
            "Received: ours\r\nFrom: a@x.test\r\nAuthentication-Results: other.test; spf=fail\r\nSubject: s\r\n\r\n\
             Authentication-Results: mx.shop.test; body\r\n"
        );
    }

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
