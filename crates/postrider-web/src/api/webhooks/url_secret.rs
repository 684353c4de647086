//! `POST /api/webhooks/url-secret`: by what calls to the `webhookUrl` of e-mails are signed. It is asked for by POST, so that the
//! audit log has who was shown it.

use axum::Json;
use axum::extract::State;
use postrider_core::Instructions;
use serde::{Deserialize, Serialize};

use super::wrong;
use crate::AppState;
use crate::audit::Audit;
use crate::extract::JsonBody;
use crate::problem::Problem;

/// Whose secret is asked for.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct WebhookUrl {
    /// As e-mails name it in `webhookUrl`; what follows scheme, host and port makes no difference.
    url: String,
}

/// A secret by which calls are signed (Standard Webhooks).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::api) struct WebhookUrlSecret {
    secret: String,
}

/// Show by what calls to the `webhookUrl` of e-mails are signed.
///
/// Each scheme, host and port has a secret of its own, which follows from `WEBHOOK_SECRET`: whoever receives these calls can verify
/// them, and cannot use them towards others.
#[utoipa::path(
    post,
    path = "/api/webhooks/url-secret",
    operation_id = "showWebhookUrlSecret",
    tag = "webhooks",
    request_body = WebhookUrl,
    responses((status = 200, description = "The secret of the URL's scheme, host and port.", body = WebhookUrlSecret))
)]
pub(in crate::api) async fn url_secret(
    State(state): State<AppState>,
    audit: Audit,
    JsonBody(WebhookUrl { url }): JsonBody<WebhookUrl>,
) -> Result<Json<WebhookUrlSecret>, Problem> {
    Instructions::default().set_webhook_url(&url).map_err(|error| wrong("url", error.to_string()))?;
    audit.target(super::host(&url).unwrap_or_default());
    match state.control.webhook_url_secret(&url) {
        Some(secret) => Ok(Json(WebhookUrlSecret { secret })),
        None => Err(Problem::conflict("WEBHOOK_SECRET is not set: these calls are not signed. Set it, and restart.")),
    }
}
