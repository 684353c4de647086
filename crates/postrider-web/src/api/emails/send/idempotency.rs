//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that comes again is answered as it was, and carried
//! out once.
//!
//! What became of each of a request's e-mails is written in the commit of the e-mail, under a digest of the key and of whose it
//! is. So nothing is sent twice whatever dies, and nodes need not know of each other's requests.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, HeaderName};
use postrider_core::submission::{RequestKey, RequestPart};
use postrider_core::{Submission, SubmissionError, Submitted};
use postrider_store::RequestRecord;
use ring::digest::{Context, SHA256};

use crate::AppState;
use crate::auth::Caller;
use crate::problem::Problem;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Says of an answer that it was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Of a key, in characters.
const KEY_CHARACTERS_MAX: usize = 255;

/// Keys whose requests are under way in this process.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<HashSet<RequestKey>>);

/// A request that can be known again.
#[derive(Debug)]
pub(super) struct Keyed {
    key: RequestKey,
    fingerprint: [u8; 32],
    /// What of it was carried out before.
    known: Vec<RequestRecord>,
    _turn: Turn,
}

/// While it lives, no other request of this key is worked on in this process.
#[derive(Debug)]
struct Turn {
    under_way: Arc<UnderWay>,
    key: RequestKey,
}

/// What became of one e-mail.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) submitted: Submitted,
    /// Whether that was told before.
    pub(super) is_replayed: bool,
}

impl Keyed {
    /// Looks a request up; `None` for one without a key. `said`: all that makes the request what it is.
    pub(super) async fn of(
        state: &AppState,
        Caller(principal): &Caller,
        headers: &HeaderMap,
        said: &[&[u8]],
    ) -> Result<Option<Self>, Problem> {
        let Some(text) = key(headers)? else { return Ok(None) };
        let key = digest(&[principal.owner().as_bytes(), text.as_bytes()]);
        let turn = Turn::take(&state.under_way, key).ok_or_else(Problem::request_under_way)?;
        let fingerprint = digest(said);
        let known = find(state, key, fingerprint).await?;
        Ok(Some(Self { key, fingerprint, known, _turn: turn }))
    }
}

/// Submits one of a request's e-mails, unless that was done before.
pub(super) async fn submit(
    state: &AppState,
    Caller(principal): &Caller,
    request: Option<&Keyed>,
    number: u32,
    submission: impl AsyncFnOnce() -> Result<Submission, Problem>,
) -> Result<Outcome, Problem> {
    let sender_domains = principal.sender_domains().to_vec();
    let Some(request) = request else {
        let submission = Submission { sender_domains, ..submission().await? };
        return Ok(Outcome { submitted: state.control.submit(submission).await?, is_replayed: false });
    };
    if let Some(known) = request.known.iter().find(|known| known.part.number == number) {
        return replayed(known);
    }
    let part = RequestPart { key: request.key, number, fingerprint: request.fingerprint };
    let submission = Submission { sender_domains, request: Some(part), ..submission().await? };
    match state.control.submit(submission).await {
        Ok(submitted) => Ok(Outcome { submitted, is_replayed: false }),
        // On another node somebody was faster with the same.
        Err(SubmissionError::Known) => {
            let known = find(state, request.key, request.fingerprint).await?;
            let known = known.iter().find(|known| known.part.number == number);
            replayed(known.ok_or_else(Problem::request_under_way)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// What is kept of a request that counts still.
async fn find(state: &AppState, key: RequestKey, fingerprint: [u8; 32]) -> Result<Vec<RequestRecord>, Problem> {
    let now = state.clock.now();
    let known = state.store.request(key).await?;
    if known.iter().any(|known| !known.is_known(now)) {
        // They would stand in the way of the same key's next request.
        while state.store.sweep_requests(now - postrider_store::REQUEST_KEPT, known.len().max(100)).await? > 0 {}
    }
    let known: Vec<RequestRecord> = known.into_iter().filter(|known| known.is_known(now)).collect();
    if known.iter().any(|known| known.part.fingerprint != fingerprint) {
        return Err(Problem::idempotency_key_reused());
    }
    Ok(known)
}

fn replayed(known: &RequestRecord) -> Result<Outcome, Problem> {
    let submitted = serde_json::from_str(&known.answer).map_err(|error| {
        tracing::error!(%error, "what became of a request cannot be read");
        Problem::internal("What became of the request cannot be read. The server's log says more.")
    })?;
    Ok(Outcome { submitted, is_replayed: true })
}

/// The key of a request: a text, in quotation marks (RFC 9651 section 3.3.3) or without.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text.len() > KEY_CHARACTERS_MAX || values.next().is_some() {
        return Err(Problem::bad_parameter(
            "Idempotency-Key",
            format!(
                "Idempotency-Key is wrong: it is given once, and has 1 to {KEY_CHARACTERS_MAX} printable ASCII characters."
            ),
        ));
    }
    Ok(Some(text))
}

/// Over each part with its length, so that no two lists are the same.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl UnderWay {
    fn keys(&self) -> MutexGuard<'_, HashSet<RequestKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    fn take(under_way: &Arc<UnderWay>, key: RequestKey) -> Option<Self> {
        under_way.keys().insert(key).then(|| Self { under_way: under_way.clone(), key })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.under_way.keys().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_quotation_marks_or_none() {
        let of = |value: &str| {
            let headers: HeaderMap = [(HEADER, value.parse().unwrap())].into_iter().collect();
            key(&headers).map(|key| key.map(str::to_owned))
        };
        assert_eq!(of("\"8e03978e-40d5\""), Ok(Some("8e03978e-40d5".into())));
        assert_eq!(of("8e03978e-40d5"), Ok(Some("8e03978e-40d5".into())));
        assert_eq!(key(&HeaderMap::new()), Ok(None));
        for value in ["", "\"\"", &"x".repeat(256)] {
            assert!(of(value).is_err(), "{value}");
        }
    }

    #[test]
    fn one_request_of_a_key_at_a_time() {
        let under_way = Arc::new(UnderWay::default());
        let turn = Turn::take(&under_way, [1; 32]).unwrap();
        assert!(Turn::take(&under_way, [1; 32]).is_none());
        assert!(Turn::take(&under_way, [2; 32]).is_some());
        drop(turn);
        assert!(Turn::take(&under_way, [1; 32]).is_some());
    }

    #[test]
    fn digests_tell_where_parts_end() {
        assert_ne!(digest(&[b"a", b"bc"]), digest(&[b"ab", b"c"]));
    }
}
