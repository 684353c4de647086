//! The headers that tell an endpoint from whom a call is (Standard Webhooks).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use postrider_core::Timestamp;
use postrider_store::EventId;
use postrider_store::webhooks::{SECRET_PREFIX, WebhookSecret};
use ring::hmac;

/// What a secret is derived over, before the origin. No call's signature is made over anything that begins so: those begin with
/// the digits of an id.
const ORIGIN_CONTEXT: &str = "postrider webhookUrl ";

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

/// By what calls to a URL that an e-mail asks for are signed. Whoever may send chooses the URL: signed by `secret` itself, what
/// this server sends there could be sent on to an endpoint of the operator's, and would pass. So each origin has a secret of its
/// own, which follows from `secret` on every node, and from which nobody finds that one.
pub(super) fn of_origin(secret: &WebhookSecret, origin: &str) -> WebhookSecret {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.key());
    let own = hmac::sign(&key, format!("{ORIGIN_CONTEXT}{origin}").as_bytes());
    WebhookSecret(format!("{SECRET_PREFIX}{}", BASE64.encode(own)))
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
    fn each_origin_has_a_secret_of_its_own() {
        let secret = WebhookSecret("whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY".into());
        let own = of_origin(&secret, "https://app.example");
        // HMAC-SHA256, so that whoever knows WEBHOOK_SECRET can tell it without this server.
        assert_eq!(own.0, "whsec_h+A9l148HmWrvhzFs3JgAW7LLXaCzEVlQynNTpKDkF8=");
        assert_ne!(own, of_origin(&secret, "https://other.example"));
        assert_ne!(own, of_origin(&WebhookSecret("another".into()), "https://app.example"));
        assert!(own.key().len() == 32);
    }

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
        assert!(!super::headers(event, at, "{}", [].iter()).contains_key("webhook-signature"));
    }
}
