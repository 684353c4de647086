//! `GET /api/domains/{domain}`

use axum::Json;
use axum::extract::State;

use super::detail;
use crate::AppState;
use crate::extract::DomainInPath;
use crate::problem::Problem;
use crate::view::directory::DomainDetailView;

/// One domain, with its users and aliases.
#[utoipa::path(
    get,
    path = "/api/domains/{domain}",
    operation_id = "showDomain",
    tag = "directory",
    params(DomainInPath),
    responses((status = 200, description = "The domain.", body = DomainDetailView))
)]
pub(in crate::api) async fn show(
    State(state): State<AppState>,
    DomainInPath(name): DomainInPath,
) -> Result<Json<DomainDetailView>, Problem> {
    Ok(Json(detail(&state, &name).await?))
}
