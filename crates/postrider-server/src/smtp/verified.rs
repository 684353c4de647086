//! Whether a message of a stranger is from whom it says, and what is done about it.

use bytes::BytesMut;
use postrider_core::AuthenticationResult;
use postrider_wire::smtp::reply::Reply;
use tracing::info;

use super::Context;
use super::accept::{Client, Transaction};
use super::policy::Policy;
use crate::verify::{Bringer, Disposition, field};

/// A message that was verified where it had to be.
pub(super) struct Verified {
    pub(super) raw: BytesMut,
    /// Says what was found.
    pub(super) field: String,
    /// The same, for the record.
    pub(super) authentication: Vec<AuthenticationResult>,
    pub(super) disposition: Disposition,
}

/// Verifies a message of a stranger. The error refuses it.
pub(super) async fn verify(
    context: &Context,
    transaction: &Transaction,
    client: Client<'_>,
    raw: BytesMut,
    policy: &Policy,
) -> Result<Verified, Reply> {
    let Some(verifier) = context.verifier.as_ref().filter(|_| policy.verifies_messages()) else {
        let (field, authentication) = (String::new(), Vec::new());
        return Ok(Verified { raw, field, authentication, disposition: Disposition::None });
    };
    let bringer = Bringer {
        peer: client.peer,
        helo: client.helo.to_owned(),
        reverse_path: transaction.envelope.reverse_path.clone(),
    };
    let raw = raw.freeze();
    let (verdicts, of_client) = tokio::join!(
        verifier.verify(&context.clock, &bringer, raw.slice(transaction.trace_bytes..)),
        context.client_checks.results(client.peer, client.helo, client.findings),
    );
    let disposition = verdicts.dmarc.disposition(context.dmarc);
    let (spf, dmarc) = (verdicts.spf.as_str(), &verdicts.dmarc);
    let disposition_word = disposition.as_str();
    info!(
        email = %transaction.id, spf, dmarc = dmarc.result, author = dmarc.author, disposition = disposition_word, "verified"
    );
    if disposition == Disposition::Reject {
        return Err(if dmarc.hides.is_some() { Reply::NO_AUTHOR } else { Reply::DMARC_FAILED });
    }
    if disposition == Disposition::Defer {
        return Err(Reply::DMARC_UNKNOWN);
    }
    let mut authentication = verdicts.results(&bringer, disposition);
    authentication.extend(of_client);
    let raw = BytesMut::from(raw);
    Ok(Verified { raw, field: field(&context.hostname, &authentication), authentication, disposition })
}
