//! `POST /api/webhooks`: adds an endpoint. Its secret is made here unless it is given, and shown this once.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_core::ObjectId;
use postrider_store::webhooks::{Endpoint, EndpointSettings, WebhookSecret};

use super::{Said, recorded, save, wrong};
use crate::AppState;
use crate::audit::Audit;
use crate::extract::JsonBody;
use crate::problem::Problem;
use crate::view::EndpointView;

/// Fewer could be guessed (Standard Webhooks: 24 to 64).
const SECRET_KEY_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 500;

/// Add a webhook endpoint.
#[utoipa::path(
    post,
    path = "/api/webhooks",
    operation_id = "addWebhook",
    tag = "webhooks",
    request_body = Said,
    responses((status = 201, description = "It is called from now on. The secret is shown this once.", body = EndpointView))
)]
pub(in crate::api) async fn create(
    State(state): State<AppState>,
    audit: Audit,
    JsonBody(mut said): JsonBody<Said>,
) -> Result<(StatusCode, Json<EndpointView>), Problem> {
    let secret = match said.secret.take() {
        Some(text) => given(text)?,
        None => WebhookSecret::generate()?,
    };
    if said.url.is_none() {
        return Err(wrong("url", "it is missing".to_owned()));
    }
    let mut settings = EndpointSettings {
        url: String::new(),
        description: String::new(),
        kinds: Vec::new(),
        domains: Vec::new(),
        tags: Vec::new(),
        is_paused: false,
    };
    said.apply(&mut settings)?;
    let now = state.clock.now();
    let mut endpoint = Endpoint::new(ObjectId::new(now), settings, Some(secret.clone()), now);
    audit.target(endpoint.id);
    save(&state, &mut endpoint).await?;
    audit.after(&recorded(&endpoint));
    tracing::info!(webhook.endpoint = %endpoint.id, "a webhook endpoint was added");
    Ok((StatusCode::CREATED, Json(EndpointView::with_secret(endpoint, secret))))
}

/// A secret that the operator chose.
pub(super) fn given(text: String) -> Result<WebhookSecret, Problem> {
    let secret = WebhookSecret(text);
    if secret.key().len() < SECRET_KEY_BYTES_MIN || secret.0.len() > SECRET_BYTES_MAX {
        let why = format!("it has {SECRET_KEY_BYTES_MIN} random bytes or more: whsec_ and base64, or leave it out");
        return Err(wrong("secret", why));
    }
    Ok(secret)
}
