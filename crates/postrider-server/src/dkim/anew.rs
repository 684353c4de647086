//! Signing a message anew whose body had to be changed for the next host (RFC 6376 section 5.3).

use postrider_core::Timestamp;
use postrider_core::mime::{Field, Fields};
use postrider_core::trace::{self, HeaderScan};
use tracing::warn;

use super::{Signer, Signers};

impl Signers {
    /// A message that was signed here and has another body now: with signatures that hold. Where the keys cannot be looked up
    /// it goes without those that hold no more.
    pub(crate) async fn sign_anew(&self, message: Vec<u8>, now: Timestamp) -> Vec<u8> {
        let signer = match self.of_message(&message, HeaderScan::of(&message)).await {
            Ok(Some(signer)) => signer,
            Ok(None) => return message,
            Err(error) => {
                warn!(%error, "a message that was converted goes out with signatures that do not hold");
                return message;
            }
        };
        signed_anew(&signer, &message, now).unwrap_or(message)
    }
}

/// `None` where the signer's domain has no signature on the message.
fn signed_anew(signer: &Signer, message: &[u8], now: Timestamp) -> Option<Vec<u8>> {
    let header_end = trace::header_end(message);
    let own: Vec<(usize, usize)> = Fields::new(&message[..header_end])
        .filter(|field| is_signature_of(field, signer.domain().as_str()))
        .map(|field| (field.start, field.start + field.line.len()))
        .collect();
    let (first, _) = *own.first()?;
    let mut kept = Vec::with_capacity(message.len());
    let mut from = 0;
    for (start, end) in own {
        kept.extend_from_slice(&message[from..start]);
        from = end;
    }
    kept.extend_from_slice(&message[from..]);
    let signatures = signer.sign(b"", &kept, now);
    kept.splice(first..first, signatures);
    Some(kept)
}

fn is_signature_of(field: &Field<'_>, domain: &str) -> bool {
    if !field.is("DKIM-Signature") {
        return false;
    }
    let value: String = String::from_utf8_lossy(field.value).chars().filter(|c| !c.is_ascii_whitespace()).collect();
    value.split(';').any(|tag| tag.strip_prefix("d=").is_some_and(|of| of.eq_ignore_ascii_case(domain)))
}
