//! `GET /api/emails/{id}/raw`: the message, byte for byte as it was accepted.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::no_such_email;
use crate::AppState;
use crate::extract::EmailId;
use crate::problem::Problem;

/// The message, byte for byte as it was accepted.
#[utoipa::path(
    get,
    path = "/api/emails/{id}/raw",
    operation_id = "rawEmail",
    tag = "emails",
    params(EmailId),
    responses((status = 200, description = "The message as it was accepted.", content_type = "message/rfc822", body = Vec<u8>))
)]
pub(in crate::api) async fn raw(
    State(state): State<AppState>,
    EmailId(id): EmailId,
) -> Result<impl IntoResponse, Problem> {
    let message = state.store.raw(id).await?.ok_or_else(|| no_such_email(id))?;
    // A strange message must not be shown as a page of this server, whatever it holds.
    let headers = [
        (header::CONTENT_TYPE, "message/rfc822".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.eml\"")),
    ];
    Ok((headers, message.raw))
}
