//! `POST /api/emails`: takes an e-mail to be sent, as JSON that says what is to be in it, or as the message itself.
//!
//! It is answered when the e-mail is durable, as SMTP answers the end of data.

pub(in crate::api) mod batch;
mod body;
mod bounded;
mod compose;
mod idempotency;
mod raw;
pub(in crate::api) mod resend;
mod upload;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use postrider_core::{Submission, SubmissionError, SubmissionLimits};

use crate::AppState;
use crate::auth::Caller;
use crate::extract::Parameters;
use crate::problem::{Document, Problem};
use crate::view::{RecipientView, SubmittedView};
use crate::wording::plain;
use body::EmailBody;
use idempotency::{Keyed, Outcome};
use upload::Upload;

pub(crate) use idempotency::UnderWay;

/// What JSON may have beside its attachments in base64, in bytes.
const JSON_BYTES: usize = 1 << 20;

/// Larger bodies are read and made messages of on a thread of their own, so that other requests go on.
const COMPOSE_HERE_BYTES_MAX: usize = 64 << 10;

/// After a refusal that may pass.
const RETRY_AFTER_SECONDS: u16 = 5;

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Message,
}

/// Send an e-mail.
///
/// As JSON that says what is to be in it, or as the message itself (`message/rfc822`) with its envelope in the query. It is
/// answered when the e-mail is durable.
#[utoipa::path(
    post,
    path = "/api/emails",
    operation_id = "sendEmail",
    tag = "emails",
    params(
        ("from" = Option<String>, Query, description = "Of a message: the envelope's sender; `<>` for none."),
        ("to" = Option<Vec<String>>, Query, description = "Of a message: the envelope's recipients."),
        ("tag" = Option<Vec<String>>, Query, description = "Of a message: as `tags` in JSON."),
        ("metadata" = Option<Vec<String>>, Query, description = "Of a message: as in JSON, each NAME=VALUE."),
        ("priority" = Option<String>, Query, description = "Of a message: as in JSON."),
        ("notBefore" = Option<String>, Query, description = "Of a message: as in JSON."),
        ("expiresAt" = Option<String>, Query, description = "Of a message: as in JSON."),
        ("webhookUrl" = Option<String>, Query, description = "Of a message: as in JSON."),
        ("sourceIp" = Option<String>, Query, description = "Of a message: as in JSON."),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again within 24 hours with the same request, the answer is the same and nothing is sent twice.")
    ),
    request_body(content((EmailBody = "application/json"), (Vec<u8> = "message/rfc822"))),
    responses(
        (status = 202, description = "It is kept, and what becomes of it is to be seen where Location says.", body = SubmittedView,
            headers(
                ("location" = String, description = "Of the e-mail."),
                ("idempotency-replayed" = Option<String>, description = "`true` where a request that came before is answered.")
            )),
        (status = 422, description = "The message cannot be taken as it is, or no recipient is accepted.", body = Document,
            content_type = "application/problem+json")
    )
)]
pub(in crate::api) async fn send(
    State(state): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let limits = state.control.submission_limits();
    let query = parts.uri.query().unwrap_or_default();
    let outcome = match Format::of(&parts.headers)? {
        Format::Json => {
            Parameters::of(&parts.uri)?.finish(&["none where the body is JSON"])?;
            let upload = Upload::read(state.control.as_ref(), &parts.headers, body, json_bytes_max(limits)).await?;
            let (bytes, _lease) = upload.into_bytes();
            let keyed = Keyed::of(&state, &caller, &parts.headers, &[b"POST /api/emails", b"json", &bytes]).await?;
            let composing = async || off_thread(bytes.len(), move || composed(&bytes)).await;
            idempotency::submit(&state, &caller, keyed.as_ref(), 0, composing).await?
        }
        Format::Message => {
            let envelope = raw::Envelope::of(&parts.uri)?;
            let upload = Upload::read(state.control.as_ref(), &parts.headers, body, limits.message_bytes_max).await?;
            // Whoever takes it counts its bytes anew.
            let (message, _lease) = upload.into_bytes();
            let keyed =
                Keyed::of(&state, &caller, &parts.headers, &[b"POST /api/emails", query.as_bytes(), &message]).await?;
            idempotency::submit(&state, &caller, keyed.as_ref(), 0, async || envelope.seal(message)).await?
        }
    };
    Ok(accepted(outcome))
}

fn accepted(outcome: Outcome) -> Response {
    let Outcome { submitted, is_replayed } = outcome;
    let location = [(header::LOCATION, format!("/api/emails/{}", submitted.id))];
    let replayed: Option<[(HeaderName, &str); 1]> = is_replayed.then_some([(idempotency::REPLAYED, "true")]);
    (StatusCode::ACCEPTED, location, replayed.map(axum::response::AppendHeaders), Json(SubmittedView::from(submitted)))
        .into_response()
}

/// Does what may take a while where it holds up nobody.
async fn off_thread<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if bytes <= COMPOSE_HERE_BYTES_MAX {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a message could not be composed");
        Problem::internal("The message could not be composed. The server's log says more.")
    })?
}

/// The message that a body in JSON asks for.
fn composed(bytes: &Bytes) -> Result<Submission, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::bad_body("The body is a list: one e-mail is an object, several go to /api/emails/batch."));
    }
    let email: EmailBody<'_> = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    compose::compose(email)
}

fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::bad_body(format!("The body cannot be read: {}.", plain(&error.to_string())))
}

/// Of a body in JSON: base64 makes four bytes of three.
fn json_bytes_max(limits: SubmissionLimits) -> usize {
    limits.message_bytes_max.saturating_add(limits.message_bytes_max / 3).saturating_add(JSON_BYTES)
}

impl Format {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "message/rfc822" => Ok(Self::Message),
            _ => Err(Problem::unsupported_media_type(
                "Send the e-mail as JSON (Content-Type: application/json) or as the message itself (message/rfc822, with \
                 its envelope in the query).",
            )),
        }
    }
}

impl From<SubmissionError> for Problem {
    fn from(error: SubmissionError) -> Self {
        match error {
            SubmissionError::Refused(reply) => Self::message_refused(format!("{}.", reply.text)),
            SubmissionError::NoRecipients(recipients) => {
                Self::recipients_refused(recipients.into_iter().map(RecipientView::from).collect())
            }
            SubmissionError::TooLarge { .. } => Self::body_too_large(format!("{}.", capitalised(&error.to_string()))),
            SubmissionError::Sender => Self::sender_not_allowed(),
            SubmissionError::SourceIp(_) => Self::bad_parameter("sourceIp", format!("sourceIp is wrong: {error}.")),
            SubmissionError::NotNow(reply) => Self::unavailable(format!("{}.", reply.text), RETRY_AFTER_SECONDS),
            SubmissionError::Known => Self::request_under_way(),
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
