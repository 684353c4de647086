//! `POST /api/emails/{id}/resend`: a stored message goes to others, as a new e-mail.

use axum::extract::{Request, State};
use axum::response::Response;
use postrider_core::{Instructions, Submission, Timestamp};
use serde::Deserialize;

use super::body::{Parties, wrong};
use super::idempotency::{self, Keyed};
use super::upload::Upload;
use super::{Format, accepted, unreadable};
use crate::AppState;
use crate::api::emails::no_such_email;
use crate::audit::Audit;
use crate::auth::Caller;
use crate::extract::EmailId;
use crate::problem::{Document, Problem};
use crate::view::SubmittedView;

/// To whom a message goes this time.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = Resend)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    to: Parties,
    /// It is not sent before then.
    not_before: Option<Timestamp>,
}

/// Send a stored message to others.
///
/// The message stays as it is, with its signatures, and so do the sender of its envelope, tags, metadata and priority. What
/// asked it to expire or to leave from an address does not count again.
#[utoipa::path(
    post,
    path = "/api/emails/{id}/resend",
    operation_id = "resendEmail",
    tag = "emails",
    params(
        EmailId,
        ("Idempotency-Key" = Option<String>, Header, description = "As for a new e-mail.")
    ),
    request_body = Body,
    responses(
        (status = 202, description = "A new e-mail is kept, and what becomes of it is to be seen where Location says.",
            body = SubmittedView, headers(("location" = String, description = "Of the new e-mail."))),
        (status = 422, description = "The message cannot be taken as it is, or no recipient is accepted.", body = Document,
            content_type = "application/problem+json")
    )
)]
pub(in crate::api) async fn resend(
    State(state): State<AppState>,
    EmailId(id): EmailId,
    caller: Caller,
    audit: Audit,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if Format::of(&parts.headers)? != Format::Json {
        return Err(Problem::unsupported_media_type(
            "Send the body as JSON, with the field Content-Type: application/json.",
        ));
    }
    let upload = Upload::read(state.control.as_ref(), &parts.headers, body, super::JSON_BYTES).await?;
    let (bytes, _lease) = upload.into_bytes();
    let path = parts.uri.path().as_bytes();
    let keyed = Keyed::of(&state, &caller, &parts.headers, &[b"POST", path, &bytes]).await?;
    let made = async || {
        let Body { to, not_before } = serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))?;
        let recipients: Vec<_> = to.read("to")?.into_iter().map(|party| party.address).collect();
        audit.note("to", &recipients);
        if recipients.is_empty() {
            return Err(wrong("to", &"it is for nobody"));
        }
        let detail = state.store.email(id).await?.ok_or_else(|| no_such_email(id))?;
        let message = state.store.raw(id).await?.ok_or_else(|| no_such_email(id))?;
        let return_path_bytes = (message.return_path_bytes as usize).min(message.raw.len());
        Ok(Submission {
            reverse_path: detail.envelope.reverse_path,
            recipients,
            message: message.raw.slice(return_path_bytes..),
            instructions: Instructions { expires_at: None, source_ip: None, ..detail.instructions },
            not_before,
            require_tls: detail.envelope.require_tls,
            is_resent: true,
            sender_domains: Vec::new(),
            request: None,
        })
    };
    idempotency::submit(&state, &caller, keyed.as_ref(), 0, made).await.map(accepted)
}
