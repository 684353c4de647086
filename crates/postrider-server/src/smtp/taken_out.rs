//! Fields that a message does not keep: those that tell who got a blind copy, and those in which somebody else speaks in this
//! host's name.

use bytes::BytesMut;
use postrider_core::mime::{Field, Fields};
use postrider_core::trace::{self, HeaderScan};

use super::policy::Policy;
use crate::verify::is_forged;

/// What is looked for in a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unwanted<'a> {
    has_bcc: bool,
    /// `None`: whoever brings the message may have it from this host.
    hostname: Option<&'a str>,
}

impl<'a> Unwanted<'a> {
    /// Of a message whose header `scan` is of; `None` where nothing of it is unwanted.
    pub(super) fn of(scan: HeaderScan, policy: &Policy, hostname: &'a str) -> Option<Self> {
        // RFC 5322 section 3.6.3: whoever submits names the recipients in the envelope too, so that the field is for nobody.
        let has_bcc = scan.names_bcc && policy.completes_messages();
        let has_results = scan.has_authentication_results && !policy.trusts_results();
        (has_bcc || has_results).then_some(Self { has_bcc, hostname: has_results.then_some(hostname) })
    }

    fn has(self, field: &Field<'_>) -> bool {
        self.has_bcc && (field.is("Bcc") || field.is("Resent-Bcc"))
            || self.hostname.is_some_and(|hostname| is_forged(field, hostname))
    }

    /// The message without it. The first `trace_bytes` are our own.
    pub(super) fn take_out(self, raw: BytesMut, trace_bytes: usize) -> BytesMut {
        let header_end = trace_bytes + trace::header_end(&raw[trace_bytes..]);
        let fields = Fields::new(&raw[trace_bytes..header_end]).filter(|field| self.has(field));
        let places: Vec<(usize, usize)> =
            fields.map(|field| (trace_bytes + field.start, trace_bytes + field.start + field.line.len())).collect();
        if places.is_empty() {
            return raw;
        }
        let mut kept = BytesMut::with_capacity(raw.len());
        let mut from = 0;
        for (start, end) in places {
            kept.extend_from_slice(&raw[from..start]);
            from = end;
        }
        kept.extend_from_slice(&raw[from..]);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(message: &str, trace_bytes: usize, unwanted: Unwanted<'_>) -> String {
        String::from_utf8(unwanted.take_out(BytesMut::from(message), trace_bytes).to_vec()).unwrap()
    }

    #[test]
    fn what_others_say_in_our_name_is_taken_out() {
        let message = "Received: ours\r\nFrom: a@x.test\r\nAuthentication-Results: MX.Shop.test;\r\n spf=pass\r\n\
            authentication-results : (c) \"mx.shop.test\" 1; dkim=pass\r\nAuthentication-Results: other.test; spf=fail\r\n\
            Bcc: b@x.test\r\n\r\nAuthentication-Results: mx.shop.test; body\r\n";
        assert_eq!(
            kept(message, 16, Unwanted { has_bcc: false, hostname: Some("mx.shop.test") }),
            "Received: ours\r\nFrom: a@x.test\r\nAuthentication-Results: other.test; spf=fail\r\nBcc: b@x.test\r\n\r\n\
             Authentication-Results: mx.shop.test; body\r\n"
        );
    }

    #[test]
    fn nobody_reads_who_got_a_blind_copy() {
        let message = "Bcc: ours\r\nBCC: b@x.test,\r\n c@x.test\r\nTo: d@x.test\r\nresent-bcc : e@x.test\r\nX-Bcc: y\r\n\
            Bcc:\r\n\r\nBcc: body\r\n";
        assert_eq!(
            kept(message, 11, Unwanted { has_bcc: true, hostname: None }),
            "Bcc: ours\r\nTo: d@x.test\r\nX-Bcc: y\r\n\r\nBcc: body\r\n"
        );
    }
}
