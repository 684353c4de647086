//! `GET /api/emails/{id}`: one e-mail with its content, its deliveries and every attempt.

use axum::Json;
use axum::extract::State;
use postrider_core::{Content, ObjectId};

use super::no_such_email;
use crate::AppState;
use crate::extract::EmailId;
use crate::problem::Problem;
use crate::view::EmailDetailView;

/// One e-mail, with its content, deliveries and attempts.
#[utoipa::path(
    get,
    path = "/api/emails/{id}",
    operation_id = "showEmail",
    tag = "emails",
    params(EmailId),
    responses((status = 200, description = "The e-mail.", body = EmailDetailView))
)]
pub(in crate::api) async fn show(
    State(state): State<AppState>,
    EmailId(id): EmailId,
) -> Result<Json<EmailDetailView>, Problem> {
    find(&state, id).await.map(Json)
}

/// Reads an e-mail and opens its message.
pub(super) async fn find(state: &AppState, id: ObjectId) -> Result<EmailDetailView, Problem> {
    let detail = state.store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    Ok(EmailDetailView::new(detail, open(state, id).await?))
}

/// Opens the message of an e-mail.
pub(crate) async fn open(state: &AppState, id: ObjectId) -> Result<Content, Problem> {
    let message = state.store.raw(id).await?.ok_or_else(|| no_such_email(id))?;
    // A large message takes long to decode: other requests go on meanwhile.
    tokio::task::spawn_blocking(move || Content::parse(&message.raw)).await.map_err(|error| {
        tracing::error!(email.id = %id, error = %error, "a message could not be opened");
        Problem::internal("The message could not be opened. It can be read raw: /api/emails/ID/raw.")
    })
}
