//! `POST /api/emails/batch`: many e-mails in one request, each taken or refused by itself.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::value::RawValue;

use super::body::EmailBody;
use super::bounded::AtMost;
use super::idempotency::{self, Keyed, Outcome};
use super::upload::Upload;
use super::{Format, composed, json_bytes_max, off_thread, unreadable};
use crate::AppState;
use crate::auth::Caller;
use crate::problem::{Document, Problem};
use crate::view::SubmittedView;

/// E-mails in one request.
const EMAILS_MAX: usize = 1_000;

/// A batch may be so long even where MAX_EMAIL_SIZE is little, in bytes.
const BATCH_BYTES: usize = 16 << 20;

/// E-mails of one batch that are under way at the same time: enough that they share commits.
const EMAILS_AT_ONCE: usize = 64;

/// What became of a batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BatchResult)]
pub(in crate::api) struct BatchView<'a> {
    accepted: usize,
    refused: usize,
    /// Of each e-mail, in the order in which they came.
    results: Vec<ResultView<'a>>,
}

/// What became of one e-mail of a batch: what is told of it, or the problem that it has.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BatchEntry)]
struct ResultView<'a> {
    /// Its place in the batch, from 0.
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<SubmittedView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Document>)]
    problem: Option<Document<'a>>,
}

/// Send many e-mails.
///
/// Each is taken or refused by itself, whatever becomes of the others. Sent again with the same `Idempotency-Key`, those that
/// were taken are told as they were, and the others are tried.
#[utoipa::path(
    post,
    path = "/api/emails/batch",
    operation_id = "sendEmails",
    tag = "emails",
    params(("Idempotency-Key" = Option<String>, Header, description = "As for one e-mail.")),
    request_body(content = Vec<EmailBody>, description = "Up to 1000."),
    responses((status = 200, description = "What became of each.", body = BatchView))
)]
pub(in crate::api) async fn send(
    State(state): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if Format::of(&parts.headers)? != Format::Json {
        return Err(Problem::unsupported_media_type(
            "Send the batch as a list in JSON (Content-Type: application/json).",
        ));
    }
    let bytes_max = json_bytes_max(state.control.submission_limits()).max(BATCH_BYTES);
    let upload = Upload::read(state.control.as_ref(), &parts.headers, body, bytes_max).await?;
    let (bytes, _lease) = upload.into_bytes();
    let (pieces, bytes) = off_thread(bytes.len(), move || Ok((pieces(&bytes)?, bytes))).await?;
    let keyed = Keyed::of(&state, &caller, &parts.headers, &[b"POST /api/emails/batch", &bytes]).await?;
    let (state, caller, keyed) = (&state, &caller, keyed.as_ref());
    let outcomes = stream::iter((0u32..).zip(pieces)).map(async |(number, piece)| {
        let composing = async || off_thread(piece.len(), move || composed(&piece)).await;
        idempotency::submit(state, caller, keyed, number, composing).await
    });
    let outcomes: Vec<Result<Outcome, Problem>> = outcomes.buffered(EMAILS_AT_ONCE).collect().await;
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refused = outcomes.len() - accepted;
    let results = outcomes.iter().enumerate().map(|(index, outcome)| match outcome {
        Ok(outcome) => ResultView { index, email: Some(outcome.submitted.clone().into()), problem: None },
        Err(problem) => ResultView { index, email: None, problem: Some(problem.document()) },
    });
    Ok(Json(BatchView { accepted, refused, results: results.collect() }).into_response())
}

/// The text of each e-mail in a list.
fn pieces(bytes: &Bytes) -> Result<Vec<Bytes>, Problem> {
    let list: AtMost<&RawValue, EMAILS_MAX> = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    if list.0.is_empty() {
        return Err(Problem::bad_body("The list is empty: a batch has 1 to 1000 e-mails."));
    }
    Ok(list.0.into_iter().map(|piece| bytes.slice_ref(piece.get().as_bytes())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_its_e_mails() {
        let cut = |text: String| pieces(&Bytes::from(text));
        assert_eq!(cut(r#" [ {"a": [1]} ,7] "#.to_owned()), Ok(vec![Bytes::from(r#"{"a": [1]}"#), Bytes::from("7")]));
        let list = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert_eq!(cut(list(EMAILS_MAX)).unwrap().len(), EMAILS_MAX);
        for text in [list(EMAILS_MAX + 1), list(0), "{}".to_owned(), "[{}".to_owned()] {
            assert!(cut(text).is_err());
        }
    }
}
