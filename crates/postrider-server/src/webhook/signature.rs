//! The headers that tell an endpoint from whom a call is (Standard Webhooks).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use postrider_core::Timestamp;
use postrider_store::EventId;
use postrider_store::webhooks::WebhookSecret;
use ring::hmac;

/// The headers of a call. `sent_at` is when it is made, not when its event happened: what was recorded long ago and is sent
/// again by somebody else is told by it.
pub(super) fn headers<'s>(
    event: EventId,
    sent_at: Timestamp,
    body: &str,
    secrets: impl Iterator<Item = &'s WebhookSecret>,
) -> HeaderMap {
    let id = event.to_string();
    let seconds = (sent_at.as_millis().div_euclid(1000)).to_string();
    let signed = format!("{id}.{seconds}.{body}");
    let signatures: Vec<String> = secrets.map(|secret| signature(secret, signed.as_bytes())).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let values = [("webhook-id", id), ("webhook-timestamp", seconds), ("webhook-signature", signatures.join(" "))];
    for (name, value) in values {
        // Hexadecimal digits, decimal digits, base64: always a header's value.
        if let Ok(value) = HeaderValue::try_from(value)
            && !value.is_empty()
        {
            headers.insert(name, value);
        }
    }
    headers
}

fn signature(secret: &WebhookSecret, signed: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.key());
    format!("v1,{}", BASE64.encode(hmac::sign(&key, signed)))
}

#[cfg(test)]
mod tests {
    use postrider_core::ObjectId;

    use super::*;

    #[test]
    fn every_secret_signs() {
        let secrets = [WebhookSecret("whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY".into()), WebhookSecret("plain".into())];
        let event = ObjectId::from_bytes([7; 12]);
        let at = Timestamp::from_millis(1_800_000_000_999);
        let headers = headers(event, at, "{}", secrets.iter());
        assert_eq!(headers["webhook-id"], "070707070707070707070707");
        assert_eq!(headers["webhook-timestamp"], "1800000000");
        let signed = b"070707070707070707070707.1800000000.{}";
        let expected = secrets.iter().map(|secret| signature(secret, signed)).collect::<Vec<_>>().join(" ");
        assert_eq!(headers["webhook-signature"], expected);
        assert!(expected.starts_with("v1,") && expected.contains(" v1,"));
        assert!(!super::headers(event, at, "{}", std::iter::empty()).contains_key("webhook-signature"));
    }
}
